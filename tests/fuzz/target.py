"""What is fuzzed: a parser of bytes from outside, with what it may raise and a few things that it takes.

A parser may refuse, in its own words, or take; anything else it raises is a finding. What it takes it has to take back:
where one value has one spelling, the target asks that what was read is written as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Parse: TypeAlias = Callable[[bytes], object]


@dataclass(frozen=True, slots=True)
class Target:
    """One parser."""

    name: str
    parse: Parse
    refuses: tuple[type[Exception], ...]
    """What it may raise: its own refusals."""
    seeds: Callable[[], Sequence[bytes]]
    """What it takes, or nearly takes: where the search begins."""

    def takes(self, data: bytes) -> bool:
        """Whether `data` is taken. Raises what is a finding."""
        try:
            self.parse(data)
        except self.refuses:
            return False
        return True
