"""Cosignatures: timestamped statements on a checkpoint (C2SP tlog-cosignature).

A recipient's is the receipt for storing the entries; the owner's own, of type 0x06, is its post-quantum
signature.

Rules, in order:

1. Only a checkpoint is cosigned, and only one with no extension lines (`checkpoint` rule 3), so that both
   types cover the same three facts: origin, size and root.
2. Type 0x04 is Ed25519 over the lines ``cosignature/v1`` and ``time <seconds>`` and the whole note text.
3. Type 0x06 is ML-DSA-44 (FIPS 204, pure, empty context) over the `cosigned_message` structure with start = 0
   and end = the checkpoint's size: it binds the cosigner's name as well.
4. A signature is a big-endian uint64 timestamp, POSIX seconds, and 64 or 2420 bytes; a verifier takes no
   other length.
5. The timestamp is 1 to 2**63 - 1. The spec lets a type 0x06 timestamp be zero, meaning that no statement is
   made about this being the latest tree seen; but a receipt is that statement, so zero is neither signed nor
   believed here.
6. Time comes from the caller, both when signing and when judging how old a cosignature is.

Names: a node cosigns as ``signalfire/v1/<NODE>/receipt`` (0x04) and as ``signalfire/v1/<NODE>/pq`` (0x06).

An Ed25519 cosigner's key must be no other cosigner's and not the node's log key. "The Ed25519 signed message
format doesn't commit to the cosigner name, so the same public key can't be used across multiple cosigners"
(tlog-cosignature, "Ed25519 signed message"). And a type 0x01 key signs note texts as they stand, of which the
cosigned message is one, so that one key in both parts would have no domain separation, on which signed-note
makes the reuse of keys depend: a log signature could be shown as a receipt.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import CheckpointError, NoteError
from gateway.ledger.note import (
    ED25519_KEY_SIZE,
    ED25519_SIGNATURE_SIZE,
    SignatureLine,
    SignatureType,
    Signer,
    derive_key_id,
    ed25519_key,
    encode_vkey,
    parse_vkey,
    require_key_name,
    require_length,
    to_utf8,
    verify_ed25519,
)
from gateway.ledger.origin import PREFIX

MAX_TIMESTAMP: Final = 2**63 - 1
"""Latest timestamp, POSIX seconds (tlog-cosignature, "Format")."""

MLDSA44_SEED_SIZE: Final = 32
MLDSA44_KEY_SIZE: Final = 1312
MLDSA44_SIGNATURE_SIZE: Final = 2420

_LABEL: Final = b"subtree/v1\n\x00"
_MAX_NAME: Final = 255
_TIMESTAMP: Final = struct.Struct(">Q")
_NODE = re.compile(r"[A-Z]{3}")


def receipt_name(node: str) -> str:
    """Key name under which a node (three upper-case letters) gives receipts: type 0x04. Raises NoteError."""
    return _node_key_name(node, "receipt")


def pq_name(node: str) -> str:
    """Key name under which a node (three upper-case letters) signs post-quantum: type 0x06.

    Raises NoteError.
    """
    return _node_key_name(node, "pq")


@dataclass(frozen=True, slots=True)
class TimedSigner:
    """A cosigner at one moment: the `Signer` for `note.sign_note`."""

    cosigner: CosignatureSigner
    unix_seconds: int

    @property
    def name(self) -> str:
        """Key name."""
        return self.cosigner.name

    @property
    def key_id(self) -> int:
        """Key ID."""
        return self.cosigner.key_id

    def sign(self, text: bytes) -> bytes:
        """The `timestamped_signature` over the checkpoint `text`."""
        return self.cosigner.sign_at(text, self.unix_seconds)


def cosign(text: str, signer: CosignatureSigner, unix_seconds: int) -> SignatureLine:
    """The line by which `signer` states that, at `unix_seconds`, this is the ledger's largest tree that it knows.

    `text` is a checkpoint's note text. Raises CheckpointError when it is none, NoteError for a time out of range.
    """
    return SignatureLine(signer.name, signer.key_id, signer.sign_at(to_utf8(text), unix_seconds))


def verify_cosignature(text: str, line: SignatureLine, verifier: CosignatureVerifier) -> int:
    """The time, POSIX seconds, at which the verifier's key cosigned the checkpoint `text` in this line.

    Raises NoteError when the line is another key's, or does not hold over this text.
    """
    if (line.name, line.key_id) != (verifier.name, verifier.key_id):
        raise NoteError(
            f"cosignature is of {line.name}+{line.key_id:08x}, not of {verifier.name}+{verifier.key_id:08x} as expected"
        )
    if not verifier.verify(to_utf8(text), line.signature):
        raise NoteError(f"cosignature of {line.name}+{line.key_id:08x} does not hold over this checkpoint")
    return int.from_bytes(line.signature[: _TIMESTAMP.size], "big")


def ed25519_message(text: bytes, unix_seconds: int) -> bytes:
    """What a type 0x04 cosignature signs (tlog-cosignature, "Ed25519 signed message").

    Raises CheckpointError unless `text` is a checkpoint, NoteError for a time out of range.
    """
    _require_timestamp(unix_seconds)
    _parse(text)
    return b"cosignature/v1\ntime %d\n%b" % (unix_seconds, text)


def mldsa44_message(cosigner_name: str, text: bytes, unix_seconds: int) -> bytes:
    """What a type 0x06 cosignature signs: a `cosigned_message` (tlog-cosignature, "ML-DSA-44 signed message").

    Raises CheckpointError unless `text` is a checkpoint, NoteError for a time or name out of range.
    """
    _require_timestamp(unix_seconds)
    checkpoint = _parse(text)
    return b"".join(
        (
            _LABEL,
            _opaque(cosigner_name),
            _TIMESTAMP.pack(unix_seconds),
            _opaque(str(checkpoint.origin)),
            struct.pack(">QQ", 0, checkpoint.size),
            checkpoint.root,
        )
    )


@dataclass(frozen=True, slots=True)
class Ed25519CosignatureVerifier:
    """An Ed25519 cosigner's public key (32 bytes): type 0x04. Raises NoteError."""

    name: str
    public_key: bytes
    key_id: int = field(init=False)

    def __post_init__(self) -> None:
        require_key_name(self.name)
        require_length("Ed25519 cosigner public key", self.public_key, ED25519_KEY_SIZE)
        object.__setattr__(self, "key_id", derive_key_id(self.name, self.algorithm, self.public_key))

    @classmethod
    def from_vkey(cls, vkey: str) -> Ed25519CosignatureVerifier:
        """The verifier of a type 0x04 verifier key. Raises NoteError."""
        return cls(*parse_vkey(vkey, SignatureType.ED25519_COSIGNATURE))

    @property
    def algorithm(self) -> SignatureType:
        """Type 0x04."""
        return SignatureType.ED25519_COSIGNATURE

    @property
    def vkey(self) -> str:
        """The verifier key in text."""
        return encode_vkey(self.name, self.algorithm, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is a `timestamped_signature` of this key over the checkpoint `text`."""
        if len(signature) != _TIMESTAMP.size + ED25519_SIGNATURE_SIZE:
            return False
        (unix_seconds,) = _TIMESTAMP.unpack_from(signature)
        try:
            message = ed25519_message(text, unix_seconds)
        except (CheckpointError, NoteError):
            return False
        return verify_ed25519(self.public_key, message, signature[_TIMESTAMP.size :])


class Ed25519CosignatureSigner:
    """An Ed25519 cosigner's private key, from its 32-byte seed: type 0x04. Not the node's log key: see the
    module.
    """

    __slots__ = ("_key", "verifier")

    verifier: Ed25519CosignatureVerifier

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises NoteError for a bad name, or a seed of another length."""
        self._key = ed25519_key(seed)
        self.verifier = Ed25519CosignatureVerifier(name, bytes(self._key.verify_key))

    @property
    def name(self) -> str:
        """Key name."""
        return self.verifier.name

    @property
    def key_id(self) -> int:
        """Key ID."""
        return self.verifier.key_id

    def sign_at(self, text: bytes, unix_seconds: int) -> bytes:
        """The `timestamped_signature` over the checkpoint `text`: 72 bytes."""
        signature = self._key.sign(ed25519_message(text, unix_seconds)).signature
        return _TIMESTAMP.pack(unix_seconds) + signature

    def at(self, unix_seconds: int) -> Signer:
        """This cosigner at one moment, for `note.sign_note`."""
        return TimedSigner(self, unix_seconds)

    def __repr__(self) -> str:
        return f"Ed25519CosignatureSigner({self.verifier.vkey!r})"


@dataclass(frozen=True, slots=True)
class MLDSA44CosignatureVerifier:
    """An ML-DSA-44 cosigner's public key (1312 bytes) under a name of at most 255 bytes: type 0x06. Raises
    NoteError.
    """

    name: str
    public_key: bytes
    key_id: int = field(init=False)
    _key: MLDSA44PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        require_key_name(self.name)
        _opaque(self.name)
        require_length("ML-DSA-44 cosigner public key", self.public_key, MLDSA44_KEY_SIZE)
        object.__setattr__(self, "key_id", derive_key_id(self.name, self.algorithm, self.public_key))
        object.__setattr__(self, "_key", MLDSA44PublicKey.from_public_bytes(self.public_key))

    @classmethod
    def from_vkey(cls, vkey: str) -> MLDSA44CosignatureVerifier:
        """The verifier of a type 0x06 verifier key. Raises NoteError."""
        return cls(*parse_vkey(vkey, SignatureType.MLDSA44_COSIGNATURE))

    @property
    def algorithm(self) -> SignatureType:
        """Type 0x06."""
        return SignatureType.MLDSA44_COSIGNATURE

    @property
    def vkey(self) -> str:
        """The verifier key in text."""
        return encode_vkey(self.name, self.algorithm, self.public_key)

    def verify(self, text: bytes, signature: bytes) -> bool:
        """Whether `signature` is a `timestamped_signature` of this key over the checkpoint `text`."""
        if len(signature) != _TIMESTAMP.size + MLDSA44_SIGNATURE_SIZE:
            return False
        (unix_seconds,) = _TIMESTAMP.unpack_from(signature)
        try:
            message = mldsa44_message(self.name, text, unix_seconds)
            self._key.verify(signature[_TIMESTAMP.size :], message)
        except (CheckpointError, NoteError, InvalidSignature):
            return False
        return True


class MLDSA44CosignatureSigner:
    """An ML-DSA-44 cosigner's private key, from its 32-byte seed: type 0x06. Signatures are randomised."""

    __slots__ = ("_key", "verifier")

    verifier: MLDSA44CosignatureVerifier

    def __init__(self, name: str, seed: bytes) -> None:
        """Raises NoteError for a bad name, or a seed of another length."""
        require_length("ML-DSA-44 seed", seed, MLDSA44_SEED_SIZE)
        self._key = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.verifier = MLDSA44CosignatureVerifier(name, self._key.public_key().public_bytes_raw())

    @property
    def name(self) -> str:
        """Key name."""
        return self.verifier.name

    @property
    def key_id(self) -> int:
        """Key ID."""
        return self.verifier.key_id

    def sign_at(self, text: bytes, unix_seconds: int) -> bytes:
        """The `timestamped_signature` over the checkpoint `text`: 2428 bytes."""
        signature = self._key.sign(mldsa44_message(self.name, text, unix_seconds))
        return _TIMESTAMP.pack(unix_seconds) + signature

    def at(self, unix_seconds: int) -> Signer:
        """This cosigner at one moment, for `note.sign_note`."""
        return TimedSigner(self, unix_seconds)

    def __repr__(self) -> str:
        return f"MLDSA44CosignatureSigner(name={self.name!r}, key_id={self.key_id:08x})"


CosignatureSigner: TypeAlias = Ed25519CosignatureSigner | MLDSA44CosignatureSigner
"""A cosigner's private key, of either type. Signing needs a time, so a note's `Signer` is
``at(unix_seconds)``.
"""

CosignatureVerifier: TypeAlias = Ed25519CosignatureVerifier | MLDSA44CosignatureVerifier
"""A cosigner's public key, of either type."""


def _node_key_name(node: str, part: str) -> str:
    if _NODE.fullmatch(node) is None:
        raise NoteError(f"node {node!r} is not three upper-case letters, such as JPN")
    return f"{PREFIX}/{node}/{part}"


def _parse(text: bytes) -> Checkpoint:
    try:
        return Checkpoint.parse(text.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CheckpointError(f"checkpoint is not UTF-8 at byte {error.start}") from error


def _require_timestamp(unix_seconds: int) -> None:
    if not 1 <= unix_seconds <= MAX_TIMESTAMP:
        raise NoteError(f"cosignature time {unix_seconds} is not between 1 and 2**63 - 1 POSIX seconds")


def _opaque(value: str) -> bytes:
    """``opaque<1..2^8-1>`` (RFC 8446 section 3.4): a length byte and the bytes. Raises NoteError."""
    raw = to_utf8(value)
    if not 1 <= len(raw) <= _MAX_NAME:
        raise NoteError(f"name {value!r} is {len(raw)} bytes; a cosigned message holds 1 to {_MAX_NAME}")
    return bytes((len(raw),)) + raw
