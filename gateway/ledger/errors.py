"""What can go wrong with a ledger.

Every error of this room is a `LedgerError`; catch that to treat a ledger as unusable, or a branch to tell
why::

LedgerError
    ├── OriginError       an origin line that names no ledger
    ├── NoteError         a signed note: malformed, unsigned, or signed wrongly (also keys and cosignatures)
    ├── CheckpointError   a checkpoint body: malformed, or for another ledger than the one asked for
    ├── ProofError        a Merkle tree: a proof that does not hold, or a position outside the tree
    ├── TileError         a tile: a bad path, or stored hashes that do not fit the tree
    ├── BundleError       an entry bundle that does not hold exactly the entries it should
    ├── EvidenceError     two statements that prove nothing against the node that made them (`evidence`)
    └── StoreError        the store beneath: raised by `gateway.ledger.stores` alone
        ├── StoreVersionError   it is sound, and was written by another version of this software
        ├── StoreFull           there is no room for what was to be written
        ├── StoreReadOnly       it cannot be written
        ├── StoreConflict       a commit contradicts what it holds: nothing of it was written
        ├── StoreDamaged        its file is damaged: trying again does not help
        └── StoreInDoubt        it is being opened again after a failure, and answers nothing meanwhile

The message says what was wrong and where, and, where a person can mend it, how.
"""

from __future__ import annotations

from typing import ClassVar


class LedgerError(Exception):
    """Anything that makes a ledger, or a statement about one, unusable."""


class OriginError(LedgerError):
    """An origin line is not one of the shapes of `gateway.ledger.origin`."""


class NoteError(LedgerError):
    """A signed note, a signature line or a note key is malformed, or a signature does not hold."""


class CheckpointError(LedgerError):
    """A checkpoint body is malformed, or speaks of another ledger than the one expected."""


class ProofError(LedgerError):
    """A Merkle proof does not hold, or was asked for outside the tree."""


class TileError(LedgerError):
    """A tile path is malformed, or a tile's hashes do not fit the size of the tree."""


class BundleError(LedgerError):
    """An entry bundle is truncated, too long, or holds an entry that it may not hold."""


class StoreError(LedgerError):
    """The store of a ledger could not read or commit, or holds something that it cannot have written."""

    kind: ClassVar[str] = "failed"
    """By which failures are counted."""


class StoreVersionError(StoreError):
    """The store was written by another version of this software. Nothing is wrong with it."""


class StoreFull(StoreError):
    """There is no room for what was to be written."""

    kind = "full"


class StoreReadOnly(StoreError):
    """The store cannot be written."""

    kind = "read-only"


class StoreConflict(StoreError):
    """A commit contradicts what the store holds already. Nothing of it was written, and nothing is in doubt."""

    kind = "conflict"


class StoreDamaged(StoreError):
    """The store's file is damaged, or holds what no gateway can have written. Trying again does not help."""

    kind = "damaged"


class StoreInDoubt(StoreError):
    """The store is being opened again after a failure. Until then nothing is read from it."""
