"""An authority of the benchmark's own, and the certificates with which brokers and their clients know each other."""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


@dataclass(frozen=True)
class Certificates:
    """PEM files in a directory: `ca.pem`, and a certificate and key for each name. Can be pickled."""

    directory: Path

    @property
    def authority(self) -> Path:
        """The one authority that all of them believe."""
        return self.directory / "ca.pem"

    def certificate(self, name: str) -> Path:
        """What `name` shows."""
        return self.directory / f"{name}.pem"

    def key(self, name: str) -> Path:
        """The private key to it, unencrypted: it lives as long as the benchmark."""
        return self.directory / f"{name}.key"

    def context(self, name: str) -> ssl.SSLContext:
        """TLS 1.3 for a client that shows the certificate of `name` and checks the server's."""
        made = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=self.authority)
        made.load_cert_chain(self.certificate(name), self.key(name))
        made.minimum_version = ssl.TLSVersion.TLSv1_3
        return made


def make(directory: Path, names: Iterable[str]) -> Certificates:
    """Makes an authority and a certificate for each of `names` in `directory`, for 127.0.0.1, for a day."""
    directory.mkdir(parents=True)
    made = Certificates(directory)
    authority_key = ec.generate_private_key(ec.SECP256R1())
    authority = _named("benchmark")
    made.authority.write_bytes(
        _builder(authority, authority, authority_key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority_key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    for name in names:
        key = ec.generate_private_key(ec.SECP256R1())
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        usage = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
        made.certificate(name).write_bytes(
            _builder(_named(name), authority, key)
            .add_extension(address, critical=False)
            .add_extension(usage, critical=False)
            .sign(authority_key, hashes.SHA256())
            .public_bytes(Encoding.PEM)
        )
        made.key(name).touch(mode=0o600)
        made.key(name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
    )
