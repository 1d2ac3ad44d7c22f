"""The embedded store is a file of its own: nobody else's, durable, and read beside its writer."""

from __future__ import annotations

import ast
import os
import stat
from pathlib import Path
from typing import cast

import apsw
import pytest

import gateway
from gateway.ledger.errors import StoreError
from gateway.ledger.stores import Commit
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.ledger.stores.sqlite.schema import APPLICATION_ID
from tests.ledger.stores.growth import LEDGER, ORIGIN, checkpoint, fill, grown

VERSION = len(list((Path(gateway.__file__).parent / "ledger/stores/sqlite/migrations").glob("*.sql")))


# --- the file


def test_a_new_store_says_what_it_is_and_which_schema_it_has(store: SqliteStore, path: Path) -> None:
    db = apsw.Connection(str(path))
    assert db.pragma("application_id") == APPLICATION_ID == int.from_bytes(b"SIGF")
    assert db.pragma("user_version") == VERSION


def test_nobody_else_may_read_the_files_of_a_store(store: SqliteStore, path: Path) -> None:
    fill(store, 1)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["node.sqlite", "node.sqlite-shm", "node.sqlite-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_mode_does_not_depend_on_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        SqliteStore(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("application", [0, 0x4D50_5342])
def test_the_database_of_another_program_is_refused_and_left_as_it_was(path: Path, application: int) -> None:
    db = apsw.Connection(str(path))
    db.pragma("application_id", application)
    db.execute("CREATE TABLE recipe (name TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match="another program"):
        SqliteStore(path)
    with pytest.raises(StoreError, match="not a Signalfire store"):
        SqliteReader(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_refused_and_left_as_it_was(path: Path) -> None:
    path.write_bytes(b"Dear diary, " * 100)
    with pytest.raises(StoreError):
        SqliteStore(path)
    assert path.read_bytes() == b"Dear diary, " * 100


def test_a_newer_schema_is_refused_by_writer_and_reader(path: Path) -> None:
    SqliteStore(path).close()
    db = apsw.Connection(str(path))
    db.pragma("user_version", VERSION + 1)
    db.close()
    with pytest.raises(StoreError, match="newer than this software"):
        SqliteStore(path)
    with pytest.raises(StoreError, match=f"schema version {VERSION + 1}"):
        SqliteReader(path)


def test_a_reader_does_not_make_a_store(path: Path) -> None:
    with pytest.raises(StoreError):
        SqliteReader(path)
    assert not path.exists()


def test_a_directory_that_is_not_there_is_a_store_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="opening failed"):
        SqliteStore(tmp_path / "missing" / "node.sqlite")


# --- durability


def test_every_commit_of_the_connection_is_synced(store: SqliteStore) -> None:
    db = store._db
    full = 2  # https://www.sqlite.org/pragma.html#pragma_synchronous
    assert db.pragma("journal_mode") == "wal"
    assert db.pragma("synchronous") == full
    assert db.pragma("fullfsync") == 1
    assert db.pragma("foreign_keys") == 1


def test_what_was_committed_is_there_when_the_store_is_opened_again(store: SqliteStore, path: Path) -> None:
    ledger = fill(store, 3, 2)
    store.close()
    again = SqliteStore(path)
    row = again.ledger(ORIGIN)
    assert row is not None
    assert (row.size, row.root) == (5, ledger.edge.root())
    again.close()


# --- readers


def test_a_snapshot_sees_one_moment_while_the_writer_goes_on(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    reader = store.reader()
    with reader.snapshot():
        # Nothing has been read yet: the moment is that of the beginning.
        store.commit(Commit(appends=[ledger.append([b"meanwhile"])], meta={"a": b"b"}))
        row = reader.ledger(ORIGIN)
        assert row is not None
        assert row.size == 3
        assert reader.run(LEDGER, 3, 1) is None
        assert reader.meta("a") is None
    row = reader.ledger(ORIGIN)
    assert row is not None
    assert row.size == 4
    reader.close()


def test_a_snapshot_ends_also_when_its_user_fails(store: SqliteStore) -> None:
    ledger = fill(store, 3)
    reader = store.reader()
    with pytest.raises(KeyError), reader.snapshot():
        raise KeyError
    store.commit(Commit(appends=[ledger.append([b"more"])]))
    row = reader.ledger(ORIGIN)
    assert row is not None
    assert row.size == 4
    reader.close()


def test_a_reader_beside_the_writer_sees_each_commit_and_never_half_of_one(store: SqliteStore) -> None:
    reader = store.reader()
    assert reader.ledgers() == []
    ledger, commits = grown(1, 2, 3)
    for size, commit in zip((1, 3, 6), commits, strict=True):
        store.commit(commit)
        row = reader.ledger(ORIGIN)
        assert row is not None
        assert row.size == size
        assert reader.checkpoint(LEDGER, size) == checkpoint(size)
    assert reader.ledgers()[0].root == ledger.edge.root()
    reader.close()


def test_a_reader_cannot_write(store: SqliteStore) -> None:
    reader = cast(SqliteReader, store.reader())
    with pytest.raises(apsw.ReadOnlyError):
        reader._db.execute("DELETE FROM meta")
    reader.close()


def test_a_store_that_was_closed_answers_with_a_store_error(store: SqliteStore) -> None:
    reader = store.reader()
    reader.close()
    with pytest.raises(StoreError):
        reader.ledgers()
    with pytest.raises(StoreError), reader.snapshot():
        pass


# --- the library


def test_no_second_sqlite_library_is_ever_imported() -> None:
    root = Path(gateway.__file__).parent
    imported = {
        name.split(".")[0]
        for source in root.rglob("*.py")
        for node in ast.walk(ast.parse(source.read_text("utf-8")))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert "apsw" in imported
    assert not imported & {"sqlite3", "_sqlite3", "pysqlite3", "aiosqlite"}
