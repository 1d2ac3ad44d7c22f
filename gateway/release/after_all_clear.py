"""Warnings that come after the all-clear of their event though they were made before it: a sensor that was cut off
brings what it saw.

Such a warning is taken and stands, for nobody here can tell it from one of a second missile. It is on record as an
event of the node, and told (`gateway.attention`). What was lost with the store and is submitted again is judged by
`gateway.release.recovery.after_loss` before, and may have been recalled by its all-clear.
"""

from __future__ import annotations

import uuid
from typing import Final

from signalfire.v1 import report_pb2

from gateway.attention import Late
from gateway.release.plan import Plan
from gateway.release.recovery.after_loss import WARNINGS, is_later
from gateway.reports.identifiers import in_bytes
from gateway.reports.kinds import Kind, kind_of
from gateway.seal.errors import SealError

EVENT: Final = "after-all-clear"
"""Kind of the event that names a warning which was accepted after the all-clear of its event, and stands."""


def note_order(plan: Plan, report: report_pb2.Report) -> Late | None:
    """Takes note of an all-clear that is accepted, and puts on record a warning that is accepted after the one of its
    event: returned is what is to be told of it.
    """
    kind = kind_of(report)
    if kind is Kind.ALL_CLEAR:
        plan.all_clears.accept(report.traffic_class, report.event_id, in_bytes(report.report_id))
        return None
    if kind is None or int(kind.report_kind) not in WARNINGS:
        return None
    by = plan.all_clears.last(report.traffic_class, report.event_id)
    if by is None or _made_after(plan, report, by):
        return None
    words = f"{report.report_id} was made before the all-clear of {report.event_id}, {uuid.UUID(bytes=by)}"
    plan.record_event(EVENT, f"{words}, was accepted after it, and stands")
    return Late(report.event_id, in_bytes(report.report_id))


def _made_after(plan: Plan, warning: report_pb2.Report, all_clear: bytes) -> bool:
    try:
        return is_later(warning, plan.own_reports.opened(all_clear).report)
    except SealError:
        # Too old to be read any more: what is told by it is of no use now.
        return True
