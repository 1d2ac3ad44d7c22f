"""What waits for its time: held reports that come due, withdrawals that a partner can be told of now, what a ledger
that ended has still to hand on to its successor, and partners' reports that were put off when they came.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.moving import MOVING, MoveOn, remaining
from gateway.release.passing import PassedOn, PassOn
from gateway.release.pipeline import DecideHeld, TellWithdrawals
from gateway.release.planned.put_off import PUT_OFF, entries_by_owner, next_of, ranges
from gateway.release.ranks import rank_of_lane
from gateway.release.sequencer import Sequencer, Step
from gateway.release.sharing import Decided
from gateway.reports.limits import ReportLimits

log = logging.getLogger(__name__)

LOOK_S = 0.25
"""Seconds between looks: how much later than its time a held report may be decided."""

DUE_AT_ONCE = 256
"""Held reports decided between two looks for other work."""

_Made: TypeAlias = Decided | PassedOn | int | None


async def take_up_pending(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    now_ns: Callable[[], int],
    clock_trusted: Callable[[], bool],
    can_be_told: Callable[[str], bool],
    decided: Callable[[Decided], None],
    waiting: Callable[[Mapping[str, int]], None],
) -> None:
    """Runs until cancelled. `decided` hears of every decision, `waiting` how many withdrawals wait for whom.

    While the clock is not trusted nothing is due: no hold is over, and deciding again would only repeat itself.
    """
    while True:
        try:
            due = reader().held_until(now_ns(), DUE_AT_ONCE) if clock_trusted() else ()
            untold = reader().untold_counts()
            moving = remaining(reader().meta(MOVING))
        except LedgerError as error:
            log.error("what is due cannot be read: %s", error)
            due, untold, moving = (), {}, []
        waiting(untold)
        steps: list[Step[_Made]] = [
            *map(DecideHeld, due),
            *(TellWithdrawals(partner) for partner in untold if can_be_told(partner)),
            *map(MoveOn, dict.fromkeys(rest.source for rest in moving)),
        ]
        if not await _do(sequencer, steps, decided):
            await asyncio.sleep(LOOK_S)


async def pass_on_in_turn(
    sequencer: Sequencer,
    reader: Callable[[], StoreReader],
    lane: str,
    limits: ReportLimits,
    decided: Callable[[Decided], None],
    waiting: Callable[[Mapping[str, int]], None],
) -> None:
    """Passes on what was put off in one lane, until cancelled. `decided` hears of every decision, `waiting` how many
    entries of whom have still to be looked at.

    Each lane has a runner of its own: which is next says the sequencer, and FLASH waits for no other. While there is no
    room for what comes in a lane, none is filled by what has come.
    """
    while True:
        try:
            put_off = ranges(reader().meta(PUT_OFF))
            waiting(entries_by_owner(put_off, lane))
        except LedgerError as error:
            log.error("what is to be passed on cannot be read: %s", error)
            put_off = []
        takes = sequencer.takes
        first = next_of(put_off, lane)
        roomy = [each for each in first if takes is not None and rank_of_lane(each.origin) >= takes]
        if not await _do(sequencer, [PassOn(each.origin, each.traffic_class, limits) for each in roomy], decided):
            await asyncio.sleep(LOOK_S)


async def _do(sequencer: Sequencer, steps: Sequence[Step[_Made]], decided: Callable[[Decided], None]) -> bool:
    """Has these steps made durable. Returns whether any of them got on."""
    progress = False
    # Asked for together, so that one commit takes them all.
    done = await asyncio.gather(*map(sequencer.do, steps), return_exceptions=True)
    for step, result in zip(steps, done, strict=True):
        if isinstance(result, (ReleaseError, LedgerError)):
            # One that fails must not keep the others back; it is tried again with the next look.
            log.error("%s could not be done and is tried again: %s", type(step).__name__, result)
        elif isinstance(result, BaseException):
            raise result
        elif isinstance(result, PassedOn):
            for each in result.decisions:
                decided(each)
            # Where a share is spent there is one more alert some ms later: not worth a commit of its own.
            progress = progress or (result.entries > 0 and not result.waits)
        elif isinstance(result, Decided):
            decided(result)
            progress = True
        else:
            progress = progress or bool(result)
    return progress
