"""Orders, the index of decisions and recovery records, as the embedded store reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from gateway.ledger.errors import OriginError, StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import (
    DecisionPlace,
    DecisionRange,
    DecisionRow,
    DecisionSubjectRow,
    OrderRow,
    RecoveryRow,
    VerdictRow,
)
from gateway.ledger.stores.sqlite.reading import Reading, Row

_RECOVERY = "ledger, idx, key_idx, sealed, rebuilt"
_WITHIN = "(time_ns, ledger, idx) >= (?, ?, ?) AND (time_ns, ledger, idx) <= (?, ?, ?)"
_WAY = {True: "ASC", False: "DESC"}
_ORDERED = {oldest: f"ORDER BY time_ns {way}, ledger {way}, idx {way} LIMIT ?" for oldest, way in _WAY.items()}


class DecisionReading(Reading):
    """What officers ordered, where each decision is on record, and what partners gave back of that."""

    def orders(self, after: int = 0) -> Sequence[OrderRow]:
        rows = self._rows(
            "SELECT sequence, digest, enacted_ns, event, payload FROM officer_order"
            " WHERE sequence > ? ORDER BY sequence",
            after,
        )
        return [OrderRow(*row) for row in rows]

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

    def recovery(self, after: tuple[str, int], limit: int) -> Sequence[RecoveryRow]:
        rows = self._rows(
            f"SELECT {_RECOVERY} FROM recovery WHERE (ledger, idx) > (?, ?) ORDER BY ledger, idx LIMIT ?",
            *after, limit,
        )  # fmt: skip
        return [_recovery_row(row) for row in rows]

    def each_recovery(self) -> Iterator[RecoveryRow]:
        yield from map(_recovery_row, self._each(f"SELECT {_RECOVERY} FROM recovery ORDER BY ledger, idx"))


def _merged(
    own: Sequence[Row], others: Sequence[Row], within: DecisionRange, limit: int, *, oldest_first: bool
) -> Sequence[DecisionPlace]:
    places = [place for row in (*own, *others) if within.first <= (place := DecisionPlace(*row)) <= within.last]
    return sorted(places, reverse=not oldest_first)[:limit]


def _recovery_row(row: Row) -> RecoveryRow:
    ledger, index, key_index, sealed, rebuilt = row
    try:
        return RecoveryRow(Origin.parse(ledger), index, key_index, sealed, bool(rebuilt))
    except OriginError as error:
        raise StoreError(f"a row of recovery is not what it can be: {error}") from error
