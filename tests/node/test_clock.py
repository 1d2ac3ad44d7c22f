"""A gateway whose clock is behind what is on record: it says so, and an operator may declare the clock right."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from signalfire.v1 import ledger_pb2

from gateway import config as configuration
from gateway.clock import Clock
from gateway.node import Node
from gateway.release.opening import Opener
from tests.node.nations import PROOFS, World, report, running, settle

MINUTES_BEHIND = 20


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with running(settle(tmp_path, "JPN", "KOR"), "JPN", linked=False) as made:
        assert (await made.push_one("JPN", report())).accepted
        await made.stop("JPN")
        yield made


def behind(world: World, *, clock_is_right: bool) -> Node:
    """The gateway of JPN under a clock that is behind what it put on record."""
    clock = Clock(now_ns=lambda: time.time_ns() - MINUTES_BEHIND * 60 * 10**9)
    config = configuration.load(world.places["JPN"].config)
    return Node(config, clock, clock_is_right=clock_is_right, prover=PROOFS)


def events(node: Node) -> list[ledger_pb2.NodeEvent]:
    """The events on record, from the last one on back."""
    reader, opener = node._read(), Opener("JPN", node._signatory.sealing)
    row = next(row for row in reader.ledgers() if row.origin.recipient is None)

    def fetch(index: int) -> bytes:
        return reader.entry(row.id, index) or b""

    contents = (opener.content(row.origin, index, fetch(index), fetch) for index in reversed(range(row.size)))
    return [content.node_event for content in contents if content is not None and content.HasField("node_event")]


async def test_a_clock_that_is_behind_the_record_at_the_start_is_not_trusted(world: World) -> None:
    node = behind(world, clock_is_right=False)
    try:
        await node.start()
        assert "behind what is on record" in (node._clock_watch.problem or "")
        assert "clock-declared-right" not in [event.kind for event in events(node)]
    finally:
        await node.stop()


async def test_an_operator_may_declare_it_right_and_that_is_on_record(world: World) -> None:
    node = behind(world, clock_is_right=True)
    try:
        await node.start()
        assert node._clock_watch.trusted()
        assert "clock-declared-right" in [event.kind for event in events(node)]
    finally:
        await node.stop()
