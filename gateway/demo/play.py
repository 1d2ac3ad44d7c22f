"""Plays a scenario over real gateways: one process a nation, and for each a C2 system that pushes, one that receives,
and an officer who watches every decision.

Gateways are killed and started again as the outages say: the others go on, and whoever was away catches up.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from signalfire.v1 import report_pb2

import policy
from gateway.client import CaughtUp, Received
from gateway.demo.deployment import PUSHER, READER, Deployed, Gateway
from gateway.demo.errors import DemoError
from gateway.demo.narrate import Narrator
from gateway.demo.outage import Outage, by_node
from gateway.demo.pace import pace
from gateway.demo.reports import TimedReport, timeline
from gateway.demo.scenario import Scenario
from gateway.demo.stage import Stage
from gateway.demo.tally import Tally, utc_now

SETTLE_S: Final = 60.0
"""Seconds that everything may take to arrive once the last report was pushed."""

ACTS_S: Final = 120.0
"""Seconds that acts may go on after the last report was due: they wait for gateways, and for an agreement to lapse."""

TRAFFIC: Final = (report_pb2.TRAFFIC_CLASS_EXERCISE, report_pb2.TRAFFIC_CLASS_TEST, report_pb2.TRAFFIC_CLASS_LIVE)


@dataclass(slots=True)
class Replay:
    """One replay as it goes: what the display shows and what the end is judged by.

    `say` is given a line for a reader whenever something is worth telling.
    """

    scenario: Scenario
    deployed: Mapping[str, Deployed]
    gateways: Mapping[str, Gateway]
    outages: Sequence[Outage] = ()
    say: Callable[[str], None] = lambda _: None
    tally: Tally = field(default_factory=Tally)
    _reports: dict[tuple[str, str], report_pb2.Report] = field(default_factory=dict)
    _reasons: dict[tuple[str, str, str], str] = field(default_factory=dict)
    _narrator: Narrator = field(default_factory=lambda: Narrator({}, {}))
    _span: tuple[float, float] | None = None
    """When the first and the last report are due, by the event loop's clock."""

    async def run(self, *, duration_s: float | None, seed: int) -> None:
        """Plays to the end and waits until everything has arrived. `duration_s`: see `pace`. Raises DemoError,
        ClientError or IdentityError.
        """
        outages = by_node(self.outages, self.deployed)
        loop = asyncio.get_running_loop()
        started = loop.time()
        for gateway in self.gateways.values():
            gateway.start()
        await asyncio.gather(*(gateway.ready() for gateway in self.gateways.values()))
        self.say("all gateways are up")
        # Each has proved and activated a policy meanwhile, all of them at once.
        patience_s = loop.time() - started
        items = self._timeline(seed)
        offsets = pace(items, duration_s=duration_s)
        self._span = loop.time(), loop.time() + offsets[-1]
        stage = Stage(
            self.scenario,
            self.deployed,
            self.tally,
            self._reports,
            self.say,
            self._moment,
            lambda node: self.gateways[node].running,
            patience_s,
            self._reasons,
            {node: own[0].begins for node, own in outages.items() if own},
        )
        try:
            async with asyncio.TaskGroup() as group:
                users = [group.create_task(work) for node in self.deployed for work in self._users(node)]
                await self._play(items, offsets, outages, stage)
                await self._settle()
                for user in users:
                    user.cancel()
        except ExceptionGroup as failed:
            # Whoever fails ends all the others: the first failure is the one to tell.
            raise failed.exceptions[0] from failed

    def stop(self) -> dict[str, int | None]:
        """Stops every gateway; returns their exit codes."""
        for gateway in self.gateways.values():
            gateway.tell_to_stop()
        return {node: gateway.stop() for node, gateway in self.gateways.items()}

    @property
    def progress(self) -> float:
        """The part of the replay that has been played, 0 to 1."""
        if self._span is None:
            return 0.0
        began, end = self._span
        return min(1.0, (asyncio.get_running_loop().time() - began) / (end - began)) if end > began else 1.0

    def _moment(self, part: float) -> float:
        """When a part of the replay has been played, by the event loop's clock."""
        assert self._span is not None
        began, end = self._span
        return began + part * (end - began)

    def _timeline(self, seed: int) -> list[TimedReport]:
        items = timeline(self.scenario, shift=timedelta(0), seed=seed)
        if not items:
            raise DemoError(
                "The scenario makes no reports", where=self.scenario.name, mend="Name launches that are seen."
            )
        # History is moved so that its last report is made now: nothing in it lies ahead of the clock.
        shift = utc_now() - self.scenario.start - timedelta(seconds=items[-1].at)
        items = timeline(self.scenario, shift=shift, seed=seed)
        self._reports = {(item.node, item.report.report_id): item.report for item in items}
        self._reasons = _reasons(self.deployed.values())
        self._narrator = Narrator(self._reports, self._reasons)
        return items

    # --- the users of each gateway

    def _users(self, node: str) -> Iterable[Coroutine[Any, Any, None]]:
        yield self._subscribe(node)
        yield self._watch(node)

    async def _subscribe(self, node: str) -> None:
        async for item in self.deployed[node].client(READER).subscribe(TRAFFIC):
            if isinstance(item, Received):
                now = utc_now()
                self.tally.delivered(node, item, now)
                self._tell(self._narrator.delivered(node, item.received_from, item.report, now))
            elif not isinstance(item, CaughtUp):
                self.tally.recalled(node, item)

    async def _watch(self, node: str) -> None:
        async for response in self.deployed[node].officer().watch_decisions():
            if response.WhichOneof("record") == "decision_record":
                self.tally.decided(node, response.decision_record)
                self._tell(self._narrator.decided(node, response.decision_record))
            else:
                self.tally.noted(node, response.node_event)
                self._tell(self._narrator.event(node, response.node_event))

    async def _push(self, node: str, due: Sequence[tuple[float, TimedReport]], began: float) -> None:
        loop = asyncio.get_running_loop()

        async def reports() -> AsyncIterator[report_pb2.Report]:
            for offset, item in due:
                await asyncio.sleep(max(0.0, began + offset - loop.time()))
                self.tally.pushed[node] += 1
                yield item.report

        async for result in self.deployed[node].client(PUSHER).submit(reports()):
            self.tally.answered(node, result)

    def _tell(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.say(line)

    # --- the course of the replay

    async def _play(
        self,
        items: Sequence[TimedReport],
        offsets: Sequence[float],
        outages: Mapping[str, Sequence[Outage]],
        stage: Stage,
    ) -> None:
        began = self._moment(0)
        patience_s = ACTS_S if self.scenario.acts else SETTLE_S
        try:
            async with asyncio.timeout(offsets[-1] + patience_s), asyncio.TaskGroup() as group:
                group.create_task(stage.perform())
                for node in self.deployed:
                    due = [(offset, item) for offset, item in zip(offsets, items, strict=True) if item.node == node]
                    group.create_task(self._push(node, due, began))
                    group.create_task(self._suffer(node, outages[node], stage))
        except TimeoutError:
            raise DemoError(
                f"Not every report was answered, nor every act over, within {patience_s:g} s of the end",
                where="; ".join(str(place.directory / "gateway.log") for place in self.deployed.values()),
                mend="Read the ends of the logs.",
            ) from None

    async def _suffer(self, node: str, outages: Sequence[Outage], stage: Stage) -> None:
        """The outages of one gateway, one after another. A gateway may be killed while it still starts."""
        loop = asyncio.get_running_loop()
        gateway = self.gateways[node]
        others = [other for other in self.deployed if other != node]
        for outage in outages:
            await asyncio.sleep(max(0.0, self._moment(outage.begins) - loop.time()))
            await stage.may_be_killed(node)
            gateway.kill()
            self.say(f"the gateway of {node} is killed (kill -9); {' and '.join(others)} go on")
            before = {direction: len(seconds) for direction, seconds in self.tally.latencies.items()}
            await asyncio.sleep(max(0.0, self._moment(outage.ends) - loop.time()))
            await stage.may_return(node)
            for origin in others:
                for recipient in others:
                    shared = self.tally.latencies.get((origin, recipient), [])[before.get((origin, recipient), 0) :]
                    if shared:
                        slowest = f"the slowest after {max(shared) * 1000:,.0f} ms"
                        self.say(f"meanwhile {origin} shared {len(shared)} reports with {recipient}, {slowest}")
            gateway.start()
            self.say(f"the gateway of {node} is started again")
        if outages:
            await gateway.ready()

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
                    # A witness ledger is never at rest.
                    (lane := ledger.origin.split("/")[3]) == "witness"
                    or (ledger.pq_size == ledger.size and (ledger.receipt_size == ledger.size or lane == "decisions"))
                    for ledger in status.ledgers
                ):
                    continue
            return False
        return True


def _reasons(deployed: Iterable[Deployed]) -> dict[tuple[str, str, str], str]:
    """What officers wrote into their rules, by (node, partner, rule). Raises PolicyError."""
    return {
        (place.node, partner, rule.name): rule.reason
        for place in deployed
        for partner, rules in policy.load(place.policy).partners.items()
        for rule in rules.rules
    }
