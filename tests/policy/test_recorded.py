"""What another policy would have made of recorded traffic."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from signalfire.v1 import report_pb2

from policy import Outcome, Posture
from policy.recorded import Comparison, compare_recorded
from tests.policy.reports import NOW, cancellation, envelope, launch, report_id, track
from tests.policy.starter import starter

WARNING: Final = """\
    ceiling: SECRET
    agreement: warning-agreement
    when: report.threat.launch_country in countries.watched
    # Of a released report"""
"""What only the rule `warning` of the example says."""


def compared(*reports: report_pb2.Report, posture: Posture | None = None, **changed: tuple[str, str]) -> Comparison:
    return compare_recorded(starter(), starter(**changed), reports, posture=posture)


def test_a_policy_changes_nothing_against_itself() -> None:
    assert compared(launch(), track(), cancellation([report_id(1)])).changes == ()


def test_fields_that_go_now_and_fields_that_do_no_longer_are_told() -> None:
    (change,) = compared(launch(), partner=("fields: [warning]", "fields: [source@1, threat@1, launch@1]")).changes
    assert change.gained == ("originator_station", "source_sequence")
    assert change.lost == ("event_id", "valid_time", "clock_uncertainty")
    assert (change.partner, change.report_id, change.loosens) == ("KOR", report_id(1), True)


def test_values_that_go_otherwise_are_told() -> None:
    (change,) = compared(track(), partner=("grid_m: 1000", "grid_m: 5000")).changes
    assert (change.gained, change.lost) == ((), ())
    assert "track.position.latitude_deg" in change.altered


def test_another_outcome_and_another_rule_are_told() -> None:
    secret = launch(envelope(classification=report_pb2.CLASSIFICATION_TOP_SECRET))
    (change,) = compared(secret, partner=("ceiling: SECRET", "ceiling: TOP_SECRET")).changes
    assert (change.old.says, change.new.says) == ("withheld by (above the ceiling)", "released by warning")
    (renamed,) = compared(launch(), partner=("name: warning", "name: prk-warning")).changes
    assert (renamed.gained, renamed.lost, renamed.altered, renamed.loosens) == ((), (), (), False)


def test_each_policy_decides_by_itself_what_the_partner_has() -> None:
    changes = compared(
        launch(), cancellation([report_id(1)]), partner=("ceiling: SECRET", "ceiling: RESTRICTED")
    ).changes
    assert [change.new.decision.rule for change in changes] == ["(above the ceiling)", "(above the ceiling)"]
    stricter = compared(
        launch(), cancellation([report_id(1)]), partner=(WARNING, WARNING.replace("SECRET", "RESTRICTED"))
    )
    assert [change.new.decision.rule for change in stricter.changes] == [
        *("(above the ceiling)", "(refers to nothing the partner has)"),
    ]


def test_a_report_is_decided_as_at_its_own_time_and_its_hold_has_not_passed() -> None:
    late = launch()
    late.report_time.FromDatetime(NOW + timedelta(days=365 * 10))
    assert (
        compared(late, policy=("until: 2034-01-01", "until: 2035-01-01")).changes[0].new.says == "released by warning"
    )
    (held,) = compared(launch(), partner=(WARNING, WARNING.replace("ceiling", "hold_s: 60\n    ceiling"))).changes
    assert held.new.decision.outcome is Outcome.HELD
    assert held.new.decision.hold_until == NOW + timedelta(seconds=60)


def test_the_posture_is_each_policys_own_unless_one_is_given() -> None:
    possible = launch()
    possible.launch_detection.certainty = report_pb2.CERTAINTY_POSSIBLE
    change = ("posture: ROUTINE", "posture: IMMINENT")
    assert len(compared(possible, policy=change).changes) == 1
    assert compared(possible, policy=change, posture=Posture.HEIGHTENED).changes == ()


def test_only_the_partners_that_are_asked_about_are_compared() -> None:
    changed = starter(partner=("fields: [warning]", "fields: [threat@1]"))
    assert compare_recorded(starter(), changed, [launch()], ["USA"]).changes == ()
    comparison = compare_recorded(starter(), changed, [launch(), launch()], ["KOR"])
    assert (comparison.reports, len(comparison.changes)) == (2, 2)
