"""Valid reports, as many of them as a search can reach: each field takes any value that the contract allows it."""

from __future__ import annotations

import math
from typing import Any, Final, TypeVar

from geographiclib.geodesic import Geodesic
from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.reports.kinds import Kind
from policy.countries import ASSIGNED, NODE_CODES
from tests.reports.examples import NODE, NOW, SECOND

T = TypeVar("T")
HOUR: Final = 3_600 * SECOND
UUIDS: Final = st.uuids(version=4).map(str)
NAMES: Final = st.from_regex(r"[A-Za-z0-9._/-]{1,64}", fullmatch=True)
WORDS: Final = st.text(st.characters(codec="utf-8", categories=["L", "M", "N", "P", "S", "Zs"]), max_size=64)


def defined(enum: EnumDescriptor) -> st.SearchStrategy[Any]:
    return st.sampled_from([value.number for value in enum.values if value.number])


def optional(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.none() | strategy


def timestamps(least_ns: int, most_ns: int) -> st.SearchStrategy[Timestamp]:
    return st.integers(least_ns, most_ns).map(
        lambda time_ns: Timestamp(seconds=time_ns // SECOND, nanos=time_ns % SECOND)
    )


UNCERTAINTIES: Final = st.integers(0, HOUR).map(
    lambda length_ns: Duration(seconds=length_ns // SECOND, nanos=length_ns % SECOND)
)


def positions(height: st.SearchStrategy[float | None]) -> st.SearchStrategy[report_pb2.Position]:
    return st.builds(
        report_pb2.Position,
        latitude_deg=st.floats(-90.0, 90.0),
        longitude_deg=st.floats(-180.0, 180.0),
        height_m=height,
    )


HEIGHTS: Final = st.floats(-12_000.0, 50_000_000.0)


@st.composite
def ellipses(draw: st.DrawFn) -> report_pb2.ErrorEllipse:
    major = draw(st.floats(0.0, 20_000_000.0, exclude_min=True))
    return report_pb2.ErrorEllipse(
        semi_major_m=major,
        semi_minor_m=draw(st.floats(0.0, major, exclude_min=True)),
        orientation_deg=draw(st.floats(0.0, 180.0, exclude_max=True)),
        containment=draw(st.floats(0.0, 1.0, exclude_min=True, exclude_max=True)),
    )


@st.composite
def rings(draw: st.DrawFn) -> list[tuple[float, float]]:
    """(latitude, longitude) of corners counter-clockwise around a centre, anywhere, 1 km to 5,000 km from it.

    Neighbours are less than half a turn apart, so the centre is inside.
    """
    latitude, longitude = draw(st.floats(-90.0, 90.0)), draw(st.floats(-180.0, 180.0))
    size = draw(st.integers(3, 40))
    start = draw(st.floats(0.0, 360.0))
    ring = []
    for index in range(size):
        azimuth = start - (index + draw(st.floats(0.0, 0.4))) * 360.0 / size
        corner = Geodesic.WGS84.Direct(latitude, longitude, azimuth, draw(st.floats(1e3, 5e6)))
        ring.append((corner["lat2"], corner["lon2"]))
    return ring


POLYGONS: Final = rings().map(
    lambda ring: report_pb2.Polygon(
        corners=[report_pb2.Position(latitude_deg=latitude, longitude_deg=longitude) for latitude, longitude in ring]
    )
)

VELOCITIES: Final = st.builds(
    report_pb2.Velocity,
    frame=defined(report_pb2.ReferenceFrame.DESCRIPTOR),
    x_mps=st.floats(-20_000.0, 20_000.0),
    y_mps=st.floats(-20_000.0, 20_000.0),
    z_mps=st.floats(-20_000.0, 20_000.0),
)


@st.composite
def upper_triangles(draw: st.DrawFn) -> list[float]:
    """Of F F^T with any F (singular ones too), its axes in any units: positive semidefinite but for rounding."""
    order = draw(st.sampled_from([3, 6]))
    terms = st.integers(-1_000, 1_000).map(float)
    factor = [[draw(terms) for _ in range(order)] for _ in range(order)]
    units = [draw(st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6])) for _ in range(order)]
    return [
        units[row] * units[column] * math.fsum(a * b for a, b in zip(factor[row], factor[column], strict=True))
        for row in range(order)
        for column in range(row, order)
    ]


COVARIANCES: Final = st.builds(
    report_pb2.Covariance,
    frame=defined(report_pb2.ReferenceFrame.DESCRIPTOR),
    upper_triangle=upper_triangles(),
)


@st.composite
def launch_detections(draw: st.DrawFn, report_time_ns: int) -> report_pb2.LaunchDetection:
    with_azimuth = draw(st.booleans())
    return report_pb2.LaunchDetection(
        launch_time=draw(timestamps(0, report_time_ns)),
        launch_time_uncertainty=draw(UNCERTAINTIES),
        launch_point=draw(positions(optional(HEIGHTS))),
        launch_point_error=draw(ellipses()),
        initial_azimuth_deg=draw(st.floats(0.0, 360.0, exclude_max=True)) if with_azimuth else None,
        azimuth_uncertainty_deg=draw(st.floats(0.0, 180.0)) if with_azimuth else None,
        object_count=draw(st.integers(1, 1_000)),
        missile_class=draw(defined(report_pb2.MissileClass.DESCRIPTOR)),
        sensor_modality=draw(defined(report_pb2.SensorModality.DESCRIPTOR)),
        certainty=draw(defined(report_pb2.Certainty.DESCRIPTOR)),
        confidence=draw(st.floats(0.0, 1.0)),
    )


def tracks() -> st.SearchStrategy[report_pb2.Track]:
    return st.builds(
        report_pb2.Track,
        track_id=UUIDS,
        track_number=st.from_regex(r"[A-Z0-9-]{1,16}", fullmatch=True),
        status=defined(report_pb2.TrackStatus.DESCRIPTOR),
        point_type=defined(report_pb2.TrackPointType.DESCRIPTOR),
        position=positions(HEIGHTS),
        velocity=optional(VELOCITIES),
        covariance=optional(COVARIANCES),
        quality=st.integers(0, 15),
        sensor_modality=defined(report_pb2.SensorModality.DESCRIPTOR),
        missile_class=defined(report_pb2.MissileClass.DESCRIPTOR),
    )


def impact_predictions(report_time_ns: int) -> st.SearchStrategy[report_pb2.ImpactPrediction]:
    return st.builds(
        report_pb2.ImpactPrediction,
        impact_time=timestamps(0, report_time_ns + 2 * HOUR),
        impact_time_uncertainty=UNCERTAINTIES,
        impact_point=positions(optional(HEIGHTS)),
        impact_point_error=ellipses(),
        warning_area=optional(POLYGONS),
        basis_time=timestamps(0, report_time_ns),
        confidence=st.floats(0.0, 1.0),
        track_id=st.just("") | UUIDS,
    )


REASONS: Final = defined(report_pb2.WithdrawalReason.DESCRIPTOR)
WITHDRAWN: Final = st.lists(UUIDS, min_size=1, max_size=20, unique=True)


@st.composite
def reports(draw: st.DrawFn) -> report_pb2.Report:
    """A report of any kind that `validate_submitted` takes at `NOW` from `NODE` with the default limits."""
    kind = draw(st.sampled_from(Kind))
    traffic_class = draw(defined(report_pb2.TrafficClass.DESCRIPTOR))
    live = traffic_class == report_pb2.TRAFFIC_CLASS_LIVE
    nodes = st.sampled_from(sorted(ASSIGNED if live else NODE_CODES))
    node_lists = st.lists(nodes, max_size=64, unique=True)
    report_time_ns = draw(st.integers(NOW - HOUR, NOW + 5 * SECOND))
    report = report_pb2.Report(
        report_id=draw(UUIDS),
        originator_node=NODE,
        originator_station=draw(NAMES),
        source_sequence=draw(st.integers(1, 2**64 - 1)),
        event_id=draw(NAMES),
        report_time=Timestamp(seconds=report_time_ns // SECOND, nanos=report_time_ns % SECOND),
        clock_uncertainty=draw(UNCERTAINTIES),
        traffic_class=traffic_class,
        precedence=draw(defined(report_pb2.Precedence.DESCRIPTOR)),
        marking=report_pb2.Marking(
            policy=draw(st.from_regex(r"[A-Z0-9_-]{1,32}", fullmatch=True)),
            classification=draw(defined(report_pb2.Classification.DESCRIPTOR)),
            releasable_to=draw(node_lists),
            caveats=draw(st.lists(st.from_regex(r"[A-Z0-9 _-]{1,32}", fullmatch=True), max_size=16, unique=True)),
            onward_release=draw(node_lists),
        ),
        threat=report_pb2.Threat(launch_country=draw(st.just("UNKNOWN") | nodes), launch_area=draw(WORDS)),
        references=[
            report_pb2.Reference(
                originator_node=draw(nodes),
                report_id=earlier,
                relation=draw(defined(report_pb2.ReferenceRelation.DESCRIPTOR)),
            )
            for earlier in draw(st.lists(UUIDS, max_size=8, unique=True))
        ],
    )
    ahead_ns = 0
    if kind is Kind.LAUNCH_DETECTION:
        report.launch_detection.CopyFrom(draw(launch_detections(report_time_ns)))
        if not report.references:
            report.precedence = report_pb2.PRECEDENCE_FLASH
    elif kind is Kind.TRACK:
        report.track.CopyFrom(draw(tracks()))
        ahead_ns = HOUR if report.track.point_type == report_pb2.TRACK_POINT_TYPE_PREDICTED else 0
    elif kind is Kind.IMPACT_PREDICTION:
        report.impact_prediction.CopyFrom(draw(impact_predictions(report_time_ns)))
    elif kind is Kind.CORRECTION:
        *withdrawn, replacement = draw(st.lists(UUIDS, min_size=2, max_size=20, unique=True))
        report.correction.CopyFrom(
            report_pb2.Correction(
                report_ids=withdrawn,
                reason=draw(REASONS),
                replacement_report_id=draw(st.sampled_from(["", replacement])),
                explanation=draw(WORDS),
            )
        )
    elif kind is Kind.CANCELLATION:
        report.cancellation.CopyFrom(
            report_pb2.Cancellation(report_ids=draw(WITHDRAWN), reason=draw(REASONS), explanation=draw(WORDS))
        )
    else:
        report.all_clear.CopyFrom(report_pb2.AllClear(reason=draw(REASONS), explanation=draw(WORDS)))
    report.valid_time.CopyFrom(draw(timestamps(0, report_time_ns + ahead_ns)))
    return report
