"""For whom reports are held until they are decided again."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.ledger.stores import Commit, HeldRow, StoreReader
from gateway.release.subject import Subject


class Holds:
    """The holds of reports as one plan has them."""

    def __init__(self, store: StoreReader, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._here: dict[Subject, dict[str, HeldRow | None]] = {}
        """None: over."""
        self._durable: dict[Subject, list[HeldRow]] = {}
        """Those that were foreseen."""

    def partners(self, subject: Subject) -> Collection[str]:
        """The partners for whom a report is held."""
        durable = self._durable.get(subject)
        if durable is None:
            durable = list(self._store.held(subject.report_id, subject.originator))
        held = {row.partner: row for row in durable}
        return {partner for partner, row in (held | self._here.get(subject, {})).items() if row is not None}

    def begin(self, subject: Subject, partner: str, due_ns: int) -> None:
        """Holds a report for a partner, until it is due to be decided again."""
        self.end(subject, partner)
        row = HeldRow(subject.originator, subject.report_id, partner, due_ns)
        self._here.setdefault(subject, {})[partner] = row

    def end(self, subject: Subject, partner: str) -> None:
        """A report is held no longer for a partner."""
        self._commit.decided.append((subject.originator, subject.report_id, partner))
        self._here.setdefault(subject, {})[partner] = None

    def foresee(self, subjects: Collection[Subject], rows: Iterable[HeldRow]) -> None:
        """Takes these rows for all that is on record of these own reports; each would be asked for alone."""
        found: dict[bytes, list[HeldRow]] = {}
        for row in rows:
            found.setdefault(row.report_id, []).append(row)
        for subject in subjects:
            self._durable[subject] = found.get(subject.report_id, [])

    def finish(self) -> None:
        """Puts into the commit what is held at the end."""
        self._commit.held.extend(row for ways in self._here.values() for row in ways.values() if row is not None)
