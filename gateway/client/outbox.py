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
5. An all-clear waits for no warning that rule 4 holds back: it goes without, and the warning stays. Once the all-clear
   is accepted the warning is superseded, and leaves the outbox without having been sent: accepted after the all-clear,
   it would stand. If the all-clear is refused for good, the warning goes after all. A warning that is later than the
   all-clear, by report_time, is not superseded: it goes after it, and stands. A correction or cancellation waits, for
   the node refuses one that names what it does not know.
6. A correction or cancellation that names nothing but what was superseded is superseded with it: the node never had
   any of that, or has lost it (rule 8), so nothing is to be recalled, and it would refuse the recall. One that names
   anything else goes: only who made it can name the others in one of their own, and the node's answer tells him to. So
   does one under way.
7. What the node has lost may be put in after what names it, and that may name each other. No report waits for one that
   waits for it: of such a ring the one that was refused for now goes again in its time, until the node has it or
   refuses it for good, and the others after it.
8. While the node asks for what it has lost, partners may have what is superseded. It is recalled there all the same:
   what they give back from before the loss the node holds against the all-clears that it has accepted, and lets none
   stand that is no later than one of them, by report_time. A later one it does let stand, so that one has to reach the
   node, and then what recalls it: this is why rule 5 goes by report_time.
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

JITTER: Final = 0.5
"""Up to which part of the time that the node says is added to it."""


class Outbox:
    """Numbers of reports, from 0, in the order in which they were put in. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.unanswered: dict[int, report_pb2.Report] = {}
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
        """Warnings that are held back, and the all-clears that went without them."""
        self._held_until: dict[int, float] = {}
        self._put_off: set[int] = set()
        """Corrections and cancellations that were refused for now, and not for their number."""
        self._never_had: dict[int, set[str]] = {}
        """Of corrections and cancellations, the reports that they name and that were superseded."""
        self._changed = asyncio.Event()

    def add(self, report: report_pb2.Report) -> None:
        """Puts one in."""
        number, rank = self._added, _rank(report)
        self._added += 1
        first = set[int]()
        if report.WhichOneof("content") in _RECALLS:
            first = {each for each, other in self.unanswered.items() if _recalls(report, other)}
        self.unanswered[number] = report
        self._own[number] = self._ranks[number] = rank
        for each in first:
            self._recalled_by.setdefault(each, []).append(number)
            if self._ranks[each] < rank:
                self._ranks[each] = rank
                if each in self._to_send:
                    self._queue(each)
        if first:
            self._blocked[number] = first
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
        for own, waiting in self._waiting.items():
            while waiting and not self._counts(*waiting[0]):
                heapq.heappop(waiting)
            if not waiting:
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
        for warning in [each for each, all_clears in self._aside.items() if number in all_clears]:
            self._aside[warning].discard(number)
            if accepted:
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
        self._aside.pop(number, None)
        self._never_had.pop(number, None)
        self._flying.discard(number)
        self._to_send.discard(number)
        self._put_off.discard(number)
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

    def refused_for_now(self, number: int, retry_after_ms: int, *, exhausted: bool) -> bool:
        """It goes again when the node says. `exhausted`: there is too much of it. Returns whether it may wait for a
        report that is put in later, the first time that this is so.
        """
        loop = asyncio.get_running_loop()
        pause_s = retry_after_ms / 1000 * random.uniform(1.0, 1.0 + JITTER)
        self._flying.discard(number)
        loop.call_later(pause_s, self._again, number)
        if exhausted:
            for own in range(self._own[number] + 1):
                self._held_until[own] = max(self._held_until.get(own, 0.0), loop.time() + pause_s)
            for recall in list(self._blocked):
                self._go_without(recall)
        content = self.unanswered[number].WhichOneof("content")
        if exhausted or content not in _BY_NAME or number in self._put_off:
            return False
        self._put_off.add(number)
        return True

    def _go_without(self, recall: int) -> None:
        """Has an all-clear wait no more for warnings that are held back (rule 5)."""
        report = self.unanswered.get(recall)
        if report is None or report.WhichOneof("content") != "all_clear":
            return
        now = asyncio.get_running_loop().time()
        for each in list(self._blocked[recall]):
            if each in self._aside or (each not in self._flying and self._held_until.get(self._own[each], 0.0) > now):
                if not _is_later(self.unanswered[each], report):
                    self._aside.setdefault(each, set()).add(recall)
                    self._to_send.discard(each)
                self._blocked[recall].discard(each)
                self._recalled_by[each].remove(recall)
        if not self._blocked[recall]:
            del self._blocked[recall]
            self._queue(recall)

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
