"""A gateway whose clock is set back over a restart does not believe it, until an operator declares it right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from gateway import config as configuration
from gateway.clock import Clock
from gateway.demo.deployment import Deployed
from gateway.identity.keyring import Keyring
from gateway.ledger.origin import Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.node import Node
from gateway.release.letting_go import AHEAD_NS, WAITS
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from tests.node.nations import PROOFS, World, report, running, settle

HOUR_NS = 3_600_000_000_000


@pytest_asyncio.fixture
async def jpn(tmp_path: Path) -> AsyncIterator[Deployed]:
    places = settle(tmp_path, "JPN", "KOR")
    async with running({"JPN": places["JPN"]}, linked=False) as world:
        await take_something(world)
    yield places["JPN"]


async def take_something(world: World) -> None:
    assert (await world.push_one("JPN", report())).accepted


async def trusted_after_a_start(place: Deployed, clock: Clock, *, declared: bool = False) -> float:
    node = Node(configuration.load(place.config), clock, clock_is_right=declared, prover=PROOFS)
    await node.start()
    try:
        return node.clock.trusted()
    finally:
        await node.stop()


async def test_a_clock_set_back_is_not_trusted_start_after_start_until_it_is_declared_right(jpn: Deployed) -> None:
    back = Clock(now_ns=lambda: time.time_ns() - HOUR_NS)
    assert await trusted_after_a_start(jpn, Clock())
    assert not await trusted_after_a_start(jpn, back)
    # What was put on record under the wrong clock does not make it right.
    assert not await trusted_after_a_start(jpn, back)
    assert await trusted_after_a_start(jpn, back, declared=True)
    assert await trusted_after_a_start(jpn, back)


async def pruning_waits_after_a_start(place: Deployed, clock: Clock, *, declared: bool = False) -> bool:
    node = Node(configuration.load(place.config), clock, clock_is_right=declared, prover=PROOFS)
    await node.start()
    try:
        return bool(node.parts.store.read().meta(WAITS))
    finally:
        await node.stop()


def recorded(place: Deployed) -> list[str]:
    """Kinds of the events on record."""
    origin = Origin.decisions(place.node, 1)
    opener = Opener(place.node, Signatory.from_ring(place.node, Keyring.load(place.directory / "keys")).sealing)
    reader = SqliteReader(place.store)
    try:
        row = reader.ledger(origin)
        assert row is not None
        entries = [reader.entry(row.id, index) or b"" for index in range(row.size)]
    finally:
        reader.close()
    contents = [opener.content(origin, index, entry, entries.__getitem__) for index, entry in enumerate(entries)]
    return [content.node_event.kind for content in contents if content is not None and content.node_event.kind]


async def test_by_a_clock_that_is_far_ahead_at_a_start_nothing_is_pruned_until_it_is_declared_right(
    jpn: Deployed,
) -> None:
    ahead = Clock(now_ns=lambda: time.time_ns() + AHEAD_NS + HOUR_NS)
    assert not await pruning_waits_after_a_start(jpn, Clock())
    assert await pruning_waits_after_a_start(jpn, ahead)
    # The times that were put on record meanwhile make it no better.
    assert await pruning_waits_after_a_start(jpn, ahead)
    assert not await pruning_waits_after_a_start(jpn, ahead, declared=True)
    assert not await pruning_waits_after_a_start(jpn, ahead)
    # It says nothing of times that go back: who verifies the witness ledger asks for an event of another kind.
    assert "pruning-resumed" in recorded(jpn)
    assert "clock-declared-right" not in recorded(jpn)
