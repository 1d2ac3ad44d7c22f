"""A narrow way with a backlog in it: the alert goes first, and the carried lanes stand while the direct one has it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

from gateway.client import Received
from gateway.reports.kinds import Kind
from tests.exchange.relaying import ENDS, VIA, allow, relayed, three
from tests.faults.between import links
from tests.faults.proxy import Shape
from tests.node.nations import report, running
from tests.patience import PATIENCE_S

TRACKS = 120
BACKLOG = 100
"""Tracks that wait before the alert is pushed."""
SILENCE_S = 6.0
"""Longer than a machine that is busy otherwise stands still, and shorter than a backlog."""


async def test_an_alert_reaches_the_other_end_ahead_of_a_backlog_in_the_tunnel(tmp_path: Path) -> None:
    # One class of 25 KB/s: less than is pushed, however slow the machine. Heartbeats wait their turn in it as well.
    places = three(tmp_path, {"carry": {"classes": [1], "tick_s": 0.08}, "exchange": {"silence_s": 60}})
    with links(places, pairs={frozenset(ENDS)}) as between:
        async with running(places) as world:
            await allow(world)
            await relayed(world)
            for link in between.between(*ENDS):
                link.cut()
            inbox, tracks = world.inboxes["KOR"], list[report_pb2.Report]()

            def waiting() -> int:
                come = inbox.reports
                return sum(each.report_id not in come for each in tracks)

            async with asyncio.timeout(PATIENCE_S):
                while waiting() < BACKLOG:
                    more = [report(Kind.TRACK) for _ in range(TRACKS)]
                    await world.push("JPN", *more)
                    tracks += more
            alert = await world.carries("JPN", "KOR")
            behind = waiting()
            await inbox.holds(lambda: {each.report_id for each in tracks} <= inbox.reports.keys(), "all tracks")
            order = [item.report.report_id for item in inbox.items if isinstance(item, Received)]
            assert len(order) == len(set(order))
            overtaken = len(order) - 1 - order.index(alert.report_id)
            assert overtaken >= behind > BACKLOG // 10, f"only {overtaken} tracks came after the alert"
            # Within the lane nothing is reordered.
            assert [each for each in order if each != alert.report_id] == [each.report_id for each in tracks]


async def test_a_carried_lane_stands_while_the_direct_one_works_off_a_backlog(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Heartbeats show far more than has come, and by the carried lane nothing comes: it is idle, and not dead."""
    places = three(tmp_path, {"carry": {"hedge_s": 60}, "exchange": {"silence_s": SILENCE_S, "bulk_bytes": 4096}})
    with links(places, pairs={frozenset(ENDS)}) as between:
        async with running(places) as world:
            await allow(world)
            await relayed(world)
            for link in between.between(*ENDS):
                link.shape(Shape(bytes_per_s=12_000))
            tracks = [report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE) for _ in range(TRACKS)]
            began = time.monotonic()
            await world.push("JPN", *tracks)
            inbox = world.inboxes["KOR"]
            await inbox.holds(lambda: {each.report_id for each in tracks} <= inbox.reports.keys(), "all tracks")
            assert time.monotonic() - began > 1.5 * SILENCE_S, "there was no backlog"
    doubts = [text for text in caplog.messages if f"routine {VIA}" in text and "entries that did not come" in text]
    assert not doubts
