"""This node's own reports as a plan has them: those on record, and those that it accepts, recalls or makes known again.

What is on record durably does not change under a plan.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import NamedTuple

from signalfire.v1 import report_pb2

from gateway.ledger.stores import Commit, ReportRow, StoreReader
from gateway.release.signatory import Signatory
from gateway.release.subject import runs
from gateway.reports.kinds import kind_of


class Accepted(NamedTuple):
    """An own report, its digest (SHA-256, 32 bytes), who submitted it, and when it was accepted."""

    report: report_pb2.Report
    digest: bytes
    submitted_by: str
    accepted_ns: int


class OwnReports:
    """Own reports, by their identifiers, 16 bytes each."""

    def __init__(self, store: StoreReader, commit: Commit, signatory: Signatory) -> None:
        self._store = store
        self._commit = commit
        self.signatory = signatory
        """With whose keys payloads open; the plan's to change."""
        self._next = store.last_report() + 1
        self._accepted: dict[bytes, Accepted] = {}
        self._rebuilt: dict[bytes, ReportRow] = {}
        self._durable: dict[bytes, ReportRow | None] = {}
        """Those that were expected."""
        self._recalled: set[bytes] = set()
        """Index of the commit's `recalled`, as far as it was read."""
        self._recalled_read = 0

    # --- what this plan does to them

    def next_number(self) -> int:
        """Number for the next accepted report."""
        self._next += 1
        return self._next - 1

    def accept(self, report_id: bytes, accepted: Accepted) -> None:
        """Takes note of a report that is accepted in this plan."""
        self._accepted[report_id] = accepted

    def accepts(self, report_id: bytes) -> bool:
        """Whether a report is accepted in this very plan: all of it is at hand."""
        return report_id in self._accepted

    def rebuild(self, row: ReportRow) -> None:
        """Makes a report known again, without its content."""
        self._commit.reports.append(row)
        self._rebuilt[row.report_id] = row

    def rebuilt(self, report_id: bytes) -> bool:
        """Whether a report was made known again in this very plan."""
        return report_id in self._rebuilt

    def rebuilds_event(self, event_id: str) -> bool:
        """Whether a report about an event was made known again in this very plan."""
        return any(row.event_id == event_id for row in self._rebuilt.values())

    def refill(self, number: int, payload: bytes) -> None:
        """Puts the content of a report in its place again."""
        self._commit.refilled.append((number, payload))

    def refilled(self, number: int) -> bool:
        """Whether that was done in this very plan."""
        return any(each == number for each, _ in self._commit.refilled)

    # --- what is known of them

    def expect(self, report_ids: Sequence[bytes]) -> None:
        """Reads at once what is on record of these; each would be asked for alone."""
        for asked in runs(report_ids):
            self._durable.update(dict.fromkeys(asked))
            self._durable.update((row.report_id, row) for row in self._store.reports(asked))

    def row(self, report_id: bytes) -> ReportRow | None:
        """A report as it is on record durably."""
        if report_id in self._durable:
            return self._durable[report_id]
        return self._store.report(report_id)

    def known(self, report_id: bytes) -> tuple[bytes, int] | None:
        """(digest, time of acceptance) of a report that was accepted, durable or in this plan."""
        if report_id in self._rebuilt:
            return self._rebuilt[report_id].digest, self._rebuilt[report_id].accepted_ns
        if report_id in self._accepted:
            return self._accepted[report_id].digest, self._accepted[report_id].accepted_ns
        row = self.row(report_id)
        return None if row is None else (row.digest, row.accepted_ns)

    def was_recalled(self, report_id: bytes) -> bool:
        """Whether a report no longer stands, durably or in this plan."""
        rows = self._commit.recalled
        self._recalled.update(recalled for recalled, _ in rows[self._recalled_read :])
        self._recalled_read = len(rows)
        if report_id in self._recalled:
            return True
        row = self.row(report_id)
        return row is not None and row.withdrawn_ns is not None

    def opened(self, report_id: bytes) -> Accepted:
        """A report that is known, durable or in this plan. Raises SealError where its payload does not open."""
        if report_id in self._accepted:
            return self._accepted[report_id]
        row = self.row(report_id)
        assert row is not None  # known
        payload = self.signatory.storage.open(row.payload, report_id)
        return Accepted(report_pb2.Report.FromString(payload), row.digest, row.submitted_by, row.accepted_ns)

    def in_clear(self, report_id: bytes) -> Accepted:
        """The same of a durable report that does not open any more: of the report itself only what stands in clear."""
        row = self.row(report_id)
        assert row is not None  # known
        report = report_pb2.Report(
            report_id=str(uuid.UUID(bytes=report_id)), originator_node=self.signatory.node, event_id=row.event_id
        )
        return Accepted(report, row.digest, row.submitted_by, row.accepted_ns)

    def of_event(self, event_id: str, kinds: Collection[int]) -> list[bytes]:
        """Identifiers of the accepted reports of some kinds about an event, but for those that this very plan makes
        known again (`rebuilds_event`).
        """
        here = [
            report_id
            for report_id, accepted in self._accepted.items()
            if accepted.report.event_id == event_id and _kind(accepted.report) in kinds
        ]
        return [*self._store.reports_of_event(event_id, kinds), *here]


def _kind(report: report_pb2.Report) -> int:
    kind = kind_of(report)
    return 0 if kind is None else int(kind.report_kind)
