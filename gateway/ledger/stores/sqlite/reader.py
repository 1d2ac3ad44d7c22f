"""A read-only view of a store's file."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

from gateway.ledger.stores.sqlite.decisions import DecisionReading
from gateway.ledger.stores.sqlite.ledgers import LedgerReading
from gateway.ledger.stores.sqlite.reading import any_of
from gateway.ledger.stores.sqlite.reports import ReportReading

MAX_DAMAGE = 20
"""Damages of a file that are named: enough to see what it is."""


class SqliteReader(LedgerReading, ReportReading, DecisionReading):
    """A read-only view of a store's file. See `gateway.ledger.stores.StoreReader`."""

    def meta(self, key: str) -> bytes | None:
        row = self._row("SELECT value FROM meta WHERE key = ?", key)
        return None if row is None else row[0]

    def metas(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        return dict(self._rows("SELECT key, value FROM meta WHERE key IN carray(?)", any_of(keys)))

    def damage(self) -> Sequence[str]:
        found = [text for (text,) in self._rows(f"PRAGMA integrity_check({MAX_DAMAGE})") if text != "ok"]
        (page_size,), length = self._rows("PRAGMA page_size")[0], self._path.stat().st_size
        if length % page_size:
            found.append(f"its length of {length} bytes is no whole number of pages: it was cut off")
        for table, *_, parent, _ in itertools.islice(self._each("PRAGMA foreign_key_check"), MAX_DAMAGE):
            found.append(f"a row of {table} belongs to a {parent} that is not there")
        return found
