"""How far a partner's clock is off: whatever the network does to heartbeats, what is told is so."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.offset import SAMPLES, Offset, Offsets

MS = 1_000_000
BEGINNING = 1_800_000_000_000 * MS


@dataclass
class Heartbeats:
    """Heartbeats of a partner whose clock is `ahead_ms` of this node's, each a second after the answer to the last."""

    ahead_ms: int = 0
    now: int = BEGINNING
    round_trip: int = 0
    offsets: Offsets = field(default_factory=Offsets)

    def beat(self, there_ms: int = 50, back_ms: int = 50) -> Offset | None:
        """One that takes so long to come, and its answer so long to go back."""
        sent = self.now + self.ahead_ms * MS
        self.now += there_ms * MS
        found = self.offsets.heard(sent, self.now, self.round_trip)
        self.round_trip = (there_ms + back_ms) * MS
        self.now += (back_ms + 1000) * MS
        return found


def alarming(found: Offset | None) -> bool:
    return found is not None and abs(found.ns) - found.error_ns > 500 * MS


def test_the_first_heartbeat_of_a_stream_tells_nothing() -> None:
    beats = Heartbeats()
    assert beats.beat() is None
    assert beats.beat() == Offset(0, 50 * MS)
    beats.offsets.began()
    assert beats.beat() is None


def test_a_heartbeat_that_is_delayed_is_taken_for_no_wrong_clock() -> None:
    beats = Heartbeats()
    for there_ms in (50, 50, 1500, 50, 1500, 1500, 50):
        assert not alarming(beats.beat(there_ms))


def test_a_clock_that_is_set_is_noticed_with_the_next_heartbeat_that_tells_of_it() -> None:
    beats = Heartbeats()
    for _ in range(SAMPLES):
        beats.beat()
    beats.ahead_ms = -1500
    beats.beat()
    assert beats.beat() == Offset(-1500 * MS, 50 * MS)


@given(
    st.integers(min_value=-10_000, max_value=10_000),
    st.lists(st.tuples(*[st.integers(min_value=0, max_value=3000)] * 2), min_size=2, max_size=30),
)
def test_what_is_told_is_so_within_what_it_may_be_wrong_by(ahead_ms: int, delays: list[tuple[int, int]]) -> None:
    beats = Heartbeats(ahead_ms)
    told = [found for there, back in delays if (found := beats.beat(there, back)) is not None]
    assert all(abs(found.ns - ahead_ms * MS) <= found.error_ns for found in told)
    measured = [(there + back) * MS // 2 for there, back in delays[:-1]]
    assert not told or told[-1].error_ns == min(measured[-SAMPLES:][-len(told) :])
