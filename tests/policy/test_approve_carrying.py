"""Orders for routes, and for carrying between others: what they take, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.approve import (
    CarryFor,
    OrderRefused,
    Reason,
    Route,
    SignedOrder,
    State,
    Suspend,
    decode,
    describe,
    encode,
    missing,
    replay,
)
from policy.approve.order import MAX_CARRIERS, Action
from tests.policy.officers import NOW, governed, judged, order, reasons, roster, signed_by

CODES = ["FRA", "KOR", "PHL", "USA"]
HERE = ("FRA", "KOR", "USA")


def put(state: State, action: Action, *names: str) -> State:
    return judged(state, signed_by(order(state, action), *names), partners=HERE).state


def refused(state: State, action: Action, *names: str) -> set[Reason]:
    with pytest.raises(OrderRefused) as caught:
        put(state, action, *names)
    return reasons(caught.value)


def test_two_officers_name_the_carriers_of_a_route_and_one_takes_carriers_away() -> None:
    state = governed()
    assert refused(state, Route("KOR", ("USA",)), "alice") == {Reason.TOO_FEW_SIGNATURES}
    state = put(state, Route("KOR", ("USA",)), "alice", "bob")
    assert refused(state, Route("KOR", ("USA", "FRA")), "alice") == {Reason.TOO_FEW_SIGNATURES}
    state = put(state, Route("KOR", ("USA", "FRA")), "alice", "bob")
    assert state.routes == {"KOR": ("USA", "FRA")}
    assert put(state, Route("KOR", ("FRA",)), "carol").routes == {"KOR": ("FRA",)}
    assert put(state, Route("KOR", ()), "carol").routes == {}


def test_one_officer_may_prefer_another_of_the_carriers_that_are_there() -> None:
    state = put(governed(), Route("KOR", ("USA", "FRA")), "alice", "bob")
    assert put(state, Route("KOR", ("FRA", "USA")), "carol").routes == {"KOR": ("FRA", "USA")}


def test_a_carrier_that_takes_anothers_place_takes_as_many_as_one_that_is_added() -> None:
    state = put(governed(), Route("KOR", ("USA",)), "alice", "bob")
    assert refused(state, Route("KOR", ("FRA",)), "alice") == {Reason.TOO_FEW_SIGNATURES}


def test_two_officers_have_their_node_carry_between_two_others_and_one_ends_it() -> None:
    state = governed()
    assert refused(state, CarryFor("KOR", "USA"), "alice") == {Reason.TOO_FEW_SIGNATURES}
    state = put(state, CarryFor("KOR", "USA"), "alice", "bob")
    state = put(state, CarryFor("FRA", "KOR"), "alice", "bob")
    assert state.carries == {("KOR", "USA"), ("FRA", "KOR")}
    assert put(state, CarryFor("KOR", "USA", ended=True), "carol").carries == {("FRA", "KOR")}


def test_a_misspelt_partner_carries_nothing() -> None:
    state = governed()
    for action in (Route("KRO", ("USA",)), Route("KOR", ("UAS",)), CarryFor("KRO", "USA"), CarryFor("KOR", "UAS")):
        assert refused(state, action, "alice", "bob") == {Reason.UNKNOWN_PARTNER}


def test_a_route_to_a_partner_that_the_node_has_no_more_can_be_taken_away() -> None:
    state = put(governed(), Route("FRA", ("USA",)), "alice", "bob")
    state = put(state, CarryFor("FRA", "USA"), "alice", "bob")
    signed = signed_by(order(state, Route("FRA", ())), "alice")
    state = judged(state, signed, partners=("KOR", "USA")).state
    signed = signed_by(order(state, CarryFor("FRA", "USA", ended=True)), "alice")
    assert judged(state, signed, partners=("KOR", "USA")).state.carries == frozenset()


def test_what_is_so_already_is_refused() -> None:
    state = governed()
    assert refused(state, Route("KOR", ()), "alice") == {Reason.NO_EFFECT}
    assert refused(state, CarryFor("KOR", "USA", ended=True), "alice") == {Reason.NO_EFFECT}
    state = put(put(state, Route("KOR", ("USA",)), "alice", "bob"), CarryFor("KOR", "USA"), "alice", "bob")
    assert refused(state, Route("KOR", ("USA",)), "alice") == {Reason.NO_EFFECT}
    assert refused(state, CarryFor("KOR", "USA"), "alice", "bob") == {Reason.NO_EFFECT}


@pytest.mark.parametrize(
    "action",
    [
        Route("KOR", ("KOR",)),
        Route("KOR", ("JPN",)),
        Route("KOR", ("USA", "USA")),
        Route("JPN", ("USA",)),
        Route("KOR", ("usa",)),
        Route("", ("USA",)),
        Route("KOR", tuple(f"X{a}{b}" for a in "ABCDE" for b in "ABCD")[: MAX_CARRIERS + 1]),
        CarryFor("USA", "KOR"),
        CarryFor("KOR", "KOR"),
        CarryFor("JPN", "KOR"),
        CarryFor("FRA", "JPN"),
        CarryFor("KOR", ""),
    ],
    ids=str,
)
def test_a_route_has_a_far_end_and_third_nodes_as_carriers_and_a_pair_has_two_other_ends(action: Action) -> None:
    assert Reason.MALFORMED in refused(governed(), action, "alice", "bob")


def test_only_a_suspension_is_taken_by_a_clock_that_is_not_trusted() -> None:
    state = put(governed(), Route("KOR", ("USA",)), "alice", "bob")
    signed = signed_by(order(state, Route("KOR", ())), "alice")
    with pytest.raises(OrderRefused) as caught:
        judged(state, signed, partners=HERE, clock_trusted=False)
    assert reasons(caught.value) == {Reason.CLOCK_NOT_TRUSTED}


def test_suspending_and_resuming_a_carrier_leaves_what_was_ordered_of_it() -> None:
    state = put(governed(), Route("KOR", ("USA",)), "alice", "bob")
    state = put(state, Suspend("USA", "A leak"), "carol")
    assert state.routes == {"KOR": ("USA",)}


@pytest.mark.parametrize(
    ("action", "said", "needed"),
    [
        (Route("KOR", ("USA", "FRA")), "lets USA and FRA carry what passes between JPN and KOR", "0 of 2"),
        (Route("KOR", ()), "lets nobody carry between JPN and KOR any more", "0 of 1"),
        (CarryFor("KOR", "USA"), "carries between KOR and USA, when they ask for it, what JPN cannot read", "0 of 2"),
        (CarryFor("KOR", "USA", ended=True), "carries between KOR and USA no more", "0 of 1"),
    ],
    ids=str,
)
def test_what_is_signed_is_said_in_words(action: Action, said: str, needed: str) -> None:
    signed = SignedOrder(encode(order(governed(), action)))
    assert said in describe(signed)[0]
    assert needed in missing(signed, roster())[-1]


ROUTES = st.builds(
    Route, st.sampled_from(["FRA", "KOR"]), st.permutations(["USA", "PHL"]).map(tuple) | st.just(("USA",)) | st.just(())
)
PAIRS = st.sampled_from([(one, other) for one in CODES for other in CODES if one < other])
CARRYING = st.builds(lambda pair, ended: CarryFor(pair[0], pair[1], ended), PAIRS, st.booleans())


@given(st.lists(ROUTES | CARRYING, max_size=12))
def test_replayed_in_their_order_orders_leave_the_same_routes(actions: list[Route | CarryFor]) -> None:
    state, kept, unexpected = governed(), [], set[Reason]()
    first = state
    for action in actions:
        signed = signed_by(order(state, action), "alice", "bob")
        assert decode(signed.order).action == action
        try:
            found = judged(state, signed, partners=CODES)
        except OrderRefused as error:
            unexpected |= reasons(error) - {Reason.NO_EFFECT}
            continue
        kept.append((signed, found.needed))
        state = found.state
    replayed = first
    for signed, needed in kept:
        replayed = replay(replayed, signed, None, enacted=NOW, needed=needed)
    assert (replayed.routes, replayed.carries) == (state.routes, state.carries)
    assert all(state.routes.values())
    assert not unexpected
