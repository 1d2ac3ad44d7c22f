"""The one file that commits.

Everything that a node makes durable passes here: reports with their decisions and releases, partners' batches with
their receipts, receipts that partners gave, post-quantum lines.

The order in which a commit survives a crash stands as numbered comments below `Committing.commit`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, NamedTuple

from gateway.ledger.errors import StoreConflict, StoreError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store
from gateway.release import verdicts
from gateway.release.doubt import holds_exactly
from gateway.release.errors import StepBroken
from gateway.release.plan import LATEST_TIME, Plan
from gateway.release.room import Room
from gateway.release.sequencer.filling import Filled, Filling
from gateway.release.sequencer.known import Known
from gateway.release.sequencer.step import Queued
from gateway.release.signatory import Signatory
from gateway.release.waiting import Waiting

log = logging.getLogger(__package__)

_TRIAL: Final = "trial"
"""Kind of the event that a trial puts on record; no store ever has it."""

TRIAL_BYTES: Final = 4096
"""Bytes that a trial writes."""

LATEST_TIME_STEP_NS: Final = 1_000_000_000
"""How far that value may lag behind: it need not be written with every commit."""


class Made(NamedTuple):
    """A durable commit: what came of the steps that went in, and the checkpoints that it signed."""

    outcomes: list[Any]
    filled: Filled
    checkpoints: Sequence[tuple[Origin, Note]]


class Committing:
    """Belongs to the sequencer's thread."""

    def __init__(
        self,
        known: Known,
        filling: Filling,
        waiting: Waiting[Queued],
        signatory: Signatory,
        room: Room,
        *,
        opening: Callable[[Collection[Origin]], None],
        opened: Callable[[Collection[Origin]], None],
    ) -> None:
        """`opening` and `opened` as `gateway.release.sequencer.sequencer.Sequencer` takes them."""
        self._known = known
        self._filling = filling
        self._waiting = waiting
        self._signatory = signatory
        self._room = room
        self._opening = opening
        self._opened = opened

    def commit(self, batch: Sequence[Queued], gives_way: bool) -> Made | None:
        """Prepares and commits as many steps as go in, from the first on. `gives_way`: an alert that comes ends it.

        None: nothing was begun, for an alert has come since the steps were taken, and they give way to it. Whatever is
        raised, StoreError or another, leaves in doubt what is durable. A step for which alone no commit succeeds is
        answered so, and raises nothing.
        """
        if gives_way and self._waiting.alerts:
            return None
        store = self._known.store
        if store is None:
            raise StoreError("the store is not open")
        outcomes: dict[int, Any] = {}
        while True:
            count = len(batch)
            try:
                # 1. Fill the plan. Nothing outside it changes: a crash here loses what nobody was told of.
                filled = self._filling.fill(store, batch, outcomes, gives_way=gives_way)
                count = filled.steps
                checkpoints = self._write(store, filled.plan)
                return Made([outcomes[place] for place in range(count)], filled, checkpoints)
            except Exception as error:  # one step must not take the others down with it, whatever it is
                if isinstance(error, StoreError) and not isinstance(error, StoreConflict):
                    raise
                # What did not fit was not to blame.
                batch = self._without_failure(store, batch[:count], outcomes, error)

    def _without_failure(
        self, store: Store, batch: Sequence[Queued], outcomes: dict[int, Any], error: Exception
    ) -> Sequence[Queued]:
        """What is tried next of the steps of a plan, for one of which its commit fails: ever fewer, until that one is
        alone. It is answered so, and takes nobody down with it. Raises the error where it is this process that is
        mistaken of what is durable, and what keeps it from any commit where no step is to blame.
        """
        if any(not holds_exactly(store, head) for head in self._known.heads):
            raise error
        # The abandoned plan has sealed entries.
        self._known.heads.without_epochs()
        left = [place for place in range(len(batch)) if not isinstance(outcomes.get(place), StepBroken)]
        if not left:
            raise error
        if len(left) > 1:
            return batch[: left[len(left) // 2]]
        if isinstance(error, StoreConflict):
            log.error("a step contradicts what is durable and was left out: %s", error)
            why = f"it contradicts what is durable ({error})"
        else:
            self._trial(store)
            log.error("a step for which its commit failed unexpectedly was left out", exc_info=error)
            why = f"its commit failed unexpectedly ({type(error).__name__}: {error})"
        outcomes[left[0]] = StepBroken(f"{why}; see the log")
        return batch

    def _trial(self, store: Store) -> None:
        """Completes a plan, and has the store write something: raises what keeps this process from either. Of the plan
        nothing is kept.
        """
        plan = self._filling.begin(store)
        plan.record_event(_TRIAL, "")
        plan.finish()
        self._known.heads.without_epochs()
        store.probe(TRIAL_BYTES)

    def _write(self, store: Store, plan: Plan) -> Sequence[tuple[Origin, Note]]:
        """Makes a plan durable, and returns the checkpoints that it signed. Raises StoreConflict where a step
        contradicts what is durable.
        """
        # 2. Sign. A checkpoint that is signed here and then lost is never seen by anyone: only what the store returns
        #    after the commit is sent, so a crash cannot leave two signed histories.
        latest_ns = self._known.latest_ns
        if not plan.empty and plan.clock_trusted and plan.now_ns > latest_ns + LATEST_TIME_STEP_NS:
            plan.commit.meta.setdefault(LATEST_TIME, plan.now_ns.to_bytes(8))
        checkpoints = plan.finish()
        if not plan.empty:
            self.commit_plan(store, plan)
            if LATEST_TIME in plan.commit.meta:
                self._known.latest_ns = int.from_bytes(plan.commit.meta[LATEST_TIME])
            self._room.look()
        # 6. Only now, back in the event loop (`rounds.py`): heads move on, followers and subscribers are woken,
        #    acknowledgements and receipts go out. A crash before that is met by C2 clients sending again and partners
        #    resuming.
        return checkpoints

    def commit_plan(self, store: Store, plan: Plan) -> None:
        """Commits a plan that is finished. Raises StoreError."""
        # 3. Say outside of the store which generations open: a store that is lost after that must not open them again.
        own = [origin for origin in plan.ledgers.ended.values() if origin.owner == self._signatory.node]
        if own:
            self._opening(own)
        # 4. Commit: reports, decisions, releases, replicas, receipts and checkpoints, all or nothing.
        store.commit(plan.commit)
        # 5. Say outside that they are open. A crash before that leaves a number there of which that is in doubt.
        if own:
            self._opened(own)

    def index_decisions(self, store: Store) -> None:
        """Makes the index of decisions that a store of an older gateway lacks. Raises StoreError."""
        for commit in verdicts.missing(store, self._signatory):
            store.commit(commit)
