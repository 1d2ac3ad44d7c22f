"""Two bundles about the same reports: what NEW gives to a partner that OLD did not.

Nothing is looser where all of this is proved for every valid report, posture and date:

1. What NEW releases, OLD released: also under the posture that each bundle starts in.
2. For every pair of an OLD and a NEW rule that can decide about the same report, NEW's sends no field that OLD's did
   not, obliges at least as much (``obligations.at_least_as_coarse``), and holds exactly as long: a hold moves the
   moment at which the report is decided again, by the posture, the date and the rules of then, so that a longer one
   can release what a shorter one does not. Where a rule is looser in itself, it is shown that the two never decide
   about one report.
3. What NEW puts on record of a release, OLD stood for: its rule by name, that rule's reason, and the agreement that it
   cites. Another rule may decide than in OLD, if OLD had it under the same name, with the same reason and agreement,
   and it released the same report there. What is recorded where nothing goes is not compared.
4. Every agreement of NEW, cited or not, is one of OLD with the same title, basis, parties and kinds, and is in force on
   no day on which that was not. What was released under an agreement and is not sent yet goes while an agreement of
   that name is in force, whether any rule cites it still or not; and one that OLD does not have may have lapsed before.
5. Every invariant of OLD is implied by one of NEW.

Areas, lists of countries and equivalences have no effect but in rules and invariants, and are compared by what they
come to there, whatever their names. So do partners: one without rules gets what one without a file does. Cases decide
nothing. An obligation of OLD that cannot be met withheld the report; where NEW obliges otherwise, or on other fields,
nothing is known of that, nor of what the obligation had cleared and no longer does, and so it is told as a loosening
that is not confirmed. Not reckoned with is that all conditions of a partner together can ask for more iterations than
the evaluator allows, which withholds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace

import z3

from policy.bundle import Bundle
from policy.checked import Expr
from policy.decision import Decision, Finding
from policy.document import Agreement
from policy.invariants_kept import removed_or_weakened
from policy.obligations import at_least_as_coarse, changes
from policy.prove import replay
from policy.prove.claims import search
from policy.prove.decision import Deciding, Rule, settings
from policy.prove.solver import LOCK, TRUE, every, no, some, text
from policy.prove.subject import Setting, Subject
from policy.prove.terms import Terms
from policy.prove.verdict import Counterexample, Loosening, Looser, ProofSettings, Status
from policy.rules import CompiledRule, PartnerPolicy
from policy.vocabulary import Effect, Kind, Posture


def loosens(
    old: Bundle, new: Bundle, partners: Collection[str] | None, settings_: ProofSettings
) -> tuple[Loosening, ...]:
    """Everything that NEW gives to these partners (None: all) and OLD did not; each rule, or pair of rules, once.

    Agreements are compared whichever partners are asked for, invariants only for all of them.
    """
    if old.node != new.node:
        return (Loosening("", Looser.NODE, Status.REFUTED, subject=new.node),)
    found = [
        Loosening("", Looser.AGREEMENT, Status.REFUTED, subject=name)
        for name, agreement in sorted(new.agreements.items())
        if not _within(agreement, old.agreements.get(name))
    ]
    with LOCK:
        for partner in sorted(new.partners if partners is None else partners):
            if settings_.left_ms():
                found += _Comparison(old, new, partner, settings_).loosenings()
            else:
                found.append(Loosening(partner, Looser.RELEASED, Status.UNDECIDED))
    if partners is None:
        found += [
            Loosening("", Looser.INVARIANT, Status.REFUTED, subject=name) for name in removed_or_weakened(old, new)
        ]
    return tuple(found)


def _within(new: Agreement, old: Agreement | None) -> bool:
    """Whether an agreement binds whom it bound, to the same, on no other days."""
    if old is None or new.from_ < old.from_ or new.until > old.until:
        return False
    return _terms(new) == _terms(old)


def _terms(agreement: Agreement) -> tuple[object, ...]:
    return (agreement.title, agreement.basis, frozenset(agreement.parties), frozenset(agreement.kinds))


def _record(rule: CompiledRule) -> tuple[str, str, str]:
    """What is put on record of a release by the rule."""
    return (rule.name, rule.reason, rule.term.name if rule.term else "")


def _structure(bundle: Bundle, kind: Kind, tree: Expr) -> str:
    subject = Subject(Setting("", "", kind, (), ""))
    return Terms(subject, bundle.vocabulary.countries, bundle.vocabulary.areas).structure(tree)


@dataclass(frozen=True, slots=True)
class _Pair:
    """A rule of NEW, and the one of OLD that decides about the same report (None: OLD released nothing)."""

    looser: Looser
    new: Rule
    old: Rule | None
    subject: str


class _Comparison:
    """The two bundles, about one partner."""

    def __init__(self, old: Bundle, new: Bundle, partner: str, settings_: ProofSettings) -> None:
        self.old = old
        self.new = new
        self.partner = partner
        self.settings = settings_
        self.found: dict[tuple[Looser, str, str], Loosening] = {}

    def loosenings(self) -> Iterator[Loosening]:
        """What NEW gives and OLD did not."""
        before, after = self.old.partners.get(self.partner), self.new.partners.get(self.partner)
        same_posture = self.old.posture == self.new.posture
        if same_posture and self._same(before, after):
            return
        for setting in settings(self.new.node, self.partner, before, after):
            self.compare(setting, None, None)
            if not same_posture:
                self.compare(setting, self.old.posture, self.new.posture)
        yield from self.found.values()

    def _same(self, before: PartnerPolicy | None, after: PartnerPolicy | None) -> bool:
        """Whether nothing of what is released and recorded depends on anything that differs."""
        if after is None or not after.rules:
            return True
        if before is None or self.old.equivalences != self.new.equivalences:
            return False
        return [self._rule(self.old, rule) for rule in before.rules] == [
            self._rule(self.new, rule) for rule in after.rules
        ]

    @staticmethod
    def _rule(bundle: Bundle, rule: CompiledRule) -> tuple[object, ...]:
        condition = None if rule.condition is None else _structure(bundle, rule.kinds[0], rule.condition.tree)
        about = (rule.kinds, rule.traffic_classes, rule.posture, rule.originators)
        sent = (rule.ceiling, rule.term, dict(rule.fields), rule.hold, rule.obligations)
        return (rule.effect, about, condition, *sent, _record(rule) if rule.effect is Effect.RELEASE else None)

    def compare(self, setting: Setting, before: Posture | None, after: Posture | None) -> None:
        """Rules 1 to 3 in one setting; with postures, where each bundle starts in its own."""
        subject = Subject(setting)
        if after is not None:
            subject.constraints.append(subject.posture == text(after))
        old, new = Deciding(self.old, subject, before), Deciding(self.new, subject)
        gave = _releasing(old)
        undecided = no(some(rule.decides for rule in gave))
        unmet = some(every([rule.decides, old.fails(rule.rule)]) for rule in gave)
        for rule in _releasing(new):
            if not self.settings.left_ms():
                late = Loosening(self.partner, Looser.RELEASED, Status.UNDECIDED, rule.rule.name, kind=setting.kind)
                self.found.setdefault((Looser.RELEASED, rule.rule.name, ""), late)
                continue
            gives = every([rule.decides, no(new.fails(rule.rule))])
            looser = _Pair(Looser.RELEASED, rule, None, "")
            self.ask(setting, subject, every([gives, undecided]), looser, before)
            for other in gave:
                for how, named in _looser(setting.kind, rule.rule, other.rule):
                    sends = new.sends_any(rule.rule, named) if how is Looser.FIELDS else TRUE
                    pair = _Pair(how, rule, other, ", ".join(named))
                    self.ask(setting, subject, every([gives, other.decides, sends]), pair, before)
                if _record(rule.rule) != _record(other.rule):
                    stood = some(each.releases for each in gave if _record(each.rule) == _record(rule.rule))
                    pair = _Pair(Looser.RECORD, rule, other, "")
                    self.ask(setting, subject, every([gives, other.decides, no(stood)]), pair, before)
            # That OLD could not meet an obligation is told only of a rule that is not found to be looser anyway.
            if not any(name == rule.rule.name for _, name, _ in self.found):
                self.ask(setting, subject, every([gives, unmet]), looser, before)

    def ask(self, setting: Setting, subject: Subject, formula: z3.BoolRef, pair: _Pair, before: Posture | None) -> None:
        """Whether there is such a report."""
        old_rule = "" if pair.old is None else pair.old.rule.name
        key = (pair.looser, pair.new.rule.name, old_rule)
        if key in self.found and self.found[key].status is Status.REFUTED:
            return
        status, _, example = search(subject, formula, self.confirms(pair, before), self.settings)
        if status is Status.PROVED:
            return
        loosening = Loosening(
            self.partner, pair.looser, status, pair.new.rule.name, old_rule, pair.subject, setting.kind, example
        )
        if key not in self.found or status is Status.REFUTED:
            self.found[key] = loosening

    def confirms(self, pair: _Pair, before: Posture | None) -> Callable[[Counterexample], str]:
        """Whether both bundles, asked about a report, treat it as said; the name of NEW's rule."""

        def confirmed(example: Counterexample) -> str:
            now = example.circumstances()
            then = now if before is None else replace(now, posture=str(before))
            given = replay.released(self.new, example.report, self.partner, now)
            gave = replay.released(self.old, example.report, self.partner, then)
            if given is None or given[0].rule != pair.new.rule.name:
                return ""
            if pair.old is None:
                return given[0].rule if gave is None else ""
            if gave is None or gave[0].rule != pair.old.rule.name:
                return ""
            if pair.looser is Looser.FIELDS:
                named = pair.subject.split(", ")
                if not any(
                    replay.holds_value(given[1], path) and not replay.holds_value(gave[1], path) for path in named
                ):
                    return ""
            if pair.looser is Looser.RECORD and _stood(self.old.partners[self.partner], pair.new.rule, gave[0]):
                return ""
            return given[0].rule

        return confirmed


def _stood(old: PartnerPolicy, rule: CompiledRule, decision: Decision) -> bool:
    """Whether a decision by OLD found that its own rule of this record releases the report too."""
    same = {each.name for each in old.rules if _record(each) == _record(rule)}
    return any(trace.rule in same and trace.finding is Finding.RELEASES for trace in decision.traces)


def _releasing(deciding: Deciding) -> list[Rule]:
    return [rule for rule in deciding.rules if rule.rule.effect is Effect.RELEASE]


def _looser(kind: Kind, new: CompiledRule, old: CompiledRule) -> Iterator[tuple[Looser, tuple[str, ...]]]:
    """In what respects a rule is looser than another in itself, and what of."""
    fields = new.fields.get(kind, ())
    if more := tuple(path for path in fields if path not in old.fields.get(kind, ())):
        yield Looser.FIELDS, more
    touched = {*changes(old.obligations, kind, fields), *changes(new.obligations, kind, fields)}
    if touched and not at_least_as_coarse(new.obligations, old.obligations):
        yield Looser.OBLIGATIONS, tuple(path for path in fields if path in touched)
    if new.hold != old.hold:
        yield Looser.HOLD, ()
