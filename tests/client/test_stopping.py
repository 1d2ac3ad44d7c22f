"""A program that stops using the library is not held up by it."""

from __future__ import annotations

import asyncio

import grpc
from grpc.aio import Metadata

from gateway.client import Credentials
from gateway.client.connection import Connector
from tests.client.steered import Home

AT_ONCE_S = 15.0
"""Seconds after which one that goes on is held not to have heard: it would for ever."""


async def test_a_call_that_grpc_says_has_failed_where_it_was_the_task_that_was_told_to_end_is_not_dialled_again(
    home: Home,
) -> None:
    connector = Connector(Credentials.from_directory(home.client), "127.0.0.1:1", home.server_name, None)
    dialled: asyncio.Queue[None] = asyncio.Queue()

    async def use() -> None:
        while True:
            async with connector.attempt():
                dialled.put_nowait(None)
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    if dialled.empty():
                        raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, Metadata(), Metadata()) from None
                    raise

    using = asyncio.create_task(use())
    await dialled.get()
    using.cancel()
    await asyncio.wait([using], timeout=AT_ONCE_S)
    told_once = using.cancelled()
    using.cancel()
    await asyncio.gather(using, return_exceptions=True)
    assert told_once
