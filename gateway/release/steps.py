"""The steps that a sequencer makes durable, other than taking a report (`gateway.release.pipeline`).

Each checks first and adds afterwards, so that a step that raises a LedgerError has left its plan as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, cosign, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, CosignatureRow, UnopenableRow
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.replica import IncomingBatch, Received, receive
from gateway.release.signatory import Partner
from gateway.reports.limits import ReportLimits


class SignatureError(LedgerError):
    """A further signature on a checkpoint was refused."""


@dataclass(frozen=True, slots=True)
class ReceiveBatch:
    """Adds a partner's batch to a replica (`gateway.release.replica`)."""

    batch: IncomingBatch
    owner: Partner
    opener: Opener
    limits: ReportLimits

    @property
    def weight(self) -> int:
        """Bytes of the batch."""
        return len(self.batch.entries)

    def apply(self, plan: Plan) -> Received:
        """Verifies and adds. Raises ReplicaError."""
        return receive(plan, self.batch, owner=self.owner, opener=self.opener, limits=self.limits)


@dataclass(frozen=True, slots=True)
class KeepCosignature:
    """Keeps a receipt for an own ledger, or a partner's post-quantum line on a replica.

    The note's text must be that of the checkpoint that the store holds for its size: a signature over anything else is
    refused, and when it is a valid one it contradicts what this node holds.
    """

    origin: Origin
    kind: CosignatureKind
    note: bytes
    partner: Partner
    weight: int = 0

    def apply(self, plan: Plan) -> int:
        """Verifies and keeps. Returns the size that is now covered. Raises SignatureError."""
        verifiers: Sequence[CosignatureVerifier] = (
            self.partner.receipt if self.kind is CosignatureKind.RECEIPT else self.partner.pq
        )
        try:
            checkpoint = _covered(plan, self.origin, self.note, verifiers)
        except NoteError as error:
            raise SignatureError(f"{self.origin}: {self.kind} of {self.partner.node}: {error}") from error
        head = plan.replica(self.origin)
        assert head is not None  # `_covered` found its checkpoint
        held = plan.store.cosignature(head.id, self.kind, checkpoint.size)
        if held is not None:
            # Said before, or covered since: a signature that is repeated costs no commit.
            return held.size
        plan.commit.cosignatures.append(CosignatureRow(head.id, self.kind, checkpoint.size, self.note, plan.now_ns))
        return checkpoint.size


def _covered(plan: Plan, origin: Origin, raw: bytes, verifiers: Sequence[CosignatureVerifier]) -> Checkpoint:
    note = Note.parse(raw)
    checkpoint = Checkpoint.parse(note.text)
    head = plan.heads.get(origin)
    stored = None if head is None or checkpoint.origin != origin else plan.store.checkpoint(head.id, checkpoint.size)
    if stored is None:
        raise SignatureError(f"{origin}: a signature on {checkpoint.origin} size {checkpoint.size}, which is not here")
    if Note.parse(stored).text != note.text:
        raise SignatureError(f"{origin}: a signature on another checkpoint of size {checkpoint.size} than the one here")
    for line in note.signatures:
        for verifier in verifiers:
            if (line.name, line.key_id) == (verifier.name, verifier.key_id):
                verify_cosignature(note.text, line, verifier)
                return checkpoint
    raise SignatureError(f"{origin}: no signature by a key that the trust bundle names")


@dataclass(frozen=True, slots=True)
class SignPostQuantum:
    """Signs the newest checkpoint of an own ledger with ML-DSA-44; the line covers every size before it too."""

    origin: Origin
    weight: int = 0

    def apply(self, plan: Plan) -> int:
        """Signs and keeps. Returns the size that the line covers."""
        head = plan.heads.get(self.origin)
        if head is None or head.edge.size == 0:
            return 0
        stored = plan.store.checkpoint(head.id, head.edge.size)
        if stored is None:
            raise SignatureError(f"{self.origin}: there is no checkpoint of size {head.edge.size}")
        text = Note.parse(stored).text
        line = cosign(text, plan.signatory.pq, plan.now_ns // 1_000_000_000)
        plan.commit.cosignatures.append(
            CosignatureRow(head.id, CosignatureKind.PQ, head.edge.size, Note(text, (line,)).encode(), plan.now_ns)
        )
        return head.edge.size


@dataclass(frozen=True, slots=True)
class KeepUnopenable:
    """Keeps a partner's signed statement that an entry of an own ledger cannot be used."""

    origin: Origin
    note: bytes
    partner: Partner
    weight: int = 0

    def apply(self, plan: Plan) -> EntryStatement:
        """Verifies and keeps. Raises SignatureError."""
        head = plan.heads.get(self.origin)
        try:
            statement = EntryStatement.open(
                self.note,
                self.partner.gateway,
                kind=EntryStatementKind.UNOPENABLE,
                node=self.partner.node,
                origin=self.origin,
            )
        except NoteError as error:
            raise SignatureError(f"{self.origin}: {error}") from error
        if head is None or statement.index >= head.edge.size:
            raise SignatureError(f"{self.origin}: a statement about entry {statement.index}, which is not there")
        entry = plan.store.entry(head.id, statement.index)
        if entry is None or leaf_hash(entry) != statement.leaf_hash:
            raise SignatureError(f"{self.origin}: a statement about another entry {statement.index} than the one here")
        plan.commit.unopenable.append(UnopenableRow(head.id, statement.index, self.note, plan.now_ns))
        return statement


@dataclass(frozen=True, slots=True)
class Succeed:
    """Ends an own ledger that cannot go on and opens its next generation, which names what both ends agree on."""

    origin: Origin
    reason: ledger_pb2.SuccessionReason.ValueType
    evidence: bytes
    weight: int = 0

    def apply(self, plan: Plan) -> Origin:
        """Ends and opens. Returns the successor, which may have been opened before."""
        if self.origin in plan.ended:
            return plan.ended[self.origin]
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current.generation > self.origin.generation:
            return self.origin.successor()
        agreed = ledger_pb2.Succession(reason=self.reason)
        head = plan.heads.get(self.origin)
        receipt = None if head is None else plan.store.cosignature(head.id, CosignatureKind.RECEIPT)
        if receipt is not None:
            checkpoint = Checkpoint.parse(Note.parse(receipt.note).text)
            agreed.agreed_size, agreed.agreed_root = checkpoint.size, checkpoint.root
        # A store from before a succession may not know the generation that its partner holds: all up to it have ended.
        ending = current
        while ending.generation < self.origin.generation:
            plan.end(ending, ending.successor())
            ending = ending.successor()
        successor = self.origin.successor()
        plan.end(self.origin, successor)
        plan.writer_of(successor).append(ledger_pb2.EntryContent(succession=agreed).SerializeToString())
        record_event(
            plan,
            kind="ledger-succeeded",
            detail=f"{self.origin} ended ({ledger_pb2.SuccessionReason.Name(self.reason)}); {successor} goes on",
            evidence=[self.evidence],
        )
        return successor


@dataclass(frozen=True, slots=True)
class FollowSuccessor:
    """Ends a replica whose owner has ended the ledger."""

    origin: Origin
    successor: Origin
    weight: int = 0

    def apply(self, plan: Plan) -> None:
        """Ends the replica. Raises LedgerError unless the successor is the next generation of the same ledger."""
        if self.successor != self.origin.successor():
            raise LedgerError(f"{self.origin}: {self.successor} is not its next generation")
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current == self.origin:
            plan.end(self.origin, self.successor)


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Records something that the node did or met, in its decisions ledger."""

    kind: str
    detail: str
    evidence: tuple[bytes, ...] = ()
    meta: tuple[tuple[str, bytes], ...] = ()
    weight: int = 0

    def apply(self, plan: Plan) -> None:
        """Records it."""
        record_event(plan, kind=self.kind, detail=self.detail, evidence=list(self.evidence))
        plan.commit.meta.update(self.meta)


def record_event(plan: Plan, *, kind: str, detail: str, evidence: list[bytes]) -> None:
    """Appends a node event to the decisions ledger of `plan`."""
    event = ledger_pb2.NodeEvent(kind=kind, detail=detail, evidence=evidence)
    event.time.FromNanoseconds(plan.now_ns)
    plan.decisions().append(ledger_pb2.EntryContent(node_event=event).SerializeToString())
