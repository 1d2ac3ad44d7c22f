"""Messages of the contract as nobody would send them: any field set or not, to values at the edges of its type."""

from __future__ import annotations

from typing import Any, Final

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

_DEPTH: Final = 3

_TEXTS: Final = st.sampled_from(
    ["", "JPN", "KOR", "USA", "jpn", "signalfire/v1/JPN/KOR/flash/1", "signalfire/v1/KOR/JPN/flash/1",
     "signalfire/v1/JPN/witness/1", "spiffe://kor/gateway/a", "0" * 36, "\u2028\x00", "x" * 5000]
)  # fmt: skip
_BYTES: Final = st.one_of(st.binary(max_size=40), st.sampled_from([bytes(32), b"\xff" * 32, b"a" * 5000]))


def _value(field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_MESSAGE:
            assert field.message_type is not None
            return messages(field.message_type, depth + 1)
        case FieldDescriptor.CPPTYPE_STRING:
            return _BYTES if field.type == FieldDescriptor.TYPE_BYTES else _TEXTS
        case FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        case FieldDescriptor.CPPTYPE_ENUM:
            return st.integers(-1, 9)
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return st.floats(width=32)
        case FieldDescriptor.CPPTYPE_UINT64:
            return st.sampled_from([0, 1, 2, 2**32, 2**63 - 1, 2**63, 2**64 - 1])
        case FieldDescriptor.CPPTYPE_UINT32:
            return st.sampled_from([0, 1, 64, 256, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_INT64:
            return st.sampled_from([0, 1, -1, 2**63 - 1, -(2**63)])
        case _:
            return st.sampled_from([0, 1, -1, 2**31 - 1, -(2**31)])


@st.composite
def messages(draw: st.DrawFn, descriptor: Descriptor, depth: int = 0) -> Message:
    """Any message of a type."""
    message = GetMessageClass(descriptor)()
    if depth > _DEPTH or not descriptor.fields:
        return message
    chosen = draw(st.lists(st.sampled_from(list(descriptor.fields)), max_size=4, unique_by=lambda field: field.number))
    for field in chosen:
        if field.is_repeated:
            if field.message_type is not None and field.message_type.GetOptions().map_entry:
                continue
            for value in draw(st.lists(_value(field, depth), max_size=3)):
                if isinstance(value, Message):
                    getattr(message, field.name).add().CopyFrom(value)
                else:
                    getattr(message, field.name).append(value)
            continue
        value = draw(_value(field, depth))
        if isinstance(value, Message):
            getattr(message, field.name).CopyFrom(value)
        else:
            setattr(message, field.name, value)
    return message
