"""That what a partner's FLASH lane holds is on record before the other lanes are asked for, and that a FLASH lane which
does not open keeps nobody waiting for long.

JPN is a script; KOR's real gateway follows it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
from signalfire.v1 import exchange_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange import way
from gateway.ledger.origin import Lane, Origin
from tests.exchange.dialler import FOLLOW, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin, quiet
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

OTHERS: Final = [lane.value for lane in Lane if lane is not Lane.FLASH]


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """Two nations; JPN's gateway never runs."""
    return settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR")


async def test_other_lanes_are_asked_for_once_the_alerts_are_on_record(
    places: dict[str, Deployed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(way, "ALERTS_FIRST_S", PATIENCE_S)
    jpn = HostileOrigin(places["JPN"], "KOR")
    flash = Forge(signatory(places["JPN"]), signatory(places["KOR"]))
    batches = [flash.reports(report()), flash.reports(report())]
    held: dict[str, int] = {}

    def proven() -> int:
        return sum(purpose == FOLLOW and message.WhichOneof("message") == "proof" for purpose, message in jpn.requests)

    async def alerts(follower: Follower) -> None:
        await follower.send(opened=exchange_pb2.Opened(size=flash.edge.size))
        # Every lane and the witness ledger has its stream: what keeps the others from asking is the alerts alone.
        await until(lambda: proven() == len(Lane) + 1, "every lane's stream is proven")
        for batch in batches:
            await follower.send(batch=batch)
            await follower.read()
        await follower.rest()

    async def asked(follower: Follower) -> None:
        row = World(places).ledger("KOR", flash.origin)
        held[Origin.parse(follower.open.origin).lane] = 0 if row is None else row.size
        await quiet(follower)

    jpn.lanes = {Lane.FLASH.value: alerts, **dict.fromkeys(OTHERS, asked)}
    async with jpn.serving(), running(places, "KOR", linked=False):
        await until(lambda: held.keys() == set(OTHERS), "the other lanes are asked for")
    assert held == dict.fromkeys(OTHERS, flash.edge.size)


async def test_a_flash_lane_that_does_not_open_keeps_no_lane_waiting_for_long(places: dict[str, Deployed]) -> None:
    jpn = HostileOrigin(places["JPN"], "KOR")
    asked: list[str] = []

    async def silent(follower: Follower) -> None:
        await follower.rest()

    async def noted(follower: Follower) -> None:
        asked.append(Origin.parse(follower.open.origin).lane)
        await quiet(follower)

    jpn.lanes = {Lane.FLASH.value: silent, **dict.fromkeys(OTHERS, noted)}
    async with jpn.serving(), running(places, "KOR", linked=False):
        await until(lambda: set(asked) == set(OTHERS), "the other lanes are asked for")
