"""Officers' orders: what is put in force, by whom, and everything that is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import officer_pb2

from policy import digest_of
from policy.approve import (
    Activate,
    CarryFor,
    DeclarePosture,
    OrderRefused,
    Reason,
    Refusal,
    ReplaceRoster,
    Resume,
    Route,
    Signature,
    SignedOrder,
    State,
    Suspend,
    Thresholds,
    confirm,
    decode,
    describe,
    encode,
    glance,
    missing,
    replay,
    sign,
)
from policy.approve.order import MAX_ORDER_BYTES, Action, Order
from policy.approve.proofs import Proofs
from policy.approve.refusals import MAX_REFUSALS, MAX_WHAT
from policy.vocabulary import Posture
from tests.policy.officers import (
    INVARIANTS,
    LIMITS,
    NODE,
    NOW,
    PARTNERS,
    RULES,
    SHARED,
    SetProver,
    files,
    governed,
    judged,
    officer,
    order,
    reasons,
    roster,
    seed_of,
    signed_by,
)


def refusal(
    state: State,
    signed: SignedOrder,
    bundle: Mapping[str, bytes] | None = None,
    *,
    now: datetime = NOW,
    prover: SetProver | None = None,
) -> set[Reason]:
    """Why the order is refused, which it must be."""
    with pytest.raises(OrderRefused) as caught:
        judged(state, signed, bundle, now=now, prover=prover)
    assert all(each.what for each in caught.value.refusals)
    return reasons(caught.value)


def activation(state: State, bundle: Mapping[str, bytes], *names: str, **changes: object) -> SignedOrder:
    return signed_by(order(state, Activate(digest_of(bundle)), **changes), *names)


# --- what takes how many


def test_two_officers_put_the_first_policy_in_force() -> None:
    state = State.genesis(roster())
    content = files()
    found = judged(state, activation(state, content, "alice", "bob"), content)
    assert found.needed == 2
    assert found.state.sequence == 1
    assert found.state.activated == digest_of(content)
    assert found.state.bundle is not None
    assert found.state.posture_at(NOW) is Posture.ROUTINE


def test_one_officer_does_not_put_the_first_policy_in_force() -> None:
    state, content = State.genesis(roster()), files()
    prover = SetProver()
    assert refusal(state, activation(state, content, "alice"), content, prover=prover) == {Reason.TOO_FEW_SIGNATURES}


def test_one_officer_suspends_and_two_resume() -> None:
    state = governed()
    after = judged(state, signed_by(order(state, Suspend("KOR", "Leak")), "carol")).state
    assert after.suspended == {"KOR"}
    assert after.suspensions["KOR"].reason == "Leak"
    assert refusal(after, signed_by(order(after, Resume("KOR")), "carol")) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(after, signed_by(order(after, Resume("KOR")), "carol", "bob")).state.suspended == frozenset()


def test_one_officer_activates_what_is_proved_to_tighten() -> None:
    state, tighter = governed(), files(comment="tighter")
    found = judged(state, activation(state, tighter, "bob"), tighter)
    assert found.needed == 1
    assert found.state.activated == digest_of(tighter)


def test_one_officer_does_not_activate_what_is_not_proved_to_tighten() -> None:
    state, other = governed(), files(comment="other")
    prover = SetProver(why_loosening="KOR gets Track")
    with pytest.raises(OrderRefused, match="KOR gets Track") as caught:
        judged(state, activation(state, other, "bob"), other, prover=prover)
    assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, activation(state, other, "bob", "alice"), other, prover=prover).needed == 2


def test_a_bundle_with_another_posture_of_its_own_takes_two() -> None:
    state, other = governed(), files(shared=SHARED.replace("ROUTINE", "IMMINENT"))
    assert refusal(state, activation(state, other, "bob"), other) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, activation(state, other, "bob", "alice"), other).needed == 2


@pytest.mark.parametrize(
    "changed",
    [
        files(invariants=None),
        files(invariants=INVARIANTS.replace("[LaunchDetection, Track]", "[Track]")),
        files(invariants=INVARIANTS.replace("partners: all", "partners: [KOR]")),
        files(invariants=INVARIANTS.replace("||", "&&")),
        files(shared=SHARED.replace("[PRK, RUS]", "[PRK, RUS, CHN]")),
    ],
    ids=["removed", "fewer kinds", "fewer partners", "another condition", "a longer country list"],
)
def test_removing_or_weakening_an_invariant_takes_three(changed: dict[str, bytes]) -> None:
    state = governed()
    assert refusal(state, activation(state, changed, "alice", "bob"), changed) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, activation(state, changed, "alice", "bob", "carol"), changed).needed == 3


@pytest.mark.parametrize(
    "changed",
    [
        files(invariants=INVARIANTS.replace("neighbours-only", "another-name")),
        files(invariants=INVARIANTS.replace("    kinds: [LaunchDetection, Track]\n", "")),
        files(shared=SHARED.replace("[IRN]", "[IRN, CHN]")),
        files(
            invariants=INVARIANTS
            + "  - {name: more, reason: More, partners: all, sent_classification_above: CONFIDENTIAL}\n"
        ),
    ],
    ids=["another name", "all kinds", "a list that it does not name", "one more"],
)
def test_adding_or_strengthening_an_invariant_takes_what_the_rest_takes(changed: dict[str, bytes]) -> None:
    state = governed()
    assert judged(state, activation(state, changed, "alice"), changed).needed == 1


def test_an_invariant_on_levels_is_weakened_by_another_equivalence_or_a_higher_level() -> None:
    levels = "invariants:\n  - {name: levels, reason: R, partners: all, sent_classification_above: CONFIDENTIAL}\n"
    same = "equivalences:\n  KOR: {SECRET: SECRET}\n"
    state = governed(files(invariants=levels, shared=SHARED + same))
    higher = files(invariants=levels.replace("CONFIDENTIAL", "SECRET"), shared=SHARED + same)
    other = files(invariants=levels, shared=SHARED + same.replace("SECRET}", "CONFIDENTIAL}"))
    for changed in (higher, other):
        assert refusal(state, activation(state, changed, "alice", "bob"), changed) == {Reason.TOO_FEW_SIGNATURES}
    lower = files(invariants=levels.replace("CONFIDENTIAL", "RESTRICTED"), shared=SHARED + same)
    assert judged(state, activation(state, lower, "alice"), lower).needed == 1


def test_where_the_bundle_in_force_cannot_be_read_the_next_takes_three() -> None:
    state, content = replace(governed(), bundle=None), files(comment="next")
    assert refusal(state, activation(state, content, "alice", "bob"), content) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, activation(state, content, "alice", "bob", "carol"), content).needed == 3


@pytest.mark.parametrize("posture", list(Posture))
def test_any_posture_takes_two(posture: Posture) -> None:
    state = governed()
    made = order(state, DeclarePosture(posture))
    assert refusal(state, signed_by(made, "alice")) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, signed_by(made, "alice", "carol")).state.posture_at(NOW) is posture


def test_a_declared_posture_ends_when_it_says_and_survives_a_new_bundle() -> None:
    state = governed()
    until = NOW + timedelta(hours=1)
    state = judged(state, signed_by(order(state, DeclarePosture(Posture.IMMINENT, until)), "alice", "bob")).state
    changed = files(comment="next")
    state = judged(state, activation(state, changed, "alice", "bob"), changed).state
    assert state.posture_at(until - timedelta(microseconds=1)) is Posture.IMMINENT
    assert state.posture_at(until) is Posture.ROUTINE


def test_two_replace_the_roster_and_from_then_on_only_the_new_one_counts() -> None:
    state = governed()
    fresh = roster("bob", "carol", "dave")
    state = judged(state, signed_by(order(state, ReplaceRoster(fresh)), "alice", "bob")).state
    assert refusal(state, signed_by(order(state, Suspend("KOR", "Leak")), "alice")) == {
        Reason.NOT_IN_ROSTER,
        Reason.TOO_FEW_SIGNATURES,
    }
    assert judged(state, signed_by(order(state, Suspend("KOR", "Leak")), "dave")).state.suspended == {"KOR"}


def test_a_roster_that_lowers_what_removing_an_invariant_takes_takes_as_much() -> None:
    state = governed()
    fewer = ReplaceRoster(roster("alice", "bob"))
    assert refusal(state, signed_by(order(state, fewer), "alice", "bob")) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, signed_by(order(state, fewer), "alice", "bob", "carol")).needed == 3


def test_thresholds_are_the_rosters_own() -> None:
    stricter = roster("alice", "bob", "carol", "dave", levels=Thresholds(3, 2, 4))
    state = governed(by=stricter)
    suspension = order(state, Suspend("KOR", "Leak"))
    assert refusal(state, signed_by(suspension, "alice")) == {Reason.TOO_FEW_SIGNATURES}
    assert judged(state, signed_by(suspension, "alice", "dave")).needed == 2


# --- signatures


def test_one_officer_who_signs_twice_is_not_two() -> None:
    state, content = State.genesis(roster()), files()
    assert refusal(state, activation(state, content, "alice", "alice"), content) == {
        Reason.SIGNED_TWICE,
        Reason.TOO_FEW_SIGNATURES,
    }


def test_an_order_signed_twice_by_one_is_refused_even_with_enough_others() -> None:
    state, content = State.genesis(roster()), files()
    signed = activation(state, content, "alice", "bob", "alice")
    assert refusal(state, signed, content) == {Reason.SIGNED_TWICE}


def test_one_key_under_two_names_is_no_roster() -> None:
    double = replace(roster(), officers=(officer("alice"), replace(officer("bob"), key=officer("alice").key)))
    assert any("same key" in fault for fault in double.faults())
    state = governed()
    assert Reason.UNFIT_ROSTER in refusal(state, signed_by(order(state, ReplaceRoster(double)), "alice", "bob"))


def test_whom_only_the_authority_calls_an_officer_has_no_say() -> None:
    state, content = State.genesis(roster()), files()
    assert refusal(state, activation(state, content, "alice", "bob", "mallory"), content) == {Reason.NOT_IN_ROSTER}


def test_a_key_of_ones_own_under_an_officers_name_has_no_say() -> None:
    state, content = State.genesis(roster()), files()
    signed = sign(activation(state, content, "alice"), "bob", NODE, seed_of("mallory"))
    assert refusal(state, signed, content) == {Reason.NOT_IN_ROSTER, Reason.TOO_FEW_SIGNATURES}


def test_an_unsigned_order_is_refused() -> None:
    state, content = State.genesis(roster()), files()
    assert refusal(state, activation(state, content), content) == {Reason.UNSIGNED, Reason.TOO_FEW_SIGNATURES}


def test_a_signature_on_one_order_is_none_on_another() -> None:
    state, content = governed(), files(comment="next")
    signed = activation(state, content, "alice", "bob")
    suspension = order(state, Resume("KOR"))
    moved = SignedOrder(encode(suspension), signed.signatures)
    assert Reason.BAD_SIGNATURE in refusal(state, moved)


@given(place=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_an_order_altered_in_any_bit_is_refused(place: int, bit: int) -> None:
    state, content = State.genesis(roster()), files()
    signed = activation(state, content, "alice", "bob")
    raw = bytearray(signed.order)
    raw[place % len(raw)] ^= 1 << bit
    with pytest.raises(OrderRefused):
        judged(state, replace(signed, order=bytes(raw)), content)


@given(which=st.integers(0, 1), place=st.integers(0, 63), bit=st.integers(0, 7))
def test_a_signature_altered_in_any_bit_is_refused(which: int, place: int, bit: int) -> None:
    state, content = State.genesis(roster()), files()
    signed = activation(state, content, "alice", "bob")
    raw = bytearray(signed.signatures[which].signature)
    raw[place] ^= 1 << bit
    altered = [*signed.signatures]
    altered[which] = replace(altered[which], signature=bytes(raw))
    found = refusal(state, replace(signed, signatures=tuple(altered)), content)
    assert found == {Reason.BAD_SIGNATURE, Reason.TOO_FEW_SIGNATURES}


# --- place and time


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


# --- what it says


def test_a_bundle_that_was_altered_after_it_was_signed_is_refused() -> None:
    state = governed()
    signed = activation(state, files(), "alice", "bob")
    assert refusal(state, signed, files(RULES.replace("SECRET", "TOP_SECRET"))) == {Reason.ALTERED}


def test_an_activation_without_its_files_is_refused() -> None:
    state = governed()
    assert refusal(state, activation(state, files(), "alice", "bob")) == {Reason.ALTERED}


def test_files_beside_another_order_are_refused() -> None:
    state = governed()
    assert refusal(state, signed_by(order(state, Suspend("KOR", "Leak")), "alice"), files()) == {Reason.ALTERED}


def test_a_bundle_that_is_no_policy_is_refused_with_every_problem() -> None:
    state, content = governed(), files(RULES.replace("SECRET", "SECRRET").replace("LIVE", "LIFE"))
    with pytest.raises(OrderRefused) as caught:
        judged(state, activation(state, content, "alice", "bob", "carol"), content)
    said = [each.what for each in caught.value.refusals if each.reason is Reason.DOES_NOT_COMPILE]
    assert len(said) >= 2
    assert all("partners/KOR.yaml:" in what for what in said)


def test_a_bundle_whose_invariants_are_not_proved_is_refused_whoever_signs_it() -> None:
    state, content = governed(), files(comment="next")
    prover = SetProver(invariants=["neighbours-only (a Track from UNKNOWN)"])
    signed = activation(state, content, "alice", "bob", "carol")
    assert refusal(state, signed, content, prover=prover) == {Reason.NOT_PROVED}


def test_nothing_is_proved_for_whom_the_roster_does_not_name() -> None:
    state, content = governed(), files(comment="next")
    prover = SetProver()
    refusal(state, activation(state, content, "mallory"), content, prover=prover)
    assert not prover.asked


def test_a_misspelt_partner_is_not_suspended_in_vain() -> None:
    state = governed()
    with pytest.raises(OrderRefused, match='mean "KOR"') as caught:
        judged(state, signed_by(order(state, Suspend("KRO", "Leak")), "alice"))
    assert reasons(caught.value) == {Reason.UNKNOWN_PARTNER}


def test_what_is_so_already_is_refused() -> None:
    state = governed()
    assert refusal(state, signed_by(order(state, Resume("KOR")), "alice", "bob")) == {Reason.NO_EFFECT}
    suspended = judged(state, signed_by(order(state, Suspend("KOR", "Leak")), "alice")).state
    again = signed_by(order(suspended, Suspend("KOR", "Leak")), "alice")
    assert refusal(suspended, again) == {Reason.NO_EFFECT}


def test_a_posture_that_is_over_already_is_refused() -> None:
    state = governed()
    made = order(state, DeclarePosture(Posture.IMMINENT, NOW))
    assert refusal(state, signed_by(made, "alice", "bob")) == {Reason.OVER_ALREADY}


def test_everything_that_stands_against_what_an_order_says_is_told_at_once() -> None:
    state = governed()
    made = order(
        state, Activate(digest_of(files())), node="USA", sequence=7, expires=NOW, issued=NOW - timedelta(days=40)
    )
    assert refusal(state, signed_by(made, "alice", "alice", "mallory"), files(RULES + "x: 1\n")) == {
        Reason.WRONG_NODE,
        Reason.WRONG_SEQUENCE,
        Reason.STALE,
        Reason.VALID_TOO_LONG,
        Reason.SIGNED_TWICE,
        Reason.NOT_IN_ROSTER,
        Reason.ALTERED,
    }


@pytest.mark.parametrize(
    ("names", "changes"),
    [
        ((), {}),
        (("mallory",), {}),
        (("alice", "mallory"), {}),
        (("alice",), {"expires": NOW}),
        (("alice",), {"sequence": 7}),
    ],
    ids=["unsigned", "nobody of the roster", "one who is not", "stale", "another place"],
)
def test_a_bundle_is_not_compiled_for_an_order_that_does_not_stand(
    names: tuple[str, ...], changes: dict[str, object]
) -> None:
    state, broken = governed(), {"policy.yaml": b"node: JPN\n"}
    signed = activation(state, broken, *names, **{"issued": NOW - timedelta(hours=1), **changes})
    assert Reason.DOES_NOT_COMPILE not in refusal(state, signed, broken)


def test_nothing_is_proved_where_too_few_signed_whatever_is_proved() -> None:
    state, prover = governed(), SetProver()
    for changed in (files(invariants=None), files(shared=SHARED.replace("ROUTINE", "IMMINENT"))):
        signed = activation(state, changed, "alice")
        assert refusal(state, signed, changed, prover=prover) == {Reason.TOO_FEW_SIGNATURES}
    start, first = State.genesis(roster()), files()
    refusal(start, activation(start, first, "alice"), first, prover=prover)
    assert not prover.asked


def test_more_signatures_than_the_roster_has_officers_are_one_refusal() -> None:
    state = governed()
    (one,) = signed_by(order(state, Suspend("KOR", "Leak")), "alice").signatures
    signed = SignedOrder(encode(order(state, Suspend("KOR", "Leak"))), (one, *[Signature("", b"", b"")] * 3))
    assert refusal(state, signed) == {Reason.TOO_MANY_SIGNATURES, Reason.TOO_FEW_SIGNATURES}


def test_of_a_message_with_very_many_signatures_no_more_are_read_than_shows_that_they_are() -> None:
    message = officer_pb2.SignedOrder(signatures=[officer_pb2.OrderSignature()] * 10_000)
    assert len(SignedOrder.of(message).signatures) == 65


def test_of_very_many_reasons_some_are_told_and_the_rest_is_counted() -> None:
    refused = OrderRefused(Refusal(Reason.UNFIT_ROSTER, f"Fault {number}.", "") for number in range(1_000))
    *told, last = refused.refusals
    assert [each.what for each in told] == [f"Fault {number}." for number in range(MAX_REFUSALS)]
    assert last.what == f"And {1_000 - MAX_REFUSALS} more."
    assert len(str(OrderRefused([Refusal(Reason.MALFORMED, "x" * 100_000, "")]))) < 2 * MAX_WHAT


def test_what_stands_at_a_glance_is_found_without_the_bundle() -> None:
    state, content, broken = governed(), files(comment="next"), {"policy.yaml": b"node: JPN\n"}
    glance(state, activation(state, broken, "alice"), broken, now=NOW, partners=PARTNERS, limits=LIMITS)
    with pytest.raises(OrderRefused) as caught:
        glance(state, activation(state, content), content, now=NOW, partners=PARTNERS, limits=LIMITS)
    assert reasons(caught.value) == {Reason.UNSIGNED, Reason.TOO_FEW_SIGNATURES}


# --- while it was judged


def test_a_judgement_holds_no_more_once_another_order_took_its_place() -> None:
    state, content = governed(), files(comment="next")
    signed = activation(state, content, "alice", "bob")
    judgement = judged(state, signed, content)
    suspended = judged(state, signed_by(order(state, Suspend("KOR", "Leak")), "carol")).state
    with pytest.raises(OrderRefused) as caught:
        confirm(judgement, suspended, signed, now=NOW, limits=LIMITS)
    assert reasons(caught.value) == {Reason.WRONG_SEQUENCE}


def test_a_judgement_holds_no_more_once_its_order_is_stale() -> None:
    state, content = governed(), files(comment="next")
    signed = activation(state, content, "alice", "bob", expires=NOW + timedelta(seconds=30))
    judgement = judged(state, signed, content)
    with pytest.raises(OrderRefused) as caught:
        confirm(judgement, state, signed, now=NOW + timedelta(seconds=30), limits=LIMITS)
    assert reasons(caught.value) == {Reason.STALE}


def test_a_posture_that_ended_meanwhile_does_not_come_back_with_the_order() -> None:
    before = governed()
    until = NOW + timedelta(hours=1)
    declared = judged(before, signed_by(order(before, DeclarePosture(Posture.IMMINENT, until)), "alice", "bob")).state
    content = files(comment="next")
    signed = activation(declared, content, "alice", "bob")
    judgement = judged(declared, signed, content)
    found = confirm(judgement, replace(declared, declared=None), signed, now=NOW, limits=LIMITS)
    assert found.state.declared is None
    assert found.state.activated == digest_of(content)
    assert found.state.bundle is judgement.state.bundle


# --- the bytes


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


# --- again, from what was kept


def test_a_state_is_the_same_when_its_orders_are_replayed() -> None:
    content, next_ = files(), files(comment="tighter")
    state = State.genesis(roster())
    replayed, kept = state, []
    for made, bundle in (
        (activation(state, content, "alice", "bob"), content),
        (None, next_),
        (Suspend("KOR", "Leak"), None),
    ):
        match made:
            case SignedOrder():
                signed = made
            case None:
                signed = activation(state, next_, "carol")
            case _:
                signed = signed_by(order(state, made), "bob")
        found = judged(state, signed, bundle)
        kept.append((signed, found.state.bundle if bundle else None, found.needed))
        state = found.state
    for signed, compiled, needed in kept:
        replayed = replay(replayed, signed, compiled, enacted=NOW, needed=needed)
    assert replayed == state


def test_a_replay_believes_no_order_that_the_roster_did_not_sign() -> None:
    start, content = State.genesis(roster()), files()
    forged = activation(start, content, "alice", "mallory")
    with pytest.raises(OrderRefused) as caught:
        replay(start, forged, None, enacted=NOW, needed=1)
    assert reasons(caught.value) == {Reason.NOT_IN_ROSTER, Reason.TOO_FEW_SIGNATURES}


def test_a_replay_takes_two_for_the_first_policy_whatever_is_on_record() -> None:
    start, content = State.genesis(roster()), files()
    with pytest.raises(OrderRefused):
        replay(start, activation(start, content, "alice"), None, enacted=NOW, needed=1)


def test_a_replay_believes_no_other_bundle_than_the_one_that_was_signed() -> None:
    state, other = governed(), files(comment="other")
    compiled = judged(state, activation(state, other, "alice", "bob"), other).state.bundle
    with pytest.raises(OrderRefused) as caught:
        replay(state, activation(state, files(), "alice", "bob"), compiled, enacted=NOW, needed=2)
    assert reasons(caught.value) == {Reason.ALTERED}


# --- in words


def test_what_is_missing_is_said_in_words() -> None:
    state = governed()
    signed = signed_by(order(state, Resume("KOR")), "alice", "mallory", "alice")
    said = "\n".join(missing(signed, state.roster))
    assert "Signed by alice." in said
    assert "alice AGAIN" in said
    assert "NOT in the roster" in said
    assert "1 of 2 signatures: 1 missing" in said


# --- with the proofs themselves


@dataclass
class Passing:
    """A clock on which a second passes whenever it is read."""

    seconds: float = 0.0

    def __call__(self) -> float:
        self.seconds += 1
        return self.seconds


PROOFS: Final = Proofs(lambda: 0.0)
KEEPS = RULES + "    when: report.threat.launch_country in countries.neighbours\n"


def test_a_bundle_is_put_in_force_by_its_proof_and_refused_without_one() -> None:
    start, loose, kept = State.genesis(roster()), files(), files(KEEPS)
    with pytest.raises(OrderRefused, match="neighbours-only") as caught:
        judged(start, activation(start, loose, "alice", "bob"), loose, prover=PROOFS)
    assert reasons(caught.value) == {Reason.NOT_PROVED}
    state = judged(start, activation(start, kept, "alice", "bob"), kept, prover=PROOFS).state
    less = files(KEEPS.replace("[LaunchDetection, Track]", "[Track]"))
    state = judged(state, activation(state, less, "carol"), less, prover=PROOFS).state
    with pytest.raises(OrderRefused, match="not proved to release nothing new: KOR") as caught:
        judged(state, activation(state, kept, "carol"), kept, prover=PROOFS)
    assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}


def test_an_invariant_that_is_not_proved_in_time_is_not_proved() -> None:
    start, kept = State.genesis(roster()), files(KEEPS)
    signed = activation(start, kept, "alice", "bob")
    assert judged(start, signed, kept, prover=Proofs(Passing())).needed == 2
    for seconds in (1, 2):
        limits = replace(LIMITS, max_proof=timedelta(seconds=seconds))
        with pytest.raises(OrderRefused, match='"neighbours-only" is undecided') as caught:
            judged(start, signed, kept, prover=Proofs(Passing()), limits=limits)
        assert reasons(caught.value) == {Reason.NOT_PROVED}


def test_what_is_not_proved_in_time_to_tighten_may_loosen() -> None:
    state = governed(files(invariants=None))
    less = files(RULES.replace("[LaunchDetection, Track]", "[Track]"), invariants=None)
    signed = activation(state, less, "carol")
    assert judged(state, signed, less, prover=Proofs(Passing())).needed == 1
    for seconds in (1, 2, 3):
        limits = replace(LIMITS, max_proof=timedelta(seconds=seconds))
        with pytest.raises(OrderRefused, match="undecided") as caught:
            judged(state, signed, less, prover=Proofs(Passing()), limits=limits)
        assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}


def test_all_proofs_for_one_order_share_its_time() -> None:
    state, content, prover = governed(), files(comment="next"), SetProver()
    judged(state, activation(state, content, "alice"), content, prover=prover)
    assert prover.asked == ["unproved", "loosening"]
    assert prover.time == LIMITS.max_proof


def test_one_officer_neither_revives_an_agreement_that_no_rule_cites_nor_moves_a_decision_by_a_hold() -> None:
    """Either changes what is sent of what was released, or will be: a proof that it tightens would be wrong."""
    treaty = (
        "agreements:\n  treaty:\n    title: T\n    basis: B\n    parties: [JPN, KOR]\n"
        "    from: 2024-01-01\n    until: 2026-02-01\n    kinds: [LaunchDetection, Track]\n"
    )
    before = files(KEEPS + "    agreement: treaty\n", shared=SHARED + treaty)
    revived = files("partner: KOR\nrules: []\n", shared=SHARED + treaty.replace("2026", "2099"))
    held = files(KEEPS + "    agreement: treaty\n    hold_s: 3600\n", shared=SHARED + treaty)
    state = governed(before)
    for after in (revived, held):
        with pytest.raises(OrderRefused) as caught:
            judged(state, activation(state, after, "carol"), after, prover=PROOFS)
        assert reasons(caught.value) == {Reason.TOO_FEW_SIGNATURES}
    nothing = files("partner: KOR\nrules: []\n", shared=SHARED + treaty)
    assert judged(state, activation(state, nothing, "carol"), nothing, prover=PROOFS).needed == 1
