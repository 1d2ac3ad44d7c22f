"""Whether reports would get through: an alert and a track are submitted and waited for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from signalfire.v1 import report_pb2

from bench.system import Producer, SystemFailed

ARRIVE_S: Final = 60.0
"""Seconds that first reports may take: brokers that find each other try again after some."""


async def arrives(
    producing: AbstractAsyncContextManager[Producer],
    subscribing: AbstractAsyncContextManager[AsyncIterator[report_pb2.Report]],
) -> None:
    """Returns once reports that were submitted have come. Raises SystemFailed when they do not within ARRIVE_S."""
    probes = [
        report_pb2.Report(report_id=str(uuid.uuid4()), precedence=precedence)
        for precedence in (report_pb2.PRECEDENCE_FLASH, report_pb2.PRECEDENCE_ROUTINE)
    ]
    missing = {probe.report_id for probe in probes}

    async def each() -> AsyncIterator[report_pb2.Report]:
        for probe in probes:
            yield probe

    try:
        async with asyncio.timeout(ARRIVE_S), subscribing as reports, producing as producer:
            async for _ in producer.submit(each(), len(probes)):
                pass
            async for report in reports:
                missing.discard(report.report_id)
                if not missing:
                    return
    except TimeoutError:
        raise SystemFailed(f"first reports did not arrive within {ARRIVE_S:.0f} s") from None
    raise SystemFailed("the subscription ended before the first reports arrived")
