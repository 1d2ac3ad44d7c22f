"""The proxy that stands for a link does to it what it says, so that what the tests of links find is true of links."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from tests.faults.awake import awake
from tests.faults.proxy import CLEAR, Direction, Proxy, Shape
from tests.patience import PATIENCE_S

NEVER_S = 0.3
"""Seconds in which nothing comes where nothing can."""


@contextlib.asynccontextmanager
async def echoing() -> AsyncIterator[str]:
    """A server that says again what it hears."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A connection that is dead ends with the test.
        with contextlib.suppress(OSError, asyncio.CancelledError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


Connection: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial: TypeAlias = Callable[[Proxy], Awaitable[Connection]]


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    """Connections to a proxy, which end with the test."""
    writers: list[asyncio.StreamWriter] = []

    async def dialled(proxy: Proxy) -> Connection:
        host, _, port = proxy.address.rpartition(":")
        reader, writer = await asyncio.wait_for(asyncio.open_connection(host, int(port)), PATIENCE_S)
        writers.append(writer)
        return reader, writer

    yield dialled
    for writer in writers:
        writer.transport.abort()
    for writer in writers:
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def said_again(connection: Connection, data: bytes, within_s: float = PATIENCE_S) -> bytes:
    reader, writer = connection
    writer.write(data)
    await writer.drain()
    return await asyncio.wait_for(reader.readexactly(len(data)), within_s)


async def test_a_healthy_link_carries_every_byte_both_ways_and_tells_the_end(dial: Dial) -> None:
    data = bytes(range(256)) * 4000
    async with echoing() as target:
        with Proxy(target) as proxy:
            reader, writer = connection = await dial(proxy)
            assert await said_again(connection, data) == data
            writer.write_eof()
            assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
            assert proxy.carried == {Direction.THERE: len(data), Direction.BACK: len(data)}


async def test_a_cut_link_resets_what_is_open_and_refuses_what_is_new_until_it_heals(dial: Dial) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            reader, _ = connection = await dial(proxy)
            await said_again(connection, b"x")
            proxy.cut()
            with pytest.raises(ConnectionResetError):
                await asyncio.wait_for(reader.read(), PATIENCE_S)
            with pytest.raises(ConnectionRefusedError):
                await dial(proxy)
            proxy.heal()
            assert await said_again(await dial(proxy), b"y") == b"y"


async def test_in_a_hole_what_is_sent_waits_and_new_connections_are_not_answered(dial: Dial) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            reader, writer = connection = await dial(proxy)
            await said_again(connection, b"x")
            proxy.hole()
            writer.write(b"y")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.readexactly(1), NEVER_S)
            host, _, port = proxy.address.rpartition(":")
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.open_connection(host, int(port)), NEVER_S)
            proxy.heal()
            assert await asyncio.wait_for(reader.readexactly(1), PATIENCE_S) == b"y"
            assert await said_again(await dial(proxy), b"z") == b"z"


@pytest.mark.parametrize("direction", list(Direction))
async def test_a_half_open_connection_is_dead_for_ever_and_tells_nobody(dial: Dial, direction: Direction) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            connection = await dial(proxy)
            await said_again(connection, b"x")
            before = proxy.carried[direction]
            proxy.half_open(direction)
            with pytest.raises(TimeoutError):
                await said_again(connection, b"y", NEVER_S)
            assert proxy.carried[direction] == before
            proxy.heal()
            with pytest.raises(TimeoutError):
                await said_again(connection, b"y", NEVER_S)
            assert await said_again(await dial(proxy), b"z") == b"z"


async def test_a_silent_link_takes_connections_and_says_nothing(dial: Dial) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            proxy.silent()
            with pytest.raises(TimeoutError):
                await said_again(await dial(proxy), b"x", NEVER_S)
            proxy.heal()
            assert await said_again(await dial(proxy), b"x") == b"x"


async def test_latency_counts_for_the_handshake_and_for_both_directions_and_a_narrow_link_is_as_narrow_as_it_says(
    dial: Dial,
) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            proxy.shape(Shape(latency_s=0.1))
            began = time.monotonic()
            with awake() as took:
                connection = await dial(proxy)
                await said_again(connection, b"x")
            assert time.monotonic() - began >= 0.4
            assert took.seconds < 4
            proxy.shape(Shape(bytes_per_s=100_000))
            await said_again(connection, b"x")
            began = time.monotonic()
            with awake() as took:
                await said_again(connection, bytes(40_000))
            assert time.monotonic() - began >= 0.2
            assert took.seconds < 8
            proxy.shape(CLEAR)


async def test_bits_that_flip_are_those_that_the_seed_drew(dial: Dial) -> None:
    seen = []
    async with echoing() as target:
        for _ in range(2):
            with Proxy(target, seed=7) as proxy:
                proxy.shape(Shape(flip_chance=0.5))
                connection = await dial(proxy)
                seen.append([await said_again(connection, bytes(100)) for _ in range(20)])
                assert proxy.flipped >= sum(data.count(0) < 100 for data in seen[-1]) > 0
    assert seen[0] == seen[1]


async def test_a_link_that_flaps_goes_up_and_down_until_it_is_told_otherwise(dial: Dial) -> None:
    async with echoing() as target:
        with Proxy(target) as proxy:
            proxy.flap(up_s=(0.01, 0.05), down_s=(0.01, 0.05))
            outcomes = set[str]()
            while outcomes != {"ended", "refused"}:
                try:
                    reader, _ = await dial(proxy)
                    assert await asyncio.wait_for(reader.read(), PATIENCE_S) == b""
                except ConnectionRefusedError:
                    outcomes.add("refused")
                except ConnectionResetError:
                    outcomes.add("ended")
            proxy.heal()
            assert await said_again(await dial(proxy), b"x") == b"x"
