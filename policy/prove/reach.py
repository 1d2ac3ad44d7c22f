"""Rules that decide nothing for any valid report: dead weight at best, and at worst one that an officer believes in."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import z3

from policy.bundle import Bundle
from policy.prove.decision import Deciding, Rule, settings
from policy.prove.solver import LOCK, Answer, Question, every, no, some
from policy.prove.subject import Subject
from policy.prove.verdict import ProofSettings, Shadowed
from policy.rules import CompiledRule
from policy.vocabulary import Effect


def shadowed(bundle: Bundle, settings_: ProofSettings) -> tuple[Shadowed, ...]:
    """Every rule that never decides: a release rule before which another always decides, a withhold rule before which
    another always withholds, and a rule that never matches at all. What is undecided is not among them. A rule that is
    about every node's reports counts where it is about the node's own, or about those that another rule names: nothing
    else is ever released."""
    with LOCK:
        return tuple(found for partner in sorted(bundle.partners) for found in _of_partner(bundle, partner, settings_))


def _of_partner(bundle: Bundle, partner: str, settings_: ProofSettings) -> list[Shadowed]:
    policy = bundle.partners[partner]
    decides: set[str] = set()
    hidden_by: dict[str, set[str]] = defaultdict(set)
    for setting in settings(bundle.node, partner, policy):
        if all(rule.name in decides for rule in policy.rules):
            break
        subject = Subject(setting)
        deciding = Deciding(bundle, subject)
        for place, rule in enumerate(deciding.rules):
            if rule.rule.name in decides:
                continue
            matches, earlier = _alone(rule), _before(deciding.rules, place)
            rivals = {other.name: blocks for other, blocks in earlier}
            if _possible(subject, every([matches, no(some(rivals.values()))]), settings_):
                decides.add(rule.rule.name)
            elif _possible(subject, matches, settings_):
                hidden_by[rule.rule.name] |= set(_needed(subject, matches, rivals, settings_))
    return [
        Shadowed(partner, rule.name, tuple(sorted(hidden_by[rule.name])))
        for rule in policy.rules
        if rule.name not in decides
    ]


def _needed(
    subject: Subject, matches: z3.BoolRef, rivals: dict[str, z3.BoolRef], settings_: ProofSettings
) -> Iterable[str]:
    """Of the rivals that together hide a rule, as few as still do: none of them can be left out."""
    for name in list(rivals):
        others = {other: blocks for other, blocks in rivals.items() if other != name}
        if not _possible(subject, every([matches, no(some(others.values()))]), settings_):
            rivals = others
    return rivals


def _alone(rule: Rule) -> z3.BoolRef:
    """Whether the rule would decide if it were the only one."""
    if rule.rule.effect is Effect.RELEASE:
        return every([no(rule.errs), rule.releases])
    return every([no(rule.errs), rule.matches])


def _before(rules: tuple[Rule, ...], place: int) -> list[tuple[CompiledRule, z3.BoolRef]]:
    """The rules that can keep the one at ``place`` from deciding, and where they do."""
    rule = rules[place]
    found = []
    for other_place, other in enumerate(rules):
        withholds = other.rule.effect is Effect.WITHHOLD
        if other_place == place:
            continue
        if rule.rule.effect is Effect.RELEASE and withholds:
            found.append((other.rule, some([other.errs, other.matches])))
        elif other_place < place and other.rule.effect is rule.rule.effect:
            found.append((other.rule, other.matches if withholds else other.releases))
    return found


def _possible(subject: Subject, formula: z3.BoolRef, settings_: ProofSettings) -> bool:
    """Whether there is, or may be, a valid report of which it is true."""
    if z3.is_false(formula):
        return False
    question = Question(settings_)
    question.add(formula, *subject.constraints)
    return question.ask() is not Answer.NONE
