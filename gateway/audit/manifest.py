"""The manifest of an exported folder: which ledgers were written and how much of each, signed by who wrote it.

The file `manifest` is a signed note by the gateway key of the node that exported. Its text::

    signalfire/v1/JPN/export
    signalfire/v1/JPN/KOR/flash/1 603
    signalfire/v1/KOR/JPN/flash/1 0

A line a ledger, by origin line, each once: the origin and the size that was written; 0 where nothing of it was, as it
is empty or its recipient has confirmed none of it. So a ledger that was taken out of a folder is missed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import MAX_NOTE, Ed25519Verifier, Note, Signer, sign_note, verify_note
from gateway.ledger.origin import PREFIX, Origin

MANIFEST: Final = "manifest"
MAX_MANIFEST: Final = MAX_NOTE

_FIRST: Final = re.compile(rf"{re.escape(PREFIX)}/([A-Z]{{3}})/export")
_LINE: Final = re.compile(r"(\S+) (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a folder was written with: by whom, and the size of each ledger."""

    node: str
    sizes: Mapping[Origin, int]

    def sign(self, signer: Signer) -> bytes:
        """The file. Raises NoteError where it is longer than a note may be."""
        lines = [f"{origin} {size}" for origin, size in sorted(self.sizes.items(), key=lambda item: str(item[0]))]
        return sign_note("\n".join([f"{PREFIX}/{self.node}/export", *lines]) + "\n", signer).encode()

    @classmethod
    def parse(cls, raw: bytes) -> tuple[Self, Note]:
        """What a file says, not verified. Raises LedgerError."""
        note = Note.parse(raw)
        first, *lines = note.text.removesuffix("\n").split("\n")
        head = _FIRST.fullmatch(first)
        found = [_LINE.fullmatch(line) for line in lines]
        if head is None:
            raise NoteError(f"the manifest begins with {first[:80]!r}, not with {PREFIX}/<NODE>/export")
        sizes: dict[Origin, int] = {}
        for line, match in zip(lines, found, strict=True):
            if match is None:
                raise NoteError(f"the manifest has the line {line[:80]!r}, which is not an origin and a size")
            sizes[Origin.parse(match[1])] = int(match[2])
        if len(sizes) != len(lines):
            raise NoteError("the manifest names a ledger twice")
        return cls(head[1], sizes), note


def is_signed(note: Note, keys: Sequence[Ed25519Verifier]) -> bool:
    """Whether one of `keys` signed it. Raises LedgerError where a signature of one of them does not hold."""
    if not any(map(note.bears, keys)):
        return False
    try:
        verify_note(note, keys)
    except LedgerError as error:
        raise NoteError(f"the manifest does not hold: {error}") from error
    return True
