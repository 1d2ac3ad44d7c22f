"""The layout of an entry is the byte table of `gateway.seal.entry`, and nothing else is an entry."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.seal.commitment import Fields
from gateway.seal.entry import (
    HEADER_SIZE,
    MAX_ENTRY_SIZE,
    MAX_PAYLOAD_SIZE,
    NO_COMMITMENT,
    PADDED_SIZES,
    TAG_SIZE,
    EntryKind,
    Header,
    commitment_of,
    encode_canonical,
    encode_header,
    encode_payload,
    pad,
    padding_class,
    parse_canonical,
    parse_header,
    require_place,
    unpad,
)
from gateway.seal.epoch import MAX_CONTENT_SIZE
from gateway.seal.errors import EntryError, OpenError, PayloadTooLarge
from tests.seal import reference_entry as reference

COMMITMENT = bytes(range(32))
CONTENT = reference.header_of(0, 5, COMMITMENT) + bytes(512 + 16)
OPENING = bytes([1, 2, 0, 0]) + reference.u64(5) + bytes(32) + b"body"


def test_a_header_is_read_from_the_places_in_the_table() -> None:
    assert parse_header(CONTENT) == Header(EntryKind.SEALED_CONTENT, 0, 5, COMMITMENT)
    assert parse_header(OPENING) == Header(EntryKind.EPOCH_OPENING, 0, 5, NO_COMMITMENT)
    assert commitment_of(CONTENT) == COMMITMENT


def test_a_header_is_written_in_the_places_of_the_table() -> None:
    assert encode_header(EntryKind.SEALED_CONTENT, 3, 2**40, COMMITMENT) == reference.header_of(3, 2**40, COMMITMENT)


@pytest.mark.parametrize(
    "entry",
    [
        b"",
        CONTENT[:HEADER_SIZE],
        OPENING[:HEADER_SIZE],
        CONTENT[:-1],
        CONTENT + b"\x00",
        b"\x00" + CONTENT[1:],
        b"\x02" + CONTENT[1:],
        CONTENT[:1] + b"\x00" + CONTENT[2:],
        CONTENT[:1] + b"\x03" + CONTENT[2:],
        CONTENT[:2] + b"\x01" + CONTENT[3:],
        CONTENT[:2] + b"\x08" + CONTENT[3:],
        CONTENT[:3] + b"\x01" + CONTENT[4:],
        CONTENT[:4] + b"\x80" + CONTENT[5:],
        OPENING[:2] + b"\x01" + OPENING[3:],
        OPENING[:43] + b"\x01" + OPENING[44:],
        OPENING + bytes(MAX_ENTRY_SIZE + 1 - len(OPENING)),
    ],
)
def test_an_entry_that_breaks_a_rule_of_the_layout_is_refused(entry: bytes) -> None:
    with pytest.raises(EntryError):
        parse_header(entry)


def test_the_largest_entry_is_an_entry() -> None:
    assert parse_header(OPENING + bytes(MAX_ENTRY_SIZE - len(OPENING))).kind is EntryKind.EPOCH_OPENING


@pytest.mark.parametrize("size", PADDED_SIZES)
def test_each_class_has_entries_of_one_length_within_the_limit(size: int) -> None:
    number = PADDED_SIZES.index(size)
    entry = reference.header_of(number, 5, COMMITMENT) + bytes(size + TAG_SIZE)
    assert parse_header(entry).padding_class == number
    assert len(entry) <= MAX_ENTRY_SIZE


def test_content_stands_after_its_epoch_and_an_opening_at_it() -> None:
    content, opening = parse_header(CONTENT), parse_header(OPENING)
    require_place(content, 6)
    require_place(opening, 5)
    for header, index in ((content, 5), (content, 4), (opening, 4), (opening, 6), (content, 2**63), (opening, -1)):
        with pytest.raises(EntryError):
            require_place(header, index)


def test_every_length_has_the_smallest_class_that_holds_it() -> None:
    number = 0
    for length in range(MAX_PAYLOAD_SIZE + 1):
        if 4 + length > PADDED_SIZES[number]:
            number += 1
        assert padding_class(length) == number
    assert number == len(PADDED_SIZES) - 1


@pytest.mark.parametrize("length", [-1, MAX_PAYLOAD_SIZE + 1, 2**32])
def test_a_length_that_no_class_holds_is_refused(length: int) -> None:
    with pytest.raises(PayloadTooLarge):
        padding_class(length)


@given(st.binary(max_size=3000))
def test_padding_comes_off_as_it_went_on(payload: bytes) -> None:
    number, plaintext = pad(payload)
    assert plaintext == reference.plaintext_of(payload)
    assert unpad(plaintext, number) == payload


@given(st.binary(max_size=600), st.data())
def test_one_set_bit_of_padding_is_refused(payload: bytes, data: st.DataObject) -> None:
    number, plaintext = pad(payload + b"x")
    if len(payload) + 5 == len(plaintext):
        return
    position = data.draw(st.integers(len(payload) + 5, len(plaintext) - 1))
    bit = 1 << data.draw(st.integers(0, 7))
    with pytest.raises(OpenError, match="not all zero"):
        unpad(plaintext[:position] + bytes([bit]) + plaintext[position + 1 :], number)


def test_a_plaintext_of_another_length_or_class_is_refused() -> None:
    number, plaintext = pad(bytes(100))
    for changed, claimed in ((plaintext[:-1], number), (plaintext + b"\x00", number), (plaintext, number + 1)):
        with pytest.raises(OpenError, match="plaintext has"):
            unpad(changed, claimed)
    with pytest.raises(OpenError, match="has padding class 0, not 1"):
        unpad(plaintext.ljust(PADDED_SIZES[1], b"\x00"), 1)
    with pytest.raises(OpenError, match="at most 508 fit"):
        unpad(b"\xff" + plaintext[1:], number)


def test_only_the_canonical_form_of_a_message_is_read() -> None:
    salt = bytes(32)
    canonical = reference.shown_part(1, salt, b"x")
    assert parse_canonical(canonical, SealedPayload) == SealedPayload(
        parts=[Part(group=PartGroup.PART_GROUP_ENVELOPE, salt=salt, content=b"x")]
    )
    group, salted, content = b"\x08\x01", reference.length_delimited(2, salt), reference.length_delimited(3, b"x")
    for fields in (
        salted + group + content,  # out of order
        group + group + salted + content,  # twice
        b"\x08\x81\x00" + salted + content,  # a longer varint than needed
        group + salted + content + b"\x22\x00",  # a default value
        group + salted + content + b"\x28\x01",  # an unknown field
    ):
        assert SealedPayload.FromString(reference.length_delimited(1, fields)).parts[0].content == b"x"
        assert parse_canonical(reference.length_delimited(1, fields), SealedPayload) is None
    assert parse_canonical(canonical[:-1], SealedPayload) is None


def as_protobuf_writes(parts: list[Fields]) -> bytes:
    made = [
        Part(group=PartGroup.ValueType(group), salt=salt, content=content, leaf_hash=leaf)
        for group, salt, content, leaf in parts
    ]
    return encode_canonical(SealedPayload(parts=made))


@pytest.mark.parametrize("group", [0, 1, 127, 128, 255])
def test_a_part_of_any_size_is_written_as_protobuf_writes_it(group: int) -> None:
    salt = bytes(range(200, 232))
    about_longer_varints = [2**bits + offset for bits in (7, 14) for offset in range(-60, 2)]
    for size in (*range(700), *about_longer_varints, MAX_CONTENT_SIZE):
        parts = [(group, salt, bytes(range(251)) * (size // 251) + bytes(size % 251), b"")]
        assert encode_payload(parts) == as_protobuf_writes(parts)


@pytest.mark.parametrize("group", range(256))
def test_a_part_of_any_group_is_written_as_protobuf_writes_it(group: int) -> None:
    for salt in (bytes(32), b"\xff" * 32, bytes([group]) * 32):
        parts = [(group, salt, b"content", b"")]
        assert encode_payload(parts) == as_protobuf_writes(parts)


@given(
    st.lists(
        st.tuples(st.integers(1, 255), st.binary(min_size=32, max_size=32), st.binary(max_size=300), st.just(b""))
        | st.tuples(st.just(0), st.just(b""), st.just(b""), st.binary(min_size=32, max_size=32)),
        max_size=64,
    )
)
def test_parts_shown_and_hidden_are_written_as_protobuf_writes_them(parts: list[Fields]) -> None:
    assert encode_payload(parts) == as_protobuf_writes(parts)
