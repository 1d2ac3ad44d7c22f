"""A payload at rest opens with its own key, in its own place, unaltered."""

from __future__ import annotations

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given
from hypothesis import strategies as st

from gateway.seal.errors import KeyMaterialError, OpenError
from gateway.seal.storage import STORAGE_OVERHEAD, StorageKey, storage_key_id
from tests.seal.parties import flipped, seeded

RAW = seeded("storage key")(32)
KEY = StorageKey(RAW)
OTHER = StorageKey(bytes(32))
CONTEXT = b"signalfire/v1/JPN/KOR/flash/1\x0012"
BLOB = KEY.seal(b"payload", CONTEXT)


@given(st.binary(max_size=2000), st.binary(max_size=50))
def test_any_payload_comes_back(plaintext: bytes, context: bytes) -> None:
    blob = KEY.seal(plaintext, context)
    assert KEY.open(blob, context) == plaintext
    assert len(blob) == len(plaintext) + STORAGE_OVERHEAD


def test_a_blob_is_the_bytes_that_the_table_says() -> None:
    nonce = seeded("nonce")(12)
    expected = sha256(RAW).digest()[:4] + nonce + AESGCMSIV(RAW).encrypt(nonce, b"payload", CONTEXT)
    assert KEY.seal(b"payload", CONTEXT, seeded("nonce")) == expected


def test_a_flip_of_any_bit_of_a_blob_is_refused() -> None:
    for bit in range(8 * len(BLOB)):
        with pytest.raises(OpenError):
            KEY.open(flipped(BLOB, bit), CONTEXT)


def test_a_blob_in_another_place_is_refused() -> None:
    for context in (b"", CONTEXT + b"3", CONTEXT[:-1]):
        with pytest.raises(OpenError, match="moved from where it belongs"):
            KEY.open(BLOB, context)


def test_a_blob_names_the_key_that_it_needs() -> None:
    assert storage_key_id(BLOB) == KEY.key_id
    with pytest.raises(OpenError, match=f"under storage key {KEY.key_id.hex()}, not {OTHER.key_id.hex()}"):
        OTHER.open(BLOB, CONTEXT)


@pytest.mark.parametrize("size", range(STORAGE_OVERHEAD))
def test_a_blob_cut_short_is_refused(size: int) -> None:
    with pytest.raises(OpenError, match="at least 32"):
        KEY.open(BLOB[:size], CONTEXT)


def test_sealing_twice_gives_two_blobs() -> None:
    assert KEY.seal(b"payload", CONTEXT) != KEY.seal(b"payload", CONTEXT)


@pytest.mark.parametrize("size", [0, 16, 31, 33])
def test_a_key_of_another_length_is_refused(size: int) -> None:
    with pytest.raises(KeyMaterialError):
        StorageKey(bytes(size))


def test_no_representation_shows_the_key() -> None:
    assert repr(KEY) == f"StorageKey(key_id={KEY.key_id.hex()})"
