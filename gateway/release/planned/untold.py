"""Who has still to be told that a report no longer stands."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from gateway.ledger.stores import Commit, StoreReader, UntoldRow
from gateway.release.subject import Subject


class Untold:
    """Those partners as one plan has them; whoever fills the plan appends to the commit's `untold` directly."""

    def __init__(self, store: StoreReader, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._durable: dict[Subject, list[str]] = {}
        """Those that were foreseen."""
        self._here: dict[Subject, dict[str, set[int]]] = {}
        """Where in the commit's `untold` a report and a partner stand. One recall can have tens of thousands, so they
        are not searched for each."""
        self._read = 0
        """Up to where `_here` knows that list."""

    def partners(self, subject: Subject) -> Collection[str]:
        """The partners who have still to be told that a report no longer stands."""
        durable = self._durable.get(subject)
        if durable is None:
            durable = list(self._store.untold_of(subject.report_id, subject.originator))
        return {*durable, *self._of(subject)}

    def record_told(self, subject: Subject, partner: str) -> None:
        """Puts on record that a partner was told that a report no longer stands, and has not to be told any more."""
        self._commit.told.append(UntoldRow(subject.originator, subject.report_id, partner))
        rows = self._commit.untold
        # The last row takes the place of each that goes. From the last on: what takes a place never goes itself.
        for place in sorted(self._of(subject).pop(partner, ()), reverse=True):
            last = rows.pop()
            if place < len(rows):
                rows[place] = last
                self._places(last).remove(len(rows))
                self._places(last).add(place)
        self._read = len(rows)

    def record_not_told(self, subject: Subject, partner: str) -> None:
        """Puts on record that a durable withdrawal was kept back: the partner has still to be told."""
        self._commit.not_told.append((subject.originator, subject.report_id, partner))
        self._commit.untold.append(UntoldRow(subject.originator, subject.report_id, partner))

    def foresee(self, subjects: Collection[Subject], rows: Iterable[UntoldRow]) -> None:
        """Takes these rows for all that is on record of these own reports; each would be asked for alone."""
        found: dict[bytes, list[str]] = {}
        for row in rows:
            found.setdefault(row.report_id, []).append(row.partner)
        for subject in subjects:
            self._durable[subject] = found.get(subject.report_id, [])

    def _of(self, subject: Subject) -> dict[str, set[int]]:
        rows = self._commit.untold
        for place in range(self._read, len(rows)):
            self._places(rows[place]).add(place)
        self._read = len(rows)
        return self._here.get(subject, {})

    def _places(self, row: UntoldRow) -> set[int]:
        return self._here.setdefault(Subject(row.originator, row.report_id), {}).setdefault(row.partner, set())
