"""Of an alert that is withheld because something failed an operator hears; of one that policy withholds he does not."""

from __future__ import annotations

from typing import Final

from signalfire.v1 import report_pb2

from gateway.attention import Alert
from gateway.release.pipeline import DecideHeld
from gateway.release.rulebook import Rulebook
from policy.decision import Outcome
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, TREATY, Site, rules
from tests.reports.examples import SECOND, launch_detection, track

ANNEX: Final = """\
agreements:
  annex: {title: T, basis: B, parties: [JPN, KOR], from: 2000-01-01, until: 2001-01-01, kinds: [LaunchDetection]}
"""
UNDER_THE_ANNEX: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    agreement: annex").replace(
    "kinds: [LaunchDetection, Track, ImpactPrediction, Correction, Cancellation, AllClear]", "kinds: [LaunchDetection]"
)
BROKEN: Final = UNDER_THE_ANNEX.replace(
    "agreement: annex", "when: 1u / (report.launch_detection.object_count - 1u) > 0u"
)
"""Without a rule that can be evaluated of a launch of one object."""

WENT: Final = Alert("LIVE", "LaunchDetection")


def alert(site: Site, rulebook: Rulebook, report: report_pb2.Report | None = None) -> tuple[Outcome, Alert | None]:
    """What becomes of a report for KOR, and what is told of it."""
    (decided,) = site.take(report or launch_detection(1), rulebook).decisions
    return decided.outcome, decided.alert


def test_an_alert_that_goes_is_told_as_one_that_went(jpn: Site) -> None:
    assert alert(jpn, rules(KOR=RELEASE_ALL)) == (Outcome.RELEASED, WENT)


def test_of_what_is_no_alert_nothing_is_told(jpn: Site) -> None:
    assert alert(jpn, rules(KOR=RELEASE_ALL), track(1)) == (Outcome.RELEASED, None)
    del jpn.partners["KOR"]
    assert alert(jpn, rules(KOR=RELEASE_ALL), track(2)) == (Outcome.WITHHELD, None)


def test_of_what_rule_marking_or_officers_withhold_nothing_is_told(jpn: Site) -> None:
    assert alert(jpn, rules(KOR=RELEASE_NOTHING)) == (Outcome.WITHHELD, None)
    unnamed = launch_detection(2, marking__releasable_to=["USA"])
    assert alert(jpn, rules(KOR=RELEASE_ALL), unnamed) == (Outcome.WITHHELD, None)


def test_of_what_waits_for_the_clock_nothing_is_told(jpn: Site) -> None:
    jpn.clock_trusted = False
    assert alert(jpn, rules(KOR=UNDER_THE_ANNEX, _policy=TREATY + ANNEX))[1] is None


def test_that_an_agreement_has_lapsed_is_told_by_its_name(jpn: Site) -> None:
    lapsed = rules(KOR=UNDER_THE_ANNEX, _policy=TREATY + ANNEX)
    assert alert(jpn, lapsed) == (Outcome.WITHHELD, WENT._replace(failure="the agreement annex has lapsed"))


def test_that_the_partner_has_no_bundle_is_told(jpn: Site) -> None:
    del jpn.partners["KOR"]
    told = WENT._replace(failure="there is no valid trust bundle of KOR")
    assert alert(jpn, rules(KOR=RELEASE_ALL)) == (Outcome.WITHHELD, told)


def test_that_a_rule_failed_is_told(jpn: Site) -> None:
    told = WENT._replace(failure="its rules could not be applied")
    assert alert(jpn, rules(KOR=BROKEN)) == (Outcome.WITHHELD, told)


def test_of_a_held_alert_it_is_told_when_it_is_due(jpn: Site) -> None:
    held = rules(KOR=RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 60"))
    assert alert(jpn, held) == (Outcome.HELD, None)
    jpn.now_ns += 60 * SECOND
    del jpn.partners["KOR"]
    (row,) = jpn.store.held_until(jpn.now_ns, 100)
    decided = jpn.do(DecideHeld(row))
    assert decided is not None
    assert decided.alert == WENT._replace(failure="there is no valid trust bundle of KOR")
