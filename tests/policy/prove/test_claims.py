"""Invariants are proved for every valid report, or refuted by one."""

from __future__ import annotations

import time

import pytest

from policy import compile_bundle
from policy.prove import ProofSettings, Status, prove, replay
from tests.policy.bundles import POLICY, RULE, WITHHOLD, partner_file
from tests.policy.prove.proofs import PRK, SETTINGS, bundle, example, invariant, never, track_rule, verdict

ELSEWHERE = 'report.threat.launch_country != "PRK" || report.threat.launch_country == "UNKNOWN"'
SUM = "report.track.position.latitude_deg + report.track.position.longitude_deg"


def test_what_no_rule_releases_is_proved_never_to_go() -> None:
    assert verdict(track_rule(PRK), invariants=never(ELSEWHERE)).status is Status.PROVED


def test_what_a_rule_releases_is_refuted_by_a_valid_report_that_it_releases() -> None:
    found = verdict(track_rule(), invariants=never(ELSEWHERE))
    assert (found.rule, found.kind, found.partner) == ("a-rule", "Track", "KOR")
    assert example(found).report.threat.launch_country != "PRK"


def test_a_withhold_rule_is_reckoned_with_wherever_it_stands() -> None:
    keep = WITHHOLD | {"kinds": "[Track]", "when": "|\n      " + ELSEWHERE}
    assert verdict(track_rule(), keep, invariants=never(ELSEWHERE)).status is Status.PROVED


def test_the_first_rule_that_releases_decides_alone() -> None:
    few = track_rule(PRK, fields="[track@1]")
    many = track_rule(name="many", fields="[track@1, event_id]")
    claim = never(PRK, fields="[event_id]")
    assert verdict(few, many, invariants=claim).status is Status.PROVED
    example(verdict(many, few | {"ceiling": "TOP_SECRET"}, invariants=claim))


@pytest.mark.parametrize(("posture", "status"), [("[ROUTINE]", Status.PROVED), ("[HEIGHTENED]", Status.REFUTED)])
def test_postures_are_told_apart(posture: str, status: Status) -> None:
    keep = WITHHOLD | {"kinds": "[Track]", "posture": "[ROUTINE]"}
    found = verdict(track_rule(), keep, invariants=never("true", postures=posture))
    assert found.status is status
    if status is Status.REFUTED:
        assert example(found).posture == "HEIGHTENED"


def test_traffic_classes_are_told_apart() -> None:
    rule = track_rule(traffic_classes="[LIVE, EXERCISE]")
    assert verdict(rule, invariants=never("true", traffic_classes="[TEST]")).status is Status.PROVED
    found = verdict(rule, invariants=never("true", traffic_classes="[EXERCISE]"))
    assert example(found).report.traffic_class == 2


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ('now >= timestamp("2025-01-01T00:00:00Z")', Status.PROVED),
        ('now < timestamp("2024-01-01T00:00:00Z")', Status.PROVED),
        ('now >= timestamp("2024-12-31T23:59:59.999999Z")', Status.REFUTED),
        ('now < timestamp("2024-01-01T00:00:00.000001Z")', Status.REFUTED),
    ],
)
def test_an_agreement_is_in_force_between_its_days_and_no_longer(text: str, status: Status) -> None:
    policy = POLICY.replace("kinds: [LaunchDetection, Track, ImpactPrediction]", "kinds: [Track]")
    assert verdict(track_rule(agreement="treaty"), invariants=never(text), policy=policy).status is status


def test_a_field_that_no_rule_names_is_proved_never_to_go_and_others_refuted() -> None:
    assert verdict(track_rule(), invariants=invariant(fields="[source@1]")).status is Status.PROVED
    found = verdict(track_rule(), invariants=invariant(fields="[source@1, track.velocity.x_mps]"))
    assert example(found).report.track.HasField("velocity")


def test_the_level_that_is_sent_counts_and_not_the_one_that_came() -> None:
    secret = invariant(sent_classification_above="CONFIDENTIAL")
    assert example(verdict(track_rule(), invariants=secret)).report.marking.classification == 4
    remarked = track_rule(remark="{classification: RESTRICTED}")
    assert verdict(remarked, invariants=secret).status is Status.PROVED
    assert verdict(track_rule(ceiling="CONFIDENTIAL"), invariants=secret).status is Status.PROVED


def test_foreign_levels_are_read_by_their_equivalents() -> None:
    policy = POLICY + "equivalences:\n  NATO: {SECRET: CONFIDENTIAL}\n"
    rule = track_rule(ceiling="CONFIDENTIAL")
    secret = never("report.marking.classification == Classification.CLASSIFICATION_SECRET")
    assert verdict(rule, invariants=secret).status is Status.PROVED
    assert example(verdict(rule, invariants=secret, policy=policy)).report.marking.policy == "NATO"


def test_reports_of_others_are_reckoned_with_only_where_a_rule_names_them() -> None:
    foreign = never("report.originator_node != 'JPN'")
    assert verdict(track_rule(), invariants=foreign).status is Status.PROVED
    found = verdict(track_rule(originators="[JPN, USA]"), invariants=foreign)
    assert found.status is Status.REFUTED
    assert found.counterexample is not None
    assert list(found.counterexample.report.marking.onward_release) == ["KOR"]


def test_a_withhold_rule_that_names_no_originator_keeps_back_reports_of_others_too() -> None:
    onward = track_rule(originators="[USA]")
    keep = WITHHOLD | {"kinds": "[Track]", "when": f"'{PRK}'"}
    assert verdict(onward, keep, invariants=never(PRK)).status is Status.PROVED
    assert verdict(onward, keep | {"originators": "[JPN]"}, invariants=never(PRK)).status is Status.REFUTED


def test_what_is_held_for_release_is_as_good_as_released() -> None:
    example(verdict(track_rule(hold_s="3600"), invariants=never("true")))


@pytest.mark.parametrize(
    "when",
    [
        "(1 / size(report.references) > 0) || true",
        "!((1 / size(report.references) > 0) && false)",
        "9 / (size(report.references) * 3) >= 0",
    ],
)
def test_an_error_releases_nothing_whatever_stands_beside_it(when: str) -> None:
    assert verdict(track_rule(when), invariants=never("size(report.references) == 0")).status is Status.PROVED


def test_an_error_of_a_rule_that_would_not_withhold_withholds() -> None:
    failing = WITHHOLD | {"kinds": "[Track]", "when": "|\n      1 / size(report.references) > 5"}
    assert verdict(track_rule(), failing, invariants=never("size(report.references) == 0")).status is Status.PROVED


def test_a_comparison_that_meets_nan_releases_nothing() -> None:
    when = "!(0.0 / (report.track.position.height_m * 0.0) > 5.0)"
    assert verdict(track_rule(when), invariants=never("true")).status is Status.PROVED


def test_what_is_absent_satisfies_no_comparison() -> None:
    when = "report.track.velocity.x_mps < 5.0"
    assert verdict(track_rule(when), invariants=never("!has(report.track.velocity)")).status is Status.PROVED
    found = verdict(track_rule("!(has(report.track.velocity) && " + when + ")"), invariants=never("true"))
    example(found)


def test_an_invariant_that_cannot_be_evaluated_is_not_kept() -> None:
    found = verdict(track_rule(), invariants=never("report.track.velocity.x_mps > 30000.0"))
    assert not example(found).report.track.HasField("velocity")
    guarded = never("has(report.track.velocity) && report.track.velocity.x_mps > 30000.0")
    assert verdict(track_rule(), invariants=guarded).status is Status.PROVED


def test_ranges_of_the_contract_are_known() -> None:
    assert verdict(track_rule(), invariants=never("report.track.quality > 15u")).status is Status.PROVED
    assert verdict(track_rule(), invariants=never("report.track.position.latitude_deg > 90.0")).status is Status.PROVED
    example(verdict(track_rule(), invariants=never("report.track.position.latitude_deg >= 90.0")))


def test_doubles_are_not_taken_for_reals() -> None:
    """For reals h + 1e20 > 1e20 wherever h > 0."""
    positive = track_rule("report.track.position.height_m > 0.0")
    lost = never("report.track.position.height_m + 1e20 <= 1e20")
    assert example(verdict(positive, invariants=lost)).report.track.position.height_m > 0


def test_tenths_do_not_add_up() -> None:
    """For reals x = 0.1 and y = 0.2 imply x + y = 0.3."""
    when = "report.track.position.latitude_deg == 0.1 && report.track.position.longitude_deg == 0.2"
    added = never(f"{SUM} != 0.3")
    example(verdict(track_rule(when), invariants=added))
    assert verdict(track_rule(when), invariants=never(f"{SUM} < 0.0")).status is Status.PROVED


def test_an_area_is_the_same_in_a_rule_and_in_an_invariant_and_no_other() -> None:
    policy = POLICY + (
        "areas:\n"
        "  korea: {circle: {centre: [38.0, 127.5], radius_m: 300000}}\n"
        "  same: {circle: {centre: [38.0, 127.5], radius_m: 300000}}\n"
        "  other: {circle: {centre: [20.0, 100.5], radius_m: 300000}}\n"
    )
    rule = track_rule("inside(report.track.position, areas.korea)")
    outside = never("!inside(report.track.position, areas.same)")
    assert verdict(rule, invariants=outside, policy=policy).status is Status.PROVED
    outside = never("!inside(report.track.position, areas.other)")
    found = example(verdict(rule, invariants=outside, policy=policy))
    assert abs(found.report.track.position.latitude_deg - 38.0) < 4


@pytest.mark.parametrize("part", ["report.event_id.matches('^e')", "report.references.exists(r, r.report_id == 'x')"])
def test_what_is_not_modelled_still_means_the_same_twice(part: str) -> None:
    assert verdict(track_rule(part), invariants=never(f"!({part})")).status is Status.PROVED


def test_what_is_not_modelled_proves_nothing_and_is_not_called_refuted_without_a_report() -> None:
    rule = track_rule("report.event_id.matches('^ev-[0-9]{7}$')")
    found = verdict(rule, invariants=never("report.event_id.matches('^x')"))
    assert found.status is Status.UNCONFIRMED
    assert found.counterexample is not None
    assert (
        bundle(rule).decide(found.counterexample.report, "KOR", found.counterexample.circumstances()).rule != "a-rule"
    )


def test_what_takes_too_long_is_undecided_and_so_not_proved() -> None:
    hard = "report.track.position.height_m * report.track.position.latitude_deg"
    made = bundle(track_rule(f"{hard} == 1.2345678901"), invariants=never(f"{hard} * {hard} / {hard} != 1.2345678901"))
    (found,) = prove(made, ProofSettings(timeout_ms=1))
    assert found.status is Status.UNDECIDED


def test_an_invariant_about_no_partner_of_the_bundle_holds() -> None:
    (found,) = prove(bundle(invariants=invariant(fields="[source@1]"), partners=()), SETTINGS)
    assert (found.partner, found.status) == ("", Status.PROVED)


def test_each_partner_has_a_verdict_of_its_own() -> None:
    second = invariant("second", "[USA]", never="true")
    files = {
        "policy.yaml": POLICY.encode(),
        "partners/KOR.yaml": partner_file(RULE).encode(),
        "partners/USA.yaml": partner_file(partner="USA").encode(),
        "invariants.yaml": f"invariants:\n{invariant(never='true')}{second}".encode(),
    }
    found = [(verdict.invariant, verdict.partner, verdict.status) for verdict in prove(compile_bundle(files), SETTINGS)]
    assert found == [
        ("an-invariant", "KOR", Status.REFUTED),
        ("an-invariant", "USA", Status.PROVED),
        ("second", "USA", Status.PROVED),
    ]


def test_the_same_bundle_gives_the_same_verdicts() -> None:
    made = bundle(track_rule(), invariants=never(ELSEWHERE) + invariant("second", fields="[track@1]"))
    assert prove(made, SETTINGS) == prove(made, SETTINGS)


def test_a_claim_about_an_ordinary_policy_takes_milliseconds() -> None:
    made = bundle(
        track_rule(PRK), WITHHOLD | {"when": "|\n      " + ELSEWHERE}, invariants=never(ELSEWHERE), partners=("KOR",)
    )
    prove(made, SETTINGS)
    started = time.perf_counter()
    prove(made, SETTINGS)
    assert time.perf_counter() - started < 0.5


def test_a_replay_says_no_where_nothing_is_violated() -> None:
    made = bundle(track_rule(), invariants=never(ELSEWHERE))
    found = example(verdict(track_rule(), invariants=never(ELSEWHERE)))
    report = found.report
    assert replay.violated(made, made.invariants[0], report, "KOR", found.circumstances())
    report.threat.launch_country = "PRK"
    assert replay.violated(made, made.invariants[0], report, "KOR", found.circumstances()) is None
    report.threat.launch_country = "RUS"
    quiet = bundle(track_rule(), invariants=never(ELSEWHERE, postures="[IMMINENT]"))
    assert replay.violated(quiet, quiet.invariants[0], report, "KOR", found.circumstances()) is None
    exercise = bundle(track_rule(), invariants=never(ELSEWHERE, traffic_classes="[EXERCISE]"))
    assert replay.violated(exercise, exercise.invariants[0], report, "KOR", found.circumstances()) is None
    report.marking.releasable_to[:] = ["USA"]
    assert replay.violated(made, made.invariants[0], report, "KOR", found.circumstances()) is None
