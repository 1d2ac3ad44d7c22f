"""A partner that reads the same ledger again and again, by as many streams as it may, is given it at a pace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.ledger.origin import Origin
from tests.exchange.dialler import PATIENT, dialled
from tests.node.nations import running, settle

READ_BYTES_S = 16384.0
"""So few that two entries take a while."""


@pytest.mark.parametrize("owner", ["KOR", "JPN"])
async def test_who_reads_a_ledger_again_and_again_is_given_it_at_a_pace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: str
) -> None:
    """KOR's own ledger for JPN, and what KOR holds of JPN's. The time has a lower bound, and no other is looked at."""
    monkeypatch.setattr("gateway.exchange.serving.READ_BYTES_S", READ_BYTES_S)
    origin = Origin.release(owner, "JPN" if owner == "KOR" else "KOR", "flash", 1)
    async with running(settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})) as world:
        for each in ("JPN", "KOR"):
            await world.carries(each, "KOR" if each == "JPN" else "JPN")
        await world.stop("JPN")
        sizes = []
        began = time.monotonic()
        for _ in range(6):
            async with dialled(world.places["JPN"], world.places["KOR"]) as stream:
                assert (await stream.open(origin)).opened.size >= 2
                sizes.append(len((await stream.read()).batch.entries))
        took = time.monotonic() - began
    assert min(sizes) > 1000
    assert took > sum(sizes[:-1]) / READ_BYTES_S * 0.9
