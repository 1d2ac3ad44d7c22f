"""One report asked about for several partners: each is decided as if it were asked for alone, and nothing twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from policy import Bundle, Circumstances, Decision, Outcome, compile_bundle
from policy.countries import NODE_CODES
from policy.errors import EvaluationError
from policy.questions import Question
from tests.policy import reports
from tests.policy.bundles import POLICY, RULE, WITHHOLD, partner_file

HERE = Circumstances(reports.NOW, "ROUTINE")
UNTRUSTED = replace(HERE, clock_trusted=False)
PRK = 'report.threat.launch_country == "PRK"'
TRIAL = 'report.event_id.startsWith("trial-")'
DIVIDES_BY_ZERO = "1 / size(report.references) > 0"
PARTNERS = ("AUS", "KOR", "USA")


def bundle(**rules: list[dict[str, str]]) -> Bundle:
    """JPN's bundle with these rules by partner."""
    files = {f"partners/{name}.yaml": partner_file(*written, partner=name).encode() for name, written in rules.items()}
    return compile_bundle({"policy.yaml": POLICY.encode(), **files})


def decided(of: Bundle, circumstances: Circumstances = HERE, *, partners: tuple[str, ...] = PARTNERS) -> list[Decision]:
    """What is decided of a track for each, asked one after another; checked to be what is decided of it alone."""
    report = reports.track(reports.envelope(releasable_to=PARTNERS))
    asking = of.ask(report, circumstances)
    found = [asking.decide(partner) for partner in partners]
    alone = [of.decide(report, partner, circumstances) for partner in partners]
    assert found == alone
    assert [each.traces for each in found] == [each.traces for each in alone]
    return found


def question(of: Bundle) -> Question:
    """What is asked about live tracks of JPN."""
    return of.policies.question("track", 1, "JPN")


def asked(of: Bundle, partner: str) -> list[set[str]]:
    """The conditions that are evaluated for one partner, by the call that does it."""
    blocks = question(of).partners[partner].blocks
    return [{condition.text.strip() for condition in block.conditions} for block in blocks]


def test_partners_with_the_same_conditions_share_one_evaluation() -> None:
    rules = [WITHHOLD | {"when": TRIAL}, RULE | {"when": PRK}]
    of = bundle(AUS=rules, KOR=rules[::-1], USA=[RULE | {"when": PRK, "fields": "[event_id]"}])
    assert question(of).blocks == 1
    assert question(of).answers == 1 + 2
    found = decided(of)
    assert [each.outcome for each in found] == [Outcome.RELEASED] * 3
    assert found[0].fields == found[1].fields != found[2].fields


def test_for_a_partner_no_block_is_evaluated_in_which_it_has_no_share() -> None:
    of = bundle(AUS=[RULE | {"when": PRK}], KOR=[RULE | {"when": PRK}, WITHHOLD | {"when": TRIAL}], USA=[RULE])
    assert asked(of, "AUS") == [{PRK}]
    assert asked(of, "KOR") == [{PRK}, {TRIAL}]
    assert asked(of, "USA") == []
    assert [each.outcome for each in decided(of)] == [Outcome.RELEASED] * 3


@pytest.mark.parametrize("partners", [PARTNERS, PARTNERS[::-1]])
def test_the_error_of_one_partners_rule_is_no_other_partners_error(partners: tuple[str, ...]) -> None:
    failing = WITHHOLD | {"name": "fails", "when": DIVIDES_BY_ZERO}
    of = bundle(AUS=[RULE | {"when": PRK}, failing], KOR=[RULE | {"when": PRK}], USA=[RULE, failing])
    found = dict(zip(partners, decided(of, partners=partners), strict=True))
    assert found["KOR"].outcome is Outcome.RELEASED
    for name in ("AUS", "USA"):
        assert found[name].rule == "(policy error)"
        assert found[name].error == 'rule "fails": divide by zero'


def test_a_condition_that_asks_who_the_partner_is_is_asked_of_each() -> None:
    asks = WITHHOLD | {"when": 'partner == "KOR"'}
    of = bundle(AUS=[asks, RULE | {"when": PRK}], KOR=[asks, RULE | {"when": PRK}], USA=[asks, RULE])
    assert [each.rule for each in decided(of)] == ["a-rule", "keep-back", "a-rule"]


def test_without_a_partner_a_condition_that_asks_who_it_is_cannot_be_evaluated() -> None:
    of = bundle(KOR=[WITHHOLD | {"when": 'partner == "KOR"'}])
    condition = of.partners["KOR"].rules[0].condition
    assert condition is not None
    assert condition.reads_partner
    for often in (False, True):
        facts = of.policies.language.facts(reports.track(), None, reports.NOW, "ROUTINE", often=often)
        with pytest.raises(EvaluationError):
            condition.holds(facts)


def test_while_the_clock_is_not_trusted_only_whose_rules_ask_for_now_get_nothing() -> None:
    late = WITHHOLD | {"when": "now > report.report_time + duration('1h')"}
    of = bundle(AUS=[late, RULE | {"when": PRK}], KOR=[RULE | {"when": PRK}], USA=[late, RULE])
    assert [each.outcome for each in decided(of)] == [Outcome.RELEASED] * 3
    found = decided(of, UNTRUSTED)
    assert [each.rule for each in found] == ["(policy error)", "a-rule", "(policy error)"]
    assert found[0].error == found[2].error == 'rule "keep-back": it asks for now while the clock is not trusted'


def test_who_may_have_nothing_is_told_so_before_any_rule_is_asked() -> None:
    of = bundle(AUS=[RULE | {"when": DIVIDES_BY_ZERO}], KOR=[RULE | {"when": DIVIDES_BY_ZERO}])
    report = reports.track(reports.envelope(releasable_to=["AUS", "USA"]))
    asking = of.ask(report, replace(HERE, suspended=frozenset({"AUS"})))
    found = [asking.decide(partner) for partner in PARTNERS]
    reasons = ["(partner suspended)", "(not releasable by its marking)", "(partner has no policy)"]
    assert [each.rule for each in found] == reasons
    assert all(each.asked is None for each in found)


def test_what_is_unfit_is_unfit_for_whoever_is_asked_for() -> None:
    of = bundle(AUS=[RULE], KOR=[RULE])
    report = reports.track(reports.envelope(releasable_to=PARTNERS))
    report.ClearField("precedence")
    asking = of.ask(report, HERE)
    found = [asking.decide(partner) for partner in ("AUS", "AUS", "KOR", "USA")]
    assert [each.rule for each in found] == ["(policy error)"] * 3 + ["(partner has no policy)"]
    assert {each.error for each in found[:3]} == {"precedence 0 is not defined"}


def test_a_kind_that_no_rule_is_about_is_released_to_nobody() -> None:
    of = bundle(AUS=[RULE], KOR=[])
    report = reports.all_clear(reports.envelope(releasable_to=PARTNERS))
    asking = of.ask(report, HERE)
    assert [asking.decide(partner).rule for partner in ("AUS", "KOR")] == ["(no rule releases it)"] * 2


def test_what_is_asked_grows_with_the_conditions_that_differ_and_not_with_the_partners() -> None:
    partners = sorted(NODE_CODES - {"JPN"})[:32]
    trials = [WITHHOLD | {"name": f"trial-{at}", "when": f'report.event_id == "trial-{at}"'} for at in range(10)]
    common = [*trials, RULE | {"when": PRK}]
    of = bundle(
        **{name: [*common, WITHHOLD | {"when": f"'\"{name}\" in report.marking.caveats'"}] for name in partners}
    )
    assert question(of).answers == 1 + 11 + 32
    assert question(of).blocks == 32
    assert [len(each) for each in asked(of, partners[0])] == [12]
    assert [len(each) for each in asked(of, partners[-1])] == [12, 1]
    report = reports.track(reports.envelope(releasable_to=partners, caveats=[partners[5]]))
    asking = of.ask(report, HERE)
    kept_back = [partner for partner in partners if asking.decide(partner).outcome is not Outcome.RELEASED]
    assert kept_back == [partners[5]]
