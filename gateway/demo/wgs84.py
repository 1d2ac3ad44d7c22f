"""Points on and above the WGS-84 ellipsoid (NGA.STND.0036; EPSG:4979), and how one point looks from another.

Lengths are metres, angles degrees. East, north and up (ENU) are those of the local tangent plane, up along the
ellipsoid's normal.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from geographiclib.geodesic import Geodesic

SEMI_MAJOR_M: Final = 6_378_137.0
FLATTENING: Final = 1 / 298.257223563
_ECCENTRICITY_SQUARED: Final = FLATTENING * (2 - FLATTENING)


@dataclass(frozen=True, slots=True)
class Point:
    """A geodetic position: latitude -90 to 90, longitude -180 to 180, height above the ellipsoid."""

    latitude_deg: float
    longitude_deg: float
    height_m: float = 0.0


@dataclass(frozen=True, slots=True)
class Enu:
    """A vector in the local tangent plane of a point: metres, or metres a second."""

    east: float
    north: float
    up: float

    @property
    def length(self) -> float:
        return math.sqrt(self.east**2 + self.north**2 + self.up**2)


@dataclass(frozen=True, slots=True)
class Look:
    """How a target appears to an observer: straight-line distance, and elevation above the local horizontal."""

    slant_range_m: float
    elevation_deg: float


def radii_of_curvature_m(latitude_deg: float) -> tuple[float, float]:
    """The radii of curvature in the meridian (M) and in the prime vertical (N)."""
    w_squared = 1 - _ECCENTRICITY_SQUARED * math.sin(math.radians(latitude_deg)) ** 2
    prime_vertical = SEMI_MAJOR_M / math.sqrt(w_squared)
    return prime_vertical * (1 - _ECCENTRICITY_SQUARED) / w_squared, prime_vertical


def to_ecef(point: Point) -> tuple[float, float, float]:
    """Earth-centred, Earth-fixed coordinates: x through 0 N 0 E, z through the north pole."""
    _, prime_vertical = radii_of_curvature_m(point.latitude_deg)
    latitude, longitude = math.radians(point.latitude_deg), math.radians(point.longitude_deg)
    from_axis = (prime_vertical + point.height_m) * math.cos(latitude)
    return (
        from_axis * math.cos(longitude),
        from_axis * math.sin(longitude),
        (prime_vertical * (1 - _ECCENTRICITY_SQUARED) + point.height_m) * math.sin(latitude),
    )


def rotate_to_enu(at: Point, vector: tuple[float, float, float]) -> Enu:
    """The vector of Earth-fixed components in the tangent plane of a point."""
    x, y, z = vector
    sin_lat, cos_lat = math.sin(math.radians(at.latitude_deg)), math.cos(math.radians(at.latitude_deg))
    sin_lon, cos_lon = math.sin(math.radians(at.longitude_deg)), math.cos(math.radians(at.longitude_deg))
    outward = cos_lon * x + sin_lon * y
    return Enu(
        east=-sin_lon * x + cos_lon * y,
        north=-sin_lat * outward + cos_lat * z,
        up=cos_lat * outward + sin_lat * z,
    )


def look(observer: Point, target: Point) -> Look:
    """Straight-line geometry, without refraction: a target at a positive elevation is above the horizon."""
    ox, oy, oz = to_ecef(observer)
    tx, ty, tz = to_ecef(target)
    sight = rotate_to_enu(observer, (tx - ox, ty - oy, tz - oz))
    slant = sight.length
    elevation = 90.0 if slant == 0 else math.degrees(math.asin(max(-1.0, min(1.0, sight.up / slant))))
    return Look(slant, elevation)


def displaced(point: Point, by: Enu) -> Point:
    """The point moved by a small vector of its own tangent plane (error: length squared over Earth's radius).

    Not for points within 100 km of a pole, where a degree of longitude loses its length.
    """
    meridian, prime_vertical = radii_of_curvature_m(point.latitude_deg)
    latitude = point.latitude_deg + math.degrees(by.north / (meridian + point.height_m))
    per_radian = (prime_vertical + point.height_m) * math.cos(math.radians(point.latitude_deg))
    longitude = point.longitude_deg + math.degrees(by.east / per_radian)
    return Point(latitude, wrapped_longitude(longitude), point.height_m + by.up)


def wrapped_longitude(longitude_deg: float) -> float:
    """The same longitude in -180 to 180."""
    return longitude_deg if -180 <= longitude_deg <= 180 else (longitude_deg + 180) % 360 - 180


def travelled(start: Point, azimuth_deg: float, distance_m: float) -> Point:
    """The point on the ellipsoid at the end of the geodesic of this azimuth and length."""
    end = Geodesic.WGS84.Direct(start.latitude_deg, start.longitude_deg, azimuth_deg, distance_m)
    return Point(end["lat2"], end["lon2"])


def ground_distance_m(start: Point, end: Point) -> float:
    """The length of the shortest geodesic between the points' feet on the ellipsoid."""
    return Geodesic.WGS84.Inverse(start.latitude_deg, start.longitude_deg, end.latitude_deg, end.longitude_deg)["s12"]
