"""What happened in a replay, counted, and whether it is what had to happen. Pure.

The claims that are checked at the end, for every report and every partner:

1. *Nothing lost*: what a decision released was received, by the partner's C2 system, and so was every withdrawal.
2. *Nothing doubled*: it was received once.
3. *Nothing leaked*: what was received had been released, and holds no field that its decision does not name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.client import Received, Withdrawn


@dataclass(slots=True)
class Tally:
    """The books of one replay, over all nations."""

    pushed: dict[str, int] = field(default_factory=Counter)
    """Reports handed to the client library, by node."""
    accepted: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """(node, report id) to the time of its acceptance."""
    refused: list[str] = field(default_factory=list)
    decisions: dict[tuple[str, str, str], ledger_pb2.Decision] = field(default_factory=dict)
    """(node, report id, partner) to the decision."""
    withheld: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """(node, partner, rule) to the number withheld."""
    received: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """(node, originator, report id) to how often the node's C2 system received it."""
    withdrawals: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """The same, of withdrawals."""
    leaks: list[str] = field(default_factory=list)
    latencies: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(origin, recipient) to seconds from durable at the origin to delivered to the recipient's C2 system."""
    events: dict[str, Counter[str]] = field(default_factory=dict)
    """Node to what it knows: kinds of report, by originator."""
    _fields: dict[tuple[str, str, str], frozenset[str]] = field(default_factory=dict)

    def decided(self, node: str, record: ledger_pb2.DecisionRecord) -> None:
        """A decision record of `node` was read."""
        for decision in record.decisions:
            key = (node, record.report_id, decision.partner)
            if key in self.decisions:
                continue
            self.decisions[key] = decision
            if decision.outcome != ledger_pb2.OUTCOME_RELEASED:
                self.withheld[(node, decision.partner, decision.rule)] += 1

    def delivered(self, node: str, item: Received, now: datetime) -> None:
        """The C2 system of `node` received a report."""
        origin = item.received_from
        key = (node, origin, item.report.report_id)
        self.received[key] += 1
        self._fields[key] = frozenset(leaf_paths(item.report))
        kind = item.report.WhichOneof("content") or "nothing"
        self.events.setdefault(node, Counter())[f"{kind} from {origin}"] += 1
        accepted = self.accepted.get((origin, item.report.report_id))
        if accepted is not None:
            self.latencies.setdefault((origin, node), []).append((now - accepted).total_seconds())

    def recalled(self, node: str, item: Withdrawn) -> None:
        """The C2 system of `node` was told that a report no longer stands."""
        self.withdrawals[(node, item.originator_node, item.report_id)] += 1

    def outstanding(self) -> Iterator[str]:
        """What was released and has not been received, in words."""
        expected: Counter[tuple[str, str]] = Counter()
        for (origin, report_id, partner), decision in self.decisions.items():
            expected[(origin, partner)] += decision.withdrawals
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED and not self.received.get((partner, origin, report_id)):
                yield f"{partner} has not received report {report_id} of {origin}"
        got: Counter[tuple[str, str]] = Counter()
        for (node, origin, _), count in self.withdrawals.items():
            got[(origin, node)] += count
        for (origin, partner), count in expected.items():
            if got[(origin, partner)] < count:
                yield f"{partner} has received {got[(origin, partner)]} of {count} withdrawals by {origin}"
        for node, count in self.pushed.items():
            decided = len({report_id for origin, report_id, _ in self.decisions if origin == node})
            if decided < count:
                yield f"{node} has decided {decided} of {count} reports"

    def faults(self) -> list[str]:
        """Everything that broke a claim of this module; empty: all of them hold."""
        found = [f"lost: {what}" for what in self.outstanding()]
        found += [f"refused: {what}" for what in self.refused]
        for (node, origin, report_id), count in [*self.received.items(), *self.withdrawals.items()]:
            if count > 1:
                found.append(f"doubled: {node} received {report_id} of {origin} {count} times")
        for (node, origin, report_id), fields in self._fields.items():
            decision = self.decisions.get((origin, report_id, node))
            if decision is None or decision.outcome != ledger_pb2.OUTCOME_RELEASED:
                found.append(f"leaked: {node} received {report_id} of {origin}, which was not released to it")
            elif not fields <= set(decision.fields):
                beyond = ", ".join(sorted(fields - set(decision.fields)))
                found.append(f"leaked: {node} received {beyond} of report {report_id} of {origin}")
        return found + [f"leaked: {what}" for what in self.leaks]

    @property
    def released(self) -> int:
        """Copies released."""
        return sum(decision.outcome == ledger_pb2.OUTCOME_RELEASED for decision in self.decisions.values())

    def latency_ms(self, origin: str, recipient: str) -> tuple[float, float] | None:
        """Median and worst latency of a direction, milliseconds; None where nothing was measured."""
        seconds = sorted(self.latencies.get((origin, recipient), ()))
        return (seconds[len(seconds) // 2] * 1000, seconds[-1] * 1000) if seconds else None


def leaf_paths(message: Message, prefix: str = "") -> Iterator[str]:
    """Paths of the fields that are set in a message, down to scalars and the well-known types."""
    for descriptor, value in message.ListFields():
        path = prefix + descriptor.name
        if descriptor.message_type is None or descriptor.message_type.full_name.startswith("google.protobuf."):
            yield path
            continue
        elements: Sequence[Message] = value if descriptor.is_repeated else [value]
        for element in elements:
            yield from leaf_paths(element, path + ".")


def kind_words(report: report_pb2.Report) -> str:
    """The kind of a report in words."""
    return (report.WhichOneof("content") or "nothing").replace("_", " ")


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
