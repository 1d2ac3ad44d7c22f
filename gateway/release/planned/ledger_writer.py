"""The writing of one own ledger within a plan: entries are sealed one by one, and signed together at the end.

Rules:

1. A ledger that is written to gains one segment, one checkpoint and one Ed25519 signature a plan, whatever the number
   of entries; one more for each SEGMENT_BYTES of them, as a segment travels whole.
2. The first entry that a process seals into a ledger is preceded by the opening of an epoch, and so is the first one
   after a reader's key has changed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.stores import Append
from gateway.release.heads import Head
from gateway.release.recovery.records import Recording, content_entries
from gateway.release.signatory import Signatory
from gateway.seal.epoch import Epoch
from gateway.seal.keys import SealingPublicKey
from gateway.seal.recovery import RecordKey

SEGMENT_BYTES: Final = 16 * 1024
"""Bytes of entries in one segment of a ledger for a partner, but for a single entry that is larger. A segment travels
whole and is taken in as one step, so on a link of 20 kB/s something arrives every second, and an alert at the other end
waits for no more."""

HOME_SEGMENT_BYTES: Final = 1 << 20
"""The same of a ledger that stays at home."""


@dataclass(slots=True)
class LedgerWriter:
    """Appends to one own ledger. What it appended counts once `signed` has been put into a commit."""

    head: Head
    """The durable head, with the epoch that the next entry is sealed in."""
    signatory: Signatory
    readers: Sequence[tuple[str, SealingPublicKey]]
    entries: list[bytes] = field(default_factory=list)
    """Those that are new."""
    line: str = field(init=False)
    """Origin line."""
    _keys: tuple[bytes, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.line = str(self.head.origin)
        self._keys = tuple(key.key_id for _, key in self.readers)

    @property
    def next_index(self) -> int:
        """Index that the next entry gets."""
        return self.head.edge.size + len(self.entries)

    def append(self, content: bytes) -> int:
        """Seals a serialised `EntryContent` as one part and appends it; returns its index. Raises SealError."""
        epoch = self._epoch()
        index = self.next_index
        self.entries.append(epoch.seal(index, content, self.signatory.random))
        return index

    def append_parts(self, parts: Sequence[ledger_pb2.Part]) -> int:
        """Seals parts, each of which can later be shown alone, and appends them as one entry; returns its index."""
        epoch = self._epoch()
        index = self.next_index
        self.entries.append(epoch.seal_parts(index, parts, self.signatory.random))
        return index

    def append_records(self, recording: Recording) -> None:
        """Appends the recovery records behind what was appended (`gateway.release.recovery.records`)."""
        origin, owner = self.head.origin, self.signatory.node
        for record, capacity in recording.records(origin, content_entries(self.entries)):
            epoch, key = self._epoch(), self.head.record_key
            index = self.next_index
            sealed = ledger_pb2.SealedRecovery()
            if key is None or key.epoch != epoch.index:
                # A content key that is forgotten takes the record key with it: neither seals twice at one index.
                key, wrap = RecordKey.draw_new(
                    self.line, index, epoch.index, owner, recording.key, self.signatory.random
                )
                sealed.key.CopyFrom(wrap)
                self.head = replace(self.head, record_key=key)
            sealed.key_index = key.key_index
            sealed.ciphertext = key.seal(index, record, capacity)
            content = ledger_pb2.EntryContent(sealed_recovery=sealed).SerializeToString()
            self.entries.append(epoch.seal(index, content, self.signatory.random))

    def renew_epoch(self) -> None:
        """The next entry opens a new epoch."""
        self.head = replace(self.head, epoch=None)

    def signed(self, key: LogKey) -> tuple[Head, list[tuple[Append, Note]]]:
        """The new entries as segments, each with the checkpoint that ends it, and the head they lead to. Changes
        nothing here.
        """
        head, edge = self.head, self.head.edge
        most = HOME_SEGMENT_BYTES if head.origin.recipient is None else SEGMENT_BYTES
        segments: list[tuple[Append, Note]] = []
        for entries in _segments(self.entries, most):
            first = edge.size
            edge, tiles = edge.grow([leaf_hash(entry) for entry in entries])
            root = edge.root()
            note = sign_checkpoint(Checkpoint(head.origin, edge.size, root), key)
            append = Append(head.id, first, len(entries), bundle.encode(entries), tiles, root, note.encode())
            segments.append((append, note))
        return replace(head, edge=edge), segments

    def _epoch(self) -> Epoch:
        head = self.head
        if head.epoch is None or head.readers != self._keys:
            epoch, opening = Epoch.open_new(self.line, self.next_index, self.readers, self.signatory.random)
            self.entries.append(opening)
            self.head = replace(head, epoch=epoch, readers=self._keys)
            return epoch
        return head.epoch


def _segments(entries: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """The entries in runs of at most so many bytes, in order."""
    start = size = 0
    for place, entry in enumerate(entries):
        if place > start and size + len(entry) > most:
            yield entries[start:place]
            start, size = place, 0
        size += len(entry)
    yield entries[start:]
