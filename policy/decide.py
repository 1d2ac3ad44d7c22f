"""The decision: what becomes of one report for one partner. Pure: no I/O, no clock, no state.

The report is taken to be valid under the contract (its numbers finite, its enums set). Rules, in order; the first
that applies decides:

1.  A suspended partner gets nothing: "(partner suspended)".
2.  A partner without a file in the bundle gets nothing: "(partner has no policy)".
3.  An own report goes only to whom its marking names in ``releasable_to``: else "(not releasable by its marking)". A
    report of another originator goes only to whom that originator named in ``onward_release``: else "(onward release
    not allowed by its originator)". Nothing goes back to its originator: "(originated there)".
4.  A report without a content, a traffic class, a precedence or a classification that the contract defines is
    withheld, and so is every report while the posture is not one of the three: "(policy error)".
5.  The rules that *apply* are those that name the report's kind, its traffic class and its originator, in the order
    of the file; a release rule that names no originator is about the node's own reports, a withhold rule about every
    node's. The condition of every one of them is evaluated. An error in any of them withholds, whatever the others
    say: "(policy error)". While the clock is not trusted, a condition that asks for ``now`` is an error.
6.  A rule *matches* where its condition holds (a rule without one always does) and the posture is one that it names
    (a rule that names none matches in all). The first withhold rule that matches decides: withheld.
7.  The report's classification is read in the node's own levels: as it stands where the marking's policy is the
    node's own, else by the bundle's equivalences. Without an equivalent nothing is released: "(no equivalent
    classification)".
8.  A release rule that matches *releases* where its agreement (if it cites one) is in force at ``now`` and the level is
    not above its ceiling. The first that releases decides, alone: with its fields, its obligations and its hold.
    An agreement is in force from its ``from`` until, not including, its ``until``, where a day stands for its start,
    UTC; none is while the clock is not trusted.
9.  Where that rule holds reports, the report is held until its acceptance and the hold have passed, and then decided
    again as a whole. A hold is never over while the clock is not trusted.
10. Nothing is left but to withhold, and to say why: "(agreement lapsed)" where a matching release rule failed for
    that; else "(no equivalent classification)" where one failed for that; else "(above the ceiling)" where one failed
    for that; else "(no rule releases it)".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from signalfire.v1 import report_pb2

from policy import cel
from policy.errors import EvaluationError
from policy.obligations import NONE, Obligations
from policy.vocabulary import CONTENT, KIND_OF_ARM, Classification, Effect, Kind, Posture, TrafficClass

_TRAFFIC_CLASSES: Final[frozenset[int]] = frozenset(map(int, TrafficClass))
_CLASSIFICATIONS: Final[frozenset[int]] = frozenset(map(int, Classification))
_PRECEDENCES: Final[frozenset[int]] = frozenset(report_pb2.Precedence.values()) - {report_pb2.PRECEDENCE_UNSPECIFIED}
_POSTURES: Final[frozenset[str]] = frozenset(Posture)

NO_HOLD: Final = timedelta()


class Outcome(StrEnum):
    """What becomes of a report for a partner."""

    RELEASED = "released"
    WITHHELD = "withheld"
    HELD = "held"
    """To be decided again at a later time."""


class BuiltIn(StrEnum):
    """Reasons that no rule gave. They stand where a rule's name would, in parentheses, which no rule's name has."""

    SUSPENDED = "(partner suspended)"
    NO_POLICY = "(partner has no policy)"
    NOT_RELEASABLE = "(not releasable by its marking)"
    NOT_ONWARD = "(onward release not allowed by its originator)"
    ORIGINATED_THERE = "(originated there)"
    POLICY_ERROR = "(policy error)"
    NO_EQUIVALENT = "(no equivalent classification)"
    AGREEMENT_LAPSED = "(agreement lapsed)"
    ABOVE_CEILING = "(above the ceiling)"
    NO_RULE = "(no rule releases it)"
    REFERS_TO_NOTHING = "(refers to nothing the partner has)"
    RECALLED = "(recalled while it was held)"


class Finding(StrEnum):
    """What one rule says of one report, taken by itself."""

    RELEASES = "releases"
    WITHHOLDS = "withholds"
    CONDITION_FALSE = "its condition does not hold"
    OTHER_POSTURE = "asks for another posture"
    AGREEMENT_LAPSED = "its agreement is not in force"
    NO_EQUIVALENT = "the report's classification has no equivalent"
    ABOVE_CEILING = "the report is above its ceiling"
    ERROR = "its condition could not be evaluated"


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What a decision depends on beside the report and the policy.

    ``now`` and ``accepted`` (when this node took the report; None: now) carry their time zone. ``posture`` is the one
    in force, ``suspended`` the partners who get nothing. ``clock_trusted`` says whether the node's clock is
    synchronised. Raises ValueError where a time has no zone.
    """

    now: datetime
    posture: str
    accepted: datetime | None = None
    clock_trusted: bool = True
    suspended: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        for name, time in (("now", self.now), ("accepted", self.accepted)):
            if time is not None and time.tzinfo is None:
                raise ValueError(f"{name} has no time zone: pass an aware datetime, e.g. datetime.now(UTC)")


@dataclass(frozen=True, slots=True)
class Trace:
    """What one applicable rule said. ``error`` says what went wrong where the finding is ERROR."""

    rule: str
    finding: Finding
    error: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """The rules that applied, in the order of the file, and what they were asked: from it follows what each said.

    ``holds`` says by place whether a rule's condition holds, ``errors`` which could not be evaluated. ``level`` is the
    report's classification in the node's own levels.
    """

    rules: tuple[CompiledRule, ...]
    holds: Sequence[bool]
    errors: Mapping[int, str]
    level: Classification | None
    circumstances: Circumstances

    def finding(self, place: int) -> Finding:
        """What the rule at a place said."""
        if place in self.errors:
            return Finding.ERROR
        if not self.holds[place]:
            return Finding.CONDITION_FALSE
        return _standing(self.rules[place], self.level, self.circumstances)


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one report for one partner, and why.

    ``rule`` is the rule that decided, or a ``BuiltIn`` reason. ``reason`` is what the officer wrote in that rule,
    and ``agreement`` the agreement that it cites (or that has lapsed). ``fields`` are the leaf paths that may go, in
    the order of the schema, the always released among them, and ``obligations`` what is done to them; both empty
    unless released. ``hold_until`` is when a held report is decided again. ``error`` says what went wrong under
    "(policy error)".
    """

    outcome: Outcome
    partner: str
    rule: str
    reason: str = ""
    agreement: str = ""
    fields: tuple[str, ...] = ()
    obligations: Obligations = NONE
    hold_until: datetime | None = None
    error: str = ""
    asked: Asked | None = field(default=None, repr=False)

    @property
    def traces(self) -> tuple[Trace, ...]:
        """What each applicable rule said, in the order of the file; worked out when it is asked for."""
        asked = self.asked
        if asked is None:
            return ()
        return tuple(
            Trace(rule.name, asked.finding(place), asked.errors.get(place, ""))
            for place, rule in enumerate(asked.rules)
        )


@dataclass(frozen=True, slots=True)
class Term:
    """An agreement as a rule cites it: in force where ``starts <= now < ends``."""

    name: str
    starts: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class CompiledRule:
    """A rule, ready to be asked. A release rule has a ceiling and, for every kind that it names, the fields that go.

    ``originators`` are the nodes whose reports it is about; None, which only a withhold rule may have: every node's.
    ``hold`` is zero where nothing is held.
    """

    name: str
    effect: Effect
    reason: str
    kinds: tuple[Kind, ...]
    traffic_classes: tuple[TrafficClass, ...]
    posture: frozenset[Posture]
    originators: frozenset[str] | None
    condition: cel.Condition | None
    ceiling: Classification | None = None
    term: Term | None = None
    fields: Mapping[Kind, tuple[str, ...]] = field(default_factory=dict)
    hold: timedelta = NO_HOLD
    obligations: Obligations = NONE

    def is_about(self, originator: str) -> bool:
        """Whether it is about this node's reports."""
        return self.originators is None or originator in self.originators


@dataclass(frozen=True, slots=True)
class Applicable:
    """The rules that apply to one kind of report of one traffic class from one originator, in the order of the file.

    ``places`` says at which place of ``rules`` each condition of ``fused`` stands: all conditions are evaluated in one
    call, and one by one only where one of them errs. ``reads_now`` says whether any of them asks for the time.
    """

    rules: tuple[CompiledRule, ...]
    places: tuple[int, ...]
    fused: cel.Fused | None
    reads_now: bool

    @classmethod
    def of(cls, rules: tuple[CompiledRule, ...], language: cel.Language) -> Applicable:
        """Fuses the conditions of these rules."""
        conditions = [(place, rule.condition) for place, rule in enumerate(rules) if rule.condition is not None]
        fused = language.fuse([condition for _, condition in conditions]) if conditions else None
        reads_now = any(condition.reads_now for _, condition in conditions)
        return cls(rules, tuple(place for place, _ in conditions), fused, reads_now)


_NO_ERRORS: Final[Mapping[int, str]] = MappingProxyType({})

_NOTHING_APPLIES: Final = Applicable((), (), None, False)


@dataclass(frozen=True, slots=True)
class PartnerPolicy:
    """The rules for one partner, in the order of the file, and by (kind, traffic class, originator), so that what a
    decision costs does not grow with the rules that do not apply. Under the originator None stand the rules about every
    node's reports, for nodes that no rule names."""

    partner: str
    rules: tuple[CompiledRule, ...]
    indexed: Mapping[tuple[Kind, int, str | None], Applicable]
    language: cel.Language

    @classmethod
    def of(cls, partner: str, rules: tuple[CompiledRule, ...], language: cel.Language) -> PartnerPolicy:
        """Indexes the rules."""
        named = frozenset[str]().union(*(rule.originators for rule in rules if rule.originators is not None))
        found: dict[tuple[Kind, int, str | None], list[CompiledRule]] = {}
        for rule in rules:
            for kind in rule.kinds:
                for traffic_class in rule.traffic_classes:
                    for originator in (*named, None) if rule.originators is None else rule.originators:
                        found.setdefault((kind, int(traffic_class), originator), []).append(rule)
        # Rules are mostly about the same things: each list of rules is fused once.
        fused: dict[tuple[str, ...], Applicable] = {}
        indexed = {}
        for key, listed in found.items():
            names = tuple(rule.name for rule in listed)
            if names not in fused:
                fused[names] = Applicable.of(tuple(listed), language)
            indexed[key] = fused[names]
        return cls(partner, rules, indexed, language)

    def applicable(self, kind: Kind, traffic_class: int, originator: str) -> Applicable:
        """The rules that apply to such a report."""
        found = self.indexed.get((kind, traffic_class, originator))
        return self.indexed.get((kind, traffic_class, None), _NOTHING_APPLIES) if found is None else found


Equivalences = Mapping[str, Mapping[Classification, Classification]]
"""By the marking's policy: what its levels are protected as here."""


def own_level(marking: report_pb2.Marking, node: str, equivalences: Equivalences) -> Classification | None:
    """The classification in the node's own levels; None where it has no equivalent."""
    level = Classification(marking.classification)
    if marking.policy == node:
        return level
    return equivalences.get(marking.policy, {}).get(level)


def decide(
    policy: PartnerPolicy | None,
    *,
    node: str,
    report: report_pb2.Report,
    partner: str,
    circumstances: Circumstances,
    equivalences: Equivalences,
) -> Decision:
    """Decides what becomes of ``report`` for ``partner``.

    ``policy`` is the partner's (None where there is none) in the bundle of ``node``, ``equivalences`` are the bundle's.
    """
    if partner in circumstances.suspended:
        return withheld(partner, BuiltIn.SUSPENDED)
    if policy is None:
        return withheld(partner, BuiltIn.NO_POLICY)
    if report.originator_node == node:
        if partner not in report.marking.releasable_to:
            return withheld(partner, BuiltIn.NOT_RELEASABLE)
    elif report.originator_node == partner:
        return withheld(partner, BuiltIn.ORIGINATED_THERE)
    elif partner not in report.marking.onward_release:
        return withheld(partner, BuiltIn.NOT_ONWARD)
    if unfit := _unfit(report, circumstances.posture):
        return withheld(partner, BuiltIn.POLICY_ERROR, error=unfit)
    kind = KIND_OF_ARM[report.WhichOneof(CONTENT) or ""]
    applicable = policy.applicable(kind, report.traffic_class, report.originator_node)
    holds, errors = _ask(applicable, policy.language, report, partner, circumstances)
    level = own_level(report.marking, node, equivalences)
    return _weigh(partner, kind, Asked(applicable.rules, holds, errors, level, circumstances))


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


def _ask(
    applicable: Applicable,
    language: cel.Language,
    report: report_pb2.Report,
    partner: str,
    circumstances: Circumstances,
) -> tuple[Sequence[bool], Mapping[int, str]]:
    """Step 5: whether the condition of each rule holds, by place, and the errors by place."""
    if applicable.fused is None:
        return [True] * len(applicable.rules), _NO_ERRORS
    facts = language.facts(report, partner, circumstances.now, circumstances.posture)
    timeless = applicable.reads_now and not circumstances.clock_trusted
    values = None if timeless else applicable.fused.evaluate(facts)
    if values is not None and len(values) == len(applicable.rules):
        return values, _NO_ERRORS
    holds = [True] * len(applicable.rules)
    if values is not None:
        for place, value in zip(applicable.places, values, strict=True):
            holds[place] = value
        return holds, _NO_ERRORS
    errors: dict[int, str] = {}
    for place in applicable.places:
        condition = applicable.rules[place].condition
        assert condition is not None  # `places` names rules that have one
        if condition.reads_now and not circumstances.clock_trusted:
            errors[place] = "it asks for now while the clock is not trusted"
            continue
        try:
            holds[place] = condition.holds(facts)
        except EvaluationError as error:
            errors[place] = str(error)
    return holds, errors


def _standing(rule: CompiledRule, level: Classification | None, circumstances: Circumstances) -> Finding:
    """What a rule says whose condition holds."""
    if circumstances.posture not in rule.posture:
        return Finding.OTHER_POSTURE
    if rule.effect is not Effect.RELEASE or rule.ceiling is None:
        return Finding.WITHHOLDS
    if rule.term is not None and not (
        circumstances.clock_trusted and rule.term.starts <= circumstances.now < rule.term.ends
    ):
        return Finding.AGREEMENT_LAPSED
    if level is None:
        return Finding.NO_EQUIVALENT
    if level > rule.ceiling:
        return Finding.ABOVE_CEILING
    return Finding.RELEASES


def _weigh(partner: str, kind: Kind, asked: Asked) -> Decision:
    """Steps 5 to 10 over what each rule said."""
    if asked.errors:
        error = "; ".join(f'rule "{asked.rules[place].name}": {said}' for place, said in asked.errors.items())
        return withheld(partner, BuiltIn.POLICY_ERROR, error=error, asked=asked)
    first: dict[Finding, CompiledRule] = {}
    for rule, holds in zip(asked.rules, asked.holds, strict=True):
        if holds:
            first.setdefault(_standing(rule, asked.level, asked.circumstances), rule)
    if withholding := first.get(Finding.WITHHOLDS):
        agreement = _cited(withholding)
        return withheld(partner, withholding.name, reason=withholding.reason, agreement=agreement, asked=asked)
    if releasing := first.get(Finding.RELEASES):
        return _released(partner, kind, releasing, asked)
    if lapsed := first.get(Finding.AGREEMENT_LAPSED):
        return withheld(partner, BuiltIn.AGREEMENT_LAPSED, agreement=_cited(lapsed), asked=asked)
    if Finding.NO_EQUIVALENT in first:
        return withheld(partner, BuiltIn.NO_EQUIVALENT, asked=asked)
    if Finding.ABOVE_CEILING in first:
        return withheld(partner, BuiltIn.ABOVE_CEILING, asked=asked)
    return withheld(partner, BuiltIn.NO_RULE, asked=asked)


def _released(partner: str, kind: Kind, rule: CompiledRule, asked: Asked) -> Decision:
    """Step 9."""
    agreement, circumstances = _cited(rule), asked.circumstances
    if rule.hold:
        due = (circumstances.accepted or circumstances.now) + rule.hold
        if not circumstances.clock_trusted or circumstances.now < due:
            return Decision(Outcome.HELD, partner, rule.name, rule.reason, agreement, hold_until=due, asked=asked)
    return Decision(
        Outcome.RELEASED, partner, rule.name, rule.reason, agreement, rule.fields[kind], rule.obligations, asked=asked
    )


def _cited(rule: CompiledRule) -> str:
    return rule.term.name if rule.term else ""


def withheld(
    partner: str,
    rule: str,
    *,
    reason: str = "",
    agreement: str = "",
    error: str = "",
    asked: Asked | None = None,
) -> Decision:
    """A decision to withhold. ``rule`` is the rule that decided, or a built-in reason."""
    return Decision(Outcome.WITHHELD, partner, str(rule), reason, agreement, error=error, asked=asked)
