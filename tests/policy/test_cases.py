"""Cases beside the policy: what they may say, what is wrong with them, and what they show of each rule."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree

import pytest

from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_submitted
from policy import Kind, Outcome, PolicyError, compile_bundle, valid
from policy.cases import Case, read_cases
from policy.specimen import specimen
from policy.testing import Results, junit, run
from tests.policy.starter import starter, starter_files

NOW = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)
A_CASE = """\
now: 2024-06-01T12:00:00Z
cases:
  - name: a case
    partner: KOR
    report:
      kind: LaunchDetection
      set: {threat.launch_country: PRK}
    expect:
      outcome: released
      rule: warning
"""


def cases_of(text: str) -> tuple[Case, ...]:
    files = {name: content for name, content in starter_files().items() if not name.startswith("cases/")}
    return read_cases(compile_bundle(files | {"cases/own.yaml": text.encode()}))


def results_of(text: str) -> Results:
    return run(starter(), cases_of(text))


def failures_of(text: str) -> tuple[str, ...]:
    (result,) = results_of(text).results
    return result.failures


def problems_of(text: str) -> list[str]:
    with pytest.raises(PolicyError) as caught:
        cases_of(text)
    return [str(problem) for problem in caught.value.problems]


def expecting(lines: str) -> str:
    return A_CASE + "".join(f"      {line}\n" for line in lines.splitlines())


def test_the_example_of_init_passes_its_own_cases_which_cover_every_rule() -> None:
    bundle = starter()
    results = run(bundle, read_cases(bundle))
    assert [str(result.case) for result in results.results if not result.passed] == []
    assert results.covered == 1.0


@pytest.mark.parametrize("kind", Kind)
def test_a_specimen_is_a_report_that_a_gateway_accepts(kind: Kind) -> None:
    report = specimen(kind, node="JPN", partner="KOR", now=NOW)
    now = int(NOW.timestamp()) * 10**9
    assert validate_submitted(report, node="JPN", now=now, limits=ReportLimits()) == []
    assert valid.faults(report, "JPN") == []


def test_a_case_fails_where_another_rule_decides_and_says_which() -> None:
    assert failures_of(A_CASE.replace("{threat.launch_country: PRK}", "{threat.launch_country: USA}")) == (
        "expected released by warning, got withheld by (no rule releases it)",
    )


def test_a_field_more_or_less_than_expected_fails() -> None:
    more, less = failures_of(expecting("fields: [envelope@1, launch@1, threat.launch_area]"))
    assert more == "went and is not expected: threat.launch_country"
    assert less == "is expected and did not go: threat.launch_area"
    assert not failures_of(expecting("fields: [envelope@1, threat@1, launch@1]"))


def test_a_field_that_must_not_go_fails_where_it_goes() -> None:
    assert failures_of(expecting("absent: [threat]")) == ("must not go and went: threat.launch_country",)
    assert not failures_of(expecting("absent: [source@1, track]"))


def test_values_are_compared_with_what_went() -> None:
    assert not failures_of(expecting("values: {threat.launch_country: PRK, launch_detection.object_count: 1}"))
    (failure,) = failures_of(expecting("values: {launch_detection.missile_class: MRBM}"))
    assert failure == ("launch_detection.missile_class: expected MISSILE_CLASS_MRBM, got MISSILE_CLASS_UNKNOWN")
    assert not failures_of(expecting("values: {launch_detection.missile_class: [UNKNOWN], derivations.node: [JPN]}"))


def test_a_hold_is_expected_with_its_end() -> None:
    held = A_CASE.replace("released", "held") + "      hold_until: 2024-06-01T12:01:00Z\n"
    bundle = starter(partner=("    ceiling: SECRET\n", "    hold_s: 90\n    ceiling: SECRET\n"))
    (result,) = run(bundle, cases_of(held)).results
    assert result.decision.outcome is Outcome.HELD
    assert result.failures == ("expected a hold until 2024-06-01 12:01:00+00:00, got 2024-06-01 12:01:30+00:00",)


def test_a_copy_that_cannot_be_made_as_its_rule_obliges_is_withheld_as_an_error() -> None:
    caveats = ", ".join(f"C{number}" for number in range(16))
    text = A_CASE.replace("outcome: released", "outcome: withheld").replace("rule: warning", "rule: (policy error)")
    text = text.replace("PRK}", f"PRK, marking.caveats: [{caveats}]}}") + "      error: more than the 16\n"
    bundle = starter(
        partner=("      position: {grid_m: 1000}\n", "      position: {grid_m: 1000}\n    remark: {add_caveats: [X]}\n")
    )
    (result,) = run(bundle, cases_of(text)).results
    assert result.decision.outcome is Outcome.WITHHELD
    assert result.failures == (), result.decision.error


def test_circumstances_are_a_cases_own() -> None:
    withheld = A_CASE.replace("outcome: released", "outcome: withheld")
    for line, rule in (
        ("now: 2034-01-01T00:00:00Z", "(agreement lapsed)"),
        ("clock_trusted: false", "(agreement lapsed)"),
        ("suspended: true", "(partner suspended)"),
    ):
        text = withheld.replace("    expect:", f"    {line}\n    expect:").replace("rule: warning", f"rule: {rule}")
        assert failures_of(text) == (), line


def test_a_report_can_be_written_in_full_as_protobufs_json_form_has_it() -> None:
    full = """\
cases:
  - name: in full
    partner: KOR
    now: 2024-06-01T12:00:00Z
    report_json: {"reportId": "0190a5b2-0000-7000-8000-000000000001", "originator_node": "JPN",
      "originatorStation": "a", "sourceSequence": "1", "eventId": "e", "reportTime": "2024-06-01T11:59:59.5Z",
      "validTime": "2024-06-01T11:59:59Z", "clockUncertainty": "0.001s", "trafficClass": "TRAFFIC_CLASS_LIVE",
      "precedence": "PRECEDENCE_FLASH",
      "marking": {"policy": "JPN", "classification": "CLASSIFICATION_SECRET", "releasableTo": ["KOR"]},
      "threat": {"launchCountry": "PRK"},
      "references": [{"originatorNode": "JPN", "reportId": "0190a5b2-0000-7000-8000-000000000009",
        "relation": "REFERENCE_RELATION_UPDATES"}],
      "allClear": {"reason": "WITHDRAWAL_REASON_EVENT_OVER"}}
    expect: {outcome: released, rule: recall, absent: [references]}
"""
    (case,) = cases_of(full)
    assert case.report.references[0].originator_node == "JPN"
    assert case.report.report_time.nanos == 500_000_000
    assert failures_of(full) == ()


def test_reports_that_the_partner_has_are_named_by_node_and_identifier() -> None:
    recall = A_CASE.replace("kind: LaunchDetection", "kind: Cancellation").replace("rule: warning", "rule: recall")
    earlier = "5f0c6f3e-0000-4000-8000-000000000002"
    for had in (earlier, f"JPN/{earlier}"):
        assert not failures_of(recall.replace("    expect:", f"    had: [{had}]\n    expect:"))
    assert failures_of(recall.replace("    expect:", f"    had: [USA/{earlier}]\n    expect:"))


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("partner: KOR", "partners: KOR", '4: "partners" is not a key of the case "a case". Did you mean "partner"?'),
        ("kind: Launch", "kind: Lunch", '6: In "kind" of report of the case "a case": "LunchDetection" is not known'),
        ("launch_country: P", "lunch_country: P", '7: In set of report of the case "a case": Threat has no field'),
        ("rule: warning", "rule: warnin", '10: KOR has no rule "warnin", and no built-in reason is called so. Did you'),
        ("outcome: released", "outcome: sent", '9: In "outcome" of expect of the case "a case": "sent" is not an out'),
        ("now: 2024-06-01T12:00:00Z", "now: yesterday", '1: In "now" of the file of cases: "yesterday" is not a time'),
        ("now: 2024-06-01T12:00:00Z\n", "", '2: "now" is missing from the case "a case". Add now:'),
        ("threat.launch_country: PRK", "track.quality: 3", '7: A LaunchDetection has no "track.quality". Set fields'),
        ("{threat.launch_country: PRK}", "{precedence: URGENT}", '7: In set of report of the case "a case": "URGENT"'),
        ("{threat.launch_country: PRK}", "{source_sequence: 0}", '5: The report of the case "a case" could not come'),
        ("kind: LaunchDetection", "like: another", '6: No case before this one is "another". None is defined.'),
        (
            "      rule: warning\n",
            "      rule: warning\n      hold_until: 2024-06-01T12:00:00Z\n",
            '11: "hold_until" st',
        ),
        (
            "set: {",
            "unset: [threat.launch_contry]\n      set: {",
            '7: A report has no field "threat.launch_contry". Did',
        ),
        ("name: a case", "name: ' '", "3: A case has no name. Add a name that says what it shows."),
    ],
)
def test_what_is_wrong_is_told_with_its_line_and_how_to_mend_it(old: str, new: str, told: str) -> None:
    assert old in A_CASE
    problems = problems_of(A_CASE.replace(old, new))
    assert any(problem.startswith(f"cases/own.yaml:{told}") for problem in problems), problems


def test_everything_that_is_wrong_is_told_at_once() -> None:
    wrong = A_CASE.replace("kind: LaunchDetection", "kind: Lunch").replace("rule: warning", "rule: warnin")
    assert len(problems_of(wrong)) == 2


def test_a_report_that_could_not_come_is_refused() -> None:
    for change in ("launch_detection.launch_point: {latitude_deg: 91}", "report_time: 2024-06-01T11:00:00Z"):
        assert "could not come" in problems_of(A_CASE.replace("threat.launch_country: PRK", change))[0]


def test_two_cases_of_one_name_are_refused() -> None:
    assert "There are two cases" in problems_of(A_CASE + A_CASE.partition("cases:\n")[2])[0]


def test_a_rule_is_covered_only_where_it_decides_and_its_condition_fails_somewhere() -> None:
    results = results_of(A_CASE)
    missing = {rule.rule: rule.missing for rule in results.coverage}
    assert missing["warning"] == "its condition holds in every case"
    assert missing["recall"] == "matches in no case"
    assert missing["tests-stay-at-home"] == "matches in no case"
    assert results.covered == 0.0
    again = A_CASE.partition("cases:\n")[2].replace("a case", "another").replace("PRK", "USA")
    both = results_of(A_CASE + again.replace("outcome: released", "outcome: withheld"))
    assert {rule.rule: rule.missing for rule in both.coverage}["warning"] == ""


def test_junit_holds_every_case_and_what_failed() -> None:
    results = results_of(A_CASE.replace("{threat.launch_country: PRK}", "{threat.launch_country: USA}"))
    (suite,) = ElementTree.fromstring(junit(results, "jpn"))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures")) == ("jpn", "1", "1")
    (case,) = suite
    assert (case.get("name"), case.get("file"), case.get("line")) == ("a case", "cases/own.yaml", "3")
    (failure,) = case
    assert "got withheld by (no rule releases it)" in str(failure.get("message"))


def test_cases_can_be_run_on_a_changed_policy() -> None:
    cases = read_cases(starter())
    results = run(starter(partner=("ceiling: SECRET", "ceiling: TOP_SECRET")), cases)
    assert [result.case.name for result in results.results if not result.passed] == ["what is more than secret is not"]
