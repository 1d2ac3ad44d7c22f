"""A set of indices that mostly follow one another, kept as runs."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Set


class Indices(Set[int]):
    """Indices that were added in ascending order."""

    __slots__ = ("_ends", "_firsts", "_size")

    def __init__(self) -> None:
        self._firsts, self._ends = array("q"), array("q")
        self._size = 0

    def add(self, index: int) -> None:
        """Adds an index, which is above all that are there."""
        if self._ends and self._ends[-1] == index:
            self._ends[-1] += 1
        else:
            self._firsts.append(index)
            self._ends.append(index + 1)
        self._size += 1

    @property
    def last(self) -> int:
        """The highest. Raises IndexError where there is none."""
        return self._ends[-1] - 1

    def __contains__(self, index: object) -> bool:
        if not isinstance(index, int):
            return False
        run = bisect_right(self._firsts, index) - 1
        return run >= 0 and index < self._ends[run]

    def __iter__(self) -> Iterator[int]:
        for first, end in zip(self._firsts, self._ends, strict=True):
            yield from range(first, end)

    def __len__(self) -> int:
        return self._size

    def __repr__(self) -> str:
        return f"Indices({', '.join(f'{a}..{b - 1}' for a, b in zip(self._firsts, self._ends, strict=True))})"
