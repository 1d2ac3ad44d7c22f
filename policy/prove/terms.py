"""A checked condition as z3 terms: of every node whether it errs, and its value. The meaning is that of the strict
conditions that are evaluated (``policy.strict``); nothing that is true of a report is lost, so what is proved holds.

Rules, in order:

1. *Three values.* A condition holds, does not hold, or errs. ``a && b`` errs where a errs, or a is true and b errs;
   ``a || b`` likewise; ``?:`` errs where its test or the chosen side errs; any other node where a part of it errs.
2. *Reading* an absent number, time, message or part of an absent message, a text that the contract requires and that
   is "", or an enum that is 0, errs (``policy.strict``, rules 2 and 3). ``has()`` errs nowhere.
3. *Doubles* are IEEE 754 binary64, rounded to nearest even: z3's floating-point theory, never the reals. A comparison
   that meets NaN errs.
4. *Whole numbers* are mathematical, and err where the result leaves 64 bits, or a divisor is 0. Quotients are
   truncated, remainders have the sign of the dividend (cel-spec, langdef.md, "Numeric Values").
5. *Texts* are z3's: sequences of code points. Equality, length and parts depend on no more than which characters
   are equal, so that the characters beyond U+2FFFF, which z3 lacks, are stood for by others. Order is not modelled.
6. *Times and durations* are whole nanoseconds. A sum or difference that is more than 64 bits of nanoseconds, or
   outside the years 1 to 9999, may err or be anything.
7. *Lists of texts* are the set of their entries, and their length. ``exists`` and ``all`` over nothing but comparisons
   of the entry with literals are membership. Over an empty list they are false and true.
8. ``inside(p, areas.x)`` is a function of latitude and longitude of which nothing is known but its geometry's name;
   ``matches(p)`` one of the text.
9. *Whatever else* is a fresh truth, number or text, with a fresh error, named after its structure: the same text means
   the same in every rule, of both bundles of a comparison, and nothing more is known of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import z3

from policy.areas import Area
from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf, Select, Struct
from policy.prove import literals
from policy.prove.solver import DOUBLE, FALSE, ROUND, every, no, some, text
from policy.prove.subject import LEAST_INT, MOST_INT, MOST_UINT, Sort, Subject, in_range, sort_of, variable
from policy.prove.validity import field_at
from policy.strict import AREAS, COUNTRIES, field_of, is_required_text, path_of
from policy.vocabulary import Posture

_SORTS: Final[Mapping[str, Sort]] = {
    "bool": "bool",
    "int": "int",
    "uint": "uint",
    "double": "double",
    "string": "string",
    "timestamp": "timestamp",
    "duration": "duration",
}
_YEAR_1_NS: Final = -62_135_596_800 * 1_000_000_000
_LAST_NS: Final = 253_402_300_800 * 1_000_000_000 - 1


@dataclass(frozen=True, slots=True)
class Term:
    """A node: whether it errs, and its value where it does not. ``value`` is None for messages and lists."""

    error: z3.BoolRef
    value: z3.ExprRef | None


@dataclass(frozen=True, slots=True)
class Truth:
    """A condition: whether it errs, and whether it is true where it does not."""

    error: z3.BoolRef
    value: z3.BoolRef

    @property
    def holds(self) -> z3.BoolRef:
        """True, and no error."""
        return every([no(self.error), self.value])


class Terms:
    """Encodes conditions of one bundle about one symbolic report.

    ``countries`` and ``areas`` are the bundle's own: two bundles may mean different things by one name. ``posture`` is
    the one in force under the bundle; without it the subject's own.
    """

    def __init__(
        self,
        subject: Subject,
        countries: Mapping[str, tuple[str, ...]],
        areas: Mapping[str, Area],
        posture: Posture | None = None,
    ) -> None:
        self.subject = subject
        self.fixed_posture = posture
        self.posture = subject.posture if posture is None else text(posture)
        self.countries = countries
        self.areas = areas
        self._encoded: dict[str, Term] = {}

    def condition(self, tree: Expr) -> Truth:
        """The condition as a whole."""
        term = self.term(tree)
        if not isinstance(term.value, z3.BoolRef):
            raise TypeError("a condition is a truth")
        return Truth(term.error, term.value)

    def structure(self, expr: Expr) -> str:
        """The node in words that are the same exactly where the meaning is: names of lists and areas are replaced by
        what they stand for."""
        match expr:
            case Const(type=type_, value=value):
                return f"{type_}:{value!r}"
            case Ident(constant=int(constant)):
                return f"int:{constant}"
            case Ident(name=name) if name.startswith(COUNTRIES):
                return repr(self.countries[name.removeprefix(COUNTRIES)])
            case Ident(name=name) if name.startswith(AREAS):
                return self.geometry(name)
            case Ident(name="posture") if self.fixed_posture is not None:
                return f"string:{str(self.fixed_posture)!r}"
            case Ident(name=name):
                return name
            case Select(operand=operand, field=field, test_only=test_only):
                return f"{'?' if test_only else ''}{self.structure(operand)}.{field}"
            case Call(function=function, args=args):
                return f"{function}({', '.join(map(self.structure, args))})"
            case ListOf(elements=elements):
                return f"[{', '.join(map(self.structure, elements))}]"
            case Comprehension():
                parts = (expr.iter_range, expr.accu_init, expr.loop_condition, expr.loop_step, expr.result)
                return f"fold({expr.iter_var}, {expr.accu_var}, {', '.join(map(self.structure, parts))})"
            case Struct():
                raise ValueError("message and map literals are no part of a condition")

    def geometry(self, name: str) -> str:
        """What an area is, whatever it is called."""
        geometry = self.areas[name.removeprefix(AREAS)].geometry
        return f"area {hashlib.sha256(geometry.encode()).hexdigest()}"

    def term(self, expr: Expr) -> Term:
        """One node."""
        structure = self.structure(expr)
        if structure not in self._encoded:
            self._encoded[structure] = self._term(expr)
        return self._encoded[structure]

    def _term(self, expr: Expr) -> Term:
        match expr:
            case Const(type=type_, value=value):
                known = literals.constant(type_, value)
                return self.opaque(expr) if known is None else Term(FALSE, known)
            case Ident(constant=int(constant)):
                return Term(FALSE, z3.IntVal(constant))
            case Ident(name="now"):
                return Term(FALSE, self.subject.now)
            case Ident(name="posture"):
                return Term(FALSE, self.posture)
            case Ident(name="partner"):
                return Term(FALSE, text(self.subject.setting.partner))
            case Select():
                return self.select(expr)
            case Call(function=function, args=args):
                return self.call(expr, function, args)
            case Comprehension():
                return self.fold(expr)
            case _:
                return self.opaque(expr)

    def opaque(self, expr: Expr) -> Term:
        """Rule 9."""
        structure = self.structure(expr)
        error = self.subject.once(f"error of {structure}", lambda: z3.Bool(f"error of {structure}"))
        sort = _SORTS.get(expr.type)
        if sort is None:
            return Term(error, None)
        value = variable(f"value of {structure}", sort)
        if isinstance(value, z3.BoolRef):
            truth = value
            return Term(error, self.subject.once(f"value of {structure}", lambda: truth))
        self.subject.constraints.append(in_range(value, sort))
        return Term(error, value)

    def select(self, expr: Select) -> Term:
        """Rule 2."""
        path = path_of(expr.operand)
        read = field_of(expr)
        if path is None or path[0] != "report" or read is None:
            return self.opaque(expr)
        where = ".".join((*path[1:], expr.field))
        if any(field_at(above).is_repeated for above in _above(where)):
            return self.opaque(expr)
        subject = self.subject
        if expr.test_only:
            return Term(FALSE, subject.present(where))
        sort = sort_of(read)
        value = None if sort is None else subject.value(where)
        errors = []
        if read.has_presence or is_required_text(read):
            errors.append(no(subject.present(where)))
        elif read.enum_type is None:
            errors.append(no(subject.present(".".join(path[1:]))))
        if read.enum_type is not None and value is not None:
            errors.append(value == 0)
        return Term(some(errors), value)

    def call(self, expr: Call, function: str, args: tuple[Expr, ...]) -> Term:
        match function, args:
            case (("_&&_" | "_||_"), (left, right)):
                first, second = self.condition(left), self.condition(right)
                if function == "_&&_":
                    error = some([first.error, every([first.value, second.error])])
                    return Term(error, every([first.value, second.value]))
                error = some([first.error, every([no(first.value), second.error])])
                return Term(error, some([first.value, second.value]))
            case "!_", (operand,):
                truth = self.condition(operand)
                return Term(truth.error, no(truth.value))
            case "_?_:_", (test, then, otherwise):
                return self.choice(expr, test, then, otherwise)
            case (("_==_" | "_!=_"), (left, right)):
                return self.equality(expr, left, right)
            case (("_<_" | "_<=_" | "_>_" | "_>=_"), (left, right)):
                return self.order(expr, function, left, right)
            case (("_+_" | "_-_" | "_*_" | "_/_" | "_%_"), (left, right)):
                return self.arithmetic(expr, function, left, right)
            case "-_", (operand,):
                return self.negation(expr, operand)
            case "@in", (entry, ListOf(elements=elements)):
                return self.one_of(expr, entry, elements)
            case "@in", (entry, Ident(name=name)) if name.startswith(COUNTRIES):
                codes = self.countries[name.removeprefix(COUNTRIES)]
                return self.one_of(expr, entry, tuple(Const("string", expr.offset, code) for code in codes))
            case "@in", (entry, Select() as listing):
                return self.membership(expr, entry, listing)
            case "size", (operand,):
                return self.size(expr, operand)
            case (("contains" | "startsWith" | "endsWith" | "matches"), (operand, part)):
                return self.part(expr, function, operand, part)
            case (("timestamp" | "duration"), (Const(value=str(written)),)):
                known = literals.timestamp(written) if function == "timestamp" else literals.duration(written)
                return self.opaque(expr) if known is None else Term(FALSE, z3.IntVal(known))
            case "inside", (position, Ident(name=area)):
                return self.inside(expr, position, area)
            case _:
                return self.opaque(expr)

    def choice(self, expr: Call, test: Expr, then: Expr, otherwise: Expr) -> Term:
        decided, first, second = self.condition(test), self.term(then), self.term(otherwise)
        if first.value is None or second.value is None:
            return self.opaque(expr)
        chosen = z3.If(decided.value, first.error, second.error)
        return Term(some([decided.error, chosen]), z3.If(decided.value, first.value, second.value))

    def equal(self, left: z3.ExprRef | None, right: z3.ExprRef | None) -> Truth | None:
        """Rules 3 and 4 of two values; None where they cannot be compared here."""
        if left is None or right is None:
            return None
        if isinstance(left, z3.FPRef) and isinstance(right, z3.FPRef):
            return Truth(_nan(left, right), z3.fpEQ(left, right))
        return Truth(FALSE, left == right)

    def equality(self, expr: Call, left: Expr, right: Expr) -> Term:
        first, second = self.term(left), self.term(right)
        truth = self.equal(first.value, second.value)
        if truth is None or left.type != right.type:
            return self.opaque(expr)
        value = truth.value if expr.function == "_==_" else no(truth.value)
        return Term(some([first.error, second.error, truth.error]), value)

    def order(self, expr: Call, function: str, left: Expr, right: Expr) -> Term:
        first, second = self.term(left), self.term(right)
        if function in ("_>_", "_>=_"):
            first, second, function = second, first, function.replace(">", "<")
        a, b = first.value, second.value
        errors = [first.error, second.error]
        if left.type != right.type:
            return self.opaque(expr)
        if isinstance(a, z3.FPRef) and isinstance(b, z3.FPRef):
            below = z3.fpLT(a, b) if function == "_<_" else z3.fpLEQ(a, b)
            return Term(some([*errors, _nan(a, b)]), below)
        if isinstance(a, z3.ArithRef) and isinstance(b, z3.ArithRef):
            return Term(some(errors), a < b if function == "_<_" else a <= b)
        return self.opaque(expr)

    def arithmetic(self, expr: Call, function: str, left: Expr, right: Expr) -> Term:
        first, second = self.term(left), self.term(right)
        a, b = first.value, second.value
        error = some([first.error, second.error])
        if isinstance(a, z3.FPRef) and isinstance(b, z3.FPRef) and function in _DOUBLES:
            return Term(error, _DOUBLES[function](a, b))
        if not isinstance(a, z3.ArithRef) or not isinstance(b, z3.ArithRef):
            return self.opaque(expr)
        if expr.type in ("timestamp", "duration") and function in ("_+_", "_-_"):
            return self.span(expr, error, a + b if function == "_+_" else a - b)
        if expr.type not in ("int", "uint") or {left.type, right.type} != {expr.type}:
            return self.opaque(expr)
        match function:
            case "_+_":
                return self.whole(expr, [error], a + b)
            case "_-_":
                return self.whole(expr, [error], a - b)
            case "_*_":
                return self.whole(expr, [error], a * b)
            case "_/_":
                return self.whole(expr, [error, b == 0], _quotient(a, b))
            case _:
                # The least number has no remainder by -1 in every implementation: it may err.
                least = every([a == LEAST_INT, b == -1, self.opaque(expr).error])
                return self.whole(expr, [error, b == 0, least], a - b * _quotient(a, b))

    def whole(self, expr: Expr, errors: list[z3.BoolRef], value: z3.ArithRef) -> Term:
        """Rule 4."""
        least, most = (0, MOST_UINT) if expr.type == "uint" else (LEAST_INT, MOST_INT)
        return Term(some([*errors, value < least, value > most]), value)

    def span(self, expr: Expr, error: z3.BoolRef, value: z3.ArithRef) -> Term:
        """Rule 6."""
        least, most = (_YEAR_1_NS, _LAST_NS) if expr.type == "timestamp" else (LEAST_INT, MOST_INT)
        inside = z3.And(value >= least, value <= most)
        unknown = self.opaque(expr)
        if not isinstance(unknown.value, z3.ArithRef):
            raise TypeError("a time is a whole number")
        return Term(some([error, every([no(inside), unknown.error])]), z3.If(inside, value, unknown.value))

    def negation(self, expr: Call, operand: Expr) -> Term:
        inner = self.term(operand)
        if isinstance(inner.value, z3.FPRef):
            return Term(inner.error, z3.fpNeg(inner.value))
        if isinstance(inner.value, z3.ArithRef) and expr.type == "int":
            return self.whole(expr, [inner.error], -inner.value)
        return self.opaque(expr)

    def one_of(self, expr: Call, entry: Expr, elements: tuple[Expr, ...]) -> Term:
        sought = self.term(entry)
        found, errors = [FALSE], [sought.error]
        for element in elements:
            other = self.term(element)
            truth = self.equal(sought.value, other.value)
            if truth is None or isinstance(sought.value, z3.FPRef) or entry.type != element.type:
                return self.opaque(expr)
            errors += [other.error, truth.error]
            found.append(truth.value)
        return Term(some(errors), some(found))

    def membership(self, expr: Expr, entry: Expr, listing: Select) -> Term:
        """Rule 7."""
        path, sought = path_of(listing), self.term(entry)
        if path is None or path[0] != "report" or listing.type != "list(string)":
            return self.opaque(expr)
        where = ".".join(path[1:])
        if not isinstance(sought.value, z3.SeqRef) or any(field_at(above).is_repeated for above in _above(where)):
            return self.opaque(expr)
        return Term(some([sought.error, self.select(listing).error]), self.subject.member(sought.value, where))

    def fold(self, expr: Comprehension) -> Term:
        """Rule 7."""
        found = literals.entries_asked_for(expr, self.countries)
        if found is None or not isinstance(expr.iter_range, Select):
            return self.unknown_fold(expr)
        wanted, exists = found
        asked = [self.membership(expr, Const("string", expr.offset, entry), expr.iter_range) for entry in wanted]
        if any(not isinstance(term.value, z3.BoolRef) for term in asked):
            return self.opaque(expr)
        any_of_them = some(term.value for term in asked if isinstance(term.value, z3.BoolRef))
        return Term(some(term.error for term in asked), any_of_them if exists else no(any_of_them))

    def unknown_fold(self, expr: Comprehension) -> Term:
        """Rule 9; but ``exists`` and ``all`` over nothing are known."""
        term, empty, path = self.opaque(expr), literals.over_nothing(expr), path_of(expr.iter_range)
        if empty is None or path is None or path[0] != "report" or not isinstance(term.value, z3.BoolRef):
            return term
        where = ".".join(path[1:])
        if not any(field_at(above).is_repeated for above in _above(where)):
            value = term.value if empty else no(term.value)
            self.subject.constraints.append(some([self.subject.size(where) > 0, value]))
        return term

    def size(self, expr: Expr, operand: Expr) -> Term:
        if isinstance(operand, ListOf):
            errors = [self.term(element).error for element in operand.elements]
            return Term(some(errors), z3.IntVal(len(operand.elements)))
        if isinstance(operand, Ident) and operand.name.startswith(COUNTRIES):
            return Term(FALSE, z3.IntVal(len(self.countries[operand.name.removeprefix(COUNTRIES)])))
        inner = self.term(operand)
        if isinstance(inner.value, z3.SeqRef):
            return Term(inner.error, z3.Length(inner.value))
        path = path_of(operand)
        if path is None or path[0] != "report" or not operand.type.startswith("list("):
            return self.opaque(expr)
        where = ".".join(path[1:])
        if any(field_at(above).is_repeated for above in _above(where)):
            return self.opaque(expr)
        return Term(inner.error, self.subject.size(where))

    def part(self, expr: Expr, function: str, operand: Expr, part: Expr) -> Term:
        whole, piece = self.term(operand), self.term(part)
        if not isinstance(whole.value, z3.SeqRef) or not isinstance(piece.value, z3.SeqRef):
            return self.opaque(expr)
        error = some([whole.error, piece.error])
        match function:
            case "contains":
                return Term(error, z3.Contains(whole.value, piece.value))
            case "startsWith":
                return Term(error, z3.PrefixOf(piece.value, whole.value))
            case "endsWith":
                return Term(error, z3.SuffixOf(piece.value, whole.value))
        matches = z3.Function("matches", z3.StringSort(), z3.StringSort(), z3.BoolSort())(whole.value, piece.value)
        if not isinstance(matches, z3.BoolRef):
            raise TypeError("whether a text matches is a truth")
        return Term(error, self.subject.once(f"value of {self.structure(expr)}", lambda: matches))

    def inside(self, expr: Expr, position: Expr, area: str) -> Term:
        """Rule 8."""
        path = path_of(position)
        if path is None or path[0] != "report":
            return self.opaque(expr)
        latitude, longitude = (".".join((*path[1:], name)) for name in ("latitude_deg", "longitude_deg"))
        if any(field_at(above).is_repeated for above in _above(latitude)):
            return self.opaque(expr)
        subject = self.subject
        error = some([no(subject.present(latitude)), no(subject.present(longitude))])
        function = z3.Function(f"inside {self.geometry(area)}", DOUBLE, DOUBLE, z3.BoolSort())
        value = function(subject.value(latitude), subject.value(longitude))
        if not isinstance(value, z3.BoolRef):
            raise TypeError("whether a position lies inside is a truth")
        truth = value
        name = f"value of {self.structure(expr)}"
        if name not in subject.unmodelled:
            subject.insides.append((".".join(path[1:]), self.areas[area.removeprefix(AREAS)], truth))
        return Term(error, subject.once(name, lambda: truth))


def _above(path: str) -> list[str]:
    """The paths of the messages that hold a path, without the report itself."""
    names = path.split(".")
    return [".".join(names[:count]) for count in range(1, len(names))]


def _nan(*values: z3.FPRef) -> z3.BoolRef:
    return some(z3.simplify(z3.fpIsNaN(value)) for value in values)


def _quotient(a: z3.ArithRef, b: z3.ArithRef) -> z3.ArithRef:
    """Truncated towards zero; z3's quotient of whole numbers leaves a remainder that is never negative."""
    up = z3.If(b > 0, a / b, -(a / -b))
    down = z3.If(b > 0, -(-a / b), -a / -b)
    return z3.If(a >= 0, up, down)


_DOUBLES: Final[Mapping[str, Callable[[z3.FPRef, z3.FPRef], z3.FPRef]]] = {
    "_+_": lambda a, b: z3.fpAdd(ROUND, a, b),
    "_-_": lambda a, b: z3.fpSub(ROUND, a, b),
    "_*_": lambda a, b: z3.fpMul(ROUND, a, b),
    "_/_": lambda a, b: z3.fpDiv(ROUND, a, b),
}
