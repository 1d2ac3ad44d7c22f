"""To whom reports were released, and of which releases partners were told since that they no longer stand.

What is on record durably does not change under a plan, and each partner asks for it: it is read once.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from gateway.ledger.stores import Commit, ReleasedRow, StoreReader
from gateway.release.subject import Subject, runs


class Releases:
    """The releases of reports as one plan has them. A withdrawal counts from `now_ns` on unless another time is
    given.
    """

    def __init__(self, store: StoreReader, commit: Commit, now_ns: int) -> None:
        self._store = store
        self._commit = commit
        self._now_ns = now_ns
        self._here: dict[Subject, dict[str, ReleasedRow]] = {}
        self._withdrawn_here: dict[Subject, set[str]] = {}
        self._durable: dict[Subject, Sequence[ReleasedRow]] = {}
        self._ever: dict[Subject, set[str]] = {}
        """Who was ever released a report, as far as that was asked for: many refer to the same."""

    def standing(self, subject: Subject) -> Mapping[str, ReleasedRow]:
        """The releases of a report that still stand, by partner."""
        rows = {row.partner: row for row in self._on_record(subject) if row.withdrawn_ns is None}
        rows.update(self._here.get(subject, {}))
        return {partner: row for partner, row in rows.items() if partner not in self._withdrawn_here.get(subject, ())}

    def of(self, subject: Subject) -> Sequence[ReleasedRow]:
        """Every release of a report, withdrawn since or not."""
        return [*self._on_record(subject), *self._here.get(subject, {}).values()]

    def to(self, subject: Subject, partner: str) -> ReleasedRow | None:
        """The release of a report to a partner, withdrawn since or not; None where it was never released to it."""
        here = self._here.get(subject, {}).get(partner)
        return here or next((row for row in self._on_record(subject) if row.partner == partner), None)

    def ever_to(self, subject: Subject, partner: str) -> bool:
        """Whether a partner was ever released a report, withdrawn since or not."""
        partners = self._ever.get(subject)
        if partners is None:
            partners = self._ever[subject] = {row.partner for row in self.of(subject)}
        return partner in partners

    def was_withdrawn(self, subject: Subject) -> bool:
        """Whether any partner was told that a report no longer stands, durably or in this plan."""
        return subject in self._withdrawn_here or any(row.withdrawn_ns is not None for row in self._on_record(subject))

    def withdrawn_since(self, subject: Subject) -> int | None:
        """Since when a report no longer stands, as the first who was told of it was told; None where nobody was."""
        return min((row.withdrawn_ns for row in self._on_record(subject) if row.withdrawn_ns is not None), default=None)

    def record(self, row: ReleasedRow) -> None:
        """Puts a release on record."""
        self._commit.released.append(row)
        subject = Subject(row.originator, row.report_id)
        self._here.setdefault(subject, {})[row.partner] = row
        if subject in self._ever:
            self._ever[subject].add(row.partner)

    def withdraw(self, subject: Subject, partner: str, time_ns: int | None = None) -> None:
        """Puts on record that a release no longer stands, since `time_ns` or from this plan on."""
        since_ns = self._now_ns if time_ns is None else time_ns
        self._commit.withdrawn.append((subject.originator, subject.report_id, partner, since_ns))
        self._withdrawn_here.setdefault(subject, set()).add(partner)

    # --- read at once, as each would be asked for alone

    def expect(self, originator: str, report_ids: Iterable[bytes]) -> None:
        """Reads what is on record of these reports of one node (empty: this one)."""
        for asked in runs([each for each in report_ids if Subject(originator, each) not in self._durable]):
            found: dict[bytes, list[ReleasedRow]] = {report_id: [] for report_id in asked}
            for row in self._store.released_of(asked, originator):
                found[row.report_id].append(row)
            self._durable.update((Subject(originator, each), rows) for each, rows in found.items())

    def foresee(self, subjects: Collection[Subject], rows: Iterable[ReleasedRow]) -> None:
        """Takes these rows for all that is on record of these own reports."""
        found: dict[bytes, list[ReleasedRow]] = {}
        for row in rows:
            found.setdefault(row.report_id, []).append(row)
        for subject in subjects:
            self._durable[subject] = found.get(subject.report_id, ())

    def _on_record(self, subject: Subject) -> Sequence[ReleasedRow]:
        rows = self._durable.get(subject)
        if rows is None:
            rows = self._durable[subject] = self._store.released(subject.report_id, subject.originator)
        return rows
