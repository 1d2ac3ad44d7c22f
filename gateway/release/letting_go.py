"""Looks from time to time for what is old, and lets go of it a little at a time (`gateway.release.retention`)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.retention import Looked, PruneEntries, PruneReports, position, reports_position
from gateway.release.sequencer import Sequencer

log = logging.getLogger(__name__)

LOOK_S: Final = 600.0
"""Seconds between looks: what is kept for days need not go to the minute."""

PAUSE_S: Final = 0.1
"""Seconds between two steps of a look: a warning that comes meanwhile waits for one of them at most."""

DAY_NS: Final = 86_400 * 1_000_000_000

AHEAD_NS: Final = 7 * DAY_NS
"""How far a clock may lie ahead of the newest time on record when a gateway starts, and have contents pruned by it: a
clock that is a year ahead would have everything go, and nothing that went ever comes back. A gateway that was switched
off for longer asks an operator."""

WAITS: Final = "pruning waits"
"""Key of the store's own value that says that nothing is pruned, until an operator declares the clock right."""


WHY_IT_WAITS: Final = (
    "when this gateway started, its clock was more than 7 days ahead of the newest time on record, and by a wrong clock"
    " everything would go; look at the clock, and start once with `signalfire serve --clock-is-right`"
)


def is_ahead(now_ns: int, newest_ns: int) -> bool:
    """Whether a clock is too far ahead of the newest time on record (0: there is none) to prune by it."""
    return newest_ns > 0 and now_ns - newest_ns > AHEAD_NS


@dataclass(frozen=True, slots=True)
class Retention:
    """How many days contents are kept; None: for ever. `entries_days` counts from the recipient's receipt."""

    reports_days: int | None = None
    entries_days: int | None = None


async def let_go(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    retention: Retention,
    now_ns: Callable[[], int],
    pruned: Callable[[str, int], None],
) -> None:
    """Runs until cancelled. `pruned` hears of what ("report", "entry") went, and how many."""
    while retention != Retention():
        try:
            if reader().meta(WAITS):
                log.error("nothing is pruned: %s", WHY_IT_WAITS)
            else:
                await look(sequencer, reader, retention, now_ns, pruned)
        except (ReleaseError, LedgerError) as error:
            log.error("what is old could not be pruned and is tried again: %s", error)
        await asyncio.sleep(LOOK_S)


async def look(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    retention: Retention,
    now_ns: Callable[[], int],
    pruned: Callable[[str, int], None],
) -> None:
    """One look at everything. Raises ReleaseError or LedgerError."""
    total = 0

    async def paused(what: str, looked: Looked) -> None:
        nonlocal total
        total += looked.pruned
        pruned(what, looked.pruned)
        if not looked.done:
            await asyncio.sleep(PAUSE_S)

    if retention.reports_days is not None:
        looked = Looked(reports_position(reader()), 0, 0, done=False)
        while not looked.done:
            looked = await sequencer.do(PruneReports(looked.segment, now_ns() - retention.reports_days * DAY_NS))
            await paused("report", looked)
    if retention.entries_days is not None:
        for row in reader().ledgers():
            if row.origin.recipient is None:
                continue
            at = position(reader(), row)
            looked = Looked(at, at, 0, done=False)
            while not looked.done:
                before_ns = now_ns() - retention.entries_days * DAY_NS
                looked = await sequencer.do(PruneEntries(row.origin, looked.segment, looked.index, before_ns))
                await paused("entry", looked)
    if total:
        log.info("pruned %d reports and entries that are older than they are kept", total)
