"""The values of a copy made coarser: its positions, its velocity, its times. No I/O.

Rules, in order:

1. What is coarsened is a value that is in the copy. Nothing is ever set that was not.
2. A copy holds a place whole or not at all: where only one of latitude and longitude is in it, that one is cleared.
   A height is coarsened by itself.
3. What is said of the error of a coarsened value grows by what the coarsening may have moved it (``uncertainty``);
   what cannot grow soundly is cleared: an ellipse of which an axis is missing, the covariance of a position that is
   in the copy in part, and the track quality, which is a claim of precision on a fixed scale. Where nothing of a
   position is in the copy, its error stands as it was.
4. The directions of a covariance are often those of east, north and up at the exact position, or of the velocity. So
   they go only given east, north and up, and with no velocity that the copy gives otherwise: in a frame fixed to the
   Earth they would tell where the position is. Else the covariance becomes as large in every direction.
5. Velocity components go to the nearest multiple of a step. Given east, north and up they also mean another direction
   at another position; the covariance grows by that too.
6. A warning area is cleared wherever positions are coarsened: it is drawn around the impact point, and the mean of many
   corners, coarsened each by itself, finds that point again.
7. A time goes to the last multiple of a step since 1970-01-01T00:00:00Z, so that none moves into the future and no two
   change their order. Its uncertainty grows by the step.

Every function gives the leaf paths that it coarsened or cleared: all of them that were in the copy, also those whose
value happened to be coarse before, for else their absence would say that they are exact.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy.errors import ObligationError
from policy.grid import (
    LEAST_HEIGHT_M,
    MOST_HEIGHT_M,
    Grid,
    Rounding,
    Spot,
    coarsened,
    furthest_from_multiple,
    nearest_multiple,
)
from policy.uncertainty import chord, enlarged_covariance, enlarged_ellipse, isotropic_covariance

MOST_SPEED_MPS: Final = 20_000.0
"""The contract's limit on a velocity component."""
MOST_UNCERTAINTY_S: Final = 7_200
"""The contract's limit on the uncertainty of a coarsened time: an hour of its own, and one of coarsening."""
_POSITION_TERMS: Final = 6
"""Numbers of a covariance of the position alone."""

POSITION_PATHS: Final = (
    "launch_detection.launch_point.latitude_deg",
    "launch_detection.launch_point.longitude_deg",
    "launch_detection.launch_point.height_m",
    "launch_detection.launch_point_error.semi_major_m",
    "launch_detection.launch_point_error.semi_minor_m",
    "launch_detection.launch_point_error.orientation_deg",
    "launch_detection.launch_point_error.containment",
    "launch_detection.azimuth_uncertainty_deg",
    "track.position.latitude_deg",
    "track.position.longitude_deg",
    "track.position.height_m",
    "track.covariance.frame",
    "track.covariance.upper_triangle",
    "track.quality",
    "impact_prediction.impact_point.latitude_deg",
    "impact_prediction.impact_point.longitude_deg",
    "impact_prediction.impact_point.height_m",
    "impact_prediction.impact_point_error.semi_major_m",
    "impact_prediction.impact_point_error.semi_minor_m",
    "impact_prediction.impact_point_error.orientation_deg",
    "impact_prediction.impact_point_error.containment",
    "impact_prediction.warning_area.corners.latitude_deg",
    "impact_prediction.warning_area.corners.longitude_deg",
    "impact_prediction.warning_area.corners.height_m",
)
"""What coarsening positions may change or clear."""

VELOCITY_PATHS: Final = (
    "track.velocity.x_mps",
    "track.velocity.y_mps",
    "track.velocity.z_mps",
    "track.covariance.upper_triangle",
)
"""What coarsening velocity may change."""

TIME_PATHS: Final = (
    "report_time",
    "valid_time",
    "clock_uncertainty",
    "launch_detection.launch_time",
    "launch_detection.launch_time_uncertainty",
    "impact_prediction.impact_time",
    "impact_prediction.impact_time_uncertainty",
    "impact_prediction.basis_time",
)
"""What coarsening times may change."""


def coarsen_place(copy: report_pb2.Report, position: Grid | Rounding | None, velocity_mps: float | None) -> list[str]:
    """Rules 1 to 6. Raises ObligationError where an error cannot grow as it must."""
    content = copy.WhichOneof("content")
    if content == "track":
        return list(_coarsen_track(copy.track, position, velocity_mps))
    if position is None:
        return []
    if content == "launch_detection":
        return list(_coarsen_launch(copy.launch_detection, position))
    if content == "impact_prediction":
        return list(_coarsen_impact(copy.impact_prediction, position))
    return []


def coarsen_times(copy: report_pb2.Report, step_s: int) -> list[str]:
    """Rules 1 and 7. Raises ObligationError where an uncertainty would leave the contract's range."""
    content = copy.WhichOneof("content")
    touched = []
    for path in TIME_PATHS:
        arm, _, name = path.rpartition(".")
        if arm not in ("", content):
            continue
        holder: Message = getattr(copy, arm) if arm else copy
        if not holder.HasField(name):
            continue
        value = getattr(holder, name)
        if name.endswith("_uncertainty"):
            value.seconds += step_s
            if value.seconds + value.nanos / 1e9 > MOST_UNCERTAINTY_S:
                raise ObligationError(
                    f"Coarsening times by {step_s} s makes {path} more than the {MOST_UNCERTAINTY_S} s of the contract."
                    " Coarsen less, or leave it out of the rule's fields."
                )
        else:
            value.seconds -= value.seconds % step_s
            value.nanos = 0
        touched.append(path)
    return touched


def _coarsen_launch(launch: report_pb2.LaunchDetection, to: Grid | Rounding) -> Iterator[str]:
    moved = _move(launch, "launch_point", to)
    if moved is None:
        return
    yield from _under("launch_detection.launch_point", moved.touched)
    if moved.spot is None:
        return
    yield from _under("launch_detection.launch_point_error", _grow_ellipse(launch, "launch_point_error", moved))
    if launch.HasField("azimuth_uncertainty_deg"):
        grown = launch.azimuth_uncertainty_deg + math.degrees(moved.spot.convergence_rad)
        launch.azimuth_uncertainty_deg = min(grown, 180.0)
        yield "launch_detection.azimuth_uncertainty_deg"


def _coarsen_impact(impact: report_pb2.ImpactPrediction, to: Grid | Rounding) -> Iterator[str]:
    moved = _move(impact, "impact_point", to)
    if moved is not None:
        yield from _under("impact_prediction.impact_point", moved.touched)
        touched = _grow_ellipse(impact, "impact_point_error", moved)
        yield from _under("impact_prediction.impact_point_error", touched)
    if impact.HasField("warning_area"):
        yield from _under("impact_prediction.warning_area.corners", _leaves_in_any(impact.warning_area.corners))
        impact.ClearField("warning_area")


def _coarsen_track(track: report_pb2.Track, to: Grid | Rounding | None, step_mps: float | None) -> Iterator[str]:
    moved = None if to is None else _move(track, "position", to)
    if moved is not None:
        yield from _under("track.position", moved.touched)
        if track.HasField("quality"):
            track.ClearField("quality")
            yield "track.quality"
    drift_mps = 0.0
    if step_mps is not None and track.HasField("velocity"):
        yield from _under("track.velocity", _round_velocity(track.velocity, step_mps))
        drift_mps = _drift_mps(track.velocity, step_mps)
    if (moved is not None or drift_mps) and track.HasField("covariance"):
        yield from _under("track.covariance", _grow_covariance(track, moved, drift_mps))


@dataclass(frozen=True, slots=True)
class _Move:
    """What became of one position: the names of its leaves that were in the copy; where it is now, None where it has
    no place; how far its height has moved at most, in metres, None where it has no height; and the height, in metres,
    that it was at most at."""

    touched: tuple[str, ...]
    spot: Spot | None
    rise_m: float | None
    highest_m: float


def _move(holder: Message, field: str, to: Grid | Rounding) -> _Move | None:
    """Coarsens a position (rules 1 and 2); None where nothing of one is in the copy."""
    if not holder.HasField(field):
        return None
    position: report_pb2.Position = getattr(holder, field)
    touched = _leaves_in(position)
    spot = _coarsen_point(position, to)
    rise_m, highest_m = None, 0.0
    if position.HasField("height_m"):
        position.height_m = nearest_multiple(position.height_m, to.metres, LEAST_HEIGHT_M, MOST_HEIGHT_M)
        rise_m = furthest_from_multiple(position.height_m, to.metres, LEAST_HEIGHT_M, MOST_HEIGHT_M)
        highest_m = position.height_m + rise_m
    if not position.ByteSize():
        holder.ClearField(field)
    return _Move(touched, spot, rise_m, highest_m)


def _coarsen_point(position: report_pb2.Position, to: Grid | Rounding) -> Spot | None:
    if not (position.HasField("latitude_deg") and position.HasField("longitude_deg")):
        position.ClearField("latitude_deg")
        position.ClearField("longitude_deg")
        return None
    spot = coarsened(position.latitude_deg, position.longitude_deg, to)
    position.latitude_deg, position.longitude_deg = spot.latitude_deg, spot.longitude_deg
    return spot


def _grow_ellipse(holder: Message, field: str, moved: _Move) -> tuple[str, ...]:
    if moved.spot is None or not holder.HasField(field):
        return ()
    ellipse: report_pb2.ErrorEllipse = getattr(holder, field)
    touched = _leaves_in(ellipse)
    if not (ellipse.HasField("semi_major_m") and ellipse.HasField("semi_minor_m")):
        holder.ClearField(field)
        return touched
    ellipse.semi_major_m, ellipse.semi_minor_m = enlarged_ellipse(
        ellipse.semi_major_m,
        ellipse.semi_minor_m,
        moved.spot.displacement_at(moved.highest_m),
        moved.spot.convergence_rad,
    )
    return ("semi_major_m", "semi_minor_m")


def _round_velocity(velocity: report_pb2.Velocity, step_mps: float) -> Iterator[str]:
    for name in _COMPONENTS:
        if velocity.HasField(name):
            component = nearest_multiple(getattr(velocity, name), step_mps, -MOST_SPEED_MPS, MOST_SPEED_MPS)
            setattr(velocity, name, component)
            yield name


def _drift_mps(velocity: report_pb2.Velocity, step_mps: float) -> float:
    """How far at most a velocity was from what it was rounded to."""
    return math.hypot(
        *(
            furthest_from_multiple(getattr(velocity, name), step_mps, -MOST_SPEED_MPS, MOST_SPEED_MPS)
            for name in _COMPONENTS
            if velocity.HasField(name)
        )
    )


def _grow_covariance(track: report_pb2.Track, moved: _Move | None, drift_mps: float) -> tuple[str, ...]:
    """Rules 3 to 5. A frame that the copy does not tell may be any."""
    covariance = track.covariance
    touched = _leaves_in(covariance)
    if moved is None:
        if len(covariance.upper_triangle) in (0, _POSITION_TERMS):
            return ()
        covariance.upper_triangle[:] = enlarged_covariance(covariance.upper_triangle, 0.0, drift_mps, 0.0)
        return ("upper_triangle",)
    if moved.spot is None or moved.rise_m is None:
        track.ClearField("covariance")
        return touched
    if not covariance.upper_triangle:
        return ()
    position_m = math.hypot(moved.spot.displacement_at(moved.highest_m), moved.rise_m)
    turn_rad = moved.spot.turn_rad
    if track.HasField("velocity") and track.velocity.frame != report_pb2.REFERENCE_FRAME_ECEF:
        drift_mps += chord(turn_rad) * (_speed_mps(track.velocity) + drift_mps)
    frames = [covariance.frame, *([track.velocity.frame] if track.HasField("velocity") else [])]
    if any(frame != report_pb2.REFERENCE_FRAME_ENU for frame in frames):
        grown = isotropic_covariance(covariance.upper_triangle, position_m, drift_mps)
    else:
        grown = enlarged_covariance(covariance.upper_triangle, position_m, drift_mps, turn_rad)
    covariance.upper_triangle[:] = grown
    return ("upper_triangle",)


def _speed_mps(velocity: report_pb2.Velocity) -> float:
    """How fast it is at most, where a component that is not in the copy may be anything."""
    return math.hypot(*(getattr(velocity, name) if velocity.HasField(name) else MOST_SPEED_MPS for name in _COMPONENTS))


_COMPONENTS: Final = ("x_mps", "y_mps", "z_mps")


def _leaves_in(message: Message) -> tuple[str, ...]:
    return tuple(field.name for field, _ in message.ListFields())


def _leaves_in_any(messages: Iterable[Message]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for message in messages for name in _leaves_in(message)))


def _under(path: str, names: Iterable[str]) -> Iterator[str]:
    return (f"{path}.{name}" for name in names)
