"""The steps that a sequencer makes durable, other than taking a report (`gateway.release.pipeline`).

Each checks first and adds afterwards, so that a step that raises a LedgerError has left its plan as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, cosign
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Verifier, Note, SignatureLine, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerId, UnopenableRow
from gateway.release import groups
from gateway.release.evidence import require_no_contradiction
from gateway.release.opening import Opener
from gateway.release.plan import SEGMENT_BYTES, Plan
from gateway.release.replica import IncomingBatch, Received, receive
from gateway.release.setback import end_decisions, final_state, keep_own_contradiction, last_receipt
from gateway.release.signatory import Partner
from gateway.release.successions import charge_retired, charge_succession
from gateway.reports.limits import ReportLimits
from gateway.seal.errors import SealError

KEPT_LINES: Final = 8
"""Signatures of one node that are kept together on one checkpoint, from the keys that it had one after another."""


class SignatureError(LedgerError):
    """A further signature on a checkpoint was refused."""


class UnverifiedAnswer(SignatureError):
    """A recipient's answer says what is so of the first `covered` entries, and no key that is believed has signed it.

    One that repeats what was said before its keys changed looks so.
    """

    def __init__(self, text: str, covered: int) -> None:
        super().__init__(text)
        self.covered = covered


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
    """Keeps a receipt for an own ledger, or a partner's post-quantum line or anchor on a replica.

    Rules, in order:

    1. The note's text is that of the checkpoint that the store holds for its size: a signature over anything else is
       refused, and when it is a valid one of the ledger's owner, it is evidence (`gateway.release.evidence`).
    2. What is covered already is kept as it is, unless a newer key of the trust bundle has signed what comes: an older
       one will be retired, or was. Then both are kept.
    3. A key of the partner has signed. Its line alone is kept.
    """

    origin: Origin
    kind: CosignatureKind
    note: bytes
    partner: Partner
    weight: int = 0

    def apply(self, plan: Plan) -> int:
        """Verifies and keeps. Returns the size that is now covered. Raises SignatureError, and Contradicted."""
        try:
            note = Note.parse(self.note)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise SignatureError(f"{self.origin}: {self.kind} of {self.partner.node}: {error}") from error
        if self.kind is not CosignatureKind.RECEIPT:
            require_no_contradiction(plan.store, self.origin, self.note, self.partner)
        ledger = _on_record(plan, self.origin, checkpoint, note.text)
        held = plan.store.cosignature(ledger, self.kind, self.partner.node, checkpoint.size)
        before = None if held is None else Note.parse(held.note)
        if held is not None and before is not None and self._rank(before) <= self._rank(note):
            # Said before, or covered since: a signature that is repeated costs no commit.
            return held.size
        try:
            line = self._signed(note)
        except NoteError as error:
            if held is not None:
                return held.size
            raise UnverifiedAnswer(
                f"{self.origin}: {self.kind} of {self.partner.node}: {error}", checkpoint.size
            ) from error
        lines: tuple[SignatureLine, ...] = (line,)
        since_ns = plan.now_ns
        if held is not None and before is not None and held.size == checkpoint.size:
            since_ns = held.time_ns
            lines = (*before.signatures[: KEPT_LINES - 1], line)
        kept = Note(note.text, lines).encode()
        plan.commit.cosignatures.append(
            CosignatureRow(ledger, self.kind, checkpoint.size, kept, since_ns, self.partner.node)
        )
        return checkpoint.size

    def _verifiers(self) -> Sequence[CosignatureVerifier | Ed25519Verifier]:
        match self.kind:
            case CosignatureKind.RECEIPT:
                return self.partner.receipt
            case CosignatureKind.PQ:
                return self.partner.pq
            case CosignatureKind.ANCHOR:
                return [key.verifier(self.origin) for key in self.partner.log]

    def _rank(self, note: Note) -> int:
        """Which of the bundle's keys has signed, 0 for the newest, not verified; their number where none has."""
        keys = [(verifier.name, verifier.key_id) for verifier in self._verifiers()]
        signed = {(line.name, line.key_id) for line in note.signatures}
        return next((rank for rank, key in enumerate(keys) if key in signed), len(keys))

    def _signed(self, note: Note) -> SignatureLine:
        """The line of the newest of the bundle's keys that has signed. Raises NoteError."""
        verifiers, rank = self._verifiers(), self._rank(note)
        if rank == len(verifiers):
            raise NoteError("no signature by a key that the trust bundle names")
        newest = verifiers[rank]
        line = next(line for line in note.signatures if (line.name, line.key_id) == (newest.name, newest.key_id))
        verify_note(Note(note.text, (line,)), [newest])
        return line


def _on_record(plan: Plan, origin: Origin, checkpoint: Checkpoint, text: str) -> LedgerId:
    """The number of the ledger that holds exactly this checkpoint. Raises SignatureError."""
    head = plan.heads.get(origin)
    stored = None if head is None or checkpoint.origin != origin else plan.store.checkpoint(head.id, checkpoint.size)
    if head is None or stored is None:
        raise SignatureError(f"{origin}: a signature on {checkpoint.origin} size {checkpoint.size}, which is not here")
    if Note.parse(stored).text != text:
        raise SignatureError(f"{origin}: a signature on another checkpoint of size {checkpoint.size} than the one here")
    return head.id


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
            CosignatureRow(
                head.id,
                CosignatureKind.PQ,
                head.edge.size,
                Note(text, (line,)).encode(),
                plan.now_ns,
                plan.signatory.node,
            )
        )
        return head.edge.size


@dataclass(frozen=True, slots=True)
class KeepUnopenable:
    """Keeps a partner's signed statement that an entry of an own ledger cannot be used, once for each entry.

    The rules are those of `KeepCosignature`: about an entry that is here; once; by a key of the partner.
    """

    origin: Origin
    note: bytes
    partner: Partner
    weight: int = 0

    def apply(self, plan: Plan) -> EntryStatement | None:
        """Verifies and keeps; None where one about this entry is on record. Raises SignatureError."""
        head = plan.heads.get(self.origin)
        try:
            note = Note.parse(self.note)
            statement = EntryStatement.read(
                note.text, kind=EntryStatementKind.UNOPENABLE, node=self.partner.node, origin=self.origin
            )
        except NoteError as error:
            raise SignatureError(f"{self.origin}: {error}") from error
        if head is None or statement.index >= head.edge.size:
            raise SignatureError(f"{self.origin}: a statement about entry {statement.index}, which is not there")
        if plan.store.statement(head.id, statement.index) is not None:
            return None
        entry = plan.store.entry(head.id, statement.index)
        absent = plan.store.absent(head.id, statement.index)
        leaf = leaf_hash(entry) if entry is not None else None if absent is None else absent.leaf_hash
        if leaf != statement.leaf_hash:
            raise SignatureError(f"{self.origin}: a statement about another entry {statement.index} than the one here")
        try:
            verify_note(note, self.partner.gateway)
        except NoteError as error:
            raise UnverifiedAnswer(f"{self.origin}: {error}", statement.index + 1) from error
        kept = note.of_keys(self.partner.gateway).encode()
        plan.commit.unopenable.append(UnopenableRow(head.id, statement.index, kept, plan.now_ns))
        return statement


@dataclass(frozen=True, slots=True)
class Succeed:
    """Ends an own ledger that cannot go on and opens its next generation, which names what both ends agree on.

    The recipient follows the successor alone. What the ledger that ends holds above its last receipt, this very commit
    included, is therefore sealed into the successor again, in its order; a recipient that has it delivers it once.
    What was kept back of it stays so (`gateway.release.keeping`). With the witness ledger the decisions ledger ends too
    (`gateway.release.setback`). Where a retired key alone says that it ends, that is once in a while
    (`gateway.release.successions`).
    """

    origin: Origin
    reason: ledger_pb2.SuccessionReason.ValueType
    evidence: bytes
    by_retired: bool = False
    weight: int = 0

    def apply(self, plan: Plan) -> Origin:
        """Ends and opens. Returns the successor, which may have been opened before. Raises LedgerError where a retired
        key said so a short while ago.
        """
        if self.origin in plan.ended:
            return plan.ended[self.origin]
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current.generation > self.origin.generation:
            return self.origin.successor()
        if self.by_retired:
            charge_retired(plan, self.origin)
        agreed = ledger_pb2.Succession(reason=self.reason)
        receipt = last_receipt(plan, self.origin)
        if receipt is not None:
            checkpoint = Checkpoint.parse(Note.parse(receipt.note).text)
            agreed.agreed_size, agreed.agreed_root = checkpoint.size, checkpoint.root
        final = final_state(plan, current)
        confirmed = _confirmed(plan, current)
        home = self.origin.recipient is None
        unconfirmed, lost = ([], 0) if home else _unconfirmed(plan, current, confirmed)
        # A store from before a succession may not know the generation that its partner holds: all up to it have ended.
        ending = current
        while ending.generation < self.origin.generation:
            plan.end(ending, ending.successor(), confirmed)
            ending, confirmed = ending.successor(), 0
        successor = self.origin.successor()
        plan.end(self.origin, successor, confirmed)
        writer = plan.writer_of(successor)
        writer.append(ledger_pb2.EntryContent(succession=agreed).SerializeToString())
        for ledger, index, content in unconfirmed:
            moved = groups.seal(writer, content)
            if not content.HasField("withdrawal"):
                plan.commit.moved.append((ledger, index, writer.head.id, moved))
        if home:
            before = plan.decisions().head.origin
            stood = final_state(plan, before)
            decisions = end_decisions(plan, self.origin, self.reason)
            plan.record_event(
                "decisions-set-back",
                f"{before} ended at {stood}; {decisions} goes on: {self.origin} stood where this store never was, as"
                " its signed checkpoint shows",
                [self.evidence],
            )
        plan.record_event(
            "ledger-succeeded",
            f"{self.origin} ended ({ledger_pb2.SuccessionReason.Name(self.reason)}) at {final}; {successor} goes on,"
            f" with {len(unconfirmed)} reports and withdrawals again that have no receipt; {lost} more do not open",
            [self.evidence],
        )
        keep_own_contradiction(plan, self.origin, self.evidence)
        return successor


def _confirmed(plan: Plan, origin: Origin) -> int:
    """The size of an own ledger's last receipt."""
    receipt = last_receipt(plan, origin)
    return 0 if receipt is None else receipt.size


def _unconfirmed(
    plan: Plan, origin: Origin, position: int
) -> tuple[list[tuple[LedgerId, int, ledger_pb2.EntryContent]], int]:
    """The reports and withdrawals of an own ledger from `position`, its last receipt, on, durable or in this plan, in
    order and with their places, without those that are kept back; and how many entries there do not open, which must
    not keep the successor from opening.
    """
    if plan.replica(origin) is None:
        return [], 0
    writer = plan.writer_of(origin)
    ledger, size = writer.head.id, writer.head.edge.size
    kept_back = plan.kept_back(ledger, position, size)
    opener = Opener(plan.signatory.node, plan.signatory.sealing)

    def fetch(index: int) -> bytes:
        return writer.entries[index - size] if index >= size else plan.store.entry(ledger, index) or b""

    found: list[tuple[LedgerId, int, ledger_pb2.EntryContent]] = []
    lost = 0
    while position < writer.next_index:
        if position < size:
            # Whole segments, for each holds many entries. A receipt is for the end of one.
            run = plan.store.run(ledger, position, SEGMENT_BYTES)
            assert run is not None, "the ledger goes on"
            entries = bundle.decode(run.entries, run.count, allow_absent=True)
        else:
            entries = writer.entries
        for index, entry in enumerate(entries, position):
            if index in kept_back:
                continue
            try:
                content = opener.content(origin, index, entry, fetch) if entry else None
            except SealError:
                lost += 1
                continue
            if content is not None and content.WhichOneof("content") in ("report", "onward_report", "withdrawal"):
                found.append((ledger, index, content))
        position += len(entries)
    return found, lost


@dataclass(frozen=True, slots=True)
class FollowSuccessor:
    """Ends a replica whose owner has ended the ledger.

    That bears no signature, and leaves a row for ever: of one line of ledgers only so many successions are followed
    (`gateway.release.successions`).
    """

    origin: Origin
    successor: Origin
    weight: int = 0

    def apply(self, plan: Plan) -> None:
        """Ends the replica. Raises LedgerError unless the successor is the next generation of the same ledger, and for
        one that comes too soon after many others.
        """
        if self.successor != self.origin.successor():
            raise LedgerError(f"{self.origin}: {self.successor} is not its next generation")
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current == self.origin:
            charge_succession(plan, self.origin)
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


def record_event(plan: Plan, *, kind: str, detail: str, evidence: list[bytes]) -> int:
    """Appends a node event to the decisions ledger of `plan`. Returns its index."""
    return plan.record_event(kind, detail, evidence)
