"""What officers have put in force, as a value. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Final

from policy.approve.order import (
    Action,
    Activate,
    CarryFor,
    DeclarePosture,
    Order,
    ReplaceRoster,
    Resume,
    Route,
    SignedOrder,
    Suspend,
)
from policy.approve.roster import Roster
from policy.bundle import Bundle
from policy.vocabulary import Posture


@dataclass(frozen=True, slots=True)
class Suspension:
    """A partner to whom nothing is released, why, and the sequence of the order that says so."""

    partner: str
    reason: str
    sequence: int


@dataclass(frozen=True, slots=True)
class Declared:
    """A posture that an order declared, until a time or (None) until another is."""

    posture: Posture
    until: datetime | None
    sequence: int


_NOBODY: Final[Mapping[str, Suspension]] = MappingProxyType({})
_NO_ROUTES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class State:
    """What is in force at a node after its order number ``sequence``; 0: none, and everything is withheld.

    ``last`` is what the next order names as the one before it. ``enacted`` is when the last order was put in force that
    was no suspension: suspensions are taken by a clock that is not trusted too, and must not make it the measure of
    what comes later.
    ``activated`` is the digest of the bundle in force, and ``bundle`` that bundle; where only the digest is there, the
    bundle is one that this software cannot read, and everything is withheld.
    ``routes`` are the carriers of each partner that has some, as ordered; ``carries`` are the pairs of
    partners between whom this node carries. Both are as ordered, whoever is suspended.
    """

    roster: Roster
    sequence: int
    last: bytes
    enacted: datetime | None = None
    activated: bytes | None = None
    bundle: Bundle | None = None
    declared: Declared | None = None
    suspensions: Mapping[str, Suspension] = field(default_factory=lambda: _NOBODY)
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_ROUTES)
    carries: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def genesis(cls, roster: Roster) -> State:
        """Nothing is in force but the first roster."""
        return cls(roster, 0, roster.digest)

    @property
    def node(self) -> str:
        """The node whose state it is."""
        return self.roster.node

    @property
    def suspended(self) -> frozenset[str]:
        """The partners to whom nothing is released."""
        return frozenset(self.suspensions)

    def declared_at(self, now: datetime) -> Declared | None:
        """The declaration of posture that holds at ``now``."""
        over = self.declared is not None and self.declared.until is not None and now >= self.declared.until
        return None if over else self.declared

    def posture_at(self, now: datetime) -> Posture | None:
        """The posture at ``now``: the declared one while it holds, else the bundle's own; None without a bundle."""
        declared = self.declared_at(now)
        if declared is not None:
            return declared.posture
        return None if self.bundle is None else self.bundle.posture

    def after(self, signed: SignedOrder, order: Order, enacted: datetime, bundle: Bundle | None) -> State:
        """The state once this order is in force; ``bundle`` is the one that it activates, if it does."""
        measured = self.enacted if isinstance(order.action, Suspend) else enacted
        moved = replace(self, sequence=order.sequence, last=signed.digest, enacted=measured)
        return _acted(moved, order.action, bundle)


def _acted(state: State, action: Action, bundle: Bundle | None) -> State:
    suspensions = dict(state.suspensions)
    match action:
        case Activate(digest):
            return replace(state, activated=digest, bundle=bundle)
        case Suspend(partner, reason):
            suspensions[partner] = Suspension(partner, reason, state.sequence)
        case Resume(partner):
            suspensions.pop(partner, None)
        case DeclarePosture(posture, until):
            return replace(state, declared=Declared(posture, until, state.sequence))
        case ReplaceRoster(roster):
            return replace(state, roster=roster)
        case Route(partner, carriers):
            routes = {other: state.routes[other] for other in state.routes if other != partner}
            if carriers:
                routes[partner] = carriers
            return replace(state, routes=MappingProxyType(routes))
        case CarryFor():
            carries = state.carries - {action.pair} if action.ended else state.carries | {action.pair}
            return replace(state, carries=carries)
    return replace(state, suspensions=MappingProxyType(suspensions))
