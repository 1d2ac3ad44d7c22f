"""What the tests of the client library share."""

from __future__ import annotations

import pytest

from tests.client.steered import Home, settle
from tests.foreign.conftest import packages  # noqa: F401  # a fixture


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return settle(tmp_path_factory.mktemp("jpn"), "JPN")
