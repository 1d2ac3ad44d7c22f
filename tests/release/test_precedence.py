"""Alerts through the sequencer: they wait for one step at the most, whatever else there is to do, and others go on."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from signalfire.v1 import c2_pb2, report_pb2

from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.errors import Exhausted, RefusedReport
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from gateway.release.sequencer.rounds import FOLD_PUT_OFF
from gateway.release.waiting import ALERTS_IN_A_ROW
from tests.patience import PATIENCE_S
from tests.release.world import RELEASE_ALL, anything, partner_of, rules, signatory_of
from tests.reports.examples import NOW, all_clear, cancellation, correction, launch_detection, report_id, track

ROOM = 64
RADAR, NET = "spiffe://jpn/c2/radar", "spiffe://jpn/c2/net"


@dataclass(frozen=True, slots=True)
class Noting:
    """A step that notes that it was done, and does something then, in the sequencer's thread."""

    name: str
    done: list[str]
    rank: Rank = Rank.ROUTINE
    weight: int = 100
    meanwhile: Callable[[], object] = lambda: None

    def apply(self, plan: Plan) -> str:
        self.done.append(self.name)
        self.meanwhile()
        return self.name


@dataclass(slots=True)
class Running:
    """A sequencer on a real store, with what each of its commits held. `seconds` is its clock."""

    sequencer: Sequencer
    commits: list[int] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    seconds: float = 0.0
    running: asyncio.Task[None] | None = None

    def step(self, name: str, **changes: Any) -> Noting:
        return replace(Noting(name, self.done), **changes)

    async def queue(self, *steps: Any, source: str = "") -> list[asyncio.Task[Any]]:
        """Asks for steps; on return each waits in the queue."""
        tasks = [asyncio.create_task(self.sequencer.do(step, source=source)) for step in steps]
        await asyncio.sleep(0)
        return tasks

    def run(self) -> None:
        self.running = asyncio.create_task(self.sequencer.run())


def taking(report: report_pb2.Report, source: str = RADAR) -> TakeReport:
    return TakeReport.of(report, source, anything)


async def all_of(tasks: list[asyncio.Task[Any]]) -> list[Any]:
    async with asyncio.timeout(PATIENCE_S):
        return list(await asyncio.gather(*tasks, return_exceptions=True))


@pytest_asyncio.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    policy = rules(KOR=RELEASE_ALL)
    made: Running

    def listen(what: Durable) -> None:
        made.commits.append(what.steps)

    sequencer = Sequencer(
        lambda: SqliteStore(tmp_path / "jpn.sqlite"),
        signatory_of("JPN"),
        lambda: {"KOR": partner_of("KOR")},
        now_ns=lambda: NOW,
        limits=SequencerLimits(queue=ROOM),
        listener=listen,
        monotonic=lambda: made.seconds,
        rulebook=lambda store: policy,
    )
    made = Running(sequencer)
    await sequencer.open()
    yield made
    if made.running is not None:
        made.running.cancel()
        await asyncio.gather(made.running, return_exceptions=True)
    await sequencer.close()


async def test_an_alert_that_comes_while_a_commit_is_filled_waits_for_one_step_and_goes_next(running: Running) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    tracks = [running.step("first", meanwhile=hold), *(running.step(f"track {number}") for number in range(50))]
    waiting = await running.queue(*tracks)
    running.run()
    await asyncio.to_thread(began.wait, PATIENCE_S)
    waiting += await running.queue(running.step("alert", rank=Rank.FLASH))
    go_on.set()
    await all_of(waiting)
    assert running.done == ["first", "alert", *(f"track {number}" for number in range(50))]
    assert running.commits == [1, 1, 50]


async def test_an_alert_that_comes_before_a_commit_is_begun_goes_before_all_of_it(running: Running) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    # The thread is busy, so what is taken for the first commit waits there.
    running.sequencer._thread.begin(hold)
    await asyncio.to_thread(began.wait, PATIENCE_S)
    waiting = await running.queue(*(running.step(f"track {number}") for number in range(50)))
    running.run()
    await asyncio.sleep(0)
    assert running.sequencer.waiting == 0
    waiting += await running.queue(running.step("alert", rank=Rank.FLASH))
    go_on.set()
    await all_of(waiting)
    assert running.done == ["alert", *(f"track {number}" for number in range(50))]
    assert running.commits == [1, 50]


async def test_a_commit_is_filled_for_so_long_and_what_did_not_fit_goes_first_in_the_next(running: Running) -> None:
    def last() -> None:
        # As long as three steps may take.
        running.seconds += SequencerLimits().fill_ms / 1000 / 2.5

    waiting = await running.queue(*(running.step(f"track {number}", meanwhile=last) for number in range(10)))
    running.run()
    await all_of(waiting)
    assert running.commits == [3, 3, 3, 1]
    assert running.done == [f"track {number}" for number in range(10)]


async def test_one_alert_after_another_makes_one_commit_and_does_not_stop_it(running: Running) -> None:
    waiting = await running.queue(*(running.step(f"alert {number}", rank=Rank.FLASH) for number in range(20)))
    waiting += await running.queue(running.step("track"))
    running.run()
    await all_of(waiting)
    assert running.commits == [20, 1]


async def test_a_commit_of_alerts_is_not_cut_short_by_the_next_alert(running: Running) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    names = [f"alert {number}" for number in range(20)]
    steps = [running.step(name, rank=Rank.FLASH) for name in names]
    waiting = await running.queue(replace(steps[0], meanwhile=hold), *steps[1:])
    running.run()
    await asyncio.to_thread(began.wait, PATIENCE_S)
    waiting += await running.queue(running.step("next", rank=Rank.FLASH), running.step("track"))
    go_on.set()
    await all_of(waiting)
    assert running.done == [*names, "next", "track"]
    assert running.commits == [20, 1, 1]


async def test_the_commit_that_others_have_between_many_of_alerts_is_not_cut_short_by_an_alert(
    running: Running,
) -> None:
    began, go_on = threading.Event(), threading.Event()
    waiting: list[asyncio.Task[Any]] = []
    loop = asyncio.get_running_loop()

    def another(number: int) -> None:
        # One alert after another: the next is there before the commit of this one is durable.
        put = asyncio.run_coroutine_threadsafe(running.queue(alerts[number + 1]), loop)
        waiting.extend(put.result(PATIENCE_S))

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    alerts = [
        running.step(f"alert {number}", rank=Rank.FLASH, meanwhile=functools.partial(another, number))
        for number in range(ALERTS_IN_A_ROW)
    ]
    alerts.append(running.step("alert that waits", rank=Rank.FLASH))
    tracks = [running.step("first", meanwhile=hold), *(running.step(f"track {number}") for number in range(9))]
    waiting += await running.queue(alerts[0], *tracks)
    running.run()
    await asyncio.to_thread(began.wait, PATIENCE_S)
    assert running.done == [*(f"alert {number}" for number in range(ALERTS_IN_A_ROW)), "first"]
    waiting += await running.queue(running.step("alert that comes", rank=Rank.FLASH))
    go_on.set()
    await all_of(waiting)
    assert running.commits == [*[1] * ALERTS_IN_A_ROW, 10, 2]
    assert running.done[-2:] == ["alert that waits", "alert that comes"]


async def test_others_whose_commits_are_all_cut_short_by_alerts_have_a_whole_one_after_many(running: Running) -> None:
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Task[Any]] = []

    def alert() -> None:
        put = asyncio.run_coroutine_threadsafe(running.queue(running.step("alert", rank=Rank.FLASH)), loop)
        waiting.extend(put.result(PATIENCE_S))

    tracks = await running.queue(*(running.step(f"track {number}", meanwhile=alert) for number in range(40)))
    running.run()
    await all_of(tracks)
    await all_of(waiting)
    cut = ALERTS_IN_A_ROW + 1
    # A track, the alert that came meanwhile, and so on; then all the others, and what came beside them.
    assert running.commits == [*[1, 1] * ALERTS_IN_A_ROW, 1, 40 - cut, 1 + 40 - cut]


async def test_folding_the_log_is_put_off_for_alerts_that_wait_and_not_for_ever(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    folded: list[int] = []
    fold = SqliteStore.fold

    def noted(store: SqliteStore) -> None:
        folded.append(len(running.commits))
        fold(store)

    monkeypatch.setattr(SqliteStore, "log_is_long", True)
    monkeypatch.setattr(SqliteStore, "fold", noted)
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Task[Any]] = []

    def another(number: int) -> None:
        # The next alert waits before the commit of this one is durable.
        if number + 1 < len(alerts):
            put = asyncio.run_coroutine_threadsafe(running.queue(alerts[number + 1]), loop)
            waiting.extend(put.result(PATIENCE_S))

    alerts = [
        running.step(f"alert {number}", rank=Rank.FLASH, meanwhile=functools.partial(another, number))
        for number in range(2 * (FOLD_PUT_OFF + 1) + 3)
    ]
    waiting += await running.queue(alerts[0])
    running.run()
    while len(running.commits) < len(alerts):
        await all_of(list(waiting))
    await running.sequencer.do(running.step("last"))
    assert folded[:3] == [FOLD_PUT_OFF + 1, 2 * (FOLD_PUT_OFF + 1), len(alerts)]


async def test_who_finds_no_room_is_told_how_long_what_waits_will_take(running: Running) -> None:
    began, go_on = threading.Event(), threading.Event()

    def last() -> None:
        running.seconds += 0.01

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    running.run()
    await all_of(await running.queue(*(running.step(f"track {number}", meanwhile=last) for number in range(200))))
    waiting = await running.queue(running.step("holding", meanwhile=hold))
    await asyncio.to_thread(began.wait, PATIENCE_S)
    do = running.sequencer.do
    asked = [asyncio.create_task(do(running.step("x"), source=RADAR, bounded=True)) for _ in range(40)]
    await asyncio.sleep(0)
    refused = [task.exception() for task in asked if task.done()]
    # A quarter of the room: half is for ROUTINE, and as much stays free as one source may hold.
    assert len(refused) == 40 - ROOM // 4
    for error in refused:
        assert isinstance(error, Exhausted)
        assert 100 <= error.retry_after_ms <= 250, "16 steps of 10 ms"
    go_on.set()
    await all_of([*waiting, *(task for task in asked if not task.done())])


@pytest.mark.parametrize("same", [True, False])
async def test_a_recall_overtakes_what_waits_but_for_what_it_recalls(running: Running, same: bool) -> None:
    routine = report_pb2.PRECEDENCE_ROUTINE
    point = track(1, precedence=routine)
    others = [track(number, precedence=routine, event_id="JPN-2026-0099") for number in range(2, 30)]
    recall = cancellation(40, precedence=routine, cancellation__report_ids=[report_id(1)])
    step = taking(recall, RADAR if same else NET)
    waiting = await running.queue(*(taking(report) for report in [*others, point]), source=RADAR)
    recalling = asyncio.create_task(
        running.sequencer.do(step, source=step.submitted_by, bounded=True, after=step.recalls)
    )
    await asyncio.sleep(0)
    running.run()
    (came,) = await all_of([recalling])
    # Another client's recall finds nothing to recall yet: it must not make this one's report an alert.
    if same:
        assert isinstance(came, AcceptedReport)
        assert running.commits[0] == 2
    else:
        assert isinstance(came, RefusedReport)
        assert came.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
    assert all(isinstance(each, AcceptedReport) for each in await all_of(waiting))


async def test_an_all_clear_goes_after_the_reports_of_its_event_that_came_before_it(running: Running) -> None:
    routine = report_pb2.PRECEDENCE_ROUTINE
    points = [track(number, precedence=routine, event_id=f"JPN-2026-{number % 2:04d}") for number in range(20)]
    step = taking(all_clear(50, precedence=routine, event_id="JPN-2026-0001"))
    assert [step.recalls(taking(point)) for point in points] == [number % 2 == 1 for number in range(20)]
    waiting = await running.queue(*map(taking, points), source=RADAR)
    recalling = asyncio.create_task(running.sequencer.do(step, source=RADAR, after=step.recalls))
    await asyncio.sleep(0)
    running.run()
    await all_of([recalling, *waiting])
    assert running.commits == [11, 10]


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_recall_does_not_overtake_what_it_recalls_in_the_commit_that_is_being_filled(
    running: Running, tmp_path: Path, by_name: bool
) -> None:
    began, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        began.set()
        assert go_on.wait(PATIENCE_S)

    routine = report_pb2.PRECEDENCE_ROUTINE
    points = [track(number, precedence=routine, event_id="JPN-2026-0001") for number in range(1, 21)]
    recall = (
        cancellation(50, precedence=routine, cancellation__report_ids=[point.report_id for point in points])
        if by_name
        else all_clear(50, precedence=routine, event_id="JPN-2026-0001")
    )
    step = taking(recall)
    waiting = await running.queue(running.step("first", meanwhile=hold), *map(taking, points), source=RADAR)
    running.run()
    await asyncio.to_thread(began.wait, PATIENCE_S)
    waiting.append(asyncio.create_task(running.sequencer.do(step, source=RADAR, bounded=True, after=step.recalls)))
    await asyncio.sleep(0)
    go_on.set()
    _, *came = await all_of(waiting)
    assert all(isinstance(each, AcceptedReport) for each in came)
    # The recall ends the commit of the first step, and goes with all that it recalls.
    assert running.commits == [1, 21]
    with contextlib.closing(SqliteReader(tmp_path / "jpn.sqlite")) as reader:
        rows = [reader.report(uuid.UUID(point.report_id).bytes) for point in points]
    assert all(row is not None and row.withdrawn_ns is not None for row in rows)


@pytest.mark.parametrize("kind", ["cancellation", "correction"])
def test_the_names_that_a_recall_gives_are_read_once_for_all_that_waits(kind: str) -> None:
    earlier = [taking(track(number)) for number in range(1, 4)]
    names = [report_id(1), report_id(3)]
    recall = cancellation(9) if kind == "cancellation" else correction(9)
    getattr(recall, kind).report_ids[:] = names
    recalls = taking(recall).recalls
    # What names hundreds is asked of thousands: it does not walk through its names for each of them.
    getattr(recall, kind).ClearField("report_ids")
    assert [recalls(step) for step in earlier] == [True, False, True]


def test_only_what_recalls_by_name_or_event_asks_others_to_go_first() -> None:
    earlier = taking(launch_detection(1))
    assert taking(cancellation(2, cancellation__report_ids=[report_id(1)])).recalls(earlier)
    assert not taking(cancellation(2, cancellation__report_ids=[report_id(3)])).recalls(earlier)
    assert not taking(track(4)).recalls(earlier)
    assert not taking(all_clear(5, event_id=earlier.report.event_id)).recalls(object())
