"""Why an order is refused, and how that is told.

ReleasePolicyError
└── OrderRefused    an order is not put in force; holds every Refusal found, not the first alone
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from policy.errors import ReleasePolicyError

MAX_REFUSALS: Final = 32
"""Refusals of one order that are told: the rest is counted. An order is short, and can have thousands of faults."""

MAX_WHAT: Final = 1_000
"""Characters of one refusal: what stands against an order may be quoted from it."""


class Reason(StrEnum):
    """What stands against an order. The values are stable: they appear in answers, on record and in metrics."""

    MALFORMED = "malformed"
    """It is not one well-formed order that this software knows in all its parts."""
    WRONG_NODE = "wrong_node"
    """It is another node's."""
    WRONG_SEQUENCE = "wrong_sequence"
    """It is not the next one: replayed, rolled back, or written ahead."""
    WRONG_PREVIOUS = "wrong_previous"
    """It names another order before it than the one in force."""
    STALE = "stale"
    """Its time has passed."""
    ISSUED_AHEAD = "issued_ahead"
    """It was written in the future."""
    VALID_TOO_LONG = "valid_too_long"
    """It would stay good for longer than the node allows."""
    NOT_IN_ROSTER = "not_in_roster"
    """Somebody signed it whom the roster does not name, or with a key that it does not name."""
    BAD_SIGNATURE = "bad_signature"
    """A signature does not hold over it: the order was altered, or the signature is another's."""
    SIGNED_TWICE = "signed_twice"
    """One officer signed it more than once."""
    TOO_MANY_SIGNATURES = "too_many_signatures"
    """More signatures are on it than the roster has officers."""
    UNSIGNED = "unsigned"
    """Nobody signed it."""
    TOO_FEW_SIGNATURES = "too_few_signatures"
    """Fewer officers signed it than it takes."""
    ALTERED = "altered"
    """The files that came with it are not those that it activates."""
    DOES_NOT_COMPILE = "does_not_compile"
    """The bundle is not a policy."""
    NOT_PROVED = "not_proved"
    """An invariant of the bundle is not proved of it."""
    UNKNOWN_PARTNER = "unknown_partner"
    """It names a partner that the node does not have."""
    NO_EFFECT = "no_effect"
    """It asks for what is so already."""
    OVER_ALREADY = "over_already"
    """The posture that it declares would be over at once."""
    UNFIT_ROSTER = "unfit_roster"
    """The roster that it brings could not govern the node."""
    CLOCK_NOT_TRUSTED = "clock_not_trusted"
    """The node does not believe its own clock, so it cannot tell what is stale; suspending does not wait for that."""
    NO_ROSTER = "no_roster"
    """The node has no roster that could judge it."""


@dataclass(frozen=True, slots=True, order=True)
class Refusal:
    """One thing that stands against an order. ``what`` is wrong, and ``remedy`` says how to mend it, for an officer."""

    reason: Reason
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what} {self.remedy}".rstrip()


class OrderRefused(ReleasePolicyError):
    """An order is not put in force. ``refusals`` holds what stands against it: everything, up to MAX_REFUSALS."""

    def __init__(self, refusals: Iterable[Refusal]) -> None:
        found = [replace(each, what=_shortened(each.what)) for each in refusals]
        if (more := len(found) - MAX_REFUSALS) > 0:
            found[MAX_REFUSALS:] = [Refusal(found[MAX_REFUSALS].reason, f"And {more} more.", "Mend these first.")]
        self.refusals: tuple[Refusal, ...] = tuple(found)
        super().__init__("\n".join(map(str, self.refusals)))


def _shortened(what: str) -> str:
    return what if len(what) <= MAX_WHAT else f"{what[:MAX_WHAT]} ..."
