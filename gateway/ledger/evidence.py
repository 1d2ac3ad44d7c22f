"""Evidence that a node contradicted itself: two statements, signed by its keys, that cannot both be true.

A *statement* is one signed note: a checkpoint (by a log key under the origin line, or by a post-quantum key), or a
heartbeat (by a log key under the node's gateway name). Rules, in order, for a pair:

1. Each is signed by a key of the node that is accused. Other lines are not looked at.
2. Both name one ledger of that node, and either
   a. give it two roots at one size: a ledger has one history; or
   b. are heartbeats for one recipient, and the one with the larger counter gives it the smaller size: a ledger does not
      shrink.

Evidence travels as one JSON object (RFC 8259) of two members, no others, none twice: `format`, which is
``signalfire/v1/fork-evidence``, and `statements`, the two notes. Whoever has the node's keys can check it alone: it
needs no store and no ledger.

All functions raise EvidenceError for a pair that proves nothing, but for `contradictions`, which finds nothing in it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.ledger.checkpoint import Checkpoint, LogPublicKey
from gateway.ledger.cosignature import MLDSA44CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError
from gateway.ledger.note import MAX_NOTE, Ed25519Verifier, Note, verify_note
from gateway.ledger.origin import PREFIX, Origin
from gateway.ledger.statement import Heartbeat

FORMAT: Final = "signalfire/v1/fork-evidence"
"""What the file calls itself."""

MAX_EVIDENCE: Final = 6 * 2 * MAX_NOTE + 1024
"""Bytes of a file: two notes, of which JSON may spell each character in six."""


class EvidenceError(LedgerError):
    """Two statements that can both be true, or are not the node's, or a file that holds no pair of them."""


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """Public keys of the node that is accused, by which its statements are judged."""

    node: str
    log: Sequence[LogPublicKey]
    gateway: Sequence[Ed25519Verifier]
    pq: Sequence[MLDSA44CosignatureVerifier] = ()


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two statements of the owner of `origin` that cannot both be true: `heads` are what they say of that ledger.

    `statements` hold the signatures of the owner's keys alone.
    """

    origin: Origin
    heads: tuple[Checkpoint, Checkpoint]
    statements: tuple[bytes, bytes]

    def __str__(self) -> str:
        one, other = self.heads
        if one.size == other.size:
            return f"{self.origin}: two roots at size {one.size}: {one.root.hex()} and {other.root.hex()}"
        return f"{self.origin}: shrank from {max(one.size, other.size)} entries to {min(one.size, other.size)}"

    def encode(self) -> bytes:
        """The evidence as it travels."""
        return encode(*self.statements)


@dataclass(frozen=True, slots=True)
class _Statement:
    raw: bytes
    heads: dict[Origin, Checkpoint]
    recipient: str = ""
    counter: int = -1


def contradiction(one: bytes, other: bytes, keys: OwnerKeys, other_keys: OwnerKeys | None = None) -> Contradiction:
    """The first contradiction between two signed notes of the node with these keys; `other` is judged by `other_keys`
    of the same node, where they are given.
    """
    found = contradictions(one, other, keys, other_keys)
    if not found:
        raise EvidenceError(f"both statements of {keys.node} can be true: they prove nothing")
    return found[0]


def contradictions(
    one: bytes, other: bytes, keys: OwnerKeys, other_keys: OwnerKeys | None = None
) -> Sequence[Contradiction]:
    """The same of every ledger about which the two contradict each other; empty where both can be true. Two heartbeats
    name many ledgers: what they say of one must not hide what they say of another.
    """
    first, second = _open(one, keys), _open(other, other_keys or keys)
    return [
        Contradiction(origin, (head, against), (first.raw, second.raw))
        for origin, head in first.heads.items()
        if (against := second.heads.get(origin)) is not None and _contradict(first, head, second, against)
    ]


def _contradict(first: _Statement, head: Checkpoint, second: _Statement, against: Checkpoint) -> bool:
    if head.size == against.size:
        return head.root != against.root
    if min(first.counter, second.counter) < 0 or first.recipient != second.recipient:
        return False
    return first.counter != second.counter and (first.counter < second.counter) == (head.size > against.size)


def _open(raw: bytes, keys: OwnerKeys) -> _Statement:
    try:
        note = Note.parse(raw)
        if note.text.startswith(f"{PREFIX}/{keys.node}/heartbeat\n"):
            recipient = note.text.split("\n")[1]
            heartbeat = Heartbeat.open(raw, keys.gateway, node=keys.node, recipient=recipient)
            heads = {head.origin: head for head in heartbeat.heads}
            return _Statement(note.of_keys(keys.gateway).encode(), heads, recipient, heartbeat.counter)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin.owner != keys.node:
            raise EvidenceError(f"a checkpoint of {checkpoint.origin} is no statement of {keys.node}")
        return _Statement(_signed(note, checkpoint.origin, keys).encode(), {checkpoint.origin: checkpoint})
    except EvidenceError:
        raise
    except LedgerError as error:
        raise EvidenceError(f"a statement of {keys.node} does not hold: {error}") from error


def _signed(note: Note, origin: Origin, keys: OwnerKeys) -> Note:
    """The checkpoint with the lines of the owner's keys alone: those of log keys where there are any."""
    verifiers = [key.verifier(origin) for key in keys.log]
    names = {(verifier.name, verifier.key_id) for verifier in verifiers}
    if any((line.name, line.key_id) in names for line in note.signatures):
        verify_note(note, verifiers)
        return note.of_keys(verifiers)
    known = {(verifier.name, verifier.key_id): verifier for verifier in keys.pq}
    lines = [line for line in note.signatures if (line.name, line.key_id) in known]
    if not lines:
        raise EvidenceError(f"no key of {keys.node} signed this checkpoint of {origin}")
    for line in lines:
        verify_cosignature(note.text, line, known[(line.name, line.key_id)])
    return note.of_keys(keys.pq)


def encode(one: bytes, other: bytes) -> bytes:
    """Two notes as they travel."""
    statements = [one.decode("utf-8"), other.decode("utf-8")]
    return (json.dumps({"format": FORMAT, "statements": statements}, indent=2) + "\n").encode("ascii")


def decode(raw: bytes) -> tuple[bytes, bytes]:
    """The two statements of a file, not verified yet."""
    if len(raw) > MAX_EVIDENCE:
        raise EvidenceError(f"the file has {len(raw)} bytes; evidence has at most {MAX_EVIDENCE}")
    try:
        found = json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise EvidenceError(f"the file is not JSON: {error}") from error
    if not isinstance(found, dict) or found.keys() != {"format", "statements"} or found["format"] != FORMAT:
        raise EvidenceError(f'the file is not an object of "format": "{FORMAT}" and "statements" alone')
    match found["statements"]:
        case [str() as one, str() as other]:
            return one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass")
    raise EvidenceError('"statements" is not a list of two notes')


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a member stands twice")
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
