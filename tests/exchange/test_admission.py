"""Whoever has a gateway's TLS key and not its log key keeps nobody out; no way of a partner takes another's places."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest

from gateway.exchange.admission import SHARE, WAITING, Admission, Way, network_of
from gateway.exchange.conduct import SHOWN_FROM, Conduct
from gateway.exchange.ending import StreamEnded
from gateway.exchange.handshake import CARRY, FOLLOW
from gateway.exchange.limits import ExchangeLimits
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.origin import Origin
from tests.exchange.dialler import PATIENT, dialled
from tests.node.connecting import channel, gateway_authority, server_name
from tests.node.nations import running, settle
from tests.node.waiting import until
from tests.patience import PATIENCE_S

KOR = Way("KOR")
GENUINE, THIEF = b"genuine", b"thief"


@dataclass
class Door:
    """An admission whose time a test sets, and streams that wait at it."""

    bounds: ExchangeLimits = field(default_factory=ExchangeLimits)
    time: float = 100.0
    waiting: list[asyncio.Task[None]] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self.admission = Admission(self.bounds, lambda: self.time)

    async def wait(
        self, address: str, certificate: bytes = GENUINE, way: Way = KOR, port: int | None = None
    ) -> asyncio.Task[None]:
        """A stream that says nothing, on a connection of its own unless told which."""
        self.connections += 1
        peer = f"ipv4:{address}:{self.connections if port is None else port}"

        async def silent() -> None:
            async with self.admission.unproven(way, peer, certificate, PATIENCE_S):
                await asyncio.Event().wait()

        task = asyncio.create_task(silent())
        self.waiting.append(task)
        await asyncio.sleep(0)
        return task


@contextlib.asynccontextmanager
async def at_the_door(bounds: ExchangeLimits | None = None) -> AsyncIterator[Door]:
    door = Door(bounds or ExchangeLimits())
    try:
        yield door
    finally:
        for task in door.waiting:
            task.cancel()
        await asyncio.gather(*door.waiting, return_exceptions=True)


async def refused(task: asyncio.Task[None]) -> StreamEnded:
    with pytest.raises(StreamEnded) as ended:
        await task
    return ended.value


async def test_a_stolen_tls_key_without_the_log_key_keeps_nobody_out(tmp_path: Path) -> None:
    """The thief opens as many streams as a place is held for, and says nothing on any."""
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})
    jpn, kor = places["JPN"], places["KOR"]
    stolen = KeyPairFiles.of_gateway(kor.directory / "keys")
    async with (
        running(places, "JPN", linked=False) as world,
        channel(jpn.exchange, stolen, gateway_authority(jpn), server_name(jpn)) as opened,
    ):
        follow: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
            "/signalfire.v1.ExchangeService/Follow", request_serializer=None, response_deserializer=None
        )
        calls = [follow() for _ in range(WAITING + SHOWN_FROM)]
        conduct: Conduct = world.nodes["JPN"].parts.partners.links["KOR"].conduct
        await until(lambda: "had to give way" in conduct.told(0.0), "all places are taken")
        for _ in range(3):
            async with dialled(kor, jpn) as stream:
                message = await stream.open(Origin.release("JPN", "KOR", "flash", 1))
                assert message.WhichOneof("message") == "opened"
        for call in calls:
            call.cancel()


async def test_where_all_places_are_taken_the_oldest_of_whoever_has_most_gives_way() -> None:
    async with at_the_door() as door:
        own = [await door.wait("192.0.2.1") for _ in range(SHARE)]
        flood = [await door.wait("198.51.100.1", THIEF) for _ in range(WAITING - SHARE)]
        newcomer = await door.wait("192.0.2.1")
        assert "had to give way" in (await refused(flood[0])).detail
        assert not any(task.done() for task in (*own, *flood[1:], newcomer))


async def test_many_addresses_with_a_stream_each_do_not_make_six_of_one_address_the_first_to_give_way() -> None:
    async with at_the_door() as door:
        crowd = [await door.wait(f"198.51.100.{n}", THIEF) for n in range(WAITING - 6)]
        own = [await door.wait("192.0.2.1") for _ in range(6)]
        await door.wait("203.0.113.1", THIEF)
        await refused(crowd[0])
        assert not any(task.done() for task in (*own, *crowd[1:]))


async def test_a_place_comes_back_when_its_stream_is_proven_or_ends() -> None:
    async with at_the_door() as door:
        for _ in range(3 * WAITING):
            async with door.admission.unproven(KOR, f"ipv4:192.0.2.1:{door.connections}", GENUINE, PATIENCE_S):
                door.connections += 1
        assert not (await door.wait("192.0.2.1")).done()


async def test_who_does_not_prove_himself_in_time_is_let_go() -> None:
    async with at_the_door() as door:
        with pytest.raises(StreamEnded, match=r"no proof within 0\.01 s"):
            async with door.admission.unproven(KOR, "ipv4:192.0.2.1:1", GENUINE, 0.01):
                await asyncio.Event().wait()


async def test_streams_of_one_connection_are_refused_beyond_its_own_openings_before_anything_is_signed() -> None:
    async with at_the_door(ExchangeLimits(openings=5)) as door:
        for _ in range(5):
            await door.wait("192.0.2.1", port=1)
        assert "a connection of KOR opens more" in (await refused(await door.wait("192.0.2.1", port=1))).detail
        assert not (await door.wait("192.0.2.1", port=2)).done(), "another connection has its own"
        door.time += 1.0
        assert not (await door.wait("192.0.2.1", port=1)).done()


async def test_only_what_was_proven_uses_up_the_openings_of_a_node() -> None:
    async with at_the_door(ExchangeLimits(openings=5)) as door:
        for n in range(50):
            await door.wait(f"192.0.2.{n}", THIEF)
        for _ in range(5):
            with door.admission.proven(KOR):
                pass
        with pytest.raises(StreamEnded, match="KOR opens more than 20 streams a second"), door.admission.proven(KOR):
            pass
        assert "KOR opens more" in (await refused(await door.wait("192.0.2.1"))).detail, "before a signature"


async def test_each_carrier_has_places_of_its_own_so_that_sixteen_fit() -> None:
    door = Door()
    streams = door.bounds.streams
    ways = [Way.of("KOR", carrier, FOLLOW) for carrier in ("", *(f"C{n:02}" for n in range(16)))]
    ways.append(Way.of("KOR", "", CARRY))
    with contextlib.ExitStack() as stack:
        for way in ways:
            for _ in range(streams):
                stack.enter_context(door.admission.proven(way))
        for way in ways:
            with pytest.raises(StreamEnded, match=f"has {streams} streams open"):
                stack.enter_context(door.admission.proven(way))
    with door.admission.proven(ways[0]):
        pass


@pytest.mark.parametrize(
    ("peer", "network"),
    [
        ("ipv4:192.0.2.1:55000", "192.0.2.1"),
        ("ipv6:%5B2001:db8:1:2:3::4%5D:55000", "2001:db8:1:2::/64"),
        ("ipv6:[2001:db8:1:2::9]:1", "2001:db8:1:2::/64"),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", "fe80::/64"),
        ("unix:/run/user/1000/sf-x/7", "unix"),
    ],
)
def test_a_caller_is_counted_by_its_network(peer: str, network: str) -> None:
    assert network_of(peer) == network
