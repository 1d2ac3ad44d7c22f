"""What the officers have put in force at this node, and the one way to change it.

`Governance.enact` judges an order (`policy.approve.judge`), makes it durable as one step of the sequencer, and only
then counts it: the decisions ledger has it in the commit with which it takes effect, and the next decision is made
by it. A refused order changes nothing; it is logged, counted and put on record with its reasons.

Compiling and proving a policy takes long. It is done for one order at a time, and nothing else waits for it: an order
that suspends overtakes it, and the policy is then refused, as its place is taken.

The event loop's thread owns the state; `restore` alone runs in the sequencer's, whenever the store is opened.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final, TypedDict

from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import StepRefused, Unavailable
from gateway.release.orders import EnactOrder, EndPosture, OrdersError, PinRoster, read_in_force, rulebook_of
from gateway.release.rulebook import Rulebook
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Signatory
from gateway.release.steps import RecordEvent
from policy.approve import (
    Activate,
    Judgement,
    OrderLimits,
    OrderRefused,
    Prover,
    Reason,
    Refusal,
    Roster,
    SignedOrder,
    State,
    confirm,
    decode,
    glance,
    judge,
    parse_roster,
    read_orders,
)
from policy.bundle import digest_of, load, read_files
from policy.errors import PolicyError, Problem

log = logging.getLogger(__name__)

REFUSED_KEPT: Final = 16
"""Refused orders that are kept for `GetPolicyStatus`: what officers may have tried since they last looked."""

WAITING_POLICIES: Final = 8
"""Policies that may be judged or wait for it; each has its files in memory, and its officers wait for an answer."""

_RECORDED_CHARS: Final = 1_000
"""Characters of the reasons for a refusal that go on record: whoever has a certificate and no key can be refused as
often as he likes."""


@dataclass(frozen=True, slots=True)
class Refused:
    """An order that was refused: when, who brought it, and what stood against it."""

    time: datetime
    brought_by: str
    refusals: tuple[Refusal, ...]


class _Circumstances(TypedDict):
    """What a judgement made now depends on beside the order and the state."""

    now: datetime
    partners: tuple[str, ...]
    limits: OrderLimits
    clock_trusted: bool


class Governance:
    """The officers' state of one node. `restore` first, then `attach`; then anything else."""

    def __init__(
        self,
        *,
        partners: Iterable[str],
        signatory: Signatory,
        reader: Callable[[], StoreReader],
        prover: Prover,
        limits: OrderLimits,
        now: Callable[[], datetime],
        clock_trusted: Callable[[], bool],
    ) -> None:
        self._partners = tuple(sorted(partners))
        self._signatory = signatory
        self._reader = reader
        self._prover = prover
        self._limits = limits
        self._now = now
        self._clock_trusted = clock_trusted
        self._sequencer: Sequencer | None = None
        self._one_at_a_time = asyncio.Lock()
        """Held while the state moves on: for one commit, and never for a proof."""
        self._proving = asyncio.Lock()
        self._policies = 0
        self._under_way: set[asyncio.Task[Judgement]] = set()
        self._listeners: list[Callable[[State], None]] = []
        self._refusal_listeners: list[Callable[[Refusal], None]] = []
        self.state: State | None = None
        """What is in force; None where no roster is pinned, or what is on record is not believed."""
        self.first_roster: Roster | None = None
        self.record_problem = ""
        """Why what is on record cannot be believed, or used; empty where it can."""
        self.file_problems: list[str] = []
        """What the configured files have against them."""
        self.refused: deque[Refused] = deque(maxlen=REFUSED_KEPT)
        self._unrecorded: Counter[str] = Counter()
        """Orders that were refused and are not on record, by who brought them."""

    @property
    def node(self) -> str:
        """The node."""
        return self._signatory.node

    @property
    def suspended(self) -> frozenset[str]:
        """The partners to whom nothing is released, and to whom nothing more is sent."""
        if self.state is None:
            return frozenset(self._partners if self.record_problem else ())
        return self.state.suspended

    @property
    def posture(self) -> str:
        """The posture in force; empty where no policy is."""
        return "" if self.state is None or self.state.bundle is None else rulebook_of(self.state, ()).posture

    @property
    def problems(self) -> list[str]:
        """Everything that has to be mended, in words."""
        return [*([self.record_problem] if self.record_problem else []), *self.file_problems]

    def on_change(self, listener: Callable[[State], None]) -> None:
        """`listener` is told each new state, once it is in force; and at once the one that is."""
        self._listeners.append(listener)
        if self.state is not None:
            listener(self.state)

    def announce(self) -> None:
        """Tells every listener what is in force now: after the store was opened again."""
        if self.state is not None:
            for listener in self._listeners:
                listener(self.state)

    def on_refusal(self, listener: Callable[[Refusal], None]) -> None:
        """`listener` is told every reason of every order that is refused."""
        self._refusal_listeners.append(listener)

    def attach(self, sequencer: Sequencer) -> None:
        """Names the sequencer that makes orders durable."""
        self._sequencer = sequencer

    def restore(self, store: StoreReader) -> Rulebook:
        """Reads the state from the store and returns what decisions are made by. Raises StoreError.

        What is not believed is loud; then everything is withheld, and every partner counts as suspended.
        """
        known = None if self.state is None else self.state.bundle
        self.record_problem = ""
        try:
            found = read_in_force(store, self._signatory, known)
        except OrdersError as error:
            self.state, self.record_problem = None, str(error)
            log.critical("everything is withheld, and every partner suspended: %s", error)
            return Rulebook.none(self._partners, self._partners)
        if found is None:
            self.state = None
            return Rulebook.none(self._partners)
        self.first_roster, self.state, self.record_problem = found.first, found.state, found.unreadable
        if found.unreadable:
            log.critical("everything is withheld: %s", found.unreadable)
        return rulebook_of(self.state, self._partners)

    # --- orders

    async def enact(
        self,
        signed: SignedOrder,
        files: Mapping[str, bytes],
        brought_by: str,
        may_record: Callable[[int], bool] = lambda _: True,
    ) -> Judgement:
        """Puts an order in force; on return it is durable, and the next decision is made by it.

        A refusal is put on record where `may_record` allows so many bytes of it; one that it does not allow is counted,
        and the next that is on record says how many there were. An order that is put in force always is.

        Raises OrderRefused with what stands against it, or Unavailable.
        """
        # A caller who goes away half-way must not leave the state behind the store.
        task = asyncio.create_task(self._enact(signed, dict(files), brought_by, may_record))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return await asyncio.shield(task)

    async def _enact(
        self, signed: SignedOrder, files: dict[str, bytes], brought_by: str, may_record: Callable[[int], bool]
    ) -> Judgement:
        try:
            judgement = await self._judge(signed, files)
            async with self._one_at_a_time:
                judgement = confirm(
                    judgement,
                    self._state(),
                    signed,
                    now=self._now(),
                    limits=self._limits,
                    clock_trusted=self._clock_trusted(),
                )
                await self._make_durable(EnactOrder(judgement, signed, files, brought_by))
                self._move(judgement.state)
        except OrderRefused as error:
            await self._refuse(error, signed, brought_by, may_record)
            raise
        log.warning("order %d is in force, brought by %s", judgement.order.sequence, brought_by)
        return judgement

    async def _make_durable(self, step: EnactOrder) -> None:
        try:
            await self._do().do(step)
        except StepRefused as error:
            remedy = "Ask for the status, and write it anew on that."
            raise OrderRefused([Refusal(Reason.WRONG_SEQUENCE, f"Not put on record: {error}.", remedy)]) from error

    def _state(self) -> State:
        if self.state is None:
            why = self.record_problem or "No roster was ever pinned."
            raise OrderRefused([Refusal(Reason.NO_ROSTER, why, "See the gateway's log, and docs/officer.md.")])
        return self.state

    async def _judge(self, signed: SignedOrder, files: Mapping[str, bytes]) -> Judgement:
        if not isinstance(decode(signed.order).action, Activate):
            return judge(self._state(), signed, files, prover=self._prover, **self._circumstances())
        # What nobody of the roster signed for this place never waits for a proof, nor lets others wait.
        await asyncio.to_thread(glance, self._state(), signed, files, **self._circumstances())
        if self._policies >= WAITING_POLICIES:
            raise Unavailable(f"{self._policies} other policies are being judged, or wait for it; try again later")
        self._policies += 1
        try:
            async with self._proving:
                # Not in the event loop, and not where commits are made.
                return await asyncio.to_thread(
                    judge, self._state(), signed, files, prover=self._prover, **self._circumstances()
                )
        finally:
            self._policies -= 1

    def _circumstances(self) -> _Circumstances:
        return {
            "now": self._now(),
            "partners": self._partners,
            "limits": self._limits,
            "clock_trusted": self._clock_trusted(),
        }

    async def _refuse(
        self, error: OrderRefused, signed: SignedOrder, brought_by: str, may_record: Callable[[int], bool]
    ) -> None:
        log.error("an order brought by %s is refused: %s", brought_by, error)
        self.refused.appendleft(Refused(self._now(), brought_by, error.refusals))
        for refusal in error.refusals:
            for listener in self._refusal_listeners:
                listener(refusal)
        said = "; ".join(f"{refusal.reason}: {refusal.what}" for refusal in error.refusals)[:_RECORDED_CHARS]
        more = self._unrecorded[brought_by]
        before = f" ({more} more of them were refused since the last on record)" if more else ""
        words = f"{signed.digest.hex()}, brought by {brought_by}{before}: {said}"
        if not may_record(len(words.encode())):
            self._unrecorded[brought_by] += 1
            return
        del self._unrecorded[brought_by]
        try:
            await self._do().do(RecordEvent("order-refused", words))
        except (Unavailable, LedgerError) as unrecorded:
            log.error("that refusal could not be put on record: %s", unrecorded)

    def _move(self, state: State) -> None:
        self.state, self.record_problem = state, "" if state.bundle is not None else self.record_problem
        for listener in self._listeners:
            listener(state)

    def _do(self) -> Sequencer:
        assert self._sequencer is not None, "attach comes first"
        return self._sequencer

    # --- time

    async def end_posture(self) -> None:
        """Ends a declared posture whose time is over; to be called again and again. Raises Unavailable.

        While the clock is not trusted, none ends.
        """
        async with self._one_at_a_time:
            state, now = self.state, self._now()
            if state is None or state.declared is None or state.declared_at(now) is not None:
                return
            if not self._clock_trusted():
                return
            self._move(await self._do().do(EndPosture(state)))

    # --- files

    async def take_up_files(self, roster: Path | None, policy: Path | None, orders: Path | None) -> None:
        """Pins the roster at the first start, and puts orders in force that are the next; at every start.

        Anything wrong with the files is loud, and changes nothing: what is in force stays. Raises Unavailable.
        """
        self.file_problems = []
        if roster is not None:
            await self._take_up_roster(roster)
        if orders is not None:
            await self._take_up_orders(orders, policy)
        if policy is not None:
            self._compare(policy)
        for problem in self.file_problems:
            log.error("%s", problem)
        if self.state is not None and self.state.activated is None:
            log.error("no policy is in force, so everything is withheld from everybody. %s", how_to_activate(policy))

    async def _take_up_roster(self, path: Path) -> None:
        try:
            roster = read_roster(path, self.node)
        except PolicyError as error:
            self.file_problems.append(str(error))
            return
        if self.first_roster is None and not self.record_problem:
            await self._do().do(PinRoster(roster))
            self.first_roster = roster
            self._move(State.genesis(roster))
            for remark in roster.remarks():
                log.warning("%s: %s", path, remark)
        elif self.first_roster is not None and roster.digest != self.first_roster.digest:
            self.file_problems.append(
                f"{path}: is another roster than the one that was pinned at the first start; it is passed over. The"
                " roster is replaced by an order of its officers (`signalfire policy sign --roster`)."
            )

    async def _take_up_orders(self, path: Path, policy: Path | None) -> None:
        try:
            orders = orders_in(path)
        except PolicyError as error:
            self.file_problems.append(str(error))
            return
        for signed in orders:
            try:
                if any(row.digest == signed.digest for row in self._reader().orders()):
                    continue
                await self.enact(signed, self._files_for(signed, policy), str(path))
            except (OrderRefused, PolicyError) as error:
                self.file_problems.append(f"{path}: an order is refused, and what is in force stays: {error}")
                return

    def _files_for(self, signed: SignedOrder, policy: Path | None) -> Mapping[str, bytes]:
        if policy is None or not isinstance(decode(signed.order).action, Activate):
            return {}
        return read_files(policy, self._limits.policy)

    def _compare(self, policy: Path) -> None:
        activated = None if self.state is None else self.state.activated
        try:
            found = digest_of(read_files(policy, self._limits.policy))
        except PolicyError as error:
            self.file_problems.append(f"{policy}: cannot be read: {error}")
            return
        if found != activated:
            in_force = "no policy is in force" if activated is None else f"{activated.hex()} is in force"
            self.file_problems.append(
                f"{policy}: is not the policy in force: it is {found.hex()}, and {in_force}. It counts only once"
                " officers have signed it (`signalfire policy sign`) and it is activated."
            )


def how_to_activate(policy: Path | None) -> str:
    """The commands that put a policy in force at a node, whatever its orders were before."""
    directory = "DIRECTORY" if policy is None else policy
    return (
        f"Two officers sign anew: `signalfire policy sign {directory} --key KEY --out again.order --credentials OFFICER"
        f" --gateway ADDRESS`, then `signalfire policy sign {directory} --order again.order --key KEY`; then"
        f" `signalfire policy activate {directory} again.order --credentials OFFICER --gateway ADDRESS`. Suspensions, a"
        " declared posture and routes do not come back with it: each takes its own order."
    )


def read_roster(path: Path, node: str) -> Roster:
    """The roster of `node` in a file. Raises PolicyError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError([Problem(str(path), 0, f"It cannot be read: {error.strerror}.", "Name a roster.")]) from error
    roster = parse_roster(str(path), raw)
    if roster.node != node:
        what = f"The roster is that of {roster.node}, and this is {node}."
        raise PolicyError([Problem(str(path), 0, what, f"Give the roster of {node}.")])
    return roster


def orders_in(path: Path) -> list[SignedOrder]:
    """The orders in a file. Raises PolicyError."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise PolicyError([Problem(str(path), 0, f"It cannot be read: {error.strerror}.", "Name a file.")]) from error
    return read_orders(str(path), raw)


def faults_of_files(node: str, roster: Path, policy: Path | None, orders: Path | None) -> list[str]:
    """What is wrong with the configured files themselves, in words; for a check before the start.

    Whether an order would be put in force depends on what is in force, and only the gateway knows that.
    """
    faults: list[str] = []
    found: list[SignedOrder] = []
    digest: bytes | None = None
    try:
        read_roster(roster, node)
    except PolicyError as error:
        faults.append(str(error))
    if policy is not None:
        try:
            bundle = load(policy)
            digest = bundle.digest
            if bundle.node != node:
                faults.append(f"{policy}: The policy is that of {bundle.node}. Give the policy of {node}.")
        except PolicyError as error:
            # A gateway's directory has another `partners/` beside its policy's: say which file is meant.
            faults += [str(replace(problem, file=str(policy / problem.file))) for problem in error.problems]
    if orders is not None:
        try:
            found = orders_in(orders)
        except PolicyError as error:
            faults.append(str(error))
    activated: bytes | None = None
    for signed in found:
        try:
            order = decode(signed.order)
        except OrderRefused as error:
            faults.append(f"{orders}: {error}")
            continue
        if order.node != node:
            faults.append(f"{orders}: order {order.sequence} is for {order.node}. Give those of {node}.")
        if isinstance(order.action, Activate):
            activated = order.action.bundle
    if digest is not None and activated is not None and digest != activated:
        faults.append(f"{orders}: activates {activated.hex()}, and {policy} is {digest.hex()}. Sign what is there.")
    return faults
