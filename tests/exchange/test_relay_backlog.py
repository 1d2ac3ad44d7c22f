"""A narrow carried way with a backlog in it: the alert goes first."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.client import Received
from gateway.reports.kinds import Kind
from tests.exchange.relaying import ENDS, allow, relayed, three
from tests.faults.between import links
from tests.node.nations import report, running

TRACKS = 120


async def test_an_alert_reaches_the_other_end_ahead_of_a_backlog_in_the_tunnel(tmp_path: Path) -> None:
    # One class of 50 KB/s: the backlog takes seconds.
    places = three(tmp_path, {"carry": {"classes": [1]}})
    with links(places, pairs={frozenset(ENDS)}) as between:
        async with running(places) as world:
            await allow(world)
            await relayed(world)
            for link in between.between(*ENDS):
                link.cut()
            tracks = [report(Kind.TRACK) for _ in range(TRACKS)]
            await world.push("JPN", *tracks)
            began = time.monotonic()
            alert = await world.carries("JPN", "KOR")
            assert time.monotonic() - began < 2.0
            inbox = world.inboxes["KOR"]
            await inbox.holds(lambda: {each.report_id for each in tracks} <= inbox.reports.keys(), "all tracks")
            order = [item.report.report_id for item in inbox.items if isinstance(item, Received)]
            assert len(order) == len(set(order))
            overtaken = len(order) - 1 - order.index(alert.report_id)
            assert overtaken > TRACKS // 10, f"only {overtaken} tracks came after the alert: there was no backlog"
            # Within the lane nothing is reordered.
            assert [each for each in order if each != alert.report_id] == [each.report_id for each in tracks]
