"""Impact predictions, which a nation's centre makes of what its stations saw, and their correction.

A prediction rests on a radar's track from its third point on, or on the last look of a sensor in space that had three.
The first is FLASH, later ones are IMMEDIATE and come at most every 30 s, none in the last 10 s before impact. The
point is the flight's own with an error of the size that is stated: from a track, the point's noise and that of the
velocity (less with each point) over the time left; from space, 15 % of the range along and 5 % across.

Where the scenario gives the nation an early estimate, predictions aim at the estimate's impact until it is corrected.
Then a Correction withdraws them all, with the precedence of the most urgent of them, so that it takes the fastest lane
they took, and a replacement with the true figures follows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import report_pb2

from gateway.demo import messages
from gateway.demo.draft import Content, Draft, Reference, Watch
from gateway.demo.flight import Flight
from gateway.demo.sensors import Observation, Sighting, source_of_chance
from gateway.demo.tracks import track_key
from gateway.demo.wgs84 import travelled

PREDICTION_EVERY_S: Final = 30.0
NONE_BEFORE_IMPACT_S: Final = 10.0
REPLACEMENT_FOLLOWS_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class _Basis:
    """A look that a prediction may rest on, and when the centre can have made it."""

    at_s: float
    observation: Observation
    index: int

    @property
    def look(self) -> Sighting:
        return self.observation.sightings[self.index]


def predictions(watch: Watch) -> list[Draft]:
    """The nation's predictions of the launch, and what becomes of those that rested on a wrong estimate."""
    bases = _bases(watch)
    estimate = watch.launch.early_estimate
    if estimate is None or estimate.node != watch.nation.node:
        return _series(watch, bases, watch.flight, None)
    corrected_at_s = watch.launched_at_s + estimate.corrected_after_s
    before = [basis for basis in bases if basis.at_s < corrected_at_s]
    after = [basis for basis in bases if basis.at_s >= corrected_at_s]
    early = _series(watch, before, watch.launch.estimated_flight(), None)
    if not early:
        return _series(watch, after, watch.flight, None)
    correction, replacement = _correct(watch, early, before[-1], corrected_at_s)
    return [*early, correction, replacement, *_series(watch, after, watch.flight, replacement)]


def _bases(watch: Watch) -> list[_Basis]:
    found = []
    for observation in watch.observations:
        looks = len(observation.sightings)
        first = max(2, looks - 1) if observation.sensor.boost_only else 3
        for index in range(first, looks):
            at_s = observation.sightings[index].reported_at_s + watch.nation.centre_delay_s
            found.append(_Basis(at_s, observation, index))
    return sorted(found, key=lambda basis: basis.at_s)


def _series(watch: Watch, bases: list[_Basis], flight: Flight, previous: Draft | None) -> list[Draft]:
    drafts = []
    last_at_s = previous.at_s if previous else -math.inf
    until_s = watch.launched_at_s + flight.flight_time_s - NONE_BEFORE_IMPACT_S
    for basis in bases:
        if basis.at_s - last_at_s < PREDICTION_EVERY_S or basis.at_s > until_s:
            continue
        previous = _prediction(watch, basis, flight, previous)
        last_at_s = previous.at_s
        drafts.append(previous)
    return drafts


def _prediction(watch: Watch, basis: _Basis, flight: Flight, updates: Draft | None) -> Draft:
    look, sensor = basis.look, basis.observation.sensor
    key = watch.key(sensor.station, "prediction", str(basis.index))
    if sensor.boost_only:
        along_m, across_m, confidence = 0.15 * flight.range_m, 0.05 * flight.range_m, 0.6
        rests_on = watch.key(sensor.station, "detection")
    else:
        left_s = max(0.0, flight.flight_time_s - look.since_launch_s)
        along_m = math.hypot(look.noise_m, look.noise_mps / basis.index * left_s)
        across_m, confidence = along_m / 2, 0.9
        rests_on = track_key(watch, sensor.station, basis.index)
    content = _impact(watch, flight, look, along_m, across_m, confidence, key)
    if not sensor.boost_only:
        content.track_id = watch.track_id(sensor)
    references: list[Reference] = [(rests_on, report_pb2.REFERENCE_RELATION_DERIVED_FROM)]
    if updates:
        references.append((updates.key, report_pb2.REFERENCE_RELATION_UPDATES))
    return _from_centre(
        watch,
        basis,
        key=key,
        at_s=basis.at_s,
        valid_at_s=look.seen_at_s,
        precedence=report_pb2.PRECEDENCE_IMMEDIATE if updates else report_pb2.PRECEDENCE_FLASH,
        content=content,
        references=tuple(references),
    )


def _impact(
    watch: Watch,
    flight: Flight,
    look: Sighting,
    along_m: float,
    across_m: float,
    confidence: float,
    key: str,
) -> report_pb2.ImpactPrediction:
    chance = source_of_chance(watch.seed, watch.nation.node, key)
    azimuth = flight.azimuth_at_impact_deg()
    point = travelled(flight.impact, azimuth, chance.gauss(0, along_m))
    point = travelled(point, azimuth + 90, chance.gauss(0, across_m))
    sigma_s = max(1.0, along_m / (flight.range_m / flight.flight_time_s))
    impact_at_s = watch.launched_at_s + flight.flight_time_s + chance.gauss(0, sigma_s)
    error = messages.ellipse(along_m, across_m, azimuth)
    return report_pb2.ImpactPrediction(
        impact_time=watch.stamp(max(impact_at_s, look.seen_at_s)),
        impact_time_uncertainty=messages.duration(sigma_s),
        impact_point=messages.position(point, with_height=False),
        impact_point_error=error,
        warning_area=messages.warning_area(point, error),
        basis_time=watch.stamp(look.seen_at_s),
        confidence=confidence,
    )


def _correct(watch: Watch, withdrawn: list[Draft], basis: _Basis, at_s: float) -> tuple[Draft, Draft]:
    """The correction of these predictions, and the replacement with the true figures."""
    key = watch.key("replacement")
    across_m = max(basis.look.noise_m, 0.02 * watch.flight.range_m)
    replacement = _from_centre(
        watch,
        basis,
        key=key,
        at_s=at_s + REPLACEMENT_FOLLOWS_S,
        valid_at_s=basis.look.seen_at_s,
        precedence=report_pb2.PRECEDENCE_FLASH,
        content=_impact(watch, watch.flight, basis.look, 2 * across_m, across_m, 0.9, key),
        references=tuple((draft.key, report_pb2.REFERENCE_RELATION_REPLACES) for draft in withdrawn),
    )
    correction = _from_centre(
        watch,
        basis,
        key=watch.key("correction"),
        at_s=at_s,
        valid_at_s=at_s,
        precedence=max(draft.precedence for draft in withdrawn),
        content=report_pb2.Correction(
            report_ids=[watch.report_id(draft.key) for draft in withdrawn],
            reason=report_pb2.WITHDRAWAL_REASON_ERRONEOUS_VALUES,
            replacement_report_id=watch.report_id(key),
            explanation="The point of impact rested on an early estimate of the range, which was wrong.",
        ),
    )
    return correction, replacement


def _from_centre(
    watch: Watch,
    basis: _Basis,
    *,
    key: str,
    at_s: float,
    valid_at_s: float,
    precedence: report_pb2.Precedence.ValueType,
    content: Content,
    references: tuple[Reference, ...] = (),
) -> Draft:
    return Draft(
        key=key,
        at_s=at_s,
        valid_at_s=valid_at_s,
        station=watch.nation.centre,
        event=watch.launch.id,
        precedence=precedence,
        classification=watch.nation.markings.impact_prediction,
        content=content,
        launch=watch.launch,
        references=references,
        caveats=watch.space_caveats(basis.observation.sensor),
    )
