"""The disk that fails does fail as real ones do: what was synced is there, what was not may be, and nothing else is."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.faults.disk import CHANGING, Disk, Fault, Op, What
from tests.faults.vfs import registered

NUMBER = itertools.count()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


@contextlib.contextmanager
def opened(path: Path, disk: Disk, checkpoint: int = 1000, *, in_order: bool = False) -> Iterator[apsw.Connection]:
    """`in_order`: what is in the log is folded at the end, and the log is gone; else it ends as a process that is."""
    with registered(f"test-{next(NUMBER)}", disk) as vfs:
        db = apsw.Connection(str(path), vfs=vfs)
        try:
            db.pragma("journal_mode", "wal")
            db.pragma("synchronous", "full")
            db.pragma("wal_autocheckpoint", checkpoint)
            yield db
        finally:
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, int(not in_order))
            with contextlib.suppress(apsw.Error):
                db.close(True)


def numbers(path: Path) -> list[int]:
    """What a sound database holds."""
    db = apsw.Connection(str(path))
    try:
        assert db.pragma("integrity_check") == "ok"
        if not db.execute("SELECT count(*) FROM sqlite_schema").get:
            return []
        return [number for (number,) in db.execute("SELECT number FROM t ORDER BY number")]
    finally:
        db.close()


@pytest.mark.parametrize("seed", range(40))
def test_a_loss_of_power_at_any_moment_leaves_what_was_committed_and_at_most_the_commit_under_way(
    path: Path, seed: int
) -> None:
    disk = Disk(seed)
    committed = 0
    with opened(path, disk, checkpoint=3) as db:
        db.execute("CREATE TABLE t (number, filling)")
        disk.arm(Fault(What.POWER, 1 + seed))
        with contextlib.suppress(apsw.Error):
            for number in range(30):
                db.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (number,))
                committed = number + 1
    assert disk.off
    disk.power_on()
    assert numbers(path) in (list(range(committed)), list(range(committed + 1)))


def test_without_syncs_a_loss_of_power_loses_what_was_committed(path: Path) -> None:
    held = set()
    for seed in range(20):
        path.unlink(missing_ok=True)
        disk = Disk(seed)
        with opened(path, disk) as db:
            db.execute("CREATE TABLE t (number, filling)")
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            db.pragma("synchronous", "normal")
            for number in range(5):
                db.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (number,))
            disk.power_cut()
        disk.power_on()
        found = numbers(path)
        assert found == list(range(len(found)))
        held.add(len(found))
    assert {0, 5} < held


@pytest.mark.parametrize("synchronous", ["full", "off"])
def test_a_log_that_another_connection_made_is_there_for_certain_once_a_writer_has_synced_it(
    path: Path, synchronous: str
) -> None:
    log = path.with_name(path.name + "-wal")
    found = []
    for seed in range(20):
        path.unlink(missing_ok=True)
        disk = Disk(seed)
        with opened(path, disk, in_order=True) as db:
            db.execute("CREATE TABLE t (number, filling)")
        assert not log.exists()
        with opened(path, disk) as reader:
            # Reading makes the log, and syncs nothing.
            assert reader.execute("SELECT count(*) FROM t").get == 0
            assert log.exists()
            with opened(path, disk) as writer:
                writer.pragma("synchronous", synchronous)
                writer.execute("INSERT INTO t VALUES (1, '')")
                disk.power_cut()
        disk.power_on()
        found.append((log.exists(), tuple(numbers(path))))
    if synchronous == "full":
        assert found == [(True, (1,))] * 20
    else:
        # Nobody synced it: it may be gone, as a whole or in part.
        assert {(False, ()), (True, (1,))} <= set(found) <= {(False, ()), (True, ()), (True, (1,))}


@pytest.mark.parametrize("forgets", [False, True])
def test_what_a_failed_sync_lost_no_later_sync_makes_durable(path: Path, forgets: bool) -> None:
    kept = set()
    for seed in range(20):
        path.unlink(missing_ok=True)
        disk = Disk(seed, forgets=forgets)
        with registered(f"test-{next(NUMBER)}", disk) as vfs:
            flags = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_WAL
            file = apsw.VFSFile(vfs, str(path), [flags, 0])
            file.xWrite(b"a" * 2048, 0)
            file.xSync(apsw.SQLITE_SYNC_NORMAL)
            file.xWrite(b"b" * 2048, 0)
            disk.arm(Fault(What.IO_ERROR, 1))
            with pytest.raises(apsw.IOError):
                file.xSync(apsw.SQLITE_SYNC_NORMAL)
            if not forgets:
                assert file.xRead(2048, 0) == b"b" * 2048
            file.xWrite(b"c" * 512, 512)
            file.xSync(apsw.SQLITE_SYNC_NORMAL)
            file.xClose()
        disk.power_cut()
        disk.power_on()
        found = path.read_bytes()
        assert found[512:1024] == b"c" * 512
        kept.add(bytes(found[at] for at in (0, 1024, 1536)))
    assert {b"aaa", b"bbb"} < kept


def test_full_and_read_only_last_until_they_are_mended(path: Path) -> None:
    disk = Disk()
    with opened(path, disk) as db:
        db.execute("CREATE TABLE t (number, filling)")
        disk.full = True
        for _ in range(3):
            with pytest.raises(apsw.FullError):
                db.execute("INSERT INTO t VALUES (1, '')")
        disk.mend()
        db.execute("INSERT INTO t VALUES (2, '')")
        disk.read_only = True
        with pytest.raises(apsw.IOError):
            db.execute("INSERT INTO t VALUES (3, '')")
        assert db.execute("SELECT count(*) FROM t").get == 1
        disk.mend()
        db.execute("INSERT INTO t VALUES (4, '')")
    assert numbers(path) == [2, 4]


@pytest.mark.parametrize("op", [Op.OPEN, Op.READ, Op.WRITE, Op.SYNC, Op.LOCK])
def test_each_operation_is_counted_and_fails_when_it_is_its_turn(path: Path, op: Op) -> None:
    disk = Disk()
    with opened(path, disk) as db:
        db.execute("CREATE TABLE t (number, filling)")
    before = disk.counts[op]
    assert before > 0
    disk.arm(Fault(What.IO_ERROR, 1, frozenset({op})))

    def use() -> None:
        with opened(path, disk) as db:
            db.execute("INSERT INTO t VALUES (1, '')")
            db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)

    with pytest.raises(apsw.Error):
        use()
    assert disk.counts[op] > before
    assert disk.met[What.IO_ERROR] == 1


def test_the_same_seed_gives_the_same_disk(path: Path) -> None:
    found = []
    for _ in range(2):
        for each in path.parent.iterdir():
            each.unlink()
        disk = Disk(7)
        disk.arm(Fault(What.POWER, 9, CHANGING))
        with contextlib.suppress(apsw.Error), opened(path, disk) as db:
            db.execute("CREATE TABLE t (number, filling)")
            for number in range(30):
                db.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (number,))
        disk.power_on()
        found.append({each.name: each.stat().st_size for each in path.parent.iterdir()})
    assert found[0] == found[1]
