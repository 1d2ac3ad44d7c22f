"""Other nodes' reports that are not passed on at once: which they are, and how many warnings of one originator are.

Rules, in order:

1. What is put off is a range of entries of a replica, on record in the commit that brought them
   (`gateway.release.planned.put_off`). That costs the same for one report and for thousands. Nothing is decided about
   them before their turn.
2. Of one originator, lane and traffic class everything goes in its order, over generations: what comes behind something
   that is put off is put off as well. One traffic class waits for no other: an exercise keeps no alert back.
3. Of one originator and traffic class so many alerts are passed on at once, and then so many a second (`ReportLimits`):
   they take the lane of this node's own warnings. Whatever comes on the FLASH lane counts as one, and whatever is to go
   on it. How many are left is on record too, over restarts.
"""

from __future__ import annotations

from typing import Final

from signalfire.v1 import report_pb2

from gateway.ledger.origin import Lane, Origin
from gateway.release.plan import Plan
from gateway.reports.limits import ReportLimits

COPIES_A_STEP: Final = 48
"""Decisions on passing reports on, reports times partners, after which one step puts off the others: some 60 ms."""

ALERTS: Final = "onward alerts "
"""Begins the key of the store's own value that says until when what an originator may have passed on at FLASH is spent;
its name and the traffic class follow. The value is the time, 8 bytes."""

_SECOND_NS: Final = 1_000_000_000


class Work:
    """How much one step passes on of a ledger. It covers at least one report, but for rule 3."""

    def __init__(self, plan: Plan, limits: ReportLimits, origin: Origin) -> None:
        self._plan = plan
        self._limits = limits
        self._flash_lane = origin.lane == Lane.FLASH
        self._left = COPIES_A_STEP
        self.out_of_alerts = False
        """Whether rule 3 kept something back."""

    def covers(self, report: report_pb2.Report, partners: int) -> bool:
        """Whether a report is decided for so many partners now. If so, that is taken."""
        if self._left <= 0:
            return False
        alert = self._flash_lane or report.precedence == report_pb2.PRECEDENCE_FLASH
        if alert and not self._has_alert(report):
            self.out_of_alerts = True
            return False
        self._left -= partners
        return True

    def _has_alert(self, report: report_pb2.Report) -> bool:
        """Takes one of the alerts of its originator and class (rule 3). False: there is none left now."""
        plan, limits = self._plan, self._limits
        key = f"{ALERTS}{report.originator_node} {report.traffic_class}"
        raw = plan.commit.meta.get(key) or plan.store.meta(key) or b""
        one_ns = int(_SECOND_NS / limits.onward_alerts_s)
        latest_ns = plan.now_ns + limits.onward_alerts_burst * one_ns
        spent_ns = max(int.from_bytes(raw), plan.now_ns)
        if spent_ns > latest_ns:
            # The clock was set back since, or the limits were others: all but one are spent, and it goes on from here.
            spent_ns = latest_ns - one_ns
        spent_ns += one_ns
        if spent_ns > latest_ns:
            return False
        plan.commit.meta[key] = spent_ns.to_bytes(8)
        return True
