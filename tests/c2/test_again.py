"""A report that was accepted is acknowledged again whenever its client sends it again, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ruamel.yaml import YAML
from signalfire.v1 import c2_pb2, report_pb2

from gateway.demo.deployment import PUSHER
from gateway.ledger.origin import Origin
from tests.node.nations import World, holdings, report, running, settle
from tests.node.waiting import until
from tests.reports.examples import change

SECONDS_AGO = 60
Settings = dict[str, Any]


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """One nation."""
    async with running(settle(tmp_path, "JPN"), linked=False) as running_world:
        yield running_world


async def restarted(world: World, alter: Callable[[Settings], None]) -> None:
    """Starts the gateway again, on its store, under a configuration that was altered."""
    await world.stop("JPN")
    yaml, path = YAML(typ="safe", pure=True), world.places["JPN"].config
    settings: Settings = yaml.load(path)
    alter(settings)
    with path.open("w") as file:
        yaml.dump(settings, file)
    size = _witness_size(world)
    await world.start("JPN")
    # The beat of a start is one of the few things that change a store by themselves.
    await until(lambda: _witness_size(world) > size, "the first beat after the start")


def _witness_size(world: World) -> int:
    row = world.ledger("JPN", Origin.witness("JPN", 1))
    return 0 if row is None else row.size


def some_time_ago(**changes: Any) -> report_pb2.Report:
    """A report that is a minute old."""
    made = report()
    for stamp in (made.report_time, made.valid_time, made.launch_detection.launch_time):
        stamp.seconds -= SECONDS_AGO
    return change(made, **changes)


def too_old(settings: Settings) -> None:
    settings["limits"].setdefault("reports", {})["max_age_s"] = SECONDS_AGO / 2


def not_granted(settings: Settings) -> None:
    settings["clients"][PUSHER]["push"]["stations"] = ["radar-1"]


@pytest.mark.parametrize(
    ("alter", "code"),
    [(too_old, c2_pb2.REFUSAL_CODE_INVALID), (not_granted, c2_pb2.REFUSAL_CODE_NOT_GRANTED)],
)
async def test_what_was_accepted_is_a_duplicate_though_it_would_be_refused_by_now(
    world: World, alter: Callable[[Settings], None], code: c2_pb2.RefusalCode.ValueType
) -> None:
    taken = some_time_ago()
    first = await world.push_one("JPN", taken)
    assert first.accepted
    await restarted(world, alter)
    kept = holdings(world.places["JPN"])
    again = await world.push_one("JPN", taken)
    assert (again.accepted, again.duplicate, again.accepted_time) == (True, True, first.accepted_time)

    # The same identifier with other content, and other identifiers, are judged as ever.
    other = change(taken, source_sequence=taken.source_sequence + 1)
    for never_taken in (other, some_time_ago(), some_time_ago(report_id="42")):
        assert (await world.push_one("JPN", never_taken)).code in (code, c2_pb2.REFUSAL_CODE_INVALID)
    assert holdings(world.places["JPN"]) == kept


async def test_what_another_client_handed_in_is_not_acknowledged_to_one_who_may_not_push_it(world: World) -> None:
    taken = some_time_ago()
    assert (await world.push_one("JPN", taken)).accepted
    again = await world.push_one("JPN", taken, system="narrow")
    assert (again.accepted, again.code) == (False, c2_pb2.REFUSAL_CODE_NOT_GRANTED)
