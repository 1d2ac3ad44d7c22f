"""What is said on record of entries that are kept back names each of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.exchange.keeping_back import in_words, places_in
from gateway.ledger.origin import Origin

ORIGIN = Origin("JPN", "KOR", "flash", 1)


def test_entries_are_named_as_runs_and_reasons_are_counted() -> None:
    why = dict.fromkeys([3, 5, 6, 7], "the agreement a is not in force") | {9: "the partner is suspended"}
    assert in_words(why, ORIGIN) == (
        "signalfire/v1/JPN/KOR/flash/1: entries 3, 5 to 7, 9 are served as hash alone: 4 because the agreement a is not"
        " in force; 1 because the partner is suspended"
    )
    assert in_words({8: "the partner is suspended"}, ORIGIN) == (
        "signalfire/v1/JPN/KOR/flash/1: entry 8 is served as hash alone: 1 because the partner is suspended"
    )


@given(st.sets(st.integers(0, 200), min_size=1))
def test_the_entries_can_be_read_back_from_the_words(indices: set[int]) -> None:
    assert places_in(in_words(dict.fromkeys(indices, "so"), ORIGIN)) == (str(ORIGIN), frozenset(indices))


@pytest.mark.parametrize("words", ["", "x: entries are served as hash alone: 1", "x: entries 1 to are served as hash"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(ValueError, match="which entries"):
        places_in(words)
