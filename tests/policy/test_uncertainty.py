"""Stated errors after coarsening still cover the truth, worked out by sampling."""

from __future__ import annotations

import math
import random

import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import given
from hypothesis import strategies as st

from gateway.reports.geometry import positive_semidefinite
from policy.errors import ObligationError
from policy.grid import Grid, Rounding, coarsened
from policy.uncertainty import chord, enlarged_covariance, enlarged_ellipse, isotropic_covariance

AXES = st.tuples(st.floats(0.01, 1e6), st.floats(1e-3, 1.0)).map(lambda each: (each[0], each[0] * each[1]))
DIRECTIONS = tuple(math.radians(each) for each in range(0, 360, 10))


@given(AXES, st.floats(0.1, 1e6), st.floats(0.0, 2 * math.pi))
def test_the_larger_ellipse_holds_the_smaller_one_moved_by_any_displacement(
    axes: tuple[float, float], displacement_m: float, towards: float
) -> None:
    major, minor = enlarged_ellipse(*axes, displacement_m, 0.0)
    east, north = displacement_m * math.cos(towards), displacement_m * math.sin(towards)
    for angle in DIRECTIONS:
        x, y = axes[0] * math.cos(angle) + east, axes[1] * math.sin(angle) + north
        assert (x / major) ** 2 + (y / minor) ** 2 <= 1.0 + 1e-12
    assert minor <= major


@given(
    st.floats(-90.0, 90.0),
    st.floats(-180.0, 180.0),
    st.builds(Grid, st.floats(10.0, 1e6)) | st.builds(Rounding, st.floats(10.0, 1e6)),
    st.tuples(st.floats(1.0, 1e6), st.floats(0.01, 1.0)).map(lambda each: (each[0], each[0] * each[1])),
    st.floats(0.0, 180.0, exclude_max=True),
)
def test_on_the_earth_what_lay_in_the_ellipse_lies_in_the_larger_one_around_the_coarsened_position(
    latitude: float,
    longitude: float,
    to: Grid | Rounding,
    axes: tuple[float, float],
    orientation_deg: float,
) -> None:
    spot = coarsened(latitude, longitude, to)
    major, minor = enlarged_ellipse(*axes, spot.displacement_m, spot.convergence_rad)
    for angle in DIRECTIONS:
        along, across = axes[0] * math.cos(angle), axes[1] * math.sin(angle)
        azimuth = orientation_deg + math.degrees(math.atan2(across, along))
        there = Geodesic.WGS84.Direct(latitude, longitude, azimuth, math.hypot(along, across))
        seen = Geodesic.WGS84.Inverse(spot.latitude_deg, spot.longitude_deg, there["lat2"], there["lon2"])
        bearing = math.radians(seen["azi1"] - orientation_deg)
        x, y = seen["s12"] * math.cos(bearing), seen["s12"] * math.sin(bearing)
        assert (x / major) ** 2 + (y / minor) ** 2 <= 1.0 + 1e-9


def test_an_ellipse_grows_little_where_the_displacement_is_small_and_to_it_where_it_is_large() -> None:
    assert enlarged_ellipse(10_000.0, 5_000.0, 1.0, 0.0) == pytest.approx((10_000.0, 5_000.0), rel=1e-3)
    assert enlarged_ellipse(1.0, 1.0, 10_000.0, 0.0) == pytest.approx((10_001.0, 10_001.0), rel=1e-4)
    assert enlarged_ellipse(100.0, 100.0, 100.0, 0.0) == pytest.approx((200.0, 200.0), rel=1e-6)
    assert enlarged_ellipse(5e-324, 5e-324, 0.7, 0.0) == pytest.approx((0.7, 0.7))


def test_an_ellipse_beyond_the_contract_is_an_error() -> None:
    with pytest.raises(ObligationError, match="leave the ellipse out"):
        enlarged_ellipse(19_000_000.0, 1.0, 707_000.0, 0.0)
    with pytest.raises(ObligationError):
        enlarged_ellipse(20_000_000.0, 20_000_000.0, 1.0, math.pi)


@st.composite
def covariances(draw: st.DrawFn) -> list[float]:
    """The upper triangle of A A^T, with the last three axes in another unit; 6 or 21 numbers."""
    order = draw(st.sampled_from([3, 6]))
    scale = [draw(st.floats(1e-3, 1e5))] * 3 + [draw(st.floats(1e-3, 1e3))] * 3
    rows = [[draw(st.floats(-1.0, 1.0)) * scale[row] for _ in range(order)] for row in range(order)]
    return [
        math.fsum(a * b for a, b in zip(rows[row], rows[column], strict=True))
        for row in range(order)
        for column in range(row, order)
    ]


def form(upper: list[float], vector: list[float]) -> float:
    """v^T P v."""
    order = len(vector)
    terms = iter(upper)
    return math.fsum(
        next(terms) * vector[row] * vector[column] * (1 if row == column else 2)
        for row in range(order)
        for column in range(row, order)
    )


def unit(source: random.Random, order: int) -> list[float]:
    vector = [source.gauss(0.0, 1.0) for _ in range(order)]
    length = math.hypot(*vector)
    return [each / length for each in vector]


MOVES = st.just(0.0) | st.floats(0.1, 1e6)
SPEEDS = st.just(0.0) | st.floats(0.1, 1e4)
TURNS = st.just(0.0) | st.floats(1e-7, math.pi)


@given(covariances(), MOVES, SPEEDS, TURNS)
def test_a_covariance_stays_positive_semidefinite(
    upper: list[float], position_m: float, velocity_mps: float, turn_rad: float
) -> None:
    grown = enlarged_covariance(upper, position_m, velocity_mps, turn_rad)
    assert len(grown) == len(upper)
    assert positive_semidefinite(upper, 1e-6) <= positive_semidefinite(grown, 1e-6)


@given(covariances(), MOVES, SPEEDS, st.integers(0, 2**32))
def test_a_covariance_covers_the_old_error_and_any_move_of_position_and_velocity_at_once(
    upper: list[float], position_m: float, velocity_mps: float, seed: int
) -> None:
    """v^T (P + d d^T) v <= v^T P' v: the second moment about a state that was moved by d."""
    source = random.Random(seed)
    order = {6: 3, 21: 6}[len(upper)]
    grown = enlarged_covariance(upper, position_m, velocity_mps, 0.0)
    for _ in range(20):
        move = [each * position_m for each in unit(source, 3)] + [each * velocity_mps for each in unit(source, 3)]
        weights = [1.0] * 3 + [position_m / velocity_mps if velocity_mps else 1.0] * 3
        for vector in (
            unit(source, order),
            [each * weight for each, weight in zip(move[:order], weights[:order], strict=True)],
        ):
            moved = math.fsum(a * b for a, b in zip(move, vector, strict=False)) ** 2
            assert form(upper, vector) + moved <= form(grown, vector) * (1 + 1e-9) + 1e-6


@given(covariances(), MOVES, SPEEDS, TURNS, st.integers(0, 2**32))
def test_a_covariance_covers_the_old_error_in_a_frame_that_turned(
    upper: list[float], position_m: float, velocity_mps: float, turn_rad: float, seed: int
) -> None:
    """v^T R P R^T v <= v^T P' v for turns about the vertical and about east, of position and velocity alike."""
    source = random.Random(seed)
    order = {6: 3, 21: 6}[len(upper)]
    grown = enlarged_covariance(upper, position_m, velocity_mps, turn_rad)
    angle = source.uniform(-turn_rad, turn_rad)
    cos, sin = math.cos(angle), math.sin(angle)
    first, second = source.choice([(0, 1), (1, 2), (0, 2)])
    for _ in range(20):
        vector = unit(source, order)
        turned = list(vector)
        for start in range(0, order, 3):
            a, b = vector[start + first], vector[start + second]
            turned[start + first], turned[start + second] = cos * a + sin * b, cos * b - sin * a
        assert form(upper, turned) <= form(grown, vector) * (1 + 1e-9) + 1e-6


def test_a_covariance_covers_a_move_of_position_and_velocity_that_goes_with_the_error() -> None:
    """An error that is always the move itself is twice it afterwards, and four times it in the square."""
    move = [300.0, 0.0, 0.0, 20.0, 0.0, 0.0]
    upper = [move[row] * move[column] for row in range(6) for column in range(row, 6)]
    grown = enlarged_covariance(upper, 300.0, 20.0, 0.0)
    vector = [1 / 300.0, 0.0, 0.0, 1 / 20.0, 0.0, 0.0]
    assert form(grown, vector) >= 4 * form(upper, vector) * (1 - 1e-12)


@given(covariances(), MOVES, SPEEDS, st.integers(0, 2**32))
def test_a_covariance_without_directions_covers_the_old_error_in_any_frame_and_any_move(
    upper: list[float], position_m: float, velocity_mps: float, seed: int
) -> None:
    """The worst move goes with the error: sqrt(v^T P v) + |v d| on the left, squared."""
    source = random.Random(seed)
    order = {6: 3, 21: 6}[len(upper)]
    grown = isotropic_covariance(upper, position_m, velocity_mps)
    first, second = source.choice([(0, 1), (1, 2), (0, 2)])
    angle = source.uniform(-math.pi, math.pi)
    cos, sin = math.cos(angle), math.sin(angle)
    for _ in range(20):
        vector = unit(source, order)
        turned = list(vector)
        for start in range(0, order, 3):
            a, b = vector[start + first], vector[start + second]
            turned[start + first], turned[start + second] = cos * a + sin * b, cos * b - sin * a
        furthest = sum(
            move * math.hypot(*vector[3 * block : 3 * block + 3])
            for block, move in enumerate((position_m, velocity_mps)[: order // 3])
        )
        worst = (math.sqrt(max(form(upper, turned), 0.0)) + furthest) ** 2
        assert worst <= form(grown, vector) * (1 + 1e-9) + 1e-6


@given(covariances(), MOVES, SPEEDS)
def test_of_a_covariance_without_directions_nothing_is_left_but_how_large_it_was(
    upper: list[float], position_m: float, velocity_mps: float
) -> None:
    order = {6: 3, 21: 6}[len(upper)]
    diagonal = [row * order - row * (row - 1) // 2 for row in range(order)]
    spread = [0.0] * len(upper)
    for block in range(0, order, 3):
        spread[diagonal[block + 1]] = sum(upper[place] for place in diagonal[block : block + 3])
    grown = isotropic_covariance(upper, position_m, velocity_mps)
    assert grown == pytest.approx(isotropic_covariance(spread, position_m, velocity_mps))
    assert not any(value for place, value in enumerate(grown) if place not in diagonal)


def test_what_was_not_moved_keeps_its_covariance() -> None:
    upper = [4.0, 0.0, 0.0, 9.0, 0.0, 16.0]
    assert enlarged_covariance(upper, 0.0, 100.0, 0.0) == upper
    assert enlarged_covariance([0.0] * 6, 10.0, 0.0, 0.0) == pytest.approx([100.0, 0.0, 0.0, 100.0, 0.0, 100.0])


@pytest.mark.parametrize("upper", [[1.0] * 7, [1.79e308, 0.0, 0.0, 1.0, 0.0, 1.0], [1.79e308] * 21])
def test_a_covariance_that_cannot_grow_is_an_error(upper: list[float]) -> None:
    with pytest.raises(ObligationError):
        enlarged_covariance(upper, 1e153, 0.0, 0.0)
    with pytest.raises(ObligationError):
        isotropic_covariance(upper, 1e154, 0.0)


def test_a_turn_moves_a_point_by_its_chord() -> None:
    assert (chord(0.0), chord(math.pi)) == (0.0, 2.0)
    assert chord(math.pi / 3) == pytest.approx(1.0)
