"""Acts that are staged in a replay to show what officers and lapsing agreements bring about: their declarations. Pure.

They are no history. What each does is told in `docs/scenarios.md`; `gateway.demo.stage` performs them. Rules, in order:

1. An act begins, and ends where it has an end, within the replay, and ends after it began.
2. It is about two nations of the scenario: the one whose officers or exercise control act, and a partner of it.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, model_validator

from gateway.demo.nations import NodeName

Part = Annotated[float, Field(ge=0, le=1)]
"""A part of the replay: 0 is its beginning, 1 the moment of the last report."""


class _Act(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    at: Part
    node: NodeName
    partner: NodeName

    @model_validator(mode="after")
    def _has_two_nations(self) -> Self:
        if self.node == self.partner:
            raise ValueError("node and partner must be two nations")
        return self


class _Lasting(_Act):
    until: Part

    @model_validator(mode="after")
    def _is_in_order(self) -> Self:
        if self.until <= self.at:
            raise ValueError("until must come after at")
        return self


class PostureChange(_Act):
    """Two officers of `node` declare another posture: what was withheld from `partner` before it is released after."""

    act: Literal["posture"]
    posture: Literal["ROUTINE", "HEIGHTENED", "IMMINENT"]


class Suspension(_Lasting):
    """One officer of `node` suspends `partner`, and two resume it: meanwhile it gets nothing and is told of nothing."""

    act: Literal["suspension"]
    reason: Annotated[str, Field(min_length=1, max_length=200)]


class Annex(_Lasting):
    """Two officers of `node` activate its policy with an agreement of its own with `partner`, which lapses."""

    act: Literal["annex"]


class Overtaking(_Act):
    """A withdrawal by `node` overtakes its report, the last of a `backlog`, on the way to `partner`, which is away."""

    act: Literal["overtaking"]
    backlog: Annotated[int, Field(ge=1, le=500)]


class KeyChange(_Act):
    """`node` changes every key of its gateway while it runs. They go into use when `partner`, and all others, know."""

    act: Literal["keys"]


Act: TypeAlias = Annotated[PostureChange | Suspension | Annex | Overtaking | KeyChange, Field(discriminator="act")]


def unknown_nations(acts: Collection[Act], nodes: Collection[str]) -> list[str]:
    """The nations that the acts name and the scenario does not have."""
    return sorted({node for act in acts for node in (act.node, act.partner)} - set(nodes))
