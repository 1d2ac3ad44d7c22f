"""Plain values to the messages of `signalfire.v1.report`, with the contract's units and frames."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Final

from google.protobuf.duration_pb2 import Duration
from signalfire.v1 import report_pb2

from gateway.demo.nations import Sensor
from gateway.demo.wgs84 import Enu, Point, travelled

CONTAINMENT: Final = 0.95
_SIGMAS_FOR_CONTAINMENT: Final = math.sqrt(-2 * math.log(1 - CONTAINMENT))
"""Semi-axis in standard deviations of the ellipse that holds a bivariate Gaussian with that probability."""

_CORNERS_OF_WARNING_AREA: Final = 12
_MARGIN_OF_WARNING_AREA: Final = 1.25


def position(point: Point, *, with_height: bool) -> report_pb2.Position:
    message = report_pb2.Position(latitude_deg=point.latitude_deg, longitude_deg=point.longitude_deg)
    if with_height:
        message.height_m = point.height_m
    return message


def ellipse(sigma_major_m: float, sigma_minor_m: float, azimuth_deg: float) -> report_pb2.ErrorEllipse:
    """The ellipse of `CONTAINMENT` for standard deviations along and across an azimuth; major is not the smaller."""
    # A tiny negative azimuth gives 180.0 exactly after the remainder, which the contract does not take.
    orientation = azimuth_deg % 180.0
    return report_pb2.ErrorEllipse(
        semi_major_m=sigma_major_m * _SIGMAS_FOR_CONTAINMENT,
        semi_minor_m=sigma_minor_m * _SIGMAS_FOR_CONTAINMENT,
        orientation_deg=orientation if orientation < 180.0 else 0.0,
        containment=CONTAINMENT,
    )


def warning_area(centre: Point, error: report_pb2.ErrorEllipse) -> report_pb2.Polygon:
    """A ring a quarter wider than the ellipse, counter-clockwise seen from above."""
    corners = []
    for corner in range(_CORNERS_OF_WARNING_AREA):
        angle = -2 * math.pi * corner / _CORNERS_OF_WARNING_AREA
        along = error.semi_major_m * _MARGIN_OF_WARNING_AREA * math.cos(angle)
        across = error.semi_minor_m * _MARGIN_OF_WARNING_AREA * math.sin(angle)
        azimuth = error.orientation_deg + math.degrees(math.atan2(across, along))
        corners.append(position(travelled(centre, azimuth, math.hypot(along, across)), with_height=False))
    return report_pb2.Polygon(corners=corners)


def velocity(enu: Enu) -> report_pb2.Velocity:
    return report_pb2.Velocity(frame=report_pb2.REFERENCE_FRAME_ENU, x_mps=enu.east, y_mps=enu.north, z_mps=enu.up)


def covariance(sigma_m: float, sigma_mps: float | None) -> report_pb2.Covariance:
    """Independent errors of one size along each axis: of the position, and of the velocity if there is one."""
    variances = [sigma_m**2] * 3 + ([sigma_mps**2] * 3 if sigma_mps is not None else [])
    size = len(variances)
    triangle = [variances[row] if row == column else 0.0 for row in range(size) for column in range(row, size)]
    return report_pb2.Covariance(frame=report_pb2.REFERENCE_FRAME_ENU, upper_triangle=triangle)


def duration(seconds: float) -> Duration:
    message = Duration()
    message.FromTimedelta(timedelta(seconds=seconds))
    return message


def modality(sensor: Sensor) -> report_pb2.SensorModality.ValueType:
    return report_pb2.SensorModality.Value(f"SENSOR_MODALITY_{sensor.modality}")


def missile_class(name: str) -> report_pb2.MissileClass.ValueType:
    return report_pb2.MissileClass.Value(f"MISSILE_CLASS_{name}")


def classification(name: str) -> report_pb2.Classification.ValueType:
    return report_pb2.Classification.Value(f"CLASSIFICATION_{name}")
