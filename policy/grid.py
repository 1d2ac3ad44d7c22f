"""Where a coarsened position goes, and how far it can have moved. Pure arithmetic on WGS-84 (EPSG:4979).

Two maps, each fixed for the whole globe and the same for every report, so that many reports of one object tell no more
than the cells that it went through. Both depend on the position alone, and a place that comes out goes in unchanged.

1. ``Grid``: the globe is cut into bands of latitude of equal height in degrees, from -90: as few as keep every band at
   most ``metres`` high. Each band is cut into cells of equal width in degrees, from -180: as few as keep the longest
   parallel in it at most ``metres`` from cell to cell. A cell holds its southern and western edge, the last band also
   the north pole. A position goes to the centre of its cell, in degrees.
2. ``Rounding``: latitude goes to the nearest multiple of the largest step among 10, 1, 0.1, ... degrees of which half
   is at most ``metres`` / sqrt(2) long; longitude likewise, with the step that the longest parallel allows which rounds
   to that latitude. What rounds to a pole gets longitude 0.
3. Longitude 180 is -180. At a pole the longitude counts as it is written, for it tells which way north is there.
4. Under either, a height goes to the nearest multiple of ``metres`` within the contract's range, a half upwards.

``Spot.displacement_m`` bounds how far a position at the height of the ellipsoid has moved. Proof: within the spot's
half widths one degree of latitude is at most ``LATITUDE_DEGREE_M`` long and one of longitude at most as long as on the
parallel nearest the equator. The path that is straight in (latitude, longitude) is then no longer than the hypotenuse
of the two, and the geodesic is no longer than the path. So it is at most ``metres`` / sqrt(2) for a grid and ``metres``
for rounding. At a height h both lengths grow at most by the factor 1 + h / ``LEAST_RADIUS_M``. Rounding errors of
doubles add nanometres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from policy.errors import ObligationError

_SEMI_MAJOR_AXIS_M: Final = 6_378_137.0
_FLATTENING: Final = 1.0 / 298.257223563
_ECCENTRICITY_SQUARED: Final = _FLATTENING * (2.0 - _FLATTENING)

LEAST_RADIUS_M: Final = _SEMI_MAJOR_AXIS_M * (1.0 - _ECCENTRICITY_SQUARED)
"""The smallest radius of curvature of the ellipsoid: that of a meridian at the equator."""

LATITUDE_DEGREE_M: Final = math.radians(_SEMI_MAJOR_AXIS_M / (1.0 - _FLATTENING))
"""The longest degree of latitude: at a pole, where the radius of curvature is the largest."""

LEAST_METRES: Final = 1.0
"""The finest coarsening of positions in metres: less is below what any sensor of the field can tell."""
MOST_METRES: Final = 1_000_000.0
"""The coarsest in metres: beyond it a position says less than the country of launch."""
LEAST_HEIGHT_M: Final = -12_000.0
MOST_HEIGHT_M: Final = 50_000_000.0

_STEPS_DEG: Final = (10.0, 1.0, 0.1, 0.01, 0.001, 0.0001, 0.00001)
"""Steps of rounding. The finest, about a metre, is what ``LEAST_METRES`` needs."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Positions go to the centre of their cell of a global grid of cells at most ``metres`` high and wide."""

    metres: float

    def __post_init__(self) -> None:
        _check(self.metres)


@dataclass(frozen=True, slots=True)
class Rounding:
    """Positions are rounded to decimal steps of degrees that move them at most ``metres``."""

    metres: float

    def __post_init__(self) -> None:
        _check(self.metres)


def _check(metres: float) -> None:
    if not LEAST_METRES <= metres <= MOST_METRES:
        raise ObligationError(
            f"A position cannot be coarsened to {metres:.15g} m. Write {LEAST_METRES:.0f} to {MOST_METRES:.0f} metres."
        )


@dataclass(frozen=True, slots=True)
class Spot:
    """A coarsened place: degrees, and how far at most what was there before lay from it in each."""

    latitude_deg: float
    longitude_deg: float
    half_height_deg: float
    half_width_deg: float

    @property
    def displacement_m(self) -> float:
        """No position that comes here has moved further along the ellipsoid, in metres."""
        return self.displacement_at(0.0)

    def displacement_at(self, height_m: float) -> float:
        """The same for positions no higher than ``height_m``, along the surface of that height."""
        if self.half_width_deg >= 180.0:
            return self.half_height_deg * LATITUDE_DEGREE_M * _growth(height_m)
        widest = _longitude_degree_m(self.latitude_deg, self.half_height_deg)
        across = math.hypot(self.half_height_deg * LATITUDE_DEGREE_M, self.half_width_deg * widest)
        return across * _growth(height_m)

    @property
    def convergence_rad(self) -> float:
        """By how much north here differs at most from north there: by no more than the longitude does."""
        return math.radians(min(self.half_width_deg, 180.0))

    @property
    def turn_rad(self) -> float:
        """By how much the frame east, north, up turns at most on the way here: the turn is one about the Earth's axis
        by the difference in longitude, and two that differ by that in latitude; angles of turns add at most."""
        return min(math.radians(self.half_height_deg + self.half_width_deg), math.pi)


def coarsened(latitude_deg: float, longitude_deg: float, to: Grid | Rounding) -> Spot:
    """Where a position goes (rules 1 to 3). Takes -90 to 90 and -180 to 180; gives longitudes below 180."""
    if isinstance(to, Grid):
        return _cell(latitude_deg, longitude_deg, to.metres)
    return _rounded(latitude_deg, longitude_deg, to.metres)


def nearest_multiple(value: float, step: float, least: float, most: float) -> float:
    """The multiple of ``step`` nearest to ``value`` among those from ``least`` to ``most``, a half upwards.

    0 lies between ``least`` and ``most``, so there is one. Zero comes without a sign."""
    index = math.floor(value / step + 0.5)
    return max(math.ceil(least / step), min(math.floor(most / step), index)) * step


def furthest_from_multiple(multiple: float, step: float, least: float, most: float) -> float:
    """How far at most a value from ``least`` to ``most`` lay from its nearest multiple, told from the multiple."""
    furthest = step / 2.0
    if multiple - step < least:
        furthest = max(furthest, multiple - least)
    if multiple + step > most:
        furthest = max(furthest, most - multiple)
    return furthest


def _cell(latitude_deg: float, longitude_deg: float, metres: float) -> Spot:
    bands = math.ceil(180.0 * LATITUDE_DEGREE_M / metres)
    band = min(math.floor((latitude_deg + 90.0) * bands / 180.0), bands - 1)
    half_height = 90.0 / bands
    latitude = (2 * band + 1 - bands) * half_height
    cells = max(1, math.ceil(360.0 * _longitude_degree_m(latitude, half_height) / metres))
    cell = math.floor((longitude_deg + 180.0) * cells / 360.0) % cells
    half_width = 180.0 / cells
    return Spot(latitude, (2 * cell + 1 - cells) * half_width, half_height, half_width)


def _rounded(latitude_deg: float, longitude_deg: float, metres: float) -> Spot:
    step = _step(LATITUDE_DEGREE_M, metres)
    latitude = _multiple(latitude_deg, step)
    if abs(latitude) >= 90.0:
        return Spot(math.copysign(90.0, latitude), 0.0, step / 2.0, 180.0)
    across = _step(_longitude_degree_m(latitude, step / 2.0), metres)
    longitude = _multiple(longitude_deg, across)
    return Spot(latitude, -180.0 if longitude >= 180.0 else longitude, step / 2.0, across / 2.0)


def _step(degree_m: float, metres: float) -> float:
    """The largest step of which half is at most ``metres`` / sqrt(2), where a degree is ``degree_m`` long."""
    return next(step for step in _STEPS_DEG if step * degree_m <= metres * math.sqrt(2.0))


def _multiple(degrees: float, step: float) -> float:
    """The multiple of a decimal step nearest to an angle, as the double nearest to the decimal number."""
    index = math.floor(degrees / step + 0.5)
    return float(index * step) if step >= 1 else index / round(1 / step)


def _longitude_degree_m(latitude_deg: float, half_height_deg: float) -> float:
    """The longest degree of longitude within ``half_height_deg`` of a latitude."""
    nearest = math.radians(max(abs(latitude_deg) - half_height_deg, 0.0))
    sine = math.sin(nearest)
    parallel_m = _SEMI_MAJOR_AXIS_M * math.cos(nearest) / math.sqrt(1.0 - _ECCENTRICITY_SQUARED * sine * sine)
    return math.radians(parallel_m)


def _growth(height_m: float) -> float:
    return 1.0 + max(height_m, 0.0) / LEAST_RADIUS_M
