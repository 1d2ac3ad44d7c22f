"""Conditions are strict: the checked tree is rewritten so that nothing is true, or false, by accident. No I/O.

CEL absorbs errors (``(1 / x > 0) || true`` is true at x = 0), reads 0 and "" where nothing is (cel-spec, langdef.md,
"Logical Operators" and "Field Selection"), and takes IEEE 754 at its word about NaN (``!(nan > 5.0)`` is true). A rule
that releases because of any of these releases by accident. The rewritten tree is plain CEL for the same library.
Rules, in order:

1. *Sequential.* ``a && b`` is ``a ? b : false``, ``a || b`` is ``a ? true : b``: the left side is evaluated first, its
   error is the error of the whole, and the right side is evaluated only where the left side does not decide. The same
   holds in the loops of ``all``, ``exists``, ``exists_one``, ``filter`` and ``map``: elements are taken in their
   order, ``all`` ends at the first that is false, ``exists`` at the first that is true, an error before that is the
   error of the whole.
2. *What is absent cannot be read.* Reading a field is an error where ``demands`` finds its demand unmet: an optional
   number, a Timestamp, a Duration or another message must be there; so must a text, which is absent where it is "",
   unless it is one of ``OPTIONAL_TEXTS``; these, and lists, need the message that holds them to be there. ``has()``
   reads nothing and so asks safely, behind absent messages as well.
3. *What is unset has no value.* Reading an enum that is 0 (``*_UNSPECIFIED``) is an error.
4. *NaN compares with nothing.* ``==``, ``!=``, ``<``, ``<=``, ``>`` and ``>=`` between doubles are errors where either
   side is NaN. (``policy.condition_rules`` refuses what would compare doubles out of this rule's sight: ``in``,
   equality of lists or messages that hold them, and their text.)
5. *A position is whole.* ``inside(position, areas.x)`` is an error where the latitude or the longitude is absent, NaN
   or out of range.
6. *Constants.* ``countries.x`` becomes the list, and ``areas.x`` the name under which the evaluator finds the area.

All arguments of an operator or function other than these are evaluated; an error in any of them is its error. Which of
several errors is told is not defined.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from google.protobuf.descriptor import FieldDescriptor
from signalfire.v1 import report_pb2

from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf, Select, children

FAIL: Final = "@fail"
"""``@fail(string)``: an error with these words. No officer can write the name."""

INSIDE: Final = "@inside"
"""``@inside(latitude double, longitude double, area string) -> bool``."""

AREAS: Final = "areas."
"""What the variable of an area begins with."""

COUNTRIES: Final = "countries."
"""What the variable of a list of countries begins with."""

COMPARISONS: Final = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_"})

OPTIONAL_TEXTS: Final = frozenset(
    {
        *("Threat.launch_area", "ImpactPrediction.track_id", "Correction.replacement_report_id"),
        *("Correction.explanation", "Cancellation.explanation", "AllClear.explanation"),
    }
)
"""By message and field, the texts of the contract that a complete report may lack: "" says that there is none. Of any
other text it says that whoever passed the report on kept it back."""

_POOL: Final = report_pb2.DESCRIPTOR.pool
_TRUE: Final = Const("bool", 0, True)
_FALSE: Final = Const("bool", 0, False)


@dataclass(frozen=True, slots=True)
class Demand:
    """What must be true of a value or field before it is used.

    ``test`` is a condition of one reading; ``otherwise`` the words of the error where it is false. Two demands of one
    ``key`` are one; ``variable`` is what the key begins with.
    """

    key: str
    variable: str
    test: Expr = field(compare=False)
    otherwise: str = field(compare=False)


def field_of(select: Select) -> FieldDescriptor | None:
    """The contract's field that is read; None where the operand is no message of the contract (a map)."""
    try:
        message = _POOL.FindMessageTypeByName(select.operand.type)
    except KeyError:
        return None
    return message.fields_by_name[select.field]


def is_required_text(read: FieldDescriptor) -> bool:
    """Whether the field is a text that every complete report has."""
    name = f"{read.containing_type.name}.{read.name}" if read.containing_type is not None else read.name
    return read.type == read.TYPE_STRING and not read.is_repeated and name not in OPTIONAL_TEXTS


def path_of(expr: Expr) -> tuple[str, ...] | None:
    """Variable and fields of a plain path such as ``report.track.position``; None for anything else."""
    fields: list[str] = []
    while isinstance(expr, Select) and not expr.test_only:
        fields.append(expr.field)
        expr = expr.operand
    if isinstance(expr, Ident) and expr.constant is None:
        return (expr.name, *reversed(fields))
    return None


def demands(select: Select) -> tuple[Demand, ...]:
    """What reading a field at the end of a plain path demands (rules 2 and 3)."""
    path = path_of(select)
    read = field_of(select)
    if path is None or read is None:
        raise ValueError("only a field at the end of a plain path has demands")
    found = []
    if read.has_presence or is_required_text(read):
        found.append(_present(path, select))
    elif read.enum_type is None and isinstance(select.operand, Select):
        found.append(_present(path[:-1], select.operand))
    if read.enum_type is not None and not read.is_repeated:
        name, test = ".".join(path), Call("bool", 0, "_!=_", (select, Const("int", 0, 0)))
        found.append(Demand(f"{name} != 0", path[0], test, f"{name} is not set"))
    return tuple(found)


def _present(path: tuple[str, ...], select: Select) -> Demand:
    name = ".".join(path)
    return Demand(f"has({name})", path[0], replace(select, type="bool", test_only=True), f"{name} is absent")


def _number(value: Expr, variable: str, name: str) -> Demand:
    """That a plain path or a bound value is not NaN, which alone differs from itself (IEEE 754-2019, 5.11)."""
    path = ".".join(path_of(value) or ())
    return Demand(f"{path} == {path}", variable, Call("bool", 0, "_==_", (value, value)), f"{name} is NaN")


@dataclass(frozen=True, slots=True)
class _Binding:
    """A value that is asked about more than once and so is evaluated once, under a name of its own."""

    name: str
    value: Expr


class _Region:
    """A part of a condition that is evaluated as a whole, and what must be seen to before it, in order.

    ``known`` are the demands that are met whenever the part itself is evaluated.
    """

    def __init__(self, known: frozenset[Demand]) -> None:
        self.known = known
        self.steps: list[Demand | _Binding] = []

    def demand(self, *demanded: Demand) -> None:
        for demand in demanded:
            if demand not in self.known:
                self.known |= {demand}
                self.steps.append(demand)

    def close(self, expr: Expr) -> Expr:
        """The part behind all that comes before it."""
        for step in reversed(self.steps):
            if isinstance(step, _Binding):
                variable = Ident(step.value.type, 0, step.name, None)
                nothing = ListOf(f"list({step.value.type})", 0, ())
                expr = Comprehension(
                    expr.type, 0, "@unused", nothing, step.name, step.value, _FALSE, variable, result=expr
                )
            else:
                fail = Call(expr.type, 0, FAIL, (Const("string", 0, step.otherwise),))
                expr = Call(expr.type, 0, "_?_:_", (step.test, expr, fail))
        return expr


class _Rewriter:
    def __init__(self, countries: Mapping[str, tuple[str, ...]]) -> None:
        self.countries = countries
        self.bindings = 0

    def part(self, expr: Expr, known: frozenset[Demand]) -> tuple[Expr, frozenset[Demand]]:
        """A part that may be evaluated or not, and what is known wherever it was evaluated without an error."""
        region = _Region(known)
        value = self.value(expr, region)
        return region.close(value), region.known

    def lazy(self, expr: Expr, region: _Region) -> Expr:
        """A part that is evaluated only after what comes before it in the region, or not at all."""
        return self.part(expr, region.known)[0]

    def value(self, expr: Expr, region: _Region) -> Expr:
        """A node that is evaluated whenever the region is."""
        match expr:
            case Ident(constant=None, name=name) if name.startswith(COUNTRIES):
                codes = self.countries[name.removeprefix(COUNTRIES)]
                return ListOf(expr.type, expr.offset, tuple(Const("string", expr.offset, code) for code in codes))
            case Const() | Ident():
                return expr
            case Select(test_only=True):
                return replace(expr, operand=self.operand(expr.operand, region))
            case Select():
                select = replace(expr, operand=self.operand(expr.operand, region))
                region.demand(*demands(select))
                return select
            case Call(function="_&&_", args=(left, right)):
                return replace(
                    expr, function="_?_:_", args=(self.value(left, region), self.lazy(right, region), _FALSE)
                )
            case Call(function="_||_", args=(left, right)):
                return replace(expr, function="_?_:_", args=(self.value(left, region), _TRUE, self.lazy(right, region)))
            case Call(function="_?_:_", args=(test, then, otherwise)):
                decided = self.value(test, region)
                return replace(expr, args=(decided, self.lazy(then, region), self.lazy(otherwise, region)))
            case Call(function="inside", args=(position, Ident(name=area))):
                return self.inside(expr, position, area.removeprefix(AREAS), region)
            case Call(function=function, args=(left, right)) if function in COMPARISONS:
                return replace(expr, args=(self.compared(left, region), self.compared(right, region)))
            case Call():
                return replace(expr, args=tuple(self.value(arg, region) for arg in expr.args))
            case ListOf():
                return replace(expr, elements=tuple(self.value(element, region) for element in expr.elements))
            case Comprehension():
                return self.loop(expr, region)
            case _:
                raise ValueError("message and map literals are no part of a condition")

    def operand(self, expr: Expr, region: _Region) -> Expr:
        """What a field is read from, as a plain path: messages on the way are not themselves demanded."""
        if isinstance(expr, Select) and not expr.test_only:
            return replace(expr, operand=self.operand(expr.operand, region))
        return expr if isinstance(expr, Ident) else self.bound(self.value(expr, region), region)

    def bound(self, value: Expr, region: _Region) -> Ident:
        self.bindings += 1
        name = f"@value{self.bindings}"
        region.steps.append(_Binding(name, value))
        return Ident(value.type, value.offset, name, None)

    def compared(self, expr: Expr, region: _Region) -> Expr:
        value = self.value(expr, region)
        if value.type != "double" or isinstance(value, Const):
            return value
        path = path_of(value)
        if path is None:
            bound = self.bound(value, region)
            region.demand(_number(bound, bound.name, "a number that the condition computes"))
            return bound
        region.demand(_number(value, path[0], ".".join(path)))
        return value

    def inside(self, expr: Call, position: Expr, area: str, region: _Region) -> Expr:
        point = self.operand(position, region)
        latitude, longitude = (
            Select("double", expr.offset, point, name, test_only=False) for name in ("latitude_deg", "longitude_deg")
        )
        region.demand(*demands(latitude), *demands(longitude))
        return replace(expr, function=INSIDE, args=(latitude, longitude, Const("string", expr.offset, area)))

    def loop(self, expr: Comprehension, region: _Region) -> Expr:
        over = self.value(expr.iter_range, region)
        start = self.value(expr.accu_init, region)
        hidden = (expr.iter_var, expr.accu_var)
        inner = _Region(frozenset(demand for demand in region.known if demand.variable not in hidden))
        return replace(
            expr,
            iter_range=over,
            accu_init=start,
            loop_condition=self.lazy(expr.loop_condition, inner),
            loop_step=self.lazy(expr.loop_step, inner),
            result=self.lazy(expr.result, inner),
        )


def strict(tree: Expr, countries: Mapping[str, tuple[str, ...]]) -> Expr:
    """The strict form of a condition. Raises ValueError for a tree that ``policy.condition_rules`` would refuse."""
    return _Rewriter(countries).part(tree, frozenset())[0]


def together(trees: Iterable[Expr], countries: Mapping[str, tuple[str, ...]]) -> Expr:
    """The strict forms of several conditions as one list: an error of any of them is the error of the list.

    What one condition demanded need not be asked again by those after it.
    """
    rewriter = _Rewriter(countries)
    known: frozenset[Demand] = frozenset()
    parts = []
    for tree in trees:
        part, known = rewriter.part(tree, known)
        parts.append(part)
    return ListOf("list(bool)", 0, tuple(parts))


def depth(expr: Expr) -> int:
    """Levels of nodes from this one down."""
    return 1 + max(map(depth, children(expr)), default=0)
