"""Conditions asked together say what they say one by one."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from policy import Kind
from policy.errors import EvaluationError
from tests.policy import reports
from tests.policy.conditions import CONDITIONS, LANGUAGE, tracks

KINDS = (Kind.TRACK,)


def one_by_one(texts: list[str], report: report_pb2.Report) -> list[bool] | None:
    facts = LANGUAGE.facts(report, "KOR", reports.NOW, "ROUTINE")
    try:
        return [LANGUAGE.compile(text, KINDS).holds(facts) for text in texts]
    except EvaluationError:
        return None


def together(texts: list[str], report: report_pb2.Report) -> list[bool] | None:
    fused = LANGUAGE.fuse([LANGUAGE.compile(text, KINDS) for text in texts])
    return fused.evaluate(LANGUAGE.facts(report, "KOR", reports.NOW, "ROUTINE"))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(texts=st.lists(CONDITIONS, max_size=6), report=tracks())
def test_conditions_together_say_what_they_say_one_by_one(texts: list[str], report: report_pb2.Report) -> None:
    assert together(texts, report) == one_by_one(texts, report)


FAILING = "(1 / size(report.references) > 0) || true"


@pytest.mark.parametrize("texts", [[FAILING], ["true", FAILING], [FAILING, "true"], ["false", FAILING, "false"]])
def test_the_error_of_one_is_the_error_of_all(texts: list[str]) -> None:
    assert together(texts, reports.track()) is None


def test_what_one_demanded_in_vain_the_next_does_not_take_for_granted() -> None:
    report = reports.track()
    report.track.ClearField("velocity")
    guarded = "has(report.track.velocity) && report.track.velocity.x_mps > 0.0"
    assert together([guarded, guarded + " || true"], report) == [False, True]
    assert together([guarded, "report.track.velocity.x_mps <= 0.0"], report) is None


def test_no_conditions_are_no_values() -> None:
    assert together([], reports.track()) == []


def test_one_text_asked_twice_stands_twice() -> None:
    assert together(["true", "false", "true"], reports.track()) == [True, False, True]


def test_what_together_asks_too_much_is_asked_one_by_one() -> None:
    report = reports.correction([str(number) for number in range(90)])
    ids = "report.correction.report_ids"
    texts = [f"{ids}.all(a, {ids}.all(b, a != 'x' || b != '{number}'))" for number in range(3)]
    conditions = [LANGUAGE.compile(text, (Kind.CORRECTION,)) for text in texts]
    facts = LANGUAGE.facts(report, "KOR", reports.NOW, "ROUTINE")
    assert all(condition.holds(facts) for condition in conditions)
    assert LANGUAGE.fuse(conditions).evaluate(facts) is None
