"""What goes wrong in a run, when and to whom: drawn from a seed. Pure.

Rules, in order: a fault begins and ends within the run; each kind comes before one comes again; what strikes the same
gateway, the same link, or the same C2 system never overlaps, with `GAP_S` between. Faults of different things do: a
gateway may start while its links are cut.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Final

GAP_S: Final = 2.0
"""Seconds between two faults of one thing: it is up again, and has had a moment to be so."""


class Kind(StrEnum):
    """What can go wrong. The value is what a reader of a table sees."""

    KILL = "kill -9"
    FREEZE = "process frozen"
    RESTART = "orderly restart"
    CUT = "link cut"
    HOLE = "link a black hole"
    SILENT = "link half-open"
    SLOW = "link slow"
    FLAP = "link flaps"
    CORRUPT = "link corrupts bytes"
    PUSHER_CRASH = "pushing C2 system crashes"
    READER_CRASH = "receiving C2 system crashes"
    KILL_AT_IO = "killed at an I/O operation"
    POWER_LOSS = "loss of power"
    IO_ERROR = "I/O error"
    DISK_FULL = "disk full"
    READ_ONLY = "read-only file system"
    CLOCK_JUMP = "clock jumps"
    OLD_BACKUP = "old backup restored"
    LOST_STORE = "store lost"


LINKS: Final = frozenset({Kind.CUT, Kind.HOLE, Kind.SILENT, Kind.SLOW, Kind.FLAP, Kind.CORRUPT})
"""What strikes the link of two nodes."""

SYSTEMS: Final = frozenset({Kind.PUSHER_CRASH, Kind.READER_CRASH})
"""What strikes a C2 system of a nation."""

MACHINES: Final = frozenset(Kind) - LINKS - SYSTEMS
"""What strikes a gateway, its process, its disk or its clock."""

DISKS: Final = frozenset({
    Kind.KILL_AT_IO,
    Kind.POWER_LOSS,
    Kind.IO_ERROR,
    Kind.DISK_FULL,
    Kind.READ_ONLY,
    Kind.CLOCK_JUMP,
})  # fmt: skip
"""What needs a gateway whose disk and clock can be told to fail."""

STORES: Final = frozenset({Kind.OLD_BACKUP, Kind.LOST_STORE})
"""What makes a gateway forget: it comes once a run at most to a node, and to one node alone."""

_LASTS_S: Final = {
    Kind.KILL: (0.0, 3.0),
    Kind.FREEZE: (1.0, 6.0),
    Kind.RESTART: (0.0, 2.0),
    Kind.CUT: (0.5, 6.0),
    Kind.HOLE: (1.0, 7.0),
    Kind.SILENT: (1.0, 7.0),
    Kind.SLOW: (3.0, 7.0),
    Kind.FLAP: (3.0, 8.0),
    Kind.CORRUPT: (2.0, 6.0),
    Kind.PUSHER_CRASH: (0.0, 2.0),
    Kind.READER_CRASH: (0.0, 2.0),
    Kind.KILL_AT_IO: (4.0, 6.0),
    Kind.POWER_LOSS: (4.0, 6.0),
    Kind.IO_ERROR: (3.0, 6.0),
    Kind.DISK_FULL: (2.0, 6.0),
    Kind.READ_ONLY: (2.0, 6.0),
    Kind.CLOCK_JUMP: (2.0, 5.0),
    Kind.OLD_BACKUP: (4.0, 7.0),
    Kind.LOST_STORE: (0.5, 2.0),
}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """Something that goes wrong at `node`, or on its link with `partner`, for a while; times in seconds of the run.

    `chance` is a number of its own, from which whatever else is chosen about it follows.
    """

    begins_s: float
    lasts_s: float
    kind: Kind
    node: str
    partner: str = ""
    chance: int = 0

    @property
    def ends_s(self) -> float:
        """When it is over."""
        return self.begins_s + self.lasts_s

    @property
    def told(self) -> bool:
        """Of a store that is lost or set back: whether somebody tells the gateway when it starts."""
        return self.chance % 2 == 0

    @property
    def struck(self) -> str:
        """The thing that it strikes: of two faults with the same no part of the time is shared."""
        if self.kind in LINKS:
            return f"link {self.node}-{self.partner}"
        return f"{self.kind.value} of {self.node}" if self.kind in SYSTEMS else f"gateway of {self.node}"

    def __str__(self) -> str:
        subject = f"{self.node}-{self.partner}" if self.partner else self.node
        return f"{self.kind.value}: {subject}, from {self.begins_s:.1f} s for {self.lasts_s:.1f} s"


def schedule(
    seed: int, nodes: Sequence[str], kinds: Sequence[Kind], *, count: int, duration_s: float, longest_s: float = 8.0
) -> list[Fault]:
    """`count` faults of these kinds in a run of `duration_s`, or as many as find room; none lasts over `longest_s`."""
    chance = random.Random(seed)
    found: list[Fault] = []
    pool = chance.sample(list(kinds), len(kinds))
    order = [pool[at % len(pool)] for at in range(count)]
    # What strikes once is placed first, while there is room.
    for kind in sorted(order, key=lambda each: each not in STORES):
        if kind in STORES and any(other.kind in STORES for other in found):
            continue
        for _ in range(50):
            fault = _draw(chance, kind, nodes, duration_s, longest_s)
            if not any(_collide(fault, other) for other in found):
                found.append(fault)
                break
    return sorted(found)


def _draw(chance: random.Random, kind: Kind, nodes: Sequence[str], duration_s: float, longest_s: float) -> Fault:
    shortest, longest = _LASTS_S[kind]
    lasts_s = round(chance.uniform(min(shortest, longest_s), min(longest, longest_s)), 2)
    begins_s = round(chance.uniform(0.2, max(0.2, duration_s - lasts_s)), 2)
    if kind in LINKS:
        node, partner = chance.choice(list(combinations(sorted(nodes), 2)))
    else:
        node, partner = chance.choice(sorted(nodes)), ""
    return Fault(begins_s, lasts_s, kind, node, partner, chance.getrandbits(32))


def _collide(one: Fault, other: Fault) -> bool:
    apart = one.ends_s + GAP_S <= other.begins_s or other.ends_s + GAP_S <= one.begins_s
    return one.struck == other.struck and not apart
