"""Random reports that a gateway would take, its own and another originator's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_released, validate_submitted
from policy.prove import validity
from tests.policy import reports

NOW_NS = int(reports.NOW.timestamp()) * validity.SECOND_NS
LIMITS = ReportLimits()

KINDS: list[Callable[[], report_pb2.Report]] = [
    reports.launch,
    reports.track,
    reports.impact,
    lambda: reports.correction([reports.report_id(1), reports.report_id(2)], reports.report_id(3)),
    lambda: reports.cancellation([reports.report_id(2)]),
    reports.all_clear,
]
COUNTRIES = st.sampled_from(["PRK", "RUS", "CHN", "FRA", "UNKNOWN"])
TEXTS = st.sampled_from(["", "Sunan", "a'b\\u{41}", "한국", "e\u0301\U0001f680"])


def is_valid(report: report_pb2.Report, node: str) -> bool:
    """Whether a gateway of ``node`` takes it."""
    if report.originator_node == node:
        return not validate_submitted(report, node=node, now=NOW_NS, limits=LIMITS)
    return not validate_released(report, origin=report.originator_node, limits=LIMITS)


def _number(name: str) -> st.SearchStrategy[float]:
    bounds = validity.RANGES.get(name)
    least, most = (bounds.least, bounds.most) if bounds else (-1e6, 1e6)
    middle = 0.0 if least < 0 < most else (least + most) / 2
    return st.sampled_from([least, most, middle]) | st.floats(least, most)


def _change(draw: st.DrawFn, message: Any, field: FieldDescriptor) -> None:
    """One field of a message, to a valid value of its own."""
    name = validity.name_of(field)
    if field.enum_type is not None and not field.is_repeated:
        setattr(message, field.name, draw(st.sampled_from(validity.defined_values(field))))
    elif field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE and not field.is_repeated:
        setattr(message, field.name, draw(_number(name)))
    elif field.cpp_type in (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64):
        bounds = validity.RANGES[name]
        setattr(message, field.name, draw(st.integers(math.ceil(bounds.least), math.floor(bounds.most))))
    elif name == "Threat.launch_country":
        message.launch_country = draw(COUNTRIES)
    elif name == "Threat.launch_area":
        message.launch_area = draw(TEXTS)
    elif name == "Marking.caveats":
        message.caveats[:] = draw(st.lists(st.sampled_from(["X", "EYES-ONLY", "KOR-USA ONLY"]), unique=True))
    elif name in ("Marking.releasable_to", "Marking.onward_release"):
        getattr(message, field.name)[:] = draw(st.lists(st.sampled_from(["KOR", "USA", "AUS"]), unique=True))
    elif name == "Marking.policy":
        message.policy = draw(st.sampled_from(["JPN", "NATO", "USA"]))


def places(message: Any) -> list[tuple[Any, FieldDescriptor]]:
    """Every field of a message and of those set inside it, with the message that has it."""
    found = []
    for field in message.DESCRIPTOR.fields:
        found.append((message, field))
        inside = field.message_type
        if inside is not None and not field.is_repeated and message.HasField(field.name):
            found += places(getattr(message, field.name))
    return found


@st.composite
def valid_reports(draw: st.DrawFn, kinds: list[Callable[[], report_pb2.Report]] = KINDS) -> report_pb2.Report:
    """A valid report at node JPN, by JPN itself or by USA with much missing."""
    report = draw(st.sampled_from(kinds))()
    report.traffic_class = draw(st.sampled_from(report_pb2.TrafficClass.values()[1:]))
    if own := draw(st.booleans()):
        report.marking.onward_release[:] = []
    else:
        report.originator_node = "USA"
        report.marking.onward_release[:] = ["KOR"]
    for number in range(draw(st.integers(0, 2))):
        report.references.add(
            originator_node=draw(st.sampled_from(["JPN", "USA"])),
            report_id=reports.report_id(70 + number),
            relation=draw(st.sampled_from(report_pb2.ReferenceRelation.values()[1:])),
        )
    for _ in range(draw(st.integers(0, 6))):
        message, field = draw(st.sampled_from(places(report)))
        before = report_pb2.Report.FromString(report.SerializeToString())
        if draw(st.booleans()):
            _change(draw, message, field)
        else:
            message.ClearField(field.name)
        if not is_valid(report, "JPN"):
            report.CopyFrom(before)
    assert own == (report.originator_node == "JPN")
    return report
