"""The listeners of a gateway: one at home, for C2 systems and officers, and one abroad, for partners."""

from __future__ import annotations

import asyncio

import grpc
from signalfire.v1 import exchange_pb2_grpc, officer_pb2_grpc

from gateway.c2.server import C2Servicer
from gateway.c2.unreadable import RefuseUnreadable
from gateway.exchange.server import ExchangeServicer
from gateway.identity.tls import roots_from_files, server_credentials
from gateway.node.errors import StartError
from gateway.node.parts import Parts
from gateway.officer.server import OfficerServicer

STOP_GRACE_S = 1.0
"""Seconds that the open calls of C2 systems and officers are given to end when the gateway stops."""

_CONNECTIONS = "grpc.max_allowed_incoming_connections"

_SERVER_OPTIONS = [
    # Reports are refused for their size one by one, with a reason; this only bounds what a call can make gRPC hold.
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.so_reuseport", 0),
    # Both ends ping, so that an open connection whose other end is gone is noticed.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.http2.max_ping_strikes", 0),
    # Compression would let a few bytes become many before anything is checked.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # What a connection may hold open before any of it is believed, and how long it may take over TLS or do nothing.
    ("grpc.max_concurrent_streams", 128),
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 300_000),
]


class Listeners:
    """Those of one gateway. `close` may be called however far `open` came."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._servers: list[grpc.aio.Server] = []
        """Those that are open: home first."""

    async def open(self, c2: C2Servicer, officer: OfficerServicer, exchange: ExchangeServicer, tunnelled: str) -> None:
        """Opens home, then abroad, and that also at `tunnelled`: what comes through a tunnel is served as if it came
        from outside. Raises StartError for an address that cannot be had, IdentityError for files of TLS.
        """
        config = self._parts.config
        home = grpc.aio.server(
            interceptors=[RefuseUnreadable()],
            options=[*_SERVER_OPTIONS, (_CONNECTIONS, config.limits.c2.connections)],
        )
        home.add_generic_rpc_handlers((c2.handler(),))
        officer_pb2_grpc.add_OfficerServiceServicer_to_server(officer, home)
        abroad = grpc.aio.server(options=[*_SERVER_OPTIONS, (_CONNECTIONS, config.limits.exchange.connections)])
        exchange_pb2_grpc.add_ExchangeServiceServicer_to_server(exchange, abroad)
        pair = self._parts.identity.pair
        for server, address, roots in (
            (
                home,
                config.national.listen,
                roots_from_files(config.keys / "c2-ca.crt.pem", config.keys / "officer-ca.crt.pem"),
            ),
            (abroad, config.exchange.listen, self._roots_abroad),
        ):
            try:
                server.add_secure_port(address, server_credentials(pair, roots))
            except RuntimeError as error:
                raise StartError(
                    f"cannot listen at {address}: {error}. Choose another address, or stop what is there."
                ) from error
            if server is abroad:
                server.add_secure_port(tunnelled, server_credentials(pair, roots))
            await server.start()
            self._servers.append(server)

    async def close(self) -> None:
        """Ends calls and listeners."""
        # A C2 system's reports in flight get their answers. A partner's streams never end by themselves, and a partner
        # resumes from what it has: they end at once.
        await asyncio.gather(
            *(server.stop(grace) for server, grace in zip(self._servers, (STOP_GRACE_S, None), strict=False))
        )

    def _roots_abroad(self) -> bytes:
        """The authorities of the partners whose bundles are in force.

        Where there is none, this gateway's own certificate, which is no authority: the listener opens, and admits
        nobody until a bundle comes.
        """
        return self._parts.partners.roots() or self._parts.identity.pair.certificate.read_bytes()
