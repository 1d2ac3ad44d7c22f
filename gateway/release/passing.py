"""Other nodes' reports, passed on: when they arrive, when they were held and are due, and when they are withdrawn.

Rules, in order:

1. A report is passed on that its originator itself sent, that stands, and whose marking names one of this node's
   partners in `onward_release`. Then every partner but the originator gets a decision, on record. What others passed on
   is not passed on again.
2. It takes the way of every report (`gateway.release.sharing`), in the commit that makes it part of the replica.
3. When its originator withdraws it, everyone who was passed it is told in the commit that takes the withdrawal, and its
   holds end. That needs no key and no content: what cannot be opened any more can still be withdrawn.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.origin import Origin
from gateway.ledger.stores import CopyRow
from gateway.release.onward import Passage
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.recovery.resubmitted import share_or_stand
from gateway.release.sharing import Decided, Shared, record_decisions, record_of, withdraw
from gateway.release.subject import Subject
from gateway.reports.identifiers import in_bytes
from gateway.reports.parse import canonical
from gateway.seal.epoch import content_of
from gateway.seal.errors import OpenError, SealError
from policy.decide import BuiltIn, Outcome, withheld

WITHDRAWN: Final = "(withdrawn by its originator)"
"""Built-in reason, on record for each partner who was passed a report and is told that its originator withdrew it."""

WITHDRAWN_HELD: Final = "(withdrawn by its originator while it was held)"
"""Built-in reason, on record for each partner for whom a report was held when its originator withdrew it: it never
goes."""


def pass_on(
    plan: Plan, opener: Opener, origin: Origin, index: int, entry: bytes, report: report_pb2.Report
) -> Sequence[Decided]:
    """Decides for each partner about a report that has just arrived from its originator and stands (rules 1 and 2)."""
    onward = report.marking.onward_release
    if not onward:
        return ()
    partners = [partner for partner in plan.rulebook.partners if partner != origin.owner]
    if not any(partner in onward for partner in partners):
        return ()
    passage = _passage(plan, opener, origin, index, entry)
    subject = Subject(origin.owner, in_bytes(report.report_id))
    shared = Shared(subject, report, plan.now_ns, passage)
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
        return Decided(partner, Outcome.WITHHELD, failed=True)
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
