"""What a check gathers, in a temporary database: its memory does not grow with what is checked.

Rules:

1. The database is SQLite's own temporary one. Its file has no name, so that it is gone when the check ends, however it
   ends; it lies where SQLite keeps temporary files (`SQLITE_TMPDIR`, `TMPDIR`, `/var/tmp`). It is never synced.
2. What is gathered in a memory of its own is bounded by how many ledgers, nodes and lists of fields there are.
3. It holds identifiers, digests, times and marks, and no content of a report. What a store keeps sealed of the policy
   (the names of rules) does not come into it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

import apsw

from gateway.ledger.errors import LedgerError

CACHE_KIB: Final = 24 * 1024
"""Memory of the database; what is more goes to its file."""

_ROWS_AT_ONCE: Final = 512
_LISTS_KEPT: Final = 4096

_SCHEMA: Final = """
CREATE TABLE list (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE);
CREATE TABLE record (
    n INTEGER PRIMARY KEY, ledger INT, generation INT, idx INT, originator TEXT, report_id BLOB, digest BLOB, kind TEXT,
    event_id TEXT, submitted_by TEXT, time_ns INT, traffic_class INT, precedence INT, taken_ns INT, rebuilt INT
);
-- Entries of own ledgers that partners gave back, the releases among them, and the own reports that these are about.
CREATE TABLE back (line INT, idx INT, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE returned (line INT, idx INT, originator TEXT, report_id BLOB, partner TEXT);
CREATE TABLE uncertain (report_id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE lost (report_id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE decision (
    n INTEGER PRIMARY KEY, record INT, originator TEXT, report_id BLOB, partner TEXT, outcome INT, due_ns INT, line INT,
    idx INT, agreement TEXT, fields INT, changed INT, commitment BLOB
);
CREATE TABLE sent (line INT, idx INT, originator TEXT, report_id BLOB, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE again (
    line INT, idx INT, number INT, at_line INT, at_idx INT, PRIMARY KEY (line, idx)
) WITHOUT ROWID;
CREATE TABLE withdrawal (
    n INTEGER PRIMARY KEY, line INT, originator TEXT, report_id BLOB, partner TEXT, time_ns INT
);
CREATE TABLE told (originator TEXT, report_id BLOB, partner TEXT, time_ns INT);
CREATE TABLE kept_back (line INT, idx INT, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE said_kept_back (line INT, idx INT, count INT, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE gone (line INT, idx INT, identity BLOB, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE pruned (line INT, idx INT, PRIMARY KEY (line, idx)) WITHOUT ROWID;
CREATE TABLE gone_report (seq INTEGER PRIMARY KEY, time_ns INT);
CREATE TABLE received (
    ledger INT, idx INT, item INT, originator TEXT, report_id BLOB, kind INT, traffic_class INT, precedence INT,
    PRIMARY KEY (ledger, idx)
) WITHOUT ROWID;
CREATE TABLE brought (
    line INT, idx INT, originator TEXT, report_id BLOB, digest BLOB, PRIMARY KEY (line, idx)
) WITHOUT ROWID;
CREATE TABLE stored (ledger INT, size INT, time_ns INT, PRIMARY KEY (ledger, size)) WITHOUT ROWID;
CREATE TABLE checkpoint (ledger INT, size INT, digest BLOB, PRIMARY KEY (ledger, size)) WITHOUT ROWID;
CREATE TABLE unnamed (ledger INT, size INT, note BLOB, PRIMARY KEY (ledger, size)) WITHOUT ROWID;
CREATE TABLE doubtful (n INTEGER PRIMARY KEY, ledger INT, idx INT, until INT);
CREATE TABLE proven (n INTEGER PRIMARY KEY, ledger INT, idx INT, originator TEXT, until INT);
CREATE TABLE expected (
    verdict INT, time_ns INT, ledger INT, idx INT, PRIMARY KEY (verdict, time_ns, ledger, idx)
) WITHOUT ROWID;

-- As the store has it.
CREATE TABLE on_record (
    originator TEXT, report_id BLOB, partner TEXT, ledger INT, idx INT, traffic_class INT, precedence INT,
    agreement TEXT, withdrawn_ns INT, PRIMARY KEY (originator, report_id, partner)
) WITHOUT ROWID;
CREATE TABLE waiting (kind TEXT, originator TEXT, report_id BLOB, partner TEXT, due_ns INT);
CREATE TABLE ended (originator TEXT, report_id BLOB, time_ns INT);
CREATE TABLE kept (report_id BLOB);
CREATE TABLE recalled (report_id BLOB PRIMARY KEY, time_ns INT) WITHOUT ROWID;
CREATE TABLE spoilt (report_id BLOB PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE warning (
    event_id TEXT, traffic_class INT, report_id BLOB, PRIMARY KEY (event_id, traffic_class, report_id)
) WITHOUT ROWID;
CREATE TABLE given (
    seq INTEGER PRIMARY KEY, item INT, ledger INT, idx INT, originator TEXT, report_id BLOB, kind INT,
    traffic_class INT, precedence INT, received_ns INT, via TEXT
);
CREATE TABLE given_own (report_id BLOB);
CREATE TABLE indexed (
    verdict INT, time_ns INT, ledger INT, idx INT, number INT, PRIMARY KEY (verdict, time_ns, ledger, idx, number)
) WITHOUT ROWID;
CREATE TABLE indexed_subject (report_id BLOB, event_id TEXT, time_ns INT, ledger INT, idx INT);
"""


class GatheringError(LedgerError):
    """The temporary database of a check cannot be written or read."""


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise GatheringError(
            f"the temporary database of the check: {error}; it needs space where temporary files go: set TMPDIR to a"
            " directory that has some kB for each report"
        ) from error


class Gathered:
    """The temporary database. For use in one thread."""

    def __init__(self) -> None:
        with _translated():
            self._db = apsw.Connection("")
            self._db.pragma("cache_size", -CACHE_KIB)
            self._db.pragma("journal_mode", "off")
            self._db.pragma("synchronous", "off")
            self._db.pragma("temp_store", "file")
            self._db.execute(_SCHEMA)
            # Nothing of it is ever undone, so that there is no need to end it.
            self._db.execute("BEGIN")
        self._pending: dict[str, list[Sequence[Any]]] = {}
        self._insert: dict[str, str] = {}
        self._lines: dict[str, int] = {}
        self._names: list[str] = []
        self._lists: dict[str, int] = {}

    def close(self) -> None:
        """Lets go of everything."""
        self._db.close()

    def add(self, table: str, *row: Any) -> None:
        """Adds a row; one that has the same key goes."""
        pending = self._pending.setdefault(table, [])
        pending.append(row)
        if len(pending) >= _ROWS_AT_ONCE:
            self._flush(table)

    def _flush(self, table: str) -> None:
        rows = self._pending.pop(table)
        sql = self._insert.get(table)
        if sql is None:
            sql = f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * len(rows[0]))})"
            self._insert[table] = sql
        with _translated():
            self._db.executemany(sql, rows)

    def do(self, sql: str, *bindings: Any) -> None:
        """Runs a statement that gives nothing."""
        self._settle(sql)
        with _translated():
            self._db.execute(sql, bindings)

    def rows(self, sql: str, *bindings: Any) -> Iterator[Any]:
        """The rows of a query, one after another."""
        self._settle(sql)
        with _translated():
            yield from self._db.execute(sql, bindings)

    def row(self, sql: str, *bindings: Any) -> Any:
        """The first row of a query; None where there is none."""
        self._settle(sql)
        with _translated():
            return self._db.execute(sql, bindings).fetchone()

    def number(self, sql: str, *bindings: Any) -> int:
        """The one number that a query gives."""
        return int(self.row(sql, *bindings)[0])

    def _settle(self, sql: str) -> None:
        """Writes what waits for the tables that a statement may name."""
        for table in [table for table in self._pending if table in sql]:
            self._flush(table)

    # --- names

    def line(self, origin: str) -> int:
        """The number of an origin line."""
        found = self._lines.get(origin)
        if found is None:
            found = self._lines[origin] = len(self._names)
            self._names.append(origin)
        return found

    def origin(self, line: int) -> str:
        """The origin line of that number."""
        return self._names[line]

    def list(self, paths: Sequence[str]) -> int:
        """The number of a list of field paths."""
        text = " ".join(paths)
        found = self._lists.get(text)
        if found is None:
            self.do("INSERT OR IGNORE INTO list (text) VALUES (?)", text)
            found = self.number("SELECT id FROM list WHERE text = ?", text)
            if len(self._lists) >= _LISTS_KEPT:
                self._lists.clear()
            self._lists[text] = found
        return found

    def paths(self, number: int) -> tuple[str, ...]:
        """The list of field paths of that number."""
        return tuple(str(self.row("SELECT text FROM list WHERE id = ?", number)[0]).split())
