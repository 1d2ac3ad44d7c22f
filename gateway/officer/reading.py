"""Where officers read: one thread with a connection to the store and an opener of its own.

A search, an export, a watch that catches up and an explanation take their turns here, a page each: however much
officers ask for, the event loop goes on carrying warnings, and one officer waits at most for a page of each other one.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import TypeVar

from gateway.audit.desk import Desk
from gateway.audit.search import DecisionSearch
from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.stores import StoreReader
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError

log = logging.getLogger(__name__)

T = TypeVar("T")


class Reading:
    """The one thread in which officers read."""

    def __init__(self, open_reader: Callable[[], StoreReader], signatory: Signatory) -> None:
        self._open_reader = open_reader
        self._signatory = signatory
        self._thread = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="officers")
        self._reader: StoreReader | None = None
        self._desk: Desk | None = None

    async def do(self, work: Callable[[Desk], T]) -> T:
        """Does `work` in its turn. Raises what it raises."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._do, work)

    async def let_go(self) -> None:
        """Ends the connection now, with what is read by it: the store has failed. The next turn opens another."""
        reader = self._reader
        if reader is not None:
            reader.interrupt()
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)

    async def close(self) -> None:
        """Ends the connection, after what waits."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._clear)
        self._thread.shutdown()

    def _do(self, work: Callable[[Desk], T]) -> T:
        with self._fresh_after_failure():
            return work(self._at_desk())

    @contextlib.contextmanager
    def _fresh_after_failure(self) -> Iterator[None]:
        """A connection or keys that failed once are not used again: the next turn begins with what is there then."""
        try:
            yield
        except (LedgerError, SealError):
            self._clear()
            raise

    def _at_desk(self) -> Desk:
        if self._desk is None:
            self._reader = reader = self._open_reader()
            opener = Opener(self._signatory.node, self._signatory.sealing)
            self._desk = Desk(reader, opener, self._signatory, DecisionSearch(reader, opener, self._signatory))
        return self._desk

    def _clear(self) -> None:
        reader, self._reader, self._desk = self._reader, None, None
        if reader is not None:
            try:
                reader.close()
            except StoreError as error:
                log.warning("closing what officers read by: %s", error)
