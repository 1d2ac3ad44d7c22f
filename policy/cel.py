"""The typed face of Google's CEL: conditions are compiled once, and give true, false or an error. No I/O.

A condition sees four variables: ``report`` (signalfire.v1.Report), ``partner`` (string), ``now`` (timestamp) and
``posture`` (string). Names are looked up in ``signalfire.v1``, so that ``Precedence.PRECEDENCE_FLASH`` is a constant.

Rules, in order:

1. A condition is at most ``Limits.condition_bytes`` bytes.
2. It type-checks against the schema of the report; a field that does not exist is an error here, not at run time.
3. Its type is ``bool``.
4. It keeps the rules of ``policy.condition_rules``.
5. On a report it *holds* only where the library gives a value of type BOOL that is ``True``. The library gives
   evaluation errors back as values of type ERROR that Python takes for true; these, and what it raises, become
   ``EvaluationError``.

What CEL itself says about errors stands: ``a || b`` is true where one side is true and the other fails, ``a && b``
false where one side is false (cel-spec, langdef.md, "Logical Operators"). Each condition is evaluated by itself, so
that no condition absorbs the error of another. The library bounds iteration, and its regular expressions are RE2:
no report can make a condition run long.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NewType

from cel_expr_python import cel
from google.protobuf.descriptor import Descriptor, EnumDescriptor
from signalfire.v1 import report_pb2

from policy import checked, condition_rules
from policy.errors import ConditionError, EvaluationError, Fault, did_you_mean
from policy.limits import DEFAULT_LIMITS, Limits
from policy.vocabulary import Kind

_CONTAINER: Final = "signalfire.v1"
_POOL: Final = report_pb2.DESCRIPTOR.pool
_ENVIRONMENT: Final = cel.NewEnv(
    _POOL,
    variables={
        "report": cel.Type("signalfire.v1.Report"),
        "partner": cel.Type.STRING,
        "now": cel.Type.TIMESTAMP,
        "posture": cel.Type.STRING,
    },
    container=_CONTAINER,
)
_FUNCTIONS: Final = (
    *("all", "exists", "exists_one", "filter", "has", "map", "size"),
    *("contains", "endsWith", "matches", "startsWith", "duration", "timestamp"),
)
_VARIABLES: Final = ("report", "partner", "now", "posture")
_ENUMS: Final[dict[str, EnumDescriptor]] = dict(report_pb2.DESCRIPTOR.enum_types_by_name)
_CONSTANTS: Final = {value: f"{name}.{value}" for name, enum in _ENUMS.items() for value in enum.values_by_name}

_LIBRARY_ERRORS: Final = (RuntimeError, ValueError, TypeError, LookupError, ArithmeticError)
"""What the library raises: pybind11's translations of C++ exceptions and of failed casts."""

Facts = NewType("Facts", cel.Activation)
"""What a condition is evaluated on."""


def facts(report: report_pb2.Report, partner: str, now: datetime, posture: str) -> Facts:
    """Binds the four variables, once for all the conditions of a decision. ``now`` carries its time zone."""
    return Facts(_ENVIRONMENT.Activation({"report": report, "partner": partner, "now": now, "posture": posture}))


@dataclass(frozen=True, slots=True)
class Condition:
    """A compiled condition.

    ``tree`` is what the type checker made of it; ``reads_now`` says whether it asks for the time.
    """

    text: str
    tree: checked.Expr
    reads_now: bool
    _expression: cel.Expression

    def holds(self, facts: Facts) -> bool:
        """Whether the condition is true of these facts. Raises EvaluationError where it is neither true nor false."""
        try:
            value = self._expression.eval(facts)
            type_, result = value.type(), value.value()
        except _LIBRARY_ERRORS as error:
            raise EvaluationError(_plain_words(str(error))) from error
        if type_ == cel.Type.BOOL and isinstance(result, bool):
            return result
        raise EvaluationError(_plain_words(str(result)))


def compile_condition(text: str, kinds: Iterable[Kind], limits: Limits = DEFAULT_LIMITS) -> Condition:
    """Compiles a condition of a rule for these kinds of report. Raises ConditionError with every fault found."""
    size = len(text.encode())
    if size > limits.condition_bytes:
        what = f"The condition has {size:,} bytes; the limit is {limits.condition_bytes:,}."
        raise ConditionError([Fault(what, "Split it over several rules, or raise the limit condition_bytes.")])
    if not text.strip():
        remedy = 'Write one, or take the key "when" out: then the rule always matches.'
        raise ConditionError([Fault("The condition is empty.", remedy)])
    try:
        expression = _ENVIRONMENT.compile(text)
    except _LIBRARY_ERRORS as error:
        raise ConditionError(_compile_faults(text, str(error))) from error
    if expression.return_type().name() != "BOOL":
        what = f"The condition gives a {expression.return_type().name().lower()}, not true or false."
        raise ConditionError([Fault(what, "Compare it with something, e.g. with ==.", 1)])
    tree = checked.decode(expression.serialize())
    faults = [*condition_rules.faults(tree, text, kinds, limits), *_literal_faults(tree, text)]
    if faults:
        raise ConditionError(faults)
    reads_now = any(isinstance(node, checked.Ident) and node.name == "now" for node in checked.walk(tree))
    return Condition(text, tree, reads_now, expression)


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
_NO_OVERLOAD = re.compile(r"found no matching overload for '(.+)' applied to '(?:[\w.()]+\.)?\((.*)\)'")


def _compile_faults(text: str, message: str) -> list[Fault]:
    found = [(int(line), int(column), words) for line, column, words in _REPORTED.findall(message)]
    if not found:
        return [Fault(_sentence(_plain_words(message)), "Simplify the condition.", 1)]
    faults = (_compile_fault(text, max(line, 1), max(column, 0), _plain_words(words)) for line, column, words in found)
    return list(dict.fromkeys(faults))


def _compile_fault(text: str, line: int, column: int, words: str) -> Fault:
    rows = text.split("\n")
    row = rows[line - 1] if line <= len(rows) else ""
    if match := _NO_FIELD.search(words):
        field, struct = match.groups()
        known = _fields_of(struct)
        return Fault(f'{struct.rpartition(".")[2]} has no field "{field}".', did_you_mean(field, known), line, column)
    if match := _UNDECLARED.search(words):
        name = match.group(1)
        if name in _CONSTANTS:
            return Fault(f'"{name}" stands alone.', f'Write "{_CONSTANTS[name]}".', line, column)
        if name in report_pb2.Report.DESCRIPTOR.fields_by_name:
            return Fault(f'"{name}" stands alone.', f'Write "report.{name}".', line, column)
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
        return Fault(
            f'"{operator}" does not go with {" and ".join(operands)}.', _overload_remedy(operands), line, column
        )
    if "recursion" in words:
        return Fault(_sentence(words), "Use fewer operators, e.g. with in and a list, or several rules.", line)
    short = words.partition(" expecting ")[0].removeprefix("Syntax error: ")
    return Fault(_sentence(short), "See the examples of conditions in docs/policy.md.", line, column)


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
