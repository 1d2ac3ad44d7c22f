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

from gateway.audit.gathered import Gathered
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.release.verdicts import TO_INDEX, Storage, Verdict
from gateway.seal.errors import OpenError

NAMED: Final = 20
"""Rows that are wrong in the same way and are named one by one; of the others it is said how many they are."""

_STRANGER: Final = -1
"""In place of a verdict that no decision has."""


@dataclass(slots=True)
class IndexCheck:
    """What the index of `node` has to hold, gathered entry by entry in `rows`."""

    node: str
    rows: Gathered
    _verdicts: dict[Verdict, int] = field(default_factory=dict)
    """Numbers of the verdicts, as they are given here."""

    def note_event(self, row: LedgerRow, index: int, event: ledger_pb2.NodeEvent) -> None:
        """Takes note of an event of the node in a decisions ledger."""
        self._note(Verdict.of_event(event.kind), event.time.ToNanoseconds(), row, index)

    def note_decisions(self, row: LedgerRow, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of the decisions in one entry of a decisions ledger."""
        time_ns = record.time.ToNanoseconds()
        for decision in record.decisions:
            self._note(Verdict.of_decision(self.node, record, decision), time_ns, row, index)

    def _note(self, verdict: Verdict, time_ns: int, row: LedgerRow, index: int) -> None:
        number = self._verdicts.setdefault(verdict, len(self._verdicts))
        self.rows.add("expected", number, time_ns, row.id, index)

    def findings(self, store: StoreReader, storage: Storage) -> Iterator[str]:
        """Everything in which the index differs from the ledgers."""
        if store.meta(TO_INDEX):
            yield "it is not whole: start the gateway, which goes on making it"
            return
        numbers: dict[int, int] = {}
        for row in store.verdicts():
            try:
                numbers[row.id] = self._verdicts.get(Verdict.read(row, storage), _STRANGER)
            except (OpenError, UnicodeDecodeError) as error:
                yield f"verdict {row.id} does not open: {error}"
        for each in store.indexed_decisions():
            self.rows.add("indexed", numbers.get(each.verdict, _STRANGER), *each.place, each.verdict)
        for subject in store.indexed_subjects():
            self.rows.add("indexed_subject", subject.report_id, subject.event_id, *subject.place)
        yield from _few("more rows are not what stands in the ledgers", self._strangers())
        yield from _few("more decisions are missing", self._missing())
        yield from _few("more records are missing", self._lost())

    def _strangers(self) -> Iterator[str]:
        for ledger, index, number in self.rows.rows(
            "SELECT ledger, idx, number FROM indexed AS i WHERE NOT EXISTS (SELECT 1 FROM expected AS e"
            " WHERE (e.verdict, e.time_ns, e.ledger, e.idx) = (i.verdict, i.time_ns, i.ledger, i.idx))"
        ):
            yield f"it has {_named(ledger, index)} under verdict {number}, and that entry says otherwise"
        for ledger, index, number in self.rows.rows(
            f"SELECT ledger, idx, max(number) FROM indexed WHERE verdict != {_STRANGER}"
            " GROUP BY verdict, time_ns, ledger, idx HAVING count(*) > 1"
        ):
            yield f"it has {_named(ledger, index)} twice, the second time under verdict {number}"
        for _, _, _, ledger, index in self.rows.rows(f"SELECT * FROM indexed_subject EXCEPT {_SUBJECTS}"):
            yield f"it has {_named(ledger, index)} under a report and event that it is not about"

    def _missing(self) -> Iterator[str]:
        for ledger, index in self.rows.rows(
            "SELECT ledger, idx FROM expected AS e WHERE NOT EXISTS (SELECT 1 FROM indexed AS i"
            " WHERE (i.verdict, i.time_ns, i.ledger, i.idx) = (e.verdict, e.time_ns, e.ledger, e.idx))"
        ):
            yield f"{_named(ledger, index)} holds a decision that is not in it"

    def _lost(self) -> Iterator[str]:
        for _, _, _, ledger, index in self.rows.rows(f"{_SUBJECTS} EXCEPT SELECT * FROM indexed_subject"):
            yield f"{_named(ledger, index)} is not found by its report and event"


_SUBJECTS: Final = (
    "SELECT report_id, event_id, time_ns, ledger, idx FROM record AS r WHERE NOT (r.generation = 1 AND"
    " r.originator = '' AND r.n = (SELECT min(n) FROM record AS f WHERE (f.originator, f.report_id) ="
    " (r.originator, r.report_id)))"
)
"""How every record but an own report's first one in the first generation is found (`verdicts.subject_row`)."""


def _named(ledger: int, index: int) -> str:
    return f"entry {index} of ledger {ledger}"


def _few(rest: str, findings: Iterable[str]) -> Iterator[str]:
    """The first NAMED of them, and how many more there are."""
    each = iter(findings)
    yield from itertools.islice(each, NAMED)
    more = sum(1 for _ in each)
    if more:
        yield f"{more} {rest}"
