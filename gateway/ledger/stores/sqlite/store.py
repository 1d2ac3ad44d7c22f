"""The one writer of a store's file: commits, folding, and letting go of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import apsw

from gateway.ledger.errors import StoreError
from gateway.ledger.stores import Commit, StoreReader
from gateway.ledger.stores.sqlite.failing import Translated
from gateway.ledger.stores.sqlite.log import empty_log
from gateway.ledger.stores.sqlite.opening import opened_to_write
from gateway.ledger.stores.sqlite.reader import SqliteReader
from gateway.ledger.stores.sqlite.writing import write

LOG_PAGES = 1000
"""Pages of the log after which it is folded into the file: 4 MiB, as SQLite does by itself. Folding writes a page once,
however often it stands in the log, so a longer log costs a little less; but nothing is committed while it is folded,
which takes some 10 ms a thousand pages.
"""

_PROBE = "probe"


class SqliteStore(SqliteReader):
    """The one writer of a store's file. See `gateway.ledger.stores.Store`.

    Makes the file (mode 0600) if there is none, and brings an older schema up to date. `vfs` names a registered
    APSW VFS, through which faults can be injected under the store.
    """

    _is_writer: ClassVar[bool] = True

    def __init__(
        self,
        path: Path,
        *,
        vfs: str | None = None,
        must_exist: bool = False,
        on_failure: Callable[[StoreError], None] | None = None,
    ) -> None:
        """`must_exist`: no file is made, and StoreError is raised where there is none."""
        db = opened_to_write(path, vfs, must_exist=must_exist, logged=self._logged)
        self._log_pages = 0
        self._closed = False
        super().__init__(path, db, vfs, on_failure)

    def _logged(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def reader(self) -> StoreReader:
        return SqliteReader(self._path, vfs=self._vfs, on_failure=self._on_failure)

    def commit(self, commit: Commit) -> None:
        """Writes `commit` in one transaction.

        Order within the transaction matters to nobody: SQLite shows all of it or nothing. The order *around* it does,
        and is the caller's: nothing that the commit holds may be acknowledged, served or sent before this returns.
        """
        db = self._db
        with Translated(self._path, "a commit"):
            forgets = bool(commit.pruned or commit.pruned_reports)
            # IMMEDIATE takes the write lock at once, so that a second writer is met here and not half-way.
            db.execute("BEGIN IMMEDIATE")
            try:
                write(db, commit)
                db.execute("COMMIT")
            except BaseException:  # however it ends, no transaction is left open; what ended it goes on
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if forgets:
                empty_log(db)

    @property
    def log_is_long(self) -> bool:
        return self._log_pages >= LOG_PAGES

    def fold(self) -> None:
        with Translated(self._path, "folding the log into it"):
            # PASSIVE waits for no reader: what one still needs is folded next time.
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._log_pages = 0

    def probe(self, size: int) -> None:
        db = self._db
        with Translated(self._path, "a trial commit"):
            for value in (bytes(size), b""):
                db.execute("BEGIN IMMEDIATE")
                try:
                    db.execute("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = ?2",
                               (_PROBE, value))  # fmt: skip
                    db.execute("COMMIT")
                except BaseException:  # as in `commit`
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            empty_log(db)

    def abandon(self) -> None:
        """Every operation on the disk that may fail is left out: there is nothing to be told of it."""
        self._closed = True
        with contextlib.suppress(apsw.Error):
            # Forced: statements that have failed are in nobody's hands any more.
            self._db.close(True)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with Translated(self._path, "closing"):
            try:
                empty_log(self._db)
                # There is nothing left to fold; SQLite deletes the log with the last connection.
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            finally:
                self._db.close()
