"""When a partner is dialled again, and at which of its addresses. Pure: times and chance are passed in.

1. An attempt that fails is followed by a pause that doubles up to a cap. Half of it is drawn, so that nodes that lost
   each other together do not dial together.
2. While an attempt has no answer, a further one begins each `stagger_s`, up to `most` at once: a lost SYN, or a
   connection that a machine between has taken and forgotten, delays nobody for longer than that. One that has no answer
   within `attempt_s` is given up. With the pace of TCP, which repeats a SYN after a second, one goes out each
   `stagger_s` as long as a partner is away.
3. Addresses take turns. One that fails stands back by `stagger_s`, and by twice that with each further failure up to
   `STAND_BACK` times, so that one that is gone does not take every other turn; and it is tried again for all that.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

STAND_BACK: Final = 32
"""Turns at most by which an address that fails stands back: with the defaults it is tried each quarter of a minute."""


@dataclass(slots=True)
class Backoff:
    """The pauses after failures, seconds."""

    least_s: float
    most_s: float
    draw: Callable[[float, float], float] = random.uniform
    _next_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._next_s = self.least_s

    def pause_s(self) -> float:
        """The next pause."""
        pause, self._next_s = self._next_s, min(2 * self._next_s, self.most_s)
        return pause * self.draw(0.5, 1.0)

    def reset(self) -> None:
        """It has worked, or the partner was heard of."""
        self._next_s = self.least_s


@dataclass(frozen=True, slots=True)
class Pace:
    """How attempts follow one another."""

    stagger_s: float
    most: int
    attempt_s: float


@dataclass(slots=True)
class Attempts:
    """The attempts to make one connection. Whoever makes them says when they begin and end; times are monotonic."""

    pace: Pace
    backoff: Backoff
    due: float
    """When the next one may begin."""
    _began: float = float("-inf")
    _further: int = 0

    def may_begin(self, under_way: int, now: float) -> bool:
        """Whether a further one is to begin, with so many under way."""
        return now >= self.due and under_way < self.pace.most + self._further

    def begins(self, now: float) -> None:
        """One begins."""
        self._began, self.due, self._further = now, now + self.pace.stagger_s, 0

    def failed(self, under_way: int, now: float) -> None:
        """One has failed, and so many are still under way. These have their time; otherwise it is the pause's."""
        if not under_way:
            self.due = now + self.backoff.pause_s()

    def heard_of(self, now: float) -> None:
        """The partner has been heard of: the next one begins at once, even where as many are under way as may be. One
        that has just begun is answered as soon as another would be.
        """
        self.backoff.reset()
        self._further = 1
        self.due = min(self.due, max(now, self._began + self.pace.stagger_s / 2))

    def wait_s(self, under_way: Collection[float], now: float) -> float:
        """Seconds after which something is to be done, where attempts that began at these times are under way."""
        times = [began + self.pace.attempt_s for began in under_way]
        if len(under_way) < self.pace.most + self._further:
            times.append(self.due)
        return max(0.0, min(times) - now)

    def overdue(self, began: float, now: float) -> bool:
        """Whether an attempt that began then is given up."""
        return now - began >= self.pace.attempt_s


@dataclass(slots=True)
class Addresses:
    """Which address of a partner is dialled next. All streams to the partner share it."""

    stagger_s: float
    _failures: dict[str, int] = field(default_factory=dict)
    _tried: dict[str, float] = field(default_factory=dict)

    def next(self, offered: Sequence[str], now: float) -> str:
        """One of `offered`, which is not empty. What is offered no more is forgotten."""
        for gone in self._tried.keys() - set(offered):
            self._tried.pop(gone)
            self._failures.pop(gone, None)
        chosen = min(offered, key=lambda address: (self._due(address), offered.index(address)))
        self._tried[chosen] = now
        return chosen

    def _due(self, address: str) -> float:
        failures = self._failures.get(address, 0)
        turns = min(2 ** (failures - 1), STAND_BACK) if failures else 0
        return self._tried.get(address, float("-inf")) + turns * self.stagger_s

    def failed(self, address: str) -> None:
        """A connection to it could not be made."""
        self._failures[address] = self._failures.get(address, 0) + 1

    def worked(self, address: str) -> None:
        """A connection to it was made."""
        self._failures.pop(address, None)
