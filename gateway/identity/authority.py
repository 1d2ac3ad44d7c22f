"""The built-in certificate authority of one nation, for development and for nations without one of their own.

Three separate self-signed authorities, one a role, so that holding one mints nothing of the others; and an offline
root, which is not an X.509 authority but the note key that signs trust bundles.

Profile (RFC 5280 §4.2, X509-SVID §4):

- Keys are ECDSA P-256, signatures SHA-256.
- An authority is self-signed; BasicConstraints CA with path length 0 (critical); KeyUsage keyCertSign and cRLSign
  (critical); subject and authority key identifiers.
- A leaf has an empty subject and a critical SubjectAlternativeName, so that it has one name and not two that may
  disagree; BasicConstraints not CA (critical); KeyUsage digitalSignature (critical); both key identifiers.
- A gateway's leaf has the extended key usages serverAuth and clientAuth and, beside its SPIFFE URI, its DNS name
  (`spiffe.dns_name`) and any further names asked for. A leaf of a C2 system or an officer has clientAuth and the
  SPIFFE URI alone: it can never be a server.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.identity.errors import IssueError, Refusal
from gateway.identity.key_names import root_key_name
from gateway.identity.spiffe import Role, SpiffeId, dns_name, trust_domain_of
from gateway.ledger.note import ED25519_SEED_SIZE, Ed25519Signer

IpAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

CLOCK_ALLOWANCE: Final = timedelta(minutes=5)
"""How far before its issue a certificate begins, so that a partner whose clock is a little behind believes it."""


@dataclass(frozen=True, slots=True)
class Validity:
    """From when to when a certificate is valid: both aware, whole seconds, both ends included."""

    not_before: datetime
    not_after: datetime

    def __post_init__(self) -> None:
        for instant in (self.not_before, self.not_after):
            if instant.tzinfo is None:
                raise IssueError(
                    Refusal.BAD_REQUEST,
                    f"the time {instant.isoformat()} has no time zone",
                    where="validity",
                    mend="Give times in UTC.",
                )
        if self.not_after <= self.not_before:
            raise IssueError(
                Refusal.BAD_REQUEST,
                f"the validity ends at {self.not_after.isoformat()}, before it begins",
                where="validity",
                mend="Give a lifetime of at least a second.",
            )

    @classmethod
    def starting(cls, now: datetime, lifetime: timedelta) -> Validity:
        """From `CLOCK_ALLOWANCE` before `now` until `lifetime` after it."""
        start = now.replace(microsecond=0)
        return cls(start - CLOCK_ALLOWANCE, start + lifetime)


@dataclass(frozen=True, slots=True)
class RootKey:
    """The offline root of a node: the Ed25519 note key that signs its trust bundles. `seed` is 32 secret bytes."""

    node: str
    seed: bytes = field(repr=False)

    @classmethod
    def generate(cls, node: str) -> RootKey:
        """A new root."""
        return cls(node, secrets.token_bytes(ED25519_SEED_SIZE))

    @property
    def vkey(self) -> str:
        """The public half as partners pin it (C2SP verifier key)."""
        return self.signer().verifier.vkey

    def signer(self) -> Ed25519Signer:
        """The signer of bundles; its name is `signalfire/v1/<NODE>/root`."""
        return Ed25519Signer(root_key_name(self.node), self.seed)


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority of one role in one nation, with its private key."""

    node: str
    role: Role
    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)

    @classmethod
    def create(cls, node: str, role: Role, validity: Validity) -> Authority:
        """A new self-signed authority with a new key."""
        trust_domain_of(node)
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Signalfire"),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{node} {role.value} authority"),
            ]
        )
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(validity.not_before)
            .not_valid_after(validity.not_after)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(key_cert_sign=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(node, role, certificate, key)

    def issue(
        self,
        spiffe_id: SpiffeId,
        public_key: ec.EllipticCurvePublicKey,
        validity: Validity,
        *,
        extra_dns: Sequence[str] = (),
        extra_ips: Sequence[IpAddress] = (),
    ) -> x509.Certificate:
        """A leaf for `spiffe_id`. Further names are for gateways only.

        Raises `IssueError` for an ID of another nation or role, for further names on a leaf that is no server, and
        for a validity that outlasts the authority's.
        """
        self._refuse_foreign(spiffe_id)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(str(spiffe_id))]
        usages = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if self.role is Role.GATEWAY:
            usages.insert(0, ExtendedKeyUsageOID.SERVER_AUTH)
            names.append(x509.DNSName(dns_name(spiffe_id)))
            names.extend(_dns_names(extra_dns))
            names.extend(x509.IPAddress(ip) for ip in extra_ips)
        elif extra_dns or extra_ips:
            raise IssueError(
                Refusal.BAD_REQUEST,
                f"a certificate of the role {self.role.value} cannot hold DNS names or addresses",
                where=str(spiffe_id),
                mend="Leave them out: only a gateway is a server.",
            )
        if validity.not_after > self.certificate.not_valid_after_utc:
            raise IssueError(
                Refusal.BAD_REQUEST,
                f"the certificate would outlast its authority, which expires at "
                f"{self.certificate.not_valid_after_utc.isoformat()}",
                where=str(spiffe_id),
                mend="Ask for a shorter lifetime, or renew the authority first.",
            )
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(validity.not_before)
            .not_valid_after(validity.not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(key_cert_sign=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def issue_leaf(
        self,
        name: str,
        validity: Validity,
        *,
        extra_dns: Sequence[str] = (),
        extra_ips: Sequence[IpAddress] = (),
    ) -> Leaf:
        """A new key, and a leaf for it under the ID of `name` in this authority's nation and role."""
        spiffe_id = SpiffeId.of(self.node, self.role, name)
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self.issue(spiffe_id, key.public_key(), validity, extra_dns=extra_dns, extra_ips=extra_ips)
        return Leaf(spiffe_id, certificate_pem(certificate), private_key_pem(key))

    def _refuse_foreign(self, spiffe_id: SpiffeId) -> None:
        if (spiffe_id.node, spiffe_id.role) != (self.node, self.role):
            raise IssueError(
                Refusal.WRONG_ROLE if spiffe_id.node == self.node else Refusal.WRONG_NODE,
                f"the {self.role.value} authority of {self.node} does not issue {spiffe_id}",
                where="certificate authority",
                mend="Ask the authority of that nation and role.",
            )


@dataclass(frozen=True, slots=True)
class Leaf:
    """A certificate and its private key, both PEM; the key is PKCS #8, unencrypted."""

    spiffe_id: SpiffeId
    certificate_pem: bytes
    key_pem: bytes = field(repr=False)


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """The certificate in PEM (RFC 7468)."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def private_key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """The private key in PEM, PKCS #8, unencrypted."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _key_usage(*, key_cert_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not key_cert_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=key_cert_sign,
        encipher_only=False,
        decipher_only=False,
    )


def _dns_names(names: Sequence[str]) -> list[x509.DNSName]:
    accepted = []
    for name in names:
        try:
            accepted.append(x509.DNSName(name))
        except ValueError as refused:
            raise IssueError(
                Refusal.BAD_REQUEST,
                f"{name!r} is not a DNS name: {refused}",
                where="further DNS names",
                mend="Give ASCII names; write international ones in their xn-- form.",
            ) from refused
    return accepted
