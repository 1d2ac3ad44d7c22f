"""Bytes to a report, and back to the bytes that are kept.

Rules, in order (Protocol Buffers encoding; "Conventions" in the contract):

1. Size comes first: bytes beyond the limit are refused unread, whatever they are.
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

from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.errors import MalformedReport
from gateway.reports.limits import ReportLimits

SUBMIT_OVERHEAD_BYTES: Final = 8
"""Bytes that a `SubmitRequest` may add to its report: a tag, and a length that needs three at most but may be
written longer."""


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


def parse_submit(data: bytes, limits: ReportLimits) -> report_pb2.Report:
    """The report of the serialised `SubmitRequest` `data`, as `parse_report` has it.

    Raises `MalformedReport`, also where the request holds no report.
    """
    _check_size(len(data), limits.max_report_bytes + SUBMIT_OVERHEAD_BYTES)
    try:
        request = c2_pb2.SubmitRequest.FromString(data)
    except DecodeError as unreadable:
        raise _unreadable(data, "SubmitRequest") from unreadable
    if not request.HasField("report"):
        raise MalformedReport(
            f"is not in the request, which has {len(data)} bytes", "put it into the field `report` of SubmitRequest"
        )
    request.DiscardUnknownFields()
    report = request.report
    _check_size(report.ByteSize(), limits.max_report_bytes)
    return report


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
