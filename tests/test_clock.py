"""Whether a node believes its clock."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from gateway.clock import STEP_S, Clock, ClockWatch

SECOND = 1_000_000_000


@dataclass
class Hands:
    """A clock that a test sets."""

    wall: int = 1_000 * SECOND
    monotonic: int = 5 * SECOND

    def clock(self) -> Clock:
        return Clock(lambda: self.wall, lambda: self.monotonic)

    def pass_(self, seconds: float) -> None:
        self.wall += int(seconds * SECOND)
        self.monotonic += int(seconds * SECOND)


def test_a_clock_that_runs_is_trusted() -> None:
    hands = Hands()
    watch = ClockWatch(hands.clock(), not_before_ns=hands.wall)
    hands.pass_(86_400)
    assert watch.trusted()


@pytest.mark.parametrize("step", [-STEP_S - 1, STEP_S + 1, 1e6, -900.0])
def test_a_clock_that_was_set_is_not_until_it_is_set_right_again(step: float) -> None:
    hands = Hands()
    watch = ClockWatch(hands.clock())
    hands.wall += int(step * SECOND)
    assert watch.problem is not None
    assert ("forward" if step > 0 else "back") in watch.problem
    hands.wall -= int(step * SECOND)
    assert watch.trusted()


def test_a_small_correction_is_believed() -> None:
    hands = Hands()
    watch = ClockWatch(hands.clock())
    hands.wall -= int(STEP_S / 2 * SECOND)
    assert watch.trusted()


def test_a_clock_that_starts_behind_what_is_on_record_is_not_trusted_until_it_has_passed_it() -> None:
    hands = Hands()
    watch = ClockWatch(hands.clock(), not_before_ns=hands.wall + 10 * SECOND)
    assert watch.problem == "the clock is 10.0 s behind what is on record"
    hands.pass_(10)
    assert watch.trusted()
