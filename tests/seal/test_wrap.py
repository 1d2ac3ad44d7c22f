"""A content key is wrapped for named readers of one epoch of one ledger, by HPKE as published."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from hypothesis import given, settings
from hypothesis import strategies as st
from signalfire.v1.ledger_pb2 import EpochOpening, KeyWrap

from gateway.seal.epoch import Epoch
from gateway.seal.errors import EntryError, PayloadTooLarge, WrapError
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.wrap import encode_opening, parse_opening, unwrap, wrap_info
from tests.seal import reference_entry as reference
from tests.seal.parties import JPN, KOR, ORIGIN, READERS, USA, flipped, seeded

CONTENT_KEY = bytes(range(32))
LINE = ORIGIN.encode()
BODY = encode_opening(LINE, 3, CONTENT_KEY, READERS)
SPARE = SealingPrivateKey.generate(seeded("KOR next sealing key"))


def test_a_wrap_is_hpke_of_rfc_9180_with_the_hybrid_kem() -> None:
    opening = parse_opening(BODY)
    for wrap, (node, key) in zip(opening.wraps, (("KOR", KOR), ("JPN", JPN)), strict=True):
        info = reference.info(ORIGIN, 3, node, key.key_id)
        assert (wrap.node, wrap.key_id) == (node, key.key_id)
        assert wrap_info(LINE, 3, node, key.key_id) == info
        assert reference.unwrapped(wrap.ciphertext, key.mlkem_seed, key.x25519, info) == CONTENT_KEY
        with pytest.raises(InvalidTag):
            reference.unwrapped(wrap.ciphertext, key.mlkem_seed, key.x25519, info + b"\x00")


def test_an_opening_is_a_plain_protobuf_message() -> None:
    opening = EpochOpening.FromString(BODY)
    assert opening.suite == 1
    wraps = b"".join(
        reference.length_delimited(
            2,
            reference.length_delimited(1, wrap.node.encode())
            + reference.length_delimited(2, wrap.key_id)
            + reference.length_delimited(3, wrap.ciphertext),
        )
        for wrap in opening.wraps
    )
    assert b"\x08\x01" + wraps == BODY


def test_a_wrap_made_for_another_ledger_epoch_or_node_does_not_open() -> None:
    opening = parse_opening(BODY)
    assert unwrap(LINE, 3, opening, "KOR", [KOR]) == CONTENT_KEY
    for line, epoch in ((LINE + b"1", 3), (LINE[:-1] + b"2", 3), (LINE, 4)):
        with pytest.raises(WrapError, match="does not open"):
            unwrap(line, epoch, opening, "KOR", [KOR])
    opening.wraps[0].node = "PRK"
    with pytest.raises(WrapError, match="does not open"):
        unwrap(LINE, 3, opening, "PRK", [KOR])


def test_a_node_passes_over_a_wrap_of_its_key_for_another_node() -> None:
    opening = parse_opening(encode_opening(LINE, 3, CONTENT_KEY, [("USA", KOR.public)]))
    with pytest.raises(WrapError, match="not wrapped for any sealing key"):
        unwrap(LINE, 3, opening, "KOR", [KOR])


def test_a_wrap_moved_to_another_key_does_not_open() -> None:
    opening = parse_opening(BODY)
    opening.wraps[0].key_id = SPARE.key_id
    with pytest.raises(WrapError, match="does not open"):
        unwrap(LINE, 3, opening, "KOR", [SPARE])


@given(st.integers(0, 1168 * 8 - 1))
@settings(max_examples=60)
def test_a_flipped_bit_of_a_wrap_does_not_open(bit: int) -> None:
    assert_a_flip_is_refused(bit)


def test_a_flip_of_the_bit_that_x25519_ignores_does_not_open() -> None:
    assert_a_flip_is_refused(1120 * 8 - 1)


def assert_a_flip_is_refused(bit: int) -> None:
    opening = parse_opening(BODY)
    opening.wraps[0].ciphertext = flipped(opening.wraps[0].ciphertext, bit)
    with pytest.raises(WrapError, match="does not open"):
        unwrap(LINE, 3, opening, "KOR", [KOR])


def test_a_node_opens_with_whichever_of_its_keys_is_meant() -> None:
    for key in (KOR, SPARE):
        body = encode_opening(LINE, 3, CONTENT_KEY, [("KOR", key.public)])
        assert unwrap(LINE, 3, parse_opening(body), "KOR", [KOR, SPARE, KOR]) == CONTENT_KEY


def test_a_node_may_have_wraps_for_two_keys_but_only_of_one_content_key() -> None:
    both = parse_opening(encode_opening(LINE, 3, CONTENT_KEY, [("KOR", KOR.public), ("KOR", SPARE.public)]))
    assert unwrap(LINE, 3, both, "KOR", [SPARE, KOR]) == CONTENT_KEY
    other = parse_opening(encode_opening(LINE, 3, bytes(32), [("KOR", SPARE.public)]))
    both.wraps[1].CopyFrom(other.wraps[0])
    with pytest.raises(WrapError, match="do not hold one content key"):
        unwrap(LINE, 3, both, "KOR", [KOR, SPARE])


@pytest.mark.parametrize(
    "readers",
    [[], [("kor", KOR.public)], [("KORE", KOR.public)], [("KOR\n", KOR.public)], [*READERS, ("USA", KOR.public)]],
)
def test_impossible_readers_are_refused(readers: list[tuple[str, SealingPublicKey]]) -> None:
    with pytest.raises(WrapError):
        Epoch.open_new(ORIGIN, 3, readers)


def test_more_readers_than_an_entry_holds_are_refused() -> None:
    readers = [("KOR", SealingPrivateKey.generate(seeded(f"reader {i}")).public) for i in range(55)]
    _, entry = Epoch.open_new(ORIGIN, 3, readers[:54])
    Epoch.from_opening(ORIGIN, entry, 3, "KOR", [SealingPrivateKey.generate(seeded("reader 53"))])
    with pytest.raises(PayloadTooLarge, match="55 readers"):
        Epoch.open_new(ORIGIN, 3, readers)


def changed_openings() -> list[EpochOpening]:
    changes: list[EpochOpening] = []
    for suite in (0, 2):
        opening = parse_opening(BODY)
        opening.suite = suite
        changes.append(opening)
    for wrap in (
        KeyWrap(node="KOR", key_id=KOR.key_id),
        KeyWrap(node="kor", key_id=USA.key_id, ciphertext=bytes(1168)),
        KeyWrap(node="KOR", key_id=USA.key_id[:15], ciphertext=bytes(1168)),
        KeyWrap(node="KOR", key_id=USA.key_id, ciphertext=bytes(1167)),
        KeyWrap(node="KOR", key_id=USA.key_id, ciphertext=bytes(1169)),
        KeyWrap(node="KOR", key_id=KOR.key_id, ciphertext=bytes(1168)),
        KeyWrap(node="USA", key_id=JPN.key_id, ciphertext=bytes(1168)),
    ):
        opening = parse_opening(BODY)
        opening.wraps.append(wrap)
        changes.append(opening)
    changes.append(EpochOpening(suite=1))
    return changes


@pytest.mark.parametrize("body", [opening.SerializeToString() for opening in changed_openings()])
def test_an_opening_that_breaks_a_rule_is_refused(body: bytes) -> None:
    with pytest.raises(EntryError):
        parse_opening(body)


@pytest.mark.parametrize("body", [BODY[:-1], BODY + b"\x18\x01", BODY[2:] + BODY[:2], BODY[:2] + BODY, b"\xff"])
def test_an_opening_in_another_form_is_refused(body: bytes) -> None:
    with pytest.raises(EntryError, match="canonical form"):
        parse_opening(body)
