"""The place of an order among the others, and the time in which it can be put in force."""

from __future__ import annotations

from datetime import timedelta

from policy import digest_of
from policy.approve import DeclarePosture, Reason, Resume, State, Suspend, replay
from policy.vocabulary import Posture
from tests.policy.officers import NOW, SHARED, activation, files, governed, judged, order, refusal, roster, signed_by


def test_an_order_is_put_in_force_once() -> None:
    state, content = State.genesis(roster()), files()
    signed = activation(state, content, "alice", "bob")
    assert refusal(judged(state, signed, content).state, signed, content) == {Reason.WRONG_SEQUENCE}


def test_an_older_bundle_that_is_replayed_is_refused_and_comes_back_only_by_a_new_order() -> None:
    first, second = files(comment="first"), files(comment="second")
    start = State.genesis(roster())
    replayed = activation(start, first, "alice", "bob")
    state = judged(start, replayed, first).state
    state = judged(state, activation(state, second, "alice", "bob"), second).state
    assert refusal(state, replayed, first) == {Reason.WRONG_SEQUENCE}
    again = judged(state, activation(state, first, "alice", "bob"), first).state
    assert (again.sequence, again.activated) == (3, digest_of(first))


def test_no_order_is_left_out() -> None:
    state = governed()
    ahead = order(state, Suspend("KOR", "Leak"), sequence=state.sequence + 2)
    assert refusal(state, signed_by(ahead, "alice")) == {Reason.WRONG_SEQUENCE}


def test_of_two_orders_with_one_number_the_second_is_refused_and_what_followed_it_too() -> None:
    state = governed()
    first = signed_by(order(state, Suspend("KOR", "Leak")), "alice")
    second = signed_by(order(state, Suspend("USA", "Leak")), "bob")
    after = judged(state, first).state
    assert refusal(after, second) == {Reason.WRONG_SEQUENCE}
    of_the_other = order(judged(state, second).state, Suspend("KOR", "Leak"))
    assert Reason.WRONG_PREVIOUS in refusal(after, signed_by(of_the_other, "alice"))


def test_the_first_order_is_bound_to_the_first_roster() -> None:
    content = files()
    signed = activation(State.genesis(roster("alice", "bob", "dave")), content, "alice", "bob")
    assert refusal(State.genesis(roster()), signed, content) == {Reason.WRONG_PREVIOUS}


def test_an_order_of_another_node_is_refused() -> None:
    state = governed()
    assert refusal(state, signed_by(order(state, Suspend("KOR", "Leak"), node="USA"), "alice")) == {Reason.WRONG_NODE}


def test_a_policy_of_another_node_is_refused() -> None:
    state, content = governed(), files(shared=SHARED.replace("node: JPN", "node: USA"))
    assert Reason.WRONG_NODE in refusal(state, activation(state, content, "alice", "bob", "carol"), content)


def test_a_stale_order_is_refused_from_the_moment_at_which_it_expires() -> None:
    state = governed()
    signed = signed_by(order(state, Suspend("KOR", "Leak"), expires=NOW + timedelta(hours=1)), "alice")
    assert refusal(state, signed, now=NOW + timedelta(hours=1)) == {Reason.STALE}
    assert judged(state, signed, now=NOW + timedelta(minutes=59))


def test_a_clock_that_jumps_back_does_not_make_an_order_fresh() -> None:
    state = governed()
    late = NOW + timedelta(days=2)
    routine = DeclarePosture(Posture.ROUTINE)
    made = order(state, routine, issued=late, expires=late + timedelta(days=1))
    newer = judged(state, signed_by(made, "alice", "bob"), now=late).state
    laid_aside = signed_by(order(newer, routine, expires=NOW + timedelta(days=1)), "alice", "bob")
    assert refusal(newer, laid_aside, now=NOW) == {Reason.STALE}


def test_a_suspension_while_the_clock_runs_ahead_does_not_make_what_follows_stale() -> None:
    state = governed()
    late = NOW + timedelta(days=2)
    made = order(state, Suspend("KOR", "Leak"), issued=late, expires=late + timedelta(days=1))
    newer = judged(state, signed_by(made, "alice"), now=late).state
    assert judged(newer, signed_by(order(newer, Resume("KOR")), "alice", "bob")).state.suspended == frozenset()
    replayed = replay(state, signed_by(made, "alice"), None, enacted=late, needed=1)
    assert replayed == newer
    assert judged(replayed, signed_by(order(replayed, Suspend("USA", "Leak")), "bob")).state.enacted == NOW


def test_a_clock_that_jumps_back_does_not_take_the_state_back() -> None:
    state = governed()
    suspended = signed_by(order(state, Suspend("KOR", "Leak")), "alice")
    after = judged(state, suspended).state
    before = NOW - timedelta(days=365)
    assert after.posture_at(before) is Posture.ROUTINE
    assert after.suspended == {"KOR"}
    assert Reason.WRONG_SEQUENCE in refusal(after, suspended, now=before)


def test_an_order_of_the_future_is_refused_but_for_the_clocks_tolerance() -> None:
    state = governed()
    signed = signed_by(order(state, Suspend("KOR", "Leak")), "alice")
    assert refusal(state, signed, now=NOW - timedelta(seconds=61)) == {Reason.ISSUED_AHEAD}
    assert judged(state, signed, now=NOW - timedelta(seconds=60))


def test_an_order_that_would_lie_in_wait_is_refused() -> None:
    state = governed()
    signed = signed_by(order(state, Resume("KOR"), expires=NOW + timedelta(days=32)), "alice", "bob")
    assert Reason.VALID_TOO_LONG in refusal(state, signed)
