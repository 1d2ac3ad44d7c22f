"""Which decisions an officer wants: the filter of a search, an export or a watch, read strictly.

Rules, in order, each with where it was broken and how to mend it:

1. A list names at most MAX_VALUES things, each of 1 to MAX_TEXT printable characters.
2. Times are times of the contract, and `since` is before `until`.
3. Nodes are ISO 3166-1 alpha-3 codes; kinds, outcomes, traffic classes and precedences are those of the contract.
4. A report is named by a UUID (RFC 9562) in its 36-character lower-case form.

What is not set does not narrow; of a list any one suffices; all that is set must hold. Of a filter for events of the
node only the times and the kinds of events count.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Final, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import ledger_pb2, officer_pb2, report_pb2

from gateway.reports.fields import quoted
from gateway.reports.kinds import Kind
from policy.countries import NODE_CODES

MAX_VALUES: Final = 64
"""Most values of one list: more than a nation has partners. What an officer asks for is put on record in words, which
have to fit an entry."""

MAX_TEXT: Final = 256
"""Characters of one value: longer than any name in a policy or identifier of an event."""

_LATEST_NS: Final = (1 << 63) - 1
"""The latest time that the store holds, in the year 2262."""

T = TypeVar("T")


class FilterError(Exception):
    """A filter, or a page token, that makes no sense: what is wrong, where, and how to mend it."""

    def __init__(self, what: str, where: str, mend: str) -> None:
        super().__init__(f"{where}: {what}; {mend}")
        self.what, self.where, self.mend = what, where, mend


@dataclass(frozen=True, slots=True)
class DecisionFilter:
    """Which decisions are wanted, or with `events` which events of the node. None: whatever it is.

    `since_ns` is included, `until_ns` is not.
    """

    since_ns: int | None = None
    until_ns: int | None = None
    partners: frozenset[str] | None = None
    outcomes: frozenset[int] | None = None
    rules: frozenset[str] | None = None
    kinds: frozenset[str] | None = None
    traffic_classes: frozenset[int] | None = None
    precedences: frozenset[int] | None = None
    agreements: frozenset[str] | None = None
    event_id: str | None = None
    report_id: str | None = None
    originator_node: str | None = None
    events: bool = False
    event_kinds: frozenset[str] | None = None

    @classmethod
    def of(cls, asked: officer_pb2.DecisionFilter) -> DecisionFilter:
        """The filter of a request. Raises FilterError."""
        since = _time(asked.since, "since") if asked.HasField("since") else None
        until = _time(asked.until, "until") if asked.HasField("until") else None
        if since is not None and until is not None and since >= until:
            raise FilterError("it is not before until, so nothing can be wanted", "since", "swap the two")
        return cls(
            since,
            until,
            _some(asked.partners, "partners", _node),
            _some(asked.outcomes, "outcomes", _number(ledger_pb2.Outcome.values())),
            _some(asked.rules, "rules", _text),
            _some(asked.kinds, "kinds", _kind),
            _some(asked.traffic_classes, "traffic_classes", _number(report_pb2.TrafficClass.values())),
            _some(asked.precedences, "precedences", _number(report_pb2.Precedence.values())),
            _some(asked.agreements, "agreements", _text),
            _text(asked.event_id, "event_id") if asked.event_id else None,
            _report_id(asked.report_id, "report_id") if asked.report_id else None,
            _node(asked.originator_node, "originator_node") if asked.originator_node else None,
            asked.events or bool(asked.event_kinds),
            _some(asked.event_kinds, "event_kinds", _text),
        )

    def in_time(self, time_ns: int) -> bool:
        """Whether a time is within the filter's."""
        return (self.since_ns is None or time_ns >= self.since_ns) and (
            self.until_ns is None or time_ns < self.until_ns
        )

    def narrowed(self, entry: officer_pb2.RecordedEntry) -> officer_pb2.RecordedEntry | None:
        """What is wanted of an entry: the event, or the record with those decisions alone that are. None: nothing."""
        if entry.HasField("node_event"):
            event = entry.node_event
            wanted = self.events and self.in_time(event.time.ToNanoseconds()) and _in(event.kind, self.event_kinds)
            return entry if wanted else None
        record = entry.decision_record
        if self.events or not self._wants_record(record):
            return None
        decisions = [decision for decision in record.decisions if self._wants_decision(decision)]
        if not decisions:
            return None
        if len(decisions) == len(record.decisions):
            return entry
        narrow = officer_pb2.RecordedEntry(ledger=entry.ledger, index=entry.index, decision_record=record)
        del narrow.decision_record.decisions[:]
        narrow.decision_record.decisions.extend(decisions)
        return narrow

    def _wants_record(self, record: ledger_pb2.DecisionRecord) -> bool:
        return (
            self.in_time(record.time.ToNanoseconds())
            and _in(record.kind, self.kinds)
            and _in(record.traffic_class, self.traffic_classes)
            and _in(record.precedence, self.precedences)
            and self.event_id in (None, record.event_id)
            and self.report_id in (None, record.report_id)
            and self.originator_node in (None, record.originator_node)
        )

    def _wants_decision(self, decision: ledger_pb2.Decision) -> bool:
        return (
            _in(decision.partner, self.partners)
            and _in(decision.outcome, self.outcomes)
            and _in(decision.rule, self.rules)
            and _in(decision.agreement, self.agreements)
        )


def _in(value: T, wanted: Collection[T] | None) -> bool:
    return wanted is None or value in wanted


def _some(values: Collection[T], where: str, read: Callable[[T, str], T]) -> frozenset[T] | None:
    if len(values) > MAX_VALUES:
        raise FilterError(f"it names {len(values)} values", where, f"name at most {MAX_VALUES}, or search in turns")
    return frozenset(read(value, where) for value in values) or None


def _time(time: Timestamp, where: str) -> int:
    ns: int = time.seconds * 1_000_000_000 + time.nanos
    if not 0 <= time.nanos < 1_000_000_000 or not 0 <= ns <= _LATEST_NS:
        raise FilterError(
            f"{time.seconds} s and {time.nanos} ns is no time between 1970 and 2262", where, "give a UTC time"
        )
    return ns


def _text(value: str, where: str) -> str:
    if not value or len(value) > MAX_TEXT or not value.isprintable():
        raise FilterError(
            f"{quoted(value)} is empty, longer than {MAX_TEXT} characters, or not printable",
            where,
            "give it as it stands in a decision",
        )
    return value


def _node(value: str, where: str) -> str:
    if value not in NODE_CODES:
        raise FilterError(f"{quoted(value)} is no ISO 3166-1 alpha-3 code", where, "give one, such as JPN")
    return value


def _kind(value: str, where: str) -> str:
    if value not in _KINDS:
        raise FilterError(f"{quoted(value)} is no kind of report", where, f"give one of {', '.join(_KINDS)}")
    return value


def _number(known: Iterable[int]) -> Callable[[int, str], int]:
    allowed = sorted(set(known) - {0})

    def read(value: int, where: str) -> int:
        if value not in allowed:
            numbers = f"{allowed[0]} to {allowed[-1]}"
            raise FilterError(f"{value} is not set, or not of the contract", where, f"give one of {numbers}")
        return value

    return read


def _report_id(value: str, where: str) -> str:
    try:
        if str(uuid.UUID(value)) == value:
            return value
    except ValueError:
        pass
    raise FilterError(
        f"{quoted(value)} is no UUID of 36 characters in lower case", where, "give the report's identifier as it stands"
    )


_KINDS: Final = tuple(kind.value for kind in Kind)
