"""Sealing keys: the hybrid key pairs for which content keys are wrapped.

A pair is one of ML-KEM-768 (FIPS 203) and one of X25519 (RFC 7748), used together as the HPKE KEM MLKEM768-X25519.
There is no standard form for a hybrid private key, so the two components are kept apart:

=================  =====  ==========================================================
component          bytes  form
=================  =====  ==========================================================
private, ML-KEM       64  d || z of ML-KEM.KeyGen (FIPS 203, 7.1)
private, X25519       32  scalar before clamping (RFC 7748, 5)
public, ML-KEM      1184  encapsulation key (FIPS 203, 7.1)
public, X25519        32  u-coordinate, little-endian (RFC 7748, 5)
=================  =====  ==========================================================

The encoded public key is ML-KEM || X25519, 1216 bytes; the key id is the first 16 bytes of its SHA-256.

Rules for a public key, in order:

1. Both components have exactly these lengths.
2. The ML-KEM component passes the modulus check of FIPS 203, 7.2.
3. The X25519 component is not a point of small order, which would give everyone the same shared secret (RFC 7748,
   6.1). It is refused here, when a trust bundle is read, rather than when a warning has to be sealed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from gateway.seal.errors import KeyMaterialError
from gateway.seal.randomness import Random, draw

MLKEM_SEED_SIZE: Final = 64
"""Length of an ML-KEM-768 private seed, bytes."""

MLKEM_PUBLIC_SIZE: Final = 1184
"""Length of an ML-KEM-768 encapsulation key, bytes."""

X25519_SIZE: Final = 32
"""Length of an X25519 key, private or public, bytes."""

KEY_ID_SIZE: Final = 16
"""Length of a key id, bytes."""

# A clamped scalar is a multiple of 8, so any one of them sends every point of small order to zero.
_SMALL_ORDER_PROBE: Final = X25519PrivateKey.from_private_bytes(bytes(X25519_SIZE))


@dataclass(frozen=True, slots=True)
class SealingPublicKey:
    """The key for which others wrap: raw ML-KEM-768 (1184 bytes) and raw X25519 (32 bytes).

    Raises KeyMaterialError when a component breaks a rule of this module.
    """

    mlkem768: bytes = field(repr=False)
    x25519: bytes = field(repr=False)
    key_id: bytes = field(init=False, compare=False)
    """First 16 bytes of the SHA-256 of `encoded`."""
    hybrid: hpke.MLKEM768X25519PublicKey = field(init=False, repr=False, compare=False)
    """The same key, as HPKE takes it."""

    def __post_init__(self) -> None:
        _require_size("ML-KEM-768 public key", self.mlkem768, MLKEM_PUBLIC_SIZE)
        _require_size("X25519 public key", self.x25519, X25519_SIZE)
        try:
            mlkem = MLKEM768PublicKey.from_public_bytes(self.mlkem768)
        except ValueError as error:
            raise KeyMaterialError(
                "sealing key: the ML-KEM-768 public key is no encoding of one; fetch the key from its node again"
            ) from error
        x25519 = X25519PublicKey.from_public_bytes(self.x25519)
        try:
            _SMALL_ORDER_PROBE.exchange(x25519)
        except ValueError as error:
            raise KeyMaterialError(
                "sealing key: the X25519 public key is a point of small order, which protects nothing; "
                "the node has to make a new key"
            ) from error
        object.__setattr__(self, "key_id", sha256(self.encoded).digest()[:KEY_ID_SIZE])
        object.__setattr__(self, "hybrid", hpke.MLKEM768X25519PublicKey(mlkem, x25519))

    @classmethod
    def parse(cls, encoded: bytes) -> SealingPublicKey:
        """The key with this encoding, 1216 bytes. Raises KeyMaterialError."""
        _require_size("encoded public key", encoded, MLKEM_PUBLIC_SIZE + X25519_SIZE)
        return cls(encoded[:MLKEM_PUBLIC_SIZE], encoded[MLKEM_PUBLIC_SIZE:])

    @property
    def encoded(self) -> bytes:
        """ML-KEM || X25519, 1216 bytes."""
        return self.mlkem768 + self.x25519


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class SealingPrivateKey:
    """The key that unwraps: ML-KEM-768 seed (64 bytes) and X25519 scalar (32 bytes).

    Both components are secret and may be stored only encrypted. Raises KeyMaterialError when a length is wrong.
    """

    mlkem_seed: bytes
    x25519: bytes
    public: SealingPublicKey = field(init=False)
    """The public half."""
    hybrid: hpke.MLKEM768X25519PrivateKey = field(init=False)
    """The same key, as HPKE takes it."""

    def __post_init__(self) -> None:
        _require_size("ML-KEM-768 seed", self.mlkem_seed, MLKEM_SEED_SIZE)
        _require_size("X25519 private key", self.x25519, X25519_SIZE)
        mlkem = MLKEM768PrivateKey.from_seed_bytes(self.mlkem_seed)
        x25519 = X25519PrivateKey.from_private_bytes(self.x25519)
        public = SealingPublicKey(mlkem.public_key().public_bytes_raw(), x25519.public_key().public_bytes_raw())
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "hybrid", hpke.MLKEM768X25519PrivateKey(mlkem, x25519))

    @classmethod
    def generate(cls, random: Random = os.urandom) -> SealingPrivateKey:
        """A fresh key: 64 bytes of `random` for ML-KEM, then 32 for X25519."""
        return cls(draw(random, MLKEM_SEED_SIZE), draw(random, X25519_SIZE))

    @property
    def key_id(self) -> bytes:
        """Key id of the public half, 16 bytes."""
        return self.public.key_id

    def __repr__(self) -> str:
        return f"SealingPrivateKey(key_id={self.key_id.hex()})"


def _require_size(what: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise KeyMaterialError(f"sealing key: the {what} has {len(value)} bytes; exactly {size} are needed")
