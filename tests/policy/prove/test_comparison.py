"""What NEW gives and OLD did not, for every valid report."""

from __future__ import annotations

from datetime import timedelta

import pytest
from signalfire.v1 import report_pb2

from policy import Bundle, Circumstances, Outcome
from policy.invariants_kept import removed_or_weakened
from policy.prove import Loosening, Status, loosens, replay
from policy.prove.verdict import Looser
from tests.policy import reports
from tests.policy.bundles import POLICY, RULE, WITHHOLD
from tests.policy.prove.proofs import PRK, SETTINGS, bundle, check_valid, invariant, never, track_rule

KEEP = WITHHOLD | {"kinds": "[Track]"}
WIDER = '(report.threat.launch_country in ["PRK", "RUS"] || report.threat.launch_country == "UNKNOWN")'


def found(old: Bundle, new: Bundle) -> list[tuple[Looser, Status, str, str]]:
    """Everything that is looser; what is refuted is so by a valid report."""
    listed = loosens(old, new, None, SETTINGS)
    for each in listed:
        if each.status is Status.REFUTED and each.counterexample is not None:
            check_valid(each.counterexample)
    return [(each.looser, each.status, each.rule, each.old_rule) for each in listed]


RELEASED = [(Looser.RELEASED, Status.REFUTED, "a-rule", "")]


def test_a_bundle_is_no_looser_than_itself() -> None:
    made = bundle(track_rule(PRK), KEEP | {"when": "report.track.quality < 5u"}, invariants=never("false"))
    assert found(made, made) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (track_rule(PRK), track_rule()),
        (track_rule(PRK), track_rule(WIDER)),
        (track_rule(ceiling="SECRET"), track_rule(ceiling="TOP_SECRET")),
        (track_rule(posture="[IMMINENT]"), track_rule()),
        (track_rule(), track_rule(traffic_classes="[LIVE, TEST]")),
        (track_rule("report.track.quality > 5u"), track_rule("report.track.quality >= 5u")),
        (track_rule('report.event_id.matches("a")'), track_rule('report.event_id.matches("a") || ' + PRK)),
        (track_rule('now < timestamp("2024-06-01T00:00:00Z")'), track_rule('now <= timestamp("2024-06-01T00:00:00Z")')),
    ],
)
def test_more_reports_are_found_and_fewer_are_proved(old: dict[str, str], new: dict[str, str]) -> None:
    assert found(bundle(old), bundle(new)) == RELEASED
    assert found(bundle(new), bundle(old)) == []


def test_a_withhold_rule_that_goes_loosens_and_one_that_comes_tightens() -> None:
    keep = KEEP | {"when": "report.track.quality < 5u"}
    assert found(bundle(track_rule(), keep), bundle(track_rule())) == RELEASED
    assert found(bundle(track_rule()), bundle(track_rule(), keep)) == []


def test_an_error_less_loosens() -> None:
    failing, sound = (KEEP | {"when": text} for text in ("1 / size(report.references) > 5", "true && false"))
    assert found(bundle(track_rule(), failing), bundle(track_rule(), sound)) == RELEASED


def test_a_clock_that_is_not_trusted_is_reckoned_with() -> None:
    """A rule that asks for now withholds everything while the clock is not trusted, though it never matches."""
    asks = KEEP | {"when": "\"now < timestamp('1700-01-01T00:00:00Z') && report.track.quality > 15u\""}
    (loosened,) = loosens(bundle(track_rule(), asks), bundle(track_rule()))
    assert (loosened.looser, loosened.status) == (Looser.RELEASED, Status.REFUTED)
    assert loosened.counterexample is not None
    assert not loosened.counterexample.clock_trusted


def test_the_same_said_otherwise_is_no_looser() -> None:
    old = bundle(track_rule("!(report.track.quality < 5u) && " + PRK))
    new = bundle(track_rule(PRK), KEEP | {"when": "5u > report.track.quality"})
    assert found(old, new) == []
    assert found(new, old) == []


def test_more_fields_are_looser_and_fewer_are_not() -> None:
    less, more = track_rule(fields="[track@1]"), track_rule(fields="[track@1, event_id]")
    listed = loosens(bundle(less), bundle(more), None, SETTINGS)
    assert [(each.looser, each.status, each.subject) for each in listed] == [
        (Looser.FIELDS, Status.REFUTED, "event_id")
    ]
    assert found(bundle(more), bundle(less)) == []


def test_rules_that_never_meet_are_not_held_against_each_other() -> None:
    few = track_rule(PRK, fields="[track@1]")
    many = track_rule('report.threat.launch_country == "RUS"', name="other", fields="[track@1, event_id]")
    assert found(bundle(few, many), bundle(many, few)) == []
    assert found(bundle(few), bundle(few, many)) == [(Looser.RELEASED, Status.REFUTED, "other", "")]


def test_less_coarse_otherwise_held_and_lower_marked_are_looser() -> None:
    plain = track_rule()
    coarse = track_rule(coarsen="{position: {grid_m: 10000}}")
    held = track_rule(hold_s="60")
    (loosened,) = loosens(bundle(coarse), bundle(plain), None, SETTINGS)
    assert (loosened.looser, loosened.status) == (Looser.OBLIGATIONS, Status.REFUTED)
    assert "track.position.latitude_deg" in loosened.subject
    assert found(bundle(plain), bundle(coarse)) == []
    assert (Looser.HOLD, Status.REFUTED, "a-rule", "a-rule") in found(bundle(held), bundle(plain))
    assert found(bundle(plain), bundle(held)) == [(Looser.HOLD, Status.REFUTED, "a-rule", "a-rule")]
    caveat = track_rule(remark="{add_caveats: [EYES-ONLY]}")
    assert found(bundle(plain), bundle(caveat)) == []
    assert (Looser.OBLIGATIONS, Status.REFUTED, "a-rule", "a-rule") in found(bundle(caveat), bundle(plain))


def test_what_old_could_not_meet_and_new_need_not_cannot_be_shown_to_tighten() -> None:
    coarse = track_rule(coarsen="{position: {grid_m: 10000}}", fields="[track@1, event_id]")
    fewer = coarse | {"fields": "[track.position.latitude_deg, track.position.longitude_deg, event_id]"}
    other = coarse | {"fields": "[track@1]"}
    assert found(bundle(coarse), bundle(fewer)) == [(Looser.RELEASED, Status.UNCONFIRMED, "a-rule", "")]
    assert found(bundle(coarse), bundle(other)) == []


PLACE = "{place}.latitude_deg, {place}.longitude_deg"
ELLIPSE = "launch_detection.launch_point_error.semi_major_m, launch_detection.launch_point_error.containment"


@pytest.mark.parametrize(
    ("report", "place", "beside"),
    [
        (reports.track(), "track.position", "track.quality"),
        (reports.track(), "track.position", "track.covariance.frame, track.covariance.upper_triangle"),
        (reports.launch(), "launch_detection.launch_point", ELLIPSE),
    ],
)
def test_a_field_that_goes_no_more_is_looser_where_it_made_coarsening_clear_another(
    report: report_pb2.Report, place: str, beside: str
) -> None:
    """What coarsening a position clears, because it cannot be made coarser with it, stands where no position goes."""
    kind = "Track" if report.HasField("track") else "LaunchDetection"
    coarse = RULE | {"kinds": f"[{kind}]", "coarsen": "{position: {grid_m: 50000}}"}
    old = bundle(coarse | {"fields": f"[{PLACE.format(place=place)}, {beside}]"})
    new = bundle(coarse | {"fields": f"[{beside}]"})
    circumstances = Circumstances(reports.NOW, "ROUTINE")
    (before, after) = (replay.released(each, report, "KOR", circumstances) for each in (old, new))
    assert before is not None
    assert after is not None
    path = beside.split(", ")[-1]
    assert (replay.holds_value(before[1], path), replay.holds_value(after[1], path)) == (False, True)
    assert [each[0] for each in found(old, new)] == [Looser.RELEASED]


def test_a_longer_hold_can_release_more_and_so_is_no_tightening() -> None:
    """What is decided again later is decided by the posture of then."""
    coarse = track_rule(posture="[ROUTINE]", coarsen="{position: {grid_m: 50000}}", name="coarse")
    exact = track_rule(posture="[IMMINENT]", name="exact")
    old, new = bundle(coarse, exact), bundle(coarse | {"hold_s": "86400"}, exact)
    assert (Looser.HOLD, Status.REFUTED, "coarse", "coarse") in found(old, new)
    now, later = reports.NOW, reports.NOW + timedelta(days=1)
    assert old.decide(reports.track(), "KOR", Circumstances(now, "ROUTINE", now)).rule == "coarse"
    assert new.decide(reports.track(), "KOR", Circumstances(now, "ROUTINE", now)).outcome is Outcome.HELD
    assert new.decide(reports.track(), "KOR", Circumstances(later, "IMMINENT", now)).rule == "exact"


def test_an_agreement_on_more_days_or_other_terms_is_looser_though_no_rule_cites_it() -> None:
    """What was released under it, and is not sent yet, goes while it is in force."""
    cited, none = bundle(track_rule(agreement="treaty")), bundle()
    for before, after in [
        ("until: 2025-01-01", "until: 2099-01-01"),
        ("from: 2024-01-01", "from: 2023-01-01"),
        ("title: A treaty", "title: A memorandum"),
        ("basis: Signed and ratified", "basis: A promise"),
        ("parties: [JPN, KOR]", "parties: [JPN, KOR, USA]"),
        ("kinds: [LaunchDetection, Track, ImpactPrediction]", "kinds: [LaunchDetection, Track]"),
    ]:
        altered = bundle(policy=POLICY.replace(before, after))
        expected = [(Looser.AGREEMENT, Status.REFUTED, "", "")]
        assert found(cited, altered) == expected, after
        assert found(none, altered) == expected, after
        assert [each.subject for each in loosens(cited, altered, ["KOR"])] == ["treaty"]
    fewer = POLICY.replace("until: 2025-01-01", "until: 2024-06-01").replace("from: 2024-01-01", "from: 2024-02-01")
    assert found(cited, bundle(track_rule(agreement="treaty"), policy=fewer)) == []
    assert found(cited, bundle(policy=fewer)) == []


def test_an_agreement_that_comes_is_looser_for_it_may_have_lapsed_and_one_that_goes_is_not() -> None:
    without = POLICY[: POLICY.index("agreements:")] + POLICY[POLICY.index("field_sets:") :]
    assert found(bundle(policy=without), bundle()) == [(Looser.AGREEMENT, Status.REFUTED, "", "")]
    assert found(bundle(track_rule(agreement="treaty")), bundle(policy=without)) == []


@pytest.mark.parametrize("changed", [{"name": "another"}, {"reason": "Another"}, {"agreement": "twin"}])
def test_what_goes_as_before_under_another_name_reason_or_agreement_is_looser(changed: dict[str, str]) -> None:
    treaty = POLICY[POLICY.index("  treaty:") : POLICY.index("field_sets:")]
    twins = POLICY.replace("field_sets:", treaty.replace("treaty:", "twin:") + "field_sets:")
    rule = track_rule(agreement="treaty")
    old, new = bundle(rule, policy=twins), bundle(rule | changed, policy=twins)
    name = changed.get("name", "a-rule")
    assert found(old, new) == [(Looser.RECORD, Status.REFUTED, name, "a-rule")]
    assert found(bundle(rule, KEEP | {"posture": "[IMMINENT]"}), bundle(rule, KEEP | {"reason": "Another"})) == []


def test_another_rule_may_decide_where_it_released_the_same_report_before_and_nowhere_else() -> None:
    first, second = track_rule(PRK, name="first"), track_rule(name="second", reason="Another")
    elsewhere = 'report.threat.launch_country == "RUS"'
    assert found(bundle(first, second), bundle(second | {"when": "|\n      " + PRK})) == []
    assert found(bundle(first, second | {"when": f"'{elsewhere}'"}), bundle(second | {"when": f"'{PRK}'"})) == [
        (Looser.RECORD, Status.REFUTED, "second", "first")
    ]


def test_a_new_partner_is_looser_and_one_who_goes_is_not() -> None:
    one, two = bundle(track_rule()), bundle(track_rule(), partners=("KOR", "USA"))
    assert [(each.partner, each.looser) for each in loosens(one, two)] == [("USA", Looser.RELEASED)]
    assert loosens(two, one) == ()
    assert loosens(one, two, ["KOR"]) == ()


def test_lists_agreements_equivalences_and_areas_are_compared_by_what_they_come_to() -> None:
    policy = POLICY + (
        "countries:\n  some: [PRK]\n"
        "areas:\n  zone: {circle: {centre: [38.0, 127.5], radius_m: 300000}}\n"
        "equivalences:\n  NATO: {SECRET: SECRET}\n"
    )
    listed = track_rule('report.threat.launch_country in countries.some && report.threat.launch_country != "UNKNOWN"')
    inside = track_rule("inside(report.track.position, areas.zone)")
    agreed = track_rule(agreement="treaty")
    changes = [
        (listed, "some: [PRK]", "some: [PRK, RUS]"),
        (agreed, "until: 2025-01-01", "until: 2025-01-02"),
        (agreed, "from: 2024-01-01", "from: 2023-12-31"),
        (track_rule(), "{SECRET: SECRET}", "{SECRET: SECRET, RESTRICTED: SECRET}"),
        (inside, "radius_m: 300000", "radius_m: 400000"),
    ]
    for rule, before, after in changes:
        old, new = (bundle(rule, policy=text) for text in (policy, policy.replace(before, after)))
        moved = [(Looser.AGREEMENT, Status.REFUTED, "", "")] if rule is agreed else []
        assert found(old, new) == [*moved, *RELEASED], after
    renamed = policy.replace("zone:", "other:").replace("some:", "others:")
    named_otherwise = track_rule("inside(report.track.position, areas.other)")
    assert found(bundle(inside, policy=policy), bundle(named_otherwise, policy=renamed)) == []


def test_partners_without_rules_and_lists_areas_and_equivalences_without_use_change_nothing() -> None:
    more = POLICY + (
        "countries:\n  some: [PRK]\n"
        "areas:\n  zone: {circle: {centre: [38.0, 127.5], radius_m: 300000}}\n"
        "equivalences:\n  NATO: {SECRET: RESTRICTED}\n"
    )
    assert found(bundle(partners=("KOR",)), bundle(partners=("KOR", "USA"), policy=more)) == []


def test_the_posture_that_a_bundle_starts_in_counts() -> None:
    old = bundle(track_rule(posture="[HEIGHTENED]"))
    new = bundle(track_rule(posture="[HEIGHTENED]"), policy=POLICY.replace("posture: ROUTINE", "posture: HEIGHTENED"))
    assert found(old, new) == RELEASED
    assert found(new, old) == []


def test_what_is_not_modelled_cannot_be_shown_to_tighten() -> None:
    old = bundle(track_rule("report.references.exists(r, r.report_id.contains('a'))"))
    new = bundle(track_rule("report.references.exists(r, r.report_id.contains('ab'))"))
    assert [each[0] for each in found(old, new)] == [Looser.RELEASED]


def test_another_nodes_policy_is_looser_whatever_it_says() -> None:
    other = bundle(policy=POLICY.replace("node: JPN", "node: USA"), partners=())
    assert [each.looser for each in loosens(bundle(), other)] == [Looser.NODE]


@pytest.mark.parametrize(
    ("old", "new", "dropped"),
    [
        (never("true"), "", True),
        (never(PRK), never(PRK, name="renamed", reason="Other"), False),
        (never(PRK), never("true"), True),
        (invariant(fields="[event_id]"), invariant(fields="[event_id, track@1]"), False),
        (invariant(fields="[event_id, track@1]"), invariant(fields="[event_id]"), True),
        (invariant(sent_classification_above="SECRET"), invariant(sent_classification_above="RESTRICTED"), False),
        (invariant(sent_classification_above="RESTRICTED"), invariant(sent_classification_above="SECRET"), True),
        (never(PRK, partners="[KOR]"), never(PRK), False),
        (never(PRK), never(PRK, partners="[KOR]"), True),
        (never(PRK, postures="[ROUTINE]"), never(PRK), False),
        (never(PRK), never(PRK, traffic_classes="[LIVE]"), True),
    ],
)
def test_an_invariant_may_grow_and_not_shrink(old: str, new: str, dropped: bool) -> None:
    before, after = bundle(invariants=old), bundle(invariants=new)
    name = before.invariants[0].name
    assert removed_or_weakened(before, after) == ([name] if dropped else [])
    expected = [Loosening("", Looser.INVARIANT, Status.REFUTED, subject=name)] if dropped else []
    assert list(loosens(before, after)) == expected


def test_a_counterexample_is_what_both_bundles_say_themselves() -> None:
    old, new = bundle(track_rule(PRK)), bundle(track_rule())
    (loosened,) = loosens(old, new)
    example = loosened.counterexample
    assert example is not None
    assert replay.released(old, example.report, "KOR", example.circumstances()) is None
    assert replay.released(new, example.report, "KOR", example.circumstances()) is not None
