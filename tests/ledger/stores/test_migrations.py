"""A store that an older gateway wrote is brought up to date, and what it holds keeps its meaning."""

from __future__ import annotations

from pathlib import Path

import apsw

import gateway
from gateway.ledger.stores import ReceivedRow
from gateway.ledger.stores.sqlite import APPLICATION_ID, SqliteStore

FIRST = Path(gateway.__file__).parent / "ledger/stores/migrations/0001.sql"


def test_what_came_first_says_of_which_class_and_precedence_a_received_report_is(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    db = apsw.Connection(str(path))
    db.execute(FIRST.read_text())
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", 1)
    db.execute("INSERT INTO ledger VALUES (1, 'signalfire/v1/KOR/JPN/flash/1', 1, 0, zeroblob(32), NULL)")
    feed = "INSERT INTO feed VALUES (?, ?, 1, ?, 'KOR', ?, 0, ?, ?, 5)"
    report, tombstone = b"r" * 16, b"t" * 16
    db.execute(feed, (1, 1, 1, report, 1, 4))
    db.execute(feed, (2, 2, 2, tombstone, 3, 2))
    db.execute(feed, (3, 2, 3, report, 3, 1))
    db.execute("INSERT INTO received VALUES ('KOR', ?, 1, 9)", (report,))
    db.execute("INSERT INTO received VALUES ('KOR', ?, NULL, 8)", (tombstone,))
    db.close()

    store = SqliteStore(path)
    assert store.received("KOR", report) == ReceivedRow("KOR", report, 1, 9, 1, 4)
    assert store.received("KOR", tombstone) == ReceivedRow("KOR", tombstone, None, 8, 3, 2)
    store.close()


def test_of_an_own_ledger_that_had_ended_what_has_a_receipt_counts_as_confirmed(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    db = apsw.Connection(str(path))
    db.execute(FIRST.read_text())
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", 1)
    ledger = "INSERT INTO ledger VALUES (?, ?, ?, 9, zeroblob(32), ?)"
    lines = [f"signalfire/v1/{name}" for name in ("JPN/KOR/flash/1", "JPN/USA/flash/1", "KOR/JPN/flash/1")]
    for number, (line, replica) in enumerate(zip(lines, (0, 0, 1), strict=True), 1):
        db.execute(ledger, (number, line, replica, f"{line[:-1]}2"))
    db.execute(ledger, (4, "signalfire/v1/JPN/KOR/flash/2", 0, None))
    for kind, size in (("receipt", 4), ("receipt", 7), ("pq", 9)):
        db.execute("INSERT INTO cosignature VALUES (1, ?, ?, x'00', 5)", (kind, size))
    db.close()

    store = SqliteStore(path)
    assert [row.agreed for row in store.ledgers()] == [7, 0, None, None]
    store.close()
