"""Merkle trees of RFC 6962 section 2.1: roots, growth, inclusion and consistency proofs.

Rules:

1. Hashing (2.1): a leaf is SHA-256(0x00 || data), an interior node SHA-256(0x01 || left || right), the root
   of the empty tree SHA-256(""). An interior node splits its n leaves at the largest power of two below n.
2. A tree that grows is held as its *frontier*: the roots of the perfect subtrees that its size, written in
   binary, names. Appending costs one node hash a leaf, amortised; the root costs at most one for each
   peak.
3. Inclusion proofs (2.1.1) and consistency proofs (2.1.2) are made from a function that gives the root of any
   perfect subtree, and call it O(log n) times.
4. A proof is accepted only if it is exactly as long as index and sizes require and every hash in it is 32
   bytes: no missing, spare or odd-sized element is forgiven. Proofs are checked by the algorithms of RFC
   9162, 2.1.3.2 and 2.1.4.2, which verify RFC 6962 proofs.
5. The empty tree is a prefix of every tree: consistency from size 0 has the empty proof and holds only for
   the empty root. RFC 6962 leaves that case undefined.

A hash is always 32 bytes. Sizes and indexes run from 0 to 2**63 - 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from gateway.ledger.errors import ProofError

HASH_SIZE: Final = 32
"""Length of a hash, bytes."""

MAX_SIZE: Final = 2**63 - 1
"""Largest number of leaves: the largest integer that every store and wire format of the gateway holds."""

EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree with no leaves (RFC 6962, 2.1)."""

NodeReader = Callable[[int, int], bytes]
"""``node(level, index)``: root of the perfect subtree over leaves [index << level, (index + 1) << level)."""

_NEVER: Final = 64
"""A level that no subtree of at most MAX_SIZE leaves reaches."""


def leaf_hash(data: bytes) -> bytes:
    """The hash of a leaf with these contents."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of the interior node over two 32-byte hashes."""
    return sha256(b"\x01" + left + right).digest()


def root_of(leaf_hashes: Sequence[bytes]) -> bytes:
    """Root of the tree with these leaves (as 32-byte leaf hashes), of which there is at least one: MTH of 2.1."""
    peaks: list[bytes] = []
    # As `Frontier` grows, which costs more to make than a tree of a few leaves.
    for above, subtree in enumerate(leaf_hashes, 1):
        while not above & 1:
            subtree = sha256(b"\x01" + peaks.pop() + subtree).digest()
            above >>= 1
        peaks.append(subtree)
    return _fold(peaks)


@dataclass(frozen=True, slots=True)
class Frontier:
    """A tree of `size` leaves, as the roots of its perfect subtrees, largest (leftmost) first.

    There is one peak for each bit set in `size`. Raises ProofError when the peaks cannot belong to the size.
    """

    size: int
    peaks: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise ProofError(f"tree size {self.size} is not between 0 and 2**63 - 1")
        if len(self.peaks) != self.size.bit_count():
            raise ProofError(f"a tree of {self.size} leaves has {self.size.bit_count()} peaks, not {len(self.peaks)}")
        _require_hashes(self.peaks, "frontier")

    @classmethod
    def empty(cls) -> Frontier:
        """The tree with no leaves."""
        return cls(0, ())

    def append(self, leaf_hashes: Sequence[bytes]) -> Frontier:
        """The tree with these leaves (as 32-byte leaf hashes) added on the right. Raises ProofError."""
        return self.append_completing(leaf_hashes, _NEVER)[0]

    def append_completing(self, leaf_hashes: Sequence[bytes], every: int) -> tuple[Frontier, list[tuple[int, bytes]]]:
        """As `append`, and also the roots (level, hash) of the perfect subtrees that the new leaves
        completed, at the levels that are positive multiples of `every`, in the order in which they were
        completed.
        """
        _require_hashes(leaf_hashes, "appended leaf")
        peaks = list(self.peaks)
        completed: list[tuple[int, bytes]] = []
        size = self.size
        for subtree in leaf_hashes:
            size += 1
            # The trailing zeros of the new size count the subtrees that this leaf completes.
            level, above = 0, size
            while not above & 1:
                subtree = sha256(b"\x01" + peaks.pop() + subtree).digest()
                level += 1
                above >>= 1
                if level % every == 0:
                    completed.append((level, subtree))
            peaks.append(subtree)
        return Frontier(size, tuple(peaks)), completed

    def root(self) -> bytes:
        """Root of the tree."""
        return _fold(self.peaks) if self.peaks else EMPTY_ROOT


def inclusion_proof(index: int, size: int, node: NodeReader) -> tuple[bytes, ...]:
    """Proof that leaf `index` is in the tree of `size` leaves: PATH(index, D[size]) of RFC 6962, 2.1.1.

    Raises ProofError when the tree has no such leaf, and whatever `node` raises.
    """
    _require_position(index, size)
    low, high = 0, size
    proof: list[bytes] = []
    while high - low > 1:
        middle = low + _split(high - low)
        if index < middle:
            proof.append(_subtree_root(middle, high, node))
            high = middle
        else:
            proof.append(_subtree_root(low, middle, node))
            low = middle
    proof.reverse()
    return tuple(proof)


def consistency_proof(old: int, new: int, node: NodeReader) -> tuple[bytes, ...]:
    """Proof that the tree of `old` leaves is a prefix of that of `new`: PROOF(old, D[new]) of RFC 6962,
    2.1.2.

    Empty for old == new and for old == 0. Raises ProofError unless 0 <= old <= new, and whatever `node`
    raises.
    """
    _require_sizes(old, new)
    if old in (0, new):
        return ()
    low, high = 0, new
    proof: list[bytes] = []
    while high != old:
        middle = low + _split(high - low)
        if old <= middle:
            proof.append(_subtree_root(middle, high, node))
            high = middle
        else:
            proof.append(_subtree_root(low, middle, node))
            low = middle
    if low > 0:
        # Only where the old tree is itself a perfect subtree does the verifier know this hash already.
        proof.append(_subtree_root(low, high, node))
    proof.reverse()
    return tuple(proof)


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check that the leaf with hash `leaf` stands at `index` in the tree of `size` leaves with this root.

    `leaf` is a leaf hash (see `leaf_hash`), not the leaf's contents. Raises ProofError when it is not proved.
    """
    _require_position(index, size)
    _require_hashes((leaf, root), "leaf or root")
    _require_hashes(proof, "inclusion proof")
    # Below level `inner` the leaf and the last leaf have different ancestors, and every level has a sibling. Above,
    # the path climbs the right edge, and has one only where it is a right child.
    inner = (index ^ (size - 1)).bit_length()
    expected = inner + (index >> inner).bit_count()
    if len(proof) != expected:
        raise ProofError(f"inclusion proof of leaf {index} in {size} has {len(proof)} hashes, not {expected}")
    computed = leaf
    for level, sibling in enumerate(proof):
        if level >= inner or index >> level & 1:
            computed = node_hash(sibling, computed)
        else:
            computed = node_hash(computed, sibling)
    if computed != root:
        raise ProofError(f"inclusion proof of leaf {index} in {size} does not lead to the root")


def verify_consistency(old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Check that the tree (old_size, old_root) is a prefix of the tree (new_size, new_root).

    Raises ProofError when that is not proved.
    """
    _require_sizes(old_size, new_size)
    _require_hashes((old_root, new_root), "root")
    _require_hashes(proof, "consistency proof")
    for size, root in ((old_size, old_root), (new_size, new_root)):
        if size == 0 and root != EMPTY_ROOT:
            raise ProofError("a tree of no leaves has another root than the empty one")
    if old_size in (0, new_size):
        if proof:
            raise ProofError(f"consistency proof from {old_size} to {new_size} must be empty, not {len(proof)} hashes")
        if old_size == new_size and old_root != new_root:
            raise ProofError(f"two different roots are given for size {old_size}")
        return
    # Start from the last perfect subtree of the old tree, and climb from there to both roots.
    start = (old_size & -old_size).bit_length() - 1
    index, last = (old_size - 1) >> start, (new_size - 1) >> start
    inner = (index ^ last).bit_length()
    # When the old tree is one perfect subtree, its root is that start, and is not repeated in the proof.
    seeded = 0 if index == 0 else 1
    expected = seeded + inner + (index >> inner).bit_count()
    if len(proof) != expected:
        raise ProofError(f"consistency proof from {old_size} to {new_size} has {len(proof)} hashes, not {expected}")
    old = new = proof[0] if seeded else old_root
    for level, sibling in enumerate(proof[seeded:]):
        if level >= inner or index >> level & 1:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
        else:
            new = node_hash(new, sibling)
    if old != old_root:
        raise ProofError(f"consistency proof from {old_size} to {new_size} does not lead to the old root")
    if new != new_root:
        raise ProofError(f"consistency proof from {old_size} to {new_size} does not lead to the new root")


def _split(count: int) -> int:
    """Largest power of two below `count`, which is at least 2."""
    return 1 << ((count - 1).bit_length() - 1)


def _subtree_root(low: int, high: int, node: NodeReader) -> bytes:
    """Root over leaves [low, high); `low` is a multiple of the largest power of two up to high - low."""
    parts: list[bytes] = []
    while low < high:
        level = (high - low).bit_length() - 1
        parts.append(node(level, low >> level))
        low += 1 << level
    return _fold(parts)


def _fold(parts: Sequence[bytes]) -> bytes:
    """Root over adjacent perfect subtrees of falling size; at least one."""
    root = parts[-1]
    for part in parts[-2::-1]:
        root = sha256(b"\x01" + part + root).digest()
    return root


def _require_hashes(hashes: Sequence[bytes], what: str) -> None:
    for position, value in enumerate(hashes):
        if len(value) != HASH_SIZE:
            raise ProofError(f"{what}: hash {position} is {len(value)} bytes, not {HASH_SIZE}")


def _require_position(index: int, size: int) -> None:
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofError(f"a tree of {size} leaves has no leaf {index}")


def _require_sizes(old: int, new: int) -> None:
    if not 0 <= old <= new <= MAX_SIZE:
        raise ProofError(f"a tree of {old} leaves cannot be a prefix of one of {new}")
