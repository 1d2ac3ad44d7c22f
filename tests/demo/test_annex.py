"""The exercise annex and the drills: what goes under the annex, and what stays when it has lapsed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from signalfire.v1 import report_pb2

from gateway.demo.annex import AGREEMENT, RULE, annexed, up_to_second
from gateway.demo.drill import STATION, ExerciseControl
from gateway.demo.nations import JAPAN
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_submitted
from policy import Bundle, compile_bundle, read_files
from policy.decision import BuiltIn, Circumstances, Decision, Outcome
from tests.demo.world import ROOT, scenario

STARTS = datetime(2026, 5, 1, 4, 0, 0, tzinfo=UTC)
ENDS = STARTS + timedelta(minutes=2)
WORKED = read_files(ROOT / "policy" / "examples" / "trilateral" / "jpn")


def control() -> ExerciseControl:
    return ExerciseControl(JAPAN, scenario("2017-09-14-over-japan").launches[0].site)


def top_secret() -> report_pb2.Report:
    return control().launch(STARTS, classification="TOP_SECRET", releasable_to=("USA", "KOR"))


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return compile_bundle(annexed(WORKED, "JPN", "USA", STARTS, ENDS))


def decide(
    bundle: Bundle, report: report_pb2.Report, partner: str, now: datetime, posture: str = "ROUTINE"
) -> Decision:
    return bundle.decide(report, partner, Circumstances(now, posture))


def test_under_the_annex_a_top_secret_drill_goes_to_its_partner_as_less_than_that(bundle: Bundle) -> None:
    report = top_secret()
    decision = decide(bundle, report, "USA", ENDS - timedelta(microseconds=1))
    assert (decision.outcome, decision.rule, decision.agreement) == (Outcome.RELEASED, RULE, AGREEMENT)
    copy = bundle.transform(report, decision, lambda *_: False)
    assert copy is not None
    assert copy.marking.classification == report_pb2.CLASSIFICATION_SECRET
    assert list(copy.marking.caveats) == ["SANITISED"]
    assert copy.originator_station == ""
    assert copy.launch_detection.launch_point != report.launch_detection.launch_point


def test_once_the_annex_has_lapsed_the_same_drill_is_withheld(bundle: Bundle) -> None:
    decision = decide(bundle, top_secret(), "USA", ENDS)
    assert (decision.outcome, decision.rule) == (Outcome.WITHHELD, BuiltIn.AGREEMENT_LAPSED)


def test_the_annex_gives_nothing_to_anybody_else_and_nothing_else_to_its_partner(bundle: Bundle) -> None:
    assert decide(bundle, top_secret(), "KOR", STARTS).outcome is Outcome.WITHHELD
    worked = compile_bundle(WORKED)
    for partner in ("KOR", "USA"):
        for posture in ("ROUTINE", "HEIGHTENED"):
            report = control().launch(STARTS, certainty=report_pb2.CERTAINTY_POSSIBLE)
            before, after = (decide(each, report, partner, STARTS, posture) for each in (worked, bundle))
            assert (before.outcome, before.rule, before.fields) == (after.outcome, after.rule, after.fields)


def test_an_annex_that_is_made_longer_replaces_the_one_before() -> None:
    once = annexed(WORKED, "JPN", "USA", STARTS, ENDS)
    assert once.keys() == WORKED.keys()
    assert {path for path in once if once[path] != WORKED[path]} == {"policy.yaml", "partners/USA.yaml"}
    later = compile_bundle(annexed(once, "JPN", "USA", STARTS, ENDS + timedelta(seconds=9)))
    assert later.agreements[AGREEMENT].until == ENDS + timedelta(seconds=9)
    assert [rule.name for rule in later.partners["USA"].rules].count(RULE) == 1


def test_a_possible_launch_of_a_drill_goes_to_korea_in_tension_only() -> None:
    worked = compile_bundle(WORKED)
    report = control().launch(STARTS, certainty=report_pb2.CERTAINTY_POSSIBLE)
    assert decide(worked, report, "KOR", STARTS).rule == "possible-launch-only-in-tension"
    assert decide(worked, report, "KOR", STARTS, "HEIGHTENED").outcome is Outcome.RELEASED


def test_drills_are_valid_exercise_reports_of_one_station_each_an_event_of_its_own() -> None:
    station = control()
    launch, impact = station.launch(STARTS), station.impact(STARTS)
    reports = [launch, impact, station.cancellation(STARTS, impact, "It was a mistake.")]
    for report in reports:
        now = int(STARTS.timestamp() * 1e9)
        assert validate_submitted(report, node="JPN", now=now, limits=ReportLimits()) == []
    assert {report.traffic_class for report in reports} == {report_pb2.TRAFFIC_CLASS_EXERCISE}
    assert {report.originator_station for report in reports} == {STATION}
    assert [report.source_sequence for report in reports] == [1, 2, 3]
    assert launch.event_id != impact.event_id == reports[2].event_id
    assert impact.precedence == report_pb2.PRECEDENCE_ROUTINE


@pytest.mark.parametrize("microseconds", [0, 1, 999_999])
def test_an_annex_ends_at_a_whole_second_and_not_before_it_was_to(microseconds: int) -> None:
    asked = STARTS + timedelta(microseconds=microseconds)
    assert up_to_second(asked) == STARTS + timedelta(seconds=bool(microseconds))
