"""Checks a store's records, which queries and subscribers read, against the ledgers, which are signed.

1. Every release that a decision names is an entry of that ledger that holds a copy of that report, and every report in
   an own ledger has a decision that released it. Every withdrawal is of a release, and each release is withdrawn once.
   A ledger's successor may hold both again: the release then stands on record there. A withdrawal that was kept back
   is none. What is kept back is what the decisions ledger says was, each entry once; and so is what was pruned.
2. Who was released what, and what was withdrawn, stands on record so, and nothing else does.
3. Every accepted report is kept, as its decision describes it and with the content whose digest that names; no other
   is. It is on record as withdrawn if, and only if, a later one recalls it. Of one that was pruned the envelope is
   kept, and no more.
   A decision on another node's report names the entry that brought it, and its digest.
4. Every order of the officers that the decisions ledger says was put in force is kept, in one sequence, and no other.
5. The index by which decisions are searched holds each of them (`gateway.audit.index_check`).
6. What subscribers are given is every own report once, and every report and withdrawal that partners sent, once by each
   way at most. By which ways a report came, and whether it stands, is on record as the replicas have it.
"""

from __future__ import annotations

import bisect
import hashlib
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple, TypeAlias

from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.audit.index_check import IndexCheck
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow, LedgerId, LedgerRow, ReportRow, StoreReader
from gateway.release.arriving import stands
from gateway.release.keeping import places_in
from gateway.release.orders import EVENTS, OrdersError, read_in_force
from gateway.release.pipeline import WARNINGS
from gateway.release.retention import EVENT as PRUNED
from gateway.release.retention import OWN_REPORTS, envelope, gone_in
from gateway.release.signatory import Signatory
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.parse import canonical
from gateway.seal.errors import SealError

Place: TypeAlias = tuple[str, int]
"""Origin line of a ledger, and an index in it."""


class Named(NamedTuple):
    """A report, by who originated it (empty: this node) and its identifier."""

    originator: str
    report_id: str

    def __str__(self) -> str:
        return f"{self.report_id} of {self.originator}" if self.originator else self.report_id

    @property
    def key(self) -> bytes:
        """The identifier, 16 bytes."""
        return uuid.UUID(self.report_id).bytes


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which ledger (or part of the store), and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(frozen=True, slots=True)
class _Subject:
    """What the decisions ledger says of one accepted report; `index` is where it says so."""

    index: int
    digest: bytes
    kind: str
    event_id: str
    submitted_by: str
    time_ns: int
    traffic_class: int
    precedence: int


@dataclass(frozen=True, slots=True)
class _Item:
    """A report or withdrawal in a replica, as the feed has to have it."""

    item: FeedItem
    originator: str
    report_id: bytes
    kind: int
    traffic_class: int
    precedence: int


@dataclass(slots=True)
class Records:
    """What the ledgers of `node` and its replicas hold, gathered entry by entry."""

    node: str
    decided: dict[Place, tuple[Named, str]] = field(default_factory=dict)
    """Releases by decision: (report, partner)."""
    released: dict[Place, Named] = field(default_factory=dict)
    """Reports in own ledgers."""
    withdrawn: Counter[tuple[Named, str]] = field(default_factory=Counter)
    """Withdrawals in own ledgers, of (report, partner). What a successor holds again is counted once."""
    _withdrawn_in: dict[tuple[Named, str], Origin] = field(default_factory=dict)
    announced: Counter[str] = field(default_factory=Counter)
    """Withdrawals that decisions speak of, by partner."""
    kept_back: set[Place] = field(default_factory=set)
    """Entries of own ledgers that are kept back, as the store has it."""
    said_kept_back: Counter[Place] = field(default_factory=Counter)
    """The same, as the decisions ledger has it."""
    subjects: dict[Named, _Subject] = field(default_factory=dict)
    held: dict[tuple[Named, str], int] = field(default_factory=dict)
    """Decisions to hold that none followed, with the time at which they are due."""
    withheld: int = 0
    received: dict[tuple[LedgerId, int], _Item] = field(default_factory=dict)
    owners: dict[LedgerId, str] = field(default_factory=dict)
    """Who keeps each ledger of which this node has a replica."""
    brought: dict[str, tuple[Named, bytes | None]] = field(default_factory=dict)
    """Reports that their originators let go onward, with their digests, by origin line and index of the entry. Of what
    was pruned the digest is not known.
    """
    gone: dict[Place, report_pb2.Report] = field(default_factory=dict)
    """Entries that were pruned, as the decisions ledger has it, with the identity of the report that each held."""
    gone_reports: dict[int, int] = field(default_factory=dict)
    """Numbers of the own reports that were pruned, as the decisions ledger has it, and when, nanoseconds since 1970."""
    agreed: dict[Origin, int] = field(default_factory=dict)
    """How many entries of an own ledger were confirmed when it ended, as its successor says."""
    agreements: dict[Place, str] = field(default_factory=dict)
    """The agreement on which each release rests, by decision."""
    withdrawn_at: dict[tuple[Named, str], set[int]] = field(default_factory=dict)
    """When withdrawals in own ledgers were made, nanoseconds since 1970."""
    stored: dict[LedgerId, list[tuple[int, int]]] = field(default_factory=dict)
    """Of each replica: up to which sizes, in order, it was stored when, by this node's own receipts."""
    pruned: set[Place] = field(default_factory=set)
    """Entries that were pruned, as the store has it."""
    enacted: Counter[tuple[int, bytes]] = field(default_factory=Counter)
    """The officers' orders that were put in force: index of the event that says so, and digest."""
    clock_declared: list[int] = field(default_factory=list)
    """When the clock was declared right, nanoseconds since 1970."""
    index: IndexCheck = field(init=False)

    def __post_init__(self) -> None:
        self.index = IndexCheck(self.node)

    def note_report(self, row: LedgerRow, index: int, report: report_pb2.Report, *, pruned: bool = False) -> None:
        """Takes note of a report in a ledger between nodes; of one that was pruned, of its identity."""
        if not row.replica:
            self.released[(str(row.origin), index)] = self._named(report.originator_node, report.report_id)
            return
        kind = kind_of(report)
        self.owners[row.id] = row.origin.owner
        self.received[(row.id, index)] = _Item(
            FeedItem.REPORT, report.originator_node, uuid.UUID(report.report_id).bytes,
            0 if kind is None else int(kind.report_kind), report.traffic_class, report.precedence,
        )  # fmt: skip
        if report.originator_node == row.origin.owner and (pruned or report.marking.onward_release):
            digest = None if pruned else hashlib.sha256(canonical(report)).digest()
            self.brought[f"{row.origin} {index}"] = Named(report.originator_node, report.report_id), digest

    def note_withdrawal(self, row: LedgerRow, index: int, withdrawal: ledger_pb2.Withdrawal) -> None:
        """Takes note of a withdrawal in a ledger between nodes."""
        originator = withdrawal.originator_node or row.origin.owner
        if not row.replica:
            if (str(row.origin), index) in self.kept_back:
                return
            release = (self._named(originator, withdrawal.report_id), row.origin.recipient or "")
            before = self._withdrawn_in.setdefault(release, row.origin)
            if before == row.origin or not _succeeds(row.origin, before):
                self.withdrawn[release] += 1
                self.withdrawn_at.setdefault(release, set()).add(withdrawal.time.ToNanoseconds())
            return
        self.owners[row.id] = row.origin.owner
        self.received[(row.id, index)] = _Item(
            FeedItem.WITHDRAWAL, originator, uuid.UUID(withdrawal.report_id).bytes,
            0, withdrawal.traffic_class, withdrawal.precedence,
        )  # fmt: skip

    def _named(self, originator: str, report_id: str) -> Named:
        return Named("" if originator == self.node else originator, report_id)

    def note_event(self, index: int, event: ledger_pb2.NodeEvent) -> None:
        """Takes note of something that the node did or met. Raises ValueError where it does not say what."""
        if event.kind == "entries-kept-back":
            ledger, indices = places_in(event.detail)
            self.said_kept_back.update((ledger, at) for at in indices)
        if event.kind == PRUNED:
            self._note_pruned(event)
        if event.kind in EVENTS.values():
            for signed in event.evidence:
                order = officer_pb2.SignedOrder.FromString(signed).order
                self.enacted[(index, hashlib.sha256(order).digest())] += 1
        if event.kind == "clock-declared-right":
            self.clock_declared.append(event.time.ToNanoseconds())

    def _note_pruned(self, event: ledger_pb2.NodeEvent) -> None:
        what, numbers = gone_in(event.detail)
        if what == OWN_REPORTS:
            self.gone_reports |= dict.fromkeys(numbers, event.time.ToNanoseconds())
            return
        if len(numbers) != len(event.evidence):
            raise ValueError(f"it says that {len(numbers)} entries were pruned, and names {len(event.evidence)}")
        for index, identity in zip(sorted(numbers), event.evidence, strict=True):
            self.gone[(what, index)] = report_pb2.Report.FromString(identity)

    def note_decisions(self, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of the decisions on one report. Those for many partners stand in several entries."""
        named = self._named(record.originator_node, record.report_id)
        self.subjects.setdefault(
            named,
            _Subject(
                index, record.report_digest, record.kind, record.event_id, record.submitted_by,
                record.time.ToNanoseconds(), record.traffic_class, record.precedence,
            ),
        )  # fmt: skip
        for decision in record.decisions:
            self.announced[decision.partner] += decision.withdrawals
            self.held.pop((named, decision.partner), None)
            if decision.outcome == ledger_pb2.OUTCOME_HELD:
                self.held[(named, decision.partner)] = decision.hold_until.ToNanoseconds()
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED:
                self.decided[(decision.ledger, decision.index)] = (named, decision.partner)
                self.agreements[(decision.ledger, decision.index)] = decision.agreement
            else:
                self.withheld += 1


def compare(store: StoreReader, signatory: Signatory, records: Records) -> Iterator[Finding]:
    """Everything in which the records differ from the ledgers."""
    yield from _compare_decisions(records, store.untold_counts())
    yield from _compare_kept_back(records)
    for ledger, index in sorted(records.gone.keys() - records.pruned):
        yield Finding(ledger, f"{DECISIONS} says that entry {index} was pruned, and it was not")
    yield from _compare_released(store, records)
    yield from _compare_waiting(store, records)
    yield from _compare_reports(store, signatory, records)
    yield from _compare_orders(store, signatory, records)
    yield from _compare_feed(store, records)
    for what in records.index.findings(store, signatory.storage):
        yield Finding("index of decisions", what)


def _compare_orders(store: StoreReader, signatory: Signatory, records: Records) -> Iterator[Finding]:
    kept = Counter((row.event, row.digest) for row in store.orders())
    for index, digest in sorted((records.enacted - kept).elements()):
        yield Finding("orders", f"entry {index} of {DECISIONS} put {digest.hex()} in force, and it is not kept")
    surplus = kept - records.enacted
    for row in store.orders():
        if surplus[(row.event, row.digest)]:
            yield Finding("orders", f"order {row.sequence} is kept, and {DECISIONS} holds no record of it")
    try:
        read_in_force(store, signatory)
    except OrdersError as error:
        yield Finding("orders", str(error))


def _stored_ns(records: Records, ledger: LedgerId, index: int) -> int | None:
    """When an entry of a replica was stored, by this node's receipt."""
    sizes = records.stored.get(ledger, [])
    place = bisect.bisect_right(sizes, index, key=lambda each: each[0])
    return sizes[place][1] if place < len(sizes) else None


def _compare_decisions(records: Records, untold: Mapping[str, int]) -> Iterator[Finding]:
    for (ledger, index), (report_id, _) in records.decided.items():
        if records.released.get((ledger, index)) != report_id:
            yield Finding(ledger, f"a decision released {report_id} as entry {index}, and that entry does not hold it")
    again = _released_again(records)
    for (ledger, index), report_id in records.released.items():
        if (ledger, index) not in records.decided and (ledger, index) not in again:
            yield Finding(ledger, f"entry {index} holds report {report_id}, and no decision released it")
    releases = set(records.decided.values())
    for (report_id, partner), count in records.withdrawn.items():
        if (report_id, partner) not in releases:
            yield Finding("releases", f"{report_id} was withdrawn from {partner}, which was never released it")
        if count > 1:
            yield Finding("releases", f"{report_id} was withdrawn from {partner} {count} times")
    sent = Counter[str]()
    for (_, partner), count in records.withdrawn.items():
        sent[partner] += count
    for partner in sorted(sent.keys() | records.announced.keys() | untold.keys()):
        waiting = untold.get(partner, 0)
        if sent[partner] + waiting != records.announced[partner]:
            yield Finding(
                "releases",
                f"decisions speak of {records.announced[partner]} withdrawals for {partner}; its ledgers hold"
                f" {sent[partner]}, and {waiting} wait",
            )


def _compare_kept_back(records: Records) -> Iterator[Finding]:
    for ledger, index in sorted(records.kept_back ^ records.said_kept_back.keys()):
        yield Finding(ledger, f"whether entry {index} is kept back is wrong on record")
    for (ledger, index), count in sorted(records.said_kept_back.items()):
        if count > 1:
            yield Finding(ledger, f"{DECISIONS} says {count} times that entry {index} is kept back")


def _succeeds(later: Origin, earlier: Origin) -> bool:
    """Whether `later` is a generation of the same ledger after `earlier`."""
    same = (later.owner, later.recipient, later.lane) == (earlier.owner, earlier.recipient, earlier.lane)
    return same and later.generation > earlier.generation


def _released_again(records: Records) -> dict[Place, Place]:
    """Releases that a ledger's successor holds again: the place there, and the one that the decision names."""
    decided = {release: place for place, release in records.decided.items()}
    again: dict[Place, Place] = {}
    for place, report_id in records.released.items():
        origin = Origin.parse(place[0])
        named = decided.get((report_id, origin.recipient or ""))
        if named is not None and _succeeds(origin, Origin.parse(named[0])):
            again[place] = named
    return again


_EVERY: Final = (1 << 63) - 1


def _compare_waiting(store: StoreReader, records: Records) -> Iterator[Finding]:
    """What is held, and what a partner has still to be told of."""
    held = {
        (Named(row.originator, str(uuid.UUID(bytes=row.report_id))), row.partner): row.due_ns
        for row in store.held_until(_EVERY, _EVERY)
    }
    for (named, partner), due_ns in sorted(held.items() ^ records.held.items()):
        yield Finding("held", f"whether {named.report_id} is held for {partner} until {due_ns} is wrong on record")
    waiting = {
        (Named(row.originator, str(uuid.UUID(bytes=row.report_id))), row.partner)
        for partner in store.untold_counts()
        for row in store.untold(partner, _EVERY)
    }
    owed = {
        release
        for release in set(records.decided.values()) - records.withdrawn.keys()
        if _recalled_on_record(store, release[0])
    }
    for named, partner in sorted(waiting ^ owed):
        yield Finding("untold", f"whether {partner} has still to be told of {named.report_id} is wrong on record")


def _recalled_on_record(store: StoreReader, named: Named) -> bool:
    report_id = uuid.UUID(named.report_id).bytes
    if named.originator:
        received = store.received(named.originator, report_id)
        return received is not None and received.withdrawn_ns is not None
    report = store.report(report_id)
    return report is not None and report.withdrawn_ns is not None


def _compare_released(store: StoreReader, records: Records) -> Iterator[Finding]:
    origins = {row.id: str(row.origin) for row in store.ledgers()}
    # Ledgers are read in the order in which they opened, so the last generation wins.
    standing = {named: place for place, named in _released_again(records).items()}
    for (ledger, index), (report_id, partner) in records.decided.items():
        subject = records.subjects[report_id]
        rows = store.released(report_id.key, report_id.originator)
        row = next((row for row in rows if row.partner == partner), None)
        if row is None:
            yield Finding("releases", f"{report_id} was released to {partner}, and that is not on record")
            continue
        found = (origins.get(row.ledger), row.index, row.traffic_class, row.precedence, row.agreement)
        place, agreement = standing.get((ledger, index), (ledger, index)), records.agreements[(ledger, index)]
        if found != (*place, subject.traffic_class, subject.precedence, agreement):
            yield Finding("releases", f"{report_id} for {partner} is on record otherwise than {DECISIONS} has it")
        times: Collection[int | None] = records.withdrawn_at.get((report_id, partner), {None})
        if row.withdrawn_ns not in times:
            yield Finding("releases", f"{report_id} for {partner}: whether it was withdrawn is wrong on record")
    count = store.counts().released
    if count != len(set(records.decided.values())):
        yield Finding("releases", f"{count} are on record, and decisions made {len(set(records.decided.values()))}")


def _compare_reports(store: StoreReader, signatory: Signatory, records: Records) -> Iterator[Finding]:
    own = {named.report_id: subject for named, subject in records.subjects.items() if not named.originator}
    kept: set[str] = set()
    withdrawn: dict[str, int] = {}
    recalled: dict[str, int] = {}
    warnings: dict[tuple[str, int], set[str]] = {}
    for seq in range(1, store.last_report() + 1):
        row = store.report_at(seq)
        if row is None:
            yield Finding("reports", f"number {seq} is missing")
            continue
        report_id = str(uuid.UUID(bytes=row.report_id))
        kept.add(report_id)
        subject = own.get(report_id)
        if subject is None:
            yield Finding("reports", f"{report_id} is kept, and {DECISIONS} holds no record of it")
            continue
        found = (row.decision, row.digest, row.event_id, row.submitted_by, row.accepted_ns, row.kind)
        if found != (
            subject.index, subject.digest, subject.event_id, subject.submitted_by, subject.time_ns, _kind(subject)
        ):  # fmt: skip
            yield Finding("reports", f"{report_id} is kept otherwise than its decision describes it")
        if row.pruned_ns != records.gone_reports.get(seq):
            yield Finding("reports", f"{report_id}: whether it was pruned is wrong on record")
        try:
            payload = signatory.storage.open(row.payload, row.report_id)
        except SealError as error:
            yield Finding("reports", f"{report_id}: its payload does not open: {error}")
            continue
        if row.pruned_ns is not None:
            if not _is_envelope(report_pb2.Report.FromString(payload), row, subject):
                yield Finding("reports", f"{report_id}: what is kept of it is not its envelope")
                continue
        elif hashlib.sha256(payload).digest() != subject.digest:
            yield Finding("reports", f"{report_id}: its decision names another content than is kept")
            continue
        if row.withdrawn_ns is not None:
            withdrawn[report_id] = row.withdrawn_ns
        if row.kind in WARNINGS:
            warnings.setdefault((row.event_id, subject.traffic_class), set()).add(report_id)
        for recalling in _recalled(report_pb2.Report.FromString(payload), warnings):
            recalled.setdefault(recalling, row.accepted_ns)
    for report_id in sorted({each for each, _ in withdrawn.items() ^ recalled.items()}):
        yield Finding("reports", f"{report_id}: whether it was recalled is wrong on record")
    for report_id in own.keys() - kept:
        yield Finding("reports", f"{report_id} was decided, and is not kept")
    count = store.counts().reports
    if count != len(own):
        yield Finding("reports", f"{count} are kept, and {DECISIONS} holds records of {len(own)}")
    for named, subject in records.subjects.items():
        if not named.originator:
            continue
        brought, digest = records.brought.get(subject.submitted_by, (None, None))
        if brought != named or digest not in (None, subject.digest):
            yield Finding("reports", f"{named} was decided as {subject.submitted_by}, and that entry does not hold it")


def _is_envelope(kept: report_pb2.Report, row: ReportRow, subject: _Subject) -> bool:
    """Whether what is kept of a pruned report is its envelope."""
    kind = kind_of(kept)
    found = (
        kept.report_id, kept.event_id, kept.traffic_class, kept.precedence, None if kind is None else kind.report_kind
    )  # fmt: skip
    return kept == envelope(kept) and found == (
        str(uuid.UUID(bytes=row.report_id)), row.event_id, subject.traffic_class, subject.precedence, row.kind
    )  # fmt: skip


def _recalled(report: report_pb2.Report, warnings: Mapping[tuple[str, int], set[str]]) -> Collection[str]:
    """The reports that no longer stand because of `report`; `warnings` are those before it, by event
    and traffic class."""
    match report.WhichOneof("content"):
        case "correction":
            return report.correction.report_ids
        case "cancellation":
            return report.cancellation.report_ids
        case "all_clear":
            return warnings.get((report.event_id, report.traffic_class), ())
    return ()


def _kind(subject: _Subject) -> int:
    return int(Kind(subject.kind).report_kind)


def _compare_feed(store: StoreReader, records: Records) -> Iterator[Finding]:
    everything = FeedFilter(frozenset({1, 2, 3}), include_own=True)
    own: Counter[bytes] = Counter()
    given: dict[tuple[FeedItem, str, bytes, str], FeedRow] = {}
    at: dict[LedgerId | None, int] = {}
    position, last, expected = 0, store.last_feed(), 1
    while position < last:
        rows, position = store.feed(position, 4096, everything)
        for row in rows:
            if row.seq != expected:
                yield Finding("feed", f"item {expected} is missing, or of no traffic class")
            expected = row.seq + 1
            if row.index <= at.get(row.ledger, -1):
                yield Finding("feed", f"item {row.seq} stands behind one that came after it")
            at[row.ledger] = row.index
            if row.ledger is None:
                own[row.report_id] += 1
                yield from _compare_own(store, records, row)
                continue
            key = (row.item, row.originator, row.report_id, records.owners.get(row.ledger, ""))
            found = _Item(row.item, row.originator, row.report_id, row.kind, row.traffic_class, row.precedence)
            if records.received.get((row.ledger, row.index)) != found:
                yield Finding("feed", f"item {row.seq} refers to an entry that does not hold what it says")
            elif row.received_ns != _stored_ns(records, row.ledger, row.index):
                yield Finding("feed", f"item {row.seq} came at another time than its entry was stored")
            elif key in given:
                yield Finding("feed", f"item {row.seq} gives again what item {given[key].seq} gave")
            given.setdefault(key, row)
    if expected != last + 1 or store.counts().feed != last:
        yield Finding("feed", f"it holds {store.counts().feed} items, and its last number is {last}")
    for named in records.subjects:
        if not named.originator and own[named.key] != 1:
            yield Finding("feed", f"own report {named} is in it {own[named.key]} times")
    yield from _compare_received(store, records, given)


def _compare_own(store: StoreReader, records: Records, row: FeedRow) -> Iterator[Finding]:
    report = store.report_at(row.index)
    subject = records.subjects.get(Named("", str(uuid.UUID(bytes=row.report_id))))
    if report is None or report.report_id != row.report_id or subject is None:
        yield Finding("feed", f"item {row.seq} refers to an own report that is not kept")
        return
    found = (row.item, row.originator, row.kind, row.traffic_class, row.precedence, row.received_ns)
    described = (FeedItem.REPORT, records.node, _kind(subject), subject.traffic_class, subject.precedence)
    if found != (*described, report.accepted_ns):
        yield Finding("feed", f"item {row.seq} describes an own report otherwise than its decision does")


def _compare_received(
    store: StoreReader, records: Records, given: Mapping[tuple[FeedItem, str, bytes, str], FeedRow]
) -> Iterator[Finding]:
    sent: dict[tuple[str, bytes], dict[str, _Way]] = {}
    for (ledger, index), item in records.received.items():
        ways = sent.setdefault((item.originator, item.report_id), {})
        way = ways.setdefault(records.owners[ledger], _Way())
        way.marks.add((item.traffic_class, item.precedence))
        stored_ns = _stored_ns(records, ledger, index)
        if item.item is FeedItem.REPORT:
            way.places[(ledger, index)] = stored_ns
        else:
            way.withdrawn = True
            way.withdrawn_ns.add(stored_ns)
    told: dict[tuple[str, bytes], list[FeedRow]] = {}
    for row in sorted(given.values(), key=lambda each: each.seq):
        told.setdefault((row.originator, row.report_id), []).append(row)
    for (originator, report_id), ways in sorted(sent.items()):
        rows = told.get((originator, report_id), [])
        own = ways.get(originator)
        for kind, due in (
            (FeedItem.REPORT, any(way.places for way in ways.values())),
            (FeedItem.WITHDRAWAL, own is not None and own.withdrawn),
        ):
            if due and not any(row.item is kind for row in rows):
                what = f"the {kind.name.lower()} of {uuid.UUID(bytes=report_id)} that {originator} sent is not in it"
                yield Finding("feed", what)
        if not _is_right(store, originator, report_id, ways, rows):
            yield Finding(
                "received", f"what is on record of {uuid.UUID(bytes=report_id)} of {originator} is not what it sent"
            )
    count = store.counts().received
    if count != len(told):
        yield Finding("received", f"{count} reports are on record, and partners sent {len(told)}")
    copies = sum(map(len, sent.values()))
    if store.counts().copies != copies:
        yield Finding("received", f"{store.counts().copies} copies are on record, and partners sent {copies}")


@dataclass(slots=True)
class _Way:
    """What the ledgers of one node hold of a report: where, whether they withdraw it, and of which traffic class and
    precedence that is.
    """

    places: dict[tuple[LedgerId, int], int | None] = field(default_factory=dict)
    """With the times at which they were stored, nanoseconds since 1970."""
    withdrawn: bool = False
    withdrawn_ns: set[int | None] = field(default_factory=set)
    marks: set[tuple[int, int]] = field(default_factory=set)


def _is_right(
    store: StoreReader, originator: str, report_id: bytes, ways: Mapping[str, _Way], rows: Sequence[FeedRow]
) -> bool:
    """Whether the records of a partner's report are what the ledgers (`ways`) and the feed (`rows`) say."""
    copies = {copy.via: copy for copy in store.copies(originator, report_id)}
    if copies.keys() != ways.keys():
        return False
    for via, copy in copies.items():
        way = ways[via]
        place = None if copy.ledger is None or copy.index is None else (copy.ledger, copy.index)
        if (place not in way.places) if way.places else (place is not None):
            return False
        if place is not None and copy.received_ns != way.places[place]:
            return False
        if (
            copy.withdrawn_ns not in (way.withdrawn_ns or {None})
            or (copy.traffic_class, copy.precedence) not in way.marks
        ):
            return False
    received = store.received(originator, report_id)
    if received is None or not rows:
        return received is None and not rows
    reports = [row for row in rows if row.item is FeedItem.REPORT]
    last = max(reports, key=lambda row: row.seq, default=None)
    # It ended when subscribers were told so, or had when they were given it.
    ended = {row.received_ns for row in rows if row.item is FeedItem.WITHDRAWAL}
    if last is not None:
        times = (copy.withdrawn_ns for copy in copies.values())
        ended |= {time_ns for time_ns in times if time_ns is not None and time_ns <= last.received_ns}
    marks = {(row.traffic_class, row.precedence) for row in rows}
    return (
        received.feed == (None if last is None else last.seq)
        and (received.withdrawn_ns is None if stands(originator, copies) else received.withdrawn_ns in ended)
        and (received.traffic_class, received.precedence) in marks
    )
