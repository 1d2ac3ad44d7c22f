"""Coarse places: where they are, that they stay, and how far a position can have moved to them."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import given
from hypothesis import strategies as st

from policy.errors import ObligationError
from policy.grid import (
    LATITUDE_DEGREE_M,
    LEAST_HEIGHT_M,
    LEAST_RADIUS_M,
    MOST_HEIGHT_M,
    Grid,
    Rounding,
    Spot,
    coarsened,
    furthest_from_multiple,
    nearest_multiple,
)

METRES = st.floats(1.0, 1e6) | st.sampled_from([1.0, 10.0, 1_000.0, 50_000.0, 100_000.0, 1e6])
MAPS = st.builds(Grid, METRES) | st.builds(Rounding, METRES)
LATITUDES = st.floats(-90.0, 90.0) | st.sampled_from([-90.0, 90.0, 0.0, 89.999999, -89.9])
LONGITUDES = st.floats(-180.0, 180.0) | st.sampled_from([-180.0, 180.0, 179.9999999, 0.0])
NANOMETRES = 1e-6
"""What doubles and the geodesics that judge them may be wrong by, in metres."""


def distance_m(latitude_deg: float, longitude_deg: float, spot: Spot) -> float:
    line = Geodesic.WGS84.Inverse(latitude_deg, longitude_deg, spot.latitude_deg, spot.longitude_deg)
    return float(line["s12"])


@given(LATITUDES, LONGITUDES, MAPS)
def test_no_position_moves_further_than_the_spot_that_it_goes_to_says(
    latitude: float, longitude: float, to: Grid | Rounding
) -> None:
    spot = coarsened(latitude, longitude, to)
    assert distance_m(latitude, longitude, spot) <= spot.displacement_m + NANOMETRES


@given(LATITUDES, LONGITUDES, METRES)
def test_a_grid_moves_a_position_at_most_its_width_over_the_root_of_two(
    latitude: float, longitude: float, metres: float
) -> None:
    assert coarsened(latitude, longitude, Grid(metres)).displacement_m <= metres / math.sqrt(2.0) * (1 + 1e-12)


@given(LATITUDES, LONGITUDES, METRES)
def test_rounding_moves_a_position_at_most_as_far_as_it_says(latitude: float, longitude: float, metres: float) -> None:
    assert coarsened(latitude, longitude, Rounding(metres)).displacement_m <= metres * (1 + 1e-12)


@given(LATITUDES, LONGITUDES, MAPS)
def test_a_coarse_place_is_in_range_and_stays_where_it_is(
    latitude: float, longitude: float, to: Grid | Rounding
) -> None:
    spot = coarsened(latitude, longitude, to)
    assert -90.0 <= spot.latitude_deg <= 90.0
    assert -180.0 <= spot.longitude_deg < 180.0
    assert coarsened(spot.latitude_deg, spot.longitude_deg, to) == spot


@given(LATITUDES, LONGITUDES, MAPS)
def test_the_antimeridian_is_one_line_and_a_pole_is_rounded_to_one_place(
    latitude: float, longitude: float, to: Grid | Rounding
) -> None:
    assert coarsened(latitude, 180.0, to) == coarsened(latitude, -180.0, to)
    if isinstance(to, Rounding):
        for pole in (-90.0, 90.0):
            spot = coarsened(pole, longitude, to)
            assert (spot.latitude_deg, spot.longitude_deg) == (pole, 0.0)


@given(LATITUDES, LONGITUDES, METRES)
def test_a_cell_is_no_wider_and_no_higher_than_the_grid_says_and_at_least_half_of_it(
    latitude: float, longitude: float, metres: float
) -> None:
    spot = coarsened(latitude, longitude, Grid(metres))
    south, north = spot.latitude_deg - spot.half_height_deg, spot.latitude_deg + spot.half_height_deg
    west, east = spot.longitude_deg - spot.half_width_deg, spot.longitude_deg + spot.half_width_deg
    height = Geodesic.WGS84.Inverse(max(south, -90.0), west, min(north, 90.0), west)["s12"]
    widest = 0.0 if south < 0.0 < north else min(abs(south), abs(north))
    width = Geodesic.WGS84.Inverse(widest, west, widest, east)["s12"]
    assert metres / 2 < height <= metres + NANOMETRES
    assert metres / 2 < width <= metres + NANOMETRES
    assert abs(latitude - spot.latitude_deg) <= spot.half_height_deg * (1 + 1e-9) + 1e-12


@pytest.mark.parametrize(
    ("metres", "place"),
    [
        (100_000.0, (39.0, 126.0)),
        (10_000.0, (39.2, 125.7)),
        (1_000.0, (39.23, 125.67)),
        (800_000.0, (40.0, 130.0)),
    ],
)
def test_rounding_gives_round_numbers(metres: float, place: tuple[float, float]) -> None:
    spot = coarsened(39.2345, 125.6698, Rounding(metres))
    assert (spot.latitude_deg, spot.longitude_deg) == place


@given(LATITUDES, LONGITUDES, st.floats(1.0, 789_000.0))
def test_the_step_of_rounding_is_the_coarsest_that_keeps_within_the_metres(
    latitude: float, longitude: float, metres: float
) -> None:
    spot = coarsened(latitude, longitude, Rounding(metres))
    assert 20 * spot.half_height_deg * LATITUDE_DEGREE_M > metres * math.sqrt(2.0) * (1 - 1e-12)


def test_the_grid_is_as_it_is_written_down() -> None:
    """Worked out by hand: 180 * 111,693.98 / 100,000 = 201.05 and so 202 bands, of which 39.2 N is in the 145th."""
    spot = coarsened(39.2, 125.7, Grid(100_000.0))
    assert spot.latitude_deg == pytest.approx(float(-90 + Fraction(289, 404) * 180), abs=1e-12)
    edge = math.radians(spot.latitude_deg - 90 / 202)
    parallel = 6_378_137 * math.cos(edge) / math.sqrt(1 - 0.00669437999014 * math.sin(edge) ** 2)
    cells = math.ceil(2 * math.pi * parallel / 100_000)
    assert spot.half_width_deg == 180 / cells
    assert (spot.longitude_deg + 180) * cells / 360 % 1 == pytest.approx(0.5)


HEIGHTS = st.floats(LEAST_HEIGHT_M, MOST_HEIGHT_M)


@given(HEIGHTS, METRES)
def test_a_height_goes_to_a_multiple_in_range_and_no_further_than_told(height: float, step: float) -> None:
    coarse = nearest_multiple(height, step, LEAST_HEIGHT_M, MOST_HEIGHT_M)
    furthest = furthest_from_multiple(coarse, step, LEAST_HEIGHT_M, MOST_HEIGHT_M)
    assert LEAST_HEIGHT_M <= coarse <= MOST_HEIGHT_M
    assert abs(coarse - height) <= furthest + NANOMETRES
    assert step / 2 <= furthest <= step
    assert coarse / step == pytest.approx(round(coarse / step), abs=1e-6)
    assert nearest_multiple(coarse, step, LEAST_HEIGHT_M, MOST_HEIGHT_M) == coarse
    assert math.copysign(1.0, nearest_multiple(-0.1, 10.0, -100.0, 100.0)) == 1.0


@given(LATITUDES, LONGITUDES, HEIGHTS, MAPS)
def test_a_position_in_the_air_moves_no_further_than_told_for_its_height(
    latitude: float, longitude: float, height: float, to: Grid | Rounding
) -> None:
    spot = coarsened(latitude, longitude, to)
    moved = math.dist(
        earth_centred(latitude, longitude, height), earth_centred(spot.latitude_deg, spot.longitude_deg, height)
    )
    assert moved <= spot.displacement_at(height) * (1 + 1e-12) + NANOMETRES


@given(LATITUDES, LONGITUDES, MAPS)
def test_the_frame_of_a_position_turns_no_further_than_told(
    latitude: float, longitude: float, to: Grid | Rounding
) -> None:
    spot = coarsened(latitude, longitude, to)
    before, after = axes(latitude, longitude), axes(spot.latitude_deg, spot.longitude_deg)
    trace = sum(
        math.fsum(a * b for a, b in zip(one, other, strict=True)) for one, other in zip(before, after, strict=True)
    )
    turn = math.acos(max(-1.0, min(1.0, (trace - 1.0) / 2.0)))
    assert turn <= spot.turn_rad + 1e-7


def earth_centred(latitude_deg: float, longitude_deg: float, height_m: float) -> tuple[float, float, float]:
    squared = 0.0066943799901413165
    latitude, longitude = math.radians(latitude_deg), math.radians(longitude_deg)
    normal = 6_378_137.0 / math.sqrt(1.0 - squared * math.sin(latitude) ** 2)
    across = (normal + height_m) * math.cos(latitude)
    return (
        across * math.cos(longitude),
        across * math.sin(longitude),
        (normal * (1.0 - squared) + height_m) * math.sin(latitude),
    )


def axes(latitude_deg: float, longitude_deg: float) -> tuple[tuple[float, ...], ...]:
    """East, north and up."""
    latitude, longitude = math.radians(latitude_deg), math.radians(longitude_deg)
    sin_lat, cos_lat, sin_lon, cos_lon = (
        math.sin(latitude),
        math.cos(latitude),
        math.sin(longitude),
        math.cos(longitude),
    )
    return (
        (-sin_lon, cos_lon, 0.0),
        (-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat),
        (cos_lat * cos_lon, cos_lat * sin_lon, sin_lat),
    )


def test_the_radii_are_those_of_wgs_84() -> None:
    assert pytest.approx(6_335_439.327) == LEAST_RADIUS_M
    assert pytest.approx(111_693.979) == LATITUDE_DEGREE_M


@pytest.mark.parametrize("metres", [0.0, -1.0, 0.999, 1_000_001.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Grid, Rounding])
def test_what_is_no_width_is_refused(kind: type[Grid] | type[Rounding], metres: float) -> None:
    with pytest.raises(ObligationError, match="1 to 1000000 metres"):
        kind(metres)
