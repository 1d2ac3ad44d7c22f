"""Everything that is on record about one report: what was decided for whom, by which rule of which policy, and what
became of it. An officer answers from it, for himself or for his government, why a partner was, or was not, given it.

Everything comes from what is sealed or signed: the decisions ledger, the accepted report, the entries of the ledgers,
the notes about them, and the orders of the officers with the files that they activated. Nothing is decided again, so
the answer is that of the day of the decision, whatever the policy has become.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import DecodeError
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.audit.desk import Desk
from gateway.audit.rule_text import agreement_text, rule_text
from gateway.ledger.errors import BundleError, NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, LedgerId, LedgerRow, ReleasedRow
from gateway.release.orders import Kept, kept_orders
from gateway.release.retention import PRUNED
from gateway.seal.errors import SealError
from policy.approve import Activate, Suspend, decode, effect
from policy.decision import BuiltIn

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Question:
    """About which report is asked, and for which partner; no partner: for all of them."""

    report_id: uuid.UUID
    originator: str
    """Empty: this node."""
    partner: str = ""


def explain(desk: Desk, question: Question) -> officer_pb2.ExplainDecisionResponse | None:
    """What is on record; None where nothing is. What does not open is told as a remark. Raises StoreError and
    OrdersError.
    """
    found, remarks = desk.search.records_of(str(question.report_id), question.originator or desk.signatory.node)
    records = [_narrowed(entry, question.partner) for entry in found]
    if not records and not remarks:
        return None
    # What was recorded is there for good; what became of it is told as of one moment.
    with desk.reader.snapshot():
        response = _explained(desk, question, records)
    response.remarks.extend(remarks)
    return response


def _explained(
    desk: Desk, question: Question, records: Sequence[officer_pb2.RecordedEntry]
) -> officer_pb2.ExplainDecisionResponse:
    response = officer_pb2.ExplainDecisionResponse(records=records)
    report = _report(desk, question, records)
    if isinstance(report, str):
        response.report_missing = report
    else:
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


def _report(desk: Desk, question: Question, records: Sequence[officer_pb2.RecordedEntry]) -> report_pb2.Report | str:
    """The report as this node took it, or why it is not there."""
    if not question.originator:
        row = desk.reader.report(question.report_id.bytes)
        if row is None:
            return "the store does not hold it; run `signalfire ledger verify`"
        if not row.payload:
            return "its content was lost with the store; it is there again once its C2 system has submitted it again"
        if row.pruned_ns is not None:
            return PRUNED
        try:
            return report_pb2.Report.FromString(desk.signatory.storage.open(row.payload, row.report_id))
        except (SealError, DecodeError) as error:
            return f"it does not open: {error}"
    if not records:
        return "no record of it opens, so it is not known which entry brought it"
    # Of another node's report the record names the entry that brought it.
    ledger, _, index = records[0].decision_record.submitted_by.partition(" ")
    origin = Origin.parse(ledger)
    row_of_ledger = desk.reader.ledger(origin)
    if row_of_ledger is None:
        return f"{origin}, which brought it, is not there; run `signalfire ledger verify`"
    return _content(desk, row_of_ledger.id, origin, int(index))


def _content(desk: Desk, ledger: LedgerId, origin: Origin, index: int) -> report_pb2.Report | str:
    """The report in an entry of a ledger between nodes, or why it is not there."""
    entry = desk.reader.entry(ledger, index)
    if entry is None:
        return _why_absent(desk, ledger, origin, index)
    try:
        content = desk.opener.content(origin, index, entry, lambda at: desk.reader.entry(ledger, at) or b"")
    except (SealError, BundleError) as error:
        return f"entry {index} of {origin} does not open: {error}"
    if content is None or content.WhichOneof("content") not in ("report", "onward_report"):
        return f"entry {index} of {origin} holds no report; run `signalfire ledger verify`"
    return content.onward_report.report if content.HasField("onward_report") else content.report


def _why_absent(desk: Desk, ledger: LedgerId, origin: Origin, index: int) -> str:
    """The reason in the signed statement in whose favour an entry is gone, which was verified when it was taken."""
    absent = desk.reader.absent(ledger, index)
    try:
        text = Note.parse(b"" if absent is None else absent.note).text
        for node in (origin.owner, desk.signatory.node):
            with contextlib.suppress(NoteError):
                return EntryStatement.read(text, kind=EntryStatementKind.ABSENT, node=node, origin=origin).reason
    except NoteError as error:
        log.error("%s: why entry %d is gone cannot be read: %s", origin, index, error)
    return f"of entry {index} of {origin} only the hash is kept, and why cannot be read"


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
    if isinstance(copy, str):
        view.copy_missing = copy
    else:
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
    orders = list(_placed(desk, kept_orders(desk.reader, desk.signatory)))
    told: dict[tuple[bytes, int], tuple[Kept | None, dict[tuple[str, str], officer_pb2.RuleText]]] = {}
    for entry in records:
        record = entry.decision_record
        place = _place(entry)
        order = _in_force(orders, record, place)
        key = record.policy_digest, 0 if order is None else order.row.sequence
        _, rules = told.setdefault(key, (order, {}))
        for decision in record.decisions:
            rules.update(_texts({} if order is None else order.files, decision))
            if decision.rule == BuiltIn.SUSPENDED:
                rules.update(_suspension(orders, place, decision.partner))
    for (digest, sequence), (order, rules) in told.items():
        policy = officer_pb2.PolicyOfRecord(digest=digest, order_sequence=sequence)
        if order is not None:
            policy.officers.extend(signature.officer for signature in order.signed.signatures)
            policy.enacted_time.FromNanoseconds(order.row.enacted_ns)
        policy.rules.extend(text for _, text in sorted(rules.items()))
        yield policy


Place: TypeAlias = tuple[int, int]
"""A generation of the decisions ledger, and an index in it: what is less was recorded before, whatever clocks said."""


def _place(entry: officer_pb2.RecordedEntry) -> Place:
    return Origin.parse(entry.ledger).generation, entry.index


def _placed(desk: Desk, orders: Iterable[Kept]) -> Iterator[tuple[Place, Kept]]:
    """Orders with the places of their records. An order's row names the index alone; the generation is the first, from
    that of the order before on, whose entry there bears the order's signatures. Where none does, what verify tells of,
    it stays that of the order before.
    """
    rows = [row for row in desk.reader.ledgers() if row.origin.lane == DECISIONS and not row.replica]
    rows.sort(key=lambda row: row.origin.generation)
    generation = 1
    for kept in orders:
        candidates = [row for row in rows if row.origin.generation >= generation and row.size > kept.row.event]
        if len(candidates) > 1:
            generation = next((row.origin.generation for row in candidates if _bears(desk, row, kept)), generation)
        elif candidates:
            generation = candidates[0].origin.generation
        yield (generation, kept.row.event), kept


def _bears(desk: Desk, row: LedgerRow, kept: Kept) -> bool:
    """Whether the entry of a decisions ledger that an order names is the record of that order."""
    try:
        entry = desk.recorded(row.id, row.origin, kept.row.event)
    except (SealError, BundleError):
        return False
    bears = kept.signed.message().SerializeToString(deterministic=True)
    return entry is not None and bears in entry.node_event.evidence


def _in_force(orders: Iterable[tuple[Place, Kept]], record: ledger_pb2.DecisionRecord, place: Place) -> Kept | None:
    """The last order before the record that had activated its policy."""
    found = None
    for at, kept in orders:
        action = decode(kept.signed.order).action
        if isinstance(action, Activate) and action.bundle == record.policy_digest and at < place:
            found = kept
    return found


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
    orders: Iterable[tuple[Place, Kept]], place: Place, partner: str
) -> Iterator[tuple[tuple[str, str], officer_pb2.RuleText]]:
    """The order by which a partner was suspended when the record was made, in words."""
    found: tuple[Kept, str] | None = None
    for at, kept in orders:
        order = decode(kept.signed.order)
        if isinstance(order.action, Suspend) and order.action.partner == partner and at < place:
            found = kept, effect(order)
    if found is not None:
        kept, does = found
        signers = ", ".join(signature.officer for signature in kept.signed.signatures)
        text = f"order {kept.row.sequence}, signed by {signers}, {does}"
        path = f"orders/{kept.row.sequence}"
        yield (path, BuiltIn.SUSPENDED), officer_pb2.RuleText(path=path, line=1, rule=BuiltIn.SUSPENDED, text=text)
