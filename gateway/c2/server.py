"""The service for C2 systems.

Rules, in order, for every call:

1. TLS 1.3, and a certificate that this nation's own C2 (or, for status, officer) authority issued.
2. The certificate's SPIFFE ID has a grant in the configuration.
3. A report is read from its bytes here (`gateway.c2.submitting`), so that one that is malformed is refused with a
   reason and does not end the stream; fields that the contract does not define are dropped; then it is held against
   the client's quota (`gateway.c2.quotas`), then it is validated, then held against the grant.
4. It is acknowledged only when it, its decisions and its releases are durable. The same report of the same client is
   acknowledged again, however old it is by then and whatever the grant has become.
5. A stream lasts no longer than its caller is believed (`gateway.identity.standing`), and no report is taken of one who
   is not, also where the stream cannot end yet because he reads no answers.
6. Of a report that is refused the log holds its identifier, quoted, and which fields were wrong; nothing of its
   content, which may be classified and was not validated.
7. What is too much is refused with a time after which it may be sent again, and never dropped: by the client's quota,
   or for want of room among what waits (`gateway.release.waiting`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import Final, NoReturn

import grpc
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2.feed import CursorError, Feed, PrunedError
from gateway.c2.grants import Grants
from gateway.c2.limits import C2Limits
from gateway.c2.quotas import Quota, QuotaLimits
from gateway.c2.submitting import Submitting
from gateway.c2.wishes import Wishes
from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.standing import Standing, while_believed
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import FeedFilter
from gateway.release.sequencer import Sequencer
from gateway.reports.kinds import Kind
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry
from policy.countries import NODE_CODES

log = logging.getLogger(__name__)


PUSHBACK: Final = "grpc-retry-pushback-ms"
"""Trailing metadata by which a call that is refused for its number says when it may be tried again (gRFC A6)."""

STREAMS_AGAIN_MS: Final = 1000
"""When one who has too many streams or subscriptions open may try again, milliseconds."""

_RECALLS: Final = frozenset(int(kind.report_kind) for kind in Kind if kind.withdraws)
"""Kinds that say of earlier reports that they no longer stand."""


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
        self._authorities = authorities
        self._grants = grants
        self._feed = feed
        self._status = status
        self._telemetry = telemetry
        self._limits = limits
        self._quota_limits = quotas
        self._quotas: dict[SpiffeId, Quota] = {}
        self._monotonic = monotonic
        self._now = now
        self._submitting = Submitting(
            node=node,
            sequencer=sequencer,
            reader=feed.reader,
            telemetry=telemetry,
            limits=limits,
            report_limits=report_limits,
            now_ns=now_ns,
            monotonic=monotonic,
            clock_trusted=clock_trusted,
            wishes=wishes or Wishes(feed.reader, monotonic, lambda: sequencer.rulebook.policy is not None),
        )
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
        quota.streams += 1
        try:
            standing = self._standing(context)
            answers = self._submitting.answers(client, grant.push, quota, requests, standing.ask)
            async with aclosing(while_believed(answers, standing.judge)) as believed:
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
        except LedgerError as error:
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
