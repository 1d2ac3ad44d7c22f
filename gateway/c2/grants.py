"""What each C2 system may push and read, as the gateway's configuration declares it. Pure.

Rules: a client that is not named has no grant at all; what a grant does not name it does not give; a list that is empty
gives nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from signalfire.v1 import report_pb2

from gateway.reports.kinds import Kind, kind_of
from gateway.reports.marking import level_name, within
from gateway.reports.violations import Violation


@dataclass(frozen=True, slots=True)
class PushGrant:
    """What a client may push. A station that ends in `*` stands for all that begin so."""

    stations: frozenset[str]
    kinds: frozenset[Kind]
    traffic_classes: frozenset[int]
    precedences: frozenset[int]
    ceiling: report_pb2.Classification.ValueType
    _beginnings: tuple[str, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        beginnings = tuple(pattern[:-1] for pattern in self.stations if pattern.endswith("*"))
        object.__setattr__(self, "_beginnings", beginnings)

    def covers(self, report: report_pb2.Report) -> bool:
        """Whether this grant covers where an earlier report came from, its traffic class and its level: only then may
        the client recall it.
        """
        return (
            self._covers_station(report.originator_station)
            and report.traffic_class in self.traffic_classes
            and within(report.marking.classification, self.ceiling)
        )

    def covers_lost(self, report: report_pb2.Report) -> bool:
        """The same of a report whose content is lost: of it kind, traffic class and precedence are known alone. That a
        warning no longer stands can be said of it nevertheless.
        """
        return (
            kind_of(report) in self.kinds
            and report.traffic_class in self.traffic_classes
            and report.precedence in self.precedences
        )

    def violations(self, report: report_pb2.Report) -> list[Violation]:
        """Everything that this grant does not cover in a valid report; empty: it may be pushed."""
        found: list[Violation] = []
        if not self._covers_station(report.originator_station):
            found.append(_beyond("originator_station", repr(report.originator_station), self.stations))
        kind = kind_of(report)
        if kind not in self.kinds:
            found.append(_beyond("content", str(kind), self.kinds))
        if report.traffic_class not in self.traffic_classes:
            names = [report_pb2.TrafficClass.Name(value) for value in self.traffic_classes]  # type: ignore[arg-type]
            found.append(_beyond("traffic_class", report_pb2.TrafficClass.Name(report.traffic_class), names))
        if report.precedence not in self.precedences:
            names = [report_pb2.Precedence.Name(value) for value in self.precedences]  # type: ignore[arg-type]
            found.append(_beyond("precedence", report_pb2.Precedence.Name(report.precedence), names))
        level = report.marking.classification
        if not within(level, self.ceiling):
            found.append(_beyond("marking.classification", level_name(level), [f"up to {level_name(self.ceiling)}"]))
        return found

    def _covers_station(self, station: str) -> bool:
        return station in self.stations or station.startswith(self._beginnings)


@dataclass(frozen=True, slots=True)
class ReadGrant:
    """What a client may read."""

    traffic_classes: frozenset[int]
    ceiling: report_pb2.Classification.ValueType
    caveats: frozenset[str]

    def allows(self, report: report_pb2.Report) -> bool:
        """Whether the client may see a report."""
        return (
            report.traffic_class in self.traffic_classes
            and within(report.marking.classification, self.ceiling)
            and self.caveats.issuperset(report.marking.caveats)
        )


@dataclass(frozen=True, slots=True)
class Grant:
    """What one C2 system may do; either half may be missing."""

    push: PushGrant | None = None
    read: ReadGrant | None = None


Grants = Mapping[str, Grant]
"""By SPIFFE ID."""


def _beyond(field: str, value: str, given: Iterable[str]) -> Violation:
    listed = ", ".join(sorted(given)) or "none"
    return Violation(field, f"is {value}, which you have no grant to push", f"you may push: {listed}")
