"""What proofs take a condition to mean is what the evaluator makes of it."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from policy import Kind, areas, cel
from policy.errors import EvaluationError
from tests.policy import reports
from tests.policy.conditions import CONDITIONS
from tests.policy.prove.symbolic import readings
from tests.policy.prove.valid_reports import is_valid, valid_reports

KOREA = areas.circle("korea", (38.0, 127.5), 300_000.0)
LANGUAGE = cel.Language(cel.Vocabulary({"neighbours": ("PRK", "CHN", "RUS")}, {"korea": KOREA}))

EXACT = [
    "true",
    'report.threat.launch_country == "PRK"',
    'report.threat.launch_country != "PRK" && report.threat.launch_country != "UNKNOWN"',
    '(report.threat.launch_country in countries.neighbours || report.threat.launch_country == "UNKNOWN")',
    'has(report.threat.launch_country) && report.threat.launch_country == "PRK"',
    'report.event_id != "event-7" && report.originator_station != "x"',
    'report.track.track_id != "x" || report.track.track_number == ""',
    'report.marking.policy == "JPN"',
    'report.threat.launch_area == "Sunan" || size(report.threat.launch_area) < 5',
    'report.threat.launch_area.startsWith("a\'b\\\\") || report.threat.launch_area.contains("한")',
    'report.threat.launch_area.endsWith("n") ? report.threat.launch_area == "Sunan" : true',
    "report.precedence >= Precedence.PRECEDENCE_IMMEDIATE",
    "report.marking.classification in [Classification.CLASSIFICATION_SECRET, Classification.CLASSIFICATION_TOP_SECRET]",
    "report.track.status == TrackStatus.TRACK_STATUS_DROPPING",
    "report.track.quality > 5u",
    "9u / report.track.quality > 1u",
    "report.track.quality - 5u < 3u",
    "report.track.quality % 4u == 1u",
    "size(report.references) / (size(report.marking.caveats) - 2) == -1",
    "(size(report.references) - 7) % (size(report.marking.caveats) - 2) == -1",
    "(size(report.references) - 7) / 2 == -3",
    "(size(report.references) + 7) / -2 == -3 && (size(report.references) - 7) / -2 == 3",
    "9223372036854775807 + size(report.references) > 0",
    "9223372036854775806 + size(report.marking.releasable_to) > 0",
    "report.track.quality - 10u < 3u",
    "-size(report.references) - 9223372036854775807 - size(report.marking.releasable_to) < 0",
    "(1 / size(report.references) > 0) || true",
    "(1 / size(report.references) > 0) && false",
    "true || (1 / size(report.references) > 0)",
    "report.track.position.height_m > 1000.5",
    "report.track.position.height_m + 0.1 - 0.1 == report.track.position.height_m",
    "0.0 / (report.track.position.latitude_deg - 39.5) < 1.0",
    "-report.track.position.latitude_deg <= 0.0",
    "!(0.0 / (report.track.velocity.x_mps - report.track.velocity.x_mps) > 5.0)",
    "report.track.velocity.x_mps * report.track.velocity.x_mps < 1.0",
    "has(report.track.velocity) && report.track.velocity.x_mps > 0.5",
    "has(report.track.velocity) ? report.track.velocity.frame == ReferenceFrame.REFERENCE_FRAME_ENU : false",
    "has(report.track.position.height_m)",
    "has(report.launch_detection) || has(report.track.covariance)",
    "has(report.event_id) && has(report.marking.caveats) == has(report.references)",
    'partner in report.marking.releasable_to && !("X" in report.marking.caveats)',
    'report.marking.caveats.exists(c, c == "X" || "EYES-ONLY" == c)',
    'report.marking.caveats.all(c, c != "X" && !(c in ["EYES-ONLY"]))',
    "report.marking.releasable_to.exists(n, n in countries.neighbours)",
    "inside(report.track.position, areas.korea)",
    "now == report.report_time",
    'now - report.valid_time < duration("1m30s")',
    'now - duration("500ms") > timestamp("2024-06-01T13:59:59.25+02:00")',
    'report.clock_uncertainty + duration("2ms") > duration("3000us")',
    'posture == "ROUTINE"',
]
"""Conditions in which nothing is left open."""

OPEN = [
    'report.marking.policy.matches("^[A-Z]+$")',
    "report.references.exists(r, r.originator_node == 'USA')",
    "report.references.map(r, r.relation == ReferenceRelation.REFERENCE_RELATION_UPDATES).exists(x, x)",
    "report.references[0].relation == ReferenceRelation.REFERENCE_RELATION_UPDATES",
    "size(report.references.filter(r, 6 / size(r.report_id) > 0)) > 0",
    "report.track.covariance.upper_triangle.all(x, x >= 0.0)",
    "report.valid_time.getFullYear() == 2024",
    'report.threat.launch_area < "T"',
    "int(report.track.position.height_m) > 5",
    "double(report.track.quality) > 5.0",
    'string(report.track.quality) == "9"',
    'now - timestamp("1600-01-01T00:00:00Z") > duration("1s")',
    'report.valid_time + (duration("2000000h") + duration("2000000h")) > now',
]
"""Conditions with parts that proofs know nothing of."""


def evaluated(condition: cel.Condition, report: report_pb2.Report) -> bool | None:
    try:
        return condition.holds(LANGUAGE.facts(report, "KOR", reports.NOW, "ROUTINE"))
    except EvaluationError:
        return None


def outcomes(text: str, report: report_pb2.Report) -> tuple[bool | None, set[bool | None]]:
    """What the evaluator says of a report, and what proofs reckon with."""
    assert is_valid(report, "JPN")
    condition = LANGUAGE.compile(text, (Kind.TRACK,))
    seen = readings(condition, LANGUAGE.vocabulary, report, reports.NOW, "ROUTINE")
    return evaluated(condition, report), seen


def sparse() -> report_pb2.Report:
    """What another originator's policy may have left of a track."""
    report = reports.track(reports.envelope(node="USA"))
    report.marking.caveats.append("X")
    report.ClearField("threat")
    report.ClearField("event_id")
    for name in ("velocity", "covariance", "quality", "status"):
        report.track.ClearField(name)
    report.track.position.ClearField("height_m")
    return report


def nameless() -> report_pb2.Report:
    """The same with no text left but those that always go, though the messages that held them are there."""
    report = sparse()
    report.threat.launch_area = "Sunan"
    report.originator_station = ""
    report.track.track_id = report.track.track_number = ""
    return report


@pytest.mark.parametrize("text", EXACT)
@pytest.mark.parametrize("report", [reports.track(), sparse(), nameless()], ids=["whole", "sparse", "nameless"])
def test_what_is_modelled_has_the_evaluators_one_meaning(text: str, report: report_pb2.Report) -> None:
    actual, seen = outcomes(text, report)
    assert seen == {actual}


@pytest.mark.parametrize("text", OPEN)
@pytest.mark.parametrize("report", [reports.track(), sparse(), nameless()], ids=["whole", "sparse", "nameless"])
def test_what_is_not_modelled_leaves_the_evaluators_meaning_open(text: str, report: report_pb2.Report) -> None:
    actual, seen = outcomes(text, report)
    assert actual in seen
    assert len(seen) > 1


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from([*EXACT, *OPEN]), valid_reports([reports.track]))
def test_every_valid_report_is_reckoned_with(text: str, report: report_pb2.Report) -> None:
    actual, seen = outcomes(text, report)
    assert actual in seen
    assert text in OPEN or seen == {actual}


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(CONDITIONS, valid_reports([reports.track]))
def test_random_conditions_are_reckoned_with(text: str, report: report_pb2.Report) -> None:
    actual, seen = outcomes(text, report)
    assert actual in seen
