"""The numbers of heartbeats grow over every kind of restart."""

from __future__ import annotations

from gateway.exchange.heartbeat import Counter

NOON = 1_795_000_000 * 1_000_000_000


def test_numbers_grow_by_one() -> None:
    counter = Counter(0, NOON)
    assert [counter.next() for _ in range(3)] == [NOON + 1, NOON + 2, NOON + 3]


def test_a_store_restored_from_an_old_copy_does_not_bring_back_old_numbers() -> None:
    before = Counter(0, NOON)
    used = [before.next() for _ in range(1000)][-1]
    # The copy is from before that run: it knows nothing of its base.
    assert Counter(0, NOON + 1_000_000_000).next() > used


def test_a_clock_that_was_set_back_does_not_bring_back_old_numbers() -> None:
    before = Counter(0, NOON)
    used = [before.next() for _ in range(1000)][-1]
    assert Counter(before.base, NOON - 3_600_000_000_000).next() > used
