"""Checkpoints: the signed size and root of a ledger (C2SP tlog-checkpoint).

Rules, in order, for a checkpoint that comes in:

1. It is a signed note, and is read only after the ledger owner's key has been found to hold over it (`note`).
2. The key's name equals the origin line (tlog-checkpoint, "Signatures"). A node has one key for all its
   ledgers; but as the key ID hashes the name, a signature made for one ledger is a stranger's line on any
   other.
3. The body is exactly three lines: origin, size, root. No extension lines: an ML-DSA-44 cosignature would not
   cover them (tlog-cosignature, "ML-DSA-44 signed message").
4. The origin is the one that was asked for.
5. The size is ASCII decimal, with no sign, leading zero or separator, and at most 2**63 - 1.
6. The root is 32 bytes in canonical base64; that of size 0 is the empty root, as there is no other (RFC 6962,
   2.1).

So one checkpoint has exactly one text. Two notes are the same checkpoint when their texts are equal; their
signature bytes may differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from gateway.ledger.errors import CheckpointError, NoteError, OriginError
from gateway.ledger.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from gateway.ledger.note import (
    ED25519_KEY_SIZE,
    Ed25519Signer,
    Ed25519Verifier,
    Note,
    decode_base64,
    ed25519_key,
    encode_base64,
    require_length,
    sign_note,
    verify_note,
)
from gateway.ledger.origin import Origin

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The statement that ledger `origin` has `size` entries and this 32-byte Merkle root.

    Raises CheckpointError for a size or root that no ledger can have.
    """

    origin: Origin
    size: int
    root: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise CheckpointError(f"checkpoint of {self.origin}: size {self.size} is not between 0 and 2**63 - 1")
        if len(self.root) != HASH_SIZE:
            raise CheckpointError(f"checkpoint of {self.origin}: root is {len(self.root)} bytes, not {HASH_SIZE}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise CheckpointError(f"checkpoint of {self.origin}: size is 0, but the root is not the empty tree's")

    def text(self) -> str:
        """The note text: three lines, each ending in newline."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """The checkpoint that a note text spells. ``parse(text).text() == text``. Raises CheckpointError."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise CheckpointError(
                "checkpoint is not exactly three lines (origin, size, root), each ending in newline; "
                "extension lines are not accepted"
            )
        try:
            origin = Origin.parse(lines[0])
        except OriginError as error:
            raise CheckpointError(f"checkpoint names no ledger: {error}") from error
        if _SIZE.fullmatch(lines[1]) is None:
            raise CheckpointError(f"checkpoint of {origin}: size {lines[1]!r} is not a plain decimal number")
        try:
            root = decode_base64(lines[2])
        except NoteError as error:
            raise CheckpointError(f"checkpoint of {origin}: root is {error}") from error
        return cls(origin, int(lines[1]), root)


@dataclass(frozen=True, slots=True)
class LogPublicKey:
    """A node's Ed25519 log key (32 bytes), as others know it. Raises NoteError for another length."""

    public_key: bytes

    def __post_init__(self) -> None:
        require_length("log public key", self.public_key, ED25519_KEY_SIZE)

    def verifier(self, origin: Origin) -> Ed25519Verifier:
        """This key under the name of one ledger."""
        return _verifier(self.public_key, origin)


class LogKey:
    """A node's Ed25519 log key, from its 32-byte seed: it signs the checkpoints of all the node's ledgers.

    It must not also be a cosigner's key: see `cosignature`.
    """

    __slots__ = ("_seed", "_signers", "public")

    public: LogPublicKey

    def __init__(self, seed: bytes) -> None:
        """Raises NoteError for a seed of another length."""
        self.public = LogPublicKey(bytes(ed25519_key(seed).verify_key))
        self._seed = bytes(seed)
        self._signers: dict[Origin, Ed25519Signer] = {}

    def signer(self, origin: Origin) -> Ed25519Signer:
        """This key under the name of one ledger. Kept, as ledgers are few and sign often."""
        signer = self._signers.get(origin)
        if signer is None:
            signer = self._signers[origin] = Ed25519Signer(str(origin), self._seed)
        return signer

    def __repr__(self) -> str:
        return f"LogKey(public={self.public.public_key.hex()})"


def sign_checkpoint(checkpoint: Checkpoint, key: LogKey) -> Note:
    """The note by which the ledger's owner states this checkpoint.

    A checkpoint must never be signed that is inconsistent with one signed before (tlog-checkpoint,
    "Signatures"): that is for the caller to hold to, by signing only what the same commit appends.
    """
    return sign_note(checkpoint.text(), key.signer(checkpoint.origin))


def open_checkpoint(
    raw: bytes | str, public_keys: Iterable[LogPublicKey], expected_origin: Origin
) -> tuple[Checkpoint, Note]:
    """The checkpoint of `expected_origin` in `raw`, signed by at least one of its owner's `public_keys`.

    Several keys are known while one replaces another. Other lines, such as cosignatures, stay on the note
    unverified. Raises NoteError when the note is malformed or not so signed, and CheckpointError when what it
    says is not a checkpoint of this ledger.
    """
    note = Note.parse(raw)
    verify_note(note, [key.verifier(expected_origin) for key in dict.fromkeys(public_keys)])
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != expected_origin:
        raise CheckpointError(f"checkpoint is of {checkpoint.origin}, where {expected_origin} was expected")
    return checkpoint, note


# Bounded, since a partner chooses the origins that it presents.
@lru_cache(maxsize=1024)
def _verifier(public_key: bytes, origin: Origin) -> Ed25519Verifier:
    return Ed25519Verifier(str(origin), public_key)
