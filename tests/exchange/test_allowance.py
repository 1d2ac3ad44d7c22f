"""How fast a partner is read, in which pieces, and what comes first when a link returns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.exchange.allowance import LEAST, Allowance, Intake
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.reports.kinds import Kind
from tests.exchange.dialler import PATIENT, dialled
from tests.node.nations import World, report, running, settle

BULK = 65_537


@given(st.lists(st.tuples(st.floats(0, 5), st.integers(0, 1 << 20)), max_size=60))
def test_whatever_a_partner_sends_no_more_is_taken_in_the_long_run_than_is_allowed(
    batches: list[tuple[float, int]],
) -> None:
    now, taken = 0.0, 0
    allowance = Allowance(100_000.0, 1_000_000.0, lambda: now)
    for pause, size in batches:
        now += pause
        now += allowance.wait_s(size)
        taken += max(size, LEAST)
    # One that waits as it is told has paid for all it was given.
    assert taken <= 1_000_000 + 100_000 * now + 1


def test_each_lane_has_an_allowance_of_its_own() -> None:
    intake = Intake(Allowance(10.0, 5_000.0, lambda: 0.0), 1000.0, 10_000.0, lambda: 0.0)

    def wait_s(lane: str, taken: int) -> float:
        intake.charge(lane, taken)
        return intake.due_s(lane)

    assert wait_s(Lane.ROUTINE, 20_000) == pytest.approx(10.0)
    assert wait_s(Lane.FLASH, 10_000) == 0
    assert wait_s(WITNESS, 5_000) == 0
    assert wait_s(WITNESS, 1) == pytest.approx(LEAST / 10)
    assert wait_s(Lane.FLASH, 1) == pytest.approx(LEAST / 1000)


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """JPN, with a backlog of tracks for KOR, which is not there, and one alert that came last."""
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": {**PATIENT, "bulk_bytes": BULK}})
    async with running(places, "JPN", linked=False) as running_world:
        tracks = [report(Kind.TRACK, precedence=report_pb2.PRECEDENCE_ROUTINE) for _ in range(300)]
        results = await running_world.push("JPN", *tracks)
        assert all(result.accepted for result in results.values())
        yield running_world


async def test_what_waits_in_lower_lanes_goes_in_small_batches(world: World) -> None:
    origin = Origin.release("JPN", "KOR", Lane.ROUTINE, 1)
    row = world.ledger("JPN", origin)
    assert row is not None
    reader = SqliteReader(world.places["JPN"].store)
    sizes: list[int] = []
    async with dialled(world.places["KOR"], world.places["JPN"]) as stream:
        await stream.open(origin)
        position = 0
        while position < row.size:
            batch = (await stream.read()).batch
            assert batch.first == position
            (alone,) = reader.segments(row.id, batch.first, 1)
            # What one commit appended travels whole, however much it was.
            assert len(batch.entries) <= BULK or batch.count == alone.count
            position += batch.count
            sizes.append(len(batch.entries))
    reader.close()
    assert sum(sizes) > 4 * BULK
    assert len(sizes) > 1


async def test_when_a_link_returns_the_alert_that_came_last_is_far_ahead_of_the_backlog(world: World) -> None:
    alert = report()
    assert (await world.push_one("JPN", alert)).accepted
    await world.start("KOR")
    inbox = world.inboxes["KOR"]
    await inbox.holds(lambda: len(inbox.reports) == 301, "the backlog and the alert")
    # Mostly the very first; on a machine that has no time, other lanes do not wait for its lane for ever.
    assert list(inbox.reports).index(alert.report_id) < 100
