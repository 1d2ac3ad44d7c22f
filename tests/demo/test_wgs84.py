"""Points, looks and displacements over WGS-84."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.demo.wgs84 import (
    FLATTENING,
    SEMI_MAJOR_M,
    Enu,
    Point,
    displaced,
    look,
    rotate_to_enu,
    to_ecef,
    travelled,
    wrapped_longitude,
)

POINTS = st.builds(Point, st.floats(-80, 80), st.floats(-180, 180), st.floats(0, 1_000_000))


def test_the_axes_of_the_ellipsoid_are_where_they_belong() -> None:
    assert to_ecef(Point(0, 0)) == pytest.approx((SEMI_MAJOR_M, 0, 0))
    assert to_ecef(Point(0, 90)) == pytest.approx((0, SEMI_MAJOR_M, 0), abs=1e-6)
    assert to_ecef(Point(90, 0)) == pytest.approx((0, 0, SEMI_MAJOR_M * (1 - FLATTENING)), abs=1e-6)


def test_a_target_overhead_stands_at_the_zenith_at_its_height() -> None:
    sight = look(Point(37, 127), Point(37, 127, 100_000))
    assert sight.elevation_deg == pytest.approx(90, abs=1e-5)
    assert sight.slant_range_m == pytest.approx(100_000, abs=1e-3)


@pytest.mark.parametrize("distance_km", [100, 400, 900, 2_000])
def test_the_horizon_is_where_a_tangent_leaves_the_ground(distance_km: float) -> None:
    observer = Point(38.5, 134.0)
    far = travelled(observer, 300, distance_km * 1000)
    angle = distance_km / 6_371.0
    horizon_m = 6_371_000 * (1 / math.cos(angle) - 1)
    assert look(observer, Point(far.latitude_deg, far.longitude_deg, horizon_m * 1.02)).elevation_deg > 0
    assert look(observer, Point(far.latitude_deg, far.longitude_deg, horizon_m * 0.98)).elevation_deg < 0


@given(POINTS, st.builds(Enu, st.floats(-1000, 1000), st.floats(-1000, 1000), st.floats(-1000, 1000)))
def test_a_displacement_is_found_again_in_the_tangent_plane(point: Point, by: Enu) -> None:
    before, after = to_ecef(point), to_ecef(displaced(point, by))
    x, y, z = (b - a for a, b in zip(before, after, strict=True))
    found = rotate_to_enu(point, (x, y, z))
    # Second order in the displacement: 1 km over the radius, and six times that at 80 degrees.
    assert (found.east, found.north, found.up) == pytest.approx((by.east, by.north, by.up), abs=2.0)


@given(st.floats(-540, 540))
def test_a_wrapped_longitude_is_in_range_and_the_same_meridian(longitude_deg: float) -> None:
    wrapped = wrapped_longitude(longitude_deg)
    assert -180 <= wrapped <= 180
    assert math.cos(math.radians(wrapped)) == pytest.approx(math.cos(math.radians(longitude_deg)), abs=1e-9)
