"""How much of a partner's witness ledger is taken in at once: what nobody here can read must not fill the disk.

A witness ledger grows by one small batch a beat. An origin that lets it grow faster is not refused: it is read more
slowly, so that in the long run no more is stored than was allowed. Its other lanes have connections of their own and
wait for nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

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
