"""What a node lets go of once it is old: the contents of reports, and nothing else.

Rules, in order:

1. Nothing is let go while the clock is not trusted: nobody knows how old anything is.
2. Only reports go, of the ledgers between nodes and of this node's own C2 systems. Decisions, the witness ledger,
   openings of epochs, withdrawals, successions, hashes, tiles, checkpoints, receipts and the records of what was
   released and received stay for ever.
3. An entry goes only where its recipient has confirmed it, longer ago than the setting says, and a post-quantum line
   covers it. Of a ledger that has ended, what was not confirmed stands in its successor again, and goes once it is
   confirmed there.
4. What is still needed stays: a report that is held for a partner, one of which somebody has still to be told that it
   no longer stands, an own report of which a release was not confirmed.
5. What is evidence stays: an entry that does not open, or about which somebody has signed that it cannot be used.
6. In place of an entry its leaf hash stays, with this node's signed statement; of an entry of an own ledger that was
   kept back, the statement that was signed then. So trees, proofs and signatures stand as before. In place of an own
   report its envelope stays (`envelope`): who may recall it is judged as before, and it can be recalled.
7. What went is on record in the decisions ledger, in the same commit: which entries of which ledger, and of each whose
   report it was.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import report_pb2

from gateway.ledger import bundle
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import (
    AbsentRow,
    CosignatureKind,
    FeedFilter,
    LedgerId,
    LedgerRow,
    PrunedReport,
    PrunedSegment,
    ReportRow,
    Segment,
    StoreReader,
)
from gateway.release.keeping import RANGES, numbers_in, ranges
from gateway.release.opening import Opener
from gateway.release.plan import Plan, time_of
from gateway.release.ranks import Rank
from gateway.release.subject import Subject
from gateway.reports.kinds import kind_of
from gateway.reports.parse import canonical
from gateway.seal.entry import EntryKind, parse_header
from gateway.seal.errors import SealError

PRUNED: Final = "its content was pruned: it is older than this node keeps it"
"""The signed reason of an entry that was let go."""

EVENT: Final = "pruned"
"""Kind of the event that says what was."""

PRUNED_A_COMMIT: Final = 256
"""Entries or reports that one step lets go: each is opened and signed while others wait."""

EXAMINED_A_COMMIT: Final = 512
"""Entries or reports that one step looks at: each is opened, whether it may go or not."""

READ_BYTES: Final = 1 << 20
"""Bytes of segments that one step reads, if it is more than one of them."""

SEGMENTS_A_COMMIT: Final = 256
"""Segments that one step looks at: of each it is asked whether it was confirmed."""

REMEMBERED_EVERY: Final = 1024
"""Entries after which how far it was looked is made durable, though nothing of them went."""

OWN_FLOOR: Final = "pruned feed own"
PARTNERS_FLOOR: Final = "pruned feed partners"
"""Keys of the store's own values that hold, 8 bytes each, up to which number of the feed the contents of own and of
partners' reports may be gone."""

OWN_REPORTS: Final = "own reports"

_EVERYTHING: Final = FeedFilter(frozenset({1, 2, 3}), include_own=True)


@dataclass(frozen=True, slots=True)
class Looked:
    """Up to where a step has looked: the segment (or report) to go on from, the entry in it, and how many went."""

    segment: int
    index: int
    pruned: int
    done: bool
    """Nothing that lies beyond is old enough, or there is nothing."""


def identity(report: report_pb2.Report) -> report_pb2.Report:
    """Which report it is: what the records beside the ledgers are held against."""
    kept = report_pb2.Report(
        report_id=report.report_id,
        originator_node=report.originator_node,
        traffic_class=report.traffic_class,
        precedence=report.precedence,
    )
    kind = kind_of(report)
    if kind is not None:
        getattr(kept, kind.field).SetInParent()
    return kept


def envelope(report: report_pb2.Report) -> report_pb2.Report:
    """What stays of an own report: its identity, what grants ask about an earlier report, and what it recalls."""
    kept = identity(report)
    kept.originator_station = report.originator_station
    kept.event_id = report.event_id
    kept.marking.policy = report.marking.policy
    kept.marking.classification = report.marking.classification
    if report.HasField("correction"):
        kept.correction.report_ids.extend(report.correction.report_ids)
    if report.HasField("cancellation"):
        kept.cancellation.report_ids.extend(report.cancellation.report_ids)
    if report.HasField("all_clear") and report.HasField("report_time"):
        # By which it is told from warnings that come back after it (`gateway.release.recovery.after_loss`).
        kept.report_time.CopyFrom(report.report_time)
    return kept


@dataclass(frozen=True, slots=True)
class PruneEntries:
    """Lets go of reports in one ledger between nodes, from the entry `index` on, which stands in or after the segment
    that begins at `segment`, as far as they were confirmed at `before_ns` or earlier.
    """

    origin: Origin
    segment: int
    index: int
    before_ns: int
    weight: int = 0
    rank: Rank = Rank.SPARE

    def apply(self, plan: Plan) -> Looked:
        """Prunes, records, and returns up to where it has looked."""
        nothing = Looked(self.segment, self.index, 0, done=True)
        row = plan.store.ledger(self.origin)
        if row is None or self.origin.recipient is None or not plan.clock_trusted or self.origin in plan.ledgers.ended:
            return nothing
        if any(pruned.ledger == row.id for pruned in plan.commit.pruned):
            return nothing
        look = _Look(plan, row, self.before_ns)
        at, index, final = self.segment, self.index, self.index == self.segment
        remembered = at if at == position(plan.store, row) else None
        segments = plan.store.segments(row.id, at, READ_BYTES)
        covered = post_quantum_size(plan.store, row)
        for segment in segments[:SEGMENTS_A_COMMIT]:
            end = segment.first + segment.count
            if end > covered or not received(plan.store, row, end, self.before_ns):
                look.done = True
                break
            index = look.through(segment, max(index, segment.first))
            if index < end:
                break
            final = final and not look.waiting
            at = index = end
            if final and remembered is not None:
                remembered = end
        else:
            look.done = at >= row.size
        look.put_on_record()
        if remembered is not None and (look.pruned or remembered - self.segment >= REMEMBERED_EVERY):
            plan.commit.meta[_position_key(row)] = remembered.to_bytes(8)
        return Looked(at, index, look.pruned, look.done)


class _Look:
    """One step's way through the segments of a ledger."""

    def __init__(self, plan: Plan, row: LedgerRow, before_ns: int) -> None:
        self.plan = plan
        self.row = row
        self.before_ns = before_ns
        self.opener = Opener(plan.signatory.node, plan.signatory.sealing)
        self.pruned = 0
        self.done = False
        self.waiting = False
        """Something was left that may go later."""
        self._examined = 0
        self._gone: dict[int, report_pb2.Report] = {}

    def through(self, segment: Segment, index: int) -> int:
        """Lets go of what may go of a segment, from `index` on. Returns up to where it came."""
        entries = bundle.decode(segment.entries, segment.count, allow_absent=True)
        absent: list[AbsentRow] = []
        end = segment.first + segment.count
        while index < end and self.pruned < PRUNED_A_COMMIT and self._examined < EXAMINED_A_COMMIT:
            entry = entries[index - segment.first]
            report = self._report(index, entry) if entry else None
            if report is not None:
                absent.append(self._absent(index, leaf_hash(entry)))
                entries[index - segment.first] = b""
                self._gone[index] = identity(report)
                self.pruned += 1
            index += 1
        if absent:
            data = bundle.encode(entries, allow_absent=True)
            self.plan.commit.pruned.append(PrunedSegment(self.row.id, segment.first, segment.count, data, absent))
        return index

    def _report(self, index: int, entry: bytes) -> report_pb2.Report | None:
        """The report in an entry that may go; None where there is none, or it has to stay."""
        plan, row = self.plan, self.row
        try:
            if parse_header(entry).kind is EntryKind.EPOCH_OPENING:
                return None
            self._examined += 1
            content = self.opener.content(row.origin, index, entry, lambda at: plan.store.entry(row.id, at) or b"")
        except SealError:
            return None
        if content is None or content.WhichOneof("content") not in ("report", "onward_report"):
            return None
        if plan.store.statement(row.id, index) is not None:
            return None
        report = content.onward_report.report if content.HasField("onward_report") else content.report
        if _is_needed(plan, _subject(plan, report)):
            self.waiting = True
            return None
        return report

    def _absent(self, index: int, leaf: bytes) -> AbsentRow:
        plan, row = self.plan, self.row
        for kept_back in plan.store.kept_back(row.id, index, index + 1):
            return AbsentRow(row.id, index, leaf, kept_back.note)
        statement = EntryStatement(EntryStatementKind.ABSENT, plan.signatory.node, row.origin, index, leaf, PRUNED)
        return AbsentRow(row.id, index, leaf, statement.sign(plan.signatory.gateway))

    def put_on_record(self) -> None:
        """Records what went, if anything did, and up to where the feed may lack it."""
        if not self._gone:
            return
        gone = [self._gone[index].SerializeToString() for index in sorted(self._gone)]
        self.plan.record_event(EVENT, in_words(str(self.row.origin), self._gone, self.before_ns), gone)
        if self.row.replica:
            receipt = self.plan.store.covering(
                self.row.id, CosignatureKind.RECEIPT, self.plan.signatory.node, max(self._gone) + 1
            )
            assert receipt is not None  # it was confirmed
            _raise_floor(self.plan, PARTNERS_FLOOR, receipt.time_ns)


def _subject(plan: Plan, report: report_pb2.Report) -> Subject:
    own = report.originator_node == plan.signatory.node
    return Subject("" if own else report.originator_node, uuid.UUID(report.report_id).bytes)


def _is_needed(plan: Plan, subject: Subject) -> bool:
    """Whether a report is held, or somebody has still to be told that it no longer stands."""
    return bool(plan.holds.partners(subject) or plan.untold.partners(subject))


def confirmed(store: StoreReader, row: LedgerRow, size: int, before_ns: int) -> bool:
    """Whether the recipient of a ledger has its first `size` entries by its own signature of `before_ns` or earlier,
    and a post-quantum line of its owner covers them.
    """
    return size <= post_quantum_size(store, row) and received(store, row, size, before_ns)


def post_quantum_size(store: StoreReader, row: LedgerRow) -> int:
    """How many entries of a ledger a post-quantum line of its owner covers."""
    pq = store.cosignature(row.id, CosignatureKind.PQ, row.origin.owner)
    return 0 if pq is None else pq.size


def received(store: StoreReader, row: LedgerRow, size: int, before_ns: int) -> bool:
    """Whether the recipient of a ledger has its first `size` entries by its own signature of `before_ns` or earlier."""
    recipient = row.origin.recipient
    if recipient is None:
        return False
    receipt = store.covering(row.id, CosignatureKind.RECEIPT, recipient, size)
    if receipt is not None:
        return receipt.time_ns <= before_ns
    following = None if row.replica or row.successor is None else store.ledger(row.successor)
    if following is None:
        return False
    # What was not confirmed stands in the commit that opened the successor, behind the opening of its epoch and what
    # says whom it succeeds.
    again = row.size - (row.agreed or 0) + 2
    return confirmed(store, following, min(again, following.size), before_ns)


@dataclass(frozen=True, slots=True)
class PruneReports:
    """Lets go of the contents of own reports, from number `first` on, that were accepted at `before_ns` or earlier."""

    first: int
    before_ns: int
    weight: int = 0
    rank: Rank = Rank.SPARE

    def apply(self, plan: Plan) -> Looked:
        """Prunes, records, and returns up to where it has looked."""
        if not plan.clock_trusted or plan.commit.pruned_reports:
            return Looked(self.first, self.first, 0, done=True)
        ledgers = {row.id: row for row in plan.store.ledgers()}
        seq, newest_ns, gone = self.first, 0, list[int]()
        remembered, waiting, done = self.first, False, False
        while seq < self.first + EXAMINED_A_COMMIT and len(gone) < PRUNED_A_COMMIT:
            row = plan.store.report_at(seq)
            if row is None or row.accepted_ns > self.before_ns:
                done = True
                break
            seq += 1
            if row.pruned_ns is None and not self._is_free(plan, ledgers, row.report_id):
                waiting = True
            elif row.pruned_ns is None and (kept := _envelope_of(plan, row)) is not None:
                payload = plan.signatory.storage.seal(kept, row.report_id, plan.signatory.random)
                plan.commit.pruned_reports.append(PrunedReport(row.seq, payload, plan.now_ns))
                gone.append(row.seq)
                newest_ns = max(newest_ns, row.accepted_ns)
            if not waiting:
                remembered = seq
        if gone:
            plan.record_event(EVENT, in_words(OWN_REPORTS, gone, self.before_ns))
            _raise_floor(plan, OWN_FLOOR, newest_ns)
        follows = self.first == reports_position(plan.store)
        if follows and (gone or remembered - self.first >= EXAMINED_A_COMMIT):
            plan.commit.meta[_REPORTS_POSITION] = remembered.to_bytes(8)
        return Looked(seq, seq, len(gone), done)

    def _is_free(self, plan: Plan, ledgers: Mapping[LedgerId, LedgerRow], report_id: bytes) -> bool:
        """Whether nobody needs a report any more, and everyone who was released it has confirmed that he has it."""
        if _is_needed(plan, Subject("", report_id)):
            return False
        return all(
            confirmed(plan.store, ledgers[release.ledger], release.index + 1, plan.now_ns)
            for release in plan.store.released(report_id)
        )


def _envelope_of(plan: Plan, row: ReportRow) -> bytes | None:
    """The envelope of an own report; None where it does not open, and so is evidence."""
    try:
        payload = plan.signatory.storage.open(row.payload, row.report_id)
    except SealError:
        return None
    return canonical(envelope(report_pb2.Report.FromString(payload)))


# --- how far it was looked, and the feed


def _position_key(row: LedgerRow) -> str:
    return f"pruned {row.id}"


def position(store: StoreReader, row: LedgerRow) -> int:
    """Where the first segment of a ledger begins in which something may still go; the store remembers."""
    return int.from_bytes(store.meta(_position_key(row)) or b"")


_REPORTS_POSITION: Final = "pruned reports"


def reports_position(store: StoreReader) -> int:
    """The number of the first own report that may still go."""
    return int.from_bytes(store.meta(_REPORTS_POSITION) or b"\1")


def floor(store: StoreReader, key: str) -> int:
    """Up to which number of the feed contents may be gone; 0: none is. `key` is OWN_FLOOR or PARTNERS_FLOOR."""
    return int.from_bytes(store.meta(key) or b"")


def _raise_floor(plan: Plan, key: str, time_ns: int) -> None:
    """Contents of what came into the feed at `time_ns` or earlier may be gone. Its rows stand in the order of time, as
    far as the clock did; where it did not, the feed finds what is missing when it reads it.
    """
    low, high = 0, plan.store.last_feed()
    while low < high:
        middle = (low + high + 1) // 2
        (row, *_), _ = plan.store.feed(middle - 1, 1, _EVERYTHING)
        if row.received_ns <= time_ns:
            low = middle
        else:
            high = middle - 1
    if low > floor(plan.store, key):
        plan.commit.meta[key] = low.to_bytes(8)


# --- in words


def in_words(what: str, numbers: Iterable[int], before_ns: int) -> str:
    """What was let go, in a sentence for the record. `what` is an origin line, or OWN_REPORTS."""
    gone = sorted(numbers)
    which = "is" if len(gone) == 1 else "are"
    return f"{what}: {ranges(gone)} {which} pruned ({len(gone)} of before {time_of(before_ns):%Y-%m-%dT%H:%M:%SZ})"


_TOLD: Final = re.compile(rf"(?P<what>{OWN_REPORTS}|\S+): (?P<numbers>{RANGES}) (?:is|are) pruned \(")


def gone_in(words: str) -> tuple[str, frozenset[int]]:
    """The ledger (or OWN_REPORTS) and the numbers of which `in_words` speaks. Raises ValueError for anything else."""
    found = _TOLD.match(words)
    if found is None:
        raise ValueError(f"this does not say what was pruned: {words}")
    return found["what"], numbers_in(found["numbers"])
