"""The service for security officers: the decisions of this node, as they stand in its own ledger."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from datetime import datetime

import grpc
from signalfire.v1 import officer_pb2, officer_pb2_grpc

from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import StoreReader
from gateway.release.opening import Opener
from gateway.release.sequencer import Sequencer
from gateway.release.watch import Watch
from gateway.seal.errors import SealError
from gateway.telemetry import Telemetry

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
        telemetry: Telemetry,
        now: Callable[[], datetime],
    ) -> None:
        self._node = node
        self._authorities = authorities
        self._sequencer = sequencer
        self._reader = reader
        self._watch = watch
        self._opener = opener
        self._telemetry = telemetry
        self._now = now

    async def WatchDecisions(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.WatchDecisionsRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.WatchDecisionsResponse]:
        """See officer.proto."""
        try:
            officer = peer_from_context(
                context.auth_context(), self._authorities(), allowed_roles=(Role.OFFICER,), now=self._now()
            )
        except IdentityError as refused:
            self._telemetry.refused_streams.labels(reason=refused.code.value).inc()
            log.warning("officer's side: %s refused: %s", context.peer(), refused)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refused))
        log.info("%s watches decisions from %d", officer, request.from_index)
        try:
            async for response in self._follow(request.from_index):
                yield response
        except (LedgerError, SealError) as error:
            log.error("decisions cannot be read: %s", error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the decisions ledger cannot be read now; try again")

    async def _follow(self, index: int) -> AsyncIterator[officer_pb2.WatchDecisionsResponse]:
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
