"""Entry bundles of C2SP tlog-tiles, "Log entries": a run of entries, each behind its length.

Rules, in order:

1. An entry is at most 65,535 bytes and is written as a big-endian uint16 length and the entry.
2. A bundle holds exactly the entries that the reader expects: none missing, no bytes after the last.
3. An element of no bytes is an *absent* entry, one that is served as its hash alone: its leaf hash travels
   beside the bundle. No entry of a ledger is empty, so the two cannot be confused. Absent entries pass only
   where the caller says that they may.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from typing import Final

from gateway.ledger.errors import BundleError

MAX_ENTRY: Final = 65_535
"""Longest entry, bytes: what the uint16 length can say."""

_LENGTH: Final = struct.Struct(">H")


def encode(entries: Iterable[bytes], *, allow_absent: bool = False) -> bytes:
    """The bundle of these entries, in order. Raises BundleError for an entry that is too long, or absent."""
    parts: list[bytes] = []
    for position, entry in enumerate(entries):
        if len(entry) > MAX_ENTRY:
            raise BundleError(f"entry {position} of the bundle is {len(entry)} bytes; at most {MAX_ENTRY} fit")
        if not entry and not allow_absent:
            raise BundleError(f"entry {position} of the bundle is empty; a ledger has no empty entries")
        parts.append(_LENGTH.pack(len(entry)))
        parts.append(entry)
    return b"".join(parts)


def decode(data: bytes, count: int, *, allow_absent: bool = False) -> list[bytes]:
    """Exactly `count` entries of a bundle, in order; an absent one is ``b""``. Raises BundleError."""
    entries: list[bytes] = []
    offset = 0
    for position in range(count):
        body = offset + _LENGTH.size
        if body > len(data):
            raise BundleError(f"bundle ends at byte {len(data)}, before entry {position} of {count}")
        (length,) = _LENGTH.unpack_from(data, offset)
        offset = body + length
        if offset > len(data):
            raise BundleError(f"bundle ends at byte {len(data)}, inside entry {position} of {count}")
        if length == 0 and not allow_absent:
            raise BundleError(f"entry {position} of the bundle is absent, where every entry was asked for")
        entries.append(data[body:offset])
    if offset != len(data):
        raise BundleError(f"bundle has {len(data) - offset} bytes after its {count} entries")
    return entries


def element(data: bytes, count: int, position: int) -> bytes:
    """The entry at one position, from 0, of a bundle of `count`; an absent one is ``b""``. Raises BundleError.

    Those after it are not looked at.
    """
    if not 0 <= position < count:
        raise BundleError(f"bundle has {count} entries, and no entry {position}")
    offset, size = 0, len(data)
    for passed in range(position + 1):
        body = offset + _LENGTH.size
        if body > size:
            raise BundleError(f"bundle ends at byte {size}, before entry {passed} of {count}")
        offset = body + _LENGTH.unpack_from(data, offset)[0]
    if offset > size:
        raise BundleError(f"bundle ends at byte {size}, inside entry {position} of {count}")
    return bytes(data[body:offset])
