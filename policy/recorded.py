"""What another policy would have made of recorded traffic. Pure: no I/O, no clock.

Rules, in order:

1. Each recorded report is decided by both policies for each partner that either has a file for, or for those asked for.
2. It is decided as at its own report time, when it is also taken to have been accepted; in the posture that is given,
   or else in the one that each policy declares.
3. What a partner has, each policy decides by itself: reports are taken in their order, and a report that a policy
   released before is one that the partner has under that policy.
4. Two decisions differ where outcome, rule, hold or error do, or where the copies that go do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from signalfire.v1 import report_pb2

from policy import values
from policy.bundle import Bundle
from policy.decision import Circumstances, Decision, Outcome
from policy.vocabulary import CONTENT, KIND_OF_ARM, Kind, Posture


@dataclass(frozen=True, slots=True)
class Side:
    """What one policy makes of a report: its decision, and the copy that goes (None: none does)."""

    decision: Decision
    copy: report_pb2.Report | None

    @property
    def says(self) -> str:
        """The outcome and the rule, in words."""
        return f"{self.decision.outcome} by {self.decision.rule}"


@dataclass(frozen=True, slots=True)
class Change:
    """A report of which the policies make different things for one partner.

    ``gained`` and ``lost`` are leaf paths that only the new copy has, or only the old; ``altered`` those whose values
    differ.
    """

    report_id: str
    originator_node: str
    kind: Kind | None
    partner: str
    old: Side
    new: Side
    gained: tuple[str, ...]
    lost: tuple[str, ...]
    altered: tuple[str, ...]

    @property
    def loosens(self) -> bool:
        """Whether something goes that did not, or that went otherwise."""
        return self.new.copy is not None and (self.old.copy is None or bool(self.gained or self.altered))

    def as_dict(self) -> dict[str, Any]:
        """The change as what JSON has."""
        sides = {
            name: {
                "outcome": str(side.decision.outcome),
                "rule": side.decision.rule,
                "hold_until": None if side.decision.hold_until is None else side.decision.hold_until.isoformat(),
                "error": side.decision.error,
            }
            for name, side in (("old", self.old), ("new", self.new))
        }
        return {
            "report_id": self.report_id,
            "originator_node": self.originator_node,
            "kind": None if self.kind is None else str(self.kind),
            "partner": self.partner,
            **sides,
            "fields_gained": list(self.gained),
            "fields_lost": list(self.lost),
            "fields_altered": list(self.altered),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of the recorded traffic: how many decisions were compared, by partner, and those that differ."""

    reports: int
    decisions: dict[str, int]
    changes: tuple[Change, ...]


@dataclass(slots=True)
class _Policy:
    """One policy at work: what each partner has under it."""

    bundle: Bundle
    posture: Posture
    had: dict[str, set[tuple[str, str]]] = field(default_factory=dict)

    def side(self, report: report_pb2.Report, partner: str, at: datetime) -> Side:
        had = self.had.setdefault(partner, set())
        decision = self.bundle.decide(report, partner, Circumstances(at, self.posture, accepted=at))
        decision, copy = self.bundle.carry_out(report, decision, lambda *named: named in had)
        if decision.outcome is Outcome.RELEASED:
            had.add((report.originator_node, report.report_id))
        return Side(decision, copy)


def compare_recorded(
    old: Bundle,
    new: Bundle,
    reports: Iterable[report_pb2.Report],
    partners: Collection[str] | None = None,
    posture: Posture | None = None,
) -> Comparison:
    """Compares two policies on recorded reports, which are read once, in their order."""
    asked = tuple(sorted({*old.partners, *new.partners} if partners is None else partners))
    policies = [_Policy(bundle, posture or bundle.posture) for bundle in (old, new)]
    count = 0
    changes: list[Change] = []
    for report in reports:
        count += 1
        at = report.report_time.ToDatetime(tzinfo=UTC)
        for partner in asked:
            before, after = (policy.side(report, partner, at) for policy in policies)
            if (change := _change(report, partner, before, after)) is not None:
                changes.append(change)
    return Comparison(count, dict.fromkeys(asked, count), tuple(changes))


def _change(report: report_pb2.Report, partner: str, old: Side, new: Side) -> Change | None:
    gained, lost, altered = _fields(old.copy, new.copy)
    if _telling(old.decision) == _telling(new.decision) and old.copy == new.copy:
        return None
    kind = KIND_OF_ARM.get(report.WhichOneof(CONTENT) or "")
    return Change(report.report_id, report.originator_node, kind, partner, old, new, gained, lost, altered)


def _telling(decision: Decision) -> tuple[object, ...]:
    return decision.outcome, decision.rule, decision.hold_until, decision.error


def _fields(
    old: report_pb2.Report | None, new: report_pb2.Report | None
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    before = set() if old is None else set(values.present(old))
    after = set() if new is None else set(values.present(new))
    altered = (
        path
        for path in before & after
        if old is not None and new is not None and values.values_at(old, path) != values.values_at(new, path)
    )
    return (
        values.in_schema_order(after - before),
        values.in_schema_order(before - after),
        values.in_schema_order(altered),
    )
