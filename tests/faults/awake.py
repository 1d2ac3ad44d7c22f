"""How long something took, told in seconds in which this process ran.

A machine that is busy otherwise, or stands still for seconds, says nothing of what waits for what: that time does not
count. What a gateway in this process waits out counts, and so does what keeps it from its work: where its event loop
stands, another thread goes on, or a processor is used.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

LOOK_S: Final = 0.02

MOST_S: Final = 0.1
"""The most that counts between two looks where this process did nothing: it was kept from running."""


@dataclass(slots=True)
class Awake:
    """Seconds so far, never more than have passed. They serve for upper bounds alone."""

    seconds: float = 0.0
    stood_still_s: float = 0.0
    """What did not count."""


@contextlib.contextmanager
def awake() -> Iterator[Awake]:
    """Counts for as long as the block lasts, and afterwards holds what it took."""
    took, over = Awake(), threading.Event()

    def count() -> None:
        looked, worked = time.monotonic(), time.process_time()
        while not over.wait(LOOK_S):
            now, work = time.monotonic(), time.process_time()
            passed = now - looked
            ran = min(passed, max(MOST_S, work - worked))
            took.seconds += ran
            took.stood_still_s += passed - ran
            looked, worked = now, work

    counting = threading.Thread(target=count, name="awake", daemon=True)
    counting.start()
    try:
        yield took
    finally:
        over.set()
        counting.join()
