"""Runs of a ledger are whole segments, one after another, and every entry stands where it was appended."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.stores import RUN_ENTRIES, Commit
from gateway.ledger.stores.sqlite import SqliteStore
from tests.ledger.stores.growth import LEDGER, Growth, checkpoint, fill, grown


@pytest.mark.parametrize(("first", "end"), [(0, 9), (0, 0), (2, 4), (3, 5), (8, 9), (4, 9)])
def test_leaves_are_the_hashes_of_entries_whichever_segments_they_stand_in(
    store: SqliteStore, first: int, end: int
) -> None:
    fill(store, 3, 2, 4)
    assert store.leaves(LEDGER, first, end) == [leaf_hash(b"entry %d" % index) for index in range(first, end)]


def test_leaves_beyond_the_end_are_refused(store: SqliteStore) -> None:
    fill(store, 3, 2)
    with pytest.raises(StoreError, match="no entry 5"):
        store.leaves(LEDGER, 4, 6)


def test_a_run_is_whole_segments_and_the_checkpoint_of_its_end(store: SqliteStore) -> None:
    fill(store, 3, 2, 4)
    small = store.run(LEDGER, 0, 1)
    assert small is not None
    assert (small.first, small.count, small.checkpoint) == (0, 3, checkpoint(3))
    two = store.run(LEDGER, 3, 6 * 9)
    assert two is not None
    assert (two.first, two.count, two.checkpoint) == (3, 6, checkpoint(9))
    one = store.run(LEDGER, 3, 6 * 9 - 1)
    assert one is not None
    assert (one.count, one.checkpoint) == (2, checkpoint(5))


def test_runs_one_after_another_give_every_entry_once(store: SqliteStore) -> None:
    fill(store, 3, 1, 4, 1, 5)
    entries = b""
    position = 0
    while (run := store.run(LEDGER, position, 40)) is not None:
        entries += run.entries
        position += run.count
    whole = store.run(LEDGER, 0, 1 << 20)
    assert whole is not None
    assert (position, entries) == (14, whole.entries)


@pytest.mark.parametrize("first", [1, 2, 4, 6, 8, 10, 1000])
def test_a_run_does_not_begin_inside_a_segment_or_beyond_the_end(store: SqliteStore, first: int) -> None:
    fill(store, 3, 2, 4)
    with pytest.raises(StoreError, match="no segment that begins"):
        store.run(LEDGER, first, 1 << 20)


def test_at_the_end_of_a_ledger_there_is_no_run(store: SqliteStore) -> None:
    assert store.run(LEDGER, 0, 1) is None
    fill(store, 3)
    assert store.run(LEDGER, 3, 1) is None


def test_a_missing_segment_is_a_gap_and_not_an_end(store: SqliteStore, path: Path) -> None:
    fill(store, 3, 2, 4)
    apsw.Connection(str(path)).execute("DELETE FROM segment WHERE first = 3")
    with pytest.raises(StoreError, match="gap"):
        store.run(LEDGER, 0, 1 << 20)


def test_a_run_holds_a_bounded_number_of_entries_however_small_they_are(store: SqliteStore) -> None:
    ledger, (begin,) = grown(RUN_ENTRIES - 1)
    store.commit(begin)
    store.commit(Commit(appends=[ledger.append([b"a", b"b"])]))
    run = store.run(LEDGER, 0, 1 << 30)
    assert run is not None
    assert run.count == RUN_ENTRIES - 1


def test_an_absent_entry_is_a_hash_with_its_reason_and_travels_with_its_run(store: SqliteStore) -> None:
    ledger = Growth()
    leaf = b"h" * 32
    store.commit(Commit(ledgers=[ledger.begin()], appends=[ledger.append([b"here", b"", b"there"], {1: leaf})]))
    assert [store.entry(LEDGER, index) for index in range(3)] == [b"here", None, b"there"]
    absent = store.absent(LEDGER, 1)
    assert absent is not None
    assert (absent.leaf_hash, absent.note) == (leaf, b"why 1 is absent")
    assert store.absent(LEDGER, 0) is None
    run = store.run(LEDGER, 0, 1 << 20)
    assert run is not None
    assert run.absent == [absent]


@pytest.mark.parametrize("index", [5, 6, 2**62])
def test_an_entry_beyond_the_end_is_an_error_and_not_an_absent_one(store: SqliteStore, index: int) -> None:
    fill(store, 3, 2)
    with pytest.raises(StoreError, match="no entry"):
        store.entry(LEDGER, index)
