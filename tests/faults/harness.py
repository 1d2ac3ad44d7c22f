"""One run: real gateways, C2 systems at work, faults by a schedule, and then everything is judged.

The traffic goes on through all faults and until every pair of nations has exchanged something after the last one. Then
the sensors rest, and whatever is outstanding has `SETTLE_S` to arrive. What a gateway does meanwhile is not looked at:
what it acknowledged, what subscribers were given and what the stores hold is.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.client import ClientError
from gateway.demo.deployment import STOP_S, Deployed
from gateway.demo.errors import DemoError
from tests.faults.between import links
from tests.faults.books import Books
from tests.faults.invented import CODES, settle
from tests.faults.judging import judge_stores, reconcile
from tests.faults.launch import Settings
from tests.faults.machine import RESTART_S, Machine
from tests.faults.recovering import recovered
from tests.faults.recovery import Struck
from tests.faults.routes import order_routes
from tests.faults.schedule import DISKS, LINKS, STORES, Fault, Kind, schedule
from tests.faults.striking import Field, strike
from tests.faults.systems import Pusher, Reader
from tests.faults.traffic import Sensors

START_S: Final = 90.0
"""Seconds that gateways may take to start for the first time: each proves its policy, all at once."""

LINK_S: Final = 90.0
"""Seconds that links may take to be in use for the first time."""

RECOVER_S: Final = 90.0
"""Seconds that all links may take to be in use again after the last fault."""

SETTLE_S: Final = 90.0
"""Seconds that what is outstanding may take to arrive."""

LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Course:
    """What is run. The same course has the same faults and the same reports in the same order."""

    seed: int
    kinds: Sequence[Kind]
    nodes: Sequence[str] = CODES[:3]
    faults: int = 12
    duration_s: float = 20.0
    longest_s: float = 8.0
    rate: float = 6.0
    """Reports a second and nation."""
    relayed: bool = False
    """Whether officers have ordered that each nation carries between each two others."""
    given: Sequence[Fault] | None = None
    """The faults, where they are not drawn."""

    def schedule(self) -> Sequence[Fault]:
        """Its faults."""
        if self.given is not None:
            return self.given
        return schedule(
            self.seed,
            self.nodes,
            self.kinds,
            count=self.faults,
            duration_s=self.duration_s,
            longest_s=self.longest_s,
        )


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    course: Course
    books: Books
    faults: list[str] = field(default_factory=list)
    """Everything that is wrong; empty: nothing."""
    entries: int = 0
    opened: int = 0
    compared: int = 0
    """Ledgers that two nodes compared live."""
    took_s: float = 0.0

    @property
    def struck(self) -> Sequence[Struck]:
        """The faults that came about, as they happened."""
        return [struck for struck in self.books.struck if struck.met]


class Run:
    """A run of `course` in a new directory."""

    def __init__(self, course: Course, directory: Path, *, say: Callable[[str], None] = lambda _: None) -> None:
        self.course = course
        self.schedule = course.schedule()
        self._directory = directory
        self._say = say
        self._began = 0.0
        self.stage = "setting up"
        self.books = Books(tuple(course.nodes))
        self.places: Mapping[str, Deployed] = {}
        self.wishes: dict[str, Sequence[str]] = {}
        """By node: why its gateway asked C2 systems to submit again."""

    @property
    def progress(self) -> float:
        """The part of the faults' time that is over, 0 to 1."""
        if not self._began:
            return 0.0
        return min(1.0, (asyncio.get_running_loop().time() - self._began) / self.course.duration_s)

    async def play(self) -> Outcome:
        """Runs it and judges it. Raises DemoError where the gateways do not even start."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        places = self.places = settle(self._directory, self.course.nodes, now=datetime.now(UTC))
        outcome = Outcome(self.course, self.books)
        # Of what a gateway forgot, generations have ended that nobody has in full any more.
        forgot = bool(self._forgetful)
        struck = {frozenset((fault.node, fault.partner)) for fault in self.schedule if fault.kind in LINKS}
        with links(places, seed=self.course.seed, pairs=struck) as between, self._machines(places) as machines:
            for machine in machines.values():
                machine.start()
            await asyncio.gather(*(machine.ready(START_S) for machine in machines.values()))
            here = Field(
                machines,
                between,
                {
                    node: Pusher(place, self.books, loop.time, Sensors(node, self.course.nodes, self.course.seed))
                    for node, place in places.items()
                },
                {node: Reader(place, self.books, loop.time) for node, place in places.items()},
                self._directory / "backups",
            )
            if self.course.relayed:
                self._stage("ordering routes")
                await asyncio.gather(*(order_routes(place, self.course.nodes) for place in places.values()))
            systems: list[Pusher | Reader] = [*here.pushers.values(), *here.readers.values()]
            try:
                await self._exercise(here)
                self._stage("reading everything again")
                for reader in here.readers.values():
                    await reader.read_again()
                self._stage("reconciling")
                parted, outcome.compared = await reconcile(places, forgot=self._forgetful)
                outcome.faults += parted
                # What was compared is on record.
                await self._signed(here)
            finally:
                for system in systems:
                    await system.crash()
            self.wishes = {node: pusher.wishes for node, pusher in here.pushers.items()}
            self._stage("stopping")
            outcome.faults += await _stop(machines)
            outcome.faults += self.books.faults()
            outcome.faults += [death for machine in machines.values() for death in machine.deaths]
            self._stage("verifying")
            stores = await asyncio.to_thread(judge_stores, places, settled=not forgot, books=self.books)
            outcome.faults += stores.faults
            outcome.entries, outcome.opened = stores.entries, stores.opened
        outcome.took_s = loop.time() - began
        self._stage("over")
        return outcome

    @property
    def _forgetful(self) -> Sequence[str]:
        """Nodes whose store is lost or set back in this run."""
        return sorted({fault.node for fault in self.schedule if fault.kind in STORES})

    @contextlib.contextmanager
    def _machines(self, places: Mapping[str, Deployed]) -> Iterator[dict[str, Machine]]:
        kinds = {fault.kind for fault in self.schedule}
        settings = Settings(seed=self.course.seed, volatile=Kind.POWER_LOSS in kinds)
        machines = {node: Machine(place, settings, plain=not kinds & DISKS) for node, place in places.items()}
        try:
            yield machines
        finally:
            for machine in machines.values():
                machine.kill()

    def _stage(self, what: str) -> None:
        self.stage = what
        self._say(what)

    async def _exercise(self, here: Field) -> None:
        """Traffic and faults, until nothing is outstanding."""
        loop = asyncio.get_running_loop()
        systems: list[Pusher | Reader] = [*here.pushers.values(), *here.readers.values()]
        for system in systems:
            system.start()
        keeping = asyncio.create_task(self._keep_up(here.machines))
        seeing = [asyncio.create_task(self._see(pusher)) for pusher in here.pushers.values()]
        try:
            self._stage("linking")
            if not await _until(lambda: self.books.all_recovered, LINK_S):
                raise DemoError(
                    f"Not all nations had something from all others within {LINK_S:g} s, before any fault",
                    where=str(self._directory),
                    mend="Read the ends of the logs.",
                )
            self._began = loop.time()
            self._stage("faults")
            async with asyncio.TaskGroup() as group:
                for fault in self.schedule:
                    group.create_task(self._suffer(fault, here))
            self._stage("recovering")
            await _until(lambda: self.books.all_recovered, RECOVER_S)
            for task in seeing:
                task.cancel()
            self._stage("settling")
            async with recovered([here.machines[node].place for node in self._forgetful]) as failed:
                # What is outstanding is counted over everything: not too often.
                await _until(lambda: not any(True for _ in self.books.outstanding()), SETTLE_S, look_s=0.5)
            self.books.wrong += failed
        finally:
            for task in (keeping, *seeing):
                task.cancel()
            results = await asyncio.gather(keeping, *seeing, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _suffer(self, fault: Fault, here: Field) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._began + fault.begins_s - loop.time()))
        began = loop.time()
        self._say(str(fault))
        try:
            met = await strike(fault, here)
        except (DemoError, OSError) as error:
            # The run goes on, and everything else is judged.
            self.books.wrong.append(f"{fault}: {error}")
            met = False
        self.books.struck.append(Struck(fault, began, loop.time(), met))

    async def _see(self, pusher: Pusher) -> None:
        """The sensors of one nation, until cancelled."""
        chance = random.Random(f"{self.course.seed} {pusher.place.node} pace")
        while True:
            pusher.see()
            await asyncio.sleep(chance.uniform(0.5, 1.5) / self.course.rate)

    async def _keep_up(self, machines: Mapping[str, Machine]) -> None:
        """Starts again whatever ended, as an init system does."""
        while True:
            for machine in machines.values():
                if machine.fell():
                    await asyncio.sleep(RESTART_S)
                    if machine.fell():
                        machine.start()
            await asyncio.sleep(LOOK_S)

    async def _signed(self, here: Field) -> None:
        """Waits until every ledger has its receipt and its post-quantum line. (A witness ledger is never at rest.)"""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        for node, machine in here.machines.items():
            while asyncio.get_running_loop().time() < deadline:
                with contextlib.suppress(ConnectionError, ClientError):
                    ledgers = (await machine.place.officer().status()).ledgers
                    # What ended has no receipt for its last entries, where its successor brought them.
                    last = {_line(each.origin): each for each in ledgers}
                    if all(
                        each.pq_size == each.size
                        and (each.receipt_size == each.size or each.origin.split("/")[3] == "decisions")
                        for line, each in last.items()
                        if "/witness" not in line
                    ):
                        break
                await asyncio.sleep(0.2)
            else:
                self.books.wrong.append(f"{node}: not every ledger has its receipt and its post-quantum line")


def _line(origin: str) -> str:
    """A ledger's line: what its generations have in common."""
    return origin.rpartition("/")[0]


async def _stop(machines: Mapping[str, Machine]) -> list[str]:
    """Stops every gateway in order; what did not end so, in words."""
    for machine in machines.values():
        machine.wanted = False
        machine.tell_to_stop()
    await _until(lambda: not any(machine.running for machine in machines.values()), STOP_S / 2)
    for machine in machines.values():
        if machine.running and not machine.plain:
            machine.say_where()
    codes = {node: await asyncio.to_thread(machine.stop) for node, machine in machines.items()}
    return [f"the gateway of {node} ended with exit code {code}" for node, code in codes.items() if code != 0]


async def _until(condition: Callable[[], bool], timeout_s: float, look_s: float = LOOK_S) -> bool:
    """Waits for a state that rings no bell; False: it has not come in that time."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while not condition():
        if asyncio.get_running_loop().time() > deadline:
            return False
        await asyncio.sleep(look_s)
    return True
