"""How long it took until what a fault had touched was in use again, by what struck and arrived when. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.schedule import LINKS, Fault, Kind

STARTS_S: Final = 5.0
"""Seconds for which a gateway that came back may still be catching up."""


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault as it happened: when it began and ended, by the clock of the books, seconds."""

    fault: Fault
    began: float
    ended: float
    met: bool = True
    """Whether it came about."""

    def touches(self, origin: str, recipient: str) -> bool:
        """Whether what goes from one node to another suffers from it."""
        match self.fault.kind:
            case kind if kind in LINKS:
                return {origin, recipient} == {self.fault.node, self.fault.partner}
            case Kind.PUSHER_CRASH:
                return self.fault.node == origin
            case Kind.READER_CRASH:
                return self.fault.node == recipient
            case _:
                return self.fault.node in (origin, recipient)


@dataclass(slots=True)
class Arrivals:
    """What arrived when, between each two nodes, and what struck. Times are of one clock that never goes back."""

    nodes: Sequence[str]
    arrivals: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """(originator, node): when something arrived."""
    journeys: dict[tuple[str, str], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """(originator, node): when a sensor saw something, and when it arrived; of predictions, which wait, none."""
    struck: list[Struck] = field(default_factory=list)

    def recoveries(self, struck: Struck) -> dict[tuple[str, str], float | None]:
        """For each pair of nodes that a fault touched: seconds from its end to the next arrival; None: not yet.

        Pairs that another fault touched meanwhile are left out: what they waited for is not told apart.
        """
        found: dict[tuple[str, str], float | None] = {}
        for origin in self.nodes:
            for node in self.nodes:
                if origin == node or not struck.touches(origin, node):
                    continue
                after = next((at for at in self.arrivals[origin, node] if at >= struck.ended), None)
                if not self._disturbed(struck, origin, node, float("inf") if after is None else after):
                    found[origin, node] = None if after is None else after - struck.ended
        return found

    def _disturbed(self, struck: Struck, origin: str, node: str, until: float) -> bool:
        """Whether a pair suffered from something else between the end of a fault and `until`."""
        for other in self.struck:
            if other is struck or not other.touches(origin, node) or other.began > until:
                continue
            if other.ended >= struck.ended:
                return True
            if not any(other.ended <= at <= struck.ended for at in self.arrivals[origin, node]):
                # It ended before, and had not been recovered from.
                return True
        return False

    def failovers(self, struck: Struck) -> list[float]:
        """Of a link that was down: for each direction the seconds from when it went down to the first arrival of what
        was seen after that, where it came before the link was back. Directions that something else disturbed are left
        out.
        """
        found = []
        for origin, node in ((struck.fault.node, struck.fault.partner), (struck.fault.partner, struck.fault.node)):
            ends = {origin, node}
            # Who carries may be any other: his gateway may be gone, or his link with one of the two.
            others = (
                other
                for other in self.struck
                if other is not struck
                and (other.fault.kind not in LINKS or ends & {other.fault.node, other.fault.partner})
            )
            if any(other.began <= struck.ended and other.ended >= struck.began - STARTS_S for other in others):
                continue
            later = [arrived for seen, arrived in self.journeys[origin, node] if seen >= struck.began]
            if later and min(later) < struck.ended:
                found.append(min(later) - struck.began)
        return found

    def undisturbed(self) -> list[tuple[str, str]]:
        """Pairs of nodes that no fault touched."""
        pairs = [(origin, node) for origin in self.nodes for node in self.nodes if origin != node]
        return [pair for pair in pairs if not any(struck.touches(*pair) for struck in self.struck)]

    @property
    def all_recovered(self) -> bool:
        """Whether something has arrived between all nodes since the last fault ended."""
        end = max((each.ended for each in self.struck), default=0.0)
        pairs = [(origin, node) for origin in self.nodes for node in self.nodes if origin != node]
        return all(self.arrivals[pair] and self.arrivals[pair][-1] >= end for pair in pairs)
