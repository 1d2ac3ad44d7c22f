"""`signalfire submit`, `subscribe` and `status` against running gateways."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from google.protobuf import json_format
from signalfire.v1 import report_pb2

from gateway.cli import main
from gateway.demo.deployment import PUSHER, READER
from tests.cli.conftest import World, make
from tests.client.reports import fresh
from tests.patience import PATIENCE_S


def run(*arguments: str, given: str = "") -> Result:
    return CliRunner().invoke(main, list(arguments), input=given)


def new_report(**changes: Any) -> report_pb2.Report:
    report = fresh(0, **changes)
    report.report_id = str(uuid.uuid4())
    return report


def as_line(report: report_pb2.Report) -> str:
    return json_format.MessageToJson(report, indent=None) + "\n"


def received(world: World, *options: str) -> list[dict[str, Any]]:
    """What the United States has of Japan, once it has everything."""
    follow_up = run("subscribe", *world.reader(), "--class", "EXERCISE", "--no-follow", *options)
    assert follow_up.exit_code == 0, follow_up.output
    return [json.loads(line) for line in follow_up.stdout.splitlines()]


class Subscriber:
    """`signalfire subscribe` as a process that is read line by line."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway", "subscribe", *options], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Subscriber:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=PATIENCE_S)

    def until(self, report_id: str) -> list[dict[str, Any]]:
        """The lines up to the one that holds that report. The test's own time limit bounds it."""
        assert self._process.stdout is not None
        got = []
        for line in self._process.stdout:
            got.append(json.loads(line))
            if got[-1].get("report", {}).get("report_id") == report_id:
                return got
        raise AssertionError(f"the subscription ended without {report_id}")


def test_reports_from_a_file_are_accepted_and_reach_the_partner_once(world: World, tmp_path: Path) -> None:
    reports = [new_report() for _ in range(5)]
    file = tmp_path / "reports.jsonl"
    file.write_text("\n".join(as_line(report) for report in reports), "utf-8")
    pushed = run("submit", *world.pusher(), str(file))
    assert (pushed.exit_code, pushed.stderr) == (0, "5 accepted, 0 refused\n")
    again = run("submit", *world.pusher(), str(file))
    assert (again.exit_code, again.stderr) == (0, "5 accepted (5 of them before), 0 refused\n")
    with Subscriber(*world.reader(), "--class", "EXERCISE") as subscriber:
        got = [item["report"]["report_id"] for item in subscriber.until(reports[-1].report_id)]
    assert [report_id for report_id in got if report_id in {report.report_id for report in reports}] == [
        report.report_id for report in reports
    ]


def test_reports_come_from_standard_input_too_and_refused_ones_are_told_with_every_reason(world: World) -> None:
    good, bad = new_report(), new_report(launch_detection__launch_point__latitude_deg=91.0, originator_station=None)
    pushed = run("submit", *world.pusher(), "-", given=as_line(bad) + as_line(good))
    assert pushed.exit_code == 3
    assert pushed.stderr.startswith(f"{bad.report_id}: refused, INVALID\n")
    assert "  launch_detection.launch_point.latitude_deg: " in pushed.stderr
    assert "  originator_station: " in pushed.stderr
    assert pushed.stderr.endswith("1 accepted, 1 refused\n")


def test_a_report_in_a_pipe_is_pushed_before_the_next_one_is_written(world: World) -> None:
    report = new_report()
    command = [sys.executable, "-m", "gateway", "submit", *world.pusher()]
    with (
        subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process,
        Subscriber(*world.reader(), "--class", "EXERCISE") as subscriber,
    ):
        assert process.stdin is not None
        process.stdin.write(as_line(report))
        process.stdin.flush()
        assert subscriber.until(report.report_id)
        _, said = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, said) == (0, "1 accepted, 0 refused\n")


@pytest.mark.parametrize("line", ["no json", '{"reportId": 5}', '{"noSuchField": 1}', "[]", "\ufeff{}"])
def test_a_line_that_is_no_report_is_named_and_what_came_before_it_was_accepted(world: World, line: str) -> None:
    report = new_report()
    pushed = run("submit", *world.pusher(), given=as_line(report) + "\n" + line + "\n" + as_line(new_report()))
    assert pushed.exit_code == 1
    assert "Error: line 3 is not a Report in protobuf's JSON form" in pushed.stderr
    again = json.loads(run("status", *world.pusher(), "--json").stdout)
    accepted = int(again["reports_accepted"])
    assert run("submit", *world.pusher(), given=as_line(report)).exit_code == 0
    assert int(json.loads(run("status", *world.pusher(), "--json").stdout)["reports_accepted"]) == accepted


def test_a_caller_without_a_grant_is_refused_with_what_to_do(world: World) -> None:
    pushed = run("submit", *world.options("JPN", READER), given=as_line(new_report()))
    assert pushed.exit_code == 1
    assert "spiffe://jpn/c2/command has no grant to push; declare one under `clients`" in pushed.stderr
    read = run("subscribe", *world.options("JPN", PUSHER), "--class", "EXERCISE")
    assert read.exit_code == 1
    assert "no grant to read" in read.stderr


def test_a_cursor_file_resumes_where_the_last_run_ended(world: World, tmp_path: Path) -> None:
    cursor = tmp_path / "cursor"
    first, second = new_report(), new_report()
    options = ["--cursor-file", str(cursor)]
    assert run("submit", *world.pusher(), given=as_line(first)).exit_code == 0
    with Subscriber(*world.reader(), "--class", "EXERCISE") as subscriber:
        subscriber.until(first.report_id)
        assert first.report_id in [item["report"]["report_id"] for item in received(world, *options)]
        kept = cursor.read_text("utf-8")
        assert received(world, *options) == []
        assert run("submit", *world.pusher(), given=as_line(second)).exit_code == 0
        subscriber.until(second.report_id)
    assert [item["report"]["report_id"] for item in received(world, *options)] == [second.report_id]
    assert cursor.read_text("utf-8") != kept
    assert [item["report"]["report_id"] for item in received(world, "--cursor", kept.strip())] == [second.report_id]


def test_a_subscription_may_ask_for_less(world: World) -> None:
    report = new_report()
    assert run("submit", *world.pusher(), given=as_line(report)).exit_code == 0
    with Subscriber(*world.reader(), "--class", "EXERCISE") as subscriber:
        subscriber.until(report.report_id)
    asked = {
        ("--kind", "LaunchDetection"): True,
        ("--kind", "Track"): False,
        ("--from", "JPN"): True,
        ("--from", "KOR"): False,
        ("--at-least", "FLASH"): True,
    }
    for options, comes in asked.items():
        got = [item["report"]["report_id"] for item in received(world, *options)]
        assert (report.report_id in got) == comes, options


def test_a_subscription_must_name_its_traffic_class(world: World) -> None:
    result = run("subscribe", *world.reader())
    assert result.exit_code == 2
    assert "--class" in result.stderr


def test_status_is_0_with_every_link_up_3_with_one_down_and_1_without_a_gateway(tmp_path: Path) -> None:
    world = make(tmp_path / "two")
    options = world.options("JPN", "officer")
    try:
        unreached = run("status", *options)
        assert unreached.exit_code == 1
        assert f"Error: {world.places['JPN'].national}: " in unreached.stderr
        world.gateways["JPN"].start()
        asyncio.run(world.gateways["JPN"].ready(PATIENCE_S))
        alone = run("status", *options)
        assert alone.exit_code == 3
        assert "accepting reports" in alone.stdout
        world.gateways["USA"].start()
        asyncio.run(asyncio.wait_for(_linked(world, "JPN"), PATIENCE_S))
        up = run("status", *options)
        assert up.exit_code == 0, up.output
        assert "\N{HORIZONTAL ELLIPSIS}" not in up.stdout
        as_json = json.loads(run("status", *options, "--json").stdout)
        assert (as_json["node"], as_json["accepting"]) == ("JPN", True)
        assert [partner["node"] for partner in as_json["partners"]] == ["USA"]
    finally:
        for gateway in world.gateways.values():
            gateway.stop()


async def _linked(world: World, node: str) -> None:
    """Returns when every link of the node is up; whoever calls bounds the time."""
    while True:
        status = await world.places[node].officer().status()
        if all(partner.following and partner.followed for partner in status.partners):
            return
        await asyncio.sleep(0.05)


def test_credentials_that_are_not_there_are_named(world: World, tmp_path: Path) -> None:
    place = world.places["JPN"]
    result = run("status", "--credentials", str(tmp_path), "--gateway", place.national)
    assert result.exit_code == 1
    assert str(tmp_path / "c2.crt.pem") in result.stderr


def test_a_gateway_that_does_not_answer_is_told_with_where_to_look(world: World) -> None:
    credentials = world.options("JPN", "officer")[:2]
    for command in (("status",), ("policy", "status")):
        told = run(*command, *credentials, "--gateway", "127.0.0.1:1")
        assert told.exit_code == 1
        assert "Is the gateway running, and is the address right?" in told.stderr
