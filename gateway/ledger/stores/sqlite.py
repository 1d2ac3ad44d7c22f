"""The embedded store: one SQLite file.

Durability rests on three promises of SQLite's documentation:

- In WAL mode with ``synchronous=FULL`` the log is synced on every commit, so a transaction that COMMIT returned from
  survives a loss of power (https://www.sqlite.org/pragma.html#pragma_synchronous, https://www.sqlite.org/wal.html).
- A transaction is all or nothing across a crash at any instruction (https://www.sqlite.org/atomiccommit.html).
- Readers in WAL mode see the last committed snapshot and are never blocked by the writer
  (https://www.sqlite.org/isolation.html).

``PRAGMA fullfsync`` is set besides, for systems whose fsync() does not reach the platter.

APSW is the one SQLite library of the process: two copies of SQLite in one process break each other's POSIX locks
(https://www.sqlite.org/howtocorrupt.html, section 2.2.1), so nothing here may import `sqlite3`. One connection
belongs to
one thread at a time.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import apsw

from gateway.ledger import bundle
from gateway.ledger.errors import OriginError, StoreError, StoreVersionError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import (
    RUN_ENTRIES,
    AbsentRow,
    Commit,
    CopyRow,
    CosignatureKind,
    CosignatureRow,
    Counts,
    DecisionPlace,
    DecisionRange,
    DecisionRow,
    DecisionSubjectRow,
    FeedFilter,
    FeedItem,
    FeedRow,
    HeldRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    OfEvent,
    OrderRow,
    ReceivedRow,
    RecoveryRow,
    ReleasedRow,
    ReportRow,
    Run,
    Segment,
    StoreReader,
    UnopenableRow,
    UntoldRow,
    VerdictRow,
)
from gateway.ledger.stores.failing import Translated
from gateway.ledger.stores.log import make_log_durable, without_folding
from gateway.ledger.stores.writing import (
    COPY,
    COSIGNATURE,
    FEED,
    HELD,
    RECEIVED,
    RELEASED,
    REPORT,
    UNTOLD,
    write,
)

T = TypeVar("T")

Row = tuple[Any, ...]
"""One row. The tables are STRICT, so a column holds the type that the schema says."""

APPLICATION_ID = 0x5349_4746
"""SQLite application id, "SIGF": a file of another program is refused, not overwritten."""

BUSY_MS = 5000
"""Milliseconds for which a lock of another process is waited for."""

MAX_DAMAGE = 20
"""Damages of a file that are named: enough to see what it is."""

LOG_PAGES = 1000
"""Pages of the log after which it is folded into the file: 4 MiB, as SQLite does by itself. Folding writes a page once,
however often it stands in the log, so a longer log costs a little less; but nothing is committed while it is folded,
which takes some 10 ms a thousand pages.
"""

_PROBE = "probe"

FEED_SCAN_ROWS = 512
"""Rows of the feed looked at in one call: bounds how long a subscription with a narrow filter holds the reader."""

_MIGRATIONS = resources.files("gateway.ledger.stores") / "migrations"


def _migrations() -> list[str]:
    """The numbered migrations, 0001.sql first. Number n brings a store from version n-1 to version n."""
    scripts = sorted(
        (item.name, item.read_text("utf-8")) for item in _MIGRATIONS.iterdir() if item.name.endswith(".sql")
    )
    names = [name for name, _ in scripts]
    if names != [f"{n:04}.sql" for n in range(1, len(names) + 1)]:
        raise StoreError(f"migrations are not numbered from 0001 without a gap: {', '.join(names)}")
    return [text for _, text in scripts]


class SqliteReader:
    """A read-only view of a store's file. See `gateway.ledger.stores.StoreReader`."""

    def __init__(
        self,
        path: Path,
        connection: apsw.Connection | None = None,
        vfs: str | None = None,
        on_failure: Callable[[StoreError], None] | None = None,
    ) -> None:
        """`on_failure` is told of each error that SQLite or the disk gave, besides whoever asked."""
        self._path = path
        self._vfs = vfs
        self._on_failure = on_failure
        self._querying = self._failing("a query")
        if connection is None:
            with Translated(path, "opening to read"):
                connection = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs))
                connection.set_busy_timeout(BUSY_MS)
        self._db = connection
        # Otherwise SQLite, which weighs what is bound, plans most queries anew each time: that is what they cost.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        self._check_version()

    def _failing(self, doing: str) -> Translated:
        return Translated(self._path, doing, self._on_failure)

    def _check_version(self) -> None:
        if not hasattr(apsw, "carray"):
            raise StoreError(
                f"store {self._path}: this apsw is built without carray; install apsw 3.51 or later from PyPI"
            )
        with self._failing("reading its version"):
            application = self._db.pragma("application_id")
            version = self._db.pragma("user_version")
        known = len(_migrations())
        if application != APPLICATION_ID:
            raise StoreError(f"store {self._path}: is not a Signalfire store (application id {application})")
        if version != known:
            raise StoreVersionError(
                f"store {self._path}: has schema version {version}, and this software writes {known}; "
                + (
                    "the first start of this software's gateway brings it up to date"
                    if isinstance(version, int) and version < known
                    else "run the version of the gateway that wrote it, or a later one"
                )
            )

    def _rows(self, sql: str, *bindings: object) -> list[Row]:
        with self._querying:
            return self._db.execute(sql, bindings).fetchall()

    def _row(self, sql: str, *bindings: object) -> Row | None:
        rows = self._rows(sql, *bindings)
        return rows[0] if rows else None

    def ledgers(self) -> Sequence[LedgerRow]:
        rows = self._rows(f"SELECT {_LEDGER} FROM ledger ORDER BY id")
        return [_ledger_row(row) for row in rows]

    def ledger(self, origin: Origin) -> LedgerRow | None:
        row = self._row(f"SELECT {_LEDGER} FROM ledger WHERE origin = ?", str(origin))
        return None if row is None else _ledger_row(row, origin)

    def run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        # One snapshot: between two reads a segment may be pruned.
        return self._at_one_moment(self._run, ledger, first, max_bytes)

    def _run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        with self._failing("reading a segment"):
            chunks: list[bytes] = []
            total = 0
            end = first
            for seg_first, count, entries in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ? AND first >= ? ORDER BY first",
                (ledger, first),
            ):
                if seg_first != end:
                    if not chunks:
                        raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins at {first}")
                    raise StoreError(f"store {self._path}: ledger {ledger} has a gap between {end} and {seg_first}")
                if chunks and (total + len(entries) > max_bytes or end + count - first > RUN_ENTRIES):
                    break
                chunks.append(entries)
                total += len(entries)
                end += count
        if not chunks:
            self._require_boundary(ledger, first)
            return None
        checkpoint = self.checkpoint(ledger, end)
        if checkpoint is None:
            raise StoreError(f"store {self._path}: ledger {ledger} has no checkpoint of size {end}")
        absent = self._rows(
            "SELECT ledger, idx, leaf_hash, note FROM absent WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        entries = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Run(first, end - first, entries, checkpoint, [AbsentRow(*row) for row in absent])

    def segments(self, ledger: LedgerId, first: int, max_bytes: int) -> Sequence[Segment]:
        found: list[Segment] = []
        total, end = 0, first
        with self._failing("reading segments"):
            for segment in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ? AND first >= ? ORDER BY first",
                (ledger, first),
            ):
                at, count, entries = segment
                if at != end:
                    raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins at {end}")
                if found and (total + len(entries) > max_bytes or end + count - first > RUN_ENTRIES):
                    break
                found.append(Segment(*segment))
                total += len(entries)
                end += count
        if not found:
            self._require_boundary(ledger, first)
        return found

    def _require_boundary(self, ledger: LedgerId, end: int) -> None:
        """Raises StoreError unless the segments before `end` reach up to it exactly."""
        rows = self._rows(
            "SELECT first + count FROM segment WHERE ledger = ? AND first < ? ORDER BY first DESC LIMIT 1", ledger, end
        )
        if end != (rows[0][0] if rows else 0):
            raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins or ends at {end}")

    def entry(self, ledger: LedgerId, index: int) -> bytes | None:
        row = self._row(
            "SELECT first, count, entries FROM segment WHERE ledger = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            ledger, index,
        )  # fmt: skip
        if row is None or index >= row[0] + row[1]:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {index}")
        return bundle.element(row[2], row[1], index - row[0]) or None

    def leaves(self, ledger: LedgerId, first: int, end: int) -> Sequence[bytes]:
        if first >= end:
            return []
        return self._at_one_moment(self._leaves, ledger, first, end)

    def _leaves(self, ledger: LedgerId, first: int, end: int) -> Sequence[bytes]:
        absent: dict[int, bytes] = dict(
            self._rows(
                "SELECT idx, leaf_hash FROM absent WHERE ledger = ? AND idx >= ? AND idx < ?", ledger, first, end
            )
        )
        found: list[bytes] = []
        nothing = f"store {self._path}: ledger {ledger} entry %d has neither bytes nor a hash"
        with self._failing("reading a segment"):
            for start, count, entries in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ?1 AND first < ?3 AND first >="
                " (SELECT max(first) FROM segment WHERE ledger = ?1 AND first <= ?2) ORDER BY first",
                (ledger, first, end),
            ):
                for index, entry in enumerate(bundle.decode(entries, count, allow_absent=True), start):
                    if not first <= index < end:
                        continue
                    leaf = leaf_hash(entry) if entry else absent.get(index)
                    if leaf is None:
                        raise StoreError(nothing % index)
                    found.append(leaf)
        if len(found) != end - first:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {first + len(found)}")
        return found

    def segment_of(self, ledger: LedgerId, index: int) -> int:
        row = self._row(
            "SELECT first, count FROM segment WHERE ledger = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            ledger, index,
        )  # fmt: skip
        if row is None or index >= row[0] + row[1]:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {index}")
        return int(row[0])

    def absent(self, ledger: LedgerId, index: int) -> AbsentRow | None:
        row = self._row("SELECT ledger, idx, leaf_hash, note FROM absent WHERE ledger = ? AND idx = ?", ledger, index)
        return None if row is None else AbsentRow(*row)

    def kept_back(self, ledger: LedgerId, first: int, end: int) -> Sequence[KeptBackRow]:
        rows = self._rows(
            "SELECT ledger, idx, reason, note FROM kept_back WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        return [KeptBackRow(*row) for row in rows]

    def keeps_back(self, ledger: LedgerId) -> bool:
        return self._row("SELECT 1 FROM kept_back WHERE ledger = ? LIMIT 1", ledger) is not None

    def tile(self, ledger: LedgerId, level: int, index: int) -> bytes | None:
        row = self._row("SELECT hashes FROM tile WHERE ledger = ? AND level = ? AND idx = ?", ledger, level, index)
        return None if row is None else row[0]

    def tiles(self, ledger: LedgerId) -> Sequence[tuple[int, int, bytes]]:
        return self._rows("SELECT level, idx, hashes FROM tile WHERE ledger = ? ORDER BY level, idx", ledger)

    def checkpoint(self, ledger: LedgerId, size: int) -> bytes | None:
        row = self._row("SELECT note FROM checkpoint WHERE ledger = ? AND size = ?", ledger, size)
        return None if row is None else row[0]

    def checkpoints(self, ledger: LedgerId) -> Sequence[tuple[int, bytes]]:
        return self._rows("SELECT size, note FROM checkpoint WHERE ledger = ? ORDER BY size", ledger)

    def cosignature(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, at_least: int = 0
    ) -> CosignatureRow | None:
        row = self._row(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size DESC LIMIT 1",
            ledger, kind.value, signer, at_least,
        )  # fmt: skip
        return None if row is None else CosignatureRow(ledger, kind, *row[2:])

    def covering(self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int) -> CosignatureRow | None:
        row = self._row(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size LIMIT 1",
            ledger, kind.value, signer, size,
        )  # fmt: skip
        return None if row is None else CosignatureRow(ledger, kind, *row[2:])

    def cosignatures(self, ledger: LedgerId) -> Sequence[CosignatureRow]:
        rows = self._rows(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? ORDER BY kind, signer, size",
            ledger,
        )
        return [_cosignature_row(row) for row in rows]

    def cosigners(self, ledger: LedgerId, kind: CosignatureKind) -> Sequence[str]:
        found: list[str] = []
        # One look into the primary key for each signer, however many rows each of them has.
        while (signer := self._rows(
            "SELECT min(signer) FROM cosignature WHERE ledger = ? AND kind = ? AND signer > ?",
            ledger, kind.value, found[-1] if found else "",
        )[0][0]) is not None:  # fmt: skip
            found.append(signer)
        return found

    def cosignatures_from(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int, limit: int
    ) -> Sequence[CosignatureRow]:
        rows = self._rows(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size LIMIT ?",
            ledger, kind.value, signer, size, limit,
        )  # fmt: skip
        return [_cosignature_row(row) for row in rows]

    def unopenable(self, ledger: LedgerId) -> Sequence[UnopenableRow]:
        rows = self._rows("SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? ORDER BY idx", ledger)
        return [UnopenableRow(*row) for row in rows]

    def last_unopenable(self, ledger: LedgerId, limit: int) -> Sequence[UnopenableRow]:
        rows = self._rows(
            "SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? ORDER BY idx DESC LIMIT ?",
            ledger, limit,
        )  # fmt: skip
        return [UnopenableRow(*row) for row in reversed(rows)]

    def statement(self, ledger: LedgerId, index: int) -> UnopenableRow | None:
        row = self._row("SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? AND idx = ?", ledger, index)
        return None if row is None else UnopenableRow(*row)

    def report(self, report_id: bytes) -> ReportRow | None:
        row = self._row(f"SELECT {REPORT} FROM report WHERE report_id = ?", report_id)
        return None if row is None else ReportRow(*row)

    def reports(self, report_ids: Sequence[bytes]) -> Sequence[ReportRow]:
        rows = self._rows(
            f"SELECT {REPORT} FROM report WHERE report_id IN carray(?)",
            _any_of(report_ids),
        )
        return [ReportRow(*row) for row in rows]

    def report_at(self, seq: int) -> ReportRow | None:
        row = self._row(f"SELECT {REPORT} FROM report WHERE seq = ?", seq)
        return None if row is None else ReportRow(*row)

    def without_content(self, submitted_by: str, limit: int) -> Sequence[str]:
        rows = self._rows(
            "SELECT report_id FROM report WHERE payload = x'' AND submitted_by = ? LIMIT ?", submitted_by, limit
        )
        return [str(uuid.UUID(bytes=report_id)) for (report_id,) in rows]

    def reports_of_event(self, event_id: str, kinds: Collection[int]) -> Sequence[bytes]:
        rows = self._rows("SELECT report_id, kind FROM report WHERE event_id = ? ORDER BY seq", event_id)
        return [report_id for report_id, kind in rows if kind in kinds]

    def released(self, report_id: bytes, originator: str = "") -> Sequence[ReleasedRow]:
        rows = self._rows(
            f"SELECT {RELEASED} FROM released WHERE originator = ? AND report_id = ? ORDER BY partner",
            originator, report_id,
        )  # fmt: skip
        return [ReleasedRow(*row) for row in rows]

    def released_of(self, report_ids: Sequence[bytes], originator: str = "") -> Sequence[ReleasedRow]:
        rows = self._rows(
            f"SELECT {RELEASED} FROM released WHERE originator = ? AND report_id IN carray(?)"
            " ORDER BY report_id, partner",
            originator, _any_of(report_ids),
        )  # fmt: skip
        return [ReleasedRow(*row) for row in rows]

    def cited_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[tuple[int, str]]:
        return self._rows(
            "SELECT idx, agreement FROM released WHERE ledger = ? AND idx >= ? AND idx < ? AND agreement <> ''"
            " ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip

    def held(self, report_id: bytes, originator: str = "") -> Sequence[HeldRow]:
        rows = self._rows(
            f"SELECT {HELD} FROM held WHERE originator = ? AND report_id = ?",
            originator, report_id,
        )  # fmt: skip
        return [HeldRow(*row) for row in rows]

    def held_until(self, now_ns: int, limit: int) -> Sequence[HeldRow]:
        rows = self._rows(
            f"SELECT {HELD} FROM held WHERE due_ns <= ? ORDER BY due_ns LIMIT ?",
            now_ns, limit,
        )  # fmt: skip
        return [HeldRow(*row) for row in rows]

    def untold(self, partner: str, limit: int) -> Sequence[UntoldRow]:
        rows = self._rows(f"SELECT {UNTOLD} FROM untold WHERE partner = ? ORDER BY seq LIMIT ?", partner, limit)
        return [UntoldRow(*row) for row in rows]

    def untold_of(self, report_id: bytes, originator: str = "") -> Sequence[str]:
        rows = self._rows(
            "SELECT partner FROM untold WHERE originator = ? AND report_id = ? ORDER BY partner", originator, report_id
        )
        return [partner for (partner,) in rows]

    def of_event(self, event_id: str) -> OfEvent:
        def rows(columns: str, table: str) -> Sequence[tuple[Any, ...]]:
            return self._rows(
                f"SELECT {columns} FROM report CROSS JOIN {table} USING (report_id)"
                " WHERE report.event_id = ? AND originator = ''",
                event_id,
            )

        return OfEvent(
            [ReleasedRow(*row) for row in rows(RELEASED.replace("withdrawn_ns", "released.withdrawn_ns"), "released")],
            [HeldRow(*row) for row in rows(HELD, "held")],
            [UntoldRow(*row) for row in rows(UNTOLD, "untold")],
        )

    def untold_counts(self) -> Mapping[str, int]:
        return dict(self._rows("SELECT partner, count(*) FROM untold GROUP BY partner"))

    def received(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        row = self._row(
            f"SELECT {RECEIVED} FROM received"
            " WHERE originator = ? AND report_id = ?",
            originator, report_id,
        )  # fmt: skip
        return None if row is None else ReceivedRow(*row)

    def copies(self, originator: str, report_id: bytes) -> Sequence[CopyRow]:
        rows = self._rows(f"SELECT {COPY} FROM copy WHERE originator = ? AND report_id = ?", originator, report_id)
        return [CopyRow(*row) for row in rows]

    def received_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[ReceivedRow]:
        rows = self._rows(
            f"SELECT {RECEIVED} FROM received"
            " WHERE originator = ? AND report_id IN carray(?)",
            originator, _any_of(report_ids),
        )  # fmt: skip
        return [ReceivedRow(*row) for row in rows]

    def copies_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[CopyRow]:
        rows = self._rows(
            f"SELECT {COPY} FROM copy WHERE originator = ? AND report_id IN carray(?) ORDER BY report_id, via",
            originator, _any_of(report_ids),
        )  # fmt: skip
        return [CopyRow(*row) for row in rows]

    def orders(self, after: int = 0) -> Sequence[OrderRow]:
        rows = self._rows(
            "SELECT sequence, digest, enacted_ns, event, payload FROM officer_order"
            " WHERE sequence > ? ORDER BY sequence",
            after,
        )
        return [OrderRow(*row) for row in rows]

    def feed(self, after: int, limit: int, wanted: FeedFilter) -> tuple[Sequence[FeedRow], int]:
        found: list[FeedRow] = []
        searched = after
        with self._failing("reading the feed"):
            for row in self._db.execute(
                f"SELECT {FEED} FROM feed WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, FEED_SCAN_ROWS),
            ):
                item = FeedRow(row[0], _ITEMS.get(row[1]) or _known(FeedItem, row[1], "feed"), *row[2:])
                searched = item.seq
                if wanted.wants(item):
                    found.append(item)
                    if len(found) == limit:
                        break
        return found, searched

    def last_feed(self) -> int:
        count: int = self._rows("SELECT coalesce(max(seq), 0) FROM feed")[0][0]
        return count

    def last_report(self) -> int:
        count: int = self._rows("SELECT coalesce(max(seq), 0) FROM report")[0][0]
        return count

    def counts(self) -> Counts:
        row = self._rows(
            "SELECT (SELECT count(*) FROM report), (SELECT count(*) FROM released),"
            " (SELECT count(*) FROM feed), (SELECT count(*) FROM received), (SELECT count(*) FROM copy)"
        )[0]
        return Counts(*row)

    def verdicts(self, after: int = 0) -> Sequence[VerdictRow]:
        rows = self._rows(
            "SELECT id, partner, originator, outcome, kind, traffic_class, precedence, name FROM verdict"
            " WHERE id > ? ORDER BY id",
            after,
        )
        return [VerdictRow(*row) for row in rows]

    def decision_bounds(
        self, verdicts: Sequence[int], within: DecisionRange, *, oldest_first: bool
    ) -> Sequence[tuple[int, int]]:
        # One seek a verdict, all of them in one statement.
        rows = self._rows(
            "SELECT v.value, (SELECT d.time_ns FROM decision AS d WHERE d.verdict = v.value"
            f" AND d.time_ns >= ? AND d.time_ns <= ? ORDER BY d.time_ns {_WAY[oldest_first]} LIMIT 1)"
            " FROM json_each(?) AS v",
            within.first.time_ns, within.last.time_ns, json.dumps(list(verdicts)),
        )  # fmt: skip
        return [(verdict, time_ns) for verdict, time_ns in rows if time_ns is not None]

    def decisions(
        self, verdict: int, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        rows = self._rows(
            f"SELECT time_ns, ledger, idx FROM decision WHERE verdict = ? AND {_WITHIN} {_ORDERED[oldest_first]}",
            verdict, *within.first, *within.last, limit,
        )  # fmt: skip
        return [DecisionPlace(*row) for row in rows]

    def decisions_of_report(
        self, report_id: bytes, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        home, size = self._home()
        own = self._rows(
            "SELECT accepted_ns, ?, decision FROM report WHERE report_id = ? AND decision < ?", home, report_id, size
        )
        rows = self._rows(
            f"SELECT time_ns, ledger, idx FROM decision_subject WHERE report_id = ? AND {_WITHIN}"
            f" {_ORDERED[oldest_first]}",
            report_id, *within.first, *within.last, limit,
        )  # fmt: skip
        return _merged(own, rows, within, limit, oldest_first=oldest_first)

    def decisions_of_event(
        self, event_id: str, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        home, size = self._home()
        # The times are compared once more by themselves, since the index has no column for the ledger.
        own = self._rows(
            "SELECT accepted_ns, ?1, decision FROM report"
            " WHERE event_id = ?2 AND accepted_ns >= ?3 AND accepted_ns <= ?6"
            " AND (accepted_ns, ?1, decision) >= (?3, ?4, ?5) AND (accepted_ns, ?1, decision) <= (?6, ?7, ?8)"
            " AND decision < ?10"
            f" ORDER BY accepted_ns {_WAY[oldest_first]}, decision {_WAY[oldest_first]} LIMIT ?9",
            home, event_id, *within.first, *within.last, limit, size,
        )  # fmt: skip
        rows = self._rows(
            f"SELECT time_ns, ledger, idx FROM decision_subject WHERE event_id = ? AND {_WITHIN}"
            f" {_ORDERED[oldest_first]}",
            event_id, *within.first, *within.last, limit,
        )  # fmt: skip
        return _merged(own, rows, within, limit, oldest_first=oldest_first)

    def _home(self) -> tuple[int, int]:
        """Number and size of the first generation of the decisions ledger; (0, 0): there is none.

        Of a report that a later one decided, `report.decision` may name an entry of the first that is about another.
        """
        row = self._row("SELECT id, size FROM ledger WHERE replica = 0 AND origin GLOB 'signalfire/v1/*/decisions/1'")
        return (0, 0) if row is None else (row[0], row[1])

    def recovery(self, after: tuple[str, int], limit: int) -> Sequence[RecoveryRow]:
        rows = self._rows(
            f"SELECT {_RECOVERY} FROM recovery WHERE (ledger, idx) > (?, ?) ORDER BY ledger, idx LIMIT ?",
            *after, limit,
        )  # fmt: skip
        return [_recovery_row(row) for row in rows]

    def each_recovery(self) -> Iterator[RecoveryRow]:
        yield from map(_recovery_row, self._each(f"SELECT {_RECOVERY} FROM recovery ORDER BY ledger, idx"))

    def indexed_decisions(self) -> Iterator[DecisionRow]:
        with self._failing("reading the index of decisions"):
            for verdict, time_ns, ledger, index in self._db.execute(
                "SELECT verdict, time_ns, ledger, idx FROM decision ORDER BY verdict, time_ns, ledger, idx"
            ):
                yield DecisionRow(verdict, DecisionPlace(time_ns, ledger, index))

    def indexed_subjects(self) -> Iterator[DecisionSubjectRow]:
        with self._failing("reading the index of decisions"):
            for report_id, event_id, time_ns, ledger, index in self._db.execute(
                "SELECT report_id, event_id, time_ns, ledger, idx FROM decision_subject"
                " ORDER BY report_id, time_ns, ledger, idx"
            ):
                yield DecisionSubjectRow(report_id, event_id, DecisionPlace(time_ns, ledger, index))

    def _each(self, sql: str, *bindings: object) -> Iterator[Row]:
        with self._querying:
            yield from self._db.execute(sql, bindings)

    def each_cosignature(self, ledger: LedgerId) -> Iterator[CosignatureRow]:
        rows = self._each(f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? ORDER BY kind, signer, size", ledger)
        return map(_cosignature_row, rows)

    def each_report(self) -> Iterator[ReportRow]:
        return itertools.starmap(ReportRow, self._each(f"SELECT {REPORT} FROM report ORDER BY seq"))

    def each_recalled(self) -> Iterator[tuple[bytes, int]]:
        return self._each("SELECT report_id, withdrawn_ns FROM report WHERE withdrawn_ns IS NOT NULL")

    def each_released(self) -> Iterator[ReleasedRow]:
        return itertools.starmap(
            ReleasedRow, self._each(f"SELECT {RELEASED} FROM released ORDER BY originator, report_id, partner")
        )

    def each_held(self) -> Iterator[HeldRow]:
        return itertools.starmap(HeldRow, self._each(f"SELECT {HELD} FROM held"))

    def each_untold(self) -> Iterator[UntoldRow]:
        return itertools.starmap(UntoldRow, self._each(f"SELECT {UNTOLD} FROM untold"))

    def each_ended(self) -> Iterator[tuple[str, bytes, int]]:
        return self._each("SELECT originator, report_id, withdrawn_ns FROM received WHERE withdrawn_ns IS NOT NULL")

    def unopenable_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[UnopenableRow]:
        rows = self._rows(
            "SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        return [UnopenableRow(*row) for row in rows]

    def count_tiles(self, ledger: LedgerId) -> int:
        count: int = self._rows("SELECT count(*) FROM tile WHERE ledger = ?", ledger)[0][0]
        return count

    def count_checkpoints(self, ledger: LedgerId) -> int:
        count: int = self._rows("SELECT count(*) FROM checkpoint WHERE ledger = ?", ledger)[0][0]
        return count

    def meta(self, key: str) -> bytes | None:
        row = self._row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else row[0]

    def damage(self) -> Sequence[str]:
        found = [text for (text,) in self._rows(f"PRAGMA integrity_check({MAX_DAMAGE})") if text != "ok"]
        (page_size,), length = self._rows("PRAGMA page_size")[0], self._path.stat().st_size
        if length % page_size:
            found.append(f"its length of {length} bytes is no whole number of pages: it was cut off")
        for table, *_, parent, _ in itertools.islice(self._each("PRAGMA foreign_key_check"), MAX_DAMAGE):
            found.append(f"a row of {table} belongs to a {parent} that is not there")
        return found

    def _at_one_moment(self, read: Callable[[LedgerId, int, int], T], ledger: LedgerId, first: int, last: int) -> T:
        """Reads in a snapshot of its own, unless one is held already or this is the writer, beside whom nobody writes.

        The first thing that is read takes the snapshot.
        """
        if self._db.in_transaction or isinstance(self, SqliteStore):
            return read(ledger, first, last)
        with self._failing("beginning to read"):
            self._db.execute("BEGIN DEFERRED")
        try:
            return read(ledger, first, last)
        finally:
            with self._failing("ending a read"):
                self._db.execute("ROLLBACK")

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[None]:
        with self._failing("beginning to read"):
            # Deferred: the snapshot is taken by the first read, which is done here at once.
            self._db.execute("BEGIN DEFERRED")
            self._db.pragma("schema_version")
        try:
            yield
        finally:
            with self._failing("ending a read"):
                self._db.execute("ROLLBACK")

    def interrupt(self) -> None:
        self._db.interrupt()

    def close(self) -> None:
        with self._failing("closing"):
            self._db.close()


class SqliteStore(SqliteReader):
    """The one writer of a store's file. See `gateway.ledger.stores.Store`.

    Makes the file (mode 0600) if there is none, and brings an older schema up to date. `vfs` names a registered
    APSW VFS, through which faults can be injected under the store.
    """

    def __init__(
        self,
        path: Path,
        *,
        vfs: str | None = None,
        must_exist: bool = False,
        on_failure: Callable[[StoreError], None] | None = None,
    ) -> None:
        """`must_exist`: no file is made, and StoreError is raised where there is none."""
        with Translated(path, "opening"):
            if not must_exist:
                _make(path)
            # Looked at before anything is written: it may be another program's.
            _require_own(path, vfs)
            make_log_durable(path, vfs, BUSY_MS)
            db = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs))
            try:
                self._prepare(path, db)
            except BaseException:  # however it ends, no connection is left open; what ended it goes on
                db.close()
                raise
        self._log_pages = 0
        self._closed = False
        super().__init__(path, db, vfs, on_failure)

    def _prepare(self, path: Path, db: apsw.Connection) -> None:
        db.set_busy_timeout(BUSY_MS)
        # locking_mode EXCLUSIVE is not used: `ledger verify` must be able to read beside a running gateway.
        if db.pragma("journal_mode", "wal") != "wal":
            raise StoreError(f"store {path}: its file system cannot hold SQLite's write-ahead log; use a local disk")
        db.pragma("synchronous", "full")
        db.pragma("fullfsync", True)
        # What is freed is overwritten with zeros: otherwise pages and cells keep it until they are used again, and
        # copies of it are left wherever a page was ever split.
        db.pragma("secure_delete", True)
        db.pragma("foreign_keys", True)
        db.pragma("trusted_schema", False)
        # SQLite's own folding passes over what fails: `fold` does it, and says so.
        db.pragma("wal_autocheckpoint", 0)
        db.set_wal_hook(self._logged)
        self._migrate(path, db)
        self._empty_log(db)

    def _logged(self, db: apsw.Connection, name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    @staticmethod
    def _migrate(path: Path, db: apsw.Connection) -> None:
        scripts = _migrations()
        version = db.pragma("user_version")
        if not isinstance(version, int) or version > len(scripts):
            raise StoreVersionError(
                f"store {path}: has schema version {version}, newer than this software's {len(scripts)};"
                " run the version of the gateway that wrote it, or a later one"
            )
        for number, script in enumerate(scripts[version:], version + 1):
            with db:
                db.execute(script)
                db.pragma("application_id", APPLICATION_ID)
                db.pragma("user_version", number)

    def reader(self) -> StoreReader:
        return SqliteReader(self._path, vfs=self._vfs, on_failure=self._on_failure)

    def commit(self, commit: Commit) -> None:
        """Writes `commit` in one transaction.

        Order within the transaction matters to nobody: SQLite shows all of it or nothing. The order *around* it does,
        and is the caller's: nothing that the commit holds may be acknowledged, served or sent before this returns.
        """
        db = self._db
        with Translated(self._path, "a commit"):
            forgets = bool(commit.pruned or commit.pruned_reports)
            # IMMEDIATE takes the write lock at once, so that a second writer is met here and not half-way.
            db.execute("BEGIN IMMEDIATE")
            try:
                write(db, commit)
                db.execute("COMMIT")
            except BaseException:  # however it ends, no transaction is left open; what ended it goes on
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
            if forgets:
                self._empty_log(db)

    @property
    def log_is_long(self) -> bool:
        return self._log_pages >= LOG_PAGES

    def fold(self) -> None:
        with Translated(self._path, "folding the log into it"):
            # PASSIVE waits for no reader: what one still needs is folded next time.
            self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
        self._log_pages = 0

    def probe(self, size: int) -> None:
        db = self._db
        with Translated(self._path, "a trial commit"):
            for value in (bytes(size), b""):
                db.execute("BEGIN IMMEDIATE")
                try:
                    db.execute("INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = ?2",
                               (_PROBE, value))  # fmt: skip
                    db.execute("COMMIT")
                except BaseException:  # as in `commit`
                    if db.in_transaction:
                        db.execute("ROLLBACK")
                    raise
            self._empty_log(db)

    def abandon(self) -> None:
        """Every operation on the disk that may fail is left out: there is nothing to be told of it."""
        self._closed = True
        with contextlib.suppress(apsw.Error):
            # Forced: statements that have failed are in nobody's hands any more.
            self._db.close(True)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        with Translated(self._path, "closing"):
            try:
                self._empty_log(self._db)
                # There is nothing left to fold; SQLite deletes the log with the last connection.
                self._db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 0)
            finally:
                self._db.close()

    @staticmethod
    def _empty_log(db: apsw.Connection) -> None:
        """Folds the write-ahead log into the file and cuts it to nothing: its frames hold pages as they were before.

        A reader who still looks at an older state keeps it from being cut; the next time it is tried again.
        """
        db.set_busy_timeout(0)
        try:
            with contextlib.suppress(apsw.BusyError):
                db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        finally:
            db.set_busy_timeout(BUSY_MS)


def _make(path: Path) -> None:
    """Makes the file, where there is none: here and not by SQLite, so that no other user can ever have opened it."""
    if path.exists():
        # Not opened for nothing: to close it would take the locks of every connection of this process.
        return
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _require_own(path: Path, vfs: str | None) -> None:
    db = without_folding(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs))
    try:
        db.set_busy_timeout(BUSY_MS)
        application = db.pragma("application_id")
        if application not in (0, APPLICATION_ID) or (application == 0 and db.pragma("schema_version") != 0):
            raise StoreError(f"store {path}: is the database of another program; name another file")
    finally:
        db.close()


_WITHIN = "(time_ns, ledger, idx) >= (?, ?, ?) AND (time_ns, ledger, idx) <= (?, ?, ?)"
_WAY = {True: "ASC", False: "DESC"}
_ORDERED = {oldest: f"ORDER BY time_ns {way}, ledger {way}, idx {way} LIMIT ?" for oldest, way in _WAY.items()}
_ITEMS = {int(item): item for item in FeedItem}
_LEDGER = "id, origin, replica, size, root, successor, agreed"
_RECOVERY = "ledger, idx, key_idx, sealed, rebuilt"


def _any_of(values: Sequence[bytes]) -> apsw.CArrayBinding | None:
    """What is bound for ``IN carray(?)``: one statement, however many there are."""
    return apsw.carray(tuple(values)) if values else None


def _recovery_row(row: Row) -> RecoveryRow:
    ledger, index, key_index, sealed, rebuilt = row
    try:
        return RecoveryRow(Origin.parse(ledger), index, key_index, sealed, bool(rebuilt))
    except OriginError as error:
        raise StoreError(f"a row of recovery is not what it can be: {error}") from error


def _ledger_row(row: Row, found_by: Origin | None = None) -> LedgerRow:
    id_, origin, replica, size, root, successor, agreed = row
    try:
        parsed = found_by or Origin.parse(origin)
        following = None if successor is None else Origin.parse(successor)
    except OriginError as error:
        raise StoreError(f"a row of ledger is not what it can be: {error}") from error
    return LedgerRow(LedgerId(id_), parsed, bool(replica), size, root, following, agreed)


def _merged(
    own: Sequence[Row], others: Sequence[Row], within: DecisionRange, limit: int, *, oldest_first: bool
) -> Sequence[DecisionPlace]:
    places = [place for row in (*own, *others) if within.first <= (place := DecisionPlace(*row)) <= within.last]
    return sorted(places, reverse=not oldest_first)[:limit]


def _cosignature_row(row: Row) -> CosignatureRow:
    ledger, kind, size, note, time_ns, signer = row
    return CosignatureRow(ledger, _known(CosignatureKind, kind, "cosignature"), size, note, time_ns, signer)


def _known(kinds: Callable[[Any], T], value: object, table: str) -> T:
    """A value of an enumeration. Raises StoreError where it is none of them."""
    try:
        return kinds(value)
    except ValueError as error:
        raise StoreError(f"a row of {table} is not what it can be: {error}") from error
