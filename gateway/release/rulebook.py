"""The release policy in force, as the way of a report asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final

from signalfire.v1 import report_pb2

from policy import bundle, decide
from policy.decision import Circumstances, Decision, withheld
from policy.errors import PolicyError, Problem
from policy.vocabulary import Posture

NO_BUNDLE: Final = "(no valid trust bundle of the partner)"
"""Built-in reason: nothing can be sealed to a partner whose keys are not known or have expired."""

NO_CLOCK: Final = "(clock not trusted)"
"""Built-in reason: whether the agreement is in force is not known, since the clock is not trusted."""

NO_POLICY: Final = "(no policy in force)"
"""Built-in reason: no policy was ever activated, or none that is believed."""


class Asking:
    """One report, under the policy in force and in one set of circumstances, to be decided for each partner.

    For one thread, and for as long as the report stays as it is: what does not depend on the partner is worked out once
    (`policy.decide.Asking`).
    """

    __slots__ = ("_asking", "_suspended")

    def __init__(self, asking: decide.Asking | None, suspended: frozenset[str]) -> None:
        self._asking = asking
        self._suspended = suspended

    def decide(self, partner: str, *, usable: bool) -> Decision:
        """What becomes of the report for `partner`. `usable`: the partner's keys are known and in force."""
        if self._asking is None:
            return withheld(partner, NO_POLICY)
        if not usable and partner not in self._suspended:
            return withheld(partner, NO_BUNDLE)
        return self._asking.decide(partner)


_NO_ROUTES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Rulebook:
    """A compiled bundle, the partners that it decides for, and what the officers declared beside it.

    Every partner of the configuration gets a decision, also one for whom the bundle has no file: it is withheld, and
    that is on record. Without a bundle (None) everything is withheld.

    `routes` are the carriers by whom the ledgers between this node and a partner go as well as directly, and
    `carries` the pairs of partners, each in alphabetical order, between whom this node carries. Both name partners of
    the configuration alone, and none that is suspended: whoever asks here need not ask for that.
    """

    policy: bundle.Bundle | None
    partners: tuple[str, ...]
    posture: str
    suspended: frozenset[str] = frozenset()
    routes: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: _NO_ROUTES)
    carries: frozenset[tuple[str, str]] = frozenset()

    @classmethod
    def none(cls, partners: Iterable[str], suspended: Iterable[str] = ()) -> Rulebook:
        """No policy is in force."""
        return cls(None, tuple(sorted(partners)), Posture.ROUTINE, frozenset(suspended))

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

    def routed(self, routes: Mapping[str, tuple[str, ...]], carries: Iterable[tuple[str, str]]) -> Rulebook:
        """The same with what the officers ordered of routes and carrying, as far as it can be used."""
        usable = frozenset(self.partners) - self.suspended
        kept = {
            partner: left
            for partner, carriers in routes.items()
            if partner in usable and (left := tuple(each for each in carriers if each in usable))
        }
        return replace(
            self, routes=MappingProxyType(kept), carries=frozenset(pair for pair in carries if usable.issuperset(pair))
        )

    @property
    def digest(self) -> bytes:
        """SHA-256 of the bundle, 32 bytes; empty where none is in force."""
        return b"" if self.policy is None else self.policy.digest

    def circumstances(self, now: datetime, accepted: datetime, *, clock_trusted: bool) -> Circumstances:
        """What a decision made now about a report that was accepted then depends on."""
        return Circumstances(now, self.posture, accepted, clock_trusted, self.suspended)

    def ask(self, report: report_pb2.Report, circumstances: Circumstances) -> Asking:
        """`report`, to be decided for one partner after another."""
        asking = None if self.policy is None else self.policy.ask(report, circumstances)
        return Asking(asking, circumstances.suspended)

    def decide(
        self, report: report_pb2.Report, partner: str, circumstances: Circumstances, *, usable: bool
    ) -> Decision:
        """What becomes of `report` for one partner (`Asking.decide`)."""
        return self.ask(report, circumstances).decide(partner, usable=usable)

    def copy(
        self, report: report_pb2.Report, decision: Decision, was_released: Callable[[str, str], bool]
    ) -> tuple[Decision, report_pb2.Report | None]:
        """The partner's copy, and the decision narrowed to what the partner has; no copy where nothing is left, or
        where what the rule obliges cannot be done.
        """
        assert self.policy is not None  # without a policy nothing is released
        return self.policy.carry_out(report, decision, was_released)

    def lapsed(self, agreement: str, now: datetime, *, clock_trusted: bool) -> bool | None:
        """Whether an agreement that a release cited is not in force at `now` under this policy; None: in doubt."""
        if self.policy is None:
            return None
        found = self.policy.agreements.get(agreement)
        if found is None:
            return True
        return not found.from_ <= now < found.until if clock_trusted else None
