"""The heads of the ledgers that a node keeps: in memory what the store holds on disk.

A head is a value. A commit that is being prepared works on heads of its own, and they take the place of the old ones
only when the commit is durable; after a doubtful commit all of them are read from the store again.

Rules:

1. A content key lives in one `Head` only, in memory only. `restore` gives no head an epoch, so that every start, and
   every commit in doubt, opens new epochs and no (key, nonce) pair can occur twice.
2. Of each (owner, recipient, lane) only the last generation is current: the highest that stands in the store, or that
   an ended one names as its successor.
3. Entries are sealed to the keys that their readers have now: an epoch opened for other keys seals no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import LedgerId, LedgerRow, StoreReader
from gateway.ledger.tiles import Edge, partial_widths, split_tile
from gateway.seal.epoch import Epoch
from gateway.seal.recovery import RecordKey


@dataclass(frozen=True, slots=True)
class Head:
    """The right edge of one ledger, and of an own ledger the epoch that its next entries are sealed in."""

    id: LedgerId
    origin: Origin
    replica: bool
    edge: Edge
    epoch: Epoch | None = None
    readers: tuple[bytes, ...] = ()
    """Ids of the sealing keys that the epoch's key was wrapped for."""
    record_key: RecordKey | None = None
    """The key of the recovery records of that epoch; it seals in no other."""


class Heads:
    """All heads, by origin. `current` finds the generation that entries go to."""

    def __init__(self, heads: dict[Origin, Head], current: dict[tuple[str, str | None, str], Origin]) -> None:
        self._heads = heads
        self._current = current

    @classmethod
    def restore(cls, store: StoreReader) -> Heads:
        """The heads as the store holds them. Raises StoreError when what it holds does not fit together."""
        heads: dict[Origin, Head] = {}
        current: dict[tuple[str, str | None, str], Origin] = {}
        for row in store.ledgers():
            heads[row.origin] = Head(row.id, row.origin, row.replica, _edge(store, row))
            standing = row.successor or row.origin
            known = current.get(_line(row.origin))
            if known is None or known.generation < standing.generation:
                current[_line(row.origin)] = standing
        return cls(heads, current)

    def __iter__(self) -> Iterator[Head]:
        return iter(self._heads.values())

    def get(self, origin: Origin) -> Head | None:
        """The head of exactly that ledger."""
        return self._heads.get(origin)

    def current(self, owner: str, recipient: str | None, lane: str) -> Origin:
        """The generation that is not ended; the first one where there is none yet."""
        return self._current.get((owner, recipient, lane)) or Origin(owner, recipient, lane, 1)

    def next_id(self) -> int:
        """The number for the next ledger of this store."""
        return max((head.id for head in self), default=0) + 1

    def adopt(self, changed: dict[Origin, Head], ended: dict[Origin, Origin]) -> None:
        """Puts the heads of a durable commit in place; `ended` maps a ledger to its successor."""
        self._heads.update(changed)
        for origin in changed:
            if self.current(*_line(origin)).generation <= origin.generation and origin not in ended:
                self._current[_line(origin)] = origin
        for origin, successor in ended.items():
            self._current[_line(origin)] = successor

    def without_epochs(self, *, home: bool = True) -> None:
        """Forgets every content key, so that the next entry of each ledger opens a new epoch. `home` False: of ledgers
        for partners alone.
        """
        self._heads = {
            origin: replace(head, epoch=None, record_key=None) if home or origin.recipient is not None else head
            for origin, head in self._heads.items()
        }


def _line(origin: Origin) -> tuple[str, str | None, str]:
    return origin.owner, origin.recipient, origin.lane


def _edge(store: StoreReader, row: LedgerRow) -> Edge:
    """Rebuilds the right edge: higher tiles from their rows, level 0 by hashing the entries since the last full
    tile.
    """
    partial: list[list[bytes]] = []
    for level, width in enumerate(partial_widths(row.size)):
        if level == 0:
            partial.append(list(store.leaves(row.id, row.size - width, row.size)))
            continue
        index = row.size >> (8 * (level + 1))
        data = store.tile(row.id, level, index) if width else b""
        hashes = list(split_tile(data)) if data else []
        if len(hashes) != width:
            raise StoreError(f"ledger {row.origin}: tile {level}/{index} holds {len(hashes)} hashes instead of {width}")
        partial.append(hashes)
    edge = Edge.restore(row.size, partial)
    if edge.root() != row.root:
        raise StoreError(
            f"ledger {row.origin}: its tiles and entries do not give the stored root at size {row.size};"
            " run `signalfire ledger verify` and do not start the gateway on this store"
        )
    return edge
