"""Literals reach the solver as they are, and what it finds comes back so."""

from __future__ import annotations

import math

import pytest
import z3
from hypothesis import given
from hypothesis import strategies as st

from policy.prove.solver import Answer, Question, double, text
from tests.policy.prove.symbolic import SETTINGS


def test_what_looks_like_an_escape_is_none() -> None:
    question = Question(SETTINGS)
    question.add(text("\\u{41}") == text("A"))
    assert question.ask() is Answer.NONE


@given(st.text(st.characters(max_codepoint=0x2FFFF, exclude_categories=["Cs"]), max_size=8) | st.just("\\u{41}\\x41"))
def test_a_text_comes_back_as_it_was(value: str) -> None:
    question = Question(SETTINGS)
    variable = z3.String("t")
    question.add(variable == text(value), z3.Length(variable) == len(value))
    assert question.ask() is Answer.SOME
    assert question.model().text(variable) == value


def test_a_character_that_the_solver_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="beyond"):
        text("\U0010ffff")


@given(st.floats(allow_nan=False))
def test_a_double_comes_back_bit_for_bit(value: float) -> None:
    question = Question(SETTINGS)
    variable = z3.FP("d", z3.Float64())
    question.add(variable == double(value))
    assert question.ask() is Answer.SOME
    found = question.model().double(variable)
    assert found == value
    assert math.copysign(1, found) == math.copysign(1, value)
