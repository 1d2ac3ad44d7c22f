"""A store for which there is no room says so, whichever of its files meets it."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.ledger.errors import StoreFull
from gateway.ledger.stores.sqlite import SqliteStore


def test_a_store_that_is_opened_on_a_full_disk_says_that_there_is_no_room(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    SqliteStore(path).close()
    with no_file_grows_beyond(4096), pytest.raises(StoreFull, match="make room on its disk"):
        SqliteStore(path)
    SqliteStore(path).close()


@contextlib.contextmanager
def no_file_grows_beyond(size: int) -> Iterator[None]:
    """As on a full disk the index of the log, which is made anew at each opening, cannot have its size."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
