"""Trust bundles that partners' gateways bring: believed by the pinned root alone, newest first, and for good."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.demo.deployment import Deployed
from gateway.identity import nation
from gateway.identity.key_names import root_key_name
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.note import MAX_NOTE, Ed25519Signer, Note, sign_note
from tests.exchange.dialler import FOLLOW, HEARTBEAT, dialled, signatory
from tests.node.nations import World, running, settle, until
from tests.node.rotating import People


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR")


def next_bundle(of: Deployed) -> bytes:
    """The next bundle of a nation, signed by its root, and given to nobody."""
    nation.write_bundle(of.directory / "pki", now=datetime.now(UTC), lifetime=timedelta(days=1))
    return (of.directory / "pki" / "bundle.note").read_bytes()


def believed(world: World, at: str, of: str) -> int:
    return world.nodes[at]._partners.sequence(of)


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
        assert world.nodes["JPN"]._recorded_sequence("KOR") == 1


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
        assert world.nodes["JPN"]._recorded_bundle("KOR") == new


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
            known = {each.partner: each.sequence for each in world.nodes["JPN"]._rotation.status().known}
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
        assert not world.nodes["JPN"]._partners.links["KOR"].known
