"""A paced replay keeps the order, cuts the lulls and ends on time."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.demo.errors import DemoError
from gateway.demo.pace import IDLE_S, pace
from gateway.demo.reports import TimedReport
from tests.demo.world import NAMES, played

INSTANTS = st.lists(st.floats(0, 50_000), min_size=1, max_size=60).map(sorted)


def timed(instants: list[float]) -> list[TimedReport]:
    return [TimedReport(at, "JPN", "radar-north", report_pb2.Report()) for at in instants]


@given(INSTANTS)
def test_in_real_time_each_report_is_played_at_its_own_instant(instants: list[float]) -> None:
    assert pace(timed(instants), duration_s=None) == instants


@given(INSTANTS, st.floats(0.1, 1_000))
def test_order_is_kept_and_the_end_is_not_overrun(instants: list[float], duration_s: float) -> None:
    offsets = pace(timed(instants), duration_s=duration_s)
    assert offsets == sorted(offsets)
    assert len(offsets) == len(instants)
    assert offsets[0] >= 0
    assert offsets[-1] <= duration_s * (1 + 1e-12)


@given(INSTANTS, st.floats(0.1, 1_000))
def test_nothing_is_played_later_than_in_real_time(instants: list[float], duration_s: float) -> None:
    offsets = pace(timed(instants), duration_s=duration_s)
    assert all(offset <= at * (1 + 1e-9) + 1e-9 for offset, at in zip(offsets, instants, strict=True))


def test_an_hour_of_silence_takes_no_longer_than_the_idle_gap() -> None:
    first, second, third = pace(timed([0.0, IDLE_S, 3_600.0]), duration_s=10)
    assert second - first == pytest.approx(third - second)


def test_a_burst_keeps_its_proportions() -> None:
    offsets = pace(timed([0.0, 1.0, 3.0, 10_000.0, 10_001.0, 10_003.0]), duration_s=5)
    assert (offsets[2] - offsets[1]) / (offsets[1] - offsets[0]) == pytest.approx(2)
    assert (offsets[5] - offsets[4]) / (offsets[4] - offsets[3]) == pytest.approx(2)


@pytest.mark.parametrize("name", NAMES)
def test_a_scenario_of_hours_plays_in_twenty_seconds(name: str) -> None:
    offsets = pace(played(name), duration_s=20)
    assert offsets[-1] == pytest.approx(20)


@pytest.mark.parametrize("name", NAMES)
def test_no_lull_of_a_paced_scenario_lasts_longer_than_a_second(name: str) -> None:
    offsets = pace(played(name), duration_s=20)
    assert max(b - a for a, b in pairwise(offsets)) < 1


def test_a_timeline_without_reports_has_no_instants() -> None:
    assert pace([], duration_s=20) == []


@pytest.mark.parametrize("duration_s", [0.0, -1.0, float("inf"), float("nan")])
def test_a_duration_that_is_none_is_refused(duration_s: float) -> None:
    with pytest.raises(DemoError, match="cannot last"):
        pace([], duration_s=duration_s)
