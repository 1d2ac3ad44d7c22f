"""What a commit becomes in the tables of the embedded store."""

from __future__ import annotations

from typing import Final

import apsw

from gateway.ledger.errors import StoreError
from gateway.ledger.stores import Commit

COSIGNATURE: Final = "ledger, kind, size, note, time_ns, signer"
REPORT: Final = "seq, report_id, digest, event_id, kind, submitted_by, accepted_ns, decision, payload"
COPY: Final = "originator, report_id, via, ledger, idx, received_ns, withdrawn_ns, traffic_class, precedence"
"""Columns in the order in which they are written and read."""


def write(db: apsw.Connection, commit: Commit) -> None:
    """Writes everything in `commit`, within the transaction that is open. Raises apsw.Error or StoreError."""
    for ledger in commit.ledgers:
        db.execute(
            "INSERT INTO ledger (id, origin, replica, size, root, successor) VALUES (?, ?, ?, ?, ?, NULL)",
            (ledger.id, str(ledger.origin), int(ledger.replica), ledger.size, ledger.root),
        )
    whether = {True: "IS NULL", False: "IS NOT NULL"}
    for append, goes_on in (*((each, True) for each in commit.appends), *((each, False) for each in commit.returned)):
        end = append.first + append.count
        db.execute(
            f"UPDATE ledger SET size = ?, root = ? WHERE id = ? AND size = ? AND successor {whether[goes_on]}",
            (end, append.root, append.ledger, append.first),
        )
        if db.changes() != 1:
            raise StoreError(
                f"ledger {append.ledger}: an append at {append.first} does not continue what the store holds;"
                " another process has written to it"
            )
        db.execute(
            "INSERT INTO segment (ledger, first, count, entries) VALUES (?, ?, ?, ?)",
            (append.ledger, append.first, append.count, append.entries),
        )
        db.execute(
            "INSERT INTO checkpoint (ledger, size, note) VALUES (?, ?, ?)",
            (append.ledger, end, append.checkpoint),
        )
        db.executemany(
            "INSERT INTO tile (ledger, level, idx, hashes) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (ledger, level, idx) DO UPDATE SET hashes = excluded.hashes",
            [(append.ledger, tile.level, tile.index, tile.data) for tile in append.tiles],
        )
        db.executemany(
            "INSERT INTO absent (ledger, idx, leaf_hash, note) VALUES (?, ?, ?, ?)",
            [(row.ledger, row.index, row.leaf_hash, row.note) for row in append.absent],
        )
    for segment in commit.pruned:
        db.execute(
            "UPDATE segment SET entries = ? WHERE ledger = ? AND first = ? AND count = ?",
            (segment.entries, segment.ledger, segment.first, segment.count),
        )
        if db.changes() != 1:
            raise StoreError(f"ledger {segment.ledger}: there is no segment of {segment.count} at {segment.first}")
        db.executemany(
            "INSERT INTO absent (ledger, idx, leaf_hash, note) VALUES (?, ?, ?, ?)",
            [(row.ledger, row.index, row.leaf_hash, row.note) for row in segment.absent],
        )
    db.executemany(
        "UPDATE report SET payload = ?, pruned_ns = ? WHERE seq = ? AND pruned_ns IS NULL",
        [(row.payload, row.time_ns, row.seq) for row in commit.pruned_reports],
    )
    for ended, successor in commit.ended:
        name = None if successor is None else str(successor)
        db.execute("UPDATE ledger SET successor = ? WHERE id = ?", (name, ended))
    db.executemany("UPDATE ledger SET agreed = ? WHERE id = ?", [(agreed, ledger) for ledger, agreed in commit.agreed])
    db.executemany(
        "INSERT INTO kept_back (ledger, idx, reason, note) VALUES (?, ?, ?, ?)",
        [(row.ledger, row.index, row.reason, row.note) for row in commit.kept_back],
    )
    db.executemany(
        f"INSERT INTO cosignature ({COSIGNATURE}) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (ledger, kind, signer, size) DO UPDATE SET note = excluded.note, time_ns = excluded.time_ns",
        [(row.ledger, row.kind.value, row.size, row.note, row.time_ns, row.signer) for row in commit.cosignatures],
    )
    db.executemany(
        "INSERT INTO unopenable (ledger, idx, note, time_ns) VALUES (?, ?, ?, ?) ON CONFLICT (ledger, idx) DO NOTHING",
        [(row.ledger, row.index, row.note, row.time_ns) for row in commit.unopenable],
    )
    db.executemany(
        f"INSERT INTO report ({REPORT}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                r.seq,
                r.report_id,
                r.digest,
                r.event_id,
                r.kind,
                r.submitted_by,
                r.accepted_ns,
                r.decision,
                r.payload,
            )
            for r in commit.reports
        ],
    )
    # A report that was rebuilt without its content is kept as one that was pruned.
    db.executemany(
        "UPDATE report SET pruned_ns = ? WHERE seq = ?",
        [(r.pruned_ns, r.seq) for r in commit.reports if r.pruned_ns is not None],
    )
    db.executemany(
        "UPDATE report SET payload = ?, pruned_ns = NULL WHERE seq = ?",
        [(payload, seq) for seq, payload in commit.refilled],
    )
    db.executemany(
        "INSERT INTO recovery (ledger, idx, key_idx, sealed, rebuilt) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (ledger, idx) DO UPDATE SET rebuilt = max(rebuilt, excluded.rebuilt)",
        [(str(row.ledger), row.index, row.key_index, row.sealed, int(row.rebuilt)) for row in commit.recovery],
    )
    db.executemany(
        "INSERT INTO released (report_id, partner, ledger, idx, traffic_class, precedence, originator, agreement)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (r.report_id, r.partner, r.ledger, r.index, r.traffic_class, r.precedence, r.originator, r.agreement)
            for r in commit.released
        ],
    )
    db.executemany(
        "UPDATE released SET agreement = ? WHERE originator = ? AND report_id = ? AND partner = ?",
        [(agreement, originator, report_id, partner) for originator, report_id, partner, agreement in commit.cited],
    )
    # After the releases: one of this very commit may have been sealed again.
    db.executemany(
        "UPDATE released SET ledger = ?, idx = ? WHERE ledger = ? AND idx = ?",
        [(ledger, index, old, at) for old, at, ledger, index in commit.moved],
    )
    db.executemany(
        "UPDATE report SET withdrawn_ns = ? WHERE report_id = ? AND withdrawn_ns IS NULL",
        [(time_ns, report_id) for report_id, time_ns in commit.recalled],
    )
    db.executemany(
        "UPDATE released SET withdrawn_ns = ? WHERE originator = ? AND report_id = ? AND partner = ?",
        [(time_ns, originator, report_id, partner) for originator, report_id, partner, time_ns in commit.withdrawn],
    )
    db.executemany(
        "UPDATE released SET withdrawn_ns = NULL WHERE originator = ? AND report_id = ? AND partner = ?",
        commit.not_told,
    )
    db.executemany("DELETE FROM held WHERE originator = ? AND report_id = ? AND partner = ?", commit.decided)
    db.executemany(
        "INSERT INTO held (originator, report_id, partner, due_ns) VALUES (?, ?, ?, ?)",
        [(r.originator, r.report_id, r.partner, r.due_ns) for r in commit.held],
    )
    db.executemany(
        "DELETE FROM untold WHERE originator = ? AND report_id = ? AND partner = ?",
        [(r.originator, r.report_id, r.partner) for r in commit.told],
    )
    db.executemany(
        "INSERT INTO untold (originator, report_id, partner) VALUES (?, ?, ?)"
        " ON CONFLICT (originator, report_id, partner) DO NOTHING",
        [(r.originator, r.report_id, r.partner) for r in commit.untold],
    )
    db.executemany(
        "INSERT INTO feed"
        " (seq, item, ledger, idx, originator, report_id, kind, traffic_class, precedence, received_ns)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (r.seq, int(r.item), r.ledger, r.index, r.originator, r.report_id, r.kind, r.traffic_class,
            r.precedence,
             r.received_ns)
            for r in commit.feed
        ],
    )  # fmt: skip
    db.executemany(
        "INSERT INTO received (originator, report_id, feed, withdrawn_ns, traffic_class, precedence)"
        " VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (originator, report_id)"
        " DO UPDATE SET feed = excluded.feed, withdrawn_ns = excluded.withdrawn_ns",
        [(r.originator, r.report_id, r.feed, r.withdrawn_ns, r.traffic_class, r.precedence) for r in commit.received],
    )
    db.executemany(
        f"INSERT INTO copy ({COPY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (originator, report_id, via) DO UPDATE SET ledger = excluded.ledger, idx = excluded.idx,"
        " received_ns = excluded.received_ns, withdrawn_ns = excluded.withdrawn_ns",
        [
            (
                r.originator, r.report_id, r.via, r.ledger, r.index, r.received_ns, r.withdrawn_ns,
                r.traffic_class, r.precedence,
            )
            for r in commit.copies
        ],
    )  # fmt: skip
    db.executemany(
        "INSERT INTO officer_order (sequence, digest, enacted_ns, event, payload) VALUES (?, ?, ?, ?, ?)",
        [(r.sequence, r.digest, r.enacted_ns, r.event, r.payload) for r in commit.orders],
    )
    db.executemany(
        "INSERT INTO verdict (id, partner, originator, outcome, kind, traffic_class, precedence, name)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (v.id, v.partner, v.originator, v.outcome, v.kind, v.traffic_class, v.precedence, v.name)
            for v in commit.verdicts
        ],
    )
    db.executemany(
        "INSERT INTO decision (verdict, time_ns, ledger, idx) VALUES (?, ?, ?, ?)",
        [(row.verdict, *row.place) for row in commit.decisions],
    )
    db.executemany(
        "INSERT INTO decision_subject (report_id, event_id, time_ns, ledger, idx) VALUES (?, ?, ?, ?, ?)",
        [(row.report_id, row.event_id, *row.place) for row in commit.decision_subjects],
    )
    db.executemany(
        "INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        list(commit.meta.items()),
    )
