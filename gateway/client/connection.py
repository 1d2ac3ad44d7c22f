"""The connection of a client: credentials, dialling, and when to dial again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc
from signalfire.v1 import c2_pb2, c2_pb2_grpc, officer_pb2, officer_pb2_grpc, report_pb2

from gateway.cancellation import being_cancelled
from gateway.client import receiving, sending
from gateway.client.pause import Pause
from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options, roots_from_files

log = logging.getLogger(__name__)

_TRANSIENT: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNKNOWN}
)

_OPTIONS: Final = [
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A gateway that is gone without a word is noticed within some seconds.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
]


class ClientError(Exception):
    """The gateway refused the call for a reason that trying again does not change. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Where a client's key and certificate lie, and the authority that vouches for its nation's gateways."""

    pair: KeyPairFiles
    gateway_authority: Path

    @classmethod
    def from_directory(cls, directory: str | Path) -> Credentials:
        """Those that `signalfire pki c2` or `signalfire pki officer` wrote into `directory`."""
        directory = Path(directory)
        role = "officer" if (directory / "officer.key.pem").exists() else "c2"
        return cls(
            KeyPairFiles(directory / f"{role}.key.pem", directory / f"{role}.crt.pem"), directory / "gateway-ca.crt.pem"
        )


class Client:
    """A client of one's own gateway. Every call has a connection of its own, and ends it.

    `address` is ``host:port``; `server_name` is the name in the gateway's certificate, for example
    ``a.gateway.jpn.signalfire.internal`` for ``spiffe://jpn/gateway/a``. `on_trouble`, if given, is told in words
    whenever
    the connection is lost, and when it is back.
    """

    def __init__(
        self,
        credentials: Credentials,
        address: str,
        server_name: str,
        *,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self._credentials = credentials
        self._address = address
        self._server_name = server_name
        self._on_trouble = on_trouble or log.warning

    def submit(
        self,
        reports: Iterable[report_pb2.Report] | AsyncIterable[report_pb2.Report],
        *,
        in_flight: int = 1024,
    ) -> AsyncIterator[sending.Result]:
        """Pushes reports and gives a `Result` for each, in the order of the answers.

        A report is taken from `reports` when there is room: at most `in_flight` wait for their answer. Ends when all
        are
        answered. Raises ClientError when the gateway refuses the caller, not the report.
        """
        return sending.submit(self, reports, in_flight)

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
        return receiving.subscribe(self, request, follow)

    async def status(self) -> c2_pb2.GetStatusResponse:
        """The state of the gateway. Raises ClientError when it refuses, ConnectionError when it cannot be reached."""
        try:
            async with self.dial() as channel:
                stub = c2_pb2_grpc.C2ServiceStub(channel)
                response: c2_pb2.GetStatusResponse = await stub.GetStatus(c2_pb2.GetStatusRequest(), timeout=5)
                return response
        except grpc.aio.AioRpcError as error:
            self.lost(error)
            raise ConnectionError(f"{self._address}: {error.details()}") from error

    async def watch_decisions(self, from_index: int = 0) -> AsyncIterator[officer_pb2.WatchDecisionsResponse]:
        """The decisions of the gateway's node, for officers: from an index of its decisions ledger, then live."""
        pause = Pause()
        while True:
            async with self.attempt() as channel:
                request = officer_pb2.WatchDecisionsRequest(from_index=from_index)
                async for response in officer_pb2_grpc.OfficerServiceStub(channel).WatchDecisions(request):
                    from_index = response.index + 1
                    pause.reset()
                    yield response
            await pause.wait()

    # --- for sending and receiving

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[grpc.aio.Channel]:
        """A fresh connection, with the key and certificates as they are on disk now. Raises IdentityError."""
        roots = roots_from_files(self._credentials.gateway_authority)
        credentials = channel_credentials(self._credentials.pair, roots)
        options = [*channel_options(self._server_name), *_OPTIONS]
        channel = grpc.aio.secure_channel(self._address, credentials, options)
        try:
            yield channel
        finally:
            await channel.close()

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[grpc.aio.Channel]:
        """A fresh connection whose loss is told, and then forgotten: the caller dials again.

        Raises ClientError where dialling again changes nothing.
        """
        try:
            async with self.dial() as channel:
                yield channel
        except grpc.aio.AioRpcError as error:
            self.lost(error)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            self._on_trouble(f"{self._address}: the call was ended")

    def lost(self, error: grpc.aio.AioRpcError) -> None:
        """Takes note of a call that ended with an error. Raises ClientError where trying again changes nothing."""
        if error.code() not in _TRANSIENT:
            raise ClientError(f"{error.code().name}: {error.details()}") from error
        self._on_trouble(f"{self._address}: {error.code().name}: {error.details()}")
