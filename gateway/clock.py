"""Where a node reads the time, and whether it believes it.

Rules:

1. The wall clock may not part from the monotonic clock by more than `STEP_S` while the gateway runs: the time was set
   by hand, or jumped.
2. At the start it may not lie before what is on record: a clock that was set back would put agreements that have
   lapsed in force again.

While either rule is broken the clock is not trusted: agreements count as lapsed, conditions that ask for the time are
errors, holds are not over. The first heals when the clock comes back, or when the gateway is started again; the second
when the clock passes what is on record, or when an operator declares it right (`signalfire serve --clock-is-right`),
which is put on record.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

STEP_S = 2.0
"""Seconds that the two clocks may part: more than a slewed clock ever does between two looks of NTP."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Where a node reads the time."""

    now_ns: Callable[[], int] = time.time_ns
    monotonic_ns: Callable[[], int] = time.monotonic_ns

    def now(self) -> datetime:
        """The time, UTC."""
        return datetime.fromtimestamp(self.now_ns() / 1e9, UTC)

    def monotonic(self) -> float:
        """Seconds of a clock that never goes back."""
        return self.monotonic_ns() / 1e9


@dataclass(slots=True)
class ClockWatch:
    """Watches one clock. `not_before_ns`: the newest time on record."""

    clock: Clock
    not_before_ns: int = 0
    _began_ns: int = field(init=False)
    _began_monotonic_ns: int = field(init=False)

    def __post_init__(self) -> None:
        self._began_ns = self.clock.now_ns()
        self._began_monotonic_ns = self.clock.monotonic_ns()

    @property
    def problem(self) -> str | None:
        """Why the clock is not trusted; None where it is."""
        now_ns = self.clock.now_ns()
        passed = self.clock.monotonic_ns() - self._began_monotonic_ns
        step_s = (now_ns - self._began_ns - passed) / 1e9
        if abs(step_s) > STEP_S:
            return f"the clock was set {'forward' if step_s > 0 else 'back'} by {abs(step_s):.1f} s since the start"
        behind_s = (self.not_before_ns - now_ns) / 1e9
        if behind_s > STEP_S:
            return f"the clock is {behind_s:.1f} s behind what is on record"
        return None

    def trusted(self) -> bool:
        """Whether the clock is believed."""
        return self.problem is None
