"""The relay's store keeps what it acknowledges, each report once, also for readers that are far behind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

from bench.relay import store as relay_store
from bench.relay.store import Arrived, Item, Store, Submitted
from bench.relay.wire import Frame, chunks, decode


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[Store]:
    store = Store(path, ["KOR"])
    await store.open()
    running = asyncio.create_task(store.run())
    try:
        yield store
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def stored(store: Store, *items: Item) -> None:
    """Returns once all of them are durable."""
    durable = asyncio.Event()
    left = len(items)

    def one() -> None:
        nonlocal left
        left -= 1
        if not left:
            durable.set()

    for item in items:
        await store.put(item, one)
    await durable.wait()


def submitted(number: int) -> Submitted:
    body = f"report {number}".encode()
    return Submitted(f"id {number}", 1, body, {"KOR": body})


def frame(number: int) -> Frame:
    return Frame(number, 1, f"report {number}".encode())


async def test_a_report_that_comes_twice_is_kept_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as store:
        await stored(store, submitted(1), submitted(2), submitted(1))
        await stored(store, submitted(2), submitted(3))
        assert await store.after(store.lines["KOR"], 0) == [frame(1), frame(2), frame(3)]


async def test_what_arrives_again_after_a_broken_connection_is_kept_once(tmp_path: Path) -> None:
    async with opened(tmp_path / "store.db") as store:
        await stored(store, Arrived("KOR", [frame(1), frame(2)]))
        await stored(store, Arrived("KOR", [frame(2), frame(3)]))
        assert await store.after(store.lines["KOR"], 0) == [frame(1), frame(2), frame(3)]


async def test_what_was_acknowledged_is_there_after_a_restart_and_far_behind(tmp_path: Path) -> None:
    count = relay_store.RECENT + 10
    async with opened(tmp_path / "store.db") as store:
        await stored(store, *(submitted(number) for number in range(1, count + 1)))
        assert await store.after(store.lines["KOR"], 5) == [
            frame(number) for number in range(6, 6 + relay_store.READ_ROWS)
        ]
    async with opened(tmp_path / "store.db") as store:
        assert await store.after(store.lines["KOR"], count - 1) == [frame(count)]
        await stored(store, submitted(count), submitted(count + 1))
        assert await store.after(store.lines["KOR"], count) == [frame(count + 1)]


def test_frames_are_read_as_they_were_written() -> None:
    frames = [frame(number) for number in range(5)]
    messages = list(chunks(frames, 2))
    assert len(messages) == 3
    assert [each for message in messages for each in decode(message)] == frames
