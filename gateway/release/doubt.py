"""What a store that was opened again must still hold: everything that this process ever knew to be durable.

A commit that failed may have become durable or not, and either is right. A commit that did not fail, of which C2
systems and partners were told, must be there. Where it is not, the disk has lost it, or somebody has put another store
in its place; and what was signed must not be signed otherwise.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import CheckpointError, NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.release.heads import Head


def lacking(known: Iterable[Head], store: StoreReader) -> Sequence[Origin]:
    """The ledgers of which the store does not hold what is known: fewer entries, or others. Raises StoreError."""
    return [head.origin for head in known if not _holds(store, head)]


def holds_exactly(store: StoreReader, head: Head) -> bool:
    """Whether a ledger stands in the store as `head` has it. Raises StoreError."""
    row = store.ledger(head.origin)
    return row is not None and (row.id, row.size, row.root) == (head.id, head.edge.size, head.edge.root())


def _holds(store: StoreReader, head: Head) -> bool:
    row = store.ledger(head.origin)
    if row is None or row.size < head.edge.size:
        return False
    return head.edge.size == 0 or root_at(store, row, head.edge.size) == head.edge.root()


def root_at(store: StoreReader, row: LedgerRow, size: int) -> bytes | None:
    """The root of a ledger at a size that it had after some commit; None: it never had it. Raises StoreError."""
    if row.size == size:
        return row.root
    note = store.checkpoint(row.id, size)
    try:
        return None if note is None else Checkpoint.parse(Note.parse(note).text).root
    except (NoteError, CheckpointError):
        return None
