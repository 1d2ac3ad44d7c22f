"""Whether a report could have come: what of the contract the proofs rest on, asked of one report. Pure: no I/O.

The facts are those of ``policy.prove.validity``: presences, ranges, lengths, times. What a gateway checks beyond them
(geometry, codes of countries, forms of texts) is not asked here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy.fields import message_inside
from policy.prove import validity
from policy.values import values_at, words_of
from policy.vocabulary import CONTENT, KIND_OF_ARM


def faults(report: report_pb2.Report, node: str) -> list[str]:
    """Why a report is not valid at ``node``, each as a path and what is wrong with it; none where it is.

    A report of the node's own has every required field; of another's anything may be missing that is not always
    released.
    """
    complete = report.originator_node == node
    arm = report.WhichOneof(CONTENT)
    if arm is None:
        return [f"it reports nothing: set one of {', '.join(KIND_OF_ARM)}"]
    found = list(_message(report, "", complete))
    report_time = report.report_time.ToNanoseconds()
    for path in validity.times_not_after_report(KIND_OF_ARM[arm], complete=complete):
        if any(value.ToNanoseconds() > report_time for value in values_at(report, path)):
            found.append(f"{path} is after report_time")
    return found


def _message(message: Message, prefix: str, complete: bool) -> Iterator[str]:
    descriptor: Descriptor = _descriptor(message)
    for field in descriptor.fields:
        path = prefix + field.name
        name = validity.name_of(field)
        value = getattr(message, field.name)
        there = bool(len(value)) if field.is_repeated else _is_set(message, field, value)
        if not there:
            if not validity.is_content(field) and validity.always_set(path, complete=complete):
                yield f"{path} is required" + (f": {_words(field)}" if field.enum_type is not None else "")
            continue
        if complete and name in validity.NEVER_SUBMITTED:
            yield f"{path} is never in a report of this node's own"
        if field.is_repeated:
            most = validity.MOST_ENTRIES.get(name, math.inf)
            if len(value) > most:
                yield f"{path} has {len(value)} entries, and at most {most} are allowed"
            if message_inside(field) is not None:
                for element in value:
                    yield from _message(element, f"{path}.", complete)
        elif message_inside(field) is not None:
            yield from _message(value, f"{path}.", complete)
        else:
            yield from _value(field, path, name, value)


def _value(field: FieldDescriptor, path: str, name: str, value: Any) -> Iterator[str]:
    if field.enum_type is not None and value not in validity.defined_values(field):
        yield f"{path} is no {field.enum_type.name}: {_words(field)}"
    bounds = validity.RANGES.get(name)
    if bounds is not None and not bounds.least <= value <= bounds.most:
        yield f"{path} is {value:g}, outside {bounds.least:g} to {bounds.most:g}"
    longest = validity.LONGEST.get(name)
    if longest is not None and len(value) > longest:
        yield f"{path} has {len(value)} characters, and at most {longest} are allowed"


def _is_set(message: Message, field: FieldDescriptor, value: Any) -> bool:
    return message.HasField(field.name) if field.has_presence else bool(value)


def _words(field: FieldDescriptor) -> str:
    return "one of " + ", ".join(words_of(field.enum_type)) if field.enum_type is not None else ""


def _descriptor(message: Message) -> Descriptor:
    found: Any = message.DESCRIPTOR
    descriptor: Descriptor = found
    return descriptor
