"""JPN and KOR reach each other through USA: real gateways, and proxies that cut the direct link."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
from signalfire.v1 import report_pb2

from gateway.client import Received
from gateway.demo.deployment import Deployed
from gateway.reports.kinds import Kind
from policy.approve import CarryFor, Route
from tests.exchange.relaying import CARRIER, ENDS, VIA, allow, heard_by, lanes_by, relayed, three
from tests.faults.awake import awake
from tests.faults.between import Links, links
from tests.faults.proxy import Proxy
from tests.node.nations import World, cancellation, report, running
from tests.node.waiting import until
from tests.officer.enact.bringing import bring

SILENCE_S = 10.0
"""Seconds after which a gateway here gives a link up of which nothing comes."""

FAILOVER_S = 0.8 * SILENCE_S
"""Within which the carrier has brought what was to be brought: neither end has waited to know that the link is gone.
Where nothing else strikes it takes a second and a half at most."""


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return three(tmp_path_factory.mktemp("relay"), {"exchange": {"silence_s": SILENCE_S}})


@pytest_asyncio.fixture
async def relay(places: dict[str, Deployed]) -> AsyncIterator[tuple[World, Links]]:
    """All three run, USA carries, and the direct link between JPN and KOR can be cut."""
    with links(places, pairs={frozenset(ENDS)}) as between:
        async with running(places) as world:
            await allow(world)
            await relayed(world)
            yield world, between


def tracks(count: int) -> list[report_pb2.Report]:
    """Tracks of JPN that KOR is released."""
    return [report(Kind.TRACK) for _ in range(count)]


def alerts(count: int) -> list[report_pb2.Report]:
    """Launch detections of JPN that KOR is released."""
    modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    return [report(launch_detection__sensor_modality=modality) for _ in range(count)]


async def once_each(world: World, name: str, pushed: list[report_pb2.Report]) -> None:
    """Returns when the C2 system of `name` has all of these; each came once."""
    wanted = [each.report_id for each in pushed]
    inbox = world.inboxes[name]
    await inbox.holds(lambda: set(wanted) <= inbox.reports.keys(), f"{len(wanted)} reports")
    came = [item.report.report_id for item in inbox.items if isinstance(item, Received)]
    assert sorted(each for each in came if each in set(wanted)) == sorted(wanted)


def receipted(world: World, owner: str, recipient: str) -> bool:
    """Whether `recipient` has given its receipt for all that `owner` keeps for it."""
    name = f"signalfire/v1/{owner}/{recipient}/"
    ledgers = [each for each in world.nodes[owner].status().ledgers if each.origin.startswith(name)]
    return bool(ledgers) and all(each.receipt_size == each.size for each in ledgers)


def alarming(world: World, name: str, alarm: str) -> bool:
    """Whether that alarm stands."""
    return any(each.startswith(alarm) for each in world.nodes[name].status().alarms)


def followed(world: World, name: str, other: str) -> bool:
    """Whether `name` says that it follows `other`."""
    return world.status(name, other).following


def carried(world: World) -> list[tuple[str, str, int]]:
    """What the carrier says that it carries: between whom, and in how many tunnels."""
    return [(each.one, each.other, each.tunnels) for each in world.nodes[CARRIER].status().carried]


async def hears(world: World, name: str, other: str, *ways: str) -> None:
    """Returns when `name` hears `other` by these ways and by no other."""
    await until(lambda: heard_by(world, name, other) == [*ways], f"{name} hears {other} by {ways}")


@pytest.mark.parametrize("fault", [Proxy.cut, Proxy.hole, Proxy.half_open], ids=["cut", "black hole", "half open"])
async def test_through_the_carrier_everything_arrives_once_before_the_link_is_given_up_and_directly_once_it_heals(
    relay: tuple[World, Links], fault: Callable[[Proxy], None]
) -> None:
    world, between = relay
    before = tracks(20)
    await world.push("JPN", *before)
    for link in between.between(*ENDS):
        fault(link)
    with awake() as took:
        alert = await world.carries("JPN", "KOR")
        during = tracks(20)
        await world.push("JPN", *during)
        await once_each(world, "KOR", [*before, *during])
    assert took.seconds < FAILOVER_S
    await world.push("JPN", cancellation(alert.report_id))
    await world.inboxes["KOR"].withdrawal(alert.report_id)
    await world.carries("KOR", "JPN")
    # Neither end is silent. Where connections cannot be made anew, both say by whom they hear each other.
    for one, other in (ENDS, ENDS[::-1]):
        await until(functools.partial(followed, world, one, other), f"{one} follows {other}")
        if fault is not Proxy.half_open:
            await hears(world, one, other, VIA)
            alarm = f"{other} is not heard directly, only {VIA}"
            await until(functools.partial(alarming, world, one, alarm), alarm)
    await until(lambda: receipted(world, "JPN", "KOR"), "receipts come back by the same way")
    await until(lambda: carried(world) == [("JPN", "KOR", 2)], "a tunnel from each end, and no other")

    for link in between.between(*ENDS):
        link.heal()
    for one, other in (ENDS, ENDS[::-1]):
        await hears(world, one, other, "direct", VIA)
    await until(lambda: world.lanes_followed("JPN", "KOR") == 5, "every lane goes directly again")
    after = tracks(5)
    await world.push("JPN", *after)
    await once_each(world, "KOR", [*before, *during, *after, alert])


async def test_nothing_is_carried_unless_the_officers_of_all_three_say_so_and_no_longer_than_they_do(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        jpn, kor, usa = world.places["JPN"], world.places["KOR"], world.places[CARRIER]
        assert await bring(jpn, Route("KOR", (CARRIER,)), "alice", "bob") == set()
        link = world.nodes["JPN"].parts.partners.links["KOR"]
        await until(lambda: "no order lets USA carry for JPN" in link.problems.get(f"tunnel {VIA}", ""), "USA refuses")
        assert await bring(usa, CarryFor(*ENDS), "alice", "bob") == set()
        await until(lambda: "between JPN and KOR" in link.problems.get(f"tunnel {VIA}", ""), "KOR refuses")
        assert lanes_by(world, "JPN", "KOR") == 0
        assert await bring(kor, Route("JPN", (CARRIER,)), "alice", "bob") == set()
        await relayed(world)
        await until(lambda: not link.problems, "nobody refuses any more")
        # One officer of any of the three is enough to end it.
        assert await bring(usa, CarryFor(*ENDS, ended=True), "carol") == set()
        await until(lambda: not world.nodes[CARRIER].status().carried, "nothing is carried any more")
        await until(lambda: lanes_by(world, "JPN", "KOR") == 0, "and nothing comes that way")
        await world.carries("JPN", "KOR")


async def test_while_both_ways_are_open_the_direct_one_has_the_bulk_and_what_comes_twice_is_delivered_once(
    relay: tuple[World, Links],
) -> None:
    world, _ = relay
    pushed = [*tracks(60), *alerts(5)]
    await world.push("JPN", *pushed)
    await once_each(world, "KOR", pushed)
    await until(lambda: receipted(world, "JPN", "KOR"), "all is receipted")
    for one, other in (ENDS, ENDS[::-1]):
        await until(lambda one=one, other=other: not world.status(one, other).problem, "no problem is left")  # type: ignore[misc]
    assert world.nodes["KOR"].parts.partners.links["JPN"].differs == {}


async def test_a_carrier_that_stops_leaves_the_direct_way_as_it_was(relay: tuple[World, Links]) -> None:
    world, _ = relay
    await world.stop(CARRIER)
    await world.carries("JPN", "KOR")
    await until(lambda: heard_by(world, "KOR", "JPN") == ["direct"], "the carried way is gone")
    await world.start(CARRIER)
    await relayed(world)
