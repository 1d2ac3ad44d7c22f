"""A valid report of each kind, to be changed one field at a time.

`launch_detection(launch_detection__launch_point__latitude_deg=91.0)` is a launch detection that is valid but for its
latitude. A change names a field by its path, `__` between the steps, and `__2` steps into the third entry of a list;
None clears the field. Identifiers come from the seed, so the same call makes the same report.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import chain
from typing import Any, Final
from uuid import UUID

from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from gateway.reports.kinds import Kind

NODE: Final = "JPN"
NOW: Final = int(datetime(2026, 5, 1, 3, 0, 0, tzinfo=UTC).timestamp()) * 1_000_000_000
"""The time at the gateway in nanoseconds since 1970; the examples were made 200 ms before."""
SECOND: Final = 1_000_000_000
_COVARIANCE: Final = (
    (9.0e4, 1.2e3, -4.0e2, 1.5e2, 5.0, 2.0),
    (8.5e4, 3.0e2, 7.0, 1.4e2, 1.0),
    (2.1e5, 3.0, 4.0, 2.5e2),
    (1.6e1, 0.2, -0.1),
    (1.5e1, 0.1),
    (2.2e1,),
)


def report_id(seed: int, part: str = "report") -> str:
    """A UUID (version 4) that depends on the seed and on what it names."""
    return str(UUID(int=random.Random(f"{part} {seed}").getrandbits(128), version=4))


def change(report: report_pb2.Report, **changes: Any) -> report_pb2.Report:
    """`report` itself with each named field set, or cleared where None is given."""
    for path, value in changes.items():
        *way, last = path.split("__")
        message: Any = report
        for step in way:
            message = message[int(step)] if step.isdecimal() else getattr(message, step)
        if value is None:
            message.ClearField(last)
        elif last.isdecimal():
            message[int(last)] = value
        elif isinstance(value, Message):
            getattr(message, last).CopyFrom(value)
        elif isinstance(value, Iterable) and not isinstance(value, str):
            message.ClearField(last)
            getattr(message, last).extend(value)
        else:
            setattr(message, last, value)
    return report


def launch_detection(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """A missile seen from space as it rises."""
    report = _envelope(seed, report_pb2.PRECEDENCE_FLASH, age_ns=8 * SECOND)
    launch = report.launch_detection
    _set_time(launch.launch_time, NOW - 60 * SECOND)
    launch.launch_time_uncertainty.seconds = 2
    launch.launch_point.CopyFrom(_position(39.2, 125.67, 34.0))
    launch.launch_point_error.CopyFrom(_ellipse())
    launch.initial_azimuth_deg = 92.5
    launch.azimuth_uncertainty_deg = 6.0
    launch.object_count = 1
    launch.missile_class = report_pb2.MISSILE_CLASS_MRBM
    launch.sensor_modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    launch.certainty = report_pb2.CERTAINTY_PROBABLE
    launch.confidence = 0.8
    return change(report, **changes)


def track(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """A point of a track with velocity and the full covariance."""
    report = _envelope(seed, report_pb2.PRECEDENCE_IMMEDIATE, age_ns=SECOND)
    _refer(report, seed, report_pb2.REFERENCE_RELATION_DERIVED_FROM)
    point = report.track
    point.track_id = report_id(seed, "track")
    point.track_number = "JA017"
    point.status = report_pb2.TRACK_STATUS_MAINTAINING
    point.point_type = report_pb2.TRACK_POINT_TYPE_ESTIMATED
    point.position.CopyFrom(_position(39.3, 127.9, 184_000.0))
    point.velocity.frame = report_pb2.REFERENCE_FRAME_ENU
    point.velocity.x_mps, point.velocity.y_mps, point.velocity.z_mps = 2_950.0, -40.0, 1_610.0
    point.covariance.frame = report_pb2.REFERENCE_FRAME_ENU
    point.covariance.upper_triangle.extend(chain.from_iterable(_COVARIANCE))
    point.quality = 11
    point.sensor_modality = report_pb2.SENSOR_MODALITY_SEA_RADAR
    point.missile_class = report_pb2.MISSILE_CLASS_MRBM
    return change(report, **changes)


def impact_prediction(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """An impact at sea seven minutes from now, with the area to be warned."""
    report = _envelope(seed, report_pb2.PRECEDENCE_FLASH, age_ns=2 * SECOND)
    _refer(report, seed, report_pb2.REFERENCE_RELATION_DERIVED_FROM)
    impact = report.impact_prediction
    _set_time(impact.impact_time, NOW + 420 * SECOND)
    impact.impact_time_uncertainty.seconds = 12
    impact.impact_point.CopyFrom(_position(40.6, 137.9))
    impact.impact_point_error.CopyFrom(_ellipse())
    for latitude, longitude in ((40.0, 137.0), (40.0, 139.0), (41.2, 139.0), (41.2, 137.0)):
        impact.warning_area.corners.append(_position(latitude, longitude))
    _set_time(impact.basis_time, NOW - 2 * SECOND)
    impact.confidence = 0.9
    impact.track_id = report_id(seed, "track")
    return change(report, **changes)


def correction(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """Two earlier reports held wrong values; a third holds the right ones."""
    report = _envelope(seed, report_pb2.PRECEDENCE_FLASH, age_ns=SECOND)
    report.correction.report_ids.extend([report_id(seed, "wrong"), report_id(seed, "wrong too")])
    report.correction.reason = report_pb2.WITHDRAWAL_REASON_ERRONEOUS_VALUES
    report.correction.replacement_report_id = report_id(seed, "right")
    report.correction.explanation = "Launch point taken from another event."
    return change(report, **changes)


def cancellation(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """One earlier report was a false alarm."""
    report = _envelope(seed, report_pb2.PRECEDENCE_FLASH, age_ns=SECOND)
    report.cancellation.report_ids.append(report_id(seed, "false"))
    report.cancellation.reason = report_pb2.WITHDRAWAL_REASON_FALSE_ALARM
    report.cancellation.explanation = "Gas flare."
    return change(report, **changes)


def all_clear(seed: int = 0, **changes: Any) -> report_pb2.Report:
    """The event is over."""
    report = _envelope(seed, report_pb2.PRECEDENCE_IMMEDIATE, age_ns=SECOND)
    report.all_clear.reason = report_pb2.WITHDRAWAL_REASON_EVENT_OVER
    report.all_clear.explanation = "All objects came down at sea."
    return change(report, **changes)


EXAMPLES: Final[dict[Kind, Callable[..., report_pb2.Report]]] = {
    Kind.LAUNCH_DETECTION: launch_detection,
    Kind.TRACK: track,
    Kind.IMPACT_PREDICTION: impact_prediction,
    Kind.CORRECTION: correction,
    Kind.CANCELLATION: cancellation,
    Kind.ALL_CLEAR: all_clear,
}


def _envelope(seed: int, precedence: report_pb2.Precedence.ValueType, age_ns: int) -> report_pb2.Report:
    report = report_pb2.Report(
        report_id=report_id(seed),
        originator_node=NODE,
        originator_station="KAMO-KURA/FPS-5.2",
        source_sequence=seed + 1,
        event_id="JPN-2026-0042",
        traffic_class=report_pb2.TRAFFIC_CLASS_LIVE,
        precedence=precedence,
        marking=report_pb2.Marking(
            policy="JPN",
            classification=report_pb2.CLASSIFICATION_SECRET,
            releasable_to=["KOR", "USA"],
            caveats=["EYES-ONLY"],
            onward_release=["AUS"],
        ),
        threat=report_pb2.Threat(launch_country="PRK", launch_area="Sunan"),
    )
    _set_time(report.report_time, NOW - SECOND // 5)
    _set_time(report.valid_time, NOW - SECOND // 5 - age_ns)
    report.clock_uncertainty.nanos = 50_000
    return report


def _refer(report: report_pb2.Report, seed: int, relation: report_pb2.ReferenceRelation.ValueType) -> None:
    report.references.add(originator_node=NODE, report_id=report_id(seed, "earlier"), relation=relation)


def _position(latitude: float, longitude: float, height: float | None = None) -> report_pb2.Position:
    return report_pb2.Position(latitude_deg=latitude, longitude_deg=longitude, height_m=height)


def _ellipse() -> report_pb2.ErrorEllipse:
    return report_pb2.ErrorEllipse(semi_major_m=9_000.0, semi_minor_m=4_500.0, orientation_deg=91.0, containment=0.95)


def _set_time(stamp: Any, time_ns: int) -> None:
    stamp.seconds, stamp.nanos = divmod(time_ns, SECOND)
