"""Checks a store's records, which queries and subscribers read, against the ledgers, which are signed.

1. Every release that a decision names is an entry of that ledger that holds a copy of that report, and every report in
   an own ledger has a decision that released it. Every withdrawal is of a release, and each release is withdrawn once.
2. Who was released what, and what was withdrawn, stands on record so, and nothing else does.
3. Every accepted report is kept, as its decision describes it and with the content whose digest that names; no other
   is. It is on record as withdrawn if, and only if, a later one recalls it.
4. What subscribers are given is every own report, and every report and withdrawal that partners sent, each once.
"""

from __future__ import annotations

import hashlib
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow, LedgerId, LedgerRow, ReceivedRow, StoreReader
from gateway.release.pipeline import WARNINGS
from gateway.release.signatory import Signatory
from gateway.reports.kinds import Kind, kind_of
from gateway.seal.errors import SealError

Place: TypeAlias = tuple[str, int]
"""Origin line of a ledger, and an index in it."""


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
    decided: dict[Place, tuple[str, str]] = field(default_factory=dict)
    """Releases by decision: (report id, partner)."""
    released: dict[Place, str] = field(default_factory=dict)
    """Reports in own ledgers."""
    withdrawn: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Withdrawals in own ledgers, of (report id, partner)."""
    announced: Counter[str] = field(default_factory=Counter)
    """Withdrawals that decisions speak of, by partner."""
    subjects: dict[str, _Subject] = field(default_factory=dict)
    withheld: int = 0
    received: dict[tuple[LedgerId, int], _Item] = field(default_factory=dict)

    def note_report(self, row: LedgerRow, index: int, report: report_pb2.Report) -> None:
        """Takes note of a report in a ledger between nodes."""
        if not row.replica:
            self.released[(str(row.origin), index)] = report.report_id
            return
        kind = kind_of(report)
        self.received[(row.id, index)] = _Item(
            FeedItem.REPORT, row.origin.owner, uuid.UUID(report.report_id).bytes,
            0 if kind is None else int(kind.report_kind), report.traffic_class, report.precedence,
        )  # fmt: skip

    def note_withdrawal(self, row: LedgerRow, index: int, withdrawal: ledger_pb2.Withdrawal) -> None:
        """Takes note of a withdrawal in a ledger between nodes."""
        if not row.replica:
            self.withdrawn[(withdrawal.report_id, row.origin.recipient or "")] += 1
            return
        self.received[(row.id, index)] = _Item(
            FeedItem.WITHDRAWAL, row.origin.owner, uuid.UUID(withdrawal.report_id).bytes,
            0, withdrawal.traffic_class, withdrawal.precedence,
        )  # fmt: skip

    def note_decisions(self, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of the decisions on one report. Those for many partners stand in several entries."""
        self.subjects.setdefault(
            record.report_id,
            _Subject(
                index, record.report_digest, record.kind, record.event_id, record.submitted_by,
                record.time.ToNanoseconds(), record.traffic_class, record.precedence,
            ),
        )  # fmt: skip
        for decision in record.decisions:
            self.announced[decision.partner] += decision.withdrawals
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED:
                self.decided[(decision.ledger, decision.index)] = (record.report_id, decision.partner)
            else:
                self.withheld += 1


def compare(store: StoreReader, signatory: Signatory, records: Records) -> Iterator[Finding]:
    """Everything in which the records differ from the ledgers."""
    yield from _compare_decisions(records)
    yield from _compare_released(store, records)
    yield from _compare_reports(store, signatory, records)
    yield from _compare_feed(store, records)


def _compare_decisions(records: Records) -> Iterator[Finding]:
    for (ledger, index), (report_id, _) in records.decided.items():
        if records.released.get((ledger, index)) != report_id:
            yield Finding(ledger, f"a decision released {report_id} as entry {index}, and that entry does not hold it")
    for (ledger, index), report_id in records.released.items():
        if (ledger, index) not in records.decided:
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
    for partner in sorted(sent.keys() | records.announced.keys()):
        if sent[partner] != records.announced[partner]:
            yield Finding(
                "releases",
                f"decisions speak of {records.announced[partner]} withdrawals for {partner}, and its ledgers hold"
                f" {sent[partner]}",
            )


def _compare_released(store: StoreReader, records: Records) -> Iterator[Finding]:
    origins = {row.id: str(row.origin) for row in store.ledgers()}
    for (ledger, index), (report_id, partner) in records.decided.items():
        subject = records.subjects[report_id]
        rows = store.released(uuid.UUID(report_id).bytes)
        row = next((row for row in rows if row.partner == partner), None)
        if row is None:
            yield Finding("releases", f"{report_id} was released to {partner}, and that is not on record")
            continue
        found = (origins.get(row.ledger), row.index, row.traffic_class, row.precedence)
        if found != (ledger, index, subject.traffic_class, subject.precedence):
            yield Finding("releases", f"{report_id} for {partner} is on record otherwise than {DECISIONS} has it")
        if (row.withdrawn_ns is not None) != ((report_id, partner) in records.withdrawn):
            yield Finding("releases", f"{report_id} for {partner}: whether it was withdrawn is wrong on record")
    count = store.counts().released
    if count != len(set(records.decided.values())):
        yield Finding("releases", f"{count} are on record, and decisions made {len(set(records.decided.values()))}")


def _compare_reports(store: StoreReader, signatory: Signatory, records: Records) -> Iterator[Finding]:
    kept: set[str] = set()
    withdrawn: set[str] = set()
    recalled: set[str] = set()
    warnings: dict[str, set[str]] = {}
    for seq in range(1, store.last_report() + 1):
        row = store.report_at(seq)
        if row is None:
            yield Finding("reports", f"number {seq} is missing")
            continue
        report_id = str(uuid.UUID(bytes=row.report_id))
        kept.add(report_id)
        subject = records.subjects.get(report_id)
        if subject is None:
            yield Finding("reports", f"{report_id} is kept, and {DECISIONS} holds no record of it")
            continue
        found = (row.decision, row.digest, row.event_id, row.submitted_by, row.accepted_ns, row.kind)
        if found != (
            subject.index, subject.digest, subject.event_id, subject.submitted_by, subject.time_ns, _kind(subject)
        ):  # fmt: skip
            yield Finding("reports", f"{report_id} is kept otherwise than its decision describes it")
        try:
            payload = signatory.storage.open(row.payload, row.report_id)
        except SealError as error:
            yield Finding("reports", f"{report_id}: its payload does not open: {error}")
            continue
        if hashlib.sha256(payload).digest() != subject.digest:
            yield Finding("reports", f"{report_id}: its decision names another content than is kept")
            continue
        if row.withdrawn_ns is not None:
            withdrawn.add(report_id)
        if row.kind in WARNINGS:
            warnings.setdefault(row.event_id, set()).add(report_id)
        recalled.update(_recalled(report_pb2.Report.FromString(payload), warnings))
    for report_id in sorted(withdrawn ^ recalled):
        yield Finding("reports", f"{report_id}: whether it was recalled is wrong on record")
    for report_id in records.subjects.keys() - kept:
        yield Finding("reports", f"{report_id} was decided, and is not kept")
    count = store.counts().reports
    if count != len(records.subjects):
        yield Finding("reports", f"{count} are kept, and {DECISIONS} holds records of {len(records.subjects)}")


def _recalled(report: report_pb2.Report, warnings: Mapping[str, set[str]]) -> Collection[str]:
    """The reports that no longer stand because of `report`; `warnings` are those before it, by event."""
    match report.WhichOneof("content"):
        case "correction":
            return report.correction.report_ids
        case "cancellation":
            return report.cancellation.report_ids
        case "all_clear":
            return warnings.get(report.event_id, ())
    return ()


def _kind(subject: _Subject) -> int:
    return int(Kind(subject.kind).report_kind)


def _compare_feed(store: StoreReader, records: Records) -> Iterator[Finding]:
    everything = FeedFilter(frozenset({1, 2, 3}), include_own=True)
    own: Counter[bytes] = Counter()
    given: dict[tuple[FeedItem, str, bytes], FeedRow] = {}
    position, last, expected = 0, store.last_feed(), 1
    while position < last:
        rows, position = store.feed(position, 4096, everything)
        for row in rows:
            if row.seq != expected:
                yield Finding("feed", f"item {expected} is missing, or of no traffic class")
            expected = row.seq + 1
            if row.ledger is None:
                own[row.report_id] += 1
                yield from _compare_own(store, records, row)
                continue
            key = (row.item, row.originator, row.report_id)
            found = _Item(row.item, row.originator, row.report_id, row.kind, row.traffic_class, row.precedence)
            if records.received.get((row.ledger, row.index)) != found:
                yield Finding("feed", f"item {row.seq} refers to an entry that does not hold what it says")
            elif key in given:
                yield Finding("feed", f"item {row.seq} gives again what item {given[key].seq} gave")
            given.setdefault(key, row)
    if expected != last + 1 or store.counts().feed != last:
        yield Finding("feed", f"it holds {store.counts().feed} items, and its last number is {last}")
    for report_id in records.subjects:
        if own[uuid.UUID(report_id).bytes] != 1:
            yield Finding("feed", f"own report {report_id} is in it {own[uuid.UUID(report_id).bytes]} times")
    yield from _compare_received(store, records, given)


def _compare_own(store: StoreReader, records: Records, row: FeedRow) -> Iterator[Finding]:
    report = store.report_at(row.index)
    subject = records.subjects.get(str(uuid.UUID(bytes=row.report_id)))
    if report is None or report.report_id != row.report_id or subject is None:
        yield Finding("feed", f"item {row.seq} refers to an own report that is not kept")
        return
    found = (row.item, row.originator, row.kind, row.traffic_class, row.precedence)
    if found != (FeedItem.REPORT, records.node, _kind(subject), subject.traffic_class, subject.precedence):
        yield Finding("feed", f"item {row.seq} describes an own report otherwise than its decision does")


def _compare_received(
    store: StoreReader, records: Records, given: dict[tuple[FeedItem, str, bytes], FeedRow]
) -> Iterator[Finding]:
    sent = {(item.item, item.originator, item.report_id) for item in records.received.values()}
    for item, originator, report_id in sorted(sent - given.keys()):
        yield Finding(
            "feed", f"the {item.name.lower()} of {uuid.UUID(bytes=report_id)} that {originator} sent is not in it"
        )
    named = {(originator, report_id) for _, originator, report_id in sent}
    for originator, report_id in sorted(named):
        report = given.get((FeedItem.REPORT, originator, report_id))
        withdrawal = given.get((FeedItem.WITHDRAWAL, originator, report_id))
        right = ReceivedRow(
            originator,
            report_id,
            None if report is None else report.seq,
            None if withdrawal is None else withdrawal.received_ns,
        )
        if store.received(originator, report_id) != right:
            yield Finding(
                "received", f"what is on record of {uuid.UUID(bytes=report_id)} of {originator} is not what it sent"
            )
    count = store.counts().received
    if count != len(named):
        yield Finding("received", f"{count} reports are on record, and partners sent {len(named)}")
