"""The C2 systems of the comparison, each role a process of its own, and what they measure.

Three processes run beside a system: one pushes tracks, one receives everything, and one pushes alerts and receives
them. All times of one measurement are of one clock, CLOCK_MONOTONIC, which processes of one machine share.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import time
import traceback
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any, Final

from signalfire.v1 import report_pb2

from bench.system import Clients, Producer, System, SystemFailed, cpu_seconds
from bench.traffic import Traffic, new_tag

PATIENCE_S: Final = 300.0
"""For one report, or one answer of a client's process."""
SETTLE_S: Final = 1.0
"""After a measurement, in which what is still owed (receipts, the second recipient) is done and counted."""
TICK_S: Final = 0.01
"""Between the small bursts in which a steady rate goes."""

Told = Callable[[int, int], None]
"""Told how many are done, of how many."""


# --- what the processes are asked to do


@dataclass(frozen=True, slots=True)
class Launches:
    """Pushes the launches to which tracks refer, under no tag. Answered with their number."""


@dataclass(frozen=True, slots=True)
class Make:
    """Makes the tracks of a flood, so that their making is no part of it."""

    tag: str
    count: int


@dataclass(frozen=True, slots=True)
class Flood:
    """Pushes what was made as fast as it is taken. Answered with when it began, and the last acknowledgement."""

    in_flight: int


@dataclass(frozen=True, slots=True)
class Steady:
    """Pushes `rate` tracks a second for some seconds, or as many as are taken. Answered with how many that
    were, and the seconds until the last was acknowledged.
    """

    tag: str
    rate: float
    seconds: float
    in_flight: int


@dataclass(frozen=True, slots=True)
class Await:
    """Answered once `count` reports of a tag have come: with when the last did."""

    tag: str
    count: int


@dataclass(frozen=True, slots=True)
class Alerts:
    """Pushes `count` alerts, one each `interval_s`; with `alone` none before the one before it has come. Answered with
    how long each took, seconds: from when it was due to when the subscriber had it.
    """

    tag: str
    count: int
    interval_s: float
    alone: bool


Task = Launches | Make | Flood | Steady | Await | Alerts


# --- in the processes


@dataclass(slots=True)
class Progress:
    """So many are done."""

    done: int


class Arrivals:
    """What a subscription has brought: each report once, whatever comes twice."""

    def __init__(self) -> None:
        self.at: dict[str, dict[str, float]] = {}
        """By tag and identifier, when it came."""
        self._came = asyncio.Event()

    async def take(self, reports: AsyncIterator[report_pb2.Report]) -> None:
        """Until cancelled."""
        async for report in reports:
            now = time.monotonic()
            report_id = report.report_id
            self.at.setdefault(report_id[-8:], {}).setdefault(report_id, now)
            self._came.set()

    async def change(self) -> None:
        """Returns when something has come since the last call."""
        async with asyncio.timeout(PATIENCE_S):
            await self._came.wait()
        self._came.clear()


class Role:
    """One process of the load, while it is connected."""

    def __init__(self, clients: Clients, pipe: Connection) -> None:
        self._clients = clients
        self._pipe = pipe
        self._traffic = Traffic()
        self._arrivals = Arrivals()
        self._made: list[report_pb2.Report] = []
        self._producer: Producer

    async def run(self, *, produces: bool, subscribes: bool, alerts: bool) -> None:
        """Until the other end closes the pipe."""
        async with contextlib.AsyncExitStack() as stack:
            if produces:
                self._producer = await stack.enter_async_context(self._clients.producer())
            receiving: asyncio.Task[None] | None = None
            if subscribes:
                reports = await stack.enter_async_context(self._clients.subscriber(alerts=alerts))
                receiving = asyncio.create_task(self._arrivals.take(reports))
                stack.callback(receiving.cancel)
            self._pipe.send("ready")
            while True:
                try:
                    task = await asyncio.to_thread(self._pipe.recv)
                except EOFError:
                    return
                doing = asyncio.create_task(self._do(task))
                await asyncio.wait([each for each in (doing, receiving) if each], return_when=asyncio.FIRST_COMPLETED)
                if receiving is not None and receiving.done() and not doing.done():
                    doing.cancel()
                    receiving.result()
                    raise SystemFailed("a subscription ended")
                self._pipe.send(await doing)

    async def _do(self, task: Task) -> Any:
        match task:
            case Launches():
                return await self._pushed(_each(self._traffic.launches()), 64)
            case Make():
                self._made = [self._traffic.track(task.tag, number) for number in range(task.count)]
                return None
            case Flood():
                return await self._flood(task)
            case Steady():
                began = time.monotonic()
                return await self._pushed(self._steady(task), task.in_flight), time.monotonic() - began
            case Await():
                return await self._await(task)
            case Alerts():
                return await self._alerts(task)

    async def _pushed(self, reports: AsyncIterator[report_pb2.Report], in_flight: int) -> int:
        return len([report_id async for report_id in self._producer.submit(reports, in_flight)])

    async def _flood(self, task: Flood) -> tuple[float, float]:
        tracks, self._made = self._made, []
        began = time.monotonic()
        count = await self._pushed(_each(tracks), task.in_flight)
        if count != len(tracks):
            raise SystemFailed(f"of {len(tracks)} reports {count} were acknowledged")
        return began, time.monotonic()

    async def _steady(self, task: Steady) -> AsyncIterator[report_pb2.Report]:
        began = time.monotonic()
        sent = 0
        while (passed := time.monotonic() - began) < task.seconds:
            # What is not taken in time is not made up for, but within a second.
            due = int(passed * task.rate)
            sent = max(sent, due - int(task.rate))
            while sent < due and time.monotonic() - began < task.seconds:
                yield self._traffic.track(task.tag, sent)
                sent += 1
            await asyncio.sleep(TICK_S)

    async def _await(self, task: Await) -> float:
        arrived = self._arrivals.at.setdefault(task.tag, {})
        step = max(1, task.count // 50)
        told = 0
        while len(arrived) < task.count:
            await self._arrivals.change()
            if len(arrived) >= told + step:
                told = len(arrived)
                self._pipe.send(Progress(told))
        return max(arrived.values(), default=0.0)

    async def _alerts(self, task: Alerts) -> list[float]:
        arrived = self._arrivals.at.setdefault(task.tag, {})
        due_at: dict[str, float] = {}

        async def alerts() -> AsyncIterator[report_pb2.Report]:
            began = time.monotonic()
            for number in range(task.count):
                if task.alone:
                    await asyncio.sleep(task.interval_s)
                    due = time.monotonic()
                else:
                    due = began + number * task.interval_s
                    await asyncio.sleep(max(0.0, due - time.monotonic()))
                report = self._traffic.alert(task.tag)
                due_at[report.report_id] = due
                yield report
                while task.alone and report.report_id not in arrived:
                    await self._arrivals.change()
                if number % 5 == 0:
                    self._pipe.send(Progress(number))

        await self._pushed(alerts(), task.count)
        while len(arrived) < task.count:
            await self._arrivals.change()
        return [arrived[report_id] - due for report_id, due in due_at.items()]


async def _each(reports: Sequence[report_pb2.Report]) -> AsyncIterator[report_pb2.Report]:
    for report in reports:
        yield report


def run_role(clients: Clients, pipe: Connection, produces: bool, subscribes: bool, alerts: bool) -> None:
    """What a process of the load does."""
    try:
        asyncio.run(Role(clients, pipe).run(produces=produces, subscribes=subscribes, alerts=alerts))
    except KeyboardInterrupt:
        pass
    except Exception as error:  # handed to whoever measures, which is where it is told
        with contextlib.suppress(OSError):
            pipe.send(SystemFailed(f"{error}\n{traceback.format_exc()}"))


# --- whoever asks them


class Process:
    """A process of the load, seen from outside."""

    def __init__(self, name: str, clients: Clients, *, produces: bool, subscribes: bool, alerts: bool) -> None:
        self.name = name
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(
            target=run_role, args=(clients, theirs, produces, subscribes, alerts), daemon=True
        )
        self._process.start()
        theirs.close()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    async def ready(self) -> None:
        """Returns once it is connected."""
        await self._answer(None)

    async def do(self, task: Task, progress: Callable[[int], None] | None = None) -> Any:
        """Has it do something; returns the answer. Raises SystemFailed."""
        self._pipe.send(task)
        return await self._answer(progress)

    async def _answer(self, progress: Callable[[int], None] | None) -> Any:
        while True:
            if not await asyncio.to_thread(self._pipe.poll, PATIENCE_S):
                raise SystemFailed(f"the {self.name} has said nothing for {PATIENCE_S:g} s")
            try:
                answer = self._pipe.recv()
            except EOFError:
                raise SystemFailed(f"the {self.name} has ended") from None
            match answer:
                case SystemFailed():
                    raise SystemFailed(f"the {self.name}: {answer}")
                case Progress():
                    if progress is not None:
                        progress(answer.done)
                case _:
                    return answer

    def stop(self) -> None:
        """Ends it."""
        self._pipe.close()
        self._process.join(5.0)
        self._process.kill()
        self._process.join()


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is measured."""

    reports: int = 10_000
    in_flight: int = 4000
    alerts: int = 300
    rate: float = 2000.0
    seconds: float = 10.0
    alerts_s: float = 10.0
    warm_up: int = 2000


@dataclass(slots=True)
class Measured:
    """What one round of one system gave."""

    reports: int = 0
    seconds: float = 0.0
    acknowledged_seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)
    """Of the flood: seconds of processor of each process."""
    idle: list[float] = field(default_factory=list)
    """Seconds that each alert took while nothing else went."""
    idle_cpu: dict[str, float] = field(default_factory=dict)
    busy: list[float] = field(default_factory=list)
    """Seconds that each alert took beside the tracks."""
    busy_rate: float = 0.0
    """Tracks a second that were taken meanwhile."""
    busy_cpu: dict[str, float] = field(default_factory=dict)
    """Processors that each process used meanwhile."""


async def measure(system: System, sizes: Sizes, told: Callable[[str, int, int], None]) -> Measured:
    """One round of a system that runs. `told` is told what is done, how much of it, and how much there is.

    Raises SystemFailed.
    """
    clients = system.clients()
    pushing = Process("producer", clients, produces=True, subscribes=False, alerts=False)
    receiving = Process("subscriber", clients, produces=False, subscribes=True, alerts=False)
    alerting = Process("alerts", clients, produces=True, subscribes=True, alerts=True)
    load = (pushing, receiving, alerting)
    try:
        for process in load:
            await process.ready()
        pids = {**system.processes(), **{process.name: process.pid for process in load}}

        def cpu() -> dict[str, float]:
            return {name: cpu_seconds(pid) for name, pid in pids.items()}

        found = Measured()
        await pushing.do(Launches())
        await _flood(pushing, receiving, sizes.warm_up, sizes.in_flight, lambda done: None)
        await asyncio.sleep(SETTLE_S)
        if sizes.alerts:
            before = cpu()
            alone = Alerts(new_tag(), sizes.alerts, 0.02, alone=True)
            found.idle = await alerting.do(alone, lambda done: told("alerts alone", done, sizes.alerts))
            found.idle_cpu = _since(before, cpu())
            await asyncio.sleep(SETTLE_S)
        if sizes.reports:
            found.reports = sizes.reports
            started: list[dict[str, float]] = []
            found.acknowledged_seconds, found.seconds = await _flood(
                pushing,
                receiving,
                sizes.reports,
                sizes.in_flight,
                lambda done: told("tracks", done, sizes.reports),
                lambda: started.append(cpu()),
            )
            await asyncio.sleep(SETTLE_S)
            found.cpu = _since(started[0], cpu())
        if sizes.rate and sizes.seconds:
            await _both(load, sizes, found, cpu, told)
        return found
    finally:
        for process in load:
            process.stop()


class Flooding:
    """A producer and a subscriber beside a system that runs, for floods alone; the launches are there already."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._load: list[Process] = []

    async def __aenter__(self) -> Flooding:
        try:
            for name, produces in (("producer", True), ("subscriber", False)):
                process = Process(name, self._clients, produces=produces, subscribes=not produces, alerts=False)
                self._load.append(process)
                await process.ready()
            await self._load[0].do(Launches())
        except BaseException:  # however it ends, no process is left running; what ended it goes on
            self._stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop()

    async def flood(
        self,
        count: int,
        in_flight: int,
        told: Callable[[int], None] = lambda done: None,
        going: Callable[[], None] = lambda: None,
    ) -> float:
        """Seconds until the subscriber had all of so many tracks. `going` is called when all are made. Raises
        SystemFailed.
        """
        pushing, receiving = self._load
        _, seconds = await _flood(pushing, receiving, count, in_flight, told, going)
        return seconds

    def _stop(self) -> None:
        for process in self._load:
            process.stop()


async def _flood(
    pushing: Process,
    receiving: Process,
    count: int,
    in_flight: int,
    told: Callable[[int], None],
    going: Callable[[], None] = lambda: None,
) -> tuple[float, float]:
    """Seconds until all were acknowledged, and until the subscriber had all. `going` is called when all are made."""
    tag = new_tag()
    await pushing.do(Make(tag, count))
    going()
    (began, acknowledged), last = await asyncio.gather(
        pushing.do(Flood(in_flight)), receiving.do(Await(tag, count), told)
    )
    return acknowledged - began, last - began


async def _both(
    load: tuple[Process, Process, Process],
    sizes: Sizes,
    found: Measured,
    cpu: Callable[[], dict[str, float]],
    told: Callable[[str, int, int], None],
) -> None:
    pushing, receiving, alerting = load
    steady = Steady(new_tag(), sizes.rate, sizes.seconds, sizes.in_flight)
    count = max(1, int((sizes.seconds - 1) * sizes.alerts_s))
    alerts = Alerts(new_tag(), count, 1 / sizes.alerts_s, alone=False)
    before, began = cpu(), time.monotonic()

    async def alerted() -> list[float]:
        # The tracks are under way by then.
        await asyncio.sleep(1.0)
        latencies: list[float] = await alerting.do(
            alerts, lambda done: told(f"alerts beside {sizes.rate:,.0f} tracks/s", done, count)
        )
        return latencies

    (sent, pushed_s), found.busy = await asyncio.gather(pushing.do(steady), alerted())
    took = time.monotonic() - began
    found.busy_cpu = {name: seconds / took for name, seconds in _since(before, cpu()).items()}
    found.busy_rate = sent / pushed_s
    await receiving.do(Await(steady.tag, sent))


def _since(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}
