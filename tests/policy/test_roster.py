"""Rosters: who may sign, and which rosters could not govern."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from policy import PolicyError
from policy.approve import Officer, Roster, Thresholds, default_thresholds, parse_officer, parse_roster
from policy.approve.armour import read_orders, write_orders
from policy.approve.order import Suspend
from tests.policy.officers import NODE, governed, officer, order, roster, signed_by


def test_a_roster_reads_back_as_it_was_written() -> None:
    made = roster()
    assert parse_roster("roster.yaml", made.text().encode()) == made
    assert Roster.of(NODE, made.message()) == made


def test_thresholds_that_are_not_given_are_two_one_and_three() -> None:
    text = roster().text().split("thresholds:")[0]
    assert parse_roster("roster.yaml", text.encode()).thresholds == Thresholds(2, 1, 3)


@pytest.mark.parametrize(("officers", "loosen", "removal"), [(2, 2, 2), (3, 2, 3), (9, 2, 3), (5, 3, 4), (3, 3, 3)])
def test_removing_an_invariant_takes_more_where_there_are_more(officers: int, loosen: int, removal: int) -> None:
    assert default_thresholds(officers, loosen).remove_invariant == removal


def test_that_two_officers_cannot_be_more_than_two_is_remarked() -> None:
    two = roster("alice", "bob")
    assert not two.faults()
    assert "removing an invariant takes no more signatures than loosening (2)" in two.remarks()[0]
    assert not roster().remarks()


@pytest.mark.parametrize(
    ("made", "fault"),
    [
        (Roster(NODE, (officer("alice"),), Thresholds(2, 1, 2)), "2 to 64 officers"),
        (roster(levels=Thresholds(1, 1, 3)), "loosen is 1"),
        (roster(levels=Thresholds(4, 1, 3)), "there are 3 officers"),
        (roster(levels=Thresholds(2, 0, 3)), "tighten is 0"),
        (roster(levels=Thresholds(2, 3, 3)), "tighten is 3"),
        (roster(levels=Thresholds(2, 1, 2)), "remove_invariant is 2"),
        (roster(levels=Thresholds(2, 1, 4)), "remove_invariant is 4"),
        (Roster(NODE, (officer("alice"), officer("alice")), Thresholds(2, 1, 2)), "stands twice"),
        (Roster(NODE, (officer("alice"), Officer("bob", bytes(32))), Thresholds(2, 1, 2)), "no Ed25519 key"),
        (Roster(NODE, (officer("alice"), Officer("bob", b"short")), Thresholds(2, 1, 2)), "no Ed25519 key"),
        (Roster(NODE, (officer("alice"), officer("Bob B")), Thresholds(2, 1, 2)), "no name of an officer"),
    ],
)
def test_a_roster_that_could_not_govern_is_refused(made: Roster, fault: str) -> None:
    assert any(fault in each for each in made.faults())


@pytest.mark.parametrize(
    ("old", "new", "what"),
    [
        ("node: JPN", "node: Japan", "alpha-3"),
        ("node: JPN", "nod: JPN", "node"),
        ("loosen: 2", "loosen: two", "loosen"),
        ("loosen: 2", "lossen: 2", "lossen"),
        ("officer/alice+", "officer/alicia+", "altered"),
        ("signalfire/v1/JPN/officer/bob", "signalfire/v1/KOR/officer/bob", "altered"),
        ("  - signalfire/v1/JPN/officer/bob", "  - bob", "verifier key"),
    ],
)
def test_a_roster_file_with_a_fault_is_refused_with_its_line(old: str, new: str, what: str) -> None:
    text = roster().text()
    assert old in text
    with pytest.raises(PolicyError) as refused:
        parse_roster("roster.yaml", text.replace(old, new).encode())
    assert any(what in problem.what for problem in refused.value.problems)
    assert all(problem.file == "roster.yaml" for problem in refused.value.problems)


def test_an_officer_of_another_node_is_refused() -> None:
    text = roster().text() + ""
    foreign = officer("dave").vkey("KOR")
    changed = text.replace("thresholds:", f"  - {foreign}\nthresholds:")
    with pytest.raises(PolicyError, match="dave is an officer of KOR"):
        parse_roster("roster.yaml", changed.encode())


def test_a_digest_covers_node_officers_keys_and_thresholds() -> None:
    made = roster()
    others = [
        roster("alice", "bob", "dave"),
        roster(levels=Thresholds(3, 1, 3)),
        Roster("KOR", made.officers, made.thresholds),
        Roster(NODE, (officer("alice", bytes(32)), *made.officers[1:]), made.thresholds),
    ]
    assert len({made.digest, *(other.digest for other in others)}) == 5
    assert Roster(NODE, made.officers[::-1], made.thresholds).digest == made.digest


@given(st.text(max_size=120))
def test_what_is_no_officers_line_is_refused_and_never_breaks_anything(text: str) -> None:
    with pytest.raises(ValueError, match=r"is|was"):
        parse_officer(text)


# --- orders as a file


def test_orders_read_back_from_a_file_as_they_were_written() -> None:
    state = governed()
    orders = [signed_by(order(state, Suspend(code, "Leak")), "alice") for code in ("KOR", "USA")]
    assert read_orders("x.order", write_orders(orders)) == orders


@pytest.mark.parametrize("change", ["comment", "cut", "damaged", "empty", "binary", "beside"])
def test_a_file_of_orders_with_anything_else_in_it_is_refused(change: str) -> None:
    state = governed()
    text = write_orders([signed_by(order(state, Suspend("KOR", "Leak")), "alice")])
    changed = {
        "comment": b"# suspends KOR\n" + text,
        "cut": text[:-5],
        "damaged": text.replace(b"\n", b"\n*", 1),
        "empty": b"\n",
        "binary": text + b"\xff",
        "beside": text + b"and more\n",
    }[change]
    with pytest.raises(PolicyError):
        read_orders("x.order", changed)
