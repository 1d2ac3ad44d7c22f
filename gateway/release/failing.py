"""Which alerts something failed for: they were withheld, and neither a rule nor the marking says that they should be.

That no policy is in force at all is told by itself (`gateway.alarms`).
"""

from __future__ import annotations

from signalfire.v1 import report_pb2

from gateway.attention import Alert
from gateway.release.rulebook import NO_BUNDLE
from gateway.reports.kinds import kind_of
from policy.decision import BuiltIn, Decision, Outcome


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
    traffic_class = report_pb2.TrafficClass.Name(report.traffic_class).removeprefix("TRAFFIC_CLASS_")
    return Alert(traffic_class, "" if kind is None else kind.value, failure)


def _failure(decision: Decision) -> str:
    match decision.rule:
        case BuiltIn.AGREEMENT_LAPSED if decision.outcome is Outcome.WITHHELD:
            return f"the agreement {decision.agreement} has lapsed"
        case BuiltIn.POLICY_ERROR:
            return "its rules could not be applied"
        case rule if rule == NO_BUNDLE:
            return f"there is no valid trust bundle of {decision.partner}"
        case _:
            return ""
