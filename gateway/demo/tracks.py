"""Tracks: every measured point of a radar from its second look on, then what is propagated once the track is lost.

The first two points are INITIATING, the others MAINTAINING. After the last measurement one propagated point is
DROPPING and one TERMINATED, or only the latter where the object comes down before. A point is IMMEDIATE while the
track initiates or the missile climbs, and PRIORITY after that. Each point updates the one before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TypeAlias

from signalfire.v1 import report_pb2

from gateway.demo import messages
from gateway.demo.draft import Draft, Reference, Watch
from gateway.demo.nations import CloseTracks
from gateway.demo.sensors import Observation, Sighting, noisy_point, slant_range_if_seen, source_of_chance

_Status: TypeAlias = report_pb2.TrackStatus.ValueType


def track_key(watch: Watch, station: str, look: int) -> str:
    """The key of the track point made of the station's look of this index (from 1: the first makes no point)."""
    return watch.key(station, "track", str(look))


def track(watch: Watch, observation: Observation, opening: str | None) -> Iterator[Draft]:
    """All points of one radar's track. `opening`: the key of the launch detection that it belongs to, if any."""
    references: tuple[Reference, ...] = ((opening, report_pb2.REFERENCE_RELATION_CORRELATES_WITH),) if opening else ()
    for index, (look, status) in enumerate(_points(watch, observation), start=1):
        draft = _point(watch, observation, index, look, status, references)
        yield draft
        references = ((draft.key, report_pb2.REFERENCE_RELATION_UPDATES),)


def _points(watch: Watch, observation: Observation) -> Iterator[tuple[Sighting, _Status]]:
    for index, sighting in enumerate(observation.sightings[1:]):
        initiating = index < 2
        yield (
            sighting,
            report_pb2.TRACK_STATUS_INITIATING if initiating else report_pb2.TRACK_STATUS_MAINTAINING,
        )
    revisit_s = observation.sensor.revisit_s
    if observation.last.since_launch_s + revisit_s < watch.flight.flight_time_s:
        yield _propagated(watch, observation, revisit_s), report_pb2.TRACK_STATUS_DROPPING
        yield _propagated(watch, observation, 2 * revisit_s), report_pb2.TRACK_STATUS_TERMINATED
    else:
        yield _propagated(watch, observation, revisit_s), report_pb2.TRACK_STATUS_TERMINATED


def _propagated(watch: Watch, observation: Observation, ahead_s: float) -> Sighting:
    """A point beyond the last measurement, at impact at the latest; it has no velocity."""
    last, sensor = observation.last, observation.sensor
    since_launch_s = min(last.since_launch_s + ahead_s, watch.flight.flight_time_s)
    sigma_m = math.hypot(last.noise_m, last.noise_mps * (since_launch_s - last.since_launch_s))
    chance = source_of_chance(watch.seed, watch.nation.node, watch.key(sensor.station), ahead_s)
    truth = watch.flight.state(since_launch_s)
    return Sighting(
        seen_at_s=watch.launched_at_s + since_launch_s,
        reported_at_s=last.reported_at_s + ahead_s,
        since_launch_s=since_launch_s,
        position=noisy_point(chance, truth.position, sigma_m),
        velocity=None,
        noise_m=sigma_m,
        noise_mps=last.noise_mps,
        slant_range_m=slant_range_if_seen(sensor, truth.position),
        climbing=truth.velocity.up > 0,
    )


def _point(
    watch: Watch,
    observation: Observation,
    index: int,
    look: Sighting,
    status: _Status,
    references: tuple[Reference, ...],
) -> Draft:
    sensor = observation.sensor
    initiating = status == report_pb2.TRACK_STATUS_INITIATING
    measured = initiating or status == report_pb2.TRACK_STATUS_MAINTAINING
    content = report_pb2.Track(
        track_id=watch.track_id(sensor),
        track_number=watch.track_numbers[sensor.station],
        status=status,
        point_type=(report_pb2.TRACK_POINT_TYPE_MEASURED if measured else report_pb2.TRACK_POINT_TYPE_PREDICTED),
        position=messages.position(look.position, with_height=True),
        covariance=messages.covariance(look.noise_m, look.noise_mps if look.velocity else None),
        quality=min(15, 4 + index) if measured else 2,
        sensor_modality=messages.modality(sensor),
        missile_class=messages.missile_class("UNKNOWN" if initiating else watch.launch.missile_class),
    )
    if look.velocity is not None:
        content.velocity.CopyFrom(messages.velocity(look.velocity))
    close = _close(watch, observation, look)
    urgent = initiating or (measured and look.climbing)
    return Draft(
        key=track_key(watch, sensor.station, index),
        at_s=look.reported_at_s,
        valid_at_s=look.seen_at_s,
        station=sensor.station,
        event=watch.launch.id,
        precedence=report_pb2.PRECEDENCE_IMMEDIATE if urgent else report_pb2.PRECEDENCE_PRIORITY,
        classification=watch.nation.markings.track,
        content=content,
        launch=watch.launch,
        references=references,
        caveats=(close.caveat,) if close else (),
    )


def _close(watch: Watch, observation: Observation, look: Sighting) -> CloseTracks | None:
    """The nation's narrower marking of close tracks, if the point falls under it."""
    close = watch.nation.markings.close_tracks
    if close is None or observation.sensor.station not in close.stations or look.slant_range_m is None:
        return None
    return close if look.slant_range_m <= close.within_km * 1000 else None
