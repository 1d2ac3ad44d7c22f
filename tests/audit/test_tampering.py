"""Whatever is changed in the file of a store, by one who has the disk and no key, is found and named; on both sides.

What is changed is found by looking into the schema: a new table or column is tampered with without being named here,
and the test fails where nothing sees it.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw
import pytest

from gateway.audit.records import Finding
from gateway.audit.verify import verify_store
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores.sqlite import SqliteReader
from tests.audit.history import History, build
from tests.audit.stored import (
    Column,
    columns,
    findings,
    flipped,
    kinds_of,
    remembering,
    samples,
    tables,
    undone,
    where,
)

PLACES: Final = {
    "copy": {"received"},
    "decision": {"index of decisions"},
    "decision_subject": {"index of decisions"},
    "feed": {"feed", "received"},
    "held": {"held"},
    "meta": {"orders", "index of decisions"},
    "officer_order": {"orders"},
    "received": {"received"},
    "released": {"releases"},
    "report": {"reports", "index of decisions"},
    "untold": {"untold", "releases"},
    "verdict": {"index of decisions"},
}
"""Where what is wrong with a row is found. Of tables that are not named: in the row's own ledger."""

NOWHERE: Final[Mapping[str, str]] = {
    "segment.id": "it is no part of what is kept: segments are found by ledger and first entry",
    "untold.seq": "it says in which order withdrawals go that wait, and nothing else",
    "unopenable.time_ns": "when a statement came: it is shown to the operator, and nothing rests on it",
}
"""Columns that no check can see, with the reason."""

BY_OTHERS: Final = (
    "when a signature of another node came: that node's own time stands in its note. The times of this node's own"
    " signatures are compared, as far as they say one: an anchor does not"
)

META: Final[Mapping[str, str]] = {
    "heartbeat": "the next start goes on above it; partners refuse a heartbeat whose counter has gone back",
    "runs": "it only says which cursors are believed; another value has subscribers refused, with what to do",
    "latest time": "another value makes the clock untrusted, loudly, or is overtaken by the next commit",
    "pruned": "how far it was looked for what is old: another value has it looked at later, or the feed begin later",
    "bundle": "the sequence of a partner's bundle that was taken up, which every bundle is signed with",
    "successions": "until when a partner's successions are spent: another value has one more or one less followed",
    "onward alerts": "until when an originator's share of the FLASH lane is spent: another value has some of his"
    " reports go sooner or later",
    "all-clear": "the last all-clear of an event: a warning that came after it is told, or not, and stands in any case",
    "decisions to index": "the index that it speaks of is compared whole",
    "key": "the key that is current: keys that are not in the keyring, or not in the bundle, stop the start",
    "resubmit": "what C2 systems are asked to submit again: of another time, what is still here counts as a duplicate",
}
"""Values of the store's own that no check can see, with the reason, by how their names begin."""

NOT_COMPARED: Final[Mapping[str, str]] = {
    "recovery": "what partners gave back, sealed under the recovery key: what was changed does not open when records"
    " are rebuilt, which says so, and is given back again to a store that lacks it",
}
"""Tables of which nothing is compared, with the reason."""

DROPPED: Final[Mapping[str, str]] = {
    "cosignature": "a later signature covers what an earlier one did, and the last may not have come yet; of a replica"
    " this node's own receipts are all there",
    "unopenable": "of an own ledger: it is the partner's to give, and he gives it again with the next connection",
}
"""Rows whose absence no check can see, with the reason."""


@dataclass(frozen=True, slots=True)
class Opened:
    """One side's store, in the hands of one who overrides what SQLite itself would refuse."""

    node: str
    db: apsw.Connection
    findings: Callable[[], list[Finding]]
    """What `ledger verify` says of it as it is."""


@pytest.fixture(scope="session")
def history(tmp_path_factory: pytest.TempPathFactory) -> History:
    return build(tmp_path_factory.mktemp("history"))


@pytest.fixture(scope="session", params=["JPN", "KOR"])
def opened(request: pytest.FixtureRequest, history: History) -> Iterator[Opened]:
    node = request.param
    db = apsw.Connection(str(history.stores[node]))
    db.pragma("ignore_check_constraints", True)
    db.pragma("foreign_keys", False)
    yield Opened(node, db, lambda: findings(history, node, db, history.stores[node]))
    db.close()


@pytest.fixture(scope="module", autouse=True)
def remembered() -> Iterator[None]:
    # The history is verified many hundred times, and one thing of it is another each time.
    with remembering():
        yield


@pytest.fixture(scope="session")
def every_case(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.getoption("--every-case"))


def test_the_history_is_sound_on_both_sides(opened: Opened) -> None:
    assert opened.findings() == []


def test_between_them_the_two_sides_hold_something_in_every_table(history: History) -> None:
    # Otherwise there would be nothing to tamper with, and the tests below could not fail.
    empty = set(tables())
    for path in history.stores.values():
        db = apsw.Connection(str(path))
        empty -= {table for table in empty if list(db.execute(f"SELECT 1 FROM {table} LIMIT 1"))}
        db.close()
    assert empty == NOT_COMPARED.keys()


def origin_of(db: apsw.Connection, row: Mapping[str, Any]) -> str:
    for (origin,) in db.execute("SELECT origin FROM ledger WHERE id = ?", (row.get("ledger", row.get("id")),)):
        return str(origin)
    return ""


def is_named(found: list[Finding], table: str, origin: str) -> bool:
    """Whether the findings say where it is."""
    places = PLACES.get(table, {origin})
    return any(
        each.where in places or (each.where == "store" and (f" of {table} " in each.what or origin in each.what))
        for each in found
    )


def not_seen(node: str, column: Column, row: Mapping[str, Any]) -> str:
    """Why no check can see a change of this column of this row; nothing where one must."""
    if column.table == "meta":
        return next((why for name, why in META.items() if str(row["key"]).startswith(name)), "")
    if str(column) == "cosignature.time_ns" and (row["signer"] != node or row["kind"] == "anchor"):
        return BY_OTHERS
    return NOWHERE.get(str(column), "")


def put(db: apsw.Connection, column: Column, row: Mapping[str, Any], *values: Any) -> Any:
    """Puts the first value that the table takes into a column of a row. Returns it; None where it takes none."""
    condition, key = where(db, column.table, row)
    for value in values:
        try:
            db.execute(f"UPDATE {column.table} SET {column.name} = ? WHERE {condition}", [value, *key])
        except apsw.ConstraintError:
            continue
        return value
    return None


@pytest.mark.parametrize("column", columns(), ids=str)
def test_a_flipped_bit_is_found_and_named(opened: Opened, column: Column, every_case: bool) -> None:
    node, db = opened.node, opened.db
    for number, row in enumerate(samples(db, column.table)):
        value, origin = row[column.name], origin_of(db, row)
        places = ("first", "middle", "last") if column.name in ("entries", "note") else ("middle",)
        if not every_case:
            # One place in each kind of row, another one in the next.
            places = (places[number % len(places)],)
        for place in places:
            others = [1, "X", b"X"] if value is None else [flipped(value, place, column.name)]
            if isinstance(value, int):
                others.append(value + 1_000_003)
            with undone(db):
                taken = put(db, column, row, *others)
                if taken is None or not_seen(node, column, row):
                    continue
                found = opened.findings()
                # What was moved to another ledger may be found there, and one that has another name by that.
                there = origin_of(db, {"ledger": taken}) if column.name == "ledger" else origin
                there = taken if str(column) == "ledger.origin" else there
                assert any(is_named(found, column.table, each) for each in (origin, there)), (row, found)


@pytest.mark.parametrize("table", tables())
def test_a_row_that_was_dropped_is_found_and_named(opened: Opened, table: str) -> None:
    node, db = opened.node, opened.db
    for row in samples(db, table):
        if table == "meta" and not_seen(node, Column("meta", "value"), row):
            continue
        origin = origin_of(db, row)
        own = not _is_replica(db, row)
        if (table == "cosignature" and (own or row["signer"] != node)) or (table == "unopenable" and own):
            assert DROPPED[table]
            continue
        with undone(db):
            condition, key = where(db, table, row)
            db.execute(f"DELETE FROM {table} WHERE {condition}", key)
            found = opened.findings()
            assert is_named(found, table, origin) or (table in ("ledger", "verdict") and found), (row, found)


def _is_replica(db: apsw.Connection, row: Mapping[str, Any]) -> bool:
    return any(replica for (replica,) in db.execute("SELECT replica FROM ledger WHERE id = ?", (row.get("ledger"),)))


CONTENT: Final = {
    "absent": ("leaf_hash", "note"),
    "checkpoint": ("note",),
    "copy": ("ledger", "idx"),
    "cosignature": ("note",),
    "decision_subject": ("ledger", "idx"),
    "feed": ("ledger", "idx", "originator", "report_id"),
    "kept_back": ("reason", "note"),
    "officer_order": ("payload",),
    "received": ("feed",),
    "released": ("ledger", "idx"),
    "report": ("payload",),
    "segment": ("entries", "count"),
    "tile": ("hashes",),
    "unopenable": ("note",),
    "verdict": ("name", "kind", "partner"),
}
"""What two rows of a kind exchange. Of the tables that are not named a row has nothing but its place."""


@pytest.mark.parametrize("table", sorted(CONTENT))
def test_two_rows_that_were_exchanged_are_found_and_named(opened: Opened, table: str) -> None:
    db = opened.db
    names = CONTENT[table]
    for kind in kinds_of(db, table):
        for first, second in itertools.pairwise(kind):
            if all(first[name] == second[name] for name in names):
                continue
            with undone(db):
                for row, other in ((first, second), (second, first)):
                    condition, key = where(db, table, row)
                    settings = ", ".join(f"{name} = ?" for name in names)
                    db.execute(f"UPDATE {table} SET {settings} WHERE {condition}", [*(other[n] for n in names), *key])
                found = opened.findings()
                assert is_named(found, table, origin_of(db, first)), (first, second, found)
            break


@pytest.mark.parametrize("table", ["absent", "checkpoint", "cosignature", "kept_back", "unopenable"])
def test_a_note_that_was_replaced_by_an_older_valid_one_is_found_and_named(opened: Opened, table: str) -> None:
    db = opened.db
    for kind in kinds_of(db, table):
        if len(kind) < 2:
            continue
        older, row = kind[0], kind[-1]
        with undone(db):
            assert put(db, Column(table, "note"), row, older["note"]) is not None
            assert is_named(opened.findings(), table, origin_of(db, row)), row


def looked_at(history: History, node: str, path: Path) -> list[Finding]:
    """What the command says about a file, whether or not it can be opened."""
    try:
        reader = SqliteReader(path)
    except LedgerError as error:
        return [Finding("store", str(error))]
    try:
        return verify_store(reader, history.signatories[node], history.partners[node]).findings
    finally:
        reader.close()


@pytest.mark.parametrize("node", ["JPN", "KOR"])
@pytest.mark.parametrize("left", ["nothing", "half a header", "a page", "half", "all but a page", "all but a byte"])
def test_a_file_that_was_cut_off_is_found_and_named(history: History, tmp_path: Path, node: str, left: str) -> None:
    path = Path(shutil.copy(history.stores[node], tmp_path / "cut.sqlite"))
    size = path.stat().st_size
    lengths = {"nothing": 0, "half a header": 50, "a page": 4096, "half": size // 8192 * 4096,
               "all but a page": size - 4096, "all but a byte": size - 1}  # fmt: skip
    with path.open("r+b") as file:
        file.truncate(lengths[left])
    found = looked_at(history, node, path)
    assert any(each.where == "store" for each in found), found


@pytest.mark.parametrize("node", ["JPN", "KOR"])
def test_a_flipped_bit_in_any_page_of_the_file_never_ends_the_check_in_a_crash(
    history: History, tmp_path: Path, node: str, every_case: bool
) -> None:
    data = history.stores[node].read_bytes()
    for page in range(0, len(data), 4096 * (1 if every_case else 11)):
        for at in (page + 3, page + 100, page + 4000):
            path = tmp_path / "flipped.sqlite"
            for rest in ("-wal", "-shm"):
                path.with_name(path.name + rest).unlink(missing_ok=True)
            path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
            looked_at(history, node, path)
