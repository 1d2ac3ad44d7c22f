"""The checked tree of a condition: what the CEL type checker made of it, as typed values. No I/O.

CEL's checker hands out its result as a serialised ``cel.expr.CheckedExpr`` (google/cel-spec, checked.proto and
syntax.proto of proto/cel/expr). ``decode`` turns that into the dataclasses below, so that rules about conditions
(and proofs) work on a tree with types instead of on text; ``encode`` turns a rewritten tree back for evaluation.

The wheel of the CEL library carries no Python classes for these messages; the few fields that are read are declared
here by name and number. A part of the tree that this module does not know is an error, never skipped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.any_pb2 import Any as AnyMessage

_SCALARS: Final = {
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
}

# message: {field: (number, type, repeated, in the message's one oneof)}; enums are read as int32, and a map is a
# repeated message of key and value, which is how it travels.
_SCHEMA: Final[dict[str, dict[str, tuple[int, str, bool, bool]]]] = {
    "Nothing": {},
    "ListType": {"elem_type": (1, "Type", False, False)},
    "MapType": {"key_type": (1, "Type", False, False), "value_type": (2, "Type", False, False)},
    "AbstractType": {"name": (1, "string", False, False), "parameter_types": (2, "Type", True, False)},
    "Type": {
        "dyn": (1, "Nothing", False, True),
        "null": (2, "int32", False, True),
        "primitive": (3, "int32", False, True),
        "wrapper": (4, "int32", False, True),
        "well_known": (5, "int32", False, True),
        "list_type": (6, "ListType", False, True),
        "map_type": (7, "MapType", False, True),
        "message_type": (9, "string", False, True),
        "type_param": (10, "string", False, True),
        "type": (11, "Type", False, True),
        "error": (12, "Nothing", False, True),
        "abstract_type": (14, "AbstractType", False, True),
    },
    "Constant": {
        "null_value": (1, "int32", False, True),
        "bool_value": (2, "bool", False, True),
        "int64_value": (3, "int64", False, True),
        "uint64_value": (4, "uint64", False, True),
        "double_value": (5, "double", False, True),
        "string_value": (6, "string", False, True),
        "bytes_value": (7, "bytes", False, True),
    },
    "Reference": {
        "name": (1, "string", False, False),
        "overload_id": (3, "string", True, False),
        "value": (4, "Constant", False, False),
    },
    "Ident": {"name": (1, "string", False, False)},
    "SelectExpr": {
        "operand": (1, "Expr", False, False),
        "field": (2, "string", False, False),
        "test_only": (3, "bool", False, False),
    },
    "CallExpr": {
        "target": (1, "Expr", False, False),
        "function": (2, "string", False, False),
        "args": (3, "Expr", True, False),
    },
    "ListExpr": {"elements": (1, "Expr", True, False)},
    "StructExpr": {"message_name": (1, "string", False, False)},
    "ComprehensionExpr": {
        "iter_var": (1, "string", False, False),
        "iter_range": (2, "Expr", False, False),
        "accu_var": (3, "string", False, False),
        "accu_init": (4, "Expr", False, False),
        "loop_condition": (5, "Expr", False, False),
        "loop_step": (6, "Expr", False, False),
        "result": (7, "Expr", False, False),
    },
    "Expr": {
        "id": (2, "int64", False, False),
        "const_expr": (3, "Constant", False, True),
        "ident_expr": (4, "Ident", False, True),
        "select_expr": (5, "SelectExpr", False, True),
        "call_expr": (6, "CallExpr", False, True),
        "list_expr": (7, "ListExpr", False, True),
        "struct_expr": (8, "StructExpr", False, True),
        "comprehension_expr": (9, "ComprehensionExpr", False, True),
    },
    "ReferenceEntry": {"key": (1, "int64", False, False), "value": (2, "Reference", False, False)},
    "TypeEntry": {"key": (1, "int64", False, False), "value": (2, "Type", False, False)},
    "PositionEntry": {"key": (1, "int64", False, False), "value": (2, "int32", False, False)},
    "SourceInfo": {"positions": (4, "PositionEntry", True, False)},
    "CheckedExpr": {
        "reference_map": (2, "ReferenceEntry", True, False),
        "type_map": (3, "TypeEntry", True, False),
        "expr": (4, "Expr", False, False),
        "source_info": (5, "SourceInfo", False, False),
    },
}

_PRIMITIVES: Final = {1: "bool", 2: "int", 3: "uint", 4: "double", 5: "string", 6: "bytes"}
_CONSTANT_FIELDS: Final = {name: {"int": "int64", "uint": "uint64"}.get(name, name) for name in _PRIMITIVES.values()}
_TYPE_URL: Final = "type.googleapis.com/cel.expr.CheckedExpr"
_WELL_KNOWN: Final = {1: "any", 2: "timestamp", 3: "duration"}


def _checked_expr_class() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="policy/checked_expr.proto", package="checked", syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        if any(in_oneof for *_, in_oneof in fields.values()):
            message.oneof_decl.add(name="kind")
        for field_name, (number, kind, repeated, in_oneof) in fields.items():
            field = message.field.add(name=field_name, number=number)
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if kind in _SCALARS:
                field.type = _SCALARS[kind]
            else:
                field.type = field.TYPE_MESSAGE
                field.type_name = f".checked.{kind}"
            if in_oneof:
                field.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("checked.CheckedExpr"))


_CheckedExpr: Final = _checked_expr_class()


@dataclass(frozen=True, slots=True)
class Node:
    """What every node has.

    ``type`` is its CEL type (``int``, ``list(string)``, a message's full name, ...), ``offset`` where it stands in
    the condition's text, in characters: its operator or dot where it has one.
    """

    type: str
    offset: int


@dataclass(frozen=True, slots=True)
class Const(Node):
    """A literal."""

    value: bool | int | float | str | bytes | None


@dataclass(frozen=True, slots=True)
class Ident(Node):
    """A variable, or the full name of an enum constant, whose number ``constant`` then is."""

    name: str
    constant: int | None


@dataclass(frozen=True, slots=True)
class Select(Node):
    """``operand.field``, or ``has(operand.field)`` where ``test_only``."""

    operand: Expr
    field: str
    test_only: bool


@dataclass(frozen=True, slots=True)
class Call(Node):
    """A function or operator; ``args`` begin with the receiver where there is one (``method``)."""

    function: str
    args: tuple[Expr, ...]
    method: bool = False


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """A list literal."""

    elements: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Struct(Node):
    """A message or map literal, by its message's name (empty for a map); its entries are not kept."""

    message: str


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """What ``all``, ``exists``, ``exists_one``, ``filter`` and ``map`` become."""

    iter_var: str
    iter_range: Expr
    accu_var: str
    accu_init: Expr
    loop_condition: Expr
    loop_step: Expr
    result: Expr


Expr = Const | Ident | Select | Call | ListOf | Struct | Comprehension


def children(expr: Expr) -> tuple[Expr, ...]:
    """The nodes directly below."""
    match expr:
        case Select(operand=operand):
            return (operand,)
        case Call(args=args):
            return args
        case ListOf(elements=elements):
            return elements
        case Comprehension():
            parts = (expr.iter_range, expr.accu_init, expr.loop_condition, expr.loop_step, expr.result)
            return parts
        case _:
            return ()


def walk(expr: Expr) -> Iterator[Expr]:
    """The node and all below it, in the order of the text."""
    yield expr
    for child in children(expr):
        yield from walk(child)


def _type_name(type_: Any) -> str:
    match type_.WhichOneof("kind"):
        case "primitive":
            return _PRIMITIVES[type_.primitive]
        case "wrapper":
            return f"wrapper({_PRIMITIVES[type_.wrapper]})"
        case "well_known":
            return _WELL_KNOWN[type_.well_known]
        case "list_type":
            return f"list({_type_name(type_.list_type.elem_type)})"
        case "map_type":
            return f"map({_type_name(type_.map_type.key_type)}, {_type_name(type_.map_type.value_type)})"
        case "message_type":
            return str(type_.message_type)
        case "type_param":
            return str(type_.type_param)
        case "type":
            return f"type({_type_name(type_.type)})"
        case "abstract_type":
            parameters = ", ".join(map(_type_name, type_.abstract_type.parameter_types))
            return f"{type_.abstract_type.name}({parameters})" if parameters else str(type_.abstract_type.name)
        case "dyn" | "null" | "error" as word:
            return str(word)
        case _:
            raise ValueError("the checked expression holds a type that is not known here")


class _Decoder:
    def __init__(self, checked: Any) -> None:
        self.types: dict[int, str] = {entry.key: _type_name(entry.value) for entry in checked.type_map}
        self.references: dict[int, Any] = {entry.key: entry.value for entry in checked.reference_map}
        self.offsets: dict[int, int] = {entry.key: entry.value for entry in checked.source_info.positions}

    def expr(self, message: Any) -> Expr:
        type_ = self.types.get(message.id, "")
        offset = self.offsets.get(message.id, 0)
        match message.WhichOneof("kind"):
            case "const_expr":
                constant = message.const_expr
                which = constant.WhichOneof("kind")
                if which is None:
                    raise ValueError("the checked expression holds a constant that is not known here")
                return Const(type_, offset, None if which == "null_value" else getattr(constant, which))
            case "ident_expr":
                reference = self.references.get(message.id)
                is_constant = reference is not None and reference.HasField("value")
                number = reference.value.int64_value if is_constant and reference is not None else None
                return Ident(type_, offset, message.ident_expr.name, number)
            case "select_expr":
                select = message.select_expr
                return Select(type_, offset, self.expr(select.operand), select.field, select.test_only)
            case "call_expr":
                call = message.call_expr
                receiver = (call.target,) if call.HasField("target") else ()
                args = tuple(map(self.expr, (*receiver, *call.args)))
                return Call(type_, offset, call.function, args, bool(receiver))
            case "list_expr":
                return ListOf(type_, offset, tuple(map(self.expr, message.list_expr.elements)))
            case "struct_expr":
                return Struct(type_, offset, message.struct_expr.message_name)
            case "comprehension_expr":
                fold = message.comprehension_expr
                return Comprehension(
                    type_,
                    offset,
                    fold.iter_var,
                    self.expr(fold.iter_range),
                    fold.accu_var,
                    self.expr(fold.accu_init),
                    self.expr(fold.loop_condition),
                    self.expr(fold.loop_step),
                    self.expr(fold.result),
                )
            case _:
                raise ValueError("the checked expression holds a node that is not known here")


def decode(serialised: bytes) -> Expr:
    """The tree of a serialised ``google.protobuf.Any`` that holds a ``cel.expr.CheckedExpr``.

    Raises ValueError where it is not that, or holds what this module does not know.
    """
    envelope = AnyMessage.FromString(serialised)
    if envelope.type_url != _TYPE_URL:
        raise ValueError(f"expected a cel.expr.CheckedExpr, not {envelope.type_url!r}")
    checked = _CheckedExpr.FromString(envelope.value)
    return _Decoder(checked).expr(checked.expr)


class _Encoder:
    def __init__(self) -> None:
        self.nodes = 0

    def write(self, expr: Expr, message: Any) -> None:
        self.nodes += 1
        message.id = self.nodes
        match expr:
            case Const(value=None) | Struct():
                raise ValueError("null, and message and map literals, are not written")
            case Const(type=type_, value=value):
                setattr(message.const_expr, f"{_CONSTANT_FIELDS[type_]}_value", value)
            case Ident(constant=None, name=name):
                message.ident_expr.name = name
            case Ident(constant=number):
                message.const_expr.int64_value = number
            case Select(operand=operand, field=field, test_only=test_only):
                message.select_expr.field = field
                message.select_expr.test_only = test_only
                self.write(operand, message.select_expr.operand)
            case Call(function=function, args=args, method=method):
                message.call_expr.function = function
                if method:
                    self.write(args[0], message.call_expr.target)
                for arg in args[method:]:
                    self.write(arg, message.call_expr.args.add())
            case ListOf(elements=elements):
                message.list_expr.SetInParent()
                for element in elements:
                    self.write(element, message.list_expr.elements.add())
            case Comprehension():
                fold = message.comprehension_expr
                fold.iter_var, fold.accu_var = expr.iter_var, expr.accu_var
                self.write(expr.iter_range, fold.iter_range)
                self.write(expr.accu_init, fold.accu_init)
                self.write(expr.loop_condition, fold.loop_condition)
                self.write(expr.loop_step, fold.loop_step)
                self.write(expr.result, fold.result)


def encode(expr: Expr) -> bytes:
    """The opposite of ``decode``, for evaluation: enum constants become numbers, and types and offsets stay behind,
    which an evaluator does not ask for. Raises ValueError for what it cannot write."""
    checked = _CheckedExpr()
    _Encoder().write(expr, checked.expr)
    envelope = AnyMessage(type_url=_TYPE_URL, value=checked.SerializeToString(deterministic=True))
    return envelope.SerializeToString(deterministic=True)
