"""A decision as a value: what it depends on, what becomes of the report, and what each rule said.

How one is come to stands in ``decide``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

from policy.obligations import NONE, Obligations
from policy.rules import CompiledRule
from policy.vocabulary import Classification, Effect


class Outcome(StrEnum):
    """What becomes of a report for a partner."""

    RELEASED = "released"
    WITHHELD = "withheld"
    HELD = "held"
    """To be decided again at a later time."""


class BuiltIn(StrEnum):
    """Reasons that no rule gave. They stand where a rule's name would, in parentheses, which no rule's name has."""

    SUSPENDED = "(partner suspended)"
    NO_POLICY = "(partner has no policy)"
    NOT_RELEASABLE = "(not releasable by its marking)"
    NOT_ONWARD = "(onward release not allowed by its originator)"
    ORIGINATED_THERE = "(originated there)"
    POLICY_ERROR = "(policy error)"
    NO_EQUIVALENT = "(no equivalent classification)"
    AGREEMENT_LAPSED = "(agreement lapsed)"
    ABOVE_CEILING = "(above the ceiling)"
    NO_RULE = "(no rule releases it)"
    REFERS_TO_NOTHING = "(refers to nothing the partner has)"
    RECALLED = "(recalled while it was held)"


class Finding(StrEnum):
    """What one rule says of one report, taken by itself."""

    RELEASES = "releases"
    WITHHOLDS = "withholds"
    CONDITION_FALSE = "its condition does not hold"
    OTHER_POSTURE = "asks for another posture"
    AGREEMENT_LAPSED = "its agreement is not in force"
    NO_EQUIVALENT = "the report's classification has no equivalent"
    ABOVE_CEILING = "the report is above its ceiling"
    ERROR = "its condition could not be evaluated"


# What every decision asks for: in Python 3.11 an enum's member is read several times as slowly as a name of the module.
RELEASED: Final = Outcome.RELEASED
RELEASES: Final = Finding.RELEASES
WITHHOLDS: Final = Finding.WITHHOLDS
_RELEASE: Final = Effect.RELEASE


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on beside the report and the policy.

    ``now`` and ``accepted`` (when this node took the report; None: now) carry their time zone. ``posture`` is the one
    in force, ``suspended`` the partners who get nothing. ``clock_trusted`` says whether the node's clock is
    synchronised. Raises ValueError where a time has no zone.
    """

    now: datetime
    posture: str
    accepted: datetime | None = None
    clock_trusted: bool = True
    suspended: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.now.tzinfo is None:
            raise ValueError(_NO_ZONE.format("now"))
        if self.accepted is not None and self.accepted.tzinfo is None:
            raise ValueError(_NO_ZONE.format("accepted"))


_NO_ZONE: Final = "{} has no time zone: pass an aware datetime, e.g. datetime.now(UTC)"


@dataclass(frozen=True, slots=True)
class Trace:
    """What one applicable rule said. ``error`` says what went wrong where the finding is ERROR."""

    rule: str
    finding: Finding
    error: str = ""


class Asked(NamedTuple):
    """The rules that applied, in the order of the file, and what they were asked: from it follows what each said.

    ``holds`` says by place whether a rule's condition holds, ``errors`` which could not be evaluated. ``level`` is the
    report's classification in the node's own levels.
    """

    rules: tuple[CompiledRule, ...]
    holds: Sequence[bool]
    errors: Mapping[int, str]
    level: Classification | None
    circumstances: Circumstances

    def finding(self, place: int) -> Finding:
        """What the rule at a place said."""
        if place in self.errors:
            return Finding.ERROR
        if not self.holds[place]:
            return Finding.CONDITION_FALSE
        return standing(self.rules[place], self.level, self.circumstances)


def standing(rule: CompiledRule, level: Classification | None, circumstances: Circumstances) -> Finding:
    """What a rule says whose condition holds: steps 6 to 8 of ``decide``."""
    if circumstances.posture not in rule.posture:
        return Finding.OTHER_POSTURE
    if rule.effect is not _RELEASE or rule.ceiling is None:
        return WITHHOLDS
    if rule.term is not None and not (
        circumstances.clock_trusted and rule.term.starts <= circumstances.now < rule.term.ends
    ):
        return Finding.AGREEMENT_LAPSED
    if level is None:
        return Finding.NO_EQUIVALENT
    if level > rule.ceiling:
        return Finding.ABOVE_CEILING
    return RELEASES


# Not frozen, which would make each several times as slow to create; nobody changes one.
@dataclass(slots=True)
class Decision:
    """What becomes of one report for one partner, and why.

    ``rule`` is the rule that decided, or a ``BuiltIn`` reason. ``reason`` is what the officer wrote in that rule,
    and ``agreement`` the agreement that it cites (or that has lapsed). ``fields`` are the leaf paths that may go, in
    the order of the schema, the always released among them, and ``obligations`` what is done to them; both empty
    unless released. ``hold_until`` is when a held report is decided again. ``error`` says what went wrong under
    "(policy error)".
    """

    outcome: Outcome
    partner: str
    rule: str
    reason: str = ""
    agreement: str = ""
    fields: tuple[str, ...] = ()
    obligations: Obligations = NONE
    hold_until: datetime | None = None
    error: str = ""
    asked: Asked | None = field(default=None, repr=False)

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What each applicable rule said, in the order of the file; worked out when it is asked for."""
        asked = self.asked
        if asked is None:
            return ()
        return tuple(
            Trace(rule.name, asked.finding(place), asked.errors.get(place, ""))
            for place, rule in enumerate(asked.rules)
        )


def withheld(
    partner: str,
    rule: str,
    *,
    reason: str = "",
    agreement: str = "",
    error: str = "",
    asked: Asked | None = None,
) -> Decision:
    """A decision to withhold. ``rule`` is the rule that decided, or a built-in reason."""
    return Decision(Outcome.WITHHELD, partner, str(rule), reason, agreement, error=error, asked=asked)
