"""A TCP proxy that stands for the link between two gateways, and does to it what links do.

It runs in a thread of its own, so that gateways in this process and in others go through it alike; each control returns
once it is in force. What a link does, and how it is told here:

=============  ====================================================================================================
`heal`         everything is well: connections that are open go on, new ones are taken
`reset`        connections that are open end with RST; new ones are taken (a machine between was started anew)
`cut`          they end with RST, and new ones are refused
`hole`         nothing passes: what is sent waits, as TCP repeats it, and new ones get no answer, as if SYNs were lost
`half_open`    connections that are open are dead for ever: what is sent is swallowed, in one direction or in both, and
               no end is told; new ones are taken
`silent`       the same, and new ones are taken and get no answer
`shape`        latency, bytes a second, jitter, and flipped bits from now on, in every connection
=============  ====================================================================================================

What is drawn (jitter, bits) comes from `seed` alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

CHUNK: Final = 16_384
"""Bytes that are carried at once: little enough for a narrow link to be even."""

IN_FLIGHT: Final = 256
"""Chunks on their way in one direction of one connection; then the sender waits."""

CONTROL_S: Final = 60.0
"""Seconds within which a control is in force."""

_RST_ON_CLOSE: Final = struct.pack("ii", 1, 0)


class Direction(Enum):
    """Which way bytes go: from who dialled to who listens, or back."""

    THERE = "there"
    BACK = "back"


class _Taking(Enum):
    """What becomes of a new connection."""

    ALL = "taken"
    NONE = "refused"
    UNANSWERED = "not answered"


@dataclass(frozen=True, slots=True)
class Shape:
    """How a link carries."""

    latency_s: float = 0.0
    """Seconds that each byte takes, in each direction. A new connection takes a round trip before that."""
    jitter_s: float = 0.0
    """Seconds that it may take longer, as drawn; what follows waits for it, as TCP has it where packets are lost."""
    bytes_per_s: float = 0.0
    """In each direction of each connection; 0: as fast as can be."""
    flip_chance: float = 0.0
    """Chance that a bit of a chunk of `CHUNK` bytes, or less, arrives flipped."""


CLEAR: Final = Shape()


class _Connection:
    """One connection through the link. Belongs to the proxy's loop."""

    def __init__(self, link: Proxy, inner: socket.socket, number: int) -> None:
        self._link = link
        self._inner = inner
        self._chance = random.Random(f"{link.seed} {number}")
        self.swallowed: set[Direction] = set()
        """Directions in which nothing arrives any more."""
        self._writers: list[asyncio.StreamWriter] = []

    async def carry(self) -> None:
        """Until one end closes it, or the link does."""
        shape = self._link.shape_now
        reader, writer = await asyncio.open_connection(sock=self._inner)
        self._writers.append(writer)
        if shape.latency_s:
            # A handshake is a round trip, which the dialler had on this machine for nothing.
            await asyncio.sleep(2 * shape.latency_s)
        await self._link.passable()
        if self.swallowed:
            await self._swallow(reader)
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._link.target)
        except OSError:
            self.reset()
            return
        self._writers.append(far_writer)
        ways = [
            asyncio.ensure_future(self._way(reader, far_writer, Direction.THERE)),
            asyncio.ensure_future(self._way(far_reader, writer, Direction.BACK)),
        ]
        try:
            await asyncio.gather(*ways)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _way(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        loop = asyncio.get_running_loop()
        underway: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(IN_FLIGHT)

        async def deliver() -> None:
            while True:
                due, data = await underway.get()
                if (wait_s := due - loop.time()) > 0:
                    await asyncio.sleep(wait_s)
                if direction not in self.swallowed:
                    await self._link.passable()
                if direction in self.swallowed:
                    if not data:
                        return
                    continue
                if not data:
                    with contextlib.suppress(OSError):
                        writer.write_eof()
                    return
                # Counted first: whoever has the bytes finds them counted.
                self._link.count(direction, len(data))
                writer.write(self._altered(data))
                await writer.drain()
                if self._link.shape_now.bytes_per_s:
                    await asyncio.sleep(len(data) / self._link.shape_now.bytes_per_s)

        async def take() -> None:
            last = 0.0
            while True:
                data = await reader.read(CHUNK)
                shape = self._link.shape_now
                # What follows never overtakes.
                last = max(last, loop.time() + shape.latency_s + self._chance.uniform(0, shape.jitter_s))
                await underway.put((last, data))
                if not data:
                    return

        taking, delivering = asyncio.ensure_future(take()), asyncio.ensure_future(deliver())
        try:
            await asyncio.gather(taking, delivering)
        except OSError:
            # One end has reset it: so hears the other, unless it hears nothing any more.
            if direction.THERE in self.swallowed or direction.BACK in self.swallowed:
                return
            await self._link.passable()
            self.reset()
        finally:
            taking.cancel()
            delivering.cancel()
            await asyncio.gather(taking, delivering, return_exceptions=True)

    def _altered(self, data: bytes) -> bytes:
        if self._chance.random() >= self._link.shape_now.flip_chance:
            return data
        altered = bytearray(data)
        altered[self._chance.randrange(len(altered))] ^= 1 << self._chance.randrange(8)
        self._link.flipped += 1
        return bytes(altered)

    async def _swallow(self, reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(OSError):
            while await reader.read(CHUNK):
                pass

    def reset(self) -> None:
        """Ends it with RST at both ends."""
        for writer in self._writers or ():
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
            writer.transport.abort()


class Proxy:
    """A link to `target` (`host:port`), to be dialled at `address`. A context manager, or `start` and `stop`."""

    def __init__(self, target: str, *, seed: int = 0, listen: str = "127.0.0.1") -> None:
        host, _, port = target.rpartition(":")
        self.target = (host.strip("[]"), int(port))
        self.seed = seed
        self.shape_now = CLEAR
        self.taken = 0
        """Connections that were taken, in all."""
        self.flipped = 0
        """Bits that were flipped."""
        self.carried = dict.fromkeys(Direction, 0)
        """Bytes that arrived."""
        # Bound and never listening: nobody else is given the port while new connections are refused.
        self._guard = _bound(listen, 0)
        self._listener: socket.socket | None = None
        self._fillers: list[socket.socket] = []
        self._port = self._guard.getsockname()[1]
        self.address = f"{listen}:{self._port}"
        self._host = listen
        self._connections: dict[asyncio.Task[None], _Connection] = {}
        self._accepting: asyncio.Task[None] | None = None
        self._clear = asyncio.Event()
        self._dead_from_the_start = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name=f"link to {target}", daemon=True)
        self._flapping: asyncio.Task[None] | None = None

    # --- running

    def start(self) -> None:
        """Starts to carry."""
        self._thread.start()
        self._do(self._heal())

    def stop(self) -> None:
        """Ends every connection, and the thread."""
        if self._thread.is_alive():
            self._do(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(CONTROL_S)
        self._guard.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(CONTROL_S)

    @property
    def open_connections(self) -> int:
        """Connections that are open now, the dead ones among them."""
        return len(self._connections)

    # --- controls

    def heal(self) -> None:
        """Everything is well again; the shape stays."""
        self._do(self._heal())

    def reset(self) -> None:
        """Connections that are open end with RST."""
        self._do(self._reset())

    def cut(self) -> None:
        """They end with RST, and new ones are refused."""
        self._do(self._cut())

    def hole(self) -> None:
        """Nothing passes until it heals."""
        self._do(self._hole())

    def half_open(self, *directions: Direction) -> None:
        """Connections that are open are dead for ever in these directions, or in both."""
        self._do(self._half_open(directions))

    def silent(self) -> None:
        """So are they, and those that come until it heals."""
        self._do(self._silent())

    def shape(self, shape: Shape) -> None:
        """Carries so from now on."""
        self._do(self._shape(shape))

    def flap(self, up_s: tuple[float, float], down_s: tuple[float, float]) -> None:
        """Cuts and heals by turns until another control is given, for times between these, as drawn."""
        self._do(self._flap(up_s, down_s))

    async def _heal(self) -> None:
        await self._stop_flapping()
        self._dead_from_the_start = False
        await self._take(_Taking.ALL)
        self._clear.set()

    async def _reset(self) -> None:
        for connection in self._connections.values():
            connection.reset()
        ending = list(self._connections)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _cut(self) -> None:
        await self._stop_flapping()
        await self._take(_Taking.NONE)
        self._clear.set()
        await self._reset()

    async def _hole(self) -> None:
        await self._stop_flapping()
        self._clear.clear()
        await self._take(_Taking.UNANSWERED)

    async def _half_open(self, directions: tuple[Direction, ...]) -> None:
        for connection in self._connections.values():
            connection.swallowed.update(directions or Direction)

    async def _silent(self) -> None:
        await self._stop_flapping()
        await self._half_open(())
        self._dead_from_the_start = True
        await self._take(_Taking.ALL)
        self._clear.set()

    async def _shape(self, shape: Shape) -> None:
        self.shape_now = shape

    async def _flap(self, up_s: tuple[float, float], down_s: tuple[float, float]) -> None:
        await self._stop_flapping()
        chance = random.Random(f"{self.seed} flap")

        async def flapping() -> None:
            while True:
                await self._take(_Taking.NONE)
                await self._reset()
                await asyncio.sleep(chance.uniform(*down_s))
                await self._take(_Taking.ALL)
                await asyncio.sleep(chance.uniform(*up_s))

        self._clear.set()
        self._flapping = asyncio.ensure_future(flapping())

    async def _stop_flapping(self) -> None:
        flapping, self._flapping = self._flapping, None
        if flapping is not None:
            flapping.cancel()
            await asyncio.gather(flapping, return_exceptions=True)

    async def _end(self) -> None:
        await self._stop_flapping()
        await self._take(_Taking.NONE)
        self._clear.set()
        await self._reset()

    # --- for connections

    async def passable(self) -> None:
        """Returns when something passes."""
        await self._clear.wait()

    def count(self, direction: Direction, size: int) -> None:
        """Bytes arrive."""
        self.carried[direction] += size

    # --- new connections

    async def _take(self, what: _Taking) -> None:
        if what is not _Taking.ALL and self._accepting is not None:
            accepting, self._accepting = self._accepting, None
            accepting.cancel()
            await asyncio.gather(accepting, return_exceptions=True)
        if what is _Taking.NONE:
            if self._listener is not None:
                self._listener.close()
                self._listener = None
            self._let_fillers_go()
            return
        if self._listener is None:
            self._listener = _bound(self._host, self._port)
        # May be called again on a socket that listens: it then sets the length of the queue alone.
        self._listener.listen(0 if what is _Taking.UNANSWERED else 128)
        if what is _Taking.UNANSWERED:
            # A queue that is full drops SYNs, as a firewall does.
            for _ in range(2):
                filler = socket.socket()
                filler.setblocking(False)
                filler.connect_ex((self._host, self._port))
                self._fillers.append(filler)
            return
        self._let_fillers_go()
        if self._accepting is None:
            self._accepting = asyncio.ensure_future(self._accept(self._listener))

    def _let_fillers_go(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    async def _accept(self, listener: socket.socket) -> None:
        while True:
            inner, _ = await self._loop.sock_accept(listener)
            inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.taken += 1
            connection = _Connection(self, inner, self.taken)
            if self._dead_from_the_start:
                connection.swallowed.update(Direction)
            task = asyncio.ensure_future(self._carry(connection))
            self._connections[task] = connection
            task.add_done_callback(lambda done: self._connections.pop(done, None))

    async def _carry(self, connection: _Connection) -> None:
        try:
            await connection.carry()
        except OSError:
            pass
        finally:
            connection.reset()


def _bound(host: str, port: int) -> socket.socket:
    """A socket at that address, with others beside it."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.setblocking(False)
    made.bind((host, port))
    return made


@contextlib.contextmanager
def proxies(*targets: str, seed: int = 0) -> Iterator[list[Proxy]]:
    """A link to each of these."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Proxy(target, seed=seed + number)) for number, target in enumerate(targets)]
