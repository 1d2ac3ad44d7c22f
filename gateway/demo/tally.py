"""What happened in a replay, counted, and whether it is what had to happen. Pure.

The claims that are checked at the end, for every report and every partner:

1. *Nothing lost*: every report that was accepted is decided; what a decision released was received, by the partner's C2
   system, and so was every withdrawal. What was kept back since is the one exception: the origin has put on record
   which entries, and the partner's replica holds these, and no others, as hashes with the origin's signed reason.
2. *Nothing doubled*: it was received once.
3. *Nothing leaked*: what was received had been released, and holds no field that its decision does not name; nobody is
   told of the withdrawal of what he was not given.
4. *Nothing refused*: a replay holds valid reports only.
5. *Nothing stands that does not*: a report whose withdrawal came first arrives marked as withdrawn.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from google.protobuf.message import Message
from signalfire.v1 import ledger_pb2

from gateway.client import Received, Result, Withdrawn
from gateway.exchange.keeping_back import places_in


@dataclass(slots=True)
class Tally:
    """The books of one replay, over all nations."""

    pushed: dict[str, int] = field(default_factory=Counter)
    """Reports handed to the client library, by node."""
    accepted: dict[tuple[str, str], datetime] = field(default_factory=dict)
    """(node, report id) to the time of its acceptance."""
    refused: list[tuple[str, str]] = field(default_factory=list)
    """(node, which report and why)."""
    decisions: dict[tuple[str, str, str], ledger_pb2.Decision] = field(default_factory=dict)
    """(node, report id, partner) to the decision."""
    withheld: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """(node, partner, rule) to the number withheld."""
    received: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """(node, originator, report id) to how often the node's C2 system received it."""
    withdrawals: dict[tuple[str, str, str], int] = field(default_factory=Counter)
    """The same, of withdrawals."""
    overtaken: dict[tuple[str, str, str], bool] = field(default_factory=dict)
    """Reports, as in `received`, whose withdrawal was received first, and whether each was then marked as withdrawn."""
    kept_back: set[tuple[str, int]] = field(default_factory=set)
    """Entries, by origin line and index, of which their origins recorded that they are served as hashes."""
    events: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """What the nodes recorded of themselves: kinds of event by node, and how many of each."""
    latencies: dict[tuple[str, str], list[float]] = field(default_factory=dict)
    """(origin, recipient) to seconds from accepted at the origin to delivered to the recipient's C2 system."""
    known: dict[tuple[str, str], Counter[str]] = field(default_factory=dict)
    """(node, origin) to what the node knows from there: kinds of report, and how many of each."""
    _fields: dict[tuple[str, str, str], frozenset[str]] = field(default_factory=dict)
    _early: dict[tuple[str, str], list[tuple[str, datetime]]] = field(default_factory=dict)
    """Deliveries, (node, time), of reports whose acceptance is not known yet."""

    def answered(self, node: str, result: Result) -> None:
        """The gateway of `node` answered a report."""
        if not result.accepted or result.accepted_time is None:
            reasons = "; ".join(f"{v.field}: {v.problem}" for v in result.violations)
            self.refused.append((node, f"report {result.report_id}: {reasons}"))
            return
        self.accepted[(node, result.report_id)] = result.accepted_time
        for recipient, time in self._early.pop((node, result.report_id), ()):
            self._measured(node, recipient, result.accepted_time, time)

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
        if key in self.withdrawals and key not in self.received:
            self.overtaken[key] = item.withdrawn
        self.received[key] += 1
        self._fields[key] = self._fields.get(key, frozenset()) | frozenset(leaf_paths(item.report))
        self.known.setdefault((node, origin), Counter())[item.report.WhichOneof("content") or "nothing"] += 1
        accepted = self.accepted.get((origin, item.report.report_id))
        if accepted is None:
            self._early.setdefault((origin, item.report.report_id), []).append((node, now))
        else:
            self._measured(origin, node, accepted, now)

    def _measured(self, origin: str, recipient: str, accepted: datetime, delivered: datetime) -> None:
        self.latencies.setdefault((origin, recipient), []).append((delivered - accepted).total_seconds())

    def recalled(self, node: str, item: Withdrawn) -> None:
        """The C2 system of `node` was told that a report no longer stands."""
        self.withdrawals[(node, item.originator_node, item.report_id)] += 1

    def noted(self, node: str, event: ledger_pb2.NodeEvent) -> None:
        """An event in the decisions ledger of `node` was read."""
        self.events[node][event.kind] += 1
        if event.kind == "entries-kept-back":
            ledger, indices = places_in(event.detail)
            self.kept_back.update((ledger, index) for index in indices)

    def withdrawals_due(self, origin: str, partner: str) -> Iterator[str]:
        """The withdrawals that `origin` owes `partner`, in words; nothing where it has received them all."""
        expected = sum(each.withdrawals for (o, _, p), each in self.decisions.items() if (o, p) == (origin, partner))
        got = sum(count for (n, o, _), count in self.withdrawals.items() if (n, o) == (partner, origin))
        if got < expected:
            yield f"{partner} has received {got} of {expected} withdrawals by {origin}"

    def not_received(self) -> Iterator[tuple[str, str, str]]:
        """(origin, report id, partner) of what was released and has not been received."""
        for (origin, report_id, partner), decision in self.decisions.items():
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED and not self.received.get((partner, origin, report_id)):
                yield origin, report_id, partner

    def outstanding(self) -> Iterator[str]:
        """What was accepted and is not decided, and what was released, has not been received and is not recorded as
        kept back, in words.
        """
        for key in self.not_received():
            origin, report_id, partner = key
            if _place(self.decisions[key]) not in self.kept_back:
                yield f"{partner} has not received report {report_id} of {origin}"
        for origin, partner in sorted({(origin, partner) for origin, _, partner in self.decisions}):
            yield from self.withdrawals_due(origin, partner)
        decided = {(origin, report_id) for origin, report_id, _ in self.decisions}
        for node, report_id in self.accepted.keys() - decided:
            yield f"{node} has accepted report {report_id} and not decided it"
        answered = Counter(node for node, _ in [*self.accepted, *self.refused])
        for node, count in self.pushed.items():
            if answered[node] < count:
                yield f"{node} has answered {answered[node]} of {count} reports"

    def faults(self) -> list[str]:
        """Everything that broke a claim of this module; empty: all of them hold."""
        found = [f"lost: {what}" for what in self.outstanding()]
        found += [f"refused: {node} refused {what}" for node, what in self.refused]
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
        for node, origin, report_id in self.withdrawals:
            decision = self.decisions.get((origin, report_id, node))
            if decision is None or decision.outcome != ledger_pb2.OUTCOME_RELEASED:
                found.append(f"leaked: {node} was told that {report_id} of {origin} no longer stands, and never had it")
        for (node, origin, report_id), marked in self.overtaken.items():
            if not marked:
                found.append(
                    f"unmarked: {node} was told that {report_id} of {origin} no longer stands, and had it as new"
                )
        return found

    def kept_back_faults(self, hashes: Mapping[str, Collection[int]]) -> list[str]:
        """Everything in which what was kept back is not what `hashes`, the entries that the replicas hold as hashes,
        by origin line, say: a report is received, or its entry is one of these and on record as kept back.
        """
        found = []
        missing = {_place(self.decisions[key]): key for key in self.not_received()}
        absent = {(ledger, index) for ledger, indices in hashes.items() for index in indices}
        for place, (origin, report_id, partner) in missing.items():
            if place not in absent:
                found.append(f"lost: {partner} has neither report {report_id} of {origin} nor a reason why not")
        for ledger, index in sorted(absent - self.kept_back):
            found.append(
                f"unrecorded: entry {index} of {ledger} was given as a hash, and its origin has no record of it"
            )
        for (origin, report_id, partner), decision in self.decisions.items():
            place = _place(decision)
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED and place in absent and place not in missing:
                found.append(f"leaked: {partner} received {report_id} of {origin}, which was given as a hash")
        return found

    @property
    def released(self) -> int:
        """Copies released."""
        return sum(decision.outcome == ledger_pb2.OUTCOME_RELEASED for decision in self.decisions.values())

    def latency_ms(self, origin: str, recipient: str) -> tuple[float, float] | None:
        """Median and worst latency of a direction, milliseconds; None where nothing was measured."""
        seconds = sorted(self.latencies.get((origin, recipient), ()))
        return (seconds[len(seconds) // 2] * 1000, seconds[-1] * 1000) if seconds else None


def _place(decision: ledger_pb2.Decision) -> tuple[str, int]:
    """Where the release of a decision stands: origin line and index."""
    return decision.ledger, decision.index


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


def utc_now() -> datetime:
    """The time, UTC."""
    return datetime.now(UTC)
