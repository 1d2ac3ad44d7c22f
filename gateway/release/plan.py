"""A commit in preparation: what the steps of the way fill, and what the sequencer then makes durable.

Rules:

1. A plan changes nothing outside itself. What it holds counts only once its commit is durable; a plan that is thrown
   away leaves no trace but the epochs it used, which must then be forgotten (`Heads.without_epochs`).
2. Each ledger gains at most one segment, one checkpoint and one Ed25519 signature a plan, whatever the number of
   entries.
3. The first entry that a process seals into a ledger is preceded by the opening of an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import EMPTY_ROOT, leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import (
    AbsentRow,
    Append,
    Commit,
    FeedRow,
    LedgerId,
    LedgerRow,
    ReceivedRow,
    ReleasedRow,
    StoreReader,
)
from gateway.ledger.tiles import Edge, TileWrite
from gateway.release.heads import Head, Heads
from gateway.release.signatory import Partner, Signatory
from gateway.seal.epoch import Epoch
from gateway.seal.keys import SealingPublicKey


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """A row of the feed with its content, for subscribers who are listening now."""

    row: FeedRow
    content: report_pb2.Report | ledger_pb2.Withdrawal
    withdrawn: bool = False


@dataclass(slots=True)
class LedgerWriter:
    """Appends to one own ledger within a plan."""

    head: Head
    signatory: Signatory
    readers: Sequence[tuple[str, SealingPublicKey]]
    entries: list[bytes] = field(default_factory=list)

    @property
    def next_index(self) -> int:
        """Index that the next entry gets."""
        return self.head.edge.size + len(self.entries)

    def _epoch(self) -> Epoch:
        if self.head.epoch is None:
            epoch, opening = Epoch.open_new(str(self.head.origin), self.next_index, self.readers, self.signatory.random)
            self.entries.append(opening)
            self.head = replace(self.head, epoch=epoch)
            return epoch
        return self.head.epoch

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


class Plan:
    """Everything that one commit will hold, and what follows from it once it is durable."""

    def __init__(
        self,
        heads: Heads,
        store: StoreReader,
        signatory: Signatory,
        partners: Mapping[str, Partner],
        now_ns: Callable[[], int],
    ) -> None:
        self.store = store
        self.signatory = signatory
        self.partners = partners
        self.now_ns = now_ns()
        self.commit = Commit()
        self.heads = heads
        self.changed: dict[Origin, Head] = {}
        self.ended: dict[Origin, Origin] = {}
        self.feed: list[FeedEntry] = []
        self.accepted: dict[bytes, tuple[bytes, int]] = {}
        """Reports accepted in this plan: identifier to (digest, time)."""
        self.events: dict[str, list[tuple[bytes, int]]] = {}
        """Reports accepted in this plan, by event: (identifier, kind)."""
        self._released: dict[bytes, dict[str, ReleasedRow]] = {}
        self._withdrawn: set[tuple[bytes, str]] = set()
        self._received: dict[tuple[str, bytes], ReceivedRow] = {}
        self._writers: dict[Origin, LedgerWriter] = {}
        self._next_ledger = heads.next_id()
        self._next_feed = store.last_feed() + 1
        self._next_report = store.last_report() + 1

    # --- own ledgers

    def writer(self, recipient: str, lane: str) -> LedgerWriter:
        """The writer of this node's current ledger for a recipient and lane."""
        return self.writer_of(self._current(recipient, lane))

    def decisions(self) -> LedgerWriter:
        """The writer of this node's decisions ledger."""
        return self.writer_of(self._current(None, DECISIONS))

    def writer_of(self, origin: Origin) -> LedgerWriter:
        """The writer of one own ledger, which must not have ended."""
        found = self._writers.get(origin)
        if found is None:
            head = self.heads.get(origin) or self._new_ledger(origin, replica=False)
            found = self._writers[origin] = LedgerWriter(head, self.signatory, self._readers(origin.recipient))
        return found

    def _current(self, recipient: str | None, lane: str) -> Origin:
        origin = self.heads.current(self.signatory.node, recipient, lane)
        while origin in self.ended:
            origin = self.ended[origin]
        return origin

    def _readers(self, recipient: str | None) -> Sequence[tuple[str, SealingPublicKey]]:
        own = (self.signatory.node, self.signatory.sealing[0].public)
        if recipient is None:
            return (own,)
        return ((recipient, self.partners[recipient].sealing), own)

    def _new_ledger(self, origin: Origin, *, replica: bool) -> Head:
        head = Head(LedgerId(self._next_ledger), origin, replica, Edge.empty())
        self._next_ledger += 1
        self.commit.ledgers.append(LedgerRow(head.id, origin, replica, 0, EMPTY_ROOT))
        self.changed[origin] = head
        return head

    # --- replicas

    def replica(self, origin: Origin) -> Head | None:
        """The head of a replica as this plan has it so far; None where there is none yet."""
        return self.changed.get(origin) or self.heads.get(origin)

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
        head = self.replica(origin) or self._new_ledger(origin, replica=True)
        first = head.edge.size
        rows = [AbsentRow(head.id, *row) for row in absent]
        self.commit.appends.append(
            Append(head.id, first, edge.size - first, entries, tiles, edge.root(), checkpoint, rows)
        )
        self.changed[origin] = replace(head, edge=edge)
        return head.id

    def end(self, origin: Origin, successor: Origin) -> None:
        """Ends a ledger: nothing more is appended to it."""
        head = self.replica(origin) or self._new_ledger(origin, replica=origin.owner != self.signatory.node)
        self.commit.ended.append((head.id, successor))
        self.ended[origin] = successor

    # --- records

    def next_report(self) -> int:
        """Number for the next accepted report."""
        self._next_report += 1
        return self._next_report - 1

    def next_feed(self) -> int:
        """Number for the next row of the feed."""
        self._next_feed += 1
        return self._next_feed - 1

    def publish(self, entry: FeedEntry) -> None:
        """Adds to what subscribers receive."""
        self.commit.feed.append(entry.row)
        self.feed.append(entry)

    def known(self, report_id: bytes) -> tuple[bytes, int] | None:
        """(digest, time of acceptance) of an own report that was accepted, durable or in this plan."""
        found = self.accepted.get(report_id)
        if found is None:
            row = self.store.report(report_id)
            found = None if row is None else (row.digest, row.accepted_ns)
        return found

    def event_reports(self, event_id: str, kinds: Collection[int]) -> list[bytes]:
        """Identifiers of the accepted own reports of some kinds about an event."""
        here = [report_id for report_id, kind in self.events.get(event_id, ()) if kind in kinds]
        return [*self.store.reports_of_event(event_id, kinds), *here]

    def released_to(self, report_id: bytes) -> Mapping[str, ReleasedRow]:
        """The releases of an own report that still stand, by partner."""
        rows = {row.partner: row for row in self.store.released(report_id) if row.withdrawn_ns is None}
        rows.update(self._released.get(report_id, {}))
        return {partner: row for partner, row in rows.items() if (report_id, partner) not in self._withdrawn}

    def was_released(self, report_id: bytes, partner: str) -> bool:
        """Whether a partner was ever released an own report, withdrawn since or not."""
        return partner in self._released.get(report_id, {}) or any(
            row.partner == partner for row in self.store.released(report_id)
        )

    def record_release(self, row: ReleasedRow) -> None:
        """Puts a release on record."""
        self.commit.released.append(row)
        self._released.setdefault(row.report_id, {})[row.partner] = row

    def record_withdrawal(self, report_id: bytes, partner: str) -> None:
        """Puts on record that a release no longer stands."""
        self.commit.withdrawn.append((report_id, partner, self.now_ns))
        self._withdrawn.add((report_id, partner))

    def received(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        """What is known of a partner's report, durable or in this plan."""
        return self._received.get((originator, report_id)) or self.store.received(originator, report_id)

    def record_received(self, row: ReceivedRow) -> None:
        """Puts on record what is now known of a partner's report."""
        self._received[(row.originator, row.report_id)] = row

    # --- the end

    def finish(self) -> list[tuple[Origin, Note]]:
        """Grows and signs every ledger that was written to. Returns the new checkpoints.

        After this the plan's commit is complete.
        """
        signed: list[tuple[Origin, Note]] = []
        for origin, writer in self._writers.items():
            if not writer.entries:
                continue
            edge, tiles = writer.head.edge.grow([leaf_hash(entry) for entry in writer.entries])
            root = edge.root()
            note = sign_checkpoint(Checkpoint(origin, edge.size, root), self.signatory.log)
            self.commit.appends.append(
                Append(
                    writer.head.id,
                    writer.head.edge.size,
                    len(writer.entries),
                    bundle.encode(writer.entries),
                    tiles,
                    root,
                    note.encode(),
                )
            )
            self.changed[origin] = replace(writer.head, edge=edge)
            signed.append((origin, note))
        self.commit.received.extend(self._received.values())
        return signed

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make durable."""
        return self.commit == Commit()
