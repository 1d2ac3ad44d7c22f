"""The relay's store: SQLite, write-ahead log, synced on every commit, written by one thread, many reports a commit."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from bench.relay.wire import Frame

STEPS: Final = 1024
"""Reports in one commit at the most: as many as the gateway takes by default."""
WAITING: Final = 8192
"""Reports that may wait for their commit; beyond it streams are read no further."""
RECENT: Final = 8192
"""Frames that are kept in memory for those who read what was committed just now."""
READ_ROWS: Final = 256
"""Rows that are read at once for those who are further behind."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS report (number INTEGER PRIMARY KEY, report_id TEXT NOT NULL UNIQUE, body BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS line (
  line TEXT NOT NULL, number INTEGER NOT NULL, precedence INTEGER NOT NULL, body BLOB NOT NULL,
  PRIMARY KEY (line, number)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS confirmed (line TEXT PRIMARY KEY, number INTEGER NOT NULL) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Submitted:
    """A report of a C2 system, and the copy of it for each line."""

    report_id: str
    precedence: int
    body: bytes
    copies: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Arrived:
    """What was read from another node's line, for a line of this one."""

    line: str
    frames: Sequence[Frame]


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Up to where the reader of a line has all."""

    line: str
    number: int


Item: TypeAlias = Submitted | Arrived | Confirmed


def connect(path: Path) -> sqlite3.Connection:
    """A connection that counts as durable what is on the disk. Belongs to the thread that opened it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    return db


class Line:
    """What one reader, or all subscribers, read in the order of its numbers. Belongs to the event loop's thread.

    What was committed just now is in memory; what lies further back is read from the store.
    """

    def __init__(self, name: str, last: int) -> None:
        self.name = name
        self.last = last
        """Number of the last frame that is durable."""
        self._recent: deque[Frame] = deque(maxlen=RECENT)
        self._grown = asyncio.Event()

    def grow(self, frames: Sequence[Frame]) -> None:
        """These are durable now."""
        if frames:
            self._recent.extend(frames)
            self.last = frames[-1].number
            self._grown.set()
            self._grown = asyncio.Event()

    async def wait(self, number: int) -> None:
        """Returns when there is something after `number`."""
        while self.last <= number:
            await self._grown.wait()

    def recent_after(self, number: int) -> list[Frame] | None:
        """Frames after `number`, READ_ROWS at most; None where they are not all in memory."""
        if not self._recent or number < self._recent[0].number - 1:
            return None
        # Numbers are consecutive.
        start = number + 1 - self._recent[0].number
        return [self._recent[at] for at in range(start, min(start + READ_ROWS, len(self._recent)))]


class Store:
    """One file and the thread that writes it. Everything else of it belongs to the event loop's thread."""

    def __init__(self, path: Path, lines: Sequence[str]) -> None:
        self._path = path
        self._writer = ThreadPoolExecutor(1, "writer")
        self._reader = ThreadPoolExecutor(1, "reader")
        self._waiting: deque[tuple[Item, Callable[[], None]]] = deque()
        self._come = asyncio.Event()
        self._room = asyncio.Event()
        self._db: sqlite3.Connection
        self._reading: sqlite3.Connection
        self._next: dict[str, int] = {}
        self._names = tuple(lines)
        self.lines: dict[str, Line] = {}

    async def open(self) -> None:
        """Opens or makes the file."""
        loop = asyncio.get_running_loop()

        def opened() -> dict[str, int]:
            self._db = connect(self._path)
            self._db.executescript(_SCHEMA)
            query = "SELECT coalesce(max(number), 0) FROM line WHERE line = ?"
            last = {name: self._db.execute(query, (name,)).fetchone()[0] for name in self._names}
            self._next = {name: number + 1 for name, number in last.items()}
            return last

        last = await loop.run_in_executor(self._writer, opened)
        self.lines = {name: Line(name, number) for name, number in last.items()}
        self._reading = await loop.run_in_executor(self._reader, connect, self._path)

    async def put(self, item: Item, durable: Callable[[], None]) -> None:
        """Has something stored, after everything before it; `durable` is called once it is. Returns as soon as there is
        room for it to wait.
        """
        while len(self._waiting) >= WAITING:
            self._room.clear()
            await self._room.wait()
        self._waiting.append((item, durable))
        self._come.set()

    async def run(self) -> None:
        """Commits what waits, all that came meanwhile in one go. Ends with the first error: nothing is acknowledged
        that may not be on the disk.
        """
        loop = asyncio.get_running_loop()
        while True:
            await self._come.wait()
            batch = [self._waiting.popleft() for _ in range(min(STEPS, len(self._waiting)))]
            if not self._waiting:
                self._come.clear()
            self._room.set()
            grown = await loop.run_in_executor(self._writer, self._commit, [item for item, _ in batch])
            for line, frames in grown.items():
                self.lines[line].grow(frames)
            for _, durable in batch:
                durable()

    # --- in the writer's thread

    def _commit(self, items: Sequence[Item]) -> Mapping[str, Sequence[Frame]]:
        """Stores all of it or nothing; returns by what each line has grown."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            grown = self._write(items)
            self._db.execute("COMMIT")
        except BaseException:  # however it ends, no transaction is left open; what ended it goes on
            self._db.execute("ROLLBACK")
            raise
        return grown

    def _write(self, items: Sequence[Item]) -> Mapping[str, Sequence[Frame]]:
        grown: dict[str, list[Frame]] = {}
        for new in self._new([item for item in items if isinstance(item, Submitted)]):
            for line, body in new.copies.items():
                number = self._next[line]
                self._next[line] = number + 1
                grown.setdefault(line, []).append(Frame(number, new.precedence, body))
        for item in items:
            match item:
                case Arrived():
                    # What comes again after a broken connection is here already.
                    frames = [frame for frame in item.frames if frame.number >= self._next[item.line]]
                    if frames:
                        self._next[item.line] = frames[-1].number + 1
                        grown.setdefault(item.line, []).extend(frames)
                case Confirmed():
                    self._db.execute("REPLACE INTO confirmed VALUES (?, ?)", (item.line, item.number))
        for line, frames in grown.items():
            self._db.executemany("INSERT INTO line VALUES (?, ?, ?, ?)", ((line, *frame) for frame in frames))
        return grown

    def _new(self, submitted: Sequence[Submitted]) -> Sequence[Submitted]:
        """Stores those that were not here before, and returns them."""
        query = "INSERT OR IGNORE INTO report (report_id, body) VALUES (?, ?)"
        before = self._db.total_changes
        self._db.executemany(query, ((each.report_id, each.body) for each in submitted))
        if self._db.total_changes - before == len(submitted):
            return submitted
        # Some came again: each is looked at alone.
        self._db.execute("ROLLBACK")
        self._db.execute("BEGIN IMMEDIATE")
        return [each for each in submitted if self._db.execute(query, (each.report_id, each.body)).rowcount == 1]

    # --- reading

    async def after(self, line: Line, number: int) -> list[Frame]:
        """Frames of a line after `number`, READ_ROWS at most; waits until there is one."""
        await line.wait(number)
        recent = line.recent_after(number)
        if recent is not None:
            return recent
        return await asyncio.get_running_loop().run_in_executor(self._reader, self._read, line.name, number)

    def _read(self, line: str, number: int) -> list[Frame]:
        query = "SELECT number, precedence, body FROM line WHERE line = ? AND number > ? ORDER BY number LIMIT ?"
        return [Frame(*row) for row in self._reading.execute(query, (line, number, READ_ROWS))]
