"""A partner that contradicts itself in every heartbeat fills no record, and hides no contradiction that matters."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest_asyncio
from click.testing import CliRunner
from signalfire.v1 import exchange_pb2

from gateway.cli import main
from gateway.demo.deployment import Deployed
from gateway.exchange.listening import SOONEST
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.origin import Origin
from tests.exchange.dialler import HEARTBEAT, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin, Script
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

COUNTER = 2**62
"""Larger than those of the honest heartbeats before."""

HEARTBEAT_S = 0.4


def of(generation: int = 1, lane: str = "flash") -> Origin:
    return Origin.release("JPN", "KOR", lane, generation)


class Scene:
    """KOR as it is, and JPN as its scripts have it."""

    def __init__(self, world: World, jpn: HostileOrigin) -> None:
        self.world = world
        self.jpn = jpn

    def plays(self, lane: str, script: Script) -> None:
        """From now on JPN does this in a lane, or in its heartbeats; streams that are open end."""
        if lane == HEARTBEAT:
            self.jpn.heartbeat = script
        else:
            self.jpn.lanes[lane] = script
        for each in self.jpn.open_streams.pop(lane, []):
            each.cancel()

    async def beats(self, beats: Iterable[Iterable[Checkpoint]]) -> float:
        """Sends heartbeats with these heads as fast as KOR answers them. Returns how many seconds they took."""
        took: asyncio.Future[float] = asyncio.get_running_loop().create_future()

        async def script(follower: Follower) -> None:
            began = time.monotonic()
            for number, heads in enumerate(beats):
                await follower.send(pulse=self.jpn.pulse(COUNTER + number, *heads))
                await follower.read()
            took.set_result(time.monotonic() - began)
            await follower.rest()

        self.plays(HEARTBEAT, script)
        async with asyncio.timeout(PATIENCE_S):
            return await took

    def evidence(self) -> list[str]:
        """What KOR has on record, the oldest first."""
        config = self.world.places["KOR"].config
        made = CliRunner().invoke(main, ["ledger", "evidence", "--config", str(config), "--json"])
        assert made.exit_code == 0, made.output
        return [event["detail"] for event in json.loads(made.stdout)]


@pytest_asyncio.fixture
async def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"exchange": {"heartbeat_s": HEARTBEAT_S}})


@pytest_asyncio.fixture
async def scene(places: dict[str, Deployed]) -> AsyncIterator[Scene]:
    hostile = HostileOrigin(places["JPN"], "KOR")
    async with hostile.serving(), running(places, "KOR", linked=False) as world:
        yield Scene(world, hostile)


async def test_ledgers_that_never_were_fill_no_record_and_hide_no_contradiction(scene: Scene) -> None:
    """Each heartbeat shrinks another invented ledger, whose line stands before that of the true one."""
    last = 20
    beats = [
        (
            Checkpoint(of(1000 + number), 3, bytes(32)),
            Checkpoint(of(1001 + number), 5, bytes(32)),
            Checkpoint(of(lane="routine"), 9 if number < last else 4, bytes(32)),
        )
        for number in range(last + 1)
    ]
    await scene.beats(beats)
    junk, true = scene.evidence()
    assert junk.startswith(f"{of(1001)}: shrank from 5 entries to 3; ")
    assert "this evidence alone is kept" in junk
    assert true == f"{of(lane='routine')}: shrank from 9 entries to 4"


async def test_what_is_known_of_one_ledger_hides_nothing_of_another(scene: Scene) -> None:
    """A heartbeat that contradicts the record is no heartbeat. What else it contradicts is kept for all that."""
    jpn, kor = scene.jpn.keys, signatory(scene.world.places["KOR"])
    for lane in ("flash", "immediate"):
        scene.plays(lane, sends(Forge(jpn, kor, lane).reports(report())))
        await until(lambda lane=lane: held(scene.world, of(lane=lane)) == 2, "KOR has the batch")  # type: ignore[misc]
    flash, immediate = (Checkpoint(of(lane=lane), 2, b"\xbb" * 32) for lane in ("flash", "immediate"))
    sizes = {"first": [flash], "then": [flash, immediate, Checkpoint(of(lane="routine"), 4, bytes(32))]}
    await scene.beats([[Checkpoint(of(lane="routine"), 9, bytes(32))]])
    sent = 0

    async def contradict(follower: Follower) -> None:
        nonlocal sent
        heads = sizes["first" if sent == 0 else "then"]
        sent += 1
        await follower.send(pulse=scene.jpn.pulse(COUNTER + sent, *heads))
        await follower.rest()

    scene.plays(HEARTBEAT, contradict)
    await until(lambda: len(scene.evidence()) == 3, "all three are on record")
    before = sent
    await until(lambda: sent > before + 2, "they are told again")
    told = [detail.partition(":")[0] for detail in scene.evidence()]
    assert told == [str(of()), str(of(lane="immediate")), str(of(lane="routine"))]


async def test_heartbeats_are_heard_no_faster_than_in_a_fraction_of_their_interval(scene: Scene) -> None:
    """Their partner waits for each, so that the time that they take has a lower bound, and no other is looked at."""
    heard = 9
    assert await scene.beats([()] * heard) > (heard - 1) * HEARTBEAT_S / SOONEST * 0.9


def sends(batch: exchange_pb2.Batch) -> Script:
    """Opens, sends this, and listens."""

    async def script(follower: Follower) -> None:
        await follower.opened()
        if follower.open.size == batch.first:
            await follower.send(batch=batch)
        with contextlib.suppress(StopAsyncIteration):
            await follower.rest()

    return script


def held(world: World, origin: Origin) -> int:
    row = world.ledger("KOR", origin)
    return 0 if row is None else row.size
