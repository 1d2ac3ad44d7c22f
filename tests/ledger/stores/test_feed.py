"""The feed gives what a filter wants, in order and in bounded looks."""

from __future__ import annotations

from gateway.ledger.stores import Commit, FeedFilter, FeedItem
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.ledger.stores.sqlite.reports import FEED_SCAN_ROWS
from tests.ledger.stores.growth import ANYTHING, Growth, feed_row


def test_the_feed_gives_what_the_filter_wants_and_says_how_far_it_looked(store: SqliteStore) -> None:
    ledger = Growth()
    rows = [
        feed_row(1),
        feed_row(2, traffic_class=2),
        feed_row(3, kind=2),
        feed_row(4, originator="USA"),
        feed_row(5, precedence=1),
        feed_row(6, own=True, originator="JPN"),
        feed_row(7, kind=0, item=FeedItem.WITHDRAWAL),
    ]
    store.commit(Commit(ledgers=[ledger.begin()], feed=rows))

    def wanted(**choice: object) -> list[int]:
        filter_ = FeedFilter(**{"traffic_classes": frozenset({1})} | choice)  # type: ignore[arg-type]  # by name
        found, searched = store.feed(0, 100, filter_)
        assert searched == 7
        return [row.seq for row in found]

    assert wanted() == [1, 3, 4, 5, 7]
    assert wanted(include_own=True) == [1, 3, 4, 5, 6, 7]
    assert wanted(traffic_classes=frozenset({2})) == [2]
    assert wanted(traffic_classes=frozenset()) == []
    assert wanted(kinds=frozenset({2})) == [3, 7]
    assert wanted(originators=frozenset({"USA"})) == [4]
    assert wanted(minimum_precedence=2) == [1, 3, 4, 7]


def test_what_recalls_own_reports_passes_by_every_filter_of_kind_and_precedence(store: SqliteStore) -> None:
    recall = 6
    rows = [
        feed_row(1, kind=recall, precedence=1, own=True, originator="JPN"),
        feed_row(2, kind=2, precedence=1, own=True, originator="JPN"),
        feed_row(3, kind=recall, precedence=1),
        feed_row(4, kind=recall, precedence=1, own=True, originator="JPN", traffic_class=2),
    ]
    store.commit(Commit(ledgers=[Growth().begin()], feed=rows))

    def wanted(**choice: object) -> list[int]:
        filter_ = FeedFilter(**{"traffic_classes": frozenset({1}), "recalls": frozenset({recall})} | choice)  # type: ignore[arg-type]  # by name
        return [row.seq for row in store.feed(0, 100, filter_)[0]]

    # A partner's recall is a report as any other: what it recalls is withdrawn by a notice.
    assert wanted(kinds=frozenset({1}), minimum_precedence=4, include_own=True) == [1]
    assert wanted(minimum_precedence=4, include_own=True) == [1]
    assert wanted(kinds=frozenset({2}), include_own=True) == [1, 2]
    assert wanted(include_own=True) == [1, 2, 3]
    assert wanted() == [3]
    assert wanted(originators=frozenset({"KOR"}), include_own=True) == [3]


def test_the_feed_stops_at_the_limit_and_goes_on_from_there(store: SqliteStore) -> None:
    store.commit(Commit(ledgers=[Growth().begin()], feed=[feed_row(seq) for seq in range(1, 8)]))
    rows, searched = store.feed(0, 3, ANYTHING)
    assert ([row.seq for row in rows], searched) == ([1, 2, 3], 3)
    rows, searched = store.feed(searched, 100, ANYTHING)
    assert ([row.seq for row in rows], searched) == ([4, 5, 6, 7], 7)
    assert store.feed(7, 100, ANYTHING) == ([], 7)


def test_one_look_at_the_feed_is_bounded_and_a_narrow_filter_still_arrives(store: SqliteStore) -> None:
    count = FEED_SCAN_ROWS + 10
    rows = [feed_row(seq, traffic_class=1 if seq < count else 2) for seq in range(1, count + 1)]
    store.commit(Commit(ledgers=[Growth().begin()], feed=rows))
    narrow = FeedFilter(frozenset({2}))
    assert store.feed(0, 10, narrow) == ([], FEED_SCAN_ROWS)
    found, searched = store.feed(FEED_SCAN_ROWS, 10, narrow)
    assert ([row.seq for row in found], searched) == ([count], count)
