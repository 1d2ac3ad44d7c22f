"""What a release rule obliges: its copy is coarsened and marked anew, and says so. Pure: no I/O.

``apply`` changes the copy that a partner gets, *after* everything that the decision does not name has been cleared
from it. So nothing that is not named can come back, and nothing that is not named can show in what goes: a stated
error, for one, grows by the height in the copy and never by one that was held back. Rules, in order:

1. Values are made coarser, and what is said of their errors larger (``coarsen``, ``grid``, ``uncertainty``).
2. The copy is marked anew: ``classification`` is a level of the node's own marking policy, so with it
   ``marking.policy`` becomes the node's code; ``add_caveats`` adds those that are not there; ``onward_release`` keeps
   of the nodes that the originator named those that the rule names too. Nothing else of a marking changes.
3. A Derivation with the node and the leaf paths is added: every path that was coarsened, cleared or marked anew, also
   where it happened to have the value already, for its absence would say that the original value is exact. Derivations
   that other nodes added before stay. Where the obligations touch nothing in the copy, none is added.
4. What cannot be done is an ObligationError, and then the copy may not go: an error that would outgrow the contract's
   range, more than 16 caveats, more than 8 derivations.

Applied to their own result, obligations change no position, velocity or time; stated errors grow again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import report_pb2

from policy.coarsen import (
    MOST_SPEED_MPS,
    POSITION_PATHS,
    TIME_PATHS,
    VELOCITY_PATHS,
    coarsen_place,
    coarsen_times,
)
from policy.errors import ObligationError
from policy.fields import kind_of_path
from policy.grid import LEAST_METRES, MOST_METRES, Grid, Rounding
from policy.vocabulary import Classification, Kind

__all__ = [
    "LEAST_METRES",
    "LEAST_SPEED_STEP_MPS",
    "LEAST_TIME_STEP_S",
    "MOST_METRES",
    "MOST_SPEED_STEP_MPS",
    "MOST_TIME_STEP_S",
    "NONE",
    "Grid",
    "Obligations",
    "Remark",
    "Rounding",
    "apply",
    "at_least_as_coarse",
    "changes",
]

LEAST_SPEED_STEP_MPS: Final = 0.1
"""The finest step of velocities: below what a sensor of the field can tell."""
MOST_SPEED_STEP_MPS: Final = MOST_SPEED_MPS
"""The coarsest step of velocities: with it a component is 0 or the contract's limit."""
LEAST_TIME_STEP_S: Final = 1
"""The finest step of times, in seconds, which they are cut to."""
MOST_TIME_STEP_S: Final = 3_600
"""The coarsest step of times: a warning is worth minutes, and the contract lets an uncertainty grow by 1 h."""
MOST_CAVEATS: Final = 16
MOST_DERIVATIONS: Final = 8


@dataclass(frozen=True, slots=True)
class Remark:
    """How a copy is marked anew; what is None or empty stays as the originator had it.

    ``classification`` is a level of the node's own marking policy. ``add_caveats`` are added; ``onward_release`` is
    the most that is kept of the originator's list.
    """

    classification: Classification | None = None
    add_caveats: tuple[str, ...] = ()
    onward_release: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Obligations:
    """What a release rule obliges; None: nothing of the sort.

    ``velocity_mps`` is the step of velocity components, 0.1 to 20,000 m/s; ``time_s`` the step of times, 1 to 3,600 s.
    Raises ObligationError outside these ranges, as ``Grid`` and ``Rounding`` do outside 1 to 1,000,000 m.
    """

    position: Grid | Rounding | None = None
    velocity_mps: float | None = None
    time_s: int | None = None
    remark: Remark | None = None

    def __post_init__(self) -> None:
        step_mps, step_s = self.velocity_mps, self.time_s
        if step_mps is not None and not LEAST_SPEED_STEP_MPS <= step_mps <= MOST_SPEED_STEP_MPS:
            raise ObligationError(
                f"A velocity cannot be coarsened to {step_mps:.15g} m/s."
                f" Write {LEAST_SPEED_STEP_MPS} to {MOST_SPEED_STEP_MPS:.0f}."
            )
        if step_s is not None and not LEAST_TIME_STEP_S <= step_s <= MOST_TIME_STEP_S:
            raise ObligationError(
                f"A time cannot be coarsened to {step_s} s. Write {LEAST_TIME_STEP_S} to {MOST_TIME_STEP_S}."
            )


NONE: Final = Obligations()
"""Nothing is obliged."""

_CLASSIFICATION_PATHS: Final = ("marking.policy", "marking.classification")


def apply(copy: report_pb2.Report, obligations: Obligations, node: str) -> None:
    """Changes the copy as obliged and adds the derivation of ``node`` (rules 1 to 3).

    Raises ObligationError (rule 4); then the copy is spoilt and must not go.
    """
    if obligations is NONE or obligations == NONE:
        return
    touched: list[str] = []
    if obligations.position is not None or obligations.velocity_mps is not None:
        touched += coarsen_place(copy, obligations.position, obligations.velocity_mps)
    if obligations.time_s is not None:
        touched += coarsen_times(copy, obligations.time_s)
    if obligations.remark is not None:
        touched += _mark_anew(copy.marking, obligations.remark, node)
    if not touched:
        return
    if len(copy.derivations) >= MOST_DERIVATIONS:
        raise ObligationError(
            f"{MOST_DERIVATIONS} nodes have changed this report already, as many as the contract allows."
            " Release it unchanged, or not at all."
        )
    copy.derivations.add(node=node, fields=touched)


def _mark_anew(marking: report_pb2.Marking, remark: Remark, node: str) -> list[str]:
    """Rule 2; the paths that it touched."""
    if remark.classification is not None:
        marking.policy = node
        marking.classification = report_pb2.Classification.ValueType(remark.classification.value)
    if remark.add_caveats:
        marking.caveats.extend(caveat for caveat in dict.fromkeys(remark.add_caveats) if caveat not in marking.caveats)
        if len(marking.caveats) > MOST_CAVEATS:
            raise ObligationError(
                f"With the caveats that are added the copy has {len(marking.caveats)}, more than the {MOST_CAVEATS} of"
                " the contract. Add fewer."
            )
    if remark.onward_release is not None:
        marking.onward_release[:] = [code for code in marking.onward_release if code in remark.onward_release]
    return list(_marking_paths(remark))


def _marking_paths(remark: Remark | None) -> Iterable[str]:
    if remark is None:
        return
    if remark.classification is not None:
        yield from _CLASSIFICATION_PATHS
    if remark.add_caveats:
        yield "marking.caveats"
    if remark.onward_release is not None:
        yield "marking.onward_release"


def changes(obligations: Obligations, kind: Kind, fields: Iterable[str]) -> tuple[str, ...]:
    """Which of the leaf paths in ``fields``, those that a rule releases of reports of this kind, the obligations may
    change or clear. The derivation that is added to say so is not among them."""
    may: set[str] = {*_marking_paths(obligations.remark)}
    if obligations.position is not None:
        may.update(POSITION_PATHS)
    if obligations.velocity_mps is not None:
        may.update(VELOCITY_PATHS)
    if obligations.time_s is not None:
        may.update(TIME_PATHS)
    return tuple(path for path in fields if path in may and kind_of_path(path) in (None, kind))


def at_least_as_coarse(new: Obligations, old: Obligations) -> bool:
    """Whether ``new`` lets no more through than ``old``, of any report and in every respect.

    True only where that is certain. Grids and rounding of different widths do not nest, so a position and a velocity
    must be coarsened alike where they were coarsened before; a step of times must be a multiple of the old one. A
    marking must be as high, with the same caveats and more, and the same onward release or less.
    """
    return (
        old.position in (None, new.position)
        and old.velocity_mps in (None, new.velocity_mps)
        and (old.time_s is None or (new.time_s is not None and new.time_s % old.time_s == 0))
        and _marks_at_least_as_high(new.remark or _NO_REMARK, old.remark or _NO_REMARK)
    )


_NO_REMARK: Final = Remark()


def _marks_at_least_as_high(new: Remark, old: Remark) -> bool:
    if old.classification is None or new.classification is None:
        if old.classification is not new.classification:
            return False
    elif new.classification < old.classification:
        return False
    if not set(old.add_caveats) <= set(new.add_caveats):
        return False
    if old.onward_release is None:
        return True
    return new.onward_release is not None and new.onward_release <= old.onward_release
