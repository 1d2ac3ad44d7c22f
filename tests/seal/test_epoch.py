"""An entry opens in its own ledger, at its own index, for its own readers, unaltered, and nowhere else."""

from __future__ import annotations

import copy
import pickle
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1.ledger_pb2 import Part, PartGroup, SealedPayload

from gateway.seal.commitment import disclose
from gateway.seal.entry import MAX_INDEX, MAX_PAYLOAD_SIZE, PADDED_SIZES, EntryKind, parse_header
from gateway.seal.epoch import MAX_CONTENT_SIZE, Epoch, content_of
from gateway.seal.errors import (
    CommitmentError,
    EntryError,
    KeyMaterialError,
    NonceError,
    OpenError,
    PayloadTooLarge,
    SealError,
    WrapError,
)
from tests.seal import reference_entry as reference
from tests.seal.parties import JPN, KOR, ORIGIN, READERS, USA, flipped, seeded

CONTENT_KEY = bytes(range(32))
CONTENT = b"a launch was seen"
EDGES = [0, 1, *(size + offset for size in PADDED_SIZES[:-1] for offset in range(-48, -36)), MAX_CONTENT_SIZE]
"""Sizes of content about every step from one class to the next: length, salt and tags take 44 or 46 bytes."""

PARTS = [
    Part(group=PartGroup.PART_GROUP_ENVELOPE, content=b"envelope"),
    Part(group=PartGroup.PART_GROUP_THREAT, content=b"threat"),
    Part(group=PartGroup.PART_GROUP_KINEMATICS),
]


def fixed_key_epoch(index: int = 0) -> Epoch:
    return Epoch.open_new(ORIGIN, index, READERS, lambda size: CONTENT_KEY)[0]


EPOCH, OPENING = Epoch.open_new(ORIGIN, 3, READERS)
READER = Epoch.from_opening(ORIGIN, OPENING, 3, "KOR", [KOR])
ENTRY = EPOCH.seal(5, CONTENT)


def round_trip(content: bytes) -> bytes:
    epoch = fixed_key_epoch()
    entry = epoch.seal(1, content, seeded("salt"))
    assert content_of(epoch.open(1, entry)) == content
    return entry


@pytest.mark.parametrize("size", EDGES)
def test_content_of_every_class_comes_back(size: int) -> None:
    round_trip(bytes(range(251)) * (size // 251) + bytes(size % 251))


@given(st.binary(max_size=5000))
def test_any_content_comes_back(content: bytes) -> None:
    round_trip(content)


def test_entries_of_one_class_have_one_length() -> None:
    lengths: dict[int, set[int]] = {}
    for size in EDGES:
        entry = round_trip(bytes(size))
        lengths.setdefault(parse_header(entry).padding_class, set()).add(len(entry))
    assert lengths == {number: {44 + size + 16} for number, size in enumerate(PADDED_SIZES)}


def test_the_largest_content_fills_the_largest_payload_and_one_byte_more_is_refused() -> None:
    salt = bytes(32)
    assert len(reference.shown_part(0, salt, bytes(MAX_CONTENT_SIZE))) == MAX_PAYLOAD_SIZE
    epoch = fixed_key_epoch()
    with pytest.raises(PayloadTooLarge):
        epoch.seal(1, bytes(MAX_CONTENT_SIZE + 1))
    assert content_of(epoch.open(1, epoch.seal(1, bytes(MAX_CONTENT_SIZE)))) == bytes(MAX_CONTENT_SIZE)


@given(st.binary(max_size=1200), st.integers(1, MAX_INDEX))
def test_an_entry_is_the_bytes_that_the_tables_say(content: bytes, index: int) -> None:
    salt = seeded("salt")(32)
    payload = reference.shown_part(0, salt, content)
    header = reference.header_of(reference.class_of(len(payload)), 0, reference.leaf_of(0, salt, content))
    expected = reference.sealed(CONTENT_KEY, ORIGIN, index, header, reference.plaintext_of(payload))
    assert fixed_key_epoch().seal(index, content, seeded("salt")) == expected


def test_every_reader_opens_it() -> None:
    for node, key in (("KOR", KOR), ("JPN", JPN)):
        reader = Epoch.from_opening(ORIGIN, OPENING, 3, node, [USA, key])
        assert content_of(reader.open(5, ENTRY)) == CONTENT


def test_a_third_node_cannot_open_it() -> None:
    for node in ("USA", "KOR"):
        with pytest.raises(WrapError, match="not wrapped for any sealing key"):
            Epoch.from_opening(ORIGIN, OPENING, 3, node, [USA])
    with pytest.raises(WrapError, match="not wrapped for any sealing key"):
        Epoch.from_opening(ORIGIN, OPENING, 3, "KOR", [])


def test_a_flip_of_any_bit_of_an_entry_is_refused() -> None:
    for bit in range(8 * len(ENTRY)):
        with pytest.raises((EntryError, OpenError)):
            READER.open(5, flipped(ENTRY, bit))


def test_an_entry_cut_short_or_drawn_out_is_refused() -> None:
    for changed in (b"", ENTRY[:44], ENTRY[:-1], ENTRY + b"\x00"):
        with pytest.raises(EntryError):
            READER.open(5, changed)


@given(st.integers(-1, MAX_INDEX + 1).filter(lambda index: index != 5))
def test_an_entry_at_another_index_is_refused(index: int) -> None:
    with pytest.raises((EntryError, OpenError)):
        READER.open(index, ENTRY)


@pytest.mark.parametrize(
    "origin", ["signalfire/v1/JPN/KOR/flash/2", "signalfire/v1/JPN/USA/flash/1", ORIGIN + "\u0100"]
)
def test_an_entry_of_another_ledger_is_refused(origin: str) -> None:
    other = Epoch.open_new(origin, 3, READERS, lambda size: CONTENT_KEY)[0]
    entry = fixed_key_epoch(3).seal(5, CONTENT)
    with pytest.raises(OpenError, match="does not open"):
        other.open(5, entry)


def test_an_entry_of_another_epoch_is_refused_even_under_the_same_key() -> None:
    entry = fixed_key_epoch(2).seal(5, CONTENT)
    with pytest.raises(OpenError, match="under epoch 2, not 3"):
        fixed_key_epoch(3).open(5, entry)
    with pytest.raises(OpenError, match="does not open"):
        fixed_key_epoch(3).open(5, entry[:11] + b"\x03" + entry[12:])


def test_an_opening_holds_no_content_and_content_opens_no_epoch() -> None:
    with pytest.raises(OpenError, match="opens an epoch"):
        fixed_key_epoch(2).open(3, OPENING)
    with pytest.raises(EntryError, match="does not open an epoch"):
        Epoch.from_opening(ORIGIN, ENTRY, 5, "KOR", [KOR])


def test_an_entry_that_commits_to_something_else_is_refused() -> None:
    payload = reference.shown_part(0, bytes(32), CONTENT)
    header = reference.header_of(0, 0, reference.leaf_of(0, bytes(32), CONTENT + b"!"))
    entry = reference.sealed(CONTENT_KEY, ORIGIN, 1, header, reference.plaintext_of(payload))
    with pytest.raises(CommitmentError):
        fixed_key_epoch().open(1, entry)


def test_two_entries_of_one_content_have_nothing_in_common() -> None:
    epoch = fixed_key_epoch()
    first, second = epoch.seal(1, CONTENT), epoch.seal(2, CONTENT)
    assert first[:12] == second[:12]
    assert parse_header(first).commitment != parse_header(second).commitment
    assert first[44:] != second[44:]


def test_parts_are_salted_apart_and_come_back_in_order() -> None:
    epoch = fixed_key_epoch()
    payload = epoch.open(1, epoch.seal_parts(1, PARTS))
    assert [(part.group, part.content) for part in payload.parts] == [(part.group, part.content) for part in PARTS]
    assert len({part.salt for part in payload.parts}) == len(PARTS)
    assert content_of(payload) == b"envelopethreat"
    assert not any(part.salt for part in PARTS)


def test_parts_that_have_what_they_need_stay_as_they_are_beside_one_that_is_salted() -> None:
    epoch, salt = fixed_key_epoch(), bytes(range(32))
    salted = Part(group=PartGroup.PART_GROUP_THREAT, salt=salt, content=b"threat")
    payload = epoch.open(1, epoch.seal_parts(1, [Part(leaf_hash=salt), PARTS[0], salted]))
    assert payload.parts[0] == Part(leaf_hash=salt)
    assert payload.parts[2] == salted
    assert len(payload.parts[1].salt) == 32
    assert payload.parts[1].content == b"envelope"


def test_disclosed_parts_are_passed_on_under_the_commitment_of_their_originator() -> None:
    originator = fixed_key_epoch()
    entry = originator.seal_parts(1, PARTS)
    permitted = disclose(originator.open(1, entry), {PartGroup.PART_GROUP_THREAT})
    relay, opening = Epoch.open_new("signalfire/v1/KOR/USA/flash/1", 0, [("USA", USA.public), ("KOR", KOR.public)])
    onward = relay.seal_parts(8, permitted.parts)
    partner = Epoch.from_opening("signalfire/v1/KOR/USA/flash/1", opening, 0, "USA", [USA])
    assert content_of(partner.open(8, onward)) == b"threat"
    assert parse_header(onward).commitment == parse_header(entry).commitment


@pytest.mark.parametrize("parts", [[], [Part(), Part()], [Part(leaf_hash=bytes(32))], [Part(salt=b"short")]])
def test_parts_that_break_a_rule_are_not_sealed_and_use_up_no_index(parts: list[Part]) -> None:
    epoch = fixed_key_epoch()
    with pytest.raises(CommitmentError):
        epoch.seal_parts(1, parts)
    epoch.seal(1, CONTENT)


@given(st.lists(st.integers(0, 12), max_size=12))
def test_an_epoch_seals_only_upwards_from_its_own_index(indexes: list[int]) -> None:
    epoch = fixed_key_epoch(4)
    last = 4
    for index in indexes:
        if index > last:
            assert content_of(epoch.open(index, epoch.seal(index, CONTENT))) == CONTENT
            last = index
        else:
            with pytest.raises(NonceError, match="open a new epoch"):
                epoch.seal(index, CONTENT)


def test_threads_never_seal_twice_at_one_index() -> None:
    epoch = fixed_key_epoch()

    def seal(index: int) -> bool:
        try:
            epoch.seal(index, CONTENT)
        except NonceError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        sealed = list(pool.map(seal, [index for index in range(1, 200) for _ in range(4)]))
    for index in range(199):
        assert sum(sealed[4 * index : 4 * index + 4]) <= 1


def test_an_epoch_that_was_read_back_does_not_seal() -> None:
    own = Epoch.from_opening(ORIGIN, OPENING, 3, "JPN", [JPN])
    for epoch in (READER, own):
        with pytest.raises(NonceError, match="only read back"):
            epoch.seal(100, CONTENT)


def test_indexes_beyond_the_last_are_refused() -> None:
    epoch = fixed_key_epoch()
    with pytest.raises(NonceError):
        epoch.seal(MAX_INDEX + 1, CONTENT)
    assert content_of(epoch.open(MAX_INDEX, epoch.seal(MAX_INDEX, CONTENT))) == CONTENT
    for index in (-1, MAX_INDEX + 1):
        with pytest.raises(EntryError):
            fixed_key_epoch(index)


@pytest.mark.parametrize("origin", ["", "a\x00b", "a\n", "\ud800"])
def test_an_origin_line_that_could_be_read_in_two_ways_is_refused(origin: str) -> None:
    with pytest.raises(EntryError, match="origin line"):
        Epoch.open_new(origin, 0, READERS)
    with pytest.raises(EntryError, match="origin line"):
        Epoch.from_opening(origin, OPENING, 3, "KOR", [KOR])


def test_an_epoch_is_not_copied_pickled_or_shown() -> None:
    epoch = fixed_key_epoch()
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot be copied"):
            duplicate(epoch)
    assert repr(epoch) == f"Epoch(origin_line='{ORIGIN}', index=0)"


def test_a_random_source_that_runs_dry_is_refused() -> None:
    with pytest.raises(KeyMaterialError, match="random source gave 3 bytes where 32"):
        fixed_key_epoch().seal(1, CONTENT, lambda size: b"dry")
    with pytest.raises(KeyMaterialError):
        Epoch.open_new(ORIGIN, 0, READERS, lambda size: b"")


def test_the_opening_of_an_epoch_names_its_own_index() -> None:
    header = parse_header(OPENING)
    assert (header.kind, header.epoch) == (EntryKind.EPOCH_OPENING, 3)
    with pytest.raises(EntryError, match="can only open epoch 4"):
        Epoch.from_opening(ORIGIN, OPENING, 4, "KOR", [KOR])


def test_every_error_says_that_sealing_is_meant() -> None:
    for error in (EntryError, OpenError, CommitmentError, WrapError, PayloadTooLarge, NonceError, KeyMaterialError):
        assert issubclass(error, SealError)


def test_the_content_of_a_payload_is_its_shown_parts_joined() -> None:
    assert content_of(SealedPayload(parts=[PARTS[0], Part(leaf_hash=bytes(32)), PARTS[1]])) == b"envelopethreat"
