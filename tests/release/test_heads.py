"""Heads that are read from a store equal those that made it."""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, LedgerId
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.heads import Heads
from tests.ledger.stores.growth import Growth, entries_of

ORIGINS = [Origin("JPN", "KOR", "flash", 1), Origin("KOR", "JPN", "flash", 1), Origin.decisions("JPN", 1)]
APPENDS = st.lists(st.tuples(st.integers(0, 2), st.integers(1, 300), st.booleans()), min_size=1, max_size=8)


def new_ledgers() -> list[Growth]:
    return [Growth(LedgerId(n), origin, origin.owner != "JPN") for n, origin in enumerate(ORIGINS, 1)]


@settings(max_examples=30)
@given(APPENDS)
def test_restored_heads_equal_those_in_memory(
    tmp_path_factory: pytest.TempPathFactory, appends: list[tuple[int, int, bool]]
) -> None:
    store = SqliteStore(tmp_path_factory.mktemp("heads") / "node.sqlite")
    ledgers = new_ledgers()
    store.commit(Commit(ledgers=[ledger.begin() for ledger in ledgers]))
    for which, count, last_absent in appends:
        ledger = ledgers[which]
        entries, first = entries_of(ledger.edge.size, count), ledger.edge.size
        absent = {}
        if last_absent:
            absent = {first + count - 1: leaf_hash(entries[-1])}
            entries[-1] = b""
        store.commit(Commit(appends=[ledger.append(entries, absent)]))
    heads = Heads.restore(store)
    store.close()
    for ledger in ledgers:
        head = heads.get(ledger.origin)
        assert head is not None
        assert (head.id, head.replica, head.edge) == (ledger.id, ledger.replica, ledger.edge)
        assert head.epoch is None
    assert heads.next_id() == len(ledgers) + 1


def test_heads_of_a_ledger_with_three_levels_of_tiles_are_restored(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "node.sqlite")
    ledger = Growth()
    store.commit(Commit(ledgers=[ledger.begin()], appends=[ledger.append(entries_of(0, 65_536 + 256 + 3))]))
    head = Heads.restore(store).get(ledger.origin)
    store.close()
    assert head is not None
    assert head.edge == ledger.edge


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "node.sqlite"
    store = SqliteStore(path)
    ledger = Growth()
    store.commit(Commit(ledgers=[ledger.begin()], appends=[ledger.append(entries_of(0, 600))]))
    store.close()
    return path


@pytest.mark.parametrize(
    ("tampering", "complaint"),
    [
        ("UPDATE ledger SET root = zeroblob(32)", "do not give the stored root"),
        ("UPDATE ledger SET size = 599", "do not give the stored root"),
        ("UPDATE ledger SET size = 601", "no entry 600"),
        ("UPDATE tile SET hashes = zeroblob(64) WHERE level = 1", "do not give the stored root"),
        ("UPDATE tile SET hashes = zeroblob(32) WHERE level = 1", "holds 1 hashes instead of 2"),
        ("DELETE FROM tile WHERE level = 1", "holds 0 hashes instead of 2"),
        ("UPDATE segment SET entries = zeroblob(length(entries))", "bundle"),
    ],
)
def test_a_store_that_does_not_fit_together_is_not_started_on(path: Path, tampering: str, complaint: str) -> None:
    db = apsw.Connection(str(path))
    db.execute(tampering)
    db.close()
    store = SqliteStore(path)
    with pytest.raises(Exception, match=complaint) as caught:
        Heads.restore(store)
    store.close()
    assert isinstance(caught.value, StoreError) or "bundle" in complaint


@pytest.mark.parametrize("opened", [False, True])
def test_the_successor_is_current_after_a_restart_whether_it_holds_anything_or_not(
    tmp_path: Path, opened: bool
) -> None:
    store = SqliteStore(tmp_path / "node.sqlite")
    first, second = ORIGINS[1], ORIGINS[1].successor()
    old, new = Growth(LedgerId(2), first, True), Growth(LedgerId(1), second, True)
    ledgers = [new.begin(), old.begin()] if opened else [old.begin()]
    store.commit(Commit(ledgers=ledgers, ended=[(old.id, second)]))
    heads = Heads.restore(store)
    store.close()
    assert heads.current("KOR", "JPN", "flash") == second


def test_where_there_is_no_ledger_yet_the_first_generation_is_current() -> None:
    assert Heads({}, {}).current("JPN", "KOR", "flash") == Origin("JPN", "KOR", "flash", 1)
