"""Why a report went or stayed, down to the part of a condition that failed and the value that it read."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from policy import Kind, Outcome, cel
from policy.decision import Circumstances, Finding
from policy.errors import EvaluationError
from policy.explain import Explanation, Fate, RuleExplanation, explain
from policy.parts import Asked, Part, Verdict, parts_of
from tests.policy.reports import (
    NOW,
    cancellation,
    correction,
    envelope,
    had_everything,
    had_nothing,
    launch,
    report_id,
    track,
)
from tests.policy.starter import starter

HERE = Circumstances(NOW, "ROUTINE")


def explained(
    report: report_pb2.Report,
    had: Callable[[str, str], bool] = had_everything,
    circumstances: Circumstances = HERE,
    **changed: tuple[str, str],
) -> Explanation:
    return explain(starter(**changed), report, "KOR", circumstances, had)


def rule_of(explanation: Explanation, name: str) -> RuleExplanation:
    (found,) = [rule for rule in explanation.rules if rule.rule == name]
    return found


def parts(text: str, report: report_pb2.Report | None = None, circumstances: Circumstances = HERE) -> Part:
    condition = cel.EMPTY.compile(text, (Kind.TRACK,))
    return parts_of(condition, Asked(cel.EMPTY, report or track(), "KOR", circumstances))


def causes(text: str, report: report_pb2.Report | None = None) -> list[str]:
    return [part.text for part in parts(text, report).causes()]


def test_the_rule_that_decided_and_every_other_rule_is_told_in_the_order_of_the_file() -> None:
    found = explained(launch())
    assert found.decision.rule == "warning"
    assert [rule.rule for rule in found.rules if rule.decided] == ["warning"]
    assert [rule.rule for rule in found.rules] == [
        *("tests-stay-at-home", "own-test-range-stays-at-home", "possible-launch-only-in-tension", "warning", "recall"),
    ]


def test_a_rule_that_does_not_apply_says_why() -> None:
    found = explained(launch())
    assert rule_of(found, "tests-stay-at-home").why == "does not apply: it is about TEST traffic, and this is LIVE"
    assert rule_of(found, "recall").why == (
        "does not apply: it is about Correction, Cancellation, AllClear, and this is a LaunchDetection"
    )
    foreign = envelope(node="USA")
    foreign.marking.onward_release.append("KOR")
    assert rule_of(explained(launch(foreign)), "warning").why == (
        "does not apply: it is about reports of JPN, and this is one of USA"
    )


def test_a_condition_that_fails_is_told_with_the_value_that_it_read() -> None:
    found = explained(launch(envelope(launch_country="RUS")))
    assert found.decision.outcome is Outcome.WITHHELD
    assert rule_of(found, "warning").why == (
        'report.threat.launch_country in countries.watched is false: report.threat.launch_country is "RUS",'
        " countries.watched is [PRK, IRN]"
    )


def test_a_rule_that_matched_and_was_beaten_says_so() -> None:
    report = launch()
    report.launch_detection.certainty = report_pb2.CERTAINTY_POSSIBLE
    found = explained(report)
    assert rule_of(found, "warning").why == "would release, and another rule decides"
    assert rule_of(found, "warning").matched
    assert rule_of(found, "possible-launch-only-in-tension").decided
    posture = explained(report, circumstances=Circumstances(NOW, "HEIGHTENED"))
    assert rule_of(posture, "possible-launch-only-in-tension").why == str(Finding.OTHER_POSTURE)


def test_an_error_is_told_with_the_part_that_erred() -> None:
    report = track()
    report.track.ClearField("position")
    found = explained(report)
    assert found.decision.rule == "(policy error)"
    why = rule_of(found, "own-test-range-stays-at-home").why
    assert why.startswith("inside(report.track.position, areas.test_range) cannot be evaluated: ")
    assert "report.track.position is not there" in why


def test_where_no_rule_was_asked_none_is_said_to_have_matched() -> None:
    found = explained(launch(envelope(releasable_to=())))
    assert found.decision.rule == "(not releasable by its marking)"
    assert not [rule for rule in found.rules if rule.matched or rule.decided]
    assert rule_of(found, "warning").why == "was not asked"
    assert explain(starter(), launch(), "USA", HERE, had_nothing).rules == ()


def test_every_field_of_the_report_has_its_fate() -> None:
    fates = {field.path: field for field in explained(track()).fields}
    assert fates["threat.launch_country"].fate is Fate.WENT
    assert fates["originator_station"].fate is Fate.NOT_NAMED
    assert (fates["originator_station"].before, fates["originator_station"].after) == ('"north/radar-1"', None)
    assert fates["track.position.latitude_deg"].fate is Fate.CHANGED
    assert fates["track.position.latitude_deg"].before == "39.5"
    assert fates["track.quality"].fate is Fate.CLEARED
    assert fates["derivations.node"].fate is Fate.ADDED


def test_reports_that_the_partner_does_not_have_are_told_as_unnamed() -> None:
    had = report_id(1)
    found = explained(correction([had, report_id(2)], report_id(3)), lambda node, named: named == had)
    assert found.unnamed == (("JPN", report_id(2)), ("JPN", report_id(3)))
    fates = {field.path: field.fate for field in found.fields}
    assert fates["correction.report_ids"] is Fate.CHANGED
    assert fates["correction.replacement_report_id"] is Fate.NOT_HAD
    nothing = explained(cancellation([had]), had_nothing)
    assert nothing.decision.rule == "(refers to nothing the partner has)"


def test_json_holds_the_same() -> None:
    told = explained(launch(envelope(launch_country="RUS"))).as_dict()
    assert told["outcome"] == "withheld"
    (warning,) = [rule for rule in told["rules"] if rule["rule"] == "warning"]
    assert warning["condition"]["verdict"] == "false"
    assert warning["condition"]["values"]["report.threat.launch_country"] == '"RUS"'


def test_of_a_conjunction_the_first_part_that_fails_is_the_cause_and_the_rest_is_not_asked() -> None:
    text = 'report.threat.launch_country == "PRK" && report.track.quality > 10u && report.event_id == "x"'
    part = parts(text)
    assert [inner.verdict for inner in part.parts] == [Verdict.TRUE, Verdict.FALSE, Verdict.NOT_ASKED]
    (cause,) = part.causes()
    assert cause.text == "report.track.quality > 10u"
    assert [str(value) for value in cause.values] == ["report.track.quality is 9"]


def test_of_a_disjunction_that_fails_every_part_is_a_cause() -> None:
    assert causes('(report.event_id == "a") || ((report.event_id == "b") || report.track.quality > 10u)') == [
        'report.event_id == "a"',
        'report.event_id == "b"',
        "report.track.quality > 10u",
    ]


def test_a_negation_fails_because_of_what_holds() -> None:
    (cause,) = parts("!(report.track.quality > 5u && has(report.track.velocity))").causes()[:1]
    assert (cause.text, cause.verdict) == ("report.track.quality > 5u", Verdict.TRUE)


def test_of_a_choice_the_branch_that_was_taken_is_asked() -> None:
    text = 'has(report.track.velocity) ? (report.event_id == "a:b?" ? true : report.track.quality > 10u) : true'
    assert parts(text).verdict is Verdict.FALSE
    assert causes(text)[-1] == "report.track.quality > 10u"


def test_brackets_and_operators_inside_texts_are_no_brackets_and_operators() -> None:
    text = """report.event_id == ") && (" || report.event_id == '" || (' && report.event_id != "event-7" """
    assert causes(text) == ['report.event_id == ") && ("', """report.event_id == '" || ('"""]


def test_places_are_counted_in_characters_whatever_the_alphabet() -> None:
    text = 'report.event_id != "あé\U0001f680" && report.track.quality > 10u && report.event_id == "発"'
    assert causes(text) == ["report.track.quality > 10u"]


def test_a_loop_is_a_leaf_and_shows_what_it_went_over() -> None:
    report = track()
    report.marking.caveats.extend(["A", "B"])
    (cause,) = parts('report.marking.caveats.exists(c, c == "X" && c != report.event_id)', report).causes()
    assert cause.verdict is Verdict.FALSE
    assert {value.name: value.shown for value in cause.values} == {
        "report.marking.caveats": '["A", "B"]',
        "report.event_id": '"event-7"',
    }


def test_a_condition_about_now_errs_while_the_clock_is_not_trusted() -> None:
    text = 'report.track.quality > 1u && now > timestamp("2024-01-01T00:00:00Z")'
    assert parts(text).verdict is Verdict.TRUE
    untrusted = parts(text, circumstances=Circumstances(NOW, "ROUTINE", clock_trusted=False))
    assert untrusted.verdict is Verdict.ERROR
    assert [part.text for part in untrusted.causes()] == ['now > timestamp("2024-01-01T00:00:00Z")']


LEAVES = st.sampled_from(
    [
        'report.event_id == "event-7"',
        "report.track.quality > 10u",
        "report.track.quality > 3u",
        "report.track.velocity.x_mps > 0.0",
        "has(report.track.velocity)",
        'report.marking.caveats.exists(c, c == "A")',
        "report.track.status == TrackStatus.TRACK_STATUS_DROPPING",
        'report.event_id.matches("^e")',
    ]
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]} && {pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"{pair[0]}||\n ({pair[1]})"),
        st.tuples(inner, inner).map(lambda pair: f"({pair[0]}) && ({pair[1]})"),
        inner.map(lambda one: f"!( {one} )"),
        st.tuples(inner, inner, inner).map(lambda three: f"(({three[0]}) ? ({three[1]}) : ({three[2]}))"),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=150)
@given(text=CONDITIONS, moving=st.booleans(), quality=st.integers(0, 15), caveat=st.booleans())
def test_the_parts_say_together_what_the_whole_says(text: str, moving: bool, quality: int, caveat: bool) -> None:
    report = track()
    report.track.quality = quality
    report.marking.caveats.extend(["A"] if caveat else [])
    if not moving:
        report.track.ClearField("velocity")
    condition = cel.EMPTY.compile(text, (Kind.TRACK,))
    part = parts_of(condition, Asked(cel.EMPTY, report, "KOR", HERE))
    try:
        holds = condition.holds(cel.EMPTY.facts(report, "KOR", NOW, "ROUTINE"))
        whole = (Verdict.TRUE if holds else Verdict.FALSE, "")
    except EvaluationError as error:
        whole = (Verdict.ERROR, str(error))
    assert (part.verdict, part.error) == whole
    assert all(cause.verdict is not Verdict.NOT_ASKED for cause in part.causes())
