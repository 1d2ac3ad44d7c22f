"""The officer of a nation whose store was lost: `signalfire ledger recover`, until all is there again."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Sequence
from typing import Final

from gateway.cli.connecting import PARTLY
from gateway.demo.deployment import Deployed

AGAIN_S: Final = 3.0
"""Seconds between two tries: partners give back what they hold when they are heard."""

TRY_S: Final = 60.0
"""Seconds that one try may take."""


@contextlib.asynccontextmanager
async def recovered(places: Sequence[Deployed]) -> AsyncIterator[list[str]]:
    """While it lasts, what these have lost is rebuilt again and again; at its end nothing more is asked for.

    Gives a list to which is added in words what could not be recovered at the end.
    """
    failed: list[str] = []
    trying = asyncio.create_task(_keep_trying(places))
    try:
        yield failed
    finally:
        trying.cancel()
        await asyncio.gather(trying, return_exceptions=True)
    for place in places:
        code, said = await _recover(place, "--finished")
        if code not in (0, PARTLY):
            failed.append(f"what {place.node} had lost could not be recovered: {said.strip()}")


async def _keep_trying(places: Sequence[Deployed]) -> None:
    while True:
        await asyncio.sleep(AGAIN_S)
        for place in places:
            await _recover(place)


async def _recover(place: Deployed, *options: str) -> tuple[int, str]:
    """Exit code of the command and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "gateway", "ledger", "recover"),
        *("--credentials", str(place.directory / "officer"), "--gateway", place.national),
        *("--config", str(place.config), "--recovery-key", str(place.directory / "pki" / "recovery.key")),
        *options,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TRY_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, said.decode()
