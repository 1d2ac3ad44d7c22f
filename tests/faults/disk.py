"""A disk that fails: it counts what is done to it, and fails, kills or loses power where it is told to.

`Disk` holds what is known of the files; `vfs` gives it to SQLite. The real files always hold what a
process that reads them now would see. Beside them the disk keeps, of each file, the bytes that would survive a loss of
power (`volatile`):

1. A write is volatile until a sync of its file succeeds. So is a truncation.
2. A sync that fails leaves everything that was volatile *lost*: it may be there or not, in any part, and no later sync
   makes it durable. Only what is written again and synced then is. (So do Linux's file systems: after a failed fsync()
   the pages count as clean. https://wiki.postgresql.org/wiki/Fsync_Errors.) With `forgets` some of it is gone from what
   can be read as well, as when such a page is evicted.
3. A file that was made or deleted is so for certain once its directory is synced: at the first sync of a log or a
   journal, and where a deletion asks for it. Of what was not, the first few survive, in order.
4. A loss of power keeps of the volatile writes any subset, in parts of 512 bytes, whatever their order was. It never
   touches bytes that nobody wrote (SQLite relies on as much: SQLITE_IOCAP_POWERSAFE_OVERWRITE).

What is chosen follows from the seed and the operations alone.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tests.faults.volatile import Cut, Inode, Write, sectors


class Op(StrEnum):
    """What SQLite does to a file."""

    OPEN = "open"
    READ = "read"
    WRITE = "write"
    SYNC = "sync"
    TRUNCATE = "truncate"
    DELETE = "delete"
    LOCK = "lock"


CHANGING: Final = frozenset({Op.WRITE, Op.SYNC, Op.TRUNCATE, Op.DELETE})
"""Operations at which a crash can make a difference."""


class What(StrEnum):
    """What happens at an operation."""

    IO_ERROR = "io-error"
    """It fails. Of a write, some of the bytes were written."""
    FULL = "full"
    """No space is left: a write fails after some of the bytes, a new file cannot be made."""
    CORRUPT = "corrupt"
    """A read gives one bit wrong."""
    KILL = "kill"
    """The process is gone (SIGKILL)."""
    STOP = "stop"
    """As KILL, for a process that goes on: every operation fails from then on, and nothing is lost (`Disk.start`)."""
    POWER = "power"
    """The machine is without power: see `Disk.power_cut`."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`what` happens at the `nth` operation from when it is armed (1 is the first), of these kinds on these files."""

    what: What
    nth: int
    ops: frozenset[Op] = CHANGING
    suffix: str = ""
    """End of the file's name, as "-wal" or ".db"; empty: any file."""
    times: int = 1
    """How many operations from there on; 0: all of them, until `Disk.mend`."""


@dataclass(slots=True)
class _Armed:
    fault: Fault
    seen: int = 0

    def meets(self, op: Op, path: str) -> bool:
        if op not in self.fault.ops or not path.endswith(self.fault.suffix):
            return False
        self.seen += 1
        past = self.seen - self.fault.nth
        return past >= 0 and (self.fault.times == 0 or past < self.fault.times)


class Disk:
    """One disk. All of it may be used from any thread."""

    def __init__(self, seed: int = 0, *, volatile: bool = True, forgets: bool = False, dies: bool = False) -> None:
        """`volatile` False keeps no bytes beside the files, so that there is no loss of power. `dies`: a loss of power
        ends this process (SIGKILL) when the files are as it left them; else every operation fails until `power_on`.
        """
        self.seed = seed
        self.counts: Counter[Op] = Counter()
        """Operations so far."""
        self.met: Counter[What] = Counter()
        """Faults so far."""
        self.log: list[tuple[Op, str]] | None = None
        """Every operation with its file's name, where a list is put here."""
        self.full = False
        """No space is left."""
        self.read_only = False
        """Nothing can be written."""
        self.failing: frozenset[Op] = frozenset()
        """Operations that all fail."""
        self._forgets = forgets
        self._volatile = volatile
        self._dies = dies
        self._off = False
        self.lost_power = False
        """Whether it is off for that."""
        self._armed: list[_Armed] = []
        self._chance = random.Random(seed)
        self._lock = threading.RLock()
        self._files: dict[str, Inode] = {}
        self._durable: dict[str, Inode] = {}
        """The directory entries that survive for certain."""
        self._entries: list[tuple[str, Inode | None]] = []
        """What was made (a file) or deleted (None) since, the older first."""

    # --- what tests tell it

    def arm(self, *faults: Fault) -> None:
        """Faults to come, counted from now."""
        with self._lock:
            self._armed += [_Armed(fault) for fault in faults]

    def mend(self) -> None:
        """What went wrong does so no more; faults that are still to come stay. What was lost stays so."""
        with self._lock:
            self._forget_met()
            self.full = self.read_only = False
            self.failing = frozenset()

    @property
    def operations(self) -> int:
        """Operations so far that change something."""
        return sum(self.counts[op] for op in CHANGING)

    def power_cut(self, seed: int | None = None) -> None:
        """The machine loses power now. `seed`: what is kept follows from it, and from nothing before."""
        with self._lock:
            if not self._volatile:
                raise ValueError("this disk keeps no bytes beside its files; make it with volatile=True")
            if seed is not None:
                self._chance = random.Random(seed)
            self._off = self.lost_power = True
            if self._dies:
                self._write_survivors()
                os.kill(os.getpid(), signal.SIGKILL)

    def power_on(self) -> None:
        """The machine starts again: the files are what survived. Nothing may have them open."""
        with self._lock:
            self._write_survivors()
            self._forget_met()
            self._off = self.lost_power = False

    def start(self) -> None:
        """Another process begins where one has stopped. What was volatile is so still. Nothing may have files open."""
        with self._lock:
            self._forget_met()
            self._off = False

    def _forget_met(self) -> None:
        self._armed = [armed for armed in self._armed if armed.seen < armed.fault.nth]

    @property
    def off(self) -> bool:
        """Whether every operation fails, after STOP or a loss of power."""
        return self._off

    def _write_survivors(self) -> None:
        entries = dict(self._durable)
        for path, inode in self._entries[: self._chance.randint(0, len(self._entries))]:
            if inode is None:
                entries.pop(path, None)
            else:
                entries[path] = inode
        for path in {*self._files, *self._durable, *(path for path, _ in self._entries)} - entries.keys():
            Path(path).unlink(missing_ok=True)
        for path, inode in sorted(entries.items()):
            # In place: other names and permissions stay.
            with open(path, "r+b" if os.path.exists(path) else "wb") as file:
                file.truncate(0)
                file.write(inode.survivors(self._chance))
            # Memory that processes share does not outlive the machine.
            Path(path + "-shm").unlink(missing_ok=True)
        self._files = {}
        self._durable = {}
        self._entries = []

    # --- what the VFS tells it

    def meet(self, op: Op, path: str) -> What | None:
        """Counts an operation. Returns what happens to it; does not return where the process ends."""
        with self._lock:
            self.counts[op] += 1
            if self.log is not None:
                self.log.append((op, path))
            if self._off:
                return What.IO_ERROR
            # Each is asked, so that each counts.
            met = [armed.fault.what for armed in self._armed if armed.meets(op, path)]
            if met:
                self.met[met[0]] += 1
                if met[0] is What.KILL:
                    os.kill(os.getpid(), signal.SIGKILL)
                if met[0] is What.STOP:
                    self._off = True
                    return What.IO_ERROR
                if met[0] is What.POWER:
                    self.power_cut()
                    return What.IO_ERROR
                return met[0]
            if op in self.failing or (self.read_only and op in CHANGING - {Op.SYNC}):
                return What.IO_ERROR
            if self.full and op is Op.WRITE:
                return What.FULL
            return None

    def opened(self, path: str, *, made: bool) -> None:
        """A file was opened; `made`: it was not there before."""
        with self._lock:
            if not self._volatile or self._off or (path in self._files and not made):
                return
            inode = Inode(bytearray(b"" if made else Path(path).read_bytes()))
            self._files[path] = inode
            if made:
                self._entries.append((path, inode))
            else:
                self._durable[path] = inode

    def written(self, path: str, offset: int, data: bytes) -> None:
        """Bytes were written."""
        with self._lock:
            if path in self._files:
                self._files[path].volatile.append(Write(offset, bytes(data)))

    def truncated(self, path: str, size: int) -> None:
        """A file was cut."""
        with self._lock:
            if path in self._files:
                self._files[path].volatile.append(Cut(size))

    def synced(self, path: str, *, directory: bool) -> None:
        """A sync succeeded; `directory`: and one of the directory."""
        with self._lock:
            if path in self._files:
                self._files[path].settle()
            if directory:
                self._settle_entries()

    def not_synced(self, path: str) -> None:
        """A sync failed."""
        with self._lock:
            if path not in self._files:
                return
            inode = self._files[path]
            lost = inode.lose()
            if not self._forgets:
                return
            with open(path, "r+b") as file:
                for write in lost:
                    for start, part in sectors(write):
                        if self._chance.random() < 0.5:
                            file.seek(start)
                            file.write(bytes(inode.image[start : start + len(part)]).ljust(len(part), b"\0"))

    def deleted(self, path: str, *, directory: bool) -> None:
        """A file was deleted; `directory`: and its directory synced."""
        with self._lock:
            if self._files.pop(path, None) is not None:
                self._entries.append((path, None))
            if directory:
                self._settle_entries()

    def _settle_entries(self) -> None:
        for path, inode in self._entries:
            if inode is None:
                self._durable.pop(path, None)
            else:
                self._durable[path] = inode
        self._entries.clear()

    def part_of(self, data: bytes) -> bytes:
        """What of a write that fails is written all the same."""
        with self._lock:
            return data[: self._chance.choice((0, self._chance.randint(0, len(data))))]

    def one_bit_wrong(self, data: bytes) -> bytes:
        """The same with one bit turned."""
        with self._lock:
            wrong = bytearray(data)
            if wrong:
                wrong[self._chance.randrange(len(wrong))] ^= 1 << self._chance.randrange(8)
            return bytes(wrong)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Nothing else is done to this disk meanwhile: an operation and what is known of it are one."""
        with self._lock:
            yield
