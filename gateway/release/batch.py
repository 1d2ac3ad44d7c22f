"""A batch of a ledger's entries as another node sends it, and how large one may be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.ledger.origin import Origin

MAX_BATCH_ENTRIES: Final = 8192
"""Entries of one batch. An honest one of 1 MiB holds at most 1,826 sealed entries, or 4,096 absent ones; each that
cannot be used costs a signature, and while they are made nothing else is committed."""

MAX_BATCH_BYTES: Final = 2 << 20
"""Bytes of entries in one batch, and so in a segment of a replica, which is read whole to find one entry. Twice what a
gateway sends unless it is set otherwise."""


@dataclass(frozen=True, slots=True)
class IncomingBatch:
    """One batch as it came from the wire, nothing of it checked yet."""

    origin: Origin
    first: int
    count: int
    entries: bytes
    absent: Sequence[tuple[int, bytes, bytes]]
    """(index, leaf hash, signed reason)"""
    checkpoint: bytes
