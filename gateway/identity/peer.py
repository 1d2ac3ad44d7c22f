"""Which identity a certificate proves. Pure: certificates and a time in, an identity or a `PeerError` out.

TLS believes any authority of the listener for any name. This module does not. Rules, in order:

1. The input is one PEM certificate, which is not itself an authority (RFC 5280 §4.2.1.9).
2. It names exactly one SPIFFE ID (`spiffe`, rules 1 to 5).
3. The role of that ID is one that the caller allows.
4. It is signed by an authority held for *that* trust domain *and* role; every other authority is as good as none.
   So Korea's authority cannot mint a Japanese gateway, nor a gateway authority an officer.
5. The certificate and the authority are both within their validity (RFC 5280 §4.1.2.5, both ends included).
6. Its extended key usage is present and holds clientAuth (RFC 5280 §4.2.1.12).
7. The authority has not revoked it (`revocation`).
8. The whole path passes `cryptography`'s verifier with the Web PKI profile: basic constraints, path length, key usage,
   key and signature algorithms, critical extensions (RFC 5280 §6).

A long call is judged again and again. What these rules found is kept with all that they found it by: the certificate's
bytes, the very authorities and lists of its role, and the time until which none of these comes into force or expires.
Where one of them is another, they are applied anew. What is refused is not kept.
"""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateway.identity.errors import PeerError, Refusal
from gateway.identity.revocation import Issuers
from gateway.identity.spiffe import Role, SpiffeId

Authorities: TypeAlias = Mapping[tuple[str, Role], Issuers]
"""For each (trust domain in lower case, role): the authorities believed for it, and what they have revoked."""

KEPT: Final = 1024
"""Certificates of which it is remembered that they were believed: more than there are connections. Some megabytes."""

_WHERE: Final = "peer certificate"


class _Believed(NamedTuple):
    """What a certificate proves by these issuers, at every time from `since` on and before `until`."""

    spiffe_id: SpiffeId
    issuers: weakref.ref[Issuers]
    """Weak, for it may hold long lists that were replaced since."""
    since: datetime
    until: datetime


_believed: Final[dict[bytes, _Believed]] = {}
"""By the certificate's bytes."""


def verify_peer(
    leaf_pem: bytes,
    authorities: Authorities,
    *,
    allowed_roles: Collection[Role],
    now: datetime,
) -> SpiffeId:
    """The identity that the certificate `leaf_pem` proves at `now` (aware).

    `authorities` holds, for each (trust domain in lower case, role), the authorities believed for it. Raises
    `PeerError`, or `SpiffeIdError` if the certificate does not name exactly one well-formed ID.
    """
    known = _believed.get(leaf_pem)
    if (
        known is not None
        and (issuers := known.issuers()) is not None
        and issuers is authorities.get((known.spiffe_id.trust_domain, known.spiffe_id.role))
        and known.since <= now < known.until
        and known.spiffe_id.role in allowed_roles
    ):
        return known.spiffe_id
    leaf = _one_certificate(leaf_pem)
    _refuse_authority(leaf)
    spiffe_id = SpiffeId.from_certificate(leaf)
    if spiffe_id.role not in allowed_roles:
        allowed = ", ".join(sorted(role.value for role in allowed_roles)) or "none"
        raise PeerError(
            Refusal.WRONG_ROLE,
            f"{spiffe_id} has the role {spiffe_id.role.value}, which this listener does not serve",
            where=_WHERE,
            mend=f"Connect with a certificate of an allowed role ({allowed}), or to the listener for that role.",
        )
    issuers = authorities.get((spiffe_id.trust_domain, spiffe_id.role), Issuers(()))
    issuer = _issuer(leaf, spiffe_id, issuers, now)
    _check_validity(leaf, f"the certificate of {spiffe_id}", now)
    _check_validity(issuer, f"the {spiffe_id.role.value} authority of {spiffe_id.node}", now)
    _check_client_auth(leaf, spiffe_id)
    if issuers.revokes(leaf, issuer):
        raise PeerError(
            Refusal.REVOKED,
            f"the {spiffe_id.role.value} authority of {spiffe_id.node} has revoked the certificate"
            f" {leaf.serial_number:x} of {spiffe_id}",
            where=_WHERE,
            mend="Connect with a certificate that was issued since, under another key.",
        )
    verifier = PolicyBuilder().store(Store([issuer])).time(now).build_client_verifier()
    try:
        verifier.verify(leaf, [])
    except VerificationError as refused:
        raise PeerError(
            Refusal.MALFORMED_CERTIFICATE,
            f"the certificate of {spiffe_id} does not have the profile of a client certificate: {refused}",
            where=_WHERE,
            mend="Issue it anew with the profile in docs/protocol.md; `signalfire pki show FILE` prints what it has.",
        ) from refused
    _believed[leaf_pem] = _Believed(spiffe_id, weakref.ref(issuers), now, _unchanged_until([leaf, *issuers], now))
    if len(_believed) > KEPT:
        _believed.pop(next(iter(_believed)), None)
    return spiffe_id


def _unchanged_until(certificates: Sequence[x509.Certificate], now: datetime) -> datetime:
    """The next time after `now` from which on one of them is in force that was not, or is no more."""
    begin = (each.not_valid_before_utc for each in certificates)
    end = (each.not_valid_after_utc + datetime.resolution for each in certificates)
    return min(at for at in (*begin, *end) if at > now)


def _one_certificate(pem: bytes) -> x509.Certificate:
    try:
        certificates = x509.load_pem_x509_certificates(pem)
    except ValueError as unreadable:
        raise _malformed(f"it is not a PEM certificate: {unreadable}") from unreadable
    if len(certificates) != 1:
        raise _malformed(f"it holds {len(certificates)} certificates where one is expected")
    return certificates[0]


def _refuse_authority(leaf: x509.Certificate) -> None:
    try:
        constraints = leaf.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return
    except (ValueError, x509.DuplicateExtension) as unreadable:
        raise _malformed(f"its extensions cannot be read: {unreadable}") from unreadable
    if constraints.ca:
        raise _malformed("it is an authority's own certificate, and an authority is nobody's peer")


def _issuer(
    leaf: x509.Certificate, spiffe_id: SpiffeId, candidates: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate:
    signers: list[x509.Certificate] = []
    for authority in candidates:
        try:
            leaf.verify_directly_issued_by(authority)
        except (InvalidSignature, ValueError, TypeError):
            # Not this authority's: another subject, another kind of key, or another signature.
            continue
        signers.append(authority)
    if signers:
        # An authority renewed under the same key is held twice for a while; the one in force counts.
        in_force = (a for a in signers if a.not_valid_before_utc <= now <= a.not_valid_after_utc)
        return next(in_force, signers[0])
    held = f"none of the {len(candidates)} held for it" if candidates else "and none is held for it"
    raise PeerError(
        Refusal.UNTRUSTED_ISSUER,
        f"{spiffe_id} was not issued by a {spiffe_id.role.value} authority of {spiffe_id.node}, {held}",
        where=_WHERE,
        mend=f"Pin the current trust bundle of {spiffe_id.node}, or have its own authority issue the certificate.",
    )


def _check_validity(certificate: x509.Certificate, whose: str, now: datetime) -> None:
    if now < certificate.not_valid_before_utc:
        raise PeerError(
            Refusal.NOT_YET_VALID,
            f"{whose} is valid only from {certificate.not_valid_before_utc.isoformat()}, and it is {now.isoformat()}",
            where=_WHERE,
            mend="Check the clocks of both sides; if they are right, wait or use the certificate before this one.",
        )
    if now > certificate.not_valid_after_utc:
        raise PeerError(
            Refusal.EXPIRED,
            f"{whose} expired at {certificate.not_valid_after_utc.isoformat()}, and it is {now.isoformat()}",
            where=_WHERE,
            mend="Issue and install a new one; the gateway takes it up without a restart.",
        )


def _check_client_auth(leaf: x509.Certificate, spiffe_id: SpiffeId) -> None:
    try:
        usages = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        usages = None
    if usages is None or ExtendedKeyUsageOID.CLIENT_AUTH not in usages:
        raise PeerError(
            Refusal.WRONG_PURPOSE,
            f"the certificate of {spiffe_id} is not meant for a client: its extended key usage lacks clientAuth",
            where=_WHERE,
            mend="Issue it anew with the extended key usage clientAuth.",
        )


def _malformed(what: str) -> PeerError:
    return PeerError(
        Refusal.MALFORMED_CERTIFICATE,
        f"the peer's certificate is refused: {what}",
        where=_WHERE,
        mend="Connect with the one leaf certificate that the node's authority issued.",
    )
