from __future__ import annotations

import math
import struct
import sys
from fractions import Fraction
from itertools import combinations_with_replacement

import pytest
from geographiclib.geodesic import Geodesic
from geographiclib.polygonarea import PolygonArea  # type: ignore[import-untyped]  # it ships no types
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.reports.geometry import positive_semidefinite, ring_area
from tests.reports.strategies import rings, upper_triangles

TOLERANCE = 1e-6
EARTH_AREA = 510_065_621_724_088.0
"""Square metres of the WGS-84 ellipsoid, as geographiclib has it."""


def equicorrelated(order: int, correlation: float, units: list[float]) -> list[float]:
    """A covariance with one correlation throughout: its smallest scaled eigenvalue is known in closed form.

    That is 1 - c for c >= 0 and 1 + (order - 1) c for c < 0.
    """
    return [
        units[row] * units[column] * (1.0 if row == column else correlation)
        for row in range(order)
        for column in range(row, order)
    ]


UNITS = st.lists(st.floats(1e-6, 1e6), min_size=6, max_size=6)


@given(upper_triangles())
def test_every_product_with_its_own_transpose_is_positive_semidefinite(upper: list[float]) -> None:
    assert positive_semidefinite(upper, TOLERANCE)


@given(upper_triangles())
def test_a_covariance_kept_in_32_bit_numbers_is_still_positive_semidefinite(upper: list[float]) -> None:
    rounded = [struct.unpack("f", struct.pack("f", term))[0] for term in upper]
    assert positive_semidefinite(rounded, TOLERANCE)


@given(order=st.sampled_from([3, 6]), units=UNITS, below=st.floats(1.1e-6, 0.5))
def test_a_matrix_is_refused_once_its_smallest_scaled_eigenvalue_is_below_the_tolerance(
    order: int, units: list[float], below: float
) -> None:
    correlation = -(1.0 + below) / (order - 1)
    assert not positive_semidefinite(equicorrelated(order, correlation, units), TOLERANCE)
    assert not positive_semidefinite(equicorrelated(order, 1.0 + below, units), TOLERANCE)


@given(order=st.sampled_from([3, 6]), units=UNITS, above=st.floats(-0.9e-6, 0.5))
def test_a_matrix_is_taken_while_its_smallest_scaled_eigenvalue_is_within_the_tolerance(
    order: int, units: list[float], above: float
) -> None:
    correlation = -(1.0 - above) / (order - 1)
    assert positive_semidefinite(equicorrelated(order, correlation, units), TOLERANCE)
    assert positive_semidefinite(equicorrelated(order, 1.0 - above, units), TOLERANCE)


@pytest.mark.parametrize(
    ("upper", "answer"),
    [
        ([0.0] * 6, True),
        ([0.0] * 21, True),
        ([1.0, 0.0, 0.0, 0.0, 0.0, 1.0], True),
        ([1.0, 0.1, 0.0, 0.0, 0.0, 1.0], False),
        ([1.0, 0.0, 0.0, 0.0, 1e-300, 1.0], False),
        ([-1.0, 0.0, 0.0, 1.0, 0.0, 1.0], False),
        ([1.0, 0.0, 0.0, 1.0, 0.0, -1e-12], False),
        ([1.0, 2.0, 0.0, 1.0, 0.0, 1.0], False),
        ([1e308] * 6, True),
        ([sys.float_info.max, 0.0, 0.0, 1.0, 0.0, 1.0], False),
        ([1.0, sys.float_info.max, 0.0, 1.0, 0.0, 1.0], False),
        ([5e-324, 0.0, 0.0, 5e-324, 0.0, 5e-324], True),
    ],
)
def test_zero_negative_and_extreme_variances(upper: list[float], answer: bool) -> None:
    assert positive_semidefinite(upper, TOLERANCE) is answer


def smallest_pivot(upper: list[float], tolerance: float) -> Fraction:
    """Of the decomposition without rounding, as a share of its variance; none follows one that is not positive."""
    order = 3 if len(upper) == 6 else 6
    left = dict(zip(combinations_with_replacement(range(order), 2), map(Fraction, upper), strict=True))
    variances = [left[axis, axis] for axis in range(order)]
    smallest = Fraction(1)
    for axis, variance in enumerate(variances):
        pivot = left[axis, axis] + variance * Fraction(tolerance)
        smallest = min(smallest, pivot / variance)
        if pivot <= 0:
            break
        for row, column in combinations_with_replacement(range(axis + 1, order), 2):
            left[row, column] -= left[axis, row] * left[axis, column] / pivot
    return smallest


@given(upper=upper_triangles(), place=st.integers(0, 20), factor=st.sampled_from([-1.0, 0.5, 0.999, 1.001, 2.0]))
def test_the_decision_is_that_of_a_decomposition_without_rounding(
    upper: list[float], place: int, factor: float
) -> None:
    upper[place % len(upper)] *= factor
    assume(all(upper[place] > 0.0 for place in ([0, 3, 5] if len(upper) == 6 else [0, 6, 11, 15, 18, 20])))
    smallest = smallest_pivot(upper, TOLERANCE)
    assume(abs(smallest) > 1e-9)
    assert positive_semidefinite(upper, TOLERANCE) is (smallest > 0)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("order", [3, 6])
def test_a_matrix_with_a_number_that_is_not_finite_is_not_positive_semidefinite(order: int, bad: float) -> None:
    upper = equicorrelated(order, 0.5, [1.0] * order)
    for place in range(len(upper)):
        assert not positive_semidefinite([*upper[:place], bad, *upper[place + 1 :]], TOLERANCE)


def test_a_matrix_exactly_at_the_edge_is_refused() -> None:
    assert not positive_semidefinite([1.0, 1.0, 0.0, 1.0, 0.0, 1.0], 0.0)


def test_a_sign_error_in_any_single_large_covariance_is_found() -> None:
    upper = equicorrelated(6, 0.9, [1.0] * 6)
    assert positive_semidefinite(upper, TOLERANCE)
    for index, term in enumerate(upper):
        if term == 0.9:
            flipped = [*upper[:index], -term, *upper[index + 1 :]]
            assert not positive_semidefinite(flipped, TOLERANCE)


def geodesic_area(ring: list[tuple[float, float]]) -> float:
    """Signed, from -half to half of the ellipsoid, as a share of it in steradians."""
    polygon = PolygonArea(Geodesic.WGS84)
    for latitude, longitude in ring:
        polygon.AddPoint(latitude, longitude)
    _, _, area = polygon.Compute(reverse=False, sign=True)
    return float(area) / EARTH_AREA * 4.0 * math.pi


@given(rings())
@settings(max_examples=150)
def test_the_area_of_a_ring_is_that_of_an_independent_geodesic_computation(ring: list[tuple[float, float]]) -> None:
    assert ring_area(ring) == pytest.approx(geodesic_area(ring), rel=0.02)


@given(rings())
def test_a_ring_run_backwards_has_the_opposite_area_and_only_one_way_is_counter_clockwise(
    ring: list[tuple[float, float]],
) -> None:
    assert ring_area(ring) > 0.0
    assert ring_area(ring[::-1]) == pytest.approx(-ring_area(ring), rel=1e-9)


@given(ring=rings(), turned=st.integers(0, 40))
def test_it_does_not_matter_with_which_corner_a_ring_begins(ring: list[tuple[float, float]], turned: int) -> None:
    start = turned % len(ring)
    assert ring_area(ring[start:] + ring[:start]) == pytest.approx(ring_area(ring), rel=1e-9)


@pytest.mark.parametrize(
    ("ring", "area"),
    [
        ([(0.0, 0.0), (0.0, 90.0), (90.0, 0.0)], math.pi / 2),
        ([(0.0, 0.0), (90.0, 0.0), (0.0, 90.0)], -math.pi / 2),
        ([(0.0, 90.0), (0.0, 0.0), (-90.0, 12.0)], math.pi / 2),
        ([(0.0, -45.0), (90.0, 77.0), (0.0, -135.0)], math.pi / 2),
        ([(0.0, 135.0), (0.0, -135.0), (90.0, 0.0)], math.pi / 2),
        ([(10.0, 20.0), (20.0, 20.0), (30.0, 20.0)], 0.0),
    ],
)
def test_octants_of_the_globe(ring: list[tuple[float, float]], area: float) -> None:
    assert ring_area(ring) == pytest.approx(area, abs=1e-12)
