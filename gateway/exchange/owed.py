"""What a partner's heartbeats say is there, and has not come: by it a stream that is open and dead is told from a
ledger in which nothing happens. Pure.

1. Entries that a heartbeat shows are owed from then on, until this node has them, by whichever way they come.
2. A stream is in doubt from when entries are owed. One that is carried is in no doubt while the direct one of its lane
   brings something, for then the origin sends the same by no other way. Where heartbeats lapsed by its way, a stream is
   in doubt from the last of them on until it brings something, though others come again: these come by another
   connection.
3. A stream that has been in doubt for `patience_s`, and has brought nothing for as long, is opened anew. What this node
   itself takes its time over does not count.
4. If that brings nothing either, the next one gets twice the time, up to `MOST_PATIENCE_S`: a batch may be larger than
   a narrow link carries meanwhile, and begun again and again it would never come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from gateway.ledger.checkpoint import Checkpoint

MOST_PATIENCE_S: Final = 300.0
"""Longest time that a stream gets: in it 8 kB/s carry two batches of the default size."""


@dataclass(slots=True)
class _Debt:
    """Entries of one ledger up to `size`, owed since `since` (monotonic seconds)."""

    origin: str
    size: int
    since: float


@dataclass(slots=True)
class Owed:
    """What one partner owes, by lane."""

    _debts: dict[str, _Debt] = field(default_factory=dict)
    _brought: dict[str, float] = field(default_factory=dict)

    def brought(self, lane: str, now: float) -> None:
        """The direct stream of a lane has brought something."""
        self._brought[lane] = now

    def shown(self, heads: Iterable[Checkpoint], held: Mapping[str, int], now: float) -> None:
        """A heartbeat shows these heads. `held` are the sizes of this node's replicas by origin line."""
        for head in heads:
            lane, origin = head.origin.lane, str(head.origin)
            have = held.get(origin, 0)
            debt = self._debts.get(lane)
            if head.size <= have:
                self._debts.pop(lane, None)
            elif debt is None or debt.origin != origin or debt.size <= have:
                # What was owed before has come: the rest is owed from now on.
                self._debts[lane] = _Debt(origin, head.size, now)

    def since(self, lane: str, *, direct: bool = True) -> float | None:
        """Since when something of a lane is owed by its direct streams, or its carried ones; None where nothing is."""
        debt = self._debts.get(lane)
        if debt is None or direct:
            return None if debt is None else debt.since
        return max(debt.since, self._brought.get(lane, debt.since))


@dataclass(slots=True)
class Watchdog:
    """Watches one stream after another of one lane."""

    patience_s: float
    _patience_s: float = field(init=False)

    def __post_init__(self) -> None:
        self._patience_s = self.patience_s

    def brought(self) -> None:
        """The stream has brought something."""
        self._patience_s = self.patience_s

    def silent_s(
        self, owed_since: float | None, unheard_since: float | None, waiting_since: float | None, now: float
    ) -> float | None:
        """For how many seconds the stream has been in doubt and brought nothing, where it is to be opened anew;
        otherwise None. `unheard_since`: the last heartbeat before a lapse after which it has brought nothing;
        `waiting_since`: since when it is read from, None while what came is worked on.
        """
        if owed_since is None and unheard_since is None:
            # Whatever was slow before has come.
            self._patience_s = self.patience_s
        doubts = [since for since in (owed_since, unheard_since) if since is not None]
        if not doubts or waiting_since is None:
            return None
        silent_s = now - max(min(doubts), waiting_since)
        if silent_s <= self._patience_s:
            return None
        self._patience_s = min(2 * self._patience_s, MOST_PATIENCE_S)
        return silent_s
