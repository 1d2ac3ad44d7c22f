"""A C2 service that speaks the contract over mutual TLS, and otherwise does what a test wants of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import grpc
from signalfire.v1 import c2_pb2, c2_pb2_grpc, report_pb2

from gateway.client import Client, Credentials
from gateway.identity import issuing, nation
from gateway.identity.spiffe import Role, SpiffeId, dns_name
from gateway.identity.tls import KeyPairFiles, roots_from_files, server_credentials

Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]
Reports: TypeAlias = AsyncIterator[report_pb2.Report]
"""The reports of a stream, one after another, in whichever requests they came."""
Answers: TypeAlias = AsyncIterator[c2_pb2.Answer | c2_pb2.Resubmit]
"""What is answered, each in a message of its own."""
Submitting: TypeAlias = Callable[["Steered", Reports, Context], Answers]
Subscribing: TypeAlias = Callable[[c2_pb2.SubscribeRequest, Context], AsyncIterator[Sequence[c2_pb2.Item]]]


@dataclass(slots=True)
class Steered(c2_pb2_grpc.C2ServiceServicer):
    """Each call takes the next behaviour; once they have run out, the last one again."""

    submitting: Sequence[Submitting] = ()
    subscribing: Sequence[Subscribing] = ()
    seen: list[str] = field(default_factory=list)
    """Identifiers of the reports, in the order in which they came, over all calls."""
    requests: list[int] = field(default_factory=list)
    """How many reports came with each request."""
    accepted: dict[str, int] = field(default_factory=dict)
    """Identifier to how often it was made durable, which must be once."""
    subscriptions: list[c2_pb2.SubscribeRequest] = field(default_factory=list)
    _submits: int = 0

    async def Submit(  # noqa: N802  # the name is the contract's
        self, requests: AsyncIterator[c2_pb2.SubmitRequest], context: Context
    ) -> AsyncIterator[c2_pb2.SubmitResponse]:
        behave = self.submitting[min(self._submits, len(self.submitting) - 1)]
        self._submits += 1
        async for said in behave(self, self._noted(requests), context):
            if isinstance(said, c2_pb2.Answer):
                yield c2_pb2.SubmitResponse(answers=[said])
            else:
                yield c2_pb2.SubmitResponse(resubmit=said)

    async def Subscribe(  # noqa: N802  # the name is the contract's
        self, request: c2_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[c2_pb2.SubscribeResponse]:
        behave = self.subscribing[min(len(self.subscriptions), len(self.subscribing) - 1)]
        self.subscriptions.append(request)
        async for items in behave(request, context):
            yield c2_pb2.SubscribeResponse(items=items)

    async def GetStatus(  # noqa: N802  # the name is the contract's
        self, request: c2_pb2.GetStatusRequest, context: Context
    ) -> c2_pb2.GetStatusResponse:
        return c2_pb2.GetStatusResponse(node="JPN", accepting=True)

    def take(self, position: int, report_id: str) -> c2_pb2.Answer:
        """Makes a report durable, as a gateway does: the second time it is a duplicate, and nothing is repeated."""
        answer = c2_pb2.Answer(position=position, report_id=report_id)
        answer.accepted.duplicate = report_id in self.accepted
        answer.accepted.accepted_time.FromDatetime(datetime(2026, 5, 1, tzinfo=UTC))
        if not answer.accepted.duplicate:
            self.accepted[report_id] = 1
        return answer

    async def _noted(self, requests: AsyncIterator[c2_pb2.SubmitRequest]) -> Reports:
        async for request in requests:
            self.requests.append(len(request.reports))
            for report in request.reports:
                self.seen.append(report.report_id)
                yield report


@dataclass(frozen=True, slots=True)
class Home:
    """A nation on disk: its gateway's keys, and those of one C2 system."""

    node: str
    keys: Path
    client: Path

    @property
    def server_name(self) -> str:
        """The name that its gateway proves."""
        return dns_name(SpiffeId.of(self.node, Role.GATEWAY, "a"))

    @asynccontextmanager
    async def serving(self, service: Steered, port: int = 0) -> AsyncIterator[str]:
        """Serves on the loopback; yields the address."""
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        c2_pb2_grpc.add_C2ServiceServicer_to_server(service, server)
        roots = roots_from_files(self.keys / "c2-ca.crt.pem")
        credentials = server_credentials(KeyPairFiles.of_gateway(self.keys), roots)
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(None)

    def dial(self, address: str, on_trouble: Callable[[str], None] = lambda _: None) -> Client:
        """A client of whatever is at `address`."""
        return Client(Credentials.from_directory(self.client), address, self.server_name, on_trouble=on_trouble)


def settle(directory: Path, node: str) -> Home:
    """Makes the nation."""
    now = datetime.now(UTC)
    pki, home = directory / "pki", Home(node, directory / "keys", directory / "c2")
    nation.create_nation(pki, node, now=now)
    issuing.issue_gateway(pki, "a", home.keys, now=now, address="127.0.0.1:1")
    issuing.issue_c2(pki, "sensors", home.client, now=now)
    return home
