"""The exchange holds what it promises in every course that was tried; and a broken one is found out.

`MODEL_COURSES` and `MODEL_STEPS` in the environment make it draw more of them, and longer ones.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import properties
from tests.model.courses import BROKEN, COURSES, Course
from tests.model.exchange import Exchange
from tests.model.machine import ExchangeMachine

DRAWN = settings(
    max_examples=int(os.environ.get("MODEL_COURSES", "40")),
    stateful_step_count=int(os.environ.get("MODEL_STEPS", "40")),
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


def test_nothing_is_lost_doubled_forked_or_reordered_and_all_arrives_once_faults_stop() -> None:
    run_state_machine_as_test(ExchangeMachine, settings=DRAWN)


def through(exchange: Exchange, course: Course) -> None:
    """Takes an exchange through a course, and lets it come to rest."""
    with contextlib.closing(exchange):
        course(exchange)
        properties.safe(exchange)
        exchange.settle()
        properties.safe(exchange)
        properties.arrived(exchange)


@pytest.mark.parametrize("course", COURSES, ids=lambda course: course.__name__)
def test_the_hard_courses_end_well(course: Course, tmp_path: Path) -> None:
    through(Exchange(tmp_path), course)


@pytest.mark.parametrize(("broken", "course"), BROKEN, ids=[broken.__name__ for broken, _ in BROKEN])
def test_a_gateway_that_does_one_thing_wrong_is_found_out(
    broken: type[Exchange], course: Course, tmp_path: Path
) -> None:
    with pytest.raises(AssertionError):
        through(broken(tmp_path), course)
