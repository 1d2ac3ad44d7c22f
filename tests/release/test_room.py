"""With little room for its store a node takes alerts alone, then nothing; and does not waver at each commit."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.errors import Exhausted
from gateway.release.pipeline import TakeReport
from gateway.release.ranks import Rank
from gateway.release.room import MORE, Room, StoreLimits, free_bytes, lowest
from gateway.release.sequencer import Sequencer, SequencerLimits
from tests.release.world import RELEASE_ALL, anything, partner_of, rules, signatory_of
from tests.reports.examples import NOW, launch_detection, track

LIMITS = StoreLimits(reserve_bytes=1000, least_bytes=100)


@pytest.mark.parametrize(
    ("free", "before", "after"),
    [
        (1000, Rank.ROUTINE, Rank.ROUTINE),
        (999, Rank.ROUTINE, Rank.FLASH),
        (1124, Rank.FLASH, Rank.FLASH),
        (1125, Rank.FLASH, Rank.ROUTINE),
        (100, Rank.FLASH, Rank.FLASH),
        (99, Rank.FLASH, None),
        (99, Rank.ROUTINE, None),
        (112, None, None),
        (113, None, Rank.FLASH),
        (5000, None, Rank.ROUTINE),
    ],
)
def test_alerts_are_the_last_to_be_refused_and_the_first_to_be_taken_again(
    free: int, before: Rank | None, after: Rank | None
) -> None:
    assert lowest(free, LIMITS, before) is after


@given(st.lists(st.integers(min_value=0, max_value=3000), min_size=1))
def test_what_is_taken_changes_only_when_the_room_does_by_an_eighth(frees: list[int]) -> None:
    taken: Rank | None = Rank.ROUTINE
    for free in frees:
        following = lowest(free, LIMITS, taken)
        # Asked again with the same room, or a little more, it stays.
        assert lowest(free, LIMITS, following) is following
        if free >= LIMITS.reserve_bytes * MORE:
            assert following is Rank.ROUTINE
        if free < LIMITS.least_bytes:
            assert following is None
        taken = following


def test_what_cannot_be_told_stands_as_it_was(caplog: pytest.LogCaptureFixture) -> None:
    found: list[int | None] = [50, None, None]
    room = Room(lambda: found.pop(0), LIMITS)
    for _ in range(3):
        room.look()
        assert room.takes is None
    assert "nothing is taken" in room.reason
    # Said once.
    assert len(caplog.records) == 1


def test_the_room_of_a_disk_is_what_its_file_system_says(tmp_path: Path) -> None:
    free = free_bytes(tmp_path / "store.db")
    assert free is not None
    assert free > 0
    assert free_bytes(tmp_path / "nowhere" / "store.db") is None


async def test_in_the_reserve_a_track_is_refused_with_a_time_and_an_alert_is_taken(tmp_path: Path) -> None:
    free = 500
    room = Room(lambda: free, LIMITS)
    sequencer = Sequencer(
        lambda: SqliteStore(tmp_path / "jpn.db"),
        signatory_of("JPN"),
        lambda: {"KOR": partner_of("KOR")},
        now_ns=lambda: NOW,
        limits=SequencerLimits(),
        listener=lambda _: None,
        monotonic=lambda: 0.0,
        rulebook=lambda store: rules(KOR=RELEASE_ALL),
        room=room,
    )
    await sequencer.open()
    running = asyncio.create_task(sequencer.run())
    a_track = TakeReport.of(track(1), "spiffe://jpn/c2/radar", anything)
    alert = TakeReport.of(launch_detection(2), "spiffe://jpn/c2/radar", anything)
    try:
        assert sequencer.takes is Rank.FLASH
        with pytest.raises(Exhausted, match="nearly full") as refused:
            await sequencer.do(a_track, source="radar", bounded=True)
        assert refused.value.retry_after_ms > 0
        assert not (await sequencer.do(alert, source="radar", bounded=True)).duplicate
        free = 5000
        room.look()
        assert sequencer.reason == ""
        assert not (await sequencer.do(a_track, source="radar", bounded=True)).duplicate
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sequencer.close()
