"""A partner that turns hostile is turned away with a reason, and nobody else notices.

KOR has its true certificate and keys, and no gateway of its own runs: whatever it says is the test's. While it does its
worst, JPN and USA go on, and how long their reports take is measured beside what they took before.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import os
import ssl
import statistics
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Final

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2

from gateway.exchange.conduct import SHOWN_FROM, SHOWN_S, Conduct
from gateway.exchange.openings import Openings
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Ed25519Signer
from gateway.ledger.origin import Origin
from tests.exchange.dialler import FOLLOW, HEARTBEAT, Ended, Stream, dialled, signatory
from tests.exchange.origin import Forge
from tests.faults.awake import awake
from tests.node.connecting import channel, gateway_authority, server_name
from tests.node.nations import World, report, running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.asyncio(loop_scope="module")

STREAMS: Final = 12
CONNECTIONS: Final = 64
IMMEDIATE: Final = Origin.release("JPN", "KOR", "immediate", 1)
AGAIN: Final = SHOWN_FROM + 1
"""How often each offence is committed: often enough to be told."""

HANDSHAKE_S: Final = 10.0
"""Seconds that KOR has to prove itself: for so long it may hold what it has taken."""

UNTOUCHED_S: Final = 2.0
"""Seconds in which this process ran, within which a report of JPN is at USA's subscriber, by the median, whatever KOR
does; some hundredths as a rule. On a machine that is busy otherwise: ten times what it takes without an attack."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """JPN and USA with something in JPN's ledgers for KOR, whose gateway does not run."""
    limits = {
        "exchange": {
            "streams": STREAMS,
            "connections": CONNECTIONS,
            "silence_s": 60.0,
            "handshake_s": HANDSHAKE_S,
            "openings": 5000,
        }
    }
    places = settle(Path(tmp_path_factory.mktemp("nations")), "JPN", "KOR", "USA", limits=limits)
    async with running(places, "JPN", "USA", linked=False) as running_world:
        await until(lambda: running_world.following("USA", "JPN"), "USA follows JPN")
        await until(lambda: running_world.following("JPN", "USA"), "JPN follows USA")
        await running_world.carries("JPN", "USA")
        yield running_world


@pytest.fixture(autouse=True)
def forgiven(world: World) -> None:
    """Each test begins with a partner of whom nothing is known."""
    world.nodes["JPN"].parts.partners.links["KOR"].conduct = Conduct()


async def latency_s(world: World) -> float:
    """How long a report of JPN takes to USA's subscriber."""
    with awake() as took:
        await world.carries("JPN", "USA")
    return took.seconds


async def untouched(world: World, attack: Awaitable[object]) -> None:
    """Others' reports go both ways while the attack is under way, and no stream of theirs has ended."""
    failures = _failures(world)
    idle = statistics.median([await latency_s(world) for _ in range(3)])
    attacking = asyncio.ensure_future(attack)
    took: list[float] = []
    try:
        while not attacking.done() or len(took) < 3:
            took.append(await latency_s(world))
            await world.carries("USA", "JPN")
    finally:
        attacking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await attacking
    assert statistics.median(took) < max(UNTOUCHED_S, 10 * idle), (took, idle)
    assert failures == _failures(world)


def _failures(world: World) -> list[float]:
    """How often streams between JPN and USA have failed."""
    return [
        world.metric(name, "signalfire_link_failures_total", partner=other, lane=lane) for name, other, lane in LINKS
    ]


LANES: Final = ("flash", "immediate", "priority", "routine", "witness", "heartbeat")
LINKS: Final = [(name, other, lane) for name, other in (("JPN", "USA"), ("USA", "JPN")) for lane in LANES]


async def told(world: World, *words: str) -> None:
    """JPN says of KOR, and of nobody else, what it was turned away for."""
    node = world.nodes["JPN"]

    def says() -> bool:
        node.parts.alarms.look()
        alarms = [alarm for alarm in node.status().alarms if "streams were ended" in alarm]
        return any(alarm.startswith("KOR: ") and any(word in alarm for word in words) for alarm in alarms)

    await until(says, f"the status says of KOR one of {words}, and not {node.status().alarms}")
    node.parts.alarms.look()
    assert not [alarm for alarm in node.status().alarms if alarm.startswith("USA: ")]


@contextlib.asynccontextmanager
async def as_kor(world: World, purpose: str = FOLLOW) -> AsyncIterator[Stream]:
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        yield stream


# --- what is said on a stream

Offence = Callable[[World, Stream], Awaitable[object]]


async def garbage(world: World, stream: Stream) -> None:
    await stream.send_bytes(b"\xff\x13garbage")


async def garbage_once_proven(world: World, stream: Stream) -> None:
    await stream.prove()
    await stream.send_bytes(b"\x0a\xff\xff\xff\xff\x0f")


async def says_nothing(world: World, stream: Stream) -> None:
    await stream.hello()


async def anothers_name(world: World, stream: Stream) -> None:
    await stream.hello("spiffe://usa/gateway/a")


async def anothers_key(world: World, stream: Stream) -> None:
    await stream.prove(Ed25519Signer("signalfire/v1/KOR/gateway", b"\x07" * 32))


async def anothers_ledger(world: World, stream: Stream) -> None:
    await stream.prove()
    await stream.send(open=exchange_pb2.Open(origin="signalfire/v1/JPN/USA/flash/1", root=EMPTY_ROOT))


async def replayed_proof(world: World, stream: Stream) -> None:
    async with as_kor(world) as earlier:
        proof = await earlier.prove()
    await stream.hello()
    await stream.challenged()
    await stream.send(proof=exchange_pb2.Proof(note=proof))


async def a_receipt_for_a_ledger_that_forked(world: World, stream: Stream) -> None:
    """Equivocation: a checkpoint of one size with another root, signed as the recipient."""
    await stream.open(IMMEDIATE)
    forged = Forge(signatory(world.places["KOR"]), signatory(world.places["JPN"])).checkpoint(1, bytes(32))
    await stream.send(receipt=exchange_pb2.Receipt(note=forged))


async def a_bundle_that_no_root_signed(world: World, stream: Stream) -> None:
    await stream.prove(bundle=b"x" * 60_000)


OFFENCES: Final[tuple[tuple[Offence, str], ...]] = (
    (garbage, "not of the contract"),
    (garbage_once_proven, "not of the contract"),
    (says_nothing, "no proof within"),
    (anothers_name, "calls itself spiffe://usa"),
    (anothers_key, "KOR"),
    (anothers_ledger, "is not a ledger for KOR"),
    (replayed_proof, "KOR"),
    (a_receipt_for_a_ledger_that_forked, "signature on"),
    (a_bundle_that_no_root_signed, "KOR"),
)


@pytest.mark.parametrize(("offence", "words"), OFFENCES, ids=[offence.__name__ for offence, _ in OFFENCES])
async def test_what_a_partner_says_wrong_ends_its_stream_is_told_and_touches_nobody(
    world: World, offence: Offence, words: str
) -> None:
    async def once() -> None:
        async with as_kor(world) as stream:
            await offence(world, stream)
            end = await stream.ended()
            assert end.code not in (grpc.StatusCode.UNKNOWN, grpc.StatusCode.OK), end

    async def again_and_again() -> None:
        if offence is says_nothing:  # each waits until the time for its proof is over
            await asyncio.gather(*(once() for _ in range(AGAIN)))
            return
        for _ in range(AGAIN):
            await once()

    await untouched(world, again_and_again())
    await told(world, words)


async def test_a_flood_of_messages_is_taken_at_the_partners_own_cost(world: World) -> None:
    """Receipts without end on one stream: each is garbage, so the first ends it; echoes that nobody asked for too."""

    async def flood(purpose: str) -> None:
        async with as_kor(world, purpose) as stream:
            if purpose == FOLLOW:
                await stream.open(IMMEDIATE)
            else:
                await stream.prove()
            async with asyncio.timeout(PATIENCE_S):
                for counter in range(2000):
                    if purpose == FOLLOW:
                        await stream.send(receipt=exchange_pb2.Receipt(note=b"x" * 4000))
                    else:
                        await stream.send(echo=exchange_pb2.Echo(counter=counter))
            await stream.ended()

    async def floods() -> None:
        for _ in range(AGAIN):
            await asyncio.gather(flood(FOLLOW), flood(HEARTBEAT))

    await untouched(world, floods())
    await told(world, "note", "the echo of heartbeat")


async def test_a_message_that_is_compressed_or_too_large_is_refused_before_it_is_unpacked(world: World) -> None:
    """16 MiB in 16 KiB, as gRPC's own compression would bring it; and 5 MiB as they are."""
    bomb = exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=b"\0" * (16 << 20))).SerializeToString()
    assert len(gzip.compress(bomb, 1)) < len(bomb) // 100
    codes = []

    async def bombs() -> None:
        for compression, message in ((grpc.Compression.Gzip, bomb), (grpc.Compression.NoCompression, bomb[: 5 << 20])):
            async with as_kor(world) as stream, asyncio.timeout(PATIENCE_S):
                call = stream.call
                with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                    if compression is grpc.Compression.Gzip:
                        await _gzipped(world, message)
                        continue
                    await call.write(message)
                codes.append((await stream.ended()).code)

    async def _gzipped(world: World, message: bytes) -> None:
        async with _connected(world) as opened:
            follow: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
                "/signalfire.v1.ExchangeService/Follow", request_serializer=None, response_deserializer=None
            )
            call = follow(compression=grpc.Compression.Gzip)
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                await call.write(message)
                while await call.read() is not grpc.aio.EOF:
                    pass
            codes.append(await call.code())

    before = _resident_bytes()
    await untouched(world, bombs())
    assert len(codes) == 2
    assert not {grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN} & set(codes), codes
    # The bomb itself is in this very process; what it would unpack to at JPN is not.
    assert _resident_bytes() - before < 6 * len(bomb)


def _resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# --- how much of it


async def test_a_thousand_streams_are_refused_but_for_as_many_as_a_partner_may_have(world: World) -> None:
    refused = 0

    async def one(opened: grpc.aio.Channel, held: asyncio.Event) -> None:
        nonlocal refused
        follow: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
            "/signalfire.v1.ExchangeService/Follow", request_serializer=None, response_deserializer=None
        )
        stream = Stream(follow(), FOLLOW, world.places["KOR"], [])
        try:
            await stream.open(IMMEDIATE)
            await held.wait()
        except Ended as end:
            # On a busy machine some are let in and then fail to prove themselves in time.
            refused += end.code is not grpc.StatusCode.OK
        finally:
            stream.call.cancel()

    async def thousand() -> None:
        held = asyncio.Event()
        async with _connected(world) as opened, asyncio.timeout(PATIENCE_S):
            streams = [asyncio.ensure_future(one(opened, held)) for _ in range(1000)]
            # All but those that are held end by themselves.
            for _, ended in zip(range(1000 - STREAMS), asyncio.as_completed(streams), strict=False):
                await ended
            held.set()
            await asyncio.gather(*streams)

    await untouched(world, thousand())
    assert refused >= 1000 - STREAMS
    await until(lambda: _streams_of_kor(world) == 0, "their places come back")
    await told(world, f"{STREAMS} streams open", "no proof within")


def _streams_of_kor(world: World) -> int:
    return sum(world.nodes["JPN"].parts.partners.links["KOR"].followed.values())


async def test_streams_that_are_opened_without_end_are_refused_before_they_cost_a_signature() -> None:
    openings = Openings(20.0, 200.0)
    opened = sum(openings.take(0.0) for _ in range(1000))
    assert opened == 200
    assert sum(openings.take(1.0) for _ in range(1000)) == 20


async def test_a_thousand_connections_take_no_place_from_those_that_stand(world: World) -> None:
    """Every place that is free is taken, for as long as the handshake of each may last; the links that stand go on."""
    context = _tls(world)

    async def connections() -> None:
        held: list[asyncio.StreamWriter] = []
        host, port = world.places["JPN"].exchange.rsplit(":", 1)
        name = server_name(world.places["JPN"])
        try:
            for _ in range(1000):
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(0.5):
                        _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=name)
                    held.append(writer)
                if len(held) > 2 * CONNECTIONS:
                    break
        finally:
            for writer in held:
                writer.transport.abort()

    await untouched(world, connections())


def _connected(world: World) -> contextlib.AbstractAsyncContextManager[grpc.aio.Channel]:
    """A connection of KOR's gateway to JPN."""
    jpn = world.places["JPN"]
    return channel(jpn.exchange, _pair(world), gateway_authority(jpn), server_name(jpn))


def _pair(world: World) -> KeyPairFiles:
    return KeyPairFiles.of_gateway(world.places["KOR"].directory / "keys")


def _tls(world: World) -> ssl.SSLContext:
    """TLS as KOR's gateway speaks it, by hand."""
    pair = _pair(world)
    context = ssl.create_default_context(cafile=str(gateway_authority(world.places["JPN"])))
    context.load_cert_chain(pair.certificate, pair.key)
    context.set_alpn_protocols(["h2"])
    return context


async def test_a_partner_that_never_reads_waits_alone(world: World) -> None:
    """It asks for everything and reads nothing: what is sent to it stops, and what others are sent does not."""
    async with as_kor(world) as stream:
        await stream.prove()
        await stream.send(open=exchange_pb2.Open(origin=str(IMMEDIATE), root=EMPTY_ROOT))

        async def reports() -> None:
            for _ in range(5):
                await world.push("JPN", *(report() for _ in range(20)))

        await untouched(world, reports())


async def test_slow_lorises_at_tcp_tls_and_http2_wait_alone(world: World) -> None:
    """Connections that say nothing, half a TLS hello, a TLS without HTTP/2, and HTTP/2 a byte at a time."""
    jpn = world.places["JPN"]
    host, port = jpn.exchange.rsplit(":", 1)
    hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

    async def slow(secured: bool, said: bytes) -> None:
        _, writer = await asyncio.open_connection(
            host,
            int(port),
            ssl=_tls(world) if secured else None,
            server_hostname=server_name(jpn) if secured else None,
        )
        try:
            async with asyncio.timeout(1.5):
                with contextlib.suppress(OSError):
                    for each in said:
                        writer.write(bytes([each]))
                        await writer.drain()
                        await asyncio.sleep(0.05)
                await asyncio.sleep(1)
        except TimeoutError:
            return
        finally:
            writer.transport.abort()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def lorises() -> None:
        each = [
            (False, b""),
            (False, b"\x16\x03\x01\x02\x00\x01"),
            (True, b""),
            (True, hello),
            (True, b"GET / HTTP/1.1"),
        ]
        await asyncio.gather(*(slow(*one) for one in each * 4))

    await untouched(world, lorises())


# --- what is told of it


async def test_what_was_done_is_told_for_a_while_and_forgotten() -> None:
    conduct = Conduct()
    for at in range(SHOWN_FROM - 1):
        conduct.ended("an echo was due", float(at))
    assert conduct.told(SHOWN_FROM) == "", "a restart is no offence"
    conduct.ended("an echo was due", float(SHOWN_FROM))
    assert conduct.told(SHOWN_FROM) == "3 of its streams were ended in the last 60 s; the last: an echo was due"
    assert conduct.told(SHOWN_FROM + SHOWN_S) == ""
