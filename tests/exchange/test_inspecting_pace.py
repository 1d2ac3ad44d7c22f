"""How many questions of one partner are answered a second."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.inspecting import Pace


@given(gaps=st.lists(st.floats(0, 0.3), min_size=1, max_size=60))
def test_so_many_questions_a_second_are_answered_however_they_come(gaps: list[float]) -> None:
    now, answered = 1000.0, []
    pace = Pace(10, lambda: now)
    for gap in gaps:
        now += gap
        answered.append(now + pace.wait_s("KOR"))
        assert pace.wait_s("USA") >= 0  # another partner's questions have a pace of their own
    for one, ten_later in zip(answered, answered[10:], strict=False):
        assert ten_later - one >= 1 - 1e-6


def test_what_costs_as_much_as_many_questions_holds_up_the_next_for_as_long() -> None:
    pace = Pace(10, lambda: 1000.0)
    assert pace.wait_s("KOR") == 0
    assert abs(pace.wait_s("KOR", 50) - 0.1) < 1e-6
    assert abs(pace.wait_s("KOR") - 5.1) < 1e-6
