"""The keyring of a node: every key that it holds, of each kind one or more. Which is current is not said here.

In the keys directory, beside `<kind>.key` (`node_keys`), further keys lie as `<kind>.<first 8 hex digits of its
id>.key`, in the same form. They are made by `signalfire keys rotate`, and taken into use when partners know of them.

=========  ================================================  =========================================================
kind       id, lower-case hexadecimal                        public half
=========  ================================================  =========================================================
log        first 8 digits of SHA-256 of the public key       Ed25519, 32 bytes
receipt    first 8 digits of SHA-256 of the public key       Ed25519, 32 bytes
pq         first 8 digits of SHA-256 of the public key       ML-DSA-44, 1312 bytes
sealing    the 32 digits of its key id (`seal.keys`)         ML-KEM-768 || X25519, 1216 bytes
storage    the 8 digits of its key id (`seal.storage`)       none
=========  ================================================  =========================================================

Rules, in order:

1. Of every kind there is the default file, and every `<kind>.*.key` is a secret of that kind, private and whole.
2. A further file is named by the id of the key that it holds.
3. No key is held twice, in two files or under two kinds; no two keys of a kind share the 8 digits of their files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from nacl.signing import SigningKey

from gateway.identity.errors import Refusal, SecretFileError
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import NodeKeys, SecretKind, read_secret

FILE_DIGITS: Final = 8
"""Digits of a key's id in the name of its file."""


class KeyKind(StrEnum):
    """What a key of a node is for. The value stands in file names, and in the store's record of what is current."""

    LOG = "log"
    RECEIPT = "receipt"
    PQ = "pq"
    SEALING = "sealing"
    STORAGE = "storage"

    @property
    def secret(self) -> SecretKind:
        """The kind of secret file."""
        return SecretKind[self.name]

    @property
    def default_file(self) -> str:
        """The file of the key that is current until the record says otherwise."""
        return self.secret.file_name


@dataclass(frozen=True, slots=True)
class HeldKey:
    """One key: what for, its id, the name of its file, its secret parts by name, and its public half."""

    kind: KeyKind
    key_id: str
    file: str
    parts: Mapping[str, bytes] = field(repr=False)
    public: bytes

    @classmethod
    def of(cls, kind: KeyKind, parts: Mapping[str, bytes], file: str | None = None) -> HeldKey:
        """The key with these parts, in the file of its id unless another is named."""
        public = _public(kind, parts)
        match kind:
            case KeyKind.SEALING:
                key_id = sha256(public).hexdigest()[:32]
            case KeyKind.STORAGE:
                key_id = sha256(parts["random"]).hexdigest()[:FILE_DIGITS]
            case _:
                key_id = public_key_id(public)
        return cls(kind, key_id, file or f"{kind}.{key_id[:FILE_DIGITS]}.key", dict(parts), public)

    @property
    def secret(self) -> bytes:
        """The one secret part: an Ed25519 or ML-DSA-44 seed, or the storage key. Of sealing keys there are two."""
        (part,) = self.parts.values()
        return part


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key of a node by kind and id, the default one of each kind first."""

    keys: Mapping[KeyKind, Mapping[str, HeldKey]]

    @classmethod
    def load(cls, directory: Path, lock: KeyLock | None = None) -> Keyring:
        """The keys in `directory`, opened with its `lock` where they are locked. Raises `SecretFileError`."""
        lock = lock or KeyLock(directory)
        found = []
        for kind in KeyKind:
            for path in key_files(directory, kind):
                name = path.name
                key = HeldKey.of(kind, read_secret(path, kind.secret, lock), name)
                if name not in (kind.default_file, HeldKey.of(kind, key.parts).file):
                    raise SecretFileError(
                        Refusal.WRONG_KIND,
                        f"the file holds the {kind} key {key.key_id}, and is not named by it",
                        where=str(path),
                        mend=f"Name it {HeldKey.of(kind, key.parts).file}, or restore the key that it is named by.",
                    )
                found.append(key)
        return cls.holding(found, str(directory))

    @classmethod
    def of_node_keys(cls, keys: NodeKeys) -> Keyring:
        """The keyring of a node that holds one key of each kind."""
        parts = {
            KeyKind.LOG: {"ed25519_seed": keys.log_seed},
            KeyKind.RECEIPT: {"ed25519_seed": keys.receipt_seed},
            KeyKind.PQ: {"mldsa44_seed": keys.pq_seed},
            KeyKind.SEALING: {
                "mlkem768_seed": keys.sealing_mlkem768_seed,
                "x25519_private": keys.sealing_x25519_private,
            },
            KeyKind.STORAGE: {"random": keys.storage_key},
        }
        return cls.holding([HeldKey.of(kind, each, kind.default_file) for kind, each in parts.items()], "these keys")

    @classmethod
    def holding(cls, keys: list[HeldKey], where: str) -> Keyring:
        """A keyring of these keys, in this order. Raises `SecretFileError` for one that is held twice (rule 3)."""
        ring: dict[KeyKind, dict[str, HeldKey]] = {kind: {} for kind in KeyKind}
        secrets: dict[bytes, HeldKey] = {}
        for key in keys:
            short = {other.key_id[:FILE_DIGITS]: other for other in ring[key.kind].values()}
            twin = next((secrets[part] for part in key.parts.values() if part in secrets), None)
            twin = twin or short.get(key.key_id[:FILE_DIGITS])
            if twin is not None:
                raise SecretFileError(
                    Refusal.ALREADY_THERE,
                    f"{key.file} and {twin.file} hold the same key",
                    where=where,
                    mend=f"Delete {key.file} if it is a copy; never use one key for two purposes.",
                )
            ring[key.kind][key.key_id] = key
            secrets.update(dict.fromkeys(key.parts.values(), key))
        return cls(ring)

    def default(self, kind: KeyKind) -> HeldKey:
        """The key in `<kind>.key`."""
        return next(iter(self.keys[kind].values()))

    def get(self, kind: KeyKind, key_id: str) -> HeldKey | None:
        """The key with this id, if it is held."""
        return self.keys[kind].get(key_id)

    def of_public(self, kind: KeyKind, public: bytes) -> HeldKey | None:
        """The key with this public half, if it is held."""
        return next((key for key in self.keys[kind].values() if key.public == public and public), None)


def key_files(directory: Path, kind: KeyKind) -> list[Path]:
    """The files of one kind, the default one first, whether it is there or not."""
    default = directory / kind.default_file
    return [default, *sorted(path for path in directory.glob(f"{kind}.*.key") if path.name[0] != ".")]


def public_key_id(public: bytes) -> str:
    """The id of a signing key by its raw public half: log, receipt or post-quantum."""
    return sha256(public).hexdigest()[:FILE_DIGITS]


def _public(kind: KeyKind, parts: Mapping[str, bytes]) -> bytes:
    match kind:
        case KeyKind.LOG | KeyKind.RECEIPT:
            return bytes(SigningKey(parts["ed25519_seed"]).verify_key)
        case KeyKind.PQ:
            return MLDSA44PrivateKey.from_seed_bytes(parts["mldsa44_seed"]).public_key().public_bytes_raw()
        case KeyKind.SEALING:
            mlkem = MLKEM768PrivateKey.from_seed_bytes(parts["mlkem768_seed"]).public_key().public_bytes_raw()
            x25519 = X25519PrivateKey.from_private_bytes(parts["x25519_private"]).public_key().public_bytes_raw()
            return mlkem + x25519
        case KeyKind.STORAGE:
            return b""
