"""Field paths, and the field sets that ship with the language.

What a rule lets go is a list of *leaf paths*: dots down to a field that holds a value, such as
``track.position.height_m``. A Timestamp or a Duration is a value. Rules, in order:

1. A path is a leaf of the schema in use. A path that names a message (``track.position``) is refused: it would
   grow with the schema, and a field added tomorrow must leak nothing until an officer names it.
2. For the same reason a set is a written-out list of leaves. A built-in set carries a version (``track@1``), and
   that version never changes; a field added to the schema goes into ``track@2``.
3. Inside a repeated message (``references``, ``impact_prediction.warning_area.corners``) the path names the field of
   every element: ``references.report_id``.
4. Map fields and messages that contain themselves have no leaves: they never go.
5. The fields of ``ALWAYS_RELEASED``, and which kind of report it is, go with every release (report.proto, "always
   released"). Of the marking that is everything but ``marking.releasable_to``, which tells who else may have it.

The names of fields are those of the contract; this module reads them from its descriptor and does no I/O.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from signalfire.v1 import report_pb2

from policy.errors import did_you_mean
from policy.vocabulary import KIND_OF_ARM, Kind

ALWAYS_RELEASED: Final = (
    "report_id",
    "originator_node",
    "report_time",
    "traffic_class",
    "precedence",
    "marking.policy",
    "marking.classification",
    "marking.caveats",
    "marking.onward_release",
    "derivations.node",
    "derivations.fields",
)
"""Paths that go with every release."""

_POINT = ("latitude_deg", "longitude_deg", "height_m")
_ELLIPSE = ("semi_major_m", "semi_minor_m", "orientation_deg", "containment")


def _inside(message: str, *fields: str) -> tuple[str, ...]:
    return tuple(f"{message}.{field}" for field in fields)


BUILT_IN: Final[Mapping[str, tuple[str, ...]]] = {
    "envelope@1": ("event_id", "valid_time", "clock_uncertainty"),
    "source@1": ("originator_station", "source_sequence"),
    "threat@1": ("threat.launch_country", "threat.launch_area"),
    "references@1": _inside("references", "originator_node", "report_id", "relation"),
    "launch@1": (
        *_inside("launch_detection", "launch_time", "launch_time_uncertainty"),
        *_inside("launch_detection.launch_point", *_POINT),
        *_inside("launch_detection.launch_point_error", *_ELLIPSE),
        *_inside("launch_detection", "initial_azimuth_deg", "azimuth_uncertainty_deg", "object_count"),
        *_inside("launch_detection", "missile_class", "sensor_modality", "certainty", "confidence"),
    ),
    "track@1": (
        *_inside("track", "track_id", "track_number", "status", "point_type"),
        *_inside("track.position", *_POINT),
        *_inside("track.velocity", "frame", "x_mps", "y_mps", "z_mps"),
        *_inside("track.covariance", "frame", "upper_triangle"),
        *_inside("track", "quality", "sensor_modality", "missile_class"),
    ),
    "impact@1": (
        *_inside("impact_prediction", "impact_time", "impact_time_uncertainty"),
        *_inside("impact_prediction.impact_point", *_POINT),
        *_inside("impact_prediction.impact_point_error", *_ELLIPSE),
        *_inside("impact_prediction.warning_area.corners", *_POINT),
        *_inside("impact_prediction", "basis_time", "confidence", "track_id"),
    ),
    "recall@1": (
        *_inside("correction", "report_ids", "reason", "replacement_report_id", "explanation"),
        *_inside("cancellation", "report_ids", "reason", "explanation"),
        *_inside("all_clear", "reason", "explanation"),
    ),
}
"""The field sets that ship with the language. What stands here under a version never changes."""

_VALUES: Final = frozenset({"google.protobuf.Timestamp", "google.protobuf.Duration"})


def message_inside(field: FieldDescriptor) -> Descriptor | None:
    """The message that the field holds; None where it holds a value: a scalar, an enum, a Timestamp or a Duration."""
    inside = field.message_type
    return None if inside is None or inside.full_name in _VALUES else inside


def _leaves(message: Descriptor, prefix: str, above: tuple[str, ...]) -> Iterator[str]:
    for field in message.fields:
        inside = message_inside(field)
        if inside is None:
            yield prefix + field.name
        elif not inside.GetOptions().map_entry and inside.full_name not in above:
            yield from _leaves(inside, f"{prefix}{field.name}.", (*above, inside.full_name))


def leaves_of(message: Descriptor) -> tuple[str, ...]:
    """Every leaf path of a message, in the order of the schema."""
    return tuple(_leaves(message, "", (message.full_name,)))


LEAVES: Final = leaves_of(report_pb2.Report.DESCRIPTOR)
"""Every path that a rule can name, in the order of the schema."""

_LEAF_SET: Final = frozenset(LEAVES)

MESSAGES: Final = frozenset(path[: dot.start()] for path in LEAVES for dot in re.finditer(r"\.", path))
"""Every path of a message inside a report."""


def kind_of_path(path: str) -> Kind | None:
    """The kind of report that alone can hold the path; None for a field of the envelope."""
    return KIND_OF_ARM.get(path.partition(".")[0])


def fields_of_kind(paths: Sequence[str], kind: Kind) -> tuple[str, ...]:
    """Those of ``paths`` that a report of this kind can hold, with the always released, in the order of the schema."""
    named = {*paths, *ALWAYS_RELEASED}
    return tuple(path for path in LEAVES if path in named and kind_of_path(path) in (None, kind))


def fault_of_path(path: str, set_names: Sequence[str] = ()) -> tuple[str, str] | None:
    """What is wrong with a path that a rule or a set names, and its remedy; None where it is a leaf of the schema.

    ``set_names`` are the sets that could have been meant instead.
    """
    if path in _LEAF_SET:
        return None
    if path in MESSAGES:
        inside = [leaf for leaf in LEAVES if leaf.startswith(path + ".")]
        return f'"{path}" is a message, not a value.', f"Name what may go of it: {', '.join(inside)}."
    if "@" in path:
        return f'There is no built-in field set "{path}".', did_you_mean(path, BUILT_IN)
    if "." in path or not set_names:
        return f'A report has no field "{path}".', did_you_mean(path, LEAVES)
    return f'"{path}" is neither a field of a report nor a field set.', did_you_mean(path, [*LEAVES, *set_names])
