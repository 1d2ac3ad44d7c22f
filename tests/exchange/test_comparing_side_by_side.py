"""Third nodes' witness ledgers are compared with each partner by itself: who does not answer puts off nobody else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cancellation import first_of
from tests.exchange.dialler import PATIENT
from tests.exchange.origin import Follower, HostileOrigin
from tests.node.nations import running, settle
from tests.patience import PATIENCE_S


@pytest.mark.parametrize("silent", ["JPN", "USA"])
async def test_a_partner_that_does_not_answer_puts_off_no_comparison_with_another(tmp_path: Path, silent: str) -> None:
    """As long as KOR waits for one partner's answer, it asks the other again and again."""
    limits: dict[str, dict[str, object]] = {"exchange": PATIENT, "witness": {"compare_s": 0.1}}
    places = settle(tmp_path, "JPN", "KOR", "USA", limits=limits)
    hostile = {name: HostileOrigin(places[name], "KOR") for name in ("JPN", "USA")}
    waits, asked, given_up = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def never(follower: Follower) -> None:
        if not await compares(follower):
            return
        waits.set()
        try:
            await follower.rest()
        finally:
            given_up.set()

    async def again(follower: Follower) -> None:
        if await compares(follower) and waits.is_set():
            asked.set()

    for name, origin in hostile.items():
        origin.inspect = never if name == silent else again
    async with hostile["JPN"].serving(), hostile["USA"].serving(), running(places, "KOR", linked=False):
        async with asyncio.timeout(PATIENCE_S):
            await waits.wait()
            # One comparison may have been under way.
            asked.clear()
            await first_of(asked.wait(), given_up.wait())
        assert asked.is_set()
        assert not given_up.is_set()


async def compares(follower: Follower) -> bool:
    """Whether who asks compares third nodes' witness ledgers, and does not look for what it has lost itself."""
    return bool((await follower.read()).list_heads.witnesses)
