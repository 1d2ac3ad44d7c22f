"""Shared by all tests."""

from __future__ import annotations

import os

# First of all: gRPC must be told to speak TLS 1.3 alone before anything imports it.
import gateway  # noqa: F401
import pytest
from hypothesis import settings

# Deadlines would time the machine, not the code; the number of examples bounds the time.
settings.register_profile("signalfire", deadline=None, max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "50")))
settings.load_profile("signalfire")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--every-case`: what takes long by its number of cases is tried with all of them (`make test-tampering`)."""
    parser.addoption("--every-case", action="store_true", help="try every case of tests that have very many")
