"""The parts of a condition, and what each says of a report. Pure: no I/O.

A condition is taken apart at ``&&``, ``||``, ``!`` and ``?:``; what is left are *leaves*: comparisons, calls, loops.
Rules, in order:

1. Each part is evaluated by itself, in the strict form in which the whole is (``policy.strict``), so that what is told
   of it is what the decision saw.
2. Parts are asked as the whole asks them: from left to right, and not beyond the one that decides.
3. Of a leaf the values are shown that it reads of the report and of its circumstances; what is bound inside a loop is
   not one of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from signalfire.v1 import report_pb2

from policy import cel, checked, strict, values
from policy.checked import Call, Comprehension, Expr, Ident, Select
from policy.decision import Circumstances
from policy.errors import EvaluationError

_LITERALS: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"""|\'\'\'(?:\\.|[^\\])*?\'\'\'|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'|//[^\n]*', re.DOTALL
)


class Verdict(StrEnum):
    """What a part says."""

    TRUE = "true"
    FALSE = "false"
    ERROR = "error"
    NOT_ASKED = "not asked"
    """What stands before it had decided."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a leaf read: the name under which it is written, and the value as text; None: nothing is there."""

    name: str
    shown: str | None

    def __str__(self) -> str:
        return f"{self.name} is {'not there' if self.shown is None else self.shown}"


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a condition and what it says. ``operator`` is what joins its ``parts``; empty for a leaf."""

    text: str
    verdict: Verdict
    operator: str = ""
    error: str = ""
    values: tuple[Value, ...] = ()
    parts: tuple[Part, ...] = ()

    def causes(self) -> tuple[Part, ...]:
        """The leaves that make it say what it says."""
        deciding = tuple(part for part in self.parts if part.verdict is not Verdict.NOT_ASKED)
        if not deciding:
            return (self,)
        if self.operator == "!":
            return deciding[0].causes()
        if self.operator == "?:":
            return tuple(cause for part in deciding for cause in part.causes())
        alike = [part for part in deciding if part.verdict is self.verdict]
        if self.verdict is Verdict.ERROR or len(alike) < len(deciding):
            alike = alike[-1:]
        return tuple(cause for part in alike for cause in part.causes())


@dataclass(frozen=True, slots=True)
class Asked:
    """What the parts of a condition are asked about."""

    language: cel.Language
    report: report_pb2.Report
    partner: str
    circumstances: Circumstances


def parts_of(condition: cel.Condition, asked: Asked) -> Part:
    """Takes a condition apart and asks each part."""
    masked = _LITERALS.sub(lambda match: "_" * len(match.group()), condition.text)
    facts = asked.language.facts(asked.report, asked.partner, asked.circumstances.now, asked.circumstances.posture)
    return _Parts(condition.text, masked, asked, facts).part(condition.tree, 0, len(condition.text))


@dataclass(frozen=True, slots=True)
class _Parts:
    text: str
    masked: str
    asked: Asked
    facts: cel.Facts

    def part(self, expr: Expr, start: int, end: int) -> Part:
        start, end = self.trimmed(start, end)
        text = " ".join(self.text[start:end].split())
        match expr:
            case Call(function="_&&_"):
                return self.joined(text, "&&", self.operands(expr, "_&&_", start, end))
            case Call(function="_||_"):
                return self.joined(text, "||", self.operands(expr, "_||_", start, end))
            case Call(function="!_", args=(operand,)):
                inner = self.part(operand, expr.offset + 1, end)
                return Part(text, _opposite(inner.verdict), "!", inner.error, parts=(inner,))
            case Call(function="_?_:_", args=(test, then, otherwise)) if expr.type == "bool":
                colon = self.colon(expr.offset + 1)
                first = self.part(test, start, expr.offset)
                if first.verdict is Verdict.ERROR:
                    return Part(text, Verdict.ERROR, "?:", first.error, parts=(first,))
                taken = (
                    self.part(then, expr.offset + 1, colon)
                    if first.verdict is Verdict.TRUE
                    else self.part(otherwise, colon + 1, end)
                )
                return Part(text, taken.verdict, "?:", taken.error, parts=(first, taken))
            case _:
                return self.leaf(expr, text)

    def joined(self, text: str, operator: str, operands: list[tuple[Expr, int, int]]) -> Part:
        """Asks the operands until one decides."""
        last = Verdict.FALSE if operator == "&&" else Verdict.TRUE
        verdict, error = (Verdict.TRUE if operator == "&&" else Verdict.FALSE), ""
        parts: list[Part] = []
        for operand, start, end in operands:
            if verdict in (last, Verdict.ERROR):
                begin, stop = self.trimmed(start, end)
                parts.append(Part(" ".join(self.text[begin:stop].split()), Verdict.NOT_ASKED))
                continue
            part = self.part(operand, start, end)
            parts.append(part)
            verdict, error = part.verdict, part.error
        return Part(text, verdict, operator, error, parts=tuple(parts))

    def operands(self, expr: Expr, function: str, start: int, end: int) -> list[tuple[Expr, int, int]]:
        """The operands of a chain of one operator, each with the range of the text that it stands in."""
        start, end = self.trimmed(start, end)
        if not isinstance(expr, Call) or expr.function != function:
            return [(expr, start, end)]
        left, right = expr.args
        return [
            *self.operands(left, function, start, expr.offset),
            *self.operands(right, function, expr.offset + 2, end),
        ]

    def leaf(self, expr: Expr, text: str) -> Part:
        found = tuple(self.values(expr))
        timeless = any(isinstance(node, Ident) and node.name == "now" for node in checked.walk(expr))
        if timeless and not self.asked.circumstances.clock_trusted:
            words = "it asks for now while the clock is not trusted"
            return Part(text, Verdict.ERROR, error=words, values=found)
        try:
            holds = self.asked.language.part(text, expr).holds(self.facts)
        except EvaluationError as error:
            return Part(text, Verdict.ERROR, error=str(error), values=found)
        return Part(text, Verdict.TRUE if holds else Verdict.FALSE, values=found)

    def values(self, expr: Expr) -> Iterator[Value]:
        seen: set[str] = set()
        for path in _paths(expr):
            name = ".".join(path)
            if name not in seen:
                seen.add(name)
                yield Value(name, self.shown(path))

    def shown(self, path: tuple[str, ...]) -> str | None:
        asked = self.asked
        match path:
            case ("report", *fields) if fields:
                return values.shown(asked.report, ".".join(fields))
            case ("partner",):
                return f'"{asked.partner}"'
            case ("posture",):
                return f'"{asked.circumstances.posture}"'
            case ("now",):
                return asked.circumstances.now.isoformat()
            case (name,) if name.startswith(strict.COUNTRIES):
                codes = asked.language.vocabulary.countries[name.removeprefix(strict.COUNTRIES)]
                return f"[{', '.join(codes)}]"
            case _:
                return ".".join(path)

    def trimmed(self, start: int, end: int) -> tuple[int, int]:
        """The range without the space and the brackets around it."""
        while True:
            while start < end and self.text[start].isspace():
                start += 1
            while start < end and self.text[end - 1].isspace():
                end -= 1
            if start < end and self.masked[start] == "(" and self.closing(start) == end - 1:
                start, end = start + 1, end - 1
            else:
                return start, end

    def closing(self, opening: int) -> int:
        depth = 0
        for place in range(opening, len(self.masked)):
            depth += {"(": 1, ")": -1}.get(self.masked[place], 0)
            if not depth:
                return place
        return -1

    def colon(self, after: int) -> int:
        """Where the ``:`` of the ``?`` before ``after`` stands."""
        depth = 0
        for place in range(after, len(self.masked)):
            character = self.masked[place]
            depth += {"(": 1, "[": 1, "?": 1, ")": -1, "]": -1}.get(character, 0)
            if character == ":":
                if not depth:
                    return place
                depth -= 1
        return len(self.masked)


def _opposite(verdict: Verdict) -> Verdict:
    return {Verdict.TRUE: Verdict.FALSE, Verdict.FALSE: Verdict.TRUE}.get(verdict, verdict)


def _paths(expr: Expr) -> Iterator[tuple[str, ...]]:
    """The plain paths that are read, but for those that begin at what a loop binds."""
    if isinstance(expr, Select) and (path := strict.path_of(expr.operand)) is not None:
        if not path[0].startswith(strict.AREAS):
            yield (*path, expr.field)
        return
    if isinstance(expr, Ident):
        if expr.constant is None and not expr.name.startswith(strict.AREAS):
            yield (expr.name,)
        return
    if isinstance(expr, Comprehension):
        yield from _paths(expr.iter_range)
        bound = (expr.iter_var, expr.accu_var)
        for inner in (expr.loop_condition, expr.loop_step):
            yield from (path for path in _paths(inner) if path[0] not in bound)
        return
    for child in checked.children(expr):
        yield from _paths(child)
