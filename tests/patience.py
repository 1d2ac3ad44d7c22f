"""How long tests wait for what must come."""

from __future__ import annotations

from typing import Final

PATIENCE_S: Final = 60.0
"""Seconds after which what was waited for is held never to come.

Nearly every wait is over at once. A machine that others use as well may stand still for many seconds, and a test that
fails for that says nothing of the gateway. How fast something is to be is said by its own test, by its own bound.
"""
