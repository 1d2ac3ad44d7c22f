"""RFC 6962 section 2.1, word for word: the recursive definitions over lists of leaf data. Slow, obviously right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256


def leaves(count: int) -> list[bytes]:
    """Data of the first `count` leaves of the test trees."""
    return [b"entry %d" % index for index in range(count)]


def mth(data: Sequence[bytes]) -> bytes:
    """MTH(D[n]): root of the tree over these leaves."""
    if not data:
        return sha256(b"").digest()
    if len(data) == 1:
        return sha256(b"\x00" + data[0]).digest()
    k = split(len(data))
    return sha256(b"\x01" + mth(data[:k]) + mth(data[k:])).digest()


def path(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]): inclusion proof of leaf m."""
    if len(data) == 1:
        return []
    k = split(len(data))
    if m < k:
        return [*path(m, data[:k]), mth(data[k:])]
    return [*path(m - k, data[k:]), mth(data[:k])]


def proof(m: int, data: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]): consistency proof from the first m leaves, 0 < m <= n."""
    return subproof(m, data, True)


def subproof(m: int, data: Sequence[bytes], known: bool) -> list[bytes]:
    """SUBPROOF(m, D[n], b)."""
    if m == len(data):
        return [] if known else [mth(data)]
    k = split(len(data))
    if m <= k:
        return [*subproof(m, data[:k], known), mth(data[k:])]
    return [*subproof(m - k, data[k:], False), mth(data[:k])]


def split(n: int) -> int:
    """Largest power of two smaller than n."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def node_of(data: Sequence[bytes]) -> Callable[[int, int], bytes]:
    """The perfect subtrees of a tree, computed from its leaves."""

    def node(level: int, index: int) -> bytes:
        subtree = data[index << level : (index + 1) << level]
        assert len(subtree) == 1 << level, "asked for a subtree that is not perfect"
        return mth(subtree)

    return node
