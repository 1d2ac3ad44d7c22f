"""A report before it has its station's sequence number, and the watch that it comes from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.demo.flight import Flight
from gateway.demo.nations import Nation, Sensor
from gateway.demo.scenario import Launch
from gateway.demo.sensors import Observation

Content: TypeAlias = (
    report_pb2.LaunchDetection
    | report_pb2.Track
    | report_pb2.ImpactPrediction
    | report_pb2.Correction
    | report_pb2.Cancellation
    | report_pb2.AllClear
)
Reference: TypeAlias = tuple[str, report_pb2.ReferenceRelation.ValueType]
"""The key of an earlier draft of the same nation, and the relation to it."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One report to be. Times are seconds since the scenario's start.

    `key` names the draft inside its nation and `event` the nation's event (`Launch.id`, or a name of its own where
    the nation took one launch for two).
    """

    key: str
    at_s: float
    valid_at_s: float
    station: str
    event: str
    precedence: report_pb2.Precedence.ValueType
    classification: str
    content: Content
    launch: Launch
    country_known: bool = True
    references: tuple[Reference, ...] = ()
    caveats: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Watch:
    """One nation watching one launch. `stamp` turns seconds of the scenario into the shifted UTC time, and
    `report_id` a draft's key into its UUID; `track_numbers` is keyed by station."""

    nation: Nation
    launch: Launch
    launched_at_s: float
    flight: Flight
    observations: tuple[Observation, ...]
    track_numbers: dict[str, str]
    seed: int
    stamp: Callable[[float], Timestamp]
    report_id: Callable[[str], str]

    def key(self, *parts: str) -> str:
        """The key of a draft about this launch."""
        return "/".join((self.launch.id, *parts))

    def track_id(self, sensor: Sensor) -> str:
        """The UUID of the sensor's track of this launch."""
        return self.report_id(self.key(sensor.station, "track"))

    def space_caveats(self, sensor: Sensor) -> tuple[str, ...]:
        """The caveats of what rests on this sensor: the nation's own for a sensor in space, else none."""
        return self.nation.markings.space_caveats if sensor.boost_only else ()
