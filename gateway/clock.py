"""Where a node reads the time, and whether it believes it.

A gateway goes by a time of its own (`SteadyClock`): what it decides, signs, holds and lets expire is by that alone.
Rules, in order:

1. It begins with the machine's wall clock, but not before the newest time on record: what a gateway has put its name to
   never goes back, over restarts as well. An operator who declares the wall clock right (`signalfire serve
   --clock-is-right`) has it begin with that all the same, on record.
2. It runs with the monotonic clock, never goes back, and follows the wall clock while the two part by no more than
   STEP_S: one part in FOLLOWS of the time that passes, so that a small correction disturbs nothing.
3. Where they part by more, the wall clock has jumped. Nobody here knows which of the two is right. The time runs on as
   if nothing had happened, so that nothing expires or changes places; and it is not trusted, until the wall clock comes
   back or the gateway is started again.
4. Until it is trusted for the first time, it follows the wall clock wherever that goes: forward at once; where the wall
   clock lies behind, the time nearly stands still until that has caught up. So a machine that is started with a wrong
   time and then set right needs nobody's hand.
5. While the machine says that its clock is not synchronised, the time is not trusted (`gateway.synchronisation`).

While the time is not trusted agreements count as lapsed, conditions that ask for the time are errors, no hold is over,
nothing is pruned.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

STEP_S: Final = 2.0
"""Seconds that the time and the wall clock may part: more than a leap second, or than a clock that is disciplined is
ever corrected by."""

FOLLOWS: Final = 100
"""One part in so many of the time that passes is how fast the time follows the wall clock: a second within two minutes,
and no interval that anything is measured by is a hundredth off."""

_STEP_NS: Final = int(STEP_S * 1e9)

_CLOSE_NS: Final = 10_000_000
"""Nanoseconds within which both clocks of the machine were read for them to be held against each other: a process that
is stopped between the two would see the wall clock jump."""

_READINGS: Final = 5
"""Readings of which the closest counts, where none was that close."""


@dataclass(frozen=True, slots=True)
class Clock:
    """The clocks of the machine."""

    now_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns

    def now(self) -> datetime:
        """The time of the wall clock, UTC."""
        return datetime.fromtimestamp(self.now_ns() / 1e9, UTC)

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return self.monotonic_ns() / 1e9


class SteadyClock:
    """The time that one gateway goes by. Every thread may ask.

    Before `begin` it is the wall clock's, and not trusted. `unsynchronised` says why the machine's clock is not
    synchronised; empty where it is, or nobody asks. It must not take long.
    """

    def __init__(self, machine: Clock, unsynchronised: Callable[[], str] = lambda: "") -> None:
        self._machine = machine
        self._unsynchronised = unsynchronised
        self._lock = threading.Lock()
        self._last_ns = machine.monotonic_ns()
        self._time_ns = machine.now_ns()
        self._not_before_ns = 0
        self._begun = False
        self._settled = False
        """Whether the time was trusted once."""

    def begin(self, newest_ns: int, *, declared_right: bool = False) -> None:
        """Begins. `newest_ns` is the newest time on record at which the time was trusted; 0: there is none."""
        with self._lock:
            self._last_ns, wall_ns = self._read()
            self._not_before_ns = 0 if declared_right else newest_ns
            self._time_ns = max(wall_ns, self._not_before_ns)
            self._begun = True

    def now_ns(self) -> int:
        """The time, nanoseconds since 1970; never less than it was."""
        with self._lock:
            self._advance()
            return self._time_ns

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.fromtimestamp(self.now_ns() / 1e9, UTC)

    def monotonic(self) -> float:
        """Seconds of the machine's clock that never goes back."""
        return self._machine.monotonic()

    def monotonic_ns(self) -> int:
        """The same, nanoseconds."""
        return self._machine.monotonic_ns()

    @property
    def problem(self) -> str | None:
        """Why the time is not trusted; None where it is."""
        with self._lock:
            apart_ns = self._advance()
            if not self._begun:
                return "the gateway is starting, and has not looked at its clock yet"
            if abs(apart_ns) > _STEP_NS:
                return self._jumped(apart_ns)
            unsynchronised = self._unsynchronised()
            if unsynchronised:
                return unsynchronised
            self._settled = True
            return None

    def trusted(self) -> bool:
        """Whether the time is believed."""
        return self.problem is None

    def _advance(self) -> int:
        """Lets the time go on. Returns by how much the wall clock is ahead of it then, nanoseconds."""
        at_ns, wall_ns = self._read()
        passed_ns = max(at_ns - self._last_ns, 0)
        most_ns = passed_ns // FOLLOWS
        self._last_ns += passed_ns
        if not self._settled:
            self._time_ns = max(self._time_ns + most_ns, wall_ns)
            return wall_ns - self._time_ns
        self._time_ns += passed_ns
        apart_ns = wall_ns - self._time_ns
        if abs(apart_ns) <= _STEP_NS:
            self._time_ns += max(-most_ns, min(apart_ns, most_ns))
        return wall_ns - self._time_ns

    def _read(self) -> tuple[int, int]:
        """The monotonic clock and the wall clock at one moment."""
        readings = []
        for _ in range(_READINGS):
            at_ns, wall_ns = self._machine.monotonic_ns(), self._machine.now_ns()
            took_ns = self._machine.monotonic_ns() - at_ns
            if took_ns <= _CLOSE_NS:
                return at_ns, wall_ns
            readings.append((took_ns, at_ns, wall_ns))
        _, at_ns, wall_ns = min(readings)
        return at_ns, wall_ns

    def _jumped(self, apart_ns: int) -> str:
        if self._settled:
            which = "forward" if apart_ns > 0 else "back"
            return f"the clock was set {which} by {abs(apart_ns) / 1e9:.1f} s since the start"
        behind_ns = self._not_before_ns - (self._time_ns + apart_ns)
        if behind_ns > 0:
            return f"the clock is {behind_ns / 1e9:.1f} s behind what is on record"
        return f"the clock was set back by {-apart_ns / 1e9:.1f} s while the gateway started"
