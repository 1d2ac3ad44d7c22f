"""What becomes of a running gateway, and of its partners, when a machine's clock is wrong."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import c2_pb2, ledger_pb2

from gateway import config as configuration
from gateway.demo.deployment import Deployed
from gateway.node import Node
from gateway.node.looking import look_at_clock
from gateway.release.rulebook import NO_CLOCK
from gateway.synchronisation import KernelClock
from tests.node.nations import PROOFS, World, cancellation, report, running, settle
from tests.node.waiting import until

YEAR_S = 366 * 86_400


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(settle(tmp_path, "JPN", "KOR")) as made:
        yield made


def alarms(world: World, name: str) -> str:
    return "\n".join(world.nodes[name].status().alarms)


async def recorded_times(world: World) -> list[int]:
    """The times of JPN's decisions, in the order in which they were made."""
    last = report(node="JPN")
    assert (await world.push_one("JPN", last)).accepted
    found = []
    async for entry in world.places["JPN"].officer().watch_decisions():
        record = entry.node_event if entry.HasField("node_event") else entry.decision_record
        found.append(record.time.ToNanoseconds())
        if entry.decision_record.report_id == last.report_id:
            return found
    raise AssertionError("the watch ended")


@pytest.mark.parametrize("jump_s", [20 * YEAR_S, -10], ids="{:+d} s".format)
async def test_a_wall_clock_that_jumps_expires_nothing_and_puts_nothing_in_another_order(
    world: World, jump_s: int
) -> None:
    before = report(node="JPN")
    assert (await world.push_one("JPN", before)).accepted
    await world.inboxes["KOR"].report(before.report_id)
    world.walls["JPN"].set(jump_s)
    await until(lambda: "is not trusted" in alarms(world, "JPN"), "the alarm")
    status = world.nodes["JPN"].status()
    assert ("forward" if jump_s > 0 else "back") in status.clock_problem
    assert abs(status.time.ToNanoseconds() - time.time_ns()) < 2e9
    # The partner's bundle and certificates are as good as before, and reports are taken by their own times.
    assert world.nodes["JPN"].parts.partners.get("KOR") is not None
    assert world.following("JPN", "KOR")
    assert world.following("KOR", "JPN")
    meanwhile = report(node="JPN")
    assert (await world.push_one("JPN", meanwhile)).accepted
    decided = (await world.decisions("JPN", meanwhile.report_id))["KOR"]
    assert (decided.outcome, decided.rule) == (ledger_pb2.OUTCOME_HELD, NO_CLOCK)
    recalled = report(node="JPN")
    assert (await world.push_one("JPN", recalled)).accepted
    assert (await world.push_one("JPN", cancellation(recalled.report_id, node="JPN"))).accepted

    world.walls["JPN"].set(0)
    await until(lambda: not alarms(world, "JPN"), "the clock trusted again")
    assert not world.nodes["JPN"].status().clock_problem
    # What waited for the clock goes, unless it was taken back meanwhile.
    await world.inboxes["KOR"].report(meanwhile.report_id)
    await world.carries("JPN", "KOR")
    assert recalled.report_id not in world.inboxes["KOR"].reports
    times = await recorded_times(world)
    assert times == sorted(times)
    assert max(times) - min(times) < 60e9


async def test_a_gateway_that_does_not_trust_its_clock_takes_reports_whatever_their_times_and_flags_them(
    world: World,
) -> None:
    made = report(node="JPN")
    for stamp in (made.report_time, made.valid_time, made.launch_detection.launch_time):
        stamp.seconds += 3 * 3600
    assert (await world.push_one("JPN", made)).code == c2_pb2.REFUSAL_CODE_INVALID
    world.walls["JPN"].set(3 * 3600)
    assert (await world.push_one("JPN", made)).accepted
    flags = world.metric("JPN", "signalfire_clock_flags_total", client="spiffe://jpn/c2/sensors")
    assert flags == 1


@pytest.mark.parametrize(
    ("off_s", "accepted", "flags"), [(2, True, 1), (-120, True, 1), (-30, True, 0), (68, False, 0)]
)
async def test_a_report_of_a_badly_set_clock_is_flagged_or_refused_as_the_settings_say(
    world: World, off_s: int, accepted: bool, flags: int
) -> None:
    made = report(node="JPN")
    stamps: list[Timestamp] = [made.report_time, made.valid_time, made.launch_detection.launch_time]
    for stamp in stamps:
        stamp.seconds += off_s
    result = await world.push_one("JPN", made)
    assert result.accepted is accepted
    assert accepted or [violation.field for violation in result.violations] == ["report_time"]
    assert world.metric("JPN", "signalfire_clock_flags_total", client="spiffe://jpn/c2/sensors") == flags
    if accepted:
        # At the partner's door it is delivered, and flagged where it lies ahead.
        await world.inboxes["KOR"].report(made.report_id)


async def test_both_ends_are_told_that_their_clocks_differ_and_by_how_much(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR")
    world = World(places)
    world.walls["KOR"].set(1.5)
    try:
        for name in places:
            await world.start(name)
        await until(lambda: "KOR's clock is 1.5 s ahead of ours" in alarms(world, "JPN"), "the alarm at JPN")
        await until(lambda: "JPN's clock is 1.5 s behind ours" in alarms(world, "KOR"), "the alarm at KOR")
        assert world.status("JPN", "KOR").clock_offset_ms == pytest.approx(1500, abs=200)
        assert world.metric("KOR", "signalfire_clock_offset_seconds", partner="JPN") == pytest.approx(-1.5, abs=0.2)
        # Nobody knows which of the two is right: both are trusted, and both share.
        await world.linked()
        await world.carries("JPN", "KOR")
    finally:
        for name in list(world.nodes):
            await world.stop(name)


async def test_a_gateway_whose_machine_is_not_synchronised_counts_agreements_as_lapsed_until_it_is(
    tmp_path: Path,
) -> None:
    place: Deployed = settle(tmp_path, "JPN", "KOR")["JPN"]
    text = place.config.read_text("utf-8")
    assert "synchronised: not_asked" in text
    place.config.write_text(text.replace("synchronised: not_asked", "synchronised: if_known"), "utf-8")
    said = [KernelClock(False, 16.0)]
    node = Node(configuration.load(place.config), prover=PROOFS, kernel=lambda: said[0])
    await node.start()
    try:
        assert node.status().clock_problem == "the machine's clock is not synchronised"
        assert not node.clock.trusted()
        said[0] = KernelClock(True, 0.001)
        look_at_clock(node.parts)
        assert node.clock.trusted()
        assert node.telemetry.registry.get_sample_value("signalfire_clock_max_error_seconds") == 0.001
        assert node.telemetry.registry.get_sample_value("signalfire_clock_trusted") == 1
    finally:
        await node.stop()
