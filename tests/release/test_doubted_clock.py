"""What rests on an agreement while the clock is not trusted is held, and decided once it is, alerts first."""

from __future__ import annotations

from typing import Final

import pytest
from signalfire.v1 import ledger_pb2

from gateway.release.pipeline import DecideHeld
from gateway.release.plan import LATEST_TIME
from gateway.release.rulebook import NO_CLOCK
from policy.decision import BuiltIn
from tests.release.onward import assert_sound
from tests.release.world import RELEASE_ALL, TREATY, Site, identifier, rules
from tests.reports.examples import NOW, SECOND, cancellation, launch_detection, track

ANNEX: Final = """\
agreements:
  annex:
    {title: T, basis: B, parties: [JPN, KOR], from: 2000-01-01, until: 2100-01-01, kinds: [LaunchDetection, Track]}
"""
UNDER: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    agreement: annex").replace(
    "kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]",
    "kinds: [LaunchDetection, Track]",
)
HELD_A_DAY: Final = UNDER.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 86400")
AGREED: Final = rules(KOR=UNDER, _policy=TREATY + ANNEX)


def due(site: Site) -> list[bytes]:
    """The reports that are due, in the order in which they are decided."""
    return [row.report_id for row in site.store.held_until(site.now_ns, 100)]


@pytest.fixture
def doubting(jpn: Site) -> Site:
    """JPN, whose clock was nine hours ahead and believed, so that it is on record, and is not trusted now."""
    jpn.now_ns = NOW + 9 * 3600 * SECOND
    jpn.rulebook = AGREED
    jpn.take(track(1), AGREED)
    plan = jpn.plan()
    plan.commit.meta[LATEST_TIME] = jpn.now_ns.to_bytes(8)
    jpn.keep(plan)
    jpn.clock_trusted = False
    return jpn


def test_what_waits_for_the_clock_is_due_as_soon_as_it_is_trusted_though_it_was_far_ahead(doubting: Site) -> None:
    taken = launch_detection(2)
    doubting.take(taken)
    record = doubting.decisions()[-1].decisions[0]
    assert (record.outcome, record.rule, record.agreement) == (ledger_pb2.OUTCOME_HELD, NO_CLOCK, "annex")
    assert doubting.reports("KOR")[1:] == []
    assert_sound(doubting)
    doubting.now_ns, doubting.clock_trusted = NOW + SECOND, True
    assert due(doubting) == [identifier(taken)]
    (held,) = doubting.store.held_until(doubting.now_ns, 1)
    doubting.do(DecideHeld(held))
    assert {report.report_id for report in doubting.reports("KOR")} == {track(1).report_id, taken.report_id}
    assert due(doubting) == []
    assert_sound(doubting)


def test_alerts_are_decided_before_whatever_came_earlier(doubting: Site) -> None:
    tracks = [track(number) for number in range(2, 12)]
    for each in tracks:
        doubting.take(each)
    alert = launch_detection(20)
    doubting.take(alert)
    doubting.clock_trusted = True
    assert due(doubting)[0] == identifier(alert)
    assert len(due(doubting)) == len(tracks) + 1


def test_what_was_taken_back_meanwhile_never_goes(doubting: Site) -> None:
    taken = launch_detection(2)
    doubting.take(taken)
    doubting.take(cancellation(3, cancellation__report_ids=[taken.report_id]))
    doubting.clock_trusted = True
    assert due(doubting) == []


def test_where_a_rule_asks_for_a_hold_too_nothing_is_held_for_the_clock(doubting: Site) -> None:
    """Its hold counts from when the report was accepted, and that is in doubt."""
    doubting.take(launch_detection(2), rules(KOR=HELD_A_DAY, _policy=TREATY + ANNEX))
    record = doubting.decisions()[-1].decisions[0]
    assert (record.outcome, record.rule) == (ledger_pb2.OUTCOME_WITHHELD, BuiltIn.AGREEMENT_LAPSED)
