"""When a partner is dialled again, and where: by a clock that the test moves."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.attempts import STAND_BACK, Addresses, Attempts, Backoff, Pace
from gateway.exchange.dialling import plain

PACE = Pace(stagger_s=0.5, most=4, attempt_s=3.0)
SYN_AGAIN_S = (0.0, 1.0)
"""When TCP sends the first SYN of an attempt, and repeats it, within the time of one."""


def longest(low: float, high: float) -> float:
    return high


def attempts(draw: object = longest) -> Attempts:
    return Attempts(PACE, Backoff(0.1, 1.0, longest), due=0.0)


class Absence:
    """A partner of which nothing is heard: the attempts to reach it, and when each began."""

    def __init__(self) -> None:
        self.attempts = attempts()
        self.under_way: list[float] = []
        self.began: list[float] = []
        self.now = 0.0

    def until(self, end: float) -> None:
        while True:
            self.under_way = [began for began in self.under_way if not self.attempts.overdue(began, self.now)]
            if self.attempts.may_begin(len(self.under_way), self.now):
                self.attempts.begins(self.now)
                self.began.append(self.now)
                self.under_way.append(self.now)
            wait_s = self.attempts.wait_s(self.under_way, self.now)
            assert wait_s > 0, "nothing is done over and over"
            if self.now + wait_s > end:
                return
            self.now += wait_s


def test_pauses_double_up_to_the_cap_and_begin_anew_when_the_partner_is_heard_of() -> None:
    backoff = Backoff(0.1, 1.0, longest)
    assert [backoff.pause_s() for _ in range(6)] == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0])
    backoff.reset()
    assert backoff.pause_s() == pytest.approx(0.1)


@given(st.integers(1, 20))
def test_half_of_a_pause_is_drawn(failures: int) -> None:
    backoff = Backoff(0.1, 1.0)
    for _ in range(failures):
        whole = backoff._next_s
        assert whole / 2 <= backoff.pause_s() <= whole <= 1.0


def test_while_a_partner_is_away_few_attempts_are_under_way_and_a_syn_goes_out_each_half_second() -> None:
    absence = Absence()
    absence.until(60)
    for moment in (each / 10 for each in range(600)):
        assert sum(began <= moment < began + PACE.attempt_s for began in absence.began) <= PACE.most
    syns = sorted({began + again for began in absence.began for again in SYN_AGAIN_S})
    gaps = [later - earlier for earlier, later in pairwise(syns) if later < 60]
    assert max(gaps) <= PACE.stagger_s + 1e-9


def test_an_attempt_has_time_for_its_three_round_trips_on_a_slow_link() -> None:
    absence = Absence()
    absence.until(1.7)
    assert absence.under_way == pytest.approx([0.0, 0.5, 1.0, 1.5])
    assert not any(absence.attempts.overdue(began, 1.8) for began in absence.under_way)


def test_a_refused_attempt_pauses_only_where_no_other_is_under_way() -> None:
    some = attempts()
    some.begins(0.0)
    some.failed(1, 0.01)
    assert not some.may_begin(1, 0.49)
    assert some.may_begin(1, 0.5)
    some.begins(0.5)
    some.failed(0, 0.51)
    assert not some.may_begin(0, 0.6)
    assert some.may_begin(0, 0.51 + 0.1)


@pytest.mark.parametrize(
    ("details", "why"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.1:7102: Failed to connect to remote"
            " host: Connection refused",
            "Connection refused",
        ),
        (
            "failed to connect to all addresses; last error: UNAVAILABLE: ipv6:%5B::1%5D:7: Socket closed",
            "Socket closed",
        ),
        ("failed to connect to all addresses; last error: UNKNOWN: Ssl handshake failed", "Ssl handshake failed"),
        ("Deadline Exceeded", "Deadline Exceeded"),
    ],
)
def test_why_there_is_no_connection_is_told_in_the_systems_own_words(details: str, why: str) -> None:
    assert plain(details) == why


def test_whoever_is_heard_of_is_dialled_at_once_though_all_attempts_are_under_way() -> None:
    absence = Absence()
    absence.until(1.9)
    some = absence.attempts
    assert not some.may_begin(4, 1.95)
    some.heard_of(1.95)
    assert some.may_begin(4, 1.95)
    some.begins(1.95)
    # One more, and not one for each time that it is heard of.
    some.heard_of(1.96)
    assert not some.may_begin(5, 1.97)
    assert not some.may_begin(5, 30)


def test_a_partner_that_makes_itself_heard_again_and_again_sets_off_no_storm() -> None:
    some, begun = attempts(), 0
    for step in range(1000):
        now = step / 1000
        some.heard_of(now)
        if some.may_begin(0, now):
            some.begins(now)
            some.failed(0, now)
            begun += 1
    assert begun <= 1 / 0.1 + 1, "no more often than after the first failure"


def test_addresses_take_turns() -> None:
    addresses = Addresses(0.5)
    assert [addresses.next(["a", "b", "c"], float(at)) for at in range(6)] == ["a", "b", "c", "a", "b", "c"]


def test_an_address_that_fails_is_tried_less_and_yet_again_and_one_that_works_takes_its_turn() -> None:
    addresses, tried = Addresses(0.5), Counter[str]()
    for step in range(200):
        address = addresses.next(["gone", "there"], step * 0.5)
        tried[address] += 1
        if address == "gone":
            addresses.failed(address)
    assert 100 // STAND_BACK <= tried["gone"] <= 20
    addresses.worked("gone")
    again = [addresses.next(["gone", "there"], 100 + step * 0.5) for step in range(4)]
    assert again.count("gone") == 2


def test_where_all_addresses_fail_all_are_tried_alike() -> None:
    addresses, tried = Addresses(0.5), Counter[str]()
    for step in range(200):
        address = addresses.next(["a", "b"], step * 0.5)
        tried[address] += 1
        addresses.failed(address)
    assert abs(tried["a"] - tried["b"]) <= 10


def test_an_address_that_is_offered_no_more_is_forgotten() -> None:
    addresses = Addresses(0.5)
    for _ in range(8):
        addresses.failed(addresses.next(["a"], 0.0))
    addresses.next(["b"], 1.0)
    assert addresses.next(["b", "a"], 2.0) == "a"
