"""How fast cells go: at a steady pace, whether anything waits or not.

A tick comes every `tick_s`. At each goes the same number of cells, by the *pace class*; where nothing waits they are
cover cells. Rules:

1. The class rises by one where what waits would take longer than RAISE_S at the present class. So an alert, which is a
   few cells, never changes the pace; a backlog does.
2. It falls by one after FALL_S in which the class below would have sufficed at every tick.
3. It says nothing but that: classes are few, and a class stays for FALL_S at least before it falls.
4. A tick that comes late is not made up for: cells never go faster than the class says.

What the carrier learns from the pace is therefore that there is, or lately was, a backlog of more than a few tens of
kilobytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.exchange.tunnels.cells import ROOM

RAISE_S: Final = 0.5
"""Seconds that what waits may take at one class: 25 KB at the lowest of the defaults, which is several alerts."""

FALL_S: Final = 30.0
"""Seconds before the class falls."""


@dataclass(frozen=True, slots=True)
class CarryLimits:
    """Bounds of tunnels: of those that this node opens, takes and carries."""

    tick_s: float = 0.04
    """Seconds between ticks: an alert of three cells is through in a tenth of a second at the lowest pace."""
    classes: Sequence[int] = (1, 4, 16)
    """Cells at each tick, by pace class: 50 KB/s, which heartbeats, alerts and their receipts need; 200 KB/s; and
    800 KB/s, some hundreds of tracks a second."""
    hedge_s: float = 1.0
    """Seconds for which the direct way may be without a receipt before the same goes by the carried way: half of the
    time in which a failover is due."""
    tunnels: int = 4
    """Tunnels between two partners that this node carries at once, and from one partner by one carrier that it takes:
    one from each end, and as many being replaced."""
    bytes_s: float = 4_000_000.0
    """Bytes a second that are carried between two partners, both directions of all tunnels together: the highest class
    both ways, twice. What comes faster is read more slowly."""


@dataclass(slots=True)
class Pacer:
    """The pace of one direction of one tunnel. `now` is of one monotonic clock, seconds."""

    limits: CarryLimits
    at: float
    """When the pace began."""
    pace_class: int = 0
    _enough_since: float | None = field(default=None, init=False)
    _due: float = field(init=False)

    def __post_init__(self) -> None:
        self._due = self.at

    def wait_s(self, now: float) -> float:
        """Seconds to the next tick; takes note that it is waited for."""
        self._due = max(self._due + self.limits.tick_s, now)
        return self._due - now

    @property
    def most_waiting(self) -> int:
        """Bytes of one channel that may wait: more than raises the class, and no more than goes in a few seconds."""
        return int(1.5 * RAISE_S * ROOM * self.limits.classes[self.pace_class] / self.limits.tick_s)

    def cells(self, now: float, waiting: int) -> int:
        """How many cells go at this tick, where so many bytes wait."""
        highest = len(self.limits.classes) - 1
        if self._takes_s(waiting, self.pace_class) > RAISE_S and self.pace_class < highest:
            self.pace_class += 1
            self._enough_since = None
        elif self.pace_class > 0:
            if self._takes_s(waiting, self.pace_class - 1) > RAISE_S / 2:
                self._enough_since = None
            elif self._enough_since is None:
                self._enough_since = now
            elif now - self._enough_since >= FALL_S:
                self.pace_class -= 1
                self._enough_since = now
        return self.limits.classes[self.pace_class]

    def _takes_s(self, waiting: int, pace_class: int) -> float:
        return waiting / (ROOM * self.limits.classes[pace_class]) * self.limits.tick_s


@dataclass(slots=True)
class Bucket:
    """Bytes that may go in a second, with a burst of one second."""

    bytes_s: float
    at: float
    _left: float = field(init=False)

    def __post_init__(self) -> None:
        self._left = self.bytes_s

    def wait_s(self, taken: int, now: float) -> float:
        """Takes note of bytes that went. Returns how many seconds to wait before more are read."""
        self._left = min(self.bytes_s, self._left + (now - self.at) * self.bytes_s) - taken
        self.at = now
        return max(0.0, -self._left / self.bytes_s)
