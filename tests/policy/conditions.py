"""Random conditions and reports, and a slow, obvious interpreter of conditions, for the tests of strictness.

The interpreter walks the checked tree, left to right, and raises ``Fails`` wherever the value asked for is not there.
It knows what the grammar of ``CONDITIONS`` writes and no more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from policy import areas, cel
from policy.checked import Call, Comprehension, Const, Expr, Ident, ListOf, Select
from tests.policy import reports

KOREA = areas.circle("korea", (38.0, 127.5), 300_000.0)
LANGUAGE: Final = cel.Language(cel.Vocabulary({"neighbours": ("PRK", "CHN", "RUS")}, {"korea": KOREA}))
NOW: Final = reports.NOW


MAY_BE_EMPTY: Final = ("launch_area", "explanation", "replacement_report_id")
"""Texts of the contract that a report may lack; ``track_id`` is another, of an impact prediction."""


class Fails(Exception):
    """The value is not there."""


Names = dict[str, Any]


def names(report: report_pb2.Report, partner: str, now: datetime, posture: str) -> Names:
    stamp = Timestamp()
    stamp.FromDatetime(now)
    values = {f"countries.{name}": list(codes) for name, codes in LANGUAGE.vocabulary.countries.items()}
    return {"report": report, "partner": partner, "now": stamp.ToNanoseconds(), "posture": posture, **values}


def value_of(expr: Expr, bound: Names) -> Any:
    """The value of a node: times and durations as nanoseconds. Raises Fails."""
    match expr:
        case Const(value=value):
            return value
        case Ident(constant=int(number)):
            return number
        case Ident(name=name):
            return bound[name]
        case ListOf(elements=elements):
            return [value_of(element, bound) for element in elements]
        case Select(test_only=True, operand=operand, field=field):
            message = _message(operand, bound)
            if message.DESCRIPTOR.fields_by_name[field].has_presence:
                return message.HasField(field)
            return bool(getattr(message, field))
        case Select():
            return _read(expr, bound)
        case Call(function="_&&_", args=(left, right)):
            return value_of(left, bound) and value_of(right, bound)
        case Call(function="_||_", args=(left, right)):
            return value_of(left, bound) or value_of(right, bound)
        case Call(function="_?_:_", args=(test, then, otherwise)):
            return value_of(then if value_of(test, bound) else otherwise, bound)
        case Call(function="inside", args=(position, _)):
            return _inside(_message(position, bound))
        case Call(function=function, args=args):
            return _FUNCTIONS[function](expr.type, *(value_of(arg, bound) for arg in args))
        case Comprehension():
            return _loop(expr, bound)
        case _:
            raise AssertionError(expr)


def _message(expr: Expr, bound: Names) -> Any:
    """A message on the way to a field: an absent one is empty."""
    if isinstance(expr, Select):
        return getattr(_message(expr.operand, bound), expr.field)
    return value_of(expr, bound)


def _read(expr: Select, bound: Names) -> Any:
    message = _message(expr.operand, bound)
    field = message.DESCRIPTOR.fields_by_name[expr.field]
    value = getattr(message, expr.field)
    if field.has_presence:
        if not message.HasField(expr.field):
            raise Fails
    elif field.type == field.TYPE_STRING and not field.is_repeated and expr.field not in MAY_BE_EMPTY:
        if not value:
            raise Fails
    elif field.enum_type is not None:
        if value == 0:
            raise Fails
    elif isinstance(expr.operand, Select) and not _message(expr.operand.operand, bound).HasField(expr.operand.field):
        raise Fails
    return value.ToNanoseconds() if isinstance(value, Timestamp | Duration) else value


def _inside(position: report_pb2.Position) -> bool:
    if not position.HasField("latitude_deg") or not position.HasField("longitude_deg"):
        raise Fails
    if not (abs(position.latitude_deg) <= 90 and abs(position.longitude_deg) <= 180):
        raise Fails
    return KOREA.contains(position.latitude_deg, position.longitude_deg)


def _loop(expr: Comprehension, bound: Names) -> Any:
    total = value_of(expr.accu_init, bound)
    for element in value_of(expr.iter_range, bound):
        here = {**bound, expr.iter_var: element, expr.accu_var: total}
        if not value_of(expr.loop_condition, here):
            break
        total = value_of(expr.loop_step, here)
    return value_of(expr.result, {**bound, expr.accu_var: total})


def _compared(operation: Callable[[Any, Any], bool]) -> Callable[..., bool]:
    def compare(_: str, left: Any, right: Any) -> bool:
        if any(isinstance(side, float) and math.isnan(side) for side in (left, right)):
            raise Fails
        return operation(left, right)

    return compare


_WHOLE: Final = {"int": range(-(2**63), 2**63), "uint": range(2**64)}


def _computed(operation: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def compute(type_: str, left: Any, right: Any) -> Any:
        value = operation(left, right)
        if type_ in _WHOLE and value not in _WHOLE[type_]:
            raise Fails
        return value

    return compute


def _quotient(left: Any, right: Any) -> Any:
    if isinstance(left, float):
        if right != 0 or math.isnan(left):
            return left / right if right != 0 else math.nan
        return math.copysign(math.inf, left) * math.copysign(1.0, right) if left else math.nan
    if right == 0:
        raise Fails
    return abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1)


def _at(_: str, values: Any, index: int) -> Any:
    if not 0 <= index < len(values):
        raise Fails
    return values[index]


_FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "_==_": _compared(lambda left, right: bool(left == right)),
    "_!=_": _compared(lambda left, right: bool(left != right)),
    "_<_": _compared(lambda left, right: bool(left < right)),
    "_<=_": _compared(lambda left, right: bool(left <= right)),
    "_>_": _compared(lambda left, right: bool(left > right)),
    "_>=_": _compared(lambda left, right: bool(left >= right)),
    "_+_": _computed(lambda left, right: left + right),
    "_-_": _computed(lambda left, right: left - right),
    "_*_": _computed(lambda left, right: left * right),
    "_/_": _computed(_quotient),
    "_[_]": _at,
    "!_": lambda _, value: not value,
    "@in": lambda _, value, values: value in values,
    "@not_strictly_false": lambda _, value: value,
    "size": lambda _, values: len(values),
    "duration": lambda _, text: int(text.removesuffix("s")) * 10**9,
}


_ORDERS = st.sampled_from(["==", "!=", "<", "<=", ">", ">="])
_EQUALITIES = st.sampled_from(["==", "!="])
_DOUBLES = st.sampled_from(
    [
        *("report.track.position.height_m", "report.track.position.latitude_deg", "report.track.velocity.x_mps"),
        *("report.track.velocity.y_mps", "0.0", "1.0", "-2.5", "1e5", "report.track.covariance.upper_triangle[1]"),
    ]
)
_PLACES = "report.track.position", "report.track.velocity", "report.track.covariance", "report.track.quality"


def _of(pattern: str, *parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.tuples(*parts).map(lambda chosen: pattern.format(*chosen))


_NUMBERS = st.recursive(
    _DOUBLES,
    lambda inner: st.one_of(
        _of("({} {} {})", inner, st.sampled_from("+-*/"), inner),
        _of("({} > {} ? {} : {})", inner, inner, inner, inner),
    ),
    max_leaves=4,
)
_ATOMS = st.one_of(
    st.sampled_from(["true", "false"]),
    _of("report.precedence {} Precedence.PRECEDENCE_IMMEDIATE", _ORDERS),
    _of("report.marking.classification {} Classification.CLASSIFICATION_SECRET", _ORDERS),
    _of("report.track.status {} TrackStatus.TRACK_STATUS_DROPPING", _EQUALITIES),
    st.just("report.track.velocity.frame in [ReferenceFrame.REFERENCE_FRAME_ENU]"),
    _of("{} {} {}", _NUMBERS, _ORDERS, _NUMBERS),
    _of("report.track.quality {} {}u", _ORDERS, st.sampled_from("019")),
    _of("9u / report.track.quality {} 3u", _ORDERS),
    _of("report.track.quality - 5u {} 3u", _ORDERS),
    _of("6 / size(report.references) {} 3", _ORDERS),
    _of("now - report.valid_time {} duration('60s')", _ORDERS),
    _of("report.valid_time {} report.report_time", _ORDERS),
    _of("report.event_id {} 'event-7'", _EQUALITIES),
    _of("report.threat.launch_area {} 'Sunan'", _EQUALITIES),
    st.just("report.threat.launch_country != 'PRK' && report.threat.launch_country != 'UNKNOWN'"),
    st.just("(report.threat.launch_country in countries.neighbours || report.threat.launch_country == 'UNKNOWN')"),
    st.just("inside(report.track.position, areas.korea)"),
    st.just("partner in report.marking.releasable_to"),
    st.just("report.references[0].relation == ReferenceRelation.REFERENCE_RELATION_UPDATES"),
    _of("has({})", st.sampled_from([*_PLACES, "report.threat", "report.event_id", "report.track.position.height_m"])),
)
_OF_REFERENCE = st.one_of(
    st.just("r.originator_node == 'JPN'"),
    _of("r.relation {} ReferenceRelation.REFERENCE_RELATION_REPLACES", _EQUALITIES),
    _of("6 / size(r.report_id) {} 2", _ORDERS),
    _ATOMS,
)
_LOOPS = st.sampled_from(["all", "exists", "exists_one"])
_OF_LOOP = st.one_of(
    _of("report.references.{}(r, {} || {})", _LOOPS, _OF_REFERENCE, _OF_REFERENCE),
    _of("report.references.{}(r, {} && {})", _LOOPS, _OF_REFERENCE, _OF_REFERENCE),
    _of("size(report.references.filter(r, {})) {} 1", _OF_REFERENCE, _ORDERS),
    _of("report.references.map(r, {}).{}(x, x)", _OF_REFERENCE, _LOOPS),
    _of("report.track.covariance.upper_triangle.{}(x, x {} {})", _LOOPS, _ORDERS, _NUMBERS),
    _of("report.references.{}(r, report.references.{}(s, {} || r.report_id == s.report_id))", _LOOPS, _LOOPS, _ATOMS),
)

CONDITIONS: Final = st.recursive(
    _ATOMS | _OF_LOOP,
    lambda inner: st.one_of(
        _of("({} && {})", inner, inner),
        _of("({} || {})", inner, inner),
        _of("!({})", inner),
        _of("({} ? {} : {})", inner, inner, inner),
        _of("({}) == ({})", inner, inner),
    ),
    max_leaves=6,
)
"""Texts of conditions for Tracks."""

_PRESENT = st.sampled_from([0.0, -0.0, 1.0, -2.5, 2e5, math.inf, -math.inf, math.nan])
_NUMBER = st.none() | _PRESENT
_Clearable = Literal["threat", "marking", "valid_time", "report_time", "event_id"]
_CLEARED: Final[tuple[_Clearable, ...]] = ("threat", "marking", "valid_time", "report_time", "event_id")


@st.composite
def tracks(draw: st.DrawFn) -> report_pb2.Report:
    """Track reports, most of them with something missing, unset or NaN."""
    report = reports.track() if draw(st.booleans()) else report_pb2.Report(track=report_pb2.Track())
    for cleared in draw(st.sets(st.sampled_from(_CLEARED))):
        report.ClearField(cleared)
    if draw(st.booleans()):
        report.threat.launch_country = draw(st.sampled_from(["", "PRK", "UNKNOWN"]))
        report.threat.launch_area = draw(st.sampled_from(["", "Sunan"]))
    if draw(st.booleans()):
        report.precedence = draw(st.sampled_from(report_pb2.Precedence.values()))
    track = report.track
    if draw(st.booleans()):
        track.ClearField(draw(st.sampled_from(["position", "velocity", "covariance", "quality", "status"])))
    if draw(st.booleans()):
        track.quality = draw(st.sampled_from([0, 1, 9]))
    for message, name in (
        *((track.position, name) for name in ("latitude_deg", "longitude_deg", "height_m")),
        *((track.velocity, name) for name in ("x_mps", "y_mps")),
    ):
        if draw(st.booleans()) and (number := draw(_NUMBER)) is not None:
            setattr(message, name, number)
    if draw(st.booleans()):
        track.covariance.upper_triangle[:] = draw(st.lists(_PRESENT))
    for _ in range(draw(st.integers(0, 3))):
        report.references.add(
            originator_node=draw(st.sampled_from(["JPN", "KOR"])),
            report_id=draw(st.sampled_from(["", "a", "bcd"])),
            relation=draw(st.sampled_from([0, 1, 4])),
        )
    return report
