"""What a store's file holds, row by row, for one who has the disk and no key."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import apsw
import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit import cosignature_check, verify
from gateway.audit.records import Finding
from gateway.audit.verify import verify_store
from gateway.ledger import note
from gateway.ledger.cosignature import verify_cosignature
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release import orders
from gateway.release.opening import Opener
from gateway.seal.entry import parse_header
from gateway.seal.keys import SealingPrivateKey
from policy import Bundle, compile_bundle
from tests.audit.history import History

KINDS: Final = {
    "cosignature": "kind, signer",
    "feed": "item, ledger IS NULL",
    "report": "pruned_ns IS NULL, withdrawn_ns IS NULL",
    "received": "feed IS NULL, withdrawn_ns IS NULL",
    "copy": "ledger IS NULL, withdrawn_ns IS NULL",
    "released": "originator, withdrawn_ns IS NULL",
    "ledger": "replica, successor IS NULL, origin GLOB '*/decisions/*', origin GLOB '*/witness/*'",
    "tile": "level",
    "meta": "key",
}
"""By what the rows of a table are of different kinds; those of a ledger also by the ledger's own kind."""

LEDGER_KIND: Final = (
    "(SELECT l.replica || CASE WHEN l.origin GLOB '*/decisions/*' THEN 'd' WHEN l.origin GLOB '*/witness/*' THEN 'w'"
    " ELSE 'l' END FROM ledger AS l WHERE l.id = {table}.ledger)"
)


@dataclass(frozen=True, slots=True)
class Column:
    """One column of one table."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


@cache
def columns() -> Sequence[Column]:
    """Every column of every table of a store, as the software makes it."""
    with tempfile.TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder) / "store.sqlite")
        store.close()
        db = apsw.Connection(str(Path(folder) / "store.sqlite"))
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
        found = [
            Column(table, row[1]) for table in tables for row in db.execute(f"PRAGMA table_info({table})")
        ]  # fmt: skip
        db.close()
    return found


@cache
def tables() -> Sequence[str]:
    """Every table of a store."""
    return sorted({column.table for column in columns()})


def key_of(db: apsw.Connection, table: str) -> Sequence[str]:
    """The columns of a table's primary key."""
    rows = [(row[5], row[1]) for row in db.execute(f"PRAGMA table_info({table})") if row[5]]
    return [name for _, name in sorted(rows)]


def kinds_of(db: apsw.Connection, table: str) -> list[list[dict[str, Any]]]:
    """The rows of a table, in order, those of each kind together; those of a ledger also by ledger."""
    key = key_of(db, table)
    names = [column.name for column in columns() if column.table == table]
    kinds = KINDS.get(table, "1")
    if "ledger" in names:
        kinds += f", {LEDGER_KIND.format(table=table)}, ledger"
    kinds_found: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in db.execute(f"SELECT {', '.join(names)}, {kinds} FROM {table} ORDER BY {', '.join(key)}"):
        kinds_found.setdefault(row[len(names) :], []).append(dict(zip(names, row[: len(names)], strict=True)))
    return list(kinds_found.values())


def samples(db: apsw.Connection, table: str) -> list[dict[str, Any]]:
    """One row of each kind that a table holds: the last one."""
    key = key_of(db, table)
    names = [column.name for column in columns() if column.table == table]
    kinds = KINDS.get(table, "1")
    if "ledger" in names:
        kinds += f", {LEDGER_KIND.format(table=table)}"
    rows = db.execute(f"SELECT {', '.join(names)}, {kinds} FROM {table} ORDER BY {', '.join(key)}")
    last = {row[len(names) :]: dict(zip(names, row[: len(names)], strict=True)) for row in rows}
    return list(last.values())


def where(db: apsw.Connection, table: str, row: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """The condition that names one row."""
    key = key_of(db, table)
    return " AND ".join(f"{name} IS ?" for name in key), [row[name] for name in key]


def flipped(value: Any, place: str = "middle", name: str = "") -> Any:
    """A value with one bit turned over; of a time, one that is some seconds."""
    match value:
        case int():
            return value ^ (1 << 34 if name.endswith("_ns") else 1)
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1) if value else "X"
        case bytes():
            at = {"first": 0, "middle": len(value) // 2, "last": len(value) - 1}[place]
            return value[:at] + bytes([value[at] ^ 1]) + value[at + 1 :] if value else b"\1"
    return None


def findings(history: History, node: str, db: apsw.Connection, path: Path) -> list[Finding]:
    """What `signalfire ledger verify` says; an error of the store as one finding. Anything else is raised: a crash."""
    reader = SqliteReader(path, db)
    try:
        return verify_store(reader, history.signatories[node], history.partners[node]).findings
    except LedgerError as error:
        return [Finding("store", str(error))]


_OPENED: Final[dict[tuple[Origin, int, bytes, bytes], ledger_pb2.SealedPayload | None]] = {}


class Remembering(Opener):
    """An opener that opens the same entry of the same epoch once: of a history, one change leaves nearly all as it was.
    What does not open is tried again.
    """

    def __init__(self, node: str, keys: Sequence[SealingPrivateKey]) -> None:
        super().__init__(node, keys)
        self._openings: dict[tuple[Origin, int], bytes] = {}

    def payload(
        self, origin: Origin, index: int, entry: bytes, fetch: Callable[[int], bytes]
    ) -> ledger_pb2.SealedPayload | None:
        epoch = parse_header(entry).epoch
        if (origin, epoch) not in self._openings:
            self._openings[(origin, epoch)] = entry if epoch == index else fetch(epoch)
        key = origin, index, entry, self._openings[(origin, epoch)]
        if key not in _OPENED:
            _OPENED[key] = super().payload(origin, index, entry, fetch)
        return _OPENED[key]


_COMPILED: Final[dict[frozenset[tuple[str, bytes]], Bundle]] = {}


def _compiled(files: Mapping[str, bytes]) -> Bundle:
    key = frozenset(files.items())
    if key not in _COMPILED:
        _COMPILED[key] = compile_bundle(files)
    return _COMPILED[key]


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Within it what holds is worked out once: entries that open, signatures that hold, and policies."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "Opener", Remembering)
        patch.setattr(cosignature_check, "verify_cosignature", cache(verify_cosignature))
        patch.setattr(note, "verify_ed25519", cache(note.verify_ed25519))
        patch.setattr(orders, "compile_bundle", _compiled)
        yield


@contextlib.contextmanager
def undone(db: apsw.Connection) -> Iterator[None]:
    """What is done within is undone."""
    db.execute("BEGIN")
    try:
        yield
    finally:
        db.execute("ROLLBACK")
