"""Tiles: a Merkle tree as it is stored and served (C2SP tlog-tiles, "Merkle Tree").

A tile is a run of up to 256 hashes of one tree level: tile `index` of level L holds the roots of the perfect
subtrees of 256**L leaves that begin at hash 256 * index. The level-0 tile holds leaf hashes; each hash of a
higher tile is the root of a full tile one level down. A tile that is not yet full is *partial*, and is never
hashed into the level above.

Rules, in order:

1. A path has one spelling: no leading zeroes in level and width, an index in zero-padded groups of three
   digits of which all but the last begin with "x", a width only on a partial tile. Entry bundles are
   addressed alike, under "entries".
2. Level-0 tiles are written once, when they are full (256 hashes, 8,192 bytes). Until then their hashes live
   in the `Edge`, and after a restart are hashed again from the last size % 256 entries (an absent one has its
   leaf hash stored).
3. A tile of level 1 or higher is written whenever it gains a hash, over its earlier and shorter self: once
   every 256 (65,536, ...) leaves. So an append of one leaf writes no tile in 255 cases of 256.
4. An append hashes each leaf into the tree once (amortised one node hash a leaf). Roots of full tiles fall
   out of that same work; no tile is hashed again.
5. A tree is rebuilt from the partial tile of each level alone, and only if every one has exactly the width
   that the size requires. Whether they are the *right* hashes is for the caller to settle: compare
   `Edge.root` with the last signed checkpoint.

Nothing here reads or writes: `Edge.grow` says which tiles to write, `node_reader` is given the way to read
them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.ledger.errors import ProofError, TileError
from gateway.ledger.merkle import HASH_SIZE, MAX_SIZE, Frontier, NodeReader

TILE_HEIGHT: Final = 8
"""Tree levels that a tile spans."""

TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a full tile, and entries in a full bundle."""

TILE_BYTES: Final = TILE_WIDTH * HASH_SIZE
"""Size of a full tile, bytes."""

MAX_TILE_LEVEL: Final = 7
"""Highest tile level of a tree of 2**63 - 1 leaves. (The path format itself allows 63.)"""

TileReader = Callable[[int, int], bytes]
"""``read_tile(level, index)``: the bytes of a full tile."""

_CACHED_TILES: Final = 16
"""Tiles that one `node_reader` keeps, 8 KiB each: a proof needs at most two of each of the eight levels."""

_MAX_INDEX: Final = MAX_SIZE >> TILE_HEIGHT
_PATH = re.compile(r"tile/(entries|[0-7])/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?")


@dataclass(frozen=True, slots=True)
class TileAddress:
    """Where a tile, or an entry bundle, is served.

    `level` is 0 to 7, or None for an entry bundle; `index` counts tiles from the left of the level; `width`
    is the number of hashes or entries, 1 to 256, where less than 256 means partial. Raises TileError.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= MAX_TILE_LEVEL:
            raise TileError(f"tile level {self.level} is not between 0 and {MAX_TILE_LEVEL}")
        if not 0 <= self.index <= _MAX_INDEX:
            raise TileError(f"tile index {self.index} is not between 0 and {_MAX_INDEX}")
        if not 1 <= self.width <= TILE_WIDTH:
            raise TileError(f"tile width {self.width} is not between 1 and {TILE_WIDTH}")

    @classmethod
    def parse(cls, path: str) -> TileAddress:
        """The address that `path` spells, relative to the ledger's prefix. Raises TileError."""
        match = _PATH.fullmatch(path)
        if match is None:
            raise TileError(f"{path!r} is not a tile path, such as tile/0/x001/234 or tile/entries/000.p/7")
        level, index, width = match.groups()
        address = cls(
            None if level == "entries" else int(level),
            int(index.replace("/", "").replace("x", "")),
            TILE_WIDTH if width is None else int(width),
        )
        if address.path() != path:
            raise TileError(f"{path!r} is not the one spelling of its tile, which is {address.path()!r}")
        return address

    def path(self) -> str:
        """The path, relative to the ledger's prefix, with no leading slash."""
        rest, last = divmod(self.index, 1000)
        groups = [f"{last:03d}"]
        while rest:
            rest, group = divmod(rest, 1000)
            groups.append(f"x{group:03d}")
        level = "entries" if self.level is None else str(self.level)
        suffix = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{level}/{'/'.join(reversed(groups))}{suffix}"


@dataclass(frozen=True, slots=True)
class TileWrite:
    """One tile to store under (level, index), over whatever is there. `data` is 1 to 256 hashes of 32 bytes."""

    level: int
    index: int
    data: bytes


def partial_widths(size: int) -> tuple[int, ...]:
    """Width of the partial tile of each level, from level 0, in a tree of `size` leaves; 0 where there is none.

    That is floor(size / 256**level) mod 256 (tlog-tiles, "Partial Tiles"). The tile's index in its level is
    ``size >> 8 * (level + 1)``. Raises TileError for a size that no tree has.
    """
    if not 0 <= size <= MAX_SIZE:
        raise TileError(f"tree size {size} is not between 0 and 2**63 - 1")
    widths = []
    while size:
        size, width = divmod(size, TILE_WIDTH)
        widths.append(width)
    return tuple(widths)


def split_tile(data: bytes) -> tuple[bytes, ...]:
    """The hashes of a stored tile, full or partial. Raises TileError unless they are 1 to 256 whole ones."""
    if not data or len(data) % HASH_SIZE or len(data) > TILE_BYTES:
        raise TileError(f"a tile of {len(data)} bytes does not hold 1 to {TILE_WIDTH} hashes of {HASH_SIZE} bytes")
    return tuple(data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE))


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a growing tree: all that an append needs to know of what came before.

    `partial[L]` holds the hashes of the partial tile of level L, of width ``partial_widths(size)[L]``.
    Made by `empty`, `grow` and `restore`, which keep both parts in step.
    """

    frontier: Frontier
    partial: tuple[tuple[bytes, ...], ...]

    @classmethod
    def empty(cls) -> Edge:
        """The edge of the tree with no leaves."""
        return cls(Frontier.empty(), ())

    @classmethod
    def restore(cls, size: int, partial_tiles: Sequence[Sequence[bytes]]) -> Edge:
        """The edge of the tree of `size` leaves, from the hashes of its partial tiles.

        There is one sequence for each level from 0 up, empty where the level has no partial tile. Raises TileError
        when a width does not fit the size.
        """
        widths = partial_widths(size)
        if len(partial_tiles) != len(widths):
            raise TileError(f"a tree of {size} leaves has {len(widths)} levels of tiles, not {len(partial_tiles)}")
        peaks: list[bytes] = []
        for level in reversed(range(len(widths))):
            hashes, width = partial_tiles[level], widths[level]
            if len(hashes) != width or any(len(value) != HASH_SIZE for value in hashes):
                raise TileError(
                    f"in a tree of {size} leaves the partial tile of level {level} holds {width} hashes of"
                    f" {HASH_SIZE} bytes; here are {len(hashes)}, or one of another length"
                )
            # The peaks of a small tree over the tile's hashes are the tree's own peaks at these levels.
            peaks.extend(Frontier.empty().append(hashes).peaks)
        return cls(Frontier(size, tuple(peaks)), tuple(tuple(hashes) for hashes in partial_tiles))

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return self.frontier.size

    def root(self) -> bytes:
        """Root of the tree."""
        return self.frontier.root()

    def grow(self, leaf_hashes: Sequence[bytes]) -> tuple[Edge, list[TileWrite]]:
        """The edge with these leaf hashes added on the right, and the tiles to write for it, lower levels first.

        Each tile is written at most once a call, in its last state. Raises ProofError for a hash of another
        length.
        """
        frontier, completed = self.frontier.append_completing(leaf_hashes, TILE_HEIGHT)
        levels = len(partial_widths(frontier.size))
        gained: list[list[bytes]] = [[] for _ in range(levels)]
        if levels:
            gained[0].extend(leaf_hashes)
        for tree_level, subtree in completed:
            gained[tree_level // TILE_HEIGHT].append(subtree)

        partial: list[tuple[bytes, ...]] = []
        writes: list[TileWrite] = []
        for level, new in enumerate(gained):
            old = self.partial[level] if level < len(self.partial) else ()
            index = self.size >> TILE_HEIGHT * (level + 1)
            hashes = (*old, *new)
            whole = len(hashes) - len(hashes) % TILE_WIDTH
            for at in range(0, whole, TILE_WIDTH):
                writes.append(TileWrite(level, index, b"".join(hashes[at : at + TILE_WIDTH])))
                index += 1
            rest = hashes[whole:]
            if level > 0 and new and rest:
                writes.append(TileWrite(level, index, b"".join(rest)))
            partial.append(rest)
        return Edge(frontier, tuple(partial)), writes


def node_reader(size: int, read_tile: TileReader, edge: Edge) -> NodeReader:
    """The function that `merkle.inclusion_proof` and `merkle.consistency_proof` ask for the tree's hashes.

    It serves the tree of `size` leaves, at most ``edge.size``. Hashes of partial tiles come from `edge`;
    `read_tile` is asked for full tiles alone, and for none twice in the course of a proof. It may read a
    store that has grown past `edge` meanwhile: full tiles never change.

    Raises ProofError when `size` is more than the edge has. The function raises ProofError for a subtree
    outside the tree, TileError when a tile read is not full, and whatever `read_tile` raises.
    """
    if not 0 <= size <= edge.size:
        raise ProofError(f"a tree of {edge.size} leaves has no state of size {size}")

    @lru_cache(maxsize=_CACHED_TILES)
    def full_tile(level: int, index: int) -> bytes:
        data = read_tile(level, index)
        if len(data) != TILE_BYTES:
            raise TileError(f"tile {level}/{index} holds {len(data)} bytes; a full one is {TILE_BYTES}")
        return data

    def node(level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > size:
            raise ProofError(f"a tree of {size} leaves has no perfect subtree ({level}, {index})")
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, offset = divmod(index << height, TILE_WIDTH)
        count = 1 << height
        if tile_index == edge.size >> TILE_HEIGHT * (tile_level + 1):
            hashes = edge.partial[tile_level][offset : offset + count]
        else:
            data = full_tile(tile_level, tile_index)[offset * HASH_SIZE : (offset + count) * HASH_SIZE]
            hashes = split_tile(data)
        return Frontier.empty().append(hashes).root()

    return node
