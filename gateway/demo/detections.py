"""Launch detections: which sensor reports a launch at which look, and how sure it is.

* A sensor in space reports at its first look (POSSIBLE) and again at its third, with an azimuth (PROBABLE).
* A radar reports at its second look, for a single echo is no launch: PROBABLE, or CONFIRMED where a sensor of
  another kind of the same nation has detected the launch before.
* A radar whose first look comes more than 80 s after the launch has not seen where the missile came from. If
  nobody else of the nation has, it reports a POSSIBLE launch of UNKNOWN country and class, and one from the country
  at its fourth look; otherwise it only tracks.
* A nation's first detection of an event is FLASH; later ones are IMMEDIATE and update an earlier one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.demo import messages
from gateway.demo.draft import Draft, Watch
from gateway.demo.nations import Nation, Sensor
from gateway.demo.scenario import DuplicateDetection, Launch
from gateway.demo.sensors import Observation, Sighting, noisy_point, source_of_chance
from gateway.demo.wgs84 import Point

LATE_FIRST_LOOK_S: Final = 80.0
"""By then a short-range missile is past its burnout and some 100 km from its site."""

_LATE_LOOK_IS_POORER: Final = 8.0
"""How many times worse a launch point and time are known to a radar that saw nothing of the ascent."""


def detections(watch: Watch) -> list[Draft]:
    """The nation's detections of the launch, the first one first."""
    drafts: list[Draft] = []
    modalities: set[str] = set()
    for observation in sorted(watch.observations, key=first_report_at_s):
        sensor, looks = observation.sensor, observation.sightings
        late = not sensor.boost_only and observation.first.since_launch_s > LATE_FIRST_LOOK_S
        if late and drafts:
            continue
        confirmed = bool(modalities - {sensor.modality})
        modalities.add(sensor.modality)
        opening = _detection(
            watch,
            observation,
            looks[_first_reported_look(sensor)],
            key=watch.key(sensor.station, "detection"),
            certainty=_certainty(sensor, confirmed=confirmed, late=late),
            updates=drafts[0] if drafts else None,
            late=late,
        )
        drafts.append(opening)
        following = 3 if late else 2
        if (late or sensor.boost_only) and len(looks) > following:
            drafts.append(
                _detection(
                    watch,
                    observation,
                    looks[following],
                    key=watch.key(sensor.station, "detection-2"),
                    certainty=report_pb2.CERTAINTY_PROBABLE,
                    updates=opening,
                    late=False,
                )
            )
    return drafts


def first_report_at_s(observation: Observation) -> float:
    """When the sensor first reports the launch, in seconds since the scenario's start."""
    return observation.sightings[_first_reported_look(observation.sensor)].reported_at_s


def is_reported(observation: Observation) -> bool:
    """Whether the sensor saw enough to report anything."""
    return len(observation.sightings) > _first_reported_look(observation.sensor)


def duplicate_and_cancellation(
    staged: DuplicateDetection,
    nation: Nation,
    launch: Launch,
    *,
    launched_at_s: float,
    seed: int,
    stamp: Callable[[float], Timestamp],
    report_id: Callable[[str], str],
) -> tuple[Draft, Draft]:
    """A staged error: the station reports the launch as another one, and the nation's centre cancels that."""
    sensor = next(sensor for sensor in nation.sensors if sensor.station == staged.station)
    event = duplicate_event(staged)
    seen_at_s = launched_at_s + staged.after_s
    key = f"{event}/detection"
    detection = Draft(
        key=key,
        at_s=seen_at_s + sensor.delay_s,
        valid_at_s=seen_at_s,
        station=staged.station,
        event=event,
        precedence=report_pb2.PRECEDENCE_FLASH,
        classification=nation.markings.launch_detection,
        content=_launch_detection(
            launch,
            sensor,
            launched_at_s=launched_at_s,
            seen_at_s=seen_at_s,
            certainty=report_pb2.CERTAINTY_POSSIBLE,
            with_azimuth=False,
            late=False,
            stamp=stamp,
            chance_key=(seed, nation.node, key),
        ),
        launch=launch,
    )
    cancelled_at_s = max(launched_at_s + staged.cancelled_after_s, detection.at_s + nation.centre_delay_s)
    cancellation = Draft(
        key=f"{event}/cancellation",
        at_s=cancelled_at_s,
        valid_at_s=cancelled_at_s,
        station=nation.centre,
        event=event,
        precedence=detection.precedence,
        classification=nation.markings.launch_detection,
        content=report_pb2.Cancellation(
            report_ids=[report_id(key)],
            reason=report_pb2.WITHDRAWAL_REASON_FALSE_ALARM,
            explanation="The same launch was reported twice; there was no other.",
        ),
        launch=launch,
    )
    return detection, cancellation


def duplicate_event(staged: DuplicateDetection) -> str:
    """The name of the event that was none."""
    return f"{staged.launch}/duplicate/{staged.station}"


def _detection(
    watch: Watch,
    observation: Observation,
    look: Sighting,
    *,
    key: str,
    certainty: report_pb2.Certainty.ValueType,
    updates: Draft | None,
    late: bool,
) -> Draft:
    sensor = observation.sensor
    return Draft(
        key=key,
        at_s=look.reported_at_s,
        valid_at_s=look.seen_at_s,
        station=sensor.station,
        event=watch.launch.id,
        precedence=report_pb2.PRECEDENCE_IMMEDIATE if updates else report_pb2.PRECEDENCE_FLASH,
        classification=watch.nation.markings.launch_detection,
        content=_launch_detection(
            watch.launch,
            sensor,
            launched_at_s=watch.launched_at_s,
            seen_at_s=look.seen_at_s,
            certainty=certainty,
            with_azimuth=look.velocity is not None and not late,
            late=late,
            stamp=watch.stamp,
            chance_key=(watch.seed, watch.nation.node, key),
        ),
        launch=watch.launch,
        country_known=not late,
        references=((updates.key, report_pb2.REFERENCE_RELATION_UPDATES),) if updates else (),
        caveats=watch.space_caveats(sensor),
    )


def _launch_detection(
    launch: Launch,
    sensor: Sensor,
    *,
    launched_at_s: float,
    seen_at_s: float,
    certainty: report_pb2.Certainty.ValueType,
    with_azimuth: bool,
    late: bool,
    stamp: Callable[[float], Timestamp],
    chance_key: tuple[object, ...],
) -> report_pb2.LaunchDetection:
    chance = source_of_chance(*chance_key)
    poorer = _LATE_LOOK_IS_POORER if late else 1.0
    point_sigma_m, time_sigma_s = sensor.launch_point_m * poorer, sensor.launch_time_s * poorer
    site = Point(launch.site.latitude_deg, launch.site.longitude_deg)
    told = certainty != report_pb2.CERTAINTY_POSSIBLE
    content = report_pb2.LaunchDetection(
        launch_time=stamp(min(seen_at_s, launched_at_s + chance.gauss(0, time_sigma_s))),
        launch_time_uncertainty=messages.duration(time_sigma_s),
        launch_point=messages.position(noisy_point(chance, site, point_sigma_m), with_height=False),
        launch_point_error=messages.ellipse(point_sigma_m, point_sigma_m, 0.0),
        object_count=1,
        missile_class=messages.missile_class(launch.missile_class if told else "UNKNOWN"),
        sensor_modality=messages.modality(sensor),
        certainty=certainty,
        confidence={
            report_pb2.CERTAINTY_POSSIBLE: 0.4,
            report_pb2.CERTAINTY_PROBABLE: 0.7,
            report_pb2.CERTAINTY_CONFIRMED: 0.9,
        }[certainty],
    )
    if with_azimuth:
        sigma_deg = 6.0 if sensor.boost_only else 2.0
        # A tiny negative azimuth gives 360.0 exactly after the remainder, which the contract does not take.
        azimuth = (launch.bearing_deg + chance.gauss(0, sigma_deg)) % 360.0
        content.initial_azimuth_deg = azimuth if azimuth < 360.0 else 0.0
        content.azimuth_uncertainty_deg = sigma_deg
    return content


def _first_reported_look(sensor: Sensor) -> int:
    return 0 if sensor.boost_only else 1


def _certainty(sensor: Sensor, *, confirmed: bool, late: bool) -> report_pb2.Certainty.ValueType:
    if confirmed and not late:
        return report_pb2.CERTAINTY_CONFIRMED
    if late or sensor.boost_only:
        return report_pb2.CERTAINTY_POSSIBLE
    return report_pb2.CERTAINTY_PROBABLE
