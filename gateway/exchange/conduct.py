"""How a partner's gateway behaves towards this one: what its streams were ended for.

What it does wrong ends the stream it does it on and nothing else; that it does so again and again is told.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Final

SHOWN_S: Final = 60.0
"""Seconds for which it is told that streams were ended for what the partner did."""

SHOWN_FROM: Final = 3
"""Streams ended within that time from which it is told: one or two are a restart, or a bundle that was just changed."""

_COUNTED: Final = 1000
"""How many of them are counted at most."""


@dataclass(slots=True)
class Conduct:
    """Of one partner. Times are monotonic, in seconds."""

    _ended: deque[float] = field(default_factory=lambda: deque(maxlen=_COUNTED))
    _words: str = ""

    def ended(self, why: str, now: float) -> None:
        """A stream of it was ended for what it did, or did not do."""
        self._ended.append(now)
        self._words = why

    def told(self, now: float) -> str:
        """What it does, in words; empty where that is nothing of note."""
        while self._ended and self._ended[0] <= now - SHOWN_S:
            self._ended.popleft()
        if len(self._ended) < SHOWN_FROM:
            return ""
        number = f"{_COUNTED} or more" if len(self._ended) == _COUNTED else f"{len(self._ended)}"
        return f"{number} of its streams were ended in the last {SHOWN_S:.0f} s; the last: {self._words}"
