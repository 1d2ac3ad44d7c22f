"""What waits for its commit, and who is next. Pure: it belongs to the event loop's thread and waits for nothing.

Rules, in order:

1. The higher rank goes first. A commit that holds an alert (FLASH) holds alerts and the node's own steps alone, so that
   no alert waits for a thousand tracks to be sealed beside it.
2. Nothing starves. Of the steps of commits without alerts each eighth is of a lower rank, where one waits; and after
   ALERTS_IN_A_ROW commits of alerts while others waited, one commit is theirs.
3. Within a rank the sources, C2 systems and partners, take turns by bytes: each step is given the virtual time at which
   it would end if all sources that wait were served at once, and the earliest goes first (self-clocked fair queueing,
   Golestani 1994). Who sends a thousand delays himself.
4. What one source brings at one rank keeps its order. What recalls a report never overtakes it: a report that waits and
   is recalled goes with what recalls it, before it. So does one that was taken for a commit and put back.
5. Room is bounded in steps and in bytes. Each rank may fill only its share of all there is, ROUTINE half of it and
   FLASH all, so lower ranks are refused first and FLASH last. A source may hold as much at one rank as remains free to
   that rank (dynamic thresholds, Choudhury and Hahne 1998): a flood leaves room for whoever comes next.
6. What is not bounded by this is bounded by who brings it: a stream of a partner brings a few steps at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from gateway.release.ranks import Rank

T = TypeVar("T")

SHARE: Final[Mapping[Rank, float]] = {
    Rank.SPARE: 0.25,
    Rank.ROUTINE: 0.5,
    Rank.PRIORITY: 0.65,
    Rank.IMMEDIATE: 0.8,
    Rank.FLASH: 1.0,
    Rank.OWN: 1.0,
}
"""Up to which part of the room is filled a step of each rank may still come in."""

LEAST: Final = 512
"""Bytes that a step counts at least, where sources take turns: the smallest costs a seal and a row."""

KEPT_FOR_LOWER: Final = 8
"""One of so many steps of commits without alerts is of a rank below the highest that waits."""

ALERTS_IN_A_ROW: Final = 16
"""Commits of alerts after which others that waited have one: some tenths of a second."""

_ALERTS: Final = (Rank.OWN, Rank.FLASH)
_OTHERS: Final = (Rank.OWN, Rank.IMMEDIATE, Rank.PRIORITY, Rank.ROUTINE, Rank.SPARE)


@dataclass(slots=True, eq=False)
class Place(Generic[T]):
    """One step that waits."""

    item: T
    rank: Rank
    source: str
    weight: int
    bounded: bool
    end: int = 0
    """Virtual time at which it ends, within its rank; 0: it has none there yet."""
    taken: int = 0
    """Virtual time at which it was taken."""


@dataclass(slots=True)
class _Line(Generic[T]):
    """What one source brought at one rank, in its order."""

    places: deque[Place[T]] = field(default_factory=deque)
    steps: int = 0
    """Of them, those that the room bounds."""
    bytes: int = 0

    def begins(self) -> int:
        """Virtual time at which its first one ends."""
        return self.places[0].end


@dataclass(slots=True)
class _Queue(Generic[T]):
    """What waits at one rank."""

    lines: dict[str, _Line[T]] = field(default_factory=dict)
    now: int = 0
    """Virtual time: the end of what was taken last."""

    def add(self, place: Place[T]) -> None:
        line, begin = self._line(place.source), self.now
        if line.places and line.places[-1].end > begin:
            begin = line.places[-1].end
        place.end = begin + max(place.weight, LEAST)
        line.places.append(place)
        if place.bounded:
            line.steps += 1
            line.bytes += place.weight

    def put_back(self, place: Place[T]) -> None:
        """To the front, with the time that it had, at the time at which it was taken."""
        if place.end:
            self.now = place.taken
        line = self._line(place.source)
        line.places.appendleft(place)
        if place.bounded:
            line.steps += 1
            line.bytes += place.weight

    def retime(self, source: str) -> None:
        """Has a source's line begin now: what came to its front is its own turn, not that of the others."""
        end = self.now
        for place in self.lines[source].places:
            end = place.end = end + max(place.weight, LEAST)

    def take(self) -> Place[T]:
        """The next one. There must be one."""
        lines = self.lines.values()
        line = min(lines, key=_Line.begins) if len(lines) > 1 else next(iter(lines))
        place = line.places.popleft()
        place.taken = self.now
        if place.end > self.now:
            self.now = place.end
        self._took(line, place)
        return place

    def remove(self, place: Place[T]) -> None:
        line = self.lines[place.source]
        line.places.remove(place)
        self._took(line, place)

    def _line(self, source: str) -> _Line[T]:
        line = self.lines.get(source)
        if line is None:
            line = self.lines[source] = _Line()
        return line

    def _took(self, line: _Line[T], place: Place[T]) -> None:
        if place.bounded:
            line.steps -= 1
            line.bytes -= place.weight
        if not line.places:
            del self.lines[place.source]


class Waiting(Generic[T]):
    """What waits, up to `steps` steps and `bytes` bytes of those that are bounded."""

    def __init__(self, steps: int, bytes: int) -> None:
        self._room = {rank: (share * steps, share * bytes) for rank, share in SHARE.items()}
        self._queues: dict[Rank, _Queue[T]] = {rank: _Queue() for rank in sorted(Rank, reverse=True)}
        self._count = 0
        self._steps = 0
        self._bytes = 0
        self._alerts = 0
        self._alerts_in_a_row = 0
        self._in_a_row_before = 0
        """The same before what was taken last."""
        self._turn = 0
        self._counted = False
        """Whether what was taken last took turns."""
        self._taken: Sequence[Place[T]] = ()
        """What was taken last, until it is known what of it is put back."""

    def __len__(self) -> int:
        """How many wait, at all ranks."""
        return self._count

    @property
    def bytes(self) -> int:
        """Bytes of those that are bounded."""
        return self._bytes

    @property
    def alerts(self) -> int:
        """How many alerts wait. One number, which another thread may read too."""
        return self._alerts

    def count(self, rank: Rank) -> int:
        """How many wait at one rank."""
        return sum(len(line.places) for line in self._queues[rank].lines.values())

    def has_room(self, rank: Rank, source: str, weight: int) -> bool:
        """Whether a bounded step may come in (rule 5)."""
        line = self._queues[rank].lines.get(source)
        steps, held = (0, 0) if line is None else (line.steps, line.bytes)
        max_steps, max_bytes = self._room[rank]
        return steps + 1 <= max_steps - self._steps and held + weight <= max_bytes - self._bytes

    def add(self, item: T, rank: Rank, source: str, weight: int, *, bounded: bool) -> None:
        """At the end of its source's line. A bounded one must have room."""
        self._add(Place(item, rank, source, weight, bounded))

    def _add(self, place: Place[T]) -> None:
        self._queues[place.rank].add(place)
        self._account((place,), 1)

    def raise_to(self, rank: Rank, source: str, wanted: Callable[[T], bool]) -> None:
        """Has what a source brought at lower ranks, and is `wanted`, go at `rank`, in its order (rule 4).

        What was taken last goes at it if it is put back.
        """
        for place in self._taken:
            if place.source == source and place.rank < rank and wanted(place.item):
                place.rank, place.end = rank, 0
        for lower, queue in reversed(self._queues.items()):
            if lower >= rank:
                return
            line = queue.lines.get(source)
            for place in [] if line is None else [place for place in line.places if wanted(place.item)]:
                queue.remove(place)
                self._account((place,), -1)
                place.rank = rank
                self._add(place)

    def take(self, steps: int, bytes: int) -> Sequence[Place[T]]:
        """What goes into the next commit, in this order: up to `steps` steps, and no more once there are `bytes` bytes.
        At least one must wait.
        """
        others = self._count - self._alerts - self.count(Rank.OWN)
        self._in_a_row_before = self._alerts_in_a_row
        if self._alerts and not (others and self._alerts_in_a_row >= ALERTS_IN_A_ROW):
            self._alerts_in_a_row = self._alerts_in_a_row + 1 if others else 0
            self._taken = self._take_from(_ALERTS, steps, bytes)
        else:
            self._alerts_in_a_row = 0
            self._taken = self._take_from(_OTHERS, steps, bytes)
        return self._taken

    def _take_from(self, ranks: Sequence[Rank], steps: int, bytes: int) -> Sequence[Place[T]]:
        taken: list[Place[T]] = []
        weight = 0
        self._counted = ranks is _OTHERS
        here = [queue for rank in ranks if (queue := self._queues[rank]).lines]
        while here and (not taken or (len(taken) < steps and weight < bytes)):
            # Alerts are all of one commit's business; among others each eighth step is a lower rank's.
            depth = min(self._depth(), len(here) - 1) if self._counted else 0
            place = here[depth].take()
            taken.append(place)
            weight += place.weight
            if not here[depth].lines:
                del here[depth]
        self._account(taken, -1)
        return taken

    def _depth(self) -> int:
        """How many ranks below the highest the next step is of: 1 each eighth time, 2 each 64th, and so on."""
        self._turn += 1
        depth, turn = 0, self._turn
        while turn % KEPT_FOR_LOWER == 0 and depth < len(Rank):
            depth, turn = depth + 1, turn // KEPT_FOR_LOWER
        return depth

    def put_back(self, places: Sequence[Place[T]], *, gave_way: bool = False) -> None:
        """What was taken last and did not fit, if anything: to the front again, in the order in which it was taken.

        `gave_way`: an alert cut it short, so it was not the commit that others have between many of alerts.
        """
        if gave_way:
            self._alerts_in_a_row = self._in_a_row_before
        self._taken = ()
        raised = {(place.rank, place.source) for place in places if not place.end}
        for place in reversed(places):
            self._queues[place.rank].put_back(place)
        self._account(places, 1)
        for rank, source in raised:
            self._queues[rank].retime(source)
        if self._counted:
            self._turn -= len(places)

    def drain(self) -> Iterator[T]:
        """Takes everything out. Nothing is put back after it."""
        self._taken = ()
        for rank, queue in self._queues.items():
            while queue.lines:
                place = queue.take()
                self._account((place,), -1)
                assert place.rank is rank
                yield place.item

    def _account(self, places: Sequence[Place[T]], sign: int) -> None:
        self._count += sign * len(places)
        for place in places:
            if place.rank is Rank.FLASH:
                self._alerts += sign
            if place.bounded:
                self._steps += sign
                self._bytes += sign * place.weight
