"""A small valid report of each kind, for cases to start from. Pure: no I/O, no clock, no chance.

Every required field of the contract is set and no other. A specimen is unclassified LIVE traffic at FLASH about a
launch from a country that is UNKNOWN, releasable to one partner: a case changes what it is about.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from signalfire.v1 import report_pb2

from policy.vocabulary import Kind

REPORT_ID: Final = "5f0c6f3e-0000-4000-8000-000000000001"
"""Identifier of every specimen."""

EARLIER_ID: Final = "5f0c6f3e-0000-4000-8000-000000000002"
"""The earlier report that a specimen of a correction or cancellation recalls."""

TRACK_ID: Final = "5f0c6f3e-0000-4000-8000-000000000003"


def specimen(kind: Kind, *, node: str, partner: str, now: datetime) -> report_pb2.Report:
    """A report of ``node`` that was made at ``now`` and is releasable to ``partner``."""
    report = report_pb2.Report(
        report_id=REPORT_ID,
        originator_node=node,
        originator_station="station",
        source_sequence=1,
        event_id="event",
        traffic_class=report_pb2.TRAFFIC_CLASS_LIVE,
        precedence=report_pb2.PRECEDENCE_FLASH,
        marking=report_pb2.Marking(
            policy=node, classification=report_pb2.CLASSIFICATION_UNCLASSIFIED, releasable_to=[partner]
        ),
        threat=report_pb2.Threat(launch_country="UNKNOWN"),
    )
    report.report_time.FromDatetime(now)
    report.valid_time.FromDatetime(now)
    report.clock_uncertainty.FromMilliseconds(1)
    _CONTENT[kind](report, now)
    return report


def _ellipse() -> report_pb2.ErrorEllipse:
    return report_pb2.ErrorEllipse(semi_major_m=5_000, semi_minor_m=2_000, orientation_deg=0, containment=0.95)


def _launch_detection(report: report_pb2.Report, now: datetime) -> None:
    content = report.launch_detection
    content.launch_time.FromDatetime(now)
    content.launch_time_uncertainty.FromSeconds(1)
    content.launch_point.CopyFrom(report_pb2.Position(latitude_deg=0, longitude_deg=0))
    content.launch_point_error.CopyFrom(_ellipse())
    content.object_count = 1
    content.missile_class = report_pb2.MISSILE_CLASS_UNKNOWN
    content.sensor_modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    content.certainty = report_pb2.CERTAINTY_CONFIRMED
    content.confidence = 0.9


def _track(report: report_pb2.Report, now: datetime) -> None:
    report.track.CopyFrom(
        report_pb2.Track(
            track_id=TRACK_ID,
            track_number="T001",
            status=report_pb2.TRACK_STATUS_MAINTAINING,
            point_type=report_pb2.TRACK_POINT_TYPE_MEASURED,
            position=report_pb2.Position(latitude_deg=0, longitude_deg=0, height_m=100_000),
            quality=8,
            sensor_modality=report_pb2.SENSOR_MODALITY_GROUND_RADAR,
            missile_class=report_pb2.MISSILE_CLASS_UNKNOWN,
        )
    )


def _impact_prediction(report: report_pb2.Report, now: datetime) -> None:
    content = report.impact_prediction
    content.impact_time.FromDatetime(now)
    content.impact_time_uncertainty.FromSeconds(10)
    content.impact_point.CopyFrom(report_pb2.Position(latitude_deg=0, longitude_deg=0))
    content.impact_point_error.CopyFrom(_ellipse())
    content.basis_time.FromDatetime(now)
    content.confidence = 0.9


def _correction(report: report_pb2.Report, now: datetime) -> None:
    report.correction.report_ids.append(EARLIER_ID)
    report.correction.reason = report_pb2.WITHDRAWAL_REASON_ERRONEOUS_VALUES


def _cancellation(report: report_pb2.Report, now: datetime) -> None:
    report.cancellation.report_ids.append(EARLIER_ID)
    report.cancellation.reason = report_pb2.WITHDRAWAL_REASON_FALSE_ALARM


def _all_clear(report: report_pb2.Report, now: datetime) -> None:
    report.all_clear.reason = report_pb2.WITHDRAWAL_REASON_EVENT_OVER


_CONTENT: Final = {
    Kind.LAUNCH_DETECTION: _launch_detection,
    Kind.TRACK: _track,
    Kind.IMPACT_PREDICTION: _impact_prediction,
    Kind.CORRECTION: _correction,
    Kind.CANCELLATION: _cancellation,
    Kind.ALL_CLEAR: _all_clear,
}
