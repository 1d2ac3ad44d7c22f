"""What a gateway makes of a partner that says one thing and does another, and of several ways to reach it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from gateway.demo.deployment import Deployed
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.origin import Origin
from gateway.ledger.statement import Takes
from tests.exchange.dialler import HEARTBEAT, dialled
from tests.exchange.origin import Follower, HostileOrigin
from tests.faults.awake import awake
from tests.faults.between import reached_at
from tests.faults.proxy import Proxy
from tests.node.nations import forget, running, settle
from tests.node.waiting import until

SILENCE_S: Final = 5.0
"""Longer than a machine that is busy otherwise stands still."""
DIAL_S: Final = 60.0
"""For so long an address that does not answer is tried."""
FLASH: Final = Origin.release("JPN", "KOR", "flash", 1)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    quick = {"exchange": {"silence_s": SILENCE_S, "heartbeat_s": 0.1, "handshake_s": 60, "dial_s": DIAL_S}}
    return settle(tmp_path_factory.mktemp("lanes"), "JPN", "KOR", limits=quick)


@pytest.fixture(autouse=True)
def afresh(places: dict[str, Deployed]) -> Iterator[None]:
    yield
    for place in places.values():
        forget(place)


class Beating:
    """An origin that beats as it is told, and brings nothing."""

    def __init__(self, places: dict[str, Deployed]) -> None:
        self.origin = HostileOrigin(places["JPN"], "KOR", heartbeat=self._beat)
        self.heads: tuple[Checkpoint, ...] = ()
        self.takes = Takes.ROUTINE

    async def _beat(self, follower: Follower) -> None:
        while True:
            await follower.send(pulse=self.origin.pulse(time.time_ns(), *self.heads, takes=self.takes))
            await follower.read()

    def opened(self, lane: str) -> int:
        """How often that lane was opened."""
        return len(self.origin.open_streams.get(lane, ()))


async def test_a_lane_that_brings_nothing_of_what_heartbeats_show_is_opened_anew_and_the_others_go_on(
    places: dict[str, Deployed],
) -> None:
    beating, opened = Beating(places), list[float]()

    async def rest(follower: Follower) -> None:
        await follower.opened()
        opened.append(time.monotonic())
        await follower.rest()

    beating.origin.lanes["flash"] = rest
    async with beating.origin.serving(), running(places, "KOR", linked=False) as world:
        await until(lambda: world.status("KOR", "JPN").following and len(opened) == 1, "KOR follows")
        others = ("immediate", "priority", "routine")
        await until(lambda: all(beating.opened(lane) for lane in others), "KOR follows the others")
        before = [beating.opened(lane) for lane in others]
        shown = time.monotonic()
        with awake() as took:
            beating.heads = (Checkpoint(FLASH, 5, b"r" * 32),)
            await until(lambda: len(opened) == 2, "the lane is opened anew")
        assert opened[1] - shown >= SILENCE_S
        # The next one gets longer than that.
        assert took.seconds < 2 * SILENCE_S
        link = world.nodes["KOR"].parts.partners.links["JPN"]
        assert "heartbeats show entries" in link.problems.get("flash", "") or "flash" in link.following
        # What brings nothing again gets longer, or a large batch would never come over a narrow link.
        await until(lambda: len(opened) == 3, "and again")
        assert opened[2] - opened[1] >= 2 * SILENCE_S - 0.1
        assert [beating.opened(lane) for lane in others] == before


async def test_what_a_partner_says_that_it_takes_is_told_with_an_alarm_until_it_takes_all_again(
    places: dict[str, Deployed],
) -> None:
    beating = Beating(places)
    async with beating.origin.serving(), running(places, "KOR", linked=False) as world:
        await until(lambda: world.status("KOR", "JPN").following, "KOR hears JPN")
        assert world.status("KOR", "JPN").not_accepting == ""
        beating.takes = Takes.NOTHING
        words = "takes no reports from its C2 systems"
        await until(lambda: world.status("KOR", "JPN").not_accepting == words, "KOR says so")
        await until(lambda: any(words in alarm for alarm in world.nodes["KOR"].status().alarms), "an alarm")
        assert world.metric("KOR", "signalfire_partner_takes", partner="JPN") == 4
        beating.takes = Takes.ROUTINE
        await until(lambda: world.status("KOR", "JPN").not_accepting == "", "it takes them again")
        await until(lambda: not any(words in alarm for alarm in world.nodes["KOR"].status().alarms), "no alarm")


async def test_a_partner_that_hears_heartbeats_and_does_not_answer_is_given_up_and_is_unheard(
    places: dict[str, Deployed],
) -> None:
    async with running(places, "JPN", linked=False) as world:
        async with dialled(places["KOR"], places["JPN"], HEARTBEAT) as stream:
            await stream.prove()
            await stream.echo()
            await until(lambda: not world.status("JPN", "KOR").HasField("unheard_since"), "KOR hears JPN")
            await stream.read()
            with awake() as took:
                assert "no echo" in (await stream.ended()).details
            assert took.seconds < 2 * SILENCE_S
        await until(lambda: world.status("JPN", "KOR").HasField("unheard_since"), "KOR does not hear JPN")


async def test_lanes_of_a_partner_that_is_gone_behind_a_machine_that_ends_tcp_are_ended(
    places: dict[str, Deployed],
) -> None:
    """The connections to that machine stand, and it takes whatever is sent."""
    with Proxy(places["JPN"].exchange) as between, reached_at(places, "KOR", "JPN", between.address):
        async with running(places, "JPN", "KOR", linked=False) as world:
            await until(lambda: world.lanes_followed("JPN", "KOR") == 5, "KOR follows every lane")
            await until(lambda: not world.status("JPN", "KOR").HasField("unheard_since"), "KOR hears JPN")
            with awake() as took:
                between.silent()
                await until(lambda: world.lanes_followed("JPN", "KOR") == 0, "JPN has ended its lanes")
            assert took.seconds < 4 * SILENCE_S
            assert not world.status("JPN", "KOR").followed
            between.heal()
            await until(lambda: world.lanes_followed("JPN", "KOR") == 5, "KOR follows every lane again")


async def test_of_two_addresses_the_one_that_is_gone_delays_nobody(places: dict[str, Deployed]) -> None:
    with Proxy(places["JPN"].exchange) as gone, Proxy(places["JPN"].exchange) as there:
        gone.hole()
        with reached_at(places, "KOR", "JPN", gone.address, there.address):
            async with running(places, "JPN", linked=False) as world:
                with awake() as took:
                    await world.start("KOR")
                    await until(lambda: world.status("KOR", "JPN").following, "KOR hears JPN")
                    await until(lambda: world.lanes_followed("JPN", "KOR") == 5, "KOR follows every lane")
                assert took.seconds < DIAL_S / 3
                assert there.taken >= 6


async def test_whoever_is_dialled_by_a_partner_dials_it_at_once_however_long_it_would_have_waited(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # A pause is half of it at least.
    patient = {"backoff_min_s": 60, "backoff_max_s": 60}
    places = settle(tmp_path_factory.mktemp("patient"), "JPN", "KOR", limits={"exchange": patient})
    async with running(places, "KOR", linked=False) as world:
        refused = world.nodes["KOR"].parts.partners.links["JPN"]
        await until(lambda: len(refused.problems) == 6, "KOR is refused in every lane, and waits")
        with awake() as took:
            await world.start("JPN")
            await world.linked()
        assert took.seconds < 20
