"""The bytes of an order: they read back as they were written, and what is malformed is refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import officer_pb2

from policy.approve import (
    Activate,
    CarryFor,
    DeclarePosture,
    OrderRefused,
    Reason,
    ReplaceRoster,
    Resume,
    Route,
    SignedOrder,
    Suspend,
    decode,
    describe,
    encode,
    sign,
)
from policy.approve.order import MAX_ORDER_BYTES, Action, Order
from policy.vocabulary import Posture
from tests.policy.officers import NODE, NOW, governed, judged, order, refusal, roster, seed_of, signed_by

ACTIONS: st.SearchStrategy[Action] = st.one_of(
    st.builds(Activate, st.binary(min_size=32, max_size=32)),
    st.builds(Suspend, st.sampled_from(["KOR", "USA"]), st.text("abc ", min_size=1, max_size=40).filter(str.strip)),
    st.builds(Resume, st.sampled_from(["KOR", "USA"])),
    st.builds(DeclarePosture, st.sampled_from(Posture), st.none() | st.just(NOW)),
    st.just(ReplaceRoster(roster())),
    st.builds(Route, st.just("KOR"), st.sampled_from([(), ("USA",), ("USA", "FRA")])),
    st.builds(CarryFor, st.just("KOR"), st.just("USA"), st.booleans()),
)


@given(
    action=ACTIONS,
    sequence=st.integers(1, 2**63),
    previous=st.binary(min_size=32, max_size=32),
    issued=st.datetimes(datetime(1970, 1, 1), datetime(9000, 1, 1), timezones=st.just(UTC)),
)
def test_an_order_reads_back_as_it_was_written(
    action: Action, sequence: int, previous: bytes, issued: datetime
) -> None:
    made = Order(NODE, sequence, previous, issued, issued + timedelta(days=1), action)
    assert decode(encode(made)) == made
    assert describe(SignedOrder(encode(made)))


@given(st.binary(max_size=200))
def test_bytes_that_are_no_order_are_refused_and_never_break_anything(raw: bytes) -> None:
    with pytest.raises(OrderRefused):
        judged(governed_state, SignedOrder(raw))


governed_state = governed()


def test_an_order_that_says_more_than_this_software_knows_is_refused() -> None:
    state = governed()
    raw = encode(order(state, Suspend("KOR", "Leak"))) + b"\xa2\x06\x02hi"
    assert officer_pb2.Order.FromString(raw).suspend.partner == "KOR"
    assert refusal(state, sign(SignedOrder(raw), "alice", NODE, seed_of("alice"))) == {Reason.MALFORMED}


def test_an_order_beyond_the_limit_is_not_read() -> None:
    assert refusal(governed(), SignedOrder(bytes(MAX_ORDER_BYTES + 1))) == {Reason.MALFORMED}


@pytest.mark.parametrize(
    "change",
    [
        {"node": ""},
        {"sequence": 0},
        {"previous": b"short"},
        {"expires": NOW - timedelta(seconds=1)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_an_order_that_lacks_or_distorts_something_is_malformed(change: dict[str, object]) -> None:
    state = governed()
    signed = signed_by(order(state, Suspend("KOR", "Leak"), **change), "alice")
    assert refusal(state, signed) == {Reason.MALFORMED}


@pytest.mark.parametrize(
    "action",
    [
        Activate(b"short"),
        Suspend("KOR", " "),
        Suspend("KOR", "x" * 501),
        Suspend("KOR", "two\nlines"),
        Suspend("korea", "Leak"),
        Resume(""),
    ],
    ids=["digest", "no reason", "a long reason", "two lines", "no code", "no partner"],
)
def test_an_action_that_lacks_or_distorts_something_is_malformed(action: Action) -> None:
    state = governed()
    assert refusal(state, signed_by(order(state, action), "alice")) == {Reason.MALFORMED}
