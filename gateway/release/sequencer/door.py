"""Where steps come in, and where they wait for their commit.

Whoever finds no room, or nothing that can be made durable now, is refused here, and then nothing was done. Who is next
says `gateway.release.waiting`.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from gateway.release.errors import Exhausted, Unavailable
from gateway.release.ranks import Rank
from gateway.release.room import RETRY_MS, Room
from gateway.release.sequencer.limits import SequencerLimits
from gateway.release.sequencer.step import Done, Queued, Step
from gateway.release.waiting import Waiting

FIRST_STEP_S: Final = 0.001
"""Seconds that a step is taken to need before any was measured."""

STEPS_AVERAGED: Final = 16
"""Commits over which the time that a step needs is averaged, about."""

SOONEST_S: Final = 0.05
"""Seconds after which what found no room is asked for again, at the soonest."""

LATEST_S: Final = 5.0
"""The same at the latest."""

T = TypeVar("T")


class Door:
    """Belongs to the event loop's thread, but for `waiting.alerts`, which another may read too."""

    def __init__(self, room: Room, limits: SequencerLimits) -> None:
        self._room = room
        self.waiting: Waiting[Queued] = Waiting(limits.queue, limits.queue_bytes)
        """What has come in."""
        self.some_wait = asyncio.Event()
        """Set where something has come in, or the store is doubted."""
        self.problem: str | None = None
        """Why nothing can be made durable now; None when all is well."""
        self._stopping = False
        self._step_s = FIRST_STEP_S

    @property
    def takes(self) -> Rank | None:
        """The lowest rank of reports that is taken now; None: nothing is."""
        return self._room.takes if self.problem is None else None

    @property
    def reason(self) -> str:
        """Why not everything is taken; empty where it is."""
        return self.problem or self._room.reason

    async def do(
        self,
        step: Step[T],
        *,
        source: str = "",
        bounded: bool = False,
        after: Callable[[Step[Any]], bool] | None = None,
    ) -> T:
        """Makes one step durable and returns what it gave; otherwise as `put`.

        Raises what the step raised; Exhausted where a bounded one finds no room, and then nothing was done; Unavailable
        when the commit failed, and then nobody knows yet whether it is durable.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.put(step, functools.partial(_settle, done), source=source, bounded=bounded, after=after)
        return await done

    def put(
        self,
        step: Step[T],
        done: Done[T],
        *,
        source: str = "",
        bounded: bool = False,
        after: Callable[[Step[Any]], bool] | None = None,
    ) -> None:
        """Has one step wait for its commit; `done` is told what came of it, in one go with the others of that commit
        as far as a turn of `rounds.TURN_S` allows.

        Within a rank sources take turns; `source` names one of them, and is empty for this node itself. A `bounded`
        step counts against the room that there is. What waits of the same source and is named by `after` goes before
        this one.

        Raises Exhausted where a bounded one finds no room, and Unavailable where nothing can be made durable now: then
        nothing was done, and `done` is told nothing.
        """
        if self._stopping:
            raise Unavailable("the gateway is stopping")
        if self.problem is not None:
            raise Unavailable(self.problem)
        rank, weight, takes = step.rank, step.weight, self._room.takes
        if source and weight and (takes is None or max(rank, Rank.ROUTINE) < takes):
            raise Exhausted(self._room.reason, RETRY_MS)
        if bounded and not self.waiting.has_room(rank, source, weight):
            raise Exhausted("too much waits to be put on record", self._retry_after_ms())
        if after is not None:
            self.waiting.raise_to(rank, source, lambda queued: after(queued[0]))
        self.waiting.add((step, done), rank, source, weight, bounded=bounded)
        self.some_wait.set()

    def _retry_after_ms(self) -> int:
        """About when what waits will be on record."""
        return round(1000 * min(max(len(self.waiting) * self._step_s, SOONEST_S), LATEST_S))

    def step_took(self, seconds: float) -> None:
        """Takes note of what a step of the last commit took, of which the time to ask again is made."""
        self._step_s += (seconds - self._step_s) / STEPS_AVERAGED

    def refuse_waiting(self, why: str) -> None:
        """Tells all that wait that it is not done."""
        for _, done in self.waiting.drain():
            done(Unavailable(why))

    def stop(self) -> None:
        """Takes nothing any more, for good, and refuses what waits."""
        self._stopping = True
        self.refuse_waiting("the gateway is stopping")


def _settle(done: asyncio.Future[T], outcome: T | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
        # Whoever waited may be gone; the failure was logged where it happened.
        done.exception()
    else:
        done.set_result(outcome)
