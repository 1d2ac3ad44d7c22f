"""Reports, releases and the feed, as the embedded store reads them."""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from gateway.ledger.stores import (
    CopyRow,
    Counts,
    FeedFilter,
    FeedItem,
    FeedRow,
    HeldRow,
    LedgerId,
    OfEvent,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    UntoldRow,
)
from gateway.ledger.stores.sqlite.columns import COPY, FEED, HELD, RECEIVED, RELEASED, REPORT, UNTOLD
from gateway.ledger.stores.sqlite.reading import Reading, any_of, known

FEED_SCAN_ROWS = 512
"""Rows of the feed looked at in one call: bounds how long a subscription with a narrow filter holds the reader."""

_ITEMS = {int(item): item for item in FeedItem}


class ReportReading(Reading):
    """Own reports and whom they were released to, partners' ones, and what subscribers read."""

    def report(self, report_id: bytes) -> ReportRow | None:
        row = self._row(f"SELECT {REPORT} FROM report WHERE report_id = ?", report_id)
        return None if row is None else ReportRow(*row)

    def reports(self, report_ids: Sequence[bytes]) -> Sequence[ReportRow]:
        rows = self._rows(
            f"SELECT {REPORT} FROM report WHERE report_id IN carray(?)",
            any_of(report_ids),
        )
        return [ReportRow(*row) for row in rows]

    def report_at(self, seq: int) -> ReportRow | None:
        row = self._row(f"SELECT {REPORT} FROM report WHERE seq = ?", seq)
        return None if row is None else ReportRow(*row)

    def each_report(self) -> Iterator[ReportRow]:
        return itertools.starmap(ReportRow, self._each(f"SELECT {REPORT} FROM report ORDER BY seq"))

    def each_recalled(self) -> Iterator[tuple[bytes, int]]:
        return self._each("SELECT report_id, withdrawn_ns FROM report WHERE withdrawn_ns IS NOT NULL")

    def last_report(self) -> int:
        count: int = self._rows("SELECT coalesce(max(seq), 0) FROM report")[0][0]
        return count

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
            originator, any_of(report_ids),
        )  # fmt: skip
        return [ReleasedRow(*row) for row in rows]

    def cited_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[tuple[int, str]]:
        return self._rows(
            "SELECT idx, agreement FROM released WHERE ledger = ? AND idx >= ? AND idx < ? AND agreement <> ''"
            " ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip

    def each_released(self) -> Iterator[ReleasedRow]:
        return itertools.starmap(
            ReleasedRow, self._each(f"SELECT {RELEASED} FROM released ORDER BY originator, report_id, partner")
        )

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

    def each_held(self) -> Iterator[HeldRow]:
        return itertools.starmap(HeldRow, self._each(f"SELECT {HELD} FROM held"))

    def untold(self, partner: str, limit: int) -> Sequence[UntoldRow]:
        rows = self._rows(f"SELECT {UNTOLD} FROM untold WHERE partner = ? ORDER BY seq LIMIT ?", partner, limit)
        return [UntoldRow(*row) for row in rows]

    def untold_of(self, report_id: bytes, originator: str = "") -> Sequence[str]:
        rows = self._rows(
            "SELECT partner FROM untold WHERE originator = ? AND report_id = ? ORDER BY partner", originator, report_id
        )
        return [partner for (partner,) in rows]

    def untold_counts(self) -> Mapping[str, int]:
        return dict(self._rows("SELECT partner, count(*) FROM untold GROUP BY partner"))

    def each_untold(self) -> Iterator[UntoldRow]:
        return itertools.starmap(UntoldRow, self._each(f"SELECT {UNTOLD} FROM untold"))

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

    def received(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        row = self._row(
            f"SELECT {RECEIVED} FROM received"
            " WHERE originator = ? AND report_id = ?",
            originator, report_id,
        )  # fmt: skip
        return None if row is None else ReceivedRow(*row)

    def received_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[ReceivedRow]:
        rows = self._rows(
            f"SELECT {RECEIVED} FROM received"
            " WHERE originator = ? AND report_id IN carray(?)",
            originator, any_of(report_ids),
        )  # fmt: skip
        return [ReceivedRow(*row) for row in rows]

    def each_ended(self) -> Iterator[tuple[str, bytes, int]]:
        return self._each("SELECT originator, report_id, withdrawn_ns FROM received WHERE withdrawn_ns IS NOT NULL")

    def copies(self, originator: str, report_id: bytes) -> Sequence[CopyRow]:
        rows = self._rows(f"SELECT {COPY} FROM copy WHERE originator = ? AND report_id = ?", originator, report_id)
        return [CopyRow(*row) for row in rows]

    def copies_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[CopyRow]:
        rows = self._rows(
            f"SELECT {COPY} FROM copy WHERE originator = ? AND report_id IN carray(?) ORDER BY report_id, via",
            originator, any_of(report_ids),
        )  # fmt: skip
        return [CopyRow(*row) for row in rows]

    def feed(self, after: int, limit: int, wanted: FeedFilter) -> tuple[Sequence[FeedRow], int]:
        found: list[FeedRow] = []
        searched = after
        with self._failing("reading the feed"):
            for row in self._db.execute(
                f"SELECT {FEED} FROM feed WHERE seq > ? ORDER BY seq LIMIT ?",
                (after, FEED_SCAN_ROWS),
            ):
                item = FeedRow(row[0], _ITEMS.get(row[1]) or known(FeedItem, row[1], "feed"), *row[2:])
                searched = item.seq
                if wanted.wants(item):
                    found.append(item)
                    if len(found) == limit:
                        break
        return found, searched

    def last_feed(self) -> int:
        count: int = self._rows("SELECT coalesce(max(seq), 0) FROM feed")[0][0]
        return count

    def counts(self) -> Counts:
        row = self._rows(
            "SELECT (SELECT count(*) FROM report), (SELECT count(*) FROM released),"
            " (SELECT count(*) FROM feed), (SELECT count(*) FROM received), (SELECT count(*) FROM copy)"
        )[0]
        return Counts(*row)
