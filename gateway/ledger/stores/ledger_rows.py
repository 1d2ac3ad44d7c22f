"""What a store holds of ledgers: their entries, and what is signed over these.

The layout is a contract:

- A ledger's entries stand in *segments*: what one commit appended, with the signed checkpoint of its end. A batch on
  the wire is a run of whole segments, so no entry is ever sent without the signature that covers it.
- An entry may be kept as its leaf hash alone (`AbsentRow`); its place in the segment then has length 0. It came so, or
  it was pruned (`PrunedSegment`), which is the only way in which a segment ever changes.
- Tiles are C2SP tlog-tiles, kept by the rule of `gateway.ledger.tiles`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, NewType

from gateway.ledger.origin import Origin
from gateway.ledger.tiles import TileWrite

LedgerId = NewType("LedgerId", int)
"""Number of a ledger within one store."""


RUN_ENTRIES: Final = 4096
"""Entries of a run, unless its first segment alone has more."""

RUN_ABSENT: Final = 256
"""Of them, those that go as their hashes, whether they are absent or kept back, unless its first segment alone has
more: whoever takes a run in verifies the signed reason of each. No segment that this
node makes of a ledger for a partner has more entries."""


class CosignatureKind(StrEnum):
    """Signatures that a checkpoint gains after its own."""

    RECEIPT = "receipt"
    PQ = "pq"
    ANCHOR = "anchor"
    """The owner's own signature again, by the log key that took over, on the last checkpoint under the key before."""


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One ledger as it stands: `size` entries, RFC 6962 `root` (32 bytes), and its successor's line once it has
    ended. Of an own ledger that has, `agreed` entries were confirmed; its successor goes on with those above.
    """

    id: LedgerId
    origin: Origin
    replica: bool
    size: int
    root: bytes
    successor: Origin | None = None
    agreed: int | None = None


@dataclass(frozen=True, slots=True)
class AbsentRow:
    """An entry of which only the hash is kept, with the owner's signed note that says why."""

    ledger: LedgerId
    index: int
    leaf_hash: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class KeptBackRow:
    """An entry of an own ledger that its recipient is given as its hash alone, and the signed note that says why."""

    ledger: LedgerId
    index: int
    reason: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """What a commit adds to one ledger: `count` entries from `first` on, and what follows from them."""

    ledger: LedgerId
    first: int
    count: int
    entries: bytes
    tiles: Sequence[TileWrite]
    root: bytes
    checkpoint: bytes
    absent: Sequence[AbsentRow] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """What one commit appended to one ledger: `count` entries from `first` on, as an entry bundle."""

    first: int
    count: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class PrunedSegment:
    """A segment of which further entries are kept as hashes: its `entries` from this commit on, and those hashes."""

    ledger: LedgerId
    first: int
    count: int
    entries: bytes
    absent: Sequence[AbsentRow]


@dataclass(frozen=True, slots=True)
class Run:
    """A run of whole segments: `count` entries from `first` on, the checkpoint of its end, and its absent entries."""

    first: int
    count: int
    entries: bytes
    checkpoint: bytes
    absent: Sequence[AbsentRow]


class CosignatureRow(NamedTuple):
    """A signed note with the checkpoint's text and the further signature alone, by node `signer`."""

    ledger: LedgerId
    kind: CosignatureKind
    size: int
    note: bytes
    time_ns: int
    signer: str


@dataclass(frozen=True, slots=True)
class UnopenableRow:
    """A signed statement that one entry cannot be used."""

    ledger: LedgerId
    index: int
    note: bytes
    time_ns: int
