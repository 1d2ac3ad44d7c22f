"""Checks the proof of a release offline: by the file and the trust bundles of the two nations alone.

Rules, in order:

1. The file is a tlog-proof (`gateway.ledger.proof_file`), its ledger is a release ledger, and its owner is the nation
   of the trust bundle. Where a second bundle is given, it is the recipient's.
2. `extra` is a `ReleaseProof` in canonical form that holds an entry, or in its place the signed statement why only the
   hash is given; parts are shown of an entry alone.
3. The leaf is the hash of that very entry, which is sealed content that can stand at that index; or the one that the
   statement names, which is about this ledger and index.
4. A log key of the owner signed the checkpoint, and the path leads from the leaf to its root. Keys are those that the
   bundle in force names as current: a retired one's thief, who may be either party, signs with whatever time he likes.
   A file of before a change of keys proves nothing by itself, and either side makes it anew.
5. The receipt is by a receipt key of the recipient, and the post-quantum line by a key of the owner, current as well. A
   line of such a key that does not hold condemns the file; one of a retired key counts for nothing, and is named.
   Without the recipient's bundle nothing is said about the receipt.
6. A reason why only the hash is given may be signed by a retired key: the checkpoint covers the hash. It is named then.
7. The parts that are shown are what the entry commits to, and hold a report of the owner's, one that it passed on, or a
   withdrawal.

What is proved: the owner released this copy to the recipient, who stored it by the time of the receipt. That a report
which was passed on is its originator's is not checked here, and neither is that it still stands.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final, TypeVar

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.identity.keyring import public_key_id
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note, Verifier, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.proof_file import ProofFile
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.release.groups import WHOLE, NotInGroups, pieces_shown
from gateway.release.signatory import Partner, Retired
from gateway.seal.commitment import check
from gateway.seal.entry import EntryKind, parse_canonical, parse_header, require_place
from gateway.seal.epoch import content_of
from gateway.seal.errors import SealError

V = TypeVar("V", bound=CosignatureVerifier)


class NotProved(Exception):
    """A file that proves nothing; the text says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature that holds: by which key (its id, as `keys list` and `pki show` name it), and when where it says so
    (POSIX seconds).
    """

    key_id: str
    seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Proved:
    """What a file proves."""

    origin: Origin
    index: int
    checkpoint: Checkpoint
    signed: Signed
    """By the owner's log key."""
    receipt: Signed | None
    """By the recipient; None where there is none, or where its bundle was not given."""
    post_quantum: Signed | None
    content: ledger_pb2.EntryContent | None
    """What the entry says, as far as it is shown."""
    hidden: int
    """Parts of the entry that are given as hashes, at least."""
    absent: str = ""
    """Why only the entry's hash is given; empty where the entry is there."""
    remarks: Sequence[str] = field(default=())

    @property
    def report(self) -> report_pb2.Report | None:
        """The report that the entry holds, where one is shown."""
        match None if self.content is None else self.content.WhichOneof("content"):
            case "report":
                return self.content.report  # type: ignore[union-attr]  # not None, as matched
            case "onward_report":
                return self.content.onward_report.report  # type: ignore[union-attr]
        return None


def check_proof(raw: bytes, owner: Partner, recipient: Partner | None = None) -> Proved:
    """What the proof `raw` proves, by the keys of bundles in force and the rules of this module. Raises NotProved."""
    try:
        file = ProofFile.parse(raw)
        origin = file.said.origin
        _between(origin, owner, recipient)
        proof = parse_canonical(file.extra, ledger_pb2.ReleaseProof)
        if proof is None or bool(proof.entry) == bool(proof.absent):
            raise NotProved("its extra data is not a ReleaseProof that holds an entry, or why only its hash is given")
        remarks: list[str] = []
        leaf, absent = _leaf(origin, file.index, proof, owner, recipient, remarks)
        signed = _signed(file.checkpoint, origin, owner)
        checkpoint = file.prove(leaf, owner.log, origin)
        receipt = _receipt(file.checkpoint, recipient, remarks)
        post_quantum = _post_quantum(file.checkpoint, owner, remarks)
        content, hidden = _content(proof, origin, remarks)
    except (LedgerError, SealError) as error:
        raise NotProved(str(error)) from error
    return Proved(
        origin, file.index, checkpoint, signed, receipt, post_quantum, content, hidden, absent, tuple(remarks)
    )


def _between(origin: Origin, owner: Partner, recipient: Partner | None) -> None:
    """Rule 1."""
    if origin.recipient is None:
        raise NotProved(f"{origin} is not a ledger of releases to a partner")
    if origin.owner != owner.node:
        raise NotProved(f"it is of {origin}, and the trust bundle is that of {owner.node}; give that of {origin.owner}")
    if recipient is not None and origin.recipient != recipient.node:
        raise NotProved(
            f"it is of {origin}, and the partner's bundle is that of {recipient.node}; give that of {origin.recipient}"
        )


def _leaf(
    origin: Origin,
    index: int,
    proof: ledger_pb2.ReleaseProof,
    owner: Partner,
    recipient: Partner | None,
    remarks: list[str],
) -> tuple[bytes, str]:
    """Rule 3: the leaf hash, and why only that is given. Raises SealError, LedgerError or NotProved."""
    if proof.entry:
        header = parse_header(proof.entry)
        if header.kind is not EntryKind.SEALED_CONTENT:
            raise NotProved("its entry opens an epoch, and releases nothing")
        require_place(header, index)
        return leaf_hash(proof.entry), ""
    if proof.HasField("disclosed"):
        raise NotProved("it shows parts of an entry that is not there")
    note = Note.parse(proof.absent)
    speaker = next((n for n in (owner, recipient) if n is not None and _speaks(note, n.node)), None)
    node = origin.recipient or "" if _speaks(note, origin.recipient or "") else origin.owner
    statement = EntryStatement.read(note.text, kind=EntryStatementKind.ABSENT, node=node, origin=origin)
    if statement.index != index:
        raise NotProved(f"the reason why the entry is absent is about entry {statement.index}")
    if speaker is None:
        remarks.append(f"why only the hash is given is the word of {node}, whose bundle was not given")
    else:
        signed = verify_note(note, [*speaker.gateway, *speaker.retired_gateway])
        if not set(signed) & set(speaker.gateway):
            remarks.append(f"why only the hash is given is signed by a log key that {node} has retired")
    return statement.leaf_hash, statement.reason


def _speaks(note: Note, node: str) -> bool:
    return note.text.startswith(f"signalfire/v1/{node}/")


def _signed(note: Note, origin: Origin, owner: Partner) -> Signed:
    """Rule 4: which key signed, of those that stand on the note. Raises NotProved where it is none in use."""
    for key in owner.log:
        verifier = key.verifier(origin)
        if note.bears(verifier):
            return Signed(public_key_id(key.public_key))
    for old in owner.retired_log:
        verifier = old.key.verifier(origin)
        if note.bears(verifier):
            raise NotProved(
                f"the log key {public_key_id(old.key.public_key)} signed it, which {owner.node} retired at"
                f" {at(old.until)}: it is not proved by this file alone. Have it made anew, by {owner.node} or by"
                f" {origin.recipient}"
            )
    raise NotProved(f"it is signed by no known key of {owner.node}")


def _receipt(note: Note, recipient: Partner | None, remarks: list[str]) -> Signed | None:
    """Rule 5, of the receipt."""
    if recipient is None:
        remarks.append("the partner's receipt was not checked: its trust bundle was not given")
        return None
    return _cosigned(note, recipient.receipt, recipient.retired_receipt, f"receipt of {recipient.node}", remarks)


def _post_quantum(note: Note, owner: Partner, remarks: list[str]) -> Signed | None:
    """Rule 5, of the post-quantum line."""
    return _cosigned(note, owner.pq, owner.retired_pq, f"post-quantum signature of {owner.node}", remarks)


def _cosigned(
    note: Note, current: Iterable[V], retired: Iterable[Retired[V]], what: str, remarks: list[str]
) -> Signed | None:
    """The first line of a current key. Raises NoteError for one that does not hold."""
    lines = {(line.name, line.key_id): line for line in note.signatures}
    found = [
        Signed(public_key_id(key.public_key), verify_cosignature(note.text, lines[_name(key)], key))
        for key in current
        if _name(key) in lines
    ]
    if found:
        return found[0]
    old = next((old for old in retired if note.bears(old.key)), None)
    if old is None:
        remarks.append(f"no {what} is in it")
    else:
        remarks.append(
            f"the {what} is by the key {public_key_id(old.key.public_key)}, retired at {at(old.until)}, and counts for"
            " nothing: have the proof made anew"
        )
    return None


def _name(verifier: Verifier) -> tuple[str, int]:
    return verifier.name, verifier.key_id


def _content(
    proof: ledger_pb2.ReleaseProof, origin: Origin, remarks: list[str]
) -> tuple[ledger_pb2.EntryContent | None, int]:
    """Rule 7. Raises SealError or NotProved."""
    if not proof.HasField("disclosed"):
        return None, 0
    payload = proof.disclosed
    check(payload.parts, parse_header(proof.entry).commitment)
    hidden = sum(bool(part.leaf_hash) for part in payload.parts)
    try:
        content = ledger_pb2.EntryContent.FromString(content_of(payload))
        if any(part.group != WHOLE for part in payload.parts if not part.leaf_hash):
            pieces_shown(payload)
    except (DecodeError, NotInGroups) as error:
        raise NotProved(f"what it shows is no content of an entry: {error}") from error
    content.DiscardUnknownFields()
    match content.WhichOneof("content"):
        case "report" if content.report.originator_node == origin.owner:
            pass
        case "report" if hidden and not content.report.originator_node:
            remarks.append("it does not show whose report it is")
        case "onward_report":
            originator = content.onward_report.report.originator_node
            remarks.append(
                f"that the report is {originator}'s is the word of {origin.owner}: its own proof is not checked"
            )
        case "withdrawal":
            pass
        case other:
            raise NotProved(f"what it shows is {other or 'nothing'} that {origin.owner} can release")
    return content, hidden


_FAR: Final = 253_402_300_800
"""POSIX seconds of the year 10000, which no date is written of."""


def at(seconds: int | None) -> str:
    """A time in words."""
    if seconds is None:
        return "an unknown time"
    if seconds >= _FAR:
        return f"{seconds} s after 1970"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
