"""Checks what subscribers are given, and what is known of partners' reports, against the ledgers.

1. The feed is in order and without a gap. It gives every own report once, as its decision describes it, and every
   report and withdrawal that partners sent, once by each way at most, as the replicas have it and when they had it.
2. By which ways a report came, and whether it stands, is on record as the replicas have it.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.audit.records import Finding, Named, Records
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow, StoreReader
from gateway.release.arriving import stands

_EVERYTHING = FeedFilter(frozenset({1, 2, 3}), include_own=True)
_PAGE = 4096


def compare_feed(records: Records) -> Iterator[Finding]:
    """Everything in which the feed, and what is known of partners' reports, differ from the ledgers."""
    store, rows = records.store, records.rows
    rows.do("CREATE INDEX received_of ON received (originator, report_id)")
    rows.do("CREATE INDEX given_of ON given (originator, report_id, item, via)")
    at: dict[int | None, int] = {}
    position, last, expected = 0, store.last_feed(), 1
    while position < last:
        page, position = store.feed(position, _PAGE, _EVERYTHING)
        for row in page:
            if row.seq != expected:
                yield Finding("feed", f"item {expected} is missing, or of no traffic class")
            expected = row.seq + 1
            if row.index <= at.get(row.ledger, -1) and not _was_filled_in(records, row):
                yield Finding("feed", f"item {row.seq} stands behind one that came after it")
            at[row.ledger] = max(row.index, at.get(row.ledger, -1))
            if row.ledger is None:
                rows.add("given_own", row.report_id)
                yield from _compare_own(records, row)
            else:
                yield from _compare_given(records, row)
    count = store.counts().feed
    if expected != last + 1 or count != last:
        yield Finding("feed", f"it holds {count} items, and its last number is {last}")
    for key, times in rows.rows(
        "SELECT o.report_id, coalesce(g.times, 0) FROM"
        " (SELECT DISTINCT report_id FROM record WHERE originator = '') AS o"
        " LEFT JOIN (SELECT report_id, count(*) AS times FROM given_own GROUP BY report_id) AS g USING (report_id)"
        " WHERE coalesce(g.times, 0) != 1 AND report_id NOT IN lost"
    ):
        yield Finding("feed", f"own report {Named('', key)} is in it {times} times")
    yield from _compare_received(records)


def _was_filled_in(records: Records, row: FeedRow) -> bool:
    """Whether it is an own report that was known again before its content was there."""
    subject = records.subject(row.report_id) if row.ledger is None else None
    return subject is not None and subject.rebuilt


def _compare_own(records: Records, row: FeedRow) -> Iterator[Finding]:
    report = records.store.report_at(row.index)
    subject = records.subject(row.report_id)
    if report is None or report.report_id != row.report_id or subject is None:
        yield Finding("feed", f"item {row.seq} refers to an own report that is not kept")
        return
    found = (row.item, row.originator, row.kind, row.traffic_class, row.precedence, row.received_ns)
    described = (FeedItem.REPORT, records.node, subject.kind_number, subject.traffic_class, subject.precedence)
    if found != (*described, report.accepted_ns):
        yield Finding("feed", f"item {row.seq} describes an own report otherwise than its decision does")


def _compare_given(records: Records, row: FeedRow) -> Iterator[Finding]:
    assert row.ledger is not None  # of a partner
    rows = records.rows
    via = records.owners.get(row.ledger, "")
    before = rows.row(
        "SELECT min(seq) FROM given WHERE originator = ? AND report_id = ? AND item = ? AND via = ?",
        row.originator, row.report_id, row.item, via,
    )[0]  # fmt: skip
    held = rows.row(
        "SELECT item, originator, report_id, kind, traffic_class, precedence FROM received"
        " WHERE ledger = ? AND idx = ?",
        row.ledger, row.index,
    )  # fmt: skip
    if held != (row.item, row.originator, row.report_id, row.kind, row.traffic_class, row.precedence):
        yield Finding("feed", f"item {row.seq} refers to an entry that does not hold what it says")
    elif row.received_ns != _stored_ns(records, row.ledger, row.index):
        yield Finding("feed", f"item {row.seq} came at another time than its entry was stored")
    elif before is not None:
        yield Finding("feed", f"item {row.seq} gives again what item {before} gave")
    if before is None:
        rows.add(
            "given", row.seq, row.item, row.ledger, row.index, row.originator, row.report_id, row.kind,
            row.traffic_class, row.precedence, row.received_ns, via,
        )  # fmt: skip


def _stored_ns(records: Records, ledger: int, index: int) -> int | None:
    """When an entry of a replica was stored, by this node's receipt."""
    found = records.rows.row(
        "SELECT time_ns FROM stored WHERE ledger = ? AND size > ? ORDER BY size LIMIT 1", ledger, index
    )
    return None if found is None else int(found[0])


class _Sent(NamedTuple):
    """A report or withdrawal in a replica."""

    originator: str
    key: bytes
    ledger: int
    entry: int
    item: int
    traffic_class: int
    precedence: int


class _Given(NamedTuple):
    """What subscribers were given."""

    item: int
    seq: int
    received_ns: int
    traffic_class: int
    precedence: int


@dataclass(slots=True)
class _Way:
    """What the ledgers of one node hold of a report: where, whether they withdraw it, and of which traffic class and
    precedence that is.
    """

    places: dict[tuple[int, int], int | None] = field(default_factory=dict)
    """With the times at which they were stored, nanoseconds since 1970."""
    withdrawn: bool = False
    withdrawn_ns: set[int | None] = field(default_factory=set)
    marks: set[tuple[int, int]] = field(default_factory=set)


def _compare_received(records: Records) -> Iterator[Finding]:
    store, rows = records.store, records.rows
    everything = map(
        _Sent._make,
        rows.rows(
            "SELECT originator, report_id, ledger, idx, item, traffic_class, precedence FROM received"
            " ORDER BY originator, report_id, ledger, idx"
        ),
    )
    copies = 0
    for (originator, key), group in itertools.groupby(everything, key=lambda each: each[:2]):
        ways: dict[str, _Way] = {}
        for each in group:
            way = ways.setdefault(records.owners[each.ledger], _Way())
            way.marks.add((each.traffic_class, each.precedence))
            stored_ns = _stored_ns(records, each.ledger, each.entry)
            if each.item == FeedItem.REPORT:
                way.places[(each.ledger, each.entry)] = stored_ns
            else:
                way.withdrawn = True
                way.withdrawn_ns.add(stored_ns)
        copies += len(ways)
        given = [
            _Given._make(each)
            for each in rows.rows(
                "SELECT item, seq, received_ns, traffic_class, precedence FROM given"
                " WHERE originator = ? AND report_id = ? ORDER BY seq",
                originator, key,
            )
        ]  # fmt: skip
        own = ways.get(originator)
        for kind, due in (
            (FeedItem.REPORT, any(way.places for way in ways.values())),
            (FeedItem.WITHDRAWAL, own is not None and own.withdrawn),
        ):
            if due and not any(each.item == kind for each in given):
                what = f"the {kind.name.lower()} of {uuid.UUID(bytes=key)} that {originator} sent is not in it"
                yield Finding("feed", what)
        if not _is_right(store, originator, key, ways, given):
            yield Finding(
                "received", f"what is on record of {uuid.UUID(bytes=key)} of {originator} is not what it sent"
            )
    told = rows.number("SELECT count(*) FROM (SELECT DISTINCT originator, report_id FROM given)")
    counts = store.counts()
    if counts.received != told:
        yield Finding("received", f"{counts.received} reports are on record, and partners sent {told}")
    if counts.copies != copies:
        yield Finding("received", f"{counts.copies} copies are on record, and partners sent {copies}")


def _is_right(
    store: StoreReader, originator: str, report_id: bytes, ways: Mapping[str, _Way], rows: Sequence[_Given]
) -> bool:
    """Whether the records of a partner's report are what the ledgers (`ways`) and the feed (`rows`) say."""
    copies = {copy.via: copy for copy in store.copies(originator, report_id)}
    if copies.keys() != ways.keys():
        return False
    for via, copy in copies.items():
        way = ways[via]
        place = None if copy.ledger is None or copy.index is None else (copy.ledger, copy.index)
        if (place not in way.places) if way.places else (place is not None):
            return False
        if place is not None and copy.received_ns != way.places[place]:
            return False
        if (
            copy.withdrawn_ns not in (way.withdrawn_ns or {None})
            or (copy.traffic_class, copy.precedence) not in way.marks
        ):
            return False
    received = store.received(originator, report_id)
    if received is None or not rows:
        return received is None and not rows
    last = max((row for row in rows if row.item == FeedItem.REPORT), key=lambda row: row.seq, default=None)
    # It ended when subscribers were told so, or had when they were given it.
    ended = {row.received_ns for row in rows if row.item == FeedItem.WITHDRAWAL}
    if last is not None:
        times = (copy.withdrawn_ns for copy in copies.values())
        ended |= {time_ns for time_ns in times if time_ns is not None and time_ns <= last.received_ns}
    marks = {(row.traffic_class, row.precedence) for row in rows}
    return (
        received.feed == (None if last is None else last.seq)
        and (received.withdrawn_ns is None if stands(originator, copies) else received.withdrawn_ns in ended)
        and (received.traffic_class, received.precedence) in marks
    )
