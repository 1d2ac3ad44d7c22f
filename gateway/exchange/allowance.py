"""How much of a partner's ledgers is taken in at once: no partner may fill the disk, or take all the time there is.

An origin whose ledger grows faster than it is allowed to is not refused: it is read more slowly, so that in the long
run no more is stored than was allowed. Each lane has an allowance and a connection of its own, so that no alert waits
for what its tracks have used up. A witness ledger, which nobody here can read, grows by one small batch a beat and has
the smallest. Rules, in order:

1. A batch costs LEAST bytes at least, which bounds how many there are a second, and otherwise what it counts for
   (`gateway.release.batch`), whatever becomes of it. Each statement that had to be made about its entries costs too.
2. A batch that is refused gains nothing, and nobody honest sends it again and again: what it costs is not taken from
   what was saved up alone. The next one is looked at only after the time in which that much is allowed in the long run,
   but for REFUSED_S at the most, on whichever stream it comes.
3. A batch that this node could not take, for reasons of its own, is given back: its partner sends it again.
4. Further signatures on checkpoints have an allowance of their own: a gateway sends about one a second and way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from gateway.ledger.origin import WITNESS, Lane

LEAST: int = 4096
"""Bytes that every batch costs at least: it also costs a commit and a signature."""

REFUSED_S: Final = 5.0
"""Seconds that a lane stands still at the most for one batch that was refused: what was wrong may be mended."""

LINES_S: Final = 16
"""Further signatures on checkpoints that are taken of one ledger in the long run, a second."""

LINES: Final = 256
"""Of these, those that are taken at full speed."""


@dataclass(slots=True)
class Allowance:
    """A bucket of `burst_bytes` that fills again by `bytes_per_s`. `monotonic` gives seconds."""

    bytes_per_s: float
    burst_bytes: float
    monotonic: Callable[[], float]
    _left: float = field(init=False)
    _at: float = field(init=False)
    _refused_until: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self._left, self._at = self.burst_bytes, self.monotonic()

    def wait_s(self, taken: int) -> float:
        """Charges for a batch of `taken` bytes. Returns how many seconds to wait before the next one is looked at."""
        self.charge(taken)
        return self.due_s()

    def charge(self, taken: int) -> None:
        """Takes note of a batch of `taken` bytes, or of what it costs besides."""
        self._spend(max(taken, LEAST))

    def give_back(self, taken: int) -> None:
        """Takes back what a batch of `taken` bytes was charged: it was not looked at, and will come again."""
        # What is above the burst by this does not outlast the next look.
        self._spend(-max(taken, LEAST))

    def refused(self, taken: int) -> None:
        """Takes note that a batch of `taken` bytes, which was charged for, is refused."""
        self._spend(0)
        pause_s = min(max(taken, LEAST) / self.bytes_per_s, REFUSED_S)
        self._refused_until = max(self._refused_until, self._at) + pause_s

    def due_s(self) -> float:
        """Seconds to wait before the next batch is looked at."""
        self._spend(0)
        return max(0.0, -self._left / self.bytes_per_s, self._refused_until - self._at)

    def _spend(self, cost: float) -> None:
        now = self.monotonic()
        self._left = min(self.burst_bytes, self._left + (now - self._at) * self.bytes_per_s) - cost
        self._at = now


class Intake:
    """The allowances of one partner, by whichever ways its ledgers come. `monotonic` gives seconds."""

    def __init__(
        self, witness: Allowance, bytes_per_s: float, burst_bytes: float, monotonic: Callable[[], float]
    ) -> None:
        self._lanes = {lane.value: Allowance(bytes_per_s, burst_bytes, monotonic) for lane in Lane}
        self._lanes[WITNESS] = witness
        self._lines = {lane: Allowance(LINES_S * LEAST, LINES * LEAST, monotonic) for lane in self._lanes}

    def charge(self, lane: str, taken: int) -> None:
        """Takes note of a batch of `taken` bytes of a lane, or of what it costs besides."""
        self._lanes[lane].charge(taken)

    def give_back(self, lane: str, taken: int) -> None:
        """Takes back what a batch of `taken` bytes of a lane was charged: it was not looked at, and will come again."""
        self._lanes[lane].give_back(taken)

    def refused(self, lane: str, taken: int) -> None:
        """Takes note that a batch of `taken` bytes of a lane, which was charged for, is refused."""
        self._lanes[lane].refused(taken)

    def due_s(self, lane: str) -> float:
        """Seconds to wait before the next batch of a lane is looked at."""
        return self._lanes[lane].due_s()

    def line_wait_s(self, lane: str) -> float:
        """Takes note of a further signature on a checkpoint of a lane. Returns how many seconds to wait before anything
        more is read.
        """
        return self._lines[lane].wait_s(LEAST)
