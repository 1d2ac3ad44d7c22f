"""The rules of single fields, and the examination that collects what they find.

Conventions of the contract that hold for every field (`report.proto`, head of the file), in order:

1. A required field must be there: at the C2 door always, at the partner's door only where it is always released.
2. A number is finite and within its range; both doors.
3. An enum holds a value that the contract defines, and never 0; both doors.
4. A text has its form and length, and no control characters (Unicode category Cc), line separators or marks that
   reorder what a person reads (UAX #9 embeddings, overrides and isolates); both doors.
5. An identifier is a UUID (RFC 9562 §4: version 1 to 8, variant 10) in 36 lower-case characters, so neither the nil
   nor the max UUID; both doors.
6. A country is a code of `policy.countries`; an entry of a list stands in it once; both doors.
7. A time is a whole `google.protobuf.Timestamp` (0 to 999,999,999 ns) in the years 1970 to 2200; a duration is not
   negative and a whole `google.protobuf.Duration`; both doors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from typing import Final, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import report_pb2

from gateway.reports.limits import ReportLimits
from gateway.reports.violations import Violation
from policy.countries import ASSIGNED, NODE_CODES

SECOND_NS: Final = 1_000_000_000
HOUR_NS: Final = 3_600 * SECOND_NS
_DERIVED_HOURS: Final = 2
"""The most that a coarsened time may be uncertain by: an hour of its own, and one of coarsening."""
_END_OF_TIME_S: Final = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp())
_QUOTED_CHARACTERS: Final = 48
_MOST_KNOWN: Final = 4_096
T = TypeVar("T")


class Need(Enum):
    """When a field must be there."""

    OPTIONAL = auto()
    """Never."""
    REQUIRED = auto()
    """At the C2 door; a partner's policy may have withheld it."""
    ALWAYS_RELEASED = auto()
    """At both doors."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The range of a number. `least` and `most` belong to it unless the end is said to be open."""

    least: float
    most: float
    remedy: str
    open_below: bool = False
    open_above: bool = False
    lowest: float = field(init=False)
    highest: float = field(init=False)

    def __post_init__(self) -> None:
        lowest = math.nextafter(self.least, math.inf) if self.open_below else self.least
        highest = math.nextafter(self.most, -math.inf) if self.open_above else self.most
        object.__setattr__(self, "lowest", lowest)
        object.__setattr__(self, "highest", highest)

    def problem(self, value: float) -> str:
        """What is wrong with `value`, which is outside."""
        if not math.isfinite(value):
            return f"is {value}, which is not a finite number"
        if value < self.lowest:
            return f"is {value!r}, which is {'not above' if self.open_below else 'below'} {self.least:.15g}"
        return f"is {value!r}, which is {'not below' if self.open_above else 'above'} {self.most:.15g}"


class Known(set[T]):
    """What was found sound before, and would be again: at most `most` of it. It saves looking, and decides nothing."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def keep(self, sound: T) -> None:
        """Keeps one more, and where that would be too many, none of the others."""
        if len(self) >= self._most:
            self.clear()
        self.add(sound)


@dataclass(frozen=True, slots=True)
class TextForm:
    """The form of a text: what the whole of it must match. `known` are some that do, of fields that hold the same in
    many reports.
    """

    fits: Callable[[str], re.Match[str] | None]
    name: str
    remedy: str
    known: Known[str] = field(default_factory=lambda: Known(_MOST_KNOWN), init=False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class EnumForm:
    """The values that the contract defines for an enum, less 0."""

    name: str
    defined: frozenset[int]
    remedy: str


def enum_form(enum: EnumDescriptor) -> EnumForm:
    """The form of `enum`: whatever the contract defines, from the day that it defines it."""
    names = [value.name for value in enum.values if value.number]
    defined = frozenset(value.number for value in enum.values if value.number)
    return EnumForm(enum.name, defined, f"send one of {', '.join(names)}")


UUID: Final = TextForm(
    re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}").fullmatch,
    "a UUID in its lower-case form",
    "send an RFC 9562 UUID (version 1 to 8, not nil) in its 36-character lower-case form",
)
NAMING: Final = TextForm(
    re.compile(r"[A-Za-z0-9._/-]{1,64}").fullmatch,
    "a name",
    'send 1 to 64 characters of A-Z, a-z, 0-9, ".", "_", "-" and "/"',
)
POLICY_NAME: Final = TextForm(
    re.compile(r"[A-Z0-9_-]{1,32}").fullmatch,
    "a policy identifier",
    'send 1 to 32 characters of A-Z, 0-9, "_" and "-"',
)
CAVEAT: Final = TextForm(
    re.compile(r"[A-Z0-9 _-]{1,32}").fullmatch,
    "a caveat",
    'send 1 to 32 characters of A-Z, 0-9, space, "_" and "-"',
)
TRACK_NUMBER: Final = TextForm(
    re.compile(r"[A-Z0-9-]{1,16}").fullmatch, "a track number", 'send 1 to 16 characters of A-Z, 0-9 and "-"'
)

_UNPRINTABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


class Examination:
    """One report being judged: what it is judged by, and what was found so far.

    Each check takes the value, or the message that holds it, then where it stands (`where`, the path of that message;
    empty for the report itself) and its name. A check that finds nothing costs no text.

    A call costs more than most rules. So whoever asks for a check may leave it out where one expression shows that it
    would find nothing: an enum's value is in `EnumForm.defined`; a text `TextForm.fits`, is in `TextForm.known`, or is
    free, printable and not too long; a number is from `Bounds.lowest` to `Bounds.highest` and not 0, which may stand
    for one that is not set.
    """

    __slots__ = ("complete", "countries", "found", "limits", "live", "report")

    def __init__(self, report: report_pb2.Report, limits: ReportLimits, complete: bool) -> None:
        """`complete`: it is judged at the C2 door, where required fields must be there and times must agree."""
        self.report = report
        self.limits = limits
        self.complete = complete
        self.live = report.traffic_class == report_pb2.TRAFFIC_CLASS_LIVE
        self.countries = ASSIGNED if self.live else NODE_CODES
        self.found: list[Violation] = []

    def wrong(self, where: str, name: str, problem: str, remedy: str) -> None:
        """Notes one violation."""
        self.found.append(Violation(f"{where}.{name}" if where else name, problem, remedy))

    def absent(self, where: str, name: str, remedy: str, need: Need = Need.REQUIRED) -> None:
        """Notes that a field is not set, if it must be (rule 1)."""
        if need is Need.ALWAYS_RELEASED or (need is Need.REQUIRED and self.complete):
            self.wrong(where, name, "is not set", remedy)

    def number(self, message: Message, where: str, name: str, bounds: Bounds, need: Need = Need.REQUIRED) -> None:
        """Rules 1 and 2. NaN is in no range, for it compares false."""
        value = getattr(message, name)
        if not message.HasField(name):
            self.absent(where, name, bounds.remedy, need)
        elif not bounds.lowest <= value <= bounds.highest:
            self.wrong(where, name, bounds.problem(value), bounds.remedy)

    def choice(self, value: int, where: str, name: str, form: EnumForm, need: Need = Need.REQUIRED) -> None:
        """Rules 1 and 3."""
        if value in form.defined:
            return
        if value:
            self.wrong(where, name, f"is {value}, which {form.name} does not define", form.remedy)
        else:
            self.absent(where, name, form.remedy, need)

    def text(self, value: str, where: str, name: str, form: TextForm, need: Need = Need.REQUIRED) -> None:
        """Rules 1, 4 and 5."""
        if not value:
            self.absent(where, name, form.remedy, need)
        elif form.fits(value) is None:
            self.wrong(where, name, f"is {quoted(value)}, which is not {form.name}", form.remedy)
        else:
            form.known.keep(value)

    def words(self, value: str, where: str, name: str, most: int) -> None:
        """Optional free text of at most `most` characters (rule 4)."""
        if len(value) > most:
            self.wrong(where, name, f"has {len(value)} characters, more than {most}", f"send at most {most} characters")
        unprintable = _UNPRINTABLE.search(value)
        if unprintable is not None:
            self.wrong(
                where,
                name,
                f"holds the control character U+{ord(unprintable[0]):04X} at character {unprintable.start() + 1}",
                "send plain text on one line",
            )

    def country(self, value: str, where: str, name: str, need: Need = Need.REQUIRED) -> None:
        """Rules 1 and 6."""
        if value in self.countries:
            return
        if value:
            self.wrong(where, name, f"is {quoted(value)}, which is no ISO 3166-1 alpha-3 code", COUNTRY_REMEDY)
        else:
            self.absent(where, name, COUNTRY_REMEDY, need)

    def count(self, size: int, where: str, name: str, most: int) -> bool:
        """Whether a list of `size` is short enough to look into; notes it where it is not."""
        if size > most:
            self.wrong(where, name, f"has {size} entries, more than {most}", f"send at most {most}")
            return False
        return True

    def country_list(self, values: Sequence[str], where: str, name: str, most: int) -> None:
        """A list of nodes (rule 6)."""
        distinct = set(values)
        if len(distinct) == len(values) <= most and distinct <= self.countries:
            return
        if not self.count(len(values), where, name, most):
            return
        seen: set[str] = set()
        for index, value in enumerate(values):
            if value not in self.countries:
                problem = f"is {quoted(value)}, which is no ISO 3166-1 alpha-3 code"
                self.wrong(where, f"{name}[{index}]", problem, COUNTRY_REMEDY)
            elif value in seen:
                self.repeated(where, f"{name}[{index}]", value)
            seen.add(value)

    def text_list(self, values: Sequence[str], where: str, name: str, most: int, form: TextForm) -> None:
        """A list of texts of one form (rules 4 to 6)."""
        if not self.count(len(values), where, name, most):
            return
        seen: set[str] = set()
        for index, value in enumerate(values):
            if form.fits(value) is None:
                problem = f"is {quoted(value)}, which is not {form.name}"
                self.wrong(where, f"{name}[{index}]", problem, form.remedy)
            elif value in seen:
                self.repeated(where, f"{name}[{index}]", value)
            seen.add(value)

    def repeated(self, where: str, name: str, value: str) -> None:
        """Notes an entry that stood in the list before."""
        self.wrong(where, name, f"is {quoted(value)} again", "send each entry once")

    def time(self, message: Message, where: str, name: str, need: Need = Need.REQUIRED) -> int | None:
        """The time in nanoseconds since 1970 (rules 1 and 7); None where there is none that can be believed."""
        stamp: Timestamp = getattr(message, name)
        seconds, nanos = stamp.seconds, stamp.nanos
        # One that is not set reads as 0 s.
        if 0 <= seconds < _END_OF_TIME_S and 0 <= nanos < SECOND_NS and (seconds or message.HasField(name)):
            return seconds * SECOND_NS + nanos
        if not message.HasField(name):
            self.absent(where, name, _TIME_REMEDY, need)
        elif not 0 <= seconds < _END_OF_TIME_S:
            problem = f"is {seconds} s from 1970, which is not in the years 1970 to 2200"
            self.wrong(where, name, problem, _TIME_REMEDY)
        else:
            self.wrong(where, name, f"has {nanos} ns, which is not from 0 to 999,999,999", _TIME_REMEDY)
        return None

    def uncertainty(self, message: Message, where: str, name: str) -> None:
        """A required standard uncertainty of 0 to 1 h, or to 2 h where it was coarsened (rules 1 and 7)."""
        duration: Duration = getattr(message, name)
        seconds, nanos = duration.seconds, duration.nanos
        # One that is not set reads as 0 s.
        if seconds >= 0 and 0 <= nanos < SECOND_NS and 0 < seconds * SECOND_NS + nanos <= HOUR_NS:
            return
        if not message.HasField(name):
            self.absent(where, name, _UNCERTAINTY_REMEDY)
            return
        if seconds < 0 or nanos < 0:
            problem = f"is {seconds} s and {nanos} ns, which is negative"
        elif nanos >= SECOND_NS:
            problem = f"has {nanos} ns, which is a second or more"
        else:
            hours = _DERIVED_HOURS if self._derived(f"{where}.{name}" if where else name) else 1
            if seconds * SECOND_NS + nanos <= hours * HOUR_NS:
                return
            problem = f"is {seconds} s and {nanos} ns, which is more than {hours} h"
        self.wrong(where, name, problem, _UNCERTAINTY_REMEDY)

    def _derived(self, path: str) -> bool:
        """Whether a derivation names `path`, at the door where one may; before any of them is judged."""
        return not self.complete and any(path in derivation.fields for derivation in self.report.derivations)

    def not_after(
        self, time_ns: int | None, where: str, name: str, report_time_ns: int | None, ahead_ns: int = 0
    ) -> None:
        """That a time lies at most `ahead_ns` (and what this door allows for) after the report time."""
        slack_ns = 0 if self.complete else self.limits.coarsening_slack_ns
        if time_ns is None or report_time_ns is None or time_ns <= report_time_ns + ahead_ns + slack_ns:
            return
        allowed = f"at most {seconds_text(ahead_ns)} after" if ahead_ns else "not after"
        self.wrong(
            where,
            name,
            f"is {time_text(time_ns)}, {seconds_text(time_ns - report_time_ns)} after the report time",
            f"send a time that is {allowed} report_time",
        )


COUNTRY_REMEDY: Final = (
    "send an assigned ISO 3166-1 alpha-3 code in upper case (a user-assigned one only outside live traffic)"
)
_TIME_REMEDY: Final = "send a time in UTC in the years 1970 to 2200, with 0 to 999,999,999 ns"
_UNCERTAINTY_REMEDY: Final = "send one standard uncertainty, 0 s to 1 h, with 0 to 999,999,999 ns"


def quoted(value: str) -> str:
    """`value` for an error text: escaped, in quotes, and cut where it is long."""
    if len(value) > _QUOTED_CHARACTERS:
        return f"{value[:_QUOTED_CHARACTERS]!r} and {len(value) - _QUOTED_CHARACTERS} characters more"
    return repr(value)


def time_text(time_ns: int) -> str:
    """A time in nanoseconds since 1970 as RFC 3339 in UTC, to the nanosecond."""
    seconds, nanos = divmod(time_ns, SECOND_NS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanos:09}Z"


def seconds_text(duration_ns: int) -> str:
    """A length of time in seconds, with no more digits than it needs."""
    seconds, nanos = divmod(duration_ns, SECOND_NS)
    fraction = f".{nanos:09}".rstrip("0") if nanos else ""
    return f"{seconds:,}{fraction} s"
