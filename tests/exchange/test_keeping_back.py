"""Entries that were released and not sent yet do not go where they may not go any more: only their hashes do."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio

from gateway.demo.deployment import Deployed
from gateway.exchange import keeping_back
from gateway.ledger.origin import Origin
from gateway.release.pipeline import TellWithdrawals
from policy.approve import Resume, Suspend
from tests.node.nations import World, report, running, settle, until
from tests.officer.test_enact import bring
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, TREATY, Site, as_sent, rules
from tests.reports.examples import NOW, SECOND, launch_detection, track

AGREEMENT: Final = """\
agreements:
  treaty: {title: T, basis: B, parties: [JPN, KOR], from: 2000-01-01, until: 2200-01-01, kinds: [LaunchDetection]}
"""
TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
UNDER_TREATY: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    agreement: treaty").replace(
    "kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]", "kinds: [LaunchDetection]"
)
AT_NOW: Final = datetime.fromtimestamp(NOW / SECOND, UTC)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    yield jpn, kor
    jpn.close()
    kor.close()


def send(jpn: Site, kor: Site, *, now: datetime = AT_NOW, clock_trusted: bool = True) -> list[int]:
    """Sends KOR what it does not have yet, as far as it may go. Returns the indices that were kept back."""
    head = kor.heads.get(TO_KOR)
    run = jpn.run(TO_KOR, 0 if head is None else head.edge.size)
    row = jpn.row(TO_KOR)
    why = keeping_back.reasons(jpn.store, row, run, jpn.rulebook, now, clock_trusted=clock_trusted)
    kept = keeping_back.without(run, why, TO_KOR, row, jpn.signatory)
    kor.do(kor.receive(as_sent(TO_KOR, kept)))
    return sorted(why)


def delivered(kor: Site) -> set[str]:
    return {content.report.report_id for content in kor.contents(TO_KOR).values() if content.HasField("report")}


def test_a_suspended_partner_is_given_hashes_and_what_comes_after_the_suspension_opens(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    allowed = rules(KOR=RELEASE_ALL)
    secret, later = launch_detection(1), launch_detection(2)
    jpn.take(secret, allowed)
    jpn.rulebook = replace(allowed, suspended=frozenset({"KOR"}))
    assert send(jpn, kor) == [0, 1]
    assert kor.store.ledger(TO_KOR) is not None
    assert delivered(kor) == set()
    plan = jpn.plan()
    plan.govern(allowed)
    jpn.keep(plan)
    jpn.heads.without_epochs()
    jpn.take(later)
    assert send(jpn, kor) == []
    assert delivered(kor) == {later.report_id}
    assert kor.row(TO_KOR).root == jpn.row(TO_KOR).root


def test_a_release_whose_agreement_lapsed_before_it_was_sent_does_not_go(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    treaty = rules(KOR=UNDER_TREATY, _policy=TREATY + AGREEMENT)
    jpn.take(launch_detection(1), treaty)
    jpn.rulebook = rules(KOR=RELEASE_ALL, _policy=TREATY + AGREEMENT.replace("until: 2200", "until: 2001"))
    jpn.take(launch_detection(2))
    # Opening, the release under the treaty, and one that cites none.
    assert send(jpn, kor) == [1]
    assert delivered(kor) == {launch_detection(2).report_id}


def test_no_agreement_is_in_force_where_the_policy_no_longer_has_it_or_the_clock_is_not_trusted(
    sites: tuple[Site, Site],
) -> None:
    jpn, _ = sites
    treaty = rules(KOR=UNDER_TREATY, _policy=TREATY + AGREEMENT)
    jpn.take(launch_detection(1), treaty)
    row, run = jpn.row(TO_KOR), jpn.run(TO_KOR)
    assert keeping_back.reasons(jpn.store, row, run, treaty, AT_NOW, clock_trusted=True) == {}
    assert list(keeping_back.reasons(jpn.store, row, run, treaty, AT_NOW, clock_trusted=False)) == [1]
    without = rules(KOR=RELEASE_ALL)
    assert list(keeping_back.reasons(jpn.store, row, run, without, AT_NOW, clock_trusted=True)) == [1]
    after = AT_NOW + timedelta(days=200 * 366)
    assert list(keeping_back.reasons(jpn.store, row, run, treaty, after, clock_trusted=True)) == [1]


def test_the_withdrawal_of_what_was_kept_back_goes_once_it_may(sites: tuple[Site, Site]) -> None:
    jpn, _ = sites
    allowed = rules(KOR=RELEASE_ALL)
    jpn.take(track(1), allowed)
    jpn.take(cancelling(track(1)), replace(allowed, suspended=frozenset({"KOR"})))
    assert jpn.withdrawals("KOR") == []
    jpn.rulebook = allowed
    assert jpn.do(TellWithdrawals("KOR")) == 1


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return settle(tmp_path_factory.mktemp("kept-back"), "JPN", "KOR")


@pytest_asyncio.fixture
async def world(settled: dict[str, Deployed], tmp_path: Path) -> AsyncIterator[World]:
    places = {}
    for node, place in settled.items():
        places[node] = Deployed(node, tmp_path / node, place.national, place.exchange)
        shutil.copytree(place.directory, places[node].directory, ignore=shutil.ignore_patterns("store.db*"))
    async with running(places) as made:
        yield made


async def test_what_waits_for_a_partner_that_is_then_suspended_never_reaches_it_and_the_lane_goes_on(
    world: World,
) -> None:
    await world.stop("KOR")
    waiting = report(node="JPN")
    assert (await world.push_one("JPN", waiting)).accepted
    assert await bring(world.places["JPN"], Suspend("KOR", "A leak"), "carol") == set()
    await world.start("KOR")
    event = await world.event("JPN", "entries-kept-back")
    assert "the partner is suspended" in event.detail
    ours = world.ledger("JPN", TO_KOR)
    assert ours is not None

    def caught_up() -> bool:
        theirs = world.ledger("KOR", TO_KOR)
        return theirs is not None and theirs.root == ours.root

    await until(caught_up, "the ledger whole at KOR")
    assert waiting.report_id not in world.inboxes["KOR"].reports
    assert await bring(world.places["JPN"], Resume("KOR"), "alice", "bob") == set()
    await world.linked()
    after = await world.carries("JPN", "KOR")
    assert after.report_id in world.inboxes["KOR"].reports
    assert waiting.report_id not in world.inboxes["KOR"].reports
