"""The steps that a sequencer makes durable, other than taking a report (`gateway.release.pipeline`).

Each checks first and adds afterwards, so that a step that raises a LedgerError has left its plan as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, cosign
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Verifier, Note, SignatureLine, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerId, UnopenableRow
from gateway.release.batch import IncomingBatch
from gateway.release.evidence import require_no_contradiction
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.ranks import Rank, rank_of_lane
from gateway.release.replica import Received, receive
from gateway.release.signatory import Partner
from gateway.release.successions import charge_succession
from gateway.reports.limits import ReportLimits

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
        """What the batch counts for, bytes."""
        return self.batch.weight

    @property
    def rank(self) -> Rank:
        """That of its lane."""
        return rank_of_lane(self.batch.origin)

    def apply(self, plan: Plan) -> Received:
        """Verifies and adds. Raises ReplicaError."""
        return receive(plan, self.batch, owner=self.owner, opener=self.opener, limits=self.limits)


@dataclass(frozen=True, slots=True)
class KeepCosignature:
    """Keeps a receipt for an own ledger, or a partner's post-quantum line or anchor on a replica.

    Rules, in order:

    1. The note's text is that of the checkpoint that the store holds for its size: a signature over anything else is
       refused, and when it is a valid one of the ledger's owner, it is evidence (`gateway.release.evidence`).
    2. One over a size within a replica at which no batch ended here is passed over: the batch that ended there came
       after another way had brought more (`gateway.release.first_copy`). Nothing of it is believed.
    3. What is covered already is kept as it is, unless a newer key of the trust bundle has signed what comes: an older
       one will be retired, or was. Then both are kept.
    4. A key of the partner has signed. Its line alone is kept.
    """

    origin: Origin
    kind: CosignatureKind
    note: bytes
    partner: Partner
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane, but never an alert's: no warning waits for it, and it need not end a commit of tracks."""
        return min(rank_of_lane(self.origin), Rank.IMMEDIATE)

    def apply(self, plan: Plan) -> int:
        """Verifies and keeps. Returns the size that is now covered, 0 for what is passed over.

        Raises SignatureError, and Contradicted.
        """
        try:
            note = Note.parse(self.note)
            checkpoint = Checkpoint.parse(note.text)
        except NoteError as error:
            raise SignatureError(f"{self.origin}: {self.kind} of {self.partner.node}: {error}") from error
        if self.kind is not CosignatureKind.RECEIPT:
            require_no_contradiction(plan.store, self.origin, self.note, self.partner)
        if _is_within(plan, self.origin, checkpoint):
            return 0
        ledger = _on_record(plan, self.origin, checkpoint, note.text)
        held = self._held(plan, ledger, checkpoint.size)
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

    def _held(self, plan: Plan, ledger: LedgerId, size: int) -> CosignatureRow | None:
        """What covers `size` already, of the largest size: on record, or by a step before this one."""
        held = plan.store.cosignature(ledger, self.kind, self.partner.node, size)
        for row in plan.commit.cosignatures:
            if (row.ledger, row.kind, row.signer) == (ledger, self.kind, self.partner.node) and row.size >= size:
                held = row if held is None or row.size >= held.size else held
        return held

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


def _is_within(plan: Plan, origin: Origin, checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint is of a size within a replica at which no batch ended here."""
    head = plan.heads.get(origin)
    if head is None or not head.replica or checkpoint.origin != origin:
        return False
    return 0 < checkpoint.size < head.edge.size and plan.store.checkpoint(head.id, checkpoint.size) is None


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

    @property
    def rank(self) -> Rank:
        """That of its lane, but never an alert's: what it proves is proved by Ed25519 already."""
        return min(rank_of_lane(self.origin), Rank.IMMEDIATE)

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

    @property
    def rank(self) -> Rank:
        """That of its lane, but never an alert's, as a receipt's: they keep their order."""
        return min(rank_of_lane(self.origin), Rank.IMMEDIATE)

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
        said = any((row.ledger, row.index) == (head.id, statement.index) for row in plan.commit.unopenable)
        if said or plan.store.statement(head.id, statement.index) is not None:
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
class FollowSuccessor:
    """Ends a replica whose owner has ended the ledger.

    That bears no signature, and leaves a row for ever: of one line of ledgers only so many successions are followed
    (`gateway.release.successions`).
    """

    origin: Origin
    successor: Origin
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane."""
        return rank_of_lane(self.origin)

    def apply(self, plan: Plan) -> None:
        """Ends the replica. Raises LedgerError unless the successor is the next generation of the same ledger, and for
        one that comes too soon after many others.
        """
        if self.successor != self.origin.successor():
            raise LedgerError(f"{self.origin}: {self.successor} is not its next generation")
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current == self.origin:
            charge_succession(plan, self.origin)
            plan.ledgers.end(self.origin, self.successor)


@dataclass(frozen=True, slots=True)
class GoBack:
    """Goes back to the generation before one that its owner does not know, and of which there is nothing here.

    A store that was restored twice, or from a better copy, does not know a generation that it opened in between. What
    there is of the generation before shows it how far it was set back. It is the owner's word alone, as the successor's
    name was, and each needs another `FollowSuccessor` before it, so that both are bounded alike.
    """

    origin: Origin
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane."""
        return rank_of_lane(self.origin)

    def apply(self, plan: Plan) -> Origin | None:
        """Goes back. Returns the generation that is followed again; None where there is no need to."""
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current != self.origin or self.origin.generation == 1 or plan.ledgers.head(self.origin) is not None:
            return None
        before = self.origin.predecessor()
        plan.ledgers.follow_again(before)
        return before


@dataclass(frozen=True, slots=True)
class RecordEvent:
    """Records something that the node did or met, in its decisions ledger."""

    kind: str
    detail: str
    evidence: tuple[bytes, ...] = ()
    meta: tuple[tuple[str, bytes], ...] = ()
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        """Records it."""
        record_event(plan, kind=self.kind, detail=self.detail, evidence=list(self.evidence))
        plan.commit.meta.update(self.meta)


@dataclass(frozen=True, slots=True)
class RecordMeta:
    """Keeps values of the store's own, which nobody else needs to be able to verify."""

    meta: tuple[tuple[str, bytes], ...]
    weight: int = 0
    rank: Rank = Rank.SPARE

    def apply(self, plan: Plan) -> None:
        """Keeps them."""
        plan.commit.meta.update(self.meta)


def record_event(plan: Plan, *, kind: str, detail: str, evidence: list[bytes]) -> int:
    """Appends a node event to the decisions ledger of `plan`. Returns its index."""
    return plan.record_event(kind, detail, evidence)
