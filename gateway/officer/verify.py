"""Checks a store from scratch: believes nothing but entries and keys, rebuilds the rest and compares.

For every ledger, own or replica:

1. Segments follow one another without a gap, and their leaf hashes give the root of every signed checkpoint.
2. Every checkpoint is signed by the ledger's owner, and there is none beside those of the segments' ends.
3. Tiles, size and root on record are those that the entries give.
4. Every receipt is the recipient's, every post-quantum line the owner's, over a checkpoint that is on record. A replica
   has this node's receipt for every checkpoint.
5. Every entry opens, and holds what a ledger of its kind may hold, a report that was passed on with a proof that holds;
   an entry of a replica that does not is answered with this node's signed statement. Every statement on record is
   signed, and about the entry that is there. An entry kept as its hash has its owner's signed reason, and so has an
   entry of an own ledger that is kept back from its recipient.
6. Generations of a ledger follow one another: all but the last have ended, and name the next. An own one that has
   ended goes on with everything above its receipts.

Across ledgers, and against the records beside them: see `gateway.officer.records`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey, open_checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Verifier, Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, KeptBackRow, LedgerRow, Run, StoreReader
from gateway.ledger.tiles import Edge
from gateway.officer.records import Finding, Records, compare
from gateway.release.onward import NotBelieved, verify
from gateway.release.opening import Opener
from gateway.release.signatory import Partner, Signatory
from gateway.seal.entry import MAX_INDEX
from gateway.seal.errors import SealError

__all__ = ["Finding", "LedgerCheck", "Verification", "verify_store"]


@dataclass(slots=True)
class LedgerCheck:
    """What was found in one ledger."""

    origin: Origin
    replica: bool
    size: int = 0
    checkpoints: int = 0
    receipt_size: int = 0
    pq_size: int = 0
    reports: int = 0
    withdrawals: int = 0
    absent: set[int] = field(default_factory=set)
    """Indices of the entries that are kept as hashes alone, each with its owner's signed reason."""


@dataclass(slots=True)
class Verification:
    """The outcome: sound if there are no findings."""

    ledgers: list[LedgerCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    reports: int = 0
    released: int = 0
    withheld: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class _Keys:
    log: Sequence[LogPublicKey]
    gateway: Sequence[Ed25519Verifier]
    receipt: Sequence[CosignatureVerifier]
    pq: Sequence[CosignatureVerifier]


def verify_store(
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Checks everything that `store` holds. `partners` are the partners whose keys are known."""
    outcome = Verification()
    keys = {node: _Keys(p.log, p.gateway, p.receipt, p.pq) for node, p in partners.items()}
    keys[signatory.node] = _Keys(
        (signatory.log.public,), (signatory.gateway.verifier,), (signatory.receipt.verifier,), (signatory.pq.verifier,)
    )
    records = Records(signatory.node)
    opener = Opener(signatory.node, signatory.sealing)
    rows = store.ledgers()
    for row in rows:
        progress(f"{row.origin}: {row.size} entries")
        ledger = _Ledger(
            store, row, keys, partners, signatory.node, opener, LedgerCheck(row.origin, row.replica), records
        )
        outcome.ledgers.append(ledger.check)
        outcome.findings.extend(Finding(str(row.origin), what) for what in ledger.findings())
    outcome.findings.extend(_generations(rows))
    progress("decisions, releases and reports")
    outcome.findings.extend(compare(store, signatory, records))
    outcome.reports = sum(not named.originator for named in records.subjects)
    outcome.released, outcome.withheld = len(records.decided), records.withheld
    return outcome


def _generations(rows: Sequence[LedgerRow]) -> Iterator[Finding]:
    lines: dict[tuple[str, str | None, str], dict[int, LedgerRow]] = {}
    for row in rows:
        origin = row.origin
        lines.setdefault((origin.owner, origin.recipient, origin.lane), {})[origin.generation] = row
    for line in lines.values():
        last = max(line)
        for generation, row in sorted(line.items()):
            # A partner's ledger may have ended before anything of its successor came.
            ended = generation < last or (row.replica and row.successor is not None)
            if row.successor != (row.origin.successor() if ended else None):
                yield Finding(str(row.origin), f"its successor on record ({row.successor}) is not what the store holds")
        if len(line) != last:
            yield Finding(str(line[last].origin), f"of its {last} generations {len(line)} are kept")


@dataclass(slots=True)
class _Ledger:
    """One ledger under examination."""

    store: StoreReader
    row: LedgerRow
    keys: Mapping[str, _Keys]
    partners: Mapping[str, Partner]
    node: str
    opener: Opener
    check: LedgerCheck
    records: Records
    edge: Edge = field(default_factory=Edge.empty)
    texts: dict[int, str] = field(default_factory=dict)
    """Text of each checkpoint, by size."""
    unopenable: dict[int, EntryStatement] = field(default_factory=dict)
    kept_back: dict[int, KeptBackRow] = field(default_factory=dict)

    def findings(self) -> Iterator[str]:
        """Everything that is wrong with it."""
        row, store = self.row, self.store
        if row.replica == (row.origin.owner == self.node):
            yield "it is on record as a replica, and is this node's own, or the reverse"
        owner = self.keys.get(row.origin.owner)
        if owner is None:
            yield f"the keys of {row.origin.owner} are not known; pin its trust bundle in the configuration"
            return
        yield from self._read_statements()
        self._read_kept_back()
        tiles: dict[tuple[int, int], bytes] = {}
        while True:
            try:
                # One segment at a time, so that every checkpoint on record is checked.
                run = store.run(row.id, self.edge.size, 1)
                if run is None:
                    break
                leaves = list(self._leaves(run, owner))
                self.edge, writes = self.edge.grow(leaves)
                checkpoint, note = open_checkpoint(run.checkpoint, owner.log, row.origin)
            except LedgerError as error:
                yield f"at entry {self.edge.size}: {error}"
                return
            tiles.update(((write.level, write.index), write.data) for write in writes)
            if (checkpoint.size, checkpoint.root) != (self.edge.size, self.edge.root()):
                yield (
                    f"the signed checkpoint of size {checkpoint.size} is not what the entries up to"
                    f" {self.edge.size} give"
                )
                return
            self.texts[self.edge.size] = note.text
            yield from self._verify_statements(run, leaves)
            yield from self._verify_entries(run)
        self.check.size, self.check.checkpoints = self.edge.size, len(self.texts)
        if (row.size, row.root) != (self.edge.size, self.edge.root()):
            yield f"its size or root on record ({row.size}) is not what the entries give ({self.edge.size})"
        if {size for size, _ in store.checkpoints(row.id)} != self.texts.keys():
            yield "there are checkpoints on record that belong to no segment"
        if {(level, index): data for level, index, data in store.tiles(row.id)} != tiles:
            yield "its tiles are not what the entries give"
        for index in sorted(self.unopenable):
            if index >= self.edge.size:
                yield f"there is a statement about entry {index}, which is not there"
        for index in sorted(self.kept_back):
            yield f"entry {index} is on record as kept back, and is not there"
        yield from self._verify_cosignatures()
        if not row.replica and row.successor is not None and not 0 <= (row.agreed or 0) <= self.check.receipt_size:
            yield f"it ended with {row.agreed} entries confirmed, and its receipts cover {self.check.receipt_size}"

    def _leaves(self, run: Run, owner: _Keys) -> Iterator[bytes]:
        absent = {item.index: item for item in run.absent}
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
            item = absent.pop(index, None)
            if entry:
                if item is not None:
                    raise LedgerError(f"entry {index} is there, and on record as absent")
                yield leaf_hash(entry)
                continue
            if item is None:
                raise LedgerError(f"entry {index} has neither bytes nor a hash")
            statement = EntryStatement.open(
                item.note,
                owner.gateway,
                kind=EntryStatementKind.ABSENT,
                node=self.row.origin.owner,
                origin=self.row.origin,
            )
            if (statement.index, statement.leaf_hash) != (index, item.leaf_hash):
                raise LedgerError(f"the reason why entry {index} is absent speaks of another")
            self.check.absent.add(index)
            yield item.leaf_hash

    # --- entries

    def _read_statements(self) -> Iterator[str]:
        """Statements that an entry cannot be used: this node's about a replica, the recipient's about an own ledger."""
        speaker = self.node if self.row.replica else self.row.origin.recipient
        known = self.keys.get(speaker or "")
        for item in self.store.unopenable(self.row.id):
            try:
                if speaker is None or known is None:
                    raise NoteError(f"the keys of {speaker} are not known")
                statement = EntryStatement.open(
                    item.note,
                    known.gateway,
                    kind=EntryStatementKind.UNOPENABLE,
                    node=speaker,
                    origin=self.row.origin,
                )
                if statement.index != item.index:
                    raise NoteError(f"it is about entry {statement.index}")
            except LedgerError as error:
                yield f"the statement about entry {item.index} does not hold: {error}"
            else:
                self.unopenable[item.index] = statement

    def _read_kept_back(self) -> None:
        """What of an own ledger is kept back from its recipient."""
        for item in self.store.kept_back(self.row.id, 0, MAX_INDEX):
            self.kept_back[item.index] = item
            self.records.kept_back.add((str(self.row.origin), item.index))

    def _verify_reason(self, item: KeptBackRow, leaf: bytes) -> Iterator[str]:
        origin = self.row.origin
        try:
            statement = EntryStatement.open(
                item.note, self.keys[self.node].gateway, kind=EntryStatementKind.ABSENT, node=self.node, origin=origin
            )
            if (statement.index, statement.leaf_hash, statement.reason) != (item.index, leaf, item.reason):
                raise NoteError("it is about another entry, or gives another reason")
        except LedgerError as error:
            yield f"the reason why entry {item.index} is kept back does not hold: {error}"

    def _verify_statements(self, run: Run, leaves: Sequence[bytes]) -> Iterator[str]:
        for index, leaf in enumerate(leaves, run.first):
            kept_back = self.kept_back.pop(index, None)
            if kept_back is not None:
                yield from self._verify_reason(kept_back, leaf)
            statement = self.unopenable.get(index)
            if statement is not None and statement.leaf_hash != leaf:
                yield f"the statement about entry {index} is about another entry than the one that is there"

    def _verify_entries(self, run: Run) -> Iterator[str]:
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
            # What a partner could not use of an own ledger must still open here.
            if not entry or (self.row.replica and index in self.unopenable):
                continue
            try:
                content = self.opener.content(
                    self.row.origin, index, entry, lambda at: self.store.entry(self.row.id, at) or b""
                )
            except SealError as error:
                yield f"entry {index} does not open, and no statement says so: {error}"
                continue
            if content is not None:
                yield from self._note(index, content)

    def _note(self, index: int, content: ledger_pb2.EntryContent) -> Iterator[str]:
        home = self.row.origin.recipient is None
        match content.WhichOneof("content"):
            case "report" if not home:
                self.check.reports += 1
                self.records.note_report(self.row, index, content.report)
            case "onward_report" if not home:
                self.check.reports += 1
                self.records.note_report(self.row, index, content.onward_report.report)
                if self.row.replica:
                    yield from self._believed(index, content.onward_report)
            case "withdrawal" if not home:
                self.check.withdrawals += 1
                self.records.note_withdrawal(self.row, index, content.withdrawal)
            case "decision_record" if home:
                self.records.note_decisions(index, content.decision_record)
            case "succession" | "cover" if not home:
                return
            case "node_event" if home:
                try:
                    self.records.note_event(index, content.node_event)
                except ValueError as error:
                    yield f"entry {index}: {error}"
            case other:
                yield f"entry {index} holds {other or 'nothing'}, which has no place in this ledger"

    def _believed(self, index: int, onward: ledger_pb2.OnwardReport) -> Iterator[str]:
        """Whether what a partner passed on is its originator's, by the keys that are pinned now."""
        try:
            verify(onward, carrier=self.row.origin.owner, node=self.node, partners=self.partners)
        except NotBelieved as error:
            yield f"entry {index} was passed on, and is not believed: {error} {error.detail}".rstrip()

    # --- further signatures

    def _verify_cosignatures(self) -> Iterator[str]:
        origin = self.row.origin
        receipts: set[int] = set()
        for item in self.store.cosignatures(self.row.id):
            receipt = item.kind is CosignatureKind.RECEIPT
            signer = origin.recipient if receipt else origin.owner
            known = self.keys.get(signer or "")
            if known is None:
                yield f"a {item.kind} of size {item.size}: the keys of {signer} are not known"
                continue
            try:
                note = Note.parse(item.note)
                if note.text != self.texts.get(item.size):
                    raise NoteError("it is not over the checkpoint on record")
                verifiers = {(v.name, v.key_id): v for v in (known.receipt if receipt else known.pq)}
                lines = [line for line in note.signatures if (line.name, line.key_id) in verifiers]
                if not lines:
                    raise NoteError(f"no key of {signer} signed it")
                for line in lines:
                    verify_cosignature(note.text, line, verifiers[(line.name, line.key_id)])
            except LedgerError as error:
                yield f"the {item.kind} of size {item.size} does not hold: {error}"
                continue
            if receipt:
                receipts.add(item.size)
            else:
                self.check.pq_size = max(self.check.pq_size, item.size)
        self.check.receipt_size = max(receipts, default=0)
        if self.row.replica and (missing := self.texts.keys() - receipts):
            yield f"this node's own receipts are missing for sizes {', '.join(map(str, sorted(missing)[:8]))}"
