"""What waits for its time: held reports that come due, and withdrawals that a partner can be told of now."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.pipeline import DecideHeld, TellWithdrawals
from gateway.release.sequencer import Sequencer

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Seconds between looks: how much later than its time a held report may be decided."""

DUE_AT_ONCE = 256
"""Held reports decided between two looks for other work."""


async def take_up_pending(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    now_ns: Callable[[], int],
    can_be_told: Callable[[str], bool],
    decided: Callable[[str, str, bool], None],
    waiting: Callable[[Mapping[str, int]], None],
) -> None:
    """Runs until cancelled. `decided` hears of every decision, `waiting` how many withdrawals wait for whom."""
    while True:
        busy = False
        try:
            for held in reader().held_until(now_ns(), DUE_AT_ONCE):
                busy = True
                if (short := await sequencer.do(DecideHeld(held))) is not None:
                    decided(short.partner, short.outcome, short.failed)
            untold = reader().untold_counts()
            waiting(untold)
            for partner in untold:
                if can_be_told(partner):
                    busy = await sequencer.do(TellWithdrawals(partner)) > 0 or busy
        except (ReleaseError, LedgerError) as error:
            log.error("what is due could not be made durable and is tried again: %s", error)
            busy = False
        if not busy:
            await asyncio.sleep(LOOK_S)
