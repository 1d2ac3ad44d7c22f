"""What the forms of the audit show: a row for each decision of a record, and one for each event."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2


@dataclass(frozen=True, slots=True)
class Row:
    """One decision with the record that it stands in, or one event. `ledger` is an origin line."""

    ledger: str
    index: int
    record: ledger_pb2.DecisionRecord | None = None
    decision: ledger_pb2.Decision | None = None
    event: ledger_pb2.NodeEvent | None = None

    @property
    def node(self) -> str:
        """Whose ledger it is: the code of the node."""
        return self.ledger.split("/")[2]

    @property
    def time(self) -> Timestamp:
        """When it was decided, or happened."""
        if self.event is not None:
            return self.event.time
        return Timestamp() if self.record is None else self.record.time


ATTENTION: Final = frozenset(
    {
        "order-refused",
        "withdrawals-kept-back",
        "entries-kept-back",
        "after-all-clear",
        "ledger-succeeded",
        "clock-declared-right",
        "pruning-resumed",
    }
)
"""Kinds of event that ask for somebody's attention."""

FORK: Final = "fork-evidence"
"""Kind of the event that holds evidence of a fork."""


def rows_of(entry: officer_pb2.RecordedEntry) -> Iterator[Row]:
    """The rows of one record. A record with no decision left in it gives none."""
    if entry.HasField("node_event"):
        yield Row(entry.ledger, entry.index, event=entry.node_event)
    for decision in entry.decision_record.decisions:
        yield Row(entry.ledger, entry.index, entry.decision_record, decision)


def outcome_of(decision: ledger_pb2.Decision) -> str:
    """Such as "released"; a number that this software does not know as that number."""
    return _word(ledger_pb2.Outcome, "OUTCOME_", decision.outcome).lower()


def traffic_class_of(record: ledger_pb2.DecisionRecord) -> str:
    """Such as "LIVE"."""
    return _word(report_pb2.TrafficClass, "TRAFFIC_CLASS_", record.traffic_class)


def precedence_of(record: ledger_pb2.DecisionRecord) -> str:
    """Such as "FLASH"."""
    return _word(report_pb2.Precedence, "PRECEDENCE_", record.precedence)


def _word(enum: Any, prefix: str, value: int) -> str:
    known = enum.DESCRIPTOR.values_by_number.get(value)
    return str(value) if known is None else str(known.name).removeprefix(prefix)


def time_text(time: Timestamp) -> str:
    """RFC 3339 in UTC; nothing for a time that is not set."""
    return time.ToJsonString() if time.ListFields() else ""
