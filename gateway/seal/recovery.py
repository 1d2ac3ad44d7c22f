"""Recovery records: what a release ledger holds for its owner alone, under a key that the owner keeps offline.

A record stands inside an entry that the recipient can open; what it holds only the owner's recovery key opens, and
not even the gateway that sealed it can after a restart. The record key is drawn anew for each epoch of the ledger, and
wrapped once, by HPKE base mode in the suite of `gateway.seal.wrap`, for the recovery public key. `info` is:

=============  =====  =================================================================
field          bytes  what
=============  =====  =================================================================
label          23     "signalfire/v1/recovery", then 0x00
origin line    any    of the ledger that holds the record, UTF-8
separator      1      0x00
key index      8      index of the entry that holds the wrap, big-endian
node           3      the ledger's owner: ISO 3166-1 alpha-3, upper-case ASCII
key id         16     which recovery key (`gateway.seal.keys`)
=============  =====  =================================================================

A record is AES-256-GCM-SIV (RFC 8452) under the record key:

===============  ===============================================================================================
input            value
===============  ===============================================================================================
nonce            4 zero bytes, then the index of the entry that holds the record, 8 bytes
associated data  "signalfire/v1/recovery", 0x00; origin line, UTF-8; 0x00; key index, 8 bytes; index, 8 bytes
plaintext        length n of the record, 4 bytes; the serialised `RecoveryRecord`; zeros up to one of CAPACITIES
===============  ===============================================================================================

Rules for sealing, in order:

1. Only the process that drew a record key seals under it, and only while the epoch lasts in which it was drawn.
2. Every index is above every one sealed before. So no nonce occurs twice under a record key.
3. The plaintext has the size that is asked for, whatever it holds: the ciphertext tells nothing of how much that is.

Rules for opening, in order: the ciphertext is as long as one of CAPACITIES makes it; it is authentic for its ledger,
key index and index; the length fits; all else is zero; it is a `RecoveryRecord`. HPKE in base mode says nothing about
who wrapped: a record counts only as an entry of a ledger whose signed checkpoint was verified.
"""

from __future__ import annotations

import os
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from google.protobuf.message import DecodeError
from signalfire.v1.ledger_pb2 import KeyWrap, RecoveryRecord, SealedRecovery

from gateway.seal.entry import PADDED_SIZES, TAG_SIZE
from gateway.seal.errors import KeyMaterialError, NonceError, OpenError, PayloadTooLarge, WrapError
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.randomness import Random, draw

RECORD_KEY_SIZE: Final = 32
"""Length of a record key, bytes."""

ROOM: Final = 192
"""Bytes of an entry's padding class that a record without a key leaves for what is around it."""

CAPACITIES: Final = tuple(size - ROOM for size in PADDED_SIZES[2:-1])
"""Lengths of the plaintext, bytes: each fills a padding class of entries from 2,048 on. Where the wrapped key stands
beside it the class is the next one; so the largest class is left to that."""

_LABEL: Final = b"signalfire/v1/recovery\x00"
_LENGTH: Final = Struct(">I")
_U64: Final = Struct(">Q")
_NONCE_PREFIX: Final = bytes(4)
_HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


class RecordKey:
    """The key of the recovery records of one epoch of one ledger, in memory only while it seals.

    Made by `draw_new` or `read_with`.
    """

    __slots__ = ("_cipher", "_last_sealed", "_prefix", "_seals", "epoch", "key_index")

    def __init__(self, origin_line: str, key_index: int, raw: bytes, *, epoch: int, seals: bool) -> None:
        """Only for `draw_new` (which alone may say `seals`) and `read_with`."""
        if len(raw) != RECORD_KEY_SIZE:
            raise KeyMaterialError(f"a record key has {len(raw)} bytes; exactly {RECORD_KEY_SIZE} are needed")
        self.epoch = epoch
        """The epoch of the ledger in which it was drawn; -1 where it only reads."""
        self.key_index = key_index
        self._prefix = _LABEL + origin_line.encode() + b"\x00" + _U64.pack(key_index)
        self._cipher = AESGCMSIV(raw)
        self._seals = seals
        self._last_sealed = key_index - 1

    @classmethod
    def draw_new(
        cls,
        origin_line: str,
        key_index: int,
        epoch: int,
        owner: str,
        recovery: SealingPublicKey,
        random: Random = os.urandom,
    ) -> tuple[RecordKey, KeyWrap]:
        """A new key, and its wrap, which has to stand in the entry at `key_index`. Raises KeyMaterialError."""
        raw = draw(random, RECORD_KEY_SIZE)
        info = _info(origin_line, key_index, owner, recovery.key_id)
        wrap = KeyWrap(node=owner, key_id=recovery.key_id, ciphertext=_HPKE.encrypt(raw, recovery.hybrid, info))
        return cls(origin_line, key_index, raw, epoch=epoch, seals=True), wrap

    @classmethod
    def read_with(cls, origin_line: str, key_index: int, raw: bytes) -> RecordKey:
        """The key as `unwrap_record_key` gave it; it opens, and will not seal. Raises KeyMaterialError."""
        return cls(origin_line, key_index, raw, epoch=-1, seals=False)

    def seal(self, index: int, record: RecoveryRecord, capacity: int) -> bytes:
        """`record` as the ciphertext of the entry at `index`, `capacity` bytes (one of CAPACITIES) and the tag.

        Raises PayloadTooLarge where it does not fit, NonceError by the rules for sealing.
        """
        if not self._seals:
            raise NonceError("this key of recovery records was read back; it never seals")
        if index <= self._last_sealed:
            raise NonceError(f"entry {index} may have been sealed before under this key; draw a new one")
        plaintext = record.SerializeToString(deterministic=True)
        if capacity not in CAPACITIES or len(plaintext) > capacity - _LENGTH.size:
            raise PayloadTooLarge(f"a recovery record of {len(plaintext)} bytes does not fit {capacity}")
        self._last_sealed = index
        padded = (_LENGTH.pack(len(plaintext)) + plaintext).ljust(capacity, b"\x00")
        return self._cipher.encrypt(_nonce(index), padded, self._prefix + _U64.pack(index))

    def open(self, index: int, ciphertext: bytes) -> RecoveryRecord:
        """The record in the entry at `index`, by the rules for opening. Raises OpenError."""
        if len(ciphertext) - TAG_SIZE not in CAPACITIES:
            raise OpenError(f"the recovery record in entry {index} has {len(ciphertext)} bytes, which none has")
        try:
            padded = self._cipher.decrypt(_nonce(index), ciphertext, self._prefix + _U64.pack(index))
        except InvalidTag as error:
            raise OpenError(
                f"the recovery record in entry {index} does not open: it is of another ledger or key, or altered"
            ) from error
        (length,) = _LENGTH.unpack_from(padded)
        end = _LENGTH.size + length
        if end > len(padded) or padded.count(b"\x00", end) != len(padded) - end:
            raise OpenError(f"the recovery record in entry {index} is not padded as one is")
        try:
            record = RecoveryRecord.FromString(padded[_LENGTH.size : end])
        except DecodeError as error:
            raise OpenError(f"entry {index} holds no RecoveryRecord") from error
        record.DiscardUnknownFields()
        return record


def unwrap_record_key(
    origin_line: str, sealed: SealedRecovery, index: int, owner: str, recovery: SealingPrivateKey
) -> bytes:
    """The record key that the entry at `index` holds, 32 bytes, by the recovery key. Raises WrapError."""
    if not sealed.HasField("key") or sealed.key_index != index:
        raise WrapError(f"entry {index} holds no key of recovery records")
    wrap = sealed.key
    if wrap.node != owner or wrap.key_id != recovery.key_id:
        raise WrapError(
            f"the key of the recovery records of entry {index} is wrapped for {wrap.node} {wrap.key_id.hex()}, and this"
            f" is the recovery key {recovery.key_id.hex()}; take the one that was in use then"
        )
    try:
        raw = _HPKE.decrypt(wrap.ciphertext, recovery.hybrid, _info(origin_line, index, owner, wrap.key_id))
    except InvalidTag as error:
        raise WrapError(f"the key in entry {index} does not unwrap: it is of another ledger, or altered") from error
    if len(raw) != RECORD_KEY_SIZE:
        raise WrapError(f"what entry {index} wraps has {len(raw)} bytes, and a record key {RECORD_KEY_SIZE}")
    return raw


def _info(origin_line: str, key_index: int, owner: str, key_id: bytes) -> bytes:
    return _LABEL + origin_line.encode() + b"\x00" + _U64.pack(key_index) + owner.encode("ascii") + key_id


def _nonce(index: int) -> bytes:
    return _NONCE_PREFIX + _U64.pack(index)
