"""When what stands in a ledger goes by a carried way although the direct one is open. Pure; times are monotonic
seconds.

1. FLASH goes at once, by every way.
2. Another lane goes by the carried way while no direct stream of it is open; or when the direct way has brought no
   receipt for `hedge_s` although something stands there. So a failover waits for nothing to be detected.
3. What the partner is known to hold, by whichever way it came, goes by no way again. That is known from what it said at
   the opening of a stream and from its receipts since, and from nothing older: its store may have been set back.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger.origin import Lane


@dataclass(slots=True)
class Standing:
    """How one ledger stands with its follower, by all streams of it."""

    held: int = 0
    """Entries that the follower is known to hold."""
    direct: int = 0
    """Direct streams that are open."""
    answered_at: float = 0.0
    """When the last receipt came by a direct stream, or the first was opened."""
    streams: int = 0
    """All streams that are open."""
    sent: int = 0
    """Entries that went, by whichever stream went furthest."""
    under_way: int = 0
    """Bytes of what went since the follower was last known to hold all that had gone."""

    def opened(self, size: int, now: float, *, direct: bool) -> None:
        """A stream was opened, and the follower says that it holds so much."""
        self.held = self.sent = size
        self.under_way = 0
        self.streams += 1
        if direct:
            self.direct += 1
            self.answered_at = now

    def closed(self, *, direct: bool) -> None:
        """That stream has ended."""
        self.direct -= direct
        self.streams -= 1
        if not self.streams:
            self.under_way = 0

    def went(self, size: int, count: int) -> None:
        """So many bytes went, up to an entry."""
        self.sent = max(self.sent, size)
        self.under_way += count

    def receipted(self, size: int, now: float, *, direct: bool) -> None:
        """A receipt was verified."""
        self.held = max(self.held, size)
        if self.held >= self.sent:
            self.under_way = 0
        if direct:
            self.answered_at = now


@dataclass(slots=True)
class Hedge:
    """Of one carried stream: since when something stands that the follower does not have."""

    hedge_s: float
    lane: str
    _since: float | None = None

    def wait_s(self, standing: Standing, size: int, now: float) -> float:
        """Seconds before what stands between `standing.held` and `size` goes by the carried way; 0: it goes."""
        if size <= standing.held:
            self._since = None
            return 0.0
        if self._since is None:
            self._since = now
        if self.lane == Lane.FLASH or not standing.direct:
            return 0.0
        return max(0.0, max(self._since, standing.answered_at) + self.hedge_s - now)
