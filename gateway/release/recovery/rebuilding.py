"""Putting on record again what recovery records say was decided.

A record was sealed by this node, in a ledger that it signed, under a key that its nation alone can unwrap: what it says
is so. Rules, in order, for each decision in it:

1. What is on record already is not repeated: the decision's own entry, where the decisions ledger was not lost so far,
   and every decision on a report that was submitted again since and accepted anew.
2. The decision stands in the decisions ledger again, as of now, with the time at which it was made first. What a
   recovery record does not hold, it does not say: the policy then in force, and the conditions that it tried.
3. A report of this node that is not known is known again: by whom, when and with which digest it was accepted. Its
   content is not there (`payload` is empty) until its C2 system submits it again
   (`gateway.release.recovery.resubmitted`).
4. A release names the entry that holds it now; one that no entry here holds is counted as missing.
5. A hold stands again, unless a later decision ended it.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.errors import LedgerError, OriginError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import RecoveryRow, ReleasedRow, ReportRow, UntoldRow
from gateway.release.groups import leaf_paths
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.after_loss import ended_by
from gateway.release.recovery.told_before import recalled_since
from gateway.release.sharing import append_decision
from gateway.release.subject import Subject
from gateway.reports.kinds import Kind
from gateway.seal.entry import parse_header
from gateway.seal.errors import SealError
from policy.countries import NODE_CODES

EVENT: Final = "records-rebuilt"
"""Kind of the event that says what was rebuilt."""


@dataclass(slots=True)
class Rebuilt:
    """What came of some recovery records of one ledger."""

    records: int = 0
    reports: int = 0
    releases: int = 0
    held: int = 0
    left_out: int = 0
    """Decisions that the records themselves do not hold, for want of room."""
    missing: list[str] = field(default_factory=list)
    """What cannot be rebuilt, in words."""

    def add(self, other: Rebuilt) -> None:
        """Adds what came of others."""
        self.records += other.records
        self.reports += other.reports
        self.releases += other.releases
        self.held += other.held
        self.left_out += other.left_out
        self.missing += other.missing


@dataclass(frozen=True, slots=True)
class RebuildRecords:
    """Puts on record again what some recovery records of one ledger say. `stands` says of a hold whether no decision
    after it is known. `opener` is used by this step alone, in the sequencer's thread.
    """

    ledger: Origin
    records: Sequence[tuple[RecoveryRow, ledger_pb2.RecoveryRecord]]
    opener: Opener
    stands: Callable[[str, ledger_pb2.RecoveredDecision], bool]
    rank: Rank = Rank.SPARE

    @property
    def weight(self) -> int:
        """Bytes of the records."""
        return sum(len(row.sealed) for row, _ in self.records)

    def apply(self, plan: Plan) -> Rebuilt:
        """Rebuilds."""
        assert self.ledger.recipient is not None  # records stand in release ledgers
        done = Rebuilt()
        for row, record in self.records:
            done.records += 1
            done.left_out += record.left_out
            for decided in record.decided:
                try:
                    self._rebuild(plan, self.ledger.recipient, record.decisions, decided, done)
                except (LedgerError, ValueError) as error:
                    done.missing.append(f"{self.ledger} entry {row.index} holds a decision that is none: {error}")
            plan.commit.recovery.append(replace(row, rebuilt=True))
        words = f"{self.ledger}: {done.records} recovery records: {done.reports} reports, {done.releases} releases"
        plan.record_event(EVENT, f"{words}, {done.held} holds are on record again")
        return done

    def _rebuild(
        self, plan: Plan, partner: str, decisions: str, decided: ledger_pb2.RecoveredDecision, done: Rebuilt
    ) -> None:
        subject = Subject(decided.originator_node, decided.report_id)
        kind = _checked(decided)
        if self._is_on_record(plan, decisions, decided) or self._was_decided_anew(plan, subject, decided):
            return
        decision = ledger_pb2.Decision(
            partner=partner, outcome=decided.outcome, rule=decided.rule, agreement=decided.agreement
        )
        if decided.outcome == ledger_pb2.OUTCOME_RELEASED:
            row = plan.releases.to(subject, partner)
            if row is None:
                named = uuid.UUID(bytes=subject.report_id)
                done.missing.append(f"the entry that released {named} to {partner}, which has not given it back yet")
                return
            self._describe(plan, row, decision)
            if not row.agreement and decided.agreement:
                plan.commit.cited.append((subject.originator, subject.report_id, partner, decided.agreement))
            done.releases += 1
        elif decided.outcome == ledger_pb2.OUTCOME_HELD:
            if not self.stands(partner, decided) or plan.releases.to(subject, partner) is not None:
                return
            decision.hold_until.FromNanoseconds(decided.hold_until_ns)
            plan.holds.begin(subject, partner, decided.hold_until_ns)
            done.held += 1
        new = not subject.originator and plan.own_reports.known(subject.report_id) is None
        index = append_decision(plan, _record(plan, decided), decision, first=new)
        if new:
            self._accept(plan, subject, decided, kind, index)
            done.reports += 1

    def _accept(
        self, plan: Plan, subject: Subject, decided: ledger_pb2.RecoveredDecision, kind: Kind, index: int
    ) -> None:
        """Makes an own report known again, without its content."""
        plan.own_reports.rebuild(
            ReportRow(
                plan.own_reports.next_number(), subject.report_id, decided.report_digest, decided.event_id,
                int(kind.report_kind), decided.submitted_by, decided.accepted_ns, index, b"", pruned_ns=plan.now_ns,
            )
        )  # fmt: skip
        warning = report_pb2.Report(
            report_id=str(uuid.UUID(bytes=subject.report_id)), event_id=decided.event_id,
            traffic_class=decided.traffic_class,
        )  # fmt: skip
        getattr(warning, kind.field).SetInParent()
        warning.report_time.FromNanoseconds(decided.accepted_ns)
        if ended_by(plan, warning):
            owed = set(plan.releases.standing(subject)) - set(plan.untold.partners(subject))
            plan.commit.untold.extend(UntoldRow("", subject.report_id, partner) for partner in sorted(owed))
        withdrawn_ns = recalled_since(plan, subject)
        if withdrawn_ns is not None:
            plan.commit.recalled.append((subject.report_id, withdrawn_ns))

    def _is_on_record(self, plan: Plan, decisions: str, decided: ledger_pb2.RecoveredDecision) -> bool:
        """Whether the entry that recorded the decision is here: the store was set back to a later point than that."""
        origin = Origin.parse(decisions)
        if origin.lane != DECISIONS or origin.owner != plan.signatory.node:
            raise OriginError(f"{decisions} is no decisions ledger of {plan.signatory.node}")
        head = plan.heads.get(origin)
        if head is None or decided.decision_index >= head.edge.size:
            return False
        ledger = head.id

        def fetch(index: int) -> bytes:
            return plan.store.entry(ledger, index) or b""

        try:
            content = self.opener.content(origin, decided.decision_index, fetch(decided.decision_index), fetch)
        except SealError:
            return True
        if content is None or not content.HasField("decision_record"):
            return False
        return content.decision_record.report_digest == decided.report_digest

    def _was_decided_anew(self, plan: Plan, subject: Subject, decided: ledger_pb2.RecoveredDecision) -> bool:
        """Whether an own report was submitted again, and accepted anew, since."""
        known = None if subject.originator else plan.own_reports.known(subject.report_id)
        return known is not None and known[1] > decided.accepted_ns

    def _describe(self, plan: Plan, row: ReleasedRow, decision: ledger_pb2.Decision) -> None:
        """Names the entry that holds a release, and what it holds."""
        origin = plan.ledgers.origin_of(row.ledger)
        decision.ledger, decision.index = str(origin), row.index
        entry = plan.store.entry(row.ledger, row.index)
        if entry is None:
            return
        decision.entry_commitment = parse_header(entry).commitment
        try:
            content = self.opener.content(origin, row.index, entry, lambda at: plan.store.entry(row.ledger, at) or b"")
        except SealError:
            return
        if content is not None:
            describe_copy(plan.signatory.node, content, decision)


def describe_copy(node: str, content: ledger_pb2.EntryContent, decision: ledger_pb2.Decision) -> None:
    """Names in a decision the fields of the copy that an entry holds, and those that `node` changed."""
    copy = content.onward_report.report if content.HasField("onward_report") else content.report
    decision.fields.extend(sorted(path for path in leaf_paths(copy) if not path.startswith("derivations.")))
    if copy.derivations and copy.derivations[-1].node == node:
        decision.changed.extend(copy.derivations[-1].fields)


def _checked(decided: ledger_pb2.RecoveredDecision) -> Kind:
    """The kind of the report of a decision that is whole. Raises ValueError."""
    if len(decided.report_id) != 16 or len(decided.report_digest) != 32:
        raise ValueError("its report has no identifier and digest")
    if decided.originator_node and decided.originator_node not in NODE_CODES:
        raise ValueError(f"{decided.originator_node[:8]!r} is no node")
    if decided.outcome not in (
        ledger_pb2.OUTCOME_RELEASED, ledger_pb2.OUTCOME_WITHHELD, ledger_pb2.OUTCOME_HELD
    ):  # fmt: skip
        raise ValueError("it has no outcome")
    if decided.traffic_class not in report_pb2.TrafficClass.values() or not decided.traffic_class:
        raise ValueError("it has no traffic class")
    if decided.accepted_ns <= 0 or decided.decided_ns <= 0:
        raise ValueError("it has no time")
    return Kind(decided.kind)


def _record(plan: Plan, decided: ledger_pb2.RecoveredDecision) -> ledger_pb2.DecisionRecord:
    """The subject of a decision that is recorded again."""
    record = ledger_pb2.DecisionRecord(
        report_id=str(uuid.UUID(bytes=decided.report_id)),
        kind=decided.kind,
        event_id=decided.event_id,
        traffic_class=decided.traffic_class,
        precedence=decided.precedence,
        report_digest=decided.report_digest,
        submitted_by=decided.submitted_by,
        originator_node=decided.originator_node or plan.signatory.node,
    )
    record.time.FromNanoseconds(plan.now_ns)
    record.accepted_time.FromNanoseconds(decided.accepted_ns)
    record.decided_time.FromNanoseconds(decided.decided_ns)
    return record
