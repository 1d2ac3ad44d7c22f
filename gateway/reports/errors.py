"""The errors of this room.

    ReportError
    ├── MalformedReport   bytes that are no report, or too many of them; carries the violation to answer with
    └── LimitError        a setting of `ReportLimits` that no gateway can run with

A report that can be read and breaks rules is no error: `gateway.reports.validate` returns its violations.
"""

from __future__ import annotations

from gateway.reports.violations import Violation


class ReportError(Exception):
    """Anything that this room refuses by raising."""


class MalformedReport(ReportError):
    """The bytes are not a report, or too many (`REFUSAL_CODE_MALFORMED`). Nothing of them was kept."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(f"The report {problem}. To mend it, {remedy}.")
        self.violation = Violation("", problem, remedy)


class LimitError(ReportError):
    """A limit has a value that no gateway can run with. The text names the setting and its range."""
