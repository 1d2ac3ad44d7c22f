"""The officers' orders by which each nation carries between the others, signed and brought as officers do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from gateway.demo.deployment import OFFICERS, Deployed
from gateway.demo.errors import DemoError
from gateway.demo.officers import bring
from policy.approve import CarryFor, Route
from policy.approve.order import Action


async def order_routes(place: Deployed, nodes: Sequence[str]) -> None:
    """This nation may be reached by every other one, and carries for every two of them. Raises DemoError."""
    others = sorted(set(nodes) - {place.node})
    routes: list[Action] = [Route(partner, tuple(other for other in others if other != partner)) for partner in others]
    carried: list[Action] = [CarryFor(one, other) for one, other in combinations(others, 2)]
    for action in (*routes, *carried):
        refusals = await bring(place, action, OFFICERS[:2])
        if refusals:
            raise DemoError(f"An order of {place.node} was refused", where=str(action), mend=str(refusals[0]))
