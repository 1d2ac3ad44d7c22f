"""What a client has still to push: in which order it goes, and when it goes again.

Rules, in order:

1. A report leaves the outbox with its answer, and not before. Whatever happens to a connection, what has no answer is
   sent on the next one.
2. The higher precedence goes first, and what recalls reports counts as FLASH; reports of one precedence keep their
   order.
3. What recalls a report goes when that has its answer, if it is in the outbox before it: the node can recall only what
   it has accepted. Meanwhile that report goes as what recalls it.
4. What the node refuses for now goes again when the node says, or up to half as long after that: clients that were
   refused together must not come back together. After RESOURCE_EXHAUSTED nothing else of that precedence or a lower one
   goes before that either.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from typing import Final

from signalfire.v1 import c2_pb2, report_pb2

_RECALLS: Final = frozenset({"correction", "cancellation", "all_clear"})

JITTER: Final = 0.5
"""Up to which part of the time that the node says is added to it."""


class Outbox:
    """Numbers of reports, from 0, in the order in which they were put in. Belongs to the event loop's thread."""

    def __init__(self) -> None:
        self.unanswered: dict[int, c2_pb2.SubmitRequest] = {}
        self._added = 0
        self._ranks: dict[int, int] = {}
        self._waiting: list[tuple[int, int]] = []
        """A heap of those to be sent, by rank and number; only those in `_to_send` count, at their rank of now."""
        self._to_send: set[int] = set()
        self._flying: set[int] = set()
        self._recalled_by: dict[int, list[int]] = {}
        self._blocked: dict[int, set[int]] = {}
        """What waits for answers to others, and to which."""
        self._held_until: dict[int, float] = {}
        self._changed = asyncio.Event()

    def add(self, request: c2_pb2.SubmitRequest) -> None:
        """Puts one in."""
        number, rank = self._added, _rank(request.report)
        self._added += 1
        first = {each for each, other in self.unanswered.items() if _recalls(request.report, other.report)}
        self.unanswered[number] = request
        self._ranks[number] = rank
        for each in first:
            self._recalled_by.setdefault(each, []).append(number)
            if self._ranks[each] < rank:
                self._ranks[each] = rank
                if each in self._to_send:
                    self._queue(each)
        if first:
            self._blocked[number] = first
        else:
            self._queue(number)

    def send_all_again(self) -> None:
        """On a new connection: everything that has no answer."""
        self._waiting.clear()
        self._to_send.clear()
        self._flying.clear()
        for number in self.unanswered:
            if number not in self._blocked:
                self._queue(number)

    async def next(self) -> int:
        """The next one to be sent, once it may be."""
        loop = asyncio.get_running_loop()
        while True:
            self._changed.clear()
            while self._waiting and not self._counts(*self._waiting[0]):
                heapq.heappop(self._waiting)
            pause_s: float | None = None
            if self._waiting:
                # What is held is held for all lower ranks too: if the first may not go, none may.
                pause_s = self._held_until.get(-self._waiting[0][0], 0.0) - loop.time()
                if pause_s <= 0:
                    _, number = heapq.heappop(self._waiting)
                    self._to_send.discard(number)
                    self._flying.add(number)
                    return number
            try:
                async with asyncio.timeout(pause_s):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def answered(self, number: int) -> None:
        """It has its answer."""
        del self.unanswered[number], self._ranks[number]
        self._flying.discard(number)
        self._to_send.discard(number)
        for recall in self._recalled_by.pop(number, ()):
            self._blocked[recall].discard(number)
            if not self._blocked[recall]:
                del self._blocked[recall]
                self._queue(recall)

    def refused_for_now(self, number: int, retry_after_ms: int, *, exhausted: bool) -> None:
        """It goes again when the node says. `exhausted`: there is too much of it."""
        loop = asyncio.get_running_loop()
        pause_s = retry_after_ms / 1000 * random.uniform(1.0, 1.0 + JITTER)
        self._flying.discard(number)
        loop.call_later(pause_s, self._again, number)
        if exhausted:
            for rank in range(self._ranks[number] + 1):
                self._held_until[rank] = max(self._held_until.get(rank, 0.0), loop.time() + pause_s)

    def _again(self, number: int) -> None:
        # A new connection may have taken it meanwhile.
        if number in self.unanswered and number not in self._flying and number not in self._to_send:
            self._queue(number)

    def _queue(self, number: int) -> None:
        self._to_send.add(number)
        heapq.heappush(self._waiting, (-self._ranks[number], number))
        self._changed.set()

    def _counts(self, rank: int, number: int) -> bool:
        return number in self._to_send and self._ranks[number] == -rank


def _rank(report: report_pb2.Report) -> int:
    if report.WhichOneof("content") in _RECALLS:
        return int(report_pb2.PRECEDENCE_FLASH)
    return int(report.precedence)


def _recalls(report: report_pb2.Report, other: report_pb2.Report) -> bool:
    """Whether `report` recalls `other`, if that was accepted before it."""
    match report.WhichOneof("content"):
        case "all_clear":
            return other.event_id == report.event_id
        case "correction":
            return other.report_id in report.correction.report_ids
        case "cancellation":
            return other.report_id in report.cancellation.report_ids
        case _:
            return False
