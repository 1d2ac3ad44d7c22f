"""Every ledger as a plan has it: this node's own, which it writes, and the replicas of partners' ones.

Rules:

1. Nothing is appended to a ledger that has ended, durably or in this plan: entries go to its successor.
2. An entry of a replica is shown to third nations under a key of its owner that is believed now, or not at all.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from gateway.ledger import bundle
from gateway.ledger.merkle import EMPTY_ROOT, NodeReader, inclusion_proof
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS, WITNESS, Origin
from gateway.ledger.stores import (
    AbsentRow,
    Append,
    Commit,
    CosignatureKind,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    StoreReader,
)
from gateway.ledger.tiles import Edge, TileWrite, node_reader
from gateway.release.heads import Head, Heads
from gateway.release.planned.ledger_writer import LedgerWriter
from gateway.release.recovery.records import Recording
from gateway.release.signatory import Partner, Signatory
from gateway.seal.keys import SealingPublicKey


class Ledgers:
    """The ledgers of one plan. `changed` and `ended` are what `Heads.adopt` takes once its commit is durable."""

    def __init__(
        self,
        heads: Heads,
        store: StoreReader,
        commit: Commit,
        signatory: Signatory,
        partners: Mapping[str, Partner],
    ) -> None:
        self._heads = heads
        self._store = store
        self._commit = commit
        self.signatory = signatory
        """Whose keys sign; the plan's to change."""
        self._partners = partners
        self.changed: dict[Origin, Head] = {}
        """Heads as this plan has them: of own ledgers that are written to, once it is finished."""
        self.ended: dict[Origin, Origin] = {}
        """The successors of the ledgers that end in this plan."""
        self._writers: dict[Origin, LedgerWriter] = {}
        self._current_writers: dict[tuple[str | None, str], LedgerWriter] = {}
        """By recipient and lane; a ledger that ends takes its writer with it."""
        self._fresh_epochs = False
        self._next_ledger = heads.next_id()

    # --- any ledger

    def head(self, origin: Origin) -> Head | None:
        """The head of a ledger as this plan has it so far, of an own one without what `finish` will add; None where
        there is none yet.
        """
        return self.changed.get(origin) or self._heads.get(origin)

    def origin_of(self, ledger: LedgerId) -> Origin:
        """The origin of a ledger, by its number."""
        heads: Iterator[Head] = itertools.chain(self.changed.values(), self._heads)
        return next(head.origin for head in heads if head.id == ledger)

    def entry(self, ledger: LedgerId, index: int) -> bytes | None:
        """One entry of a ledger, durable or in this plan; None when only its hash is kept."""
        for writer in self._writers.values():
            if writer.head.id == ledger and index >= writer.head.edge.size:
                return writer.entries[index - writer.head.edge.size]
        for append in (*self._commit.appends, *self._commit.returned):
            if append.ledger == ledger and append.first <= index < append.first + append.count:
                entries = bundle.decode(append.entries, append.count, allow_absent=True)
                return entries[index - append.first] or None
        return self._store.entry(ledger, index)

    def has_ended(self, origin: Origin) -> bool:
        """Whether nothing more may be appended to that ledger."""
        current = self._heads.current(origin.owner, origin.recipient, origin.lane)
        return origin in self.ended or current.generation > origin.generation

    def end(self, origin: Origin, successor: Origin, agreed: int | None = None) -> None:
        """Ends a ledger: nothing more is appended to it. `agreed`, of an own one: how many entries were confirmed."""
        head = self.head(origin) or self._new(origin, replica=origin.owner != self.signatory.node)
        self._commit.ended.append((head.id, successor))
        if agreed is not None:
            self._commit.agreed.append((head.id, agreed))
        self.ended[origin] = successor
        self._current_writers.clear()

    def _new(self, origin: Origin, *, replica: bool) -> Head:
        head = Head(LedgerId(self._next_ledger), origin, replica, Edge.empty())
        self._next_ledger += 1
        self._commit.ledgers.append(LedgerRow(head.id, origin, replica, 0, EMPTY_ROOT))
        self.changed[origin] = head
        return head

    # --- this node's own

    def writer(self, recipient: str, lane: str) -> LedgerWriter:
        """The writer of this node's current ledger for a recipient and lane."""
        return self._current_writer(recipient, lane)

    def decisions(self) -> LedgerWriter:
        """The writer of this node's decisions ledger."""
        return self._current_writer(None, DECISIONS)

    def witness(self) -> LedgerWriter:
        """The writer of this node's witness ledger."""
        return self._current_writer(None, WITNESS)

    def writer_of(self, origin: Origin) -> LedgerWriter:
        """The writer of one own ledger, which must not have ended."""
        found = self._writers.get(origin)
        if found is None:
            head = self._heads.get(origin) or self._new(origin, replica=False)
            if self._fresh_epochs and origin.recipient is not None:
                head = replace(head, epoch=None)
            found = self._writers[origin] = LedgerWriter(head, self.signatory, self._readers(origin.recipient))
        return found

    def renew_epochs(self) -> None:
        """The next entry of each ledger for a partner opens a new epoch. Home ledgers go on: in the witness ledger an
        opening would show to every partner.
        """
        self._fresh_epochs = True
        for origin, writer in self._writers.items():
            if origin.recipient is not None:
                writer.renew_epoch()

    def kept_back(self, ledger: LedgerId, first: int, end: int) -> Collection[int]:
        """The entries of an own ledger from `first` up to `end` that are kept back, durably or in this plan."""
        here = (row.index for row in self._commit.kept_back if row.ledger == ledger and first <= row.index < end)
        return {*here, *(row.index for row in self._store.kept_back(ledger, first, end))}

    def keep_back(self, row: KeptBackRow) -> None:
        """Puts on record that an entry goes as its hash alone."""
        self._commit.kept_back.append(row)

    def finish(self, recording: Recording | None) -> list[tuple[Origin, Note]]:
        """Grows and signs every ledger that was written to. Returns the new checkpoints."""
        checkpoints: list[tuple[Origin, Note]] = []
        for origin, writer in self._writers.items():
            if not writer.entries:
                continue
            if recording is not None and origin.recipient is not None:
                writer.append_records(recording)
            self.changed[origin], segments = writer.signed(self.signatory.log)
            for append, note in segments:
                self._commit.appends.append(append)
                checkpoints.append((origin, note))
        return checkpoints

    def _current_writer(self, recipient: str | None, lane: str) -> LedgerWriter:
        found = self._current_writers.get((recipient, lane))
        if found is None:
            found = self._current_writers[(recipient, lane)] = self.writer_of(self._current(recipient, lane))
        return found

    def _current(self, recipient: str | None, lane: str) -> Origin:
        origin = self._heads.current(self.signatory.node, recipient, lane)
        while origin in self.ended:
            origin = self.ended[origin]
        return origin

    def _readers(self, recipient: str | None) -> Sequence[tuple[str, SealingPublicKey]]:
        own = (self.signatory.node, self.signatory.sealing[0].public)
        if recipient is None:
            return (own,)
        return ((recipient, self._partners[recipient].sealing), own)

    # --- replicas

    def extend_replica(
        self,
        origin: Origin,
        edge: Edge,
        tiles: Sequence[TileWrite],
        entries: bytes,
        checkpoint: bytes,
        absent: Sequence[tuple[int, bytes, bytes]],
    ) -> LedgerId:
        """Appends a verified batch to a replica; `edge` is its edge grown by the batch. Returns the replica's number.

        `absent` holds (index, leaf hash, signed reason) of the entries that the batch gives as hashes.
        """
        head = self.head(origin) or self._new(origin, replica=True)
        first = head.edge.size
        rows = [AbsentRow(head.id, *row) for row in absent]
        self._commit.appends.append(
            Append(head.id, first, edge.size - first, entries, tiles, edge.root(), checkpoint, rows)
        )
        self.changed[origin] = replace(head, edge=edge)
        return head.id

    def follow_again(self, origin: Origin) -> None:
        """A replica that has ended goes on after all. There must be nothing of its successor."""
        head = self.head(origin)
        assert head is not None  # it has ended here
        self._commit.ended.append((head.id, None))
        self.ended[origin.successor()] = origin
        self._current_writers.clear()

    def inclusion(self, origin: Origin, index: int) -> tuple[tuple[bytes, ...], bytes] | None:
        """The inclusion path of an entry of a replica as this plan has it, and the signed checkpoint it leads to.

        That is under the newest key of the owner that is believed and has signed what covers the entry, since a third
        nation believes no other: the head's checkpoint, or an anchor. None where no such key has.
        """
        head = self.head(origin)
        assert head is not None  # the entry is in it
        found = self._covering(head, index)
        if found is None:
            return None
        size, checkpoint = found
        return inclusion_proof(index, size, self.tree(head)), checkpoint

    def tree(self, head: Head) -> NodeReader:
        """Reads the tree of a replica as this plan has it."""
        appends = [append for append in self._commit.appends if append.ledger == head.id]
        written = {(tile.level, tile.index): tile.data for append in appends for tile in append.tiles}

        def read_tile(level: int, at: int) -> bytes:
            return written.get((level, at)) or self._store.tile(head.id, level, at) or b""

        return node_reader(head.edge.size, read_tile, head.edge)

    def _covering(self, head: Head, index: int) -> tuple[int, bytes] | None:
        """Size and note of what covers an entry of a replica, under a key of its owner that is believed."""
        owner = self._partners.get(head.origin.owner)
        if owner is None:
            return None
        appends = [append for append in self._commit.appends if append.ledger == head.id]
        checkpoint = appends[-1].checkpoint if appends else self._store.checkpoint(head.id, head.edge.size)
        assert checkpoint is not None  # every segment ends with one
        notes = [(head.edge.size, checkpoint)]
        anchor = self._store.cosignature(head.id, CosignatureKind.ANCHOR, head.origin.owner, index + 1)
        if anchor is not None:
            notes.append((anchor.size, anchor.note))
        for key in owner.log:
            verifier = key.verifier(head.origin)
            for size, raw in notes:
                if Note.parse(raw).bears(verifier):
                    return size, raw
        return None
