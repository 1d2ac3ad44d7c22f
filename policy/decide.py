"""The decision: what becomes of one report for one partner. Pure: no I/O, no clock, no state.

The report is taken to be valid under the contract (its numbers finite, its enums set). Rules, in order; the first
that applies decides:

1.  A partner without a file in the bundle gets nothing: "(partner has no policy)".
2.  The report's marking must name the partner in ``releasable_to``: else "(not releasable by its marking)".
3.  A report that another node originated is withheld: "(originated elsewhere)". No rule of this language speaks about
    passing on what is not one's own.
4.  A report without a content, a traffic class, a precedence or a classification that the contract defines is
    withheld, and so is every report while the posture is not one of the three: "(policy error)".
5.  The rules that *apply* are those that name the report's kind and its traffic class, in the order of the file.
    The condition of every one of them is evaluated, each by itself. An error in any of them withholds, whatever the
    others say: "(policy error)". While the clock is not trusted, a condition that asks for ``now`` is an error.
6.  A rule *matches* where its condition holds (a rule without one always does) and the posture is one that it names
    (a rule that names none matches in all). The first withhold rule that matches decides: withheld.
7.  A release rule that matches *releases* where its agreement (if it cites one) is in force at ``now`` and the report's
    classification is not above its ceiling. The first that releases decides: released, with its fields.
    An agreement is in force from the start of its day ``from`` until the start of its day ``until``, UTC; none is
    while the clock is not trusted.
8.  Nothing is left but to withhold, and to say why: "(agreement lapsed)" where a matching release rule failed for
    that; else "(above the ceiling)" where one failed for that; else "(no rule releases it)".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from signalfire.v1 import report_pb2

from policy import cel
from policy.errors import EvaluationError
from policy.vocabulary import CONTENT, KIND_OF_ARM, Classification, Effect, Kind, Posture, TrafficClass

_TRAFFIC_CLASSES: Final[frozenset[int]] = frozenset(map(int, TrafficClass))
_CLASSIFICATIONS: Final[frozenset[int]] = frozenset(map(int, Classification))
_PRECEDENCES: Final[frozenset[int]] = frozenset(report_pb2.Precedence.values()) - {report_pb2.PRECEDENCE_UNSPECIFIED}
_POSTURES: Final[frozenset[str]] = frozenset(Posture)


class Outcome(StrEnum):
    """What becomes of a report for a partner."""

    RELEASED = "released"
    WITHHELD = "withheld"
    HELD = "held"
    """To be decided again at a later time."""


class BuiltIn(StrEnum):
    """Reasons that no rule gave. They stand where a rule's name would, in parentheses, which no rule's name has."""

    NO_POLICY = "(partner has no policy)"
    NOT_RELEASABLE = "(not releasable by its marking)"
    ORIGINATED_ELSEWHERE = "(originated elsewhere)"
    POLICY_ERROR = "(policy error)"
    AGREEMENT_LAPSED = "(agreement lapsed)"
    ABOVE_CEILING = "(above the ceiling)"
    NO_RULE = "(no rule releases it)"
    REFERS_TO_NOTHING = "(refers to nothing the partner has)"


class Finding(StrEnum):
    """What one rule says of one report, taken by itself."""

    RELEASES = "releases"
    WITHHOLDS = "withholds"
    CONDITION_FALSE = "its condition does not hold"
    OTHER_POSTURE = "asks for another posture"
    AGREEMENT_LAPSED = "its agreement is not in force"
    ABOVE_CEILING = "the report is above its ceiling"
    ERROR = "its condition could not be evaluated"


@dataclass(frozen=True, slots=True)
class Trace:
    """What one applicable rule said. ``error`` says what went wrong where the finding is ERROR."""

    rule: str
    finding: Finding
    error: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one report for one partner, and why.

    ``rule`` is the rule that decided, or a ``BuiltIn`` reason. ``reason`` is what the officer wrote in that rule,
    and ``agreement`` the agreement that it cites (or that has lapsed). ``fields`` are the leaf paths that may go, in
    the order of the schema, the always released among them; empty unless released. ``error`` says what went wrong
    under "(policy error)". ``traces`` holds what each applicable rule said, in the order of the file.
    """

    outcome: Outcome
    partner: str
    rule: str
    reason: str = ""
    agreement: str = ""
    fields: tuple[str, ...] = ()
    error: str = ""
    traces: tuple[Trace, ...] = ()


@dataclass(frozen=True, slots=True)
class Term:
    """An agreement as a rule cites it: in force where ``starts <= now < ends``."""

    name: str
    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be asked. A release rule has a ceiling and, for every kind that it names, the fields that go."""

    name: str
    effect: Effect
    reason: str
    kinds: tuple[Kind, ...]
    traffic_classes: tuple[TrafficClass, ...]
    posture: frozenset[Posture]
    condition: cel.Condition | None
    ceiling: Classification | None = None
    term: Term | None = None
    fields: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PartnerPolicy:
    """The rules for one partner, in the order of the file, and by (kind, traffic class), so that what a decision
    costs does not grow with the rules that do not apply."""

    partner: str
    rules: tuple[CompiledRule, ...]
    applicable: Mapping[tuple[Kind, int], tuple[CompiledRule, ...]]

    @classmethod
    def of(cls, partner: str, rules: tuple[CompiledRule, ...]) -> PartnerPolicy:
        """Indexes the rules."""
        applicable: dict[tuple[Kind, int], tuple[CompiledRule, ...]] = {}
        for rule in rules:
            for kind in rule.kinds:
                for traffic_class in rule.traffic_classes:
                    applicable[kind, traffic_class] = (*applicable.get((kind, traffic_class), ()), rule)
        return cls(partner, rules, applicable)


def decide(
    policy: PartnerPolicy | None,
    *,
    node: str,
    report: report_pb2.Report,
    partner: str,
    now: datetime,
    posture: str,
    clock_trusted: bool,
) -> Decision:
    """Decides what becomes of ``report`` for ``partner``.

    ``policy`` is the partner's (None where there is none) in the bundle of ``node``; ``now`` carries its time zone;
    ``clock_trusted`` says whether the node's clock is synchronised. Raises ValueError where ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError("now has no time zone: pass an aware datetime, e.g. datetime.now(UTC)")
    if policy is None:
        return _withheld(partner, BuiltIn.NO_POLICY)
    if partner not in report.marking.releasable_to:
        return _withheld(partner, BuiltIn.NOT_RELEASABLE)
    if report.originator_node != node:
        return _withheld(partner, BuiltIn.ORIGINATED_ELSEWHERE)
    if unfit := _unfit(report, posture):
        return _withheld(partner, BuiltIn.POLICY_ERROR, error=unfit)
    kind = KIND_OF_ARM[report.WhichOneof(CONTENT) or ""]
    rules = policy.applicable.get((kind, report.traffic_class), ())
    traces = _findings(rules, report, partner, now, posture, clock_trusted)
    return _weigh(partner, kind, rules, traces)


def _unfit(report: report_pb2.Report, posture: str) -> str:
    """Why step 4 withholds; empty where it does not."""
    if report.WhichOneof(CONTENT) not in KIND_OF_ARM:
        return "the report has no content of a known kind"
    if report.traffic_class not in _TRAFFIC_CLASSES:
        return f"traffic class {report.traffic_class} is not defined"
    if report.precedence not in _PRECEDENCES:
        return f"precedence {report.precedence} is not defined"
    if report.marking.classification not in _CLASSIFICATIONS:
        return f"classification {report.marking.classification} is not defined"
    if posture not in _POSTURES:
        return f'posture "{posture}" is not defined'
    return ""


def _findings(
    rules: tuple[CompiledRule, ...],
    report: report_pb2.Report,
    partner: str,
    now: datetime,
    posture: str,
    clock_trusted: bool,
) -> tuple[Trace, ...]:
    traces = []
    facts: cel.Facts | None = None
    for rule in rules:
        if rule.condition is not None:
            if rule.condition.reads_now and not clock_trusted:
                traces.append(Trace(rule.name, Finding.ERROR, "it asks for now while the clock is not trusted"))
                continue
            if facts is None:
                facts = cel.facts(report, partner, now, posture)
            try:
                holds = rule.condition.holds(facts)
            except EvaluationError as error:
                traces.append(Trace(rule.name, Finding.ERROR, str(error)))
                continue
            if not holds:
                traces.append(Trace(rule.name, Finding.CONDITION_FALSE))
                continue
        traces.append(Trace(rule.name, _standing(rule, report, now, posture, clock_trusted)))
    return tuple(traces)


def _standing(
    rule: CompiledRule, report: report_pb2.Report, now: datetime, posture: str, clock_trusted: bool
) -> Finding:
    """What a rule says whose condition holds."""
    if posture not in rule.posture:
        return Finding.OTHER_POSTURE
    if rule.effect is not Effect.RELEASE or rule.ceiling is None:
        return Finding.WITHHOLDS
    if rule.term is not None and not (clock_trusted and rule.term.starts <= now < rule.term.ends):
        return Finding.AGREEMENT_LAPSED
    if report.marking.classification > rule.ceiling:
        return Finding.ABOVE_CEILING
    return Finding.RELEASES


def _weigh(partner: str, kind: Kind, rules: tuple[CompiledRule, ...], traces: tuple[Trace, ...]) -> Decision:
    """Steps 5 to 8 over what each rule said."""
    first: dict[Finding, CompiledRule] = {}
    for rule, trace in zip(rules, traces, strict=True):
        first.setdefault(trace.finding, rule)
    if Finding.ERROR in first:
        failed = [trace for trace in traces if trace.finding is Finding.ERROR]
        error = "; ".join(f'rule "{trace.rule}": {trace.error}' for trace in failed)
        return _withheld(partner, BuiltIn.POLICY_ERROR, error=error, traces=traces)
    if withholding := first.get(Finding.WITHHOLDS):
        return _withheld(partner, withholding.name, reason=withholding.reason, traces=traces)
    if releasing := first.get(Finding.RELEASES):
        agreement = releasing.term.name if releasing.term else ""
        return Decision(
            Outcome.RELEASED,
            partner,
            releasing.name,
            releasing.reason,
            agreement,
            releasing.fields[kind],
            traces=traces,
        )
    if (lapsed := first.get(Finding.AGREEMENT_LAPSED)) and lapsed.term:
        return _withheld(partner, BuiltIn.AGREEMENT_LAPSED, agreement=lapsed.term.name, traces=traces)
    if Finding.ABOVE_CEILING in first:
        return _withheld(partner, BuiltIn.ABOVE_CEILING, traces=traces)
    return _withheld(partner, BuiltIn.NO_RULE, traces=traces)


def _withheld(
    partner: str,
    rule: str,
    *,
    reason: str = "",
    agreement: str = "",
    error: str = "",
    traces: tuple[Trace, ...] = (),
) -> Decision:
    return Decision(Outcome.WITHHELD, partner, str(rule), reason, agreement, (), error, traces)
