"""What a follower says that it has of a ledger, made from a replica and judged by the ledger's owner.

Rules, in order:

1. Whoever has nothing has a prefix of every ledger that is open, or has been.
2. What is exactly one of the ledger's own checkpoints is a prefix.
3. Anything else that a log key of the owner has signed shows that the owner's store is not the one from which it was
   signed: its tail was lost, or it has forked. A key in use proves that; a retired one is another's word
   (`gateway.release.successions`), so it is asked for last.
4. What nobody has signed shows nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, LedgerRow, StoreReader


@dataclass(frozen=True, slots=True)
class Claim:
    """A size, the root at that size (32 bytes), and the owner's signed checkpoint of it; empty where the size is 0."""

    size: int
    root: bytes
    checkpoint: bytes

    @property
    def empty(self) -> bool:
        """Whether it is of nothing."""
        return self.size == 0 and self.root == EMPTY_ROOT


NOTHING: Final = Claim(0, EMPTY_ROOT, b"")
"""The claim of a follower that has nothing."""


class Agreement(Enum):
    """How a claim that contradicts nothing stands to the ledger."""

    PREFIX = "prefix"
    """The ledger goes on from there."""
    NOT_OPEN = "not open"
    """It is of a generation that was never opened here, and says nothing of it."""
    UNSIGNED = "unsigned"
    """It is no prefix, and no signature says that it should be."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The owner signed what its store does not have."""

    evidence: bytes
    """The claimed checkpoint, with the lines of the owner's keys alone: a follower chooses what stands beside them."""
    reason: ledger_pb2.SuccessionReason.ValueType
    by_retired: bool


def claim_of(reader: StoreReader, origin: Origin) -> Claim:
    """What a follower says that has this replica: under the key that took over, where that one has signed."""
    row = reader.ledger(origin)
    if row is None or row.size == 0:
        return NOTHING
    anchor = reader.cosignature(row.id, CosignatureKind.ANCHOR, origin.owner, row.size)
    if anchor is not None and anchor.size == row.size:
        return Claim(row.size, row.root, anchor.note)
    return Claim(row.size, row.root, reader.checkpoint(row.id, row.size) or b"")


def judge_claim(
    reader: StoreReader,
    origin: Origin,
    claim: Claim,
    *,
    current: Origin,
    keys: Sequence[LogPublicKey],
    retired: Sequence[LogPublicKey],
) -> Agreement | Lost:
    """Judges a claim on an own ledger. `current` is the generation of its line that is open; `keys` are the log keys
    under which this node's word is held against it, `retired` those that were.
    """
    if claim.empty:
        return Agreement.NOT_OPEN if origin.generation > current.generation else Agreement.PREFIX
    row = reader.ledger(origin)
    if _is_prefix(reader, row, claim):
        return Agreement.PREFIX
    signed = _signed_by(claim, keys, origin)
    by_retired = signed is None
    if signed is None:
        signed = _signed_by(claim, retired, origin)
    if signed is None:
        return Agreement.UNSIGNED
    lost = row is None or claim.size > row.size or by_retired
    return Lost(
        signed.of_keys([key.verifier(origin) for key in (*keys, *retired)]).encode(),
        ledger_pb2.SUCCESSION_REASON_LOST_TAIL if lost else ledger_pb2.SUCCESSION_REASON_FORK,
        by_retired,
    )


def _is_prefix(reader: StoreReader, row: LedgerRow | None, claim: Claim) -> bool:
    stored = None if row is None or claim.size > row.size else reader.checkpoint(row.id, claim.size)
    return stored is not None and Checkpoint.parse(Note.parse(stored).text).root == claim.root


def _signed_by(claim: Claim, keys: Sequence[LogPublicKey], origin: Origin) -> Note | None:
    """The checkpoint of a claim, where one of these keys signed it and it says what the claim says."""
    with contextlib.suppress(LedgerError):
        checkpoint, note = open_checkpoint(claim.checkpoint, keys, origin)
        if (checkpoint.size, checkpoint.root) == (claim.size, claim.root):
            return note
    return None
