"""The gateway's certificate and the authorities beside it, against the profile of docs/protocol.md."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.doctor.finding import Finding, expiring, or_ok, problem, refused, unknown
from gateway.identity.errors import IdentityError, Refusal, SpiffeIdError
from gateway.identity.locked import KeyLock
from gateway.identity.national import national_authorities
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY
from gateway.identity.peer import Authorities, verify_peer
from gateway.identity.private_files import read_private
from gateway.identity.spiffe import Role, SpiffeId, dns_name

CHECK: Final = "certificate"

_ISSUE: Final = "Issue one with `signalfire pki gateway`."
_ANEW: Final = "Issue it anew with `signalfire pki gateway`, which gives it what it needs."


def own_certificate(keys: Path, node: str, lock: KeyLock, believed: Authorities | None, now: datetime) -> list[Finding]:
    """The gateway's own certificate. `believed`: the authorities of the node's own trust bundle; None where there is
    none to check the chain with.
    """
    path = keys / GATEWAY_CERTIFICATE
    try:
        raw = read_private(path)
    except IdentityError as error:
        return [refused(CHECK, error)]
    try:
        certificates = x509.load_pem_x509_certificates(raw)
    except ValueError as error:
        return [problem(CHECK, str(path), f"it holds no readable certificate: {error}", _ISSUE)]
    if len(certificates) != 1:
        return [problem(CHECK, str(path), f"it holds {len(certificates)} certificates, not one", _ISSUE)]
    leaf = certificates[0]
    found = [
        *_identity(path, leaf, node),
        *_extensions(path, leaf),
        *_validity(path, leaf, now),
        *_pair(keys, leaf, lock),
        *_chain(path, raw, leaf, believed, now),
    ]
    return or_ok(found, CHECK, str(path), f"valid until {leaf.not_valid_after_utc.isoformat()}, and the key is its own")


def _identity(path: Path, leaf: x509.Certificate, node: str) -> list[Finding]:
    try:
        own = SpiffeId.from_certificate(leaf)
    except SpiffeIdError as error:
        return [problem(CHECK, str(path), error.what, _ANEW)]
    if (own.node, own.role) != (node, Role.GATEWAY):
        what = f"it is the certificate of {own}, and the configuration is that of a gateway of {node}"
        return [problem(CHECK, str(path), what, f"{_ISSUE} Or correct `node`.")]
    return (
        []
        if dns_name(own) in _dns_names(leaf)
        else [problem(CHECK, str(path), f"it lacks the DNS name {dns_name(own)}, by which partners dial it", _ANEW)]
    )


def _dns_names(leaf: x509.Certificate) -> Sequence[str]:
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def _extensions(path: Path, leaf: x509.Certificate) -> list[Finding]:
    try:
        extensions = leaf.extensions
    except (ValueError, x509.DuplicateExtension) as error:
        return [problem(CHECK, str(path), f"its extensions cannot be read: {error}", _ANEW)]
    found = []
    usages = [each.value for each in extensions if isinstance(each.value, x509.ExtendedKeyUsage)]
    for oid, name, why in (
        (ExtendedKeyUsageOID.CLIENT_AUTH, "clientAuth", "partners refuse it where this gateway dials"),
        (ExtendedKeyUsageOID.SERVER_AUTH, "serverAuth", "clients and partners refuse it where they dial"),
    ):
        if not any(oid in usage for usage in usages):
            found.append(problem(CHECK, str(path), f"its extended key usage lacks {name}: {why}", _ANEW))
    key_usages = [each.value for each in extensions if isinstance(each.value, x509.KeyUsage)]
    if any(not usage.digital_signature for usage in key_usages):
        found.append(problem(CHECK, str(path), "its key usage lacks digitalSignature, which TLS 1.3 needs", _ANEW))
    if any(isinstance(each.value, x509.BasicConstraints) and each.value.ca for each in extensions):
        found.append(problem(CHECK, str(path), "it is an authority's certificate, which is nobody's own", _ISSUE))
    return found


def _validity(path: Path, leaf: x509.Certificate, now: datetime) -> list[Finding]:
    if now < leaf.not_valid_before_utc:
        what = (
            f"the certificate is valid only from {leaf.not_valid_before_utc.isoformat()}, and it is {now.isoformat()}"
        )
        return [problem(CHECK, str(path), what, "Check the clock of this machine; if it is right, wait.")]
    renew = "Renew it with `signalfire pki gateway --keys-from`; it is taken up without a restart."
    return expiring(CHECK, str(path), "the certificate", leaf.not_valid_after_utc, now, renew)


def _pair(keys: Path, leaf: x509.Certificate, lock: KeyLock) -> list[Finding]:
    path = keys / GATEWAY_KEY
    try:
        lock.check()
    except IdentityError:
        # Said by the check of the keys.
        return []
    try:
        key = lock.load_pem_key(GATEWAY_KEY, read_private(path))
    except IdentityError as error:
        return [refused(CHECK, error)]
    if key.public_key() == leaf.public_key():
        return []
    what = f"it is not the private key of the certificate in {GATEWAY_CERTIFICATE}"
    return [problem(CHECK, str(path), what, "Install key and certificate of the same issue.")]


def _chain(
    path: Path, raw: bytes, leaf: x509.Certificate, believed: Authorities | None, now: datetime
) -> list[Finding]:
    if believed is None:
        return [
            unknown(
                CHECK,
                str(path),
                "whether partners believe its issuer is not known: there is no own trust bundle to check it with",
                "Name it in the configuration: trust: {root: ..., bundle: ...}.",
            )
        ]
    # Time is judged apart, in words of its own; here an expired one would hide what else is wrong.
    within = min(max(now, leaf.not_valid_before_utc), leaf.not_valid_after_utc)
    try:
        verify_peer(raw, believed, allowed_roles=(Role.GATEWAY,), now=within)
    except IdentityError as error:
        timely = leaf.not_valid_before_utc <= now <= leaf.not_valid_after_utc
        if error.code in (Refusal.EXPIRED, Refusal.NOT_YET_VALID) and not timely:
            return []
        return [problem(CHECK, str(path), f"partners would refuse it: {error.what}", error.mend)]
    return []


def authorities(keys: Path, node: str, now: datetime) -> list[Finding]:
    """The nation's authorities of its C2 systems and officers, which lie beside the gateway's keys."""
    try:
        held = national_authorities(keys, node)
    except IdentityError as error:
        return [refused("authority", error)]
    found: list[Finding] = []
    for (_, role), certificates in sorted(held.items(), key=str):
        where = str(keys / f"{role.value}-ca.crt.pem")
        latest = max(each.not_valid_after_utc for each in certificates)
        found += or_ok(
            expiring(
                "authority", where, f"the {role.value} authority", latest, now, "Renew it, and issue its leaves anew."
            ),
            "authority",
            where,
            f"valid until {latest.isoformat()}",
        )
    return found
