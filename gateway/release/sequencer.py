"""The one file that commits.

Everything that a node makes durable passes here: reports with their decisions and releases, partners' batches with
their receipts, receipts that partners gave, post-quantum lines. A commit takes what has queued while the one before it
became durable, with no timer: batches grow with load by themselves, and an idle node answers at once. Who is next says
`gateway.release.waiting`. A commit is filled for a short time: what did not fit waits for the next one. It gives way to
an alert that comes meanwhile, unless it holds alerts itself, or was taken although some waited (rule 2 there).

The order in which a commit survives a crash stands as numbered comments below `Sequencer._commit`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import functools
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, TypeVar

from signalfire.v1 import ledger_pb2

from gateway.ledger.errors import LedgerError, StoreConflict, StoreDamaged, StoreError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Store, StoreReader
from gateway.ledger.stores.readers import Readers
from gateway.release import verdicts
from gateway.release.doubt import holds_exactly, lacking
from gateway.release.errors import Exhausted, StepBroken, StepRefused, Unavailable
from gateway.release.heads import Head, Heads
from gateway.release.key_switch import keys_on_record
from gateway.release.own_keys import require_own_keys
from gateway.release.pipeline import TakeReport
from gateway.release.plan import LATEST_TIME, FeedEntry, Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.records import Recovery
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.room import RETRY_MS, Room
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.release.verdicts import Verdicts
from gateway.release.waiting import Place, Waiting
from gateway.seal.errors import SealError

log = logging.getLogger(__name__)

LATEST_TIME_STEP_NS: Final = 1_000_000_000
"""How far that value may lag behind: it need not be written with every commit."""

FIRST_STEP_S: Final = 0.001
"""Seconds that a step is taken to need before any was measured."""

STEPS_AVERAGED: Final = 16
"""Commits over which the time that a step needs is averaged, about."""

PROBE_BYTES: Final = 1 << 20
"""Bytes that a store which failed has to take before it is used again: as much as a large commit."""

TELL_S: Final = 60.0
"""Seconds after which what has not changed is logged again."""

TURN_S: Final = 0.005
"""Seconds for which steps are told what came of them before others have their turn: to word a refusal takes time."""

SOONEST_S: Final = 0.05
"""Seconds after which what found no room is asked for again, at the soonest."""

LATEST_S: Final = 5.0
"""The same at the latest."""

FOLD_PUT_OFF: Final = 16
"""Commits by which folding is put off at the most: it takes some milliseconds, and until then the log grows."""

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """One thing to be made durable: fills the plan, or raises and leaves it as it was."""

    @property
    def weight(self) -> int:
        """Bytes that it brings, which bound the size of a commit."""

    @property
    def rank(self) -> Rank:
        """Whose turn it is."""

    def apply(self, plan: Plan) -> T_co:
        """Fills `plan`. A LedgerError or StepRefused raised before anything was added refuses this step alone."""


Done: TypeAlias = Callable[[T | Exception], None]
"""Told once, in the event loop's thread, what a step gave, or the error that it ended with. It must not raise."""


_Queued: TypeAlias = tuple[Step[Any], Done[Any]]


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


EXPECTED: Final = 64
"""Reports of which is read at once what is on record: a query for each costs more, and gives up the interpreter."""


class _Filled(NamedTuple):
    """A plan, how many of the steps it came to, and whether an alert cut it short."""

    plan: Plan
    steps: int
    gave_way: bool


class _Made(NamedTuple):
    """A durable commit: what came of the steps that went in, and the checkpoints that it signed."""

    outcomes: list[Any]
    filled: _Filled
    checkpoints: Sequence[tuple[Origin, Note]]


@dataclass(frozen=True, slots=True)
class SequencerLimits:
    """Bounds of one commit and of what may wait for it."""

    steps: int = 1024
    """Steps a commit: bounds how long the first of them waits for the last."""
    bytes: int = 1 << 20
    """Bytes a commit: keeps each ledger's segment within one gRPC message."""
    fill_ms: float = 16.0
    """Milliseconds after which no further step goes into a commit. One that gives way to alerts is ended by one that
    comes meanwhile, which then waits for all of it to be written."""
    queue: int = 8192
    """Reports of C2 systems that may wait for their commit. ROUTINE ones may fill half of it, and FLASH all."""
    queue_bytes: int = 64 << 20
    """Bytes of reports that may wait."""
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
        recovery: Recovery | None = None,
        room: Room | None = None,
        readers: Readers | None = None,
        on_failure: Callable[[StoreError], None] = lambda _: None,
        opening: Callable[[Collection[Origin]], None] = lambda _: None,
        opened: Callable[[Collection[Origin]], None] = lambda _: None,
    ) -> None:
        """`opening` is told in the sequencer's thread which generations of own ledgers a commit opens, before it;
        `opened` likewise, once it is durable; after a failure of the store, which of them stand in it.
        """
        self._opening = opening
        self._opened = opened
        self._room = room or Room(lambda: None)
        self._readers = readers
        self._on_failure = on_failure
        self._doubted: StoreError | None = None
        self._told: tuple[str, float] | None = None
        self._recovery = recovery
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
        self._waiting: Waiting[_Queued] = Waiting(limits.queue, limits.queue_bytes)
        self._some_wait = asyncio.Event()
        self._step_s = FIRST_STEP_S
        self._fits = min(EXPECTED, limits.steps)
        """Steps that are taken for the next commit: some more than it will have time for."""
        self._gives_way = False
        """Whether an alert that comes ends the commit at hand."""
        self._fold_put_off = 0
        """Commits by which the log's folding was put off, for alerts that waited."""
        # One thread, so that the store's connection and the heads have one owner.
        self._latest_ns = 0
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="sequencer")
        self._store: Store | None = None
        self._heads = Heads({}, {})
        self._verdicts = Verdicts(signatory.storage)
        self._problem: str | None = None
        self._stopping = False

    @property
    def problem(self) -> str | None:
        """Why nothing can be made durable now; None when all is well."""
        return self._problem

    @property
    def takes(self) -> Rank | None:
        """The lowest rank of reports that is taken now; None: nothing is."""
        return self._room.takes if self._problem is None else None

    @property
    def reason(self) -> str:
        """Why not everything is taken; empty where it is."""
        return self._problem or self._room.reason

    def doubt(self, error: StoreError) -> None:
        """Somebody who reads has found the store to be damaged: nothing is made durable any more."""
        if self._problem is None:
            self._problem = str(error)
            self._doubted = error
            self._some_wait.set()

    async def alive(self) -> None:
        """Returns once the sequencer's thread has done what it was doing: for a watchdog."""
        await self._in_thread(lambda: None)

    @property
    def waiting(self) -> int:
        """Steps that wait for the next commit."""
        return len(self._waiting)

    def waiting_at(self, rank: Rank) -> int:
        """Steps of one rank that wait for the next commit."""
        return self._waiting.count(rank)

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
        await self._in_thread(functools.partial(self._open, again=False))

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
        as far as a turn of TURN_S allows.

        Within a rank sources take turns; `source` names one of them, and is empty for this node itself. A `bounded`
        step counts against the room that there is. What waits of the same source and is named by `after` goes before
        this one.

        Raises Exhausted where a bounded one finds no room, and Unavailable where nothing can be made durable now: then
        nothing was done, and `done` is told nothing.
        """
        if self._stopping:
            raise Unavailable("the gateway is stopping")
        if self._problem is not None:
            raise Unavailable(self._problem)
        rank, weight, takes = step.rank, step.weight, self._room.takes
        if source and weight and (takes is None or max(rank, Rank.ROUTINE) < takes):
            raise Exhausted(self._room.reason, RETRY_MS)
        if bounded and not self._waiting.has_room(rank, source, weight):
            raise Exhausted("too much waits to be put on record", self._retry_after_ms())
        if after is not None:
            self._waiting.raise_to(rank, source, lambda queued: after(queued[0]))
        self._waiting.add((step, done), rank, source, weight, bounded=bounded)
        self._some_wait.set()

    def _retry_after_ms(self) -> int:
        """About when what waits will be on record."""
        return round(1000 * min(max(len(self._waiting) * self._step_s, SOONEST_S), LATEST_S))

    async def run(self) -> None:
        """Commits until cancelled."""
        try:
            while True:
                await self._some_wait.wait()
                if self._doubted is not None:
                    await self._recover(self._doubted)
                elif len(self._waiting):
                    await self._make_durable(self._waiting.take(self._fits, self._limits.bytes))
                else:
                    self._some_wait.clear()
        finally:
            self._stopping = True
            self._fail_waiting("the gateway is stopping")

    async def close(self) -> None:
        """Closes the store. `run` must have ended."""
        self._stopping = True
        self._fail_waiting("the gateway is stopping")
        try:
            await self._in_thread(self._close_store)
        finally:
            self._thread.shutdown()

    async def abandon(self) -> None:
        """Lets go of the store as it is, without a further look at it: after a failure. `run` must have ended."""
        self._stopping = True
        self._fail_waiting("the gateway is stopping")
        await self._in_thread(self._let_go)
        self._thread.shutdown()

    def _fail_waiting(self, why: str) -> None:
        for _, done in self._waiting.drain():
            done(Unavailable(why))

    def _in_thread(self, function: Callable[..., T], *args: object) -> asyncio.Future[T]:
        """Has the thread begin at once, and not only when this one has its next turn."""
        return asyncio.get_running_loop().run_in_executor(self._thread, function, *args)

    async def _make_durable(self, places: Sequence[Place[_Queued]]) -> None:
        began = self._monotonic()
        batch = [place.item for place in places]
        # One that holds alerts goes on, so that a flood of them goes in large commits; so does one that is taken
        # although alerts wait, for it is the only one that others have for a while.
        self._gives_way = not self._waiting.alerts and all(place.rank is not Rank.FLASH for place in places)
        try:
            work = self._in_thread(self._commit, batch)
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
            self._problem = f"the last commit failed: {error}"
            for _, done in batch:
                done(Unavailable(self._problem))
            await self._recover(error)
            return
        if made is None:
            self._waiting.put_back(places, gave_way=True)
            return
        outcomes, plan = made.outcomes, made.filled.plan
        # What did not fit goes first in the next commit.
        self._waiting.put_back(places[len(outcomes) :], gave_way=made.filled.gave_way)
        self._heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        self._verdicts.adopt(plan.given_verdicts)
        if self._recovery is not None and plan.recording is not None:
            self._recovery.adopt(plan.recording)
        if plan.signatory is not self._signatory:
            # The commit that took other keys into use is durable: from here on everything is signed with them.
            self._signatory.adopt(plan.signatory)
        if plan.rulebook.suspended != self._rulebook.suspended:
            # Openings that a suspended partner was given as hashes alone do not open what is sealed to him later.
            self._heads.without_epochs(home=False)
        self._rulebook = plan.rulebook
        took_s = self._monotonic() - began
        self._step_s += (took_s / len(outcomes) - self._step_s) / STEPS_AVERAGED
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

    async def _answer(self, batch: Sequence[_Queued], outcomes: Sequence[Any]) -> None:
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
        store = self._store
        if store is None or not store.log_is_long:
            return
        if self._waiting.alerts and self._fold_put_off < FOLD_PUT_OFF:
            self._fold_put_off += 1
            return
        self._fold_put_off = 0
        try:
            await self._in_thread(store.fold)
        except StoreError as error:
            log.critical("the store's log could not be folded: %s; the store is being opened again", error)
            self._problem = f"the store's log could not be folded: {error}"
            await self._recover(error)

    def _commit(self, batch: list[_Queued]) -> _Made | None:
        """Prepares and commits as many steps as go in. Runs in the sequencer's thread.

        None: nothing was begun, for an alert has come since the steps were taken, and they give way to it.
        """
        if self._gives_way and self._waiting.alerts:
            return None
        store = self._store
        if store is None:
            raise StoreError("the store is not open")
        outcomes: dict[int, Any] = {}
        while True:
            count = len(batch)
            try:
                filled = self._prepare(store, batch, outcomes)
                count = filled.steps
                checkpoints = self._write(store, filled.plan)
                return _Made([outcomes[place] for place in range(count)], filled, checkpoints)
            except StoreConflict as error:
                # What did not fit was not to blame.
                batch = self._without_conflict(store, batch[:count], outcomes, error)

    def _without_conflict(
        self, store: Store, batch: list[_Queued], outcomes: dict[int, Any], error: StoreConflict
    ) -> list[_Queued]:
        """What is tried next of the steps of a plan, of which one contradicts what is durable: ever fewer, until that
        one is alone. It is answered so, and takes nobody down with it. Raises the error where it is this process that
        is mistaken of what is durable.
        """
        if any(not holds_exactly(store, head) for head in self._heads):
            raise error
        # The abandoned plan has sealed entries.
        self._heads.without_epochs()
        left = [place for place in range(len(batch)) if not isinstance(outcomes.get(place), StepBroken)]
        if len(left) > 1:
            return batch[: left[len(left) // 2]]
        log.error("a step contradicts what is durable and was left out: %s", error)
        outcomes[left[0]] = StepBroken(f"it contradicts what is durable ({error}); see the log")
        return batch

    def _prepare(self, store: Store, batch: list[_Queued], outcomes: dict[int, Any]) -> _Filled:
        """The plan of a commit."""
        # 1. Fill the plan. Nothing outside it changes: a crash here loses what nobody was told of.
        while (filled := self._fill(store, batch, outcomes)) is None:
            # A step failed in a way that it should not: it is answered with that, and the others start afresh. The
            # abandoned plan may have sealed entries, so their keys must never seal again.
            self._heads.without_epochs()
        return filled

    def _write(self, store: Store, plan: Plan) -> Sequence[tuple[Origin, Note]]:
        """Makes a plan durable, and returns the checkpoints that it signed. Raises StoreConflict where a step
        contradicts what is durable.
        """
        # 2. Sign. A checkpoint that is signed here and then lost is never seen by anyone: only what the store returns
        #    after the commit is sent, so a crash cannot leave two signed histories.
        if not plan.empty and plan.clock_trusted and plan.now_ns > self._latest_ns + LATEST_TIME_STEP_NS:
            plan.commit.meta.setdefault(LATEST_TIME, plan.now_ns.to_bytes(8))
        checkpoints = plan.finish()
        if not plan.empty:
            self._commit_plan(store, plan)
            if LATEST_TIME in plan.commit.meta:
                self._latest_ns = int.from_bytes(plan.commit.meta[LATEST_TIME])
            self._room.look()
        # 6. Only now, back in the event loop: heads move on, followers and subscribers are woken, acknowledgements and
        #    receipts go out. A crash before that is met by C2 clients sending again and partners resuming.
        return checkpoints

    def _commit_plan(self, store: Store, plan: Plan) -> None:
        # 3. Say outside of the store which generations open: a store that is lost after that must not open them again.
        own = [origin for origin in plan.ledgers.ended.values() if origin.owner == self._signatory.node]
        if own:
            self._opening(own)
        # 4. Commit: reports, decisions, releases, replicas, receipts and checkpoints, all or nothing.
        store.commit(plan.commit)
        # 5. Say outside that they are open. A crash before that leaves a number there of which that is in doubt.
        if own:
            self._opened(own)

    def _fill(self, store: Store, batch: list[_Queued], outcomes: dict[int, Any]) -> _Filled | None:
        """Applies steps that have not failed before, as long as there is time. None: one has failed now in a way that
        may have left a trace.
        """
        began = self._monotonic()
        until = began + self._limits.fill_ms / 1000
        plan = Plan(
            self._heads,
            store,
            self._signatory,
            self._partners(),
            self._now_ns,
            self._rulebook,
            verdicts=self._verdicts,
            clock_trusted=self._clock_trusted(),
            recovery=self._recovery,
        )
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
            if self._gives_way and self._waiting.alerts:
                return _Filled(plan, place + 1, gave_way=True)
            if self._monotonic() >= until:
                count = place + 1
                break
        self._foresee(count, self._monotonic() - began)
        return _Filled(plan, count, gave_way=False)

    def _foresee(self, steps: int, took_s: float) -> None:
        """Sets how many steps are taken for the next commit: twice as many as would fit if each took as long as these.
        What does not fit has to be put back, which is work as well.
        """
        fit = steps * self._limits.fill_ms / 1000 / max(took_s, 1e-6)
        self._fits = min(max(int(2 * fit), EXPECTED), self._limits.steps)

    def _close_store(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.close()

    def _open(self, *, again: bool) -> None:
        """Takes up the store. `again`: after a failure, so it has to show what it can do, and to hold what it held.

        Raises StoreError: StoreDamaged where a commit that is made of nothing but what the store holds contradicts it.
        There is no step to leave out, as there is in `_commit`, and the next try would end in the same way.
        """
        store, self._store = self._store, None
        if store is not None:
            store.abandon()
        store = self._open_store()
        try:
            # Heads are read from what is durable, and without epochs: no content key outlives a commit in doubt.
            heads = Heads.restore(store)
            # The keys in use are those on record: a commit in doubt may have switched them.
            using = self._signatory.using(keys_on_record(store))
            require_own_keys(store, using)
            self._signatory.adopt(using)
            # So is the policy in force: a commit in doubt may have changed it.
            rulebook = self._read_rulebook(store)
            # A store that an older gateway wrote has its index of decisions made before anything is added to it.
            for commit in verdicts.missing(store, self._signatory):
                store.commit(commit)
            numbers = Verdicts.restore(store, self._signatory.storage)
            if again:
                # Only what can be written again is said to be: not for one commit that happens to fit.
                store.probe(PROBE_BYTES)
                rulebook = self._require_known(store, heads, numbers, rulebook)
            self._latest_ns = int.from_bytes(store.meta(LATEST_TIME) or b"")
        except StoreConflict as error:
            store.abandon()
            raise StoreDamaged(
                f"it contradicts itself: {error}. Restore it from a backup, or begin anew and recover it, as"
                " docs/operations.md says; start with --restored"
            ) from error
        except BaseException:  # it goes on; nothing is left open
            store.abandon()
            raise
        self._store, self._heads, self._verdicts, self._rulebook = store, heads, numbers, rulebook
        following = [head.origin for head in heads if not head.replica and head.origin.generation > 1]
        if again and following:
            # The commit in doubt may have opened them, and all that was said of that outside is that it was begun.
            self._opened(following)
        self._room.look()

    def _require_known(self, store: Store, heads: Heads, numbers: Verdicts, rulebook: Rulebook) -> Rulebook:
        """Holds the store against what this process knows to be durable. Where it lacks some of that, the own ledgers
        concerned end and their next generations open, before anything else is done. Returns the policy in force.
        """
        missing = lacking(self._heads, store)
        for origin in missing:
            log.critical("%s: the store does not hold what was durable", origin)
        own = tuple(origin for origin in missing if origin.owner == self._signatory.node)
        if not own:
            # A partner's ledger is fetched again by its follower.
            return rulebook
        plan = Plan(
            heads,
            store,
            self._signatory,
            self._partners(),
            self._now_ns,
            rulebook,
            verdicts=numbers,
            clock_trusted=self._clock_trusted(),
            recovery=self._recovery,
        )
        why = "the store that was opened again after a failure lacks what was durable"
        DeclareSetBack(why, own, ledger_pb2.SUCCESSION_REASON_LOST_TAIL).apply(plan)
        plan.finish()
        self._commit_plan(store, plan)
        heads.adopt(plan.ledgers.changed, plan.ledgers.ended)
        numbers.adopt(plan.given_verdicts)
        if self._recovery is not None and plan.recording is not None:
            self._recovery.adopt(plan.recording)
        return plan.rulebook

    async def _recover(self, error: Exception) -> None:
        """Opens the store again, as often as it takes; meanwhile everything is refused.

        Of a damaged one nothing is hoped: the process goes on to say so, until somebody restores or replaces the store
        and starts it again.
        """
        self._failed(error)
        if self._readers is not None:
            await self._readers.shut()
        while True:
            self._fail_waiting(self._problem or "the store is being opened again")
            if isinstance(error, StoreDamaged):
                await self._stay_down(error)
            try:
                await self._in_thread(functools.partial(self._open, again=True))
            except (LedgerError, SealError) as failure:
                error = failure
                self._failed(error)
                self._problem = f"the store cannot be opened: {error}"
                self._tell(self._problem)
                await asyncio.sleep(self._limits.reopen_s)
            else:
                break
        log.warning("the store is open again; reports are being accepted")
        self._problem = self._doubted = self._told = None
        if self._readers is not None:
            self._readers.allow()
        # The commit in doubt may have become durable, and nobody was woken for it.
        grown = frozenset(head.origin for head in self._heads)
        self._listener(Durable((), grown, {}, (), 0, 0.0, reopened=True))

    async def _stay_down(self, error: StoreDamaged) -> None:
        """Refuses everything until the process is stopped."""
        self._problem = f"the store is damaged, and nothing is taken until it is restored: {error}"
        self._tell(self._problem)
        await self._in_thread(self._let_go)
        await asyncio.Event().wait()

    def _let_go(self) -> None:
        store, self._store = self._store, None
        if store is not None:
            store.abandon()

    def _failed(self, error: Exception) -> None:
        if isinstance(error, StoreError):
            self._on_failure(error)

    def _tell(self, what: str) -> None:
        """Logs it, if it is not what was logged just now: it is tried again twice a second, perhaps for days."""
        now = self._monotonic()
        if self._told is None or self._told[0] != what or now - self._told[1] >= TELL_S:
            self._told = (what, now)
            log.critical("%s", what)


def _settle(done: asyncio.Future[T], outcome: T | Exception) -> None:
    if done.done():
        return
    if isinstance(outcome, Exception):
        done.set_exception(outcome)
        # Whoever waited may be gone; the failure was logged where it happened.
        done.exception()
    else:
        done.set_result(outcome)
