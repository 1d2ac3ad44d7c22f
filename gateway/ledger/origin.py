"""Origin lines: the name of a ledger, and the first line of its checkpoints (C2SP tlog-checkpoint).

Two shapes, and no other:

- a *release ledger*, kept by OWNER for RECIPIENT: ``signalfire/v1/<OWNER>/<RECIPIENT>/<lane>/<generation>``;
- a *home ledger*, kept by OWNER of itself: ``signalfire/v1/<OWNER>/decisions/<generation>`` and
  ``signalfire/v1/<OWNER>/witness/<generation>``.

Rules, in order:

1. A node is named by three upper-case ASCII letters (ISO 3166-1 alpha-3).
2. Owner and recipient differ.
3. A release ledger has one of the four lanes; a home ledger is "decisions" or "witness".
4. The generation is an ASCII decimal from 1 to 2**63 - 1 with no leading zero.

So an origin has exactly one spelling, holds no space and no plus (tlog-checkpoint, "Note text", line 1), and
can be compared as a string.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Final

from gateway.ledger.errors import OriginError

PREFIX: Final = "signalfire/v1"

DECISIONS: Final = "decisions"
"""Lane name of the home ledger that records every decision."""

WITNESS: Final = "witness"
"""Lane name of the home ledger that commits to the roots of all the others."""

MAX_GENERATION: Final = 2**63 - 1
"""Highest generation: the largest integer that every store and wire format of the gateway holds."""

_NODE = re.compile(r"[A-Z]{3}")
_GENERATION = re.compile(r"[1-9][0-9]{0,18}")


class Lane(StrEnum):
    """A release ledger's precedence (ACP 127)."""

    FLASH = "flash"
    IMMEDIATE = "immediate"
    PRIORITY = "priority"
    ROUTINE = "routine"


_RELEASE_LANES: Final = frozenset(lane.value for lane in Lane)
_HOME_LANES: Final = frozenset({DECISIONS, WITNESS})


@dataclass(frozen=True, slots=True)
class Origin:
    """The name of one ledger. ``str(origin)`` is its origin line, without a newline.

    `recipient` is None for a home ledger, and then `lane` is "decisions" or "witness".
    Raises OriginError when the parts name no ledger.
    """

    owner: str
    recipient: str | None
    lane: str
    generation: int
    _line: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for node in (self.owner, self.recipient):
            if node is not None and _NODE.fullmatch(node) is None:
                raise OriginError(f"origin: node {node!r} is not three upper-case letters, such as JPN")
        if self.recipient == self.owner:
            raise OriginError(f"origin: {self.owner} cannot keep a release ledger for itself")
        lanes = _HOME_LANES if self.recipient is None else _RELEASE_LANES
        if self.lane not in lanes:
            raise OriginError(f"origin: lane {self.lane!r} is not one of {', '.join(sorted(lanes))}")
        if not 1 <= self.generation <= MAX_GENERATION:
            raise OriginError(f"origin: generation {self.generation} is not between 1 and 2**63 - 1")
        nodes = self.owner if self.recipient is None else f"{self.owner}/{self.recipient}"
        object.__setattr__(self, "_line", f"{PREFIX}/{nodes}/{self.lane}/{self.generation}")

    @classmethod
    def release(cls, owner: str, recipient: str, lane: str, generation: int) -> Origin:
        """The ledger of what `owner` releases to `recipient` in one lane."""
        # A Lane formats as its value, but is stored as plain text so that equal origins also print alike.
        return cls(owner, recipient, str(lane), generation)

    @classmethod
    def decisions(cls, owner: str, generation: int) -> Origin:
        """The ledger of every decision of `owner`."""
        return cls(owner, None, DECISIONS, generation)

    @classmethod
    def witness(cls, owner: str, generation: int) -> Origin:
        """The ledger that commits to the roots of all of `owner`'s ledgers."""
        return cls(owner, None, WITNESS, generation)

    @classmethod
    def parse(cls, line: str) -> Origin:
        """The origin that `line` names: the whole line, with no newline. Raises OriginError."""
        return _parse(line)

    def successor(self) -> Origin:
        """The next generation of this ledger. Raises OriginError after the last."""
        return replace(self, generation=self.generation + 1)

    def predecessor(self) -> Origin:
        """The generation before. Raises OriginError of the first."""
        return replace(self, generation=self.generation - 1)

    def __str__(self) -> str:
        return self._line


# Bounded, since a partner chooses the origins that it names.
@lru_cache(maxsize=1024)
def _parse(line: str) -> Origin:
    if not line.startswith(PREFIX + "/"):
        raise OriginError(f"origin {line!r}: does not begin with {PREFIX}/")
    match line[len(PREFIX) + 1 :].split("/"):
        case [owner, recipient, lane, generation]:
            return Origin(owner, recipient, lane, _parse_generation(line, generation))
        case [owner, lane, generation]:
            return Origin(owner, None, lane, _parse_generation(line, generation))
    raise OriginError(
        f"origin {line!r}: expected {PREFIX}/OWNER/RECIPIENT/lane/generation or {PREFIX}/OWNER/lane/generation"
    )


def _parse_generation(line: str, text: str) -> int:
    if _GENERATION.fullmatch(text) is None:
        raise OriginError(f"origin {line!r}: generation {text!r} is not a decimal number without leading zero")
    return int(text)
