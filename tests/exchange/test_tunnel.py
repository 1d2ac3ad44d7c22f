"""Two ends of a tunnel, with whoever carries in between: what gets through, what he sees, and what he can do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.config_limits import CarrySection
from gateway.exchange.cells import CELL, ROOM
from gateway.exchange.pacing import FALL_S, Bucket, CarryLimits, Pacer
from gateway.exchange.sockets import Sockets
from gateway.exchange.tunnel import MAX_UNREAD, Tunnel, TunnelEnded
from gateway.seal.tunnel import Ends, cell_keys

ENDS = Ends("JPN", "KOR", "USA")
LIMITS = CarryLimits(tick_s=0.005, classes=(4, 64))
PATIENCE_S = 10.0


@dataclass(slots=True)
class Carrier:
    """One direction of a tunnel, as its carrier has it: he sees each cell, and may do with it what he likes."""

    alter: Callable[[int, bytes], list[bytes]] = lambda _, cell: [cell]
    seen: list[bytes] = field(default_factory=list)
    _passing: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    _grown: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, cell: bytes) -> None:
        for each in self.alter(len(self.seen), cell):
            self._passing.put_nowait(each)
        self.seen.append(cell)

        self._grown.set()

    async def receive(self) -> bytes:
        return await self._passing.get()

    async def has(self, cells: int) -> None:
        """Returns when so many have come."""
        async with asyncio.timeout(PATIENCE_S):
            while len(self.seen) < cells:
                self._grown.clear()
                await self._grown.wait()


@dataclass(slots=True)
class Pair:
    """Both ends, and at the end of the second a server that keeps what it gets and sends it back."""

    opener: Tunnel
    running: asyncio.Future[list[None]]
    out: Carrier
    back: Carrier
    arrived: list[Ends | None]

    async def echoed(self, channel: str, data: bytes) -> bytes:
        """What comes back through a channel."""
        async with asyncio.timeout(PATIENCE_S), self.opener.dialled(channel) as address:
            reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            writer.write(data)
            found = await reader.readexactly(len(data))
            writer.close()
            return found


@contextlib.asynccontextmanager
async def tunnelled(
    out: Carrier | None = None,
    back: Carrier | None = None,
    *,
    limits: CarryLimits = LIMITS,
    silence_s: float = 2.0,
    reads: bool = True,
) -> AsyncIterator[Pair]:
    out, back = out or Carrier(), back or Carrier()
    here, there = Sockets(), Sockets()
    keys = cell_keys(ENDS, bytes(32), bytes(32))
    arrived: list[Ends | None] = []
    held: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.append(there.arrived(f"unix:{writer.get_extra_info('peername')}"))
        held.append(writer)
        with contextlib.suppress(ConnectionError):
            while reads and (data := await reader.read(1 << 16)):
                writer.write(data)
                await writer.drain()
            if reads:
                writer.close()

    ends = [
        Tunnel(
            ENDS,
            keys,
            opened_here=opened_here,
            send=sent.send,
            receive=received.receive,
            sockets=sockets,
            limits=limits,
            silence_s=silence_s,
            monotonic=time.monotonic,
        )
        for opened_here, sent, received, sockets in ((True, out, back, here), (False, back, out, there))
    ]
    server = await asyncio.start_unix_server(echo, there.listener.removeprefix("unix:"))
    running = asyncio.ensure_future(asyncio.gather(*(end.run() for end in ends)))
    try:
        yield Pair(ends[0], running, out, back, arrived)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        for writer in held:
            writer.transport.abort()
        server.close()
        here.close()
        there.close()


async def test_what_goes_in_at_one_end_comes_out_at_the_other_and_back() -> None:
    async with tunnelled() as pair:
        data = os.urandom(300_000)
        assert await pair.echoed("routine", data) == data
        assert await pair.echoed("flash", b"launch") == b"launch"
        # A channel serves again once its connection has ended.
        assert await pair.echoed("flash", b"again") == b"again"


async def test_the_listener_knows_from_whom_and_by_whom_a_connection_came() -> None:
    async with tunnelled() as pair:
        await pair.echoed("heartbeat", b"?")
        assert pair.arrived == [ENDS]


async def test_the_carrier_sees_as_many_cells_of_one_size_with_an_alert_as_without() -> None:
    """What he sees of a tick is how many cells there are, and how large: neither depends on whether anything goes."""
    alert = os.urandom(3000)
    pacer, rate = Pacer(CarryLimits(), 0.0), CarryLimits().classes[0]
    assert [pacer.cells(0.04 * tick, len(alert) if tick == 7 else 0) for tick in range(50)] == [rate] * 50
    limits = CarryLimits(tick_s=0.005, classes=(1, 64))
    async with tunnelled(limits=limits) as quiet:
        await quiet.out.has(60)
    async with tunnelled(limits=limits) as warned:
        assert await warned.echoed("flash", alert) == alert
        await warned.out.has(60)
    for pair in (quiet, warned):
        assert {len(cell) for cell in pair.out.seen + pair.back.seen} == {CELL}
        # Nothing repeats, and nothing of the alert shows.
        assert len(set(pair.out.seen)) == len(pair.out.seen)
        assert alert[:16] not in b"".join(pair.out.seen + pair.back.seen)


def _drop(at: int, cell: bytes) -> list[bytes]:
    return [] if at == 3 else [cell]


def _repeat(at: int, cell: bytes) -> list[bytes]:
    return [cell, cell] if at == 3 else [cell]


def _alter(at: int, cell: bytes) -> list[bytes]:
    return [cell[:100] + bytes([cell[100] ^ 1]) + cell[101:]] if at == 3 else [cell]


def _invent(at: int, cell: bytes) -> list[bytes]:
    return [os.urandom(CELL)] if at == 3 else [cell]


@pytest.mark.parametrize("way", ["out", "back"])
@pytest.mark.parametrize("deed", [_drop, _repeat, _alter, _invent])
async def test_a_carrier_who_changes_anything_ends_the_tunnel_and_nothing_else(
    deed: Callable[[int, bytes], list[bytes]], way: str
) -> None:
    async with tunnelled(*((Carrier(deed), None) if way == "out" else (None, Carrier(deed)))) as pair:
        with pytest.raises(TunnelEnded, match="dropped, repeated, moved or altered"):
            await asyncio.wait_for(pair.running, PATIENCE_S)


async def test_a_carrier_who_reflects_cells_to_their_sender_ends_the_tunnel() -> None:
    out = Carrier()
    back = Carrier(lambda at, cell: out.seen[at : at + 1] or [cell])
    async with tunnelled(out, back) as pair:
        with pytest.raises(TunnelEnded, match="altered"):
            await asyncio.wait_for(pair.running, PATIENCE_S)


async def test_a_carrier_who_holds_everything_back_is_noticed_by_the_silence() -> None:
    async with tunnelled(Carrier(lambda at, cell: [cell] if at < 5 else []), silence_s=0.2) as pair:
        with pytest.raises(TunnelEnded, match=r"no cell came for 0\.2 s"):
            await asyncio.wait_for(pair.running, PATIENCE_S)


async def test_a_connection_that_takes_nothing_is_closed_and_the_others_go_on() -> None:
    async with tunnelled(limits=CarryLimits(tick_s=0.005, classes=(64,), bytes_s=1e9), reads=False) as pair:
        async with asyncio.timeout(PATIENCE_S), pair.opener.dialled("routine") as address:
            reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            writer.write(bytes(3 * MAX_UNREAD))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.close()
        assert not pair.running.done()


# --- the pace


@given(st.lists(st.integers(0, 4_000_000), min_size=1, max_size=200))
def test_the_pace_is_one_of_few_classes_and_changes_by_one_at_a_time(waiting: list[int]) -> None:
    limits = CarryLimits()
    pacer = Pacer(limits, 0.0)
    found = [pacer.cells(tick * limits.tick_s, size) for tick, size in enumerate(waiting)]
    places = [list(limits.classes).index(cells) for cells in [limits.classes[0], *found]]
    assert all(abs(now - before) <= 1 for before, now in pairwise(places))


def test_a_backlog_raises_the_pace_and_it_falls_again_when_all_is_sent_and_time_has_passed() -> None:
    limits = CarryLimits()
    pacer = Pacer(limits, 0.0)
    assert [pacer.cells(0.04 * tick, 10_000_000) for tick in range(3)] == [4, 16, 16]
    assert pacer.cells(1.0, 0) == 16
    assert pacer.cells(1.0 + FALL_S - 0.1, 0) == 16
    assert pacer.cells(1.0 + FALL_S, 0) == 4
    assert pacer.cells(1.0 + 2 * FALL_S, 0) == 1


@pytest.mark.parametrize("classes", [[], [4, 1], [1, 1], [0, 1], [1, 2000]])
def test_classes_that_do_not_rise_are_no_setting(classes: list[int]) -> None:
    with pytest.raises(ValidationError):
        CarrySection.model_validate({"classes": classes})


def test_the_settings_are_the_limits_that_hold() -> None:
    assert CarrySection().limits() == CarryLimits()
    assert CarrySection.model_validate({"classes": [2, 8]}).limits().classes == (2, 8)


def test_so_much_of_one_lane_may_wait_as_raises_the_pace() -> None:
    pacer = Pacer(CarryLimits(), 0.0)
    assert pacer.cells(0.0, pacer.most_waiting) == CarryLimits().classes[1]


def test_a_tick_that_came_late_is_not_made_up_for() -> None:
    pacer = Pacer(CarryLimits(), 0.0)
    assert pacer.wait_s(0.0) == pytest.approx(0.04)
    assert pacer.wait_s(0.05) == pytest.approx(0.03)
    assert pacer.wait_s(1.0) == 0.0
    assert pacer.wait_s(1.0) == pytest.approx(0.04)


@given(st.lists(st.tuples(st.integers(1, 4 * ROOM), st.floats(0, 2)), min_size=1, max_size=50))
def test_a_carrier_reads_no_more_than_is_allowed(taken: list[tuple[int, float]]) -> None:
    bucket, now, total = Bucket(10_000.0, 0.0), 0.0, 0
    for size, pause in taken:
        now += pause
        total += size
        now += bucket.wait_s(size, now)
        assert total <= 10_000.0 * (now + 1) + 1
