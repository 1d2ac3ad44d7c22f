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
from itertools import combinations_with_replacement, pairwise
from math import atan2, cos, inf, radians, sin, sqrt, tan
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
    latitude, longitude = position.latitude_deg, position.longitude_deg
    if not (latitude and LATITUDE.lowest <= latitude <= LATITUDE.highest):
        examination.number(position, where, "latitude_deg", LATITUDE)
    if not (longitude and LONGITUDE.lowest <= longitude <= LONGITUDE.highest):
        examination.number(position, where, "longitude_deg", LONGITUDE)
    if height is None:
        if position.HasField("height_m"):
            examination.wrong(where, "height_m", "is set, and a corner has no height", "leave it out")
        return
    height_m = position.height_m
    if not (height_m and HEIGHT.lowest <= height_m <= HEIGHT.highest):
        examination.number(position, where, "height_m", HEIGHT, height)


def check_ellipse(examination: Examination, ellipse: report_pb2.ErrorEllipse, where: str) -> None:
    """Rule 2."""
    major, minor = ellipse.semi_major_m, ellipse.semi_minor_m
    if not (major and SEMI_MAJOR.lowest <= major <= SEMI_MAJOR.highest):
        examination.number(ellipse, where, "semi_major_m", SEMI_MAJOR)
    if not (minor and SEMI_MINOR.lowest <= minor <= SEMI_MINOR.highest):
        examination.number(ellipse, where, "semi_minor_m", SEMI_MINOR)
    if SEMI_MAJOR.lowest <= major < minor <= SEMI_MINOR.highest:
        problem = f"is {minor!r}, which is more than semi_major_m, {major!r}"
        examination.wrong(where, "semi_minor_m", problem, SEMI_MINOR.remedy)
    orientation, containment = ellipse.orientation_deg, ellipse.containment
    if not (orientation and ORIENTATION.lowest <= orientation <= ORIENTATION.highest):
        examination.number(ellipse, where, "orientation_deg", ORIENTATION)
    if not (containment and CONTAINMENT.lowest <= containment <= CONTAINMENT.highest):
        examination.number(ellipse, where, "containment", CONTAINMENT)


def check_polygon(examination: Examination, polygon: report_pb2.Polygon, where: str) -> None:
    """Rule 3."""
    corners = polygon.corners[:]
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
        if abs(corner[0]) != abs(neighbour[0]):
            continue
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
    corners = [(longitude, tan(radians(latitude) / 2.0)) for latitude, longitude in ring]
    for (longitude, t), (next_longitude, u) in pairwise([*corners, corners[0]]):
        east = next_longitude - longitude
        if east > 180.0:
            east -= 360.0
        elif east <= -180.0:
            east += 360.0
        turn += east
        half = radians(east) / 2.0
        excess += 2.0 * atan2(sin(half) * (t + u), cos(half) * (1.0 + t * u))
    return math.remainder(radians(turn) - excess, 4.0 * math.pi)


def check_velocity(examination: Examination, velocity: report_pb2.Velocity, where: str) -> None:
    """Rule 4."""
    if velocity.frame not in FRAME.defined:
        examination.choice(velocity.frame, where, "frame", FRAME)
    x, y, z = velocity.x_mps, velocity.y_mps, velocity.z_mps
    if not (x and SPEED.lowest <= x <= SPEED.highest):
        examination.number(velocity, where, "x_mps", SPEED)
    if not (y and SPEED.lowest <= y <= SPEED.highest):
        examination.number(velocity, where, "y_mps", SPEED)
    if not (z and SPEED.lowest <= z <= SPEED.highest):
        examination.number(velocity, where, "z_mps", SPEED)


def check_covariance(examination: Examination, covariance: report_pb2.Covariance, where: str) -> None:
    """Rule 5, with `ReportLimits.covariance_tolerance`."""
    if covariance.frame not in FRAME.defined:
        examination.choice(covariance.frame, where, "frame", FRAME)
    upper = covariance.upper_triangle[:]
    size = len(upper)
    if size == 0:
        examination.absent(where, "upper_triangle", _TRIANGLE_REMEDY)
        return
    if size not in (_ORDER_3, _ORDER_6):
        problem = f"has {size} numbers, neither 6 nor 21"
        examination.wrong(where, "upper_triangle", problem, _TRIANGLE_REMEDY)
        return
    if positive_semidefinite(upper, examination.limits.covariance_tolerance):
        return
    if all(map(math.isfinite, upper)):
        examination.wrong(where, "upper_triangle", "is not positive semidefinite", _TRIANGLE_REMEDY)
        return
    for index, term in enumerate(upper):
        if not math.isfinite(term):
            problem = f"is {term}, which is not a finite number"
            examination.wrong(where, f"upper_triangle[{index}]", problem, _TRIANGLE_REMEDY)


def positive_semidefinite(upper: Sequence[float], tolerance: float) -> bool:
    """Whether the symmetric matrix of order 3 or 6 with this upper triangle (6 or 21 numbers, row by row) is positive
    semidefinite; one that holds a number which is not finite is not.

    The smallest eigenvalue of the matrix, scaled to a unit diagonal so that metres and metres per second weigh the
    same, must be above -`tolerance`. That is so exactly if the matrix with its diagonal grown by the factor
    1 + `tolerance` is positive definite, thus has a Cholesky decomposition, whose rounding no scaling of the axes
    changes (N. J. Higham, "Accuracy and Stability of Numerical Algorithms", 2nd edition, §10.1) and which is far below
    any tolerance that can be set. A variance of zero allows no covariance. Variances so large that they
    overflow when grown are refused.
    """
    if len(upper) == _ORDER_3:
        xx, xy, xz, yy, yz, zz = upper
        upper = (xx, xy, xz, 0.0, 0.0, 0.0, yy, yz, 0.0, 0.0, 0.0, zz, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    aa, ab, ac, ad, ae, af, bb, bc, bd, be, bf, cc, cd, ce, cf, dd, de, df, ee, ef, ff = upper
    if not (aa and bb and cc and dd and ee and ff):
        return _without_zero_variances(upper, tolerance)
    # Row by row of the factor, whose terms take the names of the matrix's; loops would take five times as long.
    growth = 1.0 + tolerance
    pivot = aa * growth
    if not 0.0 < pivot < inf:
        return False
    inverse = 1.0 / sqrt(pivot)
    ab, ac, ad, ae, af = ab * inverse, ac * inverse, ad * inverse, ae * inverse, af * inverse
    pivot = bb * growth - ab * ab
    if not 0.0 < pivot < inf:
        return False
    inverse = 1.0 / sqrt(pivot)
    bc = (bc - ab * ac) * inverse
    bd = (bd - ab * ad) * inverse
    be = (be - ab * ae) * inverse
    bf = (bf - ab * af) * inverse
    pivot = cc * growth - (ac * ac + bc * bc)
    if not 0.0 < pivot < inf:
        return False
    inverse = 1.0 / sqrt(pivot)
    cd = (cd - (ac * ad + bc * bd)) * inverse
    ce = (ce - (ac * ae + bc * be)) * inverse
    cf = (cf - (ac * af + bc * bf)) * inverse
    pivot = dd * growth - (ad * ad + bd * bd + cd * cd)
    if not 0.0 < pivot < inf:
        return False
    inverse = 1.0 / sqrt(pivot)
    de = (de - (ad * ae + bd * be + cd * ce)) * inverse
    df = (df - (ad * af + bd * bf + cd * cf)) * inverse
    pivot = ee * growth - (ae * ae + be * be + ce * ce + de * de)
    if not 0.0 < pivot < inf:
        return False
    ef = (ef - (ae * af + be * bf + ce * cf + de * df)) * (1.0 / sqrt(pivot))
    return 0.0 < ff * growth - (af * af + bf * bf + cf * cf + df * df + ef * ef) < inf


def _without_zero_variances(upper: Sequence[float], tolerance: float) -> bool:
    """The same, of order 6, where a variance is zero: its covariances must be too, and then any variance serves in its
    place.
    """
    filled = list(upper)
    for variance, covariances in _COVARIANCES.items():
        if upper[variance] == 0.0:
            if any(upper[place] for place in covariances):
                return False
            filled[variance] = 1.0
    return positive_semidefinite(filled, tolerance)


_ORDER_3: Final = 6
_ORDER_6: Final = 21
"""How many numbers the upper triangle of a matrix of that order has."""
_PAIRS: Final = list(combinations_with_replacement(range(6), 2))
"""Row and column of each number in an upper triangle of order 6."""
_COVARIANCES: Final = {
    _PAIRS.index((axis, axis)): [place for place, pair in enumerate(_PAIRS) if axis in pair and pair != (axis, axis)]
    for axis in range(6)
}
"""Where each variance stands in an upper triangle of order 6, and where its covariances do."""
