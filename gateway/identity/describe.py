"""Says in plain words what a certificate, trust bundle or key file holds. Pure, and never shows a secret."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from hashlib import sha256

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity.errors import SpiffeIdError
from gateway.identity.keyring import public_key_id
from gateway.identity.revocation import crl_pem, load_crls, overdue
from gateway.identity.spiffe import SpiffeId
from gateway.identity.trust_bundle import TrustBundle

_USAGES = {
    ExtendedKeyUsageOID.SERVER_AUTH: "answer as a server",
    ExtendedKeyUsageOID.CLIENT_AUTH: "call as a client",
}


def certificate_lines(certificate: x509.Certificate, *, now: datetime) -> list[str]:
    """What `certificate` says, one fact a line. Raises ValueError if its extensions cannot be read."""
    lines = ["Certificate of an authority" if _is_authority(certificate) else "Certificate of a peer"]
    if _is_authority(certificate):
        lines.append(f"  authority    {certificate.subject.rfc4514_string()}")
    else:
        try:
            lines.append(f"  identity     {SpiffeId.from_certificate(certificate)}")
        except SpiffeIdError as refused:
            lines.append(f"  identity     NONE THAT WE BELIEVE: {refused.what}")
        lines.append(f"  issued by    {certificate.issuer.rfc4514_string()}")
        lines.append(f"  other names  {', '.join(_other_names(certificate)) or 'none'}")
        lines.append(f"  may          {_may(certificate)}")
    lines.append(f"  valid from   {certificate.not_valid_before_utc.isoformat()}")
    lines.append(f"  valid until  {certificate.not_valid_after_utc.isoformat()} ({_in_force(certificate, now)})")
    lines.append(f"  serial       {certificate.serial_number:x}")
    lines.append(f"  SHA-256      {certificate.fingerprint(hashes.SHA256()).hex(':')}")
    return lines


def bundle_lines(bundle: TrustBundle, *, now: datetime) -> list[str]:
    """What a trust bundle, already opened and so believed, says."""
    left = bundle.expires - now
    lines = [
        f"Trust bundle of {bundle.node}",
        f"  sequence     {bundle.sequence}",
        f"  expires      {bundle.expires.isoformat()} (in {left.days} days)",
        f"  trust domain spiffe://{bundle.trust_domain}",
        f"  log keys     {_ids(bundle.log_keys)}; the newest is {bundle.log_keys[0].hex()}",
        f"  receipt keys {_ids(bundle.receipt_keys)}; the newest is {bundle.receipt_keys[0].hex()}",
        f"  pq keys      {_ids(bundle.pq_keys)} (ML-DSA-44)",
        "  sealing keys "
        + ", ".join(sha256(key.mlkem768 + key.x25519).hexdigest()[:32] for key in bundle.sealing_keys)
        + " (ML-KEM-768 with X25519)",
    ]
    lines.extend(
        f"  retired      {one.kind} key {public_key_id(one.key)}, signed until {one.until.isoformat()}"
        for one in bundle.retired
    )
    lines.extend(f"  endpoint     {one.address} as {one.server_name}" for one in bundle.endpoints)
    for authorities in bundle.authorities().values():
        for authority in authorities:
            lines.extend(f"  {line}" for line in certificate_lines(authority, now=now))
        for crl in authorities.crls:
            lines.extend(f"  {line}" for line in crl_lines(crl_pem(crl), now=now))
    return lines


def _ids(keys: Sequence[bytes]) -> str:
    return ", ".join(map(public_key_id, keys))


def crl_lines(pem: bytes, *, now: datetime) -> list[str]:
    """What a file of revocation lists says. Raises ValueError if it cannot be read."""
    lines = []
    for crl in load_crls(pem):
        lines.append(f"Revocation list of {crl.issuer.rfc4514_string()}")
        lines.append(f"  signed       {crl.last_update_utc.isoformat()}")
        lines.append(f"  next by      {'not said' if crl.next_update_utc is None else crl.next_update_utc.isoformat()}")
        lines.extend(f"  revoked      {one.serial_number:x} at {one.revocation_date_utc.isoformat()}" for one in crl)
        remark = overdue(crl, now)
        if remark is not None:
            lines.append(f"  NOTE         {remark}")
    return lines


def in_force(certificate: x509.Certificate, now: datetime) -> bool:
    """Whether `now` is within the certificate's validity."""
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _in_force(certificate: x509.Certificate, now: datetime) -> str:
    if in_force(certificate, now):
        return f"in force, {(certificate.not_valid_after_utc - now).days} days left"
    return "EXPIRED" if now > certificate.not_valid_after_utc else "NOT YET VALID"


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _other_names(certificate: x509.Certificate) -> list[str]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [str(name.value) for name in names if not isinstance(name, x509.UniformResourceIdentifier)]


def _may(certificate: x509.Certificate) -> str:
    try:
        usages = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return "nothing: it has no extended key usage"
    return ", ".join(_USAGES.get(usage, usage.dotted_string) for usage in usages)
