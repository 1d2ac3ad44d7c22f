"""The same bounds where TCP itself loses packets: gateways' processes in namespaces, drops by nftables, and a wire of
TUN devices that delays, loses and reorders.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from typing import Final

import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.client import Received
from gateway.demo.deployment import PUSHER, READER
from tests.faults.awake import awake
from tests.faults.netns import Countries, Weather, apart, why_not
from tests.faults.test_links import AS_DEFAULT, DEFAULTS, LATE_S, NOTICED_S, ROUND_TRIP_S, USED_S
from tests.node.nations import report, settle
from tests.node.waiting import Inbox
from tests.patience import PATIENCE_S

_WHY_NOT: Final = why_not()
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(_WHY_NOT), reason=f"network namespaces: {_WHY_NOT}"),
]

BOTH: Final = (("JPN", "KOR"), ("KOR", "JPN"))


class Scene:
    """JPN and KOR as processes far apart."""

    def __init__(self, countries: Countries) -> None:
        self.countries = countries
        self.inboxes = {node: Inbox() for node in countries.places}

    async def status(self, node: str, of: str) -> c2_pb2.PartnerStatus:
        """What one gateway says of the other."""
        found = await self.countries.places[node].officer().status()
        return next(each for each in found.partners if each.node == of)

    async def told(self, condition: Callable[[c2_pb2.PartnerStatus], bool], what: str) -> None:
        """Returns once both say so of each other."""
        async with asyncio.timeout(PATIENCE_S):
            for node, of in BOTH:
                # What is awaited rings no bell in this process.
                while not condition(await self.status(node, of)):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def healthy(self) -> None:
        """Returns when all is as it should be."""
        await self.told(
            lambda each: each.following and each.followed and not each.HasField("unheard_since") and not each.problem,
            "the link is well",
        )

    async def noticed(self) -> None:
        """Returns when both say that the other is silent and does not hear them."""
        await self.told(
            lambda each: each.HasField("silent_since") and each.HasField("unheard_since"), "the link is down"
        )

    async def push(self, node: str, count: int = 1) -> list[str]:
        """Pushes reports; returns their identifiers."""
        made = [
            report(node=node, launch_detection__sensor_modality=report_pb2.SENSOR_MODALITY_SPACE_INFRARED)
            for _ in range(count)
        ]
        async with asyncio.timeout(PATIENCE_S):
            async for answer in self.countries.places[node].client(PUSHER).submit(made):
                assert answer.accepted
        return [each.report_id for each in made]

    async def delivered(self, node: str, report_ids: list[str]) -> None:
        """Returns when all have come, each once."""
        inbox = self.inboxes[node]
        for report_id in report_ids:
            await inbox.report(report_id)
        counts = Counter(item.report.report_id for item in inbox.items if isinstance(item, Received))
        assert {counts[report_id] for report_id in report_ids} == {1}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    places = settle(tmp_path_factory.mktemp("apart"), "JPN", "KOR", limits=AS_DEFAULT)
    with apart(places, seed=1) as countries:
        found = Scene(countries)
        gateways = [countries.gateway(node) for node in countries.places]
        receiving: list[asyncio.Task[None]] = []
        try:
            for gateway in gateways:
                gateway.start()
            for gateway in gateways:
                await gateway.ready(PATIENCE_S)
            receiving = [
                asyncio.create_task(found.inboxes[node].fill(place.client(READER)))
                for node, place in countries.places.items()
            ]
            yield found
        finally:
            for task in receiving:
                task.cancel()
            await asyncio.gather(*receiving, return_exceptions=True)
            for gateway in gateways:
                gateway.tell_to_stop()
            exits = [gateway.stop() for gateway in gateways]
    assert exits == [0, 0]


@pytest_asyncio.fixture(autouse=True, loop_scope="module")
async def healthy(scene: Scene) -> AsyncIterator[None]:
    scene.countries.clear()
    await scene.healthy()
    yield
    scene.countries.clear()


@pytest.mark.parametrize("which", [("in",), ("out",), ("in", "out")], ids="+".join)
async def test_packets_that_a_firewall_drops_are_noticed_by_both_sides_and_the_link_is_used_once_it_lets_them_pass(
    scene: Scene, which: tuple[str, ...]
) -> None:
    jpn = scene.countries.namespaces["JPN"]
    with awake() as took:
        jpn.nft(*({"in": jpn.drop_in, "out": jpn.drop_out}[each] for each in which))
        await scene.noticed()
    assert took.seconds < NOTICED_S + LATE_S
    wanted = {other: await scene.push(node) for node, other in BOTH}
    with awake() as took:
        jpn.nft()
        for node, report_ids in wanted.items():
            await scene.delivered(node, report_ids)
    assert took.seconds < USED_S + LATE_S


async def test_a_link_that_loses_delays_and_reorders_packets_brings_each_report_once(scene: Scene) -> None:
    scene.countries.wire.weather = Weather(delay_s=0.02, jitter_s=0.03, loss=0.05)
    lost = scene.countries.wire.lost
    wanted = {"KOR": await scene.push("JPN", 50), "JPN": await scene.push("KOR", 50)}
    for node, report_ids in wanted.items():
        await scene.delivered(node, report_ids)
    assert scene.countries.wire.lost > lost


async def test_over_a_satellite_the_first_report_comes_after_five_round_trips(scene: Scene) -> None:
    scene.countries.wire.weather = Weather(delay_s=ROUND_TRIP_S / 2)
    jpn = scene.countries.namespaces["JPN"]
    jpn.nft(jpn.drop_in, jpn.drop_out)
    await scene.noticed()
    wanted = await scene.push("JPN")
    with awake() as took:
        jpn.nft()
        await scene.delivered("KOR", wanted)
    assert took.seconds < DEFAULTS.stagger_s + 5 * ROUND_TRIP_S + LATE_S
