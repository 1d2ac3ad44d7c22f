"""What `signalfire policy` prints: results of cases, explanations, comparisons and verdicts."""

from __future__ import annotations

from collections import Counter

from google.protobuf import json_format
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from signalfire.v1 import report_pb2

from policy.decision import Outcome
from policy.explain import Explanation, Fate, RuleExplanation
from policy.parts import Part, Verdict
from policy.recorded import Change, Comparison
from policy.testing import Results

_COLOURS = {Outcome.RELEASED: "green", Outcome.WITHHELD: "red", Outcome.HELD: "yellow"}
_MARKS = {Verdict.TRUE: "[green]true[/]", Verdict.FALSE: "[red]false[/]", Verdict.ERROR: "[bold red]error[/]"}
_SHOWN_CHANGES = 50


def show_explanation(out: Console, explanation: Explanation) -> None:
    """A decision, each rule, and each field. `*` marks the rule that decided, `-` others that matched."""
    decision = explanation.decision
    colour = _COLOURS[decision.outcome]
    until = f" until {decision.hold_until.isoformat()}" if decision.hold_until else ""
    out.print(f"[bold {colour}]{decision.outcome}{until}[/] to {decision.partner} by [bold]{escape(decision.rule)}[/]")
    for label, text in (("reason", decision.reason), ("agreement", decision.agreement), ("error", decision.error)):
        if text:
            out.print(f"  {label}: {escape(text)}", soft_wrap=True)
    if explanation.rules:
        out.print()
        for rule in explanation.rules:
            _show_rule(out, rule)
    else:
        out.print(f"  {decision.partner} has no rules.")
    if explanation.fields:
        out.print()
        _show_fields(out, explanation)
    for node, report_id in explanation.unnamed:
        out.print(f"  not named to {decision.partner}, which does not have it: report {report_id} of {node}")


def _show_rule(out: Console, rule: RuleExplanation) -> None:
    mark = "[bold green]*[/]" if rule.decided else "-" if rule.matched else " "
    out.print(f"{mark} [bold]{escape(rule.rule)}[/] ({rule.effect}): {escape(rule.why)}", soft_wrap=True)
    if rule.condition is not None and rule.condition.parts:
        _show_part(out, rule.condition, 4)


def _show_part(out: Console, part: Part, indent: int) -> None:
    mark = _MARKS.get(part.verdict, f"[dim]{part.verdict}[/]")
    text = f" all of ({part.operator})" if part.operator == "&&" else f" any of ({part.operator})"
    if part.operator not in ("&&", "||"):
        text = f" {escape(part.text)}"
    read = f" [dim]{escape(', '.join(map(str, part.values)))}[/]" if part.values else ""
    error = f" [red]{escape(part.error)}[/]" if part.error and not part.parts else ""
    out.print(f"{' ' * indent}{mark}{text}{error}{read}", soft_wrap=True)
    for inner in part.parts:
        _show_part(out, inner, indent + 2)


def _show_fields(out: Console, explanation: Explanation) -> None:
    """What changed and what stayed, each on a line; what went as it was, together."""
    by_fate = {fate: [field for field in explanation.fields if field.fate is fate] for fate in Fate}
    for fate in (Fate.CHANGED, Fate.ADDED):
        for field in by_fate[fate]:
            before = "" if field.before is None else f"{field.before} -> "
            out.print(f"  [yellow]{fate}[/] {field.path}: {escape(before)}{escape(field.after or '')}", soft_wrap=True)
    for fate in (Fate.NOT_NAMED, Fate.NOT_HAD, Fate.CLEARED):
        if by_fate[fate]:
            paths = ", ".join(field.path for field in by_fate[fate])
            out.print(f"  [red]{fate}[/]: {paths}", soft_wrap=True)
    if by_fate[Fate.WENT]:
        paths = ", ".join(field.path for field in by_fate[Fate.WENT])
        out.print(f"  [green]went as it is[/]: {paths}", soft_wrap=True)


def show_results(out: Console, results: Results) -> None:
    """How many cases passed, and what they show of each rule. What failed is told by the caller."""
    table = Table("partner", "rule", "decides in", "condition held in", "and not in", "missing")
    for rule in results.coverage:
        missing = f"[red]{rule.missing}[/]" if rule.missing else ""
        failed = str(len(rule.failed)) if rule.conditional else ""
        table.add_row(rule.partner, rule.rule, str(len(rule.decided)), str(len(rule.held)), failed, missing)
    out.print(table)
    passed = sum(result.passed for result in results.results)
    covered = sum(not rule.missing for rule in results.coverage)
    out.print(
        f"{passed} of {len(results.results)} cases pass; {covered} of {len(results.coverage)} rules are covered"
        f" ({results.covered:.0%})"
    )


def show_comparison(out: Console, comparison: Comparison) -> None:
    """What recorded traffic would have been otherwise: how often what changed to what, and the first changes."""
    if not comparison.changes:
        out.print(f"{comparison.reports} recorded reports: nothing changes")
        return
    summary = Table("partner", "kind", "was", "is", "reports", title="What changes", title_justify="left")
    counts = Counter(
        (change.partner, str(change.kind), change.old.says, change.new.says) for change in comparison.changes
    )
    for (partner, kind, old, new), count in sorted(counts.items()):
        summary.add_row(partner, kind, escape(old), escape(new), str(count))
    out.print(summary)
    table = Table("report", "partner", "fields more", "fields less", "otherwise")
    for change in comparison.changes[:_SHOWN_CHANGES]:
        table.add_row(change.report_id, change.partner, *map(_listed, _paths(change)))
    out.print(table)
    if len(comparison.changes) > _SHOWN_CHANGES:
        out.print(f"and {len(comparison.changes) - _SHOWN_CHANGES} more (--json shows all)")
    out.print(f"{comparison.reports} recorded reports: {len(comparison.changes)} decisions or copies change")


def _paths(change: Change) -> tuple[tuple[str, ...], ...]:
    return change.gained, change.lost, change.altered


def _listed(paths: tuple[str, ...]) -> str:
    shown = ", ".join(paths[:4])
    return f"{shown} and {len(paths) - 4} more" if len(paths) > 4 else shown


def as_json(report: report_pb2.Report) -> str:
    """A report as one line of protobuf's JSON form, as `explain` and `submit` read it."""
    return json_format.MessageToJson(report, preserving_proto_field_name=True, indent=None)
