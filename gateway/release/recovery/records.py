"""Recovery records: what this node decided for a partner, sealed into that partner's own ledger for this node alone.

A replica gives its owner back every entry; what was withheld, and why, stands in the decisions ledger, which nobody
else holds. So each run of entries that a commit appends to a release ledger ends with a record of the decisions for
that partner (`gateway.seal.recovery`). Rules, in order:

1. A record stands behind every run that holds anything else, whatever was decided, and its size follows from the number
   of those entries alone: at most ENTRIES_A_RECORD of them a record, the smallest of the capacities that has room for
   SPARE bytes and AN_ENTRY bytes for each. So that something was withheld does not show.
2. First in it are the decisions of which a release stands in that very run, then those that waited, in their order.
3. What has no room waits for the next record of the same partner, in memory: at most WAITING_BYTES of one partner, and
   nothing over a restart. What was left out for want of that is counted in the next record.
4. A record holds decisions of one generation of the decisions ledger.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.origin import Origin
from gateway.reports.identifiers import in_bytes
from gateway.seal.entry import EntryKind
from gateway.seal.keys import SealingPublicKey
from gateway.seal.recovery import CAPACITIES

SPARE: Final = 1024
"""Bytes of a record for what waited, beside AN_ENTRY bytes for each entry of the run."""

AN_ENTRY: Final = 256
"""Bytes of a record for each other entry of its run: about what one decision takes."""

ENTRIES_A_RECORD: Final = (CAPACITIES[-1] - SPARE) // AN_ENTRY
"""Entries of a run that one record stands for: so many as its largest capacity has room for."""

WAITING_BYTES: Final = 256 * 1024
"""Bytes of decisions that wait for room in one partner's ledgers: about a thousand, 64 MiB with 256 partners."""

LARGEST_DECISION: Final = 1536
"""Bytes of one decision in short: one that is larger would keep all others waiting, and is left out."""

_FRAME: Final = 64
"""Bytes of a record beside its decisions: the origin line, the count of what was left out, and its length."""

_AN_ITEM: Final = 3
"""Bytes that protobuf puts before one decision."""


Item = tuple[str, bytes]
"""A decision in short, serialised, and the decisions ledger that holds it."""


@dataclass(slots=True)
class Waiting:
    """What waits for room in the ledgers of one partner, and how many were left out."""

    items: deque[Item] = field(default_factory=deque)
    size: int = 0
    left_out: int = 0

    def change(self, taken: int, told: int, added: Iterable[Item]) -> None:
        """Takes over what a durable commit did: took from the front, told of so many left out, and added."""
        for _ in range(taken):
            self.size -= len(self.items.popleft()[1])
        self.left_out -= told
        for item in added:
            self.items.append(item)
            self.size += len(item[1])
        while self.size > WAITING_BYTES:
            self.size -= len(self.items.popleft()[1])
            self.left_out += 1


@dataclass(slots=True)
class Recovery:
    """The recovery key of this node, and what waits, over commits. Belongs to the sequencer."""

    key: SealingPublicKey
    waiting: dict[str, Waiting] = field(default_factory=dict)

    def adopt(self, recording: Recording) -> None:
        """Takes over what a durable commit left."""
        for partner, delta in recording.deltas.items():
            self.waiting.setdefault(partner, Waiting()).change(delta.taken, delta.told, delta.added)


def capacity_for(entries: int) -> int:
    """The capacity of a record behind so many other entries, at most ENTRIES_A_RECORD."""
    return next(size for size in CAPACITIES if size >= SPARE + AN_ENTRY * entries)


def content_entries(entries: Iterable[bytes]) -> int:
    """How many of these entries are anything but the opening of an epoch."""
    return sum(entry[1] == EntryKind.SEALED_CONTENT for entry in entries)


def in_short(
    record: ledger_pb2.DecisionRecord, index: int, accepted_ns: int, node: str
) -> ledger_pb2.RecoveredDecision:
    """What the decisions of the entry at `index` of the decisions ledger have in common, in short.

    `record` holds their subject, `node` is this node. What is of one decision alone sets `fill_in`.
    """
    return ledger_pb2.RecoveredDecision(
        report_id=in_bytes(record.report_id),
        originator_node="" if record.originator_node == node else record.originator_node,
        report_digest=record.report_digest,
        event_id=record.event_id,
        kind=record.kind,
        traffic_class=record.traffic_class,
        precedence=record.precedence,
        submitted_by=record.submitted_by,
        accepted_ns=accepted_ns,
        decided_ns=record.time.seconds * 1_000_000_000 + record.time.nanos,
        decision_index=index,
    )


def fill_in(short: ledger_pb2.RecoveredDecision, decision: ledger_pb2.Decision) -> None:
    """Has `short` tell of this decision, and of no other that it told of before."""
    short.outcome = decision.outcome
    short.rule = decision.rule
    short.agreement = decision.agreement
    short.ledger = decision.ledger
    short.hold_until_ns = decision.hold_until.ToNanoseconds() if decision.HasField("hold_until") else 0
    if decision.HasField("index"):
        short.index = decision.index
    else:
        short.ClearField("index")


@dataclass(slots=True)
class _Delta:
    """What one commit changes of what waits for one partner."""

    taken: int = 0
    told: int = 0
    added: list[Item] = field(default_factory=list)


class Recording:
    """What one commit decides, and the records that it makes of it."""

    def __init__(self, recovery: Recovery) -> None:
        self._recovery = recovery
        self.key = recovery.key
        self.deltas: dict[str, _Delta] = {}
        self._decided: dict[str, list[tuple[str, Item]]] = {}
        """By partner: the ledger that holds the release (empty: there is none), and the decision."""

    def note(
        self,
        line: str,
        index: int,
        record: ledger_pb2.DecisionRecord,
        decisions: Iterable[ledger_pb2.Decision],
        accepted_ns: int,
        node: str,
    ) -> None:
        """Takes note of decisions that stand in the entry at `index` of the decisions ledger with this origin line.

        `record` holds their subject, `node` is this node.
        """
        short = in_short(record, index, accepted_ns, node)
        for decision in decisions:
            fill_in(short, decision)
            item = line, short.SerializeToString()
            if len(item[1]) > LARGEST_DECISION:
                self.deltas.setdefault(decision.partner, _Delta()).told -= 1
            else:
                self._decided.setdefault(decision.partner, []).append((decision.ledger, item))

    def records(self, ledger: Origin, entries: int) -> list[tuple[ledger_pb2.RecoveryRecord, int]]:
        """The records behind a run of so many other entries in a ledger, each with its capacity."""
        assert ledger.recipient is not None  # a release ledger
        partner, line = ledger.recipient, str(ledger)
        decided = self._decided.pop(partner, [])
        here = deque(item for place, item in decided if place == line)
        elsewhere = [each for each in decided if each[0] != line]
        if elsewhere:
            self._decided[partner] = elsewhere
        delta = self.deltas.setdefault(partner, _Delta())
        made = []
        while entries > 0:
            run = min(entries, ENTRIES_A_RECORD)
            entries -= run
            made.append((self._filled(partner, delta, here, capacity_for(run)), capacity_for(run)))
        delta.added += here
        return made

    def _filled(self, partner: str, delta: _Delta, here: deque[Item], capacity: int) -> ledger_pb2.RecoveryRecord:
        """A record with as much as there is room for."""
        waiting = self._recovery.waiting.get(partner) or Waiting()
        record = ledger_pb2.RecoveryRecord()
        room = capacity - _FRAME
        while here and len(here[0][1]) + _AN_ITEM <= room:
            room -= _put(record, here.popleft())
        while not here and delta.taken < len(waiting.items):
            item = waiting.items[delta.taken]
            if record.decisions in ("", item[0]) and len(item[1]) + _AN_ITEM > room:
                break
            delta.taken += 1
            if record.decisions in ("", item[0]):
                room -= _put(record, item)
            else:
                # Of a history that has ended since: it would wait for ever behind what is decided now.
                delta.told -= 1
        record.left_out = max(0, waiting.left_out - delta.told)
        delta.told += record.left_out
        return record

    def settle(self) -> None:
        """Once every run has its records: what was not taken up waits."""
        for partner, decided in self._decided.items():
            self.deltas.setdefault(partner, _Delta()).added += [item for _, item in decided]
        self._decided = {}


def _put(record: ledger_pb2.RecoveryRecord, item: Item) -> int:
    """Puts a decision into a record; returns the bytes that it takes."""
    record.decisions = item[0]
    record.decided.add().MergeFromString(item[1])
    return len(item[1]) + _AN_ITEM
