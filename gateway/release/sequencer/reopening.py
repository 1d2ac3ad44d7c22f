"""What follows where the store failed, or is found to be damaged.

After a failed commit nobody knows what is durable. Nothing is taken until the store was opened again, as often as it
takes; then what is durable is known again, and everybody is woken for it. A damaged store is not opened again.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable
from typing import Final

from gateway.ledger.errors import LedgerError, StoreDamaged, StoreError
from gateway.ledger.stores.readers import Readers
from gateway.release.sequencer.door import Door
from gateway.release.sequencer.known import Known
from gateway.release.sequencer.step import Durable
from gateway.release.sequencer.taking_up import TakingUp
from gateway.release.sequencer.thread import SequencerThread
from gateway.seal.errors import SealError

log = logging.getLogger(__package__)

TELL_S: Final = 60.0
"""Seconds after which what has not changed is logged again."""


class Reopening:
    """Belongs to the event loop's thread."""

    def __init__(
        self,
        door: Door,
        thread: SequencerThread,
        taking_up: TakingUp,
        known: Known,
        readers: Readers | None,
        *,
        pause_s: float,
        listener: Callable[[Durable], None],
        on_failure: Callable[[StoreError], None],
        monotonic: Callable[[], float],
    ) -> None:
        """`pause_s`: seconds between tries."""
        self._door = door
        self._thread = thread
        self._taking_up = taking_up
        self._known = known
        self._readers = readers
        self._pause_s = pause_s
        self._listener = listener
        self._on_failure = on_failure
        self._monotonic = monotonic
        self.doubted: StoreError | None = None
        """What somebody who reads has found, of which `reopen` has still to be told."""
        self._told: tuple[str, float] | None = None

    def doubt(self, error: StoreError) -> None:
        """Somebody who reads has found the store to be damaged: nothing is made durable any more."""
        if self._door.problem is None:
            self._door.problem = str(error)
            self.doubted = error
            self._door.some_wait.set()

    async def reopen(self, error: Exception) -> None:
        """Opens the store again, as often as it takes; meanwhile everything is refused. The door says why already.

        Of a damaged one nothing is hoped: the process goes on to say so, until somebody restores or replaces the store
        and starts it again.
        """
        self._failed(error)
        if self._readers is not None:
            await self._readers.shut()
        while True:
            self._door.refuse_waiting(self._door.problem or "the store is being opened again")
            if isinstance(error, StoreDamaged):
                await self._stay_down(error)
            try:
                await self._thread.begin(functools.partial(self._taking_up.open, again=True))
            except (LedgerError, SealError) as failure:
                error = failure
                self._failed(error)
                self._door.problem = f"the store cannot be opened: {error}"
                self._tell(self._door.problem)
                await asyncio.sleep(self._pause_s)
            else:
                break
        log.warning("the store is open again; reports are being accepted")
        self._door.problem = self.doubted = self._told = None
        if self._readers is not None:
            self._readers.allow()
        # The commit in doubt may have become durable, and nobody was woken for it.
        grown = frozenset(head.origin for head in self._known.heads)
        self._listener(Durable((), grown, {}, (), 0, 0.0, reopened=True))

    async def _stay_down(self, error: StoreDamaged) -> None:
        """Refuses everything until the process is stopped."""
        self._door.problem = f"the store is damaged, and nothing is taken until it is restored: {error}"
        self._tell(self._door.problem)
        await self._thread.begin(self._taking_up.abandon)
        await asyncio.Event().wait()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            self._on_failure(error)

    def _tell(self, what: str) -> None:
        """Logs it, if it is not what was logged just now: it is tried again twice a second, perhaps for days."""
        now = self._monotonic()
        if self._told is None or self._told[0] != what or now - self._told[1] >= TELL_S:
            self._told = (what, now)
            log.critical("%s", what)
