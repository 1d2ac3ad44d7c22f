"""The decision, step by step."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from signalfire.v1 import report_pb2

from policy import Bundle, Circumstances, Decision, Finding, Outcome
from tests.policy import reports
from tests.policy.bundles import POLICY, RULE, WITHHOLD, compiled, partner_file, problem_of

PRK = 'report.threat.launch_country == "PRK"'
DIVIDES_BY_ZERO = "1 / size(report.references) > 0"


def decide(
    bundle: Bundle,
    report: report_pb2.Report | None = None,
    *,
    now: datetime = reports.NOW,
    posture: str = "ROUTINE",
    clock_trusted: bool = True,
) -> Decision:
    circumstances = Circumstances(now, posture, clock_trusted=clock_trusted)
    return bundle.decide(report or reports.track(), "KOR", circumstances)


def test_a_rule_releases_and_the_decision_says_which_and_why() -> None:
    decision = decide(compiled(RULE | {"agreement": "treaty", "when": PRK}))
    assert decision.outcome is Outcome.RELEASED
    assert (decision.rule, decision.reason, decision.agreement) == ("a-rule", "Because", "treaty")
    assert {"report_id", "event_id", "track.quality"} <= set(decision.fields)
    assert [(trace.rule, trace.finding) for trace in decision.traces] == [("a-rule", Finding.RELEASES)]
    assert decision.error == ""


def withheld(decision: Decision, rule: str) -> bool:
    return decision.outcome is Outcome.WITHHELD and decision.rule == rule and decision.fields == ()


def test_nothing_is_released_unless_a_rule_releases_it() -> None:
    assert withheld(decide(compiled()), "(no rule releases it)")


def test_a_partner_without_a_policy_gets_nothing() -> None:
    report = reports.track()
    decision = compiled(RULE).decide(report, "USA", Circumstances(reports.NOW, "ROUTINE"))
    assert withheld(decision, "(partner has no policy)")


@pytest.mark.parametrize("releasable_to", [(), ("USA",), ("KO",), ("KORX",)])
def test_nothing_is_released_to_whom_the_marking_does_not_name(releasable_to: tuple[str, ...]) -> None:
    report = reports.track(reports.envelope(releasable_to=releasable_to))
    assert withheld(decide(compiled(RULE), report), "(not releasable by its marking)")


def test_what_another_node_originated_is_withheld() -> None:
    assert withheld(
        decide(compiled(RULE), reports.track(reports.envelope(node="USA"))),
        "(onward release not allowed by its originator)",
    )


def test_a_rule_is_about_the_kinds_that_it_names() -> None:
    bundle = compiled(RULE | {"kinds": "[Track]"})
    assert decide(bundle, reports.track()).outcome is Outcome.RELEASED
    decision = decide(bundle, reports.launch())
    assert withheld(decision, "(no rule releases it)")
    assert decision.traces == ()


def test_a_rule_is_about_the_traffic_classes_that_it_names() -> None:
    bundle = compiled(RULE | {"traffic_classes": "[EXERCISE]"})
    exercise = reports.track(reports.envelope(traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE))
    assert decide(bundle, exercise).outcome is Outcome.RELEASED
    assert withheld(decide(bundle, reports.track()), "(no rule releases it)")


def test_a_condition_that_does_not_hold_does_not_release() -> None:
    decision = decide(compiled(RULE | {"when": PRK}), reports.track(reports.envelope(launch_country="RUS")))
    assert withheld(decision, "(no rule releases it)")
    assert decision.traces[0].finding is Finding.CONDITION_FALSE


@pytest.mark.parametrize("order", [(RULE, WITHHOLD), (WITHHOLD, RULE)])
def test_a_withhold_rule_beats_every_release_rule_wherever_it_stands(order: tuple[dict[str, str], ...]) -> None:
    decision = decide(compiled(*order))
    assert withheld(decision, "keep-back")
    assert decision.reason == "Because not"


def test_a_withhold_rule_that_does_not_match_withholds_nothing() -> None:
    assert (
        decide(compiled(RULE, WITHHOLD | {"when": 'report.threat.launch_country == "RUS"'})).outcome is Outcome.RELEASED
    )


@pytest.mark.parametrize("failing", [RULE | {"name": "fails"}, WITHHOLD | {"name": "fails"}])
@pytest.mark.parametrize("first", [True, False])
def test_an_error_in_any_applicable_rule_withholds(failing: dict[str, str], first: bool) -> None:
    failing = failing | {"when": DIVIDES_BY_ZERO}
    other = RULE | {"when": PRK}
    decision = decide(compiled(failing, other) if first else compiled(other, failing))
    assert withheld(decision, "(policy error)")
    assert decision.error == 'rule "fails": divide by zero'


def test_an_error_withholds_though_the_rule_that_fails_asks_for_another_posture() -> None:
    failing = RULE | {"name": "fails", "when": DIVIDES_BY_ZERO, "posture": "[IMMINENT]"}
    assert withheld(decide(compiled(RULE | {"when": PRK}, failing)), "(policy error)")


def test_an_error_in_one_rule_is_not_absorbed_by_a_withhold_rule_that_matches() -> None:
    decision = decide(compiled(WITHHOLD, RULE | {"when": DIVIDES_BY_ZERO}))
    assert withheld(decision, "(policy error)")


def test_a_rule_of_another_kind_or_class_cannot_fail() -> None:
    failing = RULE | {"name": "fails", "when": DIVIDES_BY_ZERO}
    bundle = compiled(
        RULE | {"when": PRK},
        failing | {"kinds": "[LaunchDetection]"},
        failing | {"name": "f2", "traffic_classes": "[TEST]"},
    )
    assert decide(bundle).outcome is Outcome.RELEASED


def test_every_error_is_told() -> None:
    fails = RULE | {"when": DIVIDES_BY_ZERO}
    also = {"when": f"{DIVIDES_BY_ZERO} && true"}
    decision = decide(compiled(fails | {"name": "one"}, fails | {"name": "two"} | also))
    assert decision.error == 'rule "one": divide by zero; rule "two": divide by zero'
    assert [trace.error for trace in decision.traces] == ["divide by zero", "divide by zero"]


def test_the_first_release_rule_that_matches_names_the_fields() -> None:
    first = RULE | {"name": "first", "fields": "[event_id]", "when": PRK}
    second = RULE | {"name": "second", "when": 'report.threat.launch_country in ["PRK"]'}
    assert decide(compiled(first, second)).rule == "first"
    assert decide(compiled(second, first)).rule == "second"
    assert not any(path.startswith("track.") for path in decide(compiled(first, second)).fields)


def test_a_release_rule_that_does_not_release_leaves_it_to_the_next() -> None:
    low = RULE | {"name": "low", "ceiling": "RESTRICTED"}
    decision = decide(compiled(low, RULE))
    assert decision.rule == "a-rule"
    assert [trace.finding for trace in decision.traces] == [Finding.ABOVE_CEILING, Finding.RELEASES]


@pytest.mark.parametrize(
    ("ceiling", "released"), [("UNCLASSIFIED", False), ("CONFIDENTIAL", False), ("SECRET", True), ("TOP_SECRET", True)]
)
def test_a_rule_releases_up_to_its_ceiling(ceiling: str, released: bool) -> None:
    decision = decide(compiled(RULE | {"ceiling": ceiling}))
    assert (decision.outcome is Outcome.RELEASED) is released
    assert released or withheld(decision, "(above the ceiling)")


@pytest.mark.parametrize(
    ("now", "in_force"),
    [
        (datetime(2023, 12, 31, 23, 59, 59, 999_999, UTC), False),
        (datetime(2024, 1, 1, tzinfo=UTC), True),
        (datetime(2024, 12, 31, 23, 59, 59, 999_999, UTC), True),
        (datetime(2025, 1, 1, tzinfo=UTC), False),
        (datetime(2025, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9))), True),
        (datetime(2024, 1, 1, 8, 59, tzinfo=timezone(timedelta(hours=9))), False),
    ],
)
def test_an_agreement_is_in_force_from_its_first_day_until_its_last_in_utc(now: datetime, in_force: bool) -> None:
    decision = decide(compiled(RULE | {"agreement": "treaty"}), now=now)
    assert (decision.outcome is Outcome.RELEASED) is in_force
    assert decision.agreement == "treaty"
    assert in_force or withheld(decision, "(agreement lapsed)")


def test_where_the_clock_is_not_trusted_every_agreement_has_lapsed() -> None:
    bundle = compiled(RULE | {"agreement": "treaty"})
    assert withheld(decide(bundle, clock_trusted=False), "(agreement lapsed)")
    assert decide(compiled(RULE), clock_trusted=False).outcome is Outcome.RELEASED


def test_where_the_clock_is_not_trusted_a_condition_that_asks_for_now_is_an_error() -> None:
    bundle = compiled(RULE, WITHHOLD | {"when": "now < report.report_time"})
    assert decide(bundle).outcome is Outcome.RELEASED
    decision = decide(bundle, clock_trusted=False)
    assert withheld(decision, "(policy error)")
    assert "clock is not trusted" in decision.error


def test_a_rule_may_ask_for_a_posture() -> None:
    bundle = compiled(RULE | {"posture": "[HEIGHTENED, IMMINENT]"})
    outcomes = [decide(bundle, posture=posture).outcome for posture in ("ROUTINE", "HEIGHTENED", "IMMINENT")]
    assert outcomes == [Outcome.WITHHELD, Outcome.RELEASED, Outcome.RELEASED]
    assert decide(bundle).traces[0].finding is Finding.OTHER_POSTURE


def test_a_withhold_rule_may_ask_for_a_posture() -> None:
    bundle = compiled(RULE, WITHHOLD | {"posture": "[ROUTINE]"})
    assert withheld(decide(bundle), "keep-back")
    assert decide(bundle, posture="IMMINENT").outcome is Outcome.RELEASED


def test_the_most_telling_reason_is_given() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    no_match = RULE | {"name": "no-match", "when": "false"}
    above = RULE | {"name": "above", "ceiling": "RESTRICTED"}
    lapsed = RULE | {"name": "lapsed", "agreement": "treaty"}
    assert withheld(decide(compiled(no_match, above, lapsed), now=now), "(agreement lapsed)")
    assert withheld(decide(compiled(no_match, above), now=now), "(above the ceiling)")
    assert withheld(decide(compiled(no_match), now=now), "(no rule releases it)")


def test_a_lapsed_agreement_of_a_rule_that_does_not_match_is_not_the_reason() -> None:
    lapsed = RULE | {"agreement": "treaty", "when": "false"}
    assert withheld(decide(compiled(lapsed), now=datetime(2026, 1, 1, tzinfo=UTC)), "(no rule releases it)")


def unfit(change: str) -> report_pb2.Report:
    report = reports.track()
    match change:
        case "content":
            report.ClearField("track")
        case "traffic class":
            report.ClearField("traffic_class")
        case "precedence":
            report.ClearField("precedence")
        case "classification":
            report.marking.ClearField("classification")
    return report


@pytest.mark.parametrize("change", ["content", "traffic class", "precedence", "classification"])
def test_a_report_that_lacks_what_a_decision_rests_on_is_withheld(change: str) -> None:
    decision = decide(compiled(RULE), unfit(change))
    assert withheld(decision, "(policy error)")
    assert change in decision.error


def test_a_classification_that_the_contract_does_not_define_is_withheld() -> None:
    report = reports.track()
    report.MergeFromString(b"\x5a\x02\x10\x09")
    assert report.marking.classification not in report_pb2.Classification.values()
    assert withheld(decide(compiled(RULE | {"ceiling": "TOP_SECRET"}), report), "(policy error)")


def test_a_posture_that_is_not_one_is_withheld() -> None:
    assert decide(compiled(RULE), posture="CALM").error == 'posture "CALM" is not defined'


def test_a_time_without_a_zone_is_the_caller_s_error() -> None:
    with pytest.raises(ValueError, match="no time zone"):
        decide(compiled(RULE), now=datetime(2024, 6, 1))


def test_deciding_leaves_the_report_as_it_is() -> None:
    report = reports.track()
    before = report.SerializeToString(deterministic=True)
    decide(compiled(RULE | {"when": PRK}), report)
    assert report.SerializeToString(deterministic=True) == before


def test_no_rule_can_be_named_like_a_built_in_reason() -> None:
    rules = compiled(RULE, WITHHOLD, policy=POLICY).partners["KOR"].rules
    assert not any(rule.name.startswith("(") for rule in rules)


def test_of_two_rules_that_release_the_same_the_second_is_refused_for_it_never_decides() -> None:
    problem = problem_of(partner_file(RULE, RULE | {"name": "again", "fields": "[event_id]", "when": PRK}))
    assert problem.what == 'The rule "again" never decides: "a-rule" always decides before it.'
    assert problem.line == 10


def test_a_withhold_rule_may_stand_before_everything() -> None:
    assert withheld(decide(compiled(WITHHOLD | {"name": "stop"}, RULE)), "stop")


def test_a_suspended_partner_gets_nothing_whatever_the_rules_say() -> None:
    circumstances = Circumstances(reports.NOW, "ROUTINE", suspended=frozenset({"KOR"}))
    assert withheld(compiled(RULE).decide(reports.track(), "KOR", circumstances), "(partner suspended)")


def test_a_rule_that_holds_reports_holds_them_from_their_acceptance_on() -> None:
    bundle = compiled(RULE | {"hold_s": "60"})
    accepted = reports.NOW
    for seconds, outcome in ((0, Outcome.HELD), (59, Outcome.HELD), (60, Outcome.RELEASED)):
        now = accepted + timedelta(seconds=seconds)
        decision = bundle.decide(reports.track(), "KOR", Circumstances(now, "ROUTINE", accepted))
        assert decision.outcome is outcome
        assert decision.hold_until == (accepted + timedelta(seconds=60) if outcome is Outcome.HELD else None)


def test_a_hold_is_never_over_while_the_clock_is_not_trusted() -> None:
    late = reports.NOW + timedelta(days=1)
    circumstances = Circumstances(late, "ROUTINE", reports.NOW, clock_trusted=False)
    assert compiled(RULE | {"hold_s": "60"}).decide(reports.track(), "KOR", circumstances).outcome is Outcome.HELD


def test_a_report_of_another_originator_goes_only_by_rules_that_name_it_and_only_where_it_may() -> None:
    own, onward = RULE | {"when": PRK}, RULE | {"name": "onward", "originators": "[USA]"}
    report = reports.track(reports.envelope(node="USA"))
    report.marking.policy = "JPN"
    bundle = compiled(own, onward)
    assert withheld(decide(bundle, report), "(onward release not allowed by its originator)")
    report.marking.onward_release.append("KOR")
    assert decide(bundle, report).rule == "onward"
    assert decide(bundle, reports.track()).rule == "a-rule"
    assert withheld(decide(compiled(own), report), "(no rule releases it)")


def test_a_withhold_rule_that_names_no_originator_is_about_every_nodes_reports() -> None:
    onward = RULE | {"originators": "[USA]"}
    bundle = compiled(onward, WITHHOLD | {"when": PRK})
    for node in ("JPN", "USA", "GBR"):
        report = reports.track(reports.envelope(node=node))
        report.marking.policy = "JPN"
        report.marking.onward_release.append("KOR")
        assert withheld(decide(bundle, report), "keep-back")
        named = compiled(onward, WITHHOLD | {"originators": "[JPN]"})
        assert (decide(named, report).rule == "keep-back") is (node == "JPN")
        failing = compiled(onward, WITHHOLD | {"when": "1 / size(report.references) > 5"})
        assert withheld(decide(failing, report), "(policy error)")
    elsewhere = compiled(onward, WITHHOLD | {"kinds": "[LaunchDetection]"})
    report = reports.track(reports.envelope(node="USA"))
    report.marking.policy = "JPN"
    report.marking.onward_release.append("KOR")
    assert decide(elsewhere, report).rule == "a-rule"


def test_nothing_goes_back_to_its_originator() -> None:
    report = reports.track(reports.envelope(node="KOR"))
    report.marking.onward_release.append("KOR")
    assert withheld(decide(compiled(RULE), report), "(originated there)")
    problem = problem_of(partner_file(RULE | {"originators": "[KOR]"}))
    assert problem.what == "The rule is about reports of KOR, to KOR itself."


def test_a_foreign_classification_counts_as_its_equivalent_and_without_one_nothing_goes() -> None:
    report = reports.track()
    report.marking.policy = "NATO"
    assert withheld(decide(compiled(RULE), report), "(no equivalent classification)")
    equal = POLICY + "equivalences:\n  NATO: {SECRET: SECRET}\n"
    above = POLICY + "equivalences:\n  NATO: {SECRET: TOP_SECRET}\n"
    assert decide(compiled(RULE, policy=equal), report).outcome is Outcome.RELEASED
    assert withheld(decide(compiled(RULE, policy=above), report), "(above the ceiling)")


def test_a_withhold_rule_cites_its_legal_basis_and_keeps_back_after_that_has_lapsed() -> None:
    late = datetime(2026, 1, 1, tzinfo=UTC)
    decision = decide(compiled(WITHHOLD | {"agreement": "treaty"}, RULE), now=late)
    assert withheld(decision, "keep-back")
    assert decision.agreement == "treaty"
