"""Why a report was, or was not, released to a partner: every rule, and every field. Pure: no I/O.

An explanation makes the decision anew, by the one function that makes decisions, and says beside it

1. of every rule of the partner's file, in its order: whether it applies to the report, and if not why; what it says of
   the report; and of its condition which part decided (``policy.parts``);
2. of every field that the report has: whether it went, how it was changed, or why it stayed;
3. which earlier reports are not named to the partner, because it does not have them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from signalfire.v1 import report_pb2

from policy import values
from policy.bundle import Bundle
from policy.decision import Circumstances, Decision, Finding, Trace
from policy.parts import Asked, Part, Verdict, parts_of
from policy.rules import CompiledRule
from policy.transform import WasReleased, refers_to
from policy.vocabulary import CONTENT, KIND_OF_ARM, Effect


class Fate(StrEnum):
    """What became of a field."""

    WENT = "went"
    CHANGED = "changed"
    ADDED = "added"
    NOT_NAMED = "stayed: the rule does not name it"
    NOT_HAD = "stayed: it names reports that the partner does not have"
    CLEARED = "stayed: it would claim a precision that the copy lacks"


@dataclass(frozen=True, slots=True)
class FieldFate:
    """What became of the field at a leaf path; ``before`` and ``after`` are its values as text, None where absent."""

    path: str
    fate: Fate
    before: str | None
    after: str | None


@dataclass(frozen=True, slots=True)
class RuleExplanation:
    """What one rule says of the report.

    ``not_applicable`` says why the rule is not about this report; then it has no ``finding``. ``condition`` is None
    where the rule has none or was not asked. ``decided`` says whether it is the rule that decided.
    """

    rule: str
    effect: Effect
    decided: bool
    not_applicable: str = ""
    finding: Finding | None = None
    error: str = ""
    condition: Part | None = None

    @property
    def matched(self) -> bool:
        """Whether the rule is about this report, its condition held, and so did its posture."""
        return self.finding not in (None, Finding.CONDITION_FALSE, Finding.OTHER_POSTURE, Finding.ERROR)

    @property
    def why(self) -> str:
        """In a sentence: what it says, and the parts of the condition that make it say so."""
        if self.not_applicable:
            return f"does not apply: {self.not_applicable}"
        if self.condition is not None and self.finding in (Finding.CONDITION_FALSE, Finding.ERROR):
            return "; ".join(_cause(cause) for cause in self.condition.causes())
        if self.error:
            return self.error
        if self.decided:
            return "decides"
        if self.finding is Finding.RELEASES:
            return "would release, and another rule decides"
        return str(self.finding or "was not asked")


@dataclass(frozen=True, slots=True)
class Explanation:
    """The decision and the copy, and why. ``unnamed`` are the earlier reports, as (node, identifier), that the partner
    is not told of."""

    report: report_pb2.Report
    decision: Decision
    copy: report_pb2.Report | None
    rules: tuple[RuleExplanation, ...]
    fields: tuple[FieldFate, ...]
    unnamed: tuple[tuple[str, str], ...]

    def as_dict(self) -> dict[str, Any]:
        """The explanation as what JSON has."""
        decision = self.decision
        return {
            "report_id": self.report.report_id,
            "partner": decision.partner,
            "outcome": str(decision.outcome),
            "rule": decision.rule,
            "reason": decision.reason,
            "agreement": decision.agreement,
            "error": decision.error,
            "hold_until": None if decision.hold_until is None else decision.hold_until.isoformat(),
            "rules": [
                {
                    "rule": rule.rule,
                    "effect": str(rule.effect),
                    "applies": not rule.not_applicable,
                    "matched": rule.matched,
                    "decided": rule.decided,
                    "finding": None if rule.finding is None else str(rule.finding),
                    "why": rule.why,
                    "condition": None if rule.condition is None else _part_as_dict(rule.condition),
                }
                for rule in self.rules
            ],
            "fields": [
                {"path": field.path, "fate": str(field.fate), "before": field.before, "after": field.after}
                for field in self.fields
            ],
            "unnamed_reports": [{"originator_node": node, "report_id": named} for node, named in self.unnamed],
        }


def explain(
    bundle: Bundle,
    report: report_pb2.Report,
    partner: str,
    circumstances: Circumstances,
    was_released: WasReleased,
) -> Explanation:
    """Explains what becomes of a valid report for a partner."""
    asked = bundle.decide(report, partner, circumstances)
    decision, copy = bundle.carry_out(report, asked, was_released)
    policy = bundle.partners.get(partner)
    # Without traces the decision was made before any rule was asked.
    traces = {trace.rule: trace for trace in asked.traces}
    rules: tuple[RuleExplanation, ...] = ()
    if policy is not None:
        about = Asked(policy.language, report, partner, circumstances)
        rules = tuple(_rule(rule, about, decision, traces.get(rule.name)) for rule in policy.rules)
    fields = () if copy is None else _fields(report, copy, decision)
    unnamed = tuple(named for named in refers_to(report) if named[0] != partner and not was_released(*named))
    return Explanation(report, decision, copy, rules, fields, unnamed)


def _rule(rule: CompiledRule, asked: Asked, decision: Decision, trace: Trace | None) -> RuleExplanation:
    if foreign := _not_applicable(rule, asked.report):
        return RuleExplanation(rule.name, rule.effect, False, not_applicable=foreign)
    condition = None if rule.condition is None or trace is None else parts_of(rule.condition, asked)
    decided = decision.rule == rule.name
    finding, error = (None, "") if trace is None else (trace.finding, trace.error)
    return RuleExplanation(rule.name, rule.effect, decided, "", finding, error, condition)


def _not_applicable(rule: CompiledRule, report: report_pb2.Report) -> str:
    kind = KIND_OF_ARM.get(report.WhichOneof(CONTENT) or "")
    if kind not in rule.kinds:
        return f"it is about {_list(rule.kinds)}, and this is a {kind or 'report of no known kind'}"
    if report.traffic_class not in [int(each) for each in rule.traffic_classes]:
        name = report_pb2.TrafficClass.Name(report.traffic_class).removeprefix("TRAFFIC_CLASS_")
        return f"it is about {_list([each.name for each in rule.traffic_classes])} traffic, and this is {name}"
    if rule.originators is not None and report.originator_node not in rule.originators:
        return f"it is about reports of {_list(sorted(rule.originators))}, and this is one of {report.originator_node}"
    return ""


def _fields(report: report_pb2.Report, copy: report_pb2.Report, decision: Decision) -> tuple[FieldFate, ...]:
    before, after = set(values.present(report)), set(values.present(copy))
    referring = {path for path in before if path.startswith("references.") or _names_reports(path)}
    found = []
    for path in values.in_schema_order(before | after):
        old, new = values.shown(report, path), values.shown(copy, path)
        if path in after:
            fate = Fate.WENT if old == new else Fate.CHANGED if path in before else Fate.ADDED
        elif path not in decision.fields:
            fate = Fate.NOT_NAMED
        else:
            fate = Fate.NOT_HAD if path in referring else Fate.CLEARED
        found.append(FieldFate(path, fate, old, new))
    return tuple(found)


def _names_reports(path: str) -> bool:
    return path.endswith((".report_ids", ".replacement_report_id"))


def _cause(part: Part) -> str:
    read = ", ".join(map(str, part.values))
    if part.verdict is Verdict.ERROR:
        return f"{part.text} cannot be evaluated: {part.error}" + (f" ({read})" if read else "")
    return f"{part.text} is {part.verdict}" + (f": {read}" if read else "")


def _part_as_dict(part: Part) -> dict[str, Any]:
    return {
        "text": part.text,
        "verdict": str(part.verdict),
        "operator": part.operator,
        "error": part.error,
        "values": {value.name: value.shown for value in part.values},
        "parts": [_part_as_dict(inner) for inner in part.parts],
    }


def _list(words: tuple[Any, ...] | list[Any]) -> str:
    return ", ".join(map(str, words))
