"""Whoever follows a partner ends at once when told to, whatever it is at: dialling, reading or pausing."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any, Final, cast

from gateway.exchange.dialling import LinkError
from gateway.exchange.follower import PartnerFollower
from gateway.exchange.streams import keep
from gateway.ledger.origin import WITNESS, Lane
from tests.exchange.relaying import allow, relayed, three
from tests.faults.between import reached_at
from tests.node.nations import World, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

AT_ONCE_S = 15.0
"""Within which it ends. What it would wait out by itself takes at least twice as long here: an answer, what a partner
says, a pause."""
LONG: Final = {"silence_s": 60, "handshake_s": 60, "dial_s": 60}
ROUNDS = 3


def following(world: World, name: str) -> list[asyncio.Task[None]]:
    """The tasks by which that gateway follows its partners."""
    return [task for task in world.nodes[name].running if task.get_name().startswith("follow ")]


async def end(world: World, name: str) -> float:
    """Tells the gateway's following to end, once; returns how many seconds that took. Then the rest of it ends."""
    tasks = following(world, name)
    assert tasks
    assert not any(task.done() for task in tasks)
    began = time.monotonic()
    for task in tasks:
        task.cancel()
    _, pending = await asyncio.wait(tasks, timeout=PATIENCE_S)
    took = time.monotonic() - began
    assert not pending, f"{len(pending)} of {len(tasks)} go on: {[task.get_stack() for task in pending]}"
    serving, receiving = world._serving.pop(name)
    receiving.cancel()
    await asyncio.gather(serving, receiving, return_exceptions=True)
    await world.nodes.pop(name).stop()
    return took


async def test_while_it_dials_whoever_takes_the_connection_and_says_nothing(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "USA", limits={"exchange": LONG})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        host, port = silent.getsockname()
        with reached_at(places, "JPN", "USA", f"{host}:{port}"):
            async with running(places, "JPN", linked=False) as world:
                loop = asyncio.get_running_loop()
                taken, _ = await asyncio.wait_for(loop.run_in_executor(None, silent.accept), PATIENCE_S)
                with taken:
                    assert await end(world, "JPN") < AT_ONCE_S


async def test_while_it_reads(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "USA", limits={"exchange": LONG})) as world:
        for name in ("JPN", "USA"):
            assert await end(world, name) < AT_ONCE_S


async def test_while_it_pauses(tmp_path: Path) -> None:
    limits = {"exchange": {**LONG, "backoff_min_s": 60, "backoff_max_s": 60}}
    async with running(settle(tmp_path, "JPN", "USA", limits=limits)) as world:
        await world.stop("USA")
        problems = world.nodes["JPN"].parts.partners.links["USA"].problems
        lanes = {WITNESS, *(lane.value for lane in Lane)}
        await until(lambda: lanes <= problems.keys(), "every lane has failed")
        assert await end(world, "JPN") < AT_ONCE_S


async def test_while_it_follows_through_a_carrier_as_well(tmp_path: Path) -> None:
    async with running(three(tmp_path, {"exchange": LONG})) as world:
        await allow(world)
        for _ in range(ROUNDS):
            await relayed(world)
            # One end through which a tunnel leads, and the carrier.
            for name in ("JPN", "USA"):
                assert await end(world, name) < AT_ONCE_S
            for name in ("JPN", "USA"):
                await world.start(name)


async def test_although_grpc_says_that_the_call_failed_where_it_was_the_task_that_was_told_to_end(
    tmp_path: Path,
) -> None:
    async with running(settle(tmp_path, "JPN", "USA"), "JPN", linked=False) as world:
        (task,) = following(world, "JPN")
        follower: PartnerFollower = cast(Any, task.get_coro()).cr_frame.f_locals["self"]
        served: asyncio.Queue[None] = asyncio.Queue()

        async def serve() -> None:
            served.put_nowait(None)
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if served.qsize() == 0:
                    raise LinkError("Internal error from Core") from None
                raise

        keeping = asyncio.create_task(keep(follower.direct, "some", serve))
        await served.get()
        keeping.cancel()
        await asyncio.wait([keeping], timeout=AT_ONCE_S)
        told_once = keeping.cancelled()
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
        assert told_once
        assert served.empty()
