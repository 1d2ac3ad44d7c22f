"""The contract's own words against the validator: its fields from the descriptor, its promises from the comments.

A field added to the schema without a rule fails the first test; one whose comment says "Required" and is not asked
for, or "always released" and may be absent, fails the last ones.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, duration_pb2, message_factory, timestamp_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from signalfire.v1 import report_pb2

from gateway.reports.kinds import Kind
from gateway.reports.limits import ReportLimits
from gateway.reports.parse import canonical
from gateway.reports.validate import validate_released, validate_submitted
from tests.reports.examples import EXAMPLES, NODE, NOW

PROTO: Final = Path(__file__).parents[2] / "proto/signalfire/v1/report.proto"
LIMITS: Final = ReportLimits()
TIMES: Final = ("google.protobuf.Timestamp", "google.protobuf.Duration")

INVALID: Final[dict[int, list[Any]]] = {
    FieldDescriptor.TYPE_DOUBLE: [float("nan"), float("inf"), float("-inf")],
    FieldDescriptor.TYPE_STRING: ["\x07"],
    FieldDescriptor.TYPE_ENUM: [99, -1],
    FieldDescriptor.TYPE_INT32: [-1],
    FieldDescriptor.TYPE_INT64: [-1],
}
"""Values of each type that no field of the contract may hold."""
OUTSIDE: Final[dict[int, list[Any]]] = {
    FieldDescriptor.TYPE_UINT32: [0, 2**32 - 1],
    FieldDescriptor.TYPE_UINT64: [0, 2**64 - 1],
}
"""Values of which a field must refuse one at least."""

DERIVATIONS: Final = "signalfire.v1.Report.derivations"
"""What no C2 system may send."""

Door = Callable[[Any], list[str]]


def submitted(report: Any) -> list[str]:
    return [each.field for each in validate_submitted(report, node=NODE, now=NOW, limits=LIMITS)]


def released(report: Any) -> list[str]:
    return [each.field for each in validate_released(report, origin=NODE, limits=LIMITS)]


def full_report(kind: Kind, door: Door) -> report_pb2.Report:
    """The example of `kind` with every field set somewhere that may be at `door`: what is optional in it as well."""
    report = EXAMPLES[kind]()
    if not report.references:
        report.references.add(
            originator_node=NODE,
            report_id="5e2b0f4c-1111-4111-8111-111111111111",
            relation=report_pb2.REFERENCE_RELATION_UPDATES,
        )
    if door is released:
        report.derivations.add(node=NODE, fields=["track.quality", "report_time"])
    return report


def visit(message: Any, path: str = "") -> Iterator[tuple[Any, FieldDescriptor, str]]:
    """Each field of a message and of the messages in it: its message, itself, and its path in a violation.

    Of a list the first entry is visited; of the kinds only the one that is set; derivations only where there are any.
    """
    chosen = message.WhichOneof("content") if "content" in message.DESCRIPTOR.oneofs_by_name else None
    for field in message.DESCRIPTOR.fields:
        if field.containing_oneof is not None and field.containing_oneof.name == "content" and field.name != chosen:
            continue
        if field.full_name == DERIVATIONS and not message.derivations:
            continue
        here = f"{path}.{field.name}" if path else field.name
        yield message, field, here
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            if field.is_repeated:
                entries = getattr(message, field.name)
                yield from visit(entries[0] if entries else entries.add(), f"{here}[0]")
            else:
                yield from visit(getattr(message, field.name), here)


def refuses(report: Any, message: Any, field: FieldDescriptor, path: str, door: Door) -> bool:
    """Whether `door` refuses, by its path, each value that `field` must not hold. Leaves the message as it was."""
    if message.DESCRIPTOR.full_name in TIMES:
        path = path.rpartition(".")[0]
    every, some = INVALID.get(field.type, []), OUTSIDE.get(field.type, [])
    answers = []
    for value in every + some:
        before = type(message)()
        before.CopyFrom(message)
        if field.is_repeated:
            del getattr(message, field.name)[:1]
            getattr(message, field.name).insert(0, value)
            answers.append(f"{path}[0]" in door(report))
        else:
            setattr(message, field.name, value)
            answers.append(path in door(report))
        message.CopyFrom(before)
    return any(answers) and all(answers[: len(every)])


def unguarded(report: Any, door: Door) -> list[str]:
    """Paths of the fields into which a value can be put that `door` does not refuse."""
    assert door(report) == []
    return [
        path
        for message, field, path in visit(report)
        if field.type != FieldDescriptor.TYPE_MESSAGE and not refuses(report, message, field, path, door)
    ]


@pytest.mark.parametrize("door", [submitted, released])
@pytest.mark.parametrize("kind", Kind)
def test_every_field_refuses_what_it_must_not_hold(kind: Kind, door: Door) -> None:
    assert unguarded(full_report(kind, door), door) == []


def test_the_six_kinds_together_visit_every_field_of_the_contract() -> None:
    visited = {field.full_name for kind in Kind for _, field, _ in visit(full_report(kind, released))}
    reachable: set[str] = set()

    def reach(descriptor: Descriptor) -> None:
        for field in descriptor.fields:
            if field.full_name not in reachable:
                reachable.add(field.full_name)
                if field.message_type is not None:
                    reach(field.message_type)

    reach(report_pb2.Report.DESCRIPTOR)
    assert visited == reachable


@pytest.mark.parametrize(
    ("message", "type_"),
    [
        ("LaunchDetection", FieldDescriptor.TYPE_DOUBLE),
        ("Position", FieldDescriptor.TYPE_STRING),
        ("Marking", FieldDescriptor.TYPE_UINT32),
        ("Report", FieldDescriptor.TYPE_BOOL),
        ("Report", FieldDescriptor.TYPE_BYTES),
    ],
)
def test_a_field_added_to_the_schema_without_a_rule_is_noticed(
    message: str, type_: descriptor_pb2.FieldDescriptorProto.Type.ValueType
) -> None:
    contract = descriptor_pb2.FileDescriptorProto()
    report_pb2.DESCRIPTOR.CopyToProto(contract)
    (grown,) = (each for each in contract.message_type if each.name == message)
    grown.field.add(
        name="added",
        number=500,
        type=type_,
        label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL,
    )
    pool = descriptor_pool.DescriptorPool()
    for file in (timestamp_pb2.DESCRIPTOR, duration_pb2.DESCRIPTOR):
        pool.AddSerializedFile(file.serialized_pb)
    pool.AddSerializedFile(contract.SerializeToString())
    grown_report = message_factory.GetMessageClass(pool.FindMessageTypeByName("signalfire.v1.Report"))
    report = grown_report.FromString(canonical(full_report(Kind.LAUNCH_DETECTION, submitted)))
    missed = unguarded(report, submitted)
    assert missed
    assert all(path.rpartition(".")[2] == "added" for path in missed)


def comments() -> dict[str, str]:
    """What the contract says of each field of each message: `Message.field` to the comment above it."""
    found: dict[str, str] = {}
    message, comment = "", ""
    for line in PROTO.read_text(encoding="utf-8").splitlines():
        text = line.strip()
        if opened := re.fullmatch(r"message (\w+) \{", text):
            message = opened[1]
        elif text.startswith("//"):
            comment += text.removeprefix("//")
            continue
        elif declared := re.fullmatch(r"(?:optional |repeated )?[\w.]+ (\w+) = \d+;", text):
            found[f"{message}.{declared[1]}"] = comment
        comment = ""
    return found


COMMENTS: Final = comments()
CONDITIONAL: Final = {
    "Position.height_m": {"track.position.height_m"},
    "LaunchDetection.azimuth_uncertainty_deg": {"launch_detection.azimuth_uncertainty_deg"},
}
"""Fields that the contract requires in some places: in which."""
WITHIN_ALWAYS_RELEASED: Final = {
    "marking.policy",
    "marking.classification",
    "derivations[0].node",
    "derivations[0].fields",
}
"""Fields without which a message that goes with every release is none."""


def name_of(field: FieldDescriptor) -> str:
    """`Message.field`, as in `COMMENTS`."""
    return field.full_name.removeprefix("signalfire.v1.")


def required(field: FieldDescriptor, path: str) -> bool:
    name = name_of(field)
    if name in CONDITIONAL:
        return path in CONDITIONAL[name]
    return "Required" in COMMENTS[name]


def clearable(kind: Kind, door: Door) -> Iterator[tuple[report_pb2.Report, Any, FieldDescriptor, str]]:
    report = full_report(kind, door)
    for message, field, path in visit(report):
        if message.DESCRIPTOR.full_name in TIMES or field.name == kind.field:
            continue
        before = type(message)()
        before.CopyFrom(message)
        message.ClearField(field.name)
        yield report, message, field, path
        message.CopyFrom(before)


def test_the_contract_says_of_every_field_what_it_is() -> None:
    names = {
        name_of(field)
        for kind in Kind
        for message, field, _ in visit(full_report(kind, released))
        if message.DESCRIPTOR.full_name not in TIMES
    }
    assert names <= set(COMMENTS)


@pytest.mark.parametrize("kind", Kind)
def test_what_the_contract_calls_required_is_missed_at_the_c2_door_and_nothing_else_is(kind: Kind) -> None:
    for report, _, field, path in clearable(kind, submitted):
        if path == "launch_detection.initial_azimuth_deg":
            assert submitted(report) == [path], "the azimuth's uncertainty stands alone"
        else:
            assert submitted(report) == ([path] if required(field, path) else []), path


@pytest.mark.parametrize("kind", Kind)
def test_what_the_contract_calls_always_released_is_missed_at_the_partners_door_and_nothing_else_is(kind: Kind) -> None:
    for report, _, field, path in clearable(kind, released):
        always = "always released" in COMMENTS[name_of(field)]
        missed = [path] if always or path in WITHIN_ALWAYS_RELEASED else []
        assert released(report) == missed, path
