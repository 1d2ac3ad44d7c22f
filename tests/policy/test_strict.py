"""Conditions are strict: nothing holds, or fails to hold, by accident."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from signalfire.v1 import report_pb2

from policy import Kind, checked, strict
from policy.errors import EvaluationError
from tests.policy import reports
from tests.policy.conditions import CONDITIONS, LANGUAGE, Fails, names, tracks, value_of

KINDS = (Kind.TRACK,)


def holds(text: str, report: report_pb2.Report | None = None) -> bool:
    """What the condition says of a report, alone; checked to be what it says when fused."""
    facts = LANGUAGE.facts(report or reports.track(), "KOR", reports.NOW, "ROUTINE")
    condition = LANGUAGE.compile(text, KINDS)
    fused = LANGUAGE.fuse([LANGUAGE.compile("true", KINDS), condition]).evaluate(facts)
    try:
        value = condition.holds(facts)
    except EvaluationError:
        assert fused is None
        raise
    assert fused == [True, value]
    return value


def error(text: str, report: report_pb2.Report | None = None) -> str:
    with pytest.raises(EvaluationError) as caught:
        holds(text, report)
    return str(caught.value)


def track(**changed: object) -> report_pb2.Report:
    report = reports.track()
    for name, value in changed.items():
        setattr(report.track.position, name, value)
    return report


FAILING = "1 / size(report.references) > 0"
"""Divides by zero."""


@pytest.mark.parametrize(
    "text",
    [
        f"({FAILING}) || true",
        f"({FAILING}) && false",
        f"!(({FAILING}) && false)",
        f"({FAILING}) ? true : true",
        f"(({FAILING}) || true) == true",
        f"report.marking.releasable_to.exists(n, ({FAILING}) || true)",
        f"report.marking.releasable_to.all(n, ({FAILING}) && false)",
        f"report.marking.releasable_to.exists_one(n, ({FAILING}) || n == 'KOR')",
        f"size(report.marking.releasable_to.filter(n, ({FAILING}) || true)) > 0",
        f"report.marking.releasable_to.map(n, ({FAILING}) || true).exists(x, x)",
        "report.marking.releasable_to.exists(n, 1 / (size(n) - 3) > 0 || true)",
    ],
)
def test_an_error_on_the_left_is_not_absorbed(text: str) -> None:
    assert "divide by zero" in error(text)


def test_an_error_of_an_earlier_element_is_not_absorbed_by_a_later_one() -> None:
    report = reports.track(reports.envelope(caveats=["A", "BC"]))
    assert "divide by zero" in error("report.marking.caveats.exists(c, 1 / (size(c) - 1) > 0)", report)
    assert "divide by zero" in error("report.marking.caveats.all(c, 1 / (size(c) - 1) > 1)", report)


def test_a_loop_ends_at_the_element_that_decides() -> None:
    report = reports.track(reports.envelope(caveats=["BC", "A"]))
    assert holds("report.marking.caveats.exists(c, 1 / (size(c) - 1) > 0)", report)
    assert not holds("report.marking.caveats.all(c, 1 / (size(c) - 1) > 1)", report)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"true || ({FAILING})", True),
        (f"false && ({FAILING})", False),
        (f"true ? true : ({FAILING})", True),
        (f"report.marking.releasable_to.all(n, true || ({FAILING}))", True),
        ("report.track.quality != 0u && 100u / report.track.quality > 5u", False),
        ("has(report.track.position.height_m) && report.track.position.height_m > 5.0", False),
        ("!has(report.track.velocity) || report.track.velocity.x_mps > 5.0", True),
    ],
)
def test_what_the_left_side_decides_the_right_side_cannot_spoil(text: str, expected: bool) -> None:
    report = reports.track()
    report.track.quality = 0
    report.track.position.ClearField("height_m")
    report.track.ClearField("velocity")
    assert holds(text, report) is expected


@pytest.mark.parametrize("operator", ["==", "!=", "<", "<=", ">", ">="])
@pytest.mark.parametrize("negated", [False, True])
@pytest.mark.parametrize(
    "pattern",
    [
        "report.track.position.height_m {} 5.0",
        "5.0 {} report.track.position.height_m",
        "report.track.position.height_m {} report.track.position.height_m",
        "0.0 / (report.track.velocity.x_mps - 1.0) {} 5.0",
        "(report.track.position.height_m + 1.0) {} (0.0 / 0.0)",
        "(true ? report.track.position.height_m : 1.0) {} 5.0",
        "report.track.covariance.upper_triangle[1] {} 5.0",
        "report.track.covariance.upper_triangle.exists(x, x {} 5.0)",
        "report.track.covariance.upper_triangle.map(x, x * 2.0).exists(y, y {} 5.0)",
        'double("nan") {} 5.0',
    ],
)
def test_a_comparison_that_meets_nan_is_an_error(pattern: str, operator: str, negated: bool) -> None:
    report = track(height_m=math.nan)
    report.track.covariance.upper_triangle[:] = [math.nan, math.nan]
    text = pattern.format(operator)
    assert "NaN" in error(f"!({text})" if negated else text, report)


def test_infinity_is_a_number() -> None:
    assert holds("report.track.position.height_m > 5.0", track(height_m=math.inf))
    assert holds("1.0 / (report.track.velocity.x_mps - 1.0) > 5.0")


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence <= Precedence.PRECEDENCE_ROUTINE",
        "report.precedence != Precedence.PRECEDENCE_ROUTINE",
        "!(report.precedence == Precedence.PRECEDENCE_FLASH)",
        "report.precedence in [Precedence.PRECEDENCE_FLASH]",
        "report.precedence == Precedence.PRECEDENCE_UNSPECIFIED",
        "report.references.exists(r, r.relation != ReferenceRelation.REFERENCE_RELATION_UPDATES)",
        "report.references[0].relation != ReferenceRelation.REFERENCE_RELATION_UPDATES",
    ],
)
def test_an_unset_enum_compares_with_nothing(text: str) -> None:
    report = reports.track()
    report.precedence = report_pb2.PRECEDENCE_UNSPECIFIED
    report.references.add(originator_node="JPN", report_id="x")
    assert "is not set" in error(text, report)


@pytest.mark.parametrize(
    ("text", "absent"),
    [
        ("report.track.quality < 5u", "report.track.quality"),
        ("report.track.quality + 1u < 5u", "report.track.quality"),
        ("report.track.velocity.x_mps < 5.0", "report.track.velocity.x_mps"),
        ("report.valid_time < now", "report.valid_time"),
        ('now - report.valid_time > duration("1s")', "report.valid_time"),
        ("report.threat.launch_country in ['PRK', 'UNKNOWN']", "report.threat"),
        ("report.marking.caveats.all(c, false)", "report.marking"),
        ("size(report.marking.releasable_to) == 0", "report.marking"),
        ("report.track.covariance.upper_triangle.all(x, x > 0.0)", "report.track.covariance"),
        ("report.marking.classification < Classification.CLASSIFICATION_SECRET", "report.marking.classification"),
        ("inside(report.track.position, areas.korea)", "report.track.position.latitude_deg"),
        ("[report.track.position].exists(p, inside(p, areas.korea))", "report.track.position"),
    ],
)
def test_what_is_absent_cannot_be_read(text: str, absent: str) -> None:
    report = report_pb2.Report(track=report_pb2.Track())
    assert absent in error(text, report)
    assert absent in error(f"!({text})", report)


COUNTRY = "report.threat.launch_country"


@pytest.mark.parametrize(
    "text",
    [
        f'{COUNTRY} != "PRK" && {COUNTRY} != "UNKNOWN"',
        f'!({COUNTRY} in ["PRK", "UNKNOWN"])',
        f'size({COUNTRY}) < 3 && {COUNTRY} != "UNKNOWN"',
        'report.event_id != "event-7"',
        'report.originator_station == ""',
        'report.track.track_id != "x"',
        'report.track.track_number == ""',
        'report.references.all(r, r.originator_node != "USA")',
        'report.references[0].report_id != "x"',
    ],
)
def test_a_text_that_was_kept_back_satisfies_nothing(text: str) -> None:
    report = report_pb2.Report(track=report_pb2.Track())
    report.threat.launch_area = "Sunan"
    report.references.add(relation=report_pb2.REFERENCE_RELATION_UPDATES)
    assert "is absent" in error(text, report)
    assert "is absent" in error(f"!({text})", report)


def test_whether_a_text_was_kept_back_can_be_asked() -> None:
    report = reports.track()
    guarded = f'has({COUNTRY}) && {COUNTRY} != "PRK" && {COUNTRY} != "UNKNOWN"'
    report.threat.launch_country = "RUS"
    assert holds(guarded, report)
    report.threat.launch_country = ""
    assert not holds(guarded, report)
    report.ClearField("threat")
    assert not holds(guarded, report)


def test_a_text_that_a_report_may_lack_may_be_empty() -> None:
    report = reports.track()
    report.threat.launch_area = ""
    assert holds('report.threat.launch_area == "" && size(report.threat.launch_area) == 0', report)


def test_the_texts_that_may_be_empty_are_those_that_the_contract_calls_optional() -> None:
    contract = Path(report_pb2.DESCRIPTOR.name).name
    lines = (Path(report_pb2.__file__).parent / contract).read_text("utf-8").splitlines()
    optional, message, comment = set(), "", ""
    for line in lines:
        if opened := re.match(r"message (\w+)", line):
            message = opened.group(1)
        if text := re.match(r"  string (\w+) =", line):
            assert re.search(r"\b(Required|Optional|Always set)\b", comment), (message, text.group(1))
            optional |= {f"{message}.{text.group(1)}"} if "Optional" in comment else set()
        comment = comment + line if line.lstrip().startswith("//") else ""
    assert optional == strict.OPTIONAL_TEXTS


def test_has_asks_safely_behind_what_is_absent() -> None:
    assert not holds("has(report.track.velocity.x_mps)", report_pb2.Report())


@pytest.mark.parametrize(
    ("name", "value"), [("latitude_deg", math.nan), ("longitude_deg", 180.5), ("latitude_deg", -91)]
)
def test_no_position_is_neither_inside_nor_outside(name: str, value: float) -> None:
    for text in ("inside(report.track.position, areas.korea)", "!inside(report.track.position, areas.korea)"):
        assert "no position" in error(text, track(**{name: value}))


def test_inside_takes_any_position() -> None:
    report = reports.impact()
    report.impact_prediction.warning_area.corners.add(latitude_deg=38, longitude_deg=127)
    facts = LANGUAGE.facts(report, "KOR", reports.NOW, "ROUTINE")
    corners = "report.impact_prediction.warning_area.corners"
    for text, expected in (
        (f"{corners}.exists(c, inside(c, areas.korea))", True),
        (f"{corners}.all(c, inside(c, areas.korea))", False),
        (f"inside({corners}[3], areas.korea) && !inside({corners}[0], areas.korea)", True),
        ("inside(report.impact_prediction.impact_point, areas.korea)", False),
    ):
        assert LANGUAGE.compile(text, (Kind.IMPACT_PREDICTION,)).holds(facts) is expected


def test_countries_are_those_of_the_bundle() -> None:
    assert holds("report.threat.launch_country in countries.neighbours")
    assert holds("'RUS' in countries.neighbours && !('USA' in countries.neighbours)")


def test_a_loop_variable_of_the_same_name_is_asked_anew() -> None:
    report = reports.track()
    report.references.add(originator_node="JPN", report_id="x", relation=report_pb2.REFERENCE_RELATION_UPDATES)
    report.references.add(originator_node="JPN", report_id="y")
    updates = "r.relation == ReferenceRelation.REFERENCE_RELATION_UPDATES"
    nested = f"report.references.exists(r, {updates} && report.references.exists(r, !({updates})))"
    assert "r.relation is not set" in error(nested, report)


def test_the_tree_that_a_condition_shows_is_the_one_that_was_written() -> None:
    tree = LANGUAGE.compile("report.track.quality > 5u || true", KINDS).tree
    assert isinstance(tree, checked.Call)
    assert tree.function == "_||_"


@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(text=CONDITIONS, report=tracks())
def test_the_strict_form_says_what_a_slow_obvious_interpreter_says(text: str, report: report_pb2.Report) -> None:
    condition = LANGUAGE.compile(text, KINDS)
    circumstances = (report, "KOR", reports.NOW, "ROUTINE")
    try:
        expected = value_of(condition.tree, names(*circumstances))
    except Fails:
        with pytest.raises(EvaluationError):
            condition.holds(LANGUAGE.facts(*circumstances))
    else:
        assert condition.holds(LANGUAGE.facts(*circumstances)) is expected
