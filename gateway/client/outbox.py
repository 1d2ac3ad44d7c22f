"""What a client has still to push: in which order it goes, and when it goes again.

Rules, in order:

1. A report leaves the outbox with its answer, or superseded (rules 5 and 6), and not before. Whatever happens to a
   connection, what has no answer is sent on the next one.
2. The higher precedence goes first, and what recalls reports counts as FLASH; reports of one precedence keep their
   order.
3. What recalls a report goes when that has its answer, if it is in the outbox before it: the node can recall only what
   it has accepted. Meanwhile that report goes as what recalls it. So it is with a correction or cancellation that was
   refused for now when a report that it names is put in: the node has lost that one, and is given it again.
4. What the node refuses for now goes again when the node says, or up to half as long after that: clients that were
   refused together must not come back together. After RESOURCE_EXHAUSTED nothing else of that precedence or a lower one
   goes before that either. What counts there is a report's own precedence, by which the node takes it: whatever is to
   recall it, alerts go on.
5. An all-clear waits for no warning that rule 4 has wait: it goes without, and the warning stays. Once the all-clear
   is accepted the warning is superseded, and leaves the outbox without having been sent: accepted after the all-clear,
   it would stand. That it was put in before it is enough, whatever its report_time: so it is where there is room, too
   (but see rule 8). If the all-clear is refused for good, the warning goes after all. A correction or cancellation
   waits, for the node refuses one that names what it does not know.
6. A correction or cancellation that names nothing but what was superseded is superseded with it: the node never had
   any of that, or has lost it (rule 8), so nothing is to be recalled, and it would refuse the recall. One that names
   anything else goes: only who made it can name the others in one of their own, and the node's answer tells him to. So
   does one under way.
7. What the node has lost may be put in after what names it, and that may name each other. No report waits for one that
   waits for it: of such a ring the one that was refused for now goes again in its time, until the node has it or
   refuses it for good, and the others after it.
8. Once the node has asked for what it has lost, partners may have what is superseded. It is recalled there all the
   same: what they give back from before the loss the node holds against the all-clears that it has accepted, and lets
   none stand that is no later than one of them, by report_time. A later one it does let stand, so that one has to reach
   the node, and then what recalls it: from then on a warning that is later than the all-clear is not superseded by it,
   but goes after it, and stands.
9. Who puts in waits for room: at most `in_flight` have a place. What waits for something other than its own answer has
   a place besides, or an alert or an all-clear could not be put in behind it: up to `held_back` of what rule 4 has held
   back and of what waits for that, and up to `in_flight` corrections and cancellations that were refused for now,
   whose reports may yet be put in. What was held back keeps that place until it is answered. However many there are,
   no more than `in_flight` are under way: beyond that FLASH alone goes.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Collection
from typing import Final

from signalfire.v1 import report_pb2

_RECALLS: Final = frozenset({"correction", "cancellation", "all_clear"})

_BY_NAME: Final = frozenset({"correction", "cancellation"})
"""Kinds that name the reports which they recall."""

_WARNINGS: Final = frozenset({"launch_detection", "track", "impact_prediction"})
"""Kinds that an all-clear recalls."""

FRAME_BYTES: Final = 8
"""Bytes that a report adds to its request at most beside its own."""

HELD_BACK: Final = 65_536
"""Reports that may wait besides for room at the node: of tracks of 500 bytes about 200 MB."""

JITTER: Final = 0.5
"""Up to which part of the time that the node says is added to it."""


class Outbox:
    """Numbers of reports, from 0, in the order in which they were put in. Belongs to the event loop's thread."""

    def __init__(self, in_flight: int = 1024, held_back: int = HELD_BACK) -> None:
        self.unanswered: dict[int, report_pb2.Report] = {}
        self.has_lost = False
        """Whether the node has asked for what it has lost (rule 8)."""
        self._in_flight = in_flight
        self._held_back = held_back
        self._added = 0
        self._own: dict[int, int] = {}
        """By which the node takes it."""
        self._ranks: dict[int, int] = {}
        """By which it goes: that of what recalls it, if that is higher."""
        self._waiting: dict[int, list[tuple[int, int]]] = {}
        """By own precedence, heaps of those to be sent, by rank and number; only those in `_to_send` count, at their
        rank of now.
        """
        self._to_send: set[int] = set()
        self._flying: set[int] = set()
        self._recalled_by: dict[int, list[int]] = {}
        self._blocked: dict[int, set[int]] = {}
        """What waits for answers to others, and to which."""
        self._aside: dict[int, set[int]] = {}
        """Warnings that wait, and the all-clears that went without them."""
        self._without: dict[int, set[int]] = {}
        """The same by all-clear."""
        self._held_until: dict[int, float] = {}
        self._put_off: set[int] = set()
        """Corrections and cancellations that were refused for now, and not for their number."""
        self._never_had: dict[int, set[str]] = {}
        """Of corrections and cancellations, the reports that they name and that were superseded."""
        self._all_clears: set[int] = set()
        self._beside: set[int] = set()
        """What was held back, or waits for such (rule 9)."""
        self._changed = asyncio.Event()
        self._left = asyncio.Event()
        """Set when there may be room."""

    def is_full(self) -> bool:
        """Whether there is no room for another (rule 9)."""
        besides = min(len(self._beside), self._held_back) + min(len(self._put_off), self._in_flight)
        return len(self.unanswered) - besides >= self._in_flight

    def is_full_of_held_back(self) -> bool:
        """Whether that is since too much is held back."""
        return len(self._beside) >= self._held_back and self.is_full()

    async def room(self) -> None:
        """Waits until there is room for another."""
        while self.is_full():
            self._left.clear()
            await self._left.wait()

    def add(self, report: report_pb2.Report) -> None:
        """Puts one in."""
        number, rank = self._added, _rank(report)
        self._added += 1
        first = set[int]()
        if report.WhichOneof("content") in _RECALLS:
            first = self._recalled_of(report)
        self.unanswered[number] = report
        self._own[number] = self._ranks[number] = rank
        for each in first:
            self._recalled_by.setdefault(each, []).append(number)
            if self._ranks[each] < rank:
                self._ranks[each] = rank
                if each in self._to_send:
                    self._queue(each)
        if self._is_held(rank) or not first.isdisjoint(self._beside):
            self._beside.add(number)
        if report.WhichOneof("content") == "all_clear":
            self._all_clears.add(number)
        if first:
            self._blocked[number] = first
            if number in self._all_clears:
                self._go_without(number)
        else:
            self._queue(number)
        for recall in self._put_off:
            if _recalls(self.unanswered[recall], report) and not self._waits_for(number, recall):
                self._recalled_by.setdefault(number, []).append(recall)
                self._blocked.setdefault(recall, set()).add(number)
                self._to_send.discard(recall)
                if self._ranks[number] < self._ranks[recall]:
                    self._ranks[number] = self._ranks[recall]
                    self._queue(number)

    def _recalled_of(self, report: report_pb2.Report) -> set[int]:
        """What is there that it recalls."""
        if named := frozenset(_named(report)):
            return {each for each, other in self.unanswered.items() if other.report_id in named}
        return {each for each, other in self.unanswered.items() if _recalls(report, other)}

    def send_all_again(self) -> None:
        """On a new connection: everything that has no answer."""
        self._waiting.clear()
        self._to_send.clear()
        self._flying.clear()
        for number in self.unanswered:
            if number not in self._blocked and number not in self._aside:
                self._queue(number)

    async def next(self) -> int:
        """The next one to be sent, once it may be."""
        while True:
            self._changed.clear()
            number, pause_s = self._best()
            if number is not None:
                self._goes(number)
                return number
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def together(self, most: int, most_bytes: int) -> list[int]:
        """The next ones to be sent, once one may be: in their order, up to `most` of them and, where it is more than
        one, `most_bytes` bytes. Nothing is waited for beside the first.
        """
        numbers = [await self.next()]
        size = self.unanswered[numbers[0]].ByteSize() + FRAME_BYTES
        while len(numbers) < most:
            number, _ = self._best()
            if number is None:
                break
            size += self.unanswered[number].ByteSize() + FRAME_BYTES
            if size > most_bytes:
                break
            self._goes(number)
            numbers.append(number)
        return numbers

    def _best(self) -> tuple[int | None, float | None]:
        """The next one that may be sent now; where there is none, in how many seconds there may be one by itself."""
        now = asyncio.get_running_loop().time()
        pause_s: float | None = None
        best: tuple[int, int] | None = None
        many = len(self._flying) >= self._in_flight
        for own, waiting in self._waiting.items():
            while waiting and not self._counts(*waiting[0]):
                heapq.heappop(waiting)
            if not waiting or (many and own < report_pb2.PRECEDENCE_FLASH):
                continue
            held_s = self._held_until.get(own, 0.0) - now
            if held_s > 0:
                pause_s = held_s if pause_s is None else min(pause_s, held_s)
            elif best is None or waiting[0] < best:
                best = waiting[0]
        return (None, pause_s) if best is None else (best[1], None)

    def _goes(self, number: int) -> None:
        """It is being sent. It is the first of those of its own precedence."""
        heapq.heappop(self._waiting[self._own[number]])
        self._to_send.discard(number)
        self._flying.add(number)

    def answered(self, number: int, *, accepted: bool = True) -> list[int]:
        """It has its answer, for good. Returns the numbers that it supersedes (rules 5 and 6): they wait for no other
        that is not among them, and are to be answered as well, none of them as accepted.
        """
        superseded = []
        for warning in sorted(self._without.pop(number, ())):
            self._aside[warning].discard(number)
            if accepted and not (self.has_lost and _is_later(self.unanswered[warning], self.unanswered[number])):
                superseded.append(warning)
            elif not self._aside[warning]:
                del self._aside[warning]
                self._queue(warning)
        if accepted:
            # It was put in once more, after the all-clear: it stands.
            for never_had in self._never_had.values():
                never_had.discard(self.unanswered[number].report_id)
        self._leave(number)
        return self._with_their_recalls(superseded)

    def _with_their_recalls(self, superseded: list[int]) -> list[int]:
        """What is superseded, and the corrections and cancellations that name nothing else (rule 6)."""
        order, gone = list(superseded), set(superseded)
        for each in order:  # it grows: what names a report may be named itself
            report_id = self.unanswered[each].report_id
            for recall in self._recalled_by.get(each, ()):
                named = _named(self.unanswered[recall]) if recall in self.unanswered else ()
                if report_id not in named:
                    continue
                never_had = self._never_had.setdefault(recall, set())
                never_had.add(report_id)
                waits = recall in self._flying or not self._blocked.get(recall, set()) <= gone
                if never_had.issuperset(named) and not waits and recall not in gone:
                    order.append(recall)
                    gone.add(recall)
        return order

    def _waits_for(self, number: int, other: int) -> bool:
        """Whether it waits for the answer to another, or for one that does."""
        seen, further = set[int](), {number}
        while further:
            each = further.pop()
            seen.add(each)
            further |= self._blocked.get(each, set()) - seen
        return other in seen

    def _leave(self, number: int) -> None:
        del self.unanswered[number], self._own[number], self._ranks[number]
        for all_clear in self._aside.pop(number, ()):
            self._without[all_clear].discard(number)
        self._beside.discard(number)
        self._never_had.pop(number, None)
        self._flying.discard(number)
        self._to_send.discard(number)
        self._put_off.discard(number)
        self._all_clears.discard(number)
        for recall in self._recalled_by.pop(number, ()):
            if recall not in self.unanswered:
                # It was under way when this one was put in, and was taken.
                self._blocked.pop(recall, None)
                continue
            self._blocked[recall].discard(number)
            if not self._blocked[recall]:
                del self._blocked[recall]
                if recall not in self._flying:
                    self._queue(recall)
        self._left.set()
        self._changed.set()

    def refused_for_now(self, number: int, retry_after_ms: int, *, exhausted: bool) -> None:
        """It goes again when the node says. `exhausted`: there is too much of it."""
        loop = asyncio.get_running_loop()
        pause_s = retry_after_ms / 1000 * random.uniform(1.0, 1.0 + JITTER)
        self._flying.discard(number)
        loop.call_later(pause_s, self._again, number)
        if exhausted:
            self._hold(number, loop.time() + pause_s)
        elif self.unanswered[number].WhichOneof("content") in _BY_NAME:
            self._put_off.add(number)
        for all_clear in [each for each in self._all_clears if each in self._blocked]:
            self._go_without(all_clear)
        self._left.set()
        self._changed.set()

    def _hold(self, number: int, until: float) -> None:
        """Has what it says of its own precedence and of lower ones wait (rule 4)."""
        precedences = range(self._own[number] + 1)
        begins = {own for own in precedences if not self._is_held(own)}
        for own in precedences:
            self._held_until[own] = max(self._held_until.get(own, 0.0), until)
        held = [number]
        if begins:
            held += [each for each, own in self._own.items() if own in begins and each not in self._flying]
        while held:  # and what waits for them
            each = held.pop()
            if each not in self._beside:
                self._beside.add(each)
                recalls = self._recalled_by.get(each, ())
                held += [recall for recall in recalls if recall in self._blocked and recall in self.unanswered]

    def _is_held(self, own: int) -> bool:
        return self._held_until.get(own, 0.0) > asyncio.get_running_loop().time()

    def _go_without(self, all_clear: int) -> None:
        """Has an all-clear wait no more for warnings that are refused for now, or held back (rule 5)."""
        for each in list(self._blocked[all_clear]):
            if each not in self._flying and (each not in self._to_send or self._is_held(self._own[each])):
                self._aside.setdefault(each, set()).add(all_clear)
                self._without.setdefault(all_clear, set()).add(each)
                self._to_send.discard(each)
                self._blocked[all_clear].discard(each)
                self._recalled_by[each].remove(all_clear)
        if not self._blocked[all_clear]:
            del self._blocked[all_clear]
            self._queue(all_clear)

    def _again(self, number: int) -> None:
        # A new connection may have taken it meanwhile.
        waits = any(number in those for those in (self._flying, self._to_send, self._blocked, self._aside))
        if number in self.unanswered and not waits:
            self._queue(number)

    def _queue(self, number: int) -> None:
        self._to_send.add(number)
        heapq.heappush(self._waiting.setdefault(self._own[number], []), (-self._ranks[number], number))
        self._changed.set()

    def _counts(self, rank: int, number: int) -> bool:
        return number in self._to_send and self._ranks[number] == -rank


def _rank(report: report_pb2.Report) -> int:
    """As the node has it; a precedence that is none is refused in its turn."""
    routine, flash = int(report_pb2.PRECEDENCE_ROUTINE), int(report_pb2.PRECEDENCE_FLASH)
    if report.WhichOneof("content") in _RECALLS:
        return flash
    return report.precedence if routine <= report.precedence <= flash else routine


def _recalls(report: report_pb2.Report, other: report_pb2.Report) -> bool:
    """Whether `report` recalls `other`, if that was accepted before it."""
    match report.WhichOneof("content"):
        case "all_clear":
            return (
                other.event_id == report.event_id
                and other.traffic_class == report.traffic_class
                and other.WhichOneof("content") in _WARNINGS
            )
        case _:
            return other.report_id in _named(report)


def _is_later(warning: report_pb2.Report, all_clear: report_pb2.Report) -> bool:
    """Whether a warning was made after an all-clear, as the node has it; what is no time it refuses in its turn."""
    made, cleared = warning.report_time, all_clear.report_time
    return (made.seconds, made.nanos) > (cleared.seconds, cleared.nanos)


def _named(report: report_pb2.Report) -> Collection[str]:
    """The reports that a correction or cancellation names."""
    match report.WhichOneof("content"):
        case "correction":
            return report.correction.report_ids
        case "cancellation":
            return report.cancellation.report_ids
        case _:
            return ()
