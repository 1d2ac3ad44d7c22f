"""The one enforcement point: what becomes of one report for one partner. Live, held and onward reports pass here.

In order: **decide** by the policy in force; **transform** the partner's copy, which holds the fields that the decision
names and no other; of another node's report, **prove** it by its originator's entry; **seal and append** it to the
partner's ledger of the report's precedence; or **hold** it, by the rule's word, or while it is not known whether its
agreement is in force since the clock is not trusted. What cannot be proved because its originator has retired a
key, and nothing by the one that took over has come yet, is held for COVER_EVERY_NS, again and again, and withheld once
COVER_WITHIN_NS have passed since that was first met. What no
longer stands is **withdrawn** from everyone who was released it, whatever policy says now, on the fastest lane, without
content. Every decision is **recorded** in the node's own ledger.

A partner who is suspended, or whose keys are not known, is told of no withdrawal: it waits (`untold`) and goes out once
he can be told. So does what one commit cannot hold.
"""

from __future__ import annotations

import hashlib
import logging
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final, NamedTuple

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.attention import Alert
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import ReleasedRow, UntoldRow
from gateway.release import groups
from gateway.release.failing import Seldom, alert_of
from gateway.release.onward import CannotBeProved, Inclusion, Passage, passed_on
from gateway.release.plan import Plan, time_of
from gateway.release.recovery.told_before import told_before
from gateway.release.rulebook import NO_CLOCK, Asking
from gateway.release.subject import Subject
from gateway.reports.identifiers import in_bytes
from gateway.reports.kinds import Kind, kind_of
from gateway.seal.entry import commitment_of
from policy.decision import BuiltIn, Decision, Outcome, withheld
from policy.obligations import NONE
from policy.transform import refers_to

log = logging.getLogger(__name__)

_TOLD: Final = Seldom(60.0)
"""By partner and kind of failure: each is told in full, and then not again for a while. The record has all of them."""

LANES: Final = {
    report_pb2.PRECEDENCE_FLASH: Lane.FLASH,
    report_pb2.PRECEDENCE_IMMEDIATE: Lane.IMMEDIATE,
    report_pb2.PRECEDENCE_PRIORITY: Lane.PRIORITY,
    report_pb2.PRECEDENCE_ROUTINE: Lane.ROUTINE,
}

DECISIONS_AN_ENTRY: Final = 48
"""Partners whose decisions stand in one entry of the decisions ledger: an entry has at most 64 parts."""

DECISION_BYTES_AN_ENTRY: Final = 48 * 1024
"""Bytes of decisions in one entry of the decisions ledger: an entry has at most 65,535 bytes, salts and all."""

MAX_ERROR: Final = 400
"""Characters of an error that are put on record. A rule's whole text would let one partner's faulty policy outgrow the
entry that all share."""

NOTICES_A_COMMIT: Final = 512
"""Withdrawals that one step sends; the rest wait for steps of their own, so that the next warning does not."""


_SECOND_NS: Final = 1_000_000_000

COVER_EVERY_NS: Final = 3_000_000_000
"""Nanoseconds after which is looked again whether a key in use covers another node's report."""

COVER_WITHIN_NS: Final = 30_000_000_000
"""Nanoseconds for which that is awaited of one ledger, under one set of its owner's keys: after a switch it takes the
time of one commit and one message."""

_NARROWED: Final = (Kind.CORRECTION, Kind.CANCELLATION)

UNCOVERED: Final = "uncovered "
"""Begins the key of the store's own value that says since when that is awaited; origin line follows. The value is the
time, 8 bytes, and the SHA-256 of the owner's keys."""


class Decided(NamedTuple):
    """One decision in short: the partner, what became of the report, whether a rule failed, and of an alert what an
    operator must hear of (`gateway.release.failing`).
    """

    partner: str
    outcome: Outcome
    failed: bool
    alert: Alert | None = None


@dataclass(slots=True)
class Shared:
    """A report that was accepted, as the decisions on it see it. `passage` is of another node's: how it came."""

    subject: Subject
    report: report_pb2.Report
    accepted_ns: int
    passage: Passage | None = None
    copies: dict[tuple[object, ...], Copy] = field(default_factory=dict)
    """Copies that were made of it, by all that a copy depends on: partners with equal releases share one."""
    refers_to: Sequence[tuple[str, str]] = field(init=False)
    """The earlier reports that it names (`policy.transform.refers_to`)."""
    asking: Asking | None = None
    """The question that it is to the policy in force, once the first partner has asked."""

    def __post_init__(self) -> None:
        self.refers_to = refers_to(self.report)


class Copy(NamedTuple):
    """A copy of a report as it is sealed to whoever is released it so."""

    sealed: bytes | list[ledger_pb2.Part]
    changed: tuple[str, ...]
    """The fields that this node has changed in it."""


def share(plan: Plan, shared: Shared, partner: str) -> tuple[ledger_pb2.Decision, Decided]:
    """Decides what becomes of a report for a partner, and does it. Returns the record of it, and the same in short."""
    report = shared.report
    if shared.asking is None:
        shared.asking = plan.rulebook.ask(report, plan.circumstances(shared.accepted_ns))
    decision, copy = _decided(plan, shared, shared.asking, partner)
    record = record_of(decision)
    if copy is not None:
        record.changed.extend(copy.changed)
        writer = plan.ledgers.writer(partner, LANES[report.precedence])
        index = groups.seal(writer, copy.sealed)
        record.ledger, record.index = writer.line, index
        record.entry_commitment = commitment_of(writer.entries[-1])
        plan.releases.record(
            ReleasedRow(
                shared.subject.report_id, partner, writer.head.id, index, report.traffic_class, report.precedence,
                originator=shared.subject.originator, agreement=decision.agreement,
            )
        )  # fmt: skip
    if decision.hold_until is not None:
        record.hold_until.FromDatetime(decision.hold_until)
        plan.holds.begin(shared.subject, partner, record.hold_until.ToNanoseconds())
    return record, Decided(partner, decision.outcome, bool(decision.error), alert_of(report, decision))


def _decided(plan: Plan, shared: Shared, asking: Asking, partner: str) -> tuple[Decision, Copy | None]:
    """What becomes of a report for a partner, and the copy that is released to him. Nothing is in the plan yet, so what
    fails for one partner is withheld from that one alone.
    """
    try:
        decision = asking.decide(partner, usable=partner in plan.recipients)
        if decision.rule == BuiltIn.AGREEMENT_LAPSED and not plan.clock_trusted and not _may_be_held_longer(decision):
            due = _once_trusted(shared.report)
            return replace(decision, outcome=Outcome.HELD, rule=NO_CLOCK, hold_until=due), None
        return _copy(plan, shared, decision) if decision.outcome is Outcome.RELEASED else (decision, None)
    except StoreError:
        raise
    except Exception as error:  # a warning for others may not fail with it
        if _TOLD.is_due((partner, type(error))):
            log.exception("a decision for %s failed: the report is withheld from it", partner)
        return withheld(partner, BuiltIn.POLICY_ERROR, error=f"{type(error).__name__}: {error}"), None


def _may_be_held_longer(decision: Decision) -> bool:
    """Whether a rule with a hold of its own asks for an agreement: that hold counts from when the report was accepted,
    by a clock that is in doubt now, so nothing is told of when it would end.
    """
    asked = decision.asked
    return asked is not None and any(rule.hold and rule.term for rule in asked.rules)


def _once_trusted(report: report_pb2.Report) -> datetime:
    """When a report is due that waits for the clock: long ago, for nothing that is held is decided before the clock is
    trusted, and no clock says now when that is: this one may be far ahead, and what is on record too. The more urgent,
    the longer ago, so that alerts come first.
    """
    return time_of((1 + max(report_pb2.Precedence.values()) - int(report.precedence)) * _SECOND_NS)


def _copy(plan: Plan, shared: Shared, decision: Decision) -> tuple[Decision, Copy | None]:
    """The copy for the decision's partner; none, and another decision, where none may go."""
    report, partner = shared.report, decision.partner
    had = {named: named[0] == partner or _had(plan, partner, *named) for named in shared.refers_to}
    # All that the copy depends on. What recalls is narrowed by partner, and another node's report proved by partner.
    key = (decision.fields, decision.obligations, *had.values())
    shareable = shared.passage is None and kind_of(report) not in _NARROWED
    if shareable and key in shared.copies:
        return decision, shared.copies[key]
    decision, changed = plan.rulebook.copy(report, decision, lambda *named: had[named])
    if changed is None:
        return decision, None
    decision, content = _content(plan, shared, decision, changed)
    if content is None:
        return decision, None
    released = content.onward_report.report if shared.passage else content.report
    fields = (name for derivation in released.derivations[len(report.derivations) :] for name in derivation.fields)
    copy = Copy(groups.as_sealed(content), tuple(fields))
    if shareable:
        shared.copies[key] = copy
    return decision, copy


def _content(
    plan: Plan, shared: Shared, decision: Decision, copy: report_pb2.Report
) -> tuple[Decision, ledger_pb2.EntryContent | None]:
    """What is sealed to the decision's partner; nothing, and another decision, where it cannot be proved."""
    passage = shared.passage
    if passage is None:
        return decision, ledger_pb2.EntryContent(report=copy)
    node, partner = plan.signatory.node, decision.partner
    try:
        found = plan.ledgers.inclusion(passage.origin, passage.index)
        if found is None and _may_be_covered(plan, passage.origin):
            due = time_of(plan.now_ns + COVER_EVERY_NS)
            return replace(decision, outcome=Outcome.HELD, fields=(), obligations=NONE, hold_until=due), None
        if found is None:
            raise CannotBeProved(
                f"no log key of {passage.origin.owner} that is in use has signed what covers it, and a third nation"
                " believes no other"
            )
        return decision, passed_on(passage, Inclusion(*found), shared.report, copy, node=node, partner=partner)
    except CannotBeProved as error:
        failed = f'rule "{decision.rule}": {error}'
        return withheld(partner, BuiltIn.POLICY_ERROR, error=failed, asked=decision.asked), None


def _may_be_covered(plan: Plan, origin: Origin) -> bool:
    """Whether what a key in use has not signed yet is awaited still."""
    owner = plan.partners.get(origin.owner)
    if owner is None:
        return False
    keys = hashlib.sha256(b"".join(key.public_key for key in owner.log)).digest()
    name = f"{UNCOVERED}{origin}"
    value = plan.commit.meta.get(name) or plan.store.meta(name) or b""
    since_ns = int.from_bytes(value[:8])
    if value[8:] != keys or since_ns > plan.now_ns:
        # Other keys than when it was last awaited, or the clock was set back.
        since_ns = plan.now_ns
        plan.commit.meta[name] = since_ns.to_bytes(8) + keys
    return plan.now_ns < since_ns + COVER_WITHIN_NS


def _had(plan: Plan, partner: str, originator: str, report_id: str) -> bool:
    """Whether `partner` was ever released that report by this node. One that is named in part alone is no report."""
    if not (originator and report_id):
        return False
    own = originator == plan.signatory.node
    subject = Subject("" if own else originator, in_bytes(report_id))
    # Who was told that it does not stand had it, also where that release was lost.
    return plan.releases.ever_to(subject, partner) or (plan.was_set_back and partner in told_before(plan, subject))


_OUTCOMES: Final = {
    Outcome.RELEASED: ledger_pb2.OUTCOME_RELEASED,
    Outcome.WITHHELD: ledger_pb2.OUTCOME_WITHHELD,
    Outcome.HELD: ledger_pb2.OUTCOME_HELD,
}


def record_of(decision: Decision) -> ledger_pb2.Decision:
    """A decision as it is put on record."""
    error = decision.error if len(decision.error) <= MAX_ERROR else decision.error[: MAX_ERROR - 3] + "..."
    return ledger_pb2.Decision(
        partner=decision.partner,
        outcome=_OUTCOMES[decision.outcome],
        rule=decision.rule,
        agreement=decision.agreement,
        fields=decision.fields,
        error=error,
    )


# --- withdrawals


def withdraw(plan: Plan, subjects: Iterable[Subject]) -> dict[str, int]:
    """Tells every partner which of these reports, of those that it was released, no longer stand; ends pending holds.

    Returns how many each partner is told of, now or later (`untold`). Each report is told of once.
    """
    told: dict[str, int] = {}
    kept_back: dict[str, int] = {}
    sent = 0
    for subject in subjects:
        waiting_already = plan.untold.partners(subject)
        for partner in plan.releases.standing(subject):
            if partner in waiting_already:
                continue
            told[partner] = told.get(partner, 0) + 1
            if sent < NOTICES_A_COMMIT and can_be_told(plan, partner):
                send_notice(plan, subject, partner)
                sent += 1
            else:
                plan.commit.untold.append(UntoldRow(subject.originator, subject.report_id, partner))
                if not can_be_told(plan, partner):
                    kept_back[partner] = kept_back.get(partner, 0) + 1
    for partner, count in kept_back.items():
        record_untold(plan, partner, count)
    return told


def record_untold(plan: Plan, partner: str, count: int) -> None:
    """Puts on record that a partner who cannot be told believes `count` reports that no longer stand."""
    why = "is suspended" if partner in plan.rulebook.suspended else "has no trust bundle in force"
    what = "a report" if count == 1 else f"{count} reports"
    verb = "stands" if count == 1 else "stand"
    detail = f"{partner} {why} and is not told yet that {what} that it was released no longer {verb}"
    plan.record_event("withdrawals-kept-back", detail)


def can_be_told(plan: Plan, partner: str) -> bool:
    """Whether a partner's keys are in force and it is not suspended."""
    return partner in plan.recipients and partner not in plan.rulebook.suspended


def send_notice(plan: Plan, subject: Subject, partner: str) -> bool:
    """Sends the content-free notice that a release no longer stands. Returns whether there was one to be told of."""
    release = plan.releases.standing(subject).get(partner)
    if release is None:
        return False
    notice = ledger_pb2.Withdrawal(
        report_id=str(uuid.UUID(bytes=subject.report_id)),
        traffic_class=release.traffic_class,  # type: ignore[arg-type]  # kept as the number
        precedence=release.precedence,  # type: ignore[arg-type]
        originator_node=subject.originator,
    )
    notice.time.FromNanoseconds(plan.now_ns)
    plan.ledgers.writer(partner, Lane.FLASH).append(ledger_pb2.EntryContent(withdrawal=notice).SerializeToString())
    plan.releases.withdraw(subject, partner)
    return True


# --- the record


def record_decisions(
    plan: Plan,
    shared: Shared,
    submitted_by: str,
    digest: bytes,
    decisions: Sequence[ledger_pb2.Decision],
    *,
    accepting: bool = False,
) -> int:
    """Appends decisions on a report to the own ledger, one part a partner. Returns the index of the first entry.

    `accepting`: an own report is accepted with them, and `ReportRow.decision` becomes that index.
    """
    report, kind = shared.report, kind_of(shared.report)
    subject = ledger_pb2.DecisionRecord(
        report_id=report.report_id,
        kind="" if kind is None else kind.value,
        event_id=report.event_id,
        traffic_class=report.traffic_class,
        precedence=report.precedence,
        report_digest=digest,
        submitted_by=submitted_by,
        policy_digest=plan.rulebook.digest,
        posture=plan.rulebook.posture,
        originator_node=report.originator_node,
        time=plan.now,
        accepted_time=plan.now,
    )
    if shared.accepted_ns != plan.now_ns:
        subject.accepted_time.FromNanoseconds(shared.accepted_ns)
    head = _subject_part(subject)
    writer = plan.ledgers.decisions()
    indices: list[int] = []
    for parts, listed in _entries(decisions):
        index = writer.append_parts([head, *parts])
        plan.index_decisions(index, subject, listed, first=accepting and not indices)
        if plan.recording is not None:
            plan.recording.note(writer.line, index, subject, listed, shared.accepted_ns, plan.signatory.node)
        indices.append(index)
    return indices[0]


def append_decision(
    plan: Plan, subject: ledger_pb2.DecisionRecord, decision: ledger_pb2.Decision, *, first: bool
) -> int:
    """Appends one decision on a report to the own ledger; `subject` says all else. Returns the index of the entry.

    `first`: `ReportRow.decision` of an own report becomes that index.
    """
    writer = plan.ledgers.decisions()
    index = writer.append_parts([_subject_part(subject), _decision_part(decision)])
    plan.index_decisions(index, subject, [decision], first=first)
    if plan.recording is not None:
        accepted_ns = subject.accepted_time.ToNanoseconds()
        plan.recording.note(writer.line, index, subject, [decision], accepted_ns, plan.signatory.node)
    return index


def _entries(
    decisions: Sequence[ledger_pb2.Decision],
) -> list[tuple[list[ledger_pb2.Part], list[ledger_pb2.Decision]]]:
    """The decisions in runs that one entry holds each, as parts and as they are; one empty run where there is none."""
    runs: list[tuple[list[ledger_pb2.Part], list[ledger_pb2.Decision]]] = [([], [])]
    size = 0
    for decision in decisions:
        part = _decision_part(decision)
        parts, listed = runs[-1]
        if parts and (len(parts) == DECISIONS_AN_ENTRY or size + len(part.content) > DECISION_BYTES_AN_ENTRY):
            parts, listed = [], []
            runs.append((parts, listed))
            size = 0
        parts.append(part)
        listed.append(decision)
        size += len(part.content)
    return runs


def _subject_part(subject: ledger_pb2.DecisionRecord) -> ledger_pb2.Part:
    content = ledger_pb2.EntryContent(decision_record=subject).SerializeToString()
    return ledger_pb2.Part(group=ledger_pb2.PART_GROUP_SUBJECT, content=content)


def _decision_part(decision: ledger_pb2.Decision) -> ledger_pb2.Part:
    content = ledger_pb2.EntryContent()
    content.decision_record.decisions.append(decision)
    return ledger_pb2.Part(group=ledger_pb2.PART_GROUP_DECISION, content=content.SerializeToString())
