"""How many officers each thing takes that they may put in force."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from policy import digest_of
from policy.approve import DeclarePosture, OrderRefused, Reason, ReplaceRoster, Resume, State, Suspend, Thresholds
from policy.vocabulary import Posture
from tests.policy.officers import (
    INVARIANTS,
    NOW,
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
