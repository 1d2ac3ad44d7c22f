"""A deployment whose officers have put a first policy in force, and the node that runs on it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.demo.deployment import Deployed
from tests.node.nations import World, running, settle


@pytest.fixture(scope="module")
def settled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Deployed]:
    """The deployments, which no test changes."""
    return settle(tmp_path_factory.mktemp("officers"), "JPN", "KOR")


@pytest.fixture
def jpn(settled: dict[str, Deployed], tmp_path: Path) -> Deployed:
    """A copy of Japan's deployment, which a test may change."""
    place = settled["JPN"]
    copied = Deployed(place.node, tmp_path / "jpn", place.national, place.exchange)
    shutil.copytree(place.directory, copied.directory, ignore=shutil.ignore_patterns("store.db*"))
    return copied


@pytest_asyncio.fixture
async def world(jpn: Deployed) -> AsyncIterator[World]:
    """Japan's node alone, running."""
    async with running({"JPN": jpn}, linked=False) as made:
        yield made
