"""Pushing reports so that each is answered once, whatever happens to the connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.client.connection import Connector
from gateway.client.errors import ClientError
from gateway.client.pause import Pause


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one report."""

    report_id: str
    accepted: bool
    duplicate: bool = False
    accepted_time: datetime | None = None
    """When it became durable, UTC."""
    code: c2_pb2.RefusalCode.ValueType = c2_pb2.REFUSAL_CODE_UNSPECIFIED
    violations: tuple[c2_pb2.Violation, ...] = ()


class _Outbox:
    """Reports that wait to be sent or answered. A report leaves it with its answer, and not before."""

    def __init__(self, in_flight: int) -> None:
        self.results: asyncio.Queue[Result | Exception | None] = asyncio.Queue()
        """Answers; after the last None, or the error that the caller's reports ended with; the error of a connection
        that is not worth trying again.
        """
        self.to_send: asyncio.Queue[int] = asyncio.Queue()
        self.unanswered: dict[int, c2_pb2.SubmitRequest] = {}
        self._room = asyncio.Semaphore(in_flight)
        self._complete = False
        self._failure: Exception | None = None
        self._added = 0

    async def fill(self, reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report]) -> None:
        """Takes reports in as there is room."""
        try:
            await self._room.acquire()
            async for report in _each(reports):
                self.unanswered[self._added] = _request(report)
                self.to_send.put_nowait(self._added)
                self._added += 1
                await self._room.acquire()
        except Exception as error:  # the caller's own, which is given back to him when all before it is answered
            self._failure = error
        self._complete = True
        self._end_if_done()

    def send_all_again(self) -> None:
        """After a lost connection: everything unanswered, in its order."""
        self.to_send = asyncio.Queue()
        for number in self.unanswered:
            self.to_send.put_nowait(number)

    def answered(self, number: int, result: Result) -> None:
        """A report has its answer."""
        del self.unanswered[number]
        self._room.release()
        self.results.put_nowait(result)
        self._end_if_done()

    def _end_if_done(self) -> None:
        if self._complete and not self.unanswered:
            self.results.put_nowait(self._failure)


def _request(report: report_pb2.Report) -> c2_pb2.SubmitRequest:
    """The request for a report, which is a copy: what is sent again is what was sent. Raises TypeError."""
    if not isinstance(report, report_pb2.Report):
        raise TypeError(f"a {type(report).__name__} was given to be pushed; give signalfire.v1.Report messages")
    return c2_pb2.SubmitRequest(report=report)


async def _each(
    reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report],
) -> AsyncIterator[report_pb2.Report]:
    if isinstance(reports, AsyncIterable):
        async for report in reports:
            yield report
    else:
        for report in reports:
            yield report
            # A plain iterable never waits, and would otherwise be read to its end before anything is sent.
            await asyncio.sleep(0)


async def submit(
    connector: Connector, reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report], in_flight: int
) -> AsyncIterator[Result]:
    """See `Client.submit`."""
    outbox = _Outbox(in_flight)

    async def reporting_failure(work: Any) -> None:
        try:
            await work
        except Exception as error:  # handed to whoever iterates, which is where it belongs
            outbox.results.put_nowait(error)

    tasks = [
        asyncio.create_task(reporting_failure(outbox.fill(reports))),
        asyncio.create_task(reporting_failure(_keep_sending(connector, outbox))),
    ]
    try:
        while (result := await outbox.results.get()) is not None:
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_sending(connector: Connector, outbox: _Outbox) -> None:
    pause = Pause()
    while True:
        outbox.send_all_again()
        async with connector.attempt() as channel:
            call = c2_pb2_grpc.C2ServiceStub(channel).Submit()
            sent: list[int] = []
            writing = asyncio.create_task(_write(call, outbox, sent))
            try:
                async for response in call:
                    pause.reset()
                    _take(response, outbox, sent)
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        await pause.wait()


async def _write(call: Any, outbox: _Outbox, sent: list[int]) -> None:
    """Writes what waits. An error of the call ends it; the reading side then says which one it was."""
    while True:
        number = await outbox.to_send.get()
        if number in outbox.unanswered:
            # The answer's position is the place in this list, so it is there before the request is.
            sent.append(number)
            await call.write(outbox.unanswered[number])


def _take(response: c2_pb2.SubmitResponse, outbox: _Outbox, sent: list[int]) -> None:
    number = sent[response.position] if response.position < len(sent) else -1
    request = outbox.unanswered.get(number)
    if request is None:
        raise ClientError(
            f"the gateway answered request {response.position}, which waits for no answer; "
            "what is at that address does not speak this contract"
        )
    report_id = request.report.report_id
    if response.WhichOneof("result") == "accepted":
        accepted = response.accepted
        outbox.answered(
            number,
            Result(report_id, True, accepted.duplicate, accepted.accepted_time.ToDatetime(UTC)),
        )
        return
    refused = response.refused
    if refused.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE:
        # Nothing is wrong with the report: it goes again, after the others, when the gateway says.
        loop = asyncio.get_running_loop()
        loop.call_later(refused.retry_after_ms / 1000, outbox.to_send.put_nowait, number)
        return
    outbox.answered(number, Result(report_id, False, code=refused.code, violations=tuple(refused.violations)))
