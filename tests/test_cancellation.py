"""What is done until the first of it ends."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from gateway.cancellation import first_of


class Held:
    """Something that work holds."""


async def test_what_the_first_raised_is_raised_and_the_others_are_ended() -> None:
    async def fails() -> None:
        raise ValueError("no more")

    other = asyncio.ensure_future(asyncio.Event().wait())
    with pytest.raises(ValueError, match="no more"):
        await first_of(other, fails())
    assert other.cancelled()


async def test_what_work_held_when_it_failed_goes_with_the_error() -> None:
    held: list[weakref.ref[Held]] = []

    async def fails() -> None:
        batch = Held()
        held.append(weakref.ref(batch))
        raise ValueError("a bad batch")

    async def following() -> str:
        try:
            await first_of(fails(), asyncio.Event().wait())
        except ValueError as error:
            return str(error)
        return ""

    gc.disable()
    try:
        assert await following() == "a bad batch"
        # What the loop still had to call held it too.
        await asyncio.sleep(0)
        # At once, and not when cycles are looked for: that may be many batches later.
        assert held[0]() is None
    finally:
        gc.enable()
