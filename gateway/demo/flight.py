"""The path of a ballistic missile, computed from launch site, bearing, ground range and apogee.

The model. Free flight on the one Keplerian ellipse around the centre of a spherical Earth (mean radius R) that
leaves the surface at the site, reaches the given apogee and meets the surface again at the given range. With the
central angle 2f = range / R between the ends and r(u) = p / (1 - e cos u), where u is the central angle from the
apogee, the two conditions r(0) = R + apogee and r(f) = R give

    1 - e = R (1 - cos f) / (apogee + R (1 - cos f)),    p = (R + apogee) (1 - e),

so every pair of range and apogee has exactly one path: lofted, depressed, or of minimum energy. Time follows from
Kepler's equation counted from the apogee. The arc R (u + f) is laid along the WGS-84 geodesic of the given bearing,
and r - R is taken for the height above the ellipsoid, so range, bearing and apogee are met exactly.

What it leaves out, and what that costs:

* Powered flight and drag. The path leaves the surface at full speed, where a missile takes its boost to gain it, so
  the flight comes out too short by the order of the boost, 30 to 190 s. Against the public record:
  14 September 2017 (770 km, 3,700 km; 06:57 to 07:16 JST, so 19 minutes to within a minute): 1,015 s instead of
  1,140 s, 11 % short, and over Hokkaido from 330 to 410 s instead of from 420 to 540 s;
  18 November 2022 (6,040.9 km, 999.2 km; 4,135 s as KCNA gave it): 3,947 s, 4.6 % short.
* The rotation of the Earth. The ends are right; between them the true path bends off by up to about a T^2 / 8 of the
  Coriolis acceleration: under 1 km for flights of 2 minutes, some 50 km for flights of 20.
* The flattening of the Earth and its uneven gravity: under 0.4 % of time and speed.

A launch that failed is flown on the same model with the range and apogee that its remains reached, however small:
a range of 1.5 km and an apogee of 2.2 km make a flight of 42 s. Where neither is known, there is no flight to compute.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from geographiclib.geodesic import Geodesic

from gateway.demo.errors import FlightError
from gateway.demo.wgs84 import Enu, Point, radii_of_curvature_m

EARTH_RADIUS_M: Final = 6_371_008.8
"""Mean radius of the WGS-84 ellipsoid, (2a + b) / 3."""

GRAVITATIONAL_PARAMETER: Final = 3.986004418e14
"""GM of the Earth, m^3/s^2 (WGS-84)."""

MIN_RANGE_M: Final = 100.0
MAX_RANGE_M: Final = 20_000_000.0
"""The shorter way round: just under half the circumference."""

MIN_APOGEE_M: Final = 10.0
MAX_APOGEE_M: Final = 50_000_000.0
"""The greatest height that the contract's `Position.height_m` holds."""


@dataclass(frozen=True, slots=True)
class State:
    """Where the missile is and how it moves relative to the Earth's surface, in its own tangent plane, m/s."""

    position: Point
    velocity: Enu


class Flight:
    """One computed flight. Times are seconds since launch, from 0 to `flight_time_s`."""

    def __init__(self, *, site: Point, bearing_deg: float, range_m: float, apogee_m: float) -> None:
        """Fit the path.

        :param site: launch point; its height is ignored (the path starts on the ellipsoid).
        :param bearing_deg: azimuth at the site, degrees clockwise from true north.
        :raises FlightError: if the range is outside 100 m to 20,000 km, the apogee outside 10 m to 50,000 km, or a
            number is not finite.
        """
        _require("range_m", range_m, MIN_RANGE_M, MAX_RANGE_M)
        _require("apogee_m", apogee_m, MIN_APOGEE_M, MAX_APOGEE_M)
        _require("bearing_deg", bearing_deg, -360.0, 360.0)
        self.site = Point(site.latitude_deg, site.longitude_deg)
        self.bearing_deg = bearing_deg
        self.range_m = range_m
        self.apogee_m = apogee_m
        self._line = Geodesic.WGS84.Line(site.latitude_deg, site.longitude_deg, bearing_deg)
        self._half_angle = range_m / EARTH_RADIUS_M / 2
        # 1 - cos f written as 2 sin^2 (f/2): the difference would lose every digit for a range of a few metres.
        bulge = EARTH_RADIUS_M * 2 * math.sin(self._half_angle / 2) ** 2
        self._one_minus_e = bulge / (apogee_m + bulge)
        self._e = 1 - self._one_minus_e
        self._a = (EARTH_RADIUS_M + apogee_m) / (1 + self._e)
        self._ratio = math.sqrt((1 + self._e) / self._one_minus_e)
        self._mean_motion = math.sqrt(GRAVITATIONAL_PARAMETER / self._a**3)
        self._psi_end = 2 * math.atan(self._ratio * math.tan(self._half_angle / 2))
        self._mean_end = self._psi_end + self._e * math.sin(self._psi_end)
        self.flight_time_s = 2 * self._mean_end / self._mean_motion

    @property
    def impact(self) -> Point:
        """Where the path meets the ellipsoid again."""
        return self.state(self.flight_time_s).position

    def state(self, t: float) -> State:
        """Position and velocity `t` seconds after launch.

        :raises FlightError: if `t` is before launch or after impact.
        """
        if not 0 <= t <= self.flight_time_s:
            raise FlightError(
                f"There is no state {t} s after launch",
                where=f"a flight of {self.flight_time_s:.1f} s",
                mend="Ask for a time from 0 to flight_time_s.",
            )
        psi = self._eccentric_angle(self._mean_motion * t - self._mean_end)
        from_apogee = 2 * math.atan(math.tan(psi / 2) / self._ratio)
        radius = self._a * (1 + self._e * math.cos(psi))
        # dr/dt and d(arc)/dt, by the chain rule through Kepler's equation M = psi + e sin psi.
        psi_rate = self._mean_motion / (1 + self._e * math.cos(psi))
        climb = -self._a * self._e * math.sin(psi) * psi_rate
        semi_latus_rectum = self._a * self._one_minus_e * (1 + self._e)
        angular_rate = math.sqrt(GRAVITATIONAL_PARAMETER * semi_latus_rectum) / radius**2

        foot = self._line.Position(EARTH_RADIUS_M * (from_apogee + self._half_angle))
        height = radius - EARTH_RADIUS_M
        azimuth = math.radians(foot["azi2"])
        meridian, prime_vertical = radii_of_curvature_m(foot["lat2"])
        foot_speed = EARTH_RADIUS_M * angular_rate
        return State(
            position=Point(foot["lat2"], foot["lon2"], height),
            velocity=Enu(
                east=foot_speed * math.sin(azimuth) * (1 + height / prime_vertical),
                north=foot_speed * math.cos(azimuth) * (1 + height / meridian),
                up=climb,
            ),
        )

    def azimuth_at_impact_deg(self) -> float:
        """Direction of flight at impact, degrees clockwise from true north, 0 <= azimuth < 360."""
        return self._line.Position(self.range_m)["azi2"] % 360

    def _eccentric_angle(self, mean: float) -> float:
        """Solve M = psi + e sin psi for psi, counted from the apogee.

        Newton's method kept inside a shrinking bracket: near the ends of a steep path the slope 1 + e cos psi comes
        close to zero, where the plain method would leap away.
        """
        low, high = -self._psi_end, self._psi_end
        psi = max(low, min(high, mean / (1 + self._e)))
        for _ in range(100):
            excess = psi + self._e * math.sin(psi) - mean
            if excess > 0:
                high = psi
            else:
                low = psi
            step = psi - excess / (1 + self._e * math.cos(psi))
            following = step if low <= step <= high else (low + high) / 2
            if abs(following - psi) < 1e-14:
                return following
            psi = following
        return psi


def _require(name: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise FlightError(
            f"{name} is {value}", where="figures of a flight", mend=f"Give a number from {least:g} to {most:g}."
        )
