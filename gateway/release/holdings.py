"""What this node holds of the ledgers between it and one partner, as hashes: for comparing, and for nothing else.

Rules:

1. Only ledgers between the two nodes are spoken of: those that one keeps for the other, and the witness ledgers of
   both.
2. Only sizes, roots, hashes and signed notes are given. No entry, and nothing of what an entry says.
3. What is given is durable: sizes are those of the heads, which no commit in doubt moves.
4. One question costs bounded work: hashes of at most one tile's width are read for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from gateway.ledger.errors import ProofError
from gateway.ledger.holding import HeldLedger, HeldSignatures, holder, is_between
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, LedgerId, StoreReader
from gateway.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, node_reader
from gateway.release.heads import Head

MAX_LEDGERS: Final = 4096
"""Ledgers that are listed, the newest generations first: as many as one message can carry with their notes."""


def most_hashes(level: int) -> int:
    """How many hashes of one level a question may ask for: those that a tile's width of stored hashes give."""
    return TILE_WIDTH >> level % TILE_HEIGHT


class Holdings:
    """Belongs to the event loop's thread, as its `reader` does."""

    def __init__(
        self,
        own: str,
        partner: str,
        reader: Callable[[], StoreReader],
        heads: Callable[[], Iterable[Head]],
        head: Callable[[Origin], Head | None],
    ) -> None:
        """`heads` and `head` are the sequencer's."""
        self._own = own
        self._partner = partner
        self._reader = reader
        self._heads = heads
        self._head = head

    async def heads(self) -> Sequence[HeldLedger]:
        """Every ledger between the two nodes, by origin line. Raises StoreError."""
        between = [head for head in self._heads() if is_between(head.origin, self._own, self._partner)]
        newest = sorted(between, key=lambda head: head.origin.generation, reverse=True)[:MAX_LEDGERS]
        return sorted((self._held(head) for head in newest), key=lambda held: str(held.origin))

    def _held(self, head: Head) -> HeldLedger:
        reader = self._reader()
        row = reader.ledger(head.origin)
        return HeldLedger(
            head.origin,
            head.edge.size,
            head.edge.root(),
            reader.checkpoint(head.id, head.edge.size) or b"",
            self._receipt(head.origin, head.id),
            None if row is None else row.successor,
        )

    def _receipt(self, origin: Origin, ledger: LedgerId) -> bytes:
        # A witness ledger bears the receipts of every partner: each is shown its own.
        signer = holder(origin, self._own, self._partner)
        found = self._reader().cosignature(ledger, CosignatureKind.RECEIPT, signer=signer)
        return b"" if found is None else found.note

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        """Roots of perfect subtrees of 2**level leaves, 32 bytes each, joined: as many of the `count` as there are.

        Raises ProofError for a ledger that is not between the two nodes and for a question out of its bounds, and
        TileError or StoreError when the store does not hold what it should.
        """
        self._require(origin)
        if not 0 <= level <= 63 or first < 0 or not 1 <= count <= most_hashes(level):
            raise ProofError(
                f"hashes {first} to {first + count - 1} of level {level} were asked for; a question asks for 1 to"
                " 256 / 2^(level mod 8) of a level up to 63"
            )
        head = self._head(origin)
        there = 0 if head is None else max(0, min(count, (head.edge.size >> level) - first))
        if head is None or there == 0:
            return b""
        ledger = head.id
        node = node_reader(head.edge.size, lambda *tile: self._reader().tile(ledger, *tile) or b"", head.edge)
        return b"".join(node(level, index) for index in range(first, first + there))

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        """The notes that are held about exactly that size. Raises ProofError as `hashes` does, and StoreError."""
        self._require(origin)
        head = self._head(origin)
        if head is None:
            return HeldSignatures()
        reader = self._reader()
        signer = holder(origin, self._own, self._partner)
        receipt = reader.cosignature(head.id, CosignatureKind.RECEIPT, size, signer=signer)
        return HeldSignatures(
            reader.checkpoint(head.id, size) or b"",
            receipt.note if receipt is not None and receipt.size == size else b"",
        )

    def _require(self, origin: Origin) -> None:
        if not is_between(origin, self._own, self._partner):
            raise ProofError(f"{origin} is not a ledger between {self._own} and {self._partner}")
