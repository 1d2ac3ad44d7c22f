"""Rules, ready to be asked: what ``compile`` makes of a partner's file, and what a decision goes by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from policy import cel
from policy.obligations import NONE, Obligations
from policy.vocabulary import Classification, Effect, Kind, Posture, TrafficClass

NO_HOLD: Final = timedelta()


@dataclass(frozen=True, slots=True)
class Term:
    """An agreement as a rule cites it: in force where ``starts <= now < ends``."""

    name: str
    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be asked. A release rule has a ceiling and, for every kind that it names, the fields that go.

    ``originators`` are the nodes whose reports it is about; None, which only a withhold rule may have: every node's.
    ``hold`` is zero where nothing is held.
    """

    name: str
    effect: Effect
    reason: str
    kinds: tuple[Kind, ...]
    traffic_classes: tuple[TrafficClass, ...]
    posture: frozenset[Posture]
    originators: frozenset[str] | None
    condition: cel.Condition | None
    ceiling: Classification | None = None
    term: Term | None = None
    fields: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    hold: timedelta = NO_HOLD
    obligations: Obligations = NONE

    def is_about(self, originator: str) -> bool:
        """Whether it is about this node's reports."""
        return self.originators is None or originator in self.originators


@dataclass(frozen=True, slots=True)
class PartnerPolicy:
    """The rules for one partner, in the order of the file."""

    partner: str
    rules: tuple[CompiledRule, ...]
    language: cel.Language
