"""Reports for the comparison: launches, the alerts that say so, and the tracks that follow; as a radar would make them.

A track holds what tracks hold: position, velocity, all of the covariance, and a reference to the detection of its
launch.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from typing import Final

from signalfire.v1 import report_pb2

from gateway.client import ReportIds

LAUNCHES: Final = 50
TRACKS_A_LAUNCH: Final = 10
_UNCERTAINTY: Final = (
    *(9.0e4, 1.2e3, -4.0e2, 1.5e2, 5.0, 2.0),
    *(8.5e4, 3.0e2, 7.0, 1.4e2, 1.0),
    *(2.1e5, 3.0, 4.0, 2.5e2),
    *(1.6e1, 0.2, -0.1),
    *(1.5e1, 0.1),
    2.2e1,
)
_SECOND_NS: Final = 1_000_000_000


class Traffic:
    """What one run sends. Identifiers of its reports end with a tag, by which whoever receives them counts them."""

    def __init__(self) -> None:
        self._events = [f"JPN-{uuid.uuid4().hex[:8]}-{number:02d}" for number in range(LAUNCHES)]
        self._launches = [str(uuid.uuid4()) for _ in range(LAUNCHES)]
        self._tracks = [self._template(number) for number in range(LAUNCHES * TRACKS_A_LAUNCH)]
        self._ids = ReportIds()

    def launches(self) -> Sequence[report_pb2.Report]:
        """The first detection of each launch, to which the tracks refer. They come first, each once."""
        return [_stamped(_detection(self._events[at]), self._launches[at]) for at in range(LAUNCHES)]

    def alert(self, tag: str) -> report_pb2.Report:
        """A detection of a further launch, made now."""
        report_id = self._identifier(tag)
        return _stamped(_detection(f"JPN-{report_id[-12:]}"), report_id)

    def track(self, tag: str, number: int) -> report_pb2.Report:
        """The next point of one of the tracks, measured now."""
        report = report_pb2.Report()
        report.CopyFrom(self._tracks[number % len(self._tracks)])
        report.source_sequence = number + 1
        return _stamped(report, self._identifier(tag))

    def _identifier(self, tag: str) -> str:
        return self._ids.new()[: -len(tag)] + tag

    def _template(self, number: int) -> report_pb2.Report:
        launch = number % LAUNCHES
        report = _envelope(report_pb2.PRECEDENCE_ROUTINE, self._events[launch])
        relation = report_pb2.REFERENCE_RELATION_DERIVED_FROM
        report.references.add(originator_node="JPN", report_id=self._launches[launch], relation=relation)
        point = report.track
        point.track_id = str(uuid.uuid4())
        point.track_number = f"JA{number:03d}"
        point.status = report_pb2.TRACK_STATUS_MAINTAINING
        point.point_type = report_pb2.TRACK_POINT_TYPE_ESTIMATED
        point.position.latitude_deg, point.position.longitude_deg = 38.0 + number % 90 / 60, 127.0 + number % 70 / 60
        point.position.height_m = 184_000.0 + number
        point.velocity.frame = report_pb2.REFERENCE_FRAME_ENU
        point.velocity.x_mps, point.velocity.y_mps, point.velocity.z_mps = 2_950.0, -40.0, 1_610.0
        point.covariance.frame = report_pb2.REFERENCE_FRAME_ENU
        point.covariance.upper_triangle.extend(_UNCERTAINTY)
        point.quality = 11
        point.sensor_modality = report_pb2.SENSOR_MODALITY_SEA_RADAR
        point.missile_class = report_pb2.MISSILE_CLASS_MRBM
        return report


def new_tag() -> str:
    """A tag: eight hexadecimal digits."""
    return uuid.uuid4().hex[:8]


def _envelope(precedence: report_pb2.Precedence.ValueType, event: str) -> report_pb2.Report:
    report = report_pb2.Report(
        originator_node="JPN",
        originator_station="KAMO-KURA/FPS-5.2",
        source_sequence=1,
        event_id=event,
        traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE,
        precedence=precedence,
        marking=report_pb2.Marking(
            policy="JPN", classification=report_pb2.CLASSIFICATION_SECRET, releasable_to=["KOR", "USA"]
        ),
        threat=report_pb2.Threat(launch_country="PRK", launch_area="Sunan"),
    )
    report.clock_uncertainty.nanos = 50_000
    return report


def _detection(event: str) -> report_pb2.Report:
    report = _envelope(report_pb2.PRECEDENCE_FLASH, event)
    launch = report.launch_detection
    launch.launch_time.FromNanoseconds(time.time_ns() - 60 * _SECOND_NS)
    launch.launch_time_uncertainty.seconds = 2
    launch.launch_point.latitude_deg, launch.launch_point.longitude_deg = 39.2, 125.67
    launch.launch_point.height_m = 34.0
    launch.launch_point_error.semi_major_m, launch.launch_point_error.semi_minor_m = 9_000.0, 4_500.0
    launch.launch_point_error.orientation_deg, launch.launch_point_error.containment = 91.0, 0.95
    launch.initial_azimuth_deg, launch.azimuth_uncertainty_deg = 92.5, 6.0
    launch.object_count = 1
    launch.missile_class = report_pb2.MISSILE_CLASS_MRBM
    launch.sensor_modality = report_pb2.SENSOR_MODALITY_SPACE_INFRARED
    launch.certainty = report_pb2.CERTAINTY_PROBABLE
    launch.confidence = 0.8
    return report


def _stamped(report: report_pb2.Report, report_id: str) -> report_pb2.Report:
    report.report_id = report_id
    now_ns = time.time_ns()
    report.report_time.FromNanoseconds(now_ns)
    report.valid_time.FromNanoseconds(now_ns - _SECOND_NS)
    return report
