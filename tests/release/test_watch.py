"""A bell wakes all who wait, and no ring between two waits is lost."""

from __future__ import annotations

import asyncio

import pytest

from gateway.release.watch import Bell

LONG_S = 600.0
"""Longer than any test takes."""


async def _waiting(bell: Bell, count: int) -> list[asyncio.Task[int]]:
    """So many who wait, each longer than the test takes."""
    tasks = [asyncio.create_task(bell.wait(bell.rings, LONG_S if number % 2 else None)) for number in range(count)]
    await asyncio.sleep(0)
    return tasks


async def test_all_who_wait_are_woken_in_their_order() -> None:
    bell, order = Bell(), list[str]()
    waiting = await _waiting(bell, 3)
    for number, task in enumerate(waiting):
        task.add_done_callback(lambda _, number=number: order.append(f"{number} woken"))  # type: ignore[misc]
    bell.ring()
    assert await asyncio.gather(*waiting) == [1, 1, 1]
    await asyncio.sleep(0)
    assert order == ["0 woken", "1 woken", "2 woken"]


async def test_a_ring_between_two_waits_is_not_lost() -> None:
    bell = Bell()
    seen = bell.rings
    bell.ring()
    bell.ring()
    assert await bell.wait(seen) == 2
    assert await bell.wait(seen, LONG_S) == 2


async def test_one_who_is_cancelled_takes_nobody_with_him() -> None:
    bell = Bell()
    first, second = await _waiting(bell, 2)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    bell.ring()
    assert await second == 1


async def test_one_who_is_cancelled_as_the_bell_rings_is_no_obstacle_to_the_next_ring() -> None:
    bell = Bell()
    first, second = await _waiting(bell, 2)
    bell.ring()
    first.cancel()
    bell.ring()
    assert await second == 2


async def test_whoever_waits_for_a_while_returns_without_a_ring() -> None:
    bell = Bell()
    assert await bell.wait(bell.rings, 0.001) == 0
