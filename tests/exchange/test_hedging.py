"""When a ledger goes by the carried way as well: at once, after a while, or not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.partners import SLOWEST, Link
from gateway.exchange.tunnels.hedging import Hedge, Standing


def standing(size: int = 5, *, direct: bool = True) -> Standing:
    made = Standing()
    made.opened(size, 100.0, direct=False)
    if direct:
        made.opened(size, 100.0, direct=True)
    return made


def test_flash_goes_at_once_by_every_way() -> None:
    assert Hedge(1.0, "flash").wait_s(standing(), 6, 200.0) == 0.0


@pytest.mark.parametrize("lane", ["immediate", "priority", "routine", "witness"])
def test_another_lane_waits_for_the_direct_way_to_bring_its_receipt(lane: str) -> None:
    hedge, held = Hedge(1.0, lane), standing()
    assert hedge.wait_s(held, 6, 200.0) == 1.0
    assert hedge.wait_s(held, 6, 200.6) == pytest.approx(0.4)
    held.receipted(6, 200.7, direct=True)
    assert hedge.wait_s(held, 6, 200.8) == 0.0, "nothing stands there any more"
    assert hedge.wait_s(held, 7, 300.0) == 1.0


def test_where_the_direct_way_brings_receipts_however_slowly_the_carried_one_is_spared() -> None:
    hedge, held = Hedge(1.0, "routine"), standing()
    for second in range(10):
        now = 200.0 + 0.9 * second
        assert hedge.wait_s(held, 1000, now) > 0
        held.receipted(6 + second, now, direct=True)


def test_a_receipt_by_the_carried_way_does_not_make_the_direct_one_work() -> None:
    hedge, held = Hedge(1.0, "routine"), standing()
    assert hedge.wait_s(held, 1000, 200.0) == 1.0
    assert hedge.wait_s(held, 1000, 201.0) == 0.0
    held.receipted(500, 201.1, direct=False)
    assert hedge.wait_s(held, 1000, 201.1) == 0.0


def test_without_a_direct_stream_everything_goes_at_once() -> None:
    held = standing()
    hedge = Hedge(1.0, "routine")
    assert hedge.wait_s(held, 6, 200.0) > 0
    held.closed(direct=True)
    assert hedge.wait_s(held, 6, 200.1) == 0.0


def test_what_is_held_is_what_the_follower_said_last_when_it_opened_a_stream() -> None:
    held = standing(50)
    held.receipted(60, 200.0, direct=True)
    held.receipted(55, 200.0, direct=False)
    assert held.held == 60
    # Its store was set back.
    held.opened(10, 300.0, direct=True)
    assert held.held == 10


@given(st.floats(0, 10), st.floats(0, 1e6), st.integers(6, 10))
def test_whatever_stands_goes_by_the_carried_way_within_the_hedge(hedge_s: float, now: float, size: int) -> None:
    hedge, held = Hedge(hedge_s, "routine"), Standing()
    held.opened(5, now, direct=True)
    wait_s = hedge.wait_s(held, size, now)
    assert wait_s <= hedge_s + 1e-6
    assert hedge.wait_s(held, size, now + wait_s + 1e-3) == 0.0


def test_what_is_under_way_is_what_went_since_the_follower_held_all_that_had_gone() -> None:
    held = standing(5)
    held.went(8, 1000)
    held.went(9, 500)
    assert held.under_way == 1500
    held.receipted(8, 200.0, direct=True)
    assert held.under_way == 1500
    held.receipted(9, 200.0, direct=False)
    assert held.under_way == 0
    held.went(10, 1000)
    held.closed(direct=True)
    held.closed(direct=False)
    assert held.under_way == 0


def test_a_partner_has_lapsed_when_nothing_comes_of_it_for_longer_than_a_narrow_link_takes() -> None:
    link = Link()
    assert link.lapsed_s(1e6) == 0.0, "one that never answered a heartbeat is none that stopped"
    link.answered_at = 100.0
    assert link.lapsed_s(104.0) == 4.0
    link.spoke_at = 103.0
    assert link.lapsed_s(104.0) == 1.0
    link.standings["flash"] = standing()
    link.standings["flash"].went(6, 5 * SLOWEST)
    assert link.lapsed_s(104.0) < 0
    assert link.lapsed_s(109.0) == 1.0


@pytest.mark.parametrize("paused", ["flash", "flash via USA"])
def test_a_lane_is_paused_by_whichever_stream_it_is_paused(paused: str) -> None:
    link = Link(paused={paused: "in doubt"})
    assert link.is_paused("flash")
    assert not link.is_paused("immediate")
