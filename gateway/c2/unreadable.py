"""What is no message of the contract is answered as such.

Methods that take one message have it read by gRPC before any handler sees it, and the library answers bytes that it
cannot read as an unknown failure, with a stack trace in the log: any client could fill that. Here the same bytes are
refused in one line, as the methods that take a stream of messages do themselves.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

log = logging.getLogger(__name__)

UNREADABLE: Final = "the request is not a message of the contract; send what the method of that name takes"


class RefuseUnreadable(grpc.aio.ServerInterceptor):
    """Reads the request of each method that takes one message."""

    # gRPC's stubs know the handlers of its other, threaded server alone.
    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], details: Any, /
    ) -> Any:
        """The handler, with the reading of its request inside it."""
        handler = await continuation(details)
        if handler is None or handler.request_streaming:
            return handler
        read = handler.request_deserializer or bytes

        async def message(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            try:
                return read(raw)
            except DecodeError:
                log.warning("%s: %s: not a message of the contract", context.peer(), details.method)
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, UNREADABLE)

        async def stream(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            async for response in handler.unary_stream(await message(raw, context), context):
                yield response

        async def unary(raw: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            return await handler.unary_unary(await message(raw, context), context)

        serving: Any = stream if handler.response_streaming else unary
        make: Any = (
            grpc.unary_stream_rpc_method_handler if handler.response_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(serving, request_deserializer=None, response_serializer=handler.response_serializer)
