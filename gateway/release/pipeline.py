"""The way of an own report, from a C2 system's hands to partners' ledgers. Read `TakeReport.apply` from top to bottom.

The report has been validated at the door. Here, in order:

1. **Once.** The same identifier with the same content is acknowledged again and not repeated; with other content it is
   refused.
2. **Own.** A correction or cancellation may only speak of reports that this node originated, of its own traffic class,
   and that its client could have pushed. An all-clear recalls the event's warnings of its own traffic class, which its
   client must all have been able to push. Where there are very many of them, they are looked at before, in steps of
   their own (`gateway.release.taking`).
3. **Share** with every partner (`gateway.release.sharing`): decide, transform, seal and append, or hold.
4. **Withdraw** what no longer stands from everyone who was released it, and end its holds.
5. **Record** the decisions, released, withheld and held, in the node's own ledger; and, as an event, that a warning
   came after the all-clear of its event (`gateway.release.after_all_clear`).

What was held is decided again when it is due (`DecideHeld`), and what could not be told yet is told when it can be
(`TellWithdrawals`). Nothing here commits: the plan does (`gateway.release.sequencer`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.attention import Late
from gateway.ledger.stores import FeedItem, FeedRow, HeldRow, ReportRow
from gateway.release.after_all_clear import note_order
from gateway.release.errors import LookFirst, RefusedReport
from gateway.release.failing import unopened
from gateway.release.passing import decide_again
from gateway.release.plan import FeedEntry, Plan
from gateway.release.planned.own_reports import Accepted
from gateway.release.ranks import Rank, rank_of_report
from gateway.release.recovery.after_loss import (
    BY_TIME,
    WARNINGS,
    asking,
    back_of_event,
    end_unknown,
    ended_by,
    in_part,
    is_later,
    recalls_by_time,
)
from gateway.release.recovery.resubmitted import decide_what_is_left, decided_before, share_or_stand
from gateway.release.recovery.told_before import recalled_since
from gateway.release.sharing import (
    NOTICES_A_COMMIT,
    Decided,
    Shared,
    can_be_told,
    record_decisions,
    record_of,
    send_notice,
    withdraw,
)
from gateway.release.subject import Subject
from gateway.reports.identifiers import in_bytes
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.parse import canonical
from gateway.reports.violations import Violation
from gateway.seal.errors import SealError
from policy.decision import BuiltIn, Outcome, withheld

LOOKED_AT_A_STEP: Final = 512
"""Warnings of an event at which one step of an all-clear looks: each is opened, which takes some 50 µs."""

HOLDS_A_COMMIT: Final = 512
"""Reports whose holds end with the recall itself, on record. Others that it recalls never go either: their holds end
when they come due, for what was recalled is not decided again."""

MayPush = Callable[[report_pb2.Report], bool]
"""Whether the client who submits a report could have pushed another one, which it recalls."""


class AcceptedReport(NamedTuple):
    """A report was taken: now, or before (`duplicate`)."""

    accepted_ns: int
    duplicate: bool
    decisions: tuple[Decided, ...] = ()
    """What was decided now, for the metrics; empty for a duplicate."""
    late: Late | None = None
    """What is to be told of it, where it is a warning that was made before the all-clear of its event."""


@dataclass(slots=True)
class TakeReport:
    """Takes one report of this node's own C2 systems. It must be validated before it is applied."""

    report: report_pb2.Report
    raw: bytes
    digest: bytes
    submitted_by: str
    may_push: MayPush
    may_push_lost: MayPush
    looked_at: Mapping[bytes, bool] = field(default_factory=dict)
    """Of an all-clear: what was looked at before of the event's warnings, and whether it recalls them."""
    kind: Kind | None = field(init=False)
    weight: int = field(init=False)
    """Bytes of the report."""
    rank: Rank = field(init=False)
    """That of its precedence; of a recall the highest."""

    def __post_init__(self) -> None:
        self.kind = kind_of(self.report)
        self.weight = len(self.raw)
        self.rank = rank_of_report(self.report.precedence, self.kind)

    @classmethod
    def of(
        cls,
        report: report_pb2.Report,
        submitted_by: str,
        may_push: MayPush,
        may_push_lost: MayPush | None = None,
    ) -> TakeReport:
        """The step for `report`. `may_push_lost` is asked of reports of which no more is known than
        `gateway.release.recovery.after_loss` says; without it `may_push`.
        """
        raw = canonical(report)
        return cls(report, raw, hashlib.sha256(raw).digest(), submitted_by, may_push, may_push_lost or may_push)

    @property
    def recalls(self) -> Callable[[object], bool]:
        """Says of a step whether it takes a report that this one recalls, if that was accepted before: then it must be.

        What that depends on is read here, once: it is asked of all that waits, and hundreds may be named.
        """
        named: frozenset[str] = frozenset()
        match self.kind:
            case Kind.ALL_CLEAR:
                event_id = self.report.event_id
                return lambda other: isinstance(other, TakeReport) and other.report.event_id == event_id
            case Kind.CORRECTION:
                named = frozenset(self.report.correction.report_ids)
            case Kind.CANCELLATION:
                named = frozenset(self.report.cancellation.report_ids)
        return lambda other: isinstance(other, TakeReport) and other.report.report_id in named

    def apply(self, plan: Plan) -> AcceptedReport:
        """Decides, seals, appends and records. Raises RefusedReport before anything was added."""
        report, subject = self.report, Subject("", in_bytes(self.report.report_id))
        known = plan.own_reports.known(subject.report_id)
        if known is not None:
            return self._again(plan, subject, *known)
        recalled = [Subject("", report_id) for report_id in self._recalled(plan)]
        if len(recalled) > 1 and self.kind is Kind.ALL_CLEAR:
            plan.foresee(report.event_id, recalled)
        ended_ns = self._ended(plan, subject)

        shared = Shared(subject, report, plan.now_ns)
        records, decided = [], []
        for partner in plan.rulebook.partners:
            record, short = share_or_stand(plan, shared, partner)
            records.append(record)
            decided.append(short)
        told = withdraw(plan, recalled if ended_ns is None else [*recalled, subject])
        for record in records:
            record.withdrawals = told.get(record.partner, 0)
        self._note_recalled(plan, recalled)

        index = record_decisions(plan, shared, self.submitted_by, self.digest, records, accepting=True)
        for each in _held(plan, recalled)[:HOLDS_A_COMMIT]:
            end_holds(plan, each)
        seq = plan.own_reports.next_number()
        assert self.kind is not None  # validated
        kind = int(self.kind.report_kind)
        plan.commit.reports.append(
            ReportRow(
                seq, subject.report_id, self.digest, report.event_id, kind, self.submitted_by,
                plan.now_ns, index,
                plan.signatory.storage.seal(self.raw, subject.report_id, plan.signatory.random),
            )
        )  # fmt: skip
        late = None
        if ended_ns is not None:
            plan.commit.recalled.append((subject.report_id, ended_ns))
        else:
            late = note_order(plan, report)
        plan.own_reports.accept(subject.report_id, Accepted(report, self.digest, self.submitted_by, plan.now_ns))
        row = FeedRow(
            plan.next_feed(), FeedItem.REPORT, None, seq, report.originator_node, subject.report_id,
            kind, report.traffic_class, report.precedence, plan.now_ns,
        )  # fmt: skip
        plan.publish(FeedEntry(row, report, withdrawn=ended_ns is not None))
        return AcceptedReport(plan.now_ns, duplicate=False, decisions=tuple(decided), late=late)

    def _again(self, plan: Plan, subject: Subject, digest: bytes, accepted_ns: int) -> AcceptedReport:
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
        if plan.own_reports.rebuilt(subject.report_id):
            # Known again by this very commit: what is there can be filled in once that is durable.
            raise RefusedReport(
                c2_pb2.REFUSAL_CODE_UNAVAILABLE,
                [Violation("report_id", "is being put on record again", "send it again")],
            )
        row = plan.own_reports.row(subject.report_id)
        if row is not None and not row.payload and not plan.own_reports.refilled(row.seq):
            return self._fill_in(plan, subject, row)
        return AcceptedReport(accepted_ns, duplicate=True)

    def _fill_in(self, plan: Plan, subject: Subject, row: ReportRow) -> AcceptedReport:
        """Fills in a report that is known without its content (`gateway.release.recovery.resubmitted`)."""
        recalled = [Subject("", report_id) for report_id in self._recalled(plan)]
        ended_ns = self._ended(plan, subject)
        shared = Shared(subject, self.report, row.accepted_ns)
        before = decided_before(plan, subject)
        done = decide_what_is_left(plan, shared)
        records = {record.partner: record for record, _ in done}
        for partner, count in withdraw(plan, recalled if ended_ns is None else [*recalled, subject]).items():
            if partner not in records:
                # Said again with what it brings, which was not known to have gone out.
                records[partner] = ledger_pb2.Decision()
                records[partner].CopyFrom(before.get(partner) or record_of(withheld(partner, BuiltIn.RECALLED)))
            records[partner].withdrawals = count
        self._note_recalled(plan, recalled)
        if ended_ns is not None:
            plan.commit.recalled.append((subject.report_id, ended_ns))
        if records:
            record_decisions(plan, shared, self.submitted_by, self.digest, list(records.values()))
        for each in _held(plan, recalled if ended_ns is None else [*recalled, subject])[:HOLDS_A_COMMIT]:
            end_holds(plan, each)
        payload = plan.signatory.storage.seal(self.raw, subject.report_id, plan.signatory.random)
        plan.own_reports.refill(row.seq, payload)
        plan.record_event("report-filled-in", f"{self.report.report_id} was submitted again by {self.submitted_by}")
        feed = FeedRow(
            plan.next_feed(), FeedItem.REPORT, None, row.seq, self.report.originator_node, subject.report_id,
            row.kind, self.report.traffic_class, self.report.precedence, row.accepted_ns,
        )  # fmt: skip
        plan.publish(FeedEntry(feed, self.report, withdrawn=ended_ns is not None))
        return AcceptedReport(row.accepted_ns, duplicate=True, decisions=tuple(short for _, short in done))

    def _ended(self, plan: Plan, subject: Subject) -> int | None:
        """Since when this very report does not stand, where it was recalled before it became known (again)."""
        if not plan.was_set_back:
            return None
        ended_by(plan, self.report)
        row = plan.own_reports.row(subject.report_id)
        return recalled_since(plan, subject) or (None if row is None else row.withdrawn_ns)

    def _note_recalled(self, plan: Plan, recalled: Sequence[Subject]) -> None:
        """Takes note that these no longer stand."""
        plan.commit.recalled.extend((each.report_id, plan.now_ns) for each in recalled)
        if not plan.was_set_back:
            return
        unknown = [each for each in recalled if plan.own_reports.known(each.report_id) is None]
        end_unknown(plan, unknown, self.report.report_id)
        if self.kind is Kind.ALL_CLEAR and recalls_by_time(plan, self.report):
            plan.record_event(BY_TIME, f"{self.report.report_id} recalls those warnings that are no later than it")

    def _recalled(self, plan: Plan) -> Sequence[bytes]:
        """Identifiers of the reports that no longer stand because of this one. All of them are this node's own."""
        match self.kind:
            case Kind.ALL_CLEAR:
                return self._of_event(plan)
            case Kind.CORRECTION:
                return self._named(plan, "correction.report_ids", self.report.correction.report_ids)
            case Kind.CANCELLATION:
                return self._named(plan, "cancellation.report_ids", self.report.cancellation.report_ids)
            case _:
                return ()

    def _earlier(self, plan: Plan, report_id: bytes) -> tuple[report_pb2.Report | None, bool]:
        """An earlier own report, as far as whether it may be recalled depends on it, and whether this client may.

        One that does not open any more can be recalled by who submitted it: this report stands for it then. None: by
        nobody else. One whose content is lost is judged by what is known of it.
        """
        found = in_part(plan, report_id)
        if found is not None:
            return found.report, found.submitted_by == self.submitted_by or self.may_push_lost(found.report)
        if plan.own_reports.known(report_id) is None:
            return None, False
        try:
            earlier = plan.own_reports.opened(report_id).report
        except SealError:
            own = plan.own_reports.in_clear(report_id).submitted_by == self.submitted_by
            return (self.report, True) if own else (None, False)
        return earlier, self.may_push(earlier)

    def _of_event(self, plan: Plan) -> Sequence[bytes]:
        warnings = plan.own_reports.of_event(self.report.event_id, WARNINGS) + back_of_event(plan, self.report.event_id)
        unknown = [report_id for report_id in warnings if report_id not in self.looked_at]
        if len(unknown) > LOOKED_AT_A_STEP:
            raise LookFirst(unknown)
        known = {**self.looked_at, **self.look(plan, unknown)} if unknown else self.looked_at
        return [report_id for report_id in warnings if known[report_id]]

    def look(self, plan: Plan, report_ids: Iterable[bytes]) -> dict[bytes, bool]:
        """Of warnings of its event, whether this all-clear recalls each. Raises RefusedReport where it may not."""
        found: dict[bytes, bool] = {}
        by_time = recalls_by_time(plan, self.report)
        for report_id in report_ids:
            earlier, may = self._earlier(plan, report_id)
            found[report_id] = earlier is None or (
                earlier.traffic_class == self.report.traffic_class and not (by_time and is_later(earlier, self.report))
            )
            if found[report_id] and not may:
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
        return found

    def _named(self, plan: Plan, field: str, ids: Sequence[str]) -> Sequence[bytes]:
        wanted = [in_bytes(report_id) for report_id in ids]
        if any(map(plan.own_reports.rebuilt, wanted)):
            raise RefusedReport(
                c2_pb2.REFUSAL_CODE_UNAVAILABLE,
                [Violation(field, "names a report that is being put on record again", "send it again")],
            )
        foreign: list[Violation] = []
        refused: list[Violation] = []
        for place, report_id in enumerate(wanted):
            where = f"{field}[{place}]"
            if plan.own_reports.known(report_id) is None and not plan.releases.of(Subject("", report_id)):
                problem = f"{ids[place]} is not a report that {plan.signatory.node} originated"
                remedy = "name reports of this node that were accepted before; only the originator may recall a report"
                foreign.append(Violation(where, problem, remedy))
                continue
            earlier, may = self._earlier(plan, report_id)
            if earlier is not None and earlier.traffic_class != self.report.traffic_class:
                problem = f"{ids[place]} is of another traffic class than this report"
                refused.append(Violation(where, problem, "recall it with a report of its own traffic class"))
            elif not may:
                problem = f"{ids[place]} is a report that you have no grant to push"
                refused.append(Violation(where, problem, "let a C2 system recall it whose grant covers it"))
        if foreign and (found := _may_be_lost(plan)) is not None:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_UNAVAILABLE, [Violation(each.field, *found) for each in foreign])
        if foreign:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR, foreign + refused)
        if refused:
            raise RefusedReport(c2_pb2.REFUSAL_CODE_NOT_GRANTED, refused)
        return wanted


def _may_be_lost(plan: Plan) -> tuple[str, str] | None:
    """What is wrong with naming a report that is not known, and how to mend it, where it may have been lost: to refuse
    its recall for good would let it stand. None: it cannot have been.
    """
    unknown = f"names a report that {plan.signatory.node} does not know, and "
    if asking(plan) is not None:
        return unknown + "it has lost some", "submit first again what it asks for (resubmit), then this"
    if not plan.partners_shown:
        # Of an older copy nobody knows before a partner shows what it holds.
        return unknown + "not every partner has shown yet that it has lost none", "send it again after retry_after_ms"
    return None


def _held(plan: Plan, recalled: Sequence[Subject]) -> list[Subject]:
    return [subject for subject in recalled if plan.holds.partners(subject)]


def end_holds(plan: Plan, subject: Subject) -> None:
    """Ends every hold of an own report that was recalled, on record."""
    partners = sorted(plan.holds.partners(subject))
    if not partners:
        return
    _record_again(plan, subject, [record_of(withheld(partner, BuiltIn.RECALLED)) for partner in partners])
    for partner in partners:
        plan.holds.end(subject, partner)


def _record_again(plan: Plan, subject: Subject, records: Sequence[ledger_pb2.Decision]) -> None:
    """Records later decisions on an own report that was accepted before, whether or not it still opens."""
    try:
        accepted = plan.own_reports.opened(subject.report_id)
    except SealError:
        accepted = plan.own_reports.in_clear(subject.report_id)
    shared = Shared(subject, accepted.report, accepted.accepted_ns)
    record_decisions(plan, shared, accepted.submitted_by, accepted.digest, records)


@dataclass(frozen=True, slots=True)
class DecideHeld:
    """Decides a held report again for one partner, under the policy in force now.

    No hold is over while the clock is not trusted: then nothing is decided.
    """

    held: HeldRow
    weight: int = 0
    rank: Rank = Rank.IMMEDIATE

    def apply(self, plan: Plan) -> Decided | None:
        """Decides, and does what follows. None: it is held no longer, or nothing can be decided now."""
        subject, partner = Subject(self.held.originator, self.held.report_id), self.held.partner
        if not plan.clock_trusted or partner not in plan.holds.partners(subject):
            return None
        if subject.originator:
            return decide_again(plan, subject, partner)
        if plan.own_reports.was_recalled(subject.report_id):
            end_holds(plan, subject)
            return Decided(partner, Outcome.WITHHELD, failed=False)
        plan.holds.end(subject, partner)
        try:
            accepted = plan.own_reports.opened(subject.report_id)
        except SealError as error:
            decision = withheld(partner, BuiltIn.POLICY_ERROR, error=f"the report does not open any more: {error}")
            _record_again(plan, subject, [record_of(decision)])
            # What it was is sealed with the rest: it may have been an alert.
            alert = unopened(report_pb2.TRAFFIC_CLASS_LIVE, report_pb2.PRECEDENCE_FLASH)
            return Decided(partner, decision.outcome, failed=True, alert=alert)
        # Of a store that was set back a hold may stand although the release that ended it has come back.
        record, short = share_or_stand(plan, Shared(subject, accepted.report, accepted.accepted_ns), partner)
        _record_again(plan, subject, [record])
        return short


@dataclass(frozen=True, slots=True)
class TellWithdrawals:
    """Tells one partner of withdrawals that it has still to be told of."""

    partner: str
    weight: int = 0
    rank: Rank = Rank.FLASH

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
