"""In which order steps become durable. Pure.

A report has the rank of its precedence (ACP 127), and what comes from a partner that of its lane: so an alert overtakes
every track on its way in, on its way out, and at the partner. What recalls reports has the highest rank that a report
has, as its withdrawals go on the FLASH lane: a false alarm that is over must not wait behind tracks either. What the
node itself has to put on record overtakes all of them; there is little of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from typing import Final

from gateway.ledger.origin import Lane, Origin
from gateway.reports.kinds import Kind


class Rank(IntEnum):
    """Whose turn it is: the higher first."""

    SPARE = 0
    """What can wait for a quiet moment: pruning, making an index."""
    ROUTINE = 1
    PRIORITY = 2
    IMMEDIATE = 3
    FLASH = 4
    OWN = 5
    """What the node must put on record: orders, evidence, successions, keys, events."""


_OF_LANE: Final[Mapping[str, Rank]] = {
    Lane.FLASH: Rank.FLASH,
    Lane.IMMEDIATE: Rank.IMMEDIATE,
    Lane.PRIORITY: Rank.PRIORITY,
    Lane.ROUTINE: Rank.ROUTINE,
}


_OF_PRECEDENCE: Final[Mapping[int, Rank]] = {
    int(rank): rank for rank in (Rank.ROUTINE, Rank.PRIORITY, Rank.IMMEDIATE, Rank.FLASH)
}


def rank_of_lane(origin: Origin) -> Rank:
    """The rank of a partner's batch of that ledger. A home ledger's is PRIORITY: it is small,
    and proves what the others hold.
    """
    return _OF_LANE.get(origin.lane, Rank.PRIORITY)


def rank_of_report(precedence: int, kind: Kind | None) -> Rank:
    """The rank of a report of a C2 system. One whose precedence is none is refused in its turn."""
    if kind is not None and kind.withdraws:
        return Rank.FLASH
    return _OF_PRECEDENCE.get(precedence, Rank.ROUTINE)
