"""What SQLite and the file system say when they fail, as errors of this room, each with how it is mended.

Which kind it is decides what a gateway does: what is full or cannot be written now is tried again, and what is damaged
is not.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator
from pathlib import Path

import apsw

from gateway.ledger.errors import StoreConflict, StoreDamaged, StoreError, StoreFull, StoreInDoubt, StoreReadOnly

_RESTORE = "; restore it from a backup, or begin anew and recover it, as docs/operations.md says"
_FULL = "; make room on its disk"
_READ_ONLY = "; its file system was mounted read-only, or this user may not write it: look at the system's log"
_DISK = "; look at the system's log for errors of the disk"
_PATH = "; correct the path of the store in the configuration, or let this user read it"

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)


@contextlib.contextmanager
def translated(path: Path, doing: str) -> Iterator[None]:
    """Raises what goes wrong within it with the store `path` as a StoreError."""
    try:
        yield
    except (apsw.Error, OSError) as error:
        kind, mend = _kind(error)
        raise kind(f"store {path}: {doing} failed: {error}{mend}") from error


def _kind(error: apsw.Error | OSError) -> tuple[type[StoreError], str]:
    match error:
        case apsw.NotADBError() | apsw.CorruptError():
            return StoreDamaged, _RESTORE
        case apsw.ConnectionClosedError() | apsw.InterruptError():
            return StoreInDoubt, "; try again"
        case apsw.ConstraintError():
            return StoreConflict, ""
        case apsw.FullError():
            return StoreFull, _FULL
        case apsw.ReadOnlyError():
            return StoreReadOnly, _READ_ONLY
        case apsw.CantOpenError():
            return StoreError, _PATH
        case apsw.IOError():
            return StoreError, _DISK
        case OSError():
            if error.errno in _FULL_ERRNOS:
                return StoreFull, _FULL
            if error.errno in _READ_ONLY_ERRNOS:
                return StoreReadOnly, _READ_ONLY
    return StoreError, ""
