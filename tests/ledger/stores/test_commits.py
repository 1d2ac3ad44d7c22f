"""A commit is kept whole or not at all, and every row of it is given back as the layout promises."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import HASH_SIZE, leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import (
    Commit,
    CopyRow,
    CosignatureKind,
    CosignatureRow,
    Counts,
    DecisionPlace,
    DecisionRow,
    DecisionSubjectRow,
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
from gateway.ledger.stores.sqlite import SqliteStore, columns
from tests.ledger.stores.growth import ANYTHING, LEDGER, ORIGIN, Growth, entries_of, feed_row, fill, grown


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


def test_every_origin_line_is_given_back_as_it_was(store: SqliteStore) -> None:
    origins = [Origin("JPN", "KOR", "flash", 1), Origin("USA", "JPN", "routine", 2**63 - 1), Origin.decisions("JPN", 3)]
    rows = [Growth(LedgerId(n), origin, n == 2).begin() for n, origin in enumerate(origins, 1)]
    store.commit(Commit(ledgers=rows))
    assert store.ledgers() == rows
