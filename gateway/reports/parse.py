"""Bytes to a report, and back to the bytes that are kept.

Rules, in order (Protocol Buffers encoding; "Conventions" in the contract):

1. Size comes first: bytes beyond the limit are refused unread, whatever they are. A request is taken apart into the
   bytes of its reports, and each of them is read by itself, so that one which is wrong stands in no other's way.
2. The bytes must be one well-formed message: nothing truncated, every wire type defined, text in UTF-8, and at most
   the 100 levels of nesting that protobuf itself reads.
3. Where a field that holds one value comes more than once, the last one counts (of the kinds of a report: the last
   kind), and a message that comes more than once is merged, as protobuf has it. What was read is what is judged and
   kept, so no two readers can disagree about it later.
4. Fields that the contract does not define are dropped, at every level. A field under the right number with the wrong
   wire type is such a field.
5. What is kept, digested, compared and sealed is the canonical form of what was read, never the bytes that came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError, Message
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.errors import MalformedReport
from gateway.reports.limits import ReportLimits


def _reports_unread() -> type[Message]:
    """The message `SubmitRequest` as it is on the wire, with reports that are bytes."""
    file = descriptor_pb2.FileDescriptorProto(name="gateway/reports/parse.proto", syntax="proto3")
    file.message_type.add(name="SubmitRequest").field.add(
        name="reports",
        number=c2_pb2.SubmitRequest.REPORTS_FIELD_NUMBER,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED,
        type=descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("SubmitRequest"))


_Unread: Final[Any] = _reports_unread()


def parse_report(data: bytes, limits: ReportLimits) -> report_pb2.Report:
    """The report that `data` holds, without unknown fields (rules 1 to 4); not yet judged.

    No bytes at all are a report with nothing set. Raises `MalformedReport`.
    """
    _check_size(len(data), limits.max_report_bytes)
    try:
        report = report_pb2.Report.FromString(data)
    except DecodeError as unreadable:
        raise _unreadable(data, "Report") from unreadable
    report.DiscardUnknownFields()
    return report


def split_request(data: bytes, max_reports: int, max_bytes: int) -> Sequence[bytes]:
    """The bytes of each report of the serialised `SubmitRequest` `data`, in their order; at least one. They are not
    read yet, and may be anything.

    Raises `MalformedReport` where the request has more than `max_bytes` bytes or `max_reports` reports, or none, or
    cannot be read.
    """
    if len(data) > max_bytes:
        raise MalformedReport(
            f"comes in a request of {len(data)} bytes, more than the {max_bytes} that are taken",
            "send fewer reports in one request, or have the gateway's limits.c2.request_bytes raised",
        )
    try:
        reports: Sequence[bytes] = _Unread.FromString(data).reports
    except DecodeError as unreadable:
        raise _unreadable(data, "SubmitRequest") from unreadable
    if not reports:
        raise MalformedReport(
            f"is not in the request, which has {len(data)} bytes", "put it into the field `reports` of SubmitRequest"
        )
    if len(reports) > max_reports:
        raise MalformedReport(
            f"is one of {len(reports)} in a request, more than the {max_reports} that are taken",
            "send fewer reports in one request, or have the gateway's limits.c2.request_reports raised",
        )
    return reports


def canonical(report: report_pb2.Report) -> bytes:
    """The bytes of `report` that are kept and digested (rule 5): equal reports give equal bytes.

    Fields stand in the order of their numbers and each at most once. `report` must have come through this module, or
    have been made here: unknown fields would be kept.
    """
    return report.SerializeToString(deterministic=True)


def _check_size(size: int, most: int) -> None:
    if size > most:
        raise MalformedReport(
            f"has {size} bytes, more than the {most} that are taken",
            "send a smaller report, or have the gateway's limits.reports.max_bytes raised",
        )


def _unreadable(data: bytes, message: str) -> MalformedReport:
    return MalformedReport(
        f"cannot be read: its {len(data)} bytes are not one whole signalfire.v1.{message} with all text in UTF-8",
        "serialise it with the published schema and send all of its bytes",
    )
