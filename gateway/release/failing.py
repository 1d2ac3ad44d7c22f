"""Which alerts something failed for: they were withheld, and neither a rule nor the marking says that they should be.

That no policy is in force at all is told by itself (`gateway.alarms`). Failures that come with every report are told
once in a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from signalfire.v1 import report_pb2

from gateway.attention import Alert
from gateway.release.rulebook import NO_BUNDLE
from gateway.reports.kinds import kind_of
from policy.decision import BuiltIn, Decision, Outcome

UNOPENED: Final = "reports that were held do not open any more"
"""What fails for an alert whose content is gone when it is due."""


def alert_of(report: report_pb2.Report, decision: Decision) -> Alert | None:
    """What is to be told of a decision; None where it is about no alert, or withholds one as it should."""
    if report.precedence != report_pb2.PRECEDENCE_FLASH:
        return None
    failure = ""
    if decision.outcome is not Outcome.RELEASED:
        failure = _failure(decision)
        if not failure:
            return None
    kind = kind_of(report)
    return Alert(_named(report.traffic_class), "" if kind is None else kind.value, failure)


def unopened(traffic_class: int, precedence: int) -> Alert | None:
    """What is to be told of a report that does not open when it is due; None where it is no alert."""
    return Alert(_named(traffic_class), "", UNOPENED) if precedence == report_pb2.PRECEDENCE_FLASH else None


class Seldom:
    """Of things that may come with every report: whether one is to be told now."""

    def __init__(self, every_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s
        self._monotonic = monotonic
        self._told: dict[object, float] = {}

    def is_due(self, what: object) -> bool:
        """Whether it was not told of late. If so, that is taken."""
        now = self._monotonic()
        if now - self._told.get(what, float("-inf")) < self._every_s:
            return False
        self._told[what] = now
        return True


def _named(traffic_class: int) -> str:
    return report_pb2.TrafficClass.Name(report_pb2.TrafficClass.ValueType(traffic_class)).removeprefix("TRAFFIC_CLASS_")


def _failure(decision: Decision) -> str:
    match decision.rule:
        case BuiltIn.AGREEMENT_LAPSED:
            return f"the agreement {decision.agreement} has lapsed"
        case BuiltIn.POLICY_ERROR:
            return "its rules could not be applied"
        case rule if rule == NO_BUNDLE:
            return f"there is no valid trust bundle of {decision.partner}"
        case _:
            return ""
