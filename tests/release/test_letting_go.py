"""What is old goes by itself, once, whatever befalls the store meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from pathlib import Path

import pytest

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Origin
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release import letting_go
from gateway.release.errors import Unavailable
from gateway.release.letting_go import DAY_NS, WAITS, Retention, let_go, look
from gateway.release.steps import RecordEvent
from tests.release.aging import pruned_in, send
from tests.release.test_sequencer import Faults, Running, in_time
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import NOW, launch_detection

TO_KOR = Origin("JPN", "KOR", "flash", 1)
BOTH = Retention(reports_days=30, entries_days=60)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """JPN's store: three reports that KOR has confirmed."""
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    for seed in range(3):
        jpn.take(launch_detection(seed), rules(KOR=RELEASE_ALL))
    send(jpn, kor)
    jpn.close()
    kor.close()
    return tmp_path / "jpn.db"


async def looked(path: Path, days: int, retention: Retention = BOTH, faults: Faults | None = None) -> dict[str, int]:
    """Looks as a gateway does so many days later. Returns what went."""
    gone = {"report": 0, "entry": 0}
    running = Running(path, faults or Faults())
    await running.sequencer.open()
    running.run()
    reader = SqliteReader(path)

    def count(what: str, number: int) -> None:
        gone[what] += number

    async def once() -> None:
        await look(running.sequencer, lambda: reader, retention, lambda: NOW + days * DAY_NS + DAY_NS // 2, count)

    try:
        await in_time(once())
    except Unavailable:
        await in_time(running.reopened.wait())
        await in_time(once())
    finally:
        reader.close()
        await running.stop()
    return gone


def assert_sound(path: Path) -> Site:
    site = Site("JPN", path)
    assert [str(each) for each in verify_store(site.store, site.signatory, site.partners).findings] == []
    return site


@pytest.mark.parametrize(("days", "gone"), [(29, (0, 0)), (30, (3, 0)), (59, (3, 0)), (60, (3, 3))])
async def test_reports_and_entries_go_when_their_days_are_over(path: Path, days: int, gone: tuple[int, int]) -> None:
    found = await looked(path, days)
    assert (found["report"], found["entry"]) == gone
    assert_sound(path).close()


async def test_what_is_not_configured_stays(path: Path) -> None:
    assert await looked(path, 1000, Retention(reports_days=1)) == {"report": 3, "entry": 0}
    assert await looked(path, 1000, Retention(entries_days=1)) == {"report": 0, "entry": 3}


async def test_while_it_is_not_known_that_the_clock_is_right_nothing_goes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(letting_go, "LOOK_S", 0.0)
    running, reader = Running(path, Faults()), SqliteReader(path)
    await running.sequencer.open()
    running.run()
    await in_time(running.sequencer.do(RecordEvent("pruning-waits", "", meta=((WAITS, b"1"),))))
    gone: list[int] = []
    looks = itertools.count()
    enough = asyncio.Event()

    def read() -> SqliteReader:
        if next(looks) == 50:
            enough.set()
        return reader

    later = NOW + 100 * DAY_NS
    task = asyncio.create_task(
        let_go(running.sequencer, read, BOTH, lambda: later, lambda _, count: gone.append(count))
    )
    await in_time(enough.wait())
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    reader.close()
    await running.stop()
    assert gone == []


async def test_without_retention_nothing_is_looked_at(path: Path) -> None:
    running = Running(path, Faults())
    await in_time(let_go(running.sequencer, lambda: pytest.fail("it was read"), Retention(), lambda: NOW, print))
    await running.stop()


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("commit", [1, 2])
async def test_a_store_that_fails_under_it_is_whole_and_what_is_old_goes_the_next_time(
    path: Path, fault: str, commit: int
) -> None:
    await looked(path, 100, faults=Faults(at={commit: fault}))
    site = assert_sound(path)
    assert pruned_in(site, TO_KOR) == [1, 2, 3]
    assert all(row.pruned_ns for seq in (1, 2, 3) if (row := site.store.report_at(seq)))
    assert sum(event.kind == "pruned" for event in site.events()) == 2, "each was put on record once"
    site.close()


async def test_a_look_that_fails_is_told_and_tried_again(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running = Running(path, Faults())
    reader = SqliteReader(path)
    await running.sequencer.open()
    await running.stop()
    task = asyncio.create_task(let_go(running.sequencer, lambda: reader, BOTH, lambda: NOW + 100 * DAY_NS, print))
    for _ in range(5):
        await asyncio.sleep(0)
    assert "tried again: the gateway is stopping" in caplog.text
    assert not task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    reader.close()
