"""Small valid reports for the tests of the policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from signalfire.v1 import report_pb2

NOW = datetime(2024, 6, 1, 12, 0, tzinfo=UTC)


def report_id(number: int) -> str:
    """A report identifier that can be told from the others."""
    return f"0190a5b2-0000-7000-8000-{number:012d}"


def envelope(
    *,
    number: int = 1,
    node: str = "JPN",
    releasable_to: Sequence[str] = ("KOR", "USA"),
    traffic_class: report_pb2.TrafficClass.ValueType = report_pb2.TRAFFIC_CLASS_LIVE,
    classification: report_pb2.Classification.ValueType = report_pb2.CLASSIFICATION_SECRET,
    launch_country: str = "PRK",
    caveats: Sequence[str] = (),
) -> report_pb2.Report:
    """A report without content."""
    report = report_pb2.Report(
        report_id=report_id(number),
        originator_node=node,
        originator_station="north/radar-1",
        source_sequence=number,
        event_id="event-7",
        traffic_class=traffic_class,
        precedence=report_pb2.PRECEDENCE_FLASH,
        marking=report_pb2.Marking(
            policy=node, classification=classification, releasable_to=releasable_to, caveats=caveats
        ),
        threat=report_pb2.Threat(launch_country=launch_country, launch_area="Sunan"),
    )
    report.report_time.FromDatetime(NOW)
    report.valid_time.FromDatetime(NOW)
    report.clock_uncertainty.FromMilliseconds(2)
    return report


def launch(report: report_pb2.Report | None = None) -> report_pb2.Report:
    """A launch detection with every field set."""
    report = report or envelope()
    content = report.launch_detection
    content.launch_time.FromDatetime(NOW)
    content.launch_time_uncertainty.FromMilliseconds(500)
    content.launch_point.CopyFrom(report_pb2.Position(latitude_deg=39.2, longitude_deg=125.7, height_m=40))
    content.launch_point_error.CopyFrom(
        report_pb2.ErrorEllipse(semi_major_m=900, semi_minor_m=400, orientation_deg=30, containment=0.95)
    )
    content.initial_azimuth_deg = 80
    content.azimuth_uncertainty_deg = 3
    content.object_count = 1
    content.missile_class = report_pb2.MISSILE_CLASS_MRBM
    content.sensor_modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    content.certainty = report_pb2.CERTAINTY_CONFIRMED
    content.confidence = 0.9
    return report


def track(report: report_pb2.Report | None = None) -> report_pb2.Report:
    """A track point with every field set."""
    report = report or envelope()
    report.track.CopyFrom(
        report_pb2.Track(
            track_id=report_id(500),
            track_number="JA017",
            status=report_pb2.TRACK_STATUS_MAINTAINING,
            point_type=report_pb2.TRACK_POINT_TYPE_MEASURED,
            position=report_pb2.Position(latitude_deg=39.5, longitude_deg=128.0, height_m=120_000),
            velocity=report_pb2.Velocity(frame=report_pb2.REFERENCE_FRAME_ENU, x_mps=1, y_mps=2, z_mps=3),
            covariance=report_pb2.Covariance(frame=report_pb2.REFERENCE_FRAME_ENU, upper_triangle=[1, 0, 0, 1, 0, 1]),
            quality=9,
            sensor_modality=report_pb2.SENSOR_MODALITY_GROUND_RADAR,
            missile_class=report_pb2.MISSILE_CLASS_MRBM,
        )
    )
    return report


def impact(report: report_pb2.Report | None = None) -> report_pb2.Report:
    """An impact prediction with a warning area."""
    report = report or envelope()
    content = report.impact_prediction
    content.impact_time.FromDatetime(NOW)
    content.impact_time_uncertainty.FromMilliseconds(9_000)
    content.impact_point.CopyFrom(report_pb2.Position(latitude_deg=41.0, longitude_deg=139.0))
    content.impact_point_error.CopyFrom(
        report_pb2.ErrorEllipse(semi_major_m=9_000, semi_minor_m=4_000, orientation_deg=30, containment=0.95)
    )
    for latitude, longitude in ((40.0, 138.0), (40.0, 140.0), (42.0, 139.0)):
        content.warning_area.corners.add(latitude_deg=latitude, longitude_deg=longitude)
    content.basis_time.FromDatetime(NOW)
    content.confidence = 0.8
    content.track_id = report_id(500)
    return report


def correction(
    report_ids: Sequence[str], replacement: str = "", report: report_pb2.Report | None = None
) -> report_pb2.Report:
    """A correction of these reports."""
    report = report or envelope(number=9)
    report.correction.CopyFrom(
        report_pb2.Correction(
            report_ids=report_ids,
            reason=report_pb2.WITHDRAWAL_REASON_ERRONEOUS_VALUES,
            replacement_report_id=replacement,
            explanation="clock of the radar was wrong",
        )
    )
    return report


def cancellation(report_ids: Sequence[str], report: report_pb2.Report | None = None) -> report_pb2.Report:
    """A cancellation of these reports."""
    report = report or envelope(number=9)
    report.cancellation.CopyFrom(
        report_pb2.Cancellation(report_ids=report_ids, reason=report_pb2.WITHDRAWAL_REASON_FALSE_ALARM)
    )
    return report


def all_clear(report: report_pb2.Report | None = None) -> report_pb2.Report:
    """An all clear."""
    report = report or envelope(number=9)
    report.all_clear.reason = report_pb2.WITHDRAWAL_REASON_EVENT_OVER
    return report


def had_everything(node: str, report_id: str) -> bool:
    """Stands for a partner that was released every report."""
    return True


def had_nothing(node: str, report_id: str) -> bool:
    """Stands for a partner that was released none."""
    return False
