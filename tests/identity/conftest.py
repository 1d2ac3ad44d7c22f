"""The world that the tests of this room take place in."""

from __future__ import annotations

# gRPC reads its settings when it is first imported, so this import must come before any of grpc.
from gateway.identity import tls13  # noqa: F401

# isort: split
from datetime import UTC, datetime, timedelta

import pytest

from gateway.identity.authority import Authority, Validity
from gateway.identity.spiffe import Role
from tests.identity.world import World


@pytest.fixture(scope="session")
def world() -> World:
    now = datetime.now(UTC).replace(microsecond=0)
    validity = Validity(now - timedelta(days=30), now + timedelta(days=30))
    return World(
        now,
        {(node.lower(), role): Authority.create(node, role, validity) for node in ("JPN", "KOR") for role in Role},
    )
