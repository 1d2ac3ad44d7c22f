"""Waking those who wait for something to become durable.

Both classes belong to the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from gateway.ledger.origin import Origin
from gateway.release.plan import FeedEntry
from gateway.release.sequencer import Durable

RECENT_ITEMS = 4096
"""Items of the feed kept in memory for subscribers who are not far behind: some megabytes at most."""


class Bell:
    """Wakes all who wait. A ring between two waits is not lost: `wait` returns at once if one came since `seen`."""

    def __init__(self) -> None:
        self.rings = 0
        self._waiting: dict[asyncio.Future[None], None] = {}
        """In the order in which they came."""

    def ring(self) -> None:
        """Wakes everyone who waits."""
        self.rings += 1
        for waiting in self._waiting:
            _wake(waiting)

    async def wait(self, seen: int, within_s: float | None = None) -> int:
        """Returns the number of rings once it is larger than `seen`, and as it is after `within_s` seconds at the
        latest.
        """
        if self.rings == seen:
            loop = asyncio.get_running_loop()
            waiting = loop.create_future()
            self._waiting[waiting] = None
            timer = None if within_s is None else loop.call_later(within_s, _wake, waiting)
            try:
                await waiting
            finally:
                del self._waiting[waiting]
                if timer is not None:
                    timer.cancel()
        return self.rings


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Watch:
    """What has just become durable: a bell a ledger, and the recent part of the feed."""

    def __init__(self) -> None:
        self.feed_bell = Bell()
        self.signature_bell = Bell()
        self._ledger_bells: dict[Origin, Bell] = {}
        self._recent: deque[FeedEntry] = deque(maxlen=RECENT_ITEMS)

    def ledger_bell(self, origin: Origin) -> Bell:
        """The bell that rings when that ledger grows, gains a signature or ends."""
        return self._ledger_bells.setdefault(origin, Bell())

    def durable(self, what: Durable) -> None:
        """Takes note of a commit."""
        if what.reopened:
            self.forget()
        self._recent.extend(what.feed)
        for origin in what.grown | what.ended.keys():
            self.ledger_bell(origin).ring()
        if what.feed or what.reopened:
            self.feed_bell.ring()

    def recent_after(self, seq: int) -> Sequence[FeedEntry] | None:
        """The items of the feed after number `seq`, or None when memory does not reach back so far."""
        if not self._recent or self._recent[0].row.seq > seq + 1:
            return None
        first = self._recent[0].row.seq
        return [self._recent[place] for place in range(max(0, seq + 1 - first), len(self._recent))]

    def forget(self) -> None:
        """Lets go of the recent items: after a commit in doubt the store may hold items that are not among them."""
        self._recent.clear()
