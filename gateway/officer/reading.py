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
from dataclasses import dataclass
from typing import Final, TypeVar

from signalfire.v1 import officer_pb2

from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import LedgerId, LedgerRow, StoreReader
from gateway.officer.search import DecisionFilter, DecisionSearch
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError

log = logging.getLogger(__name__)

T = TypeVar("T")

STRETCH_ENTRIES: Final = 256
"""Entries of the decisions ledger that a watch reads at once: some tens of milliseconds."""

STRETCH_BYTES: Final = 1 << 20
"""Bytes of records after which a stretch ends."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """What a watch was given at once: records, the index after the last entry that was read, and what follows."""

    entries: tuple[officer_pb2.RecordedEntry, ...]
    next_index: int
    end: bool
    """Everything that the ledger holds was read."""
    successor: Origin | None = None
    """The generation that goes on where this one has ended, and was read to its end."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a reader has before him. For use in the reading thread."""

    reader: StoreReader
    opener: Opener
    signatory: Signatory
    search: DecisionSearch

    def decisions(self, generation: int) -> LedgerRow | None:
        """A generation of this node's decisions ledger; None where there is none of that number."""
        return self.reader.ledger(Origin(self.signatory.node, None, DECISIONS, generation))

    def stretch(self, origin: Origin, index: int, wanted: DecisionFilter | None) -> Stretch:
        """What the decisions ledger holds from `index` on, narrowed to what is wanted.

        Raises SealError and StoreError.
        """
        row = self.reader.ledger(origin)
        if row is None:
            return Stretch((), index, True)
        found: list[officer_pb2.RecordedEntry] = []
        last = min(row.size, index + STRETCH_ENTRIES)
        size = 0
        while index < last and size < STRETCH_BYTES:
            entry = self.recorded(row.id, origin, index)
            index += 1
            if entry is not None and wanted is not None:
                entry = self.search.wants(wanted, entry)
            if entry is not None:
                size += entry.ByteSize()
                found.append(entry)
        at_end = index >= row.size
        return Stretch(tuple(found), index, at_end, row.successor if at_end else None)

    def recorded(self, ledger: LedgerId, origin: Origin, index: int) -> officer_pb2.RecordedEntry | None:
        """What one entry of a decisions ledger records; None where it only opens an epoch, or names its predecessor."""

        def fetch(at: int) -> bytes:
            return self.reader.entry(ledger, at) or b""

        content = self.opener.content(origin, index, fetch(index), fetch)
        entry = officer_pb2.RecordedEntry(ledger=str(origin), index=index)
        match None if content is None else content.WhichOneof("content"):
            case "decision_record":
                entry.decision_record.CopyFrom(content.decision_record)  # type: ignore[union-attr]
            case "node_event":
                entry.node_event.CopyFrom(content.node_event)  # type: ignore[union-attr]
            case _:
                return None
        return entry


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
