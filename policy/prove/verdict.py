"""What a proof can come to, as values. Needs no solver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from signalfire.v1 import report_pb2

from policy.decision import Circumstances
from policy.vocabulary import Kind


class Status(StrEnum):
    """How a claim stands."""

    PROVED = "proved"
    """It holds for every valid report, in every posture and at every date."""
    REFUTED = "refuted"
    """A report breaks it: the policy itself, asked about that report, says so."""
    UNCONFIRMED = "unconfirmed"
    """The proof failed, and no report was found that breaks it: the condition has parts that proofs do not see into."""
    UNDECIDED = "undecided"
    """The time limit passed."""


@dataclass(frozen=True, slots=True)
class Counterexample:
    """A report, and the circumstances of its decision. Of an unconfirmed claim it is the solver's suggestion."""

    report: report_pb2.Report
    now: datetime
    posture: str
    clock_trusted: bool = True

    def circumstances(self) -> Circumstances:
        """For ``Bundle.decide``. The report was accepted so long ago that no hold lasts."""
        accepted = datetime.min.replace(tzinfo=self.now.tzinfo)
        return Circumstances(self.now, self.posture, accepted=accepted, clock_trusted=self.clock_trusted)


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an invariant stands for one partner (empty: the invariant is about no partner of the bundle).

    ``rule`` and ``kind`` say which rule releases what, unless the status is PROVED. ``counterexample`` is there where
    the status is REFUTED, and mostly where it is UNCONFIRMED.
    """

    invariant: str
    partner: str
    status: Status
    rule: str = ""
    kind: Kind | None = None
    counterexample: Counterexample | None = None


class Looser(StrEnum):
    """In what respect a bundle gives more than another."""

    RELEASED = "releases what was withheld"
    FIELDS = "releases more fields"
    OBLIGATIONS = "coarsens or re-marks less"
    HOLD = "holds for another time"
    RECORD = "releases under another name, reason or agreement"
    AGREEMENT = "gives an agreement more days or other terms"
    INVARIANT = "drops or weakens an invariant"
    NODE = "is the policy of another node"


@dataclass(frozen=True, slots=True)
class Loosening:
    """Something that NEW gives and OLD did not.

    ``status`` is never PROVED: REFUTED where the counterexample was shown to be treated so by both bundles, UNCONFIRMED
    or UNDECIDED where it could not be shown that NEW gives no more. ``rule`` is NEW's, ``old_rule`` OLD's (empty: none
    released it); ``subject`` names the invariant, the agreement, or the fields.
    """

    partner: str
    looser: Looser
    status: Status
    rule: str = ""
    old_rule: str = ""
    subject: str = ""
    kind: Kind | None = None
    counterexample: Counterexample | None = None


@dataclass(frozen=True, slots=True)
class Shadowed:
    """A rule that never decides. ``by`` are the earlier or stronger rules that always decide in its place; empty: it
    never matches any valid report."""

    partner: str
    rule: str
    by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ProofSettings:
    """Limits of one proof."""

    timeout_ms: int = 5_000
    """Milliseconds for one question to the solver: a claim of an ordinary policy takes a few; what takes longer than
    this is told as undecided, and so as not proved."""

    seed: int = 1
    """The solver's random seed, so that the same bundle gives the same verdicts."""

    models: int = 8
    """Reports that are tried before a claim is called unconfirmed."""

    pin_ms: int = 200
    """Milliseconds for each attempt at making a counterexample more ordinary: for looks alone."""

    def left_ms(self) -> int:
        """Milliseconds that the next question may take; 0: no more is asked, and what is left is undecided."""
        return self.timeout_ms


DEFAULT_SETTINGS = ProofSettings()


@dataclass(frozen=True, slots=True)
class TimedSettings(ProofSettings):
    """Limits of proofs that share one span of time."""

    left_s: Callable[[], float] = lambda: 0.0
    """Seconds that are left of it."""

    def left_ms(self) -> int:
        """As of ``ProofSettings``, and never more than what is left for all."""
        return max(0, min(self.timeout_ms, int(self.left_s() * 1000)))
