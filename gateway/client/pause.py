"""The pause before dialling again."""

from __future__ import annotations

import asyncio
import random
from typing import Final

BACKOFF_MIN_S: Final = 0.1
"""First pause, seconds."""

BACKOFF_MAX_S: Final = 2.0
"""Longest pause, seconds: a gateway that returns is in use within about that time."""


class Pause:
    """Doubles up to a cap, with jitter."""

    def __init__(self) -> None:
        self._next = BACKOFF_MIN_S

    def reset(self) -> None:
        """Something was received: the connection works."""
        self._next = BACKOFF_MIN_S

    async def wait(self) -> None:
        """Waits."""
        await asyncio.sleep(self._next * random.uniform(0.5, 1.0))
        self._next = min(2 * self._next, BACKOFF_MAX_S)
