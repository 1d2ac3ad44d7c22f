"""Whose signatures on an order count, and that each is on that very order."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy.approve import OrderRefused, Reason, ReplaceRoster, Resume, SignedOrder, State, encode, sign
from tests.policy.officers import (
    NODE,
    activation,
    files,
    governed,
    judged,
    officer,
    order,
    refusal,
    roster,
    seed_of,
    signed_by,
)


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
