"""What C2 systems are asked to submit again is told first, when it arises, and to whom it concerns."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.c2.wishes import LOOK_S, Wishes
from gateway.ledger.stores import ReportRow
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.recovery.wish import MARGIN_NS, EndWish, standing
from tests.patience import PATIENCE_S
from tests.release.world import Site
from tests.reports.examples import NOW, SECOND, launch_detection

RADAR, CAMERA = "spiffe://jpn/c2/radar", "spiffe://jpn/c2/camera"
RESTORE = ledger_pb2.SUCCESSION_REASON_RESTORE


@pytest.fixture
def jpn(tmp_path: Path) -> Site:
    return Site("JPN", tmp_path / "JPN.sqlite")


class Time:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def lost(why: str, since_ns: int) -> DeclareSetBack:
    return DeclareSetBack(why, (), RESTORE, since_ns=since_ns)


def test_a_later_loss_widens_the_wish_and_names_both_reasons(jpn: Site) -> None:
    jpn.do(lost("the disk", NOW - 60 * SECOND))
    jpn.now_ns += SECOND
    jpn.do(lost("the copy", NOW - 3600 * SECOND))
    wish = standing(jpn.store)
    assert wish is not None
    assert wish.since.ToNanoseconds() == NOW - 3600 * SECOND - MARGIN_NS
    assert wish.until.ToNanoseconds() == NOW + SECOND
    assert wish.reason == "the disk; the copy"


def test_a_wish_is_looked_for_once_a_second_for_all_streams_together(jpn: Site) -> None:
    time = Time()
    wishes = Wishes(lambda: jpn.store, time)
    assert wishes.current() is None
    jpn.do(lost("the disk", NOW))
    assert wishes.current() is None
    time.seconds += LOOK_S
    assert wishes.current() == standing(jpn.store)
    jpn.do(EndWish(True))
    time.seconds += LOOK_S
    assert wishes.of(RADAR) is None


class _Known:
    """Puts a report on record of which the content is lost."""

    weight = 0
    rank = Rank.OWN

    def __init__(self, seed: int, submitted_by: str) -> None:
        self.seed = seed
        self.submitted_by = submitted_by

    def apply(self, plan: Plan) -> None:
        plan.own_reports.rebuild(
            ReportRow(
                plan.own_reports.next_number(), bytes([self.seed]) * 16, bytes(32), "event", 1, self.submitted_by, NOW,
                0, b"", pruned_ns=NOW,
            )
        )  # fmt: skip


def test_each_client_is_told_which_of_its_own_reports_are_known_to_be_lost(jpn: Site) -> None:
    jpn.do(lost("the disk", NOW))
    jpn.do(_Known(1, RADAR))
    jpn.do(_Known(2, CAMERA))
    wishes = Wishes(lambda: jpn.store, Time())
    told = {client: wishes.of(client) for client in (RADAR, CAMERA, "spiffe://jpn/c2/other")}
    assert {client: list(wish.report_ids) for client, wish in told.items() if wish} == {
        RADAR: ["01010101-0101-0101-0101-010101010101"],
        CAMERA: ["02020202-0202-0202-0202-020202020202"],
        "spiffe://jpn/c2/other": [],
    }


async def test_nobody_is_asked_while_no_policy_is_in_force_and_who_waits_is_told_once_one_is(jpn: Site) -> None:
    jpn.do(lost("the disk", NOW))
    in_force = False
    wishes = Wishes(lambda: jpn.store, Time(), lambda: in_force)
    assert wishes.asked() is None
    assert wishes.of(RADAR) is None
    assert wishes.current() is not None, "what comes by itself is not too old"
    waiting = asyncio.create_task(wishes.next(wishes.asked()))
    await asyncio.sleep(0)
    assert not waiting.done()
    in_force = True
    async with asyncio.timeout(PATIENCE_S):
        assert await waiting == standing(jpn.store)
    assert wishes.of(RADAR) is not None


async def test_who_waits_is_told_when_a_wish_arises(jpn: Site) -> None:
    jpn.do(lost("the disk", NOW))
    wishes = Wishes(lambda: jpn.store, Time())
    async with asyncio.timeout(PATIENCE_S):
        assert (await wishes.next(None)).reason == "the disk"


def test_a_report_that_was_made_while_others_were_lost_is_not_too_old(jpn: Site) -> None:
    jpn.do(lost("the disk", NOW - 10 * 3600 * SECOND))
    wishes = Wishes(lambda: jpn.store, Time())
    report = launch_detection(1)
    for ago_s, judged in ((3600, True), (9 * 3600, True), (11 * 3600, False)):
        made_ns = NOW - ago_s * SECOND
        report.report_time.FromNanoseconds(made_ns)
        assert wishes.judged_at(report, NOW + SECOND) == (made_ns if judged else NOW + SECOND)
    report.ClearField("report_time")
    assert wishes.judged_at(report, NOW) == NOW
    report.report_time.FromNanoseconds(NOW + 3600 * SECOND)
    assert wishes.judged_at(report, NOW + SECOND) == NOW + SECOND, "what lies ahead is not excused"


def test_without_a_wish_nothing_is_excused(jpn: Site) -> None:
    report = launch_detection(1)
    assert Wishes(lambda: jpn.store, Time()).judged_at(report, NOW + 5) == NOW + 5
