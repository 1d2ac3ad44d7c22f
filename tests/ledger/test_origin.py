"""Origin lines have two shapes and one spelling."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.errors import OriginError
from gateway.ledger.origin import MAX_GENERATION, Lane, Origin

NODES = st.text(alphabet="ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=3, max_size=3)
GENERATIONS = st.integers(min_value=1, max_value=MAX_GENERATION)
RELEASES = (
    st.tuples(NODES, NODES, st.sampled_from(list(Lane)), GENERATIONS)
    .filter(lambda parts: parts[0] != parts[1])
    .map(lambda parts: Origin.release(*parts))
)
ORIGINS = RELEASES | st.builds(Origin.decisions, NODES, GENERATIONS) | st.builds(Origin.witness, NODES, GENERATIONS)


@given(ORIGINS)
def test_an_origin_is_read_back_from_its_line(origin: Origin) -> None:
    assert Origin.parse(str(origin)) == origin


def test_a_line_that_names_no_ledger_is_refused_each_time() -> None:
    for _ in range(2):
        with pytest.raises(OriginError, match="does not begin with"):
            Origin.parse("signalfire/v2/JPN/KOR/flash/1")
        assert Origin.parse("signalfire/v1/JPN/KOR/flash/1") == Origin.release("JPN", "KOR", Lane.FLASH, 1)


@given(ORIGINS, ORIGINS)
def test_two_origins_have_the_same_line_only_when_equal(one: Origin, other: Origin) -> None:
    assert (str(one) == str(other)) == (one == other)


def test_the_three_kinds_of_ledger_are_spelled_as_the_protocol_says() -> None:
    assert str(Origin.release("JPN", "KOR", Lane.FLASH, 1)) == "signalfire/v1/JPN/KOR/flash/1"
    assert str(Origin.decisions("JPN", 2)) == "signalfire/v1/JPN/decisions/2"
    assert str(Origin.witness("JPN", 30)) == "signalfire/v1/JPN/witness/30"


def test_a_lane_and_its_text_make_the_same_origin() -> None:
    assert repr(Origin.release("JPN", "KOR", Lane.FLASH, 1)) == repr(Origin.release("JPN", "KOR", "flash", 1))


def test_the_successor_is_the_same_ledger_one_generation_on() -> None:
    assert Origin.release("JPN", "KOR", "flash", 9).successor() == Origin.release("JPN", "KOR", "flash", 10)
    assert Origin.witness("JPN", 1).successor() == Origin.witness("JPN", 2)


def test_the_last_generation_has_no_successor() -> None:
    with pytest.raises(OriginError, match="generation"):
        Origin.decisions("JPN", MAX_GENERATION).successor()


@pytest.mark.parametrize(
    "line",
    [
        "",
        "signalfire/v1",
        "signalfire/v1/",
        "signalfire/v2/JPN/KOR/flash/1",
        "Signalfire/v1/JPN/KOR/flash/1",
        "/signalfire/v1/JPN/KOR/flash/1",
        "signalfire/v1/JPN/KOR/flash/1/",
        "signalfire/v1/JPN/KOR/flash/1/1",
        "signalfire/v1/JPN/KOR/flash",
        "signalfire/v1/JPN//flash/1",
        "signalfire/v1/JPN/KOR/FLASH/1",
        "signalfire/v1/JPN/KOR/urgent/1",
        "signalfire/v1/JPN/KOR/decisions/1",
        "signalfire/v1/JPN/KOR/witness/1",
        "signalfire/v1/JPN/flash/1",
        "signalfire/v1/JPN/KOR/1",
        "signalfire/v1/JPN/JPN/flash/1",
        "signalfire/v1/jpn/KOR/flash/1",
        "signalfire/v1/JP/KOR/flash/1",
        "signalfire/v1/JPNX/KOR/flash/1",
        "signalfire/v1/JP1/KOR/flash/1",
        "signalfire/v1/JPÑ/KOR/flash/1",
        "signalfire/v1/JPN\n/KOR/flash/1",
        "signalfire/v1/JPN/KOR/flash/0",
        "signalfire/v1/JPN/KOR/flash/01",
        "signalfire/v1/JPN/KOR/flash/+1",
        "signalfire/v1/JPN/KOR/flash/-1",
        "signalfire/v1/JPN/KOR/flash/1_0",
        "signalfire/v1/JPN/KOR/flash/ 1",
        "signalfire/v1/JPN/KOR/flash/1\n",
        "signalfire/v1/JPN/KOR/flash/\u0661",
        "signalfire/v1/JPN/KOR/flash/9223372036854775808",
        "signalfire/v1/JPN/KOR/flash/10000000000000000000",
        "signalfire/v1/JPN/decisions/0",
    ],
)
def test_any_other_line_is_refused(line: str) -> None:
    with pytest.raises(OriginError):
        Origin.parse(line)


def test_an_origin_cannot_be_built_from_parts_that_have_no_line() -> None:
    for owner, recipient, lane, generation in (
        ("JPN", "JPN", "flash", 1),
        ("JPN", None, "flash", 1),
        ("JPN", "KOR", "witness", 1),
        ("JPN", "KOR", "flash", 0),
        ("JPN", "KOR", "flash", 2**63),
    ):
        with pytest.raises(OriginError):
            Origin(owner, recipient, lane, generation)
