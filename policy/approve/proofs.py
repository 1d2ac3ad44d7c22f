"""The proofs that approval asks for, as ``policy.prove`` makes them. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

from policy import prove
from policy.bundle import Bundle
from policy.prove import Loosening, ProofSettings, Status, Verdict
from policy.prove.verdict import DEFAULT_SETTINGS, TimedSettings

_SHOWN: Final = 5
"""Loosenings that an answer names; `signalfire policy diff` gives all of them."""


@dataclass(frozen=True, slots=True)
class Proofs:
    """Proves with z3, for all valid reports (``policy.approve.judge.Prover``)."""

    clock: Callable[[], float]
    """Seconds of a clock that only goes forward, such as ``time.monotonic``."""
    settings: ProofSettings = DEFAULT_SETTINGS

    def within(self, time: timedelta) -> Proofs:
        """The same, with so much time from now on for everything together. What is not proved by then is undecided."""
        end, own = self.clock() + time.total_seconds(), self.settings
        limits = TimedSettings(own.timeout_ms, own.seed, own.models, own.pin_ms, lambda: end - self.clock())
        return replace(self, settings=limits)

    def unproved(self, bundle: Bundle) -> Sequence[str]:
        """The invariants that are not proved, each with the partner and the rule that stand against it."""
        if not bundle.invariants:
            return ()
        verdicts = prove.prove(bundle, self.settings)
        return tuple(_unproved(verdict) for verdict in verdicts if verdict.status is not Status.PROVED)

    def loosening(self, old: Bundle, new: Bundle) -> str:
        """What ``new`` releases that ``old`` does not, or is not proved not to; empty: nothing."""
        found = prove.loosens(old, new, settings=self.settings)
        more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return "; ".join(map(_loosens, found[:_SHOWN])) + more


def _unproved(verdict: Verdict) -> str:
    against = f" for {verdict.partner}" if verdict.partner else ""
    rule = f', by rule "{verdict.rule}"' if verdict.rule else ""
    kind = f" on a {verdict.kind}" if verdict.kind is not None else ""
    return f'"{verdict.invariant}" is {verdict.status}{against}{rule}{kind}'


def _loosens(found: Loosening) -> str:
    if not found.partner:
        return f"it {found.looser} ({found.subject})"
    rule = f' (rule "{found.rule}")' if found.rule else ""
    return f"{found.partner}: {found.looser}{rule}, {found.status}"
