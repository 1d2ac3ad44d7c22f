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
from gateway.exchange.openings import Openings
from gateway.exchange.tunnels.cells import CELL, CHANNELS, ROOM, CellOpener, CellSealer, Frame, Kind
from gateway.exchange.tunnels.pacing import FALL_S, Bucket, CarryLimits, Pacer
from gateway.exchange.tunnels.sockets import Sockets
from gateway.exchange.tunnels.tunnel import MAX_UNREAD, OPENINGS_S, READ, Tunnel, TunnelEnded
from gateway.seal.tunnel import Ends, cell_keys
from tests.patience import PATIENCE_S

ENDS = Ends("JPN", "KOR", "USA")
LIMITS = CarryLimits(tick_s=0.005, classes=(4, 64))


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
    silence_s: float = PATIENCE_S,
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


async def test_while_one_lane_has_a_backlog_another_is_dialled_anew_and_the_tunnel_stands() -> None:
    """At one pace alone, which the backlog fills: each time behind it would take 150 cells."""
    async with (
        tunnelled(limits=CarryLimits(tick_s=0.005, classes=(1,))) as pair,
        asyncio.timeout(PATIENCE_S),
        pair.opener.dialled("immediate") as address,
    ):
        reader, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))

        async def flood() -> None:
            while True:
                writer.write(bytes(READ))
                await writer.drain()

        async def drain() -> None:
            while await reader.read(READ):
                pass

        tasks = [asyncio.create_task(each()) for each in (flood, drain)]
        try:
            before = len(pair.out.seen)
            for number in range(10):
                assert await pair.echoed("routine", b"%d" % number) == b"%d" % number
            # Cells go by the clock and are not made up for: they are the time that the machine had.
            assert len(pair.out.seen) - before < 600
            assert await pair.echoed("flash", b"launch") == b"launch"
            assert not pair.running.done()
            assert not any(task.done() for task in tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            writer.close()


async def test_what_a_connection_still_had_to_say_when_it_ended_stands_before_nothing() -> None:
    """Its backlog is dropped with it: the next connection of the lane does not wait for that to go."""
    async with tunnelled(limits=CarryLimits(tick_s=0.005, classes=(1,)), reads=False) as pair:
        async with asyncio.timeout(PATIENCE_S), pair.opener.dialled("routine") as address:
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            writer.write(bytes(MAX_UNREAD // 2))
            await pair.out.has(20)
            writer.transport.abort()
        before = len(pair.out.seen)
        async with asyncio.timeout(PATIENCE_S), pair.opener.dialled("routine") as address:
            _, writer = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            while len(pair.arrived) < 2:
                await pair.out.has(len(pair.out.seen) + 1)
            writer.close()
        assert len(pair.out.seen) - before < 20


FURTHER_SILENCE_S = 10.0


@dataclass(slots=True)
class FurtherEnd:
    """The end that was dialled, alone: what seals cells for it, how they come, and the connections that it made."""

    sealer: CellSealer
    came: Carrier
    task: asyncio.Task[None]
    made: list[int]
    closes: list[Frame]
    """What it has said of channels that it closed."""


@contextlib.asynccontextmanager
async def further_end() -> AsyncIterator[FurtherEnd]:
    keys = cell_keys(ENDS, bytes(32), bytes(32))
    opener, made, closes = CellOpener(keys.back), list[int](), list[Frame]()

    def heard(_: int, cell: bytes) -> list[bytes]:
        closes.extend(frame for frame in opener.open(cell) if frame.kind is Kind.CLOSE)
        return []

    sockets, came, sent = Sockets(), Carrier(), Carrier(heard)

    async def keep(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        made.append(len(made))
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    end = Tunnel(
        ENDS,
        keys,
        opened_here=False,
        send=sent.send,
        receive=came.receive,
        sockets=sockets,
        limits=LIMITS,
        silence_s=FURTHER_SILENCE_S,
        monotonic=time.monotonic,
    )
    server = await asyncio.start_unix_server(keep, sockets.listener.removeprefix("unix:"))
    task = asyncio.create_task(end.run())
    try:
        yield FurtherEnd(CellSealer(keys.out), came, task, made, closes)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        server.close()
        sockets.close()


async def test_an_end_that_fills_a_cell_with_openings_ends_the_tunnel_at_the_second_and_gets_no_connection() -> None:
    async with further_end() as end:
        await end.came.send(end.sealer.seal([Frame(Kind.OPEN, 5), Frame(Kind.CLOSE, 5)] * (ROOM // 8)))
        with pytest.raises(TunnelEnded, match="opened where it cannot be"):
            await asyncio.wait_for(end.task, PATIENCE_S)
        assert not end.made


async def test_an_end_that_opens_again_and_again_ends_the_tunnel() -> None:
    async with further_end() as end, asyncio.timeout(PATIENCE_S):
        opened, began = 0, time.monotonic()
        while not end.task.done():
            opened += 1
            await end.came.send(end.sealer.seal([Frame(Kind.OPEN, 5)]))
            while len(end.made) < opened and not end.task.done():
                await asyncio.wait([end.task], timeout=0.001)
            await end.came.send(end.sealer.seal([Frame(Kind.CLOSE, 5)]))
            # Until the other side's close has come, as one does that keeps to the rules.
            while len(end.closes) < opened and not end.task.done():
                await asyncio.wait([end.task], timeout=0.001)
        with pytest.raises(TunnelEnded, match="more than 10 channels a second were opened"):
            end.task.result()
        took_s = time.monotonic() - began
        assert len(end.made) <= len(CHANNELS) + OPENINGS_S * (FURTHER_SILENCE_S + took_s)


async def test_an_end_opens_channels_no_faster_than_the_other_allows() -> None:
    """However fast its lanes are dialled anew."""
    async with tunnelled(limits=CarryLimits(tick_s=0.001, classes=(4,))) as pair:
        began = time.monotonic()
        for number in range(len(CHANNELS) + 4):
            assert await pair.echoed("routine", b"%d" % number) == b"%d" % number
        assert time.monotonic() - began > 3 * 2 / OPENINGS_S


async def test_an_end_that_does_not_close_a_channel_loses_that_one_and_the_others_go_on() -> None:
    """Its cells come, and its CLOSE is not among them."""
    keys = cell_keys(ENDS, bytes(32), bytes(32))
    sealer, sockets, out = CellSealer(keys.back), Sockets(), Carrier()

    async def cover() -> bytes:
        return sealer.seal([])

    end = Tunnel(
        ENDS,
        keys,
        opened_here=True,
        send=out.send,
        receive=cover,
        sockets=sockets,
        limits=CarryLimits(tick_s=0.005, classes=(4, 64), bytes_s=200 * CELL),
        silence_s=0.25,
        monotonic=time.monotonic,
    )
    task = asyncio.create_task(end.run())
    try:
        async with asyncio.timeout(PATIENCE_S), end.dialled("routine") as address:
            _, first = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            first.write(b"?")
            await out.has(len(out.seen) + 2)
            reader, second = await asyncio.open_unix_connection(address.removeprefix("unix:"))
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            first.close()
            second.close()
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        sockets.close()


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


@given(st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_nothing_is_opened_more_often_than_it_may_be(pauses: list[float]) -> None:
    openings, now = Openings(4.0, 3.0), 0.0
    for opened, pause in enumerate(pauses, 1):
        now += pause
        wait_s = openings.wait_s(now)
        if wait_s:
            assert openings.wait_s(now) == pytest.approx(wait_s)
            now += wait_s
            assert openings.wait_s(now) == 0.0
        assert opened <= 3.0 + 4.0 * now + 1e-6
