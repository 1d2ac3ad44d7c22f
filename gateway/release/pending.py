"""What waits for its time: held reports that come due, withdrawals that a partner can be told of now, and what a ledger
that ended has still to hand on to its successor.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.moving import MOVING, MoveOn, remaining
from gateway.release.pipeline import DecideHeld, TellWithdrawals
from gateway.release.sequencer import Sequencer, Step
from gateway.release.sharing import Decided

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Seconds between looks: how much later than its time a held report may be decided."""

DUE_AT_ONCE = 256
"""Held reports decided between two looks for other work."""


async def take_up_pending(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    now_ns: Callable[[], int],
    clock_trusted: Callable[[], bool],
    can_be_told: Callable[[str], bool],
    decided: Callable[[str, str, bool], None],
    waiting: Callable[[Mapping[str, int]], None],
) -> None:
    """Runs until cancelled. `decided` hears of every decision, `waiting` how many withdrawals wait for whom.

    While the clock is not trusted nothing is due: no hold is over, and deciding again would only repeat itself.
    """
    while True:
        progress = False
        try:
            due = reader().held_until(now_ns(), DUE_AT_ONCE) if clock_trusted() else ()
            untold = reader().untold_counts()
            moving = remaining(reader().meta(MOVING))
        except LedgerError as error:
            log.error("what is due cannot be read: %s", error)
            due, untold, moving = (), {}, []
        waiting(untold)
        steps: list[Step[Decided | int | None]] = [
            *map(DecideHeld, due),
            *(TellWithdrawals(partner) for partner in untold if can_be_told(partner)),
            *map(MoveOn, dict.fromkeys(rest.source for rest in moving)),
        ]
        # Asked for together, so that one commit takes them all.
        done = await asyncio.gather(*map(sequencer.do, steps), return_exceptions=True)
        for step, result in zip(steps, done, strict=True):
            if isinstance(result, (ReleaseError, LedgerError)):
                # One that fails must not keep the others back; it is tried again with the next look.
                log.error("%s could not be done and is tried again: %s", type(step).__name__, result)
            elif isinstance(result, BaseException):
                raise result
            elif isinstance(result, Decided):
                decided(result.partner, result.outcome, result.failed)
                progress = True
            else:
                progress = progress or bool(result)
        if not progress:
            await asyncio.sleep(LOOK_S)
