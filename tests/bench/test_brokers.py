"""The brokers of the comparison: what is handed in at the origin comes out at the recipient; a broken line is told."""

from __future__ import annotations

import asyncio
import importlib
import pickle
import uuid
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

from bench.brokers.servers import NotHere
from bench.system import Clients, System, SystemFailed
from tests.patience import PATIENCE_S

REPORTS = 100
ALERTS = 5
SYSTEMS = ("bench.brokers.nats:Nats", "bench.brokers.nats:NatsSynced", "bench.brokers.rabbitmq:RabbitMQ")


def reports() -> Sequence[report_pb2.Report]:
    """Tracks, and alerts among them."""
    return [
        report_pb2.Report(
            report_id=str(uuid.uuid4()),
            event_id="event",
            precedence=report_pb2.PRECEDENCE_FLASH
            if number % (REPORTS // ALERTS) == 0
            else report_pb2.PRECEDENCE_ROUTINE,
        )
        for number in range(REPORTS)
    ]


async def each(given: Sequence[report_pb2.Report]) -> AsyncIterator[report_pb2.Report]:
    """As a producer takes them."""
    for report in given:
        yield report


async def taken(source: AsyncIterator[report_pb2.Report], count: int) -> Sequence[report_pb2.Report]:
    """The first so many that come, in the order of their identifiers."""
    found = []
    async with asyncio.timeout(PATIENCE_S):
        async for report in source:
            found.append(report)
            if len(found) == count:
                break
    return by_id(found)


def by_id(given: Sequence[report_pb2.Report]) -> Sequence[report_pb2.Report]:
    """In the order of their identifiers."""
    return sorted(given, key=lambda report: report.report_id)


@pytest.mark.parametrize("name", SYSTEMS)
async def test_carries_every_report_to_each_subscriber(name: str, tmp_path: Path) -> None:
    module, _, attribute = name.partition(":")
    try:
        system: System = getattr(importlib.import_module(module), attribute)()
        await system.start(tmp_path)
    except NotHere as error:
        pytest.skip(str(error))
    try:
        assert {"origin", "recipient", "recipient 2"} <= set(system.processes())
        # As they come to the processes of the load.
        clients: Clients = pickle.loads(pickle.dumps(system.clients()))
        given = reports()
        flash = [report for report in given if report.precedence == report_pb2.PRECEDENCE_FLASH]
        async with (
            clients.subscriber(alerts=False) as all_of_them,
            clients.subscriber(alerts=False) as all_again,
            clients.subscriber(alerts=True) as alerts,
            clients.producer() as producer,
        ):
            acknowledged = [report_id async for report_id in producer.submit(each(given), in_flight=7)]
            assert sorted(acknowledged) == [report.report_id for report in by_id(given)]
            assert await taken(all_of_them, REPORTS) == by_id(given)
            assert await taken(all_again, REPORTS) == by_id(given)
            assert await taken(alerts, ALERTS) == by_id(flash)

            await system.stop()

            with pytest.raises(SystemFailed):
                async for _ in producer.submit(each(given), in_flight=7):
                    pass
            with pytest.raises(SystemFailed):
                await taken(all_of_them, 1)
    finally:
        await system.stop()
