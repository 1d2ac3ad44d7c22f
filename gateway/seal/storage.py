"""Payloads at rest: bytes on a node's own disk, encrypted under the node's storage key.

A blob is AES-256-GCM-SIV (RFC 8452) under the storage key, with the caller's context as associated data:

======  =====  ======================================================================
offset  bytes  what
======  =====  ======================================================================
0       4      key id: the first 4 bytes of the SHA-256 of the key
4       12     nonce, random
16      n      ciphertext, as long as the plaintext
16 + n  16     tag
======  =====  ======================================================================

Among 2**32 payloads under one key, two random nonces of 96 bits meet with probability 2**-33; where they do, GCM-SIV
gives away only whether their plaintexts are equal (RFC 8452, 9).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from gateway.seal.errors import KeyMaterialError, OpenError, StorageKeyMissing
from gateway.seal.randomness import Random, draw

STORAGE_KEY_SIZE: Final = 32
"""Length of a storage key, bytes."""

STORAGE_KEY_ID_SIZE: Final = 4
"""Length of a storage key's id, bytes."""

STORAGE_OVERHEAD: Final = 32
"""How much longer a blob is than its plaintext, bytes."""

_NONCE_SIZE: Final = 12
_BODY: Final = STORAGE_KEY_ID_SIZE + _NONCE_SIZE


def storage_key_id(blob: bytes) -> bytes:
    """Id of the key under which `blob` was sealed, so that a node with several can choose. Raises OpenError."""
    if len(blob) < STORAGE_OVERHEAD:
        raise OpenError(f"a stored payload has {len(blob)} bytes; it must have at least {STORAGE_OVERHEAD}")
    return blob[:STORAGE_KEY_ID_SIZE]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class StorageKey:
    """A node's storage key: 32 random bytes. Raises KeyMaterialError for any other length."""

    raw: bytes
    key_id: bytes = field(init=False)
    """First 4 bytes of the SHA-256 of the key."""
    _cipher: AESGCMSIV = field(init=False)

    def __post_init__(self) -> None:
        if len(self.raw) != STORAGE_KEY_SIZE:
            raise KeyMaterialError(f"a storage key has {len(self.raw)} bytes; exactly {STORAGE_KEY_SIZE} are needed")
        object.__setattr__(self, "key_id", sha256(self.raw).digest()[:STORAGE_KEY_ID_SIZE])
        object.__setattr__(self, "_cipher", AESGCMSIV(self.raw))

    def seal(self, plaintext: bytes, context: bytes, random: Random = os.urandom) -> bytes:
        """`plaintext` as a blob that opens with this key and the same `context` alone.

        The context says what the payload is and where it belongs, e.g. its ledger and index.
        """
        nonce = draw(random, _NONCE_SIZE)
        return self.key_id + nonce + self._cipher.encrypt(nonce, plaintext, context)

    def open(self, blob: bytes, context: bytes) -> bytes:
        """The plaintext of a blob. Raises OpenError when key or context are others, or the blob was altered."""
        if storage_key_id(blob) != self.key_id:
            raise StorageKeyMissing(
                f"a stored payload is under storage key {storage_key_id(blob).hex()}, not {self.key_id.hex()}; "
                "give the node that key"
            )
        try:
            return self._cipher.decrypt(blob[STORAGE_KEY_ID_SIZE:_BODY], blob[_BODY:], context)
        except InvalidTag as error:
            raise OpenError(
                f"a stored payload under storage key {self.key_id.hex()} does not open: it was altered, or moved from "
                "where it belongs; restore it from a copy"
            ) from error

    def __repr__(self) -> str:
        return f"StorageKey(key_id={self.key_id.hex()})"


class StorageKeys:
    """The storage keys of a node: the first seals, and each opens what is under it. The first one is never missing."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[StorageKey]) -> None:
        """Raises KeyMaterialError for none, or for two whose ids are the same."""
        if not keys or len({key.key_id for key in keys}) != len(keys):
            raise KeyMaterialError("of storage keys there is at least one, and no two have the same id; make another")
        self._keys = tuple(keys)

    @property
    def key_id(self) -> bytes:
        """The id of the key that seals."""
        return self._keys[0].key_id

    def seal(self, plaintext: bytes, context: bytes, random: Random = os.urandom) -> bytes:
        """See `StorageKey.seal`."""
        return self._keys[0].seal(plaintext, context, random)

    def open(self, blob: bytes, context: bytes) -> bytes:
        """See `StorageKey.open`. Raises OpenError also where no key has the id that the blob names."""
        key_id = storage_key_id(blob)
        return next((key for key in self._keys if key.key_id == key_id), self._keys[0]).open(blob, context)

    def replace(self, other: StorageKeys) -> None:
        """Takes the keys of `other` instead: for all who hold this object."""
        self._keys = other._keys

    def __repr__(self) -> str:
        return f"StorageKeys({', '.join(key.key_id.hex() for key in self._keys)})"
