"""Who sees what follows from geometry; how well, from the sensor's figures and the seed."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.demo.nations import JAPAN, KOREA, NATIONS, UNITED_STATES, Nation, Sensor
from gateway.demo.scenario import Launch, Scenario
from gateway.demo.sensors import Observation, observe, slant_range_if_seen
from gateway.demo.wgs84 import look, rotate_to_enu, to_ecef
from tests.demo.world import NAMES, scenario

SEVEN, JAPAN_2017, EIGHT = NAMES
SEEDS = (1, 2, 3, 7, 99)


def seen(name: str, nation: Nation, launch_index: int = 0, seed: int = 7) -> dict[str, Observation]:
    played = scenario(name)
    found = observe(played, nation, played.launches[launch_index], seed=seed)
    return {observation.sensor.station: observation for observation in found}


def every_observation(seed: int = 7) -> list[tuple[Scenario, Launch, Observation]]:
    return [
        (scenario(name), launch, observation)
        for name in NAMES
        for launch in scenario(name).launches
        for nation in NATIONS
        for observation in observe(scenario(name), nation, launch, seed=seed)
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_japan_sees_six_of_the_eight_as_it_first_announced(seed: int) -> None:
    watched = [bool(seen(EIGHT, JAPAN, index, seed)) for index in range(8)]
    assert [index + 1 for index, is_seen in enumerate(watched) if not is_seen] == [4, 7]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("nation", [KOREA, UNITED_STATES], ids=["KOR", "USA"])
def test_korea_and_the_united_states_see_all_eight(nation: Nation, seed: int) -> None:
    assert all(seen(EIGHT, nation, index, seed) for index in range(8))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_launch_that_failed_is_seen_from_space_alone(seed: int) -> None:
    assert not seen(SEVEN, JAPAN, 2, seed)
    assert not seen(SEVEN, KOREA, 2, seed)
    assert list(seen(SEVEN, UNITED_STATES, 2, seed)) == ["space-ir"]


def test_korea_loses_the_flight_over_japan_while_japan_keeps_it() -> None:
    flight_time_s = scenario(JAPAN_2017).launches[0].flight().flight_time_s
    korea = max(each.last.since_launch_s for each in seen(JAPAN_2017, KOREA).values())
    japan = max(each.last.since_launch_s for each in seen(JAPAN_2017, JAPAN).values())
    assert korea < flight_time_s / 3
    assert japan > flight_time_s * 3 / 4


def test_the_ship_in_the_ocean_sees_the_end_and_not_the_beginning() -> None:
    ocean = seen(JAPAN_2017, UNITED_STATES)["ship-ocean"]
    flight_time_s = scenario(JAPAN_2017).launches[0].flight().flight_time_s
    assert ocean.first.since_launch_s > 100
    assert ocean.last.since_launch_s > flight_time_s * 0.9


def test_from_space_everything_is_seen_and_only_while_it_burns() -> None:
    for name in NAMES:
        for index, launch in enumerate(scenario(name).launches):
            space = seen(name, UNITED_STATES, index)["space-ir"]
            assert space.first.since_launch_s <= space.sensor.revisit_s
            assert space.last.since_launch_s <= launch.burn_s


def test_the_united_states_knows_of_every_launch_within_half_a_minute() -> None:
    for played, launch, observation in every_observation():
        if observation.sensor.boost_only:
            assert observation.first.reported_at_s - played.seconds_to(launch) < 30


def test_nothing_is_seen_below_the_horizon_or_out_of_reach() -> None:
    for _, launch, observation in every_observation():
        sensor, flight = observation.sensor, launch.flight()
        place, coverage = sensor.point(), sensor.coverage
        if place is None or coverage is None:
            continue
        for sighting in observation.sightings:
            sight = look(place, flight.state(sighting.since_launch_s).position)
            assert sight.elevation_deg >= coverage.min_elevation_deg
            assert coverage.min_range_km * 1000 <= sight.slant_range_m <= coverage.max_range_km * 1000


def test_a_sensor_looks_every_revisit_and_reports_after_its_delay() -> None:
    for _, _, observation in every_observation():
        for sighting in observation.sightings:
            assert sighting.reported_at_s - sighting.seen_at_s == pytest.approx(observation.sensor.delay_s)
        for before, after in zip(observation.sightings, observation.sightings[1:], strict=False):
            steps = (after.seen_at_s - before.seen_at_s) / observation.sensor.revisit_s
            assert steps == pytest.approx(round(steps), abs=1e-6)


def test_measured_points_scatter_as_their_covariance_says() -> None:
    scaled: list[float] = []
    for _, launch, observation in every_observation():
        for sighting in observation.sightings:
            truth = launch.flight().state(sighting.since_launch_s).position
            x, y, z = (a - b for a, b in zip(to_ecef(sighting.position), to_ecef(truth), strict=True))
            error = rotate_to_enu(truth, (x, y, z))
            scaled += [part / sighting.noise_m for part in (error.east, error.north, error.up)]
    assert len(scaled) > 3_000
    assert statistics.fmean(scaled) == pytest.approx(0, abs=4 / math.sqrt(len(scaled)))
    assert statistics.pstdev(scaled) == pytest.approx(1, abs=0.06)


def test_the_first_point_has_no_velocity_and_every_later_one_has() -> None:
    for _, _, observation in every_observation():
        assert observation.first.velocity is None
        assert all(sighting.velocity is not None for sighting in observation.sightings[1:])


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**64))
def test_the_same_seed_gives_the_same_sightings(seed: int) -> None:
    assert seen(EIGHT, KOREA, 1, seed) == seen(EIGHT, KOREA, 1, seed)
    assert seen(EIGHT, KOREA, 1, seed) != seen(EIGHT, KOREA, 1, seed + 1)


def test_what_is_seen_of_a_launch_does_not_depend_on_the_other_launches() -> None:
    whole = scenario(EIGHT)
    alone = whole.model_copy(update={"launches": whole.launches[:2], "duplicate_detections": ()})
    launch = whole.launches[1]
    assert observe(whole, KOREA, launch, seed=7) == observe(alone, KOREA, launch, seed=7)


def test_a_sensor_in_space_measures_no_slant_range() -> None:
    space: Sensor = next(sensor for sensor in UNITED_STATES.sensors if sensor.boost_only)
    launch = scenario(JAPAN_2017).launches[0]
    assert slant_range_if_seen(space, launch.flight().state(60).position) is None
