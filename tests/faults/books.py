"""The books of a fault run: what was pushed, accepted and received, and whether that is what had to happen. Pure.

Nothing here is believed of a gateway: what must arrive where is what `invented.expected` says of the report itself.
The claims, for every report that a gateway accepted and every partner:

1. *Nothing lost*: whoever is to have it has received it, and the withdrawal of it where it was recalled.
2. *Nothing doubled*: he received each once. (A subscriber whose own gateway lost its store begins anew without a
   cursor, as the contract says; what he is given after that is counted apart.)
3. *Nothing leaked*: nobody received what he is not to have, and no text that stays at home stands in what he received.
4. *Nothing altered*: what he received says what was pushed.
5. *Nothing invented*: he received nothing that nobody pushed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import report_pb2

from gateway.client import Received, Result, Withdrawn
from tests.faults.invented import expected
from tests.faults.schedule import LINKS, Fault, Kind
from tests.faults.traffic import markers, recalled

_CONTENT: Final = ("launch_detection", "track", "impact_prediction", "threat")
"""Parts that go as they are, or not at all."""


CLOCK_S: Final = 1.5
"""Seconds after which a clock that is right again is believed again, at most."""


STARTS_S: Final = 5.0
"""Seconds for which a gateway that came back may still be catching up."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened: when it began and ended, by the clock of the books, seconds."""

    fault: Fault
    began: float
    ended: float
    met: bool = True
    """Whether it came about."""

    def touches(self, origin: str, recipient: str) -> bool:
        """Whether what goes from one node to another suffers from it."""
        match self.fault.kind:
            case kind if kind in LINKS:
                return {origin, recipient} == {self.fault.node, self.fault.partner}
            case Kind.PUSHER_CRASH:
                return self.fault.node == origin
            case Kind.READER_CRASH:
                return self.fault.node == recipient
            case _:
                return self.fault.node in (origin, recipient)


@dataclass(slots=True)
class Books:
    """Of one run, over all nations. Times are of one clock that never goes back."""

    nodes: Sequence[str]
    pushed: dict[tuple[str, str], report_pb2.Report] = field(default_factory=dict)
    """By node and report id."""
    accepted: dict[tuple[str, str], float] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    received: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    """(node, subscription without cursor that it came in, originator, report id)."""
    withdrawn: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    """The same, of withdrawals."""
    arrivals: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """(originator, node): when something arrived."""
    journeys: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """(originator, node): when a sensor saw something, and when it arrived; of predictions, which wait, none."""
    struck: list[Struck] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    """What was seen to be wrong as it happened."""
    _seen_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _has: set[tuple[str, str, str]] = field(default_factory=set)
    _was_told: set[tuple[str, str, str]] = field(default_factory=set)

    def push(self, node: str, report: report_pb2.Report, now: float) -> None:
        """A C2 system of `node` has this report to push."""
        self.pushed[node, report.report_id] = report
        self._seen_at[node, report.report_id] = now

    def answered(self, node: str, result: Result, now: float) -> None:
        """The gateway of `node` answered."""
        if result.accepted:
            self.accepted.setdefault((node, result.report_id), now)
            # A recall of what the gateway had lost is refused until it has that again.
            self.refused.pop((node, result.report_id), None)
        else:
            why = "; ".join(f"{v.field}: {v.problem}" for v in result.violations)
            self.refused[node, result.report_id] = f"{result.code} {why}"

    def deliver(self, node: str, anew: int, item: Received, now: float) -> None:
        """The C2 system of `node` received a report; `anew`: how often it has begun without a cursor."""
        report = item.report
        key = (report.originator_node, report.report_id)
        self.received[node, anew, *key] += 1
        self._has.add((node, *key))
        self.arrivals[report.originator_node, node].append(now)
        if key in self._seen_at and not report.HasField("impact_prediction"):
            self.journeys[report.originator_node, node].append((self._seen_at[key], now))
        bytes_of = report.SerializeToString()
        self.wrong += [
            f"leaked: {node} received {marker.decode()} in report {report.report_id} of {report.originator_node}"
            for marker in markers(node)
            if marker in bytes_of
        ]
        sent = self.pushed.get(key)
        if sent is None:
            self.wrong.append(f"invented: {node} received {report.report_id} of {report.originator_node}")
        elif any(report.HasField(part) and getattr(report, part) != getattr(sent, part) for part in _CONTENT):
            self.wrong.append(f"altered: {node} received {report.report_id} of {report.originator_node} changed")

    def recall(self, node: str, anew: int, item: Withdrawn) -> None:
        """The C2 system of `node` was told that a report no longer stands."""
        self.withdrawn[node, anew, item.originator_node, item.report_id] += 1
        self._was_told.add((node, item.originator_node, item.report_id))

    # --- what had to happen

    def due(self) -> Iterator[tuple[str, str, str]]:
        """(partner, originator, report id) of everything that somebody must have."""
        for origin, report_id in self.accepted:
            for partner in self.nodes:
                if partner != origin and self._is_to_have(origin, report_id, partner):
                    yield partner, origin, report_id

    def _was_withheld(self, origin: str, report_id: str) -> bool:
        """Whether a report may have been withheld although policy releases it, or all that it recalls may have been."""
        gone = recalled(self.pushed[origin, report_id])
        return self._by_a_wrong_clock(origin, report_id) or (
            bool(gone) and all(self._by_a_wrong_clock(origin, each) for each in gone)
        )

    def _by_a_wrong_clock(self, origin: str, report_id: str) -> bool:
        """Whether a report may have been decided while its node's clock was wrong: agreements count as lapsed then, so
        that it may have been withheld from everybody.
        """
        key = (origin, report_id)
        return any(
            struck.fault.kind is Kind.CLOCK_JUMP
            and struck.fault.node == origin
            and self._seen_at[key] <= struck.ended + CLOCK_S
            and self.accepted.get(key, float("inf")) >= struck.began
            for struck in self.struck
        )

    def _is_to_have(self, origin: str, report_id: str, partner: str) -> bool:
        report = self.pushed[origin, report_id]
        wanted = recalled(report)
        if not wanted:
            return expected(report, partner)
        # A recall goes to whoever was released something of what it recalls.
        return any(expected(self.pushed[origin, each], partner) for each in wanted)

    def withdrawals_due(self) -> Iterator[tuple[str, str, str]]:
        """(partner, originator, report id) of every report of which somebody must be told that it stands no more."""
        for origin, report_id in self.accepted:
            for gone in recalled(self.pushed[origin, report_id]):
                for partner in self.nodes:
                    if partner == origin or not expected(self.pushed[origin, gone], partner):
                        continue
                    if (partner, origin, gone) in self._has or not self._by_a_wrong_clock(origin, gone):
                        yield partner, origin, gone

    def outstanding(self) -> Iterator[str]:
        """Everything that has still to happen, in words."""
        for partner, origin, report_id in self.due():
            if (partner, origin, report_id) not in self._has and not self._was_withheld(origin, report_id):
                yield f"{partner} has not received report {report_id} of {origin}"
        for partner, origin, report_id in self.withdrawals_due():
            if (partner, origin, report_id) not in self._was_told:
                yield f"{partner} was not told that report {report_id} of {origin} stands no more"
        for node, report_id in self.pushed.keys() - self.accepted.keys() - self.refused.keys():
            yield f"{node} has not answered report {report_id}"

    @property
    def lost(self) -> list[str]:
        """What never came."""
        return [f"lost: {what}" for what in self.outstanding()]

    @property
    def doubled(self) -> list[str]:
        """What came more than once."""
        return [
            f"doubled: {node} {what} {report_id} of {origin} {count} times"
            for counter, what in ((self.received, "received"), (self.withdrawn, "was told of the withdrawal of"))
            for (node, _, origin, report_id), count in counter.items()
            if count > 1
        ]

    @property
    def leaked(self) -> list[str]:
        """What came to somebody who is not to have it, or with more than he is to have."""
        found = [each for each in self.wrong if each.startswith("leaked")]
        due = set(self.due())
        for node, origin, report_id in sorted(self._has):
            known = (origin, report_id) in self.pushed
            # What was received before its answer came is judged by what was pushed.
            if known and (node, origin, report_id) not in due and not self._is_to_have(origin, report_id, node):
                found.append(f"leaked: {node} received {report_id} of {origin}, which it is not to have")
        for node, origin, report_id in sorted(self._was_told):
            if (origin, report_id) in self.pushed and not expected(self.pushed[origin, report_id], node):
                found.append(f"leaked: {node} was told that {report_id} of {origin} stands no more, and never had it")
        return found

    def faults(self) -> list[str]:
        """Everything that broke a claim; empty: all of them hold."""
        refused = [f"refused: report {report_id} of {node}: {why}" for (node, report_id), why in self.refused.items()]
        others = [each for each in self.wrong if not each.startswith("leaked")]
        return self.lost + self.doubled + self.leaked + refused + others

    # --- recovery

    def recoveries(self, struck: Struck) -> dict[tuple[str, str], float | None]:
        """For each pair of nodes that a fault touched: seconds from its end to the next arrival; None: not yet.

        Pairs that another fault touched meanwhile are left out: what they waited for is not told apart.
        """
        found: dict[tuple[str, str], float | None] = {}
        for origin in self.nodes:
            for node in self.nodes:
                if origin == node or not struck.touches(origin, node):
                    continue
                after = next((at for at in self.arrivals[origin, node] if at >= struck.ended), None)
                if not self._disturbed(struck, origin, node, float("inf") if after is None else after):
                    found[origin, node] = None if after is None else after - struck.ended
        return found

    def _disturbed(self, struck: Struck, origin: str, node: str, until: float) -> bool:
        """Whether a pair suffered from something else between the end of a fault and `until`."""
        for other in self.struck:
            if other is struck or not other.touches(origin, node) or other.began > until:
                continue
            if other.ended >= struck.ended:
                return True
            if not any(other.ended <= at <= struck.ended for at in self.arrivals[origin, node]):
                # It ended before, and had not been recovered from.
                return True
        return False

    def failovers(self, struck: Struck) -> list[float]:
        """Of a link that was down: for each direction the seconds from when it went down to the first arrival of what
        was seen after that, where it came before the link was back. Directions that something else disturbed are left
        out.
        """
        found = []
        for origin, node in ((struck.fault.node, struck.fault.partner), (struck.fault.partner, struck.fault.node)):
            ends = {origin, node}
            # Who carries may be any other: his gateway may be gone, or his link with one of the two.
            others = (
                other
                for other in self.struck
                if other is not struck
                and (other.fault.kind not in LINKS or ends & {other.fault.node, other.fault.partner})
            )
            if any(other.began <= struck.ended and other.ended >= struck.began - STARTS_S for other in others):
                continue
            later = [arrived for seen, arrived in self.journeys[origin, node] if seen >= struck.began]
            if later and min(later) < struck.ended:
                found.append(min(later) - struck.began)
        return found

    def undisturbed(self) -> list[tuple[str, str]]:
        """Pairs of nodes that no fault touched."""
        pairs = [(origin, node) for origin in self.nodes for node in self.nodes if origin != node]
        return [pair for pair in pairs if not any(struck.touches(*pair) for struck in self.struck)]

    @property
    def all_recovered(self) -> bool:
        """Whether something has arrived between all nodes since the last fault ended."""
        end = max((each.ended for each in self.struck), default=0.0)
        pairs = [(origin, node) for origin in self.nodes for node in self.nodes if origin != node]
        return all(self.arrivals[pair] and self.arrivals[pair][-1] >= end for pair in pairs)
