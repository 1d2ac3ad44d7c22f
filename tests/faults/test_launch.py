"""A gateway's process on a disk that fails: what it acknowledged outlives a loss of power, and it needs no mending."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

from signalfire.v1 import report_pb2

from gateway import config
from gateway.cli.demo import POLICIES
from gateway.cli.ledger import verify_configured
from gateway.demo.deployment import PUSHER, Deployed, deploy
from tests.client.reports import fresh
from tests.faults.disk import Fault, Op, What
from tests.faults.launch import FaultyGateway, Settings
from tests.patience import PATIENCE_S


async def push(place: Deployed, *seeds: int) -> None:
    """Pushes until all are acknowledged, as the client library does."""
    reports: list[report_pb2.Report] = [fresh(seed) for seed in seeds]
    async with asyncio.timeout(PATIENCE_S):
        async for result in place.client(PUSHER).submit(reports):
            assert result.accepted


def test_settings_pass_through_the_environment() -> None:
    settings = Settings(7, forgets=True, faults=(Fault(What.KILL, 9, frozenset({Op.SYNC}), "-wal", 0),), full=True)
    assert Settings.decode(settings.encode()) == settings


async def test_a_fault_that_a_running_gateway_is_told_of_is_met_and_counted_and_the_gateway_says_so(
    tmp_path: Path,
) -> None:
    (place,) = deploy(tmp_path, {"JPN": POLICIES / "jpn"}, now=datetime.now(UTC), max_age_s=3600).values()
    gateway = FaultyGateway(place, Settings(seed=3))
    try:
        gateway.start()
        await gateway.ready(PATIENCE_S)
        told = gateway.tell()
        # Its store is on the disk that fails, from its first operation on.
        assert told["counts"][Op.OPEN] > 0
        assert told["counts"][Op.WRITE] > 10
        assert told["met"] == {}
        await push(place, 1)
        assert gateway.tell()["counts"][Op.SYNC] > told["counts"][Op.SYNC]
        gateway.tell(arm=[Fault(What.IO_ERROR, 1, frozenset({Op.SYNC}))])
        await push(place, 2)
        assert gateway.tell()["met"] == {What.IO_ERROR: 1}
        log = (place.directory / "gateway.log").read_text(encoding="utf-8")
        assert "a commit failed" in log
        assert "as told by the test" in log
        assert gateway.stop() == 0
    finally:
        gateway.stop()


async def test_a_process_that_loses_power_as_it_commits_comes_back_with_all_that_it_acknowledged(
    tmp_path: Path,
) -> None:
    (place,) = deploy(tmp_path, {"JPN": POLICIES / "jpn"}, now=datetime.now(UTC), max_age_s=3600).values()
    gateway = FaultyGateway(place, Settings(seed=3))
    try:
        gateway.start()
        await gateway.ready(PATIENCE_S)
        await push(place, 1, 2)
        gateway.tell(arm=[Fault(What.POWER, 12)])
        pushing = asyncio.create_task(push(place, 3, 4, 5))
        assert await asyncio.to_thread(gateway.wait_ended, PATIENCE_S) == -9
        gateway.start()
        await gateway.ready(PATIENCE_S)
        await pushing
        assert gateway.tell()["met"] == {}
        assert gateway.stop() == 0
    finally:
        gateway.stop()
    outcome = verify_configured(config.load(place.config), quiet=True)
    assert outcome.findings == []
    assert outcome.reports == 5
