"""The index of decisions gives places in order, within a range, by verdict."""

from __future__ import annotations

import pytest

from gateway.ledger.errors import StoreError
from gateway.ledger.stores import Commit, DecisionPlace, DecisionRange, DecisionRow, LedgerId, VerdictRow
from gateway.ledger.stores.sqlite import SqliteStore
from tests.ledger.stores.growth import LEDGER, Growth

ALL_PLACES = DecisionRange(DecisionPlace(0, LedgerId(0), 0), DecisionPlace(99, LedgerId(99), 99))


def indexed(store: SqliteStore) -> list[DecisionPlace]:
    """Two verdicts with places whose times are equal, and a third that has none."""
    places = [DecisionPlace(time_ns, LEDGER, index) for index, time_ns in enumerate((5, 5, 7, 8, 8))]
    store.commit(
        Commit(
            ledgers=[Growth().begin()],
            verdicts=[VerdictRow(number, "KOR", "", 1, "Track", 1, 4, b"sealed") for number in (1, 2, 3)],
            decisions=[DecisionRow(1, place) for place in places] + [DecisionRow(2, places[2])],
        )
    )
    return places


def test_decisions_of_a_verdict_are_given_in_order_within_a_range(store: SqliteStore) -> None:
    places = indexed(store)
    assert store.decisions(1, ALL_PLACES, 9, oldest_first=True) == places
    assert store.decisions(1, ALL_PLACES, 2, oldest_first=False) == [places[4], places[3]]
    within = DecisionRange(places[1], places[3])
    assert store.decisions(1, within, 9, oldest_first=False) == places[3:0:-1]
    assert store.decisions(1, DecisionRange(places[3], places[1]), 9, oldest_first=True) == []
    assert store.decisions(2, ALL_PLACES, 9, oldest_first=True) == [places[2]]


def test_the_first_time_of_each_verdict_is_told_and_one_that_has_none_left_out(store: SqliteStore) -> None:
    places = indexed(store)
    assert sorted(store.decision_bounds([1, 2, 3], ALL_PLACES, oldest_first=True)) == [(1, 5), (2, 7)]
    assert sorted(store.decision_bounds([1, 2, 3], ALL_PLACES, oldest_first=False)) == [(1, 8), (2, 7)]
    late = DecisionRange(places[3], ALL_PLACES.last)
    assert store.decision_bounds([1, 2, 3], late, oldest_first=True) == [(1, 8)]


def test_a_decision_under_a_verdict_that_is_not_there_is_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreError):
        store.commit(Commit(decisions=[DecisionRow(7, DecisionPlace(1, LEDGER, 0))]))
