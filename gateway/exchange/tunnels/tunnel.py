"""One end of a tunnel: connections on one side, cells at a steady pace on the other.

Rules:

1. Cells go by the pace (`gateway.exchange.tunnels.pacing`), whether anything waits or not; of what waits the first
   channel goes first, and the others have a share (`gateway.exchange.tunnels.cells`).
2. A channel is one connection. Whoever's connection ends says CLOSE, and answers CLOSE with CLOSE; only when both have
   said so is the channel free for the next connection. What comes meanwhile for the one that ended is passed over.
3. The end that opened the tunnel opens each channel once at the start, and OPENINGS_S / 2 a second in the long run. The
   other end ends the tunnel at more than OPENINGS_S, and at a channel that is opened again before its own CLOSE has
   gone; and of each channel it makes one connection at a time, none for one that was closed meanwhile. For each costs a
   socket, and a handshake at this node's listener.
4. What waits is bounded: of each channel so much is read as goes within a few seconds at the present pace. A connection
   that does not take what came for it, MAX_UNREAD bytes, is closed, and so is one whose channel does not get free; the
   others go on.
5. A cell that is not the one that was due ends the tunnel, and so does `silence_s` without any: the other end never
   pauses, so whoever holds cells back is in between. What comes faster than is allowed is read more slowly.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.cancellation import first_of
from gateway.exchange.openings import Openings
from gateway.exchange.tunnels.cells import CELL, CHANNELS, CellError, CellOpener, CellSealer, Frame, Kind, Outbox
from gateway.exchange.tunnels.pacing import Bucket, CarryLimits, Pacer
from gateway.exchange.tunnels.sockets import Sockets
from gateway.seal.tunnel import CellKeys, Ends

log = logging.getLogger(__name__)

MAX_UNREAD: Final = 1 << 20
"""Bytes that wait for a connection to take them."""

READ: Final = 1 << 14
"""Bytes that are read from a connection at once."""

OPENINGS_S: Final = 10.0
"""Channels a second that the other end may open in the long run. It opens half as many; what it has sent within
`silence_s` may come at once."""


class TunnelEnded(Exception):
    """A tunnel cannot go on; the text says why."""


@dataclass(eq=False, slots=True)
class _Connection:
    """The connection of one channel, and who has said that it ended."""

    channel: int
    writer: asyncio.StreamWriter | None = None
    early: bytearray = field(default_factory=bytearray)
    """What came before the connection stood."""
    ended_here: bool = False
    ended_there: bool = False


class Tunnel:
    """One end. `send` and `receive` move cells; both raise what ends the tunnel."""

    def __init__(
        self,
        ends: Ends,
        keys: CellKeys,
        *,
        opened_here: bool,
        send: Callable[[bytes], Awaitable[None]],
        receive: Callable[[], Awaitable[bytes]],
        sockets: Sockets,
        limits: CarryLimits,
        silence_s: float,
        monotonic: Callable[[], float],
    ) -> None:
        self.ends = ends
        self._opened_here = opened_here
        self._sealer = CellSealer(keys.out if opened_here else keys.back)
        self._opener = CellOpener(keys.back if opened_here else keys.out)
        self._send = send
        self._receive = receive
        self._sockets = sockets
        self._limits = limits
        self._silence_s = silence_s
        self._monotonic = monotonic
        self._outbox = Outbox()
        self._pacer = Pacer(limits, monotonic())
        self._open: dict[int, _Connection] = {}
        self._tick = asyncio.Event()
        self._freed = asyncio.Event()
        of_each, second = len(CHANNELS), OPENINGS_S / 2 if opened_here else OPENINGS_S
        at_once = of_each if opened_here else of_each + OPENINGS_S * silence_s
        self._openings = Openings(second, at_once)
        self._led_in: dict[int, asyncio.Task[None]] = {}
        self._newest: dict[int, asyncio.StreamWriter] = {}
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def dialled(self, channel: str) -> AsyncIterator[str]:
        """The address, for gRPC, of a socket that leads through the tunnel."""
        number = CHANNELS.index(channel)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if self._ended:
                writer.transport.abort()
                return
            self._start(self._lead_through(number, reader, writer))

        async with self._sockets.listening(serve) as address:
            yield address

    async def run(self) -> None:
        """Moves cells until the tunnel ends. Raises TunnelEnded, or what `send` and `receive` raise."""
        try:
            await first_of(self._send_cells(), self._take_cells())
        except CellError as error:
            raise TunnelEnded(f"the tunnel from {self.ends}: {error}") from error
        finally:
            self._ended = True
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            for connection in self._open.values():
                if connection.writer is not None:
                    connection.writer.transport.abort()

    def _start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # --- cells

    async def _send_cells(self) -> None:
        while True:
            await asyncio.sleep(self._pacer.wait_s(self._monotonic()))
            for _ in range(self._pacer.cells(self._monotonic(), self._outbox.size)):
                await self._send(self._sealer.seal(self._outbox.take()))
            self._tick.set()
            self._tick = asyncio.Event()

    async def _take_cells(self) -> None:
        bucket = Bucket(self._limits.bytes_s, self._monotonic())
        while True:
            try:
                async with asyncio.timeout(self._silence_s):
                    cell = await self._receive()
            except TimeoutError:
                raise TunnelEnded(f"the tunnel from {self.ends}: no cell came for {self._silence_s:g} s") from None
            for frame in self._opener.open(cell):
                self._take(frame)
            if (pause := bucket.wait_s(CELL, self._monotonic())) > 0:
                await asyncio.sleep(pause)

    def _take(self, frame: Frame) -> None:
        connection = self._open.get(frame.channel)
        match frame.kind:
            case Kind.OPEN:
                if self._opened_here or connection is not None or self._outbox.closes(frame.channel):
                    raise CellError(f"channel {frame.channel} was opened where it cannot be")
                if self._openings.wait_s(self._monotonic()) > 0:
                    raise CellError(f"more than {OPENINGS_S:g} channels a second were opened")
                if (before := self._led_in.get(frame.channel)) is not None:
                    before.cancel()
                connection = self._open[frame.channel] = _Connection(frame.channel)
                self._led_in[frame.channel] = self._start(self._lead_in(connection))
            case Kind.DATA:
                if connection is None or connection.ended_there:
                    raise CellError(f"data came for channel {frame.channel}, which is not open")
                self._give(connection, frame.data)
            case Kind.CLOSE:
                if connection is None or connection.ended_there:
                    raise CellError(f"channel {frame.channel} was closed, and is not open")
                connection.ended_there = True
                self._end(connection)
                if connection.writer is None:
                    self._led_in[frame.channel].cancel()

    # --- connections

    async def _lead_through(self, channel: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Leads a connection of this end's gRPC to the other end. It takes the place of those before."""
        self._newest[channel] = writer
        try:
            async with asyncio.timeout(2 * self._silence_s):
                while True:
                    if self._newest[channel] is not writer:
                        writer.transport.abort()
                        return
                    if (before := self._open.get(channel)) is not None:
                        self._end(before)
                        await self._freed.wait()
                    elif (pause := self._openings.wait_s(self._monotonic())) > 0:
                        await asyncio.sleep(pause)
                    else:
                        break
        except TimeoutError:
            log.warning("the tunnel from %s: channel %s did not get free", self.ends, CHANNELS[channel])
            writer.transport.abort()
            return
        connection = self._open[channel] = _Connection(channel, writer)
        self._outbox.put(Frame(Kind.OPEN, channel))
        await self._read(connection, reader)

    async def _lead_in(self, connection: _Connection) -> None:
        """Leads a connection of the other end's gRPC to this end's listener."""
        try:
            reader, writer, done = await self._sockets.connect(self.ends)
        except OSError:
            # The listener is stopping: that end is told so.
            self._end(connection)
            return
        try:
            connection.writer = writer
            writer.write(bytes(connection.early))
            connection.early.clear()
            if connection.ended_here:
                writer.close()
            await self._read(connection, reader)
        except asyncio.CancelledError:
            writer.transport.abort()
            raise
        finally:
            done()

    async def _read(self, connection: _Connection, reader: asyncio.StreamReader) -> None:
        # A connection that was reset has ended, no less than one that was closed.
        with contextlib.suppress(ConnectionError):
            while not connection.ended_here and (data := await reader.read(READ)):
                if not connection.ended_here:
                    self._outbox.put(Frame(Kind.DATA, connection.channel, data))
                while not connection.ended_here and self._outbox.of(connection.channel) > self._pacer.most_waiting:
                    await self._tick.wait()
        self._end(connection)

    def _give(self, connection: _Connection, data: bytes) -> None:
        if connection.ended_here:
            return
        writer = connection.writer
        waiting = len(connection.early) if writer is None else writer.transport.get_write_buffer_size()
        if waiting + len(data) > MAX_UNREAD:
            if writer is not None:
                writer.transport.abort()
            self._end(connection)
        elif writer is None:
            connection.early += data
        else:
            writer.write(data)

    def _end(self, connection: _Connection) -> None:
        """Says that a connection has ended, once; frees its channel when both sides have."""
        if not connection.ended_here:
            connection.ended_here = True
            self._outbox.put(Frame(Kind.CLOSE, connection.channel))
            if connection.writer is not None:
                # What was written before still goes.
                connection.writer.close()
        if connection.ended_there and self._open.get(connection.channel) is connection:
            del self._open[connection.channel]
            self._freed.set()
            self._freed = asyncio.Event()
