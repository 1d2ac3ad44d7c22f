"""Rows go in by sixteens: whatever their number, as one by one."""

from __future__ import annotations

import apsw
import pytest

from gateway.ledger.errors import StoreConflict
from gateway.ledger.stores import Append, Commit, HeldRow, ReceivedRow, UntoldRow
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.ledger.stores.sqlite.writing import AT_ONCE
from tests.ledger.stores.growth import grown

COUNTS = [1, AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE, 2 * AT_ONCE + 3]


def held(number: int, partner: str = "KOR") -> HeldRow:
    return HeldRow("", bytes([number]) * 16, partner, 1000 + number)


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_is_there_and_none_twice(store: SqliteStore, count: int) -> None:
    rows = [held(number) for number in range(count)]
    store.commit(Commit(held=rows))
    assert [row for number in range(count + 1) for row in store.held(bytes([number]) * 16, "")] == rows


@pytest.mark.parametrize("count", COUNTS)
def test_one_row_that_is_there_already_takes_all_of_them_back(store: SqliteStore, count: int) -> None:
    store.commit(Commit(held=[held(count - 1)]))
    with pytest.raises(StoreConflict):
        store.commit(Commit(held=[held(number) for number in range(count)]))
    assert [len(store.held(bytes([number]) * 16, "")) for number in range(count)] == [0] * (count - 1) + [1]


@pytest.mark.parametrize("count", COUNTS[1:])
def test_of_rows_of_one_key_the_last_counts_or_the_first(store: SqliteStore, count: int) -> None:
    report_id = bytes(16)
    store.commit(
        Commit(
            received=[ReceivedRow("JPN", report_id, None, 1000 + number, 1, 4) for number in range(count)],
            untold=[UntoldRow("JPN", report_id, "KOR")] * count,
        )
    )
    known = store.received("JPN", report_id)
    assert known is not None
    assert known.withdrawn_ns == 1000 + count - 1
    assert store.untold("KOR", count) == [UntoldRow("JPN", report_id, "KOR")]


def test_large_segments_are_not_kept_in_memory(store: SqliteStore) -> None:
    _, commits = grown(1)
    for commit in commits:
        store.commit(commit)
    (first,) = commits[0].appends
    # What stands in them is nobody's business here.
    large = [
        Append(first.ledger, 1 + number, 1, bytes(1 << 19), (), first.root, first.checkpoint)
        for number in range(2 * AT_ONCE)
    ]
    before = apsw.memory_used()
    store.commit(Commit(appends=large))
    assert apsw.memory_used() - before < 4 << 20
