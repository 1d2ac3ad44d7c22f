"""What the others see of all this, and how it is put together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping

from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store, StoreReader
from gateway.ledger.stores.readers import Readers
from gateway.release.heads import Head, Heads
from gateway.release.ranks import Rank
from gateway.release.recovery.records import Recovery
from gateway.release.room import Room
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer.committing import Committing
from gateway.release.sequencer.door import Door
from gateway.release.sequencer.filling import Filling
from gateway.release.sequencer.known import Known, Planner
from gateway.release.sequencer.limits import SequencerLimits
from gateway.release.sequencer.reopening import Reopening
from gateway.release.sequencer.rounds import Rounds
from gateway.release.sequencer.step import Durable
from gateway.release.sequencer.taking_up import TakingUp
from gateway.release.sequencer.thread import SequencerThread
from gateway.release.signatory import Partner, Signatory
from gateway.release.verdicts import Verdicts


class Sequencer:
    """Owns the store's writing side, the heads, and the order of everything. Belongs to the event loop's thread."""

    def __init__(
        self,
        open_store: Callable[[], Store],
        signatory: Signatory,
        partners: Callable[[], Mapping[str, Partner]],
        *,
        now_ns: Callable[[], int],
        limits: SequencerLimits,
        listener: Callable[[Durable], None],
        monotonic: Callable[[], float],
        rulebook: Callable[[StoreReader], Rulebook],
        clock_trusted: Callable[[], bool] = lambda: True,
        partners_shown: Callable[[], bool] = lambda: True,
        recovery: Recovery | None = None,
        room: Room | None = None,
        readers: Readers | None = None,
        on_failure: Callable[[StoreError], None] = lambda _: None,
        opening: Callable[[Collection[Origin]], None] = lambda _: None,
        opened: Callable[[Collection[Origin]], None] = lambda _: None,
    ) -> None:
        """`partners_shown`: whether all partners have shown since the start what they hold (`Plan`). It is asked in the
        sequencer's thread.

        `opening` is told in that thread which generations of own ledgers a commit opens, before it; `opened` likewise,
        once it is durable; after a failure of the store, which of them stand in it.
        """
        room = room or Room(lambda: None)
        known = self._known = Known(Heads({}, {}), Verdicts(signatory.storage), Rulebook.none(()))
        planner = Planner(signatory, partners, now_ns, clock_trusted, partners_shown, recovery)

        # Where steps wait.
        door = self._door = Door(room, limits)
        self.do = door.do
        """Makes one step durable and returns what it gave (`Door.do`)."""
        self.put = door.put
        """Has one step wait for its commit (`Door.put`)."""

        # What the thread does.
        thread = self._thread = SequencerThread()
        filling = Filling(known, planner, door.waiting, limits, monotonic)
        committing = Committing(known, filling, door.waiting, signatory, room, opening=opening, opened=opened)
        self._taking_up = TakingUp(open_store, rulebook, signatory, known, planner, committing, room, opened)

        # What the event loop has it do.
        self._reopening = Reopening(
            door,
            thread,
            self._taking_up,
            known,
            readers,
            pause_s=limits.reopen_s,
            listener=listener,
            on_failure=on_failure,
            monotonic=monotonic,
        )
        self._rounds = Rounds(
            door,
            thread,
            filling,
            committing,
            self._reopening,
            known,
            planner,
            commit_bytes=limits.bytes,
            listener=listener,
            monotonic=monotonic,
        )

    # --- whether it takes anything

    @property
    def problem(self) -> str | None:
        """Why nothing can be made durable now; None when all is well."""
        return self._door.problem

    @property
    def takes(self) -> Rank | None:
        """The lowest rank of reports that is taken now; None: nothing is."""
        return self._door.takes

    @property
    def reason(self) -> str:
        """Why not everything is taken; empty where it is."""
        return self._door.reason

    def doubt(self, error: StoreError) -> None:
        """Somebody who reads has found the store to be damaged: nothing is made durable any more."""
        self._reopening.doubt(error)

    async def alive(self) -> None:
        """Returns once the sequencer's thread has done what it was doing: for a watchdog."""
        await self._thread.begin(lambda: None)

    # --- what waits

    @property
    def waiting(self) -> int:
        """Steps that wait for the next commit."""
        return len(self._door.waiting)

    def waiting_at(self, rank: Rank) -> int:
        """Steps of one rank that wait for the next commit."""
        return self._door.waiting.count(rank)

    # --- what is durable

    @property
    def rulebook(self) -> Rulebook:
        """The policy in force: that of the last durable commit."""
        return self._known.rulebook

    def heads(self) -> list[Head]:
        """The durable heads as of now."""
        return list(self._known.heads)

    def head(self, origin: Origin) -> Head | None:
        """One durable head."""
        return self._known.heads.get(origin)

    def current(self, owner: str, recipient: str | None, lane: str) -> Origin:
        """The generation of a ledger that is not ended."""
        return self._known.heads.current(owner, recipient, lane)

    # --- its life

    async def open(self) -> None:
        """Opens the store and reads the heads. Raises StoreError."""
        await self._thread.begin(functools.partial(self._taking_up.open, again=False))

    async def run(self) -> None:
        """Commits until cancelled."""
        try:
            while True:
                await self._door.some_wait.wait()
                if self._reopening.doubted is not None:
                    await self._reopening.reopen(self._reopening.doubted)
                elif len(self._door.waiting):
                    await self._rounds.next()
                else:
                    self._door.some_wait.clear()
        finally:
            self._door.stop()

    async def close(self) -> None:
        """Closes the store. `run` must have ended."""
        self._door.stop()
        try:
            await self._thread.begin(self._taking_up.close)
        finally:
            self._thread.end()

    async def abandon(self) -> None:
        """Lets go of the store as it is, without a further look at it: after a failure. `run` must have ended."""
        self._door.stop()
        await self._thread.begin(self._taking_up.abandon)
        self._thread.end()
