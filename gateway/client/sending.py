"""Pushing reports so that each is answered once, whatever happens to the connection."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.client.connection import Connector
from gateway.client.errors import ClientError
from gateway.client.outbox import HELD_BACK, Outbox
from gateway.client.pause import Pause

log = logging.getLogger(__name__)

REQUEST_REPORTS: Final = 256
"""Reports that go in one request: so many every gateway takes."""

REQUEST_BYTES: Final = 1 << 16
"""Bytes of one request of several reports. Every gateway takes sixteen times as much, but an alert waits for all of the
request that is being written when it comes: at 1 Mbit/s half a second for this much, and eight for that. What a message
costs beside its reports is little already, spread over a hundred tracks.
"""

GIVEN_AT_ONCE: Final = 64
"""Reports that are taken of a plain iterable before others have their turn."""

TOLD_AGAIN_S: Final = 10.0
"""Seconds between lines of the log that say that the gateway holds reports back for their number."""


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
    superseded_by: str = ""
    """Of a warning that was refused for now, or not sent because others were: the all-clear that was accepted without
    it. It does not stand and needs no sending again; a connection that broke may have taken it before.
    Of a correction or cancellation that names such warnings alone: the same. There is nothing that it could recall.
    """


OnResubmit = Callable[[c2_pb2.Resubmit], None]
"""Told that the gateway has lost reports: what it accepted between two times is to be submitted again, as it was."""


class _Pushing:
    """What one call of `submit` has to push, and what came of it."""

    def __init__(self, in_flight: int, on_resubmit: OnResubmit | None, held_back: int = HELD_BACK) -> None:
        self.on_resubmit = on_resubmit
        self.results: asyncio.Queue[Result | Exception | None] = asyncio.Queue()
        """Answers; after the last None, or the error that the caller's reports ended with; the error of a connection
        that is not worth trying again.
        """
        self.outbox = Outbox(in_flight, held_back)
        self._complete = False
        self._told_at: dict[str, float] = {}
        self._failure: Exception | None = None

    async def fill(self, reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report]) -> None:
        """Takes reports in as there is room."""
        try:
            await self.outbox.room()
            async for report in _each(reports):
                self.outbox.add(_copy(report))
                await self.outbox.room()
        except Exception as error:  # the caller's own, which is given back to him when all before it is answered
            self._failure = error
        self._complete = True
        self._end_if_done()

    def answered(self, number: int, result: Result) -> None:
        """A report has its answer, and what it supersedes with it."""
        superseded = self.outbox.answered(number, accepted=result.accepted)
        self.results.put_nowait(result)
        for each in superseded:
            report_id = self.outbox.unanswered[each].report_id
            self.outbox.answered(each, accepted=False)
            exhausted = c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED
            self.results.put_nowait(Result(report_id, False, code=exhausted, superseded_by=result.report_id))
        self._end_if_done()

    def held_back(self, why: str) -> None:
        """Says now and then that there is too much, or whoever waits would see nothing."""
        self._warn("the gateway holds reports back, which go again by themselves: %s", why)
        if self.outbox.is_full_of_held_back():
            waiting = len(self.outbox.unanswered)
            self._warn("%d reports wait: nothing further is taken, no alert and no all-clear either", waiting)

    def _warn(self, text: str, value: object) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._told_at.get(text, float("-inf")) + TOLD_AGAIN_S:
            self._told_at[text] = now
            log.warning(text, value)

    def _end_if_done(self) -> None:
        if self._complete and not self.outbox.unanswered:
            self.results.put_nowait(self._failure)


def _copy(report: report_pb2.Report) -> report_pb2.Report:
    """A copy: what is sent again is what was sent. Raises TypeError."""
    if not isinstance(report, report_pb2.Report):
        raise TypeError(f"a {type(report).__name__} was given to be pushed; give signalfire.v1.Report messages")
    copy = report_pb2.Report()
    copy.CopyFrom(report)
    return copy


async def _each(
    reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report],
) -> AsyncIterator[report_pb2.Report]:
    if isinstance(reports, AsyncIterable):
        async for report in reports:
            yield report
    else:
        for given, report in enumerate(reports, 1):
            yield report
            # A plain iterable never waits, and would otherwise be read to its end before anything is sent.
            if given % GIVEN_AT_ONCE == 0:
                await asyncio.sleep(0)


async def submit(
    connector: Connector,
    reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report],
    in_flight: int,
    on_resubmit: OnResubmit | None = None,
    held_back: int = HELD_BACK,
) -> AsyncIterator[Result]:
    """See `Client.submit`."""
    pushing = _Pushing(in_flight, on_resubmit, held_back)

    async def reporting_failure(work: Any) -> None:
        try:
            await work
        except Exception as error:  # handed to whoever iterates, which is where it belongs
            pushing.results.put_nowait(error)

    tasks = [
        asyncio.create_task(reporting_failure(pushing.fill(reports))),
        asyncio.create_task(reporting_failure(_keep_sending(connector, pushing))),
    ]
    try:
        while (result := await pushing.results.get()) is not None:
            if isinstance(result, Exception):
                raise result
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _keep_sending(connector: Connector, pushing: _Pushing) -> None:
    pause = Pause()
    while True:
        pushing.outbox.send_all_again()
        async with connector.attempt() as channel:
            call = c2_pb2_grpc.C2ServiceStub(channel).Submit()
            sent: dict[int, int] = {}
            writing = asyncio.create_task(_write(call, pushing.outbox, sent))
            try:
                async for response in call:
                    pause.reset()
                    _take(response, pushing, sent)
            finally:
                writing.cancel()
                await asyncio.gather(writing, return_exceptions=True)
        await pause.wait()


async def _write(call: Any, outbox: Outbox, sent: dict[int, int]) -> None:
    """Writes what waits, as much of it as goes into one request, and keeps in `sent` what stands at which position. An
    error of the call ends it; the reading side then says which one it was.
    """
    position = 0
    while True:
        numbers = await outbox.together(REQUEST_REPORTS, REQUEST_BYTES)
        # The answers say the positions, so these are there before the request is.
        sent.update(enumerate(numbers, position))
        position += len(numbers)
        await call.write(c2_pb2.SubmitRequest(reports=[outbox.unanswered[number] for number in numbers]))


def _take(response: c2_pb2.SubmitResponse, pushing: _Pushing, sent: dict[int, int]) -> None:
    """Takes what one message says."""
    if response.HasField("resubmit"):
        pushing.outbox.has_lost = True
        if pushing.on_resubmit is not None:
            pushing.on_resubmit(response.resubmit)
    for answer in response.answers:
        _take_answer(answer, pushing, sent)


def _take_answer(answer: c2_pb2.Answer, pushing: _Pushing, sent: dict[int, int]) -> None:
    """Takes one answer. What is `sent` is let go with it: a stream may last for months."""
    number = sent.pop(answer.position, -1)
    report = pushing.outbox.unanswered.get(number)
    if report is None:
        raise ClientError(
            f"the gateway answered report {answer.position} of the stream, which waits for no answer; "
            "what is at that address does not speak this contract"
        )
    report_id = report.report_id
    # Taken for another's, an acceptance would have this one forgotten. One that could not be read has no identifier.
    unread = not answer.report_id and answer.refused.code == c2_pb2.REFUSAL_CODE_MALFORMED
    if answer.report_id != report_id and not unread:
        raise ClientError(
            f"the gateway answered report {answer.position} of the stream as {answer.report_id[:64]!r}, but what was "
            f"sent there is {report_id!r}: the two count differently, and no further answer can be trusted; tell the "
            "gateway's operator, and push what has no result again"
        )
    if answer.WhichOneof("result") == "accepted":
        accepted = answer.accepted
        pushing.answered(
            number,
            Result(report_id, True, accepted.duplicate, accepted.accepted_time.ToDatetime(UTC)),
        )
        return
    refused = answer.refused
    if refused.code in (c2_pb2.REFUSAL_CODE_UNAVAILABLE, c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED):
        # Nothing is wrong with the report: it goes again when the gateway says.
        exhausted = refused.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED
        pushing.outbox.refused_for_now(number, refused.retry_after_ms, exhausted=exhausted)
        if exhausted:
            pushing.held_back(refused.violations[0].problem if refused.violations else "there are too many")
        return
    pushing.answered(number, Result(report_id, False, code=refused.code, violations=tuple(refused.violations)))
