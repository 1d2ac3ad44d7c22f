"""Heartbeats: signed end to end by the origin, over the heads of all lanes and what it takes from its C2 systems, so
that nobody between can fake calm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.statement import Heartbeat, Takes
from gateway.release.heads import Head
from gateway.release.ranks import Rank
from gateway.release.signatory import Partner, Signatory

_TAKES: Final[Mapping[Rank | None, Takes]] = {
    Rank.ROUTINE: Takes.ROUTINE,
    Rank.PRIORITY: Takes.PRIORITY,
    Rank.IMMEDIATE: Takes.IMMEDIATE,
    Rank.FLASH: Takes.FLASH,
    None: Takes.NOTHING,
}


class HeartbeatError(LedgerError):
    """A heartbeat was refused: an old one replayed, or one that contradicts what its origin signed before."""


class Counter:
    """Numbers for heartbeats, larger than in every run of this node before.

    The first is the time, nanoseconds since 1970, so that a store restored from an old copy changes nothing; or, where
    the clock was set back, above what the run before can have used (`last_base`, which is on record). `base` is to be
    put on record before the first heartbeat.
    """

    def __init__(self, last_base: int, now_ns: int) -> None:
        self.base = self._next = max(now_ns, last_base + (1 << 32))

    def next(self) -> int:
        """The next number."""
        self._next += 1
        return self._next


def sign_heartbeat(
    signatory: Signatory, recipient: str, now_ns: int, counter: int, takes: Rank | None, heads: Iterable[Head]
) -> bytes:
    """This node's heartbeat for `recipient`: what is taken from C2 systems (a report's rank at least; None: nothing),
    and the heads of the ledgers that it keeps for that node.

    Of each lane the last generation alone: those before it have ended, and there is room for so many heads.
    """
    last: dict[str, Head] = {}
    for head in heads:
        if head.replica or head.origin.recipient != recipient:
            continue
        if head.origin.lane not in last or last[head.origin.lane].origin.generation < head.origin.generation:
            last[head.origin.lane] = head
    checkpoints = tuple(Checkpoint(head.origin, head.edge.size, head.edge.root()) for head in last.values())
    beat = Heartbeat(signatory.node, recipient, now_ns, counter, checkpoints, _TAKES[takes])
    return beat.sign(signatory.gateway)


@dataclass(frozen=True, slots=True)
class HeardHeartbeat:
    """A verified heartbeat, and what follows from it."""

    heartbeat: Heartbeat
    behind: int
    """Entries that the origin has and this node does not have yet."""


def check_heartbeat(
    raw: bytes, partner: Partner, own: str, last_counter: int, replicas: dict[str, Head]
) -> HeardHeartbeat:
    """Verifies a heartbeat of `partner`. `replicas` are this node's replicas by origin line.

    Raises HeartbeatError or NoteError: a counter that does not grow is an old heartbeat replayed; a head of the
    replica's
    own size with another root contradicts a checkpoint that the partner signed.
    """
    heartbeat = Heartbeat.open(raw, partner.gateway, node=partner.node, recipient=own)
    if heartbeat.counter <= last_counter:
        raise HeartbeatError(
            f"heartbeat {heartbeat.counter} of {partner.node} is an old one: {last_counter} was before it"
        )
    behind = 0
    for head in heartbeat.heads:
        replica = replicas.get(str(head.origin))
        size = 0 if replica is None else replica.edge.size
        if replica is not None and size == head.size and replica.edge.root() != head.root:
            raise HeartbeatError(
                f"{head.origin}: {partner.node} states another root at size {size} than it signed before"
            )
        behind += max(0, head.size - size)
    return HeardHeartbeat(heartbeat, behind)
