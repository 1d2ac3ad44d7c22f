"""The decisions ledger as its witness ledger is held against it: when the node ran, and what its decisions name.

Only numbers are kept, in memory: 16 bytes for each entry of the decisions ledger, and 24 for each release.

A node *ran on* for as long as its decisions ledger shows it: from each entry to the next one, but no
more than STEP_NS of that, whatever the clock did in between. A run begins with the event `started`, which counts like
every entry: a node that writes down a start before each decision runs on all the same. A start that follows on a start
counts for nothing: that one did nothing. So a node that was stopped, that crashed, that slept, or whose clock jumped,
has not run on by more than STEP_NS.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import Final

from gateway.ledger.origin import Origin

STEP_NS: Final = 60_000_000_000
"""What of the time between two entries counts at most."""

Line = tuple[str | None, str]
"""Recipient and lane: what all generations of a ledger have in common."""


@dataclass(slots=True)
class _Named:
    """The last entry of one line that decisions name, each time that it grows."""

    at: array[int] = field(default_factory=lambda: array("q"))
    """Number of the decision's entry."""
    generation: array[int] = field(default_factory=lambda: array("q"))
    index: array[int] = field(default_factory=lambda: array("q"))


@dataclass(slots=True)
class Timeline:
    """The entries of all generations of the own decisions ledger, in their order; numbered from 0 over all of them."""

    _indices: dict[int, array[int]] = field(default_factory=dict)
    """Of each generation the indices of its entries."""
    _before: dict[int, int] = field(default_factory=dict)
    """How many entries the generations before it have."""
    _ran: array[int] = field(default_factory=lambda: array("q"))
    """For each entry how long the node has run on up to it, nanoseconds."""
    _starts: array[int] = field(default_factory=lambda: array("q"))
    """Numbers of the entries with which runs begin."""
    _busy: array[int] = field(default_factory=lambda: array("q"))
    """Those of them of runs in which something was decided."""
    _named: dict[Line, _Named] = field(default_factory=dict)
    _newest_ns: int = 0

    def __len__(self) -> int:
        return len(self._ran)

    @property
    def newest_ns(self) -> int:
        """When the last entry was made, nanoseconds since 1970; 0 where there is none."""
        return self._newest_ns

    def note(self, origin: Origin, index: int, time_ns: int, *, started: bool = False, decided: bool = False) -> None:
        """Takes note of the entry at `index`, made at `time_ns`; `started`: a run begins with it; `decided`: it holds
        decisions on a report.
        """
        if origin.generation not in self._indices:
            self._before[origin.generation] = len(self)
            self._indices[origin.generation] = array("q")
        self._indices[origin.generation].append(index)
        ran = self._ran[-1] if self._ran else 0
        again = started and bool(self._starts) and self._starts[-1] == len(self) - 1
        if self._ran and not again:
            ran += min(max(time_ns - self._newest_ns, 0), STEP_NS)
        if started:
            self._starts.append(len(self))
        if decided and self._starts and (not self._busy or self._busy[-1] != self._starts[-1]):
            self._busy.append(self._starts[-1])
        self._newest_ns = time_ns
        self._ran.append(ran)

    def note_release(self, ledger: Origin, index: int) -> None:
        """The entry that was noted last names that entry of a ledger for a partner."""
        named = self._named.setdefault((ledger.recipient, ledger.lane), _Named())
        if named.at and (ledger.generation, index) <= (named.generation[-1], named.index[-1]):
            return
        named.at.append(len(self) - 1)
        named.generation.append(ledger.generation)
        named.index.append(index)

    def entries(self, origin: Origin, size: int) -> int:
        """How many entries there are up to that size of that generation."""
        indices = self._indices.get(origin.generation)
        return 0 if indices is None else self._before[origin.generation] + bisect_left(indices, size)

    def ran_ns(self, first: int, end: int) -> int:
        """How long the node ran on from entry number `first` to the one before `end`."""
        return self._ran[end - 1] - self._ran[first] if first < end else 0

    def busy_runs(self, first: int, end: int) -> int:
        """How many runs in which something was decided began from entry number `first` to the one before `end`."""
        return bisect_left(self._busy, end) - bisect_left(self._busy, first)

    def run_of(self, number: int) -> int:
        """The number of the entry with which the run began in which that one was made."""
        at = bisect_left(self._starts, number + 1)
        return self._starts[at - 1] if at else 0

    def named(self, entries: int) -> dict[Line, tuple[int, int]]:
        """Of each line the last entry that one of the first `entries` decisions names, as (generation, index)."""
        found: dict[Line, tuple[int, int]] = {}
        for line, named in self._named.items():
            if at := bisect_left(named.at, entries):
                found[line] = named.generation[at - 1], named.index[at - 1]
        return found
