"""Puts into a gateway's keys directory what its nation issued: certificate, authorities, revocation lists, bundle.

Everything is checked together before the first file is written; each file is then replaced whole, in an order in which
a crash between any two leaves a set that works:

1. authorities of C2 systems and officers, then their revocation lists (a list of an authority that is not there is
   refused, and the one before stays in use);
2. the certificate, whose key lies beside it under its own name (`node_keys.tls_key`): this one rename switches both;
3. the key becomes `gateway.key.pem`, and the file under its own name goes: the former key is gone;
4. the trust bundle, last: a running gateway acts on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509

from gateway.identity.errors import CredentialsError, Refusal, SecretFileError
from gateway.identity.issuers import crl_file, parse_issuers, read_issuers
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, tls_key, tls_key_file
from gateway.identity.peer import verify_peer
from gateway.identity.private_files import read_private, write_private
from gateway.identity.revocation import MAX_AUTHORITIES, MAX_LISTS, Issuers, set_back
from gateway.identity.spiffe import Role, SpiffeId, trust_domain_of
from gateway.identity.trust_bundle import TrustBundle

BUNDLE_FILE: Final = "bundle.note"
_NATIONAL: Final = (Role.C2, Role.OFFICER)
_BEGIN: Final = b"-----BEGIN"


def install(
    source: Path, keys: Path, lock: KeyLock, node: str, *, now: datetime, root: str = "", bundle: Path | None = None
) -> list[str]:
    """Puts the files of `source` in place in `keys`, and the trust bundle at `bundle`; says what, in words.

    `root` pins the nation's root; it and `bundle` are those of the configuration, and without them a bundle is left
    where it is. Raises IdentityError or OSError; then nothing was written that does not fit together.
    """
    found = {path.name: path.read_bytes() for path in sorted(source.iterdir()) if path.is_file()}
    nationals = {name for role in _NATIONAL for name in (f"{role.value}-ca.crt.pem", crl_file(role))}
    known = {GATEWAY_CERTIFICATE, BUNDLE_FILE, *nationals}
    if not known & set(found):
        raise _refused(Refusal.MISSING, "there is nothing to install", source, f"It would be one of {sorted(known)}.")
    opened = _bundle(found, source, root, bundle, node, now)
    for role in _NATIONAL:
        _check_national(found, source, keys, role)
    key = None if GATEWAY_CERTIFICATE not in found else _check_certificate(found, source, keys, lock, opened, now)
    said = []
    for role in _NATIONAL:
        for name in (f"{role.value}-ca.crt.pem", crl_file(role)):
            if name in found:
                write_private(keys / name, found[name])
                said.append(name)
    if key is not None:
        write_private(keys / GATEWAY_CERTIFICATE, found[GATEWAY_CERTIFICATE])
        further = keys / tls_key_file(x509.load_pem_x509_certificate(found[GATEWAY_CERTIFICATE]).public_key())
        if further.exists():
            write_private(keys / GATEWAY_KEY, further.read_bytes())
            further.unlink()
        said.append(f"{GATEWAY_CERTIFICATE} of {key}")
    if opened is not None and bundle is not None:
        write_private(bundle, found[BUNDLE_FILE], mode=0o644)
        said.append(f"trust bundle {opened.sequence}")
    return said


def _bundle(
    found: Mapping[str, bytes], source: Path, root: str, bundle: Path | None, node: str, now: datetime
) -> TrustBundle | None:
    if BUNDLE_FILE not in found or not root or bundle is None:
        return None
    at_least = 0
    if bundle.exists():
        at_least = TrustBundle.open(bundle.read_bytes(), root, now=datetime.min.replace(tzinfo=now.tzinfo)).sequence
    opened = TrustBundle.open(found[BUNDLE_FILE], root, now=now, at_least_sequence=at_least)
    if opened.node != node:
        raise _refused(
            Refusal.WRONG_NODE, f"the bundle is that of {opened.node}", source / BUNDLE_FILE, f"Give that of {node}."
        )
    return opened


def _check_national(found: Mapping[str, bytes], source: Path, keys: Path, role: Role) -> None:
    """Authorities and lists as they would lie afterwards, the new ones or those that stay."""
    authorities, lists = f"{role.value}-ca.crt.pem", crl_file(role)
    if authorities not in found and lists not in found:
        return
    after = parse_issuers(
        found.get(authorities) or read_private(keys / authorities, most=MAX_AUTHORITIES),
        str((source if authorities in found else keys) / authorities),
        found[lists]
        if lists in found
        else read_private(keys / lists, most=MAX_LISTS)
        if (keys / lists).exists()
        else None,
        str((source if lists in found else keys) / lists),
    )
    try:
        wrong = set_back(after, read_issuers(keys / authorities, keys / lists, former=True))
    except SecretFileError:
        # What lies there is damaged, and is what this mends.
        return
    if wrong is not None:
        raise _refused(Refusal.STALE_SEQUENCE, wrong, source / lists, "Install what the nation wrote last.")


def _check_certificate(
    found: Mapping[str, bytes], source: Path, keys: Path, lock: KeyLock, bundle: TrustBundle | None, now: datetime
) -> SpiffeId:
    pem, where = found[GATEWAY_CERTIFICATE], source / GATEWAY_CERTIFICATE
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        present = SpiffeId.from_certificate(x509.load_pem_x509_certificate(read_private(keys / GATEWAY_CERTIFICATE)))
    except ValueError as unreadable:
        raise _refused(
            Refusal.MALFORMED_CERTIFICATE, f"a certificate cannot be read: {unreadable}", where, "Issue it anew."
        ) from unreadable
    spiffe_id = SpiffeId.from_certificate(certificate)
    if spiffe_id != present:
        raise _refused(
            Refusal.WRONG_NODE, f"the certificate is that of {spiffe_id}", where, f"This gateway is {present}."
        )
    if tls_key(keys / GATEWAY_KEY, pem, lock).public_key() != certificate.public_key():
        raise _refused(
            Refusal.MISMATCHED_PAIR,
            "the keys directory does not hold the private key of this certificate",
            where,
            "Issue it on the request that this gateway made last (`signalfire keys rotate --only tls`).",
        )
    if bundle is not None:
        issuers: Issuers = bundle.issuers()
        authorities = {(trust_domain_of(spiffe_id.node), Role.GATEWAY): issuers}
        verify_peer(pem, authorities, allowed_roles=[Role.GATEWAY], now=now)
    return spiffe_id


def _refused(code: Refusal, what: str, where: Path, mend: str) -> CredentialsError:
    return CredentialsError(code, what, where=str(where), mend=mend)
