"""The way of an own report, from a C2 system's hands to partners' ledgers. Read `TakeReport.apply` from top to bottom.

The report has been validated at the door. Here, in order:

1. **Once.** The same identifier with the same content is acknowledged again and not repeated; with other content it is
   refused.
2. **Own.** A correction or cancellation may only speak of reports that this node originated, of its own traffic class,
   and that its client could have pushed. An all-clear recalls the event's warnings of its own traffic class, which its
   client must all have been able to push.
3. **Share** with every partner (`gateway.release.sharing`): decide, transform, seal and append, or hold.
4. **Withdraw** what no longer stands from everyone who was released it, and end its holds.
5. **Record** the decisions, released, withheld and held, in the node's own ledger.

What was held is decided again when it is due (`DecideHeld`), and what could not be told yet is told when it can be
(`TellWithdrawals`). Nothing here commits: the plan does (`gateway.release.sequencer`).
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.ledger.stores import FeedItem, FeedRow, HeldRow, ReportRow
from gateway.release.errors import RefusedReport
from gateway.release.passing import decide_again
from gateway.release.plan import Accepted, FeedEntry, Plan, Subject
from gateway.release.sharing import (
    NOTICES_A_COMMIT,
    Decided,
    Shared,
    can_be_told,
    record_decisions,
    record_of,
    send_notice,
    share,
    withdraw,
)
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.parse import canonical
from gateway.reports.violations import Violation
from gateway.seal.errors import SealError
from policy.decide import BuiltIn, withheld

WARNINGS = frozenset(int(kind.report_kind) for kind in (Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION))
"""Kinds that an all-clear of their event recalls."""

MayPush = Callable[[report_pb2.Report], bool]
"""Whether the client who submits a report could have pushed another one, which it recalls."""


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
    may_push: MayPush

    @classmethod
    def of(cls, report: report_pb2.Report, submitted_by: str, may_push: MayPush) -> TakeReport:
        """The step for `report`."""
        raw = canonical(report)
        return cls(report, raw, hashlib.sha256(raw).digest(), submitted_by, may_push)

    @property
    def weight(self) -> int:
        """Bytes of the report."""
        return len(self.raw)

    def apply(self, plan: Plan) -> AcceptedReport:
        """Decides, seals, appends and records. Raises RefusedReport before anything was added."""
        report, subject = self.report, Subject("", uuid.UUID(self.report.report_id).bytes)
        known = plan.known(subject.report_id)
        if known is not None:
            return self._again(*known)
        recalled = [Subject("", report_id) for report_id in self._recalled(plan)]

        shared = Shared(subject, report, plan.now_ns)
        records, decided = [], []
        for partner in plan.rulebook.partners:
            record, short = share(plan, shared, partner)
            records.append(record)
            decided.append(short)
        told = withdraw(plan, recalled)
        for record in records:
            record.withdrawals = told.get(record.partner, 0)
        plan.commit.recalled.extend((each.report_id, plan.now_ns) for each in recalled)

        index = record_decisions(plan, shared, self.submitted_by, self.digest, records, accepting=True)
        for each in recalled:
            end_holds(plan, each)
        seq = plan.next_report()
        kind = kind_of(report)
        assert kind is not None  # validated
        plan.commit.reports.append(
            ReportRow(
                seq, subject.report_id, self.digest, report.event_id, int(kind.report_kind), self.submitted_by,
                plan.now_ns, index,
                plan.signatory.storage.seal(self.raw, subject.report_id, plan.signatory.random),
            )
        )  # fmt: skip
        plan.accept(subject.report_id, Accepted(report, self.digest, self.submitted_by, plan.now_ns))
        row = FeedRow(
            plan.next_feed(), FeedItem.REPORT, None, seq, report.originator_node, subject.report_id,
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
        match kind_of(self.report):
            case Kind.ALL_CLEAR:
                return self._of_event(plan)
            case Kind.CORRECTION:
                return self._named(plan, "correction.report_ids", self.report.correction.report_ids)
            case Kind.CANCELLATION:
                return self._named(plan, "cancellation.report_ids", self.report.cancellation.report_ids)
            case _:
                return ()

    def _earlier(self, plan: Plan, report_id: bytes) -> report_pb2.Report | None:
        """An earlier own report, as far as whether it may be recalled depends on it.

        One that does not open any more can be recalled by who submitted it: this report stands for it then. None: by
        nobody else.
        """
        try:
            return plan.own(report_id).report
        except SealError:
            return self.report if plan.own_in_clear(report_id).submitted_by == self.submitted_by else None

    def _of_event(self, plan: Plan) -> Sequence[bytes]:
        recalled = []
        for report_id in plan.event_reports(self.report.event_id, WARNINGS):
            earlier = self._earlier(plan, report_id)
            if earlier is not None and earlier.traffic_class != self.report.traffic_class:
                continue
            if earlier is None or not self.may_push(earlier):
                raise RefusedReport(
                    c2_pb2.REFUSAL_CODE_NOT_GRANTED,
                    [
                        Violation(
                            "event_id",
                            "names an event about which there are reports that you have no grant to push",
                            "let a C2 system declare it over whose grant covers all of them",
                        )
                    ],
                )
            recalled.append(report_id)
        return recalled

    def _named(self, plan: Plan, field: str, ids: Sequence[str]) -> Sequence[bytes]:
        wanted = [uuid.UUID(report_id).bytes for report_id in ids]
        foreign: list[Violation] = []
        refused: list[Violation] = []
        for place, report_id in enumerate(wanted):
            where = f"{field}[{place}]"
            if plan.known(report_id) is None:
                problem = f"{ids[place]} is not a report that {plan.signatory.node} originated"
                remedy = "name reports of this node that were accepted before; only the originator may recall a report"
                foreign.append(Violation(where, problem, remedy))
                continue
            earlier = self._earlier(plan, report_id)
            if earlier is not None and earlier.traffic_class != self.report.traffic_class:
                problem = f"{ids[place]} is of another traffic class than this report"
                refused.append(Violation(where, problem, "recall it with a report of its own traffic class"))
            elif earlier is None or not self.may_push(earlier):
                problem = f"{ids[place]} is a report that you have no grant to push"
                refused.append(Violation(where, problem, "let a C2 system recall it whose grant covers it"))
        if foreign:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR, foreign + refused)
        if refused:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_GRANTED, refused)
        return wanted


def end_holds(plan: Plan, subject: Subject) -> None:
    """Ends every hold of an own report that was recalled, on record."""
    partners = sorted(plan.held_for(subject))
    if not partners:
        return
    _record_again(plan, subject, [record_of(withheld(partner, BuiltIn.RECALLED)) for partner in partners])
    for partner in partners:
        plan.settle(subject, partner)


def _record_again(plan: Plan, subject: Subject, records: Sequence[ledger_pb2.Decision]) -> None:
    """Records later decisions on an own report that was accepted before, whether or not it still opens."""
    try:
        accepted = plan.own(subject.report_id)
    except SealError:
        accepted = plan.own_in_clear(subject.report_id)
    shared = Shared(subject, accepted.report, accepted.accepted_ns)
    record_decisions(plan, shared, accepted.submitted_by, accepted.digest, records)


@dataclass(frozen=True, slots=True)
class DecideHeld:
    """Decides a held report again for one partner, under the policy in force now.

    No hold is over while the clock is not trusted: then nothing is decided.
    """

    held: HeldRow
    weight: int = 0

    def apply(self, plan: Plan) -> Decided | None:
        """Decides, and does what follows. None: it is held no longer, or nothing can be decided now."""
        subject, partner = Subject(self.held.originator, self.held.report_id), self.held.partner
        if not plan.clock_trusted or partner not in plan.held_for(subject):
            return None
        if subject.originator:
            return decide_again(plan, subject, partner)
        plan.settle(subject, partner)
        try:
            accepted = plan.own(subject.report_id)
        except SealError as error:
            decision = withheld(partner, BuiltIn.POLICY_ERROR, error=f"the report does not open any more: {error}")
            _record_again(plan, subject, [record_of(decision)])
            return Decided(partner, decision.outcome, failed=True)
        record, short = share(plan, Shared(subject, accepted.report, accepted.accepted_ns), partner)
        _record_again(plan, subject, [record])
        return short


@dataclass(frozen=True, slots=True)
class TellWithdrawals:
    """Tells one partner of withdrawals that it has still to be told of."""

    partner: str
    weight: int = 0

    def apply(self, plan: Plan) -> int:
        """Tells some of them. Returns how many."""
        if not can_be_told(plan, self.partner):
            return 0
        rows = plan.store.untold(self.partner, NOTICES_A_COMMIT)
        sent = 0
        for row in rows:
            sent += send_notice(plan, Subject(row.originator, row.report_id), self.partner)
        plan.commit.told.extend(rows)
        return sent
