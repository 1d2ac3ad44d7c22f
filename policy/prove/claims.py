"""Invariants as claims about every valid report: proved, or refuted by a report that the bundle itself treats so.

Withdrawals need no claim: the notice that an earlier report no longer stands carries no content.
"""

from __future__ import annotations

from collections.abc import Callable

import z3

from policy.bundle import Bundle
from policy.invariants import Invariant
from policy.prove import replay
from policy.prove.counterexample import suggest
from policy.prove.decision import Deciding, Rule, settings
from policy.prove.solver import LOCK, TRUE, Answer, Question, every, no, some, text
from policy.prove.subject import Setting, Subject
from policy.prove.verdict import Counterexample, ProofSettings, Status, Verdict
from policy.vocabulary import Effect, Posture

_ORDER = (Status.PROVED, Status.UNDECIDED, Status.UNCONFIRMED, Status.REFUTED)
"""From the best to the worst."""


def prove(bundle: Bundle, settings_: ProofSettings) -> tuple[Verdict, ...]:
    """Every invariant of a bundle, for each partner that it is about, in the order of the file."""
    with LOCK:
        verdicts: dict[tuple[str, str], Verdict] = {}
        for invariant in bundle.invariants:
            concerned = [partner for partner in sorted(bundle.partners) if invariant.concerns(partner)]
            for partner in concerned or [""]:
                verdicts[invariant.name, partner] = Verdict(invariant.name, partner, Status.PROVED)
        for partner, policy in sorted(bundle.partners.items()):
            open_claims = [invariant for invariant in bundle.invariants if invariant.concerns(partner)]
            for setting in settings(bundle.node, partner, policy):
                subject = Subject(setting)
                deciding: Deciding | None = None
                for invariant in open_claims:
                    if verdicts[invariant.name, partner].status is Status.REFUTED or not _about(invariant, setting):
                        continue
                    if settings_.left_ms():
                        deciding = deciding or Deciding(bundle, subject)
                        found = _claim(bundle, invariant, deciding, settings_)
                    else:
                        found = Verdict(invariant.name, partner, Status.UNDECIDED, kind=setting.kind)
                    if _ORDER.index(found.status) > _ORDER.index(verdicts[invariant.name, partner].status):
                        verdicts[invariant.name, partner] = found
        return tuple(verdicts.values())


def _about(invariant: Invariant, setting: Setting) -> bool:
    return setting.kind in invariant.kinds and not set(setting.traffic_classes).isdisjoint(invariant.traffic_classes)


def _claim(bundle: Bundle, invariant: Invariant, deciding: Deciding, settings_: ProofSettings) -> Verdict:
    subject = deciding.subject
    setting = subject.setting
    partner = setting.partner
    suspects = [
        (rule, _violates(invariant, deciding, rule)) for rule in deciding.rules if _may(invariant, rule, setting)
    ]
    if not suspects:
        return Verdict(invariant.name, partner, Status.PROVED)
    violation = every([*_circumstances(invariant, deciding), some(violates for _, violates in suspects)])

    def confirmed(found: Counterexample) -> str:
        decision = replay.violated(bundle, invariant, found.report, partner, found.circumstances())
        return "" if decision is None else decision.rule

    status, rule, found = search(subject, violation, confirmed, settings_)
    if status is Status.PROVED:
        return Verdict(invariant.name, partner, status)
    return Verdict(invariant.name, partner, status, rule or suspects[0][0].rule.name, setting.kind, found)


def _may(invariant: Invariant, rule: Rule, setting: Setting) -> bool:
    """Whether the rule could violate the invariant, for all that can be seen without a proof."""
    if rule.rule.effect is not Effect.RELEASE:
        return False
    return not invariant.fields or not set(invariant.fields).isdisjoint(rule.rule.fields.get(setting.kind, ()))


def _circumstances(invariant: Invariant, deciding: Deciding) -> list[z3.BoolRef]:
    """Rules 2 and 3 of an invariant."""
    subject = deciding.subject
    needs = []
    if set(subject.setting.traffic_classes) - set(invariant.traffic_classes):
        traffic_class = subject.value("traffic_class")
        needs.append(some(traffic_class == int(named) for named in invariant.traffic_classes))
    if not invariant.postures >= frozenset(Posture):
        needs.append(some(subject.posture == text(posture) for posture in invariant.postures))
    if invariant.condition is not None:
        never = deciding.terms.condition(invariant.condition.tree)
        needs.append(some([never.error, never.value]))
    return needs


def _violates(invariant: Invariant, deciding: Deciding, rule: Rule) -> z3.BoolRef:
    """Rules 1, 4 and 5 of an invariant."""
    needs = [rule.decides]
    if invariant.fields:
        needs.append(deciding.sends_any(rule.rule, invariant.fields))
    if invariant.sent_classification_above is not None:
        needs.append(deciding.sent_level(rule.rule) > int(invariant.sent_classification_above))
    return every(needs)


def search(
    subject: Subject, formula: z3.BoolRef, confirmed: Callable[[Counterexample], str], settings_: ProofSettings
) -> tuple[Status, str, Counterexample | None]:
    """Whether no valid report satisfies a formula (PROVED), or one that ``confirmed`` names a rule for (REFUTED).

    A report that is not confirmed is put aside with all that share its guesses about what no theory explains, and
    another is sought.
    """
    if z3.is_false(formula):
        return Status.PROVED, "", None
    question = Question(settings_)
    question.add(formula, *subject.constraints)
    known = len(subject.constraints)
    first: Counterexample | None = None
    for _ in range(settings_.models):
        answer = question.ask()
        if answer is Answer.NONE:
            return (Status.PROVED if first is None else Status.UNCONFIRMED), "", first
        if answer is Answer.UNKNOWN:
            return (Status.UNDECIDED if first is None else Status.UNCONFIRMED), "", first
        found, guesses = suggest(subject, question, settings_)
        question.add(*subject.constraints[known:])
        known = len(subject.constraints)
        if rule := confirmed(found):
            return Status.REFUTED, rule, found
        first = first or found
        guess = every(truth if value else no(truth) for truth, value in guesses)
        if guess.eq(TRUE):
            break
        question.add(no(guess))
    return Status.UNCONFIRMED, "", first
