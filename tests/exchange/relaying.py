"""Three nations of which one carries between the other two, by orders of the officers of all three."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from gateway.demo.deployment import Deployed
from gateway.exchange.limits import ExchangeLimits
from policy.approve import CarryFor, Route
from tests.node.nations import World, settle
from tests.node.waiting import until
from tests.officer.enact.bringing import bring

CARRIER: Final = "USA"
ENDS: Final = ("JPN", "KOR")
VIA: Final = f"via {CARRIER}"


def three(directory: Path, limits: Mapping[str, Mapping[str, object]] | None = None) -> dict[str, Deployed]:
    """Their deployment. What opens streams through a tunnel has the time that it has by default."""
    sections = {name: dict(section) for name, section in (limits or {}).items()}
    sections["exchange"] = {"handshake_s": ExchangeLimits().handshake_s, **sections.get("exchange", {})}
    return settle(directory, *ENDS, CARRIER, limits=sections)


async def allow(world: World) -> None:
    """Puts the orders in force by which USA carries between JPN and KOR."""
    for one, other in (ENDS, ENDS[::-1]):
        assert await bring(world.places[one], Route(other, (CARRIER,)), "alice", "bob") == set()
    assert await bring(world.places[CARRIER], CarryFor(*ENDS), "alice", "bob") == set()


def lanes_by(world: World, follower: str, origin: str) -> int:
    """Lanes of `origin`, the witness ledger among them, that `follower` follows through a tunnel."""
    return sum(count > 0 for count in world.nodes[origin].parts.partners.links[follower].carried.values())


def heard_by(world: World, name: str, partner: str) -> list[str]:
    """By which ways `name` hears `partner`."""
    return list(world.status(name, partner).ways)


async def relayed(world: World) -> None:
    """Returns when both ends follow each other through tunnels, in all lanes, and hear each other by them."""
    for one, other in (ENDS, ENDS[::-1]):
        await until(lambda one=one, other=other: lanes_by(world, one, other) == 5, f"{one} follows {other} {VIA}")  # type: ignore[misc]
        await until(lambda one=one, other=other: VIA in heard_by(world, one, other), f"{one} hears {other} {VIA}")  # type: ignore[misc]
