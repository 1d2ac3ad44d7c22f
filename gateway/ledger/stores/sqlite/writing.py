"""What a commit becomes in the tables of the embedded store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import apsw

from gateway.ledger.errors import StoreError
from gateway.ledger.stores import AbsentRow, Append, Commit, LedgerId, PrunedSegment
from gateway.ledger.stores.sqlite.columns import COPY, COSIGNATURE, FEED, HELD, RECEIVED, RELEASED, REPORT, UNTOLD

AT_ONCE: Final = 16
"""Rows that one statement inserts. The interpreter is let go for each statement, and had back from whoever took it."""


class _Into(NamedTuple):
    """The statements that insert one row, and AT_ONCE of them."""

    one: str
    many: str

    def __call__(self, db: apsw.Connection, rows: Sequence[tuple[Any, ...]]) -> None:
        whole = len(rows) - len(rows) % AT_ONCE
        for at in range(0, whole, AT_ONCE):
            db.execute(self.many, tuple(chain.from_iterable(rows[at : at + AT_ONCE])))
        if whole < len(rows):
            db.executemany(self.one, rows[whole:])


def _into(table: str, columns: str, on_conflict: str = "") -> _Into:
    row = f"({', '.join('?' * len(columns.split(',')))})"
    one, many = (
        f"INSERT INTO {table} ({columns}) VALUES {rows} {on_conflict}" for rows in (row, ", ".join([row] * AT_ONCE))
    )
    return _Into(one, many)


_SEGMENT: Final = "INSERT INTO segment (ledger, first, count, entries) VALUES (?, ?, ?, ?)"
_CHECKPOINT: Final = _into("checkpoint", "ledger, size, note")
_TILE: Final = _into(
    "tile", "ledger, level, idx, hashes", "ON CONFLICT (ledger, level, idx) DO UPDATE SET hashes = excluded.hashes"
)
_ABSENT: Final = _into("absent", "ledger, idx, leaf_hash, note")
_COSIGNATURE: Final = _into(
    "cosignature",
    COSIGNATURE,
    "ON CONFLICT (ledger, kind, signer, size) DO UPDATE SET note = excluded.note, time_ns = excluded.time_ns",
)
_REPORT: Final = _into("report", REPORT)
_RELEASED: Final = _into("released", RELEASED)
_HELD: Final = _into("held", HELD)
_UNTOLD: Final = _into("untold", UNTOLD, "ON CONFLICT (originator, report_id, partner) DO NOTHING")
_FEED: Final = _into("feed", FEED)
_RECEIVED: Final = _into(
    "received",
    RECEIVED,
    "ON CONFLICT (originator, report_id) DO UPDATE SET feed = excluded.feed, withdrawn_ns = excluded.withdrawn_ns",
)
_DECISION: Final = _into("decision", "verdict, time_ns, ledger, idx")
_COPY: Final = _into(
    "copy",
    COPY,
    "ON CONFLICT (originator, report_id, via) DO UPDATE SET ledger = excluded.ledger, idx = excluded.idx,"
    " received_ns = excluded.received_ns, withdrawn_ns = excluded.withdrawn_ns",
)


def write(db: apsw.Connection, commit: Commit) -> None:
    """Writes everything in `commit`, within the transaction that is open. Raises apsw.Error or StoreError."""

    def many(sql: str, rows: Sequence[tuple[Any, ...]]) -> None:
        if rows:
            db.executemany(sql, rows)

    many(
        "INSERT INTO ledger (id, origin, replica, size, root, successor) VALUES (?, ?, ?, ?, ?, NULL)",
        [(row.id, str(row.origin), int(row.replica), row.size, row.root) for row in commit.ledgers],
    )
    if commit.appends:
        _append(db, commit.appends, "IS NULL")
    if commit.returned:
        _append(db, commit.returned, "IS NOT NULL")
    for segment in commit.pruned:
        _prune(db, segment)
    many(
        "UPDATE report SET payload = ?, pruned_ns = ? WHERE seq = ? AND pruned_ns IS NULL",
        [(row.payload, row.time_ns, row.seq) for row in commit.pruned_reports],
    )
    many(
        "UPDATE ledger SET successor = ? WHERE id = ?",
        [(None if successor is None else str(successor), ended) for ended, successor in commit.ended],
    )
    many("UPDATE ledger SET agreed = ? WHERE id = ?", [(agreed, ledger) for ledger, agreed in commit.agreed])
    many(
        "INSERT INTO kept_back (ledger, idx, reason, note) VALUES (?, ?, ?, ?)",
        [(row.ledger, row.index, row.reason, row.note) for row in commit.kept_back],
    )
    _COSIGNATURE(db, commit.cosignatures)
    many(
        "INSERT INTO unopenable (ledger, idx, note, time_ns) VALUES (?, ?, ?, ?) ON CONFLICT (ledger, idx) DO NOTHING",
        [(row.ledger, row.index, row.note, row.time_ns) for row in commit.unopenable],
    )
    _REPORT(db, commit.reports)
    many(
        "UPDATE report SET payload = ?, pruned_ns = NULL WHERE seq = ?",
        [(payload, seq) for seq, payload in commit.refilled],
    )
    many(
        "INSERT INTO recovery (ledger, idx, key_idx, sealed, rebuilt) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (ledger, idx) DO UPDATE SET rebuilt = max(rebuilt, excluded.rebuilt)",
        [(str(row.ledger), row.index, row.key_index, row.sealed, int(row.rebuilt)) for row in commit.recovery],
    )
    _RELEASED(db, commit.released)
    many(
        "UPDATE released SET agreement = ? WHERE originator = ? AND report_id = ? AND partner = ?",
        [(agreement, originator, report_id, partner) for originator, report_id, partner, agreement in commit.cited],
    )
    # After the releases: one of this very commit may have been sealed again.
    many(
        "UPDATE released SET ledger = ?, idx = ? WHERE ledger = ? AND idx = ?",
        [(ledger, index, old, at) for old, at, ledger, index in commit.moved],
    )
    many(
        "UPDATE report SET withdrawn_ns = ? WHERE report_id = ? AND withdrawn_ns IS NULL",
        [(time_ns, report_id) for report_id, time_ns in commit.recalled],
    )
    many(
        "UPDATE released SET withdrawn_ns = ? WHERE originator = ? AND report_id = ? AND partner = ?",
        [(time_ns, originator, report_id, partner) for originator, report_id, partner, time_ns in commit.withdrawn],
    )
    many(
        "UPDATE released SET withdrawn_ns = NULL WHERE originator = ? AND report_id = ? AND partner = ?",
        commit.not_told,
    )
    many("DELETE FROM held WHERE originator = ? AND report_id = ? AND partner = ?", commit.decided)
    _HELD(db, commit.held)
    many("DELETE FROM untold WHERE originator = ? AND report_id = ? AND partner = ?", commit.told)
    _UNTOLD(db, commit.untold)
    _FEED(db, commit.feed)
    _RECEIVED(db, commit.received)
    _COPY(db, commit.copies)
    many(
        "INSERT INTO officer_order (sequence, digest, enacted_ns, event, payload) VALUES (?, ?, ?, ?, ?)",
        [(r.sequence, r.digest, r.enacted_ns, r.event, r.payload) for r in commit.orders],
    )
    many(
        "INSERT INTO verdict (id, partner, originator, outcome, kind, traffic_class, precedence, name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (v.id, v.partner, v.originator, v.outcome, v.kind, v.traffic_class, v.precedence, v.name)
            for v in commit.verdicts
        ],
    )
    _DECISION(db, [(verdict, *place) for verdict, place in commit.decisions])
    many(
        "INSERT INTO decision_subject (report_id, event_id, time_ns, ledger, idx) VALUES (?, ?, ?, ?, ?)",
        [(report_id, event_id, *place) for report_id, event_id, place in commit.decision_subjects],
    )
    many(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        list(commit.meta.items()),
    )


def _append(db: apsw.Connection, appends: Sequence[Append], successor: str) -> None:
    """Adds to ledgers of which `successor` is so. Raises StoreError where one does not go on from what there is."""
    begins: dict[LedgerId, int] = {}
    last: dict[LedgerId, Append] = {}
    tiles: dict[tuple[LedgerId, int, int], bytes] = {}
    for append in appends:
        before = last.get(append.ledger)
        if before is None:
            begins[append.ledger] = append.first
        elif append.first != before.first + before.count:
            raise _does_not_continue(append.ledger, append.first)
        last[append.ledger] = append
        for tile in append.tiles:
            tiles[(append.ledger, tile.level, tile.index)] = tile.data
    for ledger, append in last.items():
        db.execute(
            f"UPDATE ledger SET size = ?, root = ? WHERE id = ? AND size = ? AND successor {successor}",
            (append.first + append.count, append.root, ledger, begins[ledger]),
        )
        if db.changes() != 1:
            raise _does_not_continue(ledger, begins[ledger])
    # One by one: the statement keeps what it was last given until its next use, and segments are large.
    db.executemany(_SEGMENT, [(each.ledger, each.first, each.count, each.entries) for each in appends])
    _CHECKPOINT(db, [(each.ledger, each.first + each.count, each.checkpoint) for each in appends])
    _TILE(db, [(*place, hashes) for place, hashes in tiles.items()])
    _keep_as_hashes(db, [row for append in appends for row in append.absent])


def _does_not_continue(ledger: LedgerId, first: int) -> StoreError:
    return StoreError(
        f"ledger {ledger}: an append at {first} does not continue what the store holds; another process has written to"
        " it"
    )


def _prune(db: apsw.Connection, segment: PrunedSegment) -> None:
    db.execute(
        "UPDATE segment SET entries = ? WHERE ledger = ? AND first = ? AND count = ?",
        (segment.entries, segment.ledger, segment.first, segment.count),
    )
    if db.changes() != 1:
        raise StoreError(f"ledger {segment.ledger}: there is no segment of {segment.count} at {segment.first}")
    _keep_as_hashes(db, segment.absent)


def _keep_as_hashes(db: apsw.Connection, rows: Sequence[AbsentRow]) -> None:
    _ABSENT(db, [(row.ledger, row.index, row.leaf_hash, row.note) for row in rows])
