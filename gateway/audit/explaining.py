"""Everything that is on record about one report: what was decided for whom, by which rule of which policy, and what
became of it. An officer answers from it, for himself or for his government, why a partner was, or was not, given it.

Everything comes from what is sealed or signed: the decisions ledger, the accepted report, the entries of the ledgers,
the notes about them, and the orders of the officers with the files that they activated. Nothing is decided again, so
the answer is that of the day of the decision, whatever the policy has become.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.audit.desk import Desk
from gateway.audit.rule_text import agreement_text, rule_text
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, LedgerId, ReleasedRow
from gateway.release.orders import Kept, kept_orders
from policy.approve import Activate, Suspend, decode, effect
from policy.decide import BuiltIn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """About which report is asked, and for which partner; no partner: for all of them."""

    report_id: uuid.UUID
    originator: str
    """Empty: this node."""
    partner: str = ""


def explain(desk: Desk, question: Question) -> officer_pb2.ExplainDecisionResponse | None:
    """What is on record; None where nothing is. Raises SealError, StoreError and OrdersError."""
    found = desk.search.records_of(str(question.report_id), question.originator or desk.signatory.node)
    records = [_narrowed(entry, question.partner) for entry in found]
    if not records:
        return None
    # What was recorded is there for good; what became of it is told as of one moment.
    with desk.reader.snapshot():
        return _explained(desk, question, records)


def _explained(
    desk: Desk, question: Question, records: Sequence[officer_pb2.RecordedEntry]
) -> officer_pb2.ExplainDecisionResponse:
    response = officer_pb2.ExplainDecisionResponse(records=records)
    report = _report(desk, question, records)
    if report is not None:
        response.report.CopyFrom(report)
    withdrawn_ns = _withdrawn(desk, question)
    if withdrawn_ns is not None:
        response.withdrawn_time.FromNanoseconds(withdrawn_ns)
    response.partners.extend(_views(desk, question, records))
    response.policies.extend(_policies(desk, records))
    return response


def _narrowed(entry: officer_pb2.RecordedEntry, partner: str) -> officer_pb2.RecordedEntry:
    if not partner:
        return entry
    narrowed = officer_pb2.RecordedEntry()
    narrowed.CopyFrom(entry)
    del narrowed.decision_record.decisions[:]
    narrowed.decision_record.decisions.extend(
        each for each in entry.decision_record.decisions if each.partner == partner
    )
    return narrowed


# --- the report


def _report(desk: Desk, question: Question, records: Sequence[officer_pb2.RecordedEntry]) -> report_pb2.Report | None:
    """The report as this node took it; None where its content is no longer kept."""
    if not question.originator:
        row = desk.reader.report(question.report_id.bytes)
        if row is None or row.pruned_ns is not None:
            return None
        return report_pb2.Report.FromString(desk.signatory.storage.open(row.payload, row.report_id))
    # Of another node's report the record names the entry that brought it.
    ledger, _, index = records[0].decision_record.submitted_by.partition(" ")
    origin = Origin.parse(ledger)
    row_of_ledger = desk.reader.ledger(origin)
    return None if row_of_ledger is None else _content(desk, row_of_ledger.id, origin, int(index))


def _content(desk: Desk, ledger: LedgerId, origin: Origin, index: int) -> report_pb2.Report | None:
    """The report in an entry of a ledger between nodes; None where only its hash is kept."""
    entry = desk.reader.entry(ledger, index)
    if entry is None:
        return None
    content = desk.opener.content(origin, index, entry, lambda at: desk.reader.entry(ledger, at) or b"")
    if content is None:
        return None
    return content.onward_report.report if content.HasField("onward_report") else content.report


def _withdrawn(desk: Desk, question: Question) -> int | None:
    """Since when the report no longer stands, nanoseconds since 1970; None where it does."""
    if not question.originator:
        own = desk.reader.report(question.report_id.bytes)
        return None if own is None else own.withdrawn_ns
    received = desk.reader.received(question.originator, question.report_id.bytes)
    return None if received is None else received.withdrawn_ns


# --- what partners have of it


def _views(
    desk: Desk, question: Question, records: Iterable[officer_pb2.RecordedEntry]
) -> Iterator[officer_pb2.PartnerView]:
    decided = {each.partner for entry in records for each in entry.decision_record.decisions}
    released = {row.partner: row for row in desk.reader.released(question.report_id.bytes, question.originator)}
    origins = {row.id: row.origin for row in desk.reader.ledgers()} if released else {}
    for partner in sorted(decided):
        row = released.get(partner)
        if row is None:
            yield officer_pb2.PartnerView(partner=partner)
        else:
            yield _view(desk, row, origins[row.ledger])


def _view(desk: Desk, row: ReleasedRow, origin: Origin) -> officer_pb2.PartnerView:
    view = officer_pb2.PartnerView(partner=row.partner, ledger=str(origin), index=row.index)
    copy = _content(desk, row.ledger, origin, row.index)
    if copy is not None:
        view.copy.CopyFrom(copy)
    for kept in desk.reader.kept_back(row.ledger, row.index, row.index + 1):
        view.kept_back = kept.reason
    receipt = desk.reader.covering(row.ledger, CosignatureKind.RECEIPT, row.partner, row.index + 1)
    if receipt is not None:
        view.receipt_time.FromNanoseconds(receipt.time_ns)
        view.receipt_size = receipt.size
    said = desk.reader.statement(row.ledger, row.index)
    if said is not None:
        view.unopenable = _said(said.note, row.partner, origin)
    if row.withdrawn_ns is not None:
        view.withdrawn_time.FromNanoseconds(row.withdrawn_ns)
    return view


def _said(note: bytes, partner: str, origin: Origin) -> str:
    """The reason in a partner's statement about an entry, which was verified when it was taken."""
    try:
        text = Note.parse(note).text
        return EntryStatement.read(text, kind=EntryStatementKind.UNOPENABLE, node=partner, origin=origin).reason
    except NoteError as error:
        log.error("%s: what %s said against an entry cannot be read: %s", origin, partner, error)
        return f"its statement on record cannot be read: {error}"


# --- by whose word


def _policies(desk: Desk, records: Sequence[officer_pb2.RecordedEntry]) -> Iterator[officer_pb2.PolicyOfRecord]:
    """The policies by which the records were made, each with the order that had put it in force by then."""
    orders = list(kept_orders(desk.reader, desk.signatory))
    told: dict[tuple[bytes, int], tuple[Kept | None, dict[tuple[str, str], officer_pb2.RuleText]]] = {}
    for entry in records:
        record = entry.decision_record
        order = _in_force(orders, record)
        key = record.policy_digest, 0 if order is None else order.row.sequence
        _, rules = told.setdefault(key, (order, {}))
        for decision in record.decisions:
            rules.update(_texts({} if order is None else order.files, decision))
            if decision.rule == BuiltIn.SUSPENDED:
                rules.update(_suspension(orders, record, decision.partner))
    for (digest, sequence), (order, rules) in told.items():
        policy = officer_pb2.PolicyOfRecord(digest=digest, order_sequence=sequence)
        if order is not None:
            policy.officers.extend(signature.officer for signature in order.signed.signatures)
            policy.enacted_time.FromNanoseconds(order.row.enacted_ns)
        policy.rules.extend(text for _, text in sorted(rules.items()))
        yield policy


def _in_force(orders: Iterable[Kept], record: ledger_pb2.DecisionRecord) -> Kept | None:
    """The last order before the record that had activated its policy."""
    found = None
    for kept in orders:
        action = decode(kept.signed.order).action
        if isinstance(action, Activate) and action.bundle == record.policy_digest and _before(kept, record):
            found = kept
    return found


def _before(kept: Kept, record: ledger_pb2.DecisionRecord) -> bool:
    return kept.row.enacted_ns <= record.time.ToNanoseconds()


def _texts(
    files: Mapping[str, bytes], decision: ledger_pb2.Decision
) -> Iterator[tuple[tuple[str, str], officer_pb2.RuleText]]:
    """The rule that decided, and the agreement that it cites."""
    rule = rule_text(files, decision.partner, decision.rule)
    if rule is not None:
        yield (rule.path, rule.rule), rule
    agreement = agreement_text(files, decision.agreement) if decision.agreement else None
    if agreement is not None:
        yield (agreement.path, agreement.rule), agreement


def _suspension(
    orders: Iterable[Kept], record: ledger_pb2.DecisionRecord, partner: str
) -> Iterator[tuple[tuple[str, str], officer_pb2.RuleText]]:
    """The order by which a partner was suspended when the record was made, in words."""
    found: tuple[Kept, str] | None = None
    for kept in orders:
        order = decode(kept.signed.order)
        if isinstance(order.action, Suspend) and order.action.partner == partner and _before(kept, record):
            found = kept, effect(order)
    if found is not None:
        kept, does = found
        signers = ", ".join(signature.officer for signature in kept.signed.signatures)
        text = f"order {kept.row.sequence}, signed by {signers}, {does}"
        path = f"orders/{kept.row.sequence}"
        yield (path, BuiltIn.SUSPENDED), officer_pb2.RuleText(path=path, line=1, rule=BuiltIn.SUSPENDED, text=text)
