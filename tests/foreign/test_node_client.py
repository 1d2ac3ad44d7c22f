"""A client in JavaScript, written from the contract alone, pushes into and receives from real gateways.

It needs Node.js and npm. The packages are installed once, under `.venv`, and the next run needs no network.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format, timestamp_pb2
from signalfire.v1 import report_pb2

from gateway.client import Received
from gateway.demo.deployment import GATEWAY_NAME, PUSHER, READER
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from tests.cli.conftest import World, make
from tests.client.reports import fresh
from tests.patience import PATIENCE_S

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two nations whose gateways run."""
    made = make(tmp_path_factory.mktemp("foreign"))
    try:
        for gateway in made.gateways.values():
            gateway.start()
        for gateway in made.gateways.values():
            asyncio.run(gateway.ready(PATIENCE_S))
        yield made
    finally:
        for gateway in made.gateways.values():
            gateway.stop()


@dataclass(frozen=True, slots=True)
class Foreign:
    """The JavaScript client, as a C2 system of a nation."""

    packages: Path
    world: World

    def run(self, command: str, node: str, name: str, *rest: str, given: str = "") -> tuple[int, list[dict[str, Any]]]:
        """Its exit code, and what it printed."""
        place = self.world.places[node]
        server = dns_name(SpiffeId.of(node, Role.GATEWAY, GATEWAY_NAME))
        credentials = str(place.directory / "c2" / name)
        done = subprocess.run(
            ["node", str(HERE / "client.mjs"), command, place.national, server, credentials, *rest],
            env=os.environ | {"SIGNALFIRE_NODE_PACKAGES": str(self.packages)},
            input=given, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.stderr == ""
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def foreign(packages: Path, world: World) -> Foreign:
    return Foreign(packages, world)


def new_report(**changes: Any) -> report_pb2.Report:
    report = fresh(0, **changes)
    report.report_id = str(uuid.uuid4())
    return report


def as_line(report: report_pb2.Report) -> str:
    """A report in JSON with the contract's field names; times and durations as the plain messages that they are."""
    value = json_format.MessageToDict(report, preserving_proto_field_name=True)
    for descriptor, part, name in _plain(report):
        _set(value, part, name, descriptor)
    return json.dumps(value) + "\n"


def _plain(message: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[dict[str, int], tuple[str, ...], str]]:
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None or descriptor.is_repeated:
            continue
        if descriptor.message_type.full_name in ("google.protobuf.Timestamp", "google.protobuf.Duration"):
            yield {"seconds": value.seconds, "nanos": value.nanos}, path, descriptor.name
        else:
            yield from _plain(value, (*path, descriptor.name))


def _set(value: dict[str, Any], path: tuple[str, ...], name: str, to: dict[str, int]) -> None:
    for step in path:
        value = value[step]
    value[name] = to


async def _received(world: World, report_id: str) -> Received:
    """The report as the partner's C2 system receives it through the Python library."""
    async with asyncio.timeout(PATIENCE_S):
        async for item in world.places["USA"].client(READER).subscribe([report_pb2.TRAFFIC_CLASS_EXERCISE]):
            if isinstance(item, Received) and item.report.report_id == report_id:
                return item
    raise AssertionError("a subscription does not end")


def test_a_good_report_is_accepted_and_a_bad_one_is_refused_with_every_reason(foreign: Foreign) -> None:
    good = new_report()
    bad = new_report(launch_detection__launch_point__latitude_deg=91.0, originator_station=None)
    code, answers = foreign.run("submit", "JPN", PUSHER, given=as_line(good) + as_line(bad))
    assert code == 0
    by_position = {answer["position"]: answer for answer in answers}
    accepted, refused = by_position["0"], by_position["1"]
    assert (accepted["report_id"], accepted["result"]) == (good.report_id, "accepted")
    assert accepted["accepted"]["duplicate"] is False
    assert int(accepted["accepted"]["accepted_time"]["seconds"]) >= good.report_time.seconds
    assert (refused["report_id"], refused["result"]) == (bad.report_id, "refused")
    assert refused["refused"]["code"] == "REFUSAL_CODE_INVALID"
    fields = {violation["field"] for violation in refused["refused"]["violations"]}
    assert fields == {"originator_station", "launch_detection.launch_point.latitude_deg"}
    assert all(violation["problem"] and violation["remedy"] for violation in refused["refused"]["violations"])

    received = asyncio.run(_received(foreign.world, good.report_id))
    assert received.received_from == "JPN"
    assert received.report.launch_detection == good.launch_detection

    code, again = foreign.run("submit", "JPN", PUSHER, given=as_line(good))
    assert (code, again[0]["accepted"]["duplicate"]) == (0, True)


def test_what_a_partner_released_is_received_and_a_cursor_goes_on_from_there(foreign: Foreign) -> None:
    reports = [new_report(), new_report()]
    for report in reports:
        assert foreign.run("submit", "JPN", PUSHER, given=as_line(report))[1][0]["result"] == "accepted"
        asyncio.run(_received(foreign.world, report.report_id))
    code, items = foreign.run("subscribe", "USA", READER, "EXERCISE")
    assert code == 0
    assert items[-1]["item"] == "caught_up"
    deliveries = {item["delivery"]["report"]["report_id"]: item for item in items if item["item"] == "delivery"}
    first, second = (deliveries[report.report_id] for report in reports)
    delivery = first["delivery"]
    assert (delivery["received_from"], delivery["ledger"]) == ("JPN", "signalfire/v1/JPN/USA/flash/1")
    assert delivery["report"]["content"] == "launch_detection"
    assert delivery["report"]["launch_detection"]["launch_point"]["latitude_deg"] == 39.2
    assert delivery["report"]["traffic_class"] == "TRAFFIC_CLASS_EXERCISE"
    stamp = timestamp_pb2.Timestamp(
        seconds=int(delivery["report"]["report_time"]["seconds"]), nanos=delivery["report"]["report_time"]["nanos"]
    )
    assert stamp == reports[0].report_time

    code, later = foreign.run("subscribe", "USA", READER, "EXERCISE", first["cursor"])
    assert code == 0
    assert [item.get("cursor") for item in later] == [second["cursor"], second["cursor"]]


def test_who_has_no_grant_is_told_so_in_words(foreign: Foreign) -> None:
    code, said = foreign.run("submit", "JPN", READER, given=as_line(new_report()))
    assert code == 1
    assert said[-1]["failure"]["code"] == "PERMISSION_DENIED"
    assert "has no grant to push" in said[-1]["failure"]["details"]
    code, said = foreign.run("subscribe", "JPN", READER, "EXERCISE", "no-cursor")
    assert code == 1
    assert said[-1]["failure"]["code"] == "INVALID_ARGUMENT"
