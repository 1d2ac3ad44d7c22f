"""Plays a scenario over real gateways: one process a nation, and for each a C2 system that pushes, one that
receives, and
an officer who watches every decision.

Halfway one nation's gateway is killed, and started again later: the others go on, and it catches up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from signalfire.v1 import officer_pb2, report_pb2

from gateway.client import Received, Withdrawn
from gateway.demo.deployment import PUSHER, READER, Deployed, Gateway
from gateway.demo.errors import DemoError
from gateway.demo.pace import pace
from gateway.demo.reports import TimedReport, timeline
from gateway.demo.scenario import Scenario
from gateway.demo.tally import Tally, utc_now

KILL_AT: Final = 0.45
"""Part of the replay after which a gateway is killed."""

RESTART_AT: Final = 0.70
"""Part of the replay after which it is started again."""

SETTLE_S: Final = 30.0
"""Seconds that everything may take to arrive once the last report was pushed."""

TRAFFIC: Final = (report_pb2.TRAFFIC_CLASS_EXERCISE, report_pb2.TRAFFIC_CLASS_TEST, report_pb2.TRAFFIC_CLASS_LIVE)


@dataclass(slots=True)
class Replay:
    """One replay as it goes: what the display shows and what the end is judged by."""

    scenario: Scenario
    deployed: Mapping[str, Deployed]
    gateways: Mapping[str, Gateway]
    victim: str
    tally: Tally = field(default_factory=Tally)
    say: Callable[[str], None] = lambda _: None
    progress: float = 0.0
    total: int = 0
    outage: Tally | None = None
    """What the others shared while the victim was away."""
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def run(self, *, duration_s: float | None, seed: int) -> None:
        """Plays to the end and waits until everything has arrived. Raises DemoError."""
        for gateway in self.gateways.values():
            gateway.start()
        await asyncio.gather(*(gateway.ready() for gateway in self.gateways.values()))
        self.say("all gateways are up")
        try:
            for node in self.deployed:
                self._spawn(self._subscribe(node))
                self._spawn(self._watch(node))
            await self._play(duration_s, seed)
            await self._settle()
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def stop(self) -> dict[str, int | None]:
        """Stops every gateway; returns their exit codes."""
        return {node: gateway.stop() for node, gateway in self.gateways.items()}

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.append(task)
        return task

    # --- the three users of each gateway

    async def _subscribe(self, node: str) -> None:
        async for item in self.deployed[node].client(READER).subscribe(TRAFFIC):
            if isinstance(item, Received):
                self.tally.delivered(node, item, utc_now())
                if self.outage is not None:
                    self.outage.delivered(node, item, utc_now())
            elif isinstance(item, Withdrawn):
                self.tally.recalled(node, item)

    async def _watch(self, node: str) -> None:
        async for response in self.deployed[node].officer().watch_decisions():
            if response.WhichOneof("record") == "decision_record":
                self.tally.decided(node, response.decision_record)
            self._told(node, response)

    def _told(self, node: str, response: officer_pb2.WatchDecisionsResponse) -> None:
        if response.WhichOneof("record") == "node_event" and response.node_event.kind != "started":
            self.say(f"{node}: {response.node_event.kind}: {response.node_event.detail}")

    async def _push(self, node: str, due: Sequence[tuple[float, TimedReport]], began: float) -> None:
        loop = asyncio.get_running_loop()

        async def reports() -> AsyncIterator[report_pb2.Report]:
            for offset, item in due:
                await asyncio.sleep(max(0.0, began + offset - loop.time()))
                self.tally.pushed[node] += 1
                yield item.report

        async for result in self.deployed[node].client(PUSHER).submit(reports()):
            if not result.accepted or result.accepted_time is None:
                reasons = "; ".join(f"{v.field}: {v.problem}" for v in result.violations)
                self.tally.refused.append(f"{node} refused {result.report_id}: {reasons}")
                continue
            self.tally.accepted[(node, result.report_id)] = result.accepted_time
            if self.outage is not None:
                self.outage.accepted[(node, result.report_id)] = result.accepted_time

    # --- the course of the replay

    async def _play(self, duration_s: float | None, seed: int) -> None:
        items = timeline(self.scenario, shift=timedelta(0), seed=seed)
        if not items:
            raise DemoError(
                "The scenario makes no reports", where=self.scenario.name, mend="Name launches that are seen."
            )
        # History is moved so that its last report is made now: nothing in it lies ahead of the clock.
        shift = utc_now() - self.scenario.start - timedelta(seconds=items[-1].at)
        items = timeline(self.scenario, shift=shift, seed=seed)
        offsets = pace(items, duration_s=duration_s)
        began, end = asyncio.get_running_loop().time(), offsets[-1]
        self.total = len(items)
        pushing = [
            self._spawn(
                self._push(node, [(o, i) for o, i in zip(offsets, items, strict=True) if i.node == node], began)
            )
            for node in self.deployed
        ]
        outage = self._spawn(self._outage(began, end))
        clock = self._spawn(self._tell_time(began, end))
        try:
            async with asyncio.timeout(end + SETTLE_S):
                await asyncio.gather(*pushing, outage)
        except TimeoutError:
            raise DemoError(
                f"Not every report was answered within {SETTLE_S:g} s of the end",
                where="; ".join(str(place.directory / "gateway.log") for place in self.deployed.values()),
                mend="Read the ends of the logs.",
            ) from None
        finally:
            clock.cancel()
        self.progress = 1.0

    async def _tell_time(self, began: float, end: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self.progress = min(1.0, (loop.time() - began) / end) if end else 1.0
            await asyncio.sleep(0.2)

    async def _outage(self, began: float, end: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, began + KILL_AT * end - loop.time()))
        gateway = self.gateways[self.victim]
        gateway.kill()
        self.outage = Tally()
        others = " and ".join(node for node in self.deployed if node != self.victim)
        self.say(f"the gateway of {self.victim} is killed (kill -9); {others} go on")
        await asyncio.sleep(max(0.0, began + RESTART_AT * end - loop.time()))
        during, self.outage = self.outage, None
        for (origin, recipient), seconds in sorted(during.latencies.items()):
            if self.victim not in (origin, recipient):
                self.say(
                    f"meanwhile {origin} shared {len(seconds)} reports with {recipient},"
                    f" the slowest after {max(seconds) * 1000:.0f} ms"
                )
        gateway.start()
        await gateway.ready()
        self.say(f"the gateway of {self.victim} is started again")

    async def _settle(self) -> None:
        """Waits until nothing is outstanding and every ledger has its receipt and its post-quantum line."""
        deadline = asyncio.get_running_loop().time() + SETTLE_S
        while asyncio.get_running_loop().time() < deadline:
            if not any(True for _ in self.tally.outstanding()) and await self._all_signed():
                return
            await asyncio.sleep(0.2)
        self.say(f"after {SETTLE_S:g} s not everything has arrived")

    async def _all_signed(self) -> bool:
        for place in self.deployed.values():
            with contextlib.suppress(ConnectionError):
                status = await place.officer().status()
                if all(
                    ledger.pq_size == ledger.size
                    and (ledger.receipt_size == ledger.size or ledger.origin.split("/")[3] == "decisions")
                    for ledger in status.ledgers
                ):
                    continue
            return False
        return True
