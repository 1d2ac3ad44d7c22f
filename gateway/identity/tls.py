"""gRPC over TLS 1.3 with certificates on both sides: credentials for listeners and dialers, and who a caller is.

A listener takes up a renewed certificate, and authorities that have come or gone, at the next connection, without a
restart. What cannot be used (a half-written file, a key of another certificate) never replaces what can: it is logged
as an error and the previous set stays in use.

A connection outlives the authority or certificate that opened it, so `peer_from_context` judges anew for each call.
"""

from __future__ import annotations

# gRPC reads its settings when it is first imported, so this import must come before that of grpc.
from gateway.identity import tls13

# isort: split
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, TypeAlias, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from gateway.identity.errors import CredentialsError, IdentityError, PeerError, Refusal
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, tls_key
from gateway.identity.peer import Authorities, verify_peer
from gateway.identity.spiffe import Role, SpiffeId

RootsSource: TypeAlias = Callable[[], bytes]
"""Gives the authorities believed at this moment, PEM, one after another. May raise `OSError` or `IdentityError`."""

REQUIRED_TLS_VERSION: Final = b"TLSv1.3"
_SECURE_LEVEL: Final = b"TSI_PRIVACY_AND_INTEGRITY"

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Kept:
    """Key and certificate that were read last, and why they cannot be read any more."""

    pair: tuple[bytes, bytes] | None = field(default=None, repr=False)
    problem: str = ""


@dataclass(frozen=True, slots=True)
class KeyPairFiles:
    """Where the private key (PKCS #8 PEM, private to its owner) and the certificate (PEM) of one end lie.

    `lock` opens the key where the directory is locked; it is decrypted in memory alone. What was read last is kept, for
    dials while the files cannot be used.
    """

    key: Path
    certificate: Path
    lock: KeyLock | None = field(default=None, compare=False)
    kept: _Kept = field(default_factory=lambda: _Kept(), compare=False, repr=False)

    @classmethod
    def of_gateway(cls, directory: Path, lock: KeyLock | None = None) -> KeyPairFiles:
        """Those of a gateway's secrets directory (`node_keys`)."""
        return cls(directory / GATEWAY_KEY, directory / GATEWAY_CERTIFICATE, lock)


@dataclass(frozen=True, slots=True)
class _Material:
    """A key and certificate that belong together, and at least one authority. All PEM."""

    key: bytes = field(repr=False)
    certificate: bytes
    roots: bytes


def roots_from_files(*paths: Path) -> RootsSource:
    """The authorities in these PEM files, read anew each time."""
    return lambda: b"".join(path.read_bytes().rstrip() + b"\n" for path in paths)


def server_credentials(pair: KeyPairFiles, roots: RootsSource) -> grpc.ServerCredentials:
    """Credentials of a listener that asks every client for a certificate, and follows changes of the files.

    `roots` gives every authority whose clients may connect; who they then are is for `peer_from_context`. Raises
    `CredentialsError` or another `IdentityError` if what is there now cannot be used.
    """
    _require_tls13()
    reloader = _Reloader(pair, roots)
    # The stub leaves out that None means "no change", which grpc's own documentation states.
    fetch = cast("Callable[[], grpc.ServerCertificateConfiguration]", reloader.changed)
    return grpc.dynamic_ssl_server_credentials(
        _configuration(reloader.current), fetch, require_client_authentication=True
    )


def channel_credentials(pair: KeyPairFiles, roots: RootsSource) -> grpc.ChannelCredentials:
    """Credentials for one dial, from the files as they are now; call it again for each dial. Where key and certificate
    cannot be used, and could before, those of before go on.

    `roots` gives the authorities of the partner that is dialled, and of nobody else. Raises `CredentialsError` or
    another `IdentityError`.
    """
    _require_tls13()
    try:
        key_and_certificate = _read_pair(pair)
        pair.kept.problem = ""
    except (IdentityError, OSError) as refused:
        if pair.kept.pair is None:
            raise
        if str(refused) != pair.kept.problem:
            pair.kept.problem = str(refused)
            _log.error("TLS files cannot be used; dials go on with the previous ones: %s", refused)
        key_and_certificate = pair.kept.pair
    material = _with_roots(key_and_certificate, roots)
    return grpc.ssl_channel_credentials(
        root_certificates=material.roots,
        private_key=material.key,
        certificate_chain=material.certificate,
    )


def channel_options(server_name: str) -> list[tuple[str, str]]:
    """Channel options with which the server must prove `server_name` (`spiffe.dns_name`), whatever the address."""
    return [("grpc.ssl_target_name_override", server_name)]


def peer_from_context(
    auth_context: Mapping[str, Iterable[bytes]],
    authorities: Authorities,
    *,
    allowed_roles: Collection[Role],
    now: datetime,
) -> SpiffeId:
    """Who makes this call. `auth_context` is that of grpc's `ServicerContext.auth_context()`.

    Rules, in order: the transport is private and authenticated; it is TLS 1.3, and what does not say so is refused; it
    has one peer certificate, which `verify_peer` believes; where grpc names a SPIFFE ID itself, it is the same.
    Raises `PeerError` or `SpiffeIdError`.
    """
    level = _only(auth_context, "security_level")
    if level != _SECURE_LEVEL:
        raise _insecure(f"the connection is not private and authenticated ({_shown(level)})")
    version = _only(auth_context, "ssl_tls_version")
    if version != REQUIRED_TLS_VERSION:
        raise _insecure(f"the connection's TLS version is {_shown(version)}, and only TLS 1.3 is served")
    leaf = _only(auth_context, "x509_pem_cert")
    if leaf is None:
        raise _insecure("the connection has no client certificate")
    spiffe_id = verify_peer(leaf, authorities, allowed_roles=allowed_roles, now=now)
    if "peer_spiffe_id" in auth_context:
        named = _only(auth_context, "peer_spiffe_id")
        if named != str(spiffe_id).encode("ascii"):
            raise _insecure(f"the transport names the peer {_shown(named)}, its certificate {spiffe_id}")
    return spiffe_id


class _Reloader:
    """Reads the files for each new connection and says what changed. grpc calls it from threads of its own."""

    def __init__(self, pair: KeyPairFiles, roots: RootsSource) -> None:
        self._pair = pair
        self._roots = roots
        self._lock = threading.Lock()
        self._last_failure: str | None = None
        self.current = _read(pair, roots)

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The new configuration, or None if nothing changed or what is there cannot be used."""
        with self._lock:
            try:
                found = _read(self._pair, self._roots)
            except (IdentityError, OSError) as refused:
                # Said once for each way of failing, for it is asked at every connection.
                if str(refused) != self._last_failure:
                    self._last_failure = str(refused)
                    _log.error("TLS files cannot be used; the previous ones stay in use: %s", refused)
                return None
            if self._last_failure is not None:
                self._last_failure = None
                _log.info("TLS files can be used again: %s", self._pair.certificate)
            if found == self.current:
                return None
            self.current = found
            _log.info("TLS files have changed and are in use from the next connection: %s", self._pair.certificate)
            return _configuration(found)


def _configuration(material: _Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], root_certificates=material.roots
    )


def _read(pair: KeyPairFiles, roots: RootsSource) -> _Material:
    return _with_roots(_read_pair(pair), roots)


def _with_roots(key_and_certificate: tuple[bytes, bytes], roots: RootsSource) -> _Material:
    roots_pem = roots()
    _certificates(roots_pem, "authorities of peers")
    return _Material(*key_and_certificate, roots_pem)


def _read_pair(pair: KeyPairFiles) -> tuple[bytes, bytes]:
    """Key and certificate, PEM, which belong together."""
    try:
        certificate_pem = pair.certificate.read_bytes()
    except OSError as failed:
        raise CredentialsError(
            Refusal.MISSING,
            f"the certificate cannot be read: {failed.strerror}",
            where=str(pair.certificate),
            mend="Put it there, readable by the user that runs the gateway.",
        ) from failed
    certificates = _certificates(certificate_pem, str(pair.certificate))
    key = tls_key(pair.key, certificate_pem, pair.lock or KeyLock(pair.key.parent))
    key_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    if key.public_key() != certificates[0].public_key():
        raise CredentialsError(
            Refusal.MISMATCHED_PAIR,
            "the private key is not that of the certificate",
            where=f"{pair.key} and {pair.certificate}",
            mend="Install key and certificate of the same issue; replacing one after the other is fine, for the "
            "previous pair serves until both match.",
        )
    pair.kept.pair = key_pem, certificate_pem
    return key_pem, certificate_pem


def _certificates(pem: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(pem)
    except ValueError as unreadable:
        raise _unusable(f"there is no readable PEM certificate: {unreadable}", where) from unreadable


def _require_tls13() -> None:
    if not tls13.in_force():
        raise CredentialsError(
            Refusal.INSECURE_TRANSPORT,
            "gRPC could negotiate TLS 1.2 in this process",
            where=f"environment variable {tls13.VARIABLE}",
            mend=f"Import gateway.identity.tls13 before grpc, or start with {tls13.VARIABLE}="
            f"{tls13.UNUSABLE_TLS12_SUITE}.",
        )


def _only(auth_context: Mapping[str, Iterable[bytes]], name: str) -> bytes | None:
    values = list(auth_context.get(name, ()))
    return values[0] if len(values) == 1 else None


def _shown(value: bytes | None) -> str:
    return "not known" if value is None else value.decode("ascii", "replace")


def _insecure(what: str) -> PeerError:
    return PeerError(
        Refusal.INSECURE_TRANSPORT,
        what,
        where="connection",
        mend="Connect with TLS 1.3 and a client certificate of your own.",
    )


def _unusable(what: str, where: Path | str) -> CredentialsError:
    return CredentialsError(
        Refusal.MALFORMED_FILE,
        what,
        where=str(where),
        mend="If it is being replaced just now, the next connection reads it again; otherwise restore it.",
    )
