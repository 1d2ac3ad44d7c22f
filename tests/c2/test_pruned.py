"""What subscribers meet where the beginning of the feed was let go."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

from gateway.c2.feed import Feed, PrunedError, Runs
from gateway.c2.grants import ReadGrant
from gateway.ledger.stores import FeedFilter
from gateway.release.retention import PruneReports
from gateway.release.watch import Watch
from tests.release.aging import prune, send
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import launch_detection

LIVE = frozenset({int(report_pb2.TRAFFIC_CLASS_LIVE)})
EVERYTHING = FeedFilter(LIVE, include_own=True)
OTHERS = FeedFilter(LIVE)
ALL_OF_IT = ReadGrant(LIVE, report_pb2.CLASSIFICATION_TOP_SECRET, frozenset({"EYES-ONLY"}))
UNCLASSIFIED = ReadGrant(LIVE, report_pb2.CLASSIFICATION_UNCLASSIFIED, frozenset())


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    jpn.rulebook = rules(KOR=RELEASE_ALL)
    for seed in range(4):
        jpn.now_ns += 1
        kor.now_ns += 1
        jpn.take(launch_detection(seed))
        send(jpn, kor)
    yield jpn, kor
    jpn.close()
    kor.close()


def feed(site: Site) -> Feed:
    return Feed(site.node, Runs((("0" * 16, 1),)), lambda: site.store, Watch(), site.opener, site.signatory.storage)


def cursor(number: int) -> str:
    return f"{'0' * 16}:{number}"


async def given(
    site: Site, position: int, wanted: FeedFilter = EVERYTHING, grant: ReadGrant = ALL_OF_IT, *, anew: bool = False
) -> list[str]:
    """What one who subscribes gets until he has caught up."""
    got: list[str] = []
    async with contextlib.aclosing(feed(site).follow(position, wanted, grant, anew=anew)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                break
            got += [
                item.delivery.report.report_id or f"withdrawn {item.withdrawal.report_id}" for item in response.items
            ]
    return got


@pytest.mark.parametrize("node", ["JPN", "KOR"])
async def test_a_subscription_without_a_cursor_begins_after_what_was_pruned(
    sites: tuple[Site, Site], node: str
) -> None:
    site = next(site for site in sites if site.node == node)
    prune(site, site.now_ns - 2)
    begins = feed(site).position("")
    # Own reports that went are passed over one by one; partners' have a place before which they went.
    assert begins == {"JPN": 0, "KOR": 2}[node]
    assert await given(site, begins, anew=True) == [launch_detection(seed).report_id for seed in (2, 3)]


@pytest.mark.parametrize("node", ["JPN", "KOR"])
def test_a_cursor_older_than_what_is_kept_is_refused_and_the_oldest_is_named(
    sites: tuple[Site, Site], node: str
) -> None:
    site = next(site for site in sites if site.node == node)
    prune(site, site.now_ns - 2)
    for number in (0, 1):
        with pytest.raises(PrunedError, match=cursor(2)):
            feed(site).position(cursor(number))
    assert [feed(site).position(cursor(number)) for number in (2, 3, 4)] == [2, 3, 4]


def test_own_reports_that_were_pruned_concern_only_who_reads_own_ones(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    prune(jpn, jpn.now_ns - 2)
    assert feed(jpn).position(cursor(1), include_own=False) == 1
    assert feed(jpn).position("", include_own=False) == 0


async def test_a_partners_report_that_is_kept_is_given_though_a_younger_own_one_was_pruned(
    sites: tuple[Site, Site],
) -> None:
    _, kor = sites
    own = launch_detection(60)
    own.originator_node, own.marking.policy = "KOR", "KOR"
    kor.now_ns += 1
    kor.take(own, rules("KOR", JPN="rules: []\n"))
    assert kor.do(PruneReports(1, kor.now_ns)).pruned == 1
    begins = feed(kor).position("")
    assert await given(kor, begins, anew=True) == [launch_detection(seed).report_id for seed in range(4)]
    # Who names a cursor learns that he is not given something, and how he is given what is kept.
    with pytest.raises(PrunedError, match="Send none to be given everything that is kept"):
        feed(kor).position(cursor(2))


async def test_what_is_pruned_under_one_who_catches_up_is_told_and_not_passed_over(sites: tuple[Site, Site]) -> None:
    for site in sites:
        prune(site, site.now_ns - 2)
        with pytest.raises(PrunedError, match="pruned"):
            await given(site, 0)
        assert len(await given(site, 0, anew=True)) == 2, "who began anew is given what there is"


async def test_one_who_has_caught_up_is_not_disturbed(sites: tuple[Site, Site]) -> None:
    _, kor = sites
    async with contextlib.aclosing(feed(kor).follow(0, OTHERS, ALL_OF_IT)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                break
        prune(kor)
        jpn = sites[0]
        jpn.take(launch_detection(8))
        send(jpn, kor)
        items_watch = feed(kor)
        assert items_watch.position(cursor(4)) == 4
        assert await given(kor, 4) == [launch_detection(8).report_id]


async def test_the_withdrawal_of_a_report_that_was_pruned_is_given(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    prune(kor)
    jpn.take(cancelling(launch_detection(1)))
    send(jpn, kor)
    assert f"withdrawn {launch_detection(1).report_id}" in await given(kor, 4)
    # Nobody can say any more that he was not given it.
    assert f"withdrawn {launch_detection(1).report_id}" in await given(kor, 4, grant=UNCLASSIFIED)
