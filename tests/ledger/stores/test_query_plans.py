"""What is asked of the store while warnings pass, and by whoever watches, costs no more however long it has run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.ledger.stores import (
    CosignatureKind,
    DecisionPlace,
    DecisionRange,
    FeedFilter,
    LedgerId,
    StoreReader,
)
from gateway.ledger.stores.sqlite import SqliteStore
from tests.ledger.stores.growth import LEDGER, ORIGIN, grown

ID = bytes(16)
WITHIN = DecisionRange(DecisionPlace(0, LedgerId(0), 0), DecisionPlace(9, LedgerId(9), 9))
ANYTHING = FeedFilter(frozenset({1, 2, 3}), include_own=True)
PQ = CosignatureKind.PQ

ASKED: dict[str, Callable[[StoreReader], object]] = {
    "ledger": lambda store: store.ledger(ORIGIN),
    "run": lambda store: store.run(LEDGER, 0, 1 << 20),
    "entry": lambda store: store.entry(LEDGER, 1),
    "segment_of": lambda store: store.segment_of(LEDGER, 1),
    "segments": lambda store: store.segments(LEDGER, 0, 1 << 20),
    "leaves": lambda store: store.leaves(LEDGER, 0, 2),
    "absent": lambda store: store.absent(LEDGER, 1),
    "kept_back": lambda store: store.kept_back(LEDGER, 0, 2),
    "keeps_back": lambda store: store.keeps_back(LEDGER),
    "tile": lambda store: store.tile(LEDGER, 0, 0),
    "checkpoint": lambda store: store.checkpoint(LEDGER, 3),
    "cosignature": lambda store: store.cosignature(LEDGER, PQ, "JPN"),
    "covering": lambda store: store.covering(LEDGER, PQ, "JPN", 1),
    "cosigners": lambda store: store.cosigners(LEDGER, PQ),
    "cosignatures_from": lambda store: store.cosignatures_from(LEDGER, PQ, "JPN", 1, 5),
    "last_unopenable": lambda store: store.last_unopenable(LEDGER, 5),
    "statement": lambda store: store.statement(LEDGER, 1),
    "unopenable_between": lambda store: store.unopenable_between(LEDGER, 0, 2),
    "report": lambda store: store.report(ID),
    "reports": lambda store: store.reports([ID, bytes(15) + b"1"]),
    "report_at": lambda store: store.report_at(1),
    "without_content": lambda store: store.without_content("spiffe://jpn/c2/sensors", 5),
    "recovery": lambda store: store.recovery(("", 0), 5),
    "reports_of_event": lambda store: store.reports_of_event("JPN-1", [1]),
    "released": lambda store: store.released(ID),
    "released_of": lambda store: store.released_of([ID, bytes(15) + b"1"]),
    "cited_between": lambda store: store.cited_between(LEDGER, 0, 2),
    "held": lambda store: store.held(ID),
    "held_until": lambda store: store.held_until(1, 5),
    "untold": lambda store: store.untold("KOR", 5),
    "of_event": lambda store: store.of_event("JPN-1"),
    "untold_of": lambda store: store.untold_of(ID),
    "received": lambda store: store.received("KOR", ID),
    "copies": lambda store: store.copies("KOR", ID),
    "received_of": lambda store: store.received_of("KOR", [ID, bytes(15) + b"1"]),
    "copies_of": lambda store: store.copies_of("KOR", [ID, bytes(15) + b"1"]),
    "orders": lambda store: store.orders(1),
    "feed": lambda store: store.feed(0, 5, ANYTHING),
    "last_feed": lambda store: store.last_feed(),
    "last_report": lambda store: store.last_report(),
    "verdicts": lambda store: store.verdicts(1),
    "decision_bounds": lambda store: store.decision_bounds([1, 2], WITHIN, oldest_first=True),
    "decisions": lambda store: store.decisions(1, WITHIN, 5, oldest_first=False),
    "decisions_of_report": lambda store: store.decisions_of_report(ID, WITHIN, 5, oldest_first=False),
    "decisions_of_event": lambda store: store.decisions_of_event("JPN-1", WITHIN, 5, oldest_first=True),
    "meta": lambda store: store.meta("x"),
    "metas": lambda store: store.metas(["x", "y"]),
}

ALLOWED = {
    # The numbers that were asked for come as a table of their own.
    "decision_bounds": {"SCAN v VIRTUAL TABLE INDEX 1:"},
    "reports": {"SCAN carray VIRTUAL TABLE INDEX 1:"},
    "released_of": {"SCAN carray VIRTUAL TABLE INDEX 1:"},
    "received_of": {"SCAN carray VIRTUAL TABLE INDEX 1:"},
    "copies_of": {"SCAN carray VIRTUAL TABLE INDEX 1:"},
    "metas": {"SCAN carray VIRTUAL TABLE INDEX 1:"},
    # The reports of one event, of which all are given, are put in their order.
    "reports_of_event": {"USE TEMP B-TREE FOR ORDER BY"},
}

UNBOUNDED = {
    "ledgers", "tiles", "checkpoints", "cosignatures", "unopenable", "untold_counts", "counts", "indexed_decisions",
    "indexed_subjects", "damage", "snapshot", "interrupt", "close",
}  # fmt: skip
"""Gives all of something by its contract, for a start, a check or a state; or asks for nothing."""


def test_every_question_to_the_store_is_known_here() -> None:
    # Those that begin so give, or count, all of something by their name.
    asked = {name for name in vars(StoreReader) if not name.startswith(("_", "each_", "count_"))}
    assert asked == ASKED.keys() | UNBOUNDED


@pytest.mark.parametrize("question", ASKED)
def test_a_question_is_answered_by_looking_it_up_and_never_by_reading_a_table(question: str, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "node.sqlite")
    try:
        _, (commit,) = grown(3)
        store.commit(commit)
        asked: list[tuple[str, object]] = []

        def note(_: object, sql: str, bindings: object) -> bool:
            asked.append((sql, bindings))
            return True

        store._db.exec_trace = note
        ASKED[question](store)
        store._db.exec_trace = None
        plans = {
            step
            for sql, bindings in asked
            for *_, step in store._db.execute(f"EXPLAIN QUERY PLAN {sql}", bindings)  # type: ignore[arg-type]
        }
    finally:
        store.close()
    assert asked
    assert {step for step in plans if "TEMP B-TREE" in step or "SCAN" in step} <= ALLOWED.get(question, set())


def test_on_which_agreements_releases_rest_is_read_from_an_index_alone(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "node.sqlite")
    try:
        asked: list[str] = []

        def note(_: object, sql: str, bindings: object) -> bool:
            asked.append(sql)
            return True

        store._db.exec_trace = note
        store.cited_between(LEDGER, 0, 2)
        store._db.exec_trace = None
        (plan,) = store._db.execute(f"EXPLAIN QUERY PLAN {asked[0]}", (LEDGER, 0, 2))
    finally:
        store.close()
    assert "COVERING INDEX released_place" in str(plan[-1])
