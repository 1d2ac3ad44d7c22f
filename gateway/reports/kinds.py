"""The six kinds of report, under each of the names that they go by.

A kind is written in CamelCase (`LaunchDetection`) in policy, logs and metrics; as a field of the oneof `content`
(`launch_detection`) in a report; and as `c2_pb2.ReportKind` where a C2 system filters by it.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from signalfire.v1 import c2_pb2, report_pb2


class Kind(StrEnum):
    """Kind of report; the value is the name of the content's message."""

    LAUNCH_DETECTION = "LaunchDetection"
    TRACK = "Track"
    IMPACT_PREDICTION = "ImpactPrediction"
    CORRECTION = "Correction"
    CANCELLATION = "Cancellation"
    ALL_CLEAR = "AllClear"

    @property
    def field(self) -> str:
        """Name of the field of `Report.content` that holds it."""
        return self.name.lower()

    @property
    def report_kind(self) -> c2_pb2.ReportKind.ValueType:
        """The same kind in a C2 system's filter."""
        return _REPORT_KIND_OF[self]

    @classmethod
    def from_field(cls, field: str) -> Kind:
        """The kind that the field `field` of `Report.content` holds. Raises `KeyError` for any other name."""
        return _OF_FIELD[field]

    @classmethod
    def from_report_kind(cls, report_kind: c2_pb2.ReportKind.ValueType) -> Kind | None:
        """The kind of a C2 system's filter; None where it is unspecified or not defined."""
        return _OF_REPORT_KIND.get(report_kind)

    @property
    def withdraws(self) -> bool:
        """Whether a report of this kind says that earlier ones no longer stand."""
        return self in _WITHDRAWING


_OF_FIELD: Final = {kind.field: kind for kind in Kind}
_REPORT_KIND_OF: Final = {kind: c2_pb2.ReportKind.Value(f"REPORT_KIND_{kind.name}") for kind in Kind}
_OF_REPORT_KIND: Final = {report_kind: kind for kind, report_kind in _REPORT_KIND_OF.items()}
_WITHDRAWING: Final = frozenset({Kind.CORRECTION, Kind.CANCELLATION, Kind.ALL_CLEAR})


def kind_of(report: report_pb2.Report) -> Kind | None:
    """The kind of `report`; None where its content is not set."""
    field = report.WhichOneof("content")
    return None if field is None else _OF_FIELD[field]
