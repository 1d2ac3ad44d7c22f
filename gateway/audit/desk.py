"""What a reader of the record has before him: the store, the keys that open it, and a search over both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from signalfire.v1 import officer_pb2

from gateway.audit.search import DecisionFilter, DecisionSearch
from gateway.ledger.errors import BundleError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import LedgerId, LedgerRow, StoreReader
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError

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
    remarks: tuple[str, ...] = ()
    """What does not open, in words."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What a reader has before him. For use in one thread."""

    reader: StoreReader
    opener: Opener
    signatory: Signatory
    search: DecisionSearch

    def decisions(self, generation: int) -> LedgerRow | None:
        """A generation of this node's decisions ledger; None where there is none of that number."""
        return self.reader.ledger(Origin(self.signatory.node, None, DECISIONS, generation))

    def stretch(self, origin: Origin, index: int, wanted: DecisionFilter | None) -> Stretch:
        """What the decisions ledger holds from `index` on, narrowed to what is wanted.

        What does not open is passed over and told. Raises StoreError.
        """
        row = self.reader.ledger(origin)
        if row is None:
            return Stretch((), index, True)
        found: list[officer_pb2.RecordedEntry] = []
        remarks: list[str] = []
        last = min(row.size, index + STRETCH_ENTRIES)
        size = 0
        while index < last and size < STRETCH_BYTES:
            try:
                entry = self.recorded(row.id, origin, index)
            except (SealError, BundleError) as error:
                entry = None
                remarks.append(f"entry {index} of {origin} does not open: {error}")
            index += 1
            if entry is not None and wanted is not None:
                entry = self.search.wants(wanted, entry)
            if entry is not None:
                size += entry.ByteSize()
                found.append(entry)
        at_end = index >= row.size
        return Stretch(tuple(found), index, at_end, row.successor if at_end else None, tuple(remarks))

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
