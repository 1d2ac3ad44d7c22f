"""What is worth telling of a replay as it goes, in one line each. Pure.

- A nation's first word of a launch: which partner has it, how long after it was accepted, and from whom it was withheld
  by which rule. It is told when the last partner that was released it has it: one that was away delays the line.
- A correction, cancellation or all clear: how many reports each partner was told no longer stand, and why.
- The first time that a rule withholds something from a partner, with the officer's reason.
- What officers put in force, and what a node recorded of itself.

Of drills nothing is told here: whoever stages them does (`gateway.demo.stage`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.demo.drill import STATION
from policy.approve import Activate, SignedOrder, decode, effect
from policy.decision import BuiltIn

_RECALLS: Final = {
    "Correction": "withdraws {count} (correction: {words})",
    "Cancellation": "withdraws {count} (cancellation: {words})",
    "AllClear": "declares {event} over, and with it {count} (all clear: {words})",
}


_EVERY_START: Final = frozenset({"started", "bundle-taken-up", "roster-pinned", "audit-access"})
"""Kinds of a node's events that every start brings, and every look of the demo itself: not worth a line."""

_BROUGHT_BY: Final = re.compile(r"^.*?brought by \S+: [a-z_]+: ")


@dataclass(slots=True)
class _Warning:
    """A first word of a launch, and how far it has come."""

    words: str = ""
    released_to: frozenset[str] = frozenset()
    withheld: list[str] = field(default_factory=list)
    accepted: datetime | None = None
    arrived: dict[str, datetime] = field(default_factory=dict)
    """When the C2 system of each nation had it."""
    told: bool = False


class Narrator:
    """Turns what is seen of a replay into lines.

    `reports` are all of the replay, by (originator, identifier), and may grow; `reasons` what officers wrote into the
    rules that may withhold, by (node, partner, rule).
    """

    def __init__(
        self,
        reports: Mapping[tuple[str, str], report_pb2.Report],
        reasons: Mapping[tuple[str, str, str], str],
    ) -> None:
        self._reports = reports
        self._reasons = reasons
        self._warnings: dict[tuple[str, str], _Warning] = {}
        self._withheld: set[tuple[str, str, str]] = set()

    def decided(self, node: str, record: ledger_pb2.DecisionRecord) -> Iterator[str]:
        """The lines that follow from a decision record of `node`."""
        if self._is_drill(node, record.report_id):
            return
        for decision in record.decisions:
            what = (node, decision.partner, decision.rule)
            if decision.outcome != ledger_pb2.OUTCOME_RELEASED and what not in self._withheld:
                self._withheld.add(what)
                why = self._reasons.get(what)
                yield f"{node} withholds a {_kind_words(record.kind)} from {decision.partner} {_by(decision.rule)}" + (
                    f": {why}" if why else ""
                )
        if record.kind in _RECALLS:
            yield self._recall(node, record)
        if record.kind == "LaunchDetection" and record.precedence == report_pb2.PRECEDENCE_FLASH:
            warning = self._warnings.setdefault((node, record.report_id), _Warning())
            warning.words = f"{node} warns of a launch{self._whose(node, record)} ({record.event_id})"
            warning.accepted = record.accepted_time.ToDatetime(UTC)
            warning.released_to = frozenset(
                decision.partner for decision in record.decisions if decision.outcome == ledger_pb2.OUTCOME_RELEASED
            )
            warning.withheld = [
                f"withheld from {decision.partner} {_by(decision.rule)}"
                for decision in record.decisions
                if decision.outcome != ledger_pb2.OUTCOME_RELEASED
            ]
            yield from _told(warning)

    def delivered(self, node: str, origin: str, report: report_pb2.Report, now: datetime) -> Iterator[str]:
        """The lines that follow from a report of `origin` that the C2 system of `node` received now."""
        first_word = report.HasField("launch_detection") and report.precedence == report_pb2.PRECEDENCE_FLASH
        if first_word and not self._is_drill(origin, report.report_id):
            warning = self._warnings.setdefault((origin, report.report_id), _Warning())
            warning.arrived.setdefault(node, now)
            yield from _told(warning)

    def event(self, node: str, event: ledger_pb2.NodeEvent) -> Iterator[str]:
        """The lines that follow from something that `node` recorded of itself."""
        match event.kind:
            case kind if kind in _EVERY_START:
                return
            case (
                "policy-activated" | "posture-declared" | "partner-suspended" | "partner-resumed"
                | "route-changed" | "carrying-changed"
            ):  # fmt: skip
                signed = SignedOrder.of(officer_pb2.SignedOrder.FromString(event.evidence[0]))
                names = " and ".join(signature.officer for signature in signed.signatures)
                order = decode(signed.order)
                does = "puts a policy in force" if isinstance(order.action, Activate) else effect(order)
                yield f"{node}: order {order.sequence}, signed by {names}, {does}"
            case "keys-switched":
                yield f"{node} takes keys into use: {event.detail}"
            case "order-refused":
                yield f"{node}: an order is refused: {_BROUGHT_BY.sub('', event.detail)}"
            case "entries-kept-back" | "withdrawals-kept-back":
                yield f"{node} tells its officers: {event.detail}"
            case _:
                yield f"{node}: {event.kind}: {event.detail}"

    def _is_drill(self, node: str, report_id: str) -> bool:
        """Whether exercise control injected it: whoever staged it tells of it."""
        report = self._reports.get((node, report_id))
        return report is not None and report.originator_station == STATION

    def _whose(self, node: str, record: ledger_pb2.DecisionRecord) -> str:
        report = self._reports.get((node, record.report_id))
        if report is None:
            return ""
        certainty = report_pb2.Certainty.Name(report.launch_detection.certainty).removeprefix("CERTAINTY_").lower()
        return f" from {report.threat.launch_country}, {certainty}"

    def _recall(self, node: str, record: ledger_pb2.DecisionRecord) -> str:
        report = self._reports.get((node, record.report_id))
        content = None if report is None else getattr(report, report.WhichOneof("content") or "", None)
        told = [decision for decision in record.decisions if decision.withdrawals]
        most = max((decision.withdrawals for decision in told), default=0)
        line = _RECALLS[record.kind].format(
            count="1 report" if most == 1 else f"{most} reports",
            event=record.event_id,
            words=str(getattr(content, "explanation", "")).rstrip("."),
        )
        if not told:
            return f"{node} {line}; no partner had been given any"
        return f"{node} {line}; " + ", ".join(
            f"{decision.partner}, suspended, is not told of {decision.withdrawals} yet"
            if decision.rule == BuiltIn.SUSPENDED
            else f"{decision.partner} is told of {decision.withdrawals}"
            for decision in told
        )


def _told(warning: _Warning) -> Iterator[str]:
    """The line of a warning, once, when it has come as far as it will."""
    if warning.told or warning.accepted is None or not warning.released_to <= warning.arrived.keys():
        return
    warning.told = True
    parts = [
        f"{node} has it after {(time - warning.accepted).total_seconds() * 1000:,.0f} ms"
        for node, time in sorted(warning.arrived.items())
    ]
    yield f"{warning.words}: " + ", ".join([*parts, *warning.withheld])


def _by(rule: str) -> str:
    """How a rule, or a built-in reason in parentheses, stands in a line."""
    return rule if rule.startswith("(") else f"by rule {rule}"


def _kind_words(kind: str) -> str:
    """`LaunchDetection` as "launch detection"."""
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in kind).strip()
