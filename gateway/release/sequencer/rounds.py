"""One commit after another: what has queued is taken, made durable in the sequencer's thread, announced and answered.

A commit takes what has queued while the one before it became durable, with no timer: batches grow with load by
themselves, and an idle node answers at once. It gives way to an alert that comes meanwhile, unless it holds alerts
itself, or was taken although some waited (rule 2 of `gateway.release.waiting`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

from gateway.ledger.errors import StoreError
from gateway.release.errors import Unavailable
from gateway.release.ranks import Rank
from gateway.release.sequencer.committing import Committing
from gateway.release.sequencer.door import Door
from gateway.release.sequencer.filling import Filling
from gateway.release.sequencer.known import Known, Planner
from gateway.release.sequencer.reopening import Reopening
from gateway.release.sequencer.step import Durable, Queued
from gateway.release.sequencer.thread import SequencerThread

log = logging.getLogger(__package__)

TURN_S: Final = 0.005
"""Seconds for which steps are told what came of them before others have their turn: to word a refusal takes time."""

FOLD_PUT_OFF: Final = 16
"""Commits by which folding is put off at the most: it takes some milliseconds, and until then the log grows."""


class Rounds:
    """Belongs to the event loop's thread."""

    def __init__(
        self,
        door: Door,
        thread: SequencerThread,
        filling: Filling,
        committing: Committing,
        reopening: Reopening,
        known: Known,
        planner: Planner,
        *,
        commit_bytes: int,
        listener: Callable[[Durable], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`commit_bytes`: bytes of steps after which a commit takes no further one."""
        self._door = door
        self._waiting = door.waiting
        self._thread = thread
        self._filling = filling
        self._committing = committing
        self._reopening = reopening
        self._known = known
        self._planner = planner
        self._commit_bytes = commit_bytes
        self._listener = listener
        self._monotonic = monotonic
        self._fold_put_off = 0
        """Commits by which the log's folding was put off, for alerts that waited."""

    async def next(self) -> None:
        """Makes durable what is next, as much as goes into one commit, and tells everybody. Something must wait."""
        places = self._waiting.take(self._filling.fits, self._commit_bytes)
        began = self._monotonic()
        batch = [place.item for place in places]
        # One that holds alerts goes on, so that a flood of them goes in large commits; so does one that is taken
        # although alerts wait, for it is the only one that others have for a while.
        gives_way = not self._waiting.alerts and all(place.rank is not Rank.FLASH for place in places)
        try:
            work = self._thread.begin(self._committing.commit, batch, gives_way)
            made = await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread cannot be stopped half-way: let the commit end before the store is closed.
            try:
                await asyncio.wait([work])
            finally:
                for _, done in batch:
                    done(Unavailable("the gateway is stopping"))
            raise
        except Exception as error:  # whatever it was, the commit is in doubt and every step must hear of it
            log.critical("a commit failed: %s; the store is being opened again", error, exc_info=error)
            self._door.problem = f"the last commit failed: {error}"
            for _, done in batch:
                done(Unavailable(self._door.problem))
            await self._reopening.reopen(error)
            return
        if made is None:
            self._waiting.put_back(places, gave_way=True)
            return
        outcomes, plan = made.outcomes, made.filled.plan
        # What did not fit goes first in the next commit.
        self._waiting.put_back(places[len(outcomes) :], gave_way=made.filled.gave_way)
        self._planner.adopt(self._known, plan)
        took_s = self._monotonic() - began
        self._door.step_took(took_s / len(outcomes))
        self._listener(
            Durable(
                made.checkpoints,
                frozenset(plan.ledgers.changed),
                dict(plan.ledgers.ended),
                plan.feed,
                len(outcomes),
                took_s,
            )
        )
        await self._answer(batch, outcomes)
        if not self._waiting.alerts:
            # What is durable leaves before the thread has the interpreter again: whoever was woken has one turn.
            await asyncio.sleep(0)
        await self._fold()

    async def _answer(self, batch: Sequence[Queued], outcomes: Sequence[Any]) -> None:
        """Tells what came of the steps of a commit."""
        left = zip(batch, outcomes, strict=False)
        turn_ends = self._monotonic() + TURN_S
        try:
            for (_, done), outcome in left:
                done(outcome)
                if self._monotonic() >= turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = self._monotonic() + TURN_S
        finally:
            # A stop in between: it is durable, and everybody hears of it.
            for (_, done), outcome in left:
                done(outcome)

    async def _fold(self) -> None:
        """Folds the store's log, where it is long: after everybody has been answered, and after alerts that wait."""
        store = self._known.store
        if store is None or not store.log_is_long:
            return
        if self._waiting.alerts and self._fold_put_off < FOLD_PUT_OFF:
            self._fold_put_off += 1
            return
        self._fold_put_off = 0
        try:
            await self._thread.begin(store.fold)
        except StoreError as error:
            log.critical("the store's log could not be folded: %s; the store is being opened again", error)
            self._door.problem = f"the store's log could not be folded: {error}"
            await self._reopening.reopen(error)
