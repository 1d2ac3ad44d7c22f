"""A batch of a ledger's entries as another node sends it, and how large one may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import exchange_pb2

from gateway.ledger.origin import Origin

MAX_BATCH_ENTRIES: Final = 8192
"""Entries of one batch. An honest one of 1 MiB holds at most 1,826 sealed entries; each that cannot be used costs a
signature, and while they are made nothing else is committed. It cannot be so few that these need no bound of their own:
a partner may set its batches to 2 MiB, of which an honest one has up to 3,653 entries (`statements_weight`)."""

MAX_UNUSABLE: Final = 256
"""Entries of one batch that are answered one by one although they are most of it: beyond this something is wrong with
the ledger or with a key and not with an entry, and a replica that took it in could not deliver it once that is mended.
"""

MAX_BATCH_ABSENT: Final = 256
"""Of them, those that are given as their hashes. The reason of each is verified, and meanwhile nothing else is
committed: some hundredths of a second."""

MAX_BATCH_BYTES: Final = 2 << 20
"""Bytes of entries in one batch, and so in a segment of a replica, which is read whole to find one entry. Twice what a
gateway sends unless it is set otherwise."""

ENTRY_BYTES: Final = 512
"""Bytes that an entry counts for at least, as a step and against what a partner may send. None that is sealed has so
few; one that is no entry at all has to be hashed and looked at as well."""

STATEMENT_BYTES: Final = 1024
"""Bytes that a signed statement about an entry counts for at least, beside the entry: to verify one, or to make one,
takes about as long as to take in a report."""

FURTHER_STATEMENT_BYTES: Final = 16 << 10
"""Bytes that each one counts for that is made beyond MAX_UNUSABLE of one batch. A batch is one step, and so long a step
holds up everyone: whoever brings many such batches does so at a pace that leaves a hundredth of the time to them."""


def statements_weight(count: int) -> int:
    """Bytes that `count` statements count for, which had to be made about entries of one batch that cannot be used.

    Of what was passed on in vain a batch may be full, and is not refused (`gateway.release.replica`, rule 5).
    """
    return count * STATEMENT_BYTES + max(0, count - MAX_UNUSABLE) * (FURTHER_STATEMENT_BYTES - STATEMENT_BYTES)


@dataclass(frozen=True, slots=True)
class IncomingBatch:
    """One batch as it came from the wire, nothing of it checked yet."""

    origin: Origin
    first: int
    count: int
    entries: bytes
    absent: Sequence[tuple[int, bytes, bytes]]
    """(index, leaf hash, signed reason)"""
    checkpoint: bytes

    @classmethod
    def of(cls, origin: Origin, batch: exchange_pb2.Batch) -> IncomingBatch:
        """A batch of the ledger `origin`."""
        absent = [(entry.index, entry.leaf_hash, entry.note) for entry in batch.absent]
        return cls(origin, batch.first, batch.count, batch.entries, absent, batch.checkpoint)

    @property
    def weight(self) -> int:
        """Bytes that it counts for: all that came, and at least what its entries and statements cost here.

        Nothing of it need be true: it counts no more entries than its bytes can hold.
        """
        entries = max(len(self.entries), ENTRY_BYTES * min(self.count, len(self.entries) // 2))
        statements = sum(max(len(leaf) + len(note), STATEMENT_BYTES) for _, leaf, note in self.absent)
        return entries + statements + len(self.checkpoint)
