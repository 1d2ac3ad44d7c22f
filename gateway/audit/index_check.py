"""Checks the index of decisions (`gateway.release.verdicts`) against the decisions ledgers.

1. Every decision and every event on record stands in the index once: under a verdict that says what it says, at its
   time and place. Nothing else stands there.
2. Every record is found by its report and event: by a row of the index, or where it is an own report's first one in the
   first generation by the report itself. Nothing else is.
3. The index is whole: of a store that an older gateway wrote, this one has made it to the end.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.stores import DecisionPlace, DecisionSubjectRow, LedgerRow, StoreReader
from gateway.release.verdicts import TO_INDEX, Storage, Verdict, subject_row
from gateway.seal.errors import OpenError

NAMED: Final = 20
"""Rows that are wrong in the same way and are named one by one; of the others it is said how many they are."""


@dataclass(slots=True)
class IndexCheck:
    """What the index of `node` has to hold, gathered entry by entry."""

    node: str
    decisions: dict[tuple[Verdict, DecisionPlace], bool] = field(default_factory=dict)
    """What has to be there, and whether it was found."""
    subjects: dict[DecisionSubjectRow, bool] = field(default_factory=dict)
    _begun: set[tuple[str, str]] = field(default_factory=set)
    """Reports (originator, identifier) of which a record was noted."""

    def note_event(self, row: LedgerRow, index: int, event: ledger_pb2.NodeEvent) -> None:
        """Takes note of an event of the node in a decisions ledger."""
        place = DecisionPlace(event.time.ToNanoseconds(), row.id, index)
        self.decisions[(Verdict.of_event(event.kind), place)] = False

    def note_decisions(self, row: LedgerRow, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of the decisions in one entry of a decisions ledger."""
        place = DecisionPlace(record.time.ToNanoseconds(), row.id, index)
        for decision in record.decisions:
            self.decisions[(Verdict.of_decision(self.node, record, decision), place)] = False
        report = record.originator_node, record.report_id
        first = record.originator_node == self.node and report not in self._begun
        self._begun.add(report)
        subject = subject_row(row.origin, place, record, first=first)
        if subject is not None:
            self.subjects[subject] = False

    def findings(self, store: StoreReader, storage: Storage) -> Iterator[str]:
        """Everything in which the index differs from the ledgers."""
        if store.meta(TO_INDEX):
            yield "it is not whole: start the gateway, which goes on making it"
            return
        verdicts: dict[int, Verdict] = {}
        for row in store.verdicts():
            try:
                verdicts[row.id] = Verdict.read(row, storage)
            except (OpenError, UnicodeDecodeError) as error:
                yield f"verdict {row.id} does not open: {error}"
        yield from _few("more rows are not what stands in the ledgers", self._strangers(store, verdicts))
        missing = (place for (_, place), found in self.decisions.items() if not found)
        yield from _few(
            "more decisions are missing", (f"{_named(place)} holds a decision that is not in it" for place in missing)
        )
        lost = (row for row, found in self.subjects.items() if not found)
        yield from _few(
            "more records are missing",
            (f"{_named(row.place)} is not found by its report and event" for row in lost),
        )

    def _strangers(self, store: StoreReader, verdicts: dict[int, Verdict]) -> Iterator[str]:
        for row in store.indexed_decisions():
            verdict = verdicts.get(row.verdict)
            key = None if verdict is None else (verdict, row.place)
            if key is None or key not in self.decisions:
                yield f"it has {_named(row.place)} under verdict {row.verdict}, and that entry says otherwise"
            elif self.decisions[key]:
                yield f"it has {_named(row.place)} twice, the second time under verdict {row.verdict}"
            else:
                self.decisions[key] = True
        for subject in store.indexed_subjects():
            if subject in self.subjects:
                self.subjects[subject] = True
            else:
                yield f"it has {_named(subject.place)} under a report and event that it is not about"


def _named(place: DecisionPlace) -> str:
    return f"entry {place.entry} of ledger {place.ledger}"


def _few(rest: str, findings: Iterable[str]) -> Iterator[str]:
    """The first NAMED of them, and how many more there are."""
    each = iter(findings)
    yield from itertools.islice(each, NAMED)
    more = sum(1 for _ in each)
    if more:
        yield f"{more} {rest}"
