"""A partner ends its ledgers as often as it likes; so many rows it does not get."""

from __future__ import annotations

import pytest
from signalfire.v1 import ledger_pb2

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.release.steps import FollowSuccessor
from gateway.release.succeeding import Succeed
from gateway.release.successions import AT_ONCE, EVERY_NS, MOST_LOST_GENERATIONS, RETIRED_EVERY_NS
from tests.release.world import Site

LINE = Origin.release("JPN", "KOR", "flash", 1)


def end(kor: Site, origin: Origin) -> Origin:
    kor.do(FollowSuccessor(origin, origin.successor()))
    return origin.successor()


def test_so_many_successions_are_followed_at_once_and_then_one_an_hour(kor: Site) -> None:
    origin = LINE
    for _ in range(AT_ONCE):
        origin = end(kor, origin)
    for _ in range(3):
        with pytest.raises(LedgerError, match="one an hour is followed"):
            end(kor, origin)
        kor.restart()
        kor.now_ns += EVERY_NS
        origin = end(kor, origin)
    assert len(kor.store.ledgers()) == AT_ONCE + 3


def test_another_line_is_not_held_up(kor: Site) -> None:
    origin = LINE
    for _ in range(AT_ONCE):
        origin = end(kor, origin)
    assert end(kor, Origin.witness("JPN", 1)).generation == 2


def test_several_in_one_commit_count_each(kor: Site) -> None:
    plan, origin = kor.plan(), LINE
    for _ in range(AT_ONCE):
        FollowSuccessor(origin, origin.successor()).apply(plan)
        kor.keep(plan)
        plan, origin = kor.plan(), origin.successor()
    with pytest.raises(LedgerError):
        FollowSuccessor(origin, origin.successor()).apply(plan)


def test_a_clock_that_was_set_back_holds_nothing_up_for_longer(kor: Site) -> None:
    origin = LINE
    for _ in range(AT_ONCE):
        origin = end(kor, origin)
    kor.now_ns -= 1000 * EVERY_NS
    origin = end(kor, origin)
    for _ in range(3):
        with pytest.raises(LedgerError):
            end(kor, origin)
        kor.now_ns += EVERY_NS
        origin = end(kor, origin)


def lost(jpn: Site, origin: Origin) -> Origin:
    return jpn.do(Succeed(origin, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, b"", by_retired=True))


def test_the_word_of_a_retired_key_ends_a_line_once_a_day_whatever_is_started_meanwhile(jpn: Site) -> None:
    origin = lost(jpn, LINE)
    for _ in range(3):
        jpn.restart()
        with pytest.raises(LedgerError, match="less than 24 hours ago"):
            lost(jpn, origin)
        # What has ended is told, and another line is not held up.
        assert lost(jpn, LINE) == LINE.successor()
        jpn.now_ns += RETIRED_EVERY_NS
        origin = lost(jpn, origin)
    assert lost(jpn, Origin.witness("JPN", 1)).generation == 2


def test_what_a_retired_key_may_end_uses_up_nothing_of_what_followers_follow() -> None:
    assert MOST_LOST_GENERATIONS + 1 <= RETIRED_EVERY_NS // EVERY_NS


def test_a_clock_that_was_set_back_lets_a_retired_key_end_no_more_than_one(jpn: Site) -> None:
    origin = lost(jpn, LINE)
    jpn.now_ns -= RETIRED_EVERY_NS
    origin = lost(jpn, origin)
    with pytest.raises(LedgerError):
        lost(jpn, origin)
