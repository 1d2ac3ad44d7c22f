"""One symbolic report of a kind, and the circumstances of its decision: variables, and what holds of each valid report.

A variable is made when it is first asked for, and with it what ``validity`` says of it. So a question holds only what
its conditions read; what they do not read can be filled in with any valid value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Literal

import z3
from google.protobuf.descriptor import FieldDescriptor

from policy.areas import Area
from policy.prove import validity
from policy.prove.solver import DOUBLE, FALSE, TRUE, double, every, no, some, text
from policy.prove.validity import always_set, field_at, is_content, name_of, parent_of
from policy.questions import Equivalences
from policy.vocabulary import Kind, Posture, TrafficClass

Sort = Literal["bool", "int", "uint", "double", "string", "timestamp", "duration"]

_SORT_OF: Final[dict[int, Sort]] = {
    FieldDescriptor.CPPTYPE_BOOL: "bool",
    FieldDescriptor.CPPTYPE_DOUBLE: "double",
    FieldDescriptor.CPPTYPE_ENUM: "int",
    FieldDescriptor.CPPTYPE_INT32: "int",
    FieldDescriptor.CPPTYPE_INT64: "int",
    FieldDescriptor.CPPTYPE_UINT32: "uint",
    FieldDescriptor.CPPTYPE_UINT64: "uint",
    FieldDescriptor.CPPTYPE_STRING: "string",
}
_WELL_KNOWN: Final[dict[str, Sort]] = {"google.protobuf.Timestamp": "timestamp", "google.protobuf.Duration": "duration"}

LEAST_INT, MOST_INT, MOST_UINT = -(2**63), 2**63 - 1, 2**64 - 1
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_YEAR_1_NS: Final = -62_135_596_800 * validity.SECOND_NS
_YEAR_10000_NS: Final = 253_402_300_800 * validity.SECOND_NS


def nanoseconds(time: datetime) -> int:
    """Nanoseconds since 1970."""
    since = time - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1_000


def sort_of(field: FieldDescriptor) -> Sort | None:
    """The sort of a field's value; None for messages and lists."""
    if field.is_repeated:
        return None
    if field.message_type is not None:
        return _WELL_KNOWN.get(field.message_type.full_name)
    return _SORT_OF.get(field.cpp_type)


def variable(name: str, sort: Sort) -> z3.ExprRef:
    """A variable of the sort; times and durations are whole nanoseconds."""
    match sort:
        case "bool":
            return z3.Bool(name)
        case "double":
            return z3.FP(name, DOUBLE)
        case "string":
            return z3.String(name)
        case _:
            return z3.Int(name)


def in_range(value: z3.ExprRef, sort: Sort) -> z3.BoolRef:
    """That a value is one that the sort can hold."""
    if sort == "uint" and isinstance(value, z3.ArithRef):
        return z3.And(value >= 0, value <= MOST_UINT)
    if sort == "int" and isinstance(value, z3.ArithRef):
        return z3.And(value >= LEAST_INT, value <= MOST_INT)
    return TRUE


@dataclass(frozen=True, slots=True)
class Setting:
    """Which reports a question is about: those of ``kind``, of one of ``traffic_classes``, made by ``originator``, on
    their way from ``node`` to ``partner``."""

    node: str
    partner: str
    kind: Kind
    traffic_classes: tuple[TrafficClass, ...]
    originator: str

    @property
    def complete(self) -> bool:
        """Whether it is about the node's own reports."""
        return self.originator == self.node


class Subject:
    """The symbolic report. ``constraints`` grows as it is read; every question holds all of it."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.constraints: list[z3.BoolRef] = []
        self.values: dict[str, z3.ExprRef] = {}
        self.presences: dict[str, z3.BoolRef] = {}
        self.sizes: dict[str, z3.ArithRef] = {}
        self.entries: dict[str, list[z3.SeqRef]] = {}
        self.unmodelled: dict[str, z3.BoolRef] = {}
        self.insides: list[tuple[str, Area, z3.BoolRef]] = []
        self.now = z3.Int("now")
        self.trusted = z3.Bool("clock trusted")
        self.posture = z3.String("posture")
        now_us = z3.Int("now in microseconds")
        self.constraints += [
            self.now == now_us * 1_000,
            self.now >= _YEAR_1_NS,
            self.now < _YEAR_10000_NS,
            some(self.posture == text(posture) for posture in Posture),
        ]

    def once(self, name: str, make: Callable[[], z3.BoolRef]) -> z3.BoolRef:
        """A truth that no theory explains, the same for the same name."""
        if name not in self.unmodelled:
            self.unmodelled[name] = make()
        return self.unmodelled[name]

    def present(self, path: str) -> z3.BoolRef:
        """Whether the field is set: a message or a value with presence is there, a text or list not empty, an enum not
        0. False wherever a message above it is absent."""
        if not path:
            return TRUE
        if path not in self.presences:
            self.presences[path] = self._presence(path)
        return self.presences[path]

    def _presence(self, path: str) -> z3.BoolRef:
        field, above = field_at(path), self.present(parent_of(path))
        if is_content(field):
            return TRUE if path == self.setting.kind.arm else FALSE
        if always_set(path, complete=self.setting.complete) or z3.is_false(above):
            return above
        if field.is_repeated:
            return self.size(path) > 0
        if field.has_presence:
            own = z3.Bool(f"has {path}")
            if other := self._comes_with(path):
                self.constraints.append(own == z3.Bool(f"has {other}"))
            return every([above, own])
        value = self.value(path)
        if isinstance(value, z3.SeqRef):
            return value != text("")
        return value != 0

    def _comes_with(self, path: str) -> str:
        """The azimuth of a launch and its uncertainty come together in a complete report."""
        pair = ("launch_detection.initial_azimuth_deg", "launch_detection.azimuth_uncertainty_deg")
        if self.setting.complete and path in pair:
            return pair[1 - pair.index(path)]
        return ""

    def value(self, path: str) -> z3.ExprRef:
        """A field's value; 0, empty or the start of 1970 where it is absent. Raises KeyError for messages and lists."""
        if path not in self.values:
            sort = sort_of(field_at(path))
            if sort is None:
                raise KeyError(path)
            if path == "originator_node":
                self.values[path] = text(self.setting.originator)
                return self.values[path]
            # The variable is known before its constraints are made: they may ask for it.
            self.values[path] = value = variable(f"report.{path}", sort)
            self.constraints.append(self._validity(path, value, sort))
            self._relate(path)
        return self.values[path]

    def _validity(self, path: str, value: z3.ExprRef, sort: Sort) -> z3.BoolRef:
        field = field_at(path)
        above = self.present(parent_of(path))
        needed = always_set(path, complete=self.setting.complete)
        if field.enum_type is not None and isinstance(value, z3.ArithRef):
            if path == "traffic_class":
                return some(value == int(known) for known in self.setting.traffic_classes)
            known = some(value == number for number in validity.defined_values(field))
            return self._or_default(known, value == 0, above, needed)
        if isinstance(value, z3.SeqRef):
            return self._or_default(self._form(name_of(field), value), value == text(""), above, needed)
        valid = self._bounds(name_of(field), value, sort)
        default: z3.BoolRef = value == (double(0.0) if isinstance(value, z3.FPRef) else 0)
        present = self.present(path)
        return every([some([no(present), valid]), some([present, default])])

    @staticmethod
    def _or_default(valid: z3.BoolRef, default: z3.BoolRef, above: z3.BoolRef, needed: bool) -> z3.BoolRef:
        """Without presence of its own a field that is absent has its default."""
        if needed:
            return z3.If(above, valid, default) if not z3.is_true(above) else valid
        return every([some([valid, default]), some([above, default])])

    def _bounds(self, name: str, value: z3.ExprRef, sort: Sort) -> z3.BoolRef:
        bounds = validity.RANGES.get(name)
        if isinstance(value, z3.FPRef):
            finite = z3.Not(z3.Or(z3.fpIsNaN(value), z3.fpIsInf(value)))
            if bounds is None:
                return finite
            return z3.And(z3.fpLEQ(double(bounds.least), value), z3.fpLEQ(value, double(bounds.most)))
        if not isinstance(value, z3.ArithRef):
            return TRUE
        if sort == "timestamp":
            return z3.And(value >= 0, value < validity.END_OF_TIME_NS)
        if sort == "duration":
            most = validity.longest_uncertainty_ns(complete=self.setting.complete)
            return z3.And(value >= 0, value <= most)
        if bounds is None:
            return in_range(value, sort)
        return z3.And(value >= int(bounds.least), value <= int(bounds.most))

    def _form(self, name: str, value: z3.SeqRef) -> z3.BoolRef:
        if name in _SYMBOLIC_FORMS:
            return z3.InRe(value, _SYMBOLIC_FORMS[name])
        if name in validity.LONGEST:
            return z3.Length(value) <= validity.LONGEST[name]
        return TRUE

    def _relate(self, path: str) -> None:
        """What holds between this field and others."""
        setting, head = self.setting, path.rpartition(".")[0]
        name = name_of(field_at(path))
        value = self.values[path]
        if path in validity.times_not_after_report(setting.kind, complete=setting.complete):
            report_time = self.value("report_time")
            if isinstance(value, z3.ArithRef) and isinstance(report_time, z3.ArithRef):
                self.constraints.append(some([no(self.present(path)), value <= report_time]))
        elif name in ("ErrorEllipse.semi_minor_m", "ErrorEllipse.semi_major_m"):
            major, minor = self.value(f"{head}.semi_major_m"), self.value(f"{head}.semi_minor_m")
            if name == "ErrorEllipse.semi_minor_m" and isinstance(major, z3.FPRef) and isinstance(minor, z3.FPRef):
                both = every([self.present(f"{head}.semi_major_m"), self.present(path)])
                self.constraints.append(some([no(both), z3.fpLEQ(minor, major)]))
        elif path == "precedence" and setting.complete and setting.kind is Kind.LAUNCH_DETECTION:
            flash: z3.BoolRef = value == 4
            self.constraints.append(some([self.size("references") > 0, flash]))

    def size(self, path: str) -> z3.ArithRef:
        """Entries of a list; 0 where a message above it is absent."""
        if path not in self.sizes:
            name = name_of(field_at(path))
            self.sizes[path] = size = z3.Int(f"size of {path}")
            complete = self.setting.complete
            least = 1 if always_set(path, complete=complete) else 0
            most = 0 if complete and name in validity.NEVER_SUBMITTED else validity.MOST_ENTRIES.get(name)
            above = self.present(parent_of(path))
            self.constraints.append(z3.If(above, size >= least, size == 0))
            self.constraints.append(some([size == 0, size >= validity.LEAST_ENTRIES.get(name, 1)]))
            if most is not None:
                self.constraints.append(size <= most)
            if path == "references" and complete and self.setting.kind is Kind.LAUNCH_DETECTION:
                self.value("precedence")
        return self.sizes[path]

    @staticmethod
    def repeats(path: str) -> bool:
        """Whether the field is a list."""
        return field_at(path).is_repeated

    def member(self, entry: z3.SeqRef, path: str) -> z3.BoolRef:
        """Whether a text is an entry of a list of texts."""
        known = self.entries.setdefault(path, [])
        belongs = z3.Function(f"entry of {path}", z3.StringSort(), z3.BoolSort())(entry)
        if not isinstance(belongs, z3.BoolRef):
            raise TypeError("membership is a truth")
        if not any(entry.eq(other) for other in known):
            known.append(entry)
            form = self._form(name_of(field_at(path)), entry)
            self.constraints.append(some([no(belongs), every([form, self.size(path) > 0])]))
        return belongs

    def level(self, equivalences: Equivalences) -> tuple[z3.BoolRef, z3.ArithRef]:
        """The classification in the node's own levels: whether it has an equivalent, and which."""
        written, policy = self.value("marking.classification"), self.value("marking.policy")
        if not isinstance(written, z3.ArithRef):
            raise TypeError("a classification is a whole number")
        own: z3.BoolRef = policy == text(self.setting.node)
        known, level = [own], written
        for name, levels in equivalences.items():
            for foreign, equivalent in levels.items():
                meant = every([policy == text(name), written == int(foreign)])
                known.append(meant)
                level = z3.If(meant, z3.IntVal(int(equivalent)), level)
        return some(known), z3.If(own, written, level)


def _capitals(count: int) -> z3.ReRef:
    return z3.Loop(z3.Range("A", "Z"), count, count)


def _characters(*ranges: str) -> z3.ReRef:
    return z3.Union(*(z3.Range(pair[0], pair[-1]) for pair in ranges))


def _identifier() -> z3.ReRef:
    digit = _characters("09", "af")
    dash = z3.Re("-")
    parts = [
        z3.Loop(digit, 8, 8),
        dash,
        z3.Loop(digit, 4, 4),
        dash,
        z3.Range("1", "8"),
        z3.Loop(digit, 3, 3),
        dash,
        _characters("89", "ab"),
        z3.Loop(digit, 3, 3),
        dash,
        z3.Loop(digit, 12, 12),
    ]
    return z3.Concat(*parts)


_NAMING: Final = z3.Loop(_characters("AZ", "az", "09", ".", "_", "/", "-"), 1, 64)
_SYMBOLIC_FORMS: Final = {
    "Report.report_id": _identifier(),
    "Track.track_id": _identifier(),
    "ImpactPrediction.track_id": _identifier(),
    "Correction.replacement_report_id": _identifier(),
    "Correction.report_ids": _identifier(),
    "Cancellation.report_ids": _identifier(),
    "Report.originator_station": _NAMING,
    "Report.event_id": _NAMING,
    "Marking.policy": z3.Loop(_characters("AZ", "09", "_", "-"), 1, 32),
    "Threat.launch_country": z3.Union(_capitals(3), z3.Re("UNKNOWN")),
    "Track.track_number": z3.Loop(_characters("AZ", "09", "-"), 1, 16),
    "Marking.caveats": z3.Loop(_characters("AZ", "09", " ", "_", "-"), 1, 32),
    "Marking.releasable_to": _capitals(3),
    "Marking.onward_release": _capitals(3),
}
"""The whole of a text that is not absent, by message and field (report.proto)."""
