"""From a model to a report that an officer can read: as ordinary as the claim allows, otherwise as the solver says.

1. What the claim does not read has the values of ``policy.specimen``.
2. What it does read is pinned to ordinary values, one field after another, as far as the claim leaves it free.
3. The rest is the model's: values, presences, entries and lengths of lists, posture, time and clock.
4. A position whose area is asked for is sought among points inside and outside of that area.

The result is a suggestion: whoever asked for it shows that the policy does treat it so, or calls it unconfirmed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, Final

import z3
from google.protobuf.message import Message
from signalfire.v1 import report_pb2

from policy.areas import Area
from policy.prove import replay
from policy.prove.solver import Answer, Model, Question, double, every, no, text
from policy.prove.subject import Subject, nanoseconds, sort_of
from policy.prove.validity import LEAST_ENTRIES, SECOND_NS, always_set, field_at, name_of
from policy.prove.verdict import Counterexample, ProofSettings
from policy.specimen import specimen

Guesses = list[tuple[z3.BoolRef, bool]]
"""Truths that no theory explains, and their values in a model."""

ORDINARY_TIME: Final = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
_MOST_POINTS: Final = 16
"""Points that are tried for one position."""

_ORDINARY: Final[dict[str, tuple[str | int | float, ...]]] = {
    "threat.launch_country": ("PRK", "RUS", "CHN", "IRN", "FRA", "UNKNOWN"),
    "marking.classification": (4, 3, 2, 1, 5),
    "precedence": (4, 3, 2, 1),
}
"""What is tried first; of other fields, what the specimen has."""


def suggest(subject: Subject, question: Question, settings: ProofSettings) -> tuple[Counterexample, Guesses]:
    """A report and circumstances that satisfy the question, which has a model (``Answer.SOME`` was the last answer);
    and what is guessed in it."""
    model = question.model()
    pins: list[z3.BoolRef] = []
    for pin in _circumstances(subject):
        if question.ask(*pins, pin, timeout_ms=settings.pin_ms) is Answer.SOME:
            pins.append(pin)
            model = question.model()
    for path in dict.fromkeys(path for path, _, _ in subject.insides):
        for pin in _places(subject, path, model):
            if question.ask(*pins, pin, timeout_ms=settings.pin_ms) is Answer.SOME:
                pins.append(pin)
                model = question.model()
                break
    for pin in _contents(subject):
        if question.ask(*pins, pin, timeout_ms=settings.pin_ms) is Answer.SOME:
            pins.append(pin)
            model = question.model()
    return _build(subject, model), [(truth, model.boolean(truth)) for truth in subject.unmodelled.values()]


def _circumstances(subject: Subject) -> Iterator[z3.BoolRef]:
    """What ordinary circumstances would be, and that nothing is the case of which nothing is known."""
    yield subject.trusted
    yield subject.now == nanoseconds(ORDINARY_TIME)
    yield subject.posture == text("ROUTINE")
    for truth in subject.unmodelled.values():
        yield no(truth)


def _contents(subject: Subject) -> Iterator[z3.BoolRef]:
    """What an ordinary report would hold."""
    ordinary = _ordinary(subject, ORDINARY_TIME)
    for path, value in list(subject.values.items()):
        yield subject.present(path)
        if isinstance(value, z3.ArithRef) and sort_of(field_at(path)) == "timestamp":
            yield value == subject.now
            continue
        for tried in (*_ORDINARY.get(path, ()), _leaf(ordinary, path)):
            if isinstance(value, z3.FPRef) and isinstance(tried, int | float):
                yield value == double(float(tried))
            elif isinstance(value, z3.SeqRef) and isinstance(tried, str):
                yield value == text(tried)
            elif isinstance(value, z3.ArithRef) and isinstance(tried, int):
                yield value == tried
    for path, size in list(subject.sizes.items()):
        known = len(subject.entries.get(path, ()))
        yield from (size == count for count in (*range(known + 2), 3, 6))
    for path, presence in list(subject.presences.items()):
        if path not in subject.values:
            yield presence


def _places(subject: Subject, path: str, model: Model) -> Iterator[z3.BoolRef]:
    """That the position lies at a point which is inside and outside of areas as the model has it; a few such points."""
    asked = [(area, model.boolean(truth)) for where, area, truth in subject.insides if where == path]
    latitude, longitude = subject.value(f"{path}.latitude_deg"), subject.value(f"{path}.longitude_deg")
    fitting = (
        every([latitude == double(point[0]), longitude == double(point[1])])
        for point in _points(model, latitude, longitude, [area for area, _ in asked])
        if all(area.contains(*point) is inside for area, inside in asked)
    )
    yield from islice(fitting, _MOST_POINTS)


_CORNER: Final = re.compile(r"\((-?[\d.]+), (-?[\d.]+)\)")
_MOST_CORNERS: Final = 40
_AWAY_DEG: Final = (0.0, 0.03, 0.1, 0.3, 1.0, 2.0, 3.0, 4.0, 6.0, 10.0)


def _points(
    model: Model, latitude: z3.ExprRef, longitude: z3.ExprRef, asked: list[Area]
) -> Iterator[tuple[float, float]]:
    """The model's own point, points on the corners of the areas, in their midst and around, and some of the globe."""
    if isinstance(latitude, z3.FPRef) and isinstance(longitude, z3.FPRef):
        yield model.double(latitude), model.double(longitude)
    for area in asked:
        corners = [(float(north), float(east)) for north, east in _CORNER.findall(area.geometry)]
        midst = tuple(sum(axis) / len(corners) for axis in zip(*corners, strict=True)) if corners else ()
        for north, east in [midst, *corners[:_MOST_CORNERS]] if len(midst) == 2 else ():
            for away in _AWAY_DEG:
                for eighth in range(8 if away else 1):
                    angle = math.pi * eighth / 4
                    point = north + away * math.cos(angle), east + away * math.sin(angle)
                    if abs(point[0]) <= 90 and abs(point[1]) <= 180:
                        yield point
    for south_to_north in range(-90, 91, 3):
        for west_to_east in range(-180, 180, 3):
            yield float(south_to_north), float(west_to_east)


def _ordinary(subject: Subject, now: datetime) -> report_pb2.Report:
    setting = subject.setting
    report = specimen(setting.kind, node=setting.originator, partner=setting.partner, now=now)
    report.traffic_class = report_pb2.TrafficClass.ValueType(setting.traffic_classes[0])
    if not setting.complete:
        report.marking.policy = setting.originator
        report.marking.onward_release.append(setting.partner)
    return report


def _leaf(report: Message, path: str) -> Any:
    value: Any = report
    for name in path.split("."):
        value = getattr(value, name)
    return value


def _time(nanosecond: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=nanosecond // 1_000)


def _build(subject: Subject, model: Model) -> Counterexample:
    now = _time(model.whole(subject.now))
    made = now if 1970 < now.year < 2200 else ORDINARY_TIME
    report = _ordinary(subject, made)
    for path, value in subject.values.items():
        if path != "originator_node":
            _set(report, path, value, model)
    for path in subject.sizes.keys() | subject.entries.keys():
        _fill(report, subject, path, model)
    # Outermost first: what is absent takes with it what stands inside.
    for path, presence in sorted(subject.presences.items(), key=lambda item: item[0].count(".")):
        field = field_at(path)
        if not model.boolean(presence):
            _clear(report, path)
        elif field.message_type is not None and not field.is_repeated:
            _holder(report, path, make=True)
        elif path not in subject.values and not field.is_repeated and not replay.holds_value(report, path):
            above, _, name = path.rpartition(".")
            setattr(_holder(report, above, make=True), name, 1)
    if subject.setting.complete:
        _complete(report, "", subject)
    posture = model.text(subject.posture)
    return Counterexample(report, now, posture, clock_trusted=model.boolean(subject.trusted))


def _holder(report: Message, path: str, *, make: bool) -> Message | None:
    """The message at a path; None where it, or one above it, is absent and not to be made."""
    message: Message = report
    for name in path.split(".") if path else ():
        if not message.HasField(name):
            if not make:
                return None
            getattr(message, name).SetInParent()
        message = getattr(message, name)
    return message


def _set(report: Message, path: str, value: z3.ExprRef, model: Model) -> None:
    above, _, name = path.rpartition(".")
    message = _holder(report, above, make=True)
    sort = sort_of(field_at(path))
    if sort in ("timestamp", "duration") and isinstance(value, z3.ArithRef):
        stamp = getattr(message, name)
        stamp.seconds, stamp.nanos = divmod(model.whole(value), SECOND_NS)
        stamp.SetInParent()
    elif isinstance(value, z3.FPRef):
        setattr(message, name, model.double(value))
    elif isinstance(value, z3.SeqRef):
        setattr(message, name, model.text(value))
    elif isinstance(value, z3.ArithRef):
        setattr(message, name, model.whole(value))


def _clear(report: Message, path: str) -> None:
    above, _, name = path.rpartition(".")
    message = _holder(report, above, make=False)
    if message is not None:
        message.ClearField(name)


def _fill(report: Message, subject: Subject, path: str, model: Model) -> None:
    """Entries that the model says are there, then others up to the model's length."""
    above, _, name = path.rpartition(".")
    message = _holder(report, above, make=False)
    if message is None:
        return
    listed = getattr(message, name)
    size = model.whole(subject.sizes[path]) if path in subject.sizes else 0
    if path in subject.entries:
        asked = {model.text(entry): model.boolean(subject.member(entry, path)) for entry in subject.entries[path]}
        kept = [entry for entry in listed if asked.get(entry, True)] if path not in subject.sizes else []
        del listed[:]
        listed.extend(dict.fromkeys([*(entry for entry, there in asked.items() if there), *kept]))
        unwanted = {entry for entry, there in asked.items() if not there}
    else:
        unwanted = set()
        if path in subject.sizes:
            del listed[size:]
    for entry in _fillers(name_of(field_at(path)), size):
        if len(listed) >= size:
            return
        if isinstance(entry, Message) or (entry not in unwanted and entry not in listed):
            listed.append(entry)


def _complete(message: Message, path: str, subject: Subject) -> None:
    """Fills in what a message must hold that the claim does not read."""
    for name in message.DESCRIPTOR.fields_by_name:
        where = f"{path}.{name}" if path else name
        field = field_at(where)
        untouched = where not in subject.values and where not in subject.presences and where not in subject.sizes
        value = getattr(message, field.name)
        if field.is_repeated:
            if untouched and not value and always_set(where, complete=True):
                value.extend(_fillers(name_of(field), LEAST_ENTRIES.get(name_of(field), 1)))
        elif isinstance(value, Message):
            if message.HasField(field.name) and sort_of(field) is None:
                _complete(value, where, subject)
        elif untouched and not replay.holds_value(message, field.name) and _needed(message, field.name, where):
            setattr(message, field.name, 1)


_TOGETHER: Final = {
    "azimuth_uncertainty_deg": "initial_azimuth_deg",
    "initial_azimuth_deg": "azimuth_uncertainty_deg",
}


def _needed(message: Message, name: str, path: str) -> bool:
    return always_set(path, complete=True) or (name in _TOGETHER and message.HasField(_TOGETHER[name]))


def _fillers(name: str, size: int) -> Iterator[Any]:
    """Valid entries of a list, enough to make it as long as it may be."""
    match name:
        case "Report.references":
            for number in range(64):
                yield report_pb2.Reference(
                    originator_node="USA", report_id=_identifier(number), relation=report_pb2.REFERENCE_RELATION_UPDATES
                )
        case "Report.derivations":
            for _ in range(8):
                yield report_pb2.Derivation(node="USA", fields=["report_time"])
        case "Polygon.corners":
            for number in range(size):
                angle = 2 * math.pi * number / size
                yield report_pb2.Position(latitude_deg=math.sin(angle), longitude_deg=math.cos(angle))
        case "Covariance.upper_triangle":
            order = 3 if size <= 6 else 6
            yield from (float(row == column) for row in range(order) for column in range(row, order))
        case "Marking.caveats":
            yield from (f"CAVEAT {number}" for number in range(16))
        case "Marking.releasable_to" | "Marking.onward_release":
            yield from (
                "USA",
                "JPN",
                "KOR",
                "AUS",
                "CAN",
                "GBR",
                "NZL",
                "FRA",
                "DEU",
                "ITA",
                "ESP",
                "NOR",
                "SWE",
                "FIN",
            )
        case _:
            yield from (_identifier(number) for number in range(400))


def _identifier(number: int) -> str:
    return f"5f0c6f3e-0001-4000-8000-{number:012d}"
