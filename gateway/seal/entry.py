"""The bytes of an entry: the leaf data of a ledger's Merkle tree. This layout is fixed for good.

An entry has 45 to 65,535 bytes; integers are big-endian.

======  =====  ====================================================================================================
offset  bytes  what
======  =====  ====================================================================================================
0       1      format version: 1
1       1      kind: 1 sealed content, 2 epoch opening
2       1      padding class, 0 to 7; 0 for kind 2
3       1      reserved: 0
4       8      epoch: index, in this ledger, of the entry of kind 2 that opened it; an opening's own index
12      32     commitment to the content (`gateway.seal.commitment`); zero for kind 2
44      rest   body
======  =====  ====================================================================================================

Body of kind 2: a serialised `EpochOpening`, in the canonical form below, 1 to 65,491 bytes.
Body of kind 1: AES-256-GCM-SIV (RFC 8452) ciphertext, then its tag of 16 bytes. The plaintext is:

======  =====  ====================================================================================================
offset  bytes  what
======  =====  ====================================================================================================
0       4      length n of the payload
4       n      a serialised `SealedPayload`, in the canonical form below
4 + n   rest   zeros, up to the size of the padding class
======  =====  ====================================================================================================

====================  ====  =====  =====  =====  =====  ======  ======  ======
padding class            0      1      2      3      4       5       6       7
plaintext, bytes       512   1024   2048   4096   8192   16384   32768   65024
largest payload        508   1020   2044   4092   8188   16380   32764   65020
entry, bytes           572   1084   2108   4156   8252   16444   32828   65084
====================  ====  =====  =====  =====  =====  ======  ======  ======

Canonical form of a message: fields in ascending order of number, every scalar at most once, none that holds its
default value, no unknown fields, shortest varints. Every protobuf library writes these messages so. Together with the
padding rules it leaves a payload exactly one plaintext, so that no byte travels that the commitment does not cover.

Rules for an entry, in order:

1. It has at least a header and one byte of body, and at most 65,535 bytes.
2. Version, kind and the reserved byte have one of the values above: other versions, kinds and flags are refused.
3. Kind 1: the padding class exists, and the body is exactly as long as it says.
   Kind 2: class and commitment are zero.
4. In its ledger (`require_place`): an opening names its own index, content an earlier one.

Rules for a plaintext, in order: it is as long as its class; the length fits; the class is the smallest that holds the
payload; every byte of padding is zero; the payload is in canonical form.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from functools import lru_cache
from struct import Struct
from typing import Final, NamedTuple, TypeVar

from google.protobuf.message import DecodeError, Message
from signalfire.v1.ledger_pb2 import Part, SealedPayload

from gateway.ledger.merkle import HASH_SIZE
from gateway.seal.commitment import SALT_SIZE, Fields
from gateway.seal.errors import EntryError, OpenError, PayloadTooLarge

FORMAT_VERSION: Final = 1
"""The only version of the layout."""

HEADER_SIZE: Final = 44
"""Length of the header, bytes."""

MAX_ENTRY_SIZE: Final = 65_535
"""Largest entry, bytes (C2SP tlog-tiles: the length of an entry in a bundle is a uint16)."""

MAX_INDEX: Final = 2**63 - 1
"""Highest index: the largest integer that every store and wire format of the gateway holds."""

TAG_SIZE: Final = 16
"""Length of the authentication tag, bytes (RFC 8452, 4)."""

PADDED_SIZES: Final = (512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_024)
"""Length of the plaintext for each padding class, bytes."""

MAX_PAYLOAD_SIZE: Final = PADDED_SIZES[-1] - 4
"""Largest serialised payload, bytes."""

NO_COMMITMENT: Final = bytes(32)
"""What stands for the commitment in the opening of an epoch."""

_HEADER: Final = Struct(">BBBBQ32s")
_COMMITMENT: Final = slice(12, HEADER_SIZE)
_LENGTH: Final = Struct(">I")
_ANY_SALT: Final = b"\xff" * SALT_SIZE

M = TypeVar("M", bound=Message)


class EntryKind(IntEnum):
    """What the body of an entry is."""

    SEALED_CONTENT = 1
    EPOCH_OPENING = 2


_SEALED: Final = EntryKind.SEALED_CONTENT
_OPENING: Final = EntryKind.EPOCH_OPENING
_SEALED_SIZES: Final = tuple(HEADER_SIZE + size + TAG_SIZE for size in PADDED_SIZES)


class Header(NamedTuple):
    """The first 44 bytes of an entry, apart from version and reserved byte. Only `parse_header` makes one."""

    kind: EntryKind
    padding_class: int
    epoch: int
    commitment: bytes


def padding_class(length: int) -> int:
    """The smallest padding class that holds a payload of `length` bytes. Raises PayloadTooLarge above 65,020."""
    if not 0 <= length <= MAX_PAYLOAD_SIZE:
        raise PayloadTooLarge(
            f"a payload of {length} bytes does not fit an entry, which holds at most {MAX_PAYLOAD_SIZE}; "
            "release fewer fields or shorten them"
        )
    # Sizes double from 512 = 2**9; the last class is a little short of 2**16.
    return (length + 3 | 511).bit_length() - 9


def encode_header(kind: EntryKind, padding_class: int, epoch: int, commitment: bytes) -> bytes:
    """The 44 bytes of a header whose values follow the rules of this module."""
    return _HEADER.pack(FORMAT_VERSION, kind, padding_class, 0, epoch, commitment)


def parse_header(entry: bytes) -> Header:
    """The header of an entry, once the whole entry follows rules 1 to 3. Raises EntryError."""
    size = len(entry)
    if not HEADER_SIZE < size <= MAX_ENTRY_SIZE:
        raise EntryError(f"an entry has {size} bytes; it must have {HEADER_SIZE + 1} to {MAX_ENTRY_SIZE}")
    version, kind, padding, reserved, epoch, commitment = _HEADER.unpack_from(entry)
    if version != FORMAT_VERSION:
        raise EntryError(f"entry format version {version} is not known here, only {FORMAT_VERSION}")
    if reserved != 0:
        raise EntryError(f"the reserved byte of the entry's header is {reserved}; it must be 0")
    if epoch > MAX_INDEX:
        raise EntryError(f"the entry names epoch {epoch}, which is above any index (2**63 - 1)")
    if kind == _SEALED:
        if padding >= len(PADDED_SIZES):
            raise EntryError(f"padding class {padding} of the entry is not one of 0 to {len(PADDED_SIZES) - 1}")
        if size != _SEALED_SIZES[padding]:
            raise EntryError(f"an entry of padding class {padding} has {_SEALED_SIZES[padding]} bytes, not {size}")
        return Header(_SEALED, padding, epoch, commitment)
    if kind == _OPENING:
        if padding != 0 or commitment != NO_COMMITMENT:
            raise EntryError("the opening of an epoch has a padding class or a commitment; both must be zero")
        return Header(_OPENING, 0, epoch, commitment)
    raise EntryError(f"entry kind {kind} is not known here, only 1 (sealed content) and 2 (epoch opening)")


def commitment_of(entry: bytes) -> bytes:
    """The commitment in the header of an entry that this program made. Nothing is checked: see `parse_header`."""
    return entry[_COMMITMENT]


def require_place(header: Header, index: int) -> None:
    """Check rule 4: that an entry with this header can stand at `index`. Raises EntryError."""
    if not 0 <= index <= MAX_INDEX:
        raise EntryError(f"index {index} is not between 0 and 2**63 - 1")
    if header.kind is _OPENING:
        if header.epoch != index:
            raise EntryError(f"the entry at index {index} opens epoch {header.epoch}; it can only open epoch {index}")
    elif header.epoch >= index:
        raise EntryError(f"the entry at index {index} is sealed under epoch {header.epoch}, which is not before it")


def pad(payload: bytes) -> tuple[int, bytes]:
    """The padding class of a serialised payload, and the plaintext that holds it. Raises PayloadTooLarge."""
    padding = padding_class(len(payload))
    return padding, (_LENGTH.pack(len(payload)) + payload).ljust(PADDED_SIZES[padding], b"\x00")


def unpad(plaintext: bytes, padding: int) -> bytes:
    """The serialised payload in a plaintext of this padding class, by the rules for a plaintext. Raises OpenError."""
    size = PADDED_SIZES[padding]
    if len(plaintext) != size:
        raise OpenError(f"the plaintext has {len(plaintext)} bytes; padding class {padding} has {size}")
    (length,) = _LENGTH.unpack_from(plaintext)
    end = _LENGTH.size + length
    if end > size:
        raise OpenError(f"the plaintext says that it holds {length} bytes of payload; at most {size - 4} fit")
    if padding_class(length) != padding:
        raise OpenError(f"a payload of {length} bytes has padding class {padding_class(length)}, not {padding}")
    if plaintext.count(b"\x00", end) != size - end:
        raise OpenError("the padding of the plaintext is not all zero")
    return plaintext[_LENGTH.size : end]


def encode_canonical(message: Message) -> bytes:
    """The canonical form of a message that this program made."""
    return message.SerializeToString(deterministic=True)


_BEFORE_LEAF_HASH: Final = encode_canonical(SealedPayload(parts=[Part(leaf_hash=bytes(HASH_SIZE))]))[:-HASH_SIZE]


def encode_payload(parts: Iterable[Fields]) -> bytes:
    """The canonical form of the `SealedPayload` with these parts, which follow the rules of `commitment`."""
    pieces: list[bytes] = []
    for group, salt, content, leaf_hash in parts:
        if leaf_hash:
            pieces += (_BEFORE_LEAF_HASH, leaf_hash)
        else:
            before, between = _around(group, len(content))
            pieces += (before, salt, between, content)
    return b"".join(pieces)


# What stands around salt and content depends on their lengths alone; it is cut from what protobuf itself writes.
@lru_cache(maxsize=4096)
def _around(group: int, size: int) -> tuple[bytes, bytes]:
    part = Part(group=group, salt=_ANY_SALT, content=bytes(size))  # type: ignore[arg-type]  # a number is a group
    before, _, after = encode_canonical(SealedPayload(parts=[part])).partition(_ANY_SALT)
    return before, after[: len(after) - size]


def parse_canonical(encoded: bytes, kind: type[M]) -> M | None:
    """The message with this canonical form; None when it is malformed, or in any other form."""
    try:
        message = kind.FromString(encoded)
    except DecodeError:
        return None
    # Serialising writes unknown fields back, so they are dropped before comparing.
    message.DiscardUnknownFields()
    return message if message.SerializeToString(deterministic=True) == encoded else None
