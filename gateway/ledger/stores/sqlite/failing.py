"""What SQLite and the file system say when they fail, as errors of this room, each with how it is mended.

Which kind it is decides what a gateway does: what is full or cannot be written now is tried again, and what is damaged
is not.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import apsw

from gateway.ledger.errors import StoreConflict, StoreDamaged, StoreError, StoreFull, StoreInDoubt, StoreReadOnly

_RESTORE = "; restore it from a backup, or begin anew and recover it, as docs/operations.md says"
_FULL = "; make room on its disk"
_READ_ONLY = "; its file system was mounted read-only, or this user may not write it: look at the system's log"
_DISK = "; look at the system's log for errors of the disk"
_PATH = "; correct the path of the store in the configuration, or let this user read it"

_FULL_ERRNOS = (errno.ENOSPC, errno.EDQUOT)
_READ_ONLY_ERRNOS = (errno.EROFS, errno.EACCES, errno.EPERM)


class Translated:
    """Raises what goes wrong within it with the store `path` as a StoreError.

    It holds nothing but words, so one serves any number of times, also within itself.
    """

    __slots__ = ("_doing", "_on_failure", "_path")

    def __init__(self, path: Path, doing: str, on_failure: Callable[[StoreError], None] | None = None) -> None:
        """`on_failure` is told of each StoreError, whoever raised it, but not of what this process closed or
        interrupted itself: that is no failure.
        """
        self._path = path
        self._doing = doing
        self._on_failure = on_failure

    def __enter__(self) -> None:
        """Nothing is done before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        if isinstance(error, StoreError):
            self._tell(error)
        elif isinstance(error, (apsw.Error, OSError)):
            cls, mend = _kind(error)
            failure = cls(f"store {self._path}: {self._doing} failed: {error}{mend}")
            self._tell(failure)
            raise failure from error

    def _tell(self, error: StoreError) -> None:
        if self._on_failure is not None and not isinstance(error, StoreInDoubt):
            self._on_failure(error)


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
        case apsw.IOError() if getattr(error, "extendedresult", None) == apsw.SQLITE_IOERR_SHMSIZE:
            # The index of the log could not grow: the first that fails where a store is opened on a full disk.
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
