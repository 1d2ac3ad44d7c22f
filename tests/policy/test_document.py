"""What a bundle's files may hold, and how an officer is told what is wrong with them."""

from __future__ import annotations

import pytest

from policy import Limits, PolicyError, compile_bundle
from policy.obligations import LEAST_SPEED_STEP_MPS, MOST_SPEED_STEP_MPS
from tests.policy.bundles import (
    POLICY,
    RULE,
    WITHHOLD,
    compiled,
    partner_file,
    problem_of,
    problem_of_rule,
    problems_of,
    without,
)


def test_the_plain_rule_that_the_other_tests_spoil_is_right() -> None:
    assert [rule.name for rule in compiled(RULE, WITHHOLD).partners["KOR"].rules] == ["a-rule", "keep-back"]


def test_a_misspelt_key_is_told_with_its_line_and_the_right_spelling() -> None:
    rule = RULE | {"kind": "[Track]"}
    problem = problem_of(partner_file(rule))
    assert (problem.file, problem.line) == ("partners/KOR.yaml", 10)
    assert problem.what == '"kind" is not a key of the rule "a-rule".'
    assert problem.remedy == 'Did you mean "kinds"?'
    assert str(problem) == f"partners/KOR.yaml:10: {problem.what} {problem.remedy}"


@pytest.mark.parametrize("key", ["name", "reason", "kinds", "traffic_classes", "ceiling", "fields"])
def test_no_key_that_decides_who_gets_what_has_a_default(key: str) -> None:
    problem = problem_of(partner_file(without(RULE, key)))
    assert problem.what.startswith(f'"{key}" is missing from the rule')
    assert problem.line == 3
    assert problem.remedy


def test_a_rule_without_an_effect_is_refused() -> None:
    assert problem_of(partner_file(without(RULE, "effect"))).what.startswith('"effect" is missing')


def test_an_unknown_effect_is_refused() -> None:
    assert problem_of_rule(effect="relase").remedy == 'Did you mean "release"?'


def test_an_unknown_kind_is_refused_with_the_nearest_one() -> None:
    problem = problem_of_rule(kinds="[Track, LaunchDetecton]")
    assert '"LaunchDetecton" is not known here' in problem.what
    assert problem.remedy == 'Did you mean "LaunchDetection"?'
    assert problem.line == 6


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("traffic_classes", "[LIVE, DRILL]"),
        ("traffic_classes", "[TRAFFIC_CLASS_UNSPECIFIED]"),
        ("ceiling", "COSMIC"),
        ("ceiling", "4"),
        ("posture", "[CALM]"),
        ("posture", "[]"),
        ("kinds", "[]"),
        ("kinds", "[Track, Track]"),
        ("kinds", "Track"),
        ("kinds", "{Track: yes}"),
        ("fields", "warning"),
        ("fields", "[[warning]]"),
        ("fields", "[]"),
        ("name", "(no rule releases it)"),
        ("name", "[a, b]"),
        ("name", "Has Spaces"),
        ("reason", '" "'),
        ("agreement", "[treaty]"),
        ("ceiling", "[SECRET]"),
        ("when", "[true]"),
        ("effect", "[release]"),
    ],
)
def test_a_value_of_the_wrong_type_or_range_is_refused_at_its_line(key: str, value: str) -> None:
    rule = RULE | {key: value}
    found = problems_of({"policy.yaml": POLICY, "partners/KOR.yaml": partner_file(rule)})
    assert {problem.line for problem in found} == {3 + list(rule).index(key)}


def test_a_scalar_is_the_text_that_stands_there_and_never_a_truth_or_a_number() -> None:
    policy = POLICY.replace("[JPN, KOR]", "[JPN, KOR, NOR]").replace("warning:", "no:")
    bundle = compiled(RULE | {"name": "2023", "reason": "yes", "fields": "[no]"}, policy=policy)
    (rule,) = bundle.partners["KOR"].rules
    assert (rule.name, rule.reason) == ("2023", "yes")


@pytest.mark.parametrize("key", ["ceiling", "fields", "hold_s", "coarsen", "remark"])
def test_a_withhold_rule_has_neither_ceiling_nor_fields_nor_obligations(key: str) -> None:
    value = {"ceiling": "SECRET", "fields": "[warning]", "hold_s": "5"}.get(key, "{}")
    problem = problem_of(partner_file(WITHHOLD | {key: value}))
    assert problem.what == f'"{key}" stands in the rule "keep-back", which withholds.'


def test_a_key_that_stands_twice_is_refused() -> None:
    problem = problem_of(partner_file(RULE) + "    ceiling: TOP_SECRET\n")
    assert problem.what == 'The key "ceiling" stands twice (first at line 8).'
    assert problem.line == 10


@pytest.mark.parametrize(
    ("spoilt", "what"),
    [
        (POLICY.replace("[JPN, KOR]", "&both [JPN, KOR]"), '"&both" is an anchor.'),
        (POLICY.replace("until: 2025-01-01", "until: *day"), '"*day" is an alias.'),
        (POLICY.replace("posture: ROUTINE", "posture: !level ROUTINE"), 'has the tag "!level"'),
        (POLICY.replace("posture: ROUTINE", "posture: !!str ROUTINE"), 'has the tag "tag:yaml.org,2002:str"'),
        (POLICY + "<<: {posture: ROUTINE}\n", 'The merge key "<<" is not allowed.'),
        ("%YAML 1.1\n---\n" + POLICY, "The file has a % directive."),
        (POLICY + "---\nnode: KOR\n", "A second document begins here."),
        (POLICY.replace("ROUTINE", "'ROUTINE"), "This is not YAML"),
        (POLICY.replace("ROUTINE", "ROU\u200bTINE"), "invisible character U+200B"),
        (POLICY.replace("ROUTINE", "ROU\x07TINE"), "invisible character U+0007"),
        (POLICY.replace("JPN", "JPN\t"), "invisible character U+0009"),
        (POLICY + "? [a]\n: b\n", "A list or mapping stands as a key."),
        ("a: [[[[[[[[[[]]]]]]]]]]\n", "nested more than 8 deep"),
        ("", "The file is empty."),
        ("[a]\n", "keys with values are needed"),
    ],
)
def test_yaml_beyond_the_plain_is_refused(spoilt: str, what: str) -> None:
    found = problems_of({"policy.yaml": spoilt})
    assert any(what in problem.what for problem in found), [str(problem) for problem in found]


def test_a_file_that_is_not_utf_8_is_refused_at_the_line() -> None:
    with pytest.raises(PolicyError) as caught:
        compile_bundle({"policy.yaml": b"node: JPN\nposture: \xff\n"})
    assert [(problem.line, problem.what) for problem in caught.value.problems] == [(2, "The file is not UTF-8.")]


def test_a_huge_file_is_refused_before_it_is_parsed() -> None:
    found = problems_of({"policy.yaml": POLICY + "#" * (256 * 1024)})
    assert [problem.line for problem in found] == [0]
    assert "more than 262,144 bytes" in found[0].what
    assert "limit" not in found[0].remedy


def test_the_size_limit_is_a_setting() -> None:
    with pytest.raises(PolicyError, match="more than 10 bytes"):
        compile_bundle({"policy.yaml": POLICY.encode()}, Limits(file_bytes=10))


def test_deep_nesting_is_refused_without_parsing_to_its_end() -> None:
    found = problems_of({"policy.yaml": "[" * 262_144})
    assert "nested more than 8 deep" in found[0].what


def test_more_rules_than_the_limit_are_refused() -> None:
    files = {"policy.yaml": POLICY.encode(), "partners/KOR.yaml": partner_file(RULE, WITHHOLD).encode()}
    with pytest.raises(PolicyError, match="has 2 rules; the limit is 1"):
        compile_bundle(files, Limits(rules=1))


def test_more_partners_than_the_limit_are_refused() -> None:
    files = {"policy.yaml": POLICY.encode(), "partners/KOR.yaml": partner_file(RULE).encode()}
    with pytest.raises(PolicyError, match="has 1 partners; the limit is 0"):
        compile_bundle(files, Limits(partner_files=0))


def test_a_bundle_without_policy_yaml_is_refused() -> None:
    assert problem_names(problems_of({"partners/KOR.yaml": partner_file(without(RULE))})) == {"policy.yaml"}


def problem_names(found: object) -> set[str]:
    assert isinstance(found, tuple)
    return {problem.file for problem in found}


@pytest.mark.parametrize("name", ["KOR.yaml", "partners/KOR.yml", "partners/kor.yaml", "partners/KOR.yaml~", "x.txt"])
def test_a_file_that_would_be_passed_over_in_silence_is_refused(name: str) -> None:
    found = problems_of({"policy.yaml": POLICY, name: "partner: KOR\nrules: []\n"})
    assert problem_names(found) == {name}


def test_a_file_is_named_after_its_partner() -> None:
    assert 'says that the partner is "USA"' in problem_of(partner_file(WITHHOLD, partner="USA")).what


def test_a_node_is_not_its_own_partner() -> None:
    found = problems_of({"policy.yaml": POLICY, "partners/JPN.yaml": partner_file(WITHHOLD, partner="JPN")})
    assert [problem.what for problem in found] == ["The node is its own partner."]


def test_two_rules_of_one_name_are_refused() -> None:
    problem = problem_of(partner_file(RULE, RULE))
    assert problem.what == 'There are two rules "a-rule" (the first at line 3).'


def test_an_agreement_that_does_not_exist_is_refused() -> None:
    problem = problem_of_rule(agreement="traety")
    assert problem.what == 'policy.yaml has no agreement "traety".'
    assert problem.remedy == 'Did you mean "treaty"?'


def test_an_agreement_binds_both_the_node_and_the_partner() -> None:
    policy = POLICY.replace("[JPN, KOR]", "[JPN, USA]")
    assert "KOR is no party" in problem_of(partner_file(RULE | {"agreement": "treaty"}), policy).what


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("2025-01-01", "2024-01-01", "ends before it begins"),
        ("2025-01-01", "2025-02-30", "is not a day"),
        ("2025-01-01", "1735689600", "is not a day"),
        ("2025-01-01", "2025-01-01T00:00", "is not a day"),
        ("    until: 2025-01-01\n", "", '"until" is missing from the agreement "treaty"'),
        ("title: A treaty", "titel: A treaty", '"titel" is not a key of the agreement "treaty"'),
        ("  treaty:", "  The Treaty:", "is not a name"),
        ("node: JPN", "node: Japan", "is not a node's code"),
        ("node: JPN\n", "", '"node" is missing from the policy'),
        ("posture: ROUTINE\n", "", '"posture" is missing from the policy'),
        ("field_sets:", "field_set:", '"field_set" is not a key of the policy'),
    ],
)
def test_the_shared_definitions_are_checked_as_strictly(old: str, new: str, what: str) -> None:
    found = problems_of({"policy.yaml": POLICY.replace(old, new)})
    assert any(what in problem.what for problem in found), [str(problem) for problem in found]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    policy = POLICY.replace("posture: ROUTINE", "posture: CALM").replace("launch@1", "lunch@1")
    rules = partner_file(
        RULE | {"kinds": "[Trak]", "when": "report.threat.launch_cuntry == partner", "fields": "[track.qualty]"},
        WITHHOLD | {"whenn": "true", "when": "report.lane == 1 && report.precedence == 4"},
    )
    found = problems_of({"policy.yaml": policy, "partners/KOR.yaml": rules, "partners/USA.yaml": "partner: [USA]\n"})
    told = "\n".join(map(str, found))
    for sign in (
        '"CALM"',
        '"lunch@1"',
        '"Trak"',
        '"launch_cuntry"',
        '"track.qualty"',
        '"whenn"',
        '"lane"',
        "one value is needed",
        '"rules" is missing',
    ):
        assert sign in told
    assert list(found) == sorted(found)


@pytest.mark.parametrize(
    ("obligation", "what"),
    [
        ("coarsen: {}", '"coarsen" of the rule "a-rule" is empty.'),
        ("coarsen: {position: {}}", 'The position in the rule "a-rule" is coarsened in no way, or in two.'),
        (
            "coarsen: {position: {grid_m: 5, round_m: 5}}",
            'The position in the rule "a-rule" is coarsened in no way, or in two.',
        ),
        ("remark: {}", '"remark" of the rule "a-rule" is empty.'),
        ("remark: {classification: TOP_SECRET}", 'The rule "a-rule" marks its copies above its own ceiling.'),
    ],
)
def test_an_obligation_that_cannot_be_meant_is_refused(obligation: str, what: str) -> None:
    key, _, value = obligation.partition(": ")
    assert problem_of_rule(**{key: value}).what == what


@pytest.mark.parametrize("hold", ["0", "-1", "1.5", "1h", "99999999"])
def test_a_hold_is_a_whole_number_of_seconds(hold: str) -> None:
    assert "is not a whole number of seconds from 1 to 2,678,400" in problem_of_rule(hold_s=hold).what


@pytest.mark.parametrize("metres", ["0", "nan", "inf", "1e3", "-5", "many"])
def test_a_grid_is_a_decimal_number_of_metres(metres: str) -> None:
    assert "is not a number of metres" in problem_of_rule(coarsen=f"{{position: {{grid_m: {metres}}}}}").what


@pytest.mark.parametrize("step", ["0.09", "20000.1", "0"])
def test_a_step_of_velocities_is_what_an_obligation_can_hold(step: str) -> None:
    what = problem_of_rule(coarsen=f"{{velocity_mps: {step}}}").what
    assert what.endswith(f'"{step}" is not a number of m/s from 0.1 to 20,000.')


@pytest.mark.parametrize("step", [LEAST_SPEED_STEP_MPS, MOST_SPEED_STEP_MPS])
def test_every_step_that_an_obligation_can_hold_can_be_written(step: float) -> None:
    (rule,) = compiled(RULE | {"coarsen": f"{{velocity_mps: {step:.15g}}}"}).partners["KOR"].rules
    assert rule.obligations.velocity_mps == step


def test_a_rule_cites_an_agreement_only_for_kinds_that_it_covers() -> None:
    problem = problem_of_rule(kinds="[Cancellation]", agreement="treaty")
    assert problem.what == "The agreement 'treaty' does not cover Cancellation."


@pytest.mark.parametrize(
    ("shared", "what"),
    [
        ("countries: {near: [Korea]}", '"Korea" is not a country\'s code'),
        ("countries: {Near-by: [KOR]}", "is not a name for conditions"),
        ("areas: {sea: {}}", 'The area "sea" has no form, or more than one.'),
        ("areas: {sea: {circle: {centre: [38], radius_m: 5}}}", "has too few numbers"),
        ("areas: {sea: {circle: {centre: [98, 5], radius_m: 5}}}", "is not a number of degrees north"),
        ("areas: {sea: {geojson: areas/sea.geojson}}", 'The bundle has no file "areas/sea.geojson".'),
        ("areas: {sea: {geojson: ../sea.geojson}}", "is not a file of the bundle"),
        ("equivalences: {JPN: {SECRET: SECRET}}", '"JPN" is this node itself.'),
        ("equivalences: {NATO: {COSMIC: SECRET}}", '"COSMIC" is not known here.'),
        ("equivalences: {NATO: {}}", "is empty"),
    ],
)
def test_a_shared_definition_that_cannot_be_meant_is_refused(shared: str, what: str) -> None:
    found = problems_of({"policy.yaml": POLICY + shared + "\n"})
    assert any(what in problem.what for problem in found), [str(problem) for problem in found]


def test_of_a_misspelt_effect_no_keys_are_told_that_would_make_a_release_of_it() -> None:
    problem = problem_of(partner_file(WITHHOLD | {"effect": "withold"}))
    assert (problem.what, problem.remedy) == ('"withold" is not an effect.', 'Did you mean "withhold"?')


def test_a_misspelt_key_is_not_told_as_missing_too() -> None:
    problem = problem_of(partner_file(without(RULE, "ceiling") | {"ceilng": "SECRET"}))
    assert problem.remedy == 'Did you mean "ceiling"?'


def test_a_byte_order_mark_is_told_with_how_to_save_the_file() -> None:
    (problem,) = problems_of({"policy.yaml": "\ufeff" + POLICY})
    assert problem.remedy == "Save it as UTF-8 without BOM."


@pytest.mark.parametrize(
    "policy", [POLICY + "countris:\n  watched: [PRK]\n", POLICY + "countries: [PRK]\n", "a: b: c\n"]
)
def test_what_a_broken_policy_may_have_defined_is_not_told_as_undefined(policy: str) -> None:
    rule = RULE | {"when": "report.threat.launch_country in countries.watched", "agreement": "other"}
    found = problems_of({"policy.yaml": policy, "partners/KOR.yaml": partner_file(rule)})
    assert {problem.file for problem in found} == {"policy.yaml"}


def test_a_country_list_has_codes_of_countries() -> None:
    (problem,) = problems_of({"policy.yaml": POLICY + "countries:\n  watched: [PKR]\n"})
    assert problem.what.endswith('"PKR" is not a country\'s code (ISO 3166-1 alpha-3).')
    assert problem.remedy == 'Did you mean "PRK"?'
