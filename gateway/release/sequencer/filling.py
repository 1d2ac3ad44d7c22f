"""How a commit is filled: by the steps that were taken for it, one after another, as long as there is time.

It is filled for a short time: what did not fit waits for the next one. It gives way to an alert that comes meanwhile,
where it was begun so (`gateway.release.sequencer.rounds`). A step that is refused leaves the others alone; one that
fails as it should not is left out, and the others begin afresh.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.stores import Store
from gateway.release.errors import StepBroken, StepRefused
from gateway.release.pipeline import TakeReport
from gateway.release.plan import Plan
from gateway.release.sequencer.known import Known, Planner
from gateway.release.sequencer.limits import SequencerLimits
from gateway.release.sequencer.step import Queued
from gateway.release.waiting import Waiting

log = logging.getLogger(__package__)

EXPECTED: Final = 64
"""Reports of which is read at once what is on record: a query for each costs more, and gives up the interpreter."""


class Filled(NamedTuple):
    """A plan, how many of the steps it came to, and whether an alert cut it short."""

    plan: Plan
    steps: int
    gave_way: bool


class Filling:
    """Belongs to the sequencer's thread, but for `fits`, which the event loop reads between commits."""

    def __init__(
        self,
        known: Known,
        planner: Planner,
        waiting: Waiting[Queued],
        limits: SequencerLimits,
        monotonic: Callable[[], float],
    ) -> None:
        self._known = known
        self._planner = planner
        self._waiting = waiting
        self._limits = limits
        self._monotonic = monotonic
        self.fits = min(EXPECTED, limits.steps)
        """Steps that are taken for the next commit: some more than it will have time for."""

    def begin(self, store: Store) -> Plan:
        """The plan of a commit of which nothing is known yet."""
        return self._planner.begin(store, self._known)

    def fill(self, store: Store, batch: Sequence[Queued], outcomes: dict[int, Any], *, gives_way: bool) -> Filled:
        """The plan of a commit. What came of each step is in `outcomes` then, by its place in `batch`; what broke
        before stands there already, and is passed over.

        Raises StoreError.
        """
        while (filled := self._try(store, batch, outcomes, gives_way=gives_way)) is None:
            # A step failed in a way that it should not: it is answered with that, and the others start afresh. The
            # abandoned plan may have sealed entries, so their keys must never seal again.
            self._known.heads.without_epochs()
        return filled

    def _try(
        self, store: Store, batch: Sequence[Queued], outcomes: dict[int, Any], *, gives_way: bool
    ) -> Filled | None:
        """Applies steps that have not failed before, as long as there is time. None: one has failed now in a way that
        may have left a trace.
        """
        began = self._monotonic()
        until = began + self._limits.fill_ms / 1000
        plan = self.begin(store)
        broken = {place for place, outcome in outcomes.items() if isinstance(outcome, StepBroken)}
        count = len(batch)
        for place, (step, _) in enumerate(batch):
            if place % EXPECTED == 0:
                steps = (ahead for ahead, _ in batch[place : place + EXPECTED])
                plan.expect(ahead.report for ahead in steps if isinstance(ahead, TakeReport))
            if place in broken:
                continue
            try:
                outcomes[place] = step.apply(plan)
            except StoreError:
                raise
            except (LedgerError, StepRefused) as error:
                outcomes[place] = error
            except Exception as error:  # one step must not take the others down with it
                log.exception("a step failed unexpectedly and was left out")
                outcomes[place] = StepBroken(f"it failed unexpectedly ({type(error).__name__}: {error}); see the log")
                return None
            # An alert that comes now waits for the step at hand, and for no further one.
            if gives_way and self._waiting.alerts:
                return Filled(plan, place + 1, gave_way=True)
            if self._monotonic() >= until:
                count = place + 1
                break
        self._foresee(count, self._monotonic() - began)
        return Filled(plan, count, gave_way=False)

    def _foresee(self, steps: int, took_s: float) -> None:
        """Sets how many steps are taken for the next commit: twice as many as would fit if each took as long as these.
        What does not fit has to be put back, which is work as well.
        """
        fit = steps * self._limits.fill_ms / 1000 / max(took_s, 1e-6)
        self.fits = min(max(int(2 * fit), EXPECTED), self._limits.steps)
