"""The client: everything that a C2 system, or an officer, asks of its own gateway."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Mapping

import grpc
from signalfire.v1 import c2_pb2, c2_pb2_grpc, officer_pb2, officer_pb2_grpc, report_pb2

from gateway.client import auditing, receiving, sending
from gateway.client.connection import Connector, Credentials
from gateway.client.outbox import HELD_BACK


class Client:
    """A client of one's own gateway. Every call has a connection of its own, and ends it.

    `address` is ``host:port``; `server_name` is the name in the gateway's certificate, for example
    ``a.gateway.jpn.signalfire.internal`` for ``spiffe://jpn/gateway/a``. `on_trouble`, if given, is told in words
    whenever the connection is lost, and `on_remark` whenever the gateway says that something in its record could not be
    read, so that an answer is not all there is.
    """

    def __init__(
        self,
        credentials: Credentials,
        address: str,
        server_name: str,
        *,
        on_trouble: Callable[[str], None] | None = None,
        on_remark: Callable[[str], None] | None = None,
    ) -> None:
        self._connector = Connector(credentials, address, server_name, on_trouble, on_remark)

    def submit(
        self,
        reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report],
        *,
        in_flight: int = 1024,
        held_back: int = HELD_BACK,
        on_resubmit: sending.OnResubmit | None = None,
    ) -> AsyncIterator[sending.Result]:
        """Pushes reports and gives a `Result` for each, in the order of the answers.

        A report is taken from `reports` when there is room: at most `in_flight` (1 or more) wait for their answer, and
        besides up to `held_back` (0 or more) for which the gateway has no room now, so that an alert or an all-clear
        behind them is taken and goes at once. Ends when all are answered. Warnings that the gateway cannot take now
        are not waited for by their all-clear, and are given back with `superseded_by` once that is accepted. An
        iterable that waits for its next report must be an async one, for a plain one would hold up everything else
        meanwhile. An error that `reports` raises, or a TypeError for what is no `Report`, is raised here once
        everything taken before it is answered. Raises ClientError when the gateway refuses the caller, not the report,
        or answers for another one.

        `on_resubmit`, if given, is told what the gateway has lost, whenever a stream opens while that is so, and when
        it arises: push all of that again, as it was; what the gateway has is answered as a duplicate.
        """
        return sending.submit(self._connector, reports, in_flight, on_resubmit, held_back)

    def subscribe(
        self,
        traffic_classes: Iterable[report_pb2.TrafficClass.ValueType],
        *,
        cursor: str = "",
        kinds: Iterable[c2_pb2.ReportKind.ValueType] = (),
        originator_nodes: Iterable[str] = (),
        minimum_precedence: report_pb2.Precedence.ValueType = report_pb2.PRECEDENCE_UNSPECIFIED,
        include_own: bool = False,
        follow: bool = True,
    ) -> AsyncIterator[receiving.Item]:
        """Gives everything wanted after `cursor`, exactly once each, then what comes, without end.

        With `follow` False it ends once everything up to the moment of the call has been given. Keep an item's `cursor`
        when it is dealt with. Raises ClientError when the gateway refuses the subscription.
        """
        request = c2_pb2.SubscribeRequest(
            cursor=cursor,
            traffic_classes=traffic_classes,
            kinds=kinds,
            originator_nodes=originator_nodes,
            minimum_precedence=minimum_precedence,
            include_own=include_own,
        )
        return receiving.subscribe(self._connector, request, follow)

    async def status(self) -> c2_pb2.GetStatusResponse:
        """The state of the gateway. Raises ClientError when it refuses, ConnectionError when it cannot be reached."""
        try:
            async with self._connector.dial() as channel:
                stub = c2_pb2_grpc.C2ServiceStub(channel)
                response: c2_pb2.GetStatusResponse = await stub.GetStatus(c2_pb2.GetStatusRequest(), timeout=5)
                return response
        except grpc.aio.AioRpcError as error:
            self._connector.require_transient(error)
            raise ConnectionError(f"{self._connector.address}: {error.details()}") from error

    def recover(
        self, keys: Iterable[officer_pb2.RecoveryKey], *, finished: bool = False
    ) -> AsyncIterator[officer_pb2.RecoverResponse]:
        """Has records rebuilt from what partners gave back, for officers; `finished`: nothing is asked for any more.

        Raises ClientError when the gateway refuses the caller or a key, and ConnectionError when it cannot be reached.
        """
        request = officer_pb2.RecoverRequest(keys=keys, finished=finished)
        return auditing.stream(self._connector, lambda stub: stub.Recover(request))

    async def policy_status(self) -> officer_pb2.GetPolicyStatusResponse:
        """What officers have put in force, for officers. Raises ClientError when the gateway refuses the caller,
        ConnectionError when it cannot be reached.
        """
        try:
            async with self._connector.dial() as channel:
                stub = officer_pb2_grpc.OfficerServiceStub(channel)
                request = officer_pb2.GetPolicyStatusRequest()
                response: officer_pb2.GetPolicyStatusResponse = await stub.GetPolicyStatus(request, timeout=5)
                return response
        except grpc.aio.AioRpcError as error:
            self._connector.require_transient(error)
            raise ConnectionError(f"{self._connector.address}: {error.details()}") from error

    async def enact(
        self, order: officer_pb2.SignedOrder, files: Mapping[str, bytes] | None = None, *, timeout_s: float = 600
    ) -> officer_pb2.EnactResponse:
        """Brings an order of the officers; `files` are those of the bundle that it activates, by path.

        The answer holds every reason for a refusal, or none: then it is in force. A gateway that proves a policy may
        take minutes. Raises ClientError when the gateway refuses the caller; ConnectionError when it cannot be reached,
        and then only `policy_status` tells whether the order is in force.
        """
        request = officer_pb2.EnactRequest(
            order=order,
            files=[officer_pb2.BundleFile(path=path, content=content) for path, content in (files or {}).items()],
        )
        try:
            async with self._connector.dial() as channel:
                stub = officer_pb2_grpc.OfficerServiceStub(channel)
                response: officer_pb2.EnactResponse = await stub.Enact(request, timeout=timeout_s)
                return response
        except grpc.aio.AioRpcError as error:
            self._connector.require_transient(error)
            raise ConnectionError(f"{self._connector.address}: {error.details()}") from error

    # --- the record of decisions

    def search_decisions(
        self,
        wanted: officer_pb2.DecisionFilter | None = None,
        *,
        page_size: int = 100,
        oldest_first: bool = False,
    ) -> AsyncIterator[officer_pb2.RecordedEntry]:
        """The records that `wanted` wants (None: every decision), for officers; each holds those decisions alone.

        They are fetched in pages of `page_size` (1 to 1000) as they are taken, and each page is recorded as a look.
        Raises ClientError when the gateway refuses the caller or the filter, and ConnectionError when it
        cannot be reached.
        """
        request = officer_pb2.SearchDecisionsRequest(filter=wanted, page_size=page_size, oldest_first=oldest_first)
        return auditing.search(self._connector, request)

    async def export_decisions(
        self, wanted: officer_pb2.DecisionFilter | None = None
    ) -> AsyncIterator[officer_pb2.RecordedEntry]:
        """All records up to now that `wanted` wants, the oldest first, for officers.

        Raises ClientError when the gateway refuses the caller or the filter. Raises ConnectionError when it cannot be
        reached or the connection is lost: what was given until then is not all.
        """
        request = officer_pb2.ExportDecisionsRequest(filter=wanted)
        async for part in auditing.stream(self._connector, lambda stub: stub.ExportDecisions(request)):
            self._connector.remark(part.remarks)
            for entry in part.entries:
                yield entry

    async def explain(
        self, report_id: str, *, originator_node: str = "", partner: str = ""
    ) -> officer_pb2.ExplainDecisionResponse:
        """Everything that is on record about one report, for officers: what was decided for `partner` (or for all), by
        which rule in whose policy, what went and what became of it.

        `originator_node` is who originated it; empty: this node. Raises ClientError when the gateway refuses the caller
        or has no such report on record, and ConnectionError when it cannot be reached.
        """
        request = officer_pb2.ExplainDecisionRequest(
            report_id=report_id, originator_node=originator_node, partner=partner
        )
        return await auditing.ask(
            self._connector, lambda stub: stub.ExplainDecision(request, timeout=auditing.CALL_TIMEOUT_S)
        )

    async def proof(
        self, report_id: str, partner: str, *, originator_node: str = "", without_content: bool = False
    ) -> officer_pb2.GetProofResponse:
        """The proof of one release to `partner` (or of what `partner` sent), for officers: a C2SP tlog-proof file, and
        remarks on it.

        Raises ClientError when the gateway refuses the caller or cannot prove it, and says why; ConnectionError when
        it cannot be reached.
        """
        request = officer_pb2.GetProofRequest(
            report_id=report_id, originator_node=originator_node, partner=partner, without_content=without_content
        )
        answer = await auditing.ask(
            self._connector, lambda stub: stub.GetProof(request, timeout=auditing.CALL_TIMEOUT_S)
        )
        return answer

    def reconcile(self, partner: str) -> AsyncIterator[officer_pb2.ReconcileResponse]:
        """How each ledger between this node and `partner` compares with what the partner holds now, for officers.

        Raises ClientError when the gateway refuses the caller or knows no such partner, and ConnectionError when it, or
        the partner, cannot be reached.
        """
        request = officer_pb2.ReconcileRequest(partner=partner)
        return auditing.stream(self._connector, lambda stub: stub.Reconcile(request))

    async def key_status(self) -> officer_pb2.GetKeyStatusResponse:
        """The keys of the gateway's node, and where each stands in its rotation, for officers.

        Raises ClientError when the gateway refuses the caller, and ConnectionError when it cannot be reached.
        """
        request = officer_pb2.GetKeyStatusRequest()
        return await auditing.ask(
            self._connector, lambda stub: stub.GetKeyStatus(request, timeout=auditing.CALL_TIMEOUT_S)
        )

    def watch_decisions(
        self,
        from_index: int = 0,
        *,
        generation: int = 0,
        wanted: officer_pb2.DecisionFilter | None = None,
        live_only: bool = False,
    ) -> AsyncIterator[officer_pb2.RecordedEntry]:
        """What the decisions ledger records, for officers: from an index of its `generation` (0: the first) on, then
        live, without end, and on into generations that follow.

        `wanted` narrows it (None: decisions and events, all of them). With `live_only` it begins with what is recorded
        from now on. A broken connection is mended, and goes on after the last record. Raises ClientError when the
        gateway refuses the caller, the filter or the place.
        """
        request = officer_pb2.WatchDecisionsRequest(
            from_index=from_index, generation=generation, filter=wanted, live_only=live_only
        )
        return auditing.watch(self._connector, request)
