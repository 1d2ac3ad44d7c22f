"""How stated errors grow when the values that they belong to are moved. Pure arithmetic.

A coarsened value with the error of the exact one would claim a precision that it does not have. Every bound here is
worked out from the coarsened values alone, never from how far a value really moved, which would tell where it was.

1. Ellipse: what lay in it around the exact position lies in the larger one around the coarsened position. Seen from
   there it is turned by at most ``turn_rad`` and moved by at most ``displacement_m``, and the curvature of the Earth
   bends it; so it lies in the sum of the ellipse and a disc of radius D, which the ellipse with the axes
   a'^2 = (1 + 1/p) a^2 + (1 + p) D^2 and b'^2 likewise contains for every p > 0 (A. B. Kurzhanski and I. Valyi,
   "Ellipsoidal Calculus for Estimation and Control", 1997, §2.2). p = sqrt((a^2 + b^2) / (2 D^2)) gives the least
   a'^2 + b'^2.
2. Covariance: P' = (1 + 1/p) P + (1 + p) S covers, in the order of symmetric matrices, the second moment of the error
   about the moved state, where S covers that of the move. A move by d has d d^T <= |d|^2 I; one of position and
   velocity at once is covered by twice the two blocks, for they may be correlated. A frame that turns by t moves an
   error e by at most 2 sin(t/2) |e|, of which the mean square is at most (2 sin(t/2))^2 trace(P). p = sqrt(trace(P) /
   trace(S)) gives the least trace(P'); of position and velocity, which have no unit in common, p = 1 gives 2 (P + S).
3. Covariance without directions: of an error e and a move by at most d, in whatever frame, the root of the mean square
   of |e + move| is at most that of |e| plus d (Minkowski), and that of |e| is the root of trace(P). So
   P' = (sqrt(trace(P)) + d)^2 I covers both. Position and velocity, which may be correlated, are covered by twice
   their two blocks. A trace is the same in every frame: nothing but the size of the error is left.
4. Standard uncertainty: u + d covers a move by d, the least that (1 + 1/p) u^2 + (1 + p) d^2 comes to.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from policy.errors import ObligationError
from policy.grid import LEAST_RADIUS_M

MOST_SEMI_MAJOR_M: Final = 20_000_000.0
_ORDERS: Final = {6: 3, 21: 6}
_POSITION_TERMS: Final = 3
_LEAST_P: Final = 1e-9
"""Any p > 0 is sound; this one keeps the arithmetic finite where the error is nothing beside the move."""


def enlarged_ellipse(
    semi_major_m: float, semi_minor_m: float, displacement_m: float, turn_rad: float
) -> tuple[float, float]:
    """The axes of an ellipse around a position that was moved by at most ``displacement_m`` (rule 1).

    Raises ObligationError where it outgrows the contract's 20,000 km.
    """
    bend = ((displacement_m + semi_major_m) / LEAST_RADIUS_M) ** 2 / 2.0
    disc = displacement_m + (chord(turn_rad) + bend) * semi_major_m
    p = max(math.hypot(semi_major_m, semi_minor_m) / (math.sqrt(2.0) * disc), _LEAST_P)
    major, minor = (math.sqrt((1.0 + 1.0 / p) * axis**2 + (1.0 + p) * disc**2) for axis in (semi_major_m, semi_minor_m))
    if not major <= MOST_SEMI_MAJOR_M:
        raise ObligationError(
            f"Coarsening the position makes its error ellipse {major:.0f} m long, beyond the {MOST_SEMI_MAJOR_M:.0f} m"
            " of the contract. Coarsen less, or leave the ellipse out of the rule's fields."
        )
    return major, minor


def enlarged_covariance(
    upper_triangle: Sequence[float], position_m: float, velocity_mps: float, turn_rad: float
) -> list[float]:
    """The covariance of a state whose position was moved by at most ``position_m`` and whose velocity by at most
    ``velocity_mps``, in a frame that was turned by at most ``turn_rad`` (rule 2).

    ``upper_triangle`` holds 6 or 21 numbers, row by row; where it holds 6, ``velocity_mps`` does not matter. Raises
    ObligationError where it holds any other number of them, or the result is not finite.
    """
    order, places = _diagonal(upper_triangle)
    variances = [upper_triangle[place] for place in places]
    moves = [position_m, velocity_mps][: order // _POSITION_TERMS]
    spread = [move**2 + chord(turn_rad) ** 2 * trace for move, trace in zip(moves, _traces(variances), strict=True)]
    moved = [square for square in spread if square > 0.0]
    added = [square * len(moved) for square in spread for _ in range(_POSITION_TERMS)]
    if not moved:
        return list(upper_triangle)
    p = 1.0
    if order == _POSITION_TERMS:
        p = max(math.sqrt(max(sum(variances), 0.0) / sum(added)), _LEAST_P)
    grown = [(1.0 + 1.0 / p) * term for term in upper_triangle]
    for place, square in zip(places, added, strict=True):
        grown[place] += (1.0 + p) * square
    return _finite(grown)


def isotropic_covariance(upper_triangle: Sequence[float], position_m: float, velocity_mps: float) -> list[float]:
    """The same, for a frame that turned by any angle, and alike in all directions: of the matrix nothing goes into it
    but the traces of its blocks (rule 3). Errors as there."""
    order, places = _diagonal(upper_triangle)
    moves = [position_m, velocity_mps][: order // _POSITION_TERMS]
    grown = [0.0] * len(upper_triangle)
    traces = _traces([upper_triangle[place] for place in places])
    for block, (move, trace) in enumerate(zip(moves, traces, strict=True)):
        deviation = math.sqrt(max(trace, 0.0)) + move
        for place in places[block * _POSITION_TERMS : (block + 1) * _POSITION_TERMS]:
            grown[place] = len(moves) * deviation * deviation
    return _finite(grown)


def _diagonal(upper_triangle: Sequence[float]) -> tuple[int, list[int]]:
    """The order of the matrix, and where its variances stand."""
    order = _ORDERS.get(len(upper_triangle))
    if order is None:
        raise ObligationError(f"A covariance of {len(upper_triangle)} numbers, neither 6 nor 21, cannot be coarsened.")
    return order, [row * order - row * (row - 1) // 2 for row in range(order)]


def _traces(variances: Sequence[float]) -> list[float]:
    """Of the position, and of the velocity where it is there. Raises ObligationError where a double cannot hold it."""
    starts = range(0, len(variances), _POSITION_TERMS)
    return _finite([sum(variances[start : start + _POSITION_TERMS]) for start in starts])


def _finite(terms: list[float]) -> list[float]:
    if not all(map(math.isfinite, terms)):
        raise ObligationError("The covariance is too large to be enlarged. Leave it out of the rule's fields.")
    return terms


def chord(turn_rad: float) -> float:
    """How far a turn moves a point at distance 1 at most."""
    return 2.0 * math.sin(turn_rad / 2.0)
