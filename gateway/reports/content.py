"""The rules of each kind of content, in the order of the contract's messages.

A rule between two times holds exactly at the C2 door and with `ReportLimits.coarsening_slack` at the partner's door.

1. LaunchDetection: launched not after the report; the azimuth and its uncertainty come together (C2 door); and the
   first detection of a launch, one that refers to no earlier report, travels at FLASH (C2 door; `Precedence`).
2. Track: a position with height; velocity and covariance as far as they are given.
3. ImpactPrediction: based on a time not after the report; impact at most `max_impact_ahead` after it.
4. Correction and Cancellation: 1 to 400 reports, each once, and not this one; a replacement that is none of them and
   not this one. Whether their originator is this report's is for whoever keeps the reports.
5. AllClear: a reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from signalfire.v1 import report_pb2

from gateway.reports.fields import (
    TRACK_NUMBER,
    UUID,
    Bounds,
    Examination,
    Need,
    enum_form,
    quoted,
)
from gateway.reports.geometry import (
    check_covariance,
    check_ellipse,
    check_polygon,
    check_position,
    check_velocity,
)

MISSILE_CLASS: Final = enum_form(report_pb2.MissileClass.DESCRIPTOR)
SENSOR_MODALITY: Final = enum_form(report_pb2.SensorModality.DESCRIPTOR)
CERTAINTY: Final = enum_form(report_pb2.Certainty.DESCRIPTOR)
TRACK_STATUS: Final = enum_form(report_pb2.TrackStatus.DESCRIPTOR)
TRACK_POINT_TYPE: Final = enum_form(report_pb2.TrackPointType.DESCRIPTOR)
WITHDRAWAL_REASON: Final = enum_form(report_pb2.WithdrawalReason.DESCRIPTOR)

AZIMUTH: Final = Bounds(0.0, 360.0, "send degrees clockwise from true north, 0 to below 360", open_above=True)
AZIMUTH_UNCERTAINTY: Final = Bounds(0.0, 180.0, "send one standard uncertainty in degrees, 0 to 180")
OBJECT_COUNT: Final = Bounds(1, 1_000, "send the number of objects, 1 to 1,000")
CONFIDENCE: Final = Bounds(0.0, 1.0, "send a confidence from 0 to 1")
QUALITY: Final = Bounds(0, 15, "send a track quality from 0 to 15")

MOST_WITHDRAWN: Final = 400
MOST_EXPLANATION: Final = 512
_POSITION_REMEDY: Final = "send a position with latitude_deg and longitude_deg"
_ELLIPSE_REMEDY: Final = "send an error ellipse with both axes, orientation and containment"


def check_launch_detection(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 1."""
    where = "launch_detection"
    launch = report.launch_detection
    launch_time = examination.time(launch, where, "launch_time")
    examination.not_after(launch_time, where, "launch_time", report_time_ns)
    examination.uncertainty(launch, where, "launch_time_uncertainty")
    if launch.HasField("launch_point"):
        check_position(examination, launch.launch_point, "launch_detection.launch_point")
    else:
        examination.absent(where, "launch_point", _POSITION_REMEDY)
    if launch.HasField("launch_point_error"):
        check_ellipse(examination, launch.launch_point_error, "launch_detection.launch_point_error")
    else:
        examination.absent(where, "launch_point_error", _ELLIPSE_REMEDY)
    if launch.HasField("initial_azimuth_deg") or launch.HasField("azimuth_uncertainty_deg"):
        # Where there is one, the other is required.
        examination.number(launch, where, "initial_azimuth_deg", AZIMUTH)
        examination.number(launch, where, "azimuth_uncertainty_deg", AZIMUTH_UNCERTAINTY)
    object_count, confidence = launch.object_count, launch.confidence
    if not (object_count and OBJECT_COUNT.lowest <= object_count <= OBJECT_COUNT.highest):
        examination.number(launch, where, "object_count", OBJECT_COUNT)
    if launch.missile_class not in MISSILE_CLASS.defined:
        examination.choice(launch.missile_class, where, "missile_class", MISSILE_CLASS)
    if launch.sensor_modality not in SENSOR_MODALITY.defined:
        examination.choice(launch.sensor_modality, where, "sensor_modality", SENSOR_MODALITY)
    if launch.certainty not in CERTAINTY.defined:
        examination.choice(launch.certainty, where, "certainty", CERTAINTY)
    if not (confidence and CONFIDENCE.lowest <= confidence <= CONFIDENCE.highest):
        examination.number(launch, where, "confidence", CONFIDENCE)
    if examination.complete and not report.references:
        precedence = report.precedence
        if report_pb2.PRECEDENCE_UNSPECIFIED < precedence < report_pb2.PRECEDENCE_FLASH:
            name = report_pb2.Precedence.Name(precedence)
            examination.wrong(
                "",
                "precedence",
                f"is {name}, and a first launch detection travels at PRECEDENCE_FLASH",
                "send it at PRECEDENCE_FLASH, or name in `references` the earlier report that it builds on",
            )


def check_track(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 2. The time of the point is the report's valid time, judged with the envelope."""
    where = "track"
    track = report.track
    if track.track_id not in UUID.known:
        examination.text(track.track_id, where, "track_id", UUID)
    if track.track_number not in TRACK_NUMBER.known:
        examination.text(track.track_number, where, "track_number", TRACK_NUMBER)
    if track.status not in TRACK_STATUS.defined:
        examination.choice(track.status, where, "status", TRACK_STATUS)
    if track.point_type not in TRACK_POINT_TYPE.defined:
        examination.choice(track.point_type, where, "point_type", TRACK_POINT_TYPE)
    if track.HasField("position"):
        check_position(examination, track.position, "track.position", Need.REQUIRED)
    else:
        examination.absent(where, "position", "send a position with latitude_deg, longitude_deg and height_m")
    if track.HasField("velocity"):
        check_velocity(examination, track.velocity, "track.velocity")
    if track.HasField("covariance"):
        check_covariance(examination, track.covariance, "track.covariance")
    quality = track.quality
    if not (quality and QUALITY.lowest <= quality <= QUALITY.highest):
        examination.number(track, where, "quality", QUALITY)
    if track.sensor_modality not in SENSOR_MODALITY.defined:
        examination.choice(track.sensor_modality, where, "sensor_modality", SENSOR_MODALITY)
    if track.missile_class not in MISSILE_CLASS.defined:
        examination.choice(track.missile_class, where, "missile_class", MISSILE_CLASS)


def check_impact_prediction(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 3."""
    where = "impact_prediction"
    impact = report.impact_prediction
    impact_time = examination.time(impact, where, "impact_time")
    ahead_ns = examination.limits.max_impact_ahead_ns
    examination.not_after(impact_time, where, "impact_time", report_time_ns, ahead_ns)
    examination.uncertainty(impact, where, "impact_time_uncertainty")
    if impact.HasField("impact_point"):
        check_position(examination, impact.impact_point, "impact_prediction.impact_point")
    else:
        examination.absent(where, "impact_point", _POSITION_REMEDY)
    if impact.HasField("impact_point_error"):
        check_ellipse(examination, impact.impact_point_error, "impact_prediction.impact_point_error")
    else:
        examination.absent(where, "impact_point_error", _ELLIPSE_REMEDY)
    if impact.HasField("warning_area"):
        check_polygon(examination, impact.warning_area, "impact_prediction.warning_area")
    basis_time = examination.time(impact, where, "basis_time")
    examination.not_after(basis_time, where, "basis_time", report_time_ns)
    confidence = impact.confidence
    if not (confidence and CONFIDENCE.lowest <= confidence <= CONFIDENCE.highest):
        examination.number(impact, where, "confidence", CONFIDENCE)
    examination.text(impact.track_id, where, "track_id", UUID, Need.OPTIONAL)


def check_correction(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 4."""
    where = "correction"
    correction = report.correction
    _check_withdrawn(examination, correction.report_ids, where, report.report_id)
    examination.choice(correction.reason, where, "reason", WITHDRAWAL_REASON)
    replacement = correction.replacement_report_id
    examination.text(replacement, where, "replacement_report_id", UUID, Need.OPTIONAL)
    if replacement:
        problem = ""
        if replacement == report.report_id:
            problem = "is this report itself"
        elif replacement in correction.report_ids:
            problem = f"is {quoted(replacement)}, which is one of report_ids"
        if problem:
            remedy = "send the identifier of the report that holds the right values, or leave it out"
            examination.wrong(where, "replacement_report_id", problem, remedy)
    examination.words(correction.explanation, where, "explanation", MOST_EXPLANATION)


def check_cancellation(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 4."""
    where = "cancellation"
    cancellation = report.cancellation
    _check_withdrawn(examination, cancellation.report_ids, where, report.report_id)
    examination.choice(cancellation.reason, where, "reason", WITHDRAWAL_REASON)
    examination.words(cancellation.explanation, where, "explanation", MOST_EXPLANATION)


def check_all_clear(examination: Examination, report: report_pb2.Report, report_time_ns: int | None) -> None:
    """Rule 5."""
    where = "all_clear"
    examination.choice(report.all_clear.reason, where, "reason", WITHDRAWAL_REASON)
    examination.words(report.all_clear.explanation, where, "explanation", MOST_EXPLANATION)


def _check_withdrawn(examination: Examination, report_ids: Sequence[str], where: str, report_id: str) -> None:
    if not report_ids:
        examination.absent(where, "report_ids", "send the identifiers of the reports that no longer stand")
        return
    examination.text_list(report_ids, where, "report_ids", MOST_WITHDRAWN, UUID)
    if report_id and report_id in report_ids:
        name = f"report_ids[{list(report_ids).index(report_id)}]"
        examination.wrong(where, name, "is this report itself", "name earlier reports only")


ContentCheck = Callable[[Examination, report_pb2.Report, int | None], None]

CONTENT_CHECKS: Final[dict[str, ContentCheck]] = {
    "launch_detection": check_launch_detection,
    "track": check_track,
    "impact_prediction": check_impact_prediction,
    "correction": check_correction,
    "cancellation": check_cancellation,
    "all_clear": check_all_clear,
}
"""The rules of each field of `Report.content`."""
