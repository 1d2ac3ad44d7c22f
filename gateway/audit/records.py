"""What the ledgers of a node and its replicas hold, gathered entry by entry, to be held against the store's records.

Every release is held against its decision where it is met (`gateway.audit.copies`): the decisions ledgers come first.
All else is put into a temporary database (`gateway.audit.gathered`), and compared at the end
(`gateway.audit.comparing`, `gateway.audit.feed_check`, `gateway.audit.index_check`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.audit.copies import Said, differences
from gateway.audit.gathered import Gathered
from gateway.audit.index_check import IndexCheck
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import FeedItem, LedgerRow, StoreReader
from gateway.release.keeping import places_in
from gateway.release.opening import Opener
from gateway.release.orders import EVENTS
from gateway.release.recovery.after_loss import BY_TIME, named_in
from gateway.release.recovery.after_loss import EVENT as RECALLED_WHILE_LOST
from gateway.release.recovery.returned import EVENT as GIVEN_BACK
from gateway.release.recovery.returned import back_in
from gateway.release.retention import EVENT as PRUNED
from gateway.release.retention import OWN_REPORTS, gone_in
from gateway.release.signatory import Signatory
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.parse import canonical
from gateway.seal.entry import parse_header
from gateway.seal.errors import SealError


class Named(NamedTuple):
    """A report, by who originated it (empty: this node) and its identifier, 16 bytes."""

    originator: str
    key: bytes

    def __str__(self) -> str:
        return f"{self.report_id} of {self.originator}" if self.originator else self.report_id

    @property
    def report_id(self) -> str:
        """The identifier as it is written."""
        return str(uuid.UUID(bytes=self.key))


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which ledger (or part of the store), and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


class Subject(NamedTuple):
    """What the decisions ledger says of an own report first; `entry` is where it says so."""

    entry: int
    digest: bytes
    kind: str
    event_id: str
    submitted_by: str
    time_ns: int
    traffic_class: int
    precedence: int
    rebuilt: bool
    """It stands there again, after the store was lost (`gateway.release.recovery.rebuilding`)."""

    @property
    def kind_number(self) -> int | None:
        """The number of its kind; None where there is no such kind."""
        try:
            return int(Kind(self.kind).report_kind)
        except ValueError:
            return None


def succeeds(later: Origin, earlier: Origin) -> bool:
    """Whether `later` is a generation of the same ledger after `earlier`."""
    same = (later.owner, later.recipient, later.lane) == (earlier.owner, earlier.recipient, earlier.lane)
    return same and later.generation > earlier.generation


_RELEASED = int(ledger_pb2.OUTCOME_RELEASED)

_SAID = (
    "SELECT d.n, d.line, d.idx, d.fields, d.changed, d.commitment, r.digest, r.submitted_by, r.kind"
    " FROM decision AS d JOIN record AS r ON r.n = d.record WHERE d.originator = ? AND d.report_id = ? AND"
)


@dataclass(slots=True)
class Records:
    """What the ledgers of a node and its replicas hold. Its `rows` are those of `gateway.audit.gathered`."""

    store: StoreReader
    signatory: Signatory
    opener: Opener
    rows: Gathered
    withheld: int = 0
    announced: Counter[str] = field(default_factory=Counter)
    """Withdrawals that decisions speak of, by partner."""
    owners: dict[int, str] = field(default_factory=dict)
    """Who keeps each ledger of which this node has a replica, by its number."""
    agreed: dict[Origin, int] = field(default_factory=dict)
    """How many entries of an own ledger were confirmed when it ended, as its successor says."""
    given_back: bool = False
    """Whether partners ever gave anything back of own ledgers: what was decided of that may be lost."""
    by_time: set[bytes] = field(default_factory=set)
    """The all-clears that recall those warnings alone that are no later than they are."""
    hashes_back: set[str] = field(default_factory=set)
    """The partners that gave entries of own ledgers back as their hashes alone: releases may be among them."""
    confirmed: dict[Origin, int] = field(default_factory=dict)
    """How many entries of an own ledger that has ended a partner confirmed when it gave it back."""
    enacted: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    """The officers' orders that were put in force: index of the event that says so, and digest."""
    clock_declared: list[int] = field(default_factory=list)
    """When the clock was declared right, nanoseconds since 1970."""
    index: IndexCheck = field(init=False)
    _records: int = 0
    _decisions: int = 0
    _committing: int = 0
    """Number of the first decision that names the commitment of its entry: every release from there on does."""
    _withdrawals: int = 0
    _ready: bool = False

    def __post_init__(self) -> None:
        self.index = IndexCheck(self.node, self.rows)

    @property
    def node(self) -> str:
        """This node."""
        return self.signatory.node

    def named(self, originator: str, report_id: str) -> Named:
        """A report as it is named here. Raises ValueError where that is no identifier."""
        return Named("" if originator == self.node else originator, uuid.UUID(report_id).bytes)

    def counts(self) -> tuple[int, int, int]:
        """How many own reports were decided, and how many releases, and decisions that were none, there are."""
        own = self.rows.number("SELECT count(DISTINCT report_id) FROM record WHERE originator = ''")
        released = self.rows.number(
            f"SELECT count(*) FROM (SELECT DISTINCT line, idx FROM decision WHERE outcome = {_RELEASED})"
        )
        return own, released, self.withheld

    # --- decisions ledgers, which are read first

    def note_decisions(self, row: LedgerRow, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of the decisions on one report. Those for many partners stand in several entries. Raises
        ValueError where it names no report.
        """
        named = self.named(record.originator_node, record.report_id)
        self._records += 1
        rebuilt = record.HasField("decided_time")
        taken = record.accepted_time if rebuilt else record.time
        self.rows.add(
            "record", self._records, row.id, row.origin.generation, index, *named, record.report_digest, record.kind,
            record.event_id, record.submitted_by, record.time.ToNanoseconds(), record.traffic_class, record.precedence,
            taken.ToNanoseconds(), rebuilt,
        )  # fmt: skip
        for decision in record.decisions:
            self._decisions += 1
            self.announced[decision.partner] += decision.withdrawals
            held = decision.outcome == ledger_pb2.OUTCOME_HELD
            released = decision.outcome == ledger_pb2.OUTCOME_RELEASED
            self.withheld += not released
            if released and decision.entry_commitment and not self._committing:
                self._committing = self._decisions
            self.rows.add(
                "decision", self._decisions, self._records, *named, decision.partner, decision.outcome,
                decision.hold_until.ToNanoseconds() if held else None,
                self.rows.line(decision.ledger) if released else None, decision.index if released else None,
                decision.agreement, self.rows.list(decision.fields), self.rows.list(decision.changed),
                decision.entry_commitment,
            )  # fmt: skip
        self.index.note_decisions(row, index, record)

    def note_event(self, row: LedgerRow, index: int, event: ledger_pb2.NodeEvent) -> None:
        """Takes note of something that the node did or met. Raises ValueError where it does not say what."""
        self.index.note_event(row, index, event)
        if event.kind == "entries-kept-back":
            ledger, indices = places_in(event.detail)
            line = self.rows.line(ledger)
            for at in indices:
                self.rows.do(
                    "INSERT INTO said_kept_back VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET count = count + 1", line, at
                )
        if event.kind == PRUNED:
            self._note_pruned(event)
        if event.kind == GIVEN_BACK:
            ledger, indices, confirmed = back_in(event.detail)
            self.given_back = True
            origin = Origin.parse(ledger)
            self.confirmed[origin] = max(self.confirmed.get(origin, 0), confirmed)
            line = self.rows.line(ledger)
            for at in indices:
                self.rows.add("back", line, at)
        if event.kind == RECALLED_WHILE_LOST:
            # Whenever it is known again, nothing that is kept then says what recalled it.
            named = Named("", named_in(event.detail))
            self._note_uncertain(named)
            self.rows.add("ended", *named, event.time.ToNanoseconds())
        if event.kind == BY_TIME:
            self.by_time.add(named_in(event.detail))
        if event.kind in EVENTS.values():
            for signed in event.evidence:
                order = officer_pb2.SignedOrder.FromString(signed).order
                self.enacted[(index, hashlib.sha256(order).digest())] += 1
        if event.kind == "clock-declared-right":
            self.clock_declared.append(event.time.ToNanoseconds())

    def _note_pruned(self, event: ledger_pb2.NodeEvent) -> None:
        what, numbers = gone_in(event.detail)
        if what == OWN_REPORTS:
            for number in numbers:
                self.rows.add("gone_report", number, event.time.ToNanoseconds())
            return
        if len(numbers) != len(event.evidence):
            raise ValueError(f"it says that {len(numbers)} entries were pruned, and names {len(event.evidence)}")
        line = self.rows.line(what)
        for index, identity in zip(sorted(numbers), event.evidence, strict=True):
            self.rows.add("gone", line, index, identity)

    def make_ready(self) -> None:
        """Once the decisions ledgers have been read: makes what finds a decision."""
        if self._ready:
            return
        self._ready = True
        self.rows.do("CREATE INDEX record_of ON record (originator, report_id, n)")
        self.rows.do("CREATE INDEX decision_of ON decision (originator, report_id, partner, n)")
        self.rows.do(f"CREATE INDEX decision_at ON decision (line, idx, n) WHERE outcome = {_RELEASED}")

    def subject(self, key: bytes) -> Subject | None:
        """What the decisions ledgers say first of an own report, by its identifier, 16 bytes."""
        found = self.rows.row(
            "SELECT idx, digest, kind, event_id, submitted_by, taken_ns, traffic_class, precedence, rebuilt FROM record"
            " WHERE originator = '' AND report_id = ? ORDER BY n LIMIT 1",
            key,
        )
        return None if found is None else Subject._make(found)

    # --- ledgers between nodes

    def note_kept_back(self, row: LedgerRow, index: int) -> None:
        """Takes note of an entry of an own ledger that is kept back, as the store has it."""
        self.rows.add("kept_back", self.rows.line(str(row.origin)), index)

    def note_gone(self, row: LedgerRow, index: int) -> bool:
        """Takes note of an entry that was pruned. Returns whether the decisions ledger says so."""
        line = self.rows.line(str(row.origin))
        found = self.rows.row("SELECT identity FROM gone WHERE line = ? AND idx = ?", line, index)
        if found is None:
            return False
        self.rows.add("pruned", line, index)
        report = report_pb2.Report.FromString(found[0])
        self._note_place(row, index, report, pruned=True)
        return True

    def note_report(self, row: LedgerRow, index: int, entry: bytes, report: report_pb2.Report) -> Iterator[str]:
        """Takes note of a report in a ledger between nodes. In an own one it is held against its decision: what is
        wrong with it.
        """
        self._note_place(row, index, report, pruned=False)
        if not row.replica:
            yield from self._differences(row, index, entry, report)

    def _note_place(self, row: LedgerRow, index: int, report: report_pb2.Report, *, pruned: bool) -> None:
        named = self.named(report.originator_node, report.report_id)
        line = self.rows.line(str(row.origin))
        if not row.replica:
            self.rows.add("sent", line, index, *named)
            if self._is_back(line, index):
                self.rows.add("returned", line, index, *named, row.origin.recipient or "")
                self._note_uncertain(named)
            return
        kind = kind_of(report)
        self.owners[row.id] = row.origin.owner
        self.rows.add(
            "received", row.id, index, FeedItem.REPORT, report.originator_node, named.key,
            0 if kind is None else int(kind.report_kind), report.traffic_class, report.precedence,
        )  # fmt: skip
        if report.originator_node == row.origin.owner and (pruned or report.marking.onward_release):
            digest = None if pruned else hashlib.sha256(canonical(report)).digest()
            self.rows.add("brought", line, index, *named, digest)

    def was_given_back(self, row: LedgerRow, index: int) -> bool:
        """Whether a partner gave an entry of an own ledger back."""
        return self._is_back(self.rows.line(str(row.origin)), index)

    def _is_back(self, line: int, index: int) -> bool:
        """Whether a partner gave that entry back."""
        return (
            self.given_back and self.rows.row("SELECT 1 FROM back WHERE line = ? AND idx = ?", line, index) is not None
        )

    def _note_uncertain(self, named: Named) -> None:
        """Of an own report about which something came back it cannot be told what recalled it, and when."""
        if not named.originator:
            self.rows.do("INSERT OR IGNORE INTO uncertain VALUES (?)", named.key)

    def _differences(self, row: LedgerRow, index: int, entry: bytes, copy: report_pb2.Report) -> Iterator[str]:
        """In what a release is not what its decision says."""
        self.make_ready()
        named = self.named(copy.originator_node, copy.report_id)
        line = self.rows.line(str(row.origin))
        found = self.rows.row(
            f"{_SAID} d.line = ? AND d.idx = ? AND d.outcome = {_RELEASED} ORDER BY d.n DESC", *named, line, index
        )
        if found is None:
            found = self.rows.row(
                f"{_SAID} d.partner = ? AND d.outcome = {_RELEASED} ORDER BY d.n DESC", *named, row.origin.recipient
            )
            if found is None or not succeeds(row.origin, Origin.parse(self.rows.origin(found[1]))):
                # That no decision released it is found where all are compared.
                return
        number, at_line, at_idx, fields, changed, commitment, digest, submitted_by, kind = found
        if (at_line, at_idx) == (line, index):
            if commitment and parse_header(entry).commitment != commitment:
                yield f"entry {index} is not the entry that the decision on {named} names"
            if not commitment and self._committing and number > self._committing:
                yield f"entry {index}: the decision on {named} does not name its commitment, and one before it does"
        said = Said(kind, self.rows.paths(fields), self.rows.paths(changed))
        for what in differences(copy, said, self._accepted(named, submitted_by, digest), self.node):
            yield f"entry {index} holds {named} otherwise than its decision says: {what}"

    def _accepted(self, named: Named, submitted_by: str, digest: bytes) -> report_pb2.Report | None:
        """The report of a decision, where it is kept and is the one that the decision names."""
        try:
            if not named.originator:
                row = self.store.report(named.key)
                if row is None or row.pruned_ns is not None:
                    return None
                raw = self.signatory.storage.open(row.payload, row.report_id)
                return report_pb2.Report.FromString(raw) if hashlib.sha256(raw).digest() == digest else None
            place, _, at = submitted_by.rpartition(" ")
            ledger = self.store.ledger(Origin.parse(place))
            if ledger is None:
                return None
            entry = self.store.entry(ledger.id, int(at))
            if entry is None:
                return None
            content = self.opener.content(
                ledger.origin, int(at), entry, lambda index: self.store.entry(ledger.id, index) or b""
            )
        except (LedgerError, SealError, ValueError):
            # What does not open, or is not there, is a finding of its own.
            return None
        if content is None or hashlib.sha256(canonical(content.report)).digest() != digest:
            return None
        return content.report

    def note_withdrawal(self, row: LedgerRow, index: int, withdrawal: ledger_pb2.Withdrawal) -> None:
        """Takes note of a withdrawal in a ledger between nodes. Raises ValueError where it names no report."""
        originator = withdrawal.originator_node or row.origin.owner
        named = self.named(originator, withdrawal.report_id)
        line = self.rows.line(str(row.origin))
        if row.replica:
            self.owners[row.id] = row.origin.owner
            self.rows.add(
                "received", row.id, index, FeedItem.WITHDRAWAL, originator, named.key,
                0, withdrawal.traffic_class, withdrawal.precedence,
            )  # fmt: skip
        elif self.rows.row("SELECT 1 FROM kept_back WHERE line = ? AND idx = ?", line, index) is None:
            self._withdrawals += 1
            if self._is_back(line, index):
                self._note_uncertain(named)
            self.rows.add(
                "withdrawal", self._withdrawals, line, *named, row.origin.recipient or "",
                withdrawal.time.ToNanoseconds(),
            )  # fmt: skip
