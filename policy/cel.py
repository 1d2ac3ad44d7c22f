"""The typed face of Google's CEL: conditions are compiled once, and give true, false or an error. No I/O.

A condition sees ``report`` (signalfire.v1.Report), ``partner`` (string), ``now`` (timestamp), ``posture`` (string),
the bundle's ``countries.<name>`` (list of strings) and ``areas.<name>``, and the function ``inside(position, area)``.
Names are looked up in ``signalfire.v1``, so that ``Precedence.PRECEDENCE_FLASH`` is a constant.

Rules, in order:

1. A condition is at most ``Limits.condition_bytes`` bytes.
2. It type-checks against the schema of the report and the vocabulary of the bundle; a field, a list of countries or an
   area that does not exist is an error here, not at run time.
3. Its type is ``bool``.
4. It keeps the rules of ``policy.condition_rules``.
5. What is evaluated is its strict form (``policy.strict``): sequential, and with an error wherever something absent,
   unset or NaN is asked for.
6. On a report it *holds* only where the library gives ``True`` itself. The library gives evaluation errors back as
   values of a type of their own that Python takes for true; these, and what it raises, become ``EvaluationError``.

Conditions that are asked together are *fused* into one list, which is one evaluation instead of many. An error in any
of them is the error of the list: fusing absorbs nothing, it only does not tell whose error it was.

The library bounds iteration, and its regular expressions are RE2: no report can make a condition run long.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, NewType

from cel_expr_python import cel
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from google.protobuf.message import DecodeError
from signalfire.v1 import report_pb2

from policy import checked, condition_rules, condition_slips, strict
from policy.areas import Area
from policy.errors import ConditionError, EvaluationError, Fault, did_you_mean
from policy.limits import DEFAULT_LIMITS, Limits
from policy.vocabulary import Kind

_CONTAINER: Final = "signalfire.v1"
_POOL: Final = report_pb2.DESCRIPTOR.pool
_VARIABLES: Final = {
    "report": cel.Type("signalfire.v1.Report"),
    "partner": cel.Type.STRING,
    "now": cel.Type.TIMESTAMP,
    "posture": cel.Type.STRING,
}
_AREA: Final = cel.Type.AbstractType("area")
_POSITION: Final = cel.Type("signalfire.v1.Position")
_FUNCTIONS: Final = (
    *("all", "exists", "exists_one", "filter", "has", "map", "size", "inside"),
    *("contains", "endsWith", "matches", "startsWith", "duration", "timestamp"),
)
_ENUMS: Final[dict[str, EnumDescriptor]] = dict(report_pb2.DESCRIPTOR.enum_types_by_name)
_CONSTANTS: Final = {value: f"{name}.{value}" for name, enum in _ENUMS.items() for value in enum.values_by_name}
_LEVELS: Final = 45
"""Levels of a strict tree. The library reads at most 100 levels of nested messages back, two for each node."""

_TOO_DEEP: Final = Fault(
    "The condition is nested too deeply.", "Use fewer brackets and loops inside one another, or several rules.", 1
)

_LIBRARY_ERRORS: Final = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)
"""What the library raises: pybind11's translations of C++ exceptions and of failed casts."""

_BOOLS: Final = frozenset({bool})

Facts = NewType("Facts", tuple[cel.Activation | None, Mapping[str, object] | None])
"""What conditions are evaluated on: the variables of the language, as the library takes them."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    ``tree`` is what the type checker made of it, before it was made strict; ``reads_now`` says whether it asks for the
    time, and ``reads_partner`` whether it asks who the partner is.
    """

    text: str
    tree: checked.Expr = field(repr=False)
    reads_now: bool
    reads_partner: bool
    _expression: cel.Expression = field(repr=False, compare=False)

    def holds(self, facts: Facts) -> bool:
        """Whether the condition is true of these facts. Raises EvaluationError where it is neither true nor false."""
        try:
            result = self._expression.eval(*facts).value()
        except _LIBRARY_ERRORS as error:
            raise EvaluationError(_plain_words(str(error))) from error
        if isinstance(result, bool):
            return result
        raise EvaluationError(_plain_words(str(result)))


@dataclass(frozen=True, slots=True)
class Fused:
    """Several conditions as one expression."""

    _expression: cel.Expression
    _count: int

    def evaluate(self, facts: Facts) -> list[bool] | None:
        """Whether each of the conditions holds, in their order.

        None: some condition errs, or all together ask for more than the library allows one expression; what each of
        them says is then for ``Condition.holds``.
        """
        try:
            values = self._expression.eval(*facts).plain_value()
        except _LIBRARY_ERRORS:
            return None
        if not isinstance(values, list) or len(values) != self._count or not _BOOLS.issuperset(map(type, values)):
            return None
        return values


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """What the conditions of a bundle may name beside the report: lists of country codes, and areas.

    Names are CEL identifiers. Where ``is_whole`` is false, not all of them could be read: a condition that names
    another one is refused without a fault of its own, for the fault is where it should have been read.
    """

    countries: Mapping[str, tuple[str, ...]]
    areas: Mapping[str, Area]
    is_whole: bool = True


class Language:
    """The language of one bundle's conditions. A condition belongs to the language that compiled it."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary: Final = vocabulary
        self._contains: Final = {name: area.contains for name, area in vocabulary.areas.items()}
        countries = {strict.COUNTRIES + name: cel.Type.List(cel.Type.STRING) for name in vocabulary.countries}
        areas = dict.fromkeys((strict.AREAS + name for name in vocabulary.areas), _AREA)
        self._environment: Final = cel.NewEnv(
            _POOL,
            variables={**_VARIABLES, **countries, **areas},
            container=_CONTAINER,
            functions=[
                _function("inside", [_POSITION, _AREA], None),
                _function(strict.INSIDE, [cel.Type.DOUBLE, cel.Type.DOUBLE, cel.Type.STRING], self._inside),
                _function(strict.FAIL, [cel.Type.STRING], _fail),
            ],
        )
        self._compiled: Final[dict[tuple[str, tuple[Kind, ...], Limits], Condition]] = {}
        self._fused: Final[dict[tuple[str, ...], Fused]] = {}

    def facts(
        self, report: report_pb2.Report, partner: str | None, now: datetime, posture: str, *, often: bool = False
    ) -> Facts:
        """Binds the four variables, once for all the conditions of a decision. ``now`` carries its time zone.

        ``partner`` None: for conditions that do not ask who it is; one that does is an error on these facts. ``often``:
        they are evaluated on more than once, so that it pays to hand the report over to the library ahead.
        """
        bound: dict[str, object] = {"report": report, "now": now, "posture": posture}
        if partner is not None:
            bound["partner"] = partner
        return Facts((self._environment.Activation(bound), None) if often else (None, bound))

    def compile(self, text: str, kinds: Iterable[Kind], limits: Limits = DEFAULT_LIMITS) -> Condition:
        """Compiles a condition of a rule for these kinds of report. Raises ConditionError with every fault found."""
        key = (text, tuple(kinds), limits)
        if (known := self._compiled.get(key)) is None:
            known = self._compiled[key] = self._compile(*key)
        return known

    def fuse(self, conditions: Sequence[Condition]) -> Fused:
        """Conditions of this language as one expression."""
        texts = tuple(condition.text for condition in conditions)
        if (fused := self._fused.get(texts)) is None:
            together = strict.together([condition.tree for condition in conditions], self.vocabulary.countries)
            fused = self._fused[texts] = Fused(self._environment.deserialize(checked.encode(together)), len(texts))
        return fused

    def part(self, text: str, tree: checked.Expr) -> Condition:
        """A part of a condition of this language as a condition by itself, to say which part failed.

        ``tree`` is a node of the condition's tree, of type bool and outside all loops, and ``text`` how it is written.
        """
        return self._condition(text, tree, strict.strict(tree, self.vocabulary.countries))

    def _inside(self, latitude_deg: float, longitude_deg: float, area: str) -> bool:
        return self._contains[area](latitude_deg, longitude_deg)

    def _compile(self, text: str, kinds: tuple[Kind, ...], limits: Limits) -> Condition:
        size = len(text.encode())
        if size > limits.condition_bytes:
            what = f"The condition has {size:,} bytes; the limit is {limits.condition_bytes:,}."
            raise ConditionError([Fault(what, "Shorten it, or split it over several rules.")])
        if not text.strip():
            remedy = 'Write one, or take the key "when" out: then the rule always matches.'
            raise ConditionError([Fault("The condition is empty.", remedy)])
        try:
            expression = self._environment.compile(text)
        except _LIBRARY_ERRORS as error:
            raise ConditionError(_compile_faults(text, str(error), self.vocabulary)) from error
        if expression.return_type().name() != "BOOL":
            what = f"The condition gives a {expression.return_type().name().lower()}, not true or false."
            raise ConditionError([Fault(what, "Compare it with something, e.g. with ==.", 1)])
        try:
            tree = checked.decode(expression.serialize())
        except DecodeError as error:
            raise ConditionError([_TOO_DEEP]) from error
        faults = [*condition_rules.faults(tree, text, kinds, limits), *_literal_faults(tree, text)]
        if faults:
            raise ConditionError(faults)
        rewritten = strict.strict(tree, self.vocabulary.countries)
        if strict.depth(rewritten) > _LEVELS:
            raise ConditionError([_TOO_DEEP])
        return self._condition(text, tree, rewritten)

    def _condition(self, text: str, tree: checked.Expr, rewritten: checked.Expr) -> Condition:
        names = {node.name for node in checked.walk(tree) if isinstance(node, checked.Ident)}
        expression = self._environment.deserialize(checked.encode(rewritten))
        return Condition(text, tree, "now" in names, "partner" in names, expression)


def _function(name: str, takes: list[cel.Type], run: Callable[..., bool] | None) -> cel.FunctionDecl:
    return cel.FunctionDecl(name, [cel.Overload(name, cel.Type.BOOL, takes, False, run)])


def _fail(words: str) -> bool:
    raise ValueError(words)


EMPTY: Final = Language(Vocabulary({}, {}))
"""The language of a bundle that names no countries and no areas."""


_LITERALS: Final = cel.NewEnv(_POOL, variables={"text": cel.Type.STRING})
_LITERAL_TESTS: Final = {
    "matches": (_LITERALS.compile('"".matches(text)'), "a regular expression (RE2 syntax)"),
    "timestamp": (_LITERALS.compile("timestamp(text)"), 'a time, e.g. "2023-12-19T00:00:00Z"'),
    "duration": (_LITERALS.compile("duration(text)"), 'a duration, e.g. "90s"'),
}


def _literal_faults(tree: checked.Expr, text: str) -> list[Fault]:
    """Literals that would fail on every report are found now."""
    faults = []
    for node in checked.walk(tree):
        if not isinstance(node, checked.Call) or node.function not in _LITERAL_TESTS:
            continue
        argument = node.args[-1]
        if isinstance(argument, checked.Const) and isinstance(argument.value, str):
            test, meant = _LITERAL_TESTS[node.function]
            if test.eval(data={"text": argument.value}).type().name() == "ERROR":
                what = f'"{argument.value}" is not {meant}.'
                faults.append(condition_rules.fault_at(text, argument.offset, what, "Mend it."))
    return faults


def _plain_words(message: str) -> str:
    """The library's message without its status words: ``INVALID_ARGUMENT: divide by zero`` gives the latter part."""
    first = message.partition("\n")[0]
    return re.sub(r"^[A-Z_]+: |\s*\[[A-Z_]+\]$", "", first)


_REPORTED = re.compile(r"^(?:[A-Z_]+: )?ERROR: <input>:(-?\d+):(-?\d+): (.*)$", re.MULTILINE)
_NO_FIELD = re.compile(r"undefined field '(.+)' not found in struct '(.+)'")
_UNDECLARED = re.compile(r"undeclared reference to '(.+?)'")
_FOREIGN = re.compile(r"^Syntax error|undeclared reference to '(?i:and|or|not)'")
_OWN_VOCABULARY = re.compile(r"undeclared reference to '(?:countries|areas)[.']")
_NO_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '(?:[\w.()]+\.)?\((.*)\)'")


def _compile_faults(text: str, message: str, vocabulary: Vocabulary) -> list[Fault]:
    found = [(int(line), int(column), words) for line, column, words in _REPORTED.findall(message)]
    if not found:
        return [Fault(_sentence(_plain_words(message)), "Simplify the condition.", 1)]
    if any(_FOREIGN.search(words) for _, _, words in found):
        foreign = list(condition_slips.foreign_operators(text))
        if foreign:
            return foreign
    faults = (
        _compile_fault(text, max(line, 1), max(column, 0), _plain_words(words), vocabulary)
        for line, column, words in found
        if vocabulary.is_whole or not _OWN_VOCABULARY.search(words)
    )
    return list(dict.fromkeys(faults))


def _compile_fault(text: str, line: int, column: int, words: str, vocabulary: Vocabulary) -> Fault:
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    if match := _NO_FIELD.search(words):
        field, struct = match.groups()
        known = _fields_of(struct)
        return Fault(f'{struct.rpartition(".")[2]} has no field "{field}".', did_you_mean(field, known), line, column)
    if match := _UNDECLARED.search(words):
        name = match.group(1)
        if (named := _named(name, vocabulary)) is not None:
            return Fault(*named, line, column)
        if name in _CONSTANTS:
            return Fault(f'"{name}" stands alone.', f'Write "{_CONSTANTS[name]}".', line, column)
        if name.partition(".")[0] in report_pb2.Report.DESCRIPTOR.fields_by_name:
            return Fault(f'"{name}" stands alone.', f'Write "report.{name}".', line, column)
        if (meant := condition_slips.meant_by(name)) is not None:
            return Fault(f'There is no "{name}" here.', meant, line, column)
        return Fault(
            f'There is no "{name}" here.', did_you_mean(name, [*_VARIABLES, *_ENUMS, *_FUNCTIONS]), line, column
        )
    before = re.search(r"(\w+)$", row[: max(column - 1, 0)])
    after = re.match(r"\.(\w+)", row[max(column - 1, 0) :])
    if before and after and before.group(1) in _ENUMS:
        enum, value = before.group(1), after.group(1)
        known = list(_ENUMS[enum].values_by_name)
        return Fault(f'{enum} has no value "{value}".', did_you_mean(value, known), line, column)
    if match := _NO_OVERLOAD.search(words):
        operator, operands = match.group(1).strip("_@"), [part.strip() for part in match.group(2).split(",")]
        if operator == "inside":
            what = f"inside() does not go with {' and '.join(operands)}."
            remedy = "Write a position and an area, e.g. inside(report.track.position, areas.<name>)."
            return Fault(what, remedy, line, column)
        if (beside := condition_slips.enum_beside_text(row, column)) is not None:
            return Fault(*beside, line, column)
        return Fault(
            f'"{operator}" does not go with {" and ".join(operands)}.', _overload_remedy(operands), line, column
        )
    if "recursion" in words:
        return Fault(_sentence(words), "Use fewer operators, e.g. with in and a list, or several rules.", line)
    short = words.partition(" expecting ")[0].removeprefix("Syntax error: ")
    return Fault(_sentence(short), "See the examples of conditions in docs/policy.md.", line, column)


def _named(name: str, vocabulary: Vocabulary) -> tuple[str, str] | None:
    """What is wrong with a name of the bundle's own vocabulary; None where it is no such name."""
    for prefix, thing, known in (
        (strict.COUNTRIES, "list of countries", vocabulary.countries),
        (strict.AREAS, "area", vocabulary.areas),
    ):
        if name == prefix.removesuffix("."):
            return f'"{name}" stands alone.', f"Name the {thing}. {did_you_mean('', known)}"
        if name.startswith(prefix):
            short = name.removeprefix(prefix)
            return f'policy.yaml has no {thing} "{short}".', did_you_mean(short, known)
    return None


def _overload_remedy(operands: list[str]) -> str:
    if "int" in operands and "double" in operands:
        return "Write the whole number with a point, e.g. 3.0."
    if "int" in operands and "uint" in operands:
        return "Write the whole number with a u, e.g. 5u."
    return "Both sides must be of one type."


def _fields_of(message: str) -> list[str]:
    try:
        found: Descriptor = _POOL.FindMessageTypeByName(message)
    except KeyError:
        return []
    return list(found.fields_by_name)


def _sentence(words: str) -> str:
    words = words.strip().rstrip(".")
    return f"{words[:1].upper()}{words[1:]}."
