"""How much of a partner's ledgers is taken in at once: no partner may fill the disk, or take all the time there is.

An origin whose ledger grows faster than it is allowed to is not refused: it is read more slowly, so that in the long
run no more is stored than was allowed. Each lane has an allowance and a connection of its own, so that no alert waits
for what its tracks have used up. A witness ledger, which nobody here can read, grows by one small batch a beat and has
the smallest. A batch costs LEAST bytes at least, which bounds how many there are a second.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gateway.ledger.origin import WITNESS, Lane

LEAST: int = 4096
"""Bytes that every batch costs at least: it also costs a commit and a signature."""


@dataclass(slots=True)
class Allowance:
    """A bucket of `burst_bytes` that fills again by `bytes_per_s`. `monotonic` gives seconds."""

    bytes_per_s: float
    burst_bytes: float
    monotonic: Callable[[], float]
    _left: float = field(init=False)
    _at: float = field(init=False)

    def __post_init__(self) -> None:
        self._left, self._at = self.burst_bytes, self.monotonic()

    def wait_s(self, taken: int) -> float:
        """Takes note of a batch of `taken` bytes. Returns how many seconds to wait before the next one is read."""
        now = self.monotonic()
        self._left = min(self.burst_bytes, self._left + (now - self._at) * self.bytes_per_s) - max(taken, LEAST)
        self._at = now
        return max(0.0, -self._left / self.bytes_per_s)


class Intake:
    """The allowances of one partner, by whichever ways its ledgers come. `monotonic` gives seconds."""

    def __init__(
        self, witness: Allowance, bytes_per_s: float, burst_bytes: float, monotonic: Callable[[], float]
    ) -> None:
        self._lanes = {lane.value: Allowance(bytes_per_s, burst_bytes, monotonic) for lane in Lane}
        self._lanes[WITNESS] = witness

    def wait_s(self, lane: str, taken: int) -> float:
        """Takes note of a batch of `taken` bytes of a lane. Returns how many seconds to wait before its next one is
        read.
        """
        return self._lanes[lane].wait_s(taken)
