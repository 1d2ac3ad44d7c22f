"""A store that an older gateway wrote is brought up to date, and what it holds keeps its meaning."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

import gateway
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerId, ReceivedRow
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.ledger.stores.sqlite.schema import APPLICATION_ID

FIRST = Path(gateway.__file__).parent / "ledger/stores/sqlite/migrations/0001.sql"


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


def old_store(path: Path, *rows: str) -> None:
    """A store of schema version 1 with these rows in it."""
    db = apsw.Connection(str(path))
    db.execute(FIRST.read_text())
    db.pragma("application_id", APPLICATION_ID)
    db.pragma("user_version", 1)
    for row in rows:
        db.execute(row)
    db.close()


def test_a_signature_is_by_the_recipient_or_if_it_is_post_quantum_by_the_owner(tmp_path: Path) -> None:
    path = tmp_path / "old.sqlite"
    old_store(
        path,
        "INSERT INTO ledger VALUES (1, 'signalfire/v1/JPN/KOR/flash/1', 0, 3, zeroblob(32), NULL)",
        "INSERT INTO ledger VALUES (2, 'signalfire/v1/USA/JPN/flash/12', 1, 3, zeroblob(32), NULL)",
        "INSERT INTO ledger VALUES (3, 'signalfire/v1/JPN/decisions/1', 0, 3, zeroblob(32), NULL)",
        "INSERT INTO cosignature VALUES (1, 'receipt', 3, x'0a', 5), (1, 'pq', 3, x'0b', 6)",
        "INSERT INTO cosignature VALUES (2, 'receipt', 3, x'0c', 7), (2, 'pq', 3, x'0d', 8), (3, 'pq', 3, x'0e', 9)",
    )
    store = SqliteStore(path)
    receipt, pq = CosignatureKind.RECEIPT, CosignatureKind.PQ
    assert [row for each in store.ledgers() for row in store.cosignatures(each.id)] == [
        CosignatureRow(LedgerId(1), pq, 3, b"\x0b", 6, "JPN"),
        CosignatureRow(LedgerId(1), receipt, 3, b"\x0a", 5, "KOR"),
        CosignatureRow(LedgerId(2), pq, 3, b"\x0d", 8, "USA"),
        CosignatureRow(LedgerId(2), receipt, 3, b"\x0c", 7, "JPN"),
        CosignatureRow(LedgerId(3), pq, 3, b"\x0e", 9, "JPN"),
    ]
    store.close()


@pytest.mark.parametrize(
    ("line", "size", "to_index"),
    [
        ("signalfire/v1/JPN/decisions/1", 3, bytes(16)),
        ("signalfire/v1/JPN/decisions/1", 0, None),
        ("signalfire/v1/JPN/KOR/flash/1", 3, None),
    ],
)
def test_decisions_that_were_recorded_are_to_be_indexed(
    tmp_path: Path, line: str, size: int, to_index: bytes | None
) -> None:
    path = tmp_path / "old.sqlite"
    old_store(path, f"INSERT INTO ledger VALUES (1, '{line}', 0, {size}, zeroblob(32), NULL)")
    store = SqliteStore(path)
    assert store.meta("decisions to index") == to_index
    store.close()
