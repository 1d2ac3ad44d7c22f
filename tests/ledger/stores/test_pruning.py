"""A segment is rewritten whole or not at all, and a run that is read beside it is of one moment."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from gateway.ledger import bundle
from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.stores import (
    AbsentRow,
    Commit,
    CosignatureKind,
    CosignatureRow,
    PrunedReport,
    PrunedSegment,
    ReportRow,
    Segment,
)
from gateway.ledger.stores.sqlite import SqliteStore
from tests.ledger.stores.growth import LEDGER, entries_of, grown


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    store = SqliteStore(tmp_path / "store.sqlite")
    for commit in grown(3, 2)[1]:
        store.commit(commit)
    yield store
    store.close()


def without_one() -> PrunedSegment:
    """The first segment without its second entry."""
    entries = entries_of(0, 3)
    row = AbsentRow(LEDGER, 1, leaf_hash(entries[1]), b"why")
    return PrunedSegment(LEDGER, 0, 3, bundle.encode([entries[0], b"", entries[2]], allow_absent=True), [row])


REPORT = ReportRow(1, b"r" * 16, b"d" * 32, "event", 1, "c2", 5, 0, b"the whole report")


def test_a_pruned_entry_is_given_as_its_hash_and_everything_else_is_as_it_was(store: SqliteStore) -> None:
    before = (store.ledgers(), store.tiles(LEDGER), store.checkpoints(LEDGER))
    store.commit(Commit(pruned=[without_one()]))
    run = store.run(LEDGER, 0, 1 << 20)
    assert run is not None
    assert (run.count, [row.index for row in run.absent]) == (5, [1])
    assert store.entry(LEDGER, 1) is None
    assert [store.entry(LEDGER, index) for index in (0, 2, 3, 4)] == [entries_of(0, 5)[index] for index in (0, 2, 3, 4)]
    assert store.absent(LEDGER, 1) == without_one().absent[0]
    assert (store.ledgers(), store.tiles(LEDGER), store.checkpoints(LEDGER)) == before


def test_segments_are_given_whole_and_in_order(store: SqliteStore) -> None:
    first, second = (
        Segment(0, 3, bundle.encode(entries_of(0, 3))),
        Segment(3, 2, bundle.encode(entries_of(3, 2))),
    )
    assert list(store.segments(LEDGER, 0, 1 << 20)) == [first, second]
    assert list(store.segments(LEDGER, 0, 1)) == [first]
    assert list(store.segments(LEDGER, 3, 1)) == [second]
    assert list(store.segments(LEDGER, 5, 1)) == []
    with pytest.raises(StoreError, match="no segment that begins"):
        store.segments(LEDGER, 1, 1)


def test_a_segment_that_is_not_there_is_not_rewritten(store: SqliteStore) -> None:
    other = without_one()
    for segment in (
        PrunedSegment(LEDGER, 0, 2, other.entries, other.absent),
        PrunedSegment(LEDGER, 1, 3, other.entries, ()),
    ):
        with pytest.raises(StoreError, match="there is no segment"):
            store.commit(Commit(pruned=[segment]))
    assert store.entry(LEDGER, 1) == entries_of(0, 3)[1]


def test_a_pruning_commit_that_fails_leaves_everything_as_it_was(store: SqliteStore) -> None:
    twice = without_one()
    with pytest.raises(StoreError):
        store.commit(Commit(pruned=[PrunedSegment(LEDGER, 0, 3, twice.entries, [*twice.absent, *twice.absent])]))
    assert store.entry(LEDGER, 1) == entries_of(0, 3)[1]
    assert store.absent(LEDGER, 1) is None


def test_a_report_is_pruned_once(store: SqliteStore) -> None:
    store.commit(Commit(reports=[REPORT]))
    store.commit(Commit(pruned_reports=[PrunedReport(1, b"its envelope", 7)]))
    store.commit(Commit(pruned_reports=[PrunedReport(1, b"another", 9)]))
    row = store.report(REPORT.report_id)
    assert row is not None
    assert (row.payload, row.pruned_ns, row.digest) == (b"its envelope", 7, REPORT.digest)
    assert store.report_at(1) == row


def test_what_was_pruned_stands_in_no_file_of_the_store_and_the_log_is_empty(
    store: SqliteStore, tmp_path: Path
) -> None:
    secret = b"a secret that is longer than a page " * 300
    store.commit(Commit(reports=[ReportRow(1, b"r" * 16, b"d" * 32, "event", 1, "c2", 5, 0, secret)]))
    store.commit(Commit(pruned_reports=[PrunedReport(1, b"its envelope", 7)]))
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert not any(secret[:36] in data for data in files.values())
    assert files["store.sqlite-wal"] == b""


def test_a_reader_in_an_older_state_does_not_hold_a_pruning_commit_up(store: SqliteStore) -> None:
    reader = store.reader()
    with reader.snapshot():
        assert reader.entry(LEDGER, 1) is not None
        store.commit(Commit(pruned=[without_one()]))
        assert reader.entry(LEDGER, 1) is not None, "its snapshot is of before"
    assert reader.entry(LEDGER, 1) is None
    reader.close()


def test_a_run_read_while_it_is_pruned_is_of_one_moment(store: SqliteStore) -> None:
    reader = store.reader()
    done: list[None] = []

    def prune_meanwhile(connection: apsw.Cursor, sql: str, bindings: object) -> bool:
        if "FROM absent" in sql and not done:
            done.append(None)
            store.commit(Commit(pruned=[without_one()]))
        return True

    reader._db.exec_trace = prune_meanwhile  # type: ignore[attr-defined]  # between two reads of one run
    run = reader.run(LEDGER, 0, 1 << 20)
    assert run is not None
    assert done == [None]
    assert list(run.absent) == []
    assert bundle.decode(run.entries, run.count)[1] == entries_of(0, 3)[1]
    reader.close()


def test_the_first_signature_that_covers_a_size_is_found(store: SqliteStore) -> None:
    kind = CosignatureKind.RECEIPT
    rows = [CosignatureRow(LEDGER, kind, size, b"note", size * 10, "KOR") for size in (3, 5)]
    store.commit(Commit(cosignatures=[*rows, CosignatureRow(LEDGER, kind, 4, b"note", 1, "USA")]))
    assert [store.covering(LEDGER, kind, "KOR", size) for size in (1, 3, 4, 5, 6)] == [
        rows[0], rows[0], rows[1], rows[1], None,
    ]  # fmt: skip
