"""Reaching one's own gateway: credentials, dialling, and which failures are worth another try."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from gateway.cancellation import being_cancelled
from gateway.client.errors import ClientError, CursorTooOld
from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options, roots_from_files

log = logging.getLogger(__name__)

_TRANSIENT: Final = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.UNKNOWN,
        # What gRPC itself reports where a connection breaks under a message that is just being written or read. The
        # contract gives it no meaning of its own.
        grpc.StatusCode.INTERNAL,
    }
)

_OPTIONS: Final = [
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # For so long gRPC tries one connection: three round trips, on a slow link or a busy machine as well.
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A gateway that is gone without a word is noticed within some seconds.
    ("grpc.keepalive_time_ms", 2000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.use_local_subchannel_pool", 1),
    # Compression would let a few bytes become many.
    ("grpc.compression_enabled_algorithms_bitset", 1),
]


PUSHBACK_KEY: Final = "grpc-retry-pushback-ms"
"""Trailing metadata by which a gateway says how long to wait before a call is tried again (gRFC A6)."""

LONGEST_PUSHBACK_S: Final = 30.0
"""Seconds that are waited at most because the gateway asks for it."""


def pushback_s(error: grpc.aio.AioRpcError) -> float | None:
    """How long the gateway asks to wait before the call is tried again, seconds; None where it does not, or for longer
    than anybody waits.
    """
    told = dict(error.trailing_metadata() or ()).get(PUSHBACK_KEY)
    if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED or not isinstance(told, str) or not told.isdecimal():
        return None
    return wait_s if (wait_s := int(told) / 1000) <= LONGEST_PUSHBACK_S else None


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


class Connector:
    """Dials one gateway. Every call has a connection of its own, and ends it.

    `address` is ``host:port``; `server_name` the name in the gateway's certificate; `on_trouble` is told in words
    whenever a connection is lost, and `on_remark` of what the gateway remarks on its answers.
    """

    def __init__(
        self,
        credentials: Credentials,
        address: str,
        server_name: str,
        on_trouble: Callable[[str], None] | None,
        on_remark: Callable[[str], None] | None = None,
    ) -> None:
        self._credentials = credentials
        self.address = address
        self._server_name = server_name
        self._on_trouble = on_trouble or log.warning
        self._on_remark = on_remark or log.warning

    @contextlib.asynccontextmanager
    async def dial(self) -> AsyncIterator[grpc.aio.Channel]:
        """A fresh connection, with the key and certificates as they are on disk now. Raises IdentityError."""
        roots = roots_from_files(self._credentials.gateway_authority)
        credentials = channel_credentials(self._credentials.pair, roots)
        options = [*channel_options(self._server_name), *_OPTIONS]
        channel = grpc.aio.secure_channel(self.address, credentials, options)
        try:
            yield channel
        finally:
            await channel.close()

    @contextlib.asynccontextmanager
    async def attempt(self) -> AsyncIterator[grpc.aio.Channel]:
        """A fresh connection whose loss is told, and then forgotten: the caller dials again.

        A call that outlived its certificate is ended with UNAUTHENTICATED. That too is a loss where another certificate
        lies on disk by now, which the next dial bears. Raises ClientError where dialling again changes nothing.
        """
        certificate = self._certificate()
        try:
            async with self.dial() as channel:
                yield channel
        except grpc.aio.AioRpcError as error:
            if being_cancelled():
                # gRPC may say that the call failed where it was this task that was asked to end, once.
                raise asyncio.CancelledError from error
            if error.code() is grpc.StatusCode.UNAUTHENTICATED and self._certificate() != certificate:
                self._on_trouble(f"{self.address}: {error.details()}: going on with the certificate that is there now")
            elif (wait_s := pushback_s(error)) is not None:
                self._on_trouble(f"{self.address}: {error.details()} (waiting {wait_s:.0f} s)")
                await asyncio.sleep(wait_s)
            else:
                self.lost(error)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            self._on_trouble(f"{self.address}: the call was ended")

    def _certificate(self) -> bytes:
        """The client's certificate as it is on disk now; nothing where it cannot be read, which `dial` explains."""
        try:
            return self._credentials.pair.certificate.read_bytes()
        except OSError:
            return b""

    def lost(self, error: grpc.aio.AioRpcError) -> None:
        """Takes note of a call that ended with an error. Raises ClientError where trying again changes nothing."""
        self.require_transient(error)
        self._on_trouble(f"{self.address}: {error.code().name}: {error.details()}")

    def remark(self, remarks: Iterable[str]) -> None:
        """Tells what the gateway says of its answer: that something in its record could not be read."""
        for remark in remarks:
            self._on_remark(f"{self.address}: {remark}")

    def require_transient(self, error: grpc.aio.AioRpcError) -> None:
        """Raises ClientError where trying again changes nothing."""
        if error.code() is grpc.StatusCode.OUT_OF_RANGE:
            raise CursorTooOld(error.details() or "") from error
        if error.code() not in _TRANSIENT:
            raise ClientError(f"{error.code().name}: {error.details()}") from error
        details = error.details() or ""
        if "CERTIFICATE_VERIFY_FAILED" in details:
            raise ClientError(
                f"{self.address}: the gateway there is not of the nation of these credentials"
                f" ({self._credentials.gateway_authority} does not vouch for it); check the address and the directory"
            ) from error
        if "Hostname Verification Check failed" in details:
            raise ClientError(
                f"{self.address}: the certificate of the gateway there is not for {self._server_name};"
                " give the name that it has"
            ) from error
