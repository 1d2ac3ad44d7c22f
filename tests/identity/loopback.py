"""A real gRPC listener on the loopback that says who called, and a raw TLS client of chosen version beside it."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import grpc
import grpc.aio

from gateway.identity.authority import Leaf
from gateway.identity.errors import IdentityError
from gateway.identity.peer import Authorities
from gateway.identity.private_files import write_private
from gateway.identity.spiffe import Role
from gateway.identity.tls import (
    KeyPairFiles,
    RootsSource,
    channel_credentials,
    channel_options,
    peer_from_context,
    server_credentials,
)

SERVICE, METHOD = "signalfire.test.Who", "AmI"
TIMEOUT = 5.0
"""Seconds that any one step on the loopback may take before the test fails."""

# The opening of HTTP/2 (RFC 9113 §3.4) with empty settings: a server that accepts the connection answers it.
_HTTP2_OPENING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"


@dataclass(frozen=True, slots=True)
class Handshake:
    """What a raw client saw: the version and server certificate, or why there was no connection."""

    version: str | None
    server_certificate: bytes
    answered: bool
    refused: str


def save_leaf(leaf: Leaf, directory: Path) -> KeyPairFiles:
    """Puts a leaf where a gateway's would lie."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    pair = KeyPairFiles.of_gateway(directory)
    write_private(pair.key, leaf.key_pem)
    write_private(pair.certificate, leaf.certificate_pem)
    return pair


@asynccontextmanager
async def listening(
    pair: KeyPairFiles, roots: RootsSource, authorities: Authorities, *, roles: Collection[Role], now: datetime
) -> AsyncIterator[int]:
    """Serves on a free port, which it yields; stopped on the way out."""

    async def who(_request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        try:
            peer = peer_from_context(context.auth_context(), authorities, allowed_roles=roles, now=now)
        except IdentityError as refused:
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, refused.code.value)
        return str(peer).encode()

    server = grpc.aio.server()
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {METHOD: grpc.unary_unary_rpc_method_handler(who)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_secure_port("127.0.0.1:0", server_credentials(pair, roots))
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


async def call(port: int, pair: KeyPairFiles, roots: RootsSource, server_name: str) -> str:
    """Asks the listener who is calling. Raises `grpc.aio.AioRpcError`."""
    async with grpc.aio.secure_channel(
        f"127.0.0.1:{port}", channel_credentials(pair, roots), options=channel_options(server_name)
    ) as channel:
        ask = channel.unary_unary(f"/{SERVICE}/{METHOD}", request_serializer=bytes, response_deserializer=bytes)
        answer = await ask(b"", timeout=TIMEOUT)
        return answer.decode()


async def handshake(
    port: int, version: ssl.TLSVersion, server_roots: bytes, server_name: str, pair: KeyPairFiles | None
) -> Handshake:
    """Connects with exactly this TLS version, with `pair` or with no certificate, and waits for the server's word."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=server_roots.decode())
    context.set_alpn_protocols(["h2"])
    context.minimum_version = context.maximum_version = version
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    return await asyncio.to_thread(_dial, port, context, server_name)


def _dial(port: int, context: ssl.SSLContext, server_name: str) -> Handshake:
    version, certificate, word = None, b"", b""
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as plain,
            context.wrap_socket(plain, server_hostname=server_name) as secure,
        ):
            version, certificate = secure.version(), secure.getpeercert(binary_form=True) or b""
            # In TLS 1.3 the client is done before the server has seen its certificate: only an answer shows that
            # the server went along.
            secure.sendall(_HTTP2_OPENING)
            word = secure.recv(1)
    except (ssl.SSLError, ConnectionError) as refused:
        return Handshake(version, certificate, False, str(refused))
    return Handshake(version, certificate, bool(word), "" if word else "closed")


async def serve_tls12_once(pair: KeyPairFiles) -> tuple[int, asyncio.Task[str]]:
    """A server of TLS 1.2 alone, for one connection: its port, and in time what the handshake came to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.certificate, pair.key)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(TIMEOUT)

    def accept() -> str:
        with listener:
            plain, _ = listener.accept()
            with plain:
                plain.settimeout(TIMEOUT)
                try:
                    with context.wrap_socket(plain, server_side=True) as secure:
                        return secure.version() or "none"
                except (ssl.SSLError, ConnectionError) as refused:
                    return f"refused: {refused}"

    return listener.getsockname()[1], asyncio.create_task(asyncio.to_thread(accept))
