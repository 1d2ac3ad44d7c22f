"""Where things are: positions, error ellipses, areas, velocities and covariances.

Rules of the contract, in order (WGS-84; EPSG:4979):

1. A position has latitude -90 to 90, longitude -180 to 180, height -12,000 to 50,000,000 m.
2. An ellipse has 0 < minor <= major <= 20,000,000 m, an orientation in [0, 180) and a containment in (0, 1).
3. A ring has 3 to 256 corners without height. At the C2 door also: no two neighbours, the last and the first among
   them, are the same point or opposite ends of the Earth, and it runs counter-clockwise around the smaller part of the
   globe. A partner's policy may have coarsened the corners, so that they have come together. Whether edges cross
   is not examined.
4. Velocity components are within 20,000 m/s.
5. A covariance has 6 or 21 finite numbers and is positive semidefinite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from operator import mul
from typing import Final

from signalfire.v1 import report_pb2

from gateway.reports.fields import Bounds, Examination, Need, enum_form

LATITUDE: Final = Bounds(-90.0, 90.0, "send degrees north, -90 to 90")
LONGITUDE: Final = Bounds(-180.0, 180.0, "send degrees east, -180 to 180")
HEIGHT: Final = Bounds(-12_000.0, 50_000_000.0, "send metres above the WGS-84 ellipsoid, -12,000 to 50,000,000")
SEMI_MAJOR: Final = Bounds(0.0, 20_000_000.0, "send metres, above 0 and at most 20,000,000", open_below=True)
SEMI_MINOR: Final = Bounds(0.0, 20_000_000.0, "send metres, above 0 and at most semi_major_m", open_below=True)
ORIENTATION: Final = Bounds(0.0, 180.0, "send degrees clockwise from true north, 0 to below 180", open_above=True)
CONTAINMENT: Final = Bounds(0.0, 1.0, "send a probability above 0 and below 1", open_below=True, open_above=True)
SPEED: Final = Bounds(-20_000.0, 20_000.0, "send metres per second, -20,000 to 20,000")
FRAME: Final = enum_form(report_pb2.ReferenceFrame.DESCRIPTOR)

LEAST_CORNERS: Final = 3
MOST_CORNERS: Final = 256
_LEAST_AREA_SR: Final = 2.5e-14
"""About 1 m^2 on the Earth: far above the rounding of `ring_area`, far below any area that could be warned."""
_CORNERS_REMEDY: Final = "send 3 to 256 corners, counter-clockwise seen from above, the first not repeated"
_TRIANGLE_REMEDY: Final = "send the upper triangle row by row, 6 or 21 finite numbers, positive semidefinite"


def check_position(
    examination: Examination, position: report_pb2.Position, where: str, height: Need | None = Need.OPTIONAL
) -> None:
    """Rule 1. `height` says whether it must be there; None: it must not."""
    has = position.HasField
    examination.number(has("latitude_deg"), position.latitude_deg, where, "latitude_deg", LATITUDE)
    examination.number(has("longitude_deg"), position.longitude_deg, where, "longitude_deg", LONGITUDE)
    if height is not None:
        examination.number(has("height_m"), position.height_m, where, "height_m", HEIGHT, height)
    elif has("height_m"):
        examination.wrong(where, "height_m", "is set, and a corner has no height", "leave it out")


def check_ellipse(examination: Examination, ellipse: report_pb2.ErrorEllipse, where: str) -> None:
    """Rule 2."""
    has = ellipse.HasField
    major, minor = ellipse.semi_major_m, ellipse.semi_minor_m
    has_major, has_minor = has("semi_major_m"), has("semi_minor_m")
    examination.number(has_major, major, where, "semi_major_m", SEMI_MAJOR)
    examination.number(has_minor, minor, where, "semi_minor_m", SEMI_MINOR)
    if has_major and has_minor and SEMI_MAJOR.lowest <= major < minor <= SEMI_MINOR.highest:
        problem = f"is {minor!r}, which is more than semi_major_m, {major!r}"
        examination.wrong(where, "semi_minor_m", problem, SEMI_MINOR.remedy)
    examination.number(has("orientation_deg"), ellipse.orientation_deg, where, "orientation_deg", ORIENTATION)
    examination.number(has("containment"), ellipse.containment, where, "containment", CONTAINMENT)


def check_polygon(examination: Examination, polygon: report_pb2.Polygon, where: str) -> None:
    """Rule 3."""
    corners = polygon.corners
    size = len(corners)
    if size == 0:
        examination.absent(where, "corners", _CORNERS_REMEDY)
        return
    if not examination.count(size, where, "corners", MOST_CORNERS):
        return
    before = len(examination.found)
    if size < LEAST_CORNERS:
        examination.wrong(where, "corners", f"has {size} entries, fewer than {LEAST_CORNERS}", _CORNERS_REMEDY)
    for index, corner in enumerate(corners):
        check_position(examination, corner, f"{where}.corners[{index}]", None)
    if examination.complete and len(examination.found) == before:
        _check_ring(examination, [(corner.latitude_deg, corner.longitude_deg) for corner in corners], where)


def _check_ring(examination: Examination, ring: Sequence[tuple[float, float]], where: str) -> None:
    sound = True
    for index, (corner, neighbour) in enumerate(zip(ring, [ring[-1], *ring], strict=False)):
        if _same_point(corner, neighbour):
            problem = "repeats the corner before it" if index else "is repeated by the last corner"
        elif _same_point(corner, (-neighbour[0], neighbour[1] + 180.0)):
            problem = "lies opposite its neighbour on the globe, so that no one shortest edge joins them"
        else:
            continue
        sound = False
        examination.wrong(where, f"corners[{index}]", problem, _CORNERS_REMEDY)
    if not sound:
        return
    area = ring_area(ring)
    if abs(area) < _LEAST_AREA_SR:
        examination.wrong(where, "corners", "enclose less than 1 m^2", _CORNERS_REMEDY)
    elif area < 0.0:
        examination.wrong(where, "corners", "run clockwise", _CORNERS_REMEDY)


def _same_point(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two (latitude, longitude) are one point: longitudes count around the globe, at a pole not at all."""
    return one[0] == other[0] and ((one[1] - other[1]) % 360.0 == 0.0 or abs(one[0]) == 90.0)


def ring_area(ring: Sequence[tuple[float, float]]) -> float:
    """The area to the left of a ring of (latitude, longitude) in degrees, in steradians of a unit sphere.

    From -2 pi to 2 pi: negative where the ring runs clockwise around the smaller part of the globe. It is
    summed from the spherical excess between each edge and the equator, and the turns around the axis (R. G. Chamberlain
    and W. H. Duquette, "Some Algorithms for Polygons on a Sphere", JPL 2007; C. F. F. Karney, "Algorithms for
    geodesics", 2013, §6). The flattening of the Earth changes the size by less than 1 % and the sign not at all.
    """
    excess = 0.0
    turn = 0.0
    for (latitude, longitude), (next_latitude, next_longitude) in pairwise([*ring, ring[0]]):
        east = next_longitude - longitude
        if east > 180.0:
            east -= 360.0
        elif east <= -180.0:
            east += 360.0
        turn += east
        t, u = math.tan(math.radians(latitude) / 2.0), math.tan(math.radians(next_latitude) / 2.0)
        half = math.radians(east) / 2.0
        excess += 2.0 * math.atan2(math.sin(half) * (t + u), math.cos(half) * (1.0 + t * u))
    return math.remainder(math.radians(turn) - excess, 4.0 * math.pi)


def check_velocity(examination: Examination, velocity: report_pb2.Velocity, where: str) -> None:
    """Rule 4."""
    has = velocity.HasField
    examination.choice(velocity.frame, where, "frame", FRAME)
    examination.number(has("x_mps"), velocity.x_mps, where, "x_mps", SPEED)
    examination.number(has("y_mps"), velocity.y_mps, where, "y_mps", SPEED)
    examination.number(has("z_mps"), velocity.z_mps, where, "z_mps", SPEED)


def check_covariance(examination: Examination, covariance: report_pb2.Covariance, where: str) -> None:
    """Rule 5, with `ReportLimits.covariance_tolerance`."""
    examination.choice(covariance.frame, where, "frame", FRAME)
    upper = covariance.upper_triangle[:]
    size = len(upper)
    if size == 0:
        examination.absent(where, "upper_triangle", _TRIANGLE_REMEDY)
        return
    if size not in _COLUMNS:
        problem = f"has {size} numbers, neither 6 nor 21"
        examination.wrong(where, "upper_triangle", problem, _TRIANGLE_REMEDY)
        return
    if not all(map(math.isfinite, upper)):
        for index, term in enumerate(upper):
            if not math.isfinite(term):
                problem = f"is {term}, which is not a finite number"
                examination.wrong(where, f"upper_triangle[{index}]", problem, _TRIANGLE_REMEDY)
    elif not positive_semidefinite(upper, examination.limits.covariance_tolerance):
        examination.wrong(where, "upper_triangle", "is not positive semidefinite", _TRIANGLE_REMEDY)


def positive_semidefinite(upper: Sequence[float], tolerance: float) -> bool:
    """Whether the symmetric matrix of order 3 or 6 with this upper triangle (6 or 21 finite numbers, row by row) is
    positive semidefinite.

    The smallest eigenvalue of the matrix, scaled to a unit diagonal so that metres and metres per second weigh the
    same, must be above -`tolerance`. That is so exactly if the matrix with its diagonal grown by the factor
    1 + `tolerance` is positive definite, thus has a Cholesky decomposition, whose rounding no scaling of the axes
    changes (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, §10.1) and which is far below
    any tolerance that can be set. A variance of zero allows no covariance. Variances so large that they
    overflow when grown are refused.
    """
    columns = _COLUMNS[len(upper)]
    if not all(upper[diagonal] for _, diagonal in columns):
        return _without_zero_variances(upper, columns, tolerance)
    growth = 1.0 + tolerance
    factor: list[list[float]] = []
    inverses: list[float] = []
    for above, diagonal in columns:
        row: list[float] = []
        pivot = upper[diagonal] * growth
        if above:
            row.append(upper[above[0]] * inverses[0])
            for place in range(1, len(above)):
                term = upper[above[place]] - sum(map(mul, row, factor[place]))
                row.append(term * inverses[place])
            pivot -= sum(map(mul, row, row))
        if not 0.0 < pivot < math.inf:
            return False
        factor.append(row)
        inverses.append(1.0 / math.sqrt(pivot))
    return True


def _without_zero_variances(upper: Sequence[float], columns: _Columns, tolerance: float) -> bool:
    """The same where a variance is zero: its covariances must be, and then any variance serves in its place."""
    filled = list(upper)
    for place, (above, diagonal) in enumerate(columns):
        if upper[diagonal] == 0.0:
            beside = [later[place] for later, _ in columns[place + 1 :]]
            if any(upper[index] for index in (*above, *beside)):
                return False
            filled[diagonal] = 1.0
    return positive_semidefinite(filled, tolerance)


_Columns = tuple[tuple[tuple[int, ...], int], ...]


def _columns(order: int) -> _Columns:
    """Where, in the upper triangle of a symmetric matrix, each column has the terms above and on the diagonal."""
    starts = [row * order - row * (row - 1) // 2 for row in range(order)]
    return tuple(
        (tuple(starts[row] + column - row for row in range(column)), starts[column]) for column in range(order)
    )


_COLUMNS: Final = {6: _columns(3), 21: _columns(6)}
