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

from collections.abc import Mapping
from itertools import compress
from types import MappingProxyType
from typing import Final

from signalfire.v1 import report_pb2

from policy import cel
from policy.decision import (
    RELEASED,
    RELEASES,
    WITHHOLDS,
    Asked,
    BuiltIn,
    Circumstances,
    Decision,
    Finding,
    Outcome,
    standing,
    withheld,
)
from policy.errors import EvaluationError
from policy.questions import NOTHING_APPLIES, Block, Equivalences, Policies
from policy.rules import CompiledRule
from policy.vocabulary import CONTENT, KIND_OF_ARM, Classification, Kind, Posture, TrafficClass

_TRAFFIC_CLASSES: Final[frozenset[int]] = frozenset(map(int, TrafficClass))
_CLASSIFICATIONS: Final[Mapping[int, Classification]] = {int(level): level for level in Classification}
_PRECEDENCES: Final[frozenset[int]] = frozenset(report_pb2.Precedence.values()) - {report_pb2.PRECEDENCE_UNSPECIFIED}
_POSTURES: Final[frozenset[str]] = frozenset(Posture)
_NO_ERRORS: Final[Mapping[int, str]] = MappingProxyType({})


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
        applicable = self._question.partners.get(partner, NOTHING_APPLIES)
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


def _weigh(partner: str, kind: Kind, asked: Asked) -> Decision:
    """Steps 5 to 10 over what each rule said."""
    if asked.errors:
        error = "; ".join(f'rule "{asked.rules[place].name}": {said}' for place, said in asked.errors.items())
        return withheld(partner, BuiltIn.POLICY_ERROR, error=error, asked=asked)
    first: dict[Finding, CompiledRule] = {}
    for rule in compress(asked.rules, asked.holds):
        finding = standing(rule, asked.level, asked.circumstances)
        if finding is WITHHOLDS:
            return withheld(partner, rule.name, reason=rule.reason, agreement=_cited(rule), asked=asked)
        first.setdefault(finding, rule)
    if releasing := first.get(RELEASES):
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
