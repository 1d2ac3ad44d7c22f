"""The index of decisions: what is put beside the decisions ledger so that it can be searched.

The ledger is the record; the index only says where in it to look, and can be made from it again at any time.

Rules:

1. What decisions have in common is a *verdict*, and stands once, under a number. A decision in the index is a number, a
   time and a place: one row, whatever it says.
2. Rules and agreements are the officers' words. They stand in the index only sealed under the node's storage key.
3. A number is given out in the commit that first uses it, and means the same ever after.
4. Records are found by report and event as well. An own report's first record in the first generation of the decisions
   ledger has no row for that, since `report.decision` names it: so a warning that is decided once costs none.
"""

from __future__ import annotations

import logging
import struct
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple, Protocol

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import (
    Commit,
    DecisionPlace,
    DecisionRow,
    DecisionSubjectRow,
    LedgerId,
    LedgerRow,
    StoreReader,
    VerdictRow,
)
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.seal.errors import OpenError, SealError

log = logging.getLogger(__name__)

TO_INDEX: Final = "decisions to index"
"""Key of the store's own value that says from where on the index has still to be made: number of a ledger and index in
it, 8 bytes each. Empty, or not there: it is whole."""

_PLACE: Final = struct.Struct(">QQ")

INDEXED_AT_ONCE: Final = 4 << 20
"""Bytes of entries that one commit of the rebuilding covers: bounds its memory, and what a crash loses of it."""


class Storage(Protocol):
    """What seals and opens what is kept on the node's own disk (`gateway.seal.storage`)."""

    def seal(self, plaintext: bytes, context: bytes) -> bytes:
        """Seals under the current key."""

    def open(self, blob: bytes, context: bytes) -> bytes:
        """Opens. Raises OpenError."""


class Verdict(NamedTuple):
    """What decisions have in common. `originator` is empty for an own report.

    An event of the node has neither partner nor outcome, and its kind as the rule.
    """

    partner: str
    originator: str
    outcome: int
    kind: str
    traffic_class: int
    precedence: int
    rule: str
    agreement: str

    @property
    def event(self) -> bool:
        """Whether it is that of events of the node."""
        return not self.partner

    @classmethod
    def of_event(cls, kind: str) -> Verdict:
        """That of events of one kind."""
        return cls("", "", 0, "", 0, 0, kind, "")

    @classmethod
    def of_decision(cls, node: str, record: ledger_pb2.DecisionRecord, decision: ledger_pb2.Decision) -> Verdict:
        """That of a decision on the report of `record`, which holds the subject. `node` is this node."""
        return cls(
            decision.partner,
            "" if record.originator_node == node else record.originator_node,
            decision.outcome,
            record.kind,
            record.traffic_class,
            record.precedence,
            decision.rule,
            decision.agreement,
        )

    def row(self, number: int, storage: Storage) -> VerdictRow:
        """As it is kept."""
        rule = self.rule.encode()
        name = struct.pack(">H", len(rule)) + rule + self.agreement.encode()
        return VerdictRow(
            number, self.partner, self.originator, self.outcome, self.kind, self.traffic_class, self.precedence,
            storage.seal(name, _context(number)),
        )  # fmt: skip

    @classmethod
    def read(cls, row: VerdictRow, storage: Storage) -> Verdict:
        """As it was kept. Raises OpenError."""
        name = storage.open(row.name, _context(row.id))
        if len(name) < 2 or len(name) < 2 + (size := int.from_bytes(name[:2])):
            raise OpenError(f"verdict {row.id} of the index of decisions has no rule in it")
        return cls(
            row.partner, row.originator, row.outcome, row.kind, row.traffic_class, row.precedence,
            name[2 : 2 + size].decode(), name[2 + size :].decode(),
        )  # fmt: skip


def _context(number: int) -> bytes:
    return b"signalfire verdict %d" % number


class Verdicts:
    """The verdicts that the store holds, by number, kept in memory."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._by_number: dict[int, Verdict] = {}
        self._numbers: dict[Verdict, int] = {}
        self._last = 0
        self.unreadable = 0
        """How many the store holds that do not open."""

    @classmethod
    def restore(cls, store: StoreReader, storage: Storage) -> Verdicts:
        """As the store holds them."""
        verdicts = cls(storage)
        verdicts.catch_up(store)
        return verdicts

    def catch_up(self, store: StoreReader) -> None:
        """Reads those that the store has gained. One that does not open is left out: `ledger verify` names it, and
        decisions to come get another.
        """
        for row in store.verdicts(self._last):
            self._last = row.id
            try:
                verdict = Verdict.read(row, self._storage)
            except (OpenError, UnicodeDecodeError) as error:
                log.error("verdict %d of the index of decisions cannot be read: %s; run `ledger verify`", row.id, error)
                self.unreadable += 1
                continue
            self._by_number[row.id] = verdict
            self._numbers.setdefault(verdict, row.id)

    def __iter__(self) -> Iterator[tuple[int, Verdict]]:
        return iter(self._by_number.items())

    def number(self, verdict: Verdict) -> int | None:
        """Its number, if it has one."""
        return self._numbers.get(verdict)

    @property
    def last(self) -> int:
        """The highest number given out."""
        return self._last

    def adopt(self, given: Mapping[Verdict, int]) -> None:
        """Takes over what a durable commit gave out."""
        for verdict, number in given.items():
            self._by_number[number] = verdict
            self._numbers[verdict] = number
            self._last = max(self._last, number)


class Indexing:
    """Fills the index in one commit."""

    def __init__(self, verdicts: Verdicts, storage: Storage, commit: Commit) -> None:
        self._verdicts = verdicts
        self._storage = storage
        self._commit = commit
        self.given: dict[Verdict, int] = {}
        """Numbers that this commit gives out."""

    def decisions(
        self,
        node: str,
        origin: Origin,
        place: DecisionPlace,
        record: ledger_pb2.DecisionRecord,
        decisions: Iterable[ledger_pb2.Decision],
        *,
        first: bool,
    ) -> None:
        """Indexes one entry: a record's subject, and the decisions that stand in that entry.

        `first`: the report is this node's own, and this is the entry that `ReportRow.decision` names.
        """
        for decision in decisions:
            self._add(Verdict.of_decision(node, record, decision), place)
        subject = subject_row(origin, place, record, first=first)
        if subject is not None:
            self._commit.decision_subjects.append(subject)

    def event(self, place: DecisionPlace, kind: str) -> None:
        """Indexes an event of the node."""
        self._add(Verdict.of_event(kind), place)

    def _add(self, verdict: Verdict, place: DecisionPlace) -> None:
        number = self._verdicts.number(verdict) or self.given.get(verdict)
        if number is None:
            number = self.given[verdict] = self._verdicts.last + len(self.given) + 1
            self._commit.verdicts.append(verdict.row(number, self._storage))
        self._commit.decisions.append(DecisionRow(number, place))


def subject_row(
    origin: Origin, place: DecisionPlace, record: ledger_pb2.DecisionRecord, *, first: bool
) -> DecisionSubjectRow | None:
    """How an entry is found by its report and event; None: by the report itself. `first` is that of `Indexing`."""
    if first and origin.generation == 1:
        return None
    return DecisionSubjectRow(uuid.UUID(record.report_id).bytes, record.event_id, place)


# --- making the index again


def missing(store: StoreReader, signatory: Signatory) -> Iterator[Commit]:
    """What the index of a store lacks that an older gateway wrote, made from the decisions ledgers.

    Each piece must be durable before the next is asked for; a restart goes on where it was left. Raises StoreError.
    """
    to_index = store.meta(TO_INDEX)
    if not to_index:
        return
    ledger, position = _PLACE.unpack(to_index)
    opener = Opener(signatory.node, signatory.sealing)
    verdicts = Verdicts.restore(store, signatory.storage)
    rows = [row for row in store.ledgers() if not row.replica and row.origin.lane == DECISIONS and row.size]
    for row in rows:
        if row.id < ledger:
            continue
        position = position if row.id == ledger else 0
        log.warning("the decisions of %s are being indexed, from entry %d of %d", row.origin, position, row.size)
        while position < row.size:
            commit = Commit()
            indexing = Indexing(verdicts, signatory.storage, commit)
            position = _index_some(store, row, position, opener, indexing, signatory.node)
            commit.meta[TO_INDEX] = _PLACE.pack(row.id, position)
            yield commit
            verdicts.adopt(indexing.given)
    yield Commit(meta={TO_INDEX: b""})
    log.warning("the index of decisions is whole")


def _index_some(
    store: StoreReader, row: LedgerRow, position: int, opener: Opener, indexing: Indexing, node: str
) -> int:
    """Indexes a run of segments from `position` on. Returns where it ends."""
    run = store.run(row.id, position, INDEXED_AT_ONCE)
    if run is None:
        raise StoreError(f"{row.origin} ends at entry {position}, and is on record with {row.size} entries")
    for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
        try:
            content = opener.content(row.origin, index, entry, _fetch(store, row.id)) if entry else None
        except SealError as error:
            log.error("entry %d of %s cannot be indexed: %s; run `ledger verify`", index, row.origin, error)
            continue
        if content is not None:
            index_entry(indexing, store, row, index, content, node)
    return run.first + run.count


def _fetch(store: StoreReader, ledger: LedgerId) -> Callable[[int], bytes]:
    return lambda index: store.entry(ledger, index) or b""


def index_entry(
    indexing: Indexing, store: StoreReader, row: LedgerRow, index: int, content: ledger_pb2.EntryContent, node: str
) -> None:
    """Indexes what an entry of a decisions ledger of this `node` holds, as it would have been when it was made."""
    if content.HasField("node_event"):
        event = content.node_event
        indexing.event(DecisionPlace(event.time.ToNanoseconds(), row.id, index), event.kind)
    elif content.HasField("decision_record"):
        record = content.decision_record
        place = DecisionPlace(record.time.ToNanoseconds(), row.id, index)
        report = store.report(uuid.UUID(record.report_id).bytes) if record.originator_node == node else None
        first = report is not None and report.decision == index
        indexing.decisions(node, row.origin, place, record, record.decisions, first=first)
