"""Says in plain words what a certificate, trust bundle or key file holds. Pure, and never shows a secret."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.identity.errors import SpiffeIdError
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
        f"  log keys     {len(bundle.log_keys)}, the newest {bundle.log_keys[0].hex()}",
        f"  receipt keys {len(bundle.receipt_keys)}, the newest {bundle.receipt_keys[0].hex()}",
        f"  pq keys      {len(bundle.pq_keys)} (ML-DSA-44)",
        f"  sealing keys {len(bundle.sealing_keys)} (ML-KEM-768 with X25519)",
    ]
    lines.extend(f"  endpoint     {one.address} as {one.server_name}" for one in bundle.endpoints)
    for authorities in bundle.authorities().values():
        for authority in authorities:
            lines.extend(f"  {line}" for line in certificate_lines(authority, now=now))
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
