"""What is asked about a report, arranged ahead of the first: the rules that apply, by partner, and their conditions.

Partners' rules are much alike: a condition that several of them have is evaluated once for all of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from types import MappingProxyType
from typing import Final, NamedTuple

from policy import cel
from policy.rules import CompiledRule, PartnerPolicy
from policy.vocabulary import Classification


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

NOTHING_APPLIES: Final = Applicable((), (), lambda answers: (), ())


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
