"""A key or certificate that is believed no more ends its streams within seconds, on both sides, idle or busy."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.deployment import Deployed
from gateway.identity.keyring import KeyKind
from gateway.ledger.origin import Origin
from tests.exchange.dialler import HEARTBEAT, PATIENT, Ended, dialled, signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin
from tests.faults.awake import awake
from tests.node.nations import report, running, settle
from tests.node.rotating import People
from tests.node.waiting import until

FLASH = Origin.release("JPN", "KOR", "flash", 1)

SOON_S = 15.0
"""Within which a stream must have ended. Looking at files and at streams takes two; nothing else would end them."""


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})


def tell(of: Deployed, at: Deployed) -> None:
    """Gives a nation's newest bundle to a partner."""
    shutil.copy(of.directory / "pki" / "bundle.note", at.directory / "partners" / f"{of.node}.bundle.note")


def withdraw_log_key(people: People) -> None:
    """The log key has been a thief's for an hour: another is announced, and that one retired as of then."""
    stolen = signatory(people.place).in_use[KeyKind.LOG]
    people.rotate(["log"])
    people.retire(stolen, datetime.now(UTC) - timedelta(hours=1))


@pytest.mark.parametrize("what", ["leaf", "log key"])
async def test_the_streams_of_a_follower_end_whether_idle_or_busy(places: dict[str, Deployed], what: str) -> None:
    jpn, kor = places["JPN"], places["KOR"]
    thief = signatory(kor)
    leaf = (kor.directory / "keys" / "gateway.crt.pem").read_bytes()
    async with running(places, "JPN", linked=False) as world:

        async def push() -> None:
            while True:
                await world.push_one("JPN", report())

        pushing = asyncio.create_task(push())
        try:
            async with (
                dialled(kor, jpn) as busy,
                dialled(kor, jpn) as idle,
                dialled(kor, jpn, HEARTBEAT) as beat,
            ):
                await busy.open(FLASH)
                assert (await busy.read()).WhichOneof("message") == "batch"
                await idle.open(Origin.release("JPN", "KOR", "routine", 1))
                await beat.prove(thief.gateway)
                people = People(kor)
                if what == "leaf":
                    people.revoke_leaf()
                else:
                    withdraw_log_key(people)
                with awake() as took:
                    tell(kor, jpn)
                    with pytest.raises(Ended) as heard:
                        await beat.echo_on()
                    ends = [heard.value, await busy.ended(), await idle.ended()]
                assert took.seconds < SOON_S
                assert {end.code.name for end in ends} == {"UNAUTHENTICATED"}
            assert leaf == (kor.directory / "keys" / "gateway.crt.pem").read_bytes()
            async with dialled(kor, jpn) as again:
                with contextlib.suppress(Ended):
                    await again.prove(thief.gateway)
                assert (await again.ended()).code.name == "UNAUTHENTICATED"
        finally:
            pushing.cancel()
            await asyncio.gather(pushing, return_exceptions=True)


async def test_nothing_is_taken_from_an_origin_whose_key_is_gone(places: dict[str, Deployed]) -> None:
    jpn, kor = places["JPN"], places["KOR"]
    thief = HostileOrigin(jpn, "KOR")
    forged = Forge(thief.keys, signatory(kor))
    wanted = asyncio.Event()
    first, second = forged.reports(report()), forged.reports(report())

    async def play(follower: Follower) -> None:
        await follower.opened()
        if follower.open.size == 0:
            await follower.send(batch=first)
        await wanted.wait()
        await follower.send(batch=second)
        await follower.rest()

    thief.lanes["flash"] = play
    async with thief.serving(), running(places, "KOR", linked=False) as world:

        def held() -> int:
            row = world.ledger("KOR", FLASH)
            return 0 if row is None else row.size

        link = world.nodes["KOR"].parts.partners.links["JPN"]
        await until(lambda: held() == 2 and link.heartbeat_at is not None, "the stream is open")
        await until(lambda: len(link.following) == 5, "so are the idle ones")
        withdraw_log_key(People(jpn))
        with awake() as took:
            tell(jpn, kor)
            await until(lambda: not link.following and link.heartbeat_at is None, "every stream has ended")
        assert took.seconds < SOON_S
        wanted.set()
        await until(lambda: "no pinned log key" in link.problems.get("flash", ""), "nor is another one begun")
        assert held() == 2


async def test_a_stolen_key_is_replaced_under_load_and_the_flow_goes_on(places: dict[str, Deployed]) -> None:
    async with running(places) as world:
        await world.carries("JPN", "KOR")
        jpn = world.nodes["JPN"]
        stolen = signatory(places["JPN"])
        before = jpn.parts.signatory.in_use[KeyKind.LOG]
        withdraw_log_key(People(places["JPN"]))
        await until(lambda: jpn.parts.signatory.in_use[KeyKind.LOG] != before, "the other key is in use at once")
        await until(lambda: world.nodes["KOR"].parts.partners.sequence("JPN") == 3, "KOR knows")
        await world.linked()
        await world.carries("JPN", "KOR")
        await world.carries("KOR", "JPN")
        # Whoever has the stolen key, and the certificate as well, follows nothing with it.
        async with dialled(places["JPN"], places["KOR"]) as thief:
            with contextlib.suppress(Ended):
                await thief.prove(stolen.gateway)
            assert (await thief.ended()).code.name == "UNAUTHENTICATED"
