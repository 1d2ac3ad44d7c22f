"""C2 systems of the relay."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gateway.client import Credentials
from gateway.identity.tls import channel_credentials, channel_options, roots_from_files

# isort: split
import grpc
from signalfire.v1 import report_pb2

from bench.relay import wire
from bench.relay.wire import Frame, Wish
from bench.system import SystemFailed


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node serves its C2 systems, its TLS name, and the directory of a C2 system's credentials."""

    address: str
    server_name: str
    credentials: Path

    def channel(self) -> grpc.aio.Channel:
        """A connection, not dialled yet."""
        mine = Credentials.from_directory(self.credentials)
        credentials = channel_credentials(mine.pair, roots_from_files(mine.gateway_authority))
        return grpc.aio.secure_channel(self.address, credentials, channel_options(self.server_name))


class RelayProducer:
    """Submits over one connection; each `submit` is a stream."""

    def __init__(self, channel: grpc.aio.Channel, chunk: int) -> None:
        self._channel = channel
        self._chunk = chunk

    async def submit(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> AsyncIterator[str]:
        """See `bench.system.Producer`."""
        call: Any = self._channel.stream_stream(wire.SUBMIT)()
        room = asyncio.Semaphore(in_flight)
        waiting: deque[str] = deque()

        async def frames() -> AsyncIterator[Frame]:
            async for report in reports:
                await room.acquire()
                waiting.append(report.report_id)
                yield Frame(0, 0, report.SerializeToString())

        async def write() -> None:
            async for message in _messages(frames(), self._chunk):
                await call.write(message)
            await call.done_writing()

        writing = asyncio.create_task(write())
        done = 0
        try:
            async for answer in call:
                count = wire.decode_number(answer)
                for _ in range(count - done):
                    room.release()
                    yield waiting.popleft()
                done = count
            await writing
        except grpc.aio.AioRpcError as error:
            raise SystemFailed(f"the relay ended a submission: {error.code().name}: {error.details()}") from error
        finally:
            writing.cancel()
            call.cancel()


async def _messages(frames: AsyncIterator[Frame], chunk: int) -> AsyncIterator[bytes]:
    """Messages of what is there, so many frames in each at the most."""
    if chunk == 1:
        async for frame in frames:
            yield wire.encode([frame])
        return
    ready: deque[Frame] = deque()
    come = asyncio.Event()

    async def take() -> None:
        async for frame in frames:
            ready.append(frame)
            come.set()
            if len(ready) >= chunk:
                # Whoever writes has a turn.
                await asyncio.sleep(0)

    taking = asyncio.create_task(take())
    taking.add_done_callback(lambda _: come.set())
    try:
        while not taking.done() or ready:
            await come.wait()
            come.clear()
            while ready:
                yield wire.encode([ready.popleft() for _ in range(min(chunk, len(ready)))])
        await taking
    finally:
        taking.cancel()


@dataclass(frozen=True, slots=True)
class RelayClients:
    """See `bench.system.Clients`. `chunk` is how many reports stand in one message at the most."""

    origin: Place
    recipient: Place
    chunk: int

    @contextlib.asynccontextmanager
    async def producer(self) -> AsyncIterator[RelayProducer]:
        """See `bench.system.Clients`."""
        async with self.origin.channel() as channel:
            await _connected(channel)
            yield RelayProducer(channel, self.chunk)

    @contextlib.asynccontextmanager
    async def subscriber(self, *, alerts: bool) -> AsyncIterator[AsyncIterator[report_pb2.Report]]:
        """See `bench.system.Clients`."""
        wanted = report_pb2.PRECEDENCE_FLASH if alerts else 0
        async with self.recipient.channel() as channel:
            wish = wire.encode_wish(Wish(wire.LATEST, wanted, self.chunk))
            subscribe: Any = channel.unary_stream(wire.SUBSCRIBE)
            call = subscribe(wish)
            messages = aiter(call)
            await anext(messages)
            yield _reports(messages)
            call.cancel()


async def _connected(channel: grpc.aio.Channel) -> None:
    """Returns once it is up. Raises SystemFailed where nobody answers."""
    while (state := channel.get_state(try_to_connect=True)) is not grpc.ChannelConnectivity.READY:
        if state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
            raise SystemFailed("the relay does not answer; see the logs in its directory")
        await channel.wait_for_state_change(state)


async def _reports(messages: AsyncIterator[bytes]) -> AsyncIterator[report_pb2.Report]:
    try:
        async for message in messages:
            for frame in wire.decode(message):
                yield report_pb2.Report.FromString(frame.body)
    except grpc.aio.AioRpcError as error:
        raise SystemFailed(f"the relay ended a subscription: {error.code().name}: {error.details()}") from error
