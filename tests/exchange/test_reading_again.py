"""A partner that reads the same ledger again and again, by as many streams as it may, is given it at a pace."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from signalfire.v1.report_pb2 import PRECEDENCE_ROUTINE

from gateway.ledger.origin import Lane, Origin
from gateway.reports.kinds import Kind
from tests.exchange.dialler import PATIENT, dialled
from tests.node.nations import report, running, settle

READ_BYTES_S = 16384.0
"""So few that two entries take a while."""


async def test_no_alert_waits_for_what_was_sent_of_other_lanes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # What is sent of one lane takes hours of its partner's time.
    monkeypatch.setattr("gateway.exchange.serving.READ_BYTES_S", 0.1)
    places = settle(tmp_path, "JPN", "KOR", limits={"exchange": PATIENT})
    async with running(places, "KOR", linked=False) as world:
        sent = [report(node="KOR"), report(Kind.TRACK, node="KOR", precedence=PRECEDENCE_ROUTINE)]
        assert all(result.accepted for result in (await world.push("KOR", *sent)).values())
        for lane in (Lane.ROUTINE, Lane.FLASH):
            async with dialled(places["JPN"], places["KOR"]) as stream:
                assert (await stream.open(Origin.release("KOR", "JPN", lane, 1))).opened.size >= 2
                assert (await stream.read()).batch.count >= 2


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
