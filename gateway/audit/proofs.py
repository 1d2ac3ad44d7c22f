"""Proofs of single releases, made from a store: a C2SP tlog-proof file that anybody checks offline.

The `extra` data of the file is a `ReleaseProof`. What a file holds, and nothing besides:

1. One entry, as it stands in its ledger: still sealed, so that it shows nothing by itself. Where only its hash is kept,
   or its recipient was given the hash alone, the signed reason stands in its place.
2. What that entry holds, each part with its salt, unless the content is left out. It is the copy that this one partner
   was released: nothing of the report beyond that copy, of other partners, or of the decision is in it.
3. The inclusion path: hashes. It tells how many entries the ledger has, and nothing of any.
4. One checkpoint, with every signature on record for its size: the owner's, by each log key that signed it; the owner's
   post-quantum line; the recipient's receipt.

Signatures count under the keys in use alone (`Signers`): whoever checks the file believes no others. Which checkpoint,
in order: the largest of those sizes that have both receipt and post-quantum line, among the newest of each and the
first LOOKED_THROUGH that cover the entry; the newest that has a receipt; the ledger's newest. Where its checkpoint is
by an older key the anchor of that size stands in its place. What is missing from the ideal is told as a remark.

What an own ledger holds above the recipient's newest receipt may still have to be kept back from it: of such an entry
the content is left out unless it is asked for as `unconfirmed`.

Making one reads O(log n) of a ledger of n entries, and the file is proved against itself before it is given out.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2

from gateway.audit.signers import Signers
from gateway.audit.stored_tree import tree_at
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from gateway.ledger.note import Note, Verifier
from gateway.ledger.origin import Origin
from gateway.ledger.proof_file import ProofFile
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, LedgerId, LedgerRow, StoreReader
from gateway.release.opening import Opener
from gateway.seal.entry import encode_canonical
from gateway.seal.epoch import content_of
from gateway.seal.errors import SealError

LOOKED_THROUGH: Final = 64
"""Receipts and post-quantum lines that are compared to find a size which has both: under load the two seldom meet at
the newest size, and within so many they do."""


class CannotProve(Exception):
    """No proof can be made: the text says why, `mend` what can be done about it."""

    def __init__(self, what: str, mend: str) -> None:
        super().__init__(f"{what}; {mend}")
        self.what = what
        self.mend = mend


@dataclass(frozen=True, slots=True)
class ProofRequest:
    """Which release is to be proved.

    `partner` is who it was released to or, of a report of another node, who sent it. `originator` is empty for a report
    of this node's own.
    """

    report_id: str
    partner: str
    originator: str = ""
    without_content: bool = False
    unconfirmed: bool = False
    """Also the content of an entry that the recipient has not confirmed."""


@dataclass(frozen=True, slots=True)
class ReleaseProofFile:
    """A proof: the file, what it is about, and what has to be said about it in words."""

    file: bytes
    origin: Origin
    index: int
    size: int
    """Size of the ledger at the checkpoint that the proof leads to."""
    remarks: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Place:
    ledger: LedgerId
    index: int
    withdrawn_ns: int | None


def prove_release(
    reader: StoreReader, opener: Opener | None, node: str, request: ProofRequest, signers: Mapping[str, Signers]
) -> ReleaseProofFile:
    """The proof of one release of `node`'s, or of one that it received.

    `opener` opens entries for `node`; without one the content must be left out. `signers` has the keys in use of `node`
    and of the partners whose bundles are in force. Call it inside `reader.snapshot()`. Raises CannotProve, or
    StoreError.
    """
    remarks: list[str] = []
    place = _find(reader, node, request, remarks)
    row = next((row for row in reader.ledgers() if row.id == place.ledger), None)
    if row is None:
        raise CannotProve(f"ledger number {place.ledger} is not in the store", _UNSOUND)
    if place.withdrawn_ns is not None:
        remarks.append("the report was withdrawn later; this proves what was released, not that it still stands")
    proof, leaf = _release_proof(reader, opener, row, place.index, request, remarks)
    note, size = _checkpoint(reader, row, place.index, signers, remarks)
    path = inclusion_proof(place.index, size, tree_at(reader, row, size))
    try:
        made = ProofFile(place.index, path, note, encode_canonical(proof))
        verify_inclusion(leaf, place.index, size, path, made.said.root)
    except LedgerError as error:
        raise CannotProve(
            f"{row.origin}: entries, tiles and checkpoints do not fit together: {error}", _UNSOUND
        ) from error
    return ReleaseProofFile(made.encode(), row.origin, place.index, size, remarks)


_UNSOUND: Final = "run `signalfire ledger verify`, which names what is wrong with the store"


def _find(reader: StoreReader, node: str, request: ProofRequest, remarks: list[str]) -> _Place:
    try:
        report_id = uuid.UUID(request.report_id).bytes
    except ValueError:
        raise CannotProve(
            f"{request.report_id[:64]!r} is not a UUID", "name the report as its report_id does"
        ) from None
    originator = "" if request.originator == node else request.originator
    released = [row for row in reader.released(report_id, originator) if row.partner == request.partner]
    copies = reader.copies(originator, report_id) if originator else ()
    received = [copy for copy in copies if copy.via == request.partner and copy.ledger is not None]
    if released:
        if received:
            remarks.append(f"{request.partner} sent the same report to {node} as well; this is what {node} sent")
        return _Place(released[0].ledger, released[0].index, released[0].withdrawn_ns)
    for copy in received:
        if copy.ledger is not None and copy.index is not None:
            return _Place(copy.ledger, copy.index, copy.withdrawn_ns)
    whose = f"report {request.report_id} of {originator}" if originator else f"report {request.report_id}"
    raise CannotProve(
        f"{whose} was not released to {request.partner}"
        + (f", nor received from {request.partner}" if originator else ""),
        "ask `signalfire audit explain` what became of it; of another node's report name the originator as well",
    )


def _release_proof(
    reader: StoreReader,
    opener: Opener | None,
    row: LedgerRow,
    index: int,
    request: ProofRequest,
    remarks: list[str],
) -> tuple[ledger_pb2.ReleaseProof, bytes]:
    """What goes beside the path, and the leaf hash that it has to lead to."""
    kept_back = reader.kept_back(row.id, index, index + 1)
    entry = None if kept_back else reader.entry(row.id, index)
    if entry is None:
        absent = reader.absent(row.id, index)
        note = kept_back[0].note if kept_back else absent.note if absent else b""
        statement = _statement(row.origin, note)
        remarks.append(f"the entry stands in the proof as its hash alone: {statement.reason}")
        return ledger_pb2.ReleaseProof(absent=note), statement.leaf_hash
    proof = ledger_pb2.ReleaseProof(entry=entry)
    if not request.without_content and _may_show(reader, row, index, request, remarks):
        proof.disclosed.CopyFrom(_payload(reader, opener, row, index, entry, request))
    return proof, leaf_hash(entry)


def _may_show(reader: StoreReader, row: LedgerRow, index: int, request: ProofRequest, remarks: list[str]) -> bool:
    """Whether the content of an entry may be shown: not what may still have to be kept back from its recipient."""
    recipient = row.origin.recipient or ""
    receipt = None if row.replica else reader.cosignature(row.id, CosignatureKind.RECEIPT, recipient, index + 1)
    if row.replica or receipt is not None or request.unconfirmed:
        return True
    remarks.append(
        f"the content is left out, as {recipient} has not confirmed the entry, and it may still have to be kept back;"
        f" the entry is sealed to {recipient}, who may be able to open it: do not give the file to {recipient}"
    )
    return False


def _statement(origin: Origin, note: bytes) -> EntryStatement:
    """The reason why only the hash is given: the owner's or, of what it pruned itself, the recipient's."""
    try:
        text = Note.parse(note).text
        node = text.split("/", 3)[2]
        return EntryStatement.read(text, kind=EntryStatementKind.ABSENT, node=node, origin=origin)
    except (LedgerError, IndexError) as error:
        raise CannotProve(f"{origin}: the reason why an entry is kept as its hash cannot be read", _UNSOUND) from error


def _payload(
    reader: StoreReader, opener: Opener | None, row: LedgerRow, index: int, entry: bytes, request: ProofRequest
) -> ledger_pb2.SealedPayload:
    leave_out = "leave the content out (--without-content)"
    if opener is None:
        raise CannotProve("the content cannot be shown without the node's sealing keys", leave_out)
    try:
        payload = opener.payload(row.origin, index, entry, lambda at: reader.entry(row.id, at) or b"")
    except SealError as error:
        raise CannotProve(f"{row.origin} entry {index} does not open: {error}", leave_out) from error
    if payload is None or _report_id(payload) != request.report_id.lower():
        raise CannotProve(f"{row.origin} entry {index} does not hold report {request.report_id}", _UNSOUND)
    return payload


def _report_id(payload: ledger_pb2.SealedPayload) -> str:
    try:
        content = ledger_pb2.EntryContent.FromString(content_of(payload))
    except DecodeError:
        return ""
    return (content.onward_report.report if content.HasField("onward_report") else content.report).report_id


def _checkpoint(
    reader: StoreReader, row: LedgerRow, index: int, signers: Mapping[str, Signers], remarks: list[str]
) -> tuple[Note, int]:
    """The signed checkpoint that the proof leads to, with all signatures on record for it, and its size."""
    origin, owner, recipient = row.origin, row.origin.owner, row.origin.recipient or ""
    by_owner, by_recipient = signers.get(owner), signers.get(recipient)
    if by_owner is None:
        raise CannotProve(f"no trust bundle of {owner} is in force", "get the newest one")
    log = [key.verifier(origin) for key in by_owner.log]
    found: dict[int, Note] = {}

    def signed(size: int) -> bool:
        found[size] = _signed(reader, row, size)
        return any(map(found[size].bears, log))

    receipt_keys = () if by_recipient is None else by_recipient.receipt
    receipted = _sizes(reader, row, CosignatureKind.RECEIPT, recipient, index, receipt_keys)
    receipts = {size for size in receipted if signed(size)}
    both = receipts & _sizes(reader, row, CosignatureKind.PQ, owner, index, by_owner.pq)
    anchor = reader.cosignature(row.id, CosignatureKind.ANCHOR, owner, index + 1)
    heads = [size for size in (row.size, anchor.size if anchor else 0) if size > index and signed(size)]
    size = max(both or receipts or heads, default=None)
    if size is None:
        raise CannotProve(
            f"{origin}: no log key of {owner} that is in use has signed what covers the entry",
            f"ask again once {owner} has: it signs its ledgers anew as it changes its key",
        )
    if not receipts:
        remarks.append(
            f"{recipient} has not confirmed that it stores the entry: no receipt under a key in use covers it"
        )
    if not any(map(found[size].bears, by_owner.pq)):
        remarks.append(f"no post-quantum signature of {owner} is on record for this size of the ledger")
    return found[size], size


def _signed(reader: StoreReader, row: LedgerRow, size: int) -> Note:
    """The checkpoint of one size with every signature on record for it. Raises CannotProve."""
    raw = reader.checkpoint(row.id, size)
    if raw is None:
        raise CannotProve(f"{row.origin}: there is no checkpoint of size {size}", _UNSOUND)
    further = [
        (CosignatureKind.ANCHOR, row.origin.owner),
        (CosignatureKind.PQ, row.origin.owner),
        (CosignatureKind.RECEIPT, row.origin.recipient or ""),
    ]
    try:
        note = Note.parse(raw)
        for kind, signer in further:
            for found in reader.cosignatures_from(row.id, kind, signer, size, 1):
                note = note.joined(Note.parse(found.note))
    except LedgerError as error:
        raise CannotProve(f"{row.origin}: the signatures of size {size} cannot be read: {error}", _UNSOUND) from error
    return note


def _sizes(
    reader: StoreReader,
    row: LedgerRow,
    kind: CosignatureKind,
    signer: str,
    index: int,
    keys: Collection[Verifier],
) -> set[int]:
    """Sizes above `index` of which one of `keys` gave a cosignature: of the first LOOKED_THROUGH, and the newest."""
    newest = reader.cosignature(row.id, kind, signer, index + 1)
    if newest is None:
        return set()
    rows = [newest, *reader.cosignatures_from(row.id, kind, signer, index + 1, LOOKED_THROUGH)]
    try:
        return {found.size for found in rows if any(map(Note.parse(found.note).bears, keys))}
    except LedgerError as error:
        raise CannotProve(f"{row.origin}: a {kind} cannot be read: {error}", _UNSOUND) from error
