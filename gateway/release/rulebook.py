"""The release policy in force, as the way of a report asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Final

from signalfire.v1 import report_pb2

from policy import bundle
from policy.decide import Decision, Outcome
from policy.errors import PolicyError, Problem

NO_BUNDLE: Final = "(no valid trust bundle of the partner)"
"""Built-in reason: nothing can be sealed to a partner whose keys are not known or have expired."""


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A compiled bundle, the partners that it decides for, and the posture that it is asked under.

    Every partner of the configuration gets a decision, also one for whom the bundle has no file: it is withheld, and
    that
    is on record.
    """

    policy: bundle.Bundle
    partners: tuple[str, ...]
    posture: str

    @classmethod
    def load(cls, directory: Path, node: str, partners: Iterable[str]) -> Rulebook:
        """Reads and compiles the bundle in `directory`. Raises PolicyError, also where it is another node's."""
        try:
            policy = bundle.load(directory)
        except PolicyError as error:
            # A gateway's directory has another `partners/` beside its policy's: say which file is meant.
            raise PolicyError(replace(each, file=str(directory / each.file)) for each in error.problems) from error
        if policy.node != node:
            raise PolicyError(
                [Problem(str(directory), 0, f"The policy is that of {policy.node}.", f"Give the policy of {node}.")]
            )
        return cls(policy, tuple(sorted(partners)), policy.posture)

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bundle, 32 bytes."""
        return self.policy.digest

    def decide(self, report: report_pb2.Report, partner: str, now: datetime, *, usable: bool) -> Decision:
        """What becomes of `report` for `partner`. `usable`: the partner's keys are known and in force."""
        if not usable:
            return Decision(Outcome.WITHHELD, partner, NO_BUNDLE)
        return self.policy.decide(report, partner, now, self.posture)

    def copy(
        self, report: report_pb2.Report, decision: Decision, was_released: Callable[[str, str], bool]
    ) -> tuple[Decision, report_pb2.Report | None]:
        """The partner's copy, and the decision narrowed to what the partner has; no copy where nothing is left."""
        narrowed = self.policy.narrow(report, decision, was_released)
        if narrowed.outcome is not Outcome.RELEASED:
            return narrowed, None
        return narrowed, self.policy.transform(report, narrowed, was_released)
