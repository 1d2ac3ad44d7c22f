"""What a node takes from its C2 systems and partners, by the room that is left for its store.

Rules, in order:

1. While there is room for `reserve_bytes`, everything is taken.
2. Below that FLASH alone is: launch warnings, and what recalls reports. So there is room left for the reports that must
   not wait, and for what the node has to put on record by itself.
3. Below `least_bytes` nothing is taken from anybody. What is left is for the node's own records: a disk that is filled
   to its last byte has to be mended before anything at all can be written.
4. More is taken again only with an eighth more room than that, so that it does not come and go with every commit.

How much room there is, is asked after each commit and each second. What cannot be told stands as it was before.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.release.ranks import Rank

log = logging.getLogger(__name__)

MORE: Final = 1.125
"""Rule 4, as a factor."""

RETRY_MS: Final = 5000
"""What whoever finds no room is told to wait, milliseconds: room is made by people."""


@dataclass(frozen=True, slots=True)
class StoreLimits:
    """How much room is kept free for the store."""

    reserve_bytes: int = 256 << 20
    """Bytes below which FLASH alone is taken: some 50,000 alerts to a dozen partners."""
    least_bytes: int = 64 << 20
    """Bytes below which nothing is taken: what a node puts on record by itself in a day, and SQLite's log."""


def free_bytes(store: Path) -> int | None:
    """Bytes that a process without privileges can still write to the disk of the store; None: it does not say."""
    try:
        there = os.statvfs(store.parent)
    except OSError:
        return None
    return there.f_bavail * there.f_frsize


def lowest(free: int, limits: StoreLimits, before: Rank | None) -> Rank | None:
    """The lowest rank that is taken with so many bytes free, where `before` was."""
    taken: Rank | None = None
    for rank, bound in ((Rank.FLASH, limits.least_bytes), (Rank.ROUTINE, limits.reserve_bytes)):
        rises = before is None or rank < before
        if free >= bound * (MORE if rises else 1):
            taken = rank
    return taken


class Room:
    """Looks at the room that there is. `look` may be called from any thread."""

    def __init__(self, free: Callable[[], int | None], limits: StoreLimits | None = None) -> None:
        self._free = free
        self._limits = limits or StoreLimits()
        self.takes: Rank | None = Rank.ROUTINE
        """The lowest rank that there is room for; None: for none."""
        self.free_bytes: int | None = None
        """As it was at the last look; None: not known."""

    @property
    def reason(self) -> str:
        """Why not everything is taken; empty where it is."""
        if self.takes is Rank.ROUTINE:
            return ""
        what = "nothing is" if self.takes is None else f"{self.takes.name} alone is"
        free = "an unknown number of bytes" if self.free_bytes is None else f"{self.free_bytes >> 20} MiB"
        return f"the disk of the store is nearly full ({free} free): {what} taken; make room"

    def look(self) -> None:
        """Looks once."""
        free = self._free()
        if free is None:
            return
        before, self.free_bytes = self.takes, free
        self.takes = lowest(free, self._limits, before)
        if self.takes is before:
            return
        if self.takes is Rank.ROUTINE:
            log.warning("there is room for the store again (%d MiB free): everything is taken", free >> 20)
        else:
            log.critical("%s", self.reason)
