"""Signed statements about ledgers that are not checkpoints: heartbeats, absent and unopenable entries.

Each is a C2SP signed note by a node's log key under the name ``signalfire/v1/<NODE>/gateway``. The first line says
what kind
of statement it is and whose, so none can pass for another, nor for a checkpoint (whose first line is an origin line).

Heartbeat, one a recipient and interval, over the heads of all lanes that the origin keeps for that recipient::

    signalfire/v1/<NODE>/heartbeat
    <recipient>
    <time, nanoseconds since 1970, decimal>
    <counter, decimal, larger than in every heartbeat before>
    takes ROUTINE | PRIORITY | IMMEDIATE | FLASH | nothing
    <origin line> <size> <root, base64>        one line a ledger, each once, sorted; none is a valid heartbeat too

Entry statement (`absent`: by the ledger's owner, why an entry is served as its hash alone; `unopenable`: by its
recipient,
why an entry cannot be used)::

    signalfire/v1/<NODE>/absent  or  signalfire/v1/<NODE>/unopenable
    <origin line>
    <index, decimal>
    <leaf hash, base64>
    <reason, one line, 1 to 256 characters>

Rules: numbers are ASCII decimals without sign or leading zero, base64 is canonical (RFC 4648 section 4), there is
exactly
one spelling of each statement. All functions raise NoteError on anything else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import Note, Signer, Verifier, decode_base64, encode_base64, sign_note, verify_note
from gateway.ledger.origin import PREFIX, Origin

MAX_REASON: Final = 256
"""Characters of a reason: enough for a sentence, too few to smuggle a report."""

MAX_HEADS: Final = 64
"""Ledgers named in one heartbeat: four lanes and room for generations that end."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}")


class Takes(StrEnum):
    """Which reports a node takes from its C2 systems: those of this precedence and above."""

    ROUTINE = "ROUTINE"
    PRIORITY = "PRIORITY"
    IMMEDIATE = "IMMEDIATE"
    FLASH = "FLASH"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What an origin says of itself to one recipient. `time_ns` since 1970; `heads` as checkpoints without
    signature. It is signed, so nobody who carries it can hide that an origin is quiet because it can take nothing.
    """

    node: str
    recipient: str
    time_ns: int
    counter: int
    heads: tuple[Checkpoint, ...]
    takes: Takes = Takes.ROUTINE

    def text(self) -> str:
        """The note's text."""
        lines = [f"{PREFIX}/{self.node}/heartbeat", self.recipient, str(self.time_ns), str(self.counter)]
        lines.append(f"takes {self.takes.value}")
        lines += sorted(f"{head.origin} {head.size} {encode_base64(head.root)}" for head in self.heads)
        return "\n".join(lines) + "\n"

    def sign(self, signer: Signer) -> bytes:
        """The signed note."""
        return sign_note(self.text(), signer).encode()

    @classmethod
    def open(cls, raw: bytes, verifiers: Iterable[Verifier], *, node: str, recipient: str) -> Heartbeat:
        """The heartbeat of `node` for `recipient`, signed by one of `verifiers`."""
        note = Note.parse(raw)
        verify_note(note, verifiers)
        match note.text.removesuffix("\n").split("\n"):
            case [first, to, time_ns, counter, takes, *heads] if (
                first == f"{PREFIX}/{node}/heartbeat" and to == recipient
            ):
                if len(heads) > MAX_HEADS:
                    raise NoteError(f"heartbeat of {node}: names {len(heads)} ledgers; at most {MAX_HEADS}")
                found = cls(
                    node,
                    to,
                    _decimal(time_ns),
                    _decimal(counter),
                    tuple(_head(line) for line in heads),
                    _takes(takes),
                )
            # A note that is not of this shape, or of another node or for another, falls through to here.
            case _:
                raise NoteError(f"heartbeat: not one of {node} for {recipient}")
        for head in found.heads:
            if (head.origin.owner, head.origin.recipient) != (node, recipient):
                raise NoteError(f"heartbeat of {node}: {head.origin} is not a ledger of {node} for {recipient}")
        if len({head.origin for head in found.heads}) != len(found.heads):
            raise NoteError(f"heartbeat of {node}: names a ledger twice")
        if found.text() != note.text:
            raise NoteError(f"heartbeat of {node}: not in its one spelling")
        return found


class EntryStatementKind(StrEnum):
    """Who says what about an entry."""

    ABSENT = "absent"
    UNOPENABLE = "unopenable"


@dataclass(frozen=True, slots=True)
class EntryStatement:
    """Why one entry is given as its hash alone (absent), or cannot be used (unopenable)."""

    kind: EntryStatementKind
    node: str
    origin: Origin
    index: int
    leaf_hash: bytes
    reason: str

    def text(self) -> str:
        """The note's text."""
        if not 1 <= len(self.reason) <= MAX_REASON or not self.reason.isprintable():
            raise NoteError(f"{self.kind} statement: the reason must be one line of 1 to {MAX_REASON} characters")
        return (
            f"{PREFIX}/{self.node}/{self.kind.value}\n{self.origin}\n{self.index}\n"
            f"{encode_base64(self.leaf_hash)}\n{self.reason}\n"
        )

    def sign(self, signer: Signer) -> bytes:
        """The signed note."""
        return sign_note(self.text(), signer).encode()

    @classmethod
    def open(
        cls, raw: bytes, verifiers: Iterable[Verifier], *, kind: EntryStatementKind, node: str, origin: Origin
    ) -> EntryStatement:
        """The statement of that kind by `node` about an entry of `origin`, signed by one of `verifiers`."""
        note = Note.parse(raw)
        verify_note(note, verifiers)
        return cls.read(note.text, kind=kind, node=node, origin=origin)

    @classmethod
    def read(cls, text: str, *, kind: EntryStatementKind, node: str, origin: Origin) -> EntryStatement:
        """The same from a note's text, whoever signed it: to be believed only once that has been verified."""
        match text.removesuffix("\n").split("\n"):
            case [first, line, index, leaf, reason] if first == f"{PREFIX}/{node}/{kind.value}" and line == str(origin):
                found = cls(kind, node, origin, _decimal(index), _hash(leaf), reason)
            case _:
                raise NoteError(f"{kind} statement: not one of {node} about {origin}")
        if found.text() != text:
            raise NoteError(f"{kind} statement of {node}: not in its one spelling")
        return found


def speaks_for(raw: bytes, node: str) -> bool:
    """Whether a signed note is, by its first line, a statement of `node` about an absent entry; nothing is verified.
    Raises NoteError.
    """
    return Note.parse(raw).text.startswith(f"{PREFIX}/{node}/{EntryStatementKind.ABSENT.value}\n")


def _decimal(text: str) -> int:
    if _DECIMAL.fullmatch(text) is None:
        raise NoteError(f"statement: {text[:32]!r} is not a decimal number without sign or leading zero")
    value = int(text)
    if value > 2**63 - 1:
        raise NoteError(f"statement: {text} does not fit 63 bits")
    return value


def _takes(line: str) -> Takes:
    word = line.removeprefix("takes ")
    if word == line or word not in list(Takes):
        raise NoteError(f"heartbeat: {line[:32]!r} does not say what is taken")
    return Takes(word)


def _hash(text: str) -> bytes:
    value = decode_base64(text)
    if len(value) != 32:
        raise NoteError(f"statement: a hash of {len(value)} bytes instead of 32")
    return value


def _head(line: str) -> Checkpoint:
    parts: Sequence[str] = line.split(" ")
    if len(parts) != 3:
        raise NoteError(f"heartbeat: {line[:80]!r} is not an origin line, a size and a root")
    try:
        return Checkpoint(Origin.parse(parts[0]), _decimal(parts[1]), _hash(parts[2]))
    except NoteError:
        raise
    except LedgerError as error:
        raise NoteError(f"heartbeat: {error}") from error
