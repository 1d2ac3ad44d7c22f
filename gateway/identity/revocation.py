"""Certificate revocation lists (RFC 5280 §5): which leaves of an authority are believed no more. Pure.

Rules for a list, in order:

1. It is one CRL in PEM (RFC 7468), of version 2.
2. It bears no critical extension: a delta CRL, or one that covers a part only, would be read as if it were whole
   (RFC 5280 §5.2, §5.2.4, §5.2.5).
3. Its issuer is the subject of an authority that is believed for the same role, and that authority's key signed it. The
   authority may sign lists (key usage cRLSign).
4. Of each authority there is one list at most.

A list is never taken in place of a newer one of the same authority (`set_back`): that would give back what was revoked
since.

A leaf whose serial number stands in the list of its authority is revoked, whatever the reason and the date: whoever put
it there wants it refused. A list whose nextUpdate has passed is heeded all the same: what it revokes stays revoked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, overload

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

MAX_LISTS: Final = 16 << 20
"""Bytes of a file of revocation lists: some hundred thousand leaves."""

MAX_AUTHORITIES: Final = 4 << 20
"""Bytes of a file of authorities: a few thousand."""


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Issuers(Sequence[x509.Certificate]):
    """The authorities of one role in one nation, as one sequence of certificates, and what they have revoked."""

    certificates: tuple[x509.Certificate, ...]
    crls: tuple[x509.CertificateRevocationList, ...] = ()
    """Each of them signed by one of the certificates (`checked_crls`)."""

    @classmethod
    def of(
        cls, certificates: Sequence[x509.Certificate], crls: Sequence[x509.CertificateRevocationList] = ()
    ) -> Issuers:
        """The two together, checked. Raises ValueError for a list that breaks a rule of this module."""
        return cls(tuple(certificates), checked_crls(crls, certificates))

    def revokes(self, leaf: x509.Certificate, issuer: x509.Certificate) -> bool:
        """Whether the list of `issuer`, which issued `leaf`, holds it."""
        return any(
            signed_by(crl, issuer) and crl.get_revoked_certificate_by_serial_number(leaf.serial_number) is not None
            for crl in self.crls
        )

    def __len__(self) -> int:
        return len(self.certificates)

    @overload
    def __getitem__(self, index: int) -> x509.Certificate: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[x509.Certificate]: ...
    def __getitem__(self, index: int | slice) -> x509.Certificate | Sequence[x509.Certificate]:
        return self.certificates[index]

    def __iter__(self) -> Iterator[x509.Certificate]:
        return iter(self.certificates)


def load_crl(pem: bytes) -> x509.CertificateRevocationList:
    """The one list in `pem` (rules 1 and 2). Raises ValueError."""
    if pem.count(b"-----BEGIN X509 CRL-----") != 1:
        raise ValueError("a file or entry holds exactly one revocation list in PEM")
    try:
        crl = x509.load_pem_x509_crl(pem)
        critical = [extension.oid.dotted_string for extension in crl.extensions if extension.critical]
        crl.get_revoked_certificate_by_serial_number(1)
        crl.issuer.rfc4514_string()
        crl.next_update_utc  # noqa: B018  (reading it is the check)
    except Exception as error:  # whatever a partner puts there: the library's errors have no common parent
        raise ValueError(f"a revocation list cannot be read: {type(error).__name__}: {error}") from error
    if critical:
        raise ValueError(
            f"a revocation list has critical extensions ({', '.join(critical)}): it may not be a whole one"
        )
    return crl


def load_crls(pem: bytes) -> list[x509.CertificateRevocationList]:
    """The lists in a file, one after another: of several authorities of one role. Raises ValueError."""
    end = b"-----END X509 CRL-----"
    *lists, rest = pem.split(end)
    if not lists or rest.strip():
        raise ValueError("the file is not one revocation list in PEM after another")
    return [load_crl(one + end + b"\n") for one in lists]


def crl_pem(crl: x509.CertificateRevocationList) -> bytes:
    """The list in PEM."""
    return crl.public_bytes(serialization.Encoding.PEM)


def signed_by(crl: x509.CertificateRevocationList, authority: x509.Certificate) -> bool:
    """Whether this authority issued the list, and may (rule 3)."""
    key = authority.public_key()
    if crl.issuer != authority.subject:
        return False
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey | ed25519.Ed25519PublicKey):
        return False
    try:
        usage = authority.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        usage = None
    try:
        return (usage is None or usage.crl_sign) and crl.is_signature_valid(key)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        # Signed with an algorithm of another kind of key.
        return False


def checked_crls(
    crls: Sequence[x509.CertificateRevocationList], authorities: Sequence[x509.Certificate]
) -> tuple[x509.CertificateRevocationList, ...]:
    """The lists, once each is that of an authority and no authority has two (rules 3 and 4). Raises ValueError."""
    signers = []
    for crl in crls:
        signer = next((authority for authority in authorities if signed_by(crl, authority)), None)
        if signer is None:
            raise ValueError(f"the revocation list of {crl.issuer.rfc4514_string()} is not signed by an authority here")
        signers.append(signer.public_key().public_bytes(_DER, _SPKI))
    if len(set(signers)) != len(signers):
        raise ValueError("an authority has two revocation lists: give the newest alone")
    return tuple(crls)


def set_back(found: Issuers, held: Issuers) -> str | None:
    """What is wrong where an authority's list in `found` is older than that in `held`: by its number (RFC 5280 §5.2.3),
    and what has none is older than what has one. None where none is.
    """
    for crl in found.crls:
        signer = next((one for one in held.certificates if signed_by(crl, one)), None)
        before = None if signer is None else next((each for each in held.crls if signed_by(each, signer)), None)
        if before is not None and number_of(crl) < number_of(before):
            who = crl.issuer.rfc4514_string()
            return f"the revocation list of {who} is number {number_of(crl)}, and {number_of(before)} is in force"
    return None


def number_of(crl: x509.CertificateRevocationList) -> int:
    """The number of a list; 0 where it has none."""
    try:
        return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number
    except x509.ExtensionNotFound:
        return 0


def overdue(crl: x509.CertificateRevocationList, now: datetime) -> str | None:
    """What to remark of a list whose nextUpdate has passed, or which says none; None where it is fresh."""
    who = crl.issuer.rfc4514_string()
    if crl.next_update_utc is None:
        return f"the revocation list of {who} does not say when the next one comes"
    if now > crl.next_update_utc:
        when = crl.next_update_utc.isoformat()
        return f"the revocation list of {who} was to be replaced by {when}; what it revokes stays revoked"
    return None


_DER = serialization.Encoding.DER
_SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
