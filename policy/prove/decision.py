"""The decision as a formula: for which reports each rule of a partner decides, and releases. It follows
``policy.decide`` step by step.

1. Suspension only withholds, so nothing is lost by taking the partner not to be suspended.
2. An own report names the partner in ``releasable_to``; another originator's in ``onward_release``, and the partner is
   not that originator.
3. No applicable rule errs; one that asks for ``now`` errs while the clock is not trusted.
4. No withhold rule matches: condition and posture.
5. The first release rule decides that matches, whose agreement is in force and whose ceiling holds, in own levels. What
   is held is released later, by a decision of that time: a rule that holds is taken to release, under a trusted clock.

``decide`` withholds also for reasons that are not here (a correction of reports that the partner never had, an
obligation that cannot be met), so ``decides`` is true of every release, and of some that are none: proofs hold, and a
counterexample is asked of the policy itself. Where what does *not* go is asked for, ``fails`` stands for obligations
that cannot be met.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import z3

from policy.bundle import Bundle
from policy.obligations import NONE, changes
from policy.prove.solver import FALSE, TRUE, every, no, some, text
from policy.prove.subject import Setting, Subject, nanoseconds
from policy.prove.terms import Terms
from policy.rules import CompiledRule, PartnerPolicy
from policy.vocabulary import Effect, Kind, Posture, TrafficClass


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule about the symbolic report: ``errs``, ``matches`` (its condition holds, and the posture is one of its own),
    and, of a release rule, ``releases`` (it would, if it were the first and nothing withheld) and ``decides`` (it
    does)."""

    rule: CompiledRule
    errs: z3.BoolRef
    matches: z3.BoolRef
    releases: z3.BoolRef
    decides: z3.BoolRef


def applicable(policy: PartnerPolicy | None, kind: Kind, traffic_class: TrafficClass, originator: str) -> list[int]:
    """Places of the rules that apply, in the order of the file."""
    return [
        place
        for place, rule in enumerate(policy.rules if policy else ())
        if kind in rule.kinds and traffic_class in rule.traffic_classes and rule.is_about(originator)
    ]


def settings(node: str, partner: str, *policies: PartnerPolicy | None) -> Iterator[Setting]:
    """Everything that any of the policies could release to the partner, split so that within a setting the same rules
    of each apply. Of another node, whose reports no rule names, nothing is released."""
    originators = {node}
    for policy in policies:
        for rule in policy.rules if policy else ():
            originators.update(rule.originators or ())
    for originator in sorted(originators):
        if originator == partner:
            continue
        for kind in Kind:
            alike: dict[tuple[tuple[int, ...], ...], list[TrafficClass]] = {}
            for traffic_class in TrafficClass:
                places = tuple(tuple(applicable(policy, kind, traffic_class, originator)) for policy in policies)
                alike.setdefault(places, []).append(traffic_class)
            for places, traffic_classes in alike.items():
                if any(places):
                    yield Setting(node, partner, kind, tuple(traffic_classes), originator)


class Deciding:
    """The rules of a bundle that apply in a setting, about one symbolic report. Two bundles may share the report.

    ``posture`` is the one in force under this bundle; without it the subject's own.
    """

    def __init__(self, bundle: Bundle, subject: Subject, posture: Posture | None = None) -> None:
        self.bundle = bundle
        self.subject = subject
        self.posture = posture
        self.terms = Terms(subject, bundle.vocabulary.countries, bundle.vocabulary.areas, posture)
        setting = subject.setting
        policy = bundle.partners.get(setting.partner)
        places = applicable(policy, setting.kind, setting.traffic_classes[0], setting.originator)
        listed = [policy.rules[place] for place in places] if policy else []
        self.rules: tuple[Rule, ...] = tuple(self._rules(listed)) if bundle.node == setting.node else ()

    def _rules(self, listed: Iterable[CompiledRule]) -> Iterator[Rule]:
        subject, setting = self.subject, self.subject.setting
        asked = [(rule, *self._asked(rule)) for rule in listed]
        marked = "marking.releasable_to" if setting.complete else "marking.onward_release"
        allowed = [subject.member(text(setting.partner), marked)]
        allowed += [no(errs) for _, errs, _ in asked]
        allowed += [no(matches) for rule, _, matches in asked if rule.effect is Effect.WITHHOLD]
        before: list[z3.BoolRef] = []
        for rule, errs, matches in asked:
            releases = self._releases(rule, matches)
            decides = every([*allowed, *map(no, before), releases])
            yield Rule(rule, errs, matches, releases, decides)
            before.append(releases)

    def _asked(self, rule: CompiledRule) -> tuple[z3.BoolRef, z3.BoolRef]:
        if self.posture is not None:
            in_posture = TRUE if self.posture in rule.posture else FALSE
        elif rule.posture >= frozenset(Posture):
            in_posture = TRUE
        else:
            in_posture = some(self.subject.posture == text(posture) for posture in rule.posture)
        if rule.condition is None:
            return FALSE, in_posture
        truth = self.terms.condition(rule.condition.tree)
        errs = truth.error
        if rule.condition.reads_now:
            errs = some([no(self.subject.trusted), errs])
        return errs, every([truth.holds, in_posture])

    def _releases(self, rule: CompiledRule, matches: z3.BoolRef) -> z3.BoolRef:
        subject = self.subject
        if rule.effect is not Effect.RELEASE or rule.ceiling is None:
            return FALSE
        known, level = subject.level(self.bundle.equivalences)
        needs = [matches, known, level <= int(rule.ceiling)]
        if rule.term is not None:
            needs += [subject.now >= nanoseconds(rule.term.starts), subject.now < nanoseconds(rule.term.ends)]
        if rule.term is not None or rule.hold:
            needs.append(subject.trusted)
        return every(needs)

    def fails(self, rule: CompiledRule) -> z3.BoolRef:
        """Whether its obligations cannot be met: a truth of which nothing is known, the same where the same is changed
        in the same way."""
        kind = self.subject.setting.kind
        touched = changes(rule.obligations, kind, rule.fields.get(kind, ()))
        if not touched:
            return FALSE
        name = f"cannot be met: {rule.obligations} of {', '.join(touched)}"
        return self.subject.once(name, lambda: z3.Bool(name))

    def sent_level(self, rule: CompiledRule) -> z3.ArithRef:
        """The level that a copy released by the rule is marked with, in own levels."""
        remark = rule.obligations.remark
        if remark is not None and remark.classification is not None:
            return z3.IntVal(int(remark.classification))
        return self.subject.level(self.bundle.equivalences)[1]

    def sends_any(self, rule: CompiledRule, paths: Iterable[str]) -> z3.BoolRef:
        """Whether a copy released by the rule holds any of these fields: what the report holds, and what an obligation
        may add."""
        kind = self.subject.setting.kind
        named = set(rule.fields.get(kind, ()))
        touched = set(changes(rule.obligations, kind, rule.fields.get(kind, ())))
        present = []
        for path in paths:
            if path not in named:
                continue
            if path.startswith("derivations.") and rule.obligations != NONE:
                return TRUE
            present.append(self.holds_value(path))
            if path in touched:
                name = f"added: {path} by {rule.obligations}"
                present.append(self.subject.once(name, partial(z3.Bool, name)))
        return some(present)

    def holds_value(self, path: str) -> z3.BoolRef:
        """Whether the report holds a value at a leaf path; inside a list, any element may."""
        names = path.split(".")
        for count in range(1, len(names)):
            above = ".".join(names[:count])
            if self.subject.repeats(above):
                return self.subject.size(above) > 0
        return self.subject.present(path)
