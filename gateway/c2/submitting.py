"""One stream of reports, from the bytes of a request to the answers.

Rules, in order:

1. A request is read as a whole, its reports are not yet: one that is malformed is refused alone. A request that is none
   counts as one report.
2. It is taken when there is room for all of its reports among those of the stream that wait for their answer, or when
   none waits.
3. Before it is judged, and after each wait, the caller's standing is asked: of one who is believed no more nothing is
   taken, also where he reads no answers.
4. Its reports are judged one by one, in their order (`gateway.c2.server`, rule 3), and wait for their commit each by
   its own precedence (`gateway.release.waiting`). After TURN_S others have their turn, and one of whom too much was
   refused waits (`gateway.c2.quotas`, rule 4). Those of one turn are judged as of its beginning.
5. A report's answer is made as soon as it is known, and nothing else is kept of the report then. What is known together
   is answered in one message, whichever requests it came with, up to ANSWERS of them and about ANSWER_BYTES.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import uuid
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.broken import Broken
from gateway.c2.grants import PushGrant
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import Charge, Quota
from gateway.c2.wishes import Wishes
from gateway.identity.spiffe import SpiffeId
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import Exhausted, LookFirst, RefusedReport, ReleaseError, StepBroken
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.ranks import rank_of_report
from gateway.release.sequencer import Sequencer
from gateway.release.taking import take
from gateway.reports.errors import MalformedReport
from gateway.reports.fields import quoted
from gateway.reports.kinds import kind_of
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import parse_report, split_request
from gateway.reports.validate import clock_warning, early_ns, too_early, validate_submitted
from gateway.reports.violations import Violation, refusal
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

TURN_S: Final = 0.002
"""Seconds for which reports of one stream are judged before others have their turn; the one at hand is finished."""

ANSWERS: Final = 128
"""Answers of one message."""

VIOLATIONS: Final = 64
"""Violations of one report that are told: unread answers wait in memory, and of many in one list the first say enough.
"""

ANSWER_BYTES: Final = 1 << 20
"""Bytes of answers after which no further one goes into a message: a client need not take more than 4 MiB."""

TOLD_AGAIN_S: Final = 10.0
"""Seconds between lines of the log about one client of whom too much comes."""


@dataclass(slots=True)
class _Asked:
    """A report that waits for its answer."""

    position: int
    report_id: str = ""
    step: TakeReport | None = None
    charge: Charge | None = None
    """What it was charged, where it waits for its commit."""


class _Moment(NamedTuple):
    """The time as of which reports are judged."""

    now_ns: int
    clock_trusted: bool


class Submitting:
    """Judges what C2 systems push, and has it taken. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        node: str,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        telemetry: Telemetry,
        limits: C2Limits,
        report_limits: ReportLimits,
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
        clock_trusted: Callable[[], bool],
        wishes: Wishes,
    ) -> None:
        self._node = node
        self.sequencer = sequencer
        self._reader = reader
        self._telemetry = telemetry
        self.limits = limits
        self.report_limits = report_limits
        self._now_ns = now_ns
        self.monotonic = monotonic
        self._clock_trusted = clock_trusted
        self.wishes = wishes
        self._broken = Broken()
        self._told: dict[SpiffeId, float] = {}

    def answers(
        self,
        client: SpiffeId,
        push: PushGrant,
        quota: Quota,
        requests: AsyncIterator[bytes],
        ask: Callable[[], None],
    ) -> AsyncGenerator[c2_pb2.SubmitResponse, None]:
        """The answers to the reports of one stream; ends when all are answered, or with what `ask` raises: once the
        caller is believed no more.
        """
        return _Stream(self, client, push, quota, ask).answers(requests)

    def moment(self) -> _Moment:
        """Now."""
        return _Moment(self._now_ns(), self._clock_trusted())

    def check(self, client: SpiffeId, push: PushGrant, report: report_pb2.Report, moment: _Moment) -> None:
        """Holds a report against the contract and the client's grant. Raises RefusedReport."""
        now_ns = self.wishes.judged_at(report, moment.now_ns)
        violations = validate_submitted(
            report, node=self._node, now=now_ns, limits=self.report_limits, clock_trusted=moment.clock_trusted
        )
        if violations:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_INVALID, violations)
        violations = push.violations(report)
        if violations:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_GRANTED, violations)
        wait_ns = early_ns(report, now_ns, self.report_limits)
        if wait_ns > 0 and moment.clock_trusted:
            # A refusal for good would cost the warning; seconds later it is as good as any whose clock is a little off.
            found = [too_early(report, now_ns, self.report_limits)]
            raise RefusedReport(c2_pb2.REFUSAL_CODE_UNAVAILABLE, found, math.ceil(wait_ns / 1_000_000))
        warning = clock_warning(report, now_ns, self.report_limits, submitted=True)
        if warning is not None:
            self._telemetry.clock_flags.labels(client=str(client)).inc()
            log.warning("report %s of %s: %s", report.report_id, client, warning)

    def taken_before(self, step: TakeReport) -> AcceptedReport | None:
        """The acceptance of this very report, from this very client, where there is one."""
        try:
            report_id = uuid.UUID(step.report.report_id).bytes
        except ValueError:
            return None
        known = self._reader().report(report_id)
        if known is None or (known.digest, known.submitted_by) != (step.digest, step.submitted_by):
            return None
        if not known.payload:
            # Its content is lost: it is taken as one that is handed in for the first time.
            return None
        return AcceptedReport(known.accepted_ns, duplicate=True)

    def accepted(self, accepted: AcceptedReport) -> c2_pb2.Accepted:
        """What is answered for a report that was taken; to be copied."""
        self._telemetry.reports.count("duplicate" if accepted.duplicate else "accepted")
        for decided in accepted.decisions:
            self._telemetry.decided(*decided)
        if (late := accepted.late) is not None:
            # Nobody knows whether it should stand: an operator is told, and the log keeps it.
            named, event_id = uuid.UUID(bytes=late.report_id), quoted(late.event_id)
            log.warning("report %s was accepted after the all-clear of its event %s, and stands", named, event_id)
            self._telemetry.attention.accepted_late(late)
        return _accepted(accepted.accepted_ns, accepted.duplicate)

    def refused(self, client: SpiffeId, report_id: str, step: TakeReport | None, error: Exception) -> c2_pb2.Refused:
        """What is answered for a report that was not taken."""
        answer = self._refusal(str(client), step, error)
        name = c2_pb2.RefusalCode.Name(answer.code).removeprefix("REFUSAL_CODE_").lower()
        self._telemetry.reports.count(name)
        if answer.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED:
            self._tell_of_too_much(client, answer.violations[0].problem)
            return answer
        fields = ", ".join(v.field for v in answer.violations[:8] if v.field)
        log.warning("report %s of %s refused (%s): %s", quoted(report_id), client, name, fields or "as a whole")
        return answer

    def _refusal(self, client: str, step: TakeReport | None, error: Exception) -> c2_pb2.Refused:
        match error:
            case MalformedReport():
                return refusal(c2_pb2.REFUSAL_CODE_MALFORMED, [error.violation])
            case RefusedReport():
                told = list(error.violations[:VIOLATIONS])
                if more := len(error.violations) - len(told):
                    told.append(Violation("", f"has {more} more such problems", "mend those that are told first"))
                refused = refusal(error.code, told)
                if error.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE:
                    refused.retry_after_ms = error.retry_after_ms or self.limits.retry_after_ms
                return refused
            case Exhausted():
                found = [Violation("", f"cannot be taken now: {error}", "send it again after retry_after_ms")]
                refused = refusal(c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, found)
                refused.retry_after_ms = error.retry_after_ms
                return refused
            case StepBroken() if step is not None:
                return self._gateway_failed(client, step, error)
            case _:
                # A LedgerError here is not about this report: it is the node's own, and may pass.
                found = [Violation("", f"the node cannot take reports now: {error}", "send it again")]
                refused = refusal(c2_pb2.REFUSAL_CODE_UNAVAILABLE, found)
                refused.retry_after_ms = self.limits.retry_after_ms
                return refused

    def _gateway_failed(self, client: str, step: TakeReport, error: StepBroken) -> c2_pb2.Refused:
        """What is answered for a report on which this gateway itself failed."""
        self._telemetry.broken_steps.inc()
        factor = self._broken.failed(client, step.digest)
        if factor is None:
            text, mend = f"this gateway fails on it each time: {error}", "do not send it again; tell its operators"
            return refusal(c2_pb2.REFUSAL_CODE_INVALID, [Violation("", text, mend)])
        text, mend = f"this gateway failed on it: {error}", "send it again after retry_after_ms"
        refused = refusal(c2_pb2.REFUSAL_CODE_UNAVAILABLE, [Violation("", text, mend)])
        refused.retry_after_ms = self.limits.retry_after_ms * factor
        return refused

    def _tell_of_too_much(self, client: SpiffeId, problem: str) -> None:
        """One line now and then: what comes without end must not fill the log either."""
        now = self.monotonic()
        if now >= self._told.get(client, now):
            self._told[client] = now + TOLD_AGAIN_S
            log.warning("reports of %s are refused for their number: %s", client, problem)


@functools.lru_cache(maxsize=8)
def _accepted(accepted_ns: int, duplicate: bool) -> c2_pb2.Accepted:
    # Reports of one commit are taken at one time.
    answer = c2_pb2.Accepted(duplicate=duplicate)
    answer.accepted_time.FromNanoseconds(accepted_ns)
    return answer


class _Stream:
    """One stream of one client."""

    def __init__(
        self, gateway: Submitting, client: SpiffeId, push: PushGrant, quota: Quota, ask: Callable[[], None]
    ) -> None:
        self._gateway = gateway
        self._client = client
        self._source = str(client)
        self._push = push
        self._quota = quota
        self._ask = ask
        self._position = 0
        self._in_flight = 0
        """Reports that were read and whose answer was not taken yet."""
        self._fewer = asyncio.Event()
        """Rings when these become fewer."""
        self._ready: deque[c2_pb2.SubmitResponse] = deque()
        """What is known and was not said yet. The last may still grow."""
        self._last_bytes = 0
        """Of what is refused in that: the only answers that may be large."""
        self._wish: c2_pb2.Resubmit | None = None
        self._some = asyncio.Event()
        """Rings when there is something to say, or nothing more will come."""
        self._looking: set[asyncio.Task[None]] = set()
        self._failure: Exception | None = None
        """Why an answer could not be made: the stream ends with it."""
        self._over = False
        """Nobody takes answers any more."""

    async def answers(self, requests: AsyncIterator[bytes]) -> AsyncGenerator[c2_pb2.SubmitResponse, None]:
        """See `Submitting.answers`."""
        wishes = self._gateway.wishes
        # First, before any answer.
        asked, told = wishes.asked(), wishes.of(self._source)
        if told is not None:
            yield c2_pb2.SubmitResponse(resubmit=told)
        wishing = asyncio.create_task(self._wishing(asked))
        reading = asyncio.create_task(self._read(requests))
        reading.add_done_callback(lambda _: self._some.set())
        try:
            while not reading.done():
                await self._some.wait()
                self._some.clear()
                while (response := self._next()) is not None:
                    yield response
                    # Not before: a client that reads no answers must not pile them up here.
                    self._in_flight -= len(response.answers)
                    self._fewer.set()
            await reading
        finally:
            self._over = True
            tasks = (reading, wishing, *self._looking)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            # What the stream ends with leads here, and from here to itself: it would keep the last request.
            del reading, wishing, tasks, task

    async def _wishing(self, told: c2_pb2.Resubmit | None) -> None:
        while True:
            told = await self._gateway.wishes.next(told)
            self._wish = self._gateway.wishes.of(self._source)
            self._some.set()

    async def _read(self, requests: AsyncIterator[bytes]) -> None:
        """Reads to the end, and returns when all is answered."""
        async for data in requests:
            self._ask()
            await self._take(data)
            # An idle stream keeps nothing of its last request.
            del data
        while self._in_flight:
            await self._answered()

    async def _take(self, data: bytes) -> None:
        """Judges the reports of one request, once there is room for them."""
        now, limits = self._gateway.monotonic, self._gateway.limits
        reports: Sequence[bytes | MalformedReport]
        try:
            whole = split_request(data, limits.request_reports, limits.request_bytes)
        except MalformedReport as none:
            # Another one, without the traceback: that holds the request.
            reports = [MalformedReport(none.violation.problem, none.violation.remedy)]
            self._quota.read_in_vain(len(data), now())
        else:
            reports = whole
            self._quota.read_in_vain(len(data) - sum(map(len, whole)), now())
        while self._in_flight and self._in_flight + len(reports) > limits.in_flight:
            await self._answered()
            self._ask()
        if pause_s := self._quota.pause_s(now()):
            await self._pause(pause_s)
        self._in_flight += len(reports)
        moment, turn_ends = self._gateway.moment(), now() + TURN_S
        for report in reports:
            at = now()
            if at >= turn_ends:
                await self._pause(self._quota.pause_s(at))
                at = now()
                moment, turn_ends = self._gateway.moment(), at + TURN_S
            self._judge(report, moment, at)

    async def _pause(self, seconds: float) -> None:
        """Leaves others their turn, for no time or for longer."""
        await asyncio.sleep(seconds)
        self._ask()

    async def _answered(self) -> None:
        self._fewer.clear()
        await self._fewer.wait()

    def _judge(self, data: bytes | MalformedReport, moment: _Moment, at: float) -> None:
        """Has one report wait for its commit, or answers it. `at` is now, seconds of the clock that never goes back."""
        asked = _Asked(self._position)
        self._position += 1
        if isinstance(data, MalformedReport):
            self._answer(asked, data)
            return
        try:
            report = parse_report(data, self._gateway.report_limits)
            asked.report_id = report.report_id
            before = self._put(asked, report, len(data), moment, at)
        except (MalformedReport, ReleaseError, LedgerError) as error:
            if isinstance(error, MalformedReport):
                # It belongs to no report that any other quota was asked for.
                self._quota.read_in_vain(len(data), at)
            self._answer(asked, error)
        else:
            if before is not None:
                self._answer(asked, before)

    def _put(
        self, asked: _Asked, report: report_pb2.Report, size: int, moment: _Moment, at: float
    ) -> AcceptedReport | None:
        """Has a report wait for its commit, and returns None; or returns that it was taken before. Raises
        RefusedReport, Exhausted, Unavailable and LedgerError.
        """
        kind = kind_of(report)
        charge = self._quota.take(rank_of_report(report.precedence, kind), size, at)
        if charge.wait_s:
            raise Exhausted(f"{self._client} has pushed more than its quota", math.ceil(charge.wait_s * 1000))
        asked.step = step = TakeReport.of(report, self._source, self._push.covers, self._push.covers_lost)
        try:
            self._gateway.check(self._client, self._push, report, moment)
        except RefusedReport:
            # What this client handed in before is not judged again: it has grown older, and grants change.
            before = self._gateway.taken_before(step)
            if before is None:
                raise
            return before
        asked.charge = charge
        after = step.recalls if kind is not None and kind.withdraws else None
        done = functools.partial(self._done, asked)
        self._gateway.sequencer.put(step, done, source=self._source, bounded=True, after=after)
        return None

    def _done(self, asked: _Asked, outcome: AcceptedReport | Exception) -> None:
        """Makes the answer at once: what a report ended with may hold its whole commit. As the sequencer wants it, this
        does not raise.
        """
        if isinstance(outcome, LookFirst):
            if not self._over:
                # Another one, without the traceback.
                looking = asyncio.create_task(self._look(asked, LookFirst(outcome.report_ids)))
                self._looking.add(looking)
                looking.add_done_callback(self._looking.discard)
            return
        try:
            self._answer(asked, outcome)
        except Exception as failure:
            log.exception("no answer could be made to report %s of %s", quoted(asked.report_id), self._client)
            self._failure = failure.with_traceback(None)
            self._some.set()

    def _next(self) -> c2_pb2.SubmitResponse | None:
        """What is known and was not said yet, as much of it as goes into one message. Raises what kept an answer from
        being made.
        """
        if self._failure is not None:
            raise self._failure
        wish, self._wish = self._wish, None
        if not self._ready:
            return None if wish is None else c2_pb2.SubmitResponse(resubmit=wish)
        response = self._ready.popleft()
        if wish is not None:
            response.resubmit.CopyFrom(wish)
        return response

    async def _look(self, asked: _Asked, found: LookFirst) -> None:
        """Goes on with an all-clear that recalls more than one commit can look at."""
        step = asked.step
        assert step is not None  # it was put
        do: Callable[[Any], Any] = functools.partial(
            self._gateway.sequencer.do, source=self._source, bounded=True, after=step.recalls
        )
        try:
            self._done(asked, await take(step, do, found))
        except (ReleaseError, LedgerError) as error:
            self._done(asked, error)

    def _answer(self, asked: _Asked, outcome: AcceptedReport | Exception) -> None:
        """Says what came of a report, with the next message that leaves."""
        accepted: c2_pb2.Accepted | None = None
        refused: c2_pb2.Refused | None = None
        if isinstance(outcome, AcceptedReport):
            accepted = self._gateway.accepted(outcome)
        else:
            if isinstance(outcome, Exhausted) and asked.charge is not None:
                self._quota.give_back(asked.charge)
            refused = self._gateway.refused(self._client, asked.report_id, asked.step, outcome)
            exhausted = isinstance(outcome, Exhausted) and asked.step is None
            self._quota.refused(self._gateway.monotonic(), exhausted=exhausted)
        if not self._ready or len(self._ready[-1].answers) >= ANSWERS or self._last_bytes >= ANSWER_BYTES:
            self._ready.append(c2_pb2.SubmitResponse())
            self._last_bytes = 0
            self._some.set()
        answer = self._ready[-1].answers.add(
            position=asked.position, report_id=asked.report_id, accepted=accepted, refused=refused
        )
        if refused is not None:
            # What was accepted is a few bytes.
            self._last_bytes += answer.ByteSize()
