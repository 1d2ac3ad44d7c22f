"""What this node holds of the ledgers between it and one partner, as hashes: for comparing, and for nothing else.

Rules:

1. Only ledgers between the two nodes are spoken of: those that one keeps for the other, and the witness ledgers of
   both. Besides, of the witness ledger of a third node, where this node holds it: a node that shows its partners
   different ones is found by them alone. It is listed only for who names its owner, and without receipts.
2. Only sizes, roots, hashes and signed notes are given. No entry, and nothing of what an entry says.
3. What is given is durable: sizes are those of the heads, which no commit in doubt moves.
4. One question costs bounded work: hashes of at most one tile's width are read for it. Of each line of ledgers the last
   LISTED_GENERATIONS are listed, of a third node's witness ledger WITNESS_GENERATIONS, and whatever else waits runs
   between one ledger and the next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from heapq import nlargest
from typing import Final

from gateway.ledger.errors import ProofError
from gateway.ledger.holding import HeldLedger, HeldSignatures, holder, is_between, is_third_witness
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, LedgerId, StoreReader
from gateway.ledger.tiles import TILE_HEIGHT, TILE_WIDTH, node_reader
from gateway.release.evidence import recorded_checkpoint
from gateway.release.heads import Head
from gateway.release.successions import AT_ONCE, EVERY_NS

LISTED_GENERATIONS: Final = 4
"""Generations of one line of ledgers that are listed, the newest ones: what ended before them was compared while it was
among these, and can be compared in exported folders."""

WITNESS_GENERATIONS: Final = AT_ONCE + 86_400_000_000_000 // EVERY_NS + 1
"""Generations of a third node's witness ledger that are listed: all that there may be since the last comparison, by
what is followed of its successions in a day, the longest that `compare_s` can be: so none ends unseen."""

SIZES_LOOKED_AT: Final = 512
"""Sizes of a ledger that are looked at for such as have a checkpoint."""

MAX_THIRDS: Final = 64
"""Third nodes of which one question may ask."""


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
        thirds: Collection[str] = (),
    ) -> None:
        """`heads` and `head` are the sequencer's; `thirds` the third nodes whose witness ledgers `heads` lists too."""
        self._own = own
        self._partner = partner
        self._reader = reader
        self._heads = heads
        self._head = head
        self._thirds = thirds

    async def heads(self, thirds: Collection[str] = ()) -> Sequence[HeldLedger]:
        """The ledgers between the two nodes, of each the newest generations, and the witness ledgers of `thirds`; by
        origin line. Raises ProofError for too many of them, and StoreError.
        """
        if len(thirds) > MAX_THIRDS:
            raise ProofError(f"the witness ledgers of {len(thirds)} nodes were asked for; {MAX_THIRDS} may be")
        named = frozenset((*self._thirds, *thirds))
        lines: dict[tuple[str, str | None, str], list[Head]] = {}
        for head in self._heads():
            origin = head.origin
            if is_between(origin, self._own, self._partner) or (self._of_third(origin) and origin.owner in named):
                lines.setdefault((origin.owner, origin.recipient, origin.lane), []).append(head)
        held = []
        for line in lines.values():
            listed = WITNESS_GENERATIONS if self._of_third(line[0].origin) else LISTED_GENERATIONS
            for head in nlargest(listed, line, key=lambda each: each.origin.generation):
                held.append(self._held(head))
                await asyncio.sleep(0)
        return sorted(held, key=lambda each: str(each.origin))

    def _of_third(self, origin: Origin) -> bool:
        return is_third_witness(origin, self._own, self._partner)

    async def signed_sizes(self, origin: Origin, least: int, last: int) -> Sequence[int]:
        """Sizes from `least` to `last` of which there is a checkpoint, largest first: those that are found among the
        last SIZES_LOOKED_AT. Raises StoreError.
        """
        head = self._head(origin)
        if head is None:
            return ()
        sizes: list[int] = []
        last = min(last, head.edge.size)
        for size in range(last, max(least - 1, last - SIZES_LOOKED_AT), -1):
            if self._reader().checkpoint(head.id, size) is not None:
                sizes.append(size)
            await asyncio.sleep(0)
        return sizes

    def _held(self, head: Head) -> HeldLedger:
        reader = self._reader()
        row = reader.ledger(head.origin)
        return HeldLedger(
            head.origin,
            head.edge.size,
            head.edge.root(),
            self._checkpoint(head, head.edge.size),
            self._receipt(head.origin, head.id),
            None if row is None else row.successor,
        )

    def _checkpoint(self, head: Head, size: int) -> bytes:
        return recorded_checkpoint(self._reader(), head, size) or b""

    def _receipt(self, origin: Origin, ledger: LedgerId) -> bytes:
        if self._of_third(origin):
            return b""
        # A witness ledger bears the receipts of every partner: each is shown its own.
        signer = holder(origin, self._own, self._partner)
        found = self._reader().cosignature(ledger, CosignatureKind.RECEIPT, signer)
        return b"" if found is None else found.note

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        """Roots of perfect subtrees of 2**level leaves, 32 bytes each, joined: as many of the `count` as there are.

        Raises ProofError for a ledger of which nothing may be said and for a question out of its bounds, and
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
        if self._of_third(origin):
            return HeldSignatures(self._checkpoint(head, size))
        signer = holder(origin, self._own, self._partner)
        receipt = reader.cosignature(head.id, CosignatureKind.RECEIPT, signer, size)
        return HeldSignatures(
            self._checkpoint(head, size),
            receipt.note if receipt is not None and receipt.size == size else b"",
        )

    def _require(self, origin: Origin) -> None:
        if is_between(origin, self._own, self._partner):
            return
        if not (self._of_third(origin) and self._head(origin) is not None):
            raise ProofError(f"{origin} is not a ledger between {self._own} and {self._partner}")
