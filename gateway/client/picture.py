"""What stands, as one C2 system knows it: every report that it received, withdrawn or not. No I/O.

    picture = Picture()
    async for item in client.subscribe(classes, include_own=True):
        picture.take(item)
    standing = [shown.report for shown in picture if not shown.withdrawn]

Rules, in order:

1. A report is known by its originator and its identifier. What is delivered later of the same report takes the place of
   what came before: it stands, or does not, as that delivery says.
2. A withdrawal withdraws the report, and nothing else. One that comes before its report is kept, and the report is then
   shown withdrawn.
3. Of its own nation's reports the gateway sends no withdrawals, for the recall itself is received: a correction or
   cancellation withdraws what it names, an all-clear the warnings of its event and traffic class that came before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

from signalfire.v1 import report_pb2

from gateway.client.receiving import CaughtUp, Item, Received, Withdrawn

Named: TypeAlias = tuple[str, str]
"""Originator and identifier of a report."""

_WARNINGS = ("launch_detection", "track", "impact_prediction")


@dataclass(frozen=True, slots=True)
class Shown:
    """One report as it is known. `report` is None of one whose withdrawal alone has come; `since` is when the last
    thing about it came, by the gateway's clock."""

    originator_node: str
    report_id: str
    report: report_pb2.Report | None
    withdrawn: bool
    since: datetime


class Picture:
    """The reports that one C2 system knows. Grows with each: `forget` what is old."""

    def __init__(self) -> None:
        self._shown: dict[Named, Shown] = {}

    def __iter__(self) -> Iterator[Shown]:
        return iter(self._shown.values())

    def __len__(self) -> int:
        return len(self._shown)

    def get(self, originator_node: str, report_id: str) -> Shown | None:
        """What is known of a report; None where nothing is."""
        return self._shown.get((originator_node, report_id))

    def take(self, item: Item) -> list[Shown]:
        """Takes what a subscription gave. Returns what is shown otherwise than before."""
        match item:
            case CaughtUp():
                return []
            case Withdrawn():
                return self._withdraw([(item.originator_node, item.report_id)], item.received_time)
            case Received():
                return self._received(item)

    def forget(self, before: datetime) -> None:
        """Forgets everything about reports of which nothing came since `before`; withdrawals among it."""
        self._shown = {named: shown for named, shown in self._shown.items() if shown.since >= before}

    def _received(self, item: Received) -> list[Shown]:
        report = item.report
        named = (report.originator_node, report.report_id)
        known = self._shown.get(named)
        early = known is not None and known.report is None
        shown = Shown(*named, report, item.withdrawn or early, item.received_time)
        self._shown[named] = shown
        changed = [] if known is not None and replace(known, since=shown.since) == shown else [shown]
        if not item.ledger:
            changed += self._withdraw(self._recalled(report), item.received_time)
        return changed

    def _recalled(self, report: report_pb2.Report) -> list[Named]:
        """What an own report recalls of what is known."""
        own = report.originator_node
        match report.WhichOneof("content"):
            case "correction":
                return [(own, report_id) for report_id in report.correction.report_ids]
            case "cancellation":
                return [(own, report_id) for report_id in report.cancellation.report_ids]
            case "all_clear":
                return [
                    named
                    for named, shown in self._shown.items()
                    if shown.report is not None
                    and (shown.originator_node, shown.report.event_id) == (own, report.event_id)
                    and shown.report.traffic_class == report.traffic_class
                    and shown.report.WhichOneof("content") in _WARNINGS
                ]
            case _:
                return []

    def _withdraw(self, recalled: Iterable[Named], time: datetime) -> list[Shown]:
        changed = []
        for named in recalled:
            known = self._shown.get(named)
            if known is None or not known.withdrawn:
                report = None if known is None else known.report
                self._shown[named] = Shown(*named, report, True, time)
                changed.append(self._shown[named])
        return changed
