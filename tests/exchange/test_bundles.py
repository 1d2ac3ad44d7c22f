"""Trust bundles and certificates that change, expire or were altered: that partner is shut out, and let in again."""

from __future__ import annotations

import shutil
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from signalfire.v1 import exchange_pb2, ledger_pb2

from gateway.demo.deployment import GATEWAY_NAME, Deployed
from gateway.exchange.partners import Partners, Pinned
from gateway.identity import issuing, nation, next_bundle
from gateway.identity.key_names import root_key_name
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, GATEWAY_KEY, NodeKeys
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.note import Ed25519Signer, sign_note
from gateway.ledger.origin import Origin
from gateway.release.rulebook import NO_BUNDLE
from tests.exchange.dialler import HEARTBEAT, PATIENT, Ended, dialled, signatory
from tests.identity.loopback import handshake
from tests.node.connecting import gateway_authority, server_name, system_pair
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until

RELEASED, WITHHELD = ledger_pb2.OUTCOME_RELEASED, ledger_pb2.OUTCOME_WITHHELD


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Deployed]:
    return settle(tmp_path, "JPN", "KOR", "USA", limits={"exchange": PATIENT})


def now() -> datetime:
    return datetime.now(UTC)


def pinned(at: Deployed, of: Deployed) -> Path:
    """Where `at` keeps the bundle of a partner."""
    return at.directory / "partners" / f"{of.node}.bundle.note"


def renew(of: Deployed, at: Deployed, lifetime: timedelta = timedelta(days=1)) -> int:
    """Signs the next bundle of a nation and gives it to a partner; its sequence."""
    bundle = next_bundle.write_bundle(of.directory / "pki", now=now(), lifetime=lifetime)
    shutil.copy(of.directory / "pki" / "bundle.note", pinned(at, of))
    return bundle.sequence


async def withheld_from(world: World, partner: str, other: str) -> None:
    """Pushes at JPN, and shows that it goes to `other` and not to `partner`, and that the decision says why."""
    made = await world.carries("JPN", other)
    decisions = await world.decisions("JPN", made.report_id)
    assert decisions[partner].outcome == WITHHELD
    assert decisions[partner].rule == NO_BUNDLE
    assert decisions[other].outcome == RELEASED
    for lane in ("flash", "immediate", "priority", "routine"):
        row = world.ledger("JPN", Origin.release("JPN", partner, lane, 1))
        assert row is None or row.size == 0


def expired(at: Deployed, of: Deployed) -> None:
    next_bundle.write_bundle(of.directory / "pki", now=now() - timedelta(days=2), lifetime=timedelta(days=1))
    shutil.copy(of.directory / "pki" / "bundle.note", pinned(at, of))


def altered(at: Deployed, of: Deployed) -> None:
    raw = bytearray(pinned(at, of).read_bytes())
    raw[len(raw) // 2] ^= 1
    pinned(at, of).write_bytes(bytes(raw))


def noise(at: Deployed, of: Deployed) -> None:
    pinned(at, of).write_bytes(b"\xff\x00" * 200)


def empty(at: Deployed, of: Deployed) -> None:
    pinned(at, of).write_bytes(b"")


def of_another_nation(at: Deployed, of: Deployed) -> None:
    other = next(path for path in at.directory.glob("partners/*") if path != pinned(at, of))
    shutil.copy(other, pinned(at, of))


def signed_by_its_gateway(at: Deployed, of: Deployed) -> None:
    """Everything right but the key: signed by the log key that lies on the gateway, not by the offline root."""
    text = pinned(at, of).read_text().split("\n\n")[0] + "\n"
    signer = Ed25519Signer(root_key_name(of.node), NodeKeys.load(of.directory / "keys").log_seed)
    pinned(at, of).write_bytes(sign_note(text, signer).encode())


@pytest.mark.parametrize("spoil", [expired, altered, noise, empty, of_another_nation, signed_by_its_gateway])
async def test_a_partner_whose_bundle_is_not_believed_gets_nothing_and_the_others_go_on(
    places: dict[str, Deployed], spoil: object
) -> None:
    spoil(places["JPN"], places["KOR"])  # type: ignore[operator]
    async with running(places, linked=False) as world:
        await withheld_from(world, "KOR", "USA")
        assert "no trust bundle" in world.status("JPN", "KOR").problem or not world.status("JPN", "KOR").following
        async with dialled(places["KOR"], places["JPN"]) as stream:
            await stream.hello()
            assert (await stream.ended()).code.name in {"UNAUTHENTICATED", "UNAVAILABLE"}

        # A good one is taken up without a restart.
        renew(places["KOR"], places["JPN"])
        await world.linked()
        made = await world.carries("JPN", "KOR", "USA")
        assert (await world.decisions("JPN", made.report_id))["KOR"].outcome == RELEASED


def test_what_is_pinned_for_one_partner_does_not_serve_for_another(places: dict[str, Deployed]) -> None:
    usa = places["USA"]
    root = nation.read_root_vkey(usa.directory / "pki")
    bundle = usa.directory / "pki" / "bundle.note"
    partners = Partners.load([Pinned("KOR", root, bundle), Pinned("USA", root, bundle)], now)
    assert partners.get("KOR") is None
    assert set(partners.keys()) == {"USA"}
    assert {domain for domain, _ in partners.authorities()} == {"usa"}


async def test_a_gateway_whose_only_partner_has_no_valid_bundle_still_serves_its_own_systems(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})
    expired(places["JPN"], places["KOR"])
    async with running(places, "JPN", linked=False) as world:
        made = report()
        assert (await world.push_one("JPN", made)).accepted
        assert (await world.decisions("JPN", made.report_id))["KOR"].rule == NO_BUNDLE
        for pair in (
            None,
            system_pair(places["JPN"], "command"),
            KeyPairFiles.of_gateway(places["JPN"].directory / "keys"),
        ):
            async with dialled(places["KOR"], places["JPN"], pair=pair) as stream:
                await stream.hello()
                assert (await stream.ended()).code.name in {"UNAUTHENTICATED", "UNAVAILABLE"}
        await world.start("KOR")
        renew(places["KOR"], places["JPN"])
        await world.linked()
        await world.carries("JPN", "KOR")


async def test_a_bundle_that_expires_while_the_gateway_runs_stops_that_partner_alone(
    places: dict[str, Deployed],
) -> None:
    async with running(places) as world:
        # Taken up as soon as files are looked at, which is each second, but where the machine stands still.
        sequence = renew(places["KOR"], places["JPN"], lifetime=timedelta(seconds=10))
        await until(lambda: world.nodes["JPN"].parts.recorded_sequence("KOR") == sequence, "it is taken up")
        await world.carries("JPN", "KOR", "USA")
        await until(lambda: world.nodes["JPN"].parts.partners.get("KOR") is None, "the bundle expires")
        # Open streams end as well, and new ones are refused.
        await until(lambda: world.lanes_followed("JPN", "KOR") == 0 or not world.status("KOR", "JPN").following, "ends")
        made = await world.carries("JPN", "USA")
        assert (await world.decisions("JPN", made.report_id))["KOR"].rule == NO_BUNDLE
        async with dialled(places["KOR"], places["JPN"], HEARTBEAT) as stream:
            await stream.hello()
            assert (await stream.ended()).code.name in {"UNAUTHENTICATED", "UNAVAILABLE"}
        renew(places["KOR"], places["JPN"])
        await world.linked()
        await world.carries("JPN", "KOR", "USA")


async def test_an_older_bundle_is_refused_while_running_and_after_a_restart(places: dict[str, Deployed]) -> None:
    jpn, kor = places["JPN"], places["KOR"]
    old = pinned(jpn, kor).read_bytes()
    async with running(places) as world:
        sequence = renew(kor, jpn)
        await until(lambda: world.nodes["JPN"].parts.recorded_sequence("KOR") == sequence, "the newer one is on record")
        event = [
            each
            for each in [await world.event("JPN", "bundle-taken-up")]
            if "trust bundle of" in each.detail and "sequence 1" in each.detail
        ]
        assert event
        # The old one comes back, and brings back no key: the newer one stays in use.
        pinned(jpn, kor).write_bytes(old)
        seen = world.nodes["JPN"].parts.partners._raw
        await until(lambda: seen["KOR"] == old, "the older one was looked at")
        bundle = world.nodes["JPN"].parts.partners.bundle("KOR")
        assert bundle is not None
        assert bundle.sequence == sequence
        await world.carries("JPN", "KOR", "USA")

        # The newer one is on record whole: a start beside the older file believes that.
        await world.stop("JPN")
        await world.start("JPN")
        again = world.nodes["JPN"].parts.partners.bundle("KOR")
        assert again == bundle
        await world.linked()
        await world.carries("JPN", "KOR", "USA")


async def test_streams_opened_under_a_key_that_a_newer_bundle_withdraws_are_ended(
    places: dict[str, Deployed], tmp_path: Path
) -> None:
    jpn, kor = places["JPN"], places["KOR"]
    async with running(places, "JPN", "USA") as world:
        ledger = "signalfire/v1/JPN/KOR/flash/1"
        async with dialled(kor, jpn) as follow, dialled(kor, jpn, HEARTBEAT) as beat:
            await follow.open(ledger)
            await beat.prove()
            await beat.echo()
            # KOR's keys were stolen: it makes new ones, and its root withdraws the old.
            for record in (kor.directory / "pki" / "gateways").iterdir():
                record.unlink()
            issuing.issue_gateway(
                kor.directory / "pki", GATEWAY_NAME, tmp_path / "new", now=now() + timedelta(seconds=2),
                address=kor.exchange,
            )  # fmt: skip
            renew(kor, jpn)
            with pytest.raises(Ended, match="has changed"):
                await beat.echo_on()
            await world.push_one("JPN", report())
            end = await follow.ended()
            assert end.code.name == "UNAUTHENTICATED"
            assert "has changed" in end.details
            assert not any(follow_raw(raw) == "batch" for raw in follow.raw)
        async with dialled(kor, jpn) as thief:
            await thief.prove(signatory(kor).gateway)
            assert (await thief.ended()).code.name == "UNAUTHENTICATED"


def follow_raw(raw: bytes) -> str | None:
    """What kind of message this was."""
    return exchange_pb2.FollowResponse.FromString(raw).WhichOneof("message")


@pytest.mark.parametrize("side", ["national", "exchange"])
async def test_a_renewed_certificate_serves_new_connections_and_open_ones_go_on(
    places: dict[str, Deployed], tmp_path: Path, side: str
) -> None:
    jpn = places["JPN"]

    async def leaf() -> int:
        pair = system_pair(jpn, "command")
        if side == "exchange":
            pair = KeyPairFiles.of_gateway(places["KOR"].directory / "keys")
        port = int(getattr(jpn, side).rpartition(":")[2])
        roots = gateway_authority(jpn).read_bytes()
        seen = await handshake(port, ssl.TLSVersion.TLSv1_3, roots, server_name(jpn), pair)
        assert seen.answered, seen
        return x509.load_der_x509_certificate(seen.server_certificate).serial_number

    async with running(places) as world:
        before = await leaf()
        assert await leaf() == before
        keys = jpn.directory / "keys"
        renewed = tmp_path / "renewed"
        issuing.issue_gateway(
            jpn.directory / "pki", GATEWAY_NAME, renewed, now=now() + timedelta(seconds=2), address=jpn.exchange,
            keys_from=keys,
        )  # fmt: skip
        # One file after the other, as an operator would: between the two the previous pair serves.
        shutil.copy(renewed / GATEWAY_CERTIFICATE, keys / GATEWAY_CERTIFICATE)
        assert await leaf() == before
        shutil.copy(renewed / GATEWAY_KEY, keys / GATEWAY_KEY)
        after = await leaf()
        assert after != before
        assert after == x509.load_pem_x509_certificate((keys / GATEWAY_CERTIFICATE).read_bytes()).serial_number
        await world.carries("JPN", "KOR", "USA")
        await world.carries("KOR", "JPN", "USA")
