"""A partner ends its ledgers as often as it likes; so many rows it does not get."""

from __future__ import annotations

import pytest

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.release.steps import FollowSuccessor
from gateway.release.successions import AT_ONCE, EVERY_NS
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
