"""The timeline of a scenario: every report that its nations' C2 systems push, in order of time.

Each nation names events and tracks by itself and numbers both in the order in which *it* came to know of them, so that
one launch has as many names as nations saw it. Sequence numbers count each station's reports from 1. Report and track
identifiers are UUIDs of version 5 over scenario, shift, seed and nation: the same call gives the same reports, and a
replay at another time gives others.

An all clear ends each event, two minutes after the impact or the nation's last word on it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.demo import messages
from gateway.demo.detections import (
    detections,
    duplicate_and_cancellation,
    first_report_at_s,
    is_reported,
)
from gateway.demo.draft import Draft, Watch
from gateway.demo.nations import Nation
from gateway.demo.predictions import predictions
from gateway.demo.scenario import Scenario
from gateway.demo.sensors import Observation, observe
from gateway.demo.tracks import track

ALL_CLEAR_AFTER_S: Final = 120.0

_NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "https://signalfire.example/demo")


@dataclass(frozen=True, slots=True)
class TimedReport:
    """A report, and when which node's which station pushes it: `at` is in seconds since the scenario's start."""

    at: float
    node: str
    station: str
    report: report_pb2.Report


def timeline(scenario: Scenario, *, shift: timedelta, seed: int) -> list[TimedReport]:
    """All reports of the scenario, sorted by time; every time in them is the historical one plus `shift`.

    The time at which a report is made is that of its `at`. Deterministic in all three arguments.
    """
    timed: list[TimedReport] = []
    for nation in scenario.nations:
        timed.extend(_of_nation(scenario, nation, shift, seed))
    return sorted(timed, key=lambda item: item.at)


def _of_nation(scenario: Scenario, nation: Nation, shift: timedelta, seed: int) -> list[TimedReport]:
    report_id = _identifier(scenario, nation, shift, seed)
    stamp = _stamp(scenario, shift)
    watches = _watches(scenario, nation, seed, stamp, report_id)
    drafts = [draft for watch in watches for draft in _account(watch)]
    for staged in scenario.duplicate_detections:
        if staged.node == nation.node:
            launch = next(launch for launch in scenario.launches if launch.id == staged.launch)
            drafts.extend(
                duplicate_and_cancellation(
                    staged,
                    nation,
                    launch,
                    launched_at_s=scenario.seconds_to(launch),
                    seed=seed,
                    stamp=stamp,
                    report_id=report_id,
                )
            )
    drafts.sort(key=lambda draft: draft.at_s)

    started = f"{scenario.start + shift:%Y%m%dT%H%M%S}"
    events: dict[str, str] = {}
    sequences: Counter[str] = Counter()
    timed = []
    for draft in drafts:
        event = events.setdefault(draft.event, f"{nation.event_prefix}{started}-{len(events) + 1:02d}")
        sequences[draft.station] += 1
        report = _report(draft, nation, event, sequences[draft.station], stamp, report_id)
        timed.append(TimedReport(round(draft.at_s, 6), nation.node, draft.station, report))
    return timed


def _watches(
    scenario: Scenario,
    nation: Nation,
    seed: int,
    stamp: Callable[[float], Timestamp],
    report_id: Callable[[str], str],
) -> list[Watch]:
    """The nation's watch over each launch that it saw."""
    seen: dict[str, tuple[Observation, ...]] = {}
    for launch in scenario.launches:
        observations = [each for each in observe(scenario, nation, launch, seed=seed) if is_reported(each)]
        if observations:
            seen[launch.id] = tuple(observations)
    tracked = sorted(
        (each for group in seen.values() for each in group if not each.sensor.boost_only),
        key=first_report_at_s,
    )
    numbers: dict[str, dict[str, str]] = {}
    for number, observation in enumerate(tracked, start=1):
        by_station = numbers.setdefault(observation.launch.id, {})
        by_station[observation.sensor.station] = f"{nation.track_prefix}{number:03d}"
    return [
        Watch(
            nation=nation,
            launch=launch,
            launched_at_s=scenario.seconds_to(launch),
            flight=launch.flight(),
            observations=seen[launch.id],
            track_numbers=numbers.get(launch.id, {}),
            seed=seed,
            stamp=stamp,
            report_id=report_id,
        )
        for launch in scenario.launches
        if launch.id in seen
    ]


def _account(watch: Watch) -> list[Draft]:
    """All that the nation says of one launch."""
    drafts = detections(watch)
    opened = {draft.station: draft.key for draft in reversed(drafts)}
    for observation in watch.observations:
        if not observation.sensor.boost_only:
            drafts.extend(track(watch, observation, opened.get(observation.sensor.station)))
    drafts.extend(predictions(watch))
    drafts.append(_all_clear(watch, drafts))
    return drafts


def _all_clear(watch: Watch, drafts: list[Draft]) -> Draft:
    impact_at_s = watch.launched_at_s + watch.flight.flight_time_s
    at_s = max(impact_at_s, *(draft.at_s for draft in drafts)) + ALL_CLEAR_AFTER_S
    return Draft(
        key=watch.key("all-clear"),
        at_s=at_s,
        valid_at_s=at_s,
        station=watch.nation.centre,
        event=watch.launch.id,
        precedence=report_pb2.PRECEDENCE_PRIORITY,
        classification=watch.nation.markings.all_clear,
        content=report_pb2.AllClear(
            reason=report_pb2.WITHDRAWAL_REASON_EVENT_OVER, explanation="The object has come down."
        ),
        launch=watch.launch,
        references=((drafts[0].key, report_pb2.REFERENCE_RELATION_CORRELATES_WITH),),
    )


def _report(
    draft: Draft,
    nation: Nation,
    event: str,
    sequence: int,
    stamp: Callable[[float], Timestamp],
    report_id: Callable[[str], str],
) -> report_pb2.Report:
    report = report_pb2.Report(
        report_id=report_id(draft.key),
        originator_node=nation.node,
        originator_station=draft.station,
        source_sequence=sequence,
        event_id=event,
        report_time=stamp(draft.at_s),
        valid_time=stamp(draft.valid_at_s),
        clock_uncertainty=messages.duration(nation.clock_uncertainty_ms / 1000),
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        precedence=draft.precedence,
        marking=report_pb2.Marking(
            policy=nation.node,
            classification=messages.classification(draft.classification),
            releasable_to=nation.markings.releasable_to,
            caveats=draft.caveats,
        ),
        threat=_threat(draft),
        references=[
            report_pb2.Reference(originator_node=nation.node, report_id=report_id(key), relation=relation)
            for key, relation in draft.references
        ],
    )
    match draft.content:
        case report_pb2.LaunchDetection():
            report.launch_detection.CopyFrom(draft.content)
        case report_pb2.Track():
            report.track.CopyFrom(draft.content)
        case report_pb2.ImpactPrediction():
            report.impact_prediction.CopyFrom(draft.content)
        case report_pb2.Correction():
            report.correction.CopyFrom(draft.content)
        case report_pb2.Cancellation():
            report.cancellation.CopyFrom(draft.content)
        case report_pb2.AllClear():
            report.all_clear.CopyFrom(draft.content)
    return report


def _threat(draft: Draft) -> report_pb2.Threat:
    if not draft.country_known:
        return report_pb2.Threat(launch_country="UNKNOWN")
    site = draft.launch.site
    return report_pb2.Threat(launch_country=site.country, launch_area=site.name)


def _identifier(scenario: Scenario, nation: Nation, shift: timedelta, seed: int) -> Callable[[str], str]:
    microseconds = shift // timedelta(microseconds=1)

    def report_id(key: str) -> str:
        return str(uuid.uuid5(_NAMESPACE, f"{scenario.name}/{microseconds}/{seed}/{nation.node}/{key}"))

    return report_id


def _stamp(scenario: Scenario, shift: timedelta) -> Callable[[float], Timestamp]:
    def stamp(at_s: float) -> Timestamp:
        message = Timestamp()
        message.FromDatetime(scenario.start + shift + timedelta(seconds=at_s))
        return message

    return stamp
