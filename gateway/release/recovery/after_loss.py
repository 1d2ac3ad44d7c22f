"""Recalls while this node's own reports are lost: of what is known of them in part alone, or not yet again.

After a loss a report is known again step by step: its release comes back from a partner, a recovery record tells of it,
its C2 system submits it again; in any order, and beside them come the recalls, old and new. A warning that no longer
stands must not stand on for that. Rules, in order:

1. Of a report whose content is lost its traffic class, precedence, kind and event are judged, and who submitted it, as
   they stand on record (`in_part`). One that is not known at all, and was released to somebody as has come back, is
   judged by that copy.
2. What is recalled and not known is kept in mind (`end_unknown`), and on record as an event. Whenever it becomes known
   it does not stand, and whoever is found to have it is told.
3. Of what was made before the loss, an all-clear recalls those warnings of its event that were made no later than
   itself: also warnings that become known after it (`all_clear_over`). Of lost content the time of acceptance counts;
   of a copy with a coarser time the latest that it allows (`at_latest`), so that none is withdrawn that may stand.
   Whether an all-clear itself may be one that is submitted again shows by its time: it is no later than the loss.
4. While C2 systems are asked to submit again, a correction or cancellation of what is not known waits. Nothing else
   ends with the asking: what partners hold comes back whenever they are heard.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.ledger.stores import DecisionPlace, DecisionRange, LedgerId, ReportRow
from gateway.release.errors import RefusedReport
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.recovery.told_before import keep_told, recalled_since
from gateway.release.recovery.wish import lost_until_ns, standing
from gateway.release.subject import Subject
from gateway.reports.kinds import Kind, kind_of
from gateway.reports.violations import Violation
from gateway.seal.errors import SealError
from policy.obligations import MOST_TIME_STEP_S

EVENT: Final = "recalled-while-lost"
"""Kind of the event that names a report which was recalled while it was not known."""

BY_TIME: Final = "recalled-by-time"
"""Kind of the event that names an all-clear which recalls by the time at which warnings were made."""

NO_EVENT: Final = "event-not-known"
"""Kind of the event that names a warning whose release came back without the event that it is about."""

ALWAYS: Final = DecisionRange(DecisionPlace(0, LedgerId(0), 0), DecisionPlace(2**63 - 1, LedgerId(2**62), 2**63 - 1))
"""Every place in the decisions ledgers."""

RECORDS_READ: Final = 256
"""Records of a lost report that are looked at, to find one that opens."""

NOBODY: Final = "-"
"""Stands among those who were told for this node itself: it knows, and has told nobody yet."""

WARNINGS: Final = frozenset(
    int(kind.report_kind) for kind in (Kind.LAUNCH_DETECTION, Kind.TRACK, Kind.IMPACT_PREDICTION)
)
"""Kinds that an all-clear of their event recalls."""

_COARSEST_NS: Final = MOST_TIME_STEP_S * 1_000_000_000
"""Nanoseconds by which a time in a copy may be before the report's own."""

_BACK: Final = "back of "
"""Begins the key of the store's own value with the warnings of an event, which follows, whose release came back and
which are not known: 16 bytes each. One that becomes known stays there until somebody asks for them."""


@dataclass(frozen=True, slots=True)
class InPart:
    """What is known of an own report whose content is lost: as much of it as stands on record, and who submitted it;
    empty where that is not known.
    """

    report: report_pb2.Report
    submitted_by: str


def asking(plan: Plan) -> c2_pb2.Resubmit | None:
    """What C2 systems are asked to submit again; None where they are not."""
    return standing(plan.store) if plan.was_set_back else None


def in_part(plan: Plan, report_id: bytes) -> InPart | None:
    """What is known of a report whose content is lost; None where nothing is."""
    if not plan.was_set_back or plan.own_reports.accepts(report_id):
        return None
    row = plan.store.report(report_id)
    if row is None:
        return _of_copy(plan, report_id)
    return None if row.payload else _of_record(plan, row)


def _of_record(plan: Plan, row: ReportRow) -> InPart | None:
    named = str(uuid.UUID(bytes=row.report_id))
    places = plan.store.decisions_of_report(row.report_id, ALWAYS, RECORDS_READ, oldest_first=True)
    contents = (_content(plan, place.ledger, place.entry) for place in places)
    records = (content.decision_record for content in contents if content is not None)
    # A partner may have given a report of its own the same UUID: its records say nothing about this node's.
    own = ("", plan.signatory.node)
    record = next((each for each in records if each.report_id == named and each.originator_node in own), None)
    if record is None:
        return None
    report = report_pb2.Report(
        report_id=named, originator_node=plan.signatory.node, event_id=row.event_id,
        traffic_class=record.traffic_class, precedence=record.precedence,
    )  # fmt: skip
    report.report_time.FromNanoseconds(row.accepted_ns)
    getattr(report, Kind(record.kind).field).SetInParent()
    return InPart(report, row.submitted_by)


def _of_copy(plan: Plan, report_id: bytes) -> InPart | None:
    """Of a report of which nothing but releases is known: by the copy that says best when it was made."""
    best: report_pb2.Report | None = None
    for row in plan.releases.of(Subject("", report_id)):
        content = _content(plan, row.ledger, row.index)
        if content is None or kind_of(content.report) is None:
            continue
        copy = at_latest(plan, content.report)
        best = copy if best is None else min(best, copy, key=_made_ns)
        if not _is_coarser(content.report):
            break
    kind = None if best is None else kind_of(best)
    if best is None or kind is None:
        return None
    report = report_pb2.Report(
        report_id=str(uuid.UUID(bytes=report_id)), originator_node=plan.signatory.node, event_id=best.event_id,
        traffic_class=best.traffic_class, precedence=best.precedence,
    )  # fmt: skip
    report.report_time.CopyFrom(best.report_time)
    getattr(report, kind.field).SetInParent()
    return InPart(report, "")


def _content(plan: Plan, ledger: LedgerId, index: int) -> ledger_pb2.EntryContent | None:
    def fetch(at: int) -> bytes:
        return plan.ledgers.entry(ledger, at) or b""

    entry = fetch(index)
    if not entry:
        return None
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    try:
        return opener.content(plan.ledgers.origin_of(ledger), index, entry, fetch)
    except SealError:
        return None


# --- all-clears


def note_back(plan: Plan, event_id: str, report_id: bytes) -> None:
    """Takes note that the release of a warning came back, and the warning is not known. Of one without its event an
    officer is told, once. Another partner's copy that has it is found by that, whichever comes back first.
    """
    subject = Subject("", report_id)
    if event_id:
        plan.identifiers(_BACK + event_id)[report_id] = None
    elif len(plan.releases.of(subject)) == 1 and recalled_since(plan, subject) is None:
        named = uuid.UUID(bytes=report_id)
        plan.record_event(NO_EVENT, f"{named} came back without its event: until that is known no all-clear recalls it")


def back_of_event(plan: Plan, event_id: str) -> list[bytes]:
    """The warnings of an event of which nothing but a release is known. Raises RefusedReport where this very plan puts
    reports of it on record again: they are found once that is durable.
    """
    if not plan.was_set_back:
        return []
    if plan.own_reports.rebuilds_event(event_id):
        problem = "names an event of which reports are being put on record again"
        raise RefusedReport(c2_pb2.REFUSAL_CODE_UNAVAILABLE, [Violation("event_id", problem, "send it again")])
    back = plan.identifiers(_BACK + event_id)
    for report_id in [each for each in back if plan.own_reports.known(each) is not None]:
        # It is found by its event from now on. That holds of this plan whatever becomes of the step that asks.
        del back[report_id]
    return list(back)


def at_latest(plan: Plan, copy: report_pb2.Report) -> report_pb2.Report:
    """A copy as made at the latest time that it allows: a coarser one is before the report's own. But what came back
    was made before the loss.
    """
    if not _is_coarser(copy):
        return copy
    made_ns = _made_ns(copy)
    latest = report_pb2.Report()
    latest.CopyFrom(copy)
    latest.report_time.FromNanoseconds(max(made_ns, min(made_ns + _COARSEST_NS, lost_until_ns(plan.store))))
    return latest


def _is_coarser(copy: report_pb2.Report) -> bool:
    """Whether a copy gives the time at which its report was made coarser than that has it."""
    return any("report_time" in derivation.fields for derivation in copy.derivations)


def recalls_by_time(plan: Plan, all_clear: report_pb2.Report) -> bool:
    """Whether an all-clear may be one that is submitted again: then warnings that are later than it stand.

    So it is after the asking has ended, too: a C2 system that was not done does not stop for that, and its old
    all-clear must not end a warning that came after it. And a warning that comes back after the all-clear is judged by
    time (`all_clear_over`): judged so by both, the same stands in either order.
    """
    return _may_be_lost(plan, all_clear)


def is_later(warning: report_pb2.Report, all_clear: report_pb2.Report) -> bool:
    """Whether a warning was made after an all-clear."""
    return _made_ns(warning) > _made_ns(all_clear)


def all_clear_over(plan: Plan, warning: report_pb2.Report) -> str | None:
    """The all-clear that recalls a warning which becomes known after it; None where none does.

    The asking need not go on for that: a partner that was away gives a release back at any time, and a C2 system may
    submit late what was lost. A new warning is made after the loss; the door refuses what is old.
    """
    kind = kind_of(warning)
    if kind is None or int(kind.report_kind) not in WARNINGS or not _may_be_lost(plan, warning):
        return None
    for report_id in plan.own_reports.of_event(warning.event_id, {int(Kind.ALL_CLEAR.report_kind)}):
        try:
            all_clear = plan.own_reports.opened(report_id).report
        except SealError:
            # It is lost itself, and recalls what there is when it is submitted again.
            continue
        if all_clear.traffic_class == warning.traffic_class and not is_later(warning, all_clear):
            return all_clear.report_id
    return None


def _may_be_lost(plan: Plan, report: report_pb2.Report) -> bool:
    """Whether a report was made at a time of which reports may have been lost."""
    until_ns = lost_until_ns(plan.store) if plan.was_set_back else 0
    return until_ns > 0 and _made_ns(report) <= until_ns


def _made_ns(report: report_pb2.Report) -> int:
    return report.report_time.ToNanoseconds()


# --- what was recalled and is not known


def end_unknown(plan: Plan, subjects: Iterable[Subject], by: str) -> None:
    """Keeps in mind, and puts on record, that own reports no longer stand that are not known; `by` is what recalls
    them.
    """
    for subject in subjects:
        if recalled_since(plan, subject) is None:
            named = uuid.UUID(bytes=subject.report_id)
            plan.record_event(EVENT, f"{named} is not known here, or was not when {by} recalled it")
        keep_told(plan, subject, NOBODY, plan.now_ns)


def ended_by(plan: Plan, warning: report_pb2.Report) -> bool:
    """Whether an all-clear recalls a warning that becomes known only now, and was recalled by nothing before. It is
    kept in mind then.
    """
    subject = Subject("", uuid.UUID(warning.report_id).bytes)
    by = all_clear_over(plan, warning)
    if by is None or recalled_since(plan, subject) is not None:
        return False
    end_unknown(plan, [subject], by)
    return True


def named_in(words: str) -> bytes:
    """The report that an event of these kinds names, 16 bytes. Raises ValueError."""
    return uuid.UUID(words.split(" ", 1)[0]).bytes
