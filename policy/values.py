"""The values of a report, as text that officers read and write. Pure: no I/O.

A value is named by its leaf path (``policy.fields``). Rules, in order:

1. An enum is written as the contract's constant, ``MISSILE_CLASS_MRBM``, or without its prefix, ``MRBM``; shown is
   the constant. The value 0 is nothing that can be written.
2. A time is RFC 3339 with its zone, ``2024-06-01T12:00:00Z``; a duration is seconds, ``0.5s``.
3. A number is decimal and finite. A text stands as it is.
4. A message is written as a mapping of its fields, a repeated field as a list.
5. A field may be named as in the contract, ``launch_point``, or as in protobuf's JSON form, ``launchPoint``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from policy.errors import did_you_mean
from policy.fields import LEAVES, message_inside
from policy.yaml_source import Listing, Mapping, Node, Text

_WHOLE: Final = frozenset(
    {FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64, FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64}
)
_DECIMAL: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True, slots=True)
class Misfit:
    """Something that does not fit where it is written: the line, what is wrong, and how to mend it."""

    line: int
    what: str
    remedy: str


class _NoValueError(ValueError):
    """A text is no value of its field; the message says what is needed."""


def prefix_of(enum: EnumDescriptor) -> str:
    """What the constants of an enum begin with, e.g. ``MISSILE_CLASS_``."""
    return enum.values_by_number[0].name.removesuffix("UNSPECIFIED")


def words_of(enum: EnumDescriptor) -> list[str]:
    """The constants of an enum without their prefix, but for the one that says nothing."""
    return [value.name.removeprefix(prefix_of(enum)) for value in enum.values if value.number]


def time_of(text: str) -> datetime:
    """A time as it is written. Raises ValueError where it is none."""
    stamp = Timestamp()
    stamp.FromJsonString(text)
    return stamp.ToDatetime(tzinfo=UTC)


def _value_of(field: FieldDescriptor, text: str) -> object:
    """The value that a text stands for in a scalar, Timestamp or Duration field. Raises _NoValueError."""
    if field.enum_type is not None:
        name = text if text.startswith(prefix_of(field.enum_type)) else prefix_of(field.enum_type) + text
        found = field.enum_type.values_by_name.get(name)
        if found is None or not found.number:
            raise _NoValueError(did_you_mean(text, words_of(field.enum_type)))
        return found.number
    if field.message_type is not None:
        value: Timestamp | Duration = Timestamp() if field.message_type.name == "Timestamp" else Duration()
        try:
            value.FromJsonString(text)
        except ValueError as error:
            example = "a time, e.g. 2024-06-01T12:00:00Z" if isinstance(value, Timestamp) else "seconds, e.g. 0.5s"
            raise _NoValueError(f"Write {example}.") from error
        return value
    if field.type in _WHOLE:
        if re.fullmatch(r"\d{1,19}", text) is None:
            raise _NoValueError("Write a whole number.")
        return int(text)
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        if _DECIMAL.fullmatch(text) is None or not math.isfinite(float(text)):
            raise _NoValueError("Write a number, e.g. 39.2.")
        return float(text)
    return text


def _fields(message: Message) -> dict[str, FieldDescriptor]:
    found: Any = message.DESCRIPTOR.fields_by_name
    return dict(found)


def put(message: Message, path: str, node: Node, line: int) -> list[Misfit]:
    """Sets what ``path`` names below ``message`` to what is written at ``node``; gives what does not fit.

    ``line`` is that of the path. A path may end at a message, then a mapping is needed; what the message held stays.
    """
    name, _, rest = path.partition(".")
    fields = _fields(message)
    field = fields.get(name) or next((each for each in fields.values() if each.camelcase_name == name), None)
    if field is None:
        return [Misfit(line, f'{message.DESCRIPTOR.name} has no field "{name}".', did_you_mean(name, fields))]
    if rest:
        if message_inside(field) is None:
            return [Misfit(line, f'"{name}" holds a value: it has no field "{rest}".', "End the path there.")]
        if field.is_repeated:
            return [Misfit(line, f'"{name}" is a list.', "Write the whole list, e.g. [{report_id: ...}].")]
        return put(getattr(message, field.name), rest, node, line)
    if field.is_repeated:
        return _put_list(message, field, node)
    return _put_one(message, field, node)


def _put_one(message: Message, field: FieldDescriptor, node: Node) -> list[Misfit]:
    if message_inside(field) is not None:
        inner: Message = getattr(message, field.name)
        inner.SetInParent()
        return _fill(inner, node)
    if not isinstance(node, Text):
        return [Misfit(node.line, f'A list or mapping stands in "{field.name}".', "Write a single value.")]
    try:
        _assign(message, field, _value_of(field, node.value))
    except (_NoValueError, ValueError, OverflowError) as error:
        return [_no_value(field, node, error)]
    return []


def _put_list(message: Message, field: FieldDescriptor, node: Node) -> list[Misfit]:
    if not isinstance(node, Listing):
        return [Misfit(node.line, f'"{field.name}" is a list.', "Put its values in brackets, e.g. [KOR, USA].")]
    message.ClearField(field.name)
    elements = getattr(message, field.name)
    misfits: list[Misfit] = []
    for item in node.items:
        if field.message_type is not None:
            misfits += _fill(elements.add(), item)
        elif not isinstance(item, Text):
            misfits.append(Misfit(item.line, f'A list or mapping stands in "{field.name}".', "Write single values."))
        else:
            try:
                elements.append(_value_of(field, item.value))
            except (_NoValueError, ValueError, OverflowError) as error:
                misfits.append(_no_value(field, item, error))
    return misfits


def _fill(message: Message, node: Node) -> list[Misfit]:
    if not isinstance(node, Mapping):
        name = message.DESCRIPTOR.name
        return [Misfit(node.line, f"A {name} is needed here.", "Write its fields as key: value.")]
    misfits: list[Misfit] = []
    for key, inside in node.entries.items():
        misfits += put(message, key, inside, node.key_lines[key])
    return misfits


def _assign(message: Message, field: FieldDescriptor, value: object) -> None:
    if isinstance(value, Message):
        getattr(message, field.name).CopyFrom(value)
    else:
        setattr(message, field.name, value)


def _no_value(field: FieldDescriptor, node: Text, error: Exception) -> Misfit:
    remedy = str(error) if isinstance(error, _NoValueError) else "Write a value within the contract's range."
    return Misfit(node.line, f'"{node.value}" is no value of "{field.name}".', remedy)


def clear(message: Message, path: str) -> bool:
    """Clears what a path names; whether there is such a field."""
    name, _, rest = path.partition(".")
    field = _fields(message).get(name)
    if field is None or (rest and message_inside(field) is None):
        return False
    if not rest:
        message.ClearField(name)
        return True
    inner = getattr(message, name)
    if field.is_repeated:
        return all(clear(element, rest) for element in inner)
    return clear(inner, rest) if message.HasField(name) else True


def _at(message: Message, steps: Sequence[str]) -> Iterator[tuple[FieldDescriptor, Any]]:
    field = _fields(message)[steps[0]]
    if len(steps) > 1:
        inner = getattr(message, field.name)
        for element in inner if field.is_repeated else (inner,) if message.HasField(field.name) else ():
            yield from _at(element, steps[1:])
    elif field.is_repeated:
        yield from ((field, value) for value in getattr(message, field.name))
    elif message.HasField(field.name) if field.has_presence else getattr(message, field.name):
        yield field, getattr(message, field.name)


def values_at(report: report_pb2.Report, path: str) -> list[Any]:
    """What stands at a path: nothing where it is not set, several values where the path leads through a list."""
    return [value for _, value in _at(report, path.split("."))]


def shown(report: report_pb2.Report, path: str) -> str | None:
    """What stands at a path, as text; None where nothing does."""
    found = [_show(field, value) for field, value in _at(report, path.split("."))]
    if not found:
        return None
    through_list = any(field.is_repeated for field in fields_along(path))
    return f"[{', '.join(found)}]" if through_list else found[0]


def written(path: str, wanted: Sequence[Any]) -> str:
    """Values of a leaf path as text, as `shown` has them."""
    *_, field = fields_along(path)
    found = [_show(field, value) for value in wanted]
    return found[0] if len(found) == 1 else f"[{', '.join(found)}]"


def fields_along(path: str) -> list[FieldDescriptor]:
    """The fields that a path of a report leads through, the last one it ends at."""
    message: Any = report_pb2.Report.DESCRIPTOR
    found = []
    for step in path.split("."):
        found.append(message.fields_by_name[step])
        message = found[-1].message_type
    return found


def _show(field: FieldDescriptor, value: Any) -> str:
    if field.enum_type is not None:
        found = field.enum_type.values_by_number.get(value)
        return str(value) if found is None else found.name
    if isinstance(value, Timestamp | Duration):
        return value.ToJsonString()
    if isinstance(value, Message):
        inside = [
            f"{inner.name} {', '.join(_show(inner, each) for each in (content if inner.is_repeated else [content]))}"
            for inner, content in value.ListFields()
        ]
        return f"({', '.join(inside)})"
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, float):
        return f"{value:.12g}"
    return str(value)


def expected(path: str, node: Node) -> tuple[list[Any], list[Misfit]]:
    """The values that are written for a leaf path: one, or a list; and what does not fit."""
    *_, field = fields_along(path)
    items = node.items if isinstance(node, Listing) else (node,)
    values: list[Any] = []
    misfits: list[Misfit] = []
    for item in items:
        if not isinstance(item, Text):
            misfits.append(Misfit(item.line, f'A list or mapping stands in "{path}".', "Write single values."))
            continue
        try:
            values.append(_value_of(field, item.value))
        except (_NoValueError, ValueError, OverflowError) as error:
            misfits.append(_no_value(field, item, error))
    return values, misfits


def same(first: Sequence[Any], second: Sequence[Any]) -> bool:
    """Whether values are equal; decimal numbers as far as 12 digits say."""
    return len(first) == len(second) and all(
        math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
        if isinstance(one, float) and isinstance(other, float)
        else one == other
        for one, other in zip(first, second, strict=True)
    )


def present(report: report_pb2.Report) -> tuple[str, ...]:
    """The leaf paths at which something stands, in the order of the schema."""
    return tuple(path for path in LEAVES if any(True for _ in _at(report, path.split("."))))


def in_schema_order(paths: Iterable[str]) -> tuple[str, ...]:
    """The leaf paths in the order of the schema."""
    named = frozenset(paths)
    return tuple(path for path in LEAVES if path in named)
