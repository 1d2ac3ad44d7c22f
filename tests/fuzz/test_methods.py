"""Every method of every service answers whatever it is sent: it takes it, or ends the call in its own words.

The callers have true certificates: a partner's gateway, a C2 system and an officer. What breaks off in a handler
without words of its own is a finding, and so is a gateway that serves no more afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import grpc
import pytest
import pytest_asyncio
from google.protobuf.descriptor import MethodDescriptor
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from signalfire.v1 import c2_pb2, exchange_pb2, officer_pb2

from gateway.c2.unreadable import UNREADABLE as NO_MESSAGE
from gateway.demo.deployment import PUSHER
from gateway.exchange.streams import LOST_REASON
from gateway.identity.tls import KeyPairFiles
from tests.exchange import dialler
from tests.exchange.dialler import dialled
from tests.fuzz.odd_messages import messages
from tests.node.connecting import as_officer, as_system, channel, gateway_authority, server_name
from tests.node.nations import World, running, settle

pytestmark = pytest.mark.asyncio(loop_scope="module")

ENOUGH_S: Final = 0.15
"""Seconds after which a call that goes on is left: many have no end of their own."""

SERVICES: Final = (
    *exchange_pb2.DESCRIPTOR.services_by_name.values(),
    *c2_pb2.DESCRIPTOR.services_by_name.values(),
    *officer_pb2.DESCRIPTOR.services_by_name.values(),
)
METHODS: Final = [method for service in SERVICES for method in service.methods]

NOT_CHOSEN: Final = (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL)

UNREADABLE: Final = "Exception deserializing request!"

# Nothing is shrunk: each course takes its time on a real connection, and what was sent is in the report.
a_few = settings(
    max_examples=6, phases=[Phase.explicit, Phase.reuse, Phase.generate], suppress_health_check=list(HealthCheck)
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    """JPN, which is fuzzed, and KOR, which goes on as ever."""
    directory = Path(tmp_path_factory.mktemp("nations"))
    async with running(settle(directory, "JPN", "KOR", limits={"exchange": dialler.PATIENT})) as running_world:
        yield running_world


@pytest.fixture
def breakages() -> Iterator[list[str]]:
    """What gRPC says of handlers that raised what they should not."""
    said: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.exc_info is not None and record.levelno >= logging.ERROR:
                said.append(f"{record.getMessage()}: {record.exc_info[1]!r}")

    listener = Listener()
    logger = logging.getLogger("grpc._cython.cygrpc")
    logger.addHandler(listener)
    yield said
    logger.removeHandler(listener)


def _caller(world: World, method: MethodDescriptor) -> contextlib.AbstractAsyncContextManager[grpc.aio.Channel]:
    jpn = world.places["JPN"]
    match method.containing_service.name:
        case "ExchangeService":
            pair = KeyPairFiles.of_gateway(world.places["KOR"].directory / "keys")
            return channel(jpn.exchange, pair, gateway_authority(jpn), server_name(jpn))
        case "C2Service":
            return as_system(jpn, PUSHER)
        case _:
            return as_officer(jpn)


async def _says(opened: grpc.aio.Channel, method: MethodDescriptor, sent: list[bytes], *, ends: bool) -> None:
    """Sends these as one call, and hears what comes. Raises AssertionError for a status that nobody chose."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    method_: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
        path, request_serializer=None, response_deserializer=None
    )
    call = method_()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENOUGH_S):
            with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
                for each in sent:
                    await call.write(each)
                if ends:
                    await call.done_writing()
                while await call.read() is not grpc.aio.EOF:
                    pass
            assert in_somebodys_words(await call.code(), await call.details()), f"{path}: {await call.details()}"
    call.cancel()


def in_somebodys_words(code: grpc.StatusCode, details: str | None) -> bool:
    """Whether a status was chosen by the gateway, or is what the library says where it lost the reason or could not
    read the one message of a call.
    """
    return code not in NOT_CHOSEN or details in (LOST_REASON, UNREADABLE)


def _drawn(data: st.DataObject, method: MethodDescriptor) -> list[bytes]:
    one = st.one_of(
        messages(method.input_type).map(lambda message: message.SerializeToString()),
        messages(method.input_type).map(lambda message: message.SerializeToString()),
        st.binary(max_size=60),
    )
    return data.draw(st.lists(one, max_size=4))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("signalfire.v1."))
@a_few
@given(data=st.data())
async def test_a_method_answers_whatever_it_is_sent(
    world: World, breakages: list[str], method: MethodDescriptor, data: st.DataObject
) -> None:
    sent, ends = _drawn(data, method), data.draw(st.booleans())
    async with _caller(world, method) as opened:
        await _says(opened, method, sent, ends=ends)
    assert not breakages


@pytest.mark.parametrize("purpose", [dialler.FOLLOW, dialler.HEARTBEAT, dialler.INSPECT])
@a_few
@given(data=st.data())
async def test_a_partner_that_has_proven_itself_may_say_anything_too(
    world: World, breakages: list[str], purpose: str, data: st.DataObject
) -> None:
    method = next(each for each in METHODS if each.name == dialler._METHODS[purpose][0])
    sent = _drawn(data, method)
    async with dialled(world.places["KOR"], world.places["JPN"], purpose) as stream:
        await stream.prove()
        for each in sent:
            await stream.send_bytes(each)
        await stream.call.done_writing()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENOUGH_S):
                end = await stream.ended()
                assert in_somebodys_words(end.code, end.details), end
    assert not breakages


async def test_and_the_gateway_serves_on(world: World) -> None:
    await world.linked()
    await world.carries("JPN", "KOR")
    await world.carries("KOR", "JPN")


async def test_bytes_that_are_no_message_are_refused_in_one_line(world: World, breakages: list[str]) -> None:
    """gRPC reads the request of such a method itself, and would call it an unknown failure, with a stack trace."""
    async with as_system(world.places["JPN"], PUSHER) as opened:
        for name in ("GetStatus", "Subscribe"):
            method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(
                f"/signalfire.v1.C2Service/{name}", request_serializer=None, response_deserializer=None
            )
            call = method(b"\xff\xff\xff")
            with contextlib.suppress(grpc.aio.AioRpcError):
                await call.read()
            assert (await call.code(), await call.details()) == (grpc.StatusCode.INVALID_ARGUMENT, NO_MESSAGE)
    assert not breakages
