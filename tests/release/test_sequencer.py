"""What is acknowledged is durable; what is in doubt is said to be; and no failure forks a ledger."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import pytest
from signalfire.v1 import c2_pb2, report_pb2
from signalfire.v1.ledger_pb2 import SUCCESSION_REASON_RESTORE

from gateway.audit.verify import verify_store
from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, FeedFilter, ReleasedRow
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.errors import Exhausted, RefusedReport, StepBroken, Unavailable
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits, filling
from gateway.release.waiting import Place
from gateway.release.watch import Watch
from tests.patience import PATIENCE_S
from tests.release.world import RELEASE_ALL, MakeSite, anything, as_sent, identifier, partner_of, rules, signatory_of
from tests.reports.examples import NOW, launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
RULES = rules(KOR=RELEASE_ALL)
PARTNERS = {"KOR": partner_of("KOR")}


@dataclass
class Faults:
    """What befalls the store: at the n-th commit "before" or "after" it was made; openings that fail; a gate."""

    at: dict[int, str] = field(default_factory=dict)
    failing_openings: set[int] = field(default_factory=set)
    commits: int = 0
    openings: int = 0
    gate: threading.Event | None = None
    entered: threading.Event = field(default_factory=threading.Event)


class FaultyStore(SqliteStore):
    """A real store whose commits fail when they are told to."""

    def __init__(self, path: Path, faults: Faults) -> None:
        self._faults = faults
        faults.openings += 1
        if faults.openings in faults.failing_openings:
            raise StoreError("the disk is not there")
        super().__init__(path)

    def commit(self, commit: Commit) -> None:
        self._faults.commits += 1
        fault = self._faults.at.get(self._faults.commits)
        if self._faults.gate is not None:
            self._faults.entered.set()
            assert self._faults.gate.wait(PATIENCE_S)
        if fault != "before":
            super().commit(commit)
        if fault is not None:
            raise StoreError(f"the disk failed {fault} it was written")


class Running:
    """A sequencer on a real store, and everything that a follower of its ledgers was ever shown."""

    def __init__(
        self,
        path: Path,
        faults: Faults,
        limits: SequencerLimits | None = None,
        monotonic: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self.path = path
        self.faults = faults
        self.durable: list[Durable] = []
        self.watch = Watch()
        self.shown: dict[tuple[Origin, int], set[str]] = defaultdict(set)
        self.reopened = asyncio.Event()
        self.generations: list[tuple[str, int]] = []
        """What was said outside of the store of generations, and after how many commits."""
        ticks = itertools.count()
        self.sequencer = Sequencer(
            lambda: FaultyStore(path, faults),
            signatory_of("JPN"),
            lambda: PARTNERS,
            now_ns=lambda: NOW + next(ticks),
            limits=limits or SequencerLimits(reopen_s=0.001),
            listener=self._listen,
            monotonic=monotonic,
            rulebook=lambda store: RULES,
            opening=lambda _: self.generations.append(("opening", faults.commits)),
            opened=lambda _: self.generations.append(("opened", faults.commits)),
        )
        self.running: asyncio.Task[None] | None = None
        self.stopped = False

    def _listen(self, what: Durable) -> None:
        self.durable.append(what)
        self.watch.durable(what)
        for origin, note in what.checkpoints:
            self.shown[origin, int(note.text.split("\n")[1])].add(note.text)
        reader = SqliteReader(self.path)
        for row in reader.ledgers():
            for size, raw in reader.checkpoints(row.id):
                self.shown[row.origin, size].add(Note.parse(raw).text)
        reader.close()
        if what.reopened:
            self.reopened.set()

    def run(self) -> None:
        """Begins to commit."""
        self.running = asyncio.create_task(self.sequencer.run())

    async def stop(self) -> None:
        """Ends, and closes the store; once."""
        if self.stopped:
            return
        self.stopped = True
        if self.running is not None:
            self.running.cancel()
            await asyncio.gather(self.running, return_exceptions=True)
        await self.sequencer.close()

    async def queue(self, *steps: Any) -> list[asyncio.Task[Any]]:
        """Asks for steps; on return each waits in the queue, or for room in it."""
        tasks = [asyncio.create_task(self.sequencer.do(step)) for step in steps]
        # One turn of the loop: each task runs up to where it waits.
        await asyncio.sleep(0)
        return tasks

    async def take(self, report: report_pb2.Report) -> list[AcceptedReport | Unavailable]:
        """Sends a report as a C2 system does: again, until it is acknowledged. Returns every answer."""
        answers: list[AcceptedReport | Unavailable] = []
        while True:
            try:
                answers.append(await in_time(self.sequencer.do(taking(report))))
            except Unavailable as error:
                answers.append(error)
                await in_time(self.reopened.wait())
                self.reopened.clear()
                continue
            return answers


def taking(report: report_pb2.Report) -> TakeReport:
    return TakeReport.of(report, "spiffe://jpn/c2/radar", anything)


async def in_time(work: Any) -> Any:
    """The outcome of what must not take long."""
    async with asyncio.timeout(PATIENCE_S):
        return await work


async def outcomes(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    return list(await in_time(asyncio.gather(*tasks, return_exceptions=True)))


@contextlib.asynccontextmanager
async def opened(
    path: Path,
    faults: Faults | None = None,
    limits: SequencerLimits | None = None,
    monotonic: Callable[[], float] = lambda: 0.0,
) -> AsyncIterator[Running]:
    """A sequencer whose store is open; its commits begin with `run`."""
    made = Running(path, faults or Faults(), limits, monotonic)
    await made.sequencer.open()
    try:
        yield made
    finally:
        await made.stop()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jpn.sqlite"


async def test_a_store_without_an_index_of_decisions_has_it_made_when_it_is_opened(path: Path) -> None:
    report = launch_detection(1)
    async with opened(path) as running:
        running.run()
        await in_time(running.take(report))
    db = apsw.Connection(str(path))
    db.execute("DELETE FROM decision; DELETE FROM decision_subject; DELETE FROM verdict")
    db.execute("INSERT INTO meta VALUES ('decisions to index', zeroblob(16))")
    db.close()
    later = launch_detection(2)
    async with opened(path) as running:
        running.run()
        await in_time(running.take(later))
    assert_sound(path, report, later)


def assert_sound(path: Path, *reports: report_pb2.Report) -> None:
    """The store verifies, and holds each of these reports once, and no other."""
    reader = SqliteReader(path)
    outcome = verify_store(reader, signatory_of("JPN"), PARTNERS)
    assert outcome.findings == []
    kept = [reader.report_at(seq) for seq in range(1, reader.last_report() + 1)]
    assert [row.report_id for row in kept if row is not None] == [identifier(report) for report in reports]
    assert outcome.released == outcome.reports == len(reports)
    reader.close()


def assert_one_history(running: Running) -> None:
    """Nobody was ever shown two checkpoints of one size with different roots."""
    assert running.shown
    assert {texts for texts in map(frozenset, running.shown.values()) if len(texts) > 1} == set()


# --- faults of the store


@pytest.mark.parametrize("fault", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_whenever_the_store_fails_a_report_sent_again_is_taken_once_and_no_ledger_forks(
    path: Path, make_site: MakeSite, at: int, fault: str
) -> None:
    reports = [launch_detection(seed) for seed in range(4)]
    kor = make_site("KOR")
    async with opened(path, Faults({at: fault})) as running:
        running.run()
        for number, report in enumerate(reports, 1):
            answers = await running.take(report)
            if number == at:
                doubtful, final = answers
                assert isinstance(doubtful, Unavailable)
                assert isinstance(final, AcceptedReport)
                assert final.duplicate is (fault == "after")
            else:
                assert [answer.duplicate for answer in answers if isinstance(answer, AcceptedReport)] == [False]
            # A follower who takes all that there is, each time.
            reader = SqliteReader(path)
            row = reader.ledger(ORIGIN)
            assert row is not None
            head = kor.heads.get(ORIGIN)
            run = reader.run(row.id, 0 if head is None else head.edge.size, 1 << 20)
            assert run is not None
            assert kor.do(kor.receive(as_sent(ORIGIN, run))).unopenable == []
            reader.close()
        assert running.faults.openings == 2
    assert_one_history(running)
    assert_sound(path, *reports)
    assert kor.store.counts().received == len(reports)


async def test_every_step_of_a_failed_commit_is_told_that_it_is_in_doubt(path: Path) -> None:
    reports = [launch_detection(seed) for seed in range(3)]
    async with opened(path, Faults({1: "before"})) as running:
        tasks = await running.queue(*map(taking, reports))
        running.run()
        assert [type(outcome) for outcome in await outcomes(tasks)] == [Unavailable] * 3
        await in_time(running.reopened.wait())
        assert running.sequencer.problem is None
        assert running.sequencer.heads() == []
    assert_sound(path)


async def test_what_is_put_is_told_of_with_the_others_of_its_commit_before_anybody_has_a_turn(path: Path) -> None:
    async with opened(path) as running:
        told: list[AcceptedReport | Exception] = []
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def done(outcome: AcceptedReport | Exception) -> None:
            if not told:
                asyncio.get_running_loop().call_soon(lambda: turn.set_result(len(told)))
            told.append(outcome)

        conflict = launch_detection(0, source_sequence=99)
        for report in (launch_detection(0), launch_detection(1), conflict):
            running.sequencer.put(taking(report), done)
        assert not told
        running.run()
        assert await in_time(turn) == 3
        assert [type(outcome) for outcome in told] == [AcceptedReport, AcceptedReport, RefusedReport]


async def test_others_have_their_turn_while_very_many_are_told_and_a_stop_then_keeps_nobody_in_the_dark(
    path: Path,
) -> None:
    elapsed = itertools.count()
    limits = SequencerLimits(fill_ms=3_600_000.0)
    async with opened(path, limits=limits, monotonic=lambda: float(next(elapsed))) as running:
        told: list[AcceptedReport | Exception] = []
        turns: list[int] = []

        def done(outcome: AcceptedReport | Exception) -> None:
            told.append(outcome)
            asyncio.get_running_loop().call_soon(lambda: turns.append(len(told)))
            if len(told) == 2 and running.running is not None:
                running.running.cancel()

        for seed in range(4):
            running.sequencer.put(taking(launch_detection(seed)), done)
        running.run()
        assert running.running is not None
        with pytest.raises(asyncio.CancelledError):
            await in_time(running.running)
        assert [type(outcome) for outcome in told] == [AcceptedReport] * 4
        assert turns[0] == 1
        assert running.faults.commits == 1


async def test_who_is_stopped_twice_over_a_commit_keeps_nobody_in_the_dark(path: Path) -> None:
    async with opened(path) as running:
        running.faults.gate = threading.Event()
        told: list[AcceptedReport | Exception] = []
        for seed in range(3):
            running.sequencer.put(taking(launch_detection(seed)), told.append)
        running.run()
        assert running.running is not None
        assert await asyncio.to_thread(running.faults.entered.wait, PATIENCE_S)
        for _ in range(2):
            running.running.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await in_time(running.running)
        assert [type(outcome) for outcome in told] == [Unavailable] * 3
        running.faults.gate.set()


async def test_what_is_put_and_finds_no_room_is_refused_at_once_and_told_of_no_further(path: Path) -> None:
    async with opened(path, limits=SequencerLimits(queue=8)) as running:
        told: list[AcceptedReport | Exception] = []

        def put(seed: int) -> None:
            running.sequencer.put(taking(launch_detection(seed)), told.append, source="one", bounded=True)

        with pytest.raises(Exhausted):
            list(map(put, range(9)))
        waiting = running.sequencer.waiting
        await running.stop()
        assert [type(outcome) for outcome in told] == [Unavailable] * waiting
        with pytest.raises(Unavailable):
            running.sequencer.put(taking(launch_detection(20)), told.append)
        assert len(told) == waiting


async def test_after_a_failure_the_heads_are_those_of_the_store_and_seal_under_new_epochs(path: Path) -> None:
    async with opened(path, Faults({2: "after"})) as running:
        running.run()
        await running.take(launch_detection(1))
        head = running.sequencer.head(ORIGIN)
        assert head is not None
        assert head.epoch is not None
        await running.take(launch_detection(2))
        head = running.sequencer.head(ORIGIN)
        assert head is not None
        assert (head.edge.size, head.epoch) == (3, None)
        await running.take(launch_detection(3))
        head = running.sequencer.head(ORIGIN)
        assert head is not None
        assert head.epoch is not None
        assert (head.edge.size, head.epoch.index) == (5, 3)


async def test_the_store_is_opened_as_often_as_it_takes_and_meanwhile_everything_is_refused(path: Path) -> None:
    faults = Faults({1: "before"}, failing_openings={2, 3, 4})
    async with opened(path, faults) as running:
        running.run()
        answers = await running.take(launch_detection(1))
        assert [type(answer) for answer in answers] == [Unavailable, AcceptedReport]
    assert faults.openings == 5
    assert_sound(path, launch_detection(1))


async def test_while_the_store_is_not_open_a_step_is_refused_at_once(path: Path) -> None:
    faults = Faults({1: "before"}, failing_openings=set(range(2, 100)))
    async with opened(path, faults, SequencerLimits(reopen_s=3600)) as running:
        running.run()
        with pytest.raises(Unavailable):
            await in_time(running.sequencer.do(taking(launch_detection(1))))
        with pytest.raises(Unavailable, match=r"the last commit failed|cannot be opened"):
            await in_time(running.sequencer.do(taking(launch_detection(1))))


async def test_whoever_waits_is_woken_for_a_commit_that_turned_out_to_be_durable(path: Path) -> None:
    async with opened(path, Faults({2: "after"})) as running:
        running.run()
        await running.take(launch_detection(1))
        ledger, feed = running.watch.ledger_bell(ORIGIN), running.watch.feed_bell
        follower = asyncio.create_task(ledger.wait(ledger.rings))
        subscriber = asyncio.create_task(feed.wait(feed.rings))
        await asyncio.sleep(0)
        # The C2 system does not send again, and no other report comes.
        with pytest.raises(Unavailable):
            await in_time(running.sequencer.do(taking(launch_detection(2))))
        await in_time(asyncio.gather(follower, subscriber))
        # What is remembered of the feed does not hide what the commit in doubt added.
        assert running.watch.recent_after(1) is None
        reader = SqliteReader(path)
        rows, _ = reader.feed(1, 10, FeedFilter(frozenset({1}), include_own=True))
        reader.close()
        assert [row.report_id for row in rows] == [identifier(launch_detection(2))]


async def test_a_store_error_inside_a_step_puts_the_whole_commit_in_doubt(path: Path) -> None:
    async with opened(path) as running:
        tasks = await running.queue(taking(launch_detection(1)), Stumbling(StoreError("a page cannot be read")))
        running.run()
        assert [type(outcome) for outcome in await outcomes(tasks)] == [Unavailable, Unavailable]
        await in_time(running.reopened.wait())
        await running.take(launch_detection(2))
    assert_sound(path, launch_detection(2))


# --- steps that fail


@dataclass(frozen=True)
class Stumbling:
    """Seals an entry and takes a feed number, then fails."""

    error: Exception
    weight: int = 0
    rank: Rank = Rank.FLASH

    def apply(self, plan: Plan) -> None:
        plan.next_feed()
        plan.ledgers.writer("KOR", "flash").append(b"half done")
        raise self.error


@dataclass(frozen=True)
class Contradicting:
    """Adds what the store cannot hold beside what it holds: a second release of a report to a partner."""

    report_id: bytes
    weight: int = 0
    rank: Rank = Rank.FLASH

    def apply(self, plan: Plan) -> None:
        writer = plan.ledgers.writer("KOR", "flash")
        index = writer.append(b"released twice")
        plan.releases.record(ReleasedRow(self.report_id, "KOR", writer.head.id, index, 1, 1))


@dataclass(frozen=True)
class Refusing:
    """Refuses before it adds anything."""

    error: Exception
    weight: int = 0
    rank: Rank = Rank.FLASH

    def apply(self, plan: Plan) -> None:
        raise self.error


async def test_a_step_that_fails_unexpectedly_is_answered_alone_and_leaves_nothing(path: Path) -> None:
    async with opened(path) as running:
        steps = [
            taking(launch_detection(1)),
            Stumbling(ZeroDivisionError("nobody thought of this")),
            taking(launch_detection(2)),
            Stumbling(KeyError("nor of this")),
        ]
        tasks = await running.queue(*steps)
        running.run()
        first, broken, second, also_broken = await outcomes(tasks)
        assert (first.duplicate, second.duplicate) == (False, False)
        assert isinstance(broken, StepBroken)
        assert isinstance(also_broken, StepBroken)
        assert "nobody thought of this" in str(broken)
        assert running.faults.commits == 1
        assert running.sequencer.problem is None
    assert_sound(path, launch_detection(1), launch_detection(2))


async def test_after_a_step_that_failed_unexpectedly_no_key_seals_that_its_plan_had_used(path: Path) -> None:
    async with opened(path) as running:
        running.run()
        await running.take(launch_detection(1))
        tasks = await running.queue(taking(launch_detection(2)), Stumbling(ZeroDivisionError()))
        await outcomes(tasks)
        head = running.sequencer.head(ORIGIN)
        assert head is not None
        assert head.epoch is not None
        assert head.epoch.index == 2


async def test_a_step_that_contradicts_what_is_durable_is_refused_alone_and_the_store_stays_open(path: Path) -> None:
    async with opened(path) as running:
        running.run()
        await running.take(launch_detection(1))
        openings = running.faults.openings
        again = Contradicting(identifier(launch_detection(1)))
        reports = [launch_detection(seed) for seed in range(2, 9)]
        tasks = await running.queue(*map(taking, reports[:5]), again, *map(taking, reports[5:]))
        *first, broken, sixth, seventh = await outcomes(tasks)
        assert isinstance(broken, StepBroken)
        assert "contradicts" in str(broken)
        assert not any(taken.duplicate for taken in (*first, sixth, seventh))
        with pytest.raises(StepBroken):
            await in_time(running.sequencer.do(again))
        assert running.sequencer.problem is None
        assert running.faults.openings == openings, "there was nothing in doubt"
    assert_sound(path, launch_detection(1), *reports)


async def test_a_conflict_is_looked_for_among_what_the_commit_was_filled_with_and_not_among_all_that_waits(
    path: Path,
) -> None:
    """Of sixty-four steps four fit; so it is found in three tries, and not in seven."""
    elapsed = itertools.count()
    async with opened(path, limits=SequencerLimits(fill_ms=3500.0), monotonic=lambda: float(next(elapsed))) as running:
        running.run()
        await running.take(launch_detection(1))
        before = running.faults.commits
        again = Contradicting(identifier(launch_detection(1)))
        reports = [launch_detection(seed) for seed in range(2, 66)]
        broken: list[tuple[object, int]] = []

        async def put() -> None:
            # Told before the next commit is begun.
            running.sequencer.put(again, lambda outcome: broken.append((outcome, running.faults.commits - before)))

        first = asyncio.create_task(put())
        assert not any(taken.duplicate for taken in await outcomes(await running.queue(*map(taking, reports))))
        await first
        ((outcome, commits),) = broken
        assert isinstance(outcome, StepBroken)
        assert commits == 3, "four of them, two of them, and the one alone"
    assert_sound(path, launch_detection(1), *reports)


async def test_what_opens_is_said_outside_before_the_commit_and_that_it_is_open_after_it(path: Path) -> None:
    step = DeclareSetBack("lost", None, SUCCESSION_REASON_RESTORE)
    async with opened(path, Faults({2: "before"})) as running:
        running.run()
        await running.take(launch_detection(1))
        assert running.generations == []
        with pytest.raises(Unavailable):
            await in_time(running.sequencer.do(step))
        assert running.generations == [("opening", 1)], "it failed: nothing is open"
        await in_time(running.reopened.wait())
        await in_time(running.sequencer.do(step))
        assert running.generations[1:] == [("opening", 2), ("opened", 3)]


async def test_whoever_asks_for_a_step_need_not_know_that_it_can_fail_unexpectedly() -> None:
    # The exchange and the C2 side answer for Unavailable; anything else would end them.
    assert issubclass(StepBroken, Unavailable)


@pytest.mark.parametrize("error", [LedgerError("refused"), RefusedReport(c2_pb2.REFUSAL_CODE_CONFLICT, [])])
async def test_a_step_that_is_refused_is_refused_alone(path: Path, error: Exception) -> None:
    async with opened(path) as running:
        tasks = await running.queue(taking(launch_detection(1)), Refusing(error), taking(launch_detection(2)))
        running.run()
        first, refused, second = await outcomes(tasks)
        assert (first.duplicate, refused, second.duplicate) == (False, error, False)
    assert_sound(path, launch_detection(1), launch_detection(2))


# --- batches


async def test_what_has_queued_is_one_commit_and_each_ledger_is_signed_once(path: Path) -> None:
    async with opened(path) as running:
        tasks = await running.queue(*(taking(launch_detection(seed)) for seed in range(6)))
        running.run()
        await outcomes(tasks)
        assert running.faults.commits == 1
        (what,) = running.durable
        assert (what.steps, len(what.feed)) == (6, 6)
        assert sorted(origin.lane for origin, _ in what.checkpoints) == ["decisions", "flash"]
        assert what.grown == {ORIGIN, Origin.decisions("JPN", 1)}


@pytest.mark.parametrize(
    ("limits", "commits"), [(SequencerLimits(steps=4), 3), (SequencerLimits(bytes=1), 10), (SequencerLimits(), 1)]
)
async def test_a_commit_is_bounded_in_steps_and_bytes(path: Path, limits: SequencerLimits, commits: int) -> None:
    async with opened(path, limits=limits) as running:
        tasks = await running.queue(*(taking(launch_detection(seed)) for seed in range(10)))
        running.run()
        await outcomes(tasks)
        assert running.faults.commits == commits


@pytest.mark.parametrize(("tick", "fit", "most"), [(0.0, 91, 92), (1.0, 20, 2 * 20)])
async def test_what_a_commit_will_have_no_time_for_is_not_taken_for_it(
    path: Path, monkeypatch: pytest.MonkeyPatch, tick: float, fit: int, most: int
) -> None:
    monkeypatch.setattr(filling, "EXPECTED", 8)
    elapsed = itertools.count()
    limits = SequencerLimits(fill_ms=20_000.0)
    async with opened(path, limits=limits, monotonic=lambda: tick * next(elapsed)) as running:
        waiting = running.sequencer._door.waiting
        take, taken = waiting.take, []

        def counted(steps: int, bytes: int) -> Sequence[Place[Any]]:
            places = take(steps, bytes)
            taken.append(len(places))
            return places

        monkeypatch.setattr(waiting, "take", counted)
        tasks = await running.queue(*(taking(launch_detection(seed)) for seed in range(100)))
        running.run()
        assert not any(accepted.duplicate for accepted in await outcomes(tasks))
        assert taken[0] == 8, "nothing was measured yet"
        assert fit < max(taken) <= most
        assert sum(what.steps for what in running.durable) == 100


async def test_nothing_is_announced_or_acknowledged_before_it_is_durable(path: Path) -> None:
    faults = Faults(gate=threading.Event())
    async with opened(path, faults) as running:
        running.run()
        (task,) = await running.queue(taking(launch_detection(1)))
        await in_time(asyncio.to_thread(faults.entered.wait, PATIENCE_S))
        assert not task.done()
        assert running.durable == []
        assert running.sequencer.heads() == []
        assert faults.gate is not None
        faults.gate.set()
        assert (await in_time(task)).duplicate is False
        assert len(running.durable) == 1


async def test_a_commit_of_nothing_new_does_not_touch_the_disk(path: Path) -> None:
    async with opened(path) as running:
        running.run()
        await running.take(launch_detection(1))
        (again,) = await running.take(launch_detection(1))
        assert isinstance(again, AcceptedReport)
        assert again.duplicate
        assert running.faults.commits == 1


async def test_one_who_no_longer_waits_does_not_hold_up_the_others(path: Path) -> None:
    async with opened(path) as running:
        gone, here = await running.queue(taking(launch_detection(1)), taking(launch_detection(2)))
        gone.cancel()
        running.run()
        assert (await in_time(here)).duplicate is False
    assert_sound(path, launch_detection(1), launch_detection(2))


# --- the queue, and the end


async def test_what_the_room_bounds_is_refused_beyond_it_at_once_and_taken_when_there_is_room_again(path: Path) -> None:
    async with opened(path, limits=SequencerLimits(queue=8)) as running:
        do = running.sequencer.do
        steps = [taking(launch_detection(seed)) for seed in range(6)]
        tasks = [asyncio.create_task(do(step, source="radar", bounded=True)) for step in steps]
        await asyncio.sleep(0)
        assert running.sequencer.waiting == 4
        *_, fifth, sixth = tasks
        for refused in (fifth, sixth):
            with pytest.raises(Exhausted, match="too much waits") as exhausted:
                await refused
            assert exhausted.value.retry_after_ms >= 50
        running.run()
        assert [outcome.duplicate for outcome in await outcomes(tasks[:4])] == [False] * 4
        assert (await in_time(do(steps[5], source="radar", bounded=True))).duplicate is False


async def test_what_the_room_does_not_bound_always_comes_in(path: Path) -> None:
    async with opened(path, limits=SequencerLimits(queue=8)) as running:
        tasks = await running.queue(*(taking(launch_detection(seed)) for seed in range(50)))
        assert running.sequencer.waiting == 50
        running.run()
        assert [outcome.duplicate for outcome in await outcomes(tasks)] == [False] * 50


async def test_a_stop_fails_what_is_being_committed_and_what_waits(path: Path) -> None:
    faults = Faults(gate=threading.Event())
    async with opened(path, faults) as running:
        running.run()
        (committing,) = await running.queue(taking(launch_detection(0)))
        await in_time(asyncio.to_thread(faults.entered.wait, PATIENCE_S))
        waiting = await running.queue(*(taking(launch_detection(seed)) for seed in range(1, 6)))
        stopping = asyncio.create_task(running.stop())
        await asyncio.sleep(0)
        assert faults.gate is not None
        faults.gate.set()
        assert [type(outcome) for outcome in await outcomes([committing, *waiting])] == [Unavailable] * 6
        await in_time(stopping)
        with pytest.raises(Unavailable, match="stopping"):
            await in_time(running.sequencer.do(taking(launch_detection(9))))
    # The commit that was under way ended whole before the store was closed.
    assert_sound(path, launch_detection(0))


async def test_a_sequencer_that_never_ran_fails_its_steps_when_it_is_closed(path: Path) -> None:
    async with opened(path) as running:
        tasks = await running.queue(*(taking(launch_detection(seed)) for seed in range(4)))
        await running.stop()
        assert [type(outcome) for outcome in await outcomes(tasks)] == [Unavailable] * 4


async def test_a_store_that_cannot_be_opened_at_the_start_is_an_error(path: Path) -> None:
    running = Running(path, Faults(failing_openings={1}))
    with pytest.raises(StoreError, match="the disk is not there"):
        await running.sequencer.open()
    await running.stop()


# --- the watch


async def test_a_ring_between_two_waits_is_not_lost_and_one_waiter_who_leaves_takes_none_along() -> None:
    bell = Watch().feed_bell
    seen = bell.rings
    bell.ring()
    assert await in_time(bell.wait(seen)) == 1
    leaving, staying = (asyncio.create_task(bell.wait(1)) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    bell.ring()
    assert await in_time(staying) == 2


async def test_the_recent_part_of_the_feed_is_given_without_a_gap_or_not_at_all(path: Path) -> None:
    async with opened(path) as running:
        running.run()
        assert running.watch.recent_after(0) is None
        for seed in range(3):
            await running.take(launch_detection(seed))
        recent = running.watch.recent_after
        assert [entry.row.seq for entry in recent(0) or ()] == [1, 2, 3]
        assert [entry.row.seq for entry in recent(2) or ()] == [3]
        assert recent(3) == []
        running.watch.forget()
        await running.take(launch_detection(3))
        assert recent(2) is None
        assert [entry.row.seq for entry in recent(3) or ()] == [4]
