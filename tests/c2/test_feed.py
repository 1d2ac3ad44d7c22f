"""Whoever is given nothing by the feed holds up nobody while it is searched for him."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from signalfire.v1 import report_pb2

from gateway.c2.feed import ITEMS_AT_ONCE, TURN_S, Feed, Runs
from gateway.c2.grants import ReadGrant
from gateway.ledger.stores import FeedFilter, FeedRow
from gateway.release.pipeline import TakeReport
from gateway.release.plan import FeedEntry
from gateway.release.sequencer import Durable
from gateway.release.watch import Watch
from tests.release.world import RELEASE_ALL, Site, anything, rules
from tests.reports.examples import track

REPORTS = 3 * ITEMS_AT_ONCE
RULES = rules(KOR=RELEASE_ALL)
LIVE = frozenset({int(report_pb2.TRAFFIC_CLASS_LIVE)})
EVERYTHING = FeedFilter(LIVE, include_own=True)
NOTHING = FeedFilter(LIVE, originators=frozenset({"ZWE"}))
UNCLASSIFIED = ReadGrant(LIVE, report_pb2.CLASSIFICATION_UNCLASSIFIED, frozenset())


@pytest.fixture
def japan(tmp_path: Path) -> Iterator[Site]:
    """A node whose feed holds SECRET reports of its own."""
    site = Site("JPN", tmp_path / "jpn.sqlite", ["JPN", "KOR"])
    site.do_all(*[TakeReport.of(track(seed), "c2", anything) for seed in range(REPORTS)], rulebook=RULES)
    yield site
    site.close()


def rows(site: Site) -> list[FeedRow]:
    return list(site.store.feed(0, 2 * REPORTS, EVERYTHING)[0])


def feed(site: Site, watch: Watch, monotonic: Callable[[], float] = lambda: 0.0) -> Feed:
    """The feed, by default with a clock that stands."""
    runs = Runs((("0" * 16, 1),))
    return Feed("JPN", runs, lambda: site.store, watch, site.opener, site.signatory.storage, monotonic)


@contextlib.asynccontextmanager
async def turns() -> AsyncIterator[list[None]]:
    """As many entries as turns of the event loop that another task has had."""
    had: list[None] = []

    async def take_turns() -> None:
        while True:
            await asyncio.sleep(0)
            had.append(None)

    taking = asyncio.create_task(take_turns())
    await asyncio.sleep(0)  # it begins
    try:
        yield had
    finally:
        taking.cancel()


async def given_up_to_now(feed: Feed, wanted: FeedFilter) -> tuple[list[str], int]:
    """The items that a reader of unclassified reports gets until he has caught up, and the turns that others had."""
    got: list[str] = []
    async with turns() as had, contextlib.aclosing(feed.follow(0, wanted, UNCLASSIFIED)) as responses:
        async for response in responses:
            got += [item.WhichOneof("item") or "" for item in response.items]
            if got[-1] == "caught_up":
                break
    return got, len(had)


async def test_stored_reports_that_a_grant_does_not_cover_leave_others_their_turn(japan: Site) -> None:
    got, turns_of_others = await given_up_to_now(feed(japan, Watch()), EVERYTHING)
    assert got == ["caught_up"]
    assert turns_of_others >= REPORTS // ITEMS_AT_ONCE


async def test_where_reports_take_long_to_look_at_others_have_their_turn_sooner(japan: Site) -> None:
    clock = itertools.count(step=TURN_S)
    got, turns_of_others = await given_up_to_now(feed(japan, Watch(), lambda: next(clock)), EVERYTHING)
    assert got == ["caught_up"]
    assert turns_of_others >= REPORTS


async def test_recent_reports_that_a_grant_does_not_cover_leave_others_their_turn(japan: Site) -> None:
    watch = Watch()
    recent = [FeedEntry(row, track(seed)) for seed, row in enumerate(rows(japan))]
    watch.durable(Durable([], frozenset(), {}, recent, REPORTS, 0.0))
    got, turns_of_others = await given_up_to_now(feed(japan, watch), EVERYTHING)
    assert got == ["caught_up"]
    assert turns_of_others >= REPORTS // ITEMS_AT_ONCE


async def test_a_search_that_finds_nothing_leaves_others_their_turn_after_each_read(japan: Site) -> None:
    got, turns_of_others = await given_up_to_now(feed(japan, Watch()), NOTHING)
    assert got == ["caught_up"]
    assert turns_of_others >= 1
