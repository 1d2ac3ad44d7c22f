"""`signalfire policy`: the officer's tools, each on the directory of a bundle."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from signalfire.v1 import report_pb2

from gateway.cli import main
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.stores import Commit, ReportRow
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.seal.storage import StorageKey
from tests.policy import reports
from tests.policy.reports import report_id


def run(*arguments: object, given: str = "") -> Result:
    return CliRunner().invoke(main, ["policy", *map(str, arguments)], input=given)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    directory = tmp_path / "jpn"
    assert run("init", directory, "--node", "JPN", "--partner", "KOR").exit_code == 0
    return directory


def change(directory: Path, name: str, old: str, new: str) -> Path:
    path = directory / name
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    return directory


def changed(bundle: Path, old: str, new: str) -> Path:
    """A copy of the bundle with another text in Korea's file."""
    other = bundle.with_name("new")
    assert run("init", other, "--node", "JPN", "--partner", "KOR").exit_code == 0
    return change(other, "partners/KOR.yaml", old, new)


def written(path: Path, *listed: report_pb2.Report) -> Path:
    path.write_text("\n\n".join(json_format.MessageToJson(report, indent=None) for report in listed) + "\n", "utf-8")
    return path


def test_the_example_of_init_passes_every_tool_as_it_stands(bundle: Path) -> None:
    for arguments in (("check",), ("test", "--require-coverage"), ("prove",), ("fmt", "--check")):
        result = run(*arguments, bundle)
        assert result.exit_code == 0, result.output
    assert (
        "the policy of JPN is in order: 1 partner, 1 agreement, 4 invariants, 13 cases" in run("check", bundle).stdout
    )
    assert run("prove", bundle).stdout.splitlines()[-1] == "4 of 4 proved"


def test_init_never_overwrites(bundle: Path) -> None:
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    (bundle / "policy.yaml").unlink()
    again = run("init", bundle, "--node", "USA", "--partner", "KOR")
    assert again.exit_code == 1
    assert "is not empty" in again.stderr
    assert not (bundle / "policy.yaml").exists()
    assert all(path.read_bytes() == text for path, text in before.items() if path.exists())


@pytest.mark.parametrize("codes", [("jpn", "KOR"), ("JPN", "KO"), ("JPN", "KRO"), ("JPN", "JPN")])
def test_init_takes_two_codes_of_nodes(tmp_path: Path, codes: tuple[str, str]) -> None:
    assert run("init", tmp_path / "x", "--node", codes[0], "--partner", codes[1]).exit_code == 2
    assert not (tmp_path / "x").exists()


def test_check_tells_every_problem_at_once_with_its_file_and_line(bundle: Path) -> None:
    change(bundle, "partners/KOR.yaml", "ceiling: SECRET", "ceilings: SECRET")
    change(bundle, "policy.yaml", "posture: ROUTINE", "posture: QUIET")
    result = run("check", bundle)
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert lines[-1] == f"Error: {bundle}: {len(lines) - 1} problems"
    assert all(line.startswith(f"{bundle}/") for line in lines[:-1])
    assert len([line for line in lines if "ceilings" in line]) == 2
    assert len([line for line in lines if "QUIET" in line]) == 1


def test_check_tells_what_is_wrong_with_cases_and_which_rules_never_decide(bundle: Path) -> None:
    change(bundle, "cases/warning.yaml", "rule: recall", "rule: recal")
    change(
        bundle,
        "partners/KOR.yaml",
        "when: report.launch_detection.certainty == Certainty.CERTAINTY_POSSIBLE",
        "when: report.launch_detection.object_count > 2000u",
    )
    lines = (bundle / "partners/KOR.yaml").read_text("utf-8").splitlines()
    line = lines.index("  - name: possible-launch-only-in-tension") + 1
    result = run("check", bundle)
    assert result.exit_code == 1
    assert 'KOR has no rule "recal"' in result.stderr
    assert (
        f'{bundle}/partners/KOR.yaml:{line}: The rule "possible-launch-only-in-tension" never decides' in result.stderr
    )


def test_fmt_lays_out_what_is_not_and_check_only_tells(bundle: Path) -> None:
    path = bundle / "partners" / "KOR.yaml"
    was = path.read_bytes()
    change(bundle, "partners/KOR.yaml", "    ceiling: SECRET\n    agreement:", "    ceiling:   SECRET\n    agreement:")
    untidy = path.read_bytes()
    for target in (bundle, path):
        told = run("fmt", "--check", target)
        assert (told.exit_code, told.stdout) == (1, f"{path}\n")
    assert path.read_bytes() == untidy
    assert run("fmt", path).exit_code == 0
    assert path.read_bytes() == was


def test_fmt_leaves_a_bundle_alone_that_is_refused(bundle: Path) -> None:
    change(bundle, "partners/KOR.yaml", "ceiling: SECRET", "ceiling:   SECRETS")
    before = (bundle / "partners/KOR.yaml").read_bytes()
    result = run("fmt", bundle)
    assert result.exit_code == 1
    assert "SECRETS" in result.stderr
    assert (bundle / "partners/KOR.yaml").read_bytes() == before


def test_a_case_that_fails_is_told_with_what_came_and_why(bundle: Path, tmp_path: Path) -> None:
    change(bundle, "partners/KOR.yaml", "in countries.watched\n    # Of", 'in ["IRN"]\n    # Of')
    junit = tmp_path / "junit.xml"
    result = run("test", bundle, "--junit", junit)
    assert result.exit_code == 1
    assert f"fails {bundle}/cases/warning.yaml:7 a launch from a watched country is warned of" in result.stdout
    assert "expected released by warning, got withheld by (no rule releases it)" in result.stdout
    assert 'report.threat.launch_country in ["IRN"] is false: report.threat.launch_country is "PRK"' in result.stdout
    (suite,) = ElementTree.parse(junit).getroot()
    assert int(suite.get("failures", "0")) >= 1


def test_coverage_is_required_only_where_it_is_asked_for(bundle: Path) -> None:
    text = (bundle / "cases/warning.yaml").read_text("utf-8")
    (bundle / "cases/warning.yaml").write_text(text.partition("  - name: a cancellation")[0], "utf-8")
    assert run("test", bundle).exit_code == 0
    required = run("test", bundle, "--require-coverage")
    assert required.exit_code == 1
    assert "matches in no case" in required.stdout
    assert "4 of 5 rules are covered (80%)" in required.stdout


def test_a_bundle_without_cases_or_invariants_is_not_called_tested_or_proved(bundle: Path) -> None:
    (bundle / "cases/warning.yaml").unlink()
    (bundle / "invariants.yaml").unlink()
    assert run("test", bundle).exit_code == 1
    assert run("prove", bundle).exit_code == 1


def test_explain_tells_each_rule_and_each_field(bundle: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "report.json", reports.track())
    result = run("explain", bundle, path, "--partner", "KOR")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("released to KOR by warning\n")
    assert "changed track.position.latitude_deg: 39.5 -> 39.5" in result.stdout
    assert "stayed: the rule does not name it: originator_station, source_sequence" in result.stdout
    told = json.loads(run("explain", bundle, "-", "--partner", "KOR", "--json", given=path.read_text()).stdout)
    assert (told["outcome"], told["rule"], len(told["rules"])) == ("released", "warning", 5)


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        (("--at", "2034-06-01T00:00:00Z"), "(agreement lapsed)"),
        (("--untrusted-clock",), "(agreement lapsed)"),
        (("--suspended",), "(partner suspended)"),
        (("--posture", "ROUTINE"), "possible-launch-only-in-tension"),
        (("--posture", "HEIGHTENED"), "warning"),
    ],
)
def test_explain_asks_in_the_circumstances_that_are_given(
    bundle: Path, tmp_path: Path, options: tuple[str, ...], rule: str
) -> None:
    report = reports.launch()
    if "--posture" in options:
        report.launch_detection.certainty = report_pb2.CERTAINTY_POSSIBLE
    path = written(tmp_path / "report.json", report)
    told = json.loads(run("explain", bundle, path, "--partner", "KOR", "--json", *options).stdout)
    assert told["rule"] == rule


def test_explain_asks_what_the_partner_has(bundle: Path, tmp_path: Path) -> None:
    path = written(tmp_path / "report.json", reports.cancellation([report_id(1)]))
    for options, rule in (
        ((), "(refers to nothing the partner has)"),
        (("--had", f"JPN/{report_id(1)}"), "recall"),
        (("--had-all",), "recall"),
    ):
        told = json.loads(run("explain", bundle, path, "--partner", "KOR", "--json", *options).stdout)
        assert told["rule"] == rule


def test_a_report_or_time_that_cannot_be_read_is_told(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "no.json").write_text("[]", "utf-8")
    no_report = run("explain", bundle, tmp_path / "no.json", "--partner", "KOR")
    assert no_report.exit_code == 1
    assert "is not a Report in protobuf's JSON form" in no_report.stderr
    path = written(tmp_path / "report.json", reports.track())
    assert run("explain", bundle, path, "--partner", "KOR", "--at", "noon").exit_code == 2


def test_diff_of_a_bundle_with_itself_is_proved_to_release_nothing_more(bundle: Path, tmp_path: Path) -> None:
    traffic = written(tmp_path / "reports.jsonl", reports.launch(), reports.track())
    result = run("diff", bundle, bundle, "--traffic", traffic)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "2 recorded reports: nothing changes",
        "proved: NEW releases nothing to KOR that OLD did not",
    ]


def test_diff_shows_what_changes_on_recorded_reports_and_a_report_that_now_goes(bundle: Path, tmp_path: Path) -> None:
    above = reports.launch(reports.envelope(classification=report_pb2.CLASSIFICATION_TOP_SECRET))
    traffic = written(tmp_path / "reports.jsonl", above, reports.track(reports.envelope(number=2)))
    new = changed(bundle, "ceiling: SECRET", "ceiling: TOP_SECRET")
    result = run("diff", bundle, new, "--traffic", traffic)
    assert result.exit_code == 1
    assert "withheld by (above the ceiling)" in result.stdout
    assert "2 recorded reports: 1 decisions or copies change" in result.stdout
    assert "NEW releases what was withheld to KOR, by warning" in result.stdout
    told = json.loads(run("diff", bundle, new, "--traffic", traffic, "--json").stdout)
    (only,) = told["changes"]
    assert (only["old"]["outcome"], only["new"]["outcome"]) == ("withheld", "released")
    example = json_format.ParseDict(told["loosened"][0]["report"], report_pb2.Report())
    assert example.marking.classification == report_pb2.CLASSIFICATION_TOP_SECRET


def test_diff_that_only_tightens_is_told_and_not_called_loosening(bundle: Path) -> None:
    new = changed(bundle, "ceiling: SECRET", "ceiling: RESTRICTED")
    result = run("diff", bundle, new)
    assert (result.exit_code, result.stdout) == (0, "proved: NEW releases nothing to KOR that OLD did not\n")
    assert run("diff", new, bundle).exit_code == 1
    assert run("diff", new, bundle, "--no-proof").exit_code == 0


def test_diff_reads_the_reports_that_a_gateway_accepted_from_its_store(bundle: Path, tmp_path: Path) -> None:
    keys, store = keys_and_store(tmp_path, reports.launch(), reports.track(reports.envelope(number=2)))
    new = changed(bundle, "fields: [warning]", "fields: [threat@1]")
    result = run("diff", bundle, new, "--store", store, "--keys", keys, "--no-proof", "--json")
    assert result.exit_code == 1, result.output
    told = json.loads(result.stdout)
    assert told["reports"] == 2
    assert [each["report_id"] for each in told["changes"]] == [report_id(1), report_id(2)]
    assert run("diff", bundle, new, "--store", store).exit_code == 2


def keys_and_store(tmp_path: Path, *listed: report_pb2.Report) -> tuple[Path, Path]:
    """A node's keys, and a store that holds these reports as accepted, sealed under the node's storage key."""
    keys = tmp_path / "keys"
    pki = tmp_path / "pki"
    for arguments in (
        ["init", "JPN", "--dir", str(pki), "--unlocked"],
        ["gateway", "a", "--dir", str(pki), "--out", str(keys), "--address", "127.0.0.1:7100", "--unlocked"],
    ):
        made = CliRunner().invoke(main, ["pki", *arguments])
        assert made.exit_code == 0, made.output
    storage = StorageKey(NodeKeys.load(keys).storage_key)
    store = SqliteStore(tmp_path / "store.db")
    commit = Commit()
    for seq, report in enumerate(listed, start=1):
        content, identifier = report.SerializeToString(deterministic=True), uuid.UUID(report.report_id).bytes
        digest = hashlib.sha256(content).digest()
        sealed = storage.seal(content, identifier)
        commit.reports.append(ReportRow(seq, identifier, digest, report.event_id, 1, "c2", seq, 0, sealed))
    store.commit(commit)
    store.close()
    return keys, tmp_path / "store.db"


def test_an_invariant_that_does_not_hold_is_told_with_a_report_and_why_it_goes(bundle: Path) -> None:
    change(bundle, "partners/KOR.yaml", "fields: [warning]", "fields: [warning, source@1]")
    result = run("prove", bundle)
    assert result.exit_code == 1
    assert "refuted who-saw-it-stays-at-home (KOR), by the rule warning" in result.stdout
    assert "released to KOR by warning" in result.stdout
    assert result.stdout.splitlines()[-1] == "3 of 4 proved"
    told = json.loads(run("prove", bundle, "--json").stdout)
    (broken,) = [verdict for verdict in told["verdicts"] if verdict["status"] == "refuted"]
    assert not told["proved"]
    assert json_format.ParseDict(broken["report"], report_pb2.Report()).originator_station
    assert broken["explanation"]["rule"] == "warning"


def test_schemas_are_printed_and_written(tmp_path: Path) -> None:
    printed = json.loads(run("schema", "partner").stdout)
    assert printed["properties"]["partner"]
    assert run("schema", "--dir", tmp_path / "s").exit_code == 0
    assert sorted(path.name for path in (tmp_path / "s").iterdir()) == [
        *("cases.json", "invariants.json", "partner.json", "policy.json"),
    ]
    assert run("schema").exit_code == 2
