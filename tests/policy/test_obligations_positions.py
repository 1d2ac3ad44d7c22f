"""Positions and velocities are coarsened, and what is said of their errors tells nothing of where they were."""

from __future__ import annotations

import math

import pytest
from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy.errors import ObligationError
from policy.grid import coarsened
from policy.obligations import Grid, Obligations, Rounding
from tests.policy import reports
from tests.policy.coarsening import coarse, named


def test_a_launch_point_goes_to_its_cell_and_its_ellipse_and_azimuth_allow_for_it() -> None:
    copy = coarse(reports.launch(), Obligations(Grid(100_000.0)))
    launch = copy.launch_detection
    assert launch.launch_point.latitude_deg == pytest.approx(38.7623762)
    assert launch.launch_point.height_m == 0.0
    assert 70_000 < launch.launch_point_error.semi_minor_m < launch.launch_point_error.semi_major_m < 73_000
    assert launch.launch_point_error.containment == 0.95
    assert 3.5 < launch.azimuth_uncertainty_deg < 4.0
    assert named(copy) == [
        "launch_detection.launch_point.latitude_deg",
        "launch_detection.launch_point.longitude_deg",
        "launch_detection.launch_point.height_m",
        "launch_detection.launch_point_error.semi_major_m",
        "launch_detection.launch_point_error.semi_minor_m",
        "launch_detection.azimuth_uncertainty_deg",
    ]


def test_a_track_point_loses_its_quality_and_its_covariance_covers_the_move() -> None:
    copy = coarse(reports.track(), Obligations(Grid(10_000.0)))
    assert not copy.track.HasField("quality")
    xx = copy.track.covariance.upper_triangle[0]
    assert 7_000**2 < xx < 9_000**2
    assert (copy.track.position.height_m, copy.track.velocity.x_mps) == (120_000.0, 1.0)


@pytest.mark.parametrize("height_m", [0.0, 40_000_000.0])
def test_a_covariance_covers_the_move_at_the_height_of_the_point_and_that_of_the_height(height_m: float) -> None:
    report = reports.track()
    report.track.position.height_m = height_m
    position = report.track.position
    spot = coarsened(position.latitude_deg, position.longitude_deg, Grid(10_000.0))
    copy = coarse(report, Obligations(Grid(10_000.0)))
    assert copy.track.covariance.upper_triangle[0] >= spot.displacement_at(height_m + 5_000.0) ** 2 + 5_000.0**2


def test_velocity_is_rounded_and_its_covariance_covers_it_and_the_position_stays() -> None:
    report = reports.track()
    report.track.velocity.MergeFrom(report_pb2.Velocity(x_mps=2_950.0, y_mps=-40.0, z_mps=1_610.0))
    report.track.covariance.upper_triangle[:] = [1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1]
    copy = coarse(report, Obligations(velocity_mps=100.0))
    velocity = copy.track.velocity
    assert (velocity.x_mps, velocity.y_mps, velocity.z_mps) == (3_000.0, 0.0, 1_600.0)
    assert math.copysign(1.0, velocity.y_mps) == 1.0, "a zero with a sign would tell the sign"
    assert copy.track.covariance.upper_triangle[15] >= 3 * 50.0**2
    assert copy.track.position == report.track.position
    assert copy.track.quality == report.track.quality


def test_a_covariance_of_the_position_alone_stands_where_velocity_alone_is_coarsened() -> None:
    copy = coarse(reports.track(), Obligations(velocity_mps=100.0))
    assert copy.track.covariance == reports.track().track.covariance
    assert "track.covariance.upper_triangle" not in named(copy)


def test_at_a_coarser_position_east_is_elsewhere_and_the_covariance_of_the_velocity_allows_for_it() -> None:
    upper = [1.0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 1, 0, 1]
    variances = {}
    for frame in (report_pb2.REFERENCE_FRAME_ENU, report_pb2.REFERENCE_FRAME_ECEF):
        report = reports.track()
        report.track.velocity.CopyFrom(report_pb2.Velocity(frame=frame, x_mps=7_000.0, y_mps=0.0, z_mps=0.0))
        report.track.covariance.upper_triangle[:] = upper
        report.track.covariance.frame = report_pb2.REFERENCE_FRAME_ECEF
        variances[frame] = coarse(report, Obligations(Grid(100_000.0))).track.covariance.upper_triangle[15]
    assert variances[report_pb2.REFERENCE_FRAME_ENU] > (0.01 * 7_000.0) ** 2
    assert variances[report_pb2.REFERENCE_FRAME_ECEF] == pytest.approx(2 * 3.0)


Axes = tuple[tuple[float, float, float], ...]


def east_north_up(latitude_deg: float, longitude_deg: float) -> Axes:
    """The axes of the local frame, in the frame fixed to the Earth."""
    lat, lon = math.radians(latitude_deg), math.radians(longitude_deg)
    return (
        (-math.sin(lon), math.cos(lon), 0.0),
        (-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon), math.cos(lat)),
        (math.cos(lat) * math.cos(lon), math.cos(lat) * math.sin(lon), math.sin(lat)),
    )


def along(axes: Axes, variances: tuple[float, ...]) -> list[list[float]]:
    """The matrix with these variances along these axes."""
    return [
        [
            math.fsum(v * axis[row] * axis[column] for v, axis in zip(variances, axes, strict=True))
            for column in range(3)
        ]
        for row in range(3)
    ]


def upper_of(position: list[list[float]], velocity: list[list[float]] | None) -> list[float]:
    if velocity is None:
        return [position[row][column] for row in range(3) for column in range(row, 3)]
    whole = [[*row, 0.0, 0.0, 0.0] for row in position] + [[0.0, 0.0, 0.0, *row] for row in velocity]
    return [whole[row][column] for row in range(6) for column in range(row, 6)]


ENU, ECEF, UNTOLD = (
    report_pb2.REFERENCE_FRAME_ENU,
    report_pb2.REFERENCE_FRAME_ECEF,
    report_pb2.REFERENCE_FRAME_UNSPECIFIED,
)


def seen_from(
    latitude_deg: float,
    longitude_deg: float,
    frame: report_pb2.ReferenceFrame.ValueType,
    *,
    velocity_frame: report_pb2.ReferenceFrame.ValueType = ENU,
    with_velocity: bool = True,
) -> report_pb2.Report:
    """A track whose errors lie along east, north and up at its exact position, as a filter would have them."""
    report = reports.track()
    track = report.track
    track.position.latitude_deg, track.position.longitude_deg = latitude_deg, longitude_deg
    local = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    axes = local if frame == ENU else east_north_up(latitude_deg, longitude_deg)
    velocity = along(axes, (4.0, 9.0, 1.0)) if with_velocity else None
    track.covariance.upper_triangle[:] = upper_of(along(axes, (400.0, 900.0, 2_500.0)), velocity)
    track.covariance.frame, track.velocity.frame = frame, velocity_frame
    return report


@pytest.mark.parametrize("frame", [ECEF, UNTOLD])
@pytest.mark.parametrize("with_velocity", [True, False])
@pytest.mark.parametrize("position", [Grid(1_000_000.0), Rounding(100_000.0)])
def test_the_axes_of_a_covariance_in_a_frame_fixed_to_the_earth_do_not_tell_the_position(
    frame: report_pb2.ReferenceFrame.ValueType, with_velocity: bool, position: Grid | Rounding
) -> None:
    here, there = (
        coarse(seen_from(39.5 + d, 127.6 + d, frame, with_velocity=with_velocity), Obligations(position))
        for d in (0.012345, 0.3)
    )
    assert here.track.position == there.track.position, "one cell"
    assert list(here.track.covariance.upper_triangle) == pytest.approx(there.track.covariance.upper_triangle)
    upper = iter(here.track.covariance.upper_triangle)
    order = 6 if with_velocity else 3
    matrix = {(row, column): next(upper) for row in range(order) for column in range(row, order)}
    assert {value for (row, column), value in matrix.items() if row != column} == {0.0}
    for block in range(0, order, 3):
        assert len({matrix[place, place] for place in range(block, block + 3)}) == 1


@pytest.mark.parametrize("velocity_frame", [ECEF, UNTOLD])
def test_a_covariance_that_lies_along_the_velocity_does_not_tell_the_position_by_it(
    velocity_frame: report_pb2.ReferenceFrame.ValueType,
) -> None:
    """The direction of flight in one frame and in the other would give the turn between them, and with it the place."""
    report = seen_from(39.5, 127.6, ENU, velocity_frame=velocity_frame)
    variances = coarse(report, Obligations(Grid(10_000.0))).track.covariance.upper_triangle
    assert variances[0] == variances[6] == variances[11]
    assert variances[15] == variances[18] == variances[20]


@pytest.mark.parametrize("without", ["velocity", ""])
def test_a_covariance_given_east_north_and_up_keeps_its_directions(without: str) -> None:
    report = seen_from(39.5, 127.6, ENU)
    cleared(report.track, without) if without else None
    variances = coarse(report, Obligations(Grid(10.0))).track.covariance.upper_triangle
    assert variances[0] < variances[6] < variances[11]


def test_a_covariance_stands_in_any_frame_where_the_position_is_exact() -> None:
    report = seen_from(39.5, 127.6, ECEF, with_velocity=False)
    assert coarse(report, Obligations(velocity_mps=100.0, time_s=60)).track.covariance == report.track.covariance


def test_a_covariance_that_no_double_holds_keeps_the_copy_back() -> None:
    report = seen_from(39.5, 127.6, ECEF, with_velocity=False)
    report.track.covariance.upper_triangle[:] = [1.7e308, 0.0, 0.0, 1.7e308, 0.0, 1.7e308]
    for frame in (ENU, ECEF):
        report.track.covariance.frame = frame
        with pytest.raises(ObligationError, match="too large"):
            coarse(report, Obligations(Grid(10_000.0)))


def cleared(message: Message, field: str) -> None:
    message.ClearField(field)


@pytest.mark.parametrize("missing", ["latitude_deg", "longitude_deg"])
def test_half_a_place_is_cleared(missing: str) -> None:
    report = reports.track()
    cleared(report.track.position, missing)
    copy = coarse(report, Obligations(Grid(1_000.0)))
    assert copy.track.position == report_pb2.Position(height_m=120_000.0)
    assert not copy.track.HasField("covariance")
    report = reports.launch()
    cleared(report.launch_detection.launch_point, missing)
    report.launch_detection.launch_point.ClearField("height_m")
    assert not coarse(report, Obligations(Grid(1_000.0))).launch_detection.HasField("launch_point")


def test_an_error_of_a_position_that_is_not_in_the_copy_stands() -> None:
    report = reports.track()
    report.track.ClearField("position")
    assert coarse(report, Obligations(Grid(1_000.0))) == report
    launch = reports.launch()
    launch.launch_detection.ClearField("launch_point")
    assert coarse(launch, Obligations(Grid(1_000.0))) == launch


@pytest.mark.parametrize("missing", ["semi_major_m", "semi_minor_m"])
def test_an_ellipse_of_one_axis_is_cleared(missing: str) -> None:
    report = reports.launch()
    cleared(report.launch_detection.launch_point_error, missing)
    copy = coarse(report, Obligations(Grid(1_000.0)))
    assert not copy.launch_detection.HasField("launch_point_error")
    assert "launch_detection.launch_point_error.containment" in named(copy)


def test_a_covariance_around_a_position_without_its_height_is_cleared() -> None:
    report = reports.track()
    report.track.position.ClearField("height_m")
    copy = coarse(report, Obligations(Grid(1_000.0)))
    assert not copy.track.HasField("covariance")
    assert {"track.covariance.frame", "track.covariance.upper_triangle"} <= set(named(copy))


def test_an_ellipse_that_would_outgrow_the_contract_keeps_the_copy_back() -> None:
    report = reports.launch()
    report.launch_detection.launch_point_error.semi_major_m = 2e7
    with pytest.raises(ObligationError, match="beyond the 20000000 m"):
        coarse(report, Obligations(Grid(1_000.0)))


@pytest.mark.parametrize("position", [Grid(1.0), Rounding(100_000.0)])
@pytest.mark.parametrize("with_point", [True, False])
def test_a_warning_area_does_not_go_where_positions_are_coarsened(position: Grid | Rounding, with_point: bool) -> None:
    """Not even alone: it is drawn around the point, and its many corners have the point as their mean."""
    report = reports.impact()
    if not with_point:
        report.impact_prediction.ClearField("impact_point")
    copy = coarse(report, Obligations(position))
    assert not copy.impact_prediction.HasField("warning_area")
    corners = "impact_prediction.warning_area.corners"
    assert {f"{corners}.latitude_deg", f"{corners}.longitude_deg"} <= set(named(copy))


def test_a_warning_area_stands_where_positions_are_exact() -> None:
    copy = coarse(reports.impact(), Obligations(velocity_mps=100.0, time_s=60))
    assert copy.impact_prediction.warning_area == reports.impact().impact_prediction.warning_area
