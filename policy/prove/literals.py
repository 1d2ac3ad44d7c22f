"""What a condition says in so many words: literals as z3 values, times and durations as nanoseconds, and the entries
that a loop over a list looks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import z3

from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf
from policy.prove.solver import FALSE, LAST_CHARACTER, TRUE, double, text
from policy.strict import COUNTRIES

_TIME: Final = re.compile(
    r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(?:\.(\d{1,9}))?(?:Z|([+-])(\d{2}):(\d{2}))",
)
_PART: Final = re.compile(r"(\d{1,12})(h|ms|m|s|us|ns)")
_UNIT_NS: Final = {"h": 3_600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 1_000, "ns": 1}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LONGEST_NS: Final = 2**63 - 1


def constant(type_: str, value: bool | int | float | str | bytes | None) -> z3.ExprRef | None:
    """A literal; None where z3 has no such value."""
    match value:
        case bool():
            return TRUE if value else FALSE
        case int() if type_ in ("int", "uint"):
            return z3.IntVal(value)
        case float() if type_ == "double":
            return double(value)
        case str() if all(ord(character) <= LAST_CHARACTER for character in value):
            return text(value)
        case _:
            return None


def timestamp(written: str) -> int | None:
    """Nanoseconds since 1970 of an RFC 3339 time; None where it is not plainly one."""
    match = _TIME.fullmatch(written)
    if match is None:
        return None
    whole, fraction, sign, hours, minutes = match.groups()
    try:
        time = datetime.fromisoformat(whole).replace(tzinfo=UTC)
    except ValueError:
        return None
    since = time - _EPOCH
    offset_s = 0 if sign is None else (int(hours) * 60 + int(minutes)) * (60 if sign == "+" else -60)
    seconds = since.days * 86_400 + since.seconds - offset_s
    return seconds * 10**9 + int((fraction or "0").ljust(9, "0"))


def duration(written: str) -> int | None:
    """Nanoseconds of a duration in whole parts, e.g. ``1h30m``; None where it is not plainly one."""
    sign, rest = (-1, written[1:]) if written.startswith("-") else (1, written)
    parts = _PART.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    length = sum(int(number) * _UNIT_NS[unit] for number, unit in parts)
    return sign * length if length <= _LONGEST_NS else None


def entries_asked_for(
    loop: Comprehension, countries: Mapping[str, tuple[str, ...]]
) -> tuple[tuple[str, ...], bool] | None:
    """Of a loop that only asks whether literals are in a list of texts: these, and whether it is true where one is
    (``exists``) or where none is (``all``). None for any other loop."""
    empty = over_nothing(loop)
    if empty is None or not isinstance(loop.loop_step, Call):
        return None
    wanted = _wanted(loop.loop_step.args[1], loop.iter_var, not empty, countries)
    return None if wanted is None else (wanted, not empty)


def over_nothing(loop: Comprehension) -> bool | None:
    """What ``exists`` (False) and ``all`` (True) come to over an empty list; None for any other loop."""
    match loop:
        case Comprehension(
            accu_init=Const(value=bool(start)),
            loop_step=Call(function=function, args=(Ident(name=before), _)),
            result=Ident(name=last),
        ) if before == last == loop.accu_var and loop.iter_var != loop.accu_var:
            exists = function == "_||_" and start is False
            if not (exists or (function == "_&&_" and start is True)) or not _stops_early(loop, exists):
                return None
            return start
        case _:
            return None


def _stops_early(loop: Comprehension, exists: bool) -> bool:
    """Whether the loop goes on just as long as nothing is decided: only then is it ``exists`` or ``all``."""
    match loop.loop_condition:
        case Call(function="@not_strictly_false", args=(going,)):
            if exists:
                return isinstance(going, Call) and going.function == "!_" and _is(going.args[0], loop.accu_var)
            return _is(going, loop.accu_var)
        case _:
            return False


def _is(expr: Expr, name: str) -> bool:
    return isinstance(expr, Ident) and expr.constant is None and expr.name == name


def _wanted(body: Expr, entry: str, exists: bool, countries: Mapping[str, tuple[str, ...]]) -> tuple[str, ...] | None:
    join, equal = ("_||_", "_==_") if exists else ("_&&_", "_!=_")
    match body:
        case Call(function=function, args=(left, right)) if function == join:
            first, second = (_wanted(part, entry, exists, countries) for part in (left, right))
            return None if first is None or second is None else (*first, *second)
        case Call(function=function, args=(left, Const(value=str(value)))) if function == equal and _is(left, entry):
            return (value,)
        case Call(function=function, args=(Const(value=str(value)), right)) if function == equal and _is(right, entry):
            return (value,)
        case Call(function="!_", args=(Call(function="@in") as inner,)) if not exists:
            return _wanted(inner, entry, True, countries)
        case Call(function="@in", args=(left, Ident(name=name))) if (
            exists and _is(left, entry) and name.startswith(COUNTRIES)
        ):
            return countries[name.removeprefix(COUNTRIES)]
        case Call(function="@in", args=(left, ListOf(elements=elements))) if exists and _is(left, entry):
            values = tuple(item.value for item in elements if isinstance(item, Const) and isinstance(item.value, str))
            return values if len(values) == len(elements) else None
        case _:
            return None
