"""The client library and a gateway that takes FLASH alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import Result
from gateway.demo.deployment import PUSHER
from gateway.reports.kinds import Kind
from tests.node.nations import report, running, settle
from tests.patience import PATIENCE_S

FLASH_ALONE = {"store": {"reserve_bytes": 1 << 50, "least_bytes": 1 << 20}}


async def test_while_flash_alone_is_taken_an_all_clear_and_new_launches_are_and_its_tracks_are_superseded(
    tmp_path: Path,
) -> None:
    async with running(settle(tmp_path, "JPN", limits=FLASH_ALONE), linked=False) as world:
        assert (await world.push_one("JPN", report(event_id="over"))).accepted
        given: asyncio.Queue[report_pb2.Report | None] = asyncio.Queue()
        results: dict[str, Result] = {}

        async def reports() -> AsyncIterator[report_pb2.Report]:
            while (each := await given.get()) is not None:
                yield each

        track, clear, launch = report(Kind.TRACK, event_id="over"), report(Kind.ALL_CLEAR, event_id="over"), report()
        for each in (track, clear, launch, None):
            given.put_nowait(each)
        async with asyncio.timeout(PATIENCE_S):
            async for result in world.places["JPN"].client(PUSHER).submit(reports()):
                results[result.report_id] = result
        assert results[clear.report_id].accepted
        assert results[launch.report_id].accepted
        superseded = results[track.report_id]
        assert (superseded.accepted, superseded.superseded_by) == (False, clear.report_id)
        assert superseded.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED
