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

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError, Message
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.release.planned.ledger_writer import LedgerWriter
from gateway.seal.commitment import SALT_SIZE
from gateway.seal.entry import MAX_PAYLOAD_SIZE
from policy.fields import message_inside
from policy.transform import keep_only
from policy.vocabulary import CONTENT

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

_Groups: TypeAlias = "dict[int, Group | _Groups]"
"""Of the fields of a message, by number, the group; or the same of the message inside, where it is of several. Which
kind of report it is shows in every part, so what is inside a content is told apart always.
"""


def _groups_of(message: Descriptor, prefix: str = "") -> _Groups:
    found: _Groups = {}
    for field in message.fields:
        path = prefix + field.name
        groups = {
            group for group, paths in PATHS.items() for each in paths if each == path or each.startswith(path + ".")
        }
        within = message_inside(field)
        is_kind = not prefix and field.containing_oneof is not None and field.containing_oneof.name == CONTENT
        if within is not None and (is_kind or len(groups) > 1):
            found[field.number] = _groups_of(within, path + ".")
        else:
            (found[field.number],) = groups
    return found


_GROUP_OF: Final = _groups_of(report_pb2.Report.DESCRIPTOR)

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
    contents: dict[Group, ledger_pb2.EntryContent] = {}

    def piece(group: Group) -> report_pb2.Report:
        content = contents.get(group)
        if content is None:
            content = contents[group] = ledger_pb2.EntryContent()
        return content.report

    _deal(report, _GROUP_OF, piece)
    kind = report.WhichOneof("content")
    for group in PATHS:
        content = contents.get(group)
        if content is None:
            continue
        if kind is not None:
            getattr(content.report, kind).SetInParent()
        for _ in _permissions_each(content.report) if group == ONWARD else (content.report,):
            yield ledger_pb2.Part(group=group, content=content.SerializeToString(deterministic=True))


def _deal(source: Message, group_of: _Groups, piece: Callable[[Group], Message]) -> None:
    """Deals what is set in a message out to the pieces of its groups. A message that holds nothing goes to none."""
    for field, value in source.ListFields():
        group, name = group_of[field.number], field.name
        if isinstance(group, dict):
            _deal(value, group, functools.partial(_inner, piece, name))
        elif field.is_repeated:
            getattr(piece(group), name).MergeFrom(value)
        elif field.message_type is None:
            setattr(piece(group), name, value)
        elif value.ByteSize() or message_inside(field) is None:
            getattr(piece(group), name).CopyFrom(value)


def _inner(piece: Callable[[Group], Message], name: str, group: Group) -> Message:
    found: Message = getattr(piece(group), name)
    return found


def _permissions_each(piece: report_pb2.Report) -> Iterator[report_pb2.Report]:
    """The piece of the permissions with some of them at a time."""
    nodes = piece.marking.onward_release[:]
    each = -(-len(nodes) // MOST_ONWARD_PARTS)
    for start in range(0, len(nodes), each):
        piece.marking.onward_release[:] = nodes[start : start + each]
        yield piece


def as_sealed(content: ledger_pb2.EntryContent) -> bytes | list[ledger_pb2.Part]:
    """What an own ledger between nodes is to hold, as it is sealed: a report that may go onward in parts, without
    salts; anything else whole, serialised. May be sealed into several ledgers.
    """
    if content.HasField("report") and content.report.marking.onward_release:
        parts = parts_of(content.report)
        if len(parts) > 1:
            return parts
    return content.SerializeToString()


def seal(writer: LedgerWriter, sealed: bytes | list[ledger_pb2.Part]) -> int:
    """Seals what `as_sealed` gave, and appends it. Returns its index. Raises SealError."""
    return writer.append(sealed) if isinstance(sealed, bytes) else writer.append_parts(sealed)


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
        if part.group != WHOLE and not _is_of(part.group, content.report, _GROUP_OF):
            raise NotInGroups(f"part {position} holds fields that are not of its group")
        found.append(Piece(position, part.group, content.report))
    return found


def _is_of(group: Group, message: Message, group_of: _Groups) -> bool:
    """Whether all that is set in a message is of one group, and no message in it is there for nothing."""
    for field, value in message.ListFields():
        found = group_of[field.number]
        if isinstance(found, dict):
            is_kind = field.containing_oneof is not None and field.containing_oneof.name == CONTENT
            if not (is_kind or value.ByteSize()) or not _is_of(group, value, found):
                return False
        elif found != group:
            return False
    return True
