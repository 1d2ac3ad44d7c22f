"""Sealing keys have one form, and keep their secret."""

from __future__ import annotations

from hashlib import sha256

import pytest

from gateway.seal.errors import KeyMaterialError
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from tests.seal.parties import JPN, KOR, flipped, seeded

PUBLIC = KOR.public

# The points of small order of Curve25519, from https://cr.yp.to/ecdh.html ("validate"), little-endian.
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]


def test_the_same_components_are_the_same_key() -> None:
    again = SealingPrivateKey(KOR.mlkem_seed, KOR.x25519)
    assert again.public == PUBLIC
    assert again.key_id == KOR.key_id
    assert again.public != JPN.public


def test_a_public_key_comes_back_from_its_encoding() -> None:
    assert PUBLIC.encoded == PUBLIC.mlkem768 + PUBLIC.x25519
    assert SealingPublicKey.parse(PUBLIC.encoded) == PUBLIC
    assert SealingPublicKey(PUBLIC.mlkem768, PUBLIC.x25519) == PUBLIC


def test_a_key_id_is_the_start_of_the_hash_of_the_encoding() -> None:
    assert PUBLIC.key_id == sha256(PUBLIC.mlkem768 + PUBLIC.x25519).digest()[:16]


def test_generating_takes_96_fresh_bytes() -> None:
    stream = seeded("stream")
    key = SealingPrivateKey.generate(seeded("stream"))
    assert key.mlkem_seed + key.x25519 == stream(64) + stream(32)
    assert SealingPrivateKey.generate().key_id != SealingPrivateKey.generate().key_id


def test_no_representation_shows_a_secret() -> None:
    for text in (repr(KOR), str(KOR), f"{KOR}"):
        assert text == f"SealingPrivateKey(key_id={KOR.key_id.hex()})"
    assert repr(PUBLIC).startswith("SealingPublicKey(key_id=")


@pytest.mark.parametrize(("seed", "scalar"), [(63, 32), (65, 32), (32, 32), (64, 31), (64, 33), (0, 0)])
def test_private_components_of_another_length_are_refused(seed: int, scalar: int) -> None:
    with pytest.raises(KeyMaterialError, match="exactly"):
        SealingPrivateKey(bytes(seed), bytes(scalar))


def test_public_components_of_another_length_are_refused() -> None:
    for mlkem, x25519 in ((PUBLIC.mlkem768[:-1], PUBLIC.x25519), (PUBLIC.mlkem768, PUBLIC.x25519 + b"\x00")):
        with pytest.raises(KeyMaterialError, match="exactly"):
            SealingPublicKey(mlkem, x25519)
    for encoded in (b"", PUBLIC.encoded[:-1], PUBLIC.encoded + b"\x00"):
        with pytest.raises(KeyMaterialError, match="exactly"):
            SealingPublicKey.parse(encoded)


def test_an_ml_kem_key_that_fails_the_modulus_check_is_refused() -> None:
    with pytest.raises(KeyMaterialError, match="no encoding"):
        SealingPublicKey(b"\xff" * 1184, PUBLIC.x25519)


@pytest.mark.parametrize("point", SMALL_ORDER)
@pytest.mark.parametrize("high_bit", [False, True])
def test_an_x25519_point_of_small_order_is_refused(point: bytes, high_bit: bool) -> None:
    with pytest.raises(KeyMaterialError, match="small order"):
        SealingPublicKey(PUBLIC.mlkem768, flipped(point, 255) if high_bit else point)
