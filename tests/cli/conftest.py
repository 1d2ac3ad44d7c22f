"""Two nations with real gateway processes, for the commands to talk to."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.demo.deployment import PUSHER, READER, Deployed, Gateway, deploy
from tests.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
POLICIES = ROOT / "policy" / "examples" / "trilateral"


@dataclass(frozen=True, slots=True)
class World:
    """The deployments and gateways, by node."""

    places: Mapping[str, Deployed]
    gateways: Mapping[str, Gateway]

    def options(self, node: str, client: str) -> list[str]:
        """The options with which a command finds the gateway of `node` as one of its C2 systems."""
        place = self.places[node]
        directory = place.directory / "officer" if client == "officer" else place.directory / "c2" / client
        return ["--credentials", str(directory), "--gateway", place.national]

    def pusher(self) -> list[str]:
        """Of Japan's pushing system."""
        return self.options("JPN", PUSHER)

    def reader(self) -> list[str]:
        """Of the reading system of the United States."""
        return self.options("USA", READER)


def make(directory: Path) -> World:
    nodes = {node: POLICIES / node.lower() for node in ("JPN", "USA")}
    places = deploy(directory, nodes, now=datetime.now(UTC), max_age_s=3600)
    return World(places, {node: Gateway(place) for node, place in places.items()})


@pytest.fixture(scope="package")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """Two nations whose gateways run."""
    made = make(tmp_path_factory.mktemp("two"))
    try:
        for gateway in made.gateways.values():
            gateway.start()
        for gateway in made.gateways.values():
            asyncio.run(gateway.ready(PATIENCE_S))
        yield made
    finally:
        for gateway in made.gateways.values():
            gateway.stop()


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[World]:
    """Two nations whose gateways do not run; those that a test starts are ended."""
    made = make(tmp_path / "two")
    yield made
    for gateway in made.gateways.values():
        gateway.stop()
