"""One thing that was looked at, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from gateway.expiry import WEEKS_AHEAD
from gateway.identity.errors import IdentityError


class Level(StrEnum):
    """How bad it is. The values are stable: they stand in JSON."""

    PROBLEM = "problem"
    """The gateway does not start, or something does not work."""
    WARNING = "warning"
    """It works, and will not for long, or is not safe."""
    UNKNOWN = "unknown"
    """It could not be found out."""
    OK = "ok"


@dataclass(frozen=True, slots=True)
class Finding:
    """`what` is wrong, or is well; `where`: file, address or partner; `remedy`: how to mend it."""

    level: Level
    check: str
    where: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        mend = f" {self.remedy}" if self.remedy else ""
        # What is quoted of another room may be a whole sentence already.
        end = "" if self.what.endswith((".", "?", "!")) else "."
        return " ".join(f"{self.level:<8}{self.where}: {self.what}{end}{mend}".split("\n"))


def ok(check: str, where: str, what: str) -> Finding:
    """All is well."""
    return Finding(Level.OK, check, where, what)


def problem(check: str, where: str, what: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(Level.PROBLEM, check, where, what, remedy)


def warning(check: str, where: str, what: str, remedy: str) -> Finding:
    """Something will not work for long, or is not safe."""
    return Finding(Level.WARNING, check, where, what, remedy)


def unknown(check: str, where: str, what: str, remedy: str = "") -> Finding:
    """It could not be found out."""
    return Finding(Level.UNKNOWN, check, where, what, remedy)


def refused(check: str, error: IdentityError, where: str = "") -> Finding:
    """A problem in the words of the identity's own error."""
    return problem(check, where or error.where, error.what, error.mend)


def expiring(check: str, where: str, what: str, at: datetime, now: datetime, remedy: str) -> list[Finding]:
    """A warning where something expires within weeks, a problem where it has; otherwise nothing."""
    if now >= at:
        return [problem(check, where, f"{what} expired at {at.isoformat()}", remedy)]
    if at - now < WEEKS_AHEAD:
        days = (at - now).days
        return [warning(check, where, f"{what} expires at {at.isoformat()}, in {days} days", remedy)]
    return []


def or_ok(found: Sequence[Finding], check: str, where: str, what: str) -> list[Finding]:
    """The findings, or where there is none that all is well."""
    return list(found) or [ok(check, where, what)]
