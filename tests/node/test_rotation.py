"""Every key of real gateways is changed under a steady flow of reports: nothing is lost, doubled, refused or late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from signalfire.v1 import officer_pb2

from gateway import config as configuration
from gateway.cli.ledger import verify_configured
from gateway.demo.deployment import Deployed
from gateway.identity.keyring import KeyKind, Keyring
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, tls_key_id
from gateway.identity.rotation import make_request
from gateway.ledger.note import Note
from gateway.ledger.stores import CosignatureKind
from tests.node.nations import World, report, running, settle
from tests.node.rotating import SIGNING, People
from tests.node.waiting import until

EVERY = tuple(KeyKind)


@dataclass(slots=True)
class Flow:
    """Reports that JPN pushes one after another, with the time at which each was pushed (monotonic seconds)."""

    pushed: dict[str, float] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)

    async def run(self, world: World) -> None:
        """Pushes until cancelled."""
        while True:
            one = report()
            began = time.monotonic()
            result = await world.push_one("JPN", one)
            self.pushed[one.report_id] = began
            if not result.accepted:
                self.refused.append(one.report_id)
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def flowing(world: World) -> AsyncIterator[Flow]:
    """A flow from JPN for as long as the context lasts; at its end everything has arrived, once, at KOR."""
    flow = Flow()
    arrivals: dict[str, float] = {}

    async def watch() -> None:
        inbox = world.inboxes["KOR"]
        while True:
            for report_id in inbox.reports:
                arrivals.setdefault(report_id, time.monotonic())
            await asyncio.sleep(0.005)

    tasks = [asyncio.create_task(flow.run(world)), asyncio.create_task(watch())]
    try:
        yield flow
        tasks[0].cancel()
        await asyncio.gather(tasks[0], return_exceptions=True)
        await until(lambda: flow.pushed.keys() <= arrivals.keys(), "every report has arrived")
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
    assert not flow.refused
    received = [item for item in world.inboxes["KOR"].items if hasattr(item, "report")]
    assert len(received) == len({item.report.report_id for item in received})
    late = {report_id: arrivals[report_id] - at for report_id, at in flow.pushed.items()}
    assert max(late.values()) < 3.0, f"the slowest took {max(late.values()):.2f} s"


def in_use(world: World, node: str) -> dict[KeyKind, str]:
    return dict(world.nodes[node].parts.signatory.in_use)


async def switched(world: World, node: str, before: dict[KeyKind, str], kinds: tuple[KeyKind, ...] = EVERY) -> None:
    await until(lambda: all(in_use(world, node)[kind] != before[kind] for kind in kinds), f"{node} uses its new keys")


async def known(world: World, node: str, sequence: int) -> None:
    """Returns when every partner of `node` believes that bundle of its."""
    partners = [other.parts.partners for name, other in world.nodes.items() if name != node]
    await until(lambda: all(each.sequence(node) >= sequence for each in partners), f"{node}'s bundle is known")


def sound(place: Deployed) -> None:
    outcome = verify_configured(configuration.load(place.config), quiet=True)
    assert outcome.sound, "\n".join(map(str, outcome.findings))


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", "USA")


async def test_every_key_changes_under_load_and_nothing_is_lost_doubled_refused_or_late(
    places: dict[str, Deployed],
) -> None:
    people = {node: People(place) for node, place in places.items()}
    async with running(places) as world:
        failures = link_failures(world)
        async with flowing(world) as flow:
            for node in ("JPN", "KOR"):
                before = in_use(world, node)
                people[node].rotate([kind.value for kind in EVERY])
                await switched(world, node, before)
                # What the former keys signed is on record: now they are taken out of use.
                people[node].retire()
                await known(world, node, bundle_sequence(world, node))
            assert link_failures(world) == failures, "streams go on through announcement, switch and retirement"
            for node in ("JPN", "KOR"):
                people[node].new_authority()
                await known(world, node, await announced(world, node))
                people[node].rotate(["tls"])
                people[node].drop_former_authority()
                await known(world, node, await announced(world, node))
                await world.linked()
            after = len(flow.pushed)
            await until(lambda: len(flow.pushed) > after + 10, "the flow goes on")
        await world.carries("KOR", "JPN", "USA")
        await until(lambda: receipts_are_complete(world), "every receipt is there")
    for place in places.values():
        sound(place)


def link_failures(world: World) -> float:
    return sum(
        sample.value
        for node in world.nodes.values()
        for metric in node.telemetry.registry.collect()
        for sample in metric.samples
        if sample.name == "signalfire_link_failures_total"
    )


def bundle_sequence(world: World, node: str) -> int:
    return world.nodes[node].parts.own_bundle.sequence


async def announced(world: World, node: str) -> int:
    """The sequence of the bundle that lies at a gateway, once it is announced."""
    own = world.nodes[node].parts.own_bundle
    path = own._path
    assert path is not None
    await until(lambda: own.note == path.read_bytes(), f"{node} announces its bundle: {own.problem}")
    return own.sequence


def receipts_are_complete(world: World) -> bool:
    for name in world.nodes:
        for ledger in world.nodes[name].status().ledgers:
            if not ledger.replica and "/decisions/" not in ledger.origin and ledger.receipt_size < ledger.size:
                return False
    return True


def of_former_keys(world: World, node: str) -> list[str]:
    """What other nodes hold whose newest cosignature by `node` is under another key than the one in use."""
    signatory = world.nodes[node].parts.signatory
    found = []
    for name, other in world.nodes.items():
        reader = other.parts.store.read()
        for row in reader.ledgers() if name != node else ():
            kind, key = (
                (CosignatureKind.PQ, signatory.pq.verifier)
                if row.replica
                else (CosignatureKind.RECEIPT, signatory.receipt.verifier)
            )
            held = reader.cosignature(row.id, kind, node)
            if held is not None and not Note.parse(held.note).bears(key):
                found.append(f"{name}: {kind} of {row.origin}")
    return found


def said(world: World, node: str) -> set[tuple[str, int]]:
    return {(each.partner, each.sequence) for each in world.nodes[node].parts.rotation.status().known}


async def test_the_keys_of_history_are_known_when_their_private_halves_are_gone(places: dict[str, Deployed]) -> None:
    people = People(places["JPN"])
    async with running(places) as world:
        await world.carries("JPN", "KOR", "USA")
        before = in_use(world, "JPN")
        people.rotate([kind.value for kind in SIGNING])
        await switched(world, "JPN", before, SIGNING)
        people.retire()
        await world.carries("JPN", "KOR", "USA")
        await known(world, "JPN", await announced(world, "JPN"))
        await until(lambda: receipts_are_complete(world), "every receipt is there")
        # Each stream brings by itself what the new keys signed again, and says which bundle is believed.
        await until(lambda: not of_former_keys(world, "JPN"), "the new keys cover what the former ones signed")
        await until(lambda: said(world, "JPN") == {("KOR", 3), ("USA", 3)}, "partners say which bundle they believe")
        status = world.nodes["JPN"].parts.rotation.status()
        states = {(key.kind, key.key_id): key.state for key in status.keys}
        assert states["log", before[KeyKind.LOG]] == officer_pb2.KEY_STATE_RETIRED
        assert states["log", in_use(world, "JPN")[KeyKind.LOG]] == officer_pb2.KEY_STATE_CURRENT
        # Named as in the keys directory, so that `keys list` finds it.
        certificate = x509.load_pem_x509_certificate((people.keys / GATEWAY_CERTIFICATE).read_bytes())
        assert states["tls", tls_key_id(certificate.public_key())] == officer_pb2.KEY_STATE_CURRENT
    for kind in SIGNING:
        # The keyring holds the key in use under the name of its id, and the default one was retired.
        newer = next(people.keys.glob(f"{kind}.*.key"))
        newer.rename(people.keys / f"{kind}.key")
    for place in places.values():
        sound(place)
    # It starts again with what is left, and history goes on.
    async with contextlib.AsyncExitStack() as stack:
        world = World(places)
        for name in places:
            await world.start(name)
            stack.push_async_callback(world.stop, name)
        await world.linked()
        await world.carries("JPN", "KOR", "USA")


async def test_of_several_new_storage_keys_the_newest_is_taken_into_use_and_stays(places: dict[str, Deployed]) -> None:
    keys = places["JPN"].directory / "keys"
    made = []
    for place in range(3):
        _, (name,) = make_request(keys, KeyLock(keys), "JPN", ["storage"], now=datetime.now(UTC))
        os.utime(keys / name, (1_000_000 + place, 1_000_000 + place))
        made.append(Keyring.load(keys).keys[KeyKind.STORAGE][name.split(".")[1]].key_id)
    async with running(places, "JPN", linked=False) as world:
        await until(lambda: in_use(world, "JPN")[KeyKind.STORAGE] == made[-1], "the newest is in use")
        for _ in range(3):
            await world.nodes["JPN"].parts.rotation.look()
            assert in_use(world, "JPN")[KeyKind.STORAGE] == made[-1]
