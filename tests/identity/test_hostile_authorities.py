"""Whatever a nation puts where its authority should stand, its bundle is refused or holds the certificate alone."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from gateway.exchange.partners import Partners, Pinned
from gateway.identity.authority import Authority, RootKey, Validity, certificate_pem
from gateway.identity.errors import Refusal, TrustBundleError
from gateway.identity.key_names import bundle_origin
from gateway.identity.node_keys import NodeKeys
from gateway.identity.spiffe import Role
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.note import sign_note

NOW = datetime(2026, 11, 21, tzinfo=UTC)
P256 = bytes.fromhex("2a8648ce3d030107")
UNKNOWN_CURVE = bytes.fromhex("2a8648ce3d030179")
ARC = bytes.fromhex("2b06010401ce0f")
"""1.3.6.1.4.1.9999 in DER, before its last arc."""


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def in_pem(der: bytes) -> str:
    return f"-----BEGIN CERTIFICATE-----\n{base64.encodebytes(der).decode()}-----END CERTIFICATE-----\n"


def authority(node: str) -> str:
    made = Authority.create(node, Role.GATEWAY, Validity.starting(NOW, timedelta(days=9)))
    return certificate_pem(made.certificate).decode()


def certificate(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None) -> bytes:
    """An authority with two extensions that nobody knows, DER."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), 5, NOW, NOW + timedelta(days=3))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.9999.1"), b"\x05\x00"), False)
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.9999.2"), b"\x05\x00"), False)
    )
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def changed(old: bytes, new: bytes) -> str:
    der = certificate()
    assert der.count(old) == 1
    return in_pem(der.replace(old, new))


HOSTILE = {
    "a key on a curve that nobody knows": lambda: changed(P256, UNKNOWN_CURVE),
    "an extension twice": lambda: changed(ARC + b"\x02", ARC + b"\x01"),
}


class Nation:
    """A nation's root, and the bundles that it signs."""

    def __init__(self, node: str, directory: Path) -> None:
        self.root = RootKey.generate(node)
        self.node = node
        self.keys = NodeKeys.generate(gateway_key_pem=b"", gateway_certificate_pem=b"").public()
        self.path = directory / f"{node}.note"

    def bundle(self, *authorities: str, sequence: int = 1) -> bytes:
        keys = self.keys
        body = {
            "node": self.node,
            "trust_domain": self.node.lower(),
            "gateway_ca": authorities,
            "log_keys": [b64(keys.log)],
            "receipt_keys": [b64(keys.receipt)],
            "pq_keys": [b64(keys.pq)],
            "sealing_keys": [{"mlkem768": b64(keys.sealing_mlkem768), "x25519": b64(keys.sealing_x25519)}],
            "endpoints": [],
            "retired": [],
            "gateway_crl": [],
        }
        text = f"{bundle_origin(self.node)}\n{sequence}\n2026-12-21T00:00:00Z\n{json.dumps(body)}\n"
        return sign_note(text, self.root.signer()).encode()

    def publishes(self, *authorities: str, sequence: int = 1) -> Pinned:
        self.path.write_bytes(self.bundle(*authorities, sequence=sequence))
        return Pinned(self.node, self.root.vkey, self.path)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_an_authority_that_cannot_be_read_is_refused_as_any_other(tmp_path: Path, hostile: str) -> None:
    kor = Nation("KOR", tmp_path)
    with pytest.raises(TrustBundleError, match="cannot be read") as refused:
        TrustBundle.open(kor.bundle(authority("KOR"), HOSTILE[hostile]()), kor.root.vkey, now=NOW)
    assert refused.value.code is Refusal.MALFORMED_BUNDLE


@pytest.mark.parametrize(
    "made", [lambda: ec.generate_private_key(ec.SECP256K1()), lambda: rsa.generate_private_key(65537, 1024)]
)
def test_an_authority_whose_key_tls_could_not_read_is_refused_before_it_hides_those_after_it(
    tmp_path: Path, made: Callable[[], ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey]
) -> None:
    kor = Nation("KOR", tmp_path)
    pem = in_pem(certificate(made()))
    with pytest.raises(TrustBundleError, match=r"of a kind that TLS 1\.3 peers do not use"):
        TrustBundle.open(kor.bundle(authority("KOR"), pem), kor.root.vkey, now=NOW)


def test_of_an_authority_the_certificate_alone_is_kept(tmp_path: Path) -> None:
    kor = Nation("KOR", tmp_path)
    pem = authority("KOR")
    raw = kor.bundle(f"기관 인증서\n{pem}trailing words\n")
    bundle = TrustBundle.open(raw, kor.root.vkey, now=NOW)
    assert bundle.gateway_ca == (pem,)
    partners = Partners.load([kor.publishes(f"기관\n{pem}")], lambda: NOW)
    assert partners.roots() == pem.encode("ascii")


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_partners_hostile_bundle_leaves_it_as_it_was_and_the_others_alone(tmp_path: Path, hostile: str) -> None:
    kor, usa = Nation("KOR", tmp_path), Nation("USA", tmp_path)
    pins = [kor.publishes(authority("KOR")), usa.publishes(authority("USA"))]
    partners = Partners.load(pins, lambda: NOW)
    kor.publishes(HOSTILE[hostile](), sequence=2)
    usa.publishes(authority("USA"), sequence=2)
    assert partners.refresh() == ["USA"]
    kept, taken = partners.bundle("KOR"), partners.bundle("USA")
    assert kept is not None
    assert taken is not None
    assert (kept.sequence, taken.sequence) == (1, 2)
    assert "KOR" in partners.refused


def test_a_fault_that_nobody_foresaw_is_that_partners_alone(tmp_path: Path) -> None:
    usa = Nation("USA", tmp_path)
    # A path that no file can have: neither the file system nor a bundle refuses it.
    unforeseen = Pinned("KOR", Nation("KOR", tmp_path).root.vkey, Path("a\0b"))
    partners = Partners.load([unforeseen, usa.publishes(authority("USA"))], lambda: NOW)
    assert set(partners.keys()) == {"USA"}
    assert "ValueError" in partners.refused["KOR"]
