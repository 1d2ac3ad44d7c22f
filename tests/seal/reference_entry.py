"""Entries, commitments and wraps made a second time from the byte tables, with nothing of `gateway.seal`.

Only ciphers, hashes and KEMs come from elsewhere; every layout is written out here. HPKE follows RFC 9180 (5.1, base
mode), the hybrid KEM draft-ietf-hpke-pq (MLKEM768-X25519, 0x647a) and draft-connolly-cfrg-xwing-kem.
"""

from __future__ import annotations

import hmac
from hashlib import sha3_256, sha256

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, AESGCMSIV

CLASS_SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65024]


def u64(number: int) -> bytes:
    return number.to_bytes(8, "big")


def varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)


def length_delimited(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def shown_part(group: int, salt: bytes, content: bytes) -> bytes:
    """A serialised `Part`, as a field of a `SealedPayload`."""
    encoded = b"" if group == 0 else varint(1 << 3) + varint(group)
    encoded += length_delimited(2, salt)
    encoded += length_delimited(3, content) if content else b""
    return length_delimited(1, encoded)


def hidden_part(leaf: bytes) -> bytes:
    return length_delimited(1, length_delimited(4, leaf))


def leaf_of(group: int, salt: bytes, content: bytes) -> bytes:
    return sha256(b"\x00" + salt + bytes([group]) + content).digest()


def root_of(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962, 2.1, over leaf hashes."""
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return sha256(b"\x01" + root_of(leaves[:split]) + root_of(leaves[split:])).digest()


def class_of(length: int) -> int:
    return next(number for number, size in enumerate(CLASS_SIZES) if 4 + length <= size)


def plaintext_of(payload: bytes, padding_class: int | None = None) -> bytes:
    size = CLASS_SIZES[class_of(len(payload)) if padding_class is None else padding_class]
    text = len(payload).to_bytes(4, "big") + payload
    return text + bytes(size - len(text))


def header_of(padding_class: int, epoch: int, commitment: bytes) -> bytes:
    return bytes([1, 1, padding_class, 0]) + u64(epoch) + commitment


def associated_data(origin: str, index: int, header: bytes) -> bytes:
    return origin.encode() + b"\x00" + u64(index) + header


def sealed(key: bytes, origin: str, index: int, header: bytes, plaintext: bytes) -> bytes:
    """An entry of kind 1 with any header and any plaintext at all."""
    nonce = bytes(4) + u64(index)
    return header + AESGCMSIV(key).encrypt(nonce, plaintext, associated_data(origin, index, header))


def info(origin: str, epoch: int, node: str, key_id: bytes) -> bytes:
    return b"signalfire/v1/epoch\x00" + origin.encode() + b"\x00" + u64(epoch) + node.encode() + key_id


def unwrapped(ciphertext: bytes, mlkem_seed: bytes, x25519: bytes, info: bytes) -> bytes:
    """What an HPKE single-shot ciphertext of suite 1 holds."""
    mlkem = MLKEM768PrivateKey.from_seed_bytes(mlkem_seed)
    classical = X25519PrivateKey.from_private_bytes(x25519)
    mlkem_share, ephemeral, sealed_key = ciphertext[:1088], ciphertext[1088:1120], ciphertext[1120:]
    shared = sha3_256(
        mlkem.decapsulate(mlkem_share)
        + classical.exchange(X25519PublicKey.from_public_bytes(ephemeral))
        + ephemeral
        + classical.public_key().public_bytes_raw()
        + bytes.fromhex("5c2e2f2f5e5c")
    ).digest()

    suite = b"HPKE" + bytes.fromhex("647a00010002")

    def extract(salt: bytes, label: bytes, material: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + material, "sha256")

    def expand(secret: bytes, label: bytes, context: bytes, size: int) -> bytes:
        labelled = size.to_bytes(2, "big") + b"HPKE-v1" + suite + label + context
        return hmac.digest(secret, labelled + b"\x01", "sha256")[:size]

    context = b"\x00" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
    return AESGCM(key).decrypt(nonce, sealed_key, b"")
