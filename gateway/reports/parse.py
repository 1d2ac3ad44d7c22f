"""Bytes to a report, and back to the bytes that are kept.

Rules, in order (Protocol Buffers encoding; "Conventions" in the contract):

1. Size comes first: bytes beyond the limit are refused unread, whatever they are. A request is taken apart into the
   bytes of its reports, and each of them is read by itself, so that one which is wrong stands in no other's way. Where
   it has more fields than are taken it is read no further.
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
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import c2_pb2, report_pb2

from gateway.reports.errors import MalformedReport
from gateway.reports.limits import ReportLimits

UNKNOWN_FIELDS: Final = 64
"""Fields of a request, besides its reports, that a later contract may have; of more it is none."""

_REPORTS: Final = c2_pb2.SubmitRequest.REPORTS_FIELD_NUMBER << 3 | 2
"""The tag before each report: its field, and the wire type of what has a length."""


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
    reports: list[bytes] = []
    at = unknown = 0
    try:
        while at < len(data) and len(reports) <= max_reports and unknown <= UNKNOWN_FIELDS:
            tag, at = _varint(data, at, 32)
            begin, at = _value(data, at, tag)
            if tag == _REPORTS:
                reports.append(data[begin:at])
            else:
                unknown += 1
    except (IndexError, ValueError):
        raise _unreadable(data, "SubmitRequest") from None
    if len(reports) > max_reports:
        raise MalformedReport(
            f"is one of more than {max_reports} in a request, which is as many as are taken",
            "send fewer reports in one request, or have the gateway's limits.c2.request_reports raised",
        )
    if unknown > UNKNOWN_FIELDS:
        raise MalformedReport(
            f"comes in a request with more than {UNKNOWN_FIELDS} fields that the contract does not define",
            "put reports into the field `reports` of SubmitRequest, and nothing else into the request",
        )
    if not reports:
        raise MalformedReport(
            f"is not in the request, which has {len(data)} bytes", "put it into the field `reports` of SubmitRequest"
        )
    return reports


def _varint(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """The number of at most so many bits that begins at `at`, and where it ends. Raises IndexError and ValueError."""
    value = data[at]
    at += 1
    if value < 0x80:
        return value, at
    value &= 0x7F
    shift = 7
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift >= bits:
            raise ValueError("a number that does not end")
    if value >> bits:
        raise ValueError("a number that is too large")
    return value, at


def _value(data: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the value behind `tag` begins and ends. Raises IndexError and ValueError."""
    if tag >> 3 == 0:
        raise ValueError("field 0")
    match tag & 7:
        case 2:  # bytes, after their number
            size, begin = _varint(data, at, 32)
            end = begin + size
        case 0:  # a number
            begin, (_, end) = at, _varint(data, at, 64)
        case 1:  # 64 bits
            begin, end = at, at + 8
        case 5:  # 32 bits
            begin, end = at, at + 4
        case _:  # groups are none of the contract's
            raise ValueError("a wire type that is not taken")
    if end > len(data):
        raise ValueError("cut short")
    return begin, end


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
