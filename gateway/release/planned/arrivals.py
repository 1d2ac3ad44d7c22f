"""Partners' reports as a plan has them: what is known of each, and the ways by which it came or was withdrawn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.ledger.stores import Commit, CopyRow, ReceivedRow, StoreReader
from gateway.release.subject import Subject, runs


class Arrivals:
    """Partners' reports, by who originated them and their identifiers, 16 bytes each."""

    def __init__(self, store: StoreReader, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._received: dict[Subject, ReceivedRow] = {}
        self._copies: dict[Subject, dict[str, CopyRow]] = {}
        self._durable_received: dict[Subject, ReceivedRow | None] = {}
        """Those that were expected, like the copies."""
        self._durable_copies: dict[Subject, dict[str, CopyRow]] = {}

    def expect(self, subjects: Iterable[Subject]) -> None:
        """Reads at once what is on record of reports that arrive or are withdrawn; each would be asked for alone."""
        asked: dict[str, dict[bytes, None]] = {}
        for subject in subjects:
            if subject not in self._durable_copies:
                asked.setdefault(subject.originator, {})[subject.report_id] = None
        for originator, of_it in asked.items():
            for report_ids in runs(list(of_it)):
                for report_id in report_ids:
                    subject = Subject(originator, report_id)
                    self._durable_received[subject] = None
                    self._durable_copies[subject] = {}
                for known in self._store.received_of(originator, report_ids):
                    self._durable_received[Subject(originator, known.report_id)] = known
                for copy in self._store.copies_of(originator, report_ids):
                    self._durable_copies[Subject(originator, copy.report_id)][copy.via] = copy

    def known(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        """What is known of a report, durable or in this plan."""
        subject = Subject(originator, report_id)
        if subject in self._received:
            return self._received[subject]
        if subject in self._durable_received:
            return self._durable_received[subject]
        return self._store.received(originator, report_id)

    def copies(self, originator: str, report_id: bytes) -> Mapping[str, CopyRow]:
        """The ways by which a report came or was withdrawn, durable or in this plan."""
        subject = Subject(originator, report_id)
        durable = self._durable_copies.get(subject)
        if durable is None:
            durable = {row.via: row for row in self._store.copies(originator, report_id)}
        return {**durable, **self._copies[subject]} if subject in self._copies else durable

    def record(self, row: ReceivedRow) -> None:
        """Puts on record what is now known of a report."""
        self._received[Subject(row.originator, row.report_id)] = row

    def record_copy(self, row: CopyRow) -> None:
        """Puts on record what came of a report by one way."""
        self._copies.setdefault(Subject(row.originator, row.report_id), {})[row.via] = row

    def finish(self) -> None:
        """Puts into the commit what is known at the end."""
        self._commit.received.extend(self._received.values())
        self._commit.copies.extend(row for ways in self._copies.values() for row in ways.values())
