"""The two doors, as tests of their rules knock at them: reports in, names of wrong fields out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from signalfire.v1 import report_pb2

from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_released, validate_submitted
from tests.reports.examples import NODE, NOW, SECOND

LIMITS: Final = ReportLimits()
MADE: Final = NOW - SECOND // 5
"""The report time of every example."""
HOUR: Final = 3_600 * SECOND
Example = Callable[..., report_pb2.Report]


def time(path: str, time_ns: int) -> dict[str, int]:
    """The change that sets the timestamp or duration at `path`."""
    return {f"{path}__seconds": time_ns // SECOND, f"{path}__nanos": time_ns % SECOND}


def submitted(report: report_pb2.Report, **limits: Any) -> list[str]:
    """The fields that the C2 door finds wrong."""
    found = validate_submitted(report, node=NODE, now=NOW, limits=ReportLimits(**limits))
    return [violation.field for violation in found]


def released(report: report_pb2.Report, **limits: Any) -> list[str]:
    """The fields that the partner's door finds wrong."""
    found = validate_released(report, origin=NODE, limits=ReportLimits(**limits))
    return [violation.field for violation in found]


def corners(*ring: tuple[float, float]) -> list[report_pb2.Position]:
    return [report_pb2.Position(latitude_deg=latitude, longitude_deg=longitude) for latitude, longitude in ring]


def refer(
    report_id: str,
    node: str = NODE,
    relation: report_pb2.ReferenceRelation.ValueType = report_pb2.REFERENCE_RELATION_UPDATES,
) -> report_pb2.Reference:
    return report_pb2.Reference(originator_node=node, report_id=report_id, relation=relation)
