"""Dialling a partner: a fresh connection for each stream, and reading and writing on it in words.

A `Dialler` tries until a connection stands. `gateway.exchange.attempts` says when a further attempt begins while others
still try, and at which address; the first that connects is taken, and the others are closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final

import grpc
from signalfire.v1 import exchange_pb2_grpc

from gateway.exchange.attempts import Addresses, Attempts, Backoff, Pace
from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.release.watch import Bell

CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", 8 << 20),
    # Pings each second, for which gRPC sets TCP_USER_TIMEOUT to the time below: an open connection whose other end's
    # TCP is gone ends within three seconds. A packet that is lost on a link of 600 ms is repeated within that time. The
    # answers to pings have no time bound here: on a narrow link they stand behind a batch.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Compression would let a few bytes become many before anything is checked.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Every channel has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


_PREFIX: Final = re.compile(
    r"^failed to connect to all addresses; last error: [A-Z_]+: (?:ipv[46]:\S+: )?"
    r"(?:Failed to connect to remote host: )?"
)
"""What gRPC says before the operating system's own reason."""

WHY_S: Final = 1.0
"""Seconds in which gRPC says why it has no connection, which it knows already."""


class LinkError(Exception):
    """A stream to a partner ended; the text says why."""


@contextlib.asynccontextmanager
async def dial(
    bundle: TrustBundle, endpoint: Endpoint, key_pair: KeyPairFiles
) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
    """A fresh connection to one endpoint of a partner. Files are read at each dial, so that a renewed certificate needs
    no restart. Raises IdentityError for files that cannot be used.
    """
    channel = await _channel(bundle, endpoint, key_pair)
    try:
        yield exchange_pb2_grpc.ExchangeServiceStub(channel)
    finally:
        await channel.close()


async def _channel(bundle: TrustBundle, endpoint: Endpoint, key_pair: KeyPairFiles) -> grpc.aio.Channel:
    roots = "".join(bundle.gateway_ca).encode("ascii")
    # In a thread: where the lock of the keys has changed, a passphrase is worked on for a second.
    credentials = await asyncio.to_thread(channel_credentials, key_pair, lambda: roots)
    options = [*channel_options(endpoint.server_name), *CHANNEL_OPTIONS]
    return grpc.aio.secure_channel(endpoint.address, credentials, options)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One that is under way."""

    endpoint: Endpoint
    authorities: frozenset[str]
    """Those of the bundle that it was begun with."""
    began: float


class Dialler:
    """Connects to one partner, for any number of streams."""

    def __init__(
        self,
        bundle: Callable[[], TrustBundle],
        key_pair: KeyPairFiles,
        *,
        pace: Pace,
        backoff: Callable[[], Backoff],
        bell: Bell,
        monotonic: Callable[[], float],
    ) -> None:
        """`bundle` gives the partner's bundle as it is believed, or raises LinkError; `bell` rings when the partner has
        been heard of.
        """
        self._bundle = bundle
        self._key_pair = key_pair
        self._pace = pace
        self._backoff = backoff
        self._bell = bell
        self._monotonic = monotonic
        self._addresses = Addresses(pace.stagger_s)

    @contextlib.asynccontextmanager
    async def dial(
        self, on_trouble: Callable[[str], None]
    ) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
        """A connection that stands, however long that takes. `on_trouble` is told why there is none yet.

        Raises LinkError where the bundle names no address, and IdentityError for files that cannot be used.
        """
        channel = await self._connect(on_trouble)
        try:
            yield exchange_pb2_grpc.ExchangeServiceStub(channel)
        finally:
            await channel.close()

    async def _connect(self, on_trouble: Callable[[str], None]) -> grpc.aio.Channel:
        attempts = Attempts(self._pace, self._backoff(), self._monotonic())
        under_way: dict[asyncio.Task[grpc.aio.Channel], _Attempt] = {}
        seen = self._bell.rings
        try:
            while True:
                now = self._monotonic()
                late = [task for task, attempt in under_way.items() if attempts.overdue(attempt.began, now)]
                for task in late:
                    attempt = under_way.pop(task)
                    await _close(task)
                    self._addresses.failed(attempt.endpoint.address)
                    on_trouble(f"{attempt.endpoint.address}: no connection within {self._pace.attempt_s:g} s")
                if attempts.may_begin(len(under_way), now):
                    attempts.begins(now)
                    attempt = self._attempt(now)
                    under_way[asyncio.ensure_future(self._try(attempt))] = attempt
                wait_s = attempts.wait_s([attempt.began for attempt in under_way.values()], now)
                seen = await self._until_something(under_way, wait_s, seen, attempts)
                for task in [task for task in under_way if task.done()]:
                    attempt = under_way.pop(task)
                    address = attempt.endpoint.address
                    try:
                        channel = task.result()
                    except LinkError as error:
                        self._addresses.failed(address)
                        attempts.failed(len(under_way), self._monotonic())
                        on_trouble(f"{address}: {error}")
                        continue
                    if attempt.authorities <= frozenset(self._bundle().gateway_ca):
                        self._addresses.worked(address)
                        return channel
                    # What vouched for the other end is believed no more.
                    await channel.close()
        finally:
            for task in under_way:
                await _close(task)

    def _attempt(self, now: float) -> _Attempt:
        bundle = self._bundle()
        if not bundle.endpoints:
            raise LinkError(f"the trust bundle of {bundle.node} names no endpoint")
        address = self._addresses.next([endpoint.address for endpoint in bundle.endpoints], now)
        endpoint = next(each for each in bundle.endpoints if each.address == address)
        return _Attempt(endpoint, frozenset(bundle.gateway_ca), now)

    async def _until_something(
        self, under_way: dict[asyncio.Task[grpc.aio.Channel], _Attempt], wait_s: float, seen: int, attempts: Attempts
    ) -> int:
        """Returns when an attempt has ended, its time is over, the next is due, or the partner was heard of: how often
        the bell has rung.
        """
        ring = asyncio.ensure_future(self._bell.wait(seen))
        try:
            await asyncio.wait((*under_way, ring), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ring.cancel()
        if self._bell.rings != seen:
            attempts.heard_of(self._monotonic())
        return self._bell.rings

    async def _try(self, attempt: _Attempt) -> grpc.aio.Channel:
        channel = await _channel(self._bundle(), attempt.endpoint, self._key_pair)
        try:
            await _connected(channel)
        except BaseException:  # also where another attempt was first
            await channel.close()
            raise
        return channel


async def _connected(channel: grpc.aio.Channel) -> None:
    """Returns when the channel is connected. Raises LinkError when it cannot be."""
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
            raise LinkError(await _why_not(channel))
        await channel.wait_for_state_change(state)


async def _why_not(channel: grpc.aio.Channel) -> str:
    """Why a channel is not connected: gRPC says it to a call alone."""
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/grpc.health.v1.Health/Check", request_serializer=None, response_deserializer=None
    )
    try:
        await call(b"", timeout=WHY_S)
    except grpc.aio.AioRpcError as error:
        return plain(error.details() or "") or error.code().name
    return "the connection was lost"


def plain(details: str) -> str:
    """Why a connection could not be made, without what gRPC puts before it: the address is told beside it."""
    return _PREFIX.sub("", details)


async def _close(task: asyncio.Task[grpc.aio.Channel]) -> None:
    """Ends an attempt, whatever has become of it."""
    task.cancel()
    (outcome,) = await asyncio.gather(task, return_exceptions=True)
    if isinstance(outcome, grpc.aio.Channel):
        await outcome.close()


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
