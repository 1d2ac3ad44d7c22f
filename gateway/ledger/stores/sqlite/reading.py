"""A connection to read the store's file by: how it is opened, asked, and held to one moment."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import apsw

from gateway.ledger.errors import StoreError
from gateway.ledger.stores import LedgerId
from gateway.ledger.stores.sqlite.failing import Translated
from gateway.ledger.stores.sqlite.log import BUSY_MS, without_folding
from gateway.ledger.stores.sqlite.schema import require_version

T = TypeVar("T")

Row = tuple[Any, ...]
"""One row. The tables are STRICT, so a column holds the type that the schema says."""


class Reading:
    """What all reading goes through. What is read, by subject, is added by those who inherit."""

    _is_writer: ClassVar[bool] = False

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection | None = None,
        vfs: str | None = None,
        on_failure: Callable[[StoreError], None] | None = None,
    ) -> None:
        """`on_failure` is told of each error that SQLite or the disk gave, besides whoever asked."""
        self._path = path
        self._vfs = vfs
        self._on_failure = on_failure
        self._querying = self._failing("a query")
        if connection is None:
            with Translated(path, "opening to read"):
                connection = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs))
                connection.set_busy_timeout(BUSY_MS)
        self._db = connection
        # Otherwise SQLite, which weighs what is bound, plans most queries anew each time: that is what they cost.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        require_version(path, connection, on_failure)

    def _failing(self, doing: str) -> Translated:
        return Translated(self._path, doing, self._on_failure)

    def _rows(self, sql: str, *bindings: object) -> list[Row]:
        with self._querying:
            return self._db.execute(sql, bindings).fetchall()

    def _row(self, sql: str, *bindings: object) -> Row | None:
        rows = self._rows(sql, *bindings)
        return rows[0] if rows else None

    def _each(self, sql: str, *bindings: object) -> Iterator[Row]:
        with self._querying:
            yield from self._db.execute(sql, bindings)

    def _at_one_moment(self, read: Callable[[LedgerId, int, int], T], ledger: LedgerId, first: int, last: int) -> T:
        """Reads in a snapshot of its own, unless one is held already or this is the writer, beside whom nobody writes.

        The first thing that is read takes the snapshot.
        """
        if self._db.in_transaction or self._is_writer:
            return read(ledger, first, last)
        with self._failing("beginning to read"):
            self._db.execute("BEGIN DEFERRED")
        try:
            return read(ledger, first, last)
        finally:
            with self._failing("ending a read"):
                self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._failing("beginning to read"):
            # Deferred: the snapshot is taken by the first read, which is done here at once.
            self._db.execute("BEGIN DEFERRED")
            self._db.pragma("schema_version")
        try:
            yield
        finally:
            with self._failing("ending a read"):
                self._db.execute("ROLLBACK")

    def interrupt(self) -> None:
        self._db.interrupt()

    def close(self) -> None:
        with self._failing("closing"):
            self._db.close()


def known(kinds: Callable[[Any], T], value: object, table: str) -> T:
    """A value of an enumeration. Raises StoreError where it is none of them."""
    try:
        return kinds(value)
    except ValueError as error:
        raise StoreError(f"a row of {table} is not what it can be: {error}") from error


def any_of(values: Sequence[bytes] | Sequence[str]) -> apsw.CArrayBinding | None:
    """What is bound for ``IN carray(?)``: one statement, however many there are."""
    return apsw.carray(tuple(values)) if values else None
