"""Proofs about a policy, for every valid report, in every posture and at every date.

    prove(bundle)             how each invariant of the bundle stands: proved, refuted by a report, or neither
    loosens(old, new)         what NEW gives that OLD did not; nothing: NEW only tightens
    shadowed(bundle)          rules that never decide

What is proved holds; what is refuted is shown by a report that the bundle itself, asked about it, treats so. Whatever
cannot be modelled is a value of which nothing is known, so that a proof can fail and never be wrong. The docstrings of
``terms``, ``validity`` and ``decision`` state the rules.

The modules, from the values up: ``verdict`` (what comes out), ``solver`` (z3), ``validity`` (what every valid report
keeps), ``subject`` (one symbolic report), ``literals`` and ``terms`` (conditions), ``decision`` (rules),
``counterexample`` (a model as a report), ``replay`` (the bundle asked itself), ``claims``, ``comparison``, ``reach``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from policy.prove.verdict import (
    DEFAULT_SETTINGS,
    Counterexample,
    Loosening,
    ProofSettings,
    Shadowed,
    Status,
    Verdict,
)

if TYPE_CHECKING:
    from policy.bundle import Bundle

__all__ = [
    "Counterexample",
    "Loosening",
    "ProofSettings",
    "Shadowed",
    "Status",
    "Verdict",
    "loosens",
    "prove",
    "shadowed",
]

# The solver is loaded by those who prove: it is a library of 30 MB that a gateway which only decides never needs.


def prove(bundle: Bundle, settings: ProofSettings = DEFAULT_SETTINGS) -> tuple[Verdict, ...]:
    """How each invariant stands for each partner that it is about (for "" where there is none), in the order of the
    file and then of the partners. The bundle keeps its invariants where every status is PROVED."""
    from policy.prove import claims

    return claims.prove(bundle, settings)


def loosens(
    old: Bundle, new: Bundle, partners: Collection[str] | None = None, settings: ProofSettings = DEFAULT_SETTINGS
) -> tuple[Loosening, ...]:
    """Everything that NEW gives to these partners (None: all) and OLD did not; empty only where it is proved, for every
    valid report, that there is nothing. Dropped invariants are among it where all partners are asked about."""
    from policy.prove import comparison

    return comparison.loosens(old, new, partners, settings)


def shadowed(bundle: Bundle, settings: ProofSettings = DEFAULT_SETTINGS) -> tuple[Shadowed, ...]:
    """Rules that decide nothing: proved for every valid report."""
    from policy.prove import reach

    return reach.shadowed(bundle, settings)
