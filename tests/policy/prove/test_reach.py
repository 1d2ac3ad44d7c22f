"""Rules that never decide are found, and no others."""

from __future__ import annotations

from policy.prove import Shadowed, shadowed
from tests.policy.bundles import WITHHOLD
from tests.policy.prove.proofs import PRK, bundle, track_rule

RUSSIA = 'report.threat.launch_country == "RUS"'
KEEP = WITHHOLD | {"kinds": "[Track]"}


def test_rules_that_all_decide_are_left_alone() -> None:
    assert shadowed(bundle(track_rule(PRK), track_rule(RUSSIA, name="other"), KEEP | {"posture": "[ROUTINE]"})) == ()


def test_a_rule_behind_a_wider_one_never_decides() -> None:
    rules = (track_rule("report.track.quality >= 5u"), track_rule("report.track.quality > 5u", name="narrower"))
    assert shadowed(bundle(*rules)) == (Shadowed("KOR", "narrower", ("a-rule",)),)


def test_two_rules_together_can_shadow_a_third() -> None:
    rules = (
        track_rule("report.track.quality > 5u"),
        track_rule("report.track.quality < 6u", name="rest"),
        track_rule("report.track.quality < 9u", name="third"),
    )
    assert shadowed(bundle(*rules)) == (Shadowed("KOR", "third", ("a-rule", "rest")),)


def test_a_release_rule_that_a_withhold_rule_contradicts_never_decides() -> None:
    keep = KEEP | {"when": "|\n      " + PRK}
    assert shadowed(bundle(track_rule(PRK + " && report.track.quality > 5u"), keep)) == (
        Shadowed("KOR", "a-rule", ("keep-back",)),
    )


def test_a_rule_that_matches_no_valid_report_says_so() -> None:
    assert shadowed(bundle(track_rule("report.track.quality > 15u"))) == (Shadowed("KOR", "a-rule", ()),)
    assert shadowed(bundle(track_rule(f"{PRK} && {RUSSIA}"))) == (Shadowed("KOR", "a-rule", ()),)


def test_a_lower_ceiling_or_an_agreement_in_front_leaves_something_to_decide() -> None:
    low = track_rule(ceiling="RESTRICTED", name="low")
    assert shadowed(bundle(low, track_rule())) == ()
    assert shadowed(bundle(track_rule(agreement="treaty", name="agreed"), track_rule())) == ()


def test_a_withhold_rule_that_keeps_back_reports_of_others_alone_decides() -> None:
    foreign = KEEP | {"when": "report.originator_node == 'USA'"}
    onward = track_rule(originators="[USA]")
    assert shadowed(bundle(onward | {"when": "report.track.quality > 5u"}, foreign | {"posture": "[ROUTINE]"})) == ()
    assert shadowed(bundle(track_rule(), foreign)) == (Shadowed("KOR", "keep-back", ()),)


def test_a_withhold_rule_behind_a_wider_one_is_found() -> None:
    first = KEEP | {"when": "report.track.quality < 9u"}
    second = KEEP | {"name": "second", "when": "report.track.quality < 5u"}
    assert shadowed(bundle(track_rule(), first, second)) == (Shadowed("KOR", "second", ("keep-back",)),)


def test_a_rule_that_is_not_needed_to_hide_another_is_not_blamed() -> None:
    innocent = KEEP | {"name": "innocent", "when": "report.track.quality < 3u"}
    needed = KEEP | {"when": "report.track.quality < 9u"}
    hidden = KEEP | {"name": "hidden", "when": "report.track.quality < 5u"}
    assert shadowed(bundle(track_rule(), innocent, needed, hidden)) == (Shadowed("KOR", "hidden", ("keep-back",)),)
