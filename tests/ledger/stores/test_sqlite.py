"""The embedded store keeps whole commits, durably, and gives back what the layout promises."""

from __future__ import annotations

import ast
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import apsw
import pytest

import gateway
from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import HASH_SIZE, leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import (
    RUN_ENTRIES,
    Commit,
    CopyRow,
    CosignatureKind,
    CosignatureRow,
    Counts,
    DecisionPlace,
    DecisionRange,
    DecisionRow,
    DecisionSubjectRow,
    FeedFilter,
    FeedItem,
    FeedRow,
    HeldRow,
    KeptBackRow,
    LedgerId,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    UnopenableRow,
    UntoldRow,
    VerdictRow,
)
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore, columns
from gateway.ledger.stores.sqlite.reports import FEED_SCAN_ROWS
from gateway.ledger.stores.sqlite.schema import APPLICATION_ID
from tests.ledger.stores.growth import LEDGER, ORIGIN, Growth, checkpoint, entries_of, feed_row, grown

ANYTHING = FeedFilter(frozenset({1, 2, 3}), include_own=True)

VERSION = len(list((Path(gateway.__file__).parent / "ledger/stores/sqlite/migrations").glob("*.sql")))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    opened = SqliteStore(path)
    yield opened
    opened.close()


def fill(store: SqliteStore, *counts: int) -> Growth:
    """Grows the ledger in the store by so many entries a commit."""
    ledger, commits = grown(*counts)
    for commit in commits:
        store.commit(commit)
    return ledger


# --- the file


def test_a_new_store_says_what_it_is_and_which_schema_it_has(store: SqliteStore, path: Path) -> None:
    db = apsw.Connection(str(path))
    assert db.pragma("application_id") == APPLICATION_ID == int.from_bytes(b"SIGF")
    assert db.pragma("user_version") == VERSION


def test_nobody_else_may_read_the_files_of_a_store(store: SqliteStore, path: Path) -> None:
    fill(store, 1)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["node.sqlite", "node.sqlite-shm", "node.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        SqliteStore(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("application", [0, 0x4D50_5342])
def test_the_database_of_another_program_is_refused_and_left_as_it_was(path: Path, application: int) -> None:
    db = apsw.Connection(str(path))
    db.pragma("application_id", application)
    db.execute("CREATE TABLE recipe (name TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(path)
    with pytest.raises(StoreError, match="not a Signalfire store"):
        SqliteReader(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert path.read_bytes() == b"Dear diary, " * 100


def test_a_newer_schema_is_refused_by_writer_and_reader(path: Path) -> None:
    SqliteStore(path).close()
    db = apsw.Connection(str(path))
    db.pragma("user_version", VERSION + 1)
    db.close()
    with pytest.raises(StoreError, match="newer than this software"):
        SqliteStore(path)
    with pytest.raises(StoreError, match=f"schema version {VERSION + 1}"):
        SqliteReader(path)


def test_a_reader_does_not_make_a_store(path: Path) -> None:
    with pytest.raises(StoreError):
        SqliteReader(path)
    assert not path.exists()


def test_a_directory_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="opening failed"):
        SqliteStore(tmp_path / "missing" / "node.sqlite")


# --- durability


def test_every_commit_of_the_connection_is_synced(store: SqliteStore) -> None:
    db = store._db
    full = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("synchronous") == full
    assert db.pragma("fullfsync") == 1
    assert db.pragma("foreign_keys") == 1


def test_what_was_committed_is_there_when_the_store_is_opened_again(store: SqliteStore, path: Path) -> None:
    ledger = fill(store, 3, 2)
    store.close()
    again = SqliteStore(path)
    row = again.ledger(ORIGIN)
    assert row is not None
    assert (row.size, row.root) == (5, ledger.edge.root())
    again.close()


# --- commits


def test_what_is_settled_and_told_is_gone(store: SqliteStore) -> None:
    commit = everything(Growth())
    store.commit(commit)
    store.commit(Commit(decided=[("", b"r" * 16, "USA")], told=commit.untold))
    assert store.held(b"r" * 16) == []
    assert store.untold_counts() == {}


def test_a_report_that_is_held_again_has_its_new_time(store: SqliteStore) -> None:
    store.commit(everything(Growth()))
    again = HeldRow("", b"r" * 16, "USA", 99)
    store.commit(Commit(decided=[("", b"r" * 16, "USA")], held=[again]))
    assert store.held(b"r" * 16) == [again]


def everything(ledger: Growth) -> Commit:
    """A commit with a row of every kind."""
    report = ReportRow(1, b"r" * 16, b"d" * 32, "event", 1, "c2", 10, 0, b"payload")
    return Commit(
        ledgers=[ledger.begin()],
        appends=[ledger.append(entries_of(0, 2))],
        cosignatures=[CosignatureRow(LEDGER, CosignatureKind.RECEIPT, 2, b"receipt", 11, "KOR")],
        unopenable=[UnopenableRow(LEDGER, 1, b"statement", 12)],
        reports=[report],
        released=[ReleasedRow(b"r" * 16, "KOR", LEDGER, 1, 1, 4, agreement="annex")],
        kept_back=[KeptBackRow(LEDGER, 1, "it lapsed", b"statement")],
        withdrawn=[("", b"r" * 16, "KOR", 13)],
        held=[HeldRow("", b"r" * 16, "USA", 14)],
        untold=[UntoldRow("USA", b"u" * 16, "KOR")],
        feed=[feed_row(1)],
        received=[ReceivedRow("KOR", b"k" * 16, 1, None, 1, 4)],
        copies=[CopyRow("KOR", b"k" * 16, "KOR", LEDGER, 1, 14, None, 1, 4)],
        verdicts=[VerdictRow(1, "KOR", "", 1, "Track", 1, 4, b"sealed")],
        decisions=[DecisionRow(1, DecisionPlace(15, LEDGER, 1))],
        decision_subjects=[DecisionSubjectRow(b"r" * 16, "event", DecisionPlace(15, LEDGER, 1))],
        meta={"boot": b"\x01"},
    )


def test_every_row_of_a_commit_is_given_back(store: SqliteStore) -> None:
    commit = everything(Growth())
    store.commit(commit)
    assert store.held(b"r" * 16) == store.held_until(14, 10) == commit.held
    assert store.held_until(13, 10) == []
    assert store.untold("KOR", 10) == commit.untold
    assert store.untold_counts() == {"KOR": 1}
    assert store.cited_between(LEDGER, 0, 2) == [(1, "annex")]
    assert store.cited_between(LEDGER, 0, 1) == []
    assert store.kept_back(LEDGER, 0, 2) == commit.kept_back
    assert store.keeps_back(LEDGER)
    assert not store.keeps_back(LedgerId(LEDGER + 1))
    assert store.ledgers() == [store.ledger(ORIGIN)]
    assert store.cosignatures(LEDGER) == commit.cosignatures
    assert store.unopenable(LEDGER) == commit.unopenable
    assert store.report(b"r" * 16) == store.report_at(1) == commit.reports[0]
    assert [(row.partner, row.index, row.withdrawn_ns) for row in store.released(b"r" * 16)] == [("KOR", 1, 13)]
    assert store.feed(0, 10, ANYTHING) == (commit.feed, 1)
    assert store.received("KOR", b"k" * 16) == commit.received[0]
    assert store.copies("KOR", b"k" * 16) == commit.copies
    assert store.verdicts() == commit.verdicts
    assert list(store.indexed_decisions()) == commit.decisions
    assert list(store.indexed_subjects()) == commit.decision_subjects
    assert store.meta("boot") == b"\x01"
    assert store.counts() == Counts(reports=1, released=1, feed=1, received=1, copies=1)
    assert (store.last_report(), store.last_feed()) == (1, 1)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        (CosignatureRow, columns.COSIGNATURE),
        (ReportRow, columns.REPORT),
        (ReleasedRow, columns.RELEASED),
        (FeedRow, columns.FEED),
        (ReceivedRow, columns.RECEIVED),
        (CopyRow, columns.COPY),
        (HeldRow, columns.HELD),
        (UntoldRow, columns.UNTOLD),
    ],
)
def test_the_fields_of_a_row_stand_in_the_order_of_its_columns(row: Any, columns: str) -> None:
    assert ["idx" if name == "index" else name for name in row._fields] == columns.split(", ")


def test_a_commit_whose_last_row_cannot_be_written_leaves_nothing(store: SqliteStore) -> None:
    commit = everything(Growth())
    commit.meta["boot"] = cast(bytes, "text, where the column holds bytes")
    with pytest.raises(StoreError, match="a commit failed"):
        store.commit(commit)
    assert store.ledgers() == []
    assert store.counts() == Counts(0, 0, 0, 0, 0)
    assert store.meta("boot") is None
    store.commit(everything(Growth()))
    assert store.counts() == Counts(1, 1, 1, 1, 1)


def test_an_append_that_does_not_continue_the_ledger_is_refused(store: SqliteStore) -> None:
    fill(store, 3)
    stale, _ = grown(2)
    with pytest.raises(StoreError, match="does not continue"):
        store.commit(Commit(appends=[stale.append([b"x"])]))
    row = store.ledger(ORIGIN)
    assert row is not None
    assert row.size == 3


def test_the_appends_of_a_commit_follow_each_other_in_the_ledger(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    follow = [ledger.append(entries_of(3, 2)), ledger.append(entries_of(5, 300)), ledger.append(entries_of(305, 300))]
    for gap in ([follow[0], follow[2]], [follow[1], follow[2]], [follow[0], follow[1], follow[1]]):
        with pytest.raises(StoreError, match="does not continue"):
            store.commit(Commit(appends=gap))
    store.commit(Commit(appends=follow))
    row = store.ledger(ORIGIN)
    assert row is not None
    assert (row.size, row.root) == (605, ledger.edge.root())
    assert [size for size, _ in store.checkpoints(LEDGER)] == [3, 5, 305, 605]
    assert store.leaves(LEDGER, 0, 605) == [leaf_hash(b"entry %d" % index) for index in range(605)]
    # Of a tile that grows with each of them the last state is kept.
    widths = {(level, index): len(data) // HASH_SIZE for level, index, data in store.tiles(LEDGER)}
    assert widths == {(0, 0): 256, (0, 1): 256, (1, 0): 2}


def test_of_no_reports_at_all_nothing_is_found(store: SqliteStore) -> None:
    store.commit(everything(Growth()))
    for found in (store.reports([]), store.released_of([]), store.received_of("KOR", []), store.copies_of("KOR", [])):
        assert list(found) == []


def test_a_second_writer_is_met_by_the_commit_and_loses_all_of_it(store: SqliteStore, path: Path) -> None:
    mine = fill(store, 3)
    theirs, _ = grown(3)
    second = SqliteStore(path)
    second.commit(Commit(appends=[theirs.append([b"theirs"])]))
    with pytest.raises(StoreError, match="another process has written"):
        store.commit(Commit(appends=[mine.append([b"mine"])], meta={"mine": b"too"}))
    assert store.entry(LEDGER, 3) == b"theirs"
    assert store.meta("mine") is None
    second.close()


def test_nothing_is_appended_to_a_ledger_that_has_ended(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    store.commit(Commit(ended=[(LEDGER, ORIGIN.successor())]))
    row = store.ledger(ORIGIN)
    assert row is not None
    assert row.successor == ORIGIN.successor()
    with pytest.raises(StoreError, match="does not continue"):
        store.commit(Commit(appends=[ledger.append([b"late"])]))


def test_a_row_that_refers_to_no_ledger_is_refused(store: SqliteStore) -> None:
    with pytest.raises(StoreError):
        store.commit(Commit(unopenable=[UnopenableRow(LedgerId(7), 0, b"statement", 1)]))


def test_of_a_kind_signer_and_size_the_last_signature_is_kept(store: SqliteStore) -> None:
    fill(store, 3)
    first, second = (
        CosignatureRow(LEDGER, CosignatureKind.RECEIPT, 3, note, 1, "KOR") for note in (b"first", b"second")
    )
    store.commit(Commit(cosignatures=[first]))
    store.commit(Commit(cosignatures=[second]))
    assert store.cosignatures(LEDGER) == [second]


def test_several_nodes_may_sign_one_checkpoint(store: SqliteStore) -> None:
    fill(store, 3, 2)
    kor, usa, later = (
        CosignatureRow(LEDGER, CosignatureKind.RECEIPT, size, signer.encode(), 1, signer)
        for signer, size in (("KOR", 3), ("USA", 3), ("USA", 5))
    )
    store.commit(Commit(cosignatures=[later, usa, kor]))
    assert store.cosignatures(LEDGER) == [kor, usa, later]
    assert store.cosignature(LEDGER, CosignatureKind.RECEIPT, "KOR") == kor
    assert store.cosignature(LEDGER, CosignatureKind.RECEIPT, "USA") == later
    assert store.cosignature(LEDGER, CosignatureKind.RECEIPT, "KOR", 4) is None


def test_the_newest_cosignature_is_given_if_it_is_new_enough(store: SqliteStore) -> None:
    fill(store, 3, 2)
    rows = [CosignatureRow(LEDGER, CosignatureKind.PQ, size, b"%d" % size, 1, "JPN") for size in (3, 5)]
    store.commit(Commit(cosignatures=rows))
    assert store.cosignature(LEDGER, CosignatureKind.PQ, "JPN") == rows[1]
    assert store.cosignature(LEDGER, CosignatureKind.PQ, "JPN", 5) == rows[1]
    assert store.cosignature(LEDGER, CosignatureKind.PQ, "JPN", 6) is None
    assert store.cosignature(LEDGER, CosignatureKind.RECEIPT, "KOR") is None


# --- the index of decisions

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


# --- runs and entries


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


# --- the feed


def test_the_feed_gives_what_the_filter_wants_and_says_how_far_it_looked(store: SqliteStore) -> None:
    ledger = Growth()
    rows = [
        feed_row(1),
        feed_row(2, traffic_class=2),
        feed_row(3, kind=2),
        feed_row(4, originator="USA"),
        feed_row(5, precedence=1),
        feed_row(6, own=True, originator="JPN"),
        feed_row(7, kind=0, item=FeedItem.WITHDRAWAL),
    ]
    store.commit(Commit(ledgers=[ledger.begin()], feed=rows))

    def wanted(**choice: object) -> list[int]:
        filter_ = FeedFilter(**{"traffic_classes": frozenset({1})} | choice)  # type: ignore[arg-type]  # by name
        found, searched = store.feed(0, 100, filter_)
        assert searched == 7
        return [row.seq for row in found]

    assert wanted() == [1, 3, 4, 5, 7]
    assert wanted(include_own=True) == [1, 3, 4, 5, 6, 7]
    assert wanted(traffic_classes=frozenset({2})) == [2]
    assert wanted(traffic_classes=frozenset()) == []
    assert wanted(kinds=frozenset({2})) == [3, 7]
    assert wanted(originators=frozenset({"USA"})) == [4]
    assert wanted(minimum_precedence=2) == [1, 3, 4, 7]


def test_what_recalls_own_reports_passes_by_every_filter_of_kind_and_precedence(store: SqliteStore) -> None:
    recall = 6
    rows = [
        feed_row(1, kind=recall, precedence=1, own=True, originator="JPN"),
        feed_row(2, kind=2, precedence=1, own=True, originator="JPN"),
        feed_row(3, kind=recall, precedence=1),
        feed_row(4, kind=recall, precedence=1, own=True, originator="JPN", traffic_class=2),
    ]
    store.commit(Commit(ledgers=[Growth().begin()], feed=rows))

    def wanted(**choice: object) -> list[int]:
        filter_ = FeedFilter(**{"traffic_classes": frozenset({1}), "recalls": frozenset({recall})} | choice)  # type: ignore[arg-type]  # by name
        return [row.seq for row in store.feed(0, 100, filter_)[0]]

    # A partner's recall is a report as any other: what it recalls is withdrawn by a notice.
    assert wanted(kinds=frozenset({1}), minimum_precedence=4, include_own=True) == [1]
    assert wanted(minimum_precedence=4, include_own=True) == [1]
    assert wanted(kinds=frozenset({2}), include_own=True) == [1, 2]
    assert wanted(include_own=True) == [1, 2, 3]
    assert wanted() == [3]
    assert wanted(originators=frozenset({"KOR"}), include_own=True) == [3]


def test_the_feed_stops_at_the_limit_and_goes_on_from_there(store: SqliteStore) -> None:
    store.commit(Commit(ledgers=[Growth().begin()], feed=[feed_row(seq) for seq in range(1, 8)]))
    rows, searched = store.feed(0, 3, ANYTHING)
    assert ([row.seq for row in rows], searched) == ([1, 2, 3], 3)
    rows, searched = store.feed(searched, 100, ANYTHING)
    assert ([row.seq for row in rows], searched) == ([4, 5, 6, 7], 7)
    assert store.feed(7, 100, ANYTHING) == ([], 7)


def test_one_look_at_the_feed_is_bounded_and_a_narrow_filter_still_arrives(store: SqliteStore) -> None:
    count = FEED_SCAN_ROWS + 10
    rows = [feed_row(seq, traffic_class=1 if seq < count else 2) for seq in range(1, count + 1)]
    store.commit(Commit(ledgers=[Growth().begin()], feed=rows))
    narrow = FeedFilter(frozenset({2}))
    assert store.feed(0, 10, narrow) == ([], FEED_SCAN_ROWS)
    found, searched = store.feed(FEED_SCAN_ROWS, 10, narrow)
    assert ([row.seq for row in found], searched) == ([count], count)


# --- readers


def test_a_snapshot_sees_one_moment_while_the_writer_goes_on(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    reader = store.reader()
    with reader.snapshot():
        # Nothing has been read yet: the moment is that of the beginning.
        store.commit(Commit(appends=[ledger.append([b"meanwhile"])], meta={"a": b"b"}))
        row = reader.ledger(ORIGIN)
        assert row is not None
        assert row.size == 3
        assert reader.run(LEDGER, 3, 1) is None
        assert reader.meta("a") is None
    row = reader.ledger(ORIGIN)
    assert row is not None
    assert row.size == 4
    reader.close()


def test_a_snapshot_ends_also_when_its_user_fails(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    reader = store.reader()
    with pytest.raises(KeyError), reader.snapshot():
        raise KeyError
    store.commit(Commit(appends=[ledger.append([b"more"])]))
    row = reader.ledger(ORIGIN)
    assert row is not None
    assert row.size == 4
    reader.close()


def test_a_reader_beside_the_writer_sees_each_commit_and_never_half_of_one(store: SqliteStore) -> None:
    reader = store.reader()
    assert reader.ledgers() == []
    ledger, commits = grown(1, 2, 3)
    for size, commit in zip((1, 3, 6), commits, strict=True):
        store.commit(commit)
        row = reader.ledger(ORIGIN)
        assert row is not None
        assert row.size == size
        assert reader.checkpoint(LEDGER, size) == checkpoint(size)
    assert reader.ledgers()[0].root == ledger.edge.root()
    reader.close()


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    reader = cast(SqliteReader, store.reader())
    with pytest.raises(apsw.ReadOnlyError):
        reader._db.execute("DELETE FROM meta")
    reader.close()


def test_a_store_that_was_closed_answers_with_a_store_error(store: SqliteStore) -> None:
    reader = store.reader()
    reader.close()
    with pytest.raises(StoreError):
        reader.ledgers()
    with pytest.raises(StoreError), reader.snapshot():
        pass


def test_every_origin_line_is_given_back_as_it_was(store: SqliteStore) -> None:
    origins = [Origin("JPN", "KOR", "flash", 1), Origin("USA", "JPN", "routine", 2**63 - 1), Origin.decisions("JPN", 3)]
    rows = [Growth(LedgerId(n), origin, n == 2).begin() for n, origin in enumerate(origins, 1)]
    store.commit(Commit(ledgers=rows))
    assert store.ledgers() == rows


def test_no_second_sqlite_library_is_ever_imported() -> None:
    root = Path(gateway.__file__).parent
    imported = {
        name.split(".")[0]
        for source in root.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "apsw" in imported
    assert not imported & {"sqlite3", "_sqlite3", "pysqlite3", "aiosqlite"}
