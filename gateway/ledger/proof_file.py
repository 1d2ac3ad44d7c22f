"""Proof files: that one entry stands in a ledger, as a text that is checked offline (C2SP tlog-proof).

::

    c2sp.org/tlog-proof@v1
    extra <base64>                 what the application adds; this line is left out where there is nothing
    index <decimal>
    <hash, base64>                 the RFC 6962 inclusion path, from the leaf's sibling up; no line in a tree of one
                                   (an empty line)
    <the signed checkpoint, with every cosignature that it gained, as it stands>

Rules, in order, for a file that comes in:

1. It is at most MAX_PROOF_FILE bytes, ASCII up to the empty line, and its first line is the one above ("Format").
2. `extra` is at most MAX_EXTRA bytes once decoded, and never empty: the line is left out then. Its length is looked at
   before it is decoded.
3. The index is ASCII decimal with no sign or leading zero, and below 2**63 - 1.
4. The path has at most MAX_PATH hashes, each 32 bytes in canonical base64; their number is looked at before any is
   decoded.
5. What follows is one signed note (`note`) whose text is a checkpoint (`checkpoint`) of more than `index` entries.

So one proof has exactly one spelling. Nothing of it is proved by being well formed: `ProofFile.prove` checks, in order,
that the checkpoint is the expected ledger's and signed by a key of its owner, and that the path is exactly as long as
index and size require and leads from the leaf to the signed root. Whoever calls it says which leaf: `extra` is not
covered by any signature ("Applications MUST NOT implicitly trust the extra data").
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint
from gateway.ledger.errors import LedgerError, NoteError, ProofError
from gateway.ledger.merkle import HASH_SIZE, MAX_SIZE, verify_inclusion
from gateway.ledger.note import MAX_NOTE, Note, decode_base64, encode_base64
from gateway.ledger.origin import Origin

FIRST_LINE: Final = "c2sp.org/tlog-proof@v1"

SUFFIX: Final = ".tlog-proof"
"""Extension under which a proof is stored ("Proofs SHOULD be stored with file extension")."""

MAX_EXTRA: Final = 128 * 1024
"""Largest extra data, bytes: an entry of 65,535 bytes, its payload of 65,020, and what frames them."""

MAX_PATH: Final = 63
"""Most hashes of a path: the height of a tree of 2**63 - 1 leaves."""

MAX_PROOF_FILE: Final = 320 * 1024
"""Largest file, bytes: the largest extra data and the largest note, with room for the path."""

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")
_EXTRA: Final = "extra "
_BASE64_HASH: Final = 44
_MAX_EXTRA_BASE64: Final = 4 * -(-MAX_EXTRA // 3)


@dataclass(frozen=True, slots=True)
class ProofFile:
    """One proof: `path` is the inclusion path of entry `index` in the tree of `checkpoint`, a signed note.

    Well formed by construction (rules 2 to 5), but not verified: see `prove`. Raises ProofError.
    """

    index: int
    path: tuple[bytes, ...]
    checkpoint: Note
    extra: bytes = b""

    def __post_init__(self) -> None:
        if len(self.extra) > MAX_EXTRA:
            raise ProofError(f"proof: the extra data has {len(self.extra)} bytes; at most {MAX_EXTRA} are read")
        if len(self.path) > MAX_PATH:
            raise ProofError(f"proof: the path has {len(self.path)} hashes; no tree needs more than {MAX_PATH}")
        for position, value in enumerate(self.path):
            if len(value) != HASH_SIZE:
                raise ProofError(f"proof: hash {position} of the path is {len(value)} bytes, not {HASH_SIZE}")
        said = self.said
        if not 0 <= self.index < said.size <= MAX_SIZE:
            raise ProofError(f"proof: a ledger of {said.size} entries has no entry {self.index}")

    @property
    def said(self) -> Checkpoint:
        """What the checkpoint says, whoever signed it: to be believed only once `prove` has returned."""
        try:
            return Checkpoint.parse(self.checkpoint.text)
        except LedgerError as error:
            raise ProofError(f"proof: what follows the path is not a checkpoint: {error}") from error

    def encode(self) -> bytes:
        """The file."""
        lines = [FIRST_LINE]
        if self.extra:
            lines.append(_EXTRA + encode_base64(self.extra))
        lines.append(f"index {self.index}")
        lines += map(encode_base64, self.path)
        return "\n".join((*lines, "", "")).encode("ascii") + self.checkpoint.encode()

    @classmethod
    def parse(cls, raw: bytes) -> ProofFile:
        """The proof that a file spells. ``parse(raw).encode() == raw``. Raises ProofError."""
        if len(raw) > MAX_PROOF_FILE:
            raise ProofError(f"proof: the file has {len(raw)} bytes; at most {MAX_PROOF_FILE} are read")
        head, gap, checkpoint = raw.partition(b"\n\n")
        if not gap:
            raise ProofError("proof: there is no empty line between the path and the checkpoint")
        if len(checkpoint) > MAX_NOTE:
            raise ProofError(f"proof: the checkpoint has {len(checkpoint)} bytes; at most {MAX_NOTE} are read")
        try:
            first, *lines = head.decode("ascii").split("\n")
        except UnicodeDecodeError as error:
            raise ProofError(f"proof: byte {error.start} is not ASCII") from error
        if first != FIRST_LINE:
            raise ProofError(f"proof: the first line is {first[:64]!r}, not {FIRST_LINE!r}")
        extra = b""
        if lines and lines[0].startswith(_EXTRA):
            extra = _extra(lines.pop(0).removeprefix(_EXTRA))
        match = _INDEX.fullmatch(lines[0]) if lines else None
        if match is None:
            raise ProofError(
                f"proof: {lines[0][:64] if lines else ''!r} stands where the line `index` and a plain decimal number is"
                " expected"
            )
        if len(lines) - 1 > MAX_PATH:
            raise ProofError(f"proof: the path has {len(lines) - 1} hashes; no tree needs more than {MAX_PATH}")
        path = tuple(_hash(position, line) for position, line in enumerate(lines[1:]))
        try:
            note = Note.parse(checkpoint)
        except NoteError as error:
            raise ProofError(f"proof: its checkpoint is not a signed note: {error}") from error
        return cls(int(match[1]), path, note, extra)

    def prove(self, leaf: bytes, public_keys: Iterable[LogPublicKey], origin: Origin) -> Checkpoint:
        """The signed checkpoint of `origin` under which the leaf with this hash stands at `index`.

        `public_keys` are those of the ledger's owner that are believed. Raises NoteError, CheckpointError or
        ProofError when that is not proved.
        """
        checkpoint, _ = open_checkpoint(self.checkpoint.encode(), public_keys, origin)
        verify_inclusion(leaf, self.index, checkpoint.size, self.path, checkpoint.root)
        return checkpoint


def _extra(encoded: str) -> bytes:
    if not encoded:
        raise ProofError("proof: the line `extra` holds nothing; it is left out then")
    if len(encoded) > _MAX_EXTRA_BASE64:
        raise ProofError(f"proof: the extra data has more than {MAX_EXTRA} bytes, and no more are read")
    try:
        return decode_base64(encoded)
    except NoteError as error:
        raise ProofError(f"proof: the extra data is {error}") from error


def _hash(position: int, line: str) -> bytes:
    if len(line) != _BASE64_HASH:
        raise ProofError(f"proof: line {position} of the path has {len(line)} characters, not {_BASE64_HASH}")
    try:
        return decode_base64(line)
    except NoteError as error:
        raise ProofError(f"proof: line {position} of the path is {error}") from error
