"""Areas: what lies in them, at the antimeridian and the poles as anywhere, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import pytest
from geographiclib.geodesic import Geodesic
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from policy import areas
from policy.areas import Area
from policy.errors import AreaError, ReleasePolicyError

Corner = tuple[float, float]
WGS84 = Geodesic.WGS84
LATITUDES = st.floats(-90, 90)
LONGITUDES = st.floats(-180, 180)


def distance(start: Corner, end: Corner) -> float:
    return float(WGS84.Inverse(*start, *end)["s12"])


def moved(start: Corner, azimuth: float, metres: float) -> Corner:
    end = WGS84.Direct(*start, azimuth, metres)
    return end["lat2"], end["lon2"]


def geo(*rings: Sequence[Sequence[float]]) -> bytes:
    """A GeoJSON Polygon of rings of [longitude, latitude], closed here."""
    return json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]] for ring in rings]}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(AreaError) as caught:
        areas.from_geojson("x", content)
    return str(caught.value)


# Circles


@given(
    st.tuples(LATITUDES, LONGITUDES),
    st.floats(1, 5e6),
    st.floats(-180, 180),
    st.sampled_from([0, 0.5, 0.989, 0.995, 0.999999, 1.000001, 1.005, 1.011, 2]),
)
@settings(deadline=None)
def test_a_circle_holds_what_is_no_further_than_its_radius(
    centre: Corner, radius_m: float, azimuth: float, part: float
) -> None:
    point = moved(centre, azimuth, radius_m * part)
    area = areas.circle("x", centre, radius_m)
    assert area.contains(*point) is (distance(centre, point) <= radius_m)


@given(st.tuples(LATITUDES, LONGITUDES), st.floats(1, 5e6), LATITUDES, LONGITUDES)
@settings(deadline=None)
def test_a_circle_agrees_with_the_geodesic_distance_anywhere(
    centre: Corner, radius_m: float, latitude: float, longitude: float
) -> None:
    area = areas.circle("x", centre, radius_m)
    assert area.contains(latitude, longitude) is (distance(centre, (latitude, longitude)) <= radius_m)


# Polygons


def winding(corners: Sequence[Corner], point: Corner) -> bool:
    """A slow, obvious test: whether the azimuths from the point to the corners turn full circle. For polygons that are
    small: a geodesic is then seen under less than 180 degrees from any point that is not on it."""
    azimuths = [float(WGS84.Inverse(*point, *corner)["azi1"]) for corner in corners]
    turns = [
        (after - before + 540) % 360 - 180 for before, after in zip(azimuths, azimuths[1:] + azimuths[:1], strict=True)
    ]
    return abs(sum(turns)) > 180


CENTRES = st.one_of(
    st.tuples(LATITUDES, LONGITUDES),
    st.sampled_from(
        [(90.0, 0.0), (-90.0, 0.0), (89.0, 20.0), (0.0, 180.0), (60.0, -180.0), (-45.0, 179.0), (0.0, 0.0)]
    ),
)


@given(
    centre=CENTRES,
    reach=st.lists(st.floats(0.2, 1), min_size=3, max_size=8),
    size_m=st.sampled_from([1e3, 1e5, 1e6]),
    azimuth=st.floats(-180, 180),
    part=st.floats(0, 1.5),
)
@settings(deadline=None, max_examples=200)
def test_a_polygon_holds_what_its_geodesic_edges_go_around(
    centre: Corner, reach: list[float], size_m: float, azimuth: float, part: float
) -> None:
    corners = [moved(centre, 360 * number / len(reach), size_m * far) for number, far in enumerate(reach)]
    point = moved(centre, azimuth, size_m * part)
    around = [moved(point, direction, 2.0) for direction in range(0, 360, 60)]
    expected = {winding(corners, near) for near in around}
    assume(len(expected) == 1)
    area, backwards = areas.polygon("x", [corners]), areas.polygon("x", [corners[::-1]])
    assert {area.contains(*point), backwards.contains(*point)} == expected


def test_an_edge_is_a_geodesic_and_not_a_parallel() -> None:
    corners = [(40.0, 170.0), (40.0, -170.0), (50.0, -170.0), (50.0, 170.0)]
    area = areas.polygon("x", [corners])
    edge = WGS84.Inverse(*corners[0], *corners[1])
    halfway = moved(corners[0], edge["azi1"], edge["s12"] / 2)
    assert halfway[0] == pytest.approx(40.43, abs=0.01)
    assert not area.contains(*moved(halfway, 180, 1.0))
    assert area.contains(*moved(halfway, 0, 1.0))


@pytest.mark.parametrize("azimuth", [0.0, 180.0])
def test_the_furthest_north_and_south_of_a_circle_are_in_it(azimuth: float) -> None:
    for latitude in (-89.9, -35.0, 0.0, 35.0, 60.0, 89.9):
        for radius_m in (1.0, 60_000.0, 5e6):
            area = areas.circle("c", (latitude, 139.0), radius_m)
            assert area.contains(*moved((latitude, 139.0), azimuth, radius_m - 0.01))
            assert not area.contains(*moved((latitude, 139.0), azimuth, radius_m + 0.01))


@pytest.mark.parametrize("side", [1, -1])
def test_an_area_ends_where_its_edge_is_furthest_from_the_equator_and_not_at_its_corners(side: int) -> None:
    corners = [(side * 40.0, 100.0), (side * 40.0, 160.0), (0.0, 130.0)]
    area = areas.polygon("p", [corners])
    edge = WGS84.Inverse(*corners[0], *corners[1])
    furthest = moved(corners[0], edge["azi1"], edge["s12"] / 2)
    assert abs(furthest[0]) > 43
    assert area.contains(*moved(furthest, 0, -side * 1.0))
    assert not area.contains(*moved(furthest, 0, side * 1.0))


@given(LATITUDES, st.floats(-400, 400), st.floats(-170, 170))
def test_where_longitudes_begin_makes_no_difference(latitude: float, longitude: float, shift: float) -> None:
    def around(degrees: float) -> float:
        return (degrees + 540) % 360 - 180

    corners = [(-20.0, 0.0), (10.0, 40.0), (60.0, 20.0), (30.0, -30.0)]
    here = areas.polygon("x", [corners])
    there = areas.polygon("x", [[(corner[0], around(corner[1] + shift)) for corner in corners]])
    point, shifted = (latitude, around(longitude)), (latitude, around(longitude + shift))
    assume(len({here.contains(*moved(point, azimuth, 2.0)) for azimuth in range(0, 360, 45)}) == 1)
    assert here.contains(*point) is there.contains(*shifted)


def test_both_names_of_the_antimeridian_and_all_names_of_a_pole_are_one_place() -> None:
    area = areas.polygon("x", [[(60.0, 0.0), (60.0, 120.0), (60.0, -120.0)]])
    assert {area.contains(90.0, longitude) for longitude in (-180, -7, 0, 180)} == {True}
    assert {area.contains(-90.0, longitude) for longitude in (-180, -7, 0, 180)} == {False}
    across = areas.polygon("x", [[(0.0, 179.0), (0.0, -179.0), (1.0, 180.0)]])
    assert across.contains(0.5, 180.0) is across.contains(0.5, -180.0) is True


def test_the_inside_is_the_smaller_part_of_the_globe() -> None:
    corners = [(-60.0, 0.0), (-60.0, 120.0), (-60.0, -120.0)]
    for ring in (corners, corners[::-1]):
        area = areas.polygon("x", [ring])
        assert (area.contains(-90.0, 0.0), area.contains(0.0, 0.0)) == (True, False)


def test_a_hole_is_outside() -> None:
    outline = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)]
    hole = [(4.0, 4.0), (4.0, 6.0), (6.0, 6.0), (6.0, 4.0)]
    for ring in (hole, hole[::-1]):
        area = areas.polygon("x", [outline, ring])
        assert [area.contains(*point) for point in ((5, 5), (2, 2), (11, 5))] == [False, True, False]


def test_of_two_polygons_with_one_edge_a_place_on_it_is_in_one() -> None:
    west = areas.polygon("w", [[(0.0, 0.0), (0.0, 10.0), (10.0, 10.0), (10.0, 0.0)]])
    east = areas.polygon("e", [[(0.0, 10.0), (0.0, 20.0), (10.0, 20.0), (10.0, 10.0)]])
    for latitude in (0.5, 3.25, 7.125):
        assert west.contains(latitude, 10.0) is not east.contains(latitude, 10.0)


# GeoJSON


def test_an_edge_of_geojson_along_a_parallel_follows_it() -> None:
    area = areas.from_geojson("x", geo([[120, 40], [150, 40], [150, 50], [120, 50]]))
    metre = 1 / 111_000
    for longitude in range(121, 150, 4):
        assert area.contains(40 + metre, longitude)
        assert not area.contains(40 - metre, longitude)
        assert area.contains(50 - metre, longitude)
        assert not area.contains(50 + metre, longitude)


@given(
    ring=st.lists(st.tuples(st.integers(-170, 170), st.integers(-85, 85)), min_size=3, max_size=3, unique=True),
    latitude=st.floats(-88, 88),
    longitude=st.floats(-179, 179),
)
@settings(deadline=None, max_examples=50)
def test_a_triangle_of_geojson_holds_what_it_encloses_on_the_map(
    ring: list[tuple[int, int]], latitude: float, longitude: float
) -> None:
    (ax, ay), (bx, by), (cx, cy) = ring
    assume((bx - ax) * (cy - ay) != (by - ay) * (cx - ax))
    assume(max(ax, bx, cx) - min(ax, bx, cx) <= 180)
    sides = [
        ((ex - sx) * (latitude - sy) - (ey - sy) * (longitude - sx)) / math.hypot(ex - sx, ey - sy)
        for (sx, sy), (ex, ey) in (((ax, ay), (bx, by)), ((bx, by), (cx, cy)), ((cx, cy), (ax, ay)))
    ]
    assume(all(abs(side) > 1e-4 for side in sides))
    expected = all(side > 0 for side in sides) or all(side < 0 for side in sides)
    assert areas.from_geojson("x", geo(ring)).contains(latitude, longitude) is expected


@pytest.mark.parametrize("south", [60.0, -30.0, -89.0])
def test_a_polar_cap_of_geojson_is_bounded_by_its_parallel_however_large(south: float) -> None:
    cap = areas.from_geojson("x", geo([[-180, south], [180, south], [180, 90], [-180, 90]]))
    for longitude in (-180, -90, 0.02, 33, 180):
        assert cap.contains(south + 1e-4, longitude)
        assert not cap.contains(south - 1e-4, longitude)
    assert cap.contains(90, 0)
    assert not cap.contains(-90, 0)


def test_the_other_pole_with_a_jagged_coast() -> None:
    coast = [[-180, -80], [-90, -70], [0, -75], [90, -65], [180, -80]]
    area = areas.from_geojson("x", geo([*coast, [180, -90], [-180, -90]]))
    assert [area.contains(*point) for point in ((-90, 12), (-81, 180), (-79, 180), (-74, -90), (-69, -90))] == [
        *(True, True, False, True, False)
    ]


def test_a_hemisphere_of_geojson_goes_from_pole_to_pole() -> None:
    area = areas.from_geojson("x", geo([[0, -90], [180, -90], [180, 90], [0, 90]]))
    assert [area.contains(0, longitude) for longitude in (-90, -1e-4, 1e-4, 90, 179, -179)] == [
        *(False, False, True, True, True, False)
    ]


def test_a_polygon_cut_at_the_antimeridian_is_whole_there() -> None:
    halves = [
        [[[170, 40], [180, 40], [180, 50], [170, 50], [170, 40]]],
        [[[-180, 40], [-170, 40], [-170, 50], [-180, 50], [-180, 40]]],
    ]
    area = areas.from_geojson("x", json.dumps({"type": "MultiPolygon", "coordinates": halves}).encode())
    for longitude in (175, 179.9999, 180, -180, -179.9999, -175):
        assert area.contains(45, longitude)
        assert not area.contains(39, longitude)
    assert not area.contains(45, 169)
    assert not area.contains(45, -169)


SQUARE = [[0, 0], [10, 0], [10, 10], [0, 10]]
POLYGON = json.loads(geo(SQUARE))


@pytest.mark.parametrize(
    "value",
    [
        POLYGON,
        {"type": "Feature", "properties": {"name": "x"}, "geometry": POLYGON},
        {"type": "FeatureCollection", "features": [{"type": "Feature", "properties": None, "geometry": POLYGON}]},
        {"type": "MultiPolygon", "coordinates": [POLYGON["coordinates"]]},
        {"type": "Polygon", "coordinates": [[[*place, 12.5] for place in POLYGON["coordinates"][0]]]},
        {"type": "Polygon", "coordinates": [POLYGON["coordinates"][0][::-1]]},
    ],
)
def test_a_polygon_is_found_in_every_form(value: object) -> None:
    area = areas.from_geojson("x", json.dumps(value).encode())
    assert area.contains(5, 5)
    assert not area.contains(5, 11)


def test_longitude_comes_first() -> None:
    assert areas.from_geojson("x", geo([[120, 30], [130, 30], [130, 40]])).contains(31, 129)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no JSON at line 1"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b"[]", "no object"),
        (b'{"type": "Polygon", "type": "Polygon"}', 'the key "type" twice'),
        (b'{"type": "Polygon", "coordinates": [[[NaN, 1]]]}', "holds NaN"),
        (b'{"type": "Polygon", "coordinates": [[[1e999, 1], [1, 2], [2, 3], [1e999, 1]]]}', "[Infinity, 1]"),
        (b'{"type": "Polygon", "coordinates": [[[true, 1], [1, 2], [2, 3], [true, 1]]]}', "[true, 1]"),
        (b"[" * 100_000, "too deeply"),
        (b'{"type": "Polygon", "coordinates": [[[' + b"1" * 5_000 + b", 1]]]}", "too many digits"),
        (b" " * (1024 * 1024 + 1), "the limit is 1,048,576"),
        (b'{"type": "Point", "coordinates": [1, 2]}', 'of the type "Point"'),
        (b'{"type": "Feature", "geometry": {"type": "LineString"}}', "LineString"),
        (b'{"type": "Feature", "geometry": null}', "no object"),
        (b'{"type": "FeatureCollection", "features": []}', "exactly one feature"),
        (b'{"type": "FeatureCollection", "features": [{"type": "Polygon"}]}', "no Feature"),
        (b'{"type": "Polygon", "crs": {}, "coordinates": []}', '"crs"'),
        (b'{"type": "Polygon"}', "no rings"),
        (b'{"type": "MultiPolygon", "coordinates": []}', "no polygons"),
        (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [0, 0]]]}', "fewer than four"),
        (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 1]]]}', "not closed"),
        (b'{"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], "x"]]}', 'holds "x"'),
        (geo([[0, 0], [1, 0], [1, 1, 1, 1]]), "[longitude, latitude]"),
        (geo([[0, 0], [190, 0], [190, 1]]), "longitude 190"),
        (geo([[0, 0], [1, 91], [1, 1]]), "latitude 91"),
        (geo([[170, 0], [-170, 0], [-170, 9]]), "section 3.1.9"),
        (geo([[0, 0], [10, 10], [20, 20]]), "encloses nothing"),
        (geo([[0, 0], [9, 0], [9, 9], [0, 0], [-9, 0], [-9, -9]]), "Corners 1 and 4"),
        (geo([[0, 0], [9, 9], [9, 0], [0, 10]]), "crosses or touches itself"),
        (geo([[-180, 60], [180, 60], [180, 70], [-180, 70]]), "a band around the Earth is two polygons"),
        (geo(SQUARE, [[5, 5], [15, 5], [15, 6]]), "not wholly inside"),
        (geo(SQUARE, [[2, 2], [4, 2], [4, 4]], [[3, 2.5], [5, 2.5], [5, 5]]), "rings 2 and 3 overlap"),
        (
            geo([[0, 80], *([180 - 360 * (number % 2), number / 40 - 80] for number in range(400))]),
            "too long",
        ),
    ],
)
def test_what_is_no_polygon_is_refused_in_words(content: bytes, words: str) -> None:
    assert words in refusal(content)


@pytest.mark.parametrize(
    ("rings", "words"),
    [
        ([], "no ring"),
        ([[(0, 0), (1, 1)]], "2 corners"),
        ([[(0, 0), (1, 1), (0, 1), (0, 0)]], "again at the end"),
        ([[(0, 0), (1, 1), (0, 1), (1, 1)]], "Corners 2 and 4"),
        ([[(0, 180), (1, 0), (0, -180)]], "Corners 1 and 3"),
        ([[(90, 0), (1, 0), (90, 50), (5, 5)]], "Corners 1 and 3"),
        ([[(0, 0), (10, 10), (0, 10), (10, 0)]], "from corner 1 (latitude 0, longitude 0)"),
        ([[(0, 0), (0, 179.8), (50, 90)]], "other side of the Earth"),
        ([[(91, 0), (1, 1), (2, 2)]], "latitude 91"),
        ([[(0, -181), (1, 1), (2, 2)]], "longitude -181"),
        ([[(math.nan, 0), (1, 1), (2, 2)]], "latitude nan"),
        ([[(0, 0), (0, 9), (9, 9)], [(20, 20), (20, 21), (21, 21)]], "Ring 2 is a hole"),
        ([[(n / 1e4, 0) for n in range(20_001)]], "the limit is 20,000"),
    ],
)
def test_what_is_no_ring_is_refused_in_words(rings: list[list[Corner]], words: str) -> None:
    with pytest.raises(AreaError) as caught:
        areas.polygon("x", rings)
    assert words in str(caught.value)


@pytest.mark.parametrize("radius_m", [0, 0.99, -1, 5_000_001, math.nan, math.inf])
def test_a_circle_is_of_1_m_to_5000_km(radius_m: float) -> None:
    with pytest.raises(AreaError, match="1 to 5,000,000"):
        areas.circle("x", (0, 0), radius_m)


@pytest.mark.parametrize("centre", [(91, 0), (0, 181), (math.nan, 0), (0, math.nan)])
def test_a_circle_has_its_centre_on_the_earth(centre: Corner) -> None:
    with pytest.raises(AreaError, match="The centre"):
        areas.circle("x", centre, 10)


EVERY_KIND = [
    areas.circle("c", (0, 0), 1e6),
    areas.polygon("p", [[(0, 0), (0, 10), (10, 10)]]),
    areas.from_geojson("g", geo(SQUARE)),
]


@pytest.mark.parametrize("area", EVERY_KIND, ids=lambda area: str(area.name))
@pytest.mark.parametrize(
    "position", [(math.nan, 0), (0, math.nan), (math.inf, 0), (0, -math.inf), (90.1, 0), (0, 180.1), (-91, 0)]
)
def test_what_is_no_position_is_neither_inside_nor_outside(area: Area, position: Corner) -> None:
    with pytest.raises(ReleasePolicyError, match="no position"):
        area.contains(*position)


def test_areas_are_equal_where_their_definitions_are() -> None:
    ring = [(0.0, 0.0), (0.0, 10.0), (10.0, 10.0)]
    assert areas.polygon("x", [ring]) == areas.polygon("x", [ring])
    assert areas.polygon("x", [ring]) != areas.polygon("x", [[(0.0, 0.0), (0.0, 10.0), (10.0, 11.0)]])
    on_map = areas.from_geojson("x", geo([(longitude, latitude) for latitude, longitude in ring]))
    assert areas.polygon("x", [ring]) != on_map
    assert areas.circle("x", (0, 0), 5) == areas.circle("x", (0, 0), 5)
    assert areas.circle("x", (0, 0), 5) != areas.circle("x", (0, 0), 6)
