"""The library against a real gateway that stops and starts under it."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway import config
from gateway.client import CaughtUp, ClientError, Received
from gateway.demo.deployment import PUSHER, READER, Deployed, deploy
from gateway.node import Node
from tests.client.reports import fresh
from tests.faults.proxy import Proxy, Shape
from tests.patience import PATIENCE_S

POLICIES = Path(__file__).resolve().parents[2] / "policy" / "examples" / "trilateral"
EXERCISE = [report_pb2.TRAFFIC_CLASS_EXERCISE]


@pytest.fixture
def japan(tmp_path: Path) -> Deployed:
    return deploy(tmp_path, {"JPN": POLICIES / "jpn"}, now=datetime.now(UTC), max_age_s=3600)["JPN"]


@contextlib.asynccontextmanager
async def running(place: Deployed) -> AsyncIterator[None]:
    node = Node(config.load(place.config))
    await node.start()
    serving = asyncio.create_task(node.serve())
    try:
        yield
    finally:
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        await node.stop()


async def test_a_gateway_is_reached_over_a_long_way(japan: Deployed) -> None:
    async with running(japan):
        with Proxy(japan.national) as link:
            link.shape(Shape(latency_s=0.1))
            far = replace(japan, national=link.address)
            assert (await far.officer().policy_status()).node == "JPN"
            results = [result async for result in far.client(PUSHER).submit([fresh(1)])]
            assert [result.accepted for result in results] == [True]


async def test_reports_pushed_while_the_gateway_restarts_are_answered_and_received_once(japan: Deployed) -> None:
    given = [fresh(seed) for seed in range(60)]
    some_answered, stopped = asyncio.Event(), asyncio.Event()

    async def paced() -> AsyncIterator[report_pb2.Report]:
        for number, report in enumerate(given):
            if number == 40:
                # The last third is pushed into a gateway that is not there.
                await stopped.wait()
            yield report

    results = []

    async def push() -> None:
        async for result in japan.client(PUSHER).submit(paced()):
            results.append(result)
            some_answered.set()

    received: list[str] = []
    done = asyncio.Event()

    async def receive() -> None:
        async for item in japan.client(READER).subscribe(EXERCISE, include_own=True):
            if isinstance(item, Received):
                received.append(item.report.report_id)
            if len(received) >= len(given):
                done.set()

    async with asyncio.timeout(PATIENCE_S):
        async with running(japan):
            pushing, receiving = asyncio.create_task(push()), asyncio.create_task(receive())
            await some_answered.wait()
        stopped.set()
        async with running(japan):
            await pushing
            await done.wait()
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)
            status = await japan.officer().status()
            everything = japan.client(READER).subscribe(EXERCISE, include_own=True, follow=False)
            kept = [item.report.report_id async for item in everything if isinstance(item, Received)]
    assert Counter(result.report_id for result in results) == Counter(report.report_id for report in given)
    assert all(result.accepted for result in results)
    assert Counter(received) == Counter(report.report_id for report in given)
    assert Counter(kept) == Counter(received)
    assert status.reports_accepted == len(given)


async def test_who_has_no_grant_is_told_so(japan: Deployed) -> None:
    async with asyncio.timeout(PATIENCE_S), running(japan):
        with pytest.raises(ClientError, match=r"PERMISSION_DENIED.*no grant to push"):
            async for _ in japan.client(READER).submit([fresh(1)]):
                pass
        with pytest.raises(ClientError, match=r"PERMISSION_DENIED.*no grant to read"):
            async for _ in japan.client(PUSHER).subscribe(EXERCISE):
                pass
        with pytest.raises(ClientError, match=r"UNAUTHENTICATED"):
            async for _ in japan.officer().subscribe(EXERCISE):
                pass


async def test_a_cursor_that_is_none_is_refused_with_what_to_do(japan: Deployed) -> None:
    async with asyncio.timeout(PATIENCE_S), running(japan):
        with pytest.raises(ClientError, match="send one as it was received"):
            async for _ in japan.client(READER).subscribe(EXERCISE, cursor="yesterday"):
                pass


async def test_an_empty_store_is_caught_up_with_at_once(japan: Deployed) -> None:
    async with asyncio.timeout(PATIENCE_S), running(japan):
        items = [item async for item in japan.client(READER).subscribe(EXERCISE, follow=False)]
    assert [type(item) for item in items] == [CaughtUp]


async def test_an_officer_is_shown_every_decision_once_though_the_gateway_restarts(japan: Deployed) -> None:
    given = [fresh(seed) for seed in range(6)]
    shown: list[str] = []
    some, every = asyncio.Event(), asyncio.Event()

    async def watch() -> None:
        async for response in japan.officer().watch_decisions():
            if response.WhichOneof("record") == "decision_record":
                shown.append(response.decision_record.report_id)
                assert isinstance(response.decision_record, ledger_pb2.DecisionRecord)
                some.set()
            if len(shown) == len(given):
                every.set()

    async with asyncio.timeout(PATIENCE_S):
        async with running(japan):
            watching = asyncio.create_task(watch())
            async for _ in japan.client(PUSHER).submit(given[:3]):
                pass
            await some.wait()
        async with running(japan):
            async for _ in japan.client(PUSHER).submit(given[3:]):
                pass
            await every.wait()
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
    assert shown == [report.report_id for report in given]
