"""What can be wrong with a policy, and how it is told.

    ReleasePolicyError
    ├── PolicyError        a bundle is refused; holds every Problem found, not the first alone
    ├── ConditionError     one condition does not compile, or may not be written so
    ├── AreaError          the shape of a named area is refused
    ├── EvaluationError    a condition could not be evaluated on a report; the decision turns it into "withheld"
    ├── ObligationError    a copy cannot be made as coarse as its rule obliges; the decision turns it into "withheld"
    └── NotReleasedError   a copy was asked for that the decision does not allow

``decide`` raises none of these: what goes wrong while deciding is a decision to withhold.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from policy.countries import ASSIGNED


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong with a bundle.

    ``file`` is the path inside the bundle with forward slashes; ``line`` counts from 1, and 0 stands for the file as a
    whole. ``what`` says what is wrong and ``remedy`` how to mend it, each a sentence for a security officer.
    """

    file: str
    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else self.file
        return f"{place}: {self.what} {self.remedy}".rstrip()


class ReleasePolicyError(Exception):
    """Root of the family."""


class PolicyError(ReleasePolicyError):
    """A bundle is refused. ``problems`` holds everything that is wrong with it, in order of file and line."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(set(problems)))
        super().__init__("\n".join(map(str, self.problems)))


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with a condition.

    ``line`` and ``column`` count from 1 inside the condition's own text; 0 where the place is not known.
    """

    what: str
    remedy: str
    line: int = 0
    column: int = 0


class ConditionError(ReleasePolicyError):
    """A condition is refused. ``faults`` holds everything that is wrong with it."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = tuple(faults)
        super().__init__("\n".join(f"{fault.what} {fault.remedy}" for fault in self.faults))


class AreaError(ReleasePolicyError):
    """An area is refused. The text says what is wrong with it and how to mend it."""


class EvaluationError(ReleasePolicyError):
    """A condition gave neither true nor false on a report."""


class ObligationError(ReleasePolicyError):
    """A copy cannot be changed as the rule that releases it obliges, so it may not go."""


class NotReleasedError(ReleasePolicyError):
    """A copy was asked for under a decision that releases nothing."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one; None where none is like it."""
    return next(iter(difflib.get_close_matches(word, sorted(set(known)), n=1, cutoff=0.6)), None)


def did_you_mean_country(word: str, also: Iterable[str] = ()) -> str:
    """A sentence that names the countries that were likely meant, ``also`` among them.

    Only officially assigned codes are named: a user-assigned one is never what a slip of the pen meant.
    """
    given, known = word.strip().upper(), [*ASSIGNED, *also]
    near: list[str] = []
    if given in known:
        near = [given]
    elif len(given) == 3:
        near = sorted(code for code in ASSIGNED if sorted(code) == sorted(given))
        near = near or sorted(code for code in ASSIGNED if sum(map(str.__eq__, code, given)) == 2)
    elif len(given) > 3 and (found := nearest(given, known)) is not None:
        near = [found]
    if 1 <= len(near) <= 3:
        return "Did you mean " + " or ".join(f'"{code}"' for code in near) + "?"
    return "Use the ISO 3166-1 alpha-3 code, such as KOR."


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A sentence that names the nearest of the known words, or else all of them (twelve at most)."""
    candidates = sorted(set(known))
    if (near := nearest(word, candidates)) is not None:
        return f'Did you mean "{near}"?'
    shown = ", ".join(candidates[:12])
    more = f" and {len(candidates) - 12} more" if len(candidates) > 12 else ""
    return f"Known are: {shown}{more}." if candidates else "None is defined."
