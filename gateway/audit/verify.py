"""Checks a store from scratch: believes nothing but entries and keys, rebuilds the rest and compares.

For every ledger, own or replica:

1. Segments follow one another without a gap, and their leaf hashes give the root of every signed checkpoint.
2. Every checkpoint is signed by the ledger's owner, and there is none beside those of the segments' ends.
3. Tiles, size and root on record are those that the entries give.
   What a key signed that is out of use is believed as far as `gateway.release.belief` says, and no further.
4. Every receipt is the recipient's, every post-quantum line the owner's, over a checkpoint that is on record. A replica
   has this node's receipt for every checkpoint.
5. Every entry opens, and holds what a ledger of its kind may hold, a report that was passed on with a proof that holds;
   an entry of a replica that does not is answered with this node's signed statement. Every statement on record is
   signed, and about the entry that is there. An entry kept as its hash has its owner's signed reason, and so has an
   entry of an own ledger that is kept back from its recipient. One that this node pruned has this node's, and the
   decisions ledger says so, and whose report it was.
6. Every beat of the own witness ledger opens, and is held against the ledgers to which it commits
   (`gateway.audit.witnessed`). A partner's is kept unread.
7. Generations of a ledger follow one another: all but the last have ended, and name the next. An own one that has
   ended goes on with everything above its receipts.

So that memory hardly grows with what is checked, everything is read once and in order, a segment at a time, and what
is compared later is gathered on disk (`gateway.audit.gathered`); a few numbers a decision and release stay in memory
(`gateway.audit.timeline`). Of findings in one place the first NAMED are told, and
how many more there are.

Before all of that the file itself is asked whether it is whole, and every row belongs to a ledger that is there. Across
ledgers, and against the records beside them: see `gateway.audit.copies` and `gateway.audit.comparing`.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2

from gateway.audit.comparing import compare
from gateway.audit.gathered import Gathered
from gateway.audit.indices import Indices
from gateway.audit.key_history import CURRENT, KnownKeys
from gateway.audit.records import Finding, Records
from gateway.audit.witnessed import WitnessCheck
from gateway.identity.key_names import gateway_key_name
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Verifier, Note, verify_note
from gateway.ledger.origin import DECISIONS, WITNESS, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind, speaks_for
from gateway.ledger.stores import CosignatureKind, KeptBackRow, LedgerRow, Run, StoreReader
from gateway.ledger.tiles import TILE_BYTES, Edge, TileWrite
from gateway.release.belief import History
from gateway.release.key_switch import KEYS_SWITCHED, keys_on_record, read_switches
from gateway.release.onward import NotBelieved, verify_on_record
from gateway.release.opening import Opener
from gateway.release.signatory import Partner, Signatory
from gateway.release.witness import WitnessError
from gateway.release.witness import read as read_witnessed
from gateway.seal.entry import MAX_INDEX
from gateway.seal.epoch import content_of
from gateway.seal.errors import SealError

_SECOND_NS: Final = 1_000_000_000
MIN_INDEX: Final = -MAX_INDEX - 1
"""The lowest integer that a store holds: what somebody has put below the first entry is looked at as well."""

NAMED: Final = 1000
"""Findings of one place that are told one by one. Where every row of a table is gone there are as many as rows."""

_WITNESS_LEDGER: Final = "witness ledger"
"""Where a finding is that is about all of its generations."""

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
    absent: Indices = field(default_factory=Indices)
    """Indices of the entries that came as hashes alone, each with its owner's signed reason."""
    pruned: Indices = field(default_factory=Indices)
    """Indices of the entries that this node let go of, each with its own signed reason."""
    cosigned: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the own witness ledger: up to which size each partner has cosigned it, and when by its clock, seconds since
    1970; both 0 where it has not."""


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


def verify_store(
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None] = lambda _: None,
    own: Partner | None = None,
) -> Verification:
    """Checks everything that `store` holds. `partners` are the partners whose keys are known, and `own` are the keys of
    this node's own bundle, where it has one.
    """
    outcome = Verification()
    more: Counter[str] = Counter()
    told: Counter[str] = Counter()
    with contextlib.closing(Gathered()) as rows:
        try:
            for finding in _findings(outcome, store, signatory, partners, progress, own, rows):
                told[finding.where] += 1
                if told[finding.where] <= NAMED:
                    outcome.findings.append(finding)
                else:
                    more[finding.where] += 1
        except LedgerError as error:
            # What cannot be read ends the check; what was found before stands.
            outcome.findings.append(Finding("store", str(error)))
        except (TypeError, ValueError) as error:
            # Damaged pages hold values of any kind, whatever the schema says.
            if not told["store"]:
                raise
            outcome.findings.append(Finding("store", f"what is damaged cannot be read: {error}"))
    outcome.findings.extend(Finding(where, f"{count} more findings") for where, count in more.items())
    return outcome


def _findings(
    outcome: Verification,
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None],
    own: Partner | None,
    gathered: Gathered,
) -> Iterator[Finding]:
    progress("the file")
    yield from (Finding("store", what) for what in store.damage())
    signatory = signatory.using(keys_on_record(store))
    keys = {node: KnownKeys.of_partner(partner) for node, partner in partners.items()}
    keys[signatory.node] = KnownKeys.of_own(signatory, own)
    opener = Opener(signatory.node, signatory.sealing)
    records = Records(store, signatory, opener, gathered)
    witness = WitnessCheck(store, lambda: records.clock_declared)
    rows = store.ledgers()
    # The decisions first: they say which entries of the others were pruned.
    for row in sorted(rows, key=lambda each: each.origin.lane != DECISIONS):
        progress(f"{row.origin}: {row.size} entries")
        ledger = _Ledger(
            store, row, keys, partners, signatory.node, opener, LedgerCheck(row.origin, row.replica), records, witness
        )
        outcome.ledgers.append(ledger.check)
        yield from (Finding(str(row.origin), what) for what in ledger.findings())
    yield from (Finding(_WITNESS_LEDGER, what) for what in witness.whole())
    yield from _generations(rows, records)
    progress("decisions, releases and reports")
    yield from compare(records)
    outcome.reports, outcome.released, outcome.withheld = records.counts()


def _generations(rows: Sequence[LedgerRow], records: Records) -> Iterator[Finding]:
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
            elif ended and not row.replica and row.agreed not in (
                records.agreed.get(row.origin.successor(), row.agreed), records.confirmed.get(row.origin)
            ):  # fmt: skip
                yield Finding(str(row.origin), f"its successor says that not {row.agreed} entries were confirmed")
        if len(line) != last:
            yield Finding(str(line[last].origin), f"of its {last} generations {len(line)} are kept")


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


@dataclass(slots=True)
class _Ledger:
    """One ledger under examination."""

    store: StoreReader
    row: LedgerRow
    keys: Mapping[str, KnownKeys]
    partners: Mapping[str, Partner]
    node: str
    opener: Opener
    check: LedgerCheck
    records: Records
    witness: WitnessCheck
    edge: Edge = field(default_factory=Edge.empty)
    filling: dict[tuple[int, int], bytes] = field(default_factory=dict)
    """Tiles that are not full, by level and index."""
    tiles: int = 0
    """Full tiles that were compared."""
    tiles_differ: bool = False
    unopenable: dict[int, bytes] = field(default_factory=dict)
    """Leaf hashes of the entries of a segment about which there is a statement."""
    history: History = field(default_factory=History)
    """Signatures of the owner's log keys on its checkpoints."""
    confirmed: bool = False
    """Whether a recipient has confirmed what it ended with."""

    def findings(self) -> Iterator[str]:
        """Everything that is wrong with it."""
        row, store = self.row, self.store
        if row.replica == (row.origin.owner == self.node):
            yield "it is on record as a replica, and is this node's own, or the reverse"
        owner = self.keys.get(row.origin.owner)
        if owner is None:
            yield f"the keys of {row.origin.owner} are not known; pin its trust bundle in the configuration"
            return
        while True:
            try:
                # One segment at a time, so that every checkpoint on record is checked.
                run = store.run(row.id, self.edge.size, 1)
                if run is None:
                    break
                leaves = list(self._leaves(run, owner))
                self.edge, writes = self.edge.grow(leaves)
                checkpoint, note = self._open_checkpoint(run.checkpoint, owner)
            except LedgerError as error:
                yield f"at entry {self.edge.size}: {error}"
                return
            self._compare_tiles(writes)
            if (checkpoint.size, checkpoint.root) != (self.edge.size, self.edge.root()):
                yield (
                    f"the signed checkpoint of size {checkpoint.size} is not what the entries up to"
                    f" {self.edge.size} give"
                )
                return
            self.check.checkpoints += 1
            self.records.rows.add("checkpoint", row.id, self.edge.size, _digest(note.text))
            yield from self._read_statements(run.first, self.edge.size)
            yield from self._verify_statements(run, leaves)
            yield from self._verify_entries(run)
        self.check.size = self.edge.size
        if (row.size, row.root) != (self.edge.size, self.edge.root()):
            yield f"its size or root on record ({row.size}) is not what the entries give ({self.edge.size})"
        if store.count_checkpoints(row.id) != self.check.checkpoints:
            yield "there are checkpoints on record that belong to no segment"
        if not self._tiles_hold():
            yield "its tiles are not what the entries give"
        for first, end in ((MIN_INDEX, 0), (self.edge.size, MAX_INDEX)):
            yield from self._read_statements(first, end)
            for index in self.unopenable:
                yield f"there is a statement about entry {index}, which is not there"
            for kept_back in store.kept_back(row.id, first, end):
                self.records.note_kept_back(row, kept_back.index)
                yield f"entry {kept_back.index} is on record as kept back, and is not there"
        yield from self._verify_unnamed(owner)
        if row.origin.lane == WITNESS and not row.replica:
            yield from self.witness.finish()
            self.check.cosigned = dict.fromkeys(self.partners, (0, 0))
        yield from self._verify_cosignatures()
        yield from self._verify_history()
        if row.agreed is not None and (row.replica or row.successor is None):
            yield f"it has not ended, and is on record as ended with {row.agreed} entries confirmed"
        elif row.agreed and not self.confirmed:
            yield f"it ended with {row.agreed} entries confirmed, and its receipts cover {self.check.receipt_size}"
        if self.check.pruned and self.check.pruned.last >= self.check.pq_size:
            yield f"entry {self.check.pruned.last} is pruned, and no post-quantum line covers it"

    def _compare_tiles(self, writes: Sequence[TileWrite]) -> None:
        """Compares tiles as they become full."""
        for write in writes:
            if len(write.data) < TILE_BYTES:
                self.filling[(write.level, write.index)] = write.data
                continue
            self.filling.pop((write.level, write.index), None)
            self.tiles += 1
            if self.store.tile(self.row.id, write.level, write.index) != write.data:
                self.tiles_differ = True

    def _tiles_hold(self) -> bool:
        """Whether the stored tiles are those that the entries gave, and no others."""
        partial = all(self.store.tile(self.row.id, *place) == data for place, data in self.filling.items())
        return (
            partial and not self.tiles_differ and self.store.count_tiles(self.row.id) == self.tiles + len(self.filling)
        )

    def _open_checkpoint(self, raw: bytes, owner: KnownKeys) -> tuple[Checkpoint, Note]:
        note = Note.parse(raw)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != self.row.origin:
            raise LedgerError(f"the checkpoint is of {checkpoint.origin}")
        named = {verifier.key_id for verifier in self._log_verifiers(owner)}
        if self.row.origin.lane == DECISIONS and not any(line.key_id in named for line in note.signatures):
            # By a key that is not known yet: the ledger may name it further on.
            self.records.rows.add("unnamed", self.row.id, checkpoint.size, raw)
        else:
            self._note_signature(checkpoint.size, note, owner)
        return checkpoint, note

    def _log_verifiers(self, owner: KnownKeys) -> Sequence[Ed25519Verifier]:
        return [key.verifier(self.row.origin) for key in owner.log]

    def _note_signature(self, size: int, note: Note, owner: KnownKeys) -> None:
        """Verifies the owner's signatures on a checkpoint, and takes note of them. Raises NoteError."""
        untils = [owner.of_log[signed.public_key] for signed in verify_note(note, self._log_verifiers(owner))]
        if CURRENT in untils:
            self.history.current(size)
        else:
            self.history.by_retired(size, max(until for until in untils if until is not None))

    def _verify_unnamed(self, owner: KnownKeys) -> Iterator[str]:
        for size, raw in self.records.rows.rows(
            "SELECT size, note FROM unnamed WHERE ledger = ? ORDER BY size", self.row.id
        ):
            try:
                self._note_signature(size, Note.parse(raw), owner)
            except NoteError as error:
                yield f"the checkpoint of size {size}: {error}"
                return

    def _verify_history(self) -> Iterator[str]:
        """What was signed by keys out of use, and is not believed."""
        sizes = self.history.uncovered()
        if sizes:
            yield (
                f"{len(sizes)} checkpoints, the first of size {sizes[0]}, are signed by a log key of"
                f" {self.row.origin.owner} that is out of use, and nothing that is believed covers them"
            )
        rows = self.records.rows
        for index, until in rows.rows("SELECT idx, until FROM doubtful WHERE ledger = ? ORDER BY n", self.row.id):
            if index >= self.history.covered_to(until):
                yield (
                    f"the statement about entry {index} is signed by a log key that is out of use, and nothing that is"
                    " believed covers the entry"
                )

        for index, originator, until in rows.rows(
            "SELECT idx, originator, until FROM proven WHERE ledger = ? ORDER BY n", self.row.id
        ):
            if not self.history.received_by(index, until):
                yield (
                    f"entry {index} was passed on, and is not believed: its proof is under a log key that"
                    f" {originator} has retired, and no receipt of this node shows that it came before that"
                )

    def _note_statement(self, index: int, raw: bytes, speaker: KnownKeys) -> None:
        """Takes note of a statement that has been verified, where no current key signed it."""
        name = gateway_key_name(speaker.node)
        keys = {Ed25519Verifier(name, key).key_id: until for key, until in speaker.of_log.items()}
        untils = [keys[line.key_id] for line in Note.parse(raw).signatures if line.name == name and line.key_id in keys]
        if CURRENT not in untils:
            until = max((until for until in untils if until is not None), default=0)
            self.records.rows.add("doubtful", None, self.row.id, index, until)

    def _leaves(self, run: Run, owner: KnownKeys) -> Iterator[bytes]:
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
            own = not self.row.replica or speaks_for(item.note, self.node)
            statement = EntryStatement.open(
                item.note,
                self.keys[self.node].gateway if own else owner.gateway,
                kind=EntryStatementKind.ABSENT,
                node=self.node if own else self.row.origin.owner,
                origin=self.row.origin,
            )
            if (statement.index, statement.leaf_hash) != (index, item.leaf_hash):
                raise LedgerError(f"the reason why entry {index} is absent speaks of another")
            self._note_statement(index, item.note, self.keys[self.node] if own else owner)
            back = own and not self.row.replica and self.records.was_given_back(self.row, index)
            (self.check.pruned if own and not back else self.check.absent).add(index)
            if back and self.row.origin.recipient is not None:
                self.records.hashes_back.add(self.row.origin.recipient)
            yield item.leaf_hash

    # --- entries

    def _read_statements(self, first: int, end: int) -> Iterator[str]:
        """Statements that an entry from `first` up to `end` cannot be used: this node's about a replica, the
        recipient's about an own ledger.
        """
        speaker = self.node if self.row.replica else self.row.origin.recipient
        known = self.keys.get(speaker or "")
        self.unopenable = {}
        for item in self.store.unopenable_between(self.row.id, first, end):
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
                self._note_statement(item.index, item.note, known)
                self.unopenable[item.index] = statement.leaf_hash

    def _verify_reason(self, item: KeptBackRow, leaf: bytes) -> Iterator[str]:
        origin = self.row.origin
        try:
            statement = EntryStatement.open(
                item.note, self.keys[self.node].gateway, kind=EntryStatementKind.ABSENT, node=self.node, origin=origin
            )
            if (statement.index, statement.leaf_hash, statement.reason) != (item.index, leaf, item.reason):
                raise NoteError("it is about another entry, or gives another reason")
            self._note_statement(item.index, item.note, self.keys[self.node])
        except LedgerError as error:
            yield f"the reason why entry {item.index} is kept back does not hold: {error}"

    def _verify_statements(self, run: Run, leaves: Sequence[bytes]) -> Iterator[str]:
        for item in self.store.kept_back(self.row.id, run.first, run.first + run.count):
            # What of an own ledger is kept back from its recipient.
            self.records.note_kept_back(self.row, item.index)
            yield from self._verify_reason(item, leaves[item.index - run.first])
        for index, leaf in self.unopenable.items():
            if leaf != leaves[index - run.first]:
                yield f"the statement about entry {index} is about another entry than the one that is there"

    def _verify_entries(self, run: Run) -> Iterator[str]:
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
            if index in self.check.pruned:
                yield from self._note_pruned(index)
            # What a partner could not use of an own ledger must still open here.
            if not entry or (self.row.replica and index in self.unopenable):
                continue
            if self.row.origin.lane == WITNESS:
                # A partner's is sealed to the partner alone.
                yield from () if self.row.replica else self._witnessed(index, entry)
                continue
            try:
                content = self.opener.content(
                    self.row.origin, index, entry, lambda at: self.store.entry(self.row.id, at) or b""
                )
            except SealError as error:
                yield f"entry {index} does not open, and no statement says so: {error}"
                continue
            if content is not None:
                yield from self._note(index, entry, content)

    def _note_pruned(self, index: int) -> Iterator[str]:
        if not self.records.note_gone(self.row, index):
            yield f"entry {index} is pruned, and no record says so"

    def _witnessed(self, index: int, entry: bytes) -> Iterator[str]:
        """An entry of the own witness ledger, held against the ledgers to which it commits."""
        origin = self.row.origin
        try:
            payload = self.opener.payload(origin, index, entry, lambda at: self.store.entry(self.row.id, at) or b"")
            if payload is None:
                return
            if index == 1 and origin.generation > 1:
                content = ledger_pb2.EntryContent.FromString(content_of(payload))
                yield from self._note(index, entry, content)
                return
            witnessed = read_witnessed(self.node, payload)
        except (SealError, WitnessError, DecodeError) as error:
            yield f"entry {index} does not open, or is no beat: {error}"
            return
        yield from self.witness.note(index, witnessed)

    def _note(self, index: int, entry: bytes, content: ledger_pb2.EntryContent) -> Iterator[str]:
        try:
            yield from self._note_content(index, entry, content)
        except ValueError as error:
            yield f"entry {index}: {error}"

    def _note_content(self, index: int, entry: bytes, content: ledger_pb2.EntryContent) -> Iterator[str]:
        home = self.row.origin.recipient is None
        match content.WhichOneof("content"):
            case "report" if not home:
                self.check.reports += 1
                yield from self.records.note_report(self.row, index, entry, content.report)
            case "onward_report" if not home:
                self.check.reports += 1
                yield from self.records.note_report(self.row, index, entry, content.onward_report.report)
                if self.row.replica:
                    yield from self._believed(index, content.onward_report)
            case "withdrawal" if not home:
                self.check.withdrawals += 1
                self.records.note_withdrawal(self.row, index, content.withdrawal)
            case "decision_record" if self.row.origin.lane == DECISIONS:
                self.witness.note_decisions(self.row.origin, index, content.decision_record)
                self.records.note_decisions(self.row, index, content.decision_record)
            case "cover" | "sealed_recovery" if not home:
                return
            case "succession" if not home or (index == 1 and self.row.origin.generation > 1):
                if index == 1 and not (home or self.row.replica):
                    self.records.agreed[self.row.origin] = content.succession.agreed_size
            case "node_event" if self.row.origin.lane == DECISIONS:
                self.witness.note_event(self.row.origin, index, content.node_event)
                self.records.note_event(self.row, index, content.node_event)
                if content.node_event.kind == KEYS_SWITCHED:
                    switches = read_switches(content.node_event.evidence)
                    self.keys[self.node].learn(switches, content.node_event.time.seconds)
            case other:
                yield f"entry {index} holds {other or 'nothing'}, which has no place in this ledger"

    def _believed(self, index: int, onward: ledger_pb2.OnwardReport) -> Iterator[str]:
        """Whether what a partner passed on is its originator's, by the keys that are pinned now."""
        try:
            until = verify_on_record(onward, carrier=self.row.origin.owner, node=self.node, partners=self.partners)
        except NotBelieved as error:
            yield f"entry {index} was passed on, and is not believed: {error} {error.detail}".rstrip()
        else:
            if until is not None:
                # By a key that is retired: the receipts that may cover it come later.
                self.records.rows.add("proven", None, self.row.id, index, onward.report.originator_node, until)

    # --- further signatures

    def _verify_cosignatures(self) -> Iterator[str]:
        origin = self.row.origin
        rows = self.records.rows
        receipts = 0
        histories: dict[tuple[CosignatureKind, str], History] = {}
        for item in self.store.each_cosignature(self.row.id):
            receipt = item.kind is CosignatureKind.RECEIPT
            signer = item.signer
            # Every partner cosigns a witness ledger; any other has one recipient.
            holder = self.node if self.row.replica else origin.recipient or signer
            if signer != (holder if receipt else origin.owner) or (receipt and signer == origin.owner):
                yield f"a {item.kind} of size {item.size} is on record as signed by {signer}"
                continue
            known = self.keys.get(signer)
            if known is None:
                yield f"a {item.kind} of size {item.size}: the keys of {signer} are not known"
                continue
            try:
                note = Note.parse(item.note)
                if (_digest(note.text),) != rows.row(
                    "SELECT digest FROM checkpoint WHERE ledger = ? AND size = ?", self.row.id, item.size
                ):
                    raise NoteError("it is not over the checkpoint on record")
                if item.kind is CosignatureKind.ANCHOR:
                    self._note_anchor(item.size, note, known)
                    continue
                found = self._lines_that_hold(note, known, receipt=receipt)
            except LedgerError as error:
                yield f"the {item.kind} of size {item.size} does not hold: {error}"
                continue
            if signer == self.node and item.time_ns // _SECOND_NS not in {at for _, at in found}:
                yield f"the {item.kind} of size {item.size} was made at another time than is on record"
            history = histories.setdefault((item.kind, signer), History())
            if any(until is CURRENT for until, _ in found):
                history.current(item.size)
            else:
                history.by_retired(item.size, 0)
            if receipt:
                receipts += 1
                self.check.receipt_size = max(self.check.receipt_size, item.size)
                self.confirmed = self.confirmed or item.size == self.row.agreed
                self._note_receipt(item.size, signer, max(at for _, at in found))
                if self.row.replica:
                    rows.add("stored", self.row.id, item.size, item.time_ns)
                    # When this node stored it, by the receipt that says so.
                    times = [at for until, at in found if until is CURRENT or at <= until]
                    for at in times:
                        self.history.received(item.size, at)
            else:
                self.check.pq_size = max(self.check.pq_size, item.size)
        # A ledger that has ended gets no further receipts: what it says was confirmed stands under the node's own key.
        agreed = (self.row.agreed or 0) if not self.row.replica and self.row.successor is not None else 0
        for (kind, signer), history in histories.items():
            doubtful = [size for size in history.uncovered() if kind is not CosignatureKind.RECEIPT or size > agreed]
            if doubtful:
                yield (
                    f"the {kind} of size {doubtful[-1]} is signed by a key of {signer} that is out of use, and none by"
                    " a current one covers it"
                )
        if self.row.replica and receipts != self.check.checkpoints:
            missing = rows.rows(
                "SELECT size FROM checkpoint WHERE ledger = ?1"
                " EXCEPT SELECT size FROM stored WHERE ledger = ?1 LIMIT 8",
                self.row.id,
            )
            sizes = ", ".join(str(size) for (size,) in missing)
            yield f"this node's own receipts are missing for sizes {sizes}"

    def _note_receipt(self, size: int, signer: str, time_s: int) -> None:
        if self.row.replica:
            return
        self.witness.note_receipt(self.row.origin, signer, time_s)
        if self.row.origin.lane == WITNESS:
            self.check.cosigned[signer] = max(self.check.cosigned.get(signer, (0, 0)), (size, time_s))

    def _note_anchor(self, size: int, note: Note, owner: KnownKeys) -> None:
        """An anchor counts under a current key alone. Raises NoteError."""
        signed = verify_note(note, self._log_verifiers(owner))
        if any(owner.of_log[verifier.public_key] is CURRENT for verifier in signed):
            self.history.current(size)

    @staticmethod
    def _lines_that_hold(note: Note, known: KnownKeys, *, receipt: bool) -> Sequence[tuple[int | None, int]]:
        """For each line of a known key until when that was in use, and when it signed. Raises NoteError."""
        untils = known.of_receipt if receipt else known.of_pq
        verifiers = {
            (verifier.name, verifier.key_id): (verifier, until)
            for verifier, until in zip(known.receipt if receipt else known.pq, untils.values(), strict=True)
        }
        found = []
        for line in note.signatures:
            if (line.name, line.key_id) in verifiers:
                verifier, until = verifiers[(line.name, line.key_id)]
                found.append((until, verify_cosignature(note.text, line, verifier)))
        if not found:
            raise NoteError(f"no key of {known.node} signed it")
        return found
