"""Other nodes' reports, passed on: when they arrive, when they were held and are due, and when they are withdrawn.

Rules, in order:

1. A report is passed on that its originator itself sent, that stands, and whose marking names one of this node's
   partners in `onward_release`. Then every partner but the originator gets a decision, on record. What others passed on
   is not passed on again.
2. It takes the way of every report (`gateway.release.sharing`), in the commit that makes it part of the replica. Where
   one batch brings more than COPIES_A_STEP copies, or an originator more warnings than he may have passed on at once,
   the others are put off (`gateway.release.put_off`) and follow in steps of that size, by the policy then in force.
3. When its originator withdraws it, everyone who was passed it is told in the commit that takes the withdrawal, and its
   holds end. That needs no key and no content: what cannot be opened any more can still be withdrawn. What was put off
   until then is not passed on, as what comes withdrawn is not.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.errors import BundleError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CopyRow
from gateway.release.failing import unopened
from gateway.release.onward import Passage
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.planned.put_off import Queue, Range
from gateway.release.put_off import Work
from gateway.release.ranks import Rank, rank_of_lane
from gateway.release.recovery.resubmitted import share_or_stand
from gateway.release.sharing import Decided, Shared, record_decisions, record_of, withdraw
from gateway.release.subject import Subject
from gateway.reports.identifiers import in_bytes
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import canonical
from gateway.seal.entry import EntryKind, parse_header
from gateway.seal.epoch import content_of
from gateway.seal.errors import OpenError, SealError
from policy.decision import BuiltIn, Outcome, withheld

log = logging.getLogger(__name__)

WITHDRAWN: Final = "(withdrawn by its originator)"
"""Built-in reason, on record for each partner who was passed a report and is told that its originator withdrew it."""

WITHDRAWN_HELD: Final = "(withdrawn by its originator while it was held)"
"""Built-in reason, on record for each partner for whom a report was held when its originator withdrew it: it never
goes."""


ENTRIES_A_STEP: Final = 256
"""Entries at which one step looks for reports that were put off: each is opened, which takes some 100 µs."""


class Passing:
    """Passes on what a batch brings, report by report, as far as one step may (rule 2)."""

    def __init__(self, plan: Plan, opener: Opener, origin: Origin, limits: ReportLimits) -> None:
        self._plan = plan
        self._opener = opener
        self._origin = origin
        # By traffic class, whether what comes has to wait.
        self._behind: dict[int, bool] = {}
        self._work = Work(plan, limits, origin)

    def take(self, index: int, entry: bytes, report: report_pb2.Report) -> Sequence[Decided]:
        """Decides for each partner about a report that has just arrived from its originator and stands; or puts it
        off.
        """
        partners = _concerned(self._plan, self._origin, report)
        if not partners:
            return ()
        if self._waits(index, report, len(partners)):
            self._plan.put_off.add(self._origin, report.traffic_class, index)
            return ()
        passage = _passage(self._plan, self._opener, self._origin, index, entry)
        return _decide(self._plan, partners, report, self._plan.now_ns, passage)

    def _waits(self, index: int, report: report_pb2.Report, partners: int) -> bool:
        queue = Queue.of(self._origin, report.traffic_class)
        if queue.traffic_class not in self._behind:
            self._behind[queue.traffic_class] = self._plan.put_off.first(queue) is not None
        if self._behind[queue.traffic_class]:
            return True
        if self._work.covers(report, partners):
            return False
        self._behind[queue.traffic_class] = True
        self._plan.record_event(
            "passing-on-put-off",
            f"{self._origin} brings more than is passed on at once: from entry {index} on what may go onward of traffic"
            f" class {queue.words} is decided a little later, in its order",
        )
        return True


class PassedOn(NamedTuple):
    """What a step has dealt with of what was put off: how many entries, and what was decided. `waits`: it ended because
    the originator has no alert left now.
    """

    entries: int
    decisions: Sequence[Decided]
    waits: bool = False


@dataclass(frozen=True, slots=True)
class PassOn:
    """Passes on the next of what was put off of one originator in one lane, which `origin` is a ledger of, and in one
    traffic class.
    """

    origin: Origin
    traffic_class: int
    limits: ReportLimits
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane, but never an alert's: there are many, and what comes meanwhile may be the first of its
        event.
        """
        return min(rank_of_lane(self.origin), Rank.IMMEDIATE)

    def apply(self, plan: Plan) -> PassedOn:
        """Decides, in their order, as many as one step may."""
        first = plan.put_off.first(Queue.of(self.origin, self.traffic_class))
        if first is None:
            return PassedOn(0, ())
        head = plan.ledgers.head(first.origin)
        if head is None or first.end > head.edge.size:
            return _drop(plan, first)
        work = Work(plan, self.limits, first.origin)
        opener = Opener(plan.signatory.node, plan.signatory.sealing)
        decided: list[Decided] = []
        lost: list[str] = []
        position = first.next
        # Read before anything is added.
        for index, entry in list(_durable(plan, first)):
            try:
                if isinstance(entry, BundleError):
                    raise entry
                found = _waiting(plan, opener, first.origin, index, entry)
            except (SealError, BundleError, DecodeError) as error:
                lost.append(f"entry {index}: {error}")
                found = None
            # What is of another class there was passed on when it came, or is put off for itself.
            if found is not None and found[0].traffic_class == self.traffic_class:
                report, received_ns, passage = found
                partners = _concerned(plan, first.origin, report)
                if partners and not work.covers(report, len(partners)):
                    break
                decided += _decide(plan, partners, report, received_ns, passage)
            position = index + 1
        if lost:
            log.error("%s: %d entries were to be passed on and do not open: %s", first.origin, len(lost), lost[0])
            plan.record_event(
                "passing-on-failed",
                f"{len(lost)} of the entries {first.next} to {position - 1} of {first.origin} were to be looked at and"
                " do not open any more: what they hold is not passed on",
            )
        if position > first.next:
            plan.put_off.advance(first, position)
        return PassedOn(position - first.next, decided, work.out_of_alerts)


def _drop(plan: Plan, some: Range) -> PassedOn:
    """Lets go of a range that names what is not there, loudly: it would keep back all that comes behind it, for ever.
    What stands on record is held against the replicas at each start, so that it was altered since.
    """
    what = f"the entries {some.next} to {some.end - 1} of {some.origin} were to be passed on, and are not there"
    log.critical("%s: the store was altered. Restore it from a backup", what)
    plan.record_event("passing-on-failed", f"{what}: the store was altered, and nothing of that is passed on")
    plan.put_off.advance(some, some.end)
    return PassedOn(some.end - some.next, ())


def _durable(plan: Plan, some: Range) -> Iterator[tuple[int, bytes | BundleError]]:
    """The next entries of a range, by index, as many as one step looks at; what this very plan brings comes later.

    Where a whole segment does not decode any more, each of its entries is the error that says so.
    """
    head = plan.heads.get(some.origin)
    if head is None:
        return
    end = min(some.end, some.next + ENTRIES_A_STEP, head.edge.size)
    position = some.next
    while position < end:
        first = plan.store.segment_of(head.id, position)
        run = plan.store.run(head.id, first, 1)
        assert run is not None, "the ledger goes on"
        entries: Sequence[bytes | BundleError]
        try:
            entries = bundle.decode(run.entries, run.count, allow_absent=True)
        except BundleError as error:
            entries = [error] * run.count
        for index in range(position, min(first + run.count, end)):
            yield index, entries[index - first]
        position = first + run.count


def _waiting(
    plan: Plan, opener: Opener, origin: Origin, index: int, entry: bytes
) -> tuple[report_pb2.Report, int, Passage] | None:
    """The report that arrived as that entry of a replica and stands, when it was received, and how it came; None where
    there is none. Raises SealError, BundleError and DecodeError where it does not open any more.
    """
    head = plan.heads.get(origin)
    assert head is not None  # the entry is in it
    if not entry or plan.store.statement(head.id, index) is not None:
        return None
    if parse_header(entry).kind is EntryKind.EPOCH_OPENING:
        return None
    passage = _passage(plan, opener, origin, index, entry)
    content = ledger_pb2.EntryContent.FromString(content_of(passage.payload))
    if not content.HasField("report"):
        return None
    report = content.report
    report.DiscardUnknownFields()
    copy = plan.arrivals.copies(origin.owner, in_bytes(report.report_id)).get(origin.owner)
    if copy is None or (copy.ledger, copy.index) != (head.id, index) or copy.withdrawn_ns is not None:
        # What came as another entry before, or was withdrawn since.
        return None
    assert copy.received_ns is not None  # it arrived
    return report, copy.received_ns, passage


def _concerned(plan: Plan, origin: Origin, report: report_pb2.Report) -> Sequence[str]:
    """The partners who get a decision about a report of the owner of `origin`; none where it goes to none of them."""
    onward = report.marking.onward_release
    if not onward:
        return ()
    partners = [partner for partner in plan.rulebook.partners if partner != origin.owner]
    return partners if any(partner in onward for partner in partners) else ()


def _decide(
    plan: Plan, partners: Sequence[str], report: report_pb2.Report, received_ns: int, passage: Passage
) -> Sequence[Decided]:
    """Decides about a report for these partners, on record."""
    if not partners:
        return ()
    shared = Shared(Subject(passage.origin.owner, in_bytes(report.report_id)), report, received_ns, passage)
    records, decided = [], []
    for partner in partners:
        record, short = share_or_stand(plan, shared, partner)
        records.append(record)
        decided.append(short)
    record_decisions(plan, shared, passage.place, _digest(report), records)
    return decided


def decide_again(plan: Plan, subject: Subject, partner: str) -> Decided:
    """Decides a report again that was held for a partner, under the policy in force now."""
    copy = plan.arrivals.copies(subject.originator, subject.report_id)[subject.originator]
    plan.holds.end(subject, partner)
    try:
        shared, place = _arrived(plan, subject, copy)
    except SealError as error:
        decision = withheld(partner, BuiltIn.POLICY_ERROR, error=f"the report does not open any more: {error}")
        _record(plan, subject, copy, [record_of(decision)])
        alert = unopened(copy.traffic_class, copy.precedence)
        return Decided(partner, Outcome.WITHHELD, failed=True, alert=alert)
    # Of a store that was set back the release that ended this hold may have come back.
    record, short = share_or_stand(plan, shared, partner)
    record_decisions(plan, shared, place, _digest(shared.report), [record])
    return short


def follow_withdrawals(plan: Plan, withdrawn: Mapping[Subject, str]) -> None:
    """Tells everyone who was passed one of these reports that its originator withdrew it, and ends holds (rule 3).

    With each goes the place of its withdrawal. On record it stands for that of the report where a store that was lost
    does not hold the report again: who was passed it is told all the same.
    """
    subjects = list(withdrawn)
    passed = {subject: sorted(plan.releases.standing(subject)) for subject in subjects}
    withdraw(plan, [subject for subject in subjects if passed[subject]])
    for subject in subjects:
        held = sorted(plan.holds.partners(subject))
        told = [record_of(withheld(partner, WITHDRAWN)) for partner in passed[subject]]
        for record in told:
            record.withdrawals = 1
        records = [*told, *(record_of(withheld(partner, WITHDRAWN_HELD)) for partner in held)]
        if records:
            copy = plan.arrivals.copies(subject.originator, subject.report_id)[subject.originator]
            _record(plan, subject, copy, records, instead=withdrawn[subject])
        for partner in held:
            plan.holds.end(subject, partner)


def _record(
    plan: Plan, subject: Subject, copy: CopyRow, records: Sequence[ledger_pb2.Decision], instead: str = ""
) -> None:
    """Records what needs no content: identifiers, traffic class and precedence are in clear."""
    report = report_pb2.Report(
        report_id=str(uuid.UUID(bytes=subject.report_id)),
        originator_node=subject.originator,
        traffic_class=copy.traffic_class,  # type: ignore[arg-type]  # kept as the number
        precedence=copy.precedence,  # type: ignore[arg-type]
    )
    received_ns = plan.now_ns if copy.received_ns is None else copy.received_ns
    place = instead if copy.ledger is None else _place(plan, copy)
    record_decisions(plan, Shared(subject, report, received_ns), place, b"", records)


def _place(plan: Plan, copy: CopyRow) -> str:
    assert copy.ledger is not None  # it arrived
    return f"{plan.ledgers.origin_of(copy.ledger)} {copy.index}"


def _arrived(plan: Plan, subject: Subject, copy: CopyRow) -> tuple[Shared, str]:
    """A report that arrived from its originator before, and its place. Raises SealError."""
    assert copy.ledger is not None  # it arrived
    assert copy.index is not None
    assert copy.received_ns is not None
    entry = plan.ledgers.entry(copy.ledger, copy.index)
    if entry is None:
        raise OpenError(f"of entry {copy.index} only the hash is kept")
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    passage = _passage(plan, opener, plan.ledgers.origin_of(copy.ledger), copy.index, entry)
    report = ledger_pb2.EntryContent.FromString(content_of(passage.payload)).report
    report.DiscardUnknownFields()
    return Shared(subject, report, copy.received_ns, passage), passage.place


def _passage(plan: Plan, opener: Opener, origin: Origin, index: int, entry: bytes) -> Passage:
    """Raises SealError."""
    head = plan.ledgers.head(origin)
    assert head is not None  # the entry is in it

    def fetch(at: int) -> bytes:
        return plan.ledgers.entry(head.id, at) or b""

    payload = opener.payload(origin, index, entry, fetch)
    assert payload is not None  # it holds a report
    return Passage(origin, index, entry, payload)


def _digest(report: report_pb2.Report) -> bytes:
    return hashlib.sha256(canonical(report)).digest()
