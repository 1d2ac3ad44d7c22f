"""A node that shows two partners two histories is found by them, between themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from signalfire.v1 import exchange_pb2

from gateway.ledger.evidence import contradiction
from gateway.ledger.origin import Origin
from gateway.release.evidence import owner_keys
from tests.exchange.dialler import INSPECT, PATIENT, dialled
from tests.node.nations import World, forget, running, settle
from tests.node.waiting import until

WITNESS = Origin.witness("JPN", 1)
COMPARE: dict[str, dict[str, object]] = {"witness": {"compare_s": 0.2}}


async def two_faced(tmp_path: Path, limits: dict[str, dict[str, object]]) -> World:
    """JPN has shown each of its partners another whole history, and is gone; KOR and USA run."""
    places = settle(tmp_path, "JPN", "KOR", "USA", limits=limits)
    world = World(places)
    for partner in ("KOR", "USA"):
        forget(places["JPN"])
        await world.start("JPN")
        await world.start(partner)
        await until(lambda partner=partner: world.witnessed(partner, "JPN"), f"{partner} has signed for JPN's beat")  # type: ignore[misc]
        await world.carries("JPN", partner)
        await world.stop("JPN")
        await world.stop(partner)
    await world.start("KOR")
    await world.start("USA")
    await until(
        lambda: world.status("KOR", "USA").following and world.status("USA", "KOR").following, "they are linked"
    )
    return world


async def ended(world: World) -> None:
    for name in list(world.nodes):
        await world.stop(name)


async def test_partners_compare_a_third_nodes_witness_ledger_by_themselves_and_name_it(tmp_path: Path) -> None:
    world = await two_faced(tmp_path, COMPARE)
    try:
        for name in ("KOR", "USA"):
            event = await world.event(name, "fork-evidence")
            assert f"{WITNESS}: two roots at size 2" in event.detail
            keys = world.nodes[name].parts.partners.get("JPN")
            assert keys is not None
            one, other = event.evidence
            assert contradiction(one, other, owner_keys(keys)).origin == WITNESS
            await until(
                lambda name=name: any(
                    "JPN has contradicted itself" in each for each in world.nodes[name].status().alarms
                ),  # type: ignore[misc]
                "an alarm stands",
            )
            assert world.metric(name, "signalfire_roots_differ", partner="JPN") == 1
            assert world.metric(name, "signalfire_roots_differ", partner="USA" if name == "KOR" else "KOR") == 0
    finally:
        await ended(world)


async def test_on_demand_the_third_node_is_named_with_both_notes(tmp_path: Path) -> None:
    world = await two_faced(tmp_path, {})
    try:
        found = {each.ledger: each async for each in world.places["KOR"].officer().reconcile("USA")}
        assert "JPN signed two trees that part at entry 0" in found[str(WITNESS)].finding
        assert len(found[str(WITNESS)].evidence) == 2
        assert not [each for name, each in found.items() if each.finding and name != str(WITNESS)]
        await world.event("KOR", "fork-evidence")
    finally:
        await ended(world)


@pytest.fixture
def limits() -> dict[str, dict[str, object]]:
    return {"exchange": PATIENT}


async def test_honest_nodes_find_nothing_and_record_nothing(tmp_path: Path) -> None:
    async with running(settle(tmp_path, "JPN", "KOR", "USA", limits=COMPARE)) as world:
        found = {each.ledger: each async for each in world.places["KOR"].officer().reconcile("USA")}
        assert found[str(WITNESS)].agreed_size >= 2
        assert not [each for each in found.values() if each.finding]
        assert not world.nodes["KOR"].status().alarms
        size = decisions(world)
        await world.nodes["KOR"].parts.reconciling.compare_witnesses("USA")
        assert decisions(world) == size


def decisions(world: World) -> int:
    row = world.ledger("KOR", Origin.decisions("KOR", 1))
    return 0 if row is None else row.size


async def test_a_third_witness_ledger_is_listed_for_who_names_its_owner_and_without_receipts(
    tmp_path: Path, limits: dict[str, dict[str, object]]
) -> None:
    async with running(settle(tmp_path, "JPN", "KOR", "USA", limits=limits)) as world:
        async with dialled(world.places["KOR"], world.places["USA"], INSPECT) as stream:
            await stream.prove()
            for names, listed in (([], False), (["AUS"], False), (["AUS", "JPN"], True)):
                await stream.send(list_heads=exchange_pb2.ListHeads(witnesses=names))
                told = {each.origin: each for each in (await stream.read()).heads.ledgers}
                assert (str(WITNESS) in told) is listed
                assert not [name for name in told if "decisions" in name or "JPN/" in name.replace("JPN/witness", "")]
            assert not told[str(WITNESS)].receipt
            assert told[str(WITNESS)].checkpoint
            asked = exchange_pb2.ReadCheckpoint(origin=str(WITNESS), size=told[str(WITNESS)].size)
            await stream.send(read_checkpoint=asked)
            answer = (await stream.read()).held_checkpoint
            assert (bool(answer.checkpoint), answer.receipt) == (True, b"")
            await stream.send(read_checkpoint=exchange_pb2.ReadCheckpoint(origin="signalfire/v1/AUS/witness/1", size=1))
            assert "is not a ledger between" in (await stream.ended()).details
        async with dialled(world.places["KOR"], world.places["USA"], INSPECT) as stream:
            await stream.prove()
            await stream.send(list_heads=exchange_pb2.ListHeads(witnesses=[f"N{n}" for n in range(65)]))
            assert "64 may be" in (await stream.ended()).details
