"""Reports handed to a broker, so many at once as may wait for its acknowledgement."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeAlias

from signalfire.v1 import report_pb2

from bench.system import SystemFailed

Send: TypeAlias = Callable[[report_pb2.Report], Awaitable["asyncio.Future[Any]"]]
"""Hands a report to the broker. Returns once it is on its way; the future is done once it is acknowledged."""


async def submitted(
    reports: AsyncIterator[report_pb2.Report], in_flight: int, send: Send, lost: asyncio.Future[Any]
) -> AsyncIterator[str]:
    """What `bench.system.Producer.submit` promises, by means of `send`. `lost` is done when the connection breaks.

    Raises SystemFailed when a report is not acknowledged, or the connection is lost.
    """
    room = asyncio.Semaphore(in_flight)
    settled: asyncio.Queue[tuple[str, BaseException | None] | None] = asyncio.Queue()
    sent = 0

    async def take() -> None:
        nonlocal sent
        await room.acquire()
        async for report in reports:
            settles = functools.partial(settle, report.report_id)
            (await send(report)).add_done_callback(settles)
            sent += 1
            await room.acquire()

    def settle(identifier: str, done: asyncio.Future[Any]) -> None:
        room.release()
        settled.put_nowait((identifier, asyncio.CancelledError() if done.cancelled() else done.exception()))

    def wake(_: object) -> None:
        settled.put_nowait(None)

    taking = asyncio.create_task(take())
    taking.add_done_callback(wake)
    lost.add_done_callback(wake)
    given = 0
    try:
        while not taking.done() or given < sent:
            outcome = await settled.get()
            if lost.done():
                raise SystemFailed(f"the connection to the broker is lost: {lost.result()}")
            if taking.done():
                taking.result()
            if outcome is None:
                continue
            identifier, error = outcome
            if error is not None:
                raise SystemFailed(f"report {identifier} was not acknowledged: {error!r}") from error
            given += 1
            yield identifier
        taking.result()
    finally:
        lost.remove_done_callback(wake)
        taking.cancel()
        await asyncio.gather(taking, return_exceptions=True)
