"""The decision: what becomes of one report for one partner. Pure: no I/O, no clock.

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

A report is mostly decided for several partners, whose rules are much alike. So it is *asked about* (``Asking``), for
one partner after another: what does not depend on the partner is worked out once, by the first who needs it, and a
condition that several partners' rules have is evaluated once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import compress
from operator import itemgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from signalfire.v1 import report_pb2

from policy import cel
from policy.errors import EvaluationError
from policy.obligations import NONE, Obligations
from policy.vocabulary import CONTENT, KIND_OF_ARM, Classification, Effect, Kind, Posture, TrafficClass

_TRAFFIC_CLASSES: Final[frozenset[int]] = frozenset(map(int, TrafficClass))
_CLASSIFICATIONS: Final[Mapping[int, Classification]] = {int(level): level for level in Classification}
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


# What every decision asks for: in Python 3.11 an enum's member is read several times as slowly as a name of the module.
RELEASED: Final = Outcome.RELEASED
_RELEASE: Final = Effect.RELEASE
_RELEASES: Final = Finding.RELEASES
_WITHHOLDS: Final = Finding.WITHHOLDS


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
        if self.now.tzinfo is None:
            raise ValueError(_NO_ZONE.format("now"))
        if self.accepted is not None and self.accepted.tzinfo is None:
            raise ValueError(_NO_ZONE.format("accepted"))


_NO_ZONE: Final = "{} has no time zone: pass an aware datetime, e.g. datetime.now(UTC)"


@dataclass(frozen=True, slots=True)
class Trace:
    """What one applicable rule said. ``error`` says what went wrong where the finding is ERROR."""

    rule: str
    finding: Finding
    error: str = ""


class Asked(NamedTuple):
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


# Not frozen, which would make each several times as slow to create; nobody changes one.
@dataclass(slots=True)
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
class PartnerPolicy:
    """The rules for one partner, in the order of the file."""

    partner: str
    rules: tuple[CompiledRule, ...]
    language: cel.Language


class Block(NamedTuple):
    """Conditions that are evaluated in one call, and one by one only where one of them errs.

    What they say stands among the answers from ``start`` on. ``partner`` is whose name they are asked in; None where
    they do not ask who the partner is. ``reads_now`` says whether any of them asks for the time.
    """

    start: int
    conditions: tuple[cel.Condition, ...]
    fused: cel.Fused
    partner: str | None
    reads_now: bool


class Applicable(NamedTuple):
    """The rules of one partner that apply, in the order of the file; where among the answers that to each one's
    condition stands, what picks these answers out, and the blocks that give them."""

    rules: tuple[CompiledRule, ...]
    places: tuple[int, ...]
    pick: Callable[[Sequence[bool]], tuple[bool, ...]]
    blocks: tuple[Block, ...]


_ALWAYS: Final = 0
"""Place of the answer for rules without a condition: they always hold."""

_NO_ERRORS: Final[Mapping[int, str]] = MappingProxyType({})

_NOTHING_APPLIES: Final = Applicable((), (), lambda answers: (), ())


class Question(NamedTuple):
    """What is asked about reports of one kind, traffic class and originator: the rules that apply, by partner, and how
    many blocks and answers there are.

    A condition that several partners' rules have is asked once. It stands in the block of the first partner that has
    it; so a block holds one partner's conditions at most, one that errs spoils no other block, and for a partner no
    more are evaluated than its own block and those that it has a share in.
    """

    blocks: int
    answers: int
    partners: Mapping[str, Applicable]

    @classmethod
    def of(cls, applying: Mapping[str, Sequence[CompiledRule]], language: cel.Language) -> Question:
        """Arranges the conditions of these rules, by partner, in blocks."""
        blocks, answers = 0, _ALWAYS + 1
        found: dict[tuple[str, str | None], tuple[int, Block]] = {}
        partners = {}
        for partner, rules in applying.items():
            asked = [_asked_as(rule.condition, partner) for rule in rules]
            for name in (None, partner):
                fresh = {
                    key: rule.condition
                    for key, rule in zip(asked, rules, strict=True)
                    if rule.condition is not None and key is not None and key[1] == name and key not in found
                }
                if fresh:
                    conditions = tuple(fresh.values())
                    reads_now = any(condition.reads_now for condition in conditions)
                    block = Block(answers, conditions, language.fuse(conditions), name, reads_now)
                    found |= {key: (place, block) for place, key in enumerate(fresh, answers)}
                    blocks, answers = blocks + 1, answers + len(fresh)
            places = tuple(_ALWAYS if key is None else found[key][0] for key in asked)
            needed = {found[key][1].start: found[key][1] for key in asked if key is not None}
            partners[partner] = Applicable(tuple(rules), places, _picker(places), tuple(needed.values()))
        return cls(blocks, answers, partners)


def _picker(places: tuple[int, ...]) -> Callable[[Sequence[bool]], tuple[bool, ...]]:
    """Gives what stands at these places. ``itemgetter`` does, but for a single one gives no tuple."""
    return itemgetter(*places) if len(places) > 1 else lambda answers: tuple(answers[place] for place in places)


_NO_QUESTION: Final = Question(0, _ALWAYS + 1, {})


def _asked_as(condition: cel.Condition | None, partner: str) -> tuple[str, str | None] | None:
    """What tells one answer from another: the condition's text, and the partner where it asks who that is."""
    return None if condition is None else (condition.text, partner if condition.reads_partner else None)


Equivalences = Mapping[str, Mapping[Classification, Classification]]
"""By the marking's policy: what its levels are protected as here."""


@dataclass(frozen=True, slots=True)
class Policies:
    """The rules for all partners of a node, and what is asked by kind (its field of ``Report``), traffic class and
    originator, so that what a decision costs does not grow with the rules that do not apply. Under the originator None
    stand the rules about every node's reports, for nodes that no rule names."""

    node: str
    partners: Mapping[str, PartnerPolicy]
    equivalences: Equivalences
    language: cel.Language
    questions: Mapping[tuple[str, int, str | None], Question]

    @classmethod
    def of(
        cls, node: str, policies: Iterable[PartnerPolicy], equivalences: Equivalences, language: cel.Language
    ) -> Policies:
        """Arranges what is asked, ahead of the first report."""
        partners = MappingProxyType({policy.partner: policy for policy in policies})
        every = [(policy.partner, rule) for policy in partners.values() for rule in policy.rules]
        named = frozenset[str]().union(*(rule.originators for _, rule in every if rule.originators is not None))
        applying: dict[tuple[str, int, str | None], dict[str, list[CompiledRule]]] = {}
        for partner, rule in every:
            for kind in rule.kinds:
                for traffic_class in rule.traffic_classes:
                    for originator in (*named, None) if rule.originators is None else rule.originators:
                        key = (kind.arm, int(traffic_class), originator)
                        applying.setdefault(key, {}).setdefault(partner, []).append(rule)
        # Rules are mostly about the same things: what is asked by the same rules is arranged once.
        made: dict[tuple[tuple[str, ...], ...], Question] = {}
        questions = {}
        for key, listed in applying.items():
            names = tuple((partner, *(rule.name for rule in rules)) for partner, rules in listed.items())
            if names not in made:
                made[names] = Question.of(listed, language)
            questions[key] = made[names]
        return cls(node, partners, equivalences, language, questions)

    def question(self, arm: str, traffic_class: int, originator: str) -> Question:
        """What is asked about such a report."""
        found = self.questions.get((arm, traffic_class, originator))
        return self.questions.get((arm, traffic_class, None), _NO_QUESTION) if found is None else found


def own_level(marking: report_pb2.Marking, node: str, equivalences: Equivalences) -> Classification | None:
    """The classification in the node's own levels; None where it has no equivalent."""
    level = _CLASSIFICATIONS[marking.classification]
    if marking.policy == node:
        return level
    return equivalences.get(marking.policy, {}).get(level)


class Asking:
    """One report under one policy and in one set of circumstances: ask what becomes of it for each partner.

    For one thread at a time, and only as long as the report stays as it is.
    """

    __slots__ = (
        "_answers",
        "_circumstances",
        "_errors",
        "_evaluated",
        "_facts",
        "_kind",
        "_level",
        "_named",
        "_policies",
        "_question",
        "_report",
        "_unfit",
    )

    def __init__(self, policies: Policies, report: report_pb2.Report, circumstances: Circumstances) -> None:
        self._policies = policies
        self._report = report
        self._circumstances = circumstances
        marking = report.marking
        self._named = marking.releasable_to if report.originator_node == policies.node else marking.onward_release
        self._unfit: str | None = None

    def decide(self, partner: str) -> Decision:
        """Decides what becomes of the report for ``partner``."""
        if partner in self._circumstances.suspended:
            return withheld(partner, BuiltIn.SUSPENDED)
        if partner not in self._policies.partners:
            return withheld(partner, BuiltIn.NO_POLICY)
        originator = self._report.originator_node
        if originator == partner:
            return withheld(partner, BuiltIn.ORIGINATED_THERE)
        if partner not in self._named:
            is_own = originator == self._policies.node
            return withheld(partner, BuiltIn.NOT_RELEASABLE if is_own else BuiltIn.NOT_ONWARD)
        if self._unfit is None:
            self._prepare()
        if self._unfit:
            return withheld(partner, BuiltIn.POLICY_ERROR, error=self._unfit)
        return _weigh(partner, self._kind, self._ask(partner))

    def _prepare(self) -> None:
        """Step 4, and all else that is the same for every partner."""
        report, policies = self._report, self._policies
        arm = report.WhichOneof(CONTENT) or ""
        unfit = _unfit(report, arm, self._circumstances.posture)
        if not unfit:
            self._kind = KIND_OF_ARM[arm]
            self._level = own_level(report.marking, policies.node, policies.equivalences)
            self._question = policies.question(arm, report.traffic_class, report.originator_node)
            self._answers = [True] * self._question.answers
            self._errors: dict[int, str] = {}
            self._evaluated: set[int] = set()
            self._facts: cel.Facts | None = None
        self._unfit = unfit

    def _ask(self, partner: str) -> Asked:
        """Step 5: whether the condition of each of the partner's rules holds, and the errors, by place."""
        applicable = self._question.partners.get(partner, _NOTHING_APPLIES)
        for block in applicable.blocks:
            if block.start not in self._evaluated:
                self._evaluate(block)
        errors = _NO_ERRORS
        if failed := self._errors:
            errors = {at: failed[place] for at, place in enumerate(applicable.places) if place in failed}
        holds = applicable.pick(self._answers)
        return Asked(applicable.rules, holds, errors, self._level, self._circumstances)

    def _evaluate(self, block: Block) -> None:
        """Answers the conditions of a block; of one that cannot be evaluated, the error."""
        facts, clock_trusted = self._facts_for(block.partner), self._circumstances.clock_trusted
        values = block.fused.evaluate(facts) if clock_trusted or not block.reads_now else None
        if values is not None:
            self._answers[block.start : block.start + len(values)] = values
        else:
            for place, condition in enumerate(block.conditions, block.start):
                try:
                    if condition.reads_now and not clock_trusted:
                        raise EvaluationError("it asks for now while the clock is not trusted")
                    self._answers[place] = condition.holds(facts)
                except EvaluationError as error:
                    self._errors[place] = str(error)
        # Only now: what raised anything else is not taken for answered.
        self._evaluated.add(block.start)

    def _facts_for(self, partner: str | None) -> cel.Facts:
        if partner is None and self._facts is not None:
            return self._facts
        now, posture = self._circumstances.now, self._circumstances.posture
        often = self._question.blocks > 1
        facts = self._policies.language.facts(self._report, partner, now, posture, often=often)
        if partner is None:
            self._facts = facts
        return facts


def _unfit(report: report_pb2.Report, arm: str, posture: str) -> str:
    """Why step 4 withholds; empty where it does not."""
    if arm not in KIND_OF_ARM:
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


def _standing(rule: CompiledRule, level: Classification | None, circumstances: Circumstances) -> Finding:
    """What a rule says whose condition holds."""
    if circumstances.posture not in rule.posture:
        return Finding.OTHER_POSTURE
    if rule.effect is not _RELEASE or rule.ceiling is None:
        return _WITHHOLDS
    if rule.term is not None and not (
        circumstances.clock_trusted and rule.term.starts <= circumstances.now < rule.term.ends
    ):
        return Finding.AGREEMENT_LAPSED
    if level is None:
        return Finding.NO_EQUIVALENT
    if level > rule.ceiling:
        return Finding.ABOVE_CEILING
    return _RELEASES


def _weigh(partner: str, kind: Kind, asked: Asked) -> Decision:
    """Steps 5 to 10 over what each rule said."""
    if asked.errors:
        error = "; ".join(f'rule "{asked.rules[place].name}": {said}' for place, said in asked.errors.items())
        return withheld(partner, BuiltIn.POLICY_ERROR, error=error, asked=asked)
    first: dict[Finding, CompiledRule] = {}
    for rule in compress(asked.rules, asked.holds):
        standing = _standing(rule, asked.level, asked.circumstances)
        if standing is _WITHHOLDS:
            return withheld(partner, rule.name, reason=rule.reason, agreement=_cited(rule), asked=asked)
        first.setdefault(standing, rule)
    if releasing := first.get(_RELEASES):
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
        RELEASED, partner, rule.name, rule.reason, agreement, rule.fields[kind], rule.obligations, asked=asked
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
