"""A Merkle tree that somebody else holds, believed only as far as its hashes add up to its root.

Rules:

1. The roots of the perfect subtrees that the tree's size names must fold to its root (RFC 6962, 2.1).
2. Hashes below a believed hash are asked for a tile's height at a time, and must fold to it.
3. Whatever does not add up is `Untrue`, with the place: from then on nothing of this tree is believed.

So whoever answers with another hash than the root covers is found out at the first hash that differs.
"""

from __future__ import annotations

from typing import Final, Protocol

from gateway.ledger.holding import HeldLedger
from gateway.ledger.merkle import EMPTY_ROOT, HASH_SIZE, Frontier, node_hash
from gateway.ledger.origin import Origin
from gateway.ledger.tiles import TILE_HEIGHT

_KEPT: Final = 256
"""Tiles of one tree that are remembered, some 4 MB; beyond it they are asked for anew."""


class HashReader(Protocol):
    """Where hashes of trees come from."""

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        """Roots of the perfect subtrees of 2**level leaves from number `first` on: as many of the `count` as there are,
        32 bytes each, joined.
        """


class Untrue(Exception):
    """The hashes that `whose` gave do not add up; the text says where."""

    def __init__(self, whose: str, what: str) -> None:
        super().__init__(what)
        self.whose = whose


def peaks(size: int) -> list[tuple[int, int]]:
    """(level, number) of the perfect subtrees that a tree of `size` leaves consists of, the largest first."""
    found, low = [], 0
    for level in reversed(range(size.bit_length())):
        if size >> level & 1:
            found.append((level, low >> level))
            low += 1 << level
    return found


def folded(hashes: list[bytes]) -> bytes:
    """Root over the peaks of a tree, the largest first; the empty root where there is none."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for peak in reversed(hashes[:-1]):
        root = node_hash(peak, root)
    return root


class ProvenTree:
    """One tree of `held.size` leaves under `held.root`. Every method raises Untrue, and whatever the reader raises."""

    def __init__(self, reader: HashReader, held: HeldLedger, whose: str) -> None:
        self._reader = reader
        self._whose = whose
        self._held = held
        self._below: dict[tuple[int, int], tuple[bytes, list[bytes]]] = {}
        self._peaks: dict[tuple[int, int], bytes] = {}

    async def root_at(self, size: int) -> bytes:
        """The root that this tree had when it had `size` leaves, at most as many as it has."""
        if size == self._held.size:
            return self._held.root
        return folded([await self.node(level, index) for level, index in peaks(size)])

    async def node(self, level: int, index: int) -> bytes:
        """The root of a perfect subtree within the tree."""
        await self._prove_peaks()
        for (high, number), peak in self._peaks.items():
            if high >= level and index >> (high - level) == number:
                believed = peak
                break
        else:
            raise Untrue(self._whose, f"a tree of {self._held.size} leaves has no subtree ({level}, {index})")
        while high > level:
            lower, hashes = await self.below(high, number, believed)
            first = number << (high - lower)
            if lower <= level:
                begin = (index << (level - lower)) - first
                return Frontier.empty().append(hashes[begin : begin + (1 << (level - lower))]).root()
            high, number = lower, index >> (lower - level)
            believed = hashes[number - first]
        return believed

    async def below(self, level: int, index: int, believed: bytes) -> tuple[int, list[bytes]]:
        """The level of the tiles under a subtree (`level` at least 1) and the hashes of that level under it.

        `believed` is the subtree's hash, from `node` or from here.
        """
        lower = (level - 1) // TILE_HEIGHT * TILE_HEIGHT
        known = self._below.get((level, index))
        if known is not None and known[0] == believed:
            return lower, known[1]
        first, count = index << (level - lower), 1 << (level - lower)
        hashes = await self._ask(lower, first, count)
        if Frontier.empty().append(hashes).root() != believed:
            raise Untrue(
                self._whose,
                f"the hashes of level {lower} from {first} on do not add up to the hash above them, which the root"
                f" at size {self._held.size} covers",
            )
        if len(self._below) >= _KEPT:
            self._below.clear()
        self._below[level, index] = (believed, hashes)
        return lower, hashes

    async def _prove_peaks(self) -> None:
        if self._peaks or self._held.size == 0:
            return
        tops = peaks(self._held.size)
        found = {top: (await self._ask(*top, 1))[0] for top in tops}
        if folded(list(found.values())) != self._held.root:
            raise Untrue(
                self._whose,
                f"the hashes of the {len(tops)} largest subtrees do not add up to the root at size {self._held.size}",
            )
        self._peaks = found

    async def _ask(self, level: int, first: int, count: int) -> list[bytes]:
        given = await self._reader.hashes(self._held.origin, level, first, count)
        if len(given) != count * HASH_SIZE:
            raise Untrue(
                self._whose,
                f"{count} hashes of level {level} from {first} on were asked for, which a tree of {self._held.size}"
                f" leaves has, and {len(given)} bytes came",
            )
        return [given[at : at + HASH_SIZE] for at in range(0, len(given), HASH_SIZE)]


async def differing(ours: ProvenTree, theirs: ProvenTree, size: int, limit: int) -> list[int]:
    """Indices below `size` at which two trees differ, in order, the first `limit` of them.

    Costs a question to each for every 256-fold of the size and every difference: O(differences * log size).
    """
    found: list[int] = []
    for level, index in peaks(size):
        own, other = await ours.node(level, index), await theirs.node(level, index)
        await _descend(ours, theirs, level, index, own, other, limit, found)
    return found


async def _descend(
    ours: ProvenTree,
    theirs: ProvenTree,
    level: int,
    index: int,
    own: bytes,
    other: bytes,
    limit: int,
    found: list[int],
) -> None:
    if own == other or len(found) >= limit:
        return
    if level == 0:
        found.append(index)
        return
    lower, own_hashes = await ours.below(level, index, own)
    _, other_hashes = await theirs.below(level, index, other)
    first = index << (level - lower)
    for offset, (one, another) in enumerate(zip(own_hashes, other_hashes, strict=True)):
        await _descend(ours, theirs, lower, first + offset, one, another, limit, found)
