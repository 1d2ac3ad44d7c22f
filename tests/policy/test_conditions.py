"""Conditions: what is refused at load, and what holds."""

from __future__ import annotations

import pytest

from policy import Kind, Limits, cel, checked
from policy.errors import ConditionError, EvaluationError, Fault
from tests.policy import reports
from tests.policy.bundles import RULE, partner_file, problem_of, problem_of_rule

PRK = 'report.threat.launch_country == "PRK"'
CONFIRMED = "report.launch_detection.certainty == Certainty.CERTAINTY_CONFIRMED"


def faults(text: str, *kinds: Kind) -> tuple[Fault, ...]:
    with pytest.raises(ConditionError) as caught:
        cel.compile_condition(text, kinds or (Kind.TRACK,))
    return caught.value.faults


def fault(text: str, *kinds: Kind) -> Fault:
    (found,) = faults(text, *kinds)
    return found


def holds(text: str) -> bool:
    facts = cel.facts(reports.track(), "KOR", reports.NOW, "ROUTINE")
    return cel.compile_condition(text, (Kind.TRACK,)).holds(facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PRK, True),
        ("!(" + PRK + ")", False),
        ("true", True),
        ("false", False),
        ("report.precedence == Precedence.PRECEDENCE_FLASH", True),
        ("report.precedence < Precedence.PRECEDENCE_FLASH", False),
        ("report.track.missile_class in [MissileClass.MISSILE_CLASS_CRBM, MissileClass.MISSILE_CLASS_MRBM]", True),
        ("report.track.quality >= 9u && report.track.position.height_m > 100000.0", True),
        ('"KOR" in report.marking.releasable_to && partner == "KOR" && posture == "ROUTINE"', True),
        ("report.marking.caveats.exists(caveat, caveat == 'X')", False),
        ("report.references.all(r, r.relation == ReferenceRelation.REFERENCE_RELATION_UPDATES)", True),
        ("has(report.track.velocity) && !has(report.launch_detection)", True),
        ("now == report.report_time", True),
        ('now - report.valid_time < duration("5m") && now > timestamp("2023-12-19T00:00:00Z")', True),
        ('report.event_id.matches("^event-[0-9]+$")', True),
        ("size([]) == 0", True),
    ],
)
def test_a_condition_holds_where_it_is_true(text: str, expected: bool) -> None:
    assert holds(text) is expected


@pytest.mark.parametrize("text", ["1 / (size(report.references)) > 0", "report.marking.caveats[3] == 'X'"])
def test_an_error_is_neither_true_nor_false(text: str) -> None:
    with pytest.raises(EvaluationError):
        holds(text)


def test_what_the_library_raises_is_an_error_too() -> None:
    report = reports.correction([str(number) for number in range(1_000)])
    nested = "report.correction.report_ids.all(a, report.correction.report_ids.all(b, a != 'x' || b != 'x'))"
    condition = cel.compile_condition(nested, (Kind.CORRECTION,))
    with pytest.raises(EvaluationError, match="Iteration budget exceeded"):
        condition.holds(cel.facts(report, "KOR", reports.NOW, "ROUTINE"))


def test_within_one_condition_an_or_absorbs_an_error_as_cel_says() -> None:
    assert holds("1 / size(report.references) > 0 || true")


def test_a_misspelt_field_is_refused_at_its_line_with_the_right_spelling() -> None:
    problem = problem_of_rule(when='report.threat.launch_cuntry == "PRK"')
    assert (problem.file, problem.line) == ("partners/KOR.yaml", 10)
    assert problem.what == 'In the condition: Threat has no field "launch_cuntry".'
    assert problem.remedy == 'Did you mean "launch_country"?'


def test_in_a_block_the_line_is_that_of_the_condition_s_own_line() -> None:
    text = partner_file(RULE) + "    when: |\n      true\n      && report.lane == 1\n"
    problem = problem_of(text)
    assert problem.line == 12
    assert text.splitlines()[problem.line - 1] == "      && report.lane == 1"


def test_every_fault_of_a_condition_is_told() -> None:
    assert [found.what for found in faults("report.lane == 1 && report.threat.area == 'X'")] == [
        'Report has no field "lane".',
        'Threat has no field "area".',
    ]


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ("report.track.status == TrackStatus.TRACK_STATUS_DROPED", 'no value "TRACK_STATUS_DROPED"', "_DROPPING"),
        ("report.precedence == PRECEDENCE_FLASH", "stands alone", 'Write "Precedence.PRECEDENCE_FLASH"'),
        ('event_id == "x"', "stands alone", 'Write "report.event_id"'),
        ('prtner == "KOR"', 'There is no "prtner"', '"partner"'),
        ('report.event_id.startWith("x")', 'There is no "startWith"', '"startsWith"'),
        ("report.track.quality > 5", "does not go with uint and int", "5u"),
        ("report.track.position.height_m > 5", "does not go with double and int", "3.0"),
        ("report.event_id > 5", "does not go with string and int", "one type"),
        ("true &&", "Mismatched input", "docs/policy.md"),
        (" ", "The condition is empty", "take the key"),
        ("+".join(["1"] * 100) + " == 100", "recursion", "fewer operators"),
        ("report.track.velocity == null", "ever equal to null", "has()"),
        ('report.event_id.matches("(")', "is not a regular expression", ""),
        ('now > timestamp("soon")', "is not a time", ""),
        ('now - now < duration("5 minutes")', "is not a duration", ""),
    ],
)
def test_a_fault_is_told_in_words_with_a_remedy(text: str, what: str, remedy: str) -> None:
    found = fault(text)
    assert what in found.what
    assert remedy in found.remedy


@pytest.mark.parametrize("text", ["partner", "report", "report.track.quality", "report.precedence", "1", '"true"'])
def test_a_condition_that_is_no_truth_is_refused(text: str) -> None:
    assert "not true or false" in fault(text).what


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence <= 4",
        "4 >= report.precedence",
        "report.precedence in [4]",
        "report.precedence in [Precedence.PRECEDENCE_FLASH, 3]",
        "[report.precedence] == [4]",
        "[4] == [report.precedence]",
        "[report.precedence].exists(p, p == 4)",
        "report.references.map(r, r.relation) == [1]",
        "report.references.exists(r, r.relation == 1)",
        "report.precedence + 1 == 5",
        "int(report.precedence) == 4",
        "string(report.precedence) == '4'",
        "(true ? report.precedence : report.precedence) == 4",
        "size([report.precedence]) == 1",
    ],
)
def test_an_enum_is_not_a_number(text: str) -> None:
    assert all("A value of" in found.what for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        "report.precedence == Classification.CLASSIFICATION_SECRET",
        "report.marking.classification <= report.precedence",
        "report.precedence in [Classification.CLASSIFICATION_SECRET]",
    ],
)
def test_two_enums_are_not_compared_with_each_other(text: str) -> None:
    found = fault(text)
    assert found.what == "Classification and Precedence are compared with each other."


@pytest.mark.parametrize(
    "text", ["dyn(report).lane == 1", "[1, 'a'].exists(x, x == 1)", "type(report.precedence) == int"]
)
def test_what_leaves_the_type_check_is_refused(text: str) -> None:
    assert any("type" in found.what for found in faults(text))


@pytest.mark.parametrize(
    "text", ["report.track == Track{}", "{'a': 1}['a'] == 1", "Track{missile_class: 2} == report.track"]
)
def test_a_condition_makes_nothing(text: str) -> None:
    assert any(found.what.startswith("The condition makes a") for found in faults(text))


@pytest.mark.parametrize(
    "text",
    [
        CONFIRMED,
        "!(" + CONFIRMED + ")",
        CONFIRMED + " || has(report.launch_detection)",
        "has(report.launch_detection) || " + CONFIRMED,
        "!has(report.launch_detection) && " + CONFIRMED,
        "has(report.launch_detection) ? true : " + CONFIRMED,
        "has(report.impact_prediction) && " + CONFIRMED,
        "(has(report.launch_detection) || " + PRK + ") && " + CONFIRMED,
        "!(!has(report.launch_detection) && " + PRK + ") && " + CONFIRMED,
        "[report].exists(r, r.launch_detection.object_count > 1u)",
        "report.references.all(r, report.launch_detection.object_count > 1u)",
        "report.launch_detection == report.launch_detection",
    ],
)
def test_content_that_may_be_absent_is_not_read(text: str) -> None:
    for found in faults(text, Kind.LAUNCH_DETECTION, Kind.TRACK):
        assert found.what == 'The rule also applies to Track, where there is no "report.launch_detection".'
    assert cel.compile_condition(text, (Kind.LAUNCH_DETECTION,)).text == text


@pytest.mark.parametrize(
    "text",
    [
        "has(report.launch_detection) && " + CONFIRMED,
        CONFIRMED + " && has(report.launch_detection)",
        "!has(report.launch_detection) || " + CONFIRMED,
        "has(report.launch_detection) ? " + CONFIRMED + " : has(report.track)",
        "has(report.launch_detection.launch_point) && " + CONFIRMED,
        "(has(report.launch_detection) && " + PRK + ") && " + CONFIRMED,
        "!(!has(report.launch_detection) || " + PRK + ") && " + CONFIRMED,
        "has(report.launch_detection) && report.references.all(r, " + CONFIRMED + ")",
        PRK,
    ],
)
def test_content_behind_has_may_be_read(text: str) -> None:
    assert cel.compile_condition(text, (Kind.LAUNCH_DETECTION, Kind.TRACK)).text == text


def test_every_kind_that_lacks_the_content_is_told() -> None:
    text = "has(report.launch_detection) ? " + CONFIRMED + " : report.track.quality > 3u"
    found = fault(text, Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION)
    assert found.what == 'The rule also applies to LaunchDetection, ImpactPrediction, where there is no "report.track".'


def test_a_pattern_is_a_short_literal() -> None:
    assert "not a literal" in fault("report.event_id.matches(partner)").what
    assert "has 129 characters; the limit is 128" in fault(f'report.event_id.matches("{"a" * 129}")').what
    assert not holds(f'report.event_id.matches("{"a" * 128}")')


def test_a_condition_is_limited_in_length() -> None:
    assert "the limit is 4,096" in problem_of_rule(when="true || " * 600 + "true").what
    with pytest.raises(ConditionError, match="the limit is 3"):
        cel.compile_condition("true", (), Limits(condition_bytes=3))


@pytest.mark.parametrize(("text", "reads_now"), [("now > report.report_time", True), (PRK, False)])
def test_a_condition_knows_whether_it_asks_for_the_time(text: str, reads_now: bool) -> None:
    assert cel.compile_condition(text, (Kind.TRACK,)).reads_now is reads_now


def test_the_checked_tree_has_types_and_the_numbers_of_constants() -> None:
    tree = cel.compile_condition("report.precedence == Precedence.PRECEDENCE_FLASH", ()).tree
    assert isinstance(tree, checked.Call)
    left, right = tree.args
    assert isinstance(left, checked.Select)
    assert (left.field, left.operand.type) == ("precedence", "signalfire.v1.Report")
    assert isinstance(right, checked.Ident)
    assert (right.name, right.constant) == ("signalfire.v1.Precedence.PRECEDENCE_FLASH", 4)


def test_what_is_no_checked_tree_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a cel\.expr\.CheckedExpr"):
        checked.decode(b"")
