"""The time that a node goes by, and whether it believes it."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import FOLLOWS, STEP_S, Clock, SteadyClock

SECOND = 1_000_000_000


@dataclass
class Hands:
    """A machine's clocks, which a test sets."""

    wall: int = 1_000 * SECOND
    monotonic: int = 5 * SECOND

    def steady(self, newest_s: float = 0, *, declared_right: bool = False) -> SteadyClock:
        clock = SteadyClock(Clock(lambda: self.wall, lambda: self.monotonic))
        clock.begin(int(newest_s * SECOND), declared_right=declared_right)
        return clock

    def settled(self) -> SteadyClock:
        """A clock that was trusted once."""
        clock = self.steady()
        assert clock.trusted()
        return clock

    def set(self, seconds: float) -> None:
        """Somebody sets the wall clock."""
        self.wall += int(seconds * SECOND)

    def pass_(self, seconds: float) -> None:
        self.set(seconds)
        self.monotonic += int(seconds * SECOND)


def test_a_clock_that_runs_is_trusted_and_told_as_it_is() -> None:
    hands = Hands()
    clock = hands.steady(newest_s=1_000)
    hands.pass_(86_400)
    assert clock.trusted()
    assert clock.now_ns() == hands.wall


@pytest.mark.parametrize("step", [-STEP_S - 1, STEP_S + 1, 1e6, -900.0])
def test_when_the_wall_clock_jumps_the_time_goes_on_and_is_not_trusted_until_it_comes_back(step: float) -> None:
    hands = Hands()
    clock = hands.settled()
    before = clock.now_ns()
    hands.set(step)
    assert clock.problem is not None
    assert ("forward" if step > 0 else "back") in clock.problem
    for _ in range(5):
        hands.pass_(3_600)
        assert not clock.trusted()
    assert clock.now_ns() == before + 5 * 3_600 * SECOND
    hands.set(-step)
    assert clock.trusted()
    assert clock.now_ns() == before + 5 * 3_600 * SECOND


@pytest.mark.parametrize("step", [-1.5, 1.5])
def test_a_small_correction_is_followed_slowly_and_trusted_all_the_while(step: float) -> None:
    hands = Hands()
    clock = hands.settled()
    hands.set(step)
    assert abs(clock.now_ns() - hands.wall) == 1.5 * SECOND
    for _ in range(149):
        hands.pass_(1)
        assert clock.trusted()
        assert clock.now_ns() != hands.wall
    hands.pass_(1)
    assert clock.now_ns() == hands.wall
    hands.pass_(1)
    assert clock.now_ns() == hands.wall


def test_corrections_that_are_small_each_are_followed_though_they_add_up() -> None:
    hands = Hands()
    clock = hands.settled()
    for _ in range(10):
        hands.set(1.5)
        hands.pass_(1.5 * FOLLOWS)
        assert clock.trusted()
    assert clock.now_ns() == hands.wall


def test_a_clock_that_starts_behind_the_record_begins_with_the_record_and_waits_until_it_has_been_passed() -> None:
    hands = Hands()
    clock = hands.steady(newest_s=1_010)
    assert clock.problem == "the clock is 10.0 s behind what is on record"
    assert clock.now_ns() == 1_010 * SECOND
    seen = [clock.now_ns()]
    for _ in range(12):
        assert seen == sorted(seen)
        hands.pass_(1)
        seen.append(clock.now_ns())
    assert seen[-1] - seen[0] < 5 * SECOND
    assert clock.trusted()
    assert abs(clock.now_ns() - hands.wall) <= STEP_S * SECOND


def test_a_machine_that_is_set_right_after_the_start_needs_nobodys_hand() -> None:
    hands = Hands(wall=100 * SECOND)
    clock = hands.steady(newest_s=1_000)
    assert not clock.trusted()
    hands.set(500_000)
    assert clock.trusted()
    assert clock.now_ns() == hands.wall


def test_a_clock_that_was_declared_right_begins_where_it_is_though_the_record_is_ahead() -> None:
    hands = Hands()
    clock = hands.steady(newest_s=50_000, declared_right=True)
    assert clock.trusted()
    assert clock.now_ns() == hands.wall


def test_before_it_begins_no_clock_is_trusted() -> None:
    clock = SteadyClock(Clock())
    assert not clock.trusted()
    assert "starting" in (clock.problem or "")


def test_a_clock_that_is_not_synchronised_is_not_trusted_until_it_is() -> None:
    hands, why = Hands(), ["the machine's clock is not synchronised"]
    clock = SteadyClock(Clock(lambda: hands.wall, lambda: hands.monotonic), lambda: why[0])
    clock.begin(0)
    assert clock.problem == why[0]
    # While nobody believed it, it is set right: that is no jump.
    hands.set(-30)
    hands.pass_(40)
    why[0] = ""
    assert clock.trusted()
    why[0] = "its sources are gone"
    assert clock.problem == "its sources are gone"


STEPS = st.tuples(
    st.sampled_from(["run", "set"]),
    st.floats(-1e7, 1e7, allow_nan=False) | st.floats(-3, 3, allow_nan=False),
)


@given(
    newest_s=st.floats(0, 1e6),
    steps=st.lists(STEPS, max_size=40),
    synchronised=st.lists(st.booleans(), min_size=41, max_size=41),
)
def test_whatever_the_wall_clock_does_the_time_never_goes_back_nor_behind_the_record(
    newest_s: float, steps: list[tuple[str, float]], synchronised: list[bool]
) -> None:
    hands, state = Hands(), [""]
    clock = SteadyClock(Clock(lambda: hands.wall, lambda: hands.monotonic), lambda: state[0])
    clock.begin(int(newest_s * SECOND))
    seen, trusted_once = clock.now_ns(), False
    assert seen >= int(newest_s * SECOND)
    for (what, seconds), well in zip(steps, synchronised, strict=False):
        state[0] = "" if well else "not synchronised"
        before = hands.monotonic
        if what == "set":
            hands.set(seconds)
        else:
            hands.pass_(abs(seconds))
        passed = hands.monotonic - before
        now = clock.now_ns()
        assert now >= seen
        if trusted_once:
            # Nothing expires early, nor lasts for longer, by more than a hundredth.
            assert abs(now - seen - passed) <= passed // FOLLOWS
        trusted_once = clock.trusted() or trusted_once
        if clock.trusted():
            assert abs(clock.now_ns() - hands.wall) <= STEP_S * SECOND
        seen = clock.now_ns()


def test_threads_that_ask_at_once_never_see_the_time_go_back() -> None:
    clock = SteadyClock(Clock())
    clock.begin(0)
    faults: list[tuple[int, int]] = []

    def ask() -> None:
        before = 0
        for _ in range(3_000):
            now = clock.now_ns()
            if now < before:
                faults.append((before, now))
            before = now

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []


def test_a_process_that_is_stopped_between_reading_its_two_clocks_sees_no_jump() -> None:
    hands, stopped_s = Hands(), 0.0

    def wall() -> int:
        nonlocal stopped_s
        hands.pass_(stopped_s)
        stopped_s = 0.0
        return hands.wall

    clock = SteadyClock(Clock(wall, lambda: hands.monotonic))
    stopped_s = 3.0
    clock.begin(0)
    assert clock.trusted()
    for each_s in (3.0, 600.0):
        stopped_s = each_s
        assert clock.trusted()
        assert clock.now_ns() == hands.wall
    hands.set(STEP_S + 1)
    stopped_s = 3.0
    assert not clock.trusted(), "a clock that was set is noticed all the same"
