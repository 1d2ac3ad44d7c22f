"""The write-ahead log as a process finds it: written again before anything is read from it. And how it is emptied.

After a sync that failed, or a process that ended before its sync, the log may hold what can be read and is not durable:
a failed fsync() leaves pages in memory that count as clean, and no later fsync() writes them
(https://wiki.postgresql.org/wiki/Fsync_Errors; Rebello et al., "Can Applications Recover from fsync Failures?", USENIX
ATC 2020). SQLite would take such frames for committed, show them, and fold them into the database page by page; a loss
of power in the midst of that leaves a database of two states, for the log on the disk is not the log that was folded.

So whoever opens a store to write does this first:

1. It takes the lock of writers, so that nobody adds to the log meanwhile.
2. It reads the log and writes the same bytes at the same places, which takes no room; then it syncs. What was in the
   log is durable, or nothing of the store is used.
3. It lets go of the connection, so that the log is read anew by the next one: from bytes that are durable.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final

import apsw

BUSY_MS = 5000
"""Milliseconds for which a lock of another process is waited for."""

CHUNK: Final = 1 << 16
"""Bytes at a time: SQLite's largest page, so as much as a VFS is ever asked to write."""

_OPEN: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_WAL


def log_of(path: Path) -> Path:
    """The log of a database."""
    return path.with_name(path.name + "-wal")


def without_folding(db: apsw.Connection) -> apsw.Connection:
    """Has a connection fold nothing when it is closed: it would sync what may have failed to be synced."""
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    return db


def make_log_durable(path: Path, vfs: str | None) -> None:
    """Does all of the above, where there is a log. Raises apsw.Error or OSError."""
    log = log_of(path)
    if not log.exists() or log.stat().st_size == 0:
        return
    lock = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs))
    try:
        lock.set_busy_timeout(BUSY_MS)
        lock.execute("BEGIN IMMEDIATE")
        _write_again(log, vfs)
    finally:
        lock.close()


def _write_again(log: Path, vfs: str | None) -> None:
    file = apsw.VFSFile(vfs or "", str(log), [_OPEN, 0])
    try:
        size = file.xFileSize()
        for at in range(0, size, CHUNK):
            file.xWrite(file.xRead(min(CHUNK, size - at), at), at)
        file.xSync(apsw.SQLITE_SYNC_FULL)
    finally:
        file.xClose()


def empty_log(db: apsw.Connection) -> None:
    """Folds the write-ahead log into the file and cuts it to nothing: its frames hold pages as they were before.

    A reader who still looks at an older state keeps it from being cut; the next time it is tried again.
    """
    db.set_busy_timeout(0)
    try:
        with contextlib.suppress(apsw.BusyError):
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.set_busy_timeout(BUSY_MS)
