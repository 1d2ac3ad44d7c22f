"""The service for security officers: the decisions of this node, as they stand in its own ledger, and their orders.

A certificate of the officers' authority opens the door and no more: what may be put in force is decided by the
signatures on an order alone (`gateway.release.governance`).
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from datetime import datetime
from typing import NoReturn

import grpc
from signalfire.v1 import officer_pb2, officer_pb2_grpc

from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.standing import Standing, while_believed
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import StoreReader
from gateway.release.errors import Unavailable
from gateway.release.governance import Governance
from gateway.release.opening import Opener
from gateway.release.sequencer import Sequencer
from gateway.release.watch import Watch
from gateway.seal.errors import SealError
from gateway.telemetry import Telemetry
from policy.approve import OrderRefused, Refusal, SignedOrder

log = logging.getLogger(__name__)


class OfficerServicer(officer_pb2_grpc.OfficerServiceServicer):
    """Serves officers. Only certificates of the nation's officer authority are admitted."""

    def __init__(
        self,
        *,
        node: str,
        authorities: Callable[[], Authorities],
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        watch: Watch,
        opener: Opener,
        governance: Governance,
        telemetry: Telemetry,
        now: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._authorities = authorities
        self._sequencer = sequencer
        self._reader = reader
        self._watch = watch
        self._opener = opener
        self._governance = governance
        self._telemetry = telemetry
        self._now = now

    async def WatchDecisions(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.WatchDecisionsRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.WatchDecisionsResponse]:
        """See officer.proto."""
        officer = await self._admit(context)
        log.info("%s watches decisions from %d", officer, request.from_index)
        try:
            standing = Standing(context.auth_context(), self._authorities, allowed_roles=(Role.OFFICER,), now=self._now)
            async with aclosing(while_believed(self._follow(request.from_index), standing.judge)) as believed:
                async for response in believed:
                    yield response
        except IdentityError as refused:
            await self._refuse(context, refused)
        except (LedgerError, SealError) as error:
            log.error("decisions cannot be read: %s", error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the decisions ledger cannot be read now; try again")

    async def GetPolicyStatus(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.GetPolicyStatusRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.GetPolicyStatusResponse:
        """See officer.proto."""
        await self._admit(context)
        return policy_status(self._governance)

    async def Enact(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.EnactRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.EnactResponse:
        """See officer.proto."""
        officer = await self._admit(context)
        files = {file.path: file.content for file in request.files}
        response = officer_pb2.EnactResponse()
        try:
            await self._governance.enact(SignedOrder.of(request.order), files, str(officer))
        except OrderRefused as error:
            response.refusals.extend(map(_refusal, error.refusals))
        except (Unavailable, LedgerError) as error:
            log.error("an order of %s could not be put on record: %s", officer, error)
            await context.abort(
                grpc.StatusCode.UNAVAILABLE,
                f"{error}; ask for the status, and bring the order again if it is not there",
            )
        state = self._governance.state
        if state is not None:
            response.sequence, response.last_order_digest = state.sequence, state.last
        return response

    async def _admit(self, context: grpc.aio.ServicerContext) -> SpiffeId:  # type: ignore[type-arg]
        """The officer who calls; anybody else's call ends here."""
        try:
            return peer_from_context(
                context.auth_context(), self._authorities(), allowed_roles=(Role.OFFICER,), now=self._now()
            )
        except IdentityError as refused:
            await self._refuse(context, refused)

    async def _refuse(self, context: grpc.aio.ServicerContext, refused: IdentityError) -> NoReturn:  # type: ignore[type-arg]
        self._telemetry.refused_streams.labels(reason=refused.code.value).inc()
        log.warning("officer's side: %s refused: %s", context.peer(), refused)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refused))

    async def _follow(self, index: int) -> AsyncGenerator[officer_pb2.WatchDecisionsResponse, None]:
        origin = self._sequencer.current(self._node, None, DECISIONS)
        bell = self._watch.ledger_bell(origin)
        while True:
            seen = bell.rings
            row = self._reader().ledger(origin)
            while row is not None and index < row.size:
                ledger = row.id

                def fetch(at: int, ledger=ledger) -> bytes:  # type: ignore[no-untyped-def]
                    return self._reader().entry(ledger, at) or b""

                content = self._opener.content(origin, index, fetch(index), fetch)
                response = officer_pb2.WatchDecisionsResponse(ledger=str(origin), index=index)
                index += 1
                match None if content is None else content.WhichOneof("content"):
                    case "decision_record":
                        response.decision_record.CopyFrom(content.decision_record)  # type: ignore[union-attr]
                    case "node_event":
                        response.node_event.CopyFrom(content.node_event)  # type: ignore[union-attr]
                    case _:
                        continue
                yield response
            await bell.wait(seen)


def policy_status(governance: Governance) -> officer_pb2.GetPolicyStatusResponse:
    """What the officers have put in force, as the contract tells it."""
    response = officer_pb2.GetPolicyStatusResponse(
        node=governance.node, posture=governance.posture, problems=governance.problems
    )
    for refused in governance.refused:
        told = response.refused.add(brought_by=refused.brought_by, refusals=map(_refusal, refused.refusals))
        told.time.FromDatetime(refused.time)
    state = governance.state
    if state is None:
        return response
    response.sequence, response.last_order_digest = state.sequence, state.last
    response.policy_digest = state.activated or b""
    response.roster.CopyFrom(state.roster.message())
    if state.declared is not None and state.declared.until is not None:
        response.posture_until.FromDatetime(state.declared.until)
    for _, suspension in sorted(state.suspensions.items()):
        response.suspended.add(partner=suspension.partner, reason=suspension.reason, sequence=suspension.sequence)
    return response


def _refusal(refusal: Refusal) -> officer_pb2.OrderRefusal:
    return officer_pb2.OrderRefusal(reason=refusal.reason, what=refusal.what, remedy=refusal.remedy)
