"""Whether a report would get through: one is submitted and waited for."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Final

from signalfire.v1 import report_pb2

from bench.system import Producer, SystemFailed

ARRIVE_S: Final = 60.0
"""Seconds that a first report may take: brokers that find each other try again after some."""


async def arrives(
    producing: AbstractAsyncContextManager[Producer],
    subscribing: AbstractAsyncContextManager[AsyncIterator[report_pb2.Report]],
) -> None:
    """Returns once a report that was submitted has come. Raises SystemFailed when it does not within ARRIVE_S."""
    probe = report_pb2.Report(report_id=str(uuid.uuid4()), precedence=report_pb2.PRECEDENCE_FLASH)

    async def one() -> AsyncIterator[report_pb2.Report]:
        yield probe

    try:
        async with asyncio.timeout(ARRIVE_S), subscribing as reports, producing as producer:
            async for _ in producer.submit(one(), 1):
                pass
            async for report in reports:
                if report.report_id == probe.report_id:
                    return
    except TimeoutError:
        raise SystemFailed(f"a first report did not arrive within {ARRIVE_S:.0f} s") from None
    raise SystemFailed("the subscription ended before the first report arrived")
