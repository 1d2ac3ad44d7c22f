"""A held report at running gateways: it reaches its partner when it is due, also over a restart, or never."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest_asyncio
from signalfire.v1 import ledger_pb2

from gateway.demo.deployment import Deployed, approve
from gateway.reports.kinds import Kind
from tests.node.nations import World, cancellation, report, running, settle

HOLD_S = 1


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    places = settle(tmp_path, "JPN", "KOR")
    hold_everything(places["JPN"])
    async with running(places) as made:
        yield made


def hold_everything(place: Deployed) -> None:
    """Makes every release rule for KOR one that holds."""
    rules = place.policy / "partners" / "KOR.yaml"
    text = rules.read_text()
    rules.write_text(text.replace("    effect: release\n", f"    effect: release\n    hold_s: {HOLD_S}\n"))
    assert "hold_s" in rules.read_text()
    approve(place, now=datetime.now(UTC))


async def test_a_held_report_reaches_its_partner_when_it_is_due_though_the_gateway_restarts(world: World) -> None:
    held = report(Kind.TRACK)
    assert (await world.push_one("JPN", held)).accepted
    assert (await world.decisions("JPN", held.report_id))["KOR"].outcome == ledger_pb2.OUTCOME_HELD
    await world.stop("JPN")
    await world.start("JPN")
    received = await world.inboxes["KOR"].report(held.report_id)
    accepted = held.report_time.ToNanoseconds()
    assert received.received_time.timestamp() - accepted / 1e9 >= HOLD_S


async def test_a_report_that_is_recalled_while_it_is_held_never_reaches_its_partner(world: World) -> None:
    held, after = report(Kind.TRACK), report(Kind.TRACK)
    assert (await world.push_one("JPN", held)).accepted
    assert (await world.push_one("JPN", cancellation(held.report_id))).accepted
    assert (await world.push_one("JPN", after)).accepted
    await world.inboxes["KOR"].report(after.report_id)
    assert held.report_id not in world.inboxes["KOR"].reports
    assert held.report_id not in world.inboxes["KOR"].withdrawn
