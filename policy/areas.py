"""Named areas of the Earth's surface, and whether a position lies in one. Pure: no I/O.

Positions are geodetic latitude and longitude in degrees on WGS-84; height plays no part. Rules, in order:

1. A *circle* holds every position whose geodesic distance from its centre is at most its radius (Karney's algorithms
   through geographiclib: exact to nanometres).
2. A *polygon*'s edges are geodesics, as in ``report.proto``. The first ring is the outline and the others are holes;
   the inside of a ring is the smaller part of the globe, whichever way round its corners stand.
3. A *GeoJSON* polygon is read as RFC 7946 says: longitude before latitude; edges are straight in longitude and latitude
   (section 3.1.1), so that an edge along a parallel follows it; no edge crosses the antimeridian (3.1.9), which may
   itself be an edge, as may a pole. The inside of a ring is what it encloses on the map, though it be more than half
   of the globe. Rings may stand either way round.
4. Whether a position is inside a ring is S2's exact predicate on a sphere (s2geometry). Edges are divided until the
   great circles between the divisions depart from rule 2 or 3 by less than 1 metre (``docs/adr/0015-areas.md``).
   A position on an edge is in exactly one of the two polygons that share it.
5. A ring that crosses or touches itself, a hole that is not wholly in its outline or overlaps another, an edge that
   many geodesics could be, corners that stand twice: the area is refused. Nothing is mended by guessing.
6. A position that is not finite or out of range is neither inside nor outside: it is an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn

import s2geometry
from geographiclib.geodesic import Geodesic

from policy import geojson
from policy.errors import AreaError
from policy.geojson import Corner as _Corner

SHORTEST_RADIUS_M: Final = 1.0
"""Metres: less than a position of the contract can mean."""

LONGEST_RADIUS_M: Final = 5_000_000.0
"""Metres: an eighth of the way around the Earth; a circle beyond it is no longer an area but most of a hemisphere."""

CORNERS: Final = 20_000
"""Corners of one area: what such a file can hold in use, and loads in under a second."""

DIVISIONS: Final = 100_000
"""Corners of one ring after its edges were divided: a parallel all around the Earth needs 9,000."""

_PIECE_M: Final = 100_000.0
"""Metres. A geodesic of this length departs from the great circle of the same geodetic ends by at most 0.66 m; the
departure grows with the square of the length."""

_PIECE_DEG: Final = 0.04
"""Degrees of longitude and latitude. A line that is straight in both departs from the great circle by at most
(R / 8) (dl^2 / 2 + 2 dl db), which is 0.97 m."""

_ANTIPODAL_DEG: Final = 1.0
"""Degrees around the antipode of a point within which more than one geodesic to it may be the shortest (0.6)."""

# The ellipsoid's radii of curvature lie between these, so a geodesic's length lies between them times the angle
# between the normals at its ends, which is their angle as points of a sphere by geodetic latitude and longitude.
_LEAST_CURVATURE_M: Final = 6_335_439.0
_MOST_CURVATURE_M: Final = 6_399_594.0

_MARGIN_DEG: Final = 1e-6
"""Degrees by which the bounds of an area's latitudes are widened, far above what rounding can do: where a position is
beyond them, nothing else need be asked."""

_Vector = tuple[float, float, float]
_Latitudes = tuple[float, float]


def _vector(latitude_deg: float, longitude_deg: float) -> _Vector:
    latitude, longitude = math.radians(latitude_deg), math.radians(longitude_deg)
    across = math.cos(latitude)
    return across * math.cos(longitude), across * math.sin(longitude), math.sin(latitude)


def _point(corner: _Corner) -> s2geometry.S2Point:
    return s2geometry.S2Point_FromRaw(*_vector(*corner))


@dataclass(frozen=True, slots=True)
class _Disc:
    centre: _Corner
    radius_m: float
    vector: _Vector
    certain: float
    possible: float

    def latitudes(self) -> _Latitudes:
        reach = math.degrees(self.radius_m / _LEAST_CURVATURE_M)
        return self.centre[0] - reach, self.centre[0] + reach

    def contains(self, latitude_deg: float, longitude_deg: float) -> bool:
        chord = math.dist(self.vector, _vector(latitude_deg, longitude_deg))
        if chord > self.possible:
            return False
        if chord < self.certain:
            return True
        distance = Geodesic.WGS84.Inverse(*self.centre, latitude_deg, longitude_deg, Geodesic.DISTANCE)["s12"]
        return distance <= self.radius_m


@dataclass(frozen=True, slots=True)
class _Outline:
    ring: s2geometry.S2Loop
    holes: tuple[s2geometry.S2Loop, ...]

    def contains(self, point: s2geometry.S2Point) -> bool:
        return self.ring.Contains(point) and not any(hole.Contains(point) for hole in self.holes)


@dataclass(frozen=True, slots=True)
class _Outlines:
    parts: tuple[_Outline, ...]

    def latitudes(self) -> _Latitudes:
        bounds = [part.ring.GetRectBound() for part in self.parts]
        return min(bound.lat_lo().degrees() for bound in bounds), max(bound.lat_hi().degrees() for bound in bounds)

    def contains(self, latitude_deg: float, longitude_deg: float) -> bool:
        point = _point((latitude_deg, longitude_deg))
        return any(part.contains(point) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Area:
    """A named area. ``geometry`` tells in words what it is, whatever it is called: the same words, the same area."""

    name: str
    geometry: str = field(repr=False)
    _shape: _Disc | _Outlines = field(repr=False, compare=False)
    _latitudes: _Latitudes = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        south, north = self._shape.latitudes()
        object.__setattr__(self, "_latitudes", (south - _MARGIN_DEG, north + _MARGIN_DEG))

    def contains(self, latitude_deg: float, longitude_deg: float) -> bool:
        """Whether the position lies in the area. Raises AreaError for what is no position."""
        if not (-90.0 <= latitude_deg <= 90.0 and -180.0 <= longitude_deg <= 180.0):
            raise AreaError(f"Latitude {latitude_deg}, longitude {longitude_deg} is no position.")
        south, north = self._latitudes
        if not south <= latitude_deg <= north:
            return False
        return self._shape.contains(*_one_of_many(latitude_deg, longitude_deg))


def _one_of_many(latitude_deg: float, longitude_deg: float) -> _Corner:
    """The one pair of numbers for a point that has several: the poles, and the antimeridian."""
    if abs(latitude_deg) == 90.0:
        return latitude_deg, 0.0
    return latitude_deg, 180.0 if longitude_deg == -180.0 else longitude_deg


def circle(name: str, centre: tuple[float, float], radius_m: float) -> Area:
    """All positions at most ``radius_m`` metres (1 to 5,000,000) from ``centre`` (latitude, longitude). AreaError."""
    _check_corner(centre, "The centre")
    if not SHORTEST_RADIUS_M <= radius_m <= LONGEST_RADIUS_M:
        _refuse(f"The radius is {radius_m:,} m.", "Give it in metres, 1 to 5,000,000.")
    certain, possible = (
        2 * math.sin(radius_m / curvature / 2) * slack
        for curvature, slack in ((_MOST_CURVATURE_M, 1 - 1e-9), (_LEAST_CURVATURE_M, 1 + 1e-9))
    )
    return Area(name, f"circle {centre} {radius_m}", _Disc(centre, radius_m, _vector(*centre), certain, possible))


def polygon(name: str, rings: Sequence[Sequence[tuple[float, float]]]) -> Area:
    """The area inside the first ring and outside the others, each of corners (latitude, longitude), the first not
    repeated at the end. Raises AreaError."""
    if not rings:
        _refuse("There is no ring.", "Name its corners.")
    _check_count(rings)
    made = []
    for place, corners in enumerate(rings, 1):
        where = _ring_words(place, len(rings))
        if len(corners) > 1 and corners[0] == corners[-1]:
            _refuse(f"{where} names its first corner again at the end.", "Take the last one out: a ring closes itself.")
        for number, corner in enumerate(corners, 1):
            _check_corner(corner, f"Corner {number} of {where.lower()}")
        points = [_one_of_many(*corner) for corner in corners]
        _check_ring(points, where)
        loop = _loop(points, list(_geodesic_pieces(points, where)), where)
        loop.Normalize()
        made.append(loop)
    geometry = f"geodesics {[[tuple(corner) for corner in corners] for corners in rings]}"
    return Area(name, geometry, _Outlines((_outline(made),)))


def from_geojson(name: str, content: bytes) -> Area:
    """The area of a GeoJSON text (RFC 7946): a Polygon or MultiPolygon, a Feature of one, or a FeatureCollection of one
    Feature. Raises AreaError."""
    found = geojson.polygons(content)
    _check_count([ring for rings in found for ring in rings])
    parts = []
    for part, rings in enumerate(found, 1):
        made = []
        for number, corners in enumerate(rings, 1):
            where = _ring_words(number, len(rings)) + (f" of polygon {part}" if len(found) > 1 else "")
            _check_ring(corners, where)
            made.append(_loop(corners, _mapped(corners, where), where))
        parts.append(_outline(made))
    return Area(name, f"map {found}", _Outlines(tuple(parts)))


def _refuse(what: str, remedy: str) -> NoReturn:
    raise AreaError(f"{what} {remedy}")


def _ring_words(number: int, of: int) -> str:
    return "The ring" if of == 1 else f"Ring {number}"


def _corner_words(corner: _Corner) -> str:
    return f"(latitude {corner[0]:g}, longitude {corner[1]:g})"


def _check_corner(corner: _Corner, where: str) -> None:
    latitude, longitude = corner
    if not -90.0 <= latitude <= 90.0:
        _refuse(f"{where} has the latitude {latitude:g}.", "Latitudes are -90 to 90; the order may be wrong.")
    if not -180.0 <= longitude <= 180.0:
        _refuse(f"{where} has the longitude {longitude:g}.", "Longitudes are -180 to 180.")


def _check_count(rings: Iterable[Sequence[object]]) -> None:
    if (count := sum(map(len, rings))) > CORNERS:
        _refuse(f"The area has {count:,} corners; the limit is {CORNERS:,}.", "Simplify it.")


def _check_ring(corners: Sequence[_Corner], where: str) -> None:
    if len(corners) < 3:
        _refuse(f"{where} has {len(corners)} corners.", "Three make an area.")
    seen: dict[_Corner, int] = {}
    for number, corner in enumerate(corners, 1):
        _check_corner(corner, f"Corner {number} of {where.lower()}")
        if corner in seen:
            _refuse(f"Corners {seen[corner]} and {number} of {where.lower()} are one.", "Take one of them out.")
        seen[corner] = number


def _geodesic_pieces(corners: Sequence[_Corner], where: str) -> Iterator[_Corner]:
    """The corners, and the divisions of the geodesics between them."""
    for number, (start, end) in enumerate(zip(corners, [*corners[1:], corners[0]], strict=True), 1):
        opposite = _vector(-end[0], end[1] - 180.0)
        if math.dist(_vector(*start), opposite) < math.radians(_ANTIPODAL_DEG):
            what = f"The edge from corner {number} of {where.lower()} leads to the other side of the Earth."
            _refuse(what, "Put a corner between its ends, to say which way it goes.")
        line = Geodesic.WGS84.Inverse(*start, *end)
        pieces = max(1, math.ceil(line["s12"] / _PIECE_M))
        yield start
        path = Geodesic.WGS84.Line(*start, line["azi1"])
        for piece in range(1, pieces):
            place = path.Position(line["s12"] * piece / pieces)
            yield place["lat2"], place["lon2"]


def _mapped(corners: Sequence[_Corner], where: str) -> list[_Corner]:
    """The corners and the divisions of the straight lines between them, counter-clockwise on the map."""
    pairs = list(zip(corners, [*corners[1:], corners[0]], strict=True))
    enclosed = math.fsum(start[1] * end[0] - end[1] * start[0] for start, end in pairs)
    if enclosed == 0:
        _refuse(f"{where} encloses nothing.", "Mend its corners.")
    points: list[_Corner] = []
    for number, (start, end) in enumerate(pairs, 1):
        up, right = end[0] - start[0], end[1] - start[1]
        if 180.0 < abs(right) < 360.0:
            what = f"The edge from corner {number} of {where.lower()} spans {abs(right):g} degrees of longitude."
            _refuse(what, "Cut the polygon where it crosses the antimeridian (RFC 7946, section 3.1.9).")
        # A meridian is a great circle already; from pole to pole it needs a point between to say which.
        pieces = math.ceil(max(abs(up), abs(right)) / _PIECE_DEG) if right else 1 + (abs(up) == 180.0)
        if len(points) + pieces > DIVISIONS:
            _refuse(f"The edges of {where.lower()} are too long together.", "Make its outline simpler.")
        points += (
            _one_of_many(start[0] + up * piece / pieces, start[1] + right * piece / pieces) for piece in range(pieces)
        )
    return _without_seams(points if enclosed > 0 else points[::-1])


def _without_seams(points: Sequence[_Corner]) -> list[_Corner]:
    """The ring without what the map draws and the Earth does not have: the way along the antimeridian to a pole and
    back, and the pole as a line."""
    start = next((place for place, point in enumerate(points) if not _on_seam(point)), 0)
    kept: list[_Corner] = []
    for point in (*points[start:], *points[:start]):
        if kept[-2:-1] == [point] and _on_seam(point) and _on_seam(kept[-1]):
            kept.pop()
        elif kept[-1:] != [point]:
            kept.append(point)
    return kept


def _on_seam(point: _Corner) -> bool:
    return point[1] == 180.0 or abs(point[0]) == 90.0


def _loop(corners: Sequence[_Corner], points: Sequence[_Corner], where: str) -> s2geometry.S2Loop:
    loop = s2geometry.S2Loop()
    loop.Init([_point(point) for point in points])
    if not loop.IsValid():
        remedy = "Mend the order of its corners; a band around the Earth is two polygons."
        _refuse(f"{where} crosses or touches itself{_crossing(corners)}.", remedy)
    return loop


def _crossing(corners: Sequence[_Corner]) -> str:
    """Where a ring crosses itself, in words, as far as the great circles between its corners show it."""
    points = [_point(corner) for corner in corners[:1_000]]
    edges = list(zip(range(len(points)), [*range(1, len(points)), 0], strict=True))
    for number, (a, b) in enumerate(edges):
        for c, d in edges[number + 2 :]:
            if s2geometry.CrossingSign(points[a], points[b], points[c], points[d]) > 0:
                first, second = _corner_words(corners[a]), _corner_words(corners[c])
                return f": the edge from corner {a + 1} {first} and the edge from corner {c + 1} {second}"
    return ""


def _outline(loops: Sequence[s2geometry.S2Loop]) -> _Outline:
    outer, *holes = loops
    for number, hole in enumerate(holes, 2):
        if not outer.Contains(hole):
            _refuse(f"Ring {number} is a hole and not wholly inside ring 1.", "Mend it, or make it an area of its own.")
        for other, before in enumerate(holes[: number - 2], 2):
            if hole.Intersects(before):
                _refuse(f"The holes of rings {other} and {number} overlap.", "Join them.")
    return _Outline(outer, tuple(holes))
