"""Runs the cases of a policy, and says which rules they show. Pure: no I/O.

A case *passes* where the decision and the copy are as it expects. A rule is *covered* where it decided in some case
(released, held or withheld by its name) and, if it has a condition, where that did not hold in some other: a condition
that no case ever sees fail could as well not be there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from xml.etree import ElementTree

from signalfire.v1 import report_pb2

from policy import values
from policy.bundle import Bundle
from policy.cases import Case
from policy.decision import Decision, Finding, Outcome
from policy.fields import ALWAYS_RELEASED
from policy.rules import CompiledRule


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a case. ``failures`` says what is not as expected, each in a sentence; ``copy`` is what went."""

    case: Case
    decision: Decision
    copy: report_pb2.Report | None
    failures: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether everything is as expected."""
        return not self.failures


@dataclass(frozen=True, slots=True)
class RuleCoverage:
    """What the cases show of one rule: the names of the cases in which it decided, and of those in which its condition
    held, and in which it did not."""

    partner: str
    rule: str
    conditional: bool
    decided: tuple[str, ...]
    held: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def missing(self) -> str:
        """What no case shows; empty where the rule is covered."""
        if not self.decided:
            return "decides in no case" if self.held else "matches in no case"
        return "its condition holds in every case" if self.conditional and not self.failed else ""


@dataclass(frozen=True, slots=True)
class Results:
    """What came of all cases, and what they show of each rule, in the order of partners and rules."""

    results: tuple[Result, ...]
    coverage: tuple[RuleCoverage, ...]

    @property
    def passed(self) -> bool:
        """Whether every case passed."""
        return all(result.passed for result in self.results)

    @property
    def covered(self) -> float:
        """The share of rules that are covered, 0 to 1; of no rules, 1."""
        return sum(not rule.missing for rule in self.coverage) / len(self.coverage) if self.coverage else 1.0


def run(bundle: Bundle, cases: Iterable[Case]) -> Results:
    """Runs cases on a bundle: the one that they were read from, or a changed one."""
    results = tuple(_run(bundle, case) for case in cases)
    coverage = [
        _coverage(partner, rule, results) for partner, policy in bundle.partners.items() for rule in policy.rules
    ]
    return Results(results, tuple(coverage))


def _run(bundle: Bundle, case: Case) -> Result:
    decision = bundle.decide(case.report, case.partner, case.circumstances)
    decision, copy = bundle.carry_out(case.report, decision, case.was_released)
    failures = [*_of_decision(case, decision), *([] if copy is None else _of_copy(case, copy))]
    return Result(case, decision, copy, tuple(failures))


def _of_decision(case: Case, decision: Decision) -> list[str]:
    expect = case.expect
    failures = []
    if (decision.outcome, decision.rule) != (expect.outcome, expect.rule):
        got = f"{decision.outcome} by {decision.rule}"
        why = f" ({decision.error})" if decision.error else ""
        failures.append(f"expected {expect.outcome} by {expect.rule}, got {got}{why}")
        return failures
    if expect.hold_until is not None and decision.hold_until != expect.hold_until:
        failures.append(f"expected a hold until {expect.hold_until}, got {decision.hold_until}")
    if expect.error is not None and expect.error not in decision.error:
        failures.append(f'expected an error with "{expect.error}", got "{decision.error}"')
    return failures


def _of_copy(case: Case, copy: report_pb2.Report) -> list[str]:
    expect = case.expect
    if expect.outcome is not Outcome.RELEASED:
        return []
    failures = []
    there = [path for path in values.present(copy) if not always_goes(path)]
    if expect.fields is not None:
        named = [path for path in expect.fields if not always_goes(path)]
        if more := [path for path in there if path not in named]:
            failures.append(f"went and is not expected: {', '.join(more)}")
        if less := [path for path in named if path not in there]:
            failures.append(f"is expected and did not go: {', '.join(less)}")
    if gone := [path for path in expect.absent if values.values_at(copy, path)]:
        failures.append(f"must not go and went: {', '.join(gone)}")
    for path, wanted in expect.values.items():
        if not values.same(values.values_at(copy, path), wanted):
            failures.append(f"{path}: expected {values.written(path, wanted)}, got {values.shown(copy, path)}")
    return failures


def always_goes(path: str) -> bool:
    """Whether the path goes with every release."""
    return path in ALWAYS_RELEASED


def _coverage(partner: str, rule: CompiledRule, results: Iterable[Result]) -> RuleCoverage:
    decided: list[str] = []
    held: list[str] = []
    failed: list[str] = []
    for result in results:
        if result.case.partner != partner:
            continue
        name = result.case.name
        if result.decision.rule == rule.name:
            decided.append(name)
        for trace in result.decision.traces:
            if trace.rule == rule.name and trace.finding is not Finding.ERROR:
                (failed if trace.finding is Finding.CONDITION_FALSE else held).append(name)
    return RuleCoverage(partner, rule.name, rule.condition is not None, tuple(decided), tuple(held), tuple(failed))


def junit(results: Results, name: str) -> bytes:
    """The results as JUnit XML, UTF-8, as continuous integration reads it: one suite, a test case for each case."""
    failed = sum(not result.passed for result in results.results)
    suites = ElementTree.Element("testsuites")
    counts = {"name": name, "tests": str(len(results.results)), "failures": str(failed), "errors": "0", "skipped": "0"}
    suite = ElementTree.SubElement(suites, "testsuite", counts)
    for result in results.results:
        case = result.case
        place = {"classname": f"{case.file}.{case.partner}", "file": case.file, "line": str(case.line)}
        element = ElementTree.SubElement(suite, "testcase", {"name": case.name, **place})
        if result.failures:
            failure = ElementTree.SubElement(element, "failure", message=result.failures[0], type="unexpected")
            failure.text = "\n".join((str(case), *result.failures))
    ElementTree.indent(suites)
    return bytes(ElementTree.tostring(suites, encoding="utf-8", xml_declaration=True)) + b"\n"
