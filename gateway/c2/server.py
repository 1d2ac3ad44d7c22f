"""The service for C2 systems.

Rules, in order, for every call:

1. TLS 1.3, and a certificate that this nation's own C2 (or, for status, officer) authority issued.
2. The certificate's SPIFFE ID has a grant in the configuration.
3. A report is read from its bytes here, so that one that is malformed is refused with a reason and does not end the
   stream; fields that the contract does not define are dropped; then it is held against the client's quota
   (`gateway.c2.quotas`), then it is validated, then held against the grant.
4. It is acknowledged only when it, its decisions and its releases are durable. The same report of the same client is
   acknowledged again, however old it is by then and whatever the grant has become.
5. A stream lasts no longer than its caller is believed (`gateway.identity.standing`).
6. Of a report that is refused the log holds its identifier, quoted, and which fields were wrong; nothing of its
   content, which may be classified and was not validated.
7. What is too much is refused with a time after which it may be sent again, and never dropped: by the client's quota,
   or for want of room among what waits (`gateway.release.waiting`).
"""

from __future__ import annotations

import asyncio
import functools
import logging
import math
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

import grpc
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.broken import Broken
from gateway.c2.feed import CursorError, Feed, PrunedError
from gateway.c2.grants import Grants, PushGrant
from gateway.c2.quotas import Quota, QuotaLimits
from gateway.c2.wishes import Wishes
from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.standing import Standing, while_believed
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import FeedFilter
from gateway.release.errors import Exhausted, RefusedReport, StepBroken, Unavailable
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.ranks import rank_of_report
from gateway.release.sequencer import Sequencer
from gateway.release.taking import take
from gateway.reports.errors import MalformedReport
from gateway.reports.fields import quoted
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import parse_submit
from gateway.reports.validate import clock_warning, validate_submitted
from gateway.reports.violations import Violation, refusal
from gateway.seal.errors import SealError
from gateway.telemetry import Telemetry
from policy.countries import NODE_CODES

log = logging.getLogger(__name__)


PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata by which a call that is refused for its number says when it may be tried again (gRFC A6)."""

STREAMS_AGAIN_MS: Final = 1000
"""When one who has too many streams or subscriptions open may try again, milliseconds."""

_RECALLS: Final = frozenset(int(kind.report_kind) for kind in Kind if kind.withdraws)
"""Kinds that say of earlier reports that they no longer stand."""

TOLD_AGAIN_S: Final = 10.0
"""Seconds between lines of the log about one client of whom too much comes."""


@dataclass(frozen=True, slots=True)
class C2Limits:
    """Bounds of the national side."""

    in_flight: int = 1024
    """Reports of one stream that may wait for their acknowledgement; beyond it the stream is read no further."""
    retry_after_ms: int = 500
    """What a client is told to wait when the node cannot take reports, milliseconds."""
    subscriptions: int = 64
    """Subscriptions that one client may have open at once."""
    connections: int = 512
    """Connections of all clients and officers together. Each is a file to the process, and the store needs some as
    well."""


class C2Servicer:
    """Serves C2 systems. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        node: str,
        authorities: Callable[[], Authorities],
        grants: Grants,
        sequencer: Sequencer,
        feed: Feed,
        status: Callable[[], c2_pb2.GetStatusResponse],
        telemetry: Telemetry,
        limits: C2Limits,
        quotas: QuotaLimits,
        report_limits: ReportLimits,
        now: Callable[[], datetime],
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
        clock_trusted: Callable[[], bool],
        wishes: Wishes | None = None,
    ) -> None:
        self._node = node
        self._authorities = authorities
        self._grants = grants
        self._sequencer = sequencer
        self._feed = feed
        self._status = status
        self._telemetry = telemetry
        self._limits = limits
        self._quota_limits = quotas
        self._quotas: dict[SpiffeId, Quota] = {}
        self._monotonic = monotonic
        self._told: dict[SpiffeId, float] = {}
        self._report_limits = report_limits
        self._now = now
        self._now_ns = now_ns
        self._clock_trusted = clock_trusted
        self._wishes = wishes or Wishes(feed.reader, monotonic, lambda: sequencer.rulebook.policy is not None)
        self._broken = Broken()
        self._subscriptions: dict[SpiffeId, int] = {}

    def handler(self) -> grpc.GenericRpcHandler:
        """The service as gRPC takes it. Submit's requests come as bytes (rule 3)."""
        return grpc.method_handlers_generic_handler(
            "signalfire.v1.C2Service",
            {
                "Submit": grpc.stream_stream_rpc_method_handler(
                    self.submit,
                    request_deserializer=None,
                    response_serializer=c2_pb2.SubmitResponse.SerializeToString,
                ),
                "Subscribe": grpc.unary_stream_rpc_method_handler(
                    self.subscribe,
                    request_deserializer=c2_pb2.SubscribeRequest.FromString,
                    response_serializer=c2_pb2.SubscribeResponse.SerializeToString,
                ),
                "GetStatus": grpc.unary_unary_rpc_method_handler(
                    self.get_status,
                    request_deserializer=c2_pb2.GetStatusRequest.FromString,
                    response_serializer=c2_pb2.GetStatusResponse.SerializeToString,
                ),
            },
        )

    async def _admit(self, context: grpc.aio.ServicerContext, *roles: Role) -> SpiffeId:  # type: ignore[type-arg]
        try:
            return peer_from_context(context.auth_context(), self._authorities(), allowed_roles=roles, now=self._now())
        except IdentityError as refused:
            await self._refuse(context, refused)

    def _standing(self, context: grpc.aio.ServicerContext) -> Standing:  # type: ignore[type-arg]
        return Standing(context.auth_context(), self._authorities, allowed_roles=(Role.C2,), now=self._now)

    async def _refuse(self, context: grpc.aio.ServicerContext, refused: IdentityError) -> NoReturn:  # type: ignore[type-arg]
        self._telemetry.refused_streams.labels(reason=refused.code.value).inc()
        log.warning("national side: %s refused: %s", context.peer(), refused)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refused))

    # --- Submit

    async def submit(
        self,
        requests: AsyncIterator[bytes],
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[c2_pb2.SubmitResponse]:
        """See c2.proto."""
        client = await self._admit(context, Role.C2)
        grant = self._grants.get(str(client))
        if grant is None or grant.push is None:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{client} has no grant to push; declare one under `clients` in the gateway's configuration",
            )
        quota = self._quota(client)
        if quota.streams >= self._quota_limits.streams:
            await self._exhausted(
                context, f"{client} pushes on {quota.streams} streams already, the most that a client may"
            )
        answers = self._answers(client, grant.push, quota, requests)
        quota.streams += 1
        try:
            async with aclosing(while_believed(answers, self._standing(context).judge)) as believed:
                async for response in believed:
                    yield response
        except IdentityError as refused:
            await self._refuse(context, refused)
        finally:
            quota.streams -= 1

    def _quota(self, client: SpiffeId) -> Quota:
        """There are as many as there are clients in the configuration."""
        if client not in self._quotas:
            self._quotas[client] = Quota(self._quota_limits, self._monotonic())
        return self._quotas[client]

    async def _exhausted(self, context: grpc.aio.ServicerContext, detail: str) -> NoReturn:  # type: ignore[type-arg]
        """Refuses a call of which a client has too many."""
        context.set_trailing_metadata(((PUSHBACK, str(STREAMS_AGAIN_MS)),))
        await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, detail)

    async def _answers(
        self, client: SpiffeId, push: PushGrant, quota: Quota, requests: AsyncIterator[bytes]
    ) -> AsyncGenerator[c2_pb2.SubmitResponse, None]:
        """The answers to the requests of one stream; ends when all are answered."""
        responses: asyncio.Queue[c2_pb2.SubmitResponse | None] = asyncio.Queue()
        room = asyncio.Semaphore(self._limits.in_flight)

        async def take(position: int, data: bytes) -> None:
            responses.put_nowait(await self._take(client, push, quota, position, data))

        async def read() -> None:
            position = 0
            try:
                async with asyncio.TaskGroup() as group:
                    async for data in requests:
                        await room.acquire()
                        if pause_s := quota.pause_s(self._monotonic()):
                            await asyncio.sleep(pause_s)
                        group.create_task(take(position, data))
                        position += 1
            finally:
                responses.put_nowait(None)

        async def wish(told: c2_pb2.Resubmit | None) -> None:
            while True:
                told = await self._wishes.next(told)
                wanted = self._wishes.of(str(client))
                if wanted is not None:
                    responses.put_nowait(c2_pb2.SubmitResponse(resubmit=wanted))

        # First, before any answer.
        asked, told = self._wishes.asked(), self._wishes.of(str(client))
        if told is not None:
            yield c2_pb2.SubmitResponse(resubmit=told)
        wishing = asyncio.create_task(wish(asked))
        reading = asyncio.create_task(read())
        try:
            while (response := await responses.get()) is not None:
                yield response
                # Not before: a client that reads no answers must not pile them up here.
                if not response.HasField("resubmit"):
                    room.release()
            await reading
        finally:
            for task in (reading, wishing):
                task.cancel()
            await asyncio.gather(reading, wishing, return_exceptions=True)

    async def _take(
        self, client: SpiffeId, push: PushGrant, quota: Quota, position: int, data: bytes
    ) -> c2_pb2.SubmitResponse:
        """One report, from its bytes to its answer."""
        response = c2_pb2.SubmitResponse(position=position)
        try:
            report = parse_submit(data, self._report_limits)
            response.report_id = report.report_id
            kind = kind_of(report)
            rank = rank_of_report(report.precedence, kind)
            charge = quota.take(rank, len(data), self._monotonic())
            if charge.wait_s:
                raise Exhausted(f"{client} has pushed more than its quota", math.ceil(charge.wait_s * 1000))
            step = TakeReport.of(report, str(client), push.covers, push.covers_lost)
            try:
                self._check(client, push, report)
            except RefusedReport:
                # What this client handed in before is not judged again: it has grown older, and grants change.
                before = self._taken_before(step)
                if before is None:
                    raise
                accepted = before
            else:
                after = step.recalls if kind is not None and kind.withdraws else None
                try:
                    do = functools.partial(self._sequencer.do, source=str(client), bounded=True, after=after)
                    accepted = await take(step, do)
                except Exhausted:
                    quota.give_back(charge)
                    raise
        except MalformedReport as error:
            response.refused.CopyFrom(refusal(c2_pb2.REFUSAL_CODE_MALFORMED, [error.violation]))
        except RefusedReport as error:
            response.refused.CopyFrom(refusal(error.code, error.violations))
            if error.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE:
                response.refused.retry_after_ms = self._limits.retry_after_ms
        except Exhausted as error:
            found = [Violation("", f"cannot be taken now: {error}", "send it again after retry_after_ms")]
            response.refused.CopyFrom(refusal(c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED, found))
            response.refused.retry_after_ms = error.retry_after_ms
        except StepBroken as error:
            response.refused.CopyFrom(self._gateway_failed(str(client), step, error))
        except (Unavailable, LedgerError) as error:
            # A LedgerError here is not about this report: it is the node's own, and may pass.
            found = [Violation("", f"the node cannot take reports now: {error}", "send it again")]
            response.refused.CopyFrom(refusal(c2_pb2.REFUSAL_CODE_UNAVAILABLE, found))
            response.refused.retry_after_ms = self._limits.retry_after_ms
        else:
            response.accepted.accepted_time.FromNanoseconds(accepted.accepted_ns)
            response.accepted.duplicate = accepted.duplicate
            self._telemetry.reports.labels(result="duplicate" if accepted.duplicate else "accepted").inc()
            for decided in accepted.decisions:
                self._telemetry.decided(decided.partner, decided.outcome, decided.failed)
            return response
        quota.refused(self._monotonic())
        name = c2_pb2.RefusalCode.Name(response.refused.code).removeprefix("REFUSAL_CODE_").lower()
        self._telemetry.reports.labels(result=name).inc()
        if response.refused.code == c2_pb2.REFUSAL_CODE_RESOURCE_EXHAUSTED:
            self._tell_of_too_much(client, response.refused.violations[0].problem)
            return response
        fields = ", ".join(v.field for v in response.refused.violations[:8] if v.field)
        log.warning(
            "report %s of %s refused (%s): %s", quoted(response.report_id), client, name, fields or "as a whole"
        )
        return response

    def _gateway_failed(self, client: str, step: TakeReport, error: StepBroken) -> c2_pb2.Refused:
        """What is answered for a report on which this gateway itself failed."""
        self._telemetry.broken_steps.inc()
        factor = self._broken.failed(client, step.digest)
        if factor is None:
            text, mend = f"this gateway fails on it each time: {error}", "do not send it again; tell its operators"
            return refusal(c2_pb2.REFUSAL_CODE_INVALID, [Violation("", text, mend)])
        text, mend = f"this gateway failed on it: {error}", "send it again after retry_after_ms"
        refused = refusal(c2_pb2.REFUSAL_CODE_UNAVAILABLE, [Violation("", text, mend)])
        refused.retry_after_ms = self._limits.retry_after_ms * factor
        return refused

    def _tell_of_too_much(self, client: SpiffeId, problem: str) -> None:
        """One line now and then: what comes without end must not fill the log either."""
        now = self._monotonic()
        if now >= self._told.get(client, now):
            self._told[client] = now + TOLD_AGAIN_S
            log.warning("reports of %s are refused for their number: %s", client, problem)

    def _taken_before(self, step: TakeReport) -> AcceptedReport | None:
        """The acceptance of this very report, from this very client, where there is one."""
        try:
            report_id = uuid.UUID(step.report.report_id).bytes
        except ValueError:
            return None
        known = self._feed.reader().report(report_id)
        if known is None or (known.digest, known.submitted_by) != (step.digest, step.submitted_by):
            return None
        if not known.payload:
            # Its content is lost: it is taken as one that is handed in for the first time.
            return None
        return AcceptedReport(known.accepted_ns, duplicate=True)

    def _check(self, client: SpiffeId, push: PushGrant, report: report_pb2.Report) -> None:
        now_ns = self._wishes.judged_at(report, self._now_ns())
        violations = validate_submitted(
            report, node=self._node, now=now_ns, limits=self._report_limits, clock_trusted=self._clock_trusted()
        )
        if violations:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_INVALID, violations)
        violations = push.violations(report)
        if violations:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_GRANTED, violations)
        warning = clock_warning(report, now_ns, self._report_limits, submitted=True)
        if warning is not None:
            self._telemetry.clock_flags.labels(client=str(client)).inc()
            log.warning("report %s of %s: %s", report.report_id, client, warning)

    # --- Subscribe

    async def subscribe(
        self,
        request: c2_pb2.SubscribeRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[c2_pb2.SubscribeResponse]:
        """See c2.proto."""
        client = await self._admit(context, Role.C2)
        grant = self._grants.get(str(client))
        if grant is None or grant.read is None:
            await context.abort(
                grpc.StatusCode.PERMISSION_DENIED,
                f"{client} has no grant to read; declare one under `clients` in the gateway's configuration",
            )
        problem = _subscription_problem(request)
        if problem:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, problem)
        ungranted = set(request.traffic_classes) - grant.read.traffic_classes
        if ungranted:
            names = ", ".join(sorted(report_pb2.TrafficClass.Name(value) for value in ungranted))
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{client} has no grant to read {names}")
        try:
            position = self._feed.position(request.cursor, include_own=request.include_own)
        except CursorError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except PrunedError as error:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, str(error))
        except LedgerError as error:
            log.error("subscription of %s: %s", client, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the feed cannot be read now; try again")
        if self._subscriptions.get(client, 0) >= self._limits.subscriptions:
            await self._exhausted(
                context, f"{client} has {self._limits.subscriptions} subscriptions open, the most that a client may"
            )
        wanted = FeedFilter(
            frozenset(request.traffic_classes),
            frozenset(request.kinds),
            frozenset(request.originator_nodes),
            request.minimum_precedence,
            request.include_own,
            _RECALLS,
        )
        self._subscriptions[client] = self._subscriptions.get(client, 0) + 1
        self._telemetry.subscribers.inc()
        try:
            items = self._feed.follow(position, wanted, grant.read, anew=not request.cursor)
            async with aclosing(while_believed(items, self._standing(context).judge)) as believed:
                async for response in believed:
                    yield response
        except IdentityError as refused:
            await self._refuse(context, refused)
        except PrunedError as error:
            await context.abort(grpc.StatusCode.OUT_OF_RANGE, str(error))
        except (LedgerError, SealError) as error:
            log.error("subscription of %s: %s", client, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the feed cannot be read now; resume from your cursor")
        finally:
            self._subscriptions[client] -= 1
            self._telemetry.subscribers.dec()

    # --- GetStatus

    async def get_status(
        self,
        request: c2_pb2.GetStatusRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> c2_pb2.GetStatusResponse:
        """See c2.proto."""
        client = await self._admit(context, Role.C2, Role.OFFICER)
        if client.role is Role.C2 and str(client) not in self._grants:
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"{client} has no grant in the configuration")
        return self._status()


def _subscription_problem(request: c2_pb2.SubscribeRequest) -> str:
    """What is wrong with a subscription; empty when nothing is."""
    if not request.traffic_classes:
        return "traffic_classes is empty: name LIVE, EXERCISE or TEST, for none of them is meant by default"
    for field, values, enum in (
        ("traffic_classes", request.traffic_classes, report_pb2.TrafficClass),
        ("kinds", request.kinds, c2_pb2.ReportKind),
    ):
        for value in values:
            if value == 0 or value not in enum.values():
                return f"{field}: {value} is not a value that the contract defines"
    if request.minimum_precedence not in report_pb2.Precedence.values():
        return f"minimum_precedence: {request.minimum_precedence} is not a value that the contract defines"
    for node in request.originator_nodes:
        if node not in NODE_CODES:
            return f"originator_nodes: {node[:16]!r} is not an ISO 3166-1 alpha-3 code"
    return ""
