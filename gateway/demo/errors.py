"""The errors of this room.

DemoError            what was wrong, where, and how to mend it
├── ScenarioError    a scenario file cannot be read or breaks a rule of `docs/scenarios.md`
└── FlightError      no flight has the figures asked for, or the time lies outside the flight
"""

from __future__ import annotations


class DemoError(Exception):
    """A scenario cannot be played: `what`, `where` and `mend` may be shown to the user."""

    def __init__(self, what: str, *, where: str, mend: str) -> None:
        super().__init__(f"{what} ({where}). {mend}")
        self.what = what
        self.where = where
        self.mend = mend


class ScenarioError(DemoError):
    """A scenario file cannot be read, or breaks a rule of the format."""


class FlightError(DemoError):
    """No flight has the figures asked for, or the time asked for lies outside the flight."""
