"""How much of the record one officer may fill: a certificate that fell into wrong hands must not fill the disk.

Nothing that is recorded is ever deleted, so looks and refused orders cost what they take of the ledger. Each officer
has a bucket of his own for each of the two: whoever searches too much can still bring an order.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final

LEAST: Final = 4096
"""Bytes that a record costs at least: beside its words it is an entry, a checkpoint and a commit."""


@dataclass(slots=True)
class Budget:
    """A bucket of `burst_bytes` for each, which fills again by `bytes_per_s`. `monotonic` gives seconds."""

    bytes_per_s: float
    burst_bytes: float
    monotonic: Callable[[], float]
    _spent: dict[Hashable, tuple[float, float]] = field(default_factory=dict)
    """Of each what is missing from its bucket, and when that was so. A full bucket is not kept."""

    def wait_s(self, whose: Hashable, size: int) -> float:
        """Takes `size` bytes (LEAST, if that is more) and returns 0; or takes nothing, and returns after how many
        seconds it may be tried again. More than a bucket holds is taken from a full one.
        """
        now, cost = self.monotonic(), min(max(size, LEAST), self.burst_bytes)
        spent, at = self._spent.get(whose, (0.0, now))
        spent = max(0.0, spent - (now - at) * self.bytes_per_s)
        over = spent + cost - self.burst_bytes
        if over > 0:
            return over / self.bytes_per_s
        self._spent[whose] = spent + cost, now
        return 0.0
