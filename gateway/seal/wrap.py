"""The opening of an epoch: its content key, wrapped by HPKE (RFC 9180) for each reader.

Suite 1: base mode, KEM MLKEM768-X25519, KDF HKDF-SHA256, AEAD AES-256-GCM. What is wrapped is the content key, 32
random bytes, by the single-shot API with empty associated data. `info` is:

=============  =====  =================================================================
field          bytes  what
=============  =====  =================================================================
label          20     "signalfire/v1/epoch", then 0x00
origin line    any    of the ledger that holds the opening, UTF-8
separator      1      0x00
epoch          8      index of the opening in that ledger, big-endian
node           3      the reader: ISO 3166-1 alpha-3, upper-case ASCII
key id         16     which of the reader's keys (`gateway.seal.keys`)
=============  =====  =================================================================

and `KeyWrap.ciphertext` is:

======  =====  ==========================================================================
offset  bytes  what
======  =====  ==========================================================================
0       1088   ML-KEM-768 ciphertext  (these two are the encapsulated key)
1088    32     X25519 ephemeral public key
1120    32     content key, encrypted
1152    16     tag
======  =====  ==========================================================================

Rules for an `EpochOpening`, in order:

1. It is in the canonical form of `gateway.seal.entry`, and its suite is 1.
2. It has at least one wrap. Every wrap has a node of three upper-case letters, a key id of 16 bytes, and a ciphertext
   of 1168 bytes.
3. No key id occurs twice, not even for two nodes. A node may have wraps for several of its keys.
4. Whoever holds several of the keys unwraps all of them, and finds one and the same content key.

HPKE in base mode says nothing about who wrapped: anyone can make an opening. It counts only when it is an entry of a
ledger whose signed checkpoint has been verified.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from struct import Struct
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from signalfire.v1.ledger_pb2 import EpochOpening, KeyWrap

from gateway.seal.entry import HEADER_SIZE, MAX_ENTRY_SIZE, encode_canonical, parse_canonical
from gateway.seal.errors import EntryError, PayloadTooLarge, SealingKeyMissing, WrapError
from gateway.seal.keys import KEY_ID_SIZE, SealingPrivateKey, SealingPublicKey

SUITE: Final = 1
"""The only suite: MLKEM768-X25519, HKDF-SHA256, AES-256-GCM."""

CONTENT_KEY_SIZE: Final = 32
"""Length of a content key, bytes."""

WRAP_SIZE: Final = 1168
"""Length of a wrap's ciphertext, bytes."""

_LABEL: Final = b"signalfire/v1/epoch\x00"
_NODE: Final = re.compile(r"[A-Z]{3}")
_U64: Final = Struct(">Q")
HPKE: Final = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def wrap_info(origin_line: bytes, epoch: int, node: str, key_id: bytes) -> bytes:
    """HPKE's `info` for one reader: what the wrap is for."""
    return _LABEL + origin_line + b"\x00" + _U64.pack(epoch) + node.encode("ascii") + key_id


def encode_opening(
    origin_line: bytes, epoch: int, content_key: bytes, readers: Sequence[tuple[str, SealingPublicKey]]
) -> bytes:
    """Body of the entry that opens `epoch` for these readers (node, key), in this order.

    HPKE draws its own randomness, so two openings never look alike. Raises WrapError when the readers break a rule
    of this module, PayloadTooLarge when there are too many for one entry.
    """
    if not readers:
        raise WrapError("an epoch needs at least one reader; name the recipient and the origin itself")
    opening = EpochOpening(suite=SUITE)
    for node, key in readers:
        if _NODE.fullmatch(node) is None:
            raise WrapError(f"reader {node!r} is not a node: three upper-case letters, such as JPN")
        if any(wrap.key_id == key.key_id for wrap in opening.wraps):
            raise WrapError(f"sealing key {key.key_id.hex()} is named twice among the readers; name it once")
        ciphertext = HPKE.encrypt(content_key, key.hybrid, wrap_info(origin_line, epoch, node, key.key_id))
        opening.wraps.append(KeyWrap(node=node, key_id=key.key_id, ciphertext=ciphertext))
    body = encode_canonical(opening)
    if len(body) > MAX_ENTRY_SIZE - HEADER_SIZE:
        raise PayloadTooLarge(
            f"the wraps for {len(readers)} readers take {len(body)} bytes, more than the "
            f"{MAX_ENTRY_SIZE - HEADER_SIZE} that an entry has for them; name fewer readers"
        )
    return body


def parse_opening(body: bytes) -> EpochOpening:
    """The opening with this body, by rules 1 to 3. Raises EntryError."""
    opening = parse_canonical(body, EpochOpening)
    if opening is None:
        raise EntryError("the body of the entry is not an EpochOpening in canonical form")
    if opening.suite != SUITE:
        raise EntryError(f"the epoch is wrapped by suite {opening.suite}, which is not known here, only {SUITE}")
    if not opening.wraps:
        raise EntryError("the opening of the epoch wraps its key for nobody")
    seen: set[bytes] = set()
    for position, wrap in enumerate(opening.wraps):
        if _NODE.fullmatch(wrap.node) is None or len(wrap.key_id) != KEY_ID_SIZE or len(wrap.ciphertext) != WRAP_SIZE:
            raise EntryError(
                f"wrap {position} of the epoch's opening does not have a node of three upper-case letters, a key id "
                f"of {KEY_ID_SIZE} bytes and a ciphertext of {WRAP_SIZE} bytes"
            )
        if wrap.key_id in seen:
            raise EntryError(f"wrap {position} of the epoch's opening is a second one for key {wrap.key_id.hex()}")
        seen.add(wrap.key_id)
    return opening


def unwrap(
    origin_line: bytes, epoch: int, opening: EpochOpening, node: str, private_keys: Sequence[SealingPrivateKey]
) -> bytes:
    """The content key of `epoch`, 32 bytes, by whichever of the node's private keys it is wrapped for.

    Raises WrapError when it is wrapped for none of them, when a wrap does not open, or by rule 4.
    """
    held = {key.key_id: key for key in private_keys}
    found: set[bytes] = set()
    for wrap in opening.wraps:
        key = held.get(wrap.key_id)
        if key is None or wrap.node != node:
            continue
        try:
            found.add(HPKE.decrypt(wrap.ciphertext, key.hybrid, wrap_info(origin_line, epoch, node, wrap.key_id)))
        except InvalidTag as error:
            raise WrapError(
                f"the wrap for {node}, key {wrap.key_id.hex()}, does not open: it was made for another ledger or "
                "epoch, or altered; its origin has to open a new epoch"
            ) from error
    if not found:
        readers = ", ".join(f"{wrap.node} {wrap.key_id.hex()}" for wrap in opening.wraps)
        raise SealingKeyMissing(
            f"epoch {epoch} is not wrapped for any sealing key that {node} holds here; it is for {readers}. If a key "
            f"of {node} is among them, load it; otherwise its origin needs {node}'s present trust bundle"
        )
    content_key = found.pop()
    if found or len(content_key) != CONTENT_KEY_SIZE:
        raise WrapError(
            f"the wraps of epoch {epoch} for {node} do not hold one content key of {CONTENT_KEY_SIZE} bytes; "
            "its origin has to open a new epoch"
        )
    return content_key
