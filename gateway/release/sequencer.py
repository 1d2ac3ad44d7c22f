"""The one file that commits.

Everything that a node makes durable passes here: reports with their decisions and releases, partners' batches with
their
receipts, receipts that partners gave, post-quantum lines. A commit takes all that has queued while the one before it
became durable, with no timer: batches grow with load by themselves, and an idle node answers at once.

The order in which a commit survives a crash stands as comments in `Sequencer._commit`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeVar

from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store, StoreReader
from gateway.release import verdicts
from gateway.release.errors import StepBroken, StepRefused, Unavailable
from gateway.release.heads import Head, Heads
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys
from gateway.release.plan import FeedEntry, Plan
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.release.verdicts import Verdicts

log = logging.getLogger(__name__)

LATEST_TIME: Final = "latest time"
"""Key of the store's own value that holds the newest time at which the clock was trusted, nanoseconds since 1970, 8
bytes: what a clock that is set back over a restart is noticed by."""

LATEST_TIME_STEP_NS: Final = 1_000_000_000
"""How far that value may lag behind: it need not be written with every commit."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """One thing to be made durable: fills the plan, or raises and leaves it as it was."""

    @property
    def weight(self) -> int:
        """Bytes that it brings, which bound the size of a commit."""

    def apply(self, plan: Plan) -> T_co:
        """Fills `plan`. A LedgerError or StepRefused raised before anything was added refuses this step alone."""


@dataclass(slots=True)
class _Queued(Generic[T]):
    step: Step[T]
    done: asyncio.Future[T]


@dataclass(frozen=True, slots=True)
class Durable:
    """What a commit brought, for those who wait for it."""

    checkpoints: Sequence[tuple[Origin, Note]]
    grown: frozenset[Origin]
    ended: Mapping[Origin, Origin]
    feed: Sequence[FeedEntry]
    steps: int
    seconds: float
    reopened: bool = False
    """The store was opened again: every ledger and the feed may hold more than was ever announced."""


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """Bounds of one commit and of what may wait for it."""

    steps: int = 1024
    """Steps a commit: bounds how long the first of them waits for the last."""
    bytes: int = 1 << 20
    """Bytes a commit: keeps each ledger's segment within one gRPC message."""
    queue: int = 4096
    """Steps that may wait; beyond it whoever adds one waits too."""
    reopen_s: float = 0.5
    """Pause between tries to open a store that failed, seconds."""


class Sequencer:
    """Owns the store's writing side, the heads, and the order of everything."""

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
    ) -> None:
        self._open_store = open_store
        self._signatory = signatory
        self._partners = partners
        self._now_ns = now_ns
        self._limits = limits
        self._listener = listener
        self._monotonic = monotonic
        self._read_rulebook = rulebook
        self._rulebook = Rulebook.none(())
        self._clock_trusted = clock_trusted
        self._queue: asyncio.Queue[_Queued[Any]] = asyncio.Queue(limits.queue)
        # One thread, so that the store's connection and the heads have one owner.
        self._latest_ns = 0
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="sequencer")
        self._store: Store | None = None
        self._heads = Heads({}, {})
        self._verdicts = Verdicts(signatory.storage)
        self._problem: str | None = None
        self._stopping = asyncio.Event()

    @property
    def problem(self) -> str | None:
        """Why nothing can be made durable now; None when all is well."""
        return self._problem

    @property
    def waiting(self) -> int:
        """Steps that wait for the next commit."""
        return self._queue.qsize()

    @property
    def rulebook(self) -> Rulebook:
        """The policy in force: that of the last durable commit."""
        return self._rulebook

    def heads(self) -> list[Head]:
        """The durable heads as of now."""
        return list(self._heads)

    def head(self, origin: Origin) -> Head | None:
        """One durable head."""
        return self._heads.get(origin)

    def current(self, owner: str, recipient: str | None, lane: str) -> Origin:
        """The generation of a ledger that is not ended."""
        return self._heads.current(owner, recipient, lane)

    async def open(self) -> None:
        """Opens the store and reads the heads. Raises StoreError."""
        await self._in_thread(self._reopen)

    async def do(self, step: Step[T]) -> T:
        """Makes one step durable and returns what it gave.

        Raises what the step raised; Unavailable when the commit failed, and then nobody knows yet whether it is
        durable.
        """
        if self._stopping.is_set():
            raise Unavailable("the gateway is stopping")
        if self._problem is not None:
            raise Unavailable(self._problem)
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        await self._queue.put(_Queued(step, done))
        if self._stopping.is_set():
            # It waited for room while the gateway stopped: nobody takes from the queue any more.
            self._fail_waiting("the gateway is stopping")
        return await done

    async def run(self) -> None:
        """Commits until cancelled."""
        try:
            while True:
                batch = [await self._queue.get()]
                weight = batch[0].step.weight
                while len(batch) < self._limits.steps and weight < self._limits.bytes and not self._queue.empty():
                    batch.append(self._queue.get_nowait())
                    weight += batch[-1].step.weight
                await self._make_durable(batch)
        finally:
            self._stopping.set()
            self._fail_waiting("the gateway is stopping")

    async def close(self) -> None:
        """Closes the store. `run` must have ended."""
        self._stopping.set()
        self._fail_waiting("the gateway is stopping")
        try:
            await self._in_thread(self._close_store)
        finally:
            self._thread.shutdown()

    def _fail_waiting(self, why: str) -> None:
        while not self._queue.empty():
            _fail(self._queue.get_nowait().done, Unavailable(why))

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _make_durable(self, batch: list[_Queued[Any]]) -> None:
        began = self._monotonic()
        work = asyncio.ensure_future(self._in_thread(self._commit, batch))
        try:
            outcomes, plan, checkpoints = await asyncio.shield(work)
        except asyncio.CancelledError:
            # The thread cannot be stopped half-way: let the commit end before the store is closed.
            await asyncio.wait([work])
            for queued in batch:
                _fail(queued.done, Unavailable("the gateway is stopping"))
            raise
        except Exception as error:  # whatever it was, the commit is in doubt and every step must hear of it
            log.critical("a commit failed: %s; the store is being opened again", error, exc_info=error)
            self._problem = f"the last commit failed: {error}"
            for queued in batch:
                _fail(queued.done, Unavailable(self._problem))
            await self._recover()
            return
        self._heads.adopt(plan.changed, plan.ended)
        self._verdicts.adopt(plan.given_verdicts)
        if plan.signatory is not self._signatory:
            # The commit that took other keys into use is durable: from here on everything is signed with them.
            self._signatory.adopt(plan.signatory)
        if plan.rulebook.suspended != self._rulebook.suspended:
            # Openings that a suspended partner was given as hashes alone do not open what is sealed to him later.
            self._heads.without_epochs(home=False)
        self._rulebook = plan.rulebook
        self._listener(
            Durable(
                checkpoints,
                frozenset(plan.changed),
                dict(plan.ended),
                plan.feed,
                len(batch),
                self._monotonic() - began,
            )
        )
        for queued, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, (LedgerError, StepRefused, StepBroken)):
                _fail(queued.done, outcome)
            elif not queued.done.done():
                queued.done.set_result(outcome)

    def _commit(self, batch: list[_Queued[Any]]) -> tuple[list[Any], Plan, Sequence[tuple[Origin, Note]]]:
        """Prepares and commits. Runs in the sequencer's thread."""
        store = self._store
        if store is None:
            raise StoreError("the store is not open")
        # 1. Fill the plan. Nothing outside it changes: a crash here loses what nobody was told of.
        outcomes: dict[int, Any] = {}
        while (plan := self._fill(store, batch, outcomes)) is None:
            # A step failed in a way that it should not: it is answered with that, and the others start afresh. The
            # abandoned plan may have sealed entries, so their keys must never seal again.
            self._heads.without_epochs()
        # 2. Sign. A checkpoint that is signed here and then lost is never seen by anyone: only what the store returns
        #    after the commit is sent, so a crash cannot leave two signed histories.
        if not plan.empty and plan.clock_trusted and plan.now_ns > self._latest_ns + LATEST_TIME_STEP_NS:
            plan.commit.meta.setdefault(LATEST_TIME, plan.now_ns.to_bytes(8))
        checkpoints = plan.finish()
        # 3. Commit: reports, decisions, releases, replicas, receipts and checkpoints, all or nothing.
        if not plan.empty:
            store.commit(plan.commit)
            if LATEST_TIME in plan.commit.meta:
                self._latest_ns = int.from_bytes(plan.commit.meta[LATEST_TIME])
        # 4. Only now, back in the event loop: heads move on, followers and subscribers are woken, acknowledgements and
        #    receipts go out. A crash before that is met by C2 clients sending again and partners resuming.
        return [outcomes[place] for place in range(len(batch))], plan, checkpoints

    def _fill(self, store: Store, batch: list[_Queued[Any]], outcomes: dict[int, Any]) -> Plan | None:
        """Applies every step that has not failed before. None: one has failed now in a way that may have left a
        trace.
        """
        plan = Plan(
            self._heads,
            store,
            self._signatory,
            self._partners(),
            self._now_ns,
            self._rulebook,
            verdicts=self._verdicts,
            clock_trusted=self._clock_trusted(),
        )
        for place, queued in enumerate(batch):
            if isinstance(outcomes.get(place), StepBroken):
                continue
            try:
                outcomes[place] = queued.step.apply(plan)
            except StoreError:
                raise
            except (LedgerError, StepRefused) as error:
                outcomes[place] = error
            except Exception as error:  # one step must not take the others down with it
                log.exception("a step failed unexpectedly and was left out")
                outcomes[place] = StepBroken(f"it failed unexpectedly ({type(error).__name__}: {error}); see the log")
                return None
        return plan

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _reopen(self) -> None:
        try:
            self._close_store()
        except StoreError as error:
            log.warning("closing the failed store: %s", error)
        store = self._open_store()
        try:
            # Heads are read from what is durable, and without epochs: no content key outlives a commit in doubt.
            self._heads = Heads.restore(store)
            # The keys in use are those on record: a commit in doubt may have switched them.
            using = self._signatory.using(keys_on_record(store))
            require_own_keys(store, using)
            self._signatory.adopt(using)
            # So is the policy in force: a commit in doubt may have changed it.
            self._rulebook = self._read_rulebook(store)
            self._latest_ns = int.from_bytes(store.meta(LATEST_TIME) or b"")
            # A store that an older gateway wrote has its index of decisions made before anything is added to it.
            for commit in verdicts.missing(store, self._signatory):
                store.commit(commit)
            self._verdicts = Verdicts.restore(store, self._signatory.storage)
        except LedgerError:
            store.close()
            raise
        self._store = store

    async def _recover(self) -> None:
        """Opens the store again, as often as it takes; meanwhile everything is refused."""
        while True:
            self._fail_waiting(self._problem or "the store is being opened again")
            try:
                await self._in_thread(self._reopen)
            except LedgerError as error:
                self._problem = f"the store cannot be opened: {error}"
                log.critical("%s", self._problem)
                await asyncio.sleep(self._limits.reopen_s)
            else:
                log.warning("the store is open again; reports are being accepted")
                self._problem = None
                # The commit in doubt may have become durable, and nobody was woken for it.
                grown = frozenset(head.origin for head in self._heads)
                self._listener(Durable((), grown, {}, (), 0, 0.0, reopened=True))
                return


def _fail(done: asyncio.Future[Any], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
        # Whoever waited may be gone; the failure was logged where it happened.
        done.exception()
