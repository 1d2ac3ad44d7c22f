"""Dialling a partner: a fresh connection for each stream, and reading and writing on it in words."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
from signalfire.v1 import exchange_pb2_grpc

from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options
from gateway.identity.trust_bundle import Endpoint, TrustBundle

CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", 8 << 20),
    # An open connection whose other end is gone is noticed within three seconds.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Compression would let a few bytes become many before anything is checked.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Every channel has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


class LinkError(Exception):
    """A stream to a partner ended; the text says why."""


@contextlib.asynccontextmanager
async def dial(
    bundle: TrustBundle, endpoint: Endpoint, key_pair: KeyPairFiles
) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
    """A fresh connection to one endpoint of a partner. Files are read at each dial, so that a renewed certificate needs
    no restart. Raises IdentityError for files that cannot be used.
    """
    roots = "".join(bundle.gateway_ca).encode("ascii")
    # In a thread: where the lock of the keys has changed, a passphrase is worked on for a second.
    credentials = await asyncio.to_thread(channel_credentials, key_pair, lambda: roots)
    options = [*channel_options(endpoint.server_name), *CHANNEL_OPTIONS]
    channel = grpc.aio.secure_channel(endpoint.address, credentials, options)
    try:
        yield exchange_pb2_grpc.ExchangeServiceStub(channel)
    finally:
        await channel.close()


class OneAtATime:
    """A call on which several tasks may write: gRPC takes one message at a time."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._writing = asyncio.Lock()
        self.read = call.read
        self.details = call.details
        self.code = call.code

    async def write(self, message: Any) -> None:
        """As that of the call."""
        async with self._writing:
            await self._call.write(message)


async def read(call: Any) -> Any:
    """The next message of a call. Raises LinkError at its end, which says why."""
    message = await call.read()
    if message is grpc.aio.EOF:
        # The status says why, where there is one to say it.
        raise LinkError(f"the partner ended the stream: {await call.details() or (await call.code()).name}")
    if message is None:
        # What gRPC gives for bytes that its deserializer refused.
        raise LinkError("the partner sent a message that is not of the contract")
    return message


async def write(call: Any, message: Any) -> None:
    """Sends one message. Raises LinkError where the partner has ended the stream."""
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        # The partner ended the stream between its last message and this one.
        raise LinkError(f"the partner ended the stream: {await call.details() or (await call.code()).name}") from None
