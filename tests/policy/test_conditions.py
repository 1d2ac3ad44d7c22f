"""Conditions: what holds, and how what is refused at load is told."""

from __future__ import annotations

import pytest

from policy import Kind, Limits, areas, cel, checked
from policy.errors import ConditionError, EvaluationError
from tests.policy import reports
from tests.policy.bundles import RULE, partner_file, problem_of, problem_of_rule
from tests.policy.faults import COUNTRY, PRK, fault, faults


def holds(text: str) -> bool:
    facts = cel.EMPTY.facts(reports.track(), "KOR", reports.NOW, "ROUTINE")
    return cel.EMPTY.compile(text, (Kind.TRACK,)).holds(facts)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (PRK, True),
        ("!(" + PRK + ") && report.threat.launch_country != 'UNKNOWN'", False),
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
    condition = cel.EMPTY.compile(nested, (Kind.CORRECTION,))
    with pytest.raises(EvaluationError, match="Iteration budget exceeded"):
        condition.holds(cel.EMPTY.facts(report, "KOR", reports.NOW, "ROUTINE"))


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


LANGUAGE = cel.Language(
    cel.Vocabulary({"neighbours": ("CHN", "RUS")}, {"korea": areas.circle("korea", (38.0, 127.0), 1e5)})
)


@pytest.mark.parametrize(
    ("text", "what", "remedy"),
    [
        ('"PRK" in countries.neighbour', 'no list of countries "neighbour"', '"neighbours"'),
        ("inside(report.track.position, areas.koera)", 'no area "koera"', '"korea"'),
        ("areas == areas", '"areas" stands alone', "Known are: korea"),
        ('"PRK" in countries', '"countries" stands alone', "Known are: neighbours"),
        ('inside(report.track.position, "korea")', "inside() does not go with", "inside(report.track.position, areas."),
        ("inside(report.track, areas.korea)", "inside() does not go with", "areas.<name>"),
        ("areas.korea == areas.korea", "outside inside()", "areas.<name>"),
        ("inside(report.track.position, true ? areas.korea : areas.korea)", "outside inside()", "areas.<name>"),
        ("[areas.korea].exists(a, inside(report.track.position, a))", "outside inside()", "areas.<name>"),
        ("report.references.exists(now, true)", 'is called "now"', "name"),
        ("report.references.all(report, true)", 'is called "report"', "name"),
    ],
)
def test_the_words_of_the_bundle_are_checked(text: str, what: str, remedy: str) -> None:
    with pytest.raises(ConditionError) as caught:
        LANGUAGE.compile(text, (Kind.TRACK,))
    assert what in caught.value.faults[0].what
    assert remedy in caught.value.faults[0].remedy


def test_one_bundle_does_not_know_the_words_of_another() -> None:
    for text in ('"PRK" in countries.neighbours', "inside(report.track.position, areas.korea)"):
        assert LANGUAGE.compile(text, (Kind.TRACK,)).text == text
        assert "policy.yaml has no" in fault(text).what


def test_no_condition_can_name_what_the_strict_form_calls() -> None:
    assert "'@'" in fault('@fail("x")').what


@pytest.mark.parametrize("levels", [12, 21, 22, 25, 30, 32, 40])
@pytest.mark.parametrize("also", ["", " && report.track.quality > 1u"])
def test_a_condition_is_refused_or_works_however_deep(levels: int, also: str) -> None:
    text = "true"
    for level in range(levels):
        text = f"[1].exists(x{level}, {text}{also})"
    if levels > (13 if also else 21):
        with pytest.raises(ConditionError, match=r"deep|recursion"):
            LANGUAGE.compile(text, (Kind.TRACK,))
    else:
        condition = LANGUAGE.compile(text, (Kind.TRACK,))
        facts = LANGUAGE.facts(reports.track(), "KOR", reports.NOW, "ROUTINE")
        assert condition.holds(facts)
        assert LANGUAGE.fuse([condition]).evaluate(facts) == [True]


def test_a_pattern_is_a_short_literal() -> None:
    assert "not a literal" in fault("report.event_id.matches(partner)").what
    assert "has 129 characters; the limit is 128" in fault(f'report.event_id.matches("{"a" * 129}")').what
    assert not holds(f'report.event_id.matches("{"a" * 128}")')


def test_a_condition_is_limited_in_length() -> None:
    assert "the limit is 4,096" in problem_of_rule(when="true || " * 600 + "true").what
    with pytest.raises(ConditionError, match="the limit is 3"):
        cel.EMPTY.compile("true", (), Limits(condition_bytes=3))


@pytest.mark.parametrize(("text", "reads_now"), [("now > report.report_time", True), (PRK, False)])
def test_a_condition_knows_whether_it_asks_for_the_time(text: str, reads_now: bool) -> None:
    assert cel.EMPTY.compile(text, (Kind.TRACK,)).reads_now is reads_now


def test_the_checked_tree_has_types_and_the_numbers_of_constants() -> None:
    tree = cel.EMPTY.compile("report.precedence == Precedence.PRECEDENCE_FLASH", ()).tree
    assert isinstance(tree, checked.Call)
    left, right = tree.args
    assert isinstance(left, checked.Select)
    assert (left.field, left.operand.type) == ("precedence", "signalfire.v1.Report")
    assert isinstance(right, checked.Ident)
    assert (right.name, right.constant) == ("signalfire.v1.Precedence.PRECEDENCE_FLASH", 4)


def test_what_is_no_checked_tree_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected a cel\.expr\.CheckedExpr"):
        checked.decode(b"")


@pytest.mark.parametrize("text", ["true // so it is", "true //", '"a" == "b" // "c"'])
def test_a_comment_of_cel_is_refused_for_yaml_may_fold_the_next_line_into_it(text: str) -> None:
    with pytest.raises(ConditionError) as caught:
        cel.EMPTY.compile(text, (Kind.TRACK,))
    assert [fault.what for fault in caught.value.faults] == ["A comment stands in the condition."]


@pytest.mark.parametrize(
    ("word", "remedy"),
    [
        ("PKR", 'Did you mean "PRK"?'),
        ("KRO", 'Did you mean "KOR"?'),
        ("kor", 'Did you mean "KOR"?'),
        ("UNKNWN", 'Did you mean "UNKNOWN"?'),
        ("ZQJ", "Use the ISO 3166-1 alpha-3 code, such as KOR."),
    ],
)
def test_a_misspelt_country_is_told_the_one_that_was_meant_if_any(word: str, remedy: str) -> None:
    assert fault(f'{COUNTRY} == "{word}" && {COUNTRY} == "UNKNOWN"').remedy == remedy


@pytest.mark.parametrize(
    ("text", "written", "instead"),
    [
        ('posture == "ROUTINE" and true', "and", "&&"),
        ('posture == "this or that" or true', "or", "||"),
        ('not (posture == "ROUTINE")', "not", "!"),
        ('posture = "ROUTINE"', "=", "=="),
        (f'{COUNTRY} not in ["PRK"]', "not in", "!(... in ...)"),
    ],
)
def test_an_operator_of_another_language_is_told_with_that_of_cel(text: str, written: str, instead: str) -> None:
    found = fault(text)
    assert (found.what, found.remedy) == (f'"{written}" is no operator here.', f'Write "{instead}".')
    assert text[found.column - 1 :].startswith(written)


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("report.launch_detection.certainty == POSSIBLE", 'Write "Certainty.CERTAINTY_POSSIBLE".'),
        ('report.precedence == "FLASH"', "Write Precedence.PRECEDENCE_FLASH, without quotes."),
        ('"FLASH" == report.precedence', "Write Precedence.PRECEDENCE_FLASH, without quotes."),
        ('report.precedence in ["FLASH"]', "Write Precedence.PRECEDENCE_FLASH, without quotes."),
        (f"{COUNTRY} == PRK", 'Write the text "PRK" with its quotes.'),
    ],
)
def test_a_constant_is_told_by_its_last_part(text: str, remedy: str) -> None:
    assert fault(text, Kind.LAUNCH_DETECTION).remedy == remedy
