"""How often something may be opened: so many at once after a while without, so many a second in the long run. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Openings:
    """A bucket of openings. Times are seconds of one clock that never goes back."""

    a_second: float
    at_once: float
    _left: float = field(init=False)
    _at: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        self._left = self.at_once

    def left(self, now: float) -> bool:
        """Whether one may be opened now."""
        self._left = min(self.at_once, self._left + (now - self._at) * self.a_second)
        self._at = now
        # What sums up to one by floating point is one.
        return self._left >= 1 - 1e-9

    def take(self, now: float) -> bool:
        """Whether one may be opened now, which then counts."""
        if not self.left(now):
            return False
        self._left -= 1
        return True

    def wait_s(self, now: float) -> float:
        """0 where one may be opened now, which then counts; otherwise the seconds until one may."""
        return 0.0 if self.take(now) else (1 - self._left) / self.a_second
