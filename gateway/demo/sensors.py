"""Who sees which launch when, how well, and when it is reported.

A sensor on Earth sees a missile whose straight line of sight stands at least at its minimum elevation and whose
distance lies within its coverage. The horizon follows from that by geometry (WGS-84, no refraction): a target beyond
it has a negative elevation. A sensor in space sees every burning motor, wherever it is, and nothing after burnout.

Each sensor looks at instants `revisit_s` apart, with a phase of its own. A measured point is the true state with
independent Gaussian noise along east, north and up; a velocity is measured from the second point on, with the
standard deviation of the difference of two points, sqrt(2) noise / revisit.

Deterministic: the noise of one launch at one sensor depends on the seed, the sensor and the launch's id alone, so
that adding a launch changes no other.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from gateway.demo.flight import Flight
from gateway.demo.nations import Nation, Sensor
from gateway.demo.scenario import Launch, Scenario
from gateway.demo.wgs84 import Enu, Point, displaced, look


@dataclass(frozen=True, slots=True)
class Sighting:
    """One measurement. Times are seconds since the scenario's start; `slant_range_m` is none from space."""

    seen_at_s: float
    reported_at_s: float
    since_launch_s: float
    position: Point
    velocity: Enu | None
    noise_m: float
    noise_mps: float
    slant_range_m: float | None
    climbing: bool


@dataclass(frozen=True, slots=True)
class Observation:
    """All that one sensor saw of one launch, in order of time; never empty."""

    nation: Nation
    sensor: Sensor
    launch: Launch
    sightings: tuple[Sighting, ...]

    @property
    def first(self) -> Sighting:
        return self.sightings[0]

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]


def source_of_chance(*parts: object) -> random.Random:
    """A generator that depends on these parts and nothing else."""
    return random.Random("/".join(str(part) for part in parts))


def observe(scenario: Scenario, nation: Nation, launch: Launch, *, seed: int) -> list[Observation]:
    """What each of a nation's sensors sees of a launch; sensors that see nothing are left out."""
    flight = launch.flight()
    observations = []
    for sensor in nation.sensors:
        sightings = _watch(flight, sensor, launch, scenario.seconds_to(launch), nation.node, seed)
        if sightings:
            observations.append(Observation(nation, sensor, launch, sightings))
    return observations


def slant_range_if_seen(sensor: Sensor, target: Point) -> float | None:
    """Distance in metres if a sensor on Earth sees the point; none if it does not."""
    place, coverage = sensor.point(), sensor.coverage
    if place is None or coverage is None:
        return None
    sight = look(place, target)
    in_reach = coverage.min_range_km * 1000 <= sight.slant_range_m <= coverage.max_range_km * 1000
    return sight.slant_range_m if in_reach and sight.elevation_deg >= coverage.min_elevation_deg else None


def noisy_point(chance: random.Random, truth: Point, sigma_m: float) -> Point:
    """The point with Gaussian noise of this standard deviation along east, north and up."""
    return displaced(truth, _noise(chance, sigma_m))


def noisy_velocity(chance: random.Random, truth: Enu, sigma_mps: float) -> Enu:
    """The velocity with Gaussian noise of this standard deviation along each axis."""
    noise = _noise(chance, sigma_mps)
    return Enu(truth.east + noise.east, truth.north + noise.north, truth.up + noise.up)


def velocity_noise_mps(sensor: Sensor) -> float:
    """Standard deviation, along each axis, of a velocity taken from two points one revisit apart."""
    return math.sqrt(2) * sensor.noise_m / sensor.revisit_s


def _watch(
    flight: Flight, sensor: Sensor, launch: Launch, launched_at_s: float, node: str, seed: int
) -> tuple[Sighting, ...]:
    chance = source_of_chance(seed, node, sensor.station, launch.id)
    noise_mps = velocity_noise_mps(sensor)
    until = launch.burn_s if sensor.boost_only else flight.flight_time_s
    sightings: list[Sighting] = []
    t = chance.uniform(0.2, 1.0) * sensor.revisit_s
    while t <= until:
        state = flight.state(t)
        slant = slant_range_if_seen(sensor, state.position)
        if sensor.boost_only or slant is not None:
            sightings.append(
                Sighting(
                    seen_at_s=launched_at_s + t,
                    reported_at_s=launched_at_s + t + sensor.delay_s,
                    since_launch_s=t,
                    position=noisy_point(chance, state.position, sensor.noise_m),
                    velocity=noisy_velocity(chance, state.velocity, noise_mps) if sightings else None,
                    noise_m=sensor.noise_m,
                    noise_mps=noise_mps,
                    slant_range_m=slant,
                    climbing=state.velocity.up > 0,
                )
            )
        t += sensor.revisit_s
    return tuple(sightings)


def _noise(chance: random.Random, sigma: float) -> Enu:
    return Enu(chance.gauss(0, sigma), chance.gauss(0, sigma), chance.gauss(0, sigma))
