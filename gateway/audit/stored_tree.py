"""The Merkle tree of a stored ledger at one of its sizes, for proofs: read from its tiles, O(log n) of them."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import NodeReader
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.ledger.tiles import TILE_HEIGHT, Edge, node_reader, partial_widths, split_tile


def tree_at(reader: StoreReader, row: LedgerRow, size: int) -> NodeReader:
    """What `merkle.inclusion_proof` and `merkle.consistency_proof` ask, of the tree of `size` leaves.

    Reads a tile for each level, at most 255 leaf hashes, and a tile for each hash that a proof asks for. Raises
    StoreError where the ledger is smaller or a tile is missing. Whether the hashes are right is for the caller to
    settle: what the proof leads to is compared with a signed root.
    """
    if not 0 <= size <= row.size:
        raise StoreError(f"ledger {row.origin}: it has {row.size} entries, and so no state of size {size}")

    def read_tile(level: int, index: int) -> bytes:
        tile = reader.tile(row.id, level, index)
        if tile is None:
            raise StoreError(f"ledger {row.origin}: tile {level}/{index} is missing; run `signalfire ledger verify`")
        return tile

    def partial(level: int, width: int) -> Sequence[bytes]:
        index = size >> TILE_HEIGHT * (level + 1)
        if width == 0:
            return ()
        if level == 0 and reader.tile(row.id, 0, index) is None:
            return reader.leaves(row.id, size - width, size)
        # The tile may have grown since: its first hashes stay.
        return split_tile(read_tile(level, index))[:width]

    edge = Edge.restore(size, [partial(level, width) for level, width in enumerate(partial_widths(size))])
    return node_reader(size, read_tile, edge)
