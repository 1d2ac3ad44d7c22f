"""What is to be made durable, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.release.plan import FeedEntry, Plan
from gateway.release.ranks import Rank

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Step(Protocol[T_co]):
    """One thing to be made durable: fills the plan, or raises and leaves it as it was."""

    @property
    def weight(self) -> int:
        """Bytes that it brings, which bound the size of a commit."""

    @property
    def rank(self) -> Rank:
        """Whose turn it is."""

    def apply(self, plan: Plan) -> T_co:
        """Fills `plan`. A LedgerError or StepRefused raised before anything was added refuses this step alone."""


Done: TypeAlias = Callable[[T | Exception], None]
"""Told once, in the event loop's thread, what a step gave, or the error that it ended with. It must not raise."""

Queued: TypeAlias = tuple[Step[Any], Done[Any]]
"""A step that waits, and who is told of it."""


@dataclass(frozen=True, slots=True)
class Durable:
    """What a commit brought, for those who wait for it."""

    checkpoints: Sequence[tuple[Origin, Note]]
    grown: frozenset[Origin]
    ended: Mapping[Origin, Origin]
    feed: Sequence[FeedEntry]
    steps: int
    seconds: float
    reopened: bool = False
    """The store was opened again: every ledger and the feed may hold more than was ever announced."""
