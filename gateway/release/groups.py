"""The groups of fields in which a report is sealed, so that each can be shown alone.

Rules:

1. Every leaf path of a report is in exactly one group (`PATHS`); all paths inside one repeated message are in the same.
2. A report that its originator lets others pass onward is sealed as one part for each group of which it holds anything,
   in the order of `PATHS`; the nodes that may have it onward as a part for each, so that a permission can be shown
   without the others (of more than MOST_ONWARD_PARTS nodes several share a part). Every part names the kind of report,
   as an empty content at least.
3. The parts' contents, joined in order, are one serialised `EntryContent`, and merge to the report as it is. A report
   of which that does not hold, or that is too large in parts, is sealed whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError, Message
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.release.plan import LedgerWriter
from gateway.seal.commitment import SALT_SIZE
from gateway.seal.entry import MAX_PAYLOAD_SIZE
from policy.fields import message_inside
from policy.transform import keep_only

Group: TypeAlias = ledger_pb2.PartGroup.ValueType


@dataclass(frozen=True, slots=True)
class Piece:
    """What one part of an entry shows: its position, its group, and what it holds of a report."""

    position: int
    group: Group
    report: report_pb2.Report


class NotInGroups(Exception):
    """Parts that do not hold a report in groups of fields; the text says which, and holds no value."""


def _inside(message: str, *fields: str) -> tuple[str, ...]:
    return tuple(f"{message}.{field}" for field in fields)


_POINT: Final = ("latitude_deg", "longitude_deg", "height_m")
_ELLIPSE: Final = ("semi_major_m", "semi_minor_m", "orientation_deg", "containment")

PATHS: Final[dict[Group, tuple[str, ...]]] = {
    ledger_pb2.PART_GROUP_IDENTITY: (
        *("report_id", "originator_node", "traffic_class", "precedence"),
        *_inside("derivations", "node", "fields"),
    ),
    ledger_pb2.PART_GROUP_ONWARD: ("marking.onward_release",),
    ledger_pb2.PART_GROUP_MARKING: _inside("marking", "policy", "classification", "caveats"),
    ledger_pb2.PART_GROUP_RELEASABILITY: ("marking.releasable_to",),
    ledger_pb2.PART_GROUP_ENVELOPE: ("event_id",),
    ledger_pb2.PART_GROUP_SOURCE: ("originator_station", "source_sequence"),
    ledger_pb2.PART_GROUP_THREAT: _inside("threat", "launch_country", "launch_area"),
    ledger_pb2.PART_GROUP_REFERENCES: (
        *_inside("references", "originator_node", "report_id", "relation"),
        *_inside("correction", "report_ids", "replacement_report_id"),
        "cancellation.report_ids",
    ),
    ledger_pb2.PART_GROUP_TIMES: (
        *("report_time", "valid_time", "clock_uncertainty"),
        *_inside("launch_detection", "launch_time", "launch_time_uncertainty"),
        *_inside("impact_prediction", "impact_time", "impact_time_uncertainty", "basis_time"),
    ),
    ledger_pb2.PART_GROUP_KINEMATICS: (
        *_inside("launch_detection.launch_point", *_POINT),
        *_inside("launch_detection.launch_point_error", *_ELLIPSE),
        *_inside("launch_detection", "initial_azimuth_deg", "azimuth_uncertainty_deg"),
        *_inside("track.position", *_POINT),
        *_inside("track.velocity", "frame", "x_mps", "y_mps", "z_mps"),
        *_inside("track.covariance", "frame", "upper_triangle"),
        "track.quality",
        *_inside("impact_prediction.impact_point", *_POINT),
        *_inside("impact_prediction.impact_point_error", *_ELLIPSE),
        *_inside("impact_prediction.warning_area.corners", *_POINT),
    ),
    ledger_pb2.PART_GROUP_ASSESSMENT: (
        *_inside("launch_detection", "object_count", "missile_class", "certainty", "confidence"),
        *_inside("track", "track_id", "track_number", "status", "point_type", "missile_class"),
        *_inside("impact_prediction", "confidence", "track_id"),
        *_inside("correction", "reason", "explanation"),
        *_inside("cancellation", "reason", "explanation"),
        *_inside("all_clear", "reason", "explanation"),
    ),
    ledger_pb2.PART_GROUP_SENSOR: ("launch_detection.sensor_modality", "track.sensor_modality"),
}
"""The leaf paths of each group, in the order in which the groups are sealed."""

WHOLE: Final = ledger_pb2.PART_GROUP_UNSPECIFIED
"""The group of a report that is sealed as a whole."""

IDENTITY: Final = ledger_pb2.PART_GROUP_IDENTITY
ONWARD: Final = ledger_pb2.PART_GROUP_ONWARD

MOST_ONWARD_PARTS: Final = 48
"""Parts of permissions: with one for each other group below the 64 of a payload."""

_PART_OVERHEAD: Final = SALT_SIZE + 16
"""Bytes of a part beside its content: salt, group, tags and lengths."""


def cut(report: report_pb2.Report, group: Group) -> report_pb2.Report:
    """What a report holds of one group, and its kind."""
    piece = report_pb2.Report()
    piece.CopyFrom(report)
    if group != WHOLE:
        keep_only(piece, PATHS[group])
    return piece


def same(one: report_pb2.Report, other: report_pb2.Report) -> bool:
    """Whether two reports hold the same, to the last bit, so that no value equals one that is written otherwise."""
    return one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


def leaf_paths(message: Message, prefix: str = "") -> set[str]:
    """The leaf paths of the fields that are set."""
    found: set[str] = set()
    for field, value in message.ListFields():
        path = prefix + field.name
        if message_inside(field) is None:
            found.add(path)
        else:
            for inner in value if field.is_repeated else (value,):
                found |= leaf_paths(inner, path + ".")
    return found


def merged(pieces: Iterable[Piece]) -> report_pb2.Report:
    """What pieces hold together."""
    report = report_pb2.Report()
    for piece in pieces:
        report.MergeFrom(piece.report)
    return report


def parts_of(report: report_pb2.Report) -> list[ledger_pb2.Part]:
    """The parts in which a report is sealed, without salts (rules 2 and 3)."""
    parts = list(_parts(report))
    size = sum(len(part.content) + _PART_OVERHEAD for part in parts)
    joined = ledger_pb2.EntryContent.FromString(b"".join(part.content for part in parts))
    if size > MAX_PAYLOAD_SIZE or not same(joined.report, report):
        return [ledger_pb2.Part(content=ledger_pb2.EntryContent(report=report).SerializeToString())]
    return parts


def _parts(report: report_pb2.Report) -> Iterator[ledger_pb2.Part]:
    for group in PATHS:
        for piece in _pieces(report, group):
            content = ledger_pb2.EntryContent(report=piece).SerializeToString(deterministic=True)
            yield ledger_pb2.Part(group=group, content=content)


def _pieces(report: report_pb2.Report, group: Group) -> Iterator[report_pb2.Report]:
    piece = cut(report, group)
    if not leaf_paths(piece):
        return
    if group != ONWARD:
        yield piece
        return
    nodes = piece.marking.onward_release[:]
    each = -(-len(nodes) // MOST_ONWARD_PARTS)
    for start in range(0, len(nodes), each):
        piece.marking.onward_release[:] = nodes[start : start + each]
        yield piece


def seal(writer: LedgerWriter, content: ledger_pb2.EntryContent) -> int:
    """Seals what an own ledger between nodes is to hold, and appends it: a report that may go onward in parts, anything
    else whole. Returns its index. Raises SealError.
    """
    if content.HasField("report") and content.report.marking.onward_release:
        parts = parts_of(content.report)
        if len(parts) > 1:
            return writer.append_parts(parts)
    return writer.append(content.SerializeToString())


def pieces_shown(payload: ledger_pb2.SealedPayload) -> Sequence[Piece]:
    """The parts that a payload shows, in order.

    Raises NotInGroups where a part holds anything else than fields of its group, or its group is none of a report.
    """
    found = []
    for position, part in enumerate(payload.parts):
        if part.leaf_hash:
            continue
        if part.group != WHOLE and part.group not in PATHS:
            raise NotInGroups(f"part {position} is of group {part.group}, which is none of a report")
        try:
            content = ledger_pb2.EntryContent.FromString(part.content)
        except DecodeError:
            raise NotInGroups(f"part {position} is no EntryContent by itself") from None
        if content.WhichOneof("content") != "report":
            raise NotInGroups(f"part {position} holds no part of a report")
        content.DiscardUnknownFields()
        if not same(content.report, cut(content.report, part.group)):
            raise NotInGroups(f"part {position} holds fields that are not of its group")
        found.append(Piece(position, part.group, content.report))
    return found
