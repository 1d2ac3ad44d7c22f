"""What holds of every valid report, as data: the ranges and presences that report.proto states (the
forms of texts stand in ``subject``). Needs no solver.

Here stands only what every gateway enforces at its doors, whatever its settings: proofs rest on it. What is left out
makes a proof harder and never wrong; what stood here wrongly would make it wrong. Left out are therefore ages and
offsets of clocks (settings), which country codes are assigned (they change), and geometry.

A report of this node's own is *complete*: every required field is there. A report of another originator came through
that originator's policy: anything but the fields that are always released may be absent.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from signalfire.v1 import report_pb2

from policy.vocabulary import CONTENT, Kind

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * SECOND_NS
END_OF_TIME_NS: Final = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp()) * SECOND_NS
"""Times are in the years 1970 to 2200."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number; both ends belong to it."""

    least: float
    most: float


def _above(least: float) -> float:
    return math.nextafter(least, math.inf)


def _below(most: float) -> float:
    return math.nextafter(most, -math.inf)


RANGES: Final = {
    "Position.latitude_deg": Bounds(-90, 90),
    "Position.longitude_deg": Bounds(-180, 180),
    "Position.height_m": Bounds(-12_000, 50_000_000),
    "ErrorEllipse.semi_major_m": Bounds(_above(0), 20_000_000),
    "ErrorEllipse.semi_minor_m": Bounds(_above(0), 20_000_000),
    "ErrorEllipse.orientation_deg": Bounds(0, _below(180)),
    "ErrorEllipse.containment": Bounds(_above(0), _below(1)),
    "LaunchDetection.initial_azimuth_deg": Bounds(0, _below(360)),
    "LaunchDetection.azimuth_uncertainty_deg": Bounds(0, 180),
    "LaunchDetection.object_count": Bounds(1, 1_000),
    "LaunchDetection.confidence": Bounds(0, 1),
    "Velocity.x_mps": Bounds(-20_000, 20_000),
    "Velocity.y_mps": Bounds(-20_000, 20_000),
    "Velocity.z_mps": Bounds(-20_000, 20_000),
    "Track.quality": Bounds(0, 15),
    "ImpactPrediction.confidence": Bounds(0, 1),
    "Report.source_sequence": Bounds(1, 2**64 - 1),
}
"""By message and field."""

ALWAYS_SET: Final = frozenset(
    {
        *("Report.report_id", "Report.originator_node", "Report.report_time", "Report.traffic_class"),
        *("Report.precedence", "Report.marking", "Marking.policy", "Marking.classification"),
    }
)
"""What is set in every valid report."""

REQUIRED: Final = ALWAYS_SET | frozenset(
    {
        *("Report.originator_station", "Report.source_sequence", "Report.event_id", "Report.valid_time"),
        *("Report.clock_uncertainty", "Report.threat", "Threat.launch_country"),
        *("Position.latitude_deg", "Position.longitude_deg"),
        *("ErrorEllipse.semi_major_m", "ErrorEllipse.semi_minor_m"),
        *("ErrorEllipse.orientation_deg", "ErrorEllipse.containment"),
        *("LaunchDetection.launch_time", "LaunchDetection.launch_time_uncertainty"),
        *("LaunchDetection.launch_point", "LaunchDetection.launch_point_error", "LaunchDetection.object_count"),
        *("LaunchDetection.missile_class", "LaunchDetection.sensor_modality"),
        *("LaunchDetection.certainty", "LaunchDetection.confidence"),
        *("Track.track_id", "Track.track_number", "Track.status", "Track.point_type", "Track.position"),
        *("Track.quality", "Track.sensor_modality", "Track.missile_class"),
        *("Velocity.frame", "Velocity.x_mps", "Velocity.y_mps", "Velocity.z_mps"),
        *("Covariance.frame", "Covariance.upper_triangle", "Polygon.corners"),
        *("ImpactPrediction.impact_time", "ImpactPrediction.impact_time_uncertainty"),
        *("ImpactPrediction.impact_point", "ImpactPrediction.impact_point_error"),
        *("ImpactPrediction.basis_time", "ImpactPrediction.confidence"),
        *("Correction.report_ids", "Correction.reason", "Cancellation.report_ids", "Cancellation.reason"),
        "AllClear.reason",
    }
)
"""What is set in every complete report, where the message that holds it is."""

REQUIRED_PATHS: Final = frozenset({"track.position.height_m"})
"""The same, where only one place of a message is meant."""

LEAST_ENTRIES: Final = {"Polygon.corners": 3, "Covariance.upper_triangle": 6}
"""The shortest that a repeated field can be, unless it is absent."""

MOST_ENTRIES: Final = {
    "Marking.releasable_to": 64,
    "Marking.caveats": 16,
    "Marking.onward_release": 64,
    "Report.references": 64,
    "Report.derivations": 8,
    "Polygon.corners": 256,
    "Covariance.upper_triangle": 21,
    "Correction.report_ids": 400,
    "Cancellation.report_ids": 400,
}
"""The longest that a repeated field can be. None stands here as an unlimited one."""

NEVER_SUBMITTED: Final = frozenset({"Report.derivations"})
"""What a complete report never holds."""

LONGEST: Final = {
    "Threat.launch_area": 64,
    "Correction.explanation": 512,
    "Cancellation.explanation": 512,
    "AllClear.explanation": 512,
}
"""Characters of a free text."""

NOT_AFTER_REPORT: Final = ("launch_detection.launch_time", "impact_prediction.basis_time")
"""Times of a complete report that are not after its ``report_time``; and so is ``valid_time`` but of tracks."""


def name_of(field: FieldDescriptor) -> str:
    """Message and field, as the tables have it."""
    return ".".join(field.full_name.rsplit(".", 2)[1:])


def field_at(path: str) -> FieldDescriptor:
    """The contract's field at a path of a report. Raises KeyError where there is none."""
    message: Descriptor | None = report_pb2.Report.DESCRIPTOR
    found: FieldDescriptor | None = None
    for name in path.split("."):
        if message is None:
            raise KeyError(path)
        found = message.fields_by_name[name]
        message = found.message_type
    if found is None:
        raise KeyError(path)
    return found


def parent_of(path: str) -> str:
    """The path of the message that holds it; empty for the report itself."""
    return path.rpartition(".")[0]


def is_content(field: FieldDescriptor) -> bool:
    """Whether it is one of the kinds of a report."""
    return field.containing_oneof is not None and field.containing_oneof.name == CONTENT


def always_set(path: str, *, complete: bool) -> bool:
    """Whether the field is set wherever the message that holds it is."""
    name = name_of(field_at(path))
    return name in ALWAYS_SET or (complete and (name in REQUIRED or path in REQUIRED_PATHS))


def defined_values(field: FieldDescriptor) -> tuple[int, ...]:
    """The values of an enum, less 0."""
    return tuple(value.number for value in field.enum_type.values if value.number) if field.enum_type else ()


def longest_uncertainty_ns(*, complete: bool) -> int:
    """Durations are standard uncertainties, up to 1 h; coarsening may have made them 2 h."""
    return HOUR_NS if complete else 2 * HOUR_NS


def times_not_after_report(kind: Kind, *, complete: bool) -> tuple[str, ...]:
    """Times of such a report that are not after its ``report_time``."""
    if not complete:
        return ()
    own = tuple(path for path in NOT_AFTER_REPORT if path.startswith(f"{kind.arm}."))
    return own if kind is Kind.TRACK else (*own, "valid_time")
