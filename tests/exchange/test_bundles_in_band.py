"""Trust bundles that partners' gateways bring: believed by the pinned root alone, newest first, and for good."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from signalfire.v1 import exchange_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange.in_band import MOST, PER_HOUR
from gateway.identity import nation
from gateway.identity.key_names import root_key_name
from gateway.identity.next_bundle import write_bundle
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import MAX_NOTE, Ed25519Signer, Note, sign_note
from tests.exchange.dialler import FOLLOW, HEARTBEAT, PATIENT, dialled, signatory
from tests.node.nations import World, running, settle
from tests.node.rotating import People
from tests.node.waiting import until


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})


def next_bundle(of: Deployed) -> bytes:
    """The next bundle of a nation, signed by its root, and given to nobody."""
    write_bundle(of.directory / "pki", now=datetime.now(UTC), lifetime=timedelta(days=1))
    return (of.directory / "pki" / "bundle.note").read_bytes()


def believed(world: World, at: str, of: str) -> int:
    return world.nodes[at].parts.partners.sequence(of)


def garbage(kor: Deployed) -> bytes:
    return b"\xff\x00" * 300


def a_bit_flipped(kor: Deployed) -> bytes:
    raw = bytearray(next_bundle(kor))
    raw[len(raw) // 2] ^= 1
    return bytes(raw)


def signed_by_its_gateway(kor: Deployed) -> bytes:
    """Everything right but the key: a thief has the log key, not the offline root."""
    text = Note.parse(next_bundle(kor)).text
    return sign_note(text, Ed25519Signer(root_key_name("KOR"), signatory(kor).ring.default("log").secret)).encode()  # type: ignore[arg-type]


def of_another_nation(kor: Deployed) -> bytes:
    jpn = kor.directory.parent / "jpn"
    return (jpn / "pki" / "bundle.note").read_bytes()


def too_large(kor: Deployed) -> bytes:
    return next_bundle(kor) + b"x" * MAX_NOTE


@pytest.mark.parametrize("made", [garbage, a_bit_flipped, signed_by_its_gateway, of_another_nation, too_large])
async def test_a_bundle_that_the_root_has_not_signed_ends_that_stream_alone(
    places: dict[str, Deployed], made: Callable[[Deployed], bytes]
) -> None:
    async with running(places) as world:
        async with dialled(places["KOR"], places["JPN"]) as stream:
            await stream.prove(bundle=made(places["KOR"]))
            end = await stream.ended()
            assert end.code.name == "UNAUTHENTICATED"
        assert believed(world, "JPN", "KOR") == 1
        assert world.following("KOR", "JPN"), "the other streams go on"
        await world.carries("JPN", "KOR")
        assert world.nodes["JPN"].parts.recorded_sequence("KOR") == 1


async def test_an_older_bundle_is_passed_over_and_changes_nothing(places: dict[str, Deployed]) -> None:
    old = (places["KOR"].directory / "pki" / "bundle.note").read_bytes()
    new = next_bundle(places["KOR"])
    async with running(places, "JPN", linked=False) as world:
        async with dialled(places["KOR"], places["JPN"]) as stream:
            await stream.prove(bundle=new)
            await until(lambda: believed(world, "JPN", "KOR") == 2, "the newer one is believed")
        for _ in range(2):
            async with dialled(places["KOR"], places["JPN"], HEARTBEAT) as stream:
                await stream.prove(bundle=old)
                await stream.echo()
        assert believed(world, "JPN", "KOR") == 2
        assert world.nodes["JPN"].parts.recorded_bundle("KOR") == new


async def test_a_bundle_that_came_in_band_is_believed_after_a_restart_beside_an_older_file(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        People(places["KOR"]).announce()
        await until(lambda: believed(world, "JPN", "KOR") == 2, "it came with a heartbeat")
        await world.event("JPN", "bundle-taken-up")
        await world.stop("JPN")
        await world.start("JPN")
        assert believed(world, "JPN", "KOR") == 2
        await world.linked()
        await world.carries("JPN", "KOR")
        assert world.metric("JPN", "signalfire_bundle_sequence", node="KOR") == 2


async def test_who_is_behind_is_given_the_bundle_once_and_who_is_not_gets_none(places: dict[str, Deployed]) -> None:
    People(places["JPN"]).announce()
    async with running(places, "JPN", linked=False) as world:
        for purpose in (FOLLOW, HEARTBEAT):
            async with dialled(places["KOR"], places["JPN"], purpose) as stream:
                await stream.hello(bundle_sequence=1)
                challenge = (await stream.read()).challenge
                assert challenge.bundle_sequence == 1
                root = nation.read_root_vkey(places["JPN"].directory / "pki")
                assert TrustBundle.open(challenge.bundle, root, now=datetime.now(UTC)).sequence == 2
            async with dialled(places["KOR"], places["JPN"], purpose) as stream:
                await stream.hello(bundle_sequence=2)
                assert not (await stream.read()).challenge.bundle
        async with dialled(places["KOR"], places["JPN"], HEARTBEAT) as stream:
            await stream.prove(bundle_sequence=1)
            assert (await stream.echo(1)).bundle
            # It was offered: one that is not taken up does not go with every heartbeat.
            assert not (await stream.echo(1)).bundle
            assert not (await stream.echo(2)).bundle
            await until(lambda: world.metric("JPN", "signalfire_bundle_known", partner="KOR") == 2, "it said so")
            known = {each.partner: each.sequence for each in world.nodes["JPN"].parts.rotation.status().known}
            assert known == {"KOR": 2}


async def test_what_an_unproven_caller_says_of_bundles_counts_for_nothing(places: dict[str, Deployed]) -> None:
    async with running(places, "JPN", linked=False) as world:
        async with dialled(places["KOR"], places["JPN"]) as stream:
            await stream.hello(bundle_sequence=99)
            await stream.read()
        async with dialled(places["KOR"], places["JPN"]) as stream:
            with contextlib.suppress(Exception):
                await stream.prove(signer=signatory(places["JPN"]).gateway, bundle_sequence=99)
                await stream.ended()
        assert not world.nodes["JPN"].parts.partners.links["KOR"].known


async def test_a_newer_bundle_that_has_expired_leaves_the_one_that_is_in_force(places: dict[str, Deployed]) -> None:
    kor = places["KOR"]
    write_bundle(kor.directory / "pki", now=datetime.now(UTC) - timedelta(days=2), lifetime=timedelta(days=1))
    expired = (kor.directory / "pki" / "bundle.note").read_bytes()
    async with running(places) as world:
        async with dialled(kor, places["JPN"]) as stream:
            await stream.prove(bundle=expired)
            await stream.send(open=exchange_pb2.Open(origin="signalfire/v1/JPN/KOR/flash/1", root=EMPTY_ROOT))
            assert (await stream.read()).WhichOneof("message") == "opened"
        assert believed(world, "JPN", "KOR") == 1
        # Nor is one sent that has expired.
        own = world.nodes["JPN"].parts.own_bundle
        assert own.bundle is not None
        own._now = lambda: datetime.now(UTC) + timedelta(days=9000)
        assert not world.nodes["JPN"].parts.in_band.due(0)


async def test_one_partner_brings_so_many_bundles_an_hour_and_more_in_a_file(places: dict[str, Deployed]) -> None:
    async with running(places, "JPN", linked=False) as world:
        node = world.nodes["JPN"]
        clock = [1000.0]
        node.parts.in_band._monotonic = lambda: clock[0]
        for _ in range(MOST + 2):
            await node.parts.in_band.take("KOR", next_bundle(places["KOR"]))
        assert believed(world, "JPN", "KOR") == 1 + MOST
        clock[0] += 3600 / PER_HOUR
        for _ in range(2):
            await node.parts.in_band.take("KOR", next_bundle(places["KOR"]))
        assert believed(world, "JPN", "KOR") == MOST + 4
        (places["JPN"].directory / "partners" / "KOR.bundle.note").write_bytes(next_bundle(places["KOR"]))
        await until(lambda: believed(world, "JPN", "KOR") == MOST + 6, "the file is taken up")


async def test_a_partner_that_cannot_dial_here_learns_of_a_bundle_all_the_same(places: dict[str, Deployed]) -> None:
    def unreachable(sequence: int) -> bytes:
        """JPN's bundle without an endpoint."""
        root = nation.load_nation(places["JPN"].directory / "pki").root
        first = (places["JPN"].directory / "pki" / "bundle.note").read_bytes()
        fields = TrustBundle.open(first, root.vkey, now=datetime.now(UTC)).model_dump()
        made = TrustBundle.model_validate(fields | {"sequence": sequence, "endpoints": ()})
        return made.sign(root.signer()).encode()

    for path in (places["JPN"].bundle, places["KOR"].directory / "partners" / "JPN.bundle.note"):
        path.write_bytes(unreachable(2))
    async with running(places, linked=False) as world:
        jpn = world.nodes["JPN"]
        link = jpn.parts.partners.links["KOR"]
        await until(lambda: link.heartbeat_at is not None and len(link.following) == 5, "all streams of JPN are open")
        places["JPN"].bundle.write_bytes(unreachable(3))
        await until(lambda: believed(world, "KOR", "JPN") == 3, "it goes with an echo")
        await until(lambda: not jpn.parts.rotation.waiting_for(), "and KOR says that it believes it")
        assert not world.nodes["KOR"].parts.partners.links["JPN"].following
