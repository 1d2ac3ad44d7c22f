"""The way of an own report, from a C2 system's hands to partners' ledgers. Read `TakeReport.apply` from top to bottom.

The report has been validated at the door. Here, in order:

1. **Once.** The same identifier with the same content is acknowledged again and not repeated; with other content it is
   refused.
2. **Own.** A correction or cancellation may only speak of reports that this node originated.
3. **Decide**, for every partner, by the policy in force. A partner without a decision is given nothing.
4. **Transform**: the partner's copy holds the fields that the decision names, and no other.
5. **Seal and append** to the partner's ledger of the report's precedence.
6. **Withdraw.** What no longer stands is recalled from everyone who was released it, whatever policy says now, on the
   fastest lane, without content.
7. **Record** the decisions, released and withheld, in the node's own ledger.

Nothing here commits: the plan does (`gateway.release.sequencer`).
"""

from __future__ import annotations

import functools
import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.ledger.origin import Lane
from gateway.ledger.stores import FeedItem, FeedRow, ReleasedRow, ReportRow
from gateway.release.errors import RefusedReport
from gateway.release.plan import FeedEntry, Plan
from gateway.release.rulebook import Rulebook
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.parse import canonical
from gateway.reports.violations import Violation
from policy.decide import Decision, Outcome

LANES = {
    report_pb2.PRECEDENCE_FLASH: Lane.FLASH,
    report_pb2.PRECEDENCE_IMMEDIATE: Lane.IMMEDIATE,
    report_pb2.PRECEDENCE_PRIORITY: Lane.PRIORITY,
    report_pb2.PRECEDENCE_ROUTINE: Lane.ROUTINE,
}

DECISIONS_AN_ENTRY = 48
"""Partners whose decisions stand in one entry of the decisions ledger: an entry has at most 64 parts."""

WARNINGS = frozenset(int(kind.report_kind) for kind in (Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION))
"""Kinds that an all-clear of their event recalls."""


@dataclass(frozen=True, slots=True)
class Decided:
    """One decision in short: the partner, what became of the report, and whether a rule failed."""

    partner: str
    outcome: Outcome
    failed: bool


@dataclass(frozen=True, slots=True)
class AcceptedReport:
    """A report was taken: now, or before (`duplicate`)."""

    accepted_ns: int
    duplicate: bool
    decisions: tuple[Decided, ...] = ()
    """What was decided now, for the metrics; empty for a duplicate."""


@dataclass(frozen=True, slots=True)
class TakeReport:
    """Takes one validated report of this node's own C2 systems."""

    report: report_pb2.Report
    raw: bytes
    digest: bytes
    submitted_by: str
    rulebook: Rulebook

    @classmethod
    def of(cls, report: report_pb2.Report, submitted_by: str, rulebook: Rulebook) -> TakeReport:
        """The step for `report`."""
        raw = canonical(report)
        return cls(report, raw, hashlib.sha256(raw).digest(), submitted_by, rulebook)

    @property
    def weight(self) -> int:
        """Bytes of the report, once for each copy."""
        return len(self.raw) * (1 + len(self.rulebook.partners))

    def apply(self, plan: Plan) -> AcceptedReport:
        """Decides, seals, appends and records. Raises RefusedReport before anything was added."""
        report, report_id = self.report, uuid.UUID(self.report.report_id).bytes
        known = plan.known(report_id)
        if known is not None:
            return self._again(*known)
        recalled = self._recalled(plan)

        now = datetime.fromtimestamp(plan.now_ns / 1e9, UTC)
        decisions, decided = [], []
        for partner in self.rulebook.partners:
            decision = self.rulebook.decide(report, partner, now, usable=partner in plan.partners)
            copy = None
            if decision.outcome is Outcome.RELEASED:
                decision, copy = self.rulebook.copy(report, decision, functools.partial(_had, plan, partner))
            record = _record(decision)
            decided.append(Decided(partner, decision.outcome, bool(decision.error)))
            if copy is not None:
                self._release(plan, partner, copy, record, report_id)
            self._withdraw(plan, partner, recalled, record)
            decisions.append(record)

        plan.commit.recalled.extend((recalled_id, plan.now_ns) for recalled_id in recalled)

        index = self._record(plan, now, decisions)
        seq = plan.next_report()
        kind = kind_of(report)
        assert kind is not None  # validated
        plan.commit.reports.append(
            ReportRow(
                seq, report_id, self.digest, report.event_id, int(kind.report_kind), self.submitted_by, plan.now_ns,
                index,
                plan.signatory.storage.seal(self.raw, report_id, plan.signatory.random),
            )
        )  # fmt: skip
        plan.accepted[report_id] = (self.digest, plan.now_ns)
        plan.events.setdefault(report.event_id, []).append((report_id, int(kind.report_kind)))
        row = FeedRow(
            plan.next_feed(), FeedItem.REPORT, None, seq, report.originator_node, report_id,
            int(kind.report_kind), report.traffic_class, report.precedence, plan.now_ns,
        )  # fmt: skip
        plan.publish(FeedEntry(row, report))
        return AcceptedReport(plan.now_ns, duplicate=False, decisions=tuple(decided))

    def _again(self, digest: bytes, accepted_ns: int) -> AcceptedReport:
        if digest != self.digest:
            raise RefusedReport(
                c2_pb2.REFUSAL_CODE_CONFLICT,
                [
                    Violation(
                        "report_id",
                        "was accepted before with other content",
                        "give a new report an identifier of its own; to change one that was sent, send a Correction",
                    )
                ],
            )
        return AcceptedReport(accepted_ns, duplicate=True)

    def _recalled(self, plan: Plan) -> Sequence[bytes]:
        """Identifiers of the reports that no longer stand because of this one. All of them are this node's own."""
        report = self.report
        match kind_of(report):
            case Kind.ALL_CLEAR:
                return plan.event_reports(report.event_id, WARNINGS)
            case Kind.CORRECTION:
                field, ids = "correction.report_ids", report.correction.report_ids
            case Kind.CANCELLATION:
                field, ids = "cancellation.report_ids", report.cancellation.report_ids
            case _:
                return ()
        wanted = [uuid.UUID(report_id).bytes for report_id in ids]
        foreign = [place for place, report_id in enumerate(wanted) if plan.known(report_id) is None]
        if foreign:
            raise RefusedReport(
                c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR,
                [
                    Violation(
                        f"{field}[{place}]",
                        f"{ids[place]} is not a report that {plan.signatory.node} originated",
                        "name reports of this node that were accepted before; only the originator may recall a report",
                    )
                    for place in foreign
                ],
            )
        return wanted

    def _release(
        self, plan: Plan, partner: str, copy: report_pb2.Report, record: ledger_pb2.Decision, report_id: bytes
    ) -> None:
        """Seals the partner's copy into the ledger of its precedence."""
        writer = plan.writer(partner, LANES[self.report.precedence])
        index = writer.append(ledger_pb2.EntryContent(report=copy).SerializeToString())
        record.ledger, record.index = str(writer.head.origin), index
        plan.record_release(
            ReleasedRow(report_id, partner, writer.head.id, index, self.report.traffic_class, self.report.precedence)
        )

    def _withdraw(self, plan: Plan, partner: str, recalled: Sequence[bytes], record: ledger_pb2.Decision) -> None:
        """Tells a partner which of the reports that it was released no longer stand: content-free, on the fastest
        lane.
        """
        if partner not in plan.partners:
            return
        for report_id in recalled:
            release = plan.released_to(report_id).get(partner)
            if release is None:
                continue
            notice = ledger_pb2.Withdrawal(
                report_id=str(uuid.UUID(bytes=report_id)),
                traffic_class=release.traffic_class,  # type: ignore[arg-type]  # kept as the number
                precedence=release.precedence,  # type: ignore[arg-type]
            )
            notice.time.FromNanoseconds(plan.now_ns)
            content = ledger_pb2.EntryContent(withdrawal=notice).SerializeToString()
            plan.writer(partner, Lane.FLASH).append(content)
            plan.record_withdrawal(report_id, partner)
            record.withdrawals += 1

    def _record(self, plan: Plan, now: datetime, decisions: Sequence[ledger_pb2.Decision]) -> int:
        """Appends the decisions to the node's own ledger, one part a partner. Returns the index of the first entry."""
        kind = kind_of(self.report)
        subject = ledger_pb2.DecisionRecord(
            report_id=self.report.report_id,
            kind="" if kind is None else kind.value,
            event_id=self.report.event_id,
            traffic_class=self.report.traffic_class,
            precedence=self.report.precedence,
            report_digest=self.digest,
            submitted_by=self.submitted_by,
            policy_digest=self.rulebook.digest,
            posture=self.rulebook.posture,
        )
        subject.time.FromNanoseconds(plan.now_ns)
        head = _part(ledger_pb2.PART_GROUP_SUBJECT, subject)
        writer = plan.decisions()
        first: int | None = None
        for at in range(0, max(1, len(decisions)), DECISIONS_AN_ENTRY):
            parts = [head]
            parts += [
                _part(ledger_pb2.PART_GROUP_DECISION, ledger_pb2.DecisionRecord(decisions=[decision]))
                for decision in decisions[at : at + DECISIONS_AN_ENTRY]
            ]
            index = writer.append_parts(parts)
            first = index if first is None else first
        assert first is not None
        return first


def _had(plan: Plan, partner: str, originator: str, report_id: str) -> bool:
    """Whether `partner` was ever released that report by this node."""
    return originator == plan.signatory.node and plan.was_released(uuid.UUID(report_id).bytes, partner)


def _part(group: ledger_pb2.PartGroup.ValueType, record: ledger_pb2.DecisionRecord) -> ledger_pb2.Part:
    content = ledger_pb2.EntryContent(decision_record=record).SerializeToString()
    return ledger_pb2.Part(group=group, content=content)


_OUTCOMES = {
    Outcome.RELEASED: ledger_pb2.OUTCOME_RELEASED,
    Outcome.WITHHELD: ledger_pb2.OUTCOME_WITHHELD,
    Outcome.HELD: ledger_pb2.OUTCOME_HELD,
}


def _record(decision: Decision) -> ledger_pb2.Decision:
    """A decision as it is put on record."""
    return ledger_pb2.Decision(
        partner=decision.partner,
        outcome=_OUTCOMES[decision.outcome],
        rule=decision.rule,
        agreement=decision.agreement or "",
        fields=decision.fields,
        error=decision.error or "",
    )
