"""How far a partner's clock is from this node's, by its heartbeats. Pure; times are nanoseconds.

1. Heartbeat n says when it was sent, by the partner's clock, and how long heartbeat n - 1 and its answer took. So the
   time of heartbeat n - 1 is judged, as soon as n says how long that one was under way: it came within its own round
   trip, and half of that is how far off the measure may be.
2. The least uncertain of the last SAMPLES measures counts. Only those count which agree with the newest: where two
   exclude each other, one of the clocks was set in between.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SAMPLES: Final = 8
"""Measures, one a heartbeat: as clocks go they part by less than a millisecond meanwhile."""


@dataclass(frozen=True, slots=True)
class Offset:
    """The partner's clock less this node's, and by how much that may be wrong."""

    ns: int
    error_ns: int

    def agrees(self, other: Offset) -> bool:
        """Whether both can be so."""
        return abs(self.ns - other.ns) <= self.error_ns + other.error_ns


@dataclass(slots=True)
class Offsets:
    """What is measured by one way."""

    _measured: deque[Offset] = field(default_factory=lambda: deque(maxlen=SAMPLES))
    _last: tuple[int, int] | None = None

    def began(self) -> None:
        """A stream was opened: its first heartbeat tells of no round trip."""
        self._last = None

    def heard(self, sent_ns: int, came_ns: int, round_trip_ns: int) -> Offset | None:
        """Takes note of a heartbeat: when it was sent by the partner's clock, when it came by this node's, and how long
        the one before took with its answer; 0: it is the first. Returns what is known then, None where nothing new is.
        """
        last, self._last = self._last, (sent_ns, came_ns)
        if last is None or round_trip_ns == 0:
            return None
        error_ns = round_trip_ns // 2
        newest = Offset(last[0] + error_ns - last[1], error_ns)
        agreeing = [each for each in self._measured if each.agrees(newest)]
        self._measured.clear()
        self._measured.extend((*agreeing, newest))
        return min(reversed(self._measured), key=lambda each: each.error_ns)
