"""What a condition may not do, though CEL allows it. Works on the checked tree; no I/O.

Rules, in order:

1. *Nothing untyped.* No ``dyn()``, no ``type()``, no list of mixed types: behind these a misspelt field passes the
   type checker and fails on every report. No ``null``: no field is ever equal to it; ``has()`` asks for presence.
2. *Nothing made.* No message or map literals: a condition asks about the report, it does not build another.
3. *Enums are compared with their own constants.* To CEL an enum is a number, so that ``report.precedence <= 4`` and
   ``report.precedence == Certainty.CERTAINTY_CONFIRMED`` compile. An enum value may stand only on one side of ``==``,
   ``!=``, ``<``, ``<=``, ``>``, ``>=`` with the same enum on the other, or left of ``in`` with a list of its constants.
4. *No look at content that is not there.* A rule for Tracks and LaunchDetections that reads ``report.track`` would read
   zeros from every launch detection. Where a rule applies to a kind without that content, the reading must stand
   behind ``has(report.track) &&`` (or ``!has(report.track) ||``, or ``has(report.track) ? ...``).
5. A ``matches()`` pattern is a literal of at most ``Limits.regex_chars`` characters.

Rule 4 follows ``has`` through ``&&``, ``||``, ``!`` and ``?:``. It does not ask for ``has`` before an optional
field of content that is there: an absent number reads as 0, an absent text as "" (cel-spec, langdef.md, "Field
Selection").
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from signalfire.v1 import report_pb2

from policy.checked import Call, Const, Expr, Ident, ListOf, Select, Struct, children, walk
from policy.errors import Fault
from policy.limits import Limits
from policy.vocabulary import KIND_OF_ARM, Kind

_COMPARISONS: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})
_POOL: Final = report_pb2.DESCRIPTOR.pool
_REPORT: Final = report_pb2.Report.DESCRIPTOR.full_name


def fault_at(text: str, offset: int, what: str, remedy: str) -> Fault:
    """A fault at a character offset of the condition's text."""
    line_start = text.rfind("\n", 0, offset) + 1
    return Fault(what, remedy, text.count("\n", 0, offset) + 1, offset - line_start + 1)


def faults(tree: Expr, text: str, kinds: Iterable[Kind], limits: Limits) -> list[Fault]:
    """Everything in a checked condition that these rules refuse, for a rule that applies to these kinds of report."""
    found = [
        *_untyped(tree),
        *_made(tree),
        *_enums(tree),
        *_absent_content(tree, tuple(kinds)),
        *_patterns(tree, limits),
    ]
    return [fault_at(text, offset, what, remedy) for offset, what, remedy in found]


_Found = tuple[int, str, str]


def _untyped(tree: Expr) -> Iterator[_Found]:
    for node in walk(tree):
        if isinstance(node, Call) and node.function in ("dyn", "type"):
            yield node.offset, f"{node.function}() takes a value out of the type check.", "Use the field as it is."
        elif isinstance(node, Const) and node.value is None:
            yield node.offset, "No field is ever equal to null.", "Ask with has(), e.g. !has(report.track.velocity)."
        elif isinstance(node, ListOf) and node.elements and "dyn" in node.type:
            yield node.offset, "The list mixes types.", "Put values of one type into it."


def _made(tree: Expr) -> Iterator[_Found]:
    for node in walk(tree):
        if isinstance(node, Struct):
            made = node.message.rpartition(".")[2] or "map"
            yield node.offset, f"The condition makes a {made}.", "Compare single fields of the report instead."


def _enum_of(expr: Expr) -> str | None:
    """Full name of the enum that the node is a value of."""
    if isinstance(expr, Ident) and expr.constant is not None:
        return expr.name.rpartition(".")[0]
    if isinstance(expr, Select) and not expr.test_only:
        try:
            message = _POOL.FindMessageTypeByName(expr.operand.type)
        except KeyError:
            return None
        enum = message.fields_by_name[expr.field].enum_type
        return enum.full_name if enum is not None else None
    return None


def _short(name: str) -> str:
    return name.rpartition(".")[2]


def _enums(expr: Expr) -> Iterator[_Found]:
    match expr:
        case Call(function=function, args=(left, right)) if function in _COMPARISONS:
            compared: tuple[Expr, ...] = (left, right)
        case Call(function="@in", args=(left, ListOf(elements=elements))) if elements:
            compared = (left, *elements)
        case _:
            if (stray := _enum_of(expr)) is not None:
                what = f"A value of {_short(stray)} is used as a number."
                yield expr.offset, what, f'Compare it with a constant, e.g. "{_example(stray)}".'
            for child in children(expr):
                yield from _enums(child)
            return
    of_operand = [_enum_of(operand) for operand in compared]
    named = sorted({enum for enum in of_operand if enum is not None})
    if len(named) > 1:
        words = " and ".join(map(_short, named))
        yield expr.offset, f"{words} are compared with each other.", f'Use one, e.g. "{_example(named[0])}".'
    elif named and None in of_operand:
        what = f"A value of {_short(named[0])} is compared with something that is not one."
        yield expr.offset, what, f'Write the constant, e.g. "{_example(named[0])}".'
    for operand, enum in zip(compared, of_operand, strict=True):
        for node in (operand,) if enum is None else children(operand):
            yield from _enums(node)


def _example(enum: str) -> str:
    values = _POOL.FindEnumTypeByName(enum).values
    return f"{_short(enum)}.{values[-1].name}"


def _content_tested(expr: Expr) -> str | None:
    """The content whose presence a ``has()`` proves: of ``has(report.track.velocity)``, ``track``."""
    while isinstance(expr, Select):
        if expr.operand.type == _REPORT and expr.field in KIND_OF_ARM:
            return expr.field
        expr = expr.operand
    return None


_NONE: Final[frozenset[str]] = frozenset()


def _present_if(expr: Expr, truth: bool) -> frozenset[str]:
    """Content that must be there where the node is true (or false)."""
    match expr:
        case Select(test_only=True) if truth:
            content = _content_tested(expr)
            return frozenset({content}) if content else _NONE
        case Call(function="!_", args=(operand,)):
            return _present_if(operand, not truth)
        case Call(function="_&&_" | "_||_" as function, args=(left, right)):
            here, there = _present_if(left, truth), _present_if(right, truth)
            return here | there if (function == "_&&_") is truth else here & there
        case _:
            return _NONE


def _readings(expr: Expr, present: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Readings of content that is not known to be there: offset and content."""
    match expr:
        case Call(function="_&&_" | "_||_" as function, args=(left, right)):
            truth = function == "_&&_"
            yield from _readings(left, present | _present_if(right, truth))
            yield from _readings(right, present | _present_if(left, truth))
        case Call(function="_?_:_", args=(test, then, otherwise)):
            yield from _readings(test, present)
            yield from _readings(then, present | _present_if(test, True))
            yield from _readings(otherwise, present | _present_if(test, False))
        case Select(test_only=True) if _content_tested(expr) is not None:
            return
        case Select(operand=operand, field=field) if operand.type == _REPORT and field in KIND_OF_ARM:
            if field not in present:
                yield expr.offset, field
            yield from _readings(operand, present)
        case _:
            for child in children(expr):
                yield from _readings(child, present)


def _absent_content(tree: Expr, kinds: tuple[Kind, ...]) -> Iterator[_Found]:
    lacking: dict[tuple[int, str], list[Kind]] = {}
    for kind in kinds:
        for offset, content in _readings(tree, frozenset({kind.arm})):
            lacking.setdefault((offset, content), []).append(kind)
    for (offset, content), where in lacking.items():
        names = ", ".join(where)
        what = f'The rule also applies to {names}, where there is no "report.{content}".'
        yield offset, what, f'Write "has(report.{content}) && ..." before it, or give these kinds a rule of their own.'


def _patterns(tree: Expr, limits: Limits) -> Iterator[_Found]:
    for node in walk(tree):
        if not isinstance(node, Call) or node.function != "matches":
            continue
        pattern = node.args[-1]
        if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
            yield node.offset, "The pattern of matches() is not a literal.", 'Write it out, e.g. matches("^ev-").'
        elif len(pattern.value) > limits.regex_chars:
            what = f"The pattern of matches() has {len(pattern.value)} characters; the limit is {limits.regex_chars}."
            yield node.offset, what, "Use startsWith(), contains() or several rules."
