"""The keys of one node as it runs, and how they lie on disk.

A directory for its owner alone (0700) with files for their owner alone (0600):

    gateway.key.pem   private key of the gateway's certificate (PKCS #8 PEM)
    gateway.crt.pem   the certificate (PEM)
    log.key           Ed25519 seed, 32 bytes: signs checkpoints, heartbeats, challenges
    receipt.key       Ed25519 seed, 32 bytes: cosigns partners' checkpoints
    pq.key            ML-DSA-44 seed, 32 bytes: the post-quantum line of a checkpoint
    sealing.key       ML-KEM-768 seed, 64 bytes, and X25519 private key, 32 bytes: opens what is sealed to this node
    storage.key       32 random bytes: payloads at rest

Each `.key` file is one JSON object that says which kind of key it holds, so that one can never be taken for another,
not even one of the same algorithm and length::

    {"format": "signalfire/v1/secret", "kind": "log", "parts": {"ed25519_seed": "<base64>"}}

In a locked directory that text, and the private key in PEM, are encrypted (`locked`). Further keys of a kind lie beside
these (`keyring`).
"""

from __future__ import annotations

import base64
import binascii
import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.locked import SEALED_FORMAT, KeyLock
from gateway.identity.private_files import make_private_directory, read_private, write_private

FILE_FORMAT: Final = "signalfire/v1/secret"
GATEWAY_KEY: Final = "gateway.key.pem"
GATEWAY_CERTIFICATE: Final = "gateway.crt.pem"

PARTS_SIZES: Final[Mapping[str, int]] = {
    "ed25519_seed": 32,
    "mldsa44_seed": 32,
    "mlkem768_seed": 64,
    "x25519_private": 32,
    "random": 32,
}


class SecretKind(Enum):
    """A kind of secret: its tag in the file, its file name, and the parts it consists of."""

    ROOT = ("root", "root.key", ("ed25519_seed",))
    LOG = ("log", "log.key", ("ed25519_seed",))
    RECEIPT = ("receipt", "receipt.key", ("ed25519_seed",))
    PQ = ("pq", "pq.key", ("mldsa44_seed",))
    SEALING = ("sealing", "sealing.key", ("mlkem768_seed", "x25519_private"))
    STORAGE = ("storage", "storage.key", ("random",))
    OFFICER = ("officer", "officer.key", ("ed25519_seed",))
    RECOVERY = ("recovery", "recovery.key", ("mlkem768_seed", "x25519_private"))

    def __init__(self, tag: str, file_name: str, parts: tuple[str, ...]) -> None:
        self.tag = tag
        self.file_name = file_name
        self.parts = parts


@dataclass(frozen=True, slots=True)
class NodePublicKeys:
    """The public halves, raw: what goes into the node's trust bundle. Sizes 32, 32, 1312, 1184 and 32 bytes."""

    log: bytes
    receipt: bytes
    pq: bytes
    sealing_mlkem768: bytes
    sealing_x25519: bytes


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The secrets of one node, raw. None of them shows in `repr`."""

    gateway_key_pem: bytes = field(repr=False)
    gateway_certificate_pem: bytes
    log_seed: bytes = field(repr=False)
    receipt_seed: bytes = field(repr=False)
    pq_seed: bytes = field(repr=False)
    sealing_mlkem768_seed: bytes = field(repr=False)
    sealing_x25519_private: bytes = field(repr=False)
    storage_key: bytes = field(repr=False)

    @classmethod
    def generate(cls, *, gateway_key_pem: bytes, gateway_certificate_pem: bytes) -> NodeKeys:
        """Fresh keys of every kind, beside a certificate already issued."""
        return cls(
            gateway_key_pem=gateway_key_pem,
            gateway_certificate_pem=gateway_certificate_pem,
            log_seed=secrets.token_bytes(PARTS_SIZES["ed25519_seed"]),
            receipt_seed=secrets.token_bytes(PARTS_SIZES["ed25519_seed"]),
            pq_seed=secrets.token_bytes(PARTS_SIZES["mldsa44_seed"]),
            sealing_mlkem768_seed=secrets.token_bytes(PARTS_SIZES["mlkem768_seed"]),
            sealing_x25519_private=secrets.token_bytes(PARTS_SIZES["x25519_private"]),
            storage_key=secrets.token_bytes(PARTS_SIZES["random"]),
        )

    @classmethod
    def load(cls, directory: Path, lock: KeyLock | None = None) -> NodeKeys:
        """The keys in `directory`, opened with its `lock` where they are locked; of each kind the default file.

        Raises `SecretFileError` for one missing, exposed, malformed, locked or of another kind.
        """
        lock = lock or KeyLock(directory)
        sealing = read_secret(directory / SecretKind.SEALING.file_name, SecretKind.SEALING, lock)
        certificate_pem = read_private(directory / GATEWAY_CERTIFICATE)
        key = tls_key(directory / GATEWAY_KEY, certificate_pem, lock)
        return cls(
            gateway_key_pem=key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
            gateway_certificate_pem=certificate_pem,
            log_seed=_only_part(directory, SecretKind.LOG, lock),
            receipt_seed=_only_part(directory, SecretKind.RECEIPT, lock),
            pq_seed=_only_part(directory, SecretKind.PQ, lock),
            sealing_mlkem768_seed=sealing["mlkem768_seed"],
            sealing_x25519_private=sealing["x25519_private"],
            storage_key=_only_part(directory, SecretKind.STORAGE, lock),
        )

    def save(self, directory: Path, lock: KeyLock | None = None) -> None:
        """Writes every file into `directory`, replacing each one whole; sealed where `lock` is that of a locked one.

        Raises `SecretFileError` or `OSError`.
        """
        make_private_directory(directory)
        lock = lock or KeyLock(directory)
        write_private(directory / GATEWAY_KEY, lock.pem(lock.load_pem_key(GATEWAY_KEY, self.gateway_key_pem)))
        write_private(directory / GATEWAY_CERTIFICATE, self.gateway_certificate_pem)
        for kind, parts in (
            (SecretKind.LOG, {"ed25519_seed": self.log_seed}),
            (SecretKind.RECEIPT, {"ed25519_seed": self.receipt_seed}),
            (SecretKind.PQ, {"mldsa44_seed": self.pq_seed}),
            (
                SecretKind.SEALING,
                {"mlkem768_seed": self.sealing_mlkem768_seed, "x25519_private": self.sealing_x25519_private},
            ),
            (SecretKind.STORAGE, {"random": self.storage_key}),
        ):
            write_secret(directory / kind.file_name, kind, parts, lock)

    def with_certificate(self, *, gateway_key_pem: bytes, gateway_certificate_pem: bytes) -> NodeKeys:
        """The same keys beside another certificate."""
        return replace(self, gateway_key_pem=gateway_key_pem, gateway_certificate_pem=gateway_certificate_pem)

    def public(self) -> NodePublicKeys:
        """The public halves."""
        return NodePublicKeys(
            log=bytes(SigningKey(self.log_seed).verify_key),
            receipt=bytes(SigningKey(self.receipt_seed).verify_key),
            pq=MLDSA44PrivateKey.from_seed_bytes(self.pq_seed).public_key().public_bytes_raw(),
            sealing_mlkem768=MLKEM768PrivateKey.from_seed_bytes(self.sealing_mlkem768_seed)
            .public_key()
            .public_bytes_raw(),
            sealing_x25519=X25519PrivateKey.from_private_bytes(self.sealing_x25519_private)
            .public_key()
            .public_bytes_raw(),
        )


def tls_key(path: Path, certificate_pem: bytes, lock: KeyLock) -> PrivateKeyTypes:
    """The private key of a certificate: in the file beside `path` that is named by the certificate's key, or in `path`.

    So a certificate under a new key is put in place by replacing one file (`installing`). Where neither is the
    certificate's, the key in `path` is returned: that they do not match is for the caller to say. Raises
    `SecretFileError`.
    """
    try:
        public = x509.load_pem_x509_certificate(certificate_pem).public_key()
        further = path.with_name(tls_key_file(public))
    except (ValueError, UnsupportedAlgorithm):
        further = None
    if further is not None and further.exists():
        return lock.load_pem_key(further.name, read_private(further))
    return lock.load_pem_key(path.name, read_private(path))


def tls_key_file(public: PublicKeyTypes) -> str:
    """The name of the file for the private key of a certificate that is not in place yet."""
    return f"gateway.{tls_key_id(public)}.key.pem"


def tls_key_id(public: PublicKeyTypes) -> str:
    """The id of a TLS key: the first 8 digits of SHA-256 of its SubjectPublicKeyInfo in DER."""
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return sha256(der).hexdigest()[:8]


def write_secret(path: Path, kind: SecretKind, parts: Mapping[str, bytes], lock: KeyLock | None = None) -> None:
    """Writes one tagged secret. `parts` are those of `kind`, each of its size. `lock` seals it, if it is locked."""
    plain = secret_text(path, kind, parts)
    write_private(path, plain if lock is None else lock.seal(path.name, kind.tag, plain))


def secret_text(path: Path, kind: SecretKind, parts: Mapping[str, bytes]) -> bytes:
    """The plain content of a secret file. Raises `SecretFileError` for parts that are not those of the kind."""
    if set(parts) != set(kind.parts):
        raise _malformed(path, kind, f"the parts {sorted(parts)} are not those of the kind")
    for name, value in parts.items():
        _check_size(path, kind, name, value)
    content = {
        "format": FILE_FORMAT,
        "kind": kind.tag,
        "parts": {name: base64.b64encode(parts[name]).decode("ascii") for name in kind.parts},
    }
    return (json.dumps(content, indent=2) + "\n").encode("ascii")


def read_secret(path: Path, kind: SecretKind, lock: KeyLock | None = None) -> dict[str, bytes]:
    """The parts of the secret at `path`, which must say that it is of this `kind`; `lock` is that of its directory.

    Raises `SecretFileError`.
    """
    lock = lock or KeyLock(path.parent)
    return parse_secret(path, kind, lock.open(path.name, kind.tag, read_private(path)))


def parse_secret(path: Path, kind: SecretKind, raw: bytes) -> dict[str, bytes]:
    """The parts of the plain secret `raw`, the content of the file at `path`. Raises `SecretFileError`."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        # The decoder's message can quote the file, so it goes no further.
        raise _malformed(path, kind, "the file is not JSON") from None
    if not isinstance(content, dict) or set(content) != {"format", "kind", "parts"}:
        raise _malformed(path, kind, "the file is not an object of format, kind and parts")
    if content["format"] != FILE_FORMAT:
        raise _malformed(path, kind, f"the format is not {FILE_FORMAT}")
    if content["kind"] != kind.tag:
        known = next((other.tag for other in SecretKind if other.tag == content["kind"]), "unknown")
        raise SecretFileError(
            Refusal.WRONG_KIND,
            f"the file holds a key of the kind {known}, where {kind.tag} is meant",
            where=str(path),
            mend=f"Put the {kind.tag} key there; never use one key for two purposes.",
        )
    encoded = content["parts"]
    if not isinstance(encoded, dict) or set(encoded) != set(kind.parts):
        raise _malformed(path, kind, f"the parts are not exactly {', '.join(kind.parts)}")
    parts: dict[str, bytes] = {}
    for name in kind.parts:
        try:
            value = base64.b64decode(encoded[name], validate=True)
        except (binascii.Error, TypeError, ValueError):
            raise _malformed(path, kind, f"{name} is not base64") from None
        _check_size(path, kind, name, value)
        parts[name] = value
    return parts


def kind_of(raw: bytes) -> SecretKind | None:
    """Which kind of secret a file's content says it is, or None if it is none of ours. Reads no secret part."""
    try:
        content = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or content.get("format") not in (FILE_FORMAT, SEALED_FORMAT):
        return None
    return next((kind for kind in SecretKind if kind.tag == content.get("kind")), None)


def _only_part(directory: Path, kind: SecretKind, lock: KeyLock) -> bytes:
    (part,) = read_secret(directory / kind.file_name, kind, lock).values()
    return part


def _check_size(path: Path, kind: SecretKind, name: str, value: bytes) -> None:
    if len(value) != PARTS_SIZES[name]:
        raise _malformed(path, kind, f"{name} has {len(value)} bytes, not {PARTS_SIZES[name]}")


def _malformed(path: Path, kind: SecretKind, what: str) -> SecretFileError:
    return SecretFileError(
        Refusal.MALFORMED_FILE,
        f"this is not a {kind.tag} key: {what}",
        where=str(path),
        mend="Restore the file from its backup, or make new keys and publish them in a new trust bundle.",
    )
