"""Carry as a hostile partner calls it: tunnels that nobody asked for, ends that flood, another's name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio
from signalfire.v1 import exchange_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange.conduct import SHOWN_FROM
from gateway.exchange.tunnels.carrying import AT_ONCE, OPENINGS_S
from gateway.exchange.tunnels.cells import CELL, CHANNELS, ROOM, CellSealer, Frame, Kind
from gateway.exchange.tunnels.pacing import CarryLimits
from gateway.exchange.tunnels.sockets import Sockets
from gateway.exchange.tunnels.tunnel import Tunnel
from gateway.identity.tls import KeyPairFiles
from gateway.seal.tunnel import Ends, cell_keys, wrap_secret
from policy.approve import CarryFor, Route
from tests.exchange.dialler import CARRY, FOLLOW, INSPECT, Ended, Stream, dialled, signatory
from tests.exchange.relaying import CARRIER, ENDS, three
from tests.faults.awake import awake
from tests.node.connecting import channel, gateway_authority, server_name
from tests.node.nations import World, report, running
from tests.node.waiting import until
from tests.officer.enact.bringing import bring
from tests.patience import PATIENCE_S

BYTES_S = 500_000
SILENCE_S = 5.0
"""Longer than a machine that is busy otherwise stands still."""
EXCHANGE = {"handshake_s": 60, "silence_s": SILENCE_S}
CELLS = "signalfire_carried_cells_total"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    return three(
        tmp_path_factory.mktemp("carry"),
        {"carry": {"tunnels": 1, "tick_s": 0.01, "bytes_s": BYTES_S}, "exchange": EXCHANGE},
    )


@pytest.fixture(scope="module")
def roomy(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """The same, with room for the tunnel as well that KOR opens itself once it has an order."""
    return three(
        tmp_path_factory.mktemp("roomy"), {"carry": {"tick_s": 0.01, "bytes_s": BYTES_S}, "exchange": EXCHANGE}
    )


@pytest_asyncio.fixture
async def kor(places: dict[str, Deployed]) -> AsyncIterator[World]:
    """KOR alone, whose order lets USA carry between JPN and it."""
    async with running(places, "KOR", linked=False) as world:
        assert await bring(places["KOR"], Route("JPN", (CARRIER,)), "alice", "bob") == set()
        yield world


def tunnel(places: dict[str, Deployed], opener: str, to: str, carrier: str = CARRIER) -> tuple[bytes, Any]:
    """The secret of a tunnel, and the message that opens it."""
    secret, wrap = wrap_secret(Ends(opener, to, carrier), signatory(places[to]).sealing[0].public)
    message = exchange_pb2.Tunnel(to=to, key=wrap)
    # A keyword of the language.
    setattr(message, "from", opener)
    return secret, message


async def opened(stream: Stream, message: Any) -> Any:
    """What answers a tunnel."""
    await stream.prove()
    await stream.send(tunnel=message)
    return await stream.read()


@pytest.mark.parametrize(
    ("caller", "opener", "to", "says"),
    [
        ("USA", "USA", "KOR", "no order lets USA carry between USA and KOR"),
        ("JPN", "JPN", "KOR", "no order lets JPN carry between JPN and KOR"),
        ("JPN", "USA", "KOR", "no order lets JPN carry between USA and KOR"),
        ("USA", "FRA", "KOR", "no order lets USA carry between FRA and KOR: .*policy sign --route FRA --through USA"),
        ("USA", "USA", "JPN", "no order lets KOR carry for USA from USA to JPN: .*policy sign --carry-for JPN USA"),
        ("USA", "JPN", "USA", "no order lets KOR carry for USA from JPN to USA"),
        ("USA", "JPN", "JPN", "does not name two nodes"),
        ("USA", "JPN", "XXXX", "does not name two nodes"),
        ("USA", "JPN", "", "does not name two nodes"),
    ],
)
async def test_no_tunnel_is_opened_that_no_order_names(
    kor: World, places: dict[str, Deployed], caller: str, opener: str, to: str, says: str
) -> None:
    async with dialled(places[caller], places["KOR"], CARRY) as stream:
        message = tunnel(places, "JPN", "KOR")[1]
        setattr(message, "from", opener)
        message.to = to
        with pytest.raises(Ended, match=says):
            await opened(stream, message)


async def test_a_key_that_was_not_wrapped_for_this_tunnel_opens_none(kor: World, places: dict[str, Deployed]) -> None:
    of_another = tunnel(places, "JPN", "KOR", "FRA")[1]
    altered = tunnel(places, "JPN", "KOR")[1]
    altered.key.ciphertext = altered.key.ciphertext[:-1] + bytes([altered.key.ciphertext[-1] ^ 1])
    none = tunnel(places, "JPN", "KOR")[1]
    none.ClearField("key")
    for message in (of_another, altered, none):
        async with dialled(places["USA"], places["KOR"], CARRY) as stream:
            with pytest.raises(Ended) as ended:
                await opened(stream, message)
            assert ended.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_tunnels_are_bounded_in_number(kor: World, places: dict[str, Deployed]) -> None:
    async with dialled(places["USA"], places["KOR"], CARRY) as first:
        assert (await opened(first, tunnel(places, "JPN", "KOR")[1])).WhichOneof("message") == "carried"
        async with dialled(places["USA"], places["KOR"], CARRY) as second:
            with pytest.raises(Ended, match="the most that may be") as ended:
                await opened(second, tunnel(places, "JPN", "KOR")[1])
            assert ended.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_what_is_no_cell_ends_the_tunnel(kor: World, places: dict[str, Deployed]) -> None:
    for size in (0, CELL - 1, CELL + 1):
        async with dialled(places["USA"], places["KOR"], CARRY) as stream:
            await opened(stream, tunnel(places, "JPN", "KOR")[1])
            await stream.send(cell=bytes(size))
            assert "a cell of 2048 bytes was due" in (await stream.ended()).details


async def test_a_carrier_that_replays_a_tunnel_gets_other_keys(kor: World, places: dict[str, Deployed]) -> None:
    """Cells that JPN sealed for a tunnel before mean nothing in one that USA opens with the same wrap."""
    secret, message = tunnel(places, "JPN", "KOR")
    ends = Ends("JPN", "KOR", "USA")
    async with dialled(places["USA"], places["KOR"], CARRY) as stream:
        nonce = (await opened(stream, message)).carried.nonce
        cell = CellSealer(cell_keys(ends, secret, nonce).out).seal([Frame(Kind.OPEN, 1)])
        await stream.send(cell=cell)
        assert len((await stream.read()).cell) == CELL
    async with dialled(places["USA"], places["KOR"], CARRY) as stream:
        assert (await opened(stream, message)).carried.nonce != nonce
        await stream.send(cell=cell)
        assert "dropped, repeated, moved or altered" in (await stream.ended()).details


@contextlib.asynccontextmanager
async def through(stream: Stream, places: dict[str, Deployed], name: str) -> AsyncIterator[str]:
    """A tunnel to KOR of which `stream` is the carrier's call; gives the address of its channel."""
    secret, message = tunnel(places, "JPN", "KOR")
    nonce = (await opened(stream, message)).carried.nonce
    ends, sockets = Ends("JPN", "KOR", "USA"), Sockets()

    async def receive() -> bytes:
        cell: bytes = (await stream.read()).cell
        return cell

    end = Tunnel(
        ends,
        cell_keys(ends, secret, nonce),
        opened_here=True,
        send=lambda cell: stream.send(cell=cell),
        receive=receive,
        sockets=sockets,
        limits=CarryLimits(tick_s=0.01),
        silence_s=PATIENCE_S,
        monotonic=asyncio.get_running_loop().time,
    )
    running_end = asyncio.create_task(end.run())
    try:
        async with end.dialled(name) as address:
            yield address
    finally:
        running_end.cancel()
        await asyncio.gather(running_end, return_exceptions=True)
        sockets.close()


@contextlib.asynccontextmanager
async def local(address: str, place: Deployed, to: Deployed, purpose: str) -> AsyncIterator[Stream]:
    """A call of `place` to the gateway of `to` at that address."""
    pair = KeyPairFiles.of_gateway(place.directory / "keys")
    async with channel(address, pair, gateway_authority(to), server_name(to)) as connection:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = connection.stream_stream(
            f"/signalfire.v1.ExchangeService/{purpose.capitalize()}",
            request_serializer=None,
            response_deserializer=None,
        )
        yield Stream(method(), purpose, place, [])


async def follow_through(address: str, place: Deployed, to: Deployed) -> Any:
    """Opens a stream of Follow at that address as `place`: how it is answered, once it has proven itself."""
    async with local(address, place, to, FOLLOW) as stream:
        try:
            return await stream.open(f"signalfire/v1/{to.node}/{place.node}/flash/1")
        except Ended as ended:
            return ended


async def test_whoever_comes_to_the_socket_by_no_tunnel_is_refused(kor: World, places: dict[str, Deployed]) -> None:
    sockets = kor.nodes["KOR"].sockets
    assert sockets is not None
    refused = await follow_through(sockets.listener, places["JPN"], places["KOR"])
    assert isinstance(refused, Ended)
    assert refused.code is grpc.StatusCode.PERMISSION_DENIED


async def test_a_tunnel_leads_through_no_other_tunnel(kor: World, places: dict[str, Deployed]) -> None:
    async with (
        dialled(places["USA"], places["KOR"], CARRY) as stream,
        through(stream, places, CHANNELS[1]) as address,
        local(address, places["JPN"], places["KOR"], CARRY) as inner,
    ):
        with pytest.raises(Ended, match="no tunnel is opened here"):
            await opened(inner, tunnel(places, "JPN", "KOR")[1])


async def test_what_goes_directly_alone_is_not_served_through_a_tunnel(kor: World, places: dict[str, Deployed]) -> None:
    jpn, to = places["JPN"], places["KOR"]
    async with dialled(places["USA"], to, CARRY) as stream, through(stream, places, CHANNELS[1]) as address:
        async with local(address, jpn, to, INSPECT) as inner:
            await inner.prove()
            assert "not compared through a tunnel" in (await inner.ended()).details
        async with local(address, jpn, to, FOLLOW) as inner:
            with pytest.raises(Ended, match="not given back through a tunnel") as ended:
                await inner.open("signalfire/v1/JPN/KOR/flash/1")
            assert ended.value.code is grpc.StatusCode.PERMISSION_DENIED


async def test_an_end_that_fills_cells_with_openings_loses_the_tunnel_and_costs_no_more_than_a_cell(
    kor: World, places: dict[str, Deployed]
) -> None:
    secret, message = tunnel(places, "JPN", "KOR")
    with awake() as before:
        await kor.push_one("KOR", report(node="KOR"))
    async with dialled(places["USA"], places["KOR"], CARRY) as stream:
        nonce = (await opened(stream, message)).carried.nonce
        sealer = CellSealer(cell_keys(Ends("JPN", "KOR", "USA"), secret, nonce).out)
        await stream.send(cell=sealer.seal([Frame(Kind.OPEN, 5), Frame(Kind.CLOSE, 5)] * (ROOM // 8)))
        assert "channel 5 was opened where it cannot be" in (await stream.ended()).details
    with awake() as after:
        await kor.push_one("KOR", report(node="KOR"))
    assert after.seconds < max(1.0, 10 * before.seconds)


async def test_a_carrier_does_not_answer_for_what_an_end_makes_it_open(roomy: dict[str, Deployed]) -> None:
    """JPN has USA open tunnels at KOR that KOR must refuse: USA does so ever more slowly, and KOR does not blame it."""
    places = roomy
    async with running(places, "KOR", "USA", linked=False) as world:
        assert await bring(places["USA"], CarryFor(*ENDS), "alice", "bob") == set()
        junk = tunnel(places, "JPN", "KOR", "FRA")[1]
        loop = asyncio.get_running_loop()

        async def refused(why: str) -> None:
            async with dialled(places["JPN"], places["USA"], CARRY) as stream:
                with pytest.raises(Ended, match=why) as ended:
                    await opened(stream, junk)
                assert ended.value.code is grpc.StatusCode.UNAVAILABLE

        began = loop.time()
        for _ in range(SHOWN_FROM):
            await refused("no order lets USA carry between JPN and KOR")
        assert await bring(places["KOR"], Route("JPN", (CARRIER,)), "alice", "bob") == set()
        for _ in range(SHOWN_FROM):
            await refused("made for other ends")
        assert loop.time() - began > (2 * SHOWN_FROM - AT_ONCE) / OPENINGS_S - 0.1
        for told_by, of in (("KOR", "USA"), ("USA", "JPN")):
            assert world.nodes[told_by].parts.partners.links[of].conduct.told(loop.time()) == ""
        # One that the carrier must not open is the end's own doing.
        other = tunnel(places, "JPN", "KOR")[1]
        setattr(other, "from", "FRA")
        for _ in range(SHOWN_FROM):
            async with dialled(places["JPN"], places["USA"], CARRY) as stream:
                with pytest.raises(Ended, match="no order lets USA carry for JPN"):
                    await opened(stream, other)
        assert "no order" in world.nodes["USA"].parts.partners.links["JPN"].conduct.told(loop.time())


async def test_an_end_whose_order_came_before_the_carriers_is_no_hostile_one_and_the_log_says_why_once(
    roomy: dict[str, Deployed], caplog: pytest.LogCaptureFixture
) -> None:
    """Three nations order one after another: until the last has, the others dial in vain."""
    places = roomy
    async with running(places, "USA", linked=False) as world:
        message = tunnel(places, "JPN", "KOR")[1]
        for _ in range(SHOWN_FROM + 1):
            async with dialled(places["JPN"], places["USA"], CARRY) as stream:
                with pytest.raises(Ended, match="USA's officers have to order it"):
                    await opened(stream, message)
        assert world.nodes["USA"].parts.partners.links["JPN"].conduct.told(asyncio.get_running_loop().time()) == ""
    assert caplog.text.count("policy sign --carry-for JPN KOR") == 1


async def test_through_a_tunnel_its_opener_is_served_and_nobody_else(kor: World, places: dict[str, Deployed]) -> None:
    """The carrier can open a tunnel in another's name, and gains nothing: inside, everyone proves himself."""
    async with (
        dialled(places["USA"], places["KOR"], CARRY) as stream,
        through(stream, places, CHANNELS[1]) as address,
    ):
        refused = await follow_through(address, places["USA"], places["KOR"])
        assert isinstance(refused, Ended)
        assert "USA came through a tunnel that it has not opened" in refused.details
        answer = await follow_through(address, places["JPN"], places["KOR"])
        assert answer.WhichOneof("message") == "opened"


async def test_a_tunnel_of_which_nothing_comes_ends(kor: World, places: dict[str, Deployed]) -> None:
    async with dialled(places["USA"], places["KOR"], CARRY) as stream:
        await opened(stream, tunnel(places, "JPN", "KOR")[1])
        assert f"no cell came for {SILENCE_S:g} s" in (await stream.ended()).details


async def test_an_end_that_floods_is_read_more_slowly_and_the_carrier_serves_on(roomy: dict[str, Deployed]) -> None:
    places = roomy
    async with running(places, "KOR", "USA", linked=False) as world:
        assert await bring(places["KOR"], Route("JPN", (CARRIER,)), "alice", "bob") == set()
        assert await bring(places["USA"], CarryFor(*ENDS), "alice", "bob") == set()
        secret, message = tunnel(places, "JPN", "KOR")
        async with dialled(places["JPN"], places["USA"], CARRY) as stream:
            nonce = (await opened(stream, message)).carried.nonce
            sealer = CellSealer(cell_keys(Ends("JPN", "KOR", "USA"), secret, nonce).out)

            async def flood() -> None:
                while True:
                    await stream.call.write(exchange_pb2.CarryRequest(cell=sealer.seal([])).SerializeToString())

            async def drain() -> None:
                while True:
                    await stream.read()

            tasks = [asyncio.create_task(each()) for each in (flood, drain)]
            try:
                await world.carries("KOR", "USA")
                await world.carries("USA", "KOR")
                carried = world.nodes["USA"].status().carried
                assert [(each.one, each.other, each.tunnels) for each in carried] == [("JPN", "KOR", 1)]
                began = asyncio.get_running_loop().time()
                many = world.metric("USA", CELLS, one="JPN", other="KOR") + 3 * BYTES_S // CELL
                await until(lambda: world.metric("USA", CELLS, one="JPN", other="KOR") >= many, "many cells went")
                # A second of what is allowed may have been saved up.
                assert asyncio.get_running_loop().time() - began > 1.5
                assert not any(task.done() for task in tasks)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        await until(lambda: not world.nodes["USA"].status().carried, "the tunnel has ended")
