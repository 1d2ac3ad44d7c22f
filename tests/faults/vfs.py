"""The SQLite VFS of a disk that fails (`disk`): known by a name, or as the default of the process.

Shared memory is the real VFS's own: APSW gives no hold of it, so its operations are not counted. It is no part of what
survives.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

import apsw

from tests.faults.disk import Disk, Op, What

if TYPE_CHECKING:
    from typing_extensions import Buffer

BASE: Final = "unix"
"""The real VFS."""

_CODES: Final = {
    Op.OPEN: apsw.SQLITE_CANTOPEN,
    Op.READ: apsw.SQLITE_IOERR_READ,
    Op.WRITE: apsw.SQLITE_IOERR_WRITE,
    Op.SYNC: apsw.SQLITE_IOERR_FSYNC,
    Op.TRUNCATE: apsw.SQLITE_IOERR_TRUNCATE,
    Op.DELETE: apsw.SQLITE_IOERR_DELETE,
    Op.LOCK: apsw.SQLITE_IOERR_LOCK,
}


def _error(op: Op, what: What) -> apsw.Error:
    if what is What.FULL:
        return _made(apsw.SQLITE_FULL if op is Op.WRITE else apsw.SQLITE_CANTOPEN)
    return _made(_CODES[op])


def _made(code: int) -> apsw.Error:
    error = apsw.exception_for(code)
    assert isinstance(error, apsw.Error)
    error.args = ("as told by the test",)
    return error


_LOGS: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
_KEPT: Final = _LOGS | apsw.SQLITE_OPEN_MAIN_DB
"""Kinds of files that survive; temporary ones do not."""


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self._disk = disk
        self._path = _path(name)
        kept = bool(flags[0] & _KEPT) and self._path != ""
        with disk.alone():
            what = disk.meet(Op.OPEN, self._path)
            made = kept and not os.path.exists(self._path)
            if what is not None or (made and (disk.read_only or disk.full)):
                raise _error(Op.OPEN, what or What.IO_ERROR)
            if disk.read_only and flags[0] & apsw.SQLITE_OPEN_READWRITE:
                # As open(2) does on such a file system, and the real VFS then: to read alone.
                flags[0] = flags[0] & ~(apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE)
                flags[0] |= apsw.SQLITE_OPEN_READONLY
            asked = flags[0]
            super().__init__(BASE, name, flags)
            self._kept = kept
            if kept:
                disk.opened(self._path, made=made)
        # The real VFS syncs the directory with the first sync of a log by each handle that could have made it
        # (os_unix.c, UNIXFILE_DIRSYNC): the one that did may never sync.
        self._directory = bool(asked & apsw.SQLITE_OPEN_CREATE) and bool(asked & _LOGS)

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        what = self._disk.meet(Op.READ, self._path)
        if what is None:
            return super().xRead(amount, offset)
        if what is What.CORRUPT:
            return self._disk.one_bit_wrong(super().xRead(amount, offset))
        raise _error(Op.READ, what)

    def xWrite(self, data: Buffer, offset: int) -> None:  # noqa: N802
        with self._disk.alone():
            raw = bytes(data)
            what = self._disk.meet(Op.WRITE, self._path)
            if what is not None:
                if self._disk.off or self._disk.read_only:
                    raise _error(Op.WRITE, what)
                raw = self._disk.part_of(raw)
            if raw:
                super().xWrite(raw, offset)
                if self._kept:
                    self._disk.written(self._path, offset, raw)
            if what is not None:
                raise _error(Op.WRITE, what)

    def xSync(self, flags: int) -> None:  # noqa: N802
        with self._disk.alone():
            what = self._disk.meet(Op.SYNC, self._path)
            if what is not None:
                if not self._disk.off:
                    self._disk.not_synced(self._path)
                raise _error(Op.SYNC, What.IO_ERROR)
            # What is durable is the disk's to say: the real one is not asked, and tests take no longer for it.
            self._disk.synced(self._path, directory=self._directory)
            self._directory = False

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        with self._disk.alone():
            what = self._disk.meet(Op.TRUNCATE, self._path)
            if what is not None:
                raise _error(Op.TRUNCATE, What.IO_ERROR)
            super().xTruncate(newsize)
            if self._kept:
                self._disk.truncated(self._path, newsize)

    def xLock(self, level: int) -> None:  # noqa: N802
        what = self._disk.meet(Op.LOCK, self._path)
        # Its locks are all that a connection to a disk without power still has.
        if what is not None and not self._disk.off:
            raise _error(Op.LOCK, What.IO_ERROR)
        super().xLock(level)


class _Vfs(apsw.VFS):
    def __init__(self, name: str, disk: Disk, default: bool) -> None:
        self._disk = disk
        super().__init__(name, BASE, makedefault=default)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> apsw.VFSFile:  # noqa: N802
        return _File(self._disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        with self._disk.alone():
            what = self._disk.meet(Op.DELETE, filename)
            if what is not None:
                raise _error(Op.DELETE, What.IO_ERROR)
            super().xDelete(filename, syncdir)
            self._disk.deleted(filename, directory=syncdir)


def _path(name: str | apsw.URIFilename | None) -> str:
    if name is None:
        return ""
    return name.filename() if isinstance(name, apsw.URIFilename) else name


@contextlib.contextmanager
def registered(name: str, disk: Disk) -> Iterator[str]:
    """SQLite knows the disk by that name within it: `SqliteStore(path, vfs=name)`."""
    vfs = _Vfs(name, disk, False)
    try:
        yield name
    finally:
        vfs.unregister()


def register_default(disk: Disk) -> Callable[[], None]:
    """Every connection of this process that names no VFS uses the disk. Returns what ends that."""
    return _Vfs("faults", disk, True).unregister
