"""After a failure the store is held against what was known; what is damaged or gone is not made up for."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.generations import Generations
from gateway.ledger.errors import StoreConflict, StoreDamaged, StoreError, StoreInDoubt
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, Store
from gateway.ledger.stores.readers import Readers
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.doubt import lacking
from gateway.release.errors import Unavailable
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.recovery.wish import standing
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from tests.patience import PATIENCE_S
from tests.release.world import RELEASE_ALL, MakeSite, anything, partner_of, rules, signatory_of
from tests.reports.examples import NOW, launch_detection

TO_KOR = Origin("JPN", "KOR", "flash", 1)


class Node:
    """A sequencer on a real store, of which one commit fails when it is told to."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.fails: Exception | None = None
        self.fails_again: Exception | None = None
        """What the commit after that one fails with."""
        self.written = False
        """Whether what a commit that fails was to write is durable all the same."""
        self.generations = Generations(path, "JPN")
        self.failures: list[StoreError] = []
        self._some_failure = asyncio.Event()
        self.reopened = asyncio.Event()
        self.readers = Readers(lambda: SqliteReader(path))
        self.opened = 0
        ticks = itertools.count()
        self.sequencer = Sequencer(
            self._open,
            signatory_of("JPN"),
            lambda: {"KOR": partner_of("KOR")},
            now_ns=lambda: NOW + next(ticks),
            limits=SequencerLimits(reopen_s=0.001),
            listener=self._listen,
            monotonic=lambda: 0.0,
            rulebook=lambda store: rules(KOR=RELEASE_ALL),
            readers=self.readers,
            on_failure=self._failed,
            opening=self.generations.begin,
            opened=self.generations.keep,
        )

    def _open(self) -> Store:
        node = self

        class Failing(SqliteStore):
            def commit(self, commit: Commit) -> None:
                failure, node.fails, node.fails_again = node.fails, node.fails_again, None
                if failure is not None:
                    if node.written:
                        super().commit(commit)
                    raise failure
                super().commit(commit)

        self.opened += 1
        return Failing(self.path, must_exist=self.opened > 1)

    def _listen(self, what: Durable) -> None:
        if what.reopened:
            self.reopened.set()

    def _failed(self, error: StoreError) -> None:
        self.failures.append(error)
        self._some_failure.set()

    async def failed(self, kind: str) -> None:
        """Returns once the store has failed in that way."""
        async with asyncio.timeout(PATIENCE_S):
            while not any(failure.kind == kind for failure in self.failures):
                self._some_failure.clear()
                await self._some_failure.wait()

    async def take(self, report: report_pb2.Report) -> AcceptedReport:
        async with asyncio.timeout(PATIENCE_S):
            return await self.sequencer.do(TakeReport.of(report, "spiffe://jpn/c2/radar", anything))

    async def back(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self.reopened.wait()


@contextlib.asynccontextmanager
async def running(path: Path) -> AsyncIterator[Node]:
    node = Node(path)
    await node.sequencer.open()
    task = asyncio.create_task(node.sequencer.run())
    try:
        yield node
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        node.readers.close()
        await node.sequencer.close()


def copied(path: Path, to: Path) -> None:
    for each in path.parent.glob(path.name + "*"):
        shutil.copy(each, to.with_name(to.name + each.name.removeprefix(path.name)))


def moved(path: Path, to: Path) -> None:
    for each in path.parent.glob(path.name + "*"):
        each.rename(to.with_name(to.name + each.name.removeprefix(path.name)))


async def test_a_store_that_lacks_what_was_durable_goes_on_in_new_generations_and_asks_for_what_was_lost(
    tmp_path: Path,
) -> None:
    path, older = tmp_path / "jpn.db", tmp_path / "older.db"
    async with running(path) as node:
        await node.take(launch_detection(1))
        copied(path, older)
        await node.take(launch_detection(2))
        known = node.sequencer.heads()
        node.fails = StoreError("the disk is gone")
        # As the commit fails, somebody puts a copy in the store's place.
        moved(path, tmp_path / "gone.db")
        copied(older, path)
        with pytest.raises(Unavailable):
            await node.take(launch_detection(3))
        await node.back()
        current = node.sequencer.current("JPN", "KOR", "flash")
        assert current == TO_KOR.successor()
        assert not (await node.take(launch_detection(2))).duplicate
        assert (await node.take(launch_detection(1))).duplicate
        reader = node.readers.shared()
        assert TO_KOR in lacking(known, reader)
        wish = standing(reader)
        assert wish is not None
        assert "lacks what was durable" in wish.reason


async def test_where_the_new_generations_contradict_the_store_it_is_damaged_and_is_not_opened_without_end(
    tmp_path: Path,
) -> None:
    path, older = tmp_path / "jpn.db", tmp_path / "older.db"
    async with running(path) as node:
        await node.take(launch_detection(1))
        copied(path, older)
        await node.take(launch_detection(2))
        node.fails = StoreError("the disk is gone")
        node.fails_again = StoreConflict("UNIQUE constraint failed")
        moved(path, tmp_path / "gone.db")
        copied(older, path)
        with pytest.raises(Unavailable):
            await node.take(launch_detection(3))
        await node.failed("damaged")
        with pytest.raises(Unavailable, match=r"contradicts itself: UNIQUE.*--restored"):
            await node.take(launch_detection(3))
        assert node.sequencer.takes is None
        assert [failure.kind for failure in node.failures] == ["failed", "damaged"]
        assert node.opened == 2


@pytest.mark.parametrize("written", [True, False])
async def test_an_opening_in_doubt_counts_as_open_as_soon_as_the_store_that_is_opened_again_holds_it(
    tmp_path: Path, written: bool
) -> None:
    async with running(tmp_path / "jpn.db") as node:
        await node.take(launch_detection(1))
        node.fails, node.written = StoreError("the disk failed"), written
        step = DeclareSetBack("a copy was put in place", None, ledger_pb2.SUCCESSION_REASON_RESTORE)
        with pytest.raises(Unavailable):
            await node.sequencer.do(step)
        await node.back()
        file, following = node.generations, TO_KOR.successor()
        assert node.sequencer.current("JPN", "KOR", "flash") == (following if written else TO_KOR)
        assert following in (file.opened() if written else file.begun())
        assert (file.begun() if written else file.opened()) == ()


async def test_a_store_that_has_more_than_was_known_lacks_nothing(make_site: MakeSite) -> None:
    jpn = make_site("JPN")
    jpn.take(launch_detection(1))
    known = list(jpn.heads)
    jpn.take(launch_detection(2))
    assert lacking(known, jpn.store) == []
    assert lacking(jpn.heads, jpn.store) == []


async def test_another_history_of_the_same_length_is_lacking(make_site: MakeSite) -> None:
    jpn, other = make_site("JPN"), make_site("JPN", "other")
    jpn.take(launch_detection(1))
    other.take(launch_detection(2))
    assert TO_KOR in lacking(jpn.heads, other.store)
    other.take(launch_detection(3))
    assert TO_KOR in lacking(jpn.heads, other.store)


async def test_a_damaged_store_stays_down_and_says_so(tmp_path: Path) -> None:
    async with running(tmp_path / "jpn.db") as node:
        await node.take(launch_detection(1))
        node.fails = StoreDamaged("database disk image is malformed")
        with pytest.raises(Unavailable):
            await node.take(launch_detection(2))
        with pytest.raises(Unavailable, match="damaged"):
            await node.take(launch_detection(2))
        assert node.sequencer.takes is None
        assert "restored" in node.sequencer.reason
        assert node.opened == 1
        with pytest.raises(StoreInDoubt):
            node.readers.shared()
        assert [failure.kind for failure in node.failures] == ["damaged"]


async def test_damage_that_a_reader_finds_ends_what_is_taken(tmp_path: Path) -> None:
    async with running(tmp_path / "jpn.db") as node:
        await node.take(launch_detection(1))
        node.sequencer.doubt(StoreDamaged("a page is malformed"))
        with pytest.raises(Unavailable, match="malformed"):
            await node.take(launch_detection(2))
        assert node.sequencer.takes is None


async def test_a_store_that_is_gone_is_not_made_anew(tmp_path: Path) -> None:
    path, away = tmp_path / "jpn.db", tmp_path / "away.db"
    async with running(path) as node:
        await node.take(launch_detection(1))
        node.fails = StoreError("the disk is gone")
        # What is unmounted is renamed here.
        moved(path, away)
        with pytest.raises(Unavailable):
            await node.take(launch_detection(2))
        async with asyncio.timeout(PATIENCE_S):
            while node.opened < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert not path.exists()
        moved(away, path)
        await node.back()
        assert (await node.take(launch_detection(1))).duplicate


async def test_readers_are_closed_when_a_commit_fails_and_open_again_afterwards(tmp_path: Path) -> None:
    async with running(tmp_path / "jpn.db") as node:
        await node.take(launch_detection(1))
        before = node.readers.shared()
        node.fails = StoreError("the disk failed")
        with pytest.raises(Unavailable):
            await node.take(launch_detection(2))
        await node.back()
        with pytest.raises(StoreInDoubt):
            before.last_report()
        assert node.readers.shared().last_report() == 1
