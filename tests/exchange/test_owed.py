"""What heartbeats show and streams do not bring."""

from __future__ import annotations

import pytest

from gateway.exchange.owed import MOST_PATIENCE_S, Owed, Watchdog
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.origin import Origin

FLASH = Origin("JPN", "KOR", "flash", 1)
NEXT = Origin("JPN", "KOR", "flash", 2)


def head(size: int, origin: Origin = FLASH) -> Checkpoint:
    return Checkpoint(origin, size, b"r" * 32)


def test_what_a_heartbeat_shows_is_owed_from_then_on_until_it_is_here() -> None:
    owed = Owed()
    owed.shown([head(5)], {str(FLASH): 5}, 1.0)
    assert owed.since("flash") is None
    owed.shown([head(7)], {str(FLASH): 5}, 2.0)
    assert owed.since("flash") == 2.0
    owed.shown([head(9)], {str(FLASH): 6}, 3.0)
    assert owed.since("flash") == 2.0, "what was shown first is still owed"
    owed.shown([head(9)], {str(FLASH): 7}, 4.0)
    assert owed.since("flash") == 4.0, "that has come, and the rest is owed since"
    owed.shown([head(9)], {str(FLASH): 9}, 5.0)
    assert owed.since("flash") is None
    assert owed.since("routine") is None


def test_the_next_generation_is_owed_from_when_it_is_shown() -> None:
    owed = Owed()
    owed.shown([head(7)], {str(FLASH): 5}, 1.0)
    owed.shown([head(2, NEXT)], {str(FLASH): 5}, 2.0)
    assert owed.since("flash") == 2.0
    owed.shown([head(2, NEXT)], {str(FLASH): 7, str(NEXT): 2}, 3.0)
    assert owed.since("flash") is None


def test_a_carried_stream_is_in_no_doubt_while_the_direct_one_of_its_lane_works_off_a_backlog() -> None:
    owed = Owed()
    owed.shown([head(1000)], {str(FLASH): 5}, 1.0)
    for now in (2.0, 4.0, 60.0):
        owed.brought("flash", now)
        owed.shown([head(2000)], {str(FLASH): 6}, now)
    assert owed.since("flash") == 1.0
    assert owed.since("flash", direct=False) == 60.0
    owed.brought("routine", 61.0)
    assert owed.since("flash", direct=False) == 60.0
    owed.shown([head(3000)], {str(FLASH): 2500}, 70.0)
    assert owed.since("flash", direct=False) == 70.0, "what is owed since then"
    owed.shown([head(3000)], {str(FLASH): 3000}, 71.0)
    assert owed.since("flash", direct=False) is None


def test_a_stream_is_opened_anew_only_where_it_brings_nothing_for_as_long_as_something_is_owed() -> None:
    watchdog = Watchdog(3.0)
    assert watchdog.silent_s(None, None, 0.0, 100.0) is None, "nothing is owed: silence is calm"
    assert watchdog.silent_s(0.0, None, None, 100.0) is None, "what came is being worked on"
    assert watchdog.silent_s(98.0, None, 0.0, 100.0) is None
    assert watchdog.silent_s(0.0, None, 98.0, 100.0) is None
    assert watchdog.silent_s(96.0, None, 0.0, 100.0) == 4.0


def test_a_stream_is_opened_anew_where_heartbeats_come_no_more_and_it_brings_nothing_either() -> None:
    watchdog = Watchdog(3.0)
    assert watchdog.silent_s(None, 98.0, 0.0, 100.0) is None
    assert watchdog.silent_s(None, 0.0, 99.0, 100.0) is None, "it brings something: it is alive"
    assert watchdog.silent_s(None, 96.9, 0.0, 100.0) == pytest.approx(3.1)
    assert Watchdog(3.0).silent_s(99.0, 96.0, 0.0, 100.0) == 4.0


def test_each_stream_that_brings_nothing_leaves_the_next_one_twice_the_time_until_nothing_is_owed() -> None:
    watchdog, given = Watchdog(3.0), []
    for _ in range(12):
        silent_s = 0.0
        while watchdog.silent_s(0.0, None, 0.0, silent_s) is None:
            silent_s += 0.5
        given.append(silent_s - 0.5)
    assert given[:4] == [3.0, 6.0, 12.0, 24.0]
    assert given[-1] == MOST_PATIENCE_S
    watchdog.brought()
    assert watchdog.silent_s(0.0, None, 0.0, 3.5) == 3.5
    assert watchdog.silent_s(0.0, None, 0.0, 3.5) is None
    assert watchdog.silent_s(None, None, 0.0, 3.5) is None
    assert watchdog.silent_s(0.0, None, 0.0, 3.5) == 3.5
