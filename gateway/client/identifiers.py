"""Identifiers for reports that cost the gateways little, and tell nobody the time at which a report was made.

A store finds a report by its identifier, so identifiers that are made one after another should lie side by side on its
disk: purely random ones (UUID version 4) cost every gateway on the way a page of its own for each report. Those of
version 7 lie so, but tell the millisecond at which they were made, also where a release policy coarsens times. These
are of version 8 (RFC 9562, 5.8):

======  ====  ====================================================================
bit     bits  what
======  ====  ====================================================================
0       48    random, drawn anew each second
48      4     version, 8
52      12    time since that was drawn, in 1/4096 s
64      2     variant, 2
66      62    random
======  ====  ====================================================================

Of two reports with the same first 48 bits they tell that one system made both within one second, and how far apart. Who
must not tell even that uses version 4.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from typing import Final

_TICKS: Final = 4096


class ReportIds:
    """Makes identifiers. For one thread."""

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, random: Callable[[int], bytes] = os.urandom
    ) -> None:
        self._monotonic = monotonic
        self._random = random
        self._prefix = 0
        self._drawn_at: float | None = None

    def new(self) -> str:
        """An identifier that was never given before."""
        now = self._monotonic()
        if self._drawn_at is None or not 0 <= now - self._drawn_at < 1:
            self._prefix = int.from_bytes(self._random(6))
            self._drawn_at = now
        ticks = int((now - self._drawn_at) * _TICKS)
        rest = int.from_bytes(self._random(8)) & (1 << 62) - 1
        return str(uuid.UUID(int=self._prefix << 80 | 8 << 76 | ticks << 64 | 2 << 62 | rest))
