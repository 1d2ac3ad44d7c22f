"""Ledgers that grow in a store, entry by entry, without keys: a store does not look into what it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.ledger import bundle
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import AbsentRow, Append, Commit, FeedFilter, FeedItem, FeedRow, LedgerId, LedgerRow, Store
from gateway.ledger.tiles import Edge

LEDGER = LedgerId(1)
ORIGIN = Origin("JPN", "KOR", "flash", 1)

ANYTHING = FeedFilter(frozenset({1, 2, 3}), include_own=True)
"""Of the feed."""


@dataclass
class Growth:
    """One ledger as a writer sees it."""

    id: LedgerId = LEDGER
    origin: Origin = ORIGIN
    replica: bool = False
    edge: Edge = field(default_factory=Edge.empty)

    def begin(self) -> LedgerRow:
        """The row of the empty ledger."""
        return LedgerRow(self.id, self.origin, self.replica, 0, EMPTY_ROOT)

    def append(self, entries: Sequence[bytes], absent: dict[int, bytes] | None = None) -> Append:
        """Grows; `absent` maps the index of an entry given as ``b""`` to its leaf hash."""
        first = self.edge.size
        absent = absent or {}
        leaves = [leaf_hash(entry) if entry else absent[index] for index, entry in enumerate(entries, first)]
        self.edge, tiles = self.edge.grow(leaves)
        rows = [AbsentRow(self.id, index, leaf, b"why %d is absent" % index) for index, leaf in absent.items()]
        encoded = bundle.encode(entries, allow_absent=True)
        note = checkpoint(self.edge.size)
        return Append(self.id, first, len(entries), encoded, tiles, self.edge.root(), note, rows)


def checkpoint(size: int) -> bytes:
    """What stands for the signed checkpoint of that size."""
    return b"checkpoint of size %d" % size


def entries_of(first: int, count: int) -> list[bytes]:
    """Entries that differ from each other."""
    return [b"entry %d" % index for index in range(first, first + count)]


def grown(*counts: int) -> tuple[Growth, list[Commit]]:
    """A ledger that has grown by so many entries a commit, and those commits."""
    ledger = Growth()
    commits = []
    for place, count in enumerate(counts):
        append = ledger.append(entries_of(ledger.edge.size, count))
        commits.append(Commit(ledgers=[] if place else [Growth().begin()], appends=[append]))
    return ledger, commits


def fill(store: Store, *counts: int) -> Growth:
    """Grows the ledger in the store by so many entries a commit."""
    ledger, commits = grown(*counts)
    for commit in commits:
        store.commit(commit)
    return ledger


def feed_row(
    seq: int, *, traffic_class: int = 1, kind: int = 1, precedence: int = 4, originator: str = "KOR", own: bool = False,
    item: FeedItem = FeedItem.REPORT,
) -> FeedRow:  # fmt: skip
    """A row of the feed."""
    ledger = None if own else LEDGER
    return FeedRow(seq, item, ledger, 0, originator, seq.to_bytes(16), kind, traffic_class, precedence, 1)
