"""What proofs take to hold of every valid report holds of it."""

from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from signalfire.v1 import report_pb2

from policy.fields import LEAVES
from policy.prove import validity
from policy.prove.solver import Answer, Question
from policy.prove.subject import sort_of
from policy.prove.validity import field_at
from tests.policy import reports
from tests.policy.prove.symbolic import SETTINGS, pinned, subject_of
from tests.policy.prove.valid_reports import KINDS, is_valid, places, valid_reports


def excluded(report: report_pb2.Report) -> bool:
    """Whether proofs hold that there is no such report, having read all of it."""
    subject = subject_of(report)
    for path in LEAVES:
        above = [".".join(path.split(".")[:count]) for count in range(1, path.count(".") + 1)]
        if lists := [where for where in (*above, path) if field_at(where).is_repeated]:
            subject.size(lists[0])
            continue
        subject.present(path)
        if sort_of(field_at(path)) is not None and above[:1] in (
            [],
            ["marking"],
            ["threat"],
            [subject.setting.kind.arm],
        ):
            subject.value(path)
    question = Question(SETTINGS)
    question.add(*subject.constraints, *pinned(subject, report, reports.NOW, "ROUTINE"))
    answer = question.ask()
    assert answer is not Answer.UNKNOWN
    return answer is Answer.NONE


@pytest.mark.parametrize("make", KINDS)
def test_a_report_of_each_kind_is_reckoned_with(make: type) -> None:
    report = make()
    assert is_valid(report, "JPN")
    assert not excluded(report)


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(valid_reports())
def test_every_report_that_a_gateway_takes_is_reckoned_with(report: report_pb2.Report) -> None:
    assert is_valid(report, "JPN")
    assert not excluded(report)


@pytest.mark.parametrize("name", validity.RANGES)
def test_the_ends_of_every_range_are_reckoned_with_and_what_is_beyond_is_refused(name: str) -> None:
    bounds = validity.RANGES[name]
    tried = 0
    for make in KINDS:
        for place in range(len(places(make()))):
            report = make()
            message, field = places(report)[place]
            if validity.name_of(field) != name:
                continue
            for value in (bounds.least, bounds.most):
                setattr(message, field.name, value if field.cpp_type == field.CPPTYPE_DOUBLE else int(value))
                if is_valid(report, "JPN"):
                    tried += 1
                    assert not excluded(report)
            if field.cpp_type == field.CPPTYPE_DOUBLE:
                for value in (math.nextafter(bounds.least, -math.inf), math.nextafter(bounds.most, math.inf)):
                    setattr(message, field.name, value)
                    assert not is_valid(report, "JPN")
    assert tried >= 2 or name == "ErrorEllipse.semi_minor_m"


def _track(**changed: object) -> report_pb2.Report:
    report = reports.track()
    for name, value in changed.items():
        setattr(report.track, name, value)
    return report


def test_what_no_gateway_takes_is_not_reckoned_with() -> None:
    wrong = [_track(quality=16), _track(status=0), _track(missile_class=99), _track(track_number="")]
    late = reports.launch()
    late.launch_detection.launch_time.seconds += 3600
    slow = reports.launch()
    slow.precedence = report_pb2.PRECEDENCE_ROUTINE
    bare = reports.launch()
    bare.launch_detection.ClearField("launch_point")
    alone = reports.launch()
    alone.launch_detection.ClearField("azimuth_uncertainty_deg")
    for report in (*wrong, late, slow, bare, alone):
        assert not is_valid(report, "JPN")
        assert excluded(report)


def test_what_another_originator_kept_back_may_be_absent() -> None:
    report = reports.launch(reports.envelope(node="USA"))
    report.launch_detection.ClearField("launch_point")
    report.launch_detection.ClearField("certainty")
    report.ClearField("threat")
    assert is_valid(report, "JPN")
    assert not excluded(report)


def test_every_name_in_the_tables_is_in_the_contract() -> None:
    known = set()
    for message in report_pb2.DESCRIPTOR.message_types_by_name.values():
        known |= {validity.name_of(field) for field in message.fields}
    named = {*validity.RANGES, *validity.REQUIRED, *validity.MOST_ENTRIES, *validity.LEAST_ENTRIES, *validity.LONGEST}
    assert named | validity.NEVER_SUBMITTED <= known
    for path in (*validity.REQUIRED_PATHS, *validity.NOT_AFTER_REPORT):
        assert field_at(path)
