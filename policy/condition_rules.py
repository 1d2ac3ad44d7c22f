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
6. *Only what has an order is ordered.* Of the enums, ``<``, ``<=``, ``>`` and ``>=`` take ``Precedence``,
   ``Classification`` and ``Certainty`` alone.
7. *UNKNOWN satisfies nothing by accident.* A field that can say UNKNOWN (an enum with such a value, and
   ``Threat.launch_country``) may be asked whether it *is* one of some constants. Whoever asks what it is *not*
   (``!=``, ``!(... == ...)``, ``!(... in ...)``), or anything else of it, says in the same condition what holds of
   UNKNOWN, by comparing the field with it.
8. *Doubles are compared one with one.* No ``in``, ``==`` or ``!=`` over lists or messages that hold them, nor over any
   message, and no ``string()`` of a double: in these NaN would go unseen by ``policy.strict``.
9. An area stands only where ``inside()`` takes one.
10. A loop's variable is not named like a variable of the language: what a name means does not depend on its place.

What the texts in a condition may be, and what it may make of them, stands in ``policy.condition_words``.

Rule 4 follows ``has`` through ``&&``, ``||``, ``!`` and ``?:``, from left to right, as they are evaluated. It does not
ask for ``has`` before an optional field of content that is there: reading one that is absent is an error when the
report comes (``policy.strict``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from signalfire.v1 import report_pb2

from policy import condition_words
from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf, Select, Struct, children, walk
from policy.condition_words import UNKNOWN, Found
from policy.errors import Fault
from policy.limits import Limits
from policy.vocabulary import KIND_OF_ARM, Kind

_ORDERINGS: Final = frozenset({"_<_", "_<=_", "_>_", "_>=_"})
_COMPARISONS: Final = frozenset({"_==_", "_!=_"}) | _ORDERINGS
_ORDERED: Final = frozenset({"Precedence", "Classification", "Certainty"})
_LAUNCH_COUNTRY: Final = ("signalfire.v1.Threat", "launch_country")
_AREA: Final = "area"
_COUNTRIES: Final = "countries."
_OWN_NAMES: Final = frozenset({"report", "partner", "now", "posture", "countries", "areas"})
_POOL: Final = report_pb2.DESCRIPTOR.pool
_PACKAGE: Final = report_pb2.DESCRIPTOR.package
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
        *_orderings(tree),
        *_unknowns(tree),
        *_many_doubles(tree),
        *_stray_areas(tree),
        *_loop_variables(tree),
        *condition_words.found(tree, text),
    ]
    return [fault_at(text, offset, what, remedy) for offset, what, remedy in found]


def _untyped(tree: Expr) -> Iterator[Found]:
    for node in walk(tree):
        if isinstance(node, Call) and node.function in ("dyn", "type"):
            yield node.offset, f"{node.function}() takes a value out of the type check.", "Use the field as it is."
        elif isinstance(node, Const) and node.value is None:
            yield node.offset, "No field is ever equal to null.", "Ask with has(), e.g. !has(report.track.velocity)."
        elif isinstance(node, ListOf) and node.elements and "dyn" in node.type:
            yield node.offset, "The list mixes types.", "Put values of one type into it."


def _made(tree: Expr) -> Iterator[Found]:
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


def _enums(expr: Expr) -> Iterator[Found]:
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
            yield from _readings(left, present)
            yield from _readings(right, present | _present_if(left, function == "_&&_"))
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


def _absent_content(tree: Expr, kinds: tuple[Kind, ...]) -> Iterator[Found]:
    lacking: dict[tuple[int, str], list[Kind]] = {}
    for kind in kinds:
        for offset, content in _readings(tree, frozenset({kind.arm})):
            lacking.setdefault((offset, content), []).append(kind)
    for (offset, content), where in lacking.items():
        names = ", ".join(where)
        what = f'The rule also applies to {names}, where there is no "report.{content}".'
        yield offset, what, f'Write "has(report.{content}) && ..." before it, or give these kinds a rule of their own.'


def _patterns(tree: Expr, limits: Limits) -> Iterator[Found]:
    for node in walk(tree):
        if not isinstance(node, Call) or node.function != "matches":
            continue
        pattern = node.args[-1]
        if not isinstance(pattern, Const) or not isinstance(pattern.value, str):
            yield node.offset, "The pattern of matches() is not a literal.", 'Write it out, e.g. matches("^ev-").'
        elif len(pattern.value) > limits.regex_chars:
            what = f"The pattern of matches() has {len(pattern.value)} characters; the limit is {limits.regex_chars}."
            yield node.offset, what, "Use startsWith(), contains() or several rules."


def _orderings(tree: Expr) -> Iterator[Found]:
    for node in walk(tree):
        if isinstance(node, Call) and node.function in _ORDERINGS:
            for enum in sorted({enum for arg in node.args if (enum := _enum_of(arg)) is not None}):
                if _short(enum) not in _ORDERED:
                    what = f"The values of {_short(enum)} have no order."
                    yield node.offset, what, "Name those that are meant, with in and a list."


_Field = tuple[str, str]


@dataclass(frozen=True, slots=True)
class _Use:
    """One use of a field that can say UNKNOWN, and whether UNKNOWN could satisfy it unnamed."""

    field: _Field
    select: Select
    accidental: bool
    names_unknown: bool = False


def _unknown_word(select: Expr) -> str | None:
    """How UNKNOWN is written for the field that is read; None where it cannot say so."""
    if not isinstance(select, Select) or select.test_only:
        return None
    if (select.operand.type, select.field) == _LAUNCH_COUNTRY:
        return f'"{UNKNOWN}"'
    if (enum := _enum_of(select)) is not None:
        for value in _POOL.FindEnumTypeByName(enum).values:
            if value.name.endswith(f"_{UNKNOWN}"):
                return f"{_short(enum)}.{value.name}"
    return None


def _constants(expr: Expr) -> tuple[Expr, ...] | None:
    """The constants that a field is compared with; None where that is anything else."""
    if isinstance(expr, ListOf):
        return expr.elements if all(isinstance(element, Const | Ident) for element in expr.elements) else None
    if isinstance(expr, Const) or (isinstance(expr, Ident) and (expr.constant is not None or expr.name == "partner")):
        return (expr,)
    return () if isinstance(expr, Ident) and expr.name.startswith(_COUNTRIES) else None


def _is_unknown(constant: Expr) -> bool:
    if isinstance(constant, Const):
        return constant.value == UNKNOWN
    return isinstance(constant, Ident) and constant.constant is not None and constant.name.endswith(f"_{UNKNOWN}")


def _compared(left: Expr, right: Expr, accidental: bool) -> _Use | None:
    """The use of a field on the left, if it is one that can say UNKNOWN and the right is constant."""
    constants = _constants(right)
    if constants is None or not isinstance(left, Select) or _unknown_word(left) is None:
        return None
    return _Use((left.operand.type, left.field), left, accidental, any(map(_is_unknown, constants)))


def _uses(expr: Expr, sought: bool | None) -> Iterator[_Use]:
    """Uses of fields that can say UNKNOWN. ``sought`` is what the node has to be for the condition to hold; None where
    that is not known."""
    match expr:
        case Call(function="!_", args=(operand,)):
            yield from _uses(operand, None if sought is None else not sought)
            return
        case Call(function="_&&_" | "_||_", args=args):
            for arg in args:
                yield from _uses(arg, sought)
            return
        case Call(function="_?_:_", args=(test, *branches)):
            yield from _uses(test, None)
            for branch in branches:
                yield from _uses(branch, sought)
            return
        case Call(function="_==_" | "_!=_" | "@in" as function, args=(left, right)):
            harmless = sought is (function != "_!=_")
            use = _compared(left, right, not harmless)
            if use is None and function != "@in":
                use = _compared(right, left, not harmless)
            if use is not None:
                yield use
                return
        case Comprehension():
            yield from _uses(expr.loop_step, sought)
            for part in (expr.iter_range, expr.accu_init, expr.loop_condition, expr.result):
                yield from _uses(part, None)
            return
        case Select() if _unknown_word(expr) is not None:
            yield _Use((expr.operand.type, expr.field), expr, accidental=True)
    for child in children(expr):
        yield from _uses(child, None)


def _unknowns(tree: Expr) -> Iterator[Found]:
    uses = list(_uses(tree, True))
    named = {use.field for use in uses if use.names_unknown}
    told: set[_Field] = set()
    for use in uses:
        if use.accidental and use.field not in named | told:
            told.add(use.field)
            word = _unknown_word(use.select)
            what = f'"{use.select.field}" can be UNKNOWN, which would satisfy this by accident.'
            read = _words(use.select)
            remedy = (
                f"To leave UNKNOWN out, add {read} != {word} && (...), or ask with == or in; to count it in, add"
                f" {read} == {word} || ... (in a withhold rule, or under never: to keep it back)."
            )
            yield use.select.offset, what, remedy


def _words(expr: Expr) -> str:
    if isinstance(expr, Select):
        return f"{_words(expr.operand)}.{expr.field}"
    return expr.name if isinstance(expr, Ident) else "..."


def _holds_doubles(type_: str) -> bool:
    """Whether it is a message, or holds doubles among other things."""
    return type_.startswith(f"{_PACKAGE}.") or (type_ != "double" and ("double" in type_ or f"{_PACKAGE}." in type_))


def _many_doubles(tree: Expr) -> Iterator[Found]:
    for node in walk(tree):
        match node:
            case Call(function="_==_" | "_!=_", args=(left, _)) if _holds_doubles(left.type):
                yield (
                    node.offset,
                    "Messages, or lists that hold them or doubles, are compared.",
                    "Compare single values.",
                )
            case Call(function="@in", args=(left, right)) if left.type == "double" or _holds_doubles(right.type):
                yield node.offset, "A double or a message is looked for in a list.", "Use exists() and a comparison."
            case Call(function="string", args=(value,)) if value.type == "double":
                yield node.offset, "string() is asked of a double.", "Compare the number itself."


def _stray_areas(tree: Expr) -> Iterator[Found]:
    for node in walk(tree):
        for child in children(node):
            at_home = isinstance(node, Call) and node.function == "inside" and isinstance(child, Ident)
            if child.type == _AREA and not at_home:
                yield child.offset, "An area stands outside inside().", "Write inside(<position>, areas.<name>)."


def _loop_variables(tree: Expr) -> Iterator[Found]:
    for node in walk(tree):
        if isinstance(node, Comprehension) and (node.iter_var in _OWN_NAMES or node.iter_var.startswith("_")):
            what = f'The variable of the loop is called "{node.iter_var}".'
            yield node.offset, what, "Give it a name that nothing else has, e.g. its first letter."
