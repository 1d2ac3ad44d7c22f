"""What an officers' order says: what is refused of it, how it is confirmed, replayed, and told in words."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from signalfire.v1 import officer_pb2

from policy import digest_of
from policy.approve import (
    Activate,
    DeclarePosture,
    OrderRefused,
    Reason,
    Refusal,
    Resume,
    Signature,
    SignedOrder,
    State,
    Suspend,
    confirm,
    encode,
    glance,
    missing,
    replay,
)
from policy.approve.refusals import MAX_REFUSALS, MAX_WHAT
from policy.vocabulary import Posture
from tests.policy.officers import (
    LIMITS,
    NOW,
    PARTNERS,
    RULES,
    SHARED,
    SetProver,
    activation,
    files,
    governed,
    judged,
    order,
    reasons,
    refusal,
    roster,
    signed_by,
)


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
