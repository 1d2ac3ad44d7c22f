"""How a store's file is opened to be written, and by which settings what it commits is durable.

Durability rests on three promises of SQLite's documentation:

- In WAL mode with ``synchronous=FULL`` the log is synced on every commit, so a transaction that COMMIT returned from
  survives a loss of power (https://www.sqlite.org/pragma.html#pragma_synchronous, https://www.sqlite.org/wal.html).
- A transaction is all or nothing across a crash at any instruction (https://www.sqlite.org/atomiccommit.html).
- Readers in WAL mode see the last committed snapshot and are never blocked by the writer
  (https://www.sqlite.org/isolation.html).

``PRAGMA fullfsync`` is set besides, for systems whose fsync() does not reach the platter.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import apsw

from gateway.ledger.errors import StoreError
from gateway.ledger.stores.sqlite.failing import Translated
from gateway.ledger.stores.sqlite.log import BUSY_MS, empty_log, make_log_durable, without_folding
from gateway.ledger.stores.sqlite.schema import migrate, require_own

Logged = Callable[[apsw.Connection, str, int], int]
"""SQLite's hook: the connection, the name of the database, and the pages in its log."""


def opened_to_write(path: Path, vfs: str | None, *, must_exist: bool, logged: Logged) -> apsw.Connection:
    """The writer's connection, with its schema up to date and nothing in its log.

    `must_exist`: no file is made. `logged` is told of the length of the log after each commit. Raises StoreError.
    """
    with Translated(path, "opening"):
        if not must_exist:
            _make(path)
        # Looked at before anything is written: it may be another program's.
        require_own(path, vfs)
        make_log_durable(path, vfs)
        db = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs))
        try:
            _prepare(path, db, logged)
        except BaseException:  # however it ends, no connection is left open; what ended it goes on
            db.close()
            raise
    return db


def _make(path: Path) -> None:
    """Makes the file, where there is none: here and not by SQLite, so that no other user can ever have opened it."""
    if path.exists():
        # Not opened for nothing: to close it would take the locks of every connection of this process.
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _prepare(path: Path, db: apsw.Connection, logged: Logged) -> None:
    db.set_busy_timeout(BUSY_MS)
    # locking_mode EXCLUSIVE is not used: `ledger verify` must be able to read beside a running gateway.
    if db.pragma("journal_mode", "wal") != "wal":
        raise StoreError(f"store {path}: its file system cannot hold SQLite's write-ahead log; use a local disk")
    db.pragma("synchronous", "full")
    db.pragma("fullfsync", True)
    # What is freed is overwritten with zeros: otherwise pages and cells keep it until they are used again, and
    # copies of it are left wherever a page was ever split.
    db.pragma("secure_delete", True)
    db.pragma("foreign_keys", True)
    db.pragma("trusted_schema", False)
    # SQLite's own folding passes over what fails: `fold` does it, and says so.
    db.pragma("wal_autocheckpoint", 0)
    db.set_wal_hook(logged)
    migrate(path, db)
    empty_log(db)
