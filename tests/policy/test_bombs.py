"""Policies that are made to exhaust whoever loads them, or whoever decides by them."""

from __future__ import annotations

import pytest

from policy import Kind, cel
from policy.errors import ConditionError, EvaluationError
from tests.policy import reports
from tests.policy.bundles import POLICY, problems_of


@pytest.mark.parametrize(("lines", "where"), [(2_500_000, "."), (80_000, "partners/KOR.yaml")])
def test_a_file_that_is_too_large_is_refused_unread(lines: int, where: str) -> None:
    found = problems_of({"policy.yaml": POLICY, "partners/KOR.yaml": "partner: KOR\n" + "# x\n" * lines})
    assert [problem.file for problem in found] == [where]
    assert "bytes" in found[0].what


@pytest.mark.parametrize("depth", [9, 100, 50_000])
def test_a_file_that_nests_without_end_is_refused(depth: int) -> None:
    found = problems_of({"policy.yaml": "node: " + "[" * depth + "]" * depth + "\n"})
    assert any("nested" in problem.what for problem in found), [str(problem) for problem in found]


def test_an_alias_bomb_is_refused_at_its_first_anchor() -> None:
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
    found = problems_of({"policy.yaml": "a0: &a0 [x]\n" + levels})
    assert any("is an anchor" in problem.what for problem in found)


@pytest.mark.parametrize("pattern", ["((a{100}){100}){100}", "(x{1000}){1000}", "a{1,1000}{1,1000}"])
def test_a_regular_expression_that_would_fill_the_memory_is_refused(pattern: str) -> None:
    with pytest.raises(ConditionError, match="is not a regular expression"):
        cel.EMPTY.compile(f'report.event_id.matches("{pattern}")', (Kind.TRACK,))


@pytest.mark.parametrize("pattern", ["^(a+)+$", "^(a|a)*b$", "^(a*)*(a*)*(a*)*c"])
def test_a_regular_expression_that_backtracks_elsewhere_is_answered_at_once(pattern: str) -> None:
    condition = cel.EMPTY.compile(f'report.event_id.matches("{pattern}")', (Kind.TRACK,))
    report = reports.track()
    report.event_id = "a" * 60_000 + "!"
    assert not condition.holds(cel.EMPTY.facts(report, "KOR", reports.NOW, "ROUTINE"))


def test_loops_within_loops_end_in_an_error_and_not_in_a_long_wait() -> None:
    loop = "true"
    for name in "fedcba":
        loop = f"report.references.all({name}, {loop})"
    condition = cel.EMPTY.compile(loop, (Kind.TRACK,))
    report = reports.track()
    for _ in range(64):
        report.references.add(originator_node="JPN", report_id=reports.report_id(1), relation=1)
    with pytest.raises(EvaluationError, match=r"[Ii]teration"):
        condition.holds(cel.EMPTY.facts(report, "KOR", reports.NOW, "ROUTINE"))
