"""The books of a fault run: what was pushed, accepted and received, and whether that is what had to happen. Pure.

Nothing here is believed of a gateway: what must arrive where is what `invented.expected` says of the report itself.
The claims, for every report that a gateway accepted and every partner:

1. *Nothing lost*: whoever is to have it has received it, and the withdrawal of it where it was recalled. What stands by
   the client's own picture in the end is what was not recalled.
2. *Nothing doubled*: he received each once. (A subscriber whose own gateway lost its store begins anew without a
   cursor, as the contract says; what he is given after that is counted apart. Nobody else has to.)
3. *Nothing leaked*: nobody received what he is not to have, and no text that stays at home stands in what he received.
4. *Nothing altered*: what he received is in every field the copy of what was pushed (`copies`).
5. *Nothing invented*: he received nothing that nobody pushed, and no withdrawal of what nobody recalled.
6. *In order*: each lane by itself (`streams`), and nothing stands again after its withdrawal.
7. *Read again*: who begins without a cursor in the end is given all of it once, own reports among it, each marked as
   withdrawn that is.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import report_pb2

from gateway.client import Received, Result, Withdrawn
from tests.faults.copies import WARNINGS, Had, difference, differing
from tests.faults.invented import expected
from tests.faults.recovery import Arrivals
from tests.faults.schedule import STORES, Kind
from tests.faults.streams import Stream
from tests.faults.traffic import markers, recalled

CLOCK_S: Final = 6.0
"""Seconds after which a clock that is right again is believed again, at most: it is looked at each second, but where
the machine stands still."""


RECALLED_S: Final = 5.0
"""Seconds for which what was seen as a store was lost or set back may wait for its gateway, at most, as it starts."""


@dataclass(slots=True)
class Books(Arrivals):
    """Of one run, over all nations."""

    pushed: dict[tuple[str, str], report_pb2.Report] = field(default_factory=dict)
    """By node and report id."""
    accepted: dict[tuple[str, str], float] = field(default_factory=dict)
    refused: dict[tuple[str, str], str] = field(default_factory=dict)
    received: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    """(node, subscription without cursor that it came in, originator, report id)."""
    withdrawn: Counter[tuple[str, int, str, str]] = field(default_factory=Counter)
    """The same, of withdrawals."""
    wrong: list[str] = field(default_factory=list)
    """What was seen to be wrong as it happened."""
    streams: dict[tuple[str, int], Stream] = field(default_factory=dict)
    """By node and by how often its subscriber has begun without a cursor before."""
    again: dict[str, Stream] = field(default_factory=dict)
    """By node: everything that was given in the end to who began without a cursor, own reports among it."""
    asked: set[str] = field(default_factory=set)
    """Nodes whose gateways asked C2 systems to submit again."""
    _seen_at: dict[tuple[str, str], float] = field(default_factory=dict)
    _recalls: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    """By node and report that recalls: what it recalls."""
    _events: dict[tuple[str, str, int], list[str]] = field(default_factory=lambda: defaultdict(list))
    """By node, event and traffic class: warnings that were pushed."""

    def push(self, node: str, report: report_pb2.Report, now: float) -> None:
        """A C2 system of `node` has this report to push."""
        self.pushed[node, report.report_id] = report
        self._seen_at[node, report.report_id] = now
        event = self._events[node, report.event_id, report.traffic_class]
        gone = list(event) if report.HasField("all_clear") else recalled(report)
        if gone:
            self._recalls[node, report.report_id] = gone
        if report.WhichOneof("content") in WARNINGS:
            event.append(report.report_id)

    def answered(self, node: str, result: Result, now: float) -> None:
        """The gateway of `node` answered."""
        if result.accepted:
            self.accepted.setdefault((node, result.report_id), now)
            # A recall of what the gateway had lost is refused until it has that again.
            self.refused.pop((node, result.report_id), None)
        else:
            why = "; ".join(f"{v.field}: {v.problem}" for v in result.violations)
            self.refused[node, result.report_id] = f"{result.code} {why}"

    def begin(self, node: str, anew: int) -> None:
        """The C2 system of `node` subscribes without a cursor; `anew`: how often it had done so before."""
        self.streams[node, anew] = Stream(node)

    def deliver(self, node: str, anew: int, item: Received, now: float) -> None:
        """The C2 system of `node` received a report; `anew`: how often it has begun without a cursor."""
        report = item.report
        key = (report.originator_node, report.report_id)
        self._stream(node, anew).take(item)
        self.received[node, anew, *key] += 1
        self.arrivals[report.originator_node, node].append(now)
        if key in self._seen_at and not report.HasField("impact_prediction"):
            self.journeys[report.originator_node, node].append((self._seen_at[key], now))
        bytes_of = report.SerializeToString()
        self.wrong += [
            f"leaked: {node} received {marker.decode()} in report {report.report_id} of {report.originator_node}"
            for marker in markers(node)
            if marker in bytes_of
        ]

    def recall(self, node: str, anew: int, item: Withdrawn) -> None:
        """The C2 system of `node` was told that a report no longer stands."""
        self._stream(node, anew).take(item)
        self.withdrawn[node, anew, item.originator_node, item.report_id] += 1

    def read_again(self, node: str, items: Iterable[Received | Withdrawn]) -> None:
        """What the gateway of `node` gives in the end to who has no cursor and wants own reports too."""
        self.again[node] = Stream(node)
        for item in items:
            self.again[node].take(item)

    def _stream(self, node: str, anew: int) -> Stream:
        return self.streams.setdefault((node, anew), Stream(node))

    # --- what had to happen

    def forgotten_unnoticed(self) -> set[tuple[str, str]]:
        """What was accepted after an old backup was made, and is lost with nobody left who knows of it: the gateway was
        not told that it was set back, and no partner has anything from that time by which it would notice.
        """
        found: set[tuple[str, str]] = set()
        untold = [each for each in self.struck if each.fault.kind is Kind.OLD_BACKUP and not each.fault.told]
        if not untold:
            return found
        reached = {(origin, report_id) for _, _, origin, report_id in self.received}
        for struck in untold:
            node = struck.fault.node
            lost = {key for key, at in self.accepted.items() if key[0] == node and struck.began <= at <= struck.ended}
            if node not in self.asked and not lost & reached:
                found |= lost
        return found

    def due(self) -> Iterator[tuple[str, str, str]]:
        """(partner, originator, report id) of everything that somebody must have."""
        for origin, report_id in self.accepted.keys() - self.forgotten_unnoticed():
            for partner in self.nodes:
                if partner != origin and self._is_to_have(origin, report_id, partner):
                    yield partner, origin, report_id

    def recalled_by(self, origin: str) -> set[str]:
        """Reports of a node that no longer stand, by recalls that it accepted."""
        known = self.accepted.keys() - self.forgotten_unnoticed()
        return {gone for key, each in self._recalls.items() if key[0] == origin and key in known for gone in each}

    def _may_lack(self, partner: str, origin: str, report_id: str) -> bool:
        """Whether a report may have been withheld from a partner although policy releases it: as agreements had lapsed
        by a wrong clock; since it was recalled while it was held, or, where a store was lost, before it was submitted
        again; or as all that it recalls of what the partner should have was withheld so.
        """
        if self._by_a_wrong_clock(origin, report_id):
            return True
        report = self.pushed[origin, report_id]
        if report.HasField("impact_prediction") or self._submitted_again(origin, report_id):
            return any(report_id in gone for (node, _), gone in self._recalls.items() if node == origin) or (
                self._recalls_only_what_may_lack(partner, origin, report_id)
            )
        return self._recalls_only_what_may_lack(partner, origin, report_id)

    def _recalls_only_what_may_lack(self, partner: str, origin: str, report_id: str) -> bool:
        gone = [each for each in recalled(self.pushed[origin, report_id]) if self._is_to_have(origin, each, partner)]
        return bool(gone) and all(self._may_lack(partner, origin, each) for each in gone)

    def _submitted_again(self, origin: str, report_id: str) -> bool:
        """Whether C2 systems submitted a report again after its node's store was lost or set back: each system by
        itself, so that one's recall may be there before another's report.
        """
        return any(
            struck.fault.kind in STORES
            and struck.fault.node == origin
            and self._seen_at[origin, report_id] <= struck.ended + RECALLED_S
            for struck in self.struck
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
        # A recall that names reports goes to whoever was released something of what it recalls.
        return any(expected(self.pushed[origin, each], partner) for each in wanted)

    def withdrawals_due(self) -> Iterator[tuple[str, str, str]]:
        """(partner, originator, report id) of every report of which somebody must be told that it stands no more."""
        unnoticed = self.forgotten_unnoticed()
        for origin in self.nodes:
            for gone in self.recalled_by(origin):
                if (origin, gone) in unnoticed:
                    continue
                for partner in self.nodes:
                    if partner == origin or not expected(self.pushed[origin, gone], partner):
                        continue
                    if self._shows(partner, origin, gone) or not self._may_lack(partner, origin, gone):
                        yield partner, origin, gone

    def _current(self, node: str) -> Stream:
        """The subscription of a node that began last."""
        return self._stream(node, max((anew for each, anew in self.streams if each == node), default=0))

    def _shows(self, node: str, origin: str, report_id: str) -> bool:
        """Whether the subscriber has this report."""
        shown = self._current(node).picture.get(origin, report_id)
        return shown is not None and shown.report is not None

    def _in_words(self, origin: str, report_id: str) -> str:
        report = self.pushed[origin, report_id]
        kind, key = str(report.WhichOneof("content")), (origin, report_id)
        if gone := recalled(report):
            kind = f"{kind} of {', '.join(sorted(gone))}"
        handed, accepted = self._seen_at.get(key, 0.0), self.accepted.get(key, 0.0)
        return f"report {report_id} of {origin} ({kind}, handed in at {handed:.1f} s, accepted at {accepted:.1f} s)"

    def outstanding(self) -> Iterator[str]:
        """Everything that has still to happen, in words."""
        for partner, origin, report_id in self.due():
            if not self._shows(partner, origin, report_id) and not self._may_lack(partner, origin, report_id):
                yield f"{partner} has not received {self._in_words(origin, report_id)}"
        told = {
            (node, item.originator_node, item.report_id)
            for node in self.nodes
            for item in self._current(node).withdrawn
        }
        due = set(self.withdrawals_due())
        for partner, origin, report_id in sorted(due - told):
            yield f"{partner} was not told that report {report_id} of {origin} stands no more"
        for partner, origin, report_id in sorted(told - due):
            if not self._shows(partner, origin, report_id):
                yield f"{partner} was told that report {report_id} of {origin} stands no more, and has not received it"
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
        for node, origin, report_id in sorted({(node, *key) for node, _, *key in self.received}):
            known = (origin, report_id) in self.pushed
            # What was received before its answer came is judged by what was pushed.
            if known and (node, origin, report_id) not in due and not self._is_to_have(origin, report_id, node):
                found.append(f"leaked: {node} received {report_id} of {origin}, which it is not to have")
        for node, origin, report_id in sorted({(node, *key) for node, _, *key in self.withdrawn}):
            if (origin, report_id) in self.pushed and not expected(self.pushed[origin, report_id], node):
                found.append(f"leaked: {node} was told that {report_id} of {origin} stands no more, and never had it")
        return found

    @property
    def altered(self) -> list[str]:
        """What came otherwise than it was pushed or recalled, or though nobody did; what came out of order; and what
        stands otherwise in the end than it must.
        """
        found: list[str] = []
        for stream in self.streams.values():
            found += stream.faults()
            found += self._in_content(stream)
        for node in self.nodes:
            gone = {origin: self.recalled_by(origin) for origin in self.nodes}
            for shown in self._current(node).picture:
                origin, report_id = shown.originator_node, shown.report_id
                if shown.report is not None and report_id in gone.get(origin, ()) and not shown.withdrawn:
                    found.append(f"stands: {report_id} of {origin} stands at {node}, and was recalled")
        return found

    def _in_content(self, stream: Stream) -> Iterator[str]:
        node = stream.node
        may_be_gone = {(origin, each) for (origin, _), gone in self._recalls.items() for each in gone}
        for item in stream.received:
            origin, report_id = item.report.originator_node, item.report.report_id
            what = f"{node} received {report_id} of {origin}"
            sent = self.pushed.get((origin, report_id))
            if sent is None:
                yield f"invented: {what}"
                continue
            if origin == node:
                fields = differing(sent, item.report)
            else:
                fields = difference(sent, item.report, self._had_by(node, origin, report_id))
            if fields:
                yield f"altered: {what} with other {', '.join(fields)}"
            if item.withdrawn and (origin, report_id) not in may_be_gone:
                yield f"invented: {what} as withdrawn, and nobody recalled it"
        for notice in stream.withdrawn:
            origin, report_id = notice.originator_node, notice.report_id
            sent = self.pushed.get((origin, report_id))
            if sent is None or (origin, report_id) not in may_be_gone:
                yield f"invented: {node} was told that {report_id} of {origin} stands no more, and nobody recalled it"
            elif (notice.traffic_class, notice.precedence) != (sent.traffic_class, sent.precedence):
                yield f"altered: {node} was told of {report_id} of {origin} with other traffic class or precedence"

    def _had_by(self, partner: str, origin: str, report_id: str) -> Had:
        """Of what this report names: whether the partner had it when this one was decided."""
        forgot = {struck.fault.node for struck in self.struck if struck.fault.kind in STORES}

        def had(owner: str, named: str) -> bool | None:
            if owner == partner:
                return True
            if owner != origin or (owner, named) not in self.pushed or not self._is_to_have(owner, named, partner):
                return False
            before = self.accepted.get((owner, named), float("inf")) <= self._seen_at[origin, report_id]
            held = self.pushed[owner, named].HasField("impact_prediction")
            return (
                True
                if before and not held and origin not in forgot and not self._may_lack(partner, owner, named)
                else None
            )

        return had

    @property
    def reread(self) -> list[str]:
        """What was wrong with what was given in the end to who began without a cursor."""
        found: list[str] = []
        for node, stream in self.again.items():
            wrong = [*stream.faults(), *self._in_content(stream)]
            count = Counter((item.report.originator_node, item.report.report_id) for item in stream.received)
            due = {(origin, report_id) for partner, origin, report_id in self.due() if partner == node}
            own = {key for key in self.accepted.keys() - self.forgotten_unnoticed() if key[0] == node}
            must = {key for key in due if not self._may_lack(node, *key)} | own
            wrong += [f"lost: {report_id} of {origin}" for origin, report_id in sorted(must - count.keys())]
            allowed = due | {key for key in self.pushed if key[0] == node}
            wrong += [f"leaked: {report_id} of {origin}" for origin, report_id in sorted(count.keys() - allowed)]
            # A report of a node's own that was filled in again after a loss may stand in its feed twice.
            lost_own = self._times_forgotten(node) > 0
            wrong += [
                f"doubled: {report_id} of {origin} {times} times"
                for (origin, report_id), times in count.items()
                if times > 1 and not (lost_own and origin == node)
            ]
            gone = {origin: self.recalled_by(origin) for origin in self.nodes}
            for item in stream.received:
                origin, report_id = item.report.originator_node, item.report.report_id
                if item.withdrawn != (report_id in gone.get(origin, ())):
                    said = "withdrawn" if item.withdrawn else "standing"
                    wrong.append(f"stands: {report_id} of {origin} was given as {said}")
            found += [f"{each.split(':')[0]}: when {node} read everything again: {each}" for each in wrong]
        return found

    def _times_forgotten(self, node: str) -> int:
        """How often the store of a node was lost or set back."""
        return sum(struck.fault.node == node and struck.fault.kind in STORES for struck in self.struck)

    @property
    def begun_anew(self) -> list[str]:
        """Whose cursor was refused, and no loss of a store was the cause."""
        anew = {node: max(each for other, each in self.streams if other == node) for node, _ in self.streams}
        return [
            f"refused: {node} had to begin {times} times without its cursor, and its store was lost"
            f" {self._times_forgotten(node)} times"
            for node, times in anew.items()
            if times > self._times_forgotten(node)
        ]

    def faults(self) -> list[str]:
        """Everything that broke a claim; empty: all of them hold."""
        unnoticed = self.forgotten_unnoticed()
        refused = [
            f"refused: report {report_id} of {node}: {why}"
            for (node, report_id), why in self.refused.items()
            if not any((node, each) in unnoticed for each in self._recalls.get((node, report_id), ()))
        ]
        others = [each for each in self.wrong if not each.startswith("leaked")]
        others += self.altered + self.reread + self.begun_anew
        return self.lost + self.doubled + self.leaked + refused + others
