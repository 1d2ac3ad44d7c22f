"""The store of one gateway: its connections, and who is told where it fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gateway.ledger.errors import StoreDamaged, StoreError
from gateway.ledger.stores import Store, StoreReader
from gateway.ledger.stores.readers import Readers
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.telemetry import Telemetry


class NodeStore:
    """Opens the file at `path`. Nothing is open until somebody asks."""

    def __init__(self, path: Path, telemetry: Telemetry) -> None:
        self._path = path
        self._telemetry = telemetry
        self._opened_before = False
        self._on_damage: Callable[[StoreError], object] = lambda _: None
        self.readers = Readers(lambda: SqliteReader(path, on_failure=self.failed))

    def open(self) -> Store:
        """The writing connection, for the sequencer. Raises StoreError."""
        # One that was there and is gone is not made anew: its disk may have been unmounted.
        store = SqliteStore(self._path, must_exist=self._opened_before)
        self._opened_before = True
        return store

    def read(self) -> StoreReader:
        """The event loop's reader. Raises StoreError."""
        return self.readers.shared()

    def on_damage(self, told: Callable[[StoreError], object]) -> None:
        """Has `told` hear, in whichever thread, that the store is damaged."""
        self._on_damage = told

    def failed(self, error: StoreError) -> None:
        """Counts a failure of the store, in whichever thread. Of a damaged one nothing more is made durable."""
        self._telemetry.store_failures.labels(kind=error.kind).inc()
        if isinstance(error, StoreDamaged):
            self._on_damage(error)
