"""What is given from memory and what is read from the store is the same; the store is asked for each thing once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.c2 import feed as feeding
from gateway.c2.feed import Feed, Runs
from gateway.c2.grants import ReadGrant
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import FeedFilter
from gateway.release.pipeline import TakeReport
from gateway.release.sequencer import Durable
from gateway.release.steps import SignPostQuantum
from gateway.release.watch import Watch
from tests.c2.test_feed import turns
from tests.release.aging import send
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, Site, anything, rules
from tests.reports.examples import launch_detection, track

LIVE = frozenset({int(report_pb2.TRAFFIC_CLASS_LIVE)})
EVERYTHING = FeedFilter(LIVE, include_own=True)
SECRET = ReadGrant(LIVE, report_pb2.CLASSIFICATION_SECRET, frozenset({"EYES-ONLY"}))
MANY = 3 * feeding.ITEMS_AT_ONCE


class Nations:
    """A nation that releases, and one whose subscribers are given what it received, and its own."""

    def __init__(self, places: Path) -> None:
        self.jpn, self.kor = Site("JPN", places / "jpn.sqlite"), Site("KOR", places / "kor.sqlite")
        self.jpn.rulebook, self.kor.rulebook = rules(KOR=RELEASE_ALL), rules("KOR", JPN=RELEASE_ALL)
        self.watch = Watch()

    def release(self, *reports: report_pb2.Report) -> None:
        """They are released and received, each nation in one commit."""
        self.jpn.do_all(*[TakeReport.of(report, "c2", anything) for report in reports])
        self._keep(*[self.kor.receive(self.jpn.incoming(origin, first)) for origin, first in self._new()])

    def make(self, report: report_pb2.Report) -> None:
        """The nation of the subscribers makes a report of its own."""
        self._keep(TakeReport.of(report, "c2", anything))

    def _new(self) -> Iterator[tuple[Origin, int]]:
        for lane in Lane:
            origin = Origin.release("JPN", "KOR", lane, 1)
            sent, have = self.jpn.store.ledger(origin), self.kor.store.ledger(origin)
            first = 0 if have is None else have.size
            if sent is not None and sent.size > first:
                yield origin, first

    def _keep(self, *steps: object) -> None:
        plan = self.kor.plan()
        for step in steps:
            step.apply(plan)  # type: ignore[attr-defined]
        self.kor.keep(plan)
        self.watch.durable(Durable([], frozenset(), {}, plan.feed, len(steps), 0.0))

    def feed(self, watch: Watch, monotonic: Callable[[], float] = lambda: 0.0) -> Feed:
        """The feed, by default with a clock that stands."""
        kor = self.kor
        runs = Runs((("0" * 16, 1),))
        return Feed("KOR", runs, lambda: kor.store, watch, kor.opener, kor.signatory.storage, monotonic)


@pytest.fixture
def nations(tmp_path: Path) -> Iterator[Nations]:
    nations = Nations(tmp_path)
    yield nations
    nations.jpn.close()
    nations.kor.close()


async def given(feed: Feed) -> list[c2_pb2.Item]:
    """What a new subscriber is given until he has caught up."""
    got: list[c2_pb2.Item] = []
    async with contextlib.aclosing(feed.follow(0, EVERYTHING, SECRET)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                break
            got += response.items
    return got


async def test_memory_and_store_give_the_same_items_in_the_same_order_each_once(nations: Nations) -> None:
    fleeting = [launch_detection(seed) for seed in range(3)]
    nations.release(*fleeting, *(track(seed) for seed in range(100, 140)))
    nations.make(launch_detection(50, originator_node="KOR"))
    withdrawal = cancelling(*fleeting[:2])
    nations.release(withdrawal, track(141))
    nations.jpn.do(SignPostQuantum(Origin.release("JPN", "KOR", Lane.FLASH, 1)))
    send(nations.jpn, nations.kor)
    nations.release(track(142), launch_detection(43))
    recent = nations.watch.recent_after(0)
    assert recent is not None
    from_memory, from_store = await given(nations.feed(nations.watch)), await given(nations.feed(Watch()))
    assert from_memory == from_store
    assert [item.cursor for item in from_store] == [f"{'0' * 16}:{entry.row.seq}" for entry in recent]
    withdrawn = {item.delivery.report.report_id for item in from_store if item.delivery.withdrawn}
    assert withdrawn == {report.report_id for report in fleeting[:2]}
    assert {item.delivery.pq_pending for item in from_store if item.delivery.ledger} == {True, False}


async def test_who_listens_is_given_each_commit_as_the_store_has_it(nations: Nations) -> None:
    got: list[c2_pb2.Item] = []
    nations.release(launch_detection(0))
    async with contextlib.aclosing(nations.feed(nations.watch).follow(0, EVERYTHING, SECRET)) as responses:
        got += [item for _ in range(2) for item in (await anext(responses)).items]
        assert got.pop().HasField("caught_up")
        for seed in range(1, 4):
            nations.release(launch_detection(seed), track(100 + seed))
            got += (await anext(responses)).items
    assert got == await given(nations.feed(Watch()))


@pytest.mark.parametrize("forgotten", [False, True])
async def test_who_is_slow_is_told_of_what_was_withdrawn_meanwhile(nations: Nations, forgotten: bool) -> None:
    reports = [launch_detection(seed) for seed in range(3)]
    nations.release(*reports)
    each_alone = itertools.count(step=feeding.TURN_S)
    feed = nations.feed(nations.watch, lambda: next(each_alone))
    async with contextlib.aclosing(feed.follow(0, EVERYTHING, SECRET)) as responses:
        (first,) = (await anext(responses)).items
        nations.release(cancelling(*reports[:2]))
        if forgotten:
            nations.watch.forget()
        (second,) = (await anext(responses)).items
        (third,) = (await anext(responses)).items
    assert [item.delivery.report.report_id for item in (first, second, third)] == [each.report_id for each in reports]
    assert [item.delivery.withdrawn for item in (first, second, third)] == [False, True, False]


async def test_who_catches_up_has_each_segment_read_once_a_turn(
    nations: Nations, monkeypatch: pytest.MonkeyPatch
) -> None:
    nations.release(*(track(seed) for seed in range(MANY)))
    read: list[int] = []
    store = nations.kor.store
    of_store = store.segments

    def segments(ledger: object, first: int, max_bytes: int) -> object:
        read.append(first)
        return of_store(ledger, first, max_bytes)  # type: ignore[arg-type]

    monkeypatch.setattr(store, "segments", segments)
    assert len(await given(nations.feed(Watch()))) == MANY
    assert len(read) <= MANY // feeding.ITEMS_AT_ONCE + 1  # that the ledger came in one segment, and turns end in it


@pytest.mark.parametrize("live", [False, True])
async def test_own_reports_are_not_read_long_before_their_turn(
    nations: Nations, monkeypatch: pytest.MonkeyPatch, live: bool
) -> None:
    for seed in range(2 * feeding.OWN_AT_ONCE):
        nations.make(launch_detection(seed, originator_node="KOR"))
    read: list[int] = []
    store = nations.kor.store
    of_store = store.reports

    def reports(report_ids: Sequence[bytes]) -> object:
        read.append(len(report_ids))
        return of_store(report_ids)

    monkeypatch.setattr(store, "reports", reports)
    watch = nations.watch if live else Watch()
    assert len(await given(nations.feed(watch))) == sum(read) == 2 * feeding.OWN_AT_ONCE
    read.clear()
    each_alone = itertools.count(step=feeding.TURN_S)
    assert len(await given(nations.feed(watch, lambda: next(each_alone)))) == len(read)
    assert max(read) == feeding.OWN_AT_ONCE


async def test_of_those_who_catch_up_one_has_a_turn_before_all_others_have_theirs(nations: Nations) -> None:
    nations.release(*(track(seed) for seed in range(MANY)))
    feed = nations.feed(Watch())
    async with turns() as had:
        got = await asyncio.gather(*[given(feed) for _ in range(8)])
    assert {len(items) for items in got} == {MANY}
    assert len(had) >= 8 * MANY // feeding.ITEMS_AT_ONCE


async def test_one_who_does_not_read_keeps_nobody_else_from_catching_up(nations: Nations) -> None:
    nations.release(*(track(seed) for seed in range(MANY)))
    feed = nations.feed(Watch())
    async with contextlib.aclosing(feed.follow(0, EVERYTHING, SECRET)) as unread:
        await anext(unread)
        assert len(await given(feed)) == MANY


async def test_a_message_is_full_by_its_bytes_too(nations: Nations, monkeypatch: pytest.MonkeyPatch) -> None:
    nations.release(*(track(seed) for seed in range(8)))
    recent = nations.watch.recent_after(0)
    assert recent is not None
    monkeypatch.setattr(feeding, "MESSAGE_BYTES", sum(entry.content.ByteSize() for entry in recent[:3]))
    sizes: list[int] = []
    async with contextlib.aclosing(nations.feed(nations.watch).follow(0, EVERYTHING, SECRET)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                break
            sizes.append(len(response.items))
    assert sizes == [3, 3, 2]
