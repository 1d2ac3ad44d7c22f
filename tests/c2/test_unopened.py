"""What rots in a store is not given, and keeps nothing else from anybody: least of all a withdrawal."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from signalfire.v1 import c2_pb2, report_pb2

from gateway.attention import Attention
from gateway.c2.feed import Feed, Runs
from gateway.c2.grants import ReadGrant
from gateway.ledger import bundle
from gateway.ledger.errors import StoreError
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow
from gateway.release.errors import KeyNotHeld
from gateway.release.opening import Opener
from gateway.release.watch import Watch
from gateway.reports.identifiers import in_bytes
from gateway.seal.storage import StorageKey, StorageKeys
from tests.release.aging import send
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import launch_detection

LIVE = frozenset({int(report_pb2.TRAFFIC_CLASS_LIVE)})
EVERYTHING = FeedFilter(LIVE, include_own=True)
ALL_OF_IT = ReadGrant(LIVE, report_pb2.CLASSIFICATION_TOP_SECRET, frozenset({"EYES-ONLY"}))
UNCLASSIFIED = ReadGrant(LIVE, report_pb2.CLASSIFICATION_UNCLASSIFIED, frozenset())
REPORTS = [launch_detection(seed) for seed in range(4)]


@pytest.fixture
def japan(tmp_path: Path) -> Iterator[Site]:
    site = Site("JPN", tmp_path / "jpn.db")
    site.rulebook = rules(KOR=RELEASE_ALL)
    for report in REPORTS:
        site.take(report)
    yield site
    site.close()


@pytest.fixture
def korea(tmp_path: Path, japan: Site) -> Iterator[Site]:
    """It has received what Japan released."""
    site = Site("KOR", tmp_path / "kor.db")
    send(japan, site)
    yield site
    site.close()


def rows(site: Site) -> list[FeedRow]:
    return list(site.store.feed(0, 100, EVERYTHING)[0])


def rot(site: Site, row: FeedRow) -> None:
    """One byte of what the row gives changes in the store; of an entry one of its ciphertext."""
    with contextlib.closing(apsw.Connection(str(site.path))) as db:
        if row.ledger is None:
            ((payload,),) = db.execute("SELECT payload FROM report WHERE report_id = ?", (row.report_id,))
            db.execute("UPDATE report SET payload = ? WHERE report_id = ?", (spoiled(payload), row.report_id))
            return
        first = site.store.segment_of(row.ledger, row.index)
        ((entries, count),) = db.execute(
            "SELECT entries, count FROM segment WHERE ledger = ? AND first = ?", (row.ledger, first)
        )
        each = bundle.decode(entries, count, allow_absent=True)
        each = [spoiled(entry) if at == row.index - first else entry for at, entry in enumerate(each)]
        db.execute(
            "UPDATE segment SET entries = ? WHERE ledger = ? AND first = ?", (bundle.encode(each), row.ledger, first)
        )


def spoiled(sealed: bytes) -> bytes:
    return sealed[:-1] + bytes([sealed[-1] ^ 1])


def seal_anew(site: Site, row: FeedRow, key: StorageKey) -> None:
    """An own report stands in the store under another key."""
    with contextlib.closing(apsw.Connection(str(site.path))) as db:
        payload = key.seal(b"sealed under a key that is not held", row.report_id)
        db.execute("UPDATE report SET payload = ? WHERE report_id = ?", (payload, row.report_id))


def feed_of(site: Site, attention: Attention | None = None, monotonic: Callable[[], float] = time.monotonic) -> Feed:
    runs = Runs((("0" * 16, 1),))
    return Feed(
        site.node,
        runs,
        lambda: site.store,
        Watch(),
        site.opener,
        site.signatory.storage,
        monotonic,
        attention or Attention(),
    )


async def given(
    site: Site, position: int = 0, grant: ReadGrant = ALL_OF_IT, attention: Attention | None = None
) -> list[c2_pb2.Item]:
    """What one who subscribes gets until he has caught up."""
    return await followed(feed_of(site, attention), position, [], grant)


async def followed(
    feed: Feed, position: int, got: list[c2_pb2.Item] | None = None, grant: ReadGrant = ALL_OF_IT
) -> list[c2_pb2.Item]:
    got = [] if got is None else got
    async with contextlib.aclosing(feed.follow(position, EVERYTHING, grant)) as responses:
        async for response in responses:
            if response.items[-1].HasField("caught_up"):
                return got
            got += response.items
    raise AssertionError("a subscription ends with an error alone")


def reports(items: list[c2_pb2.Item]) -> list[str]:
    return [item.delivery.report.report_id for item in items if item.HasField("delivery")]


@pytest.mark.parametrize("node", ["JPN", "KOR"])
async def test_what_does_not_open_is_passed_over_and_what_comes_after_it_is_given(
    japan: Site, korea: Site, node: str, caplog: pytest.LogCaptureFixture
) -> None:
    site = {"JPN": japan, "KOR": korea}[node]
    rot(site, rows(site)[1])
    attention = Attention()
    left = [report.report_id for report in REPORTS if report is not REPORTS[1]]
    assert reports(await given(site, attention=attention)) == left

    # It is told once, to whoever looks after the gateway, however many subscribers come to it.
    assert reports(await given(site, 1, attention=attention)) == left[1:]
    (line,) = (record for record in caplog.records if record.levelno == logging.CRITICAL)
    assert f"report {REPORTS[1].report_id} of JPN" in line.getMessage()
    ((item, words),) = attention.unopened.items()
    assert item == rows(site)[1].seq
    assert REPORTS[1].report_id in words


async def test_entries_that_are_counted_otherwise_than_they_stand_are_passed_over_as_well(korea: Site) -> None:
    row = rows(korea)[0]
    assert row.ledger is not None
    with contextlib.closing(apsw.Connection(str(korea.path))) as db:
        first = korea.store.segment_of(row.ledger, row.index)
        db.execute("UPDATE segment SET entries = substr(entries, 1, length(entries) - 1) WHERE first = ?", (first,))
    attention = Attention()
    lost = {
        each.seq
        for each in rows(korea)
        if each.ledger is not None and korea.store.segment_of(each.ledger, each.index) == first
    }
    assert reports(await given(korea, attention=attention)) == [
        report.report_id for report, each in zip(REPORTS, rows(korea), strict=True) if each.seq not in lost
    ]
    assert attention.unopened.keys() == lost


@pytest.mark.parametrize("rotten", [FeedItem.REPORT, FeedItem.WITHDRAWAL])
async def test_a_withdrawal_is_given_though_it_or_its_report_does_not_open(
    japan: Site, korea: Site, rotten: FeedItem
) -> None:
    japan.take(cancelling(REPORTS[1]))
    send(japan, korea)
    named = [row for row in rows(korea) if row.report_id == in_bytes(REPORTS[1].report_id)]
    (whole,) = (item.withdrawal for item in await given(korea) if item.HasField("withdrawal"))
    (row,) = (each for each in named if each.item is rotten)
    rot(korea, row)

    (notice,) = (item.withdrawal for item in await given(korea) if item.HasField("withdrawal"))
    if rotten is FeedItem.WITHDRAWAL:
        # When it was made stood in it alone.
        assert notice.time.ToNanoseconds() == row.received_ns
        whole.time.CopyFrom(notice.time)
    assert notice == whole
    assert len(reports(await given(korea))) == (4 if rotten is FeedItem.REPORT else 5)


async def test_whom_a_rotten_report_may_concern_is_told_of_its_withdrawal_as_of_one_that_was_pruned(
    japan: Site, korea: Site
) -> None:
    japan.take(cancelling(REPORTS[1]))
    send(japan, korea)
    assert await given(korea, grant=UNCLASSIFIED) == []
    rot(korea, rows(korea)[1])
    (item,) = await given(korea, grant=UNCLASSIFIED)
    assert item.withdrawal.report_id == REPORTS[1].report_id


def without_keys(site: Site) -> None:
    site.opener = Opener(site.node, [])
    site.signatory = replace(site.signatory, storage=StorageKeys([StorageKey(b"\x55" * 32)]))


@pytest.mark.parametrize("node", ["JPN", "KOR"])
async def test_where_keys_are_missing_nothing_is_passed_over(japan: Site, korea: Site, node: str) -> None:
    site = {"JPN": japan, "KOR": korea}[node]
    opener, signatory = site.opener, site.signatory
    without_keys(site)
    feed = feed_of(site)
    for _ in range(3):
        with pytest.raises(KeyNotHeld, match="keys are missing"):
            await followed(feed, 0)
    # They are there again.
    site.opener, site.signatory = opener, signatory
    feed = replace(feed, opener=opener, storage=signatory.storage)
    assert reports(await followed(feed, 0)) == [report.report_id for report in REPORTS]


async def test_where_the_keys_of_a_few_are_missing_nobody_gets_past_the_first_of_them(japan: Site) -> None:
    """However short a turn is, and whatever opens between them: the last cursor is of before."""
    other, first = StorageKey(b"\x55" * 32), rows(japan)[0]
    for row in rows(japan)[1:]:
        seal_anew(japan, row, other)
    japan.take(launch_detection(9))
    times = iter(range(1000))
    feed = feed_of(japan, monotonic=lambda: float(next(times)))
    got: list[c2_pb2.Item] = []
    with pytest.raises(KeyNotHeld):
        await followed(feed, first.seq, got)
    assert got == []


async def test_one_whose_key_is_another_by_a_byte_that_rotted_is_passed_over(japan: Site) -> None:
    seal_anew(japan, rows(japan)[1], StorageKey(b"\x55" * 32))
    left = [report.report_id for report in REPORTS if report is not REPORTS[1]]
    feed = feed_of(japan)
    for _ in range(4):
        assert reports(await followed(feed, 0)) == left


async def test_a_store_that_cannot_be_read_still_ends_the_subscription(korea: Site) -> None:
    with contextlib.closing(apsw.Connection(str(korea.path))) as db:
        db.execute("ALTER TABLE segment RENAME TO gone")
    attention = Attention()
    with pytest.raises(StoreError):
        await given(korea, attention=attention)
    assert not attention.unopened
