"""Every parser refuses what it does not take, in its own words, whatever the bytes."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.every_target import CORPUS, FINDINGS, TARGETS, kept, seeds_of
from tests.fuzz.mutations import near
from tests.fuzz.target import Target

each_target = pytest.mark.parametrize("target", [pytest.param(target, id=name) for name, target in TARGETS.items()])


@each_target
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_parser_takes_or_refuses_and_does_nothing_else(target: Target, data: st.DataObject) -> None:
    target.takes(data.draw(near(seeds_of(target.name))))


@each_target
def test_what_was_kept_of_earlier_searches_is_taken_or_refused(target: Target) -> None:
    for path in (*kept(CORPUS, target), *kept(FINDINGS, target)):
        target.takes(path.read_bytes())


def test_nothing_is_kept_of_a_parser_that_is_not_there() -> None:
    for directory in (CORPUS, FINDINGS):
        assert {path.name for path in directory.iterdir() if path.is_dir()} <= TARGETS.keys()
