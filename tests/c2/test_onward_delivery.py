"""A subscriber is given what another nation passed on: by whom it was made, who brought it, and what was changed."""

from __future__ import annotations

import contextlib
from pathlib import Path

from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.feed import Feed, Runs
from gateway.c2.grants import ReadGrant
from gateway.ledger.stores import FeedFilter
from gateway.release.watch import Watch
from tests.release.onward import USA_RULES, american, bring, passing, recall
from tests.release.world import Site
from tests.reports.examples import launch_detection

LIVE = frozenset({int(report_pb2.TRAFFIC_CLASS_LIVE)})
SECRET = ReadGrant(LIVE, report_pb2.CLASSIFICATION_SECRET, frozenset({"EYES-ONLY"}))
CONFIDENTIAL = ReadGrant(LIVE, report_pb2.CLASSIFICATION_CONFIDENTIAL, frozenset({"EYES-ONLY"}))


async def given(site: Site, grant: ReadGrant) -> list[c2_pb2.Item]:
    """What a new subscriber gets until he has caught up."""
    feed = Feed(site.node, Runs((("0" * 16, 1),)), lambda: site.store, Watch(), site.opener, site.signatory.storage)
    got: list[c2_pb2.Item] = []
    async with contextlib.aclosing(feed.follow(0, FeedFilter(LIVE), grant)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                break
            got += response.items
    return got


async def test_what_was_passed_on_and_withdrawn_reaches_those_whose_grant_covers_it(tmp_path: Path) -> None:
    usa, jpn, kor = sites = [Site(node, tmp_path / f"{node}.sqlite") for node in ("USA", "JPN", "KOR")]
    jpn.rulebook = passing("    coarsen: {position: {grid_m: 10000}}\n")
    for report in (american(), american(launch_detection, 2)):
        usa.take(report, USA_RULES)
    usa.take(recall(american()))
    bring(usa, jpn)
    bring(jpn, kor)
    gone, stands, _, notice = await given(kor, SECRET)
    assert (gone.delivery.received_from, gone.delivery.ledger) == ("JPN", "signalfire/v1/JPN/KOR/flash/1")
    assert gone.delivery.report.originator_node == "USA"
    assert [each.node for each in gone.delivery.report.derivations] == ["JPN"]
    assert (gone.delivery.withdrawn, stands.delivery.withdrawn) == (True, False)
    assert (notice.withdrawal.originator_node, notice.withdrawal.report_id) == ("USA", american().report_id)
    assert await given(kor, CONFIDENTIAL) == []
    for site in sites:
        site.close()
