"""Exercise control: a station of each nation that injects drill reports into a replay. They are EXERCISE, as it is.

Nothing in them is history or seen by a sensor: a drill launch comes from the site of the scenario's first launch. What
a nation's station injects is numbered from 1, and each drill is an event of its own.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.demo import messages
from gateway.demo.nations import ClassificationName, Nation
from gateway.demo.scenario import Site
from gateway.demo.wgs84 import Point

STATION: Final = "exercise-control"

_AGE: Final = timedelta(seconds=20)
"""How long before its report a drill launch took place."""

_LAUNCH_POINT_M: Final = 5_000.0
_LAUNCH_TIME_S: Final = 5.0


@dataclass(slots=True)
class ExerciseControl:
    """The exercise control of one nation."""

    nation: Nation
    site: Site
    _events: int = field(default=0)
    _sequence: int = field(default=0)

    def launch(
        self,
        now: datetime,
        *,
        certainty: report_pb2.Certainty.ValueType = report_pb2.CERTAINTY_CONFIRMED,
        classification: ClassificationName = "CONFIDENTIAL",
        releasable_to: tuple[str, ...] | None = None,
    ) -> report_pb2.Report:
        """A drill launch. Without `releasable_to` it may go to whom everything of the nation may."""
        report = self._report(now, self._event(), report_pb2.PRECEDENCE_FLASH, classification)
        if releasable_to is not None:
            report.marking.releasable_to[:] = releasable_to
        report.launch_detection.CopyFrom(
            report_pb2.LaunchDetection(
                launch_time=_stamp(now - _AGE),
                launch_time_uncertainty=messages.duration(_LAUNCH_TIME_S),
                launch_point=messages.position(
                    Point(self.site.latitude_deg, self.site.longitude_deg), with_height=False
                ),
                launch_point_error=messages.ellipse(_LAUNCH_POINT_M, _LAUNCH_POINT_M, 0.0),
                object_count=1,
                missile_class=messages.missile_class("UNKNOWN"),
                sensor_modality=report_pb2.SENSOR_MODALITY_FUSED,
                certainty=certainty,
                confidence=0.5,
            )
        )
        return report

    def impact(self, now: datetime) -> report_pb2.Report:
        """The point at which a drill came down: nothing that hurries, and ROUTINE."""
        report = self._report(now, self._event(), report_pb2.PRECEDENCE_ROUTINE, "CONFIDENTIAL")
        report.impact_prediction.CopyFrom(
            report_pb2.ImpactPrediction(
                impact_time=_stamp(now),
                impact_time_uncertainty=messages.duration(_LAUNCH_TIME_S),
                impact_point=messages.position(
                    Point(self.site.latitude_deg, self.site.longitude_deg), with_height=False
                ),
                impact_point_error=messages.ellipse(_LAUNCH_POINT_M, _LAUNCH_POINT_M, 0.0),
                basis_time=_stamp(now),
                confidence=0.5,
            )
        )
        return report

    def cancellation(self, now: datetime, report: report_pb2.Report, explanation: str) -> report_pb2.Report:
        """The cancellation of a drill report."""
        cancelled = self._report(now, report.event_id, report_pb2.PRECEDENCE_PRIORITY, "CONFIDENTIAL")
        cancelled.cancellation.CopyFrom(
            report_pb2.Cancellation(
                report_ids=[report.report_id],
                reason=report_pb2.WITHDRAWAL_REASON_FALSE_ALARM,
                explanation=explanation,
            )
        )
        return cancelled

    def _event(self) -> str:
        self._events += 1
        return f"{self.nation.event_prefix}DRILL-{self._events:03d}"

    def _report(
        self,
        now: datetime,
        event: str,
        precedence: report_pb2.Precedence.ValueType,
        classification: ClassificationName,
    ) -> report_pb2.Report:
        self._sequence += 1
        return report_pb2.Report(
            report_id=str(uuid.uuid4()),
            originator_node=self.nation.node,
            originator_station=STATION,
            source_sequence=self._sequence,
            event_id=event,
            report_time=_stamp(now),
            valid_time=_stamp(now),
            clock_uncertainty=messages.duration(self.nation.clock_uncertainty_ms / 1000),
            traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
            precedence=precedence,
            marking=report_pb2.Marking(
                policy=self.nation.node,
                classification=messages.classification(classification),
                releasable_to=self.nation.markings.releasable_to,
            ),
            threat=report_pb2.Threat(launch_country=self.site.country, launch_area=self.site.name),
        )


def _stamp(time: datetime) -> Timestamp:
    message = Timestamp()
    message.FromDatetime(time)
    return message
