"""Who may connect, and as whom, on both listeners; and who a gateway believes to have reached."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange.ending import MAX_SHOWN
from gateway.identity import challenge
from gateway.identity.authority import Authority, Validity
from gateway.identity.nation import load_nation
from gateway.identity.spiffe import Role
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.note import Ed25519Signer
from tests.exchange.dialler import FOLLOW, HEARTBEAT, PATIENT, Stream, dialled, signatory
from tests.exchange.origin import impostor
from tests.identity.loopback import handshake, save_leaf
from tests.node.connecting import channel, first_decision, gateway_authority, server_name, system_pair
from tests.node.nations import World, report, running, settle
from tests.node.waiting import EVERY_CLASS, until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

HANDSHAKE_S = 5.0
"""Longer than a machine that is busy otherwise stands still."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """Three nations, for all tests here: each leaves them serving."""
    directory = Path(tmp_path_factory.mktemp("nations"))
    places = settle(directory, "JPN", "KOR", "USA", limits={"exchange": {**PATIENT, "handshake_s": HANDSHAKE_S}})
    async with running(places) as running_world:
        yield running_world


def authority(place: Deployed, role: Role, *, as_node: str | None = None) -> Authority:
    """One of a nation's authorities; with `as_node`, one that mints in another nation's name."""
    real = load_nation(place.directory / "pki").authorities[role]
    return Authority(as_node or real.node, role, real.certificate, real.key)


def minted(
    directory: Path, issuer: Authority, name: str = "a", *, age: timedelta = timedelta(0), days: int = 1
) -> KeyPairFiles:
    """A certificate and its key on disk, issued `age` ago."""
    leaf = issuer.issue_leaf(name, Validity.starting(datetime.now(UTC) - age, timedelta(days=days)))
    return save_leaf(leaf, directory)


def port_of(address: str) -> int:
    return int(address.rpartition(":")[2])


async def calls(address: str, to: Deployed, pair: KeyPairFiles) -> grpc.aio.AioRpcError:
    """Calls every service at a listener with this certificate; returns the refusal, which all share."""
    refusals = []
    async with channel(address, pair, gateway_authority(to), server_name(to)) as opened:
        for method in ("C2Service/GetStatus", "C2Service/Subscribe", "OfficerService/WatchDecisions"):
            ask: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(
                f"/signalfire.v1.{method}", request_serializer=None, response_deserializer=None
            )
            refusals.append(await refusal_of(ask(b"\x12\x01\x01")))
        for method in ("C2Service/Submit", "ExchangeService/Follow", "ExchangeService/Heartbeat"):
            open_: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
                f"/signalfire.v1.{method}", request_serializer=None, response_deserializer=None
            )
            stream = open_()
            with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                await stream.write(b"")
                await stream.done_writing()
            refusals.append(await refusal_of(stream))
    assert {refusal.code() for refusal in refusals} <= {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,  # a service of the other listener
    }
    codes = {refusal.code() for refusal in refusals} - {grpc.StatusCode.UNIMPLEMENTED}
    assert len(codes) == 1, refusals
    return next(each for each in refusals if each.code() in codes)


async def refusal_of(call: Any) -> grpc.aio.AioRpcError:
    """The status of a call that gives nothing."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            answer = await call.read()
    except grpc.aio.AioRpcError as refused:
        return refused
    raise AssertionError(f"it was answered: {answer!r}")


# --- TLS on both listeners


@pytest.mark.parametrize("side", ["national", "exchange"])
async def test_no_listener_serves_a_caller_without_a_certificate(world: World, side: str) -> None:
    place = world.places["JPN"]
    roots = gateway_authority(place).read_bytes()
    port = port_of(getattr(place, side))
    seen = await handshake(port, ssl.TLSVersion.TLSv1_3, roots, server_name(place), None)
    assert not seen.answered
    with_one = system_pair(place, "command")
    if side == "exchange":
        with_one = KeyPairFiles.of_gateway(world.places["KOR"].directory / "keys")
    seen = await handshake(port, ssl.TLSVersion.TLSv1_3, roots, server_name(place), with_one)
    assert seen.answered
    await world.carries("JPN", "KOR", "USA")


@pytest.mark.parametrize("side", ["national", "exchange"])
async def test_no_listener_speaks_tls_1_2(world: World, side: str) -> None:
    place = world.places["JPN"]
    pair = KeyPairFiles.of_gateway(world.places["KOR"].directory / "keys")
    if side == "national":
        pair = system_pair(place, "command")
    roots = gateway_authority(place).read_bytes()
    seen = await handshake(port_of(getattr(place, side)), ssl.TLSVersion.TLSv1_2, roots, server_name(place), pair)
    assert (seen.version, seen.answered) == (None, False)
    await world.carries("JPN", "KOR", "USA")


@pytest.mark.parametrize("side", ["national", "exchange"])
async def test_no_listener_speaks_plaintext(world: World, side: str) -> None:
    address = getattr(world.places["JPN"], side)

    def dial() -> bytes:
        with socket.create_connection(("127.0.0.1", port_of(address)), timeout=10) as plain:
            plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00")
            try:
                return plain.recv(100)
            except ConnectionError:
                return b""

    answer = await asyncio.to_thread(dial)
    assert b"HTTP" not in answer
    assert not answer.startswith(b"\x00\x00")  # no HTTP/2 settings: nothing, or a TLS alert
    async with grpc.aio.insecure_channel(address) as opened:
        status: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(
            "/signalfire.v1.C2Service/GetStatus", request_serializer=None, response_deserializer=None
        )
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await status(b"", timeout=10)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    await world.carries("JPN", "KOR", "USA")


async def test_an_expired_certificate_is_refused_on_both_listeners(world: World, tmp_path: Path) -> None:
    jpn, kor = world.places["JPN"], world.places["KOR"]
    old = timedelta(days=10)
    system = minted(tmp_path / "c2", authority(jpn, Role.C2), "command", age=old)
    refused = await calls(jpn.national, jpn, system)
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    gateway = minted(tmp_path / "gateway", authority(kor, Role.GATEWAY), age=old)
    refused = await calls(jpn.exchange, jpn, gateway)
    assert refused.code() == grpc.StatusCode.UNAVAILABLE
    await world.carries("JPN", "KOR", "USA")


@pytest.mark.parametrize("claimed", ["KOR", "JPN"])
async def test_a_partners_authority_cannot_mint_a_gateway_of_another_nation(
    world: World, tmp_path: Path, claimed: str
) -> None:
    jpn, usa = world.places["JPN"], world.places["USA"]
    forged = minted(tmp_path, authority(usa, Role.GATEWAY, as_node=claimed))
    before = world.metric("JPN", "signalfire_refused_streams_total", reason="untrusted_issuer")
    refused = await calls(jpn.exchange, jpn, forged)
    # TLS believes the authority, for it is a partner's; the identity rules do not, for this name.
    assert refused.code() == grpc.StatusCode.UNAUTHENTICATED
    assert f"spiffe://{claimed.lower()}/gateway/a was not issued by" in (refused.details() or "")
    assert world.metric("JPN", "signalfire_refused_streams_total", reason="untrusted_issuer") == before + 2
    await world.carries("JPN", "KOR", "USA")


async def test_a_foreign_authority_cannot_mint_one_of_our_systems(world: World, tmp_path: Path) -> None:
    jpn, usa = world.places["JPN"], world.places["USA"]
    forged = minted(tmp_path, authority(usa, Role.C2, as_node="JPN"), "command")
    assert (await calls(jpn.national, jpn, forged)).code() == grpc.StatusCode.UNAVAILABLE


WRONG_SIDE: list[tuple[str, str, Callable[[World], KeyPairFiles]]] = [
    (
        "a c2 system of the partner at the partners' listener",
        "exchange",
        lambda w: system_pair(w.places["KOR"], "command"),
    ),
    ("an own c2 system at the partners' listener", "exchange", lambda w: system_pair(w.places["JPN"], "command")),
    ("an officer at the partners' listener", "exchange", lambda w: officer_pair(w.places["KOR"])),
    ("the own gateway at the partners' listener", "exchange", lambda w: gateway_pair(w.places["JPN"])),
    ("a partner's gateway at the national listener", "national", lambda w: gateway_pair(w.places["KOR"])),
    ("the own gateway at the national listener", "national", lambda w: gateway_pair(w.places["JPN"])),
    ("a partner's c2 system at the national listener", "national", lambda w: system_pair(w.places["KOR"], "command")),
    ("a partner's officer at the national listener", "national", lambda w: officer_pair(w.places["KOR"])),
]


def officer_pair(place: Deployed) -> KeyPairFiles:
    return KeyPairFiles(
        place.directory / "officer" / "officer.key.pem", place.directory / "officer" / "officer.crt.pem"
    )


def gateway_pair(place: Deployed) -> KeyPairFiles:
    return KeyPairFiles.of_gateway(place.directory / "keys")


@pytest.mark.parametrize(("side", "pair"), [pytest.param(s, p, id=name) for name, s, p in WRONG_SIDE])
async def test_a_certificate_of_the_wrong_role_or_nation_is_served_nothing(
    world: World, side: str, pair: Callable[[World], KeyPairFiles]
) -> None:
    place = world.places["JPN"]
    await calls(getattr(place, side), place, pair(world))
    await world.carries("JPN", "KOR", "USA")


async def test_the_gateway_authority_cannot_mint_a_role_by_name(world: World, tmp_path: Path) -> None:
    jpn, kor = world.places["JPN"], world.places["KOR"]
    real = authority(kor, Role.GATEWAY)
    # Issued by the authority that the listener believes, in the name of a C2 system.
    as_system = minted(tmp_path, Authority("KOR", Role.C2, real.certificate, real.key), "a")
    refused = await calls(jpn.exchange, jpn, as_system)
    assert refused.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "role c2" in (refused.details() or "")


# --- roles at the national listener


async def test_an_officer_may_see_status_and_decisions_and_may_not_push_or_receive(world: World) -> None:
    place = world.places["JPN"]
    assert (await place.officer().status()).node == "JPN"
    async with channel(place.national, officer_pair(place), gateway_authority(place), server_name(place)) as opened:
        assert (await first_decision(opened)).node_event.kind == "started"
    before = world.metric("JPN", "signalfire_refused_streams_total", reason="wrong_role")
    with pytest.raises(Exception, match="role officer"):
        async for _ in place.officer().subscribe(EVERY_CLASS):
            pass
    with pytest.raises(Exception, match="role officer"):
        async for _ in place.officer().submit([report()]):
            pass
    assert world.metric("JPN", "signalfire_refused_streams_total", reason="wrong_role") == before + 2
    await world.carries("JPN", "KOR", "USA")


async def test_a_c2_system_may_see_status_and_may_not_see_decisions(world: World) -> None:
    place = world.places["JPN"]
    assert (await place.client("command").status()).node == "JPN"
    pair = system_pair(place, "command")
    async with channel(place.national, pair, gateway_authority(place), server_name(place)) as opened:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await first_decision(opened)
    assert refused.value.code() == grpc.StatusCode.UNAUTHENTICATED
    assert "role c2" in (refused.value.details() or "")


# --- the challenge: a certificate alone opens nothing

Purpose = pytest.mark.parametrize("purpose", [FOLLOW, HEARTBEAT])


async def refused_stream(world: World, stream: Stream, problem: str, code: str = "UNAUTHENTICATED") -> None:
    end = await stream.ended()
    assert (end.code.name, problem in end.details) == (code, True), end
    assert "keys" not in end.details.lower() or "log key" in end.details
    await world.carries("JPN", "KOR", "USA")


@Purpose
@pytest.mark.parametrize("claimed", ["spiffe://usa/gateway/a", "spiffe://kor/gateway/b", "spiffe://jpn/gateway/a"])
async def test_a_hello_in_another_name_than_the_certificates_is_not_answered(
    world: World, purpose: str, claimed: str
) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.hello(claimed)
        await refused_stream(world, stream, "calls itself")
        assert stream.raw == []


@Purpose
@pytest.mark.parametrize("claimed", ["", "KOR", "spiffe://kor/gateway/a/../b", "spiffe://kor/root/a", "x" * 70_000])
async def test_a_hello_that_names_no_identity_is_not_answered(world: World, purpose: str, claimed: str) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.send(hello=exchange_pb2.Hello(spiffe_id=claimed, nonce=bytes(32)))
        end = await stream.ended()
        assert end.code == grpc.StatusCode.UNAUTHENTICATED
        assert len(end.details) <= MAX_SHOWN + 3
        assert stream.raw == []
    await world.carries("JPN", "KOR", "USA")


@Purpose
async def test_a_proof_by_another_key_than_the_partners_log_key_is_refused(world: World, purpose: str) -> None:
    places = world.places
    kor, usa = signatory(places["KOR"]), signatory(places["USA"])
    fresh = Ed25519Signer(kor.gateway.name, bytes(range(32)))
    for signer in (fresh, usa.gateway):
        async with dialled(places["KOR"], places["JPN"], purpose) as stream:
            await stream.prove(signer)
            await refused_stream(world, stream, "no pinned log key of KOR signed this note")


@Purpose
async def test_a_proof_of_another_connection_is_refused(world: World, purpose: str) -> None:
    places = world.places
    async with dialled(places["KOR"], places["JPN"], purpose) as first:
        proof = await first.prove()
        async with dialled(places["KOR"], places["JPN"], purpose) as second:
            await second.hello()
            await second.challenged()
            await second.send(proof=exchange_pb2.Proof(note=proof))
            await refused_stream(world, second, "over other words than this connection's")


async def test_a_proof_for_heartbeats_does_not_open_a_ledger(world: World) -> None:
    places = world.places
    async with dialled(places["KOR"], places["JPN"], FOLLOW) as stream:
        stream.purpose = HEARTBEAT  # it signs for the one purpose in a call of the other
        hello = await stream.hello()
        stream.purpose = FOLLOW
        proven = challenge.ProvenServer(hello, await stream.challenged())
        note = challenge.client_proof(proven, signer=signatory(places["KOR"]).gateway)
        await stream.send(proof=exchange_pb2.Proof(note=note))
        await refused_stream(world, stream, "over other words than this connection's")


@Purpose
async def test_the_servers_own_note_is_no_proof(world: World, purpose: str) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.hello()
        reflected = (await stream.challenged()).note
        await stream.send(proof=exchange_pb2.Proof(note=reflected))
        await refused_stream(world, stream, "no pinned log key of KOR signed this note")


@Purpose
async def test_whoever_does_not_prove_himself_in_time_is_let_go(world: World, purpose: str) -> None:
    async with (
        dialled(world.places["KOR"], world.places["JPN"], purpose) as stream,
        dialled(world.places["KOR"], world.places["JPN"], purpose) as silent,
    ):
        await stream.hello()
        await stream.challenged()
        for each in (stream, silent):
            await refused_stream(world, each, f"no proof within {HANDSHAKE_S:g} s", "DEADLINE_EXCEEDED")


@Purpose
@pytest.mark.parametrize(
    "message",
    [
        {"proof": exchange_pb2.Proof(note=b"x")},
        {"open": exchange_pb2.Open(origin="signalfire/v1/JPN/KOR/flash/1")},
        {"echo": exchange_pb2.Echo(counter=1)},
        {},
    ],
    ids=lambda message: next(iter(message), "nothing"),
)
async def test_a_stream_that_opens_out_of_turn_is_ended(world: World, purpose: str, message: dict[str, object]) -> None:
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        if next(iter(message), "proof") not in dir(
            exchange_pb2.FollowRequest if purpose == FOLLOW else exchange_pb2.HeartbeatRequest
        ):
            message = {}
        await stream.send(**message)
        await refused_stream(world, stream, "hello was due")
        assert stream.raw == []
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as again:
        await again.hello()
        await again.challenged()
        await again.hello()
        await refused_stream(world, again, "proof was due, and hello came")


@Purpose
async def test_bytes_that_are_no_message_end_the_stream_and_no_more(world: World, purpose: str) -> None:
    before = world.metric("JPN", "signalfire_refused_streams_total", reason="malformed_message")
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.send_bytes(b"\xff" * 100)
        await refused_stream(world, stream, "not of the contract", "INVALID_ARGUMENT")
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.prove()
        await stream.send_bytes(b"\xff" * 100)
        await refused_stream(world, stream, "not of the contract", "INVALID_ARGUMENT")
    assert world.metric("JPN", "signalfire_refused_streams_total", reason="malformed_message") == before + 2


# --- whom a follower believes


async def test_a_follower_talks_to_nothing_but_a_gateway_of_the_partner_it_dials(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", "USA", limits={"exchange": PATIENT})
    jpn, usa = places["JPN"], places["USA"]
    real = authority(jpn, Role.GATEWAY)
    pretenders = {
        "a C2 system of that nation": system_pair(jpn, "command"),
        "a gateway of another nation": gateway_pair(usa),
        "one of another nation's authority in its name": minted(
            tmp_path / "forged", authority(usa, Role.GATEWAY, as_node="JPN")
        ),
        "one that has expired": minted(tmp_path / "expired", real, age=timedelta(days=10)),
        "another gateway of that nation": minted(tmp_path / "b", real, "b"),
    }
    async with running(places, "KOR", "USA") as world:
        for who, pair in pretenders.items():
            dials = world.metric("KOR", "signalfire_link_failures_total", partner="JPN", lane="flash")
            async with impostor(jpn, pair) as seen:
                await until(
                    lambda dials=dials: (  # type: ignore[misc]
                        world.metric("KOR", "signalfire_link_failures_total", partner="JPN", lane="flash") >= dials + 3
                    ),
                    f"KOR dials {who} and fails",
                )
                assert seen == [], who
            await world.carries("USA", "KOR")
        await world.start("JPN")
        await world.linked()
        await world.carries("JPN", "KOR", "USA")


async def test_a_follower_believes_no_challenge_but_one_by_the_partners_log_key(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})
    async with running(places, "KOR") as world:
        # The right certificate, and everything but the log key: whoever stole only that is told nothing.
        async with impostor(places["JPN"], gateway_pair(places["JPN"]), signs_with=bytes(range(32))) as seen:
            await until(lambda: "no pinned log key" in world.status("KOR", "JPN").problem, "KOR refuses the challenge")
            assert set(seen) == {"hello"}
        await world.start("JPN")
        await world.linked()
        await world.carries("JPN", "KOR")
