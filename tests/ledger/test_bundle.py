"""An entry bundle holds exactly its entries."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.bundle import MAX_ENTRY, decode, element, encode
from gateway.ledger.errors import BundleError

ENTRIES = st.lists(st.binary(min_size=1, max_size=40), max_size=20)


@given(ENTRIES)
def test_a_bundle_gives_back_its_entries(entries: list[bytes]) -> None:
    assert decode(encode(entries), len(entries)) == entries


@given(st.lists(st.binary(max_size=5), max_size=20))
def test_absent_entries_keep_their_place_where_they_are_allowed(entries: list[bytes]) -> None:
    assert decode(encode(entries, allow_absent=True), len(entries), allow_absent=True) == entries


@given(st.binary(max_size=200), st.integers(min_value=0, max_value=20))
def test_bytes_are_either_refused_or_the_one_encoding_of_what_they_hold(data: bytes, count: int) -> None:
    try:
        entries = decode(data, count, allow_absent=True)
    except BundleError:
        return
    assert len(entries) == count
    assert encode(entries, allow_absent=True) == data


def test_lengths_are_big_endian_uint16() -> None:
    assert encode([b"ab", b"c" * 258]) == b"\x00\x02ab\x01\x02" + b"c" * 258


def test_the_longest_entry_fits_and_one_byte_more_does_not() -> None:
    assert decode(encode([b"x" * MAX_ENTRY]), 1) == [b"x" * MAX_ENTRY]
    with pytest.raises(BundleError, match="65536 bytes"):
        encode([b"x" * (MAX_ENTRY + 1)])


@given(ENTRIES.filter(bool), st.data())
def test_a_bundle_cut_short_anywhere_is_refused(entries: list[bytes], data: st.DataObject) -> None:
    whole = encode(entries)
    cut = data.draw(st.integers(min_value=0, max_value=len(whole) - 1))
    with pytest.raises(BundleError, match="bundle ends"):
        decode(whole[:cut], len(entries))


def test_a_bundle_of_more_or_fewer_entries_than_expected_is_refused() -> None:
    whole = encode([b"a", b"b"])
    with pytest.raises(BundleError, match="3 bytes after"):
        decode(whole, 1)
    with pytest.raises(BundleError, match="before entry 2"):
        decode(whole, 3)
    with pytest.raises(BundleError, match="1 bytes after"):
        decode(whole + b"\x00", 2)
    with pytest.raises(BundleError, match="bytes after"):
        decode(b"\x00", 0)


def test_an_absent_entry_is_refused_where_it_was_not_allowed() -> None:
    with pytest.raises(BundleError, match="absent"):
        decode(b"\x00\x00", 1)
    with pytest.raises(BundleError, match="empty"):
        encode([b""])


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20), st.data())
def test_one_entry_is_read_without_the_others(entries: list[bytes], data: st.DataObject) -> None:
    encoded = encode(entries, allow_absent=True)
    position = data.draw(st.integers(0, len(entries) - 1))
    assert element(encoded, len(entries), position) == entries[position]
    end = sum(2 + len(entry) for entry in entries[: position + 1])
    assert element(encoded[:end], len(entries), position) == entries[position]
    with pytest.raises(BundleError, match="bundle ends"):
        element(encoded[: end - 1], len(entries), position)


@pytest.mark.parametrize("position", [-1, 2])
def test_an_entry_that_the_bundle_does_not_have_is_refused(position: int) -> None:
    with pytest.raises(BundleError, match="has 2 entries"):
        element(encode([b"a", b"b"]), 2, position)
