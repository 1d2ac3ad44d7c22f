"""`signalfire audit` against a running gateway."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
import uuid

import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from signalfire.v1 import officer_pb2, report_pb2

from gateway.cli import main
from gateway.demo.deployment import PUSHER
from tests.cli.conftest import World
from tests.client.reports import fresh


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(main, list(arguments), input=given)


def audit(world: World, command: str, *options: str) -> Result:
    return run("audit", command, *world.options("JPN", "officer"), *options)


@pytest.fixture(scope="module")
def pushed(world: World) -> tuple[report_pb2.Report, report_pb2.Report]:
    """A report that went to the United States, and one whose marking does not name them."""
    reports = (fresh(0), fresh(1))
    for report in reports:
        report.report_id, report.event_id = str(uuid.uuid4()), f"audit/{uuid.uuid4().hex[:8]}"
    reports[1].marking.releasable_to[:] = ["KOR"]
    lines = "".join(json_format.MessageToJson(report, indent=None) + "\n" for report in reports)
    assert run("submit", *world.options("JPN", PUSHER), "-", given=lines).exit_code == 0
    return reports


def test_search_shows_what_all_the_options_want(
    world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]
) -> None:
    given, stays = pushed
    result = audit(world, "search", "--partner", "USA", "--event", stays.event_id, "--since", "1h")
    assert result.exit_code == 0, result.output
    assert stays.report_id in result.stdout
    assert "withheld" in result.stdout
    assert given.report_id not in result.stdout
    nothing = audit(world, "search", "--event", stays.event_id, "--outcome", "released")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "Nothing on record" in nothing.stderr


def test_search_says_that_there_is_more(world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]) -> None:
    result = audit(world, "search", "--limit", "1", "--format", "jsonl")
    assert len(result.stdout.splitlines()) == 1
    assert "more than 1" in result.stderr
    assert json.loads(result.stdout)["decision_record"]["report_id"] in {each.report_id for each in pushed}


def test_show_shows_a_report_or_an_entry(world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]) -> None:
    given, _ = pushed
    by_report = audit(world, "show", given.report_id, "--format", "jsonl")
    assert by_report.exit_code == 0, by_report.output
    entry = json_format.Parse(by_report.stdout, officer_pb2.RecordedEntry())
    assert audit(world, "show", str(entry.index), "--format", "jsonl").stdout == by_report.stdout
    assert "released" in audit(world, "show", given.report_id).stdout
    unknown = audit(world, "show", str(uuid.uuid4()))
    assert unknown.exit_code == 1
    assert "nothing is on record" in unknown.stderr
    beyond = audit(world, "show", "4000000000")
    assert beyond.exit_code == 1
    assert "from_index" in beyond.stderr


def test_explain_says_why_and_shows_the_rule(world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]) -> None:
    given, stays = pushed
    result = audit(world, "explain", given.report_id)
    assert result.exit_code == 0, result.output
    assert re.search(
        r"released at \S+ by prk-launch-warning-with-station, under the agreement trilateral-2023", result.stdout
    )
    assert "- name: prk-launch-warning-with-station" in result.stdout
    assert "signed by alice and bob" in result.stdout
    assert "stayed: marking.releasable_to" in result.stdout
    result = audit(world, "explain", "--partner", "USA", stays.report_id)
    assert "withheld by (not releasable by its marking)" in result.stdout
    assert "releasable to KOR" in result.stdout
    told = json.loads(audit(world, "explain", stays.report_id, "--json").stdout)
    assert told["report"]["report_id"] == stays.report_id


def test_export_writes_every_form(world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]) -> None:
    given, _ = pushed
    options = ("--report", given.report_id)
    (row,) = csv.DictReader(audit(world, "export", *options, "--format", "csv").stdout.splitlines())
    assert (row["report_id"], row["partner"], row["outcome"]) == (given.report_id, "USA", "released")
    (line,) = audit(world, "export", *options, "--format", "syslog").stdout.splitlines()
    assert line.startswith("<110>1 ")
    (line,) = audit(world, "export", *options, "--format", "ocsf").stdout.splitlines()
    assert json.loads(line)["class_uid"] == 6003
    (line,) = audit(world, "export", *options).stdout.splitlines()
    assert json.loads(line)["decision_record"]["report_id"] == given.report_id


def test_who_looked_is_found_by_the_same_commands(
    world: World, pushed: tuple[report_pb2.Report, report_pb2.Report]
) -> None:
    given, _ = pushed
    audit(world, "explain", given.report_id, "--partner", "USA")
    looks = audit(world, "search", "--event-kind", "audit-access", "--limit", "2", "--format", "jsonl").stdout
    details = [json.loads(line)["node_event"]["detail"] for line in looks.splitlines()]
    assert details[1] == f"spiffe://jpn/officer/officer: explain: report {given.report_id} of JPN for USA"
    assert details[0].startswith(
        "spiffe://jpn/officer/officer: search: events, of the kinds audit-access, 2 newest first"
    )


def test_watch_shows_what_is_recorded_as_it_comes(world: World) -> None:
    options = [*world.options("JPN", "officer"), "--event-kind", "audit-access", "--from-index", "0"]
    command = [sys.executable, "-m", "gateway", "audit", "watch", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        try:
            # What is on record comes first, with the look of this watch itself as the last of it.
            while ": watch: events" not in watching.stdout.readline():
                assert watching.poll() is None
            audit(world, "search", "--partner", "FRA")
            assert watching.stdout.readline().endswith(
                " audit-access: spiffe://jpn/officer/officer: search: decisions, for FRA, 100 newest first\n"
            )
        finally:
            watching.kill()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--event-kind", "foo"), "'foo' is not one of 'started', 'roster-pinned'"),
        (("--since", "yesterday"), "is no time"),
        (("--since", "2026-11-21T05:00:00"), "is no time"),
        (("--since", "1h", "--until", "2h"), "since"),
        (("--partner", "Korea"), "partners: 'Korea'"),
        (("--report", "20cb97b1"), "report_id"),
        (("--rule", "\x1b[31m"), "rules"),
        (("--outcome", "given"), "outcome"),
    ],
)
def test_what_makes_no_sense_is_refused_and_says_where(world: World, options: tuple[str, ...], said: str) -> None:
    result = audit(world, "search", *options)
    assert result.exit_code in (1, 2)
    assert said in result.stderr
    assert "\x1b" not in result.stderr


def test_a_c2_system_is_refused(world: World) -> None:
    result = run("audit", "search", *world.options("JPN", PUSHER))
    assert result.exit_code == 1
    assert "UNAUTHENTICATED" in result.stderr


def test_a_gateway_that_does_not_run_is_said_so(world: World, stopped: World) -> None:
    result = run("audit", "search", *stopped.options("JPN", "officer"))
    assert result.exit_code == 1
    assert "Is the gateway running" in result.stderr
