"""The service for security officers: the decisions of this node, as they stand in its own ledger, and their orders.

A certificate of the officers' authority opens the door and no more: what may be put in force is decided by the
signatures on an order alone (`gateway.release.governance`), and who looks at the record is recorded himself
(`gateway.officer.access`).
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping
from contextlib import aclosing
from typing import Final, NoReturn

import grpc
from signalfire.v1 import officer_pb2, officer_pb2_grpc

from gateway.audit.desk import Desk
from gateway.audit.explaining import Question, explain
from gateway.audit.proofs import CannotProve, ProofRequest, ReleaseProofFile, prove_release
from gateway.audit.reconcile import NotComparable
from gateway.audit.search import DecisionFilter, FilterError, Page
from gateway.audit.signers import Signers
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.officer.access import Access, Call, filter_in_words
from gateway.officer.asking import AskError, generation_of, page_size_of, partner_of, question_of
from gateway.officer.reading import Reading
from gateway.officer.recovering import RecoverError, Recovering
from gateway.release.errors import ReleaseError, Unavailable
from gateway.release.governance import Governance
from gateway.release.recovery.wish import StillAsked
from gateway.release.watch import Watch
from gateway.seal.errors import SealError
from policy.approve import OrderRefused, Refusal, SignedOrder

log = logging.getLogger(__name__)

EXPORTED_AT_ONCE: Final = 256
"""Records that an export reads in its turn: some tens of milliseconds, for which others wait."""

_GENERATION_KEY: Final = "signalfire-generation"
_INDEX_KEY: Final = "signalfire-from-index"
"""Initial metadata of a watch: the place at which it begins."""

_BAD: Final = (AskError, FilterError)
_UNREADABLE: Final = (LedgerError, SealError, ReleaseError)


class OfficerServicer(officer_pb2_grpc.OfficerServiceServicer):
    """Serves officers. Only certificates of the nation's officer authority are admitted."""

    def __init__(
        self,
        *,
        node: str,
        partners: Collection[str],
        access: Access,
        reading: Reading,
        watch: Watch,
        governance: Governance,
        now_ns: Callable[[], int],
        reconcile: Callable[[str], AsyncIterator[officer_pb2.ReconcileResponse]] | None = None,
        key_status: Callable[[], officer_pb2.GetKeyStatusResponse] | None = None,
        signers: Callable[[], Mapping[str, Signers]],
        recovering: Recovering | None = None,
    ) -> None:
        """`reconcile` compares with a partner, `key_status` tells of the keys: what is not given is answered with
        UNIMPLEMENTED. `signers` gives the keys in use of this node, and of the partners whose bundles are in force.
        """
        self._node = node
        self._partners = partners
        self._access = access
        self._reading = reading
        self._watch = watch
        self._governance = governance
        self._now_ns = now_ns
        self._reconcile = reconcile
        self._key_status = key_status
        self._signers = signers
        self._recovering = recovering

    # --- looking at the record

    async def SearchDecisions(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.SearchDecisionsRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.SearchDecisionsResponse:
        """See officer.proto."""
        officer = await self._access.admit(context)
        async with self._errors(context):
            wanted, limit = DecisionFilter.of(request.filter), page_size_of(request)
            words = f"{filter_in_words(request.filter)}, {limit} {'oldest' if request.oldest_first else 'newest'} first"
            if request.page_token:
                words += ", a further page"
            asked = officer_pb2.SearchDecisionsRequest()
            asked.CopyFrom(request)
            asked.ClearField("page_token")
            async with self._access.look(Call.SEARCH, officer, words, asked, context):
                page = await self._page(wanted, limit, request.page_token, oldest_first=request.oldest_first)
                return officer_pb2.SearchDecisionsResponse(
                    entries=page.entries, next_page_token=page.next_token, remarks=page.remarks
                )

    async def ExportDecisions(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.ExportDecisionsRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.ExportDecisionsResponse]:
        """See officer.proto."""
        officer = await self._access.admit(context)
        async with self._errors(context):
            wanted = DecisionFilter.of(request.filter)
            async with self._access.look(Call.EXPORT, officer, filter_in_words(request.filter), request, context):
                parts = self._export(wanted)
                async with aclosing(self._access.while_believed(parts, context)) as believed:
                    async for part in believed:
                        yield part

    async def WatchDecisions(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.WatchDecisionsRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.WatchDecisionsResponse]:
        """See officer.proto."""
        officer = await self._access.admit(context)
        async with self._errors(context):
            wanted = DecisionFilter.of(request.filter) if request.HasField("filter") else None
            origin, index = Origin(self._node, None, DECISIONS, generation_of(request)), request.from_index
            what = "decisions and events" if wanted is None else filter_in_words(request.filter)
            words = f"{what}, from now on" if request.live_only else f"{what}, from entry {index} of {origin} on"
            async with self._access.look(Call.WATCH, officer, words, request, context):
                if request.live_only:
                    origin, index = await self._reading.do(_end_of_decisions)
                else:
                    await self._require_place(origin, index)
                await context.send_initial_metadata(
                    ((_GENERATION_KEY, str(origin.generation)), (_INDEX_KEY, str(index)))
                )
                records = self._follow(origin, index, wanted)
                async with aclosing(self._access.while_believed(records, context)) as believed:
                    async for record in believed:
                        yield record

    async def ExplainDecision(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.ExplainDecisionRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.ExplainDecisionResponse:
        """See officer.proto."""
        officer = await self._access.admit(context)
        async with self._errors(context):
            question = question_of(request, self._node, self._partners)
            async with self._access.look(Call.EXPLAIN, officer, _in_words(question, self._node), request, context):
                found = await self._reading.do(lambda desk: explain(desk, question))
                if found is None:
                    await context.abort(
                        grpc.StatusCode.NOT_FOUND,
                        f"{self._node} has no decision on record about {_in_words(question, self._node)}; check the"
                        " identifier, and name the originator of another node's report",
                    )
                return found

    async def GetProof(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.GetProofRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.GetProofResponse:
        """See officer.proto."""
        officer = await self._access.admit(context)
        async with self._errors(context):
            question = question_of(request, self._node, self._partners)
            words = f"{_in_words(question, self._node)}{', without content' if request.without_content else ''}"
            wanted = ProofRequest(
                str(question.report_id), question.partner, question.originator, request.without_content
            )
            async with self._access.look(Call.PROOF, officer, words, request, context):
                signers = self._signers()
                made = await self._reading.do(lambda desk: _prove(desk, wanted, signers))
                return officer_pb2.GetProofResponse(proof=made.file, remarks=made.remarks)

    async def Reconcile(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.ReconcileRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.ReconcileResponse]:
        """See officer.proto."""
        officer = await self._access.admit(context)
        compare = self._reconcile
        if compare is None:
            await self._not_here(context, "ledgers are not compared with a partner's")
        async with self._errors(context):
            partner = partner_of(request.partner, self._partners)
            async with self._access.look(Call.RECONCILE, officer, f"with {partner}", request, context):
                compared = _generator(compare(partner))
                async with aclosing(self._access.while_believed(compared, context)) as believed:
                    async for ledger in believed:
                        yield ledger

    async def Recover(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.RecoverRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> AsyncIterator[officer_pb2.RecoverResponse]:
        """See officer.proto."""
        officer = await self._access.admit(context)
        recovering = self._recovering
        if recovering is None:
            await self._not_here(context, "records are not rebuilt")
        async with self._errors(context):
            # What is put on record of the call holds no key.
            asked = officer_pb2.RecoverRequest(finished=request.finished)
            words = f"with {len(request.keys)} keys{', for the last time' if request.finished else ''}"
            async with (
                self._access.look(Call.RECOVER, officer, words, asked, context),
                aclosing(recovering.recover(request)) as rebuilt,
            ):
                async for ledger in rebuilt:
                    yield ledger

    # --- keys and orders

    async def GetKeyStatus(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.GetKeyStatusRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.GetKeyStatusResponse:
        """See officer.proto."""
        await self._access.admit(context)
        if self._key_status is None:
            await self._not_here(context, "the state of its keys is not told")
        async with self._errors(context):
            return self._key_status()

    async def GetPolicyStatus(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.GetPolicyStatusRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.GetPolicyStatusResponse:
        """See officer.proto."""
        await self._access.admit(context)
        return policy_status(self._governance)

    async def Enact(  # noqa: N802  gRPC's name
        self,
        request: officer_pb2.EnactRequest,
        context: grpc.aio.ServicerContext,  # type: ignore[type-arg]
    ) -> officer_pb2.EnactResponse:
        """See officer.proto."""
        officer = await self._access.admit(context)
        files = {file.path: file.content for file in request.files}
        response = officer_pb2.EnactResponse()
        recorded = True

        def may_record(size: int) -> bool:
            nonlocal recorded
            recorded = self._access.may_record_refusal(officer, size)
            return recorded

        try:
            await self._governance.enact(SignedOrder.of(request.order), files, str(officer), may_record)
        except OrderRefused as error:
            if not recorded:
                await self._access.refuse_order(officer, context)
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

    # --- reading

    async def _page(self, wanted: DecisionFilter, limit: int, token: bytes, *, oldest_first: bool) -> Page:
        return await self._reading.do(
            lambda desk: desk.search.page(wanted, limit=limit, token=token, oldest_first=oldest_first)
        )

    async def _export(self, wanted: DecisionFilter) -> AsyncGenerator[officer_pb2.ExportDecisionsResponse, None]:
        """What the ledgers hold at the call. Its moment is their sizes: a clock may have been set back since."""
        sizes = await self._reading.do(lambda desk: desk.search.sizes())
        token, said = b"", frozenset[str]()
        while True:
            page = await self._reading.do(
                lambda desk, token=token: desk.search.page(  # type: ignore[misc]
                    wanted, limit=EXPORTED_AT_ONCE, token=token, oldest_first=True, within_sizes=sizes
                )
            )
            remarks = [remark for remark in page.remarks if remark not in said]
            said = frozenset(page.remarks)
            if page.entries or remarks:
                yield officer_pb2.ExportDecisionsResponse(entries=page.entries, remarks=remarks)
            token = page.next_token
            if not token:
                return

    async def _require_place(self, origin: Origin, index: int) -> None:
        """Raises AskError unless a watch may begin there."""
        row = await self._reading.do(lambda desk: desk.reader.ledger(origin))
        size = 0 if row is None else row.size
        if row is None and origin.generation > 1:
            raise AskError(f"generation: {origin} is not there; name an earlier one, or none for the first")
        if index > size:
            raise AskError(f"from_index: {origin} has {size} entries, so none is number {index}; give at most {size}")

    async def _follow(
        self, origin: Origin, index: int, wanted: DecisionFilter | None
    ) -> AsyncGenerator[officer_pb2.WatchDecisionsResponse, None]:
        """What is wanted from a place on, without end, and over the generations of the ledger."""
        while True:
            bell = self._watch.ledger_bell(origin)
            seen = bell.rings
            stretch = await self._reading.do(lambda desk, o=origin, i=index: desk.stretch(o, i, wanted))  # type: ignore[misc]
            for entry in stretch.entries:
                yield officer_pb2.WatchDecisionsResponse(entry=entry)
            if stretch.remarks:
                yield officer_pb2.WatchDecisionsResponse(remarks=stretch.remarks)
            index = stretch.next_index
            if stretch.successor is not None:
                origin, index = stretch.successor, 0
            elif stretch.end:
                await bell.wait(seen)

    # --- refusing

    @contextlib.asynccontextmanager
    async def _errors(self, context: grpc.aio.ServicerContext) -> AsyncIterator[None]:  # type: ignore[type-arg]
        """Ends the call in words where what is within raises."""
        try:
            yield
        except _BAD as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except NotComparable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        except (CannotProve, RecoverError, StillAsked) as error:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        except _UNREADABLE as error:
            log.error("what an officer asked for cannot be read: %s", error)
            await context.abort(
                grpc.StatusCode.UNAVAILABLE, "the record cannot be read now; the gateway's log says why; try again"
            )

    async def _not_here(self, context: grpc.aio.ServicerContext, what: str) -> NoReturn:  # type: ignore[type-arg]
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, f"this gateway was put together so that {what}")


def _end_of_decisions(desk: Desk) -> tuple[Origin, int]:
    """Where the next record will stand."""
    rows = [row for row in desk.reader.ledgers() if row.origin.lane == DECISIONS and not row.replica]
    last = max(rows, key=lambda row: row.origin.generation, default=None)
    if last is None:
        return Origin(desk.signatory.node, None, DECISIONS, 1), 0
    return (last.origin, last.size) if last.successor is None else (last.successor, 0)


def _prove(desk: Desk, wanted: ProofRequest, signers: Mapping[str, Signers]) -> ReleaseProofFile:
    with desk.reader.snapshot():
        return prove_release(desk.reader, desk.opener, desk.signatory.node, wanted, signers)


def _in_words(question: Question, node: str) -> str:
    """A report, and for which partner, for the record."""
    named = f"report {question.report_id} of {question.originator or node}"
    return f"{named} for {question.partner}" if question.partner else named


async def _generator(
    items: AsyncIterator[officer_pb2.ReconcileResponse],
) -> AsyncGenerator[officer_pb2.ReconcileResponse, None]:
    async for item in items:
        yield item


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
    for partner, carriers in sorted(state.routes.items()):
        response.routes.add(partner=partner, carriers=carriers)
    for one, other in sorted(state.carries):
        response.carries.add(one=one, other=other)
    return response


def _refusal(refusal: Refusal) -> officer_pb2.OrderRefusal:
    return officer_pb2.OrderRefusal(reason=refusal.reason, what=refusal.what, remedy=refusal.remedy)
