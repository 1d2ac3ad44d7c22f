"""Looking at the record of decisions, for officers: what a gateway decided, why, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from typing import Final, TypeAlias, TypeVar

import grpc
from signalfire.v1 import officer_pb2, officer_pb2_grpc

from gateway.client.connection import Connector, pushback_s
from gateway.client.pause import Pause

T = TypeVar("T")

Stub: TypeAlias = "officer_pb2_grpc.OfficerServiceAsyncStub"

CALL_TIMEOUT_S: Final = 30.0
"""Seconds that a call with one answer may take: officers take turns at the gateway."""

_UNREACHED: Final = "failed to connect to all addresses"
"""What gRPC says of a call that was never sent."""

GENERATION_KEY: Final = "signalfire-generation"
INDEX_KEY: Final = "signalfire-from-index"
"""Initial metadata of a watch: the place at which it begins, so that one that breaks at once goes on from there."""


DIALS: Final = 3
"""Times that a call is tried where it never reached the gateway: one that is busy may be slow to shake hands."""


async def ask(connector: Connector, call: Callable[[Stub], Awaitable[T]]) -> T:
    """The answer of one call. Raises ClientError and ConnectionError."""
    answers = [answer async for answer in stream(connector, lambda stub: _one(call(stub)))]
    return answers[0]


async def stream(connector: Connector, call: Callable[[Stub], AsyncIterable[T]]) -> AsyncIterator[T]:
    """The answers of one call that ends. Raises ClientError and ConnectionError."""
    pause = Pause()
    for left in reversed(range(DIALS)):
        try:
            async with connector.dial() as channel:
                async for answer in call(officer_pb2_grpc.OfficerServiceStub(channel)):
                    yield answer
            return
        except grpc.aio.AioRpcError as error:
            wait_s = pushback_s(error)
            if left and wait_s is not None:
                connector.remark([f"{error.details()} (waiting {wait_s:.0f} s)"])
                await asyncio.sleep(wait_s)
                continue
            connector.require_transient(error)
            if not left or _UNREACHED not in (error.details() or ""):
                raise ConnectionError(f"{connector.address}: {error.details()}") from error
        await pause.wait()


async def _one(answer: Awaitable[T]) -> AsyncIterator[T]:
    yield await answer


async def search(
    connector: Connector, request: officer_pb2.SearchDecisionsRequest
) -> AsyncIterator[officer_pb2.RecordedEntry]:
    """See `Client.search_decisions`."""
    while True:
        page = await ask(connector, lambda stub: stub.SearchDecisions(request, timeout=CALL_TIMEOUT_S))
        connector.remark(page.remarks)
        for entry in page.entries:
            yield entry
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


async def watch(
    connector: Connector, request: officer_pb2.WatchDecisionsRequest
) -> AsyncIterator[officer_pb2.RecordedEntry]:
    """See `Client.watch_decisions`."""
    pause = Pause()
    while True:
        async with connector.attempt() as channel:
            call = officer_pb2_grpc.OfficerServiceStub(channel).WatchDecisions(request)
            begins = dict(await call.initial_metadata())
            if request.live_only and INDEX_KEY in begins:
                request.live_only = False
                request.generation, request.from_index = int(begins[GENERATION_KEY]), int(begins[INDEX_KEY])
            async for response in call:
                connector.remark(response.remarks)
                if not response.HasField("entry"):
                    continue
                entry = response.entry
                # From here on a new connection goes on after this record.
                request.generation, request.from_index = int(entry.ledger.rpartition("/")[2]), entry.index + 1
                pause.reset()
                yield entry
        await pause.wait()
