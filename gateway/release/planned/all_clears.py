"""The last all-clear of each event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.ledger.stores import Commit, StoreReader

LAST: Final = "all-clear "
"""Begins the key of the store's own value with the last all-clear of an event, 16 bytes; traffic class and event
follow."""


class AllClears:
    """Those all-clears as one plan has them. Events are named with their traffic class."""

    def __init__(self, store: StoreReader, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._durable: dict[str, bytes | None] = {}

    def expect(self, events: Sequence[tuple[int, str]]) -> None:
        """Reads at once what is on record of these; each would be asked for alone."""
        keys = [_key(*event) for event in events]
        self._durable.update(dict.fromkeys(keys))
        self._durable.update(self._store.metas(keys))

    def last(self, traffic_class: int, event_id: str) -> bytes | None:
        """The identifier of the one that was accepted last, 16 bytes; None where there is none."""
        key = _key(traffic_class, event_id)
        if key in self._commit.meta:
            return self._commit.meta[key]
        if key not in self._durable:
            self._durable[key] = self._store.meta(key)
        return self._durable[key]

    def accept(self, traffic_class: int, event_id: str, report_id: bytes) -> None:
        """Puts on record that one was accepted."""
        self._commit.meta[_key(traffic_class, event_id)] = report_id


def _key(traffic_class: int, event_id: str) -> str:
    return f"{LAST}{traffic_class} {event_id}"
