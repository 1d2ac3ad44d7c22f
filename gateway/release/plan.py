"""A commit in preparation: what the steps of the way fill, and what the sequencer then makes durable.

Rules:

1. A plan changes nothing outside itself. What it holds counts only once its commit is durable; a plan that is thrown
   away leaves no trace but the epochs it used, which must then be forgotten (`Heads.without_epochs`).
2. Each ledger that is written to gains one segment, one checkpoint and one Ed25519 signature a plan, whatever the
   number of entries; one more for each SEGMENT_BYTES of them, as a segment travels whole.
3. The first entry that a process seals into a ledger is preceded by the opening of an epoch, and so is the first one
   after a reader's key has changed.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Final, NamedTuple

from google.protobuf.timestamp_pb2 import Timestamp
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import EMPTY_ROOT, NodeReader, inclusion_proof, leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS, WITNESS, Origin
from gateway.ledger.stores import (
    AbsentRow,
    Append,
    Commit,
    CopyRow,
    CosignatureKind,
    DecisionPlace,
    FeedRow,
    HeldRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    StoreReader,
    UntoldRow,
)
from gateway.ledger.tiles import Edge, TileWrite, node_reader
from gateway.release.heads import Head, Heads
from gateway.release.recovery.records import Recording, Recovery, content_entries
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.release.verdicts import Indexing, Verdict, Verdicts
from gateway.reports.identifiers import in_bytes
from gateway.reports.kinds import Kind, kind_of
from gateway.seal.epoch import Epoch
from gateway.seal.keys import SealingPublicKey
from gateway.seal.recovery import RecordKey
from policy.decide import Circumstances
from policy.transform import refers_to

LATEST_TIME: Final = "latest time"
"""Key of the store's own value that holds the newest time at which the clock was trusted, nanoseconds since 1970, 8
bytes: what a clock that is set back over a restart is noticed by."""

SEGMENT_BYTES: Final = 16 * 1024
"""Bytes of entries in one segment of a ledger for a partner, but for a single entry that is larger. A segment travels
whole and is taken in as one step, so on a link of 20 kB/s something arrives every second, and an alert at the other end
waits for no more."""

HOME_SEGMENT_BYTES: Final = 1 << 20
"""The same of a ledger that stays at home."""


_KINDS: Final = frozenset(int(kind.report_kind) for kind in Kind)
"""All of them, as the store has them."""


class Subject(NamedTuple):
    """A report, by who originated it (empty: this node) and its identifier, 16 bytes."""

    originator: str
    report_id: bytes


ASKED_AT_ONCE: Final = 512
"""Identifiers in one query."""


class Accepted(NamedTuple):
    """An own report, its digest (SHA-256, 32 bytes), who submitted it, and when it was accepted."""

    report: report_pb2.Report
    digest: bytes
    submitted_by: str
    accepted_ns: int


class FeedEntry(NamedTuple):
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

    def _epoch(self) -> Epoch:
        head = self.head
        if head.epoch is None or head.readers != self._keys:
            epoch, opening = Epoch.open_new(self.line, self.next_index, self.readers, self.signatory.random)
            self.entries.append(opening)
            self.head = replace(head, epoch=epoch, readers=self._keys)
            return epoch
        return head.epoch

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


class Plan:
    """Everything that one commit will hold, and what follows from it once it is durable."""

    def __init__(
        self,
        heads: Heads,
        store: StoreReader,
        signatory: Signatory,
        partners: Mapping[str, Partner],
        now_ns: Callable[[], int],
        rulebook: Rulebook,
        *,
        verdicts: Verdicts,
        clock_trusted: bool = True,
        recovery: Recovery | None = None,
    ) -> None:
        self.store = store
        self.signatory = signatory
        self.partners = partners
        """The partners with keys in force, by name."""
        self.recipients = partners.keys() - waiting_for(store)
        """Those of them that can be told something. Not those whose ledgers wait to be set back: what was sealed to
        them before that would stand in a generation of which they may hold another history."""
        self._rulebook = rulebook
        self.clock_trusted = clock_trusted
        self.now_ns = now_ns()
        self.now = Timestamp()
        """The same as a message."""
        self.now.FromNanoseconds(self.now_ns)
        self.commit = Commit()
        self._indexing = Indexing(verdicts, signatory.storage, self.commit)
        self.heads = heads
        self.changed: dict[Origin, Head] = {}
        self.ended: dict[Origin, Origin] = {}
        self.feed: list[FeedEntry] = []
        self._accepted: dict[bytes, Accepted] = {}
        """Reports accepted in this plan."""
        self._rebuilt: dict[bytes, ReportRow] = {}
        self._set_back: bool | None = None
        self._released: dict[Subject, dict[str, ReleasedRow]] = {}
        self._released_ever: dict[Subject, set[str]] = {}
        """Who was ever released a report, as far as that was asked for: many refer to the same."""
        self._durable_reports: dict[bytes, ReportRow | None] = {}
        self._durable_releases: dict[Subject, Sequence[ReleasedRow]] = {}
        self._withdrawn: dict[Subject, set[str]] = {}
        self._recalled: set[bytes] = set()
        """Index of the commit's `recalled`, as far as it was read."""
        self._recalled_read = 0
        self._held: dict[Subject, dict[str, HeldRow | None]] = {}
        self._durable_holds: dict[Subject, list[HeldRow]] = {}
        self._durable_untold: dict[Subject, list[str]] = {}
        self._untold: dict[Subject, dict[str, set[int]]] = {}
        """Where in the commit's `untold` a report and a partner stand."""
        self._untold_read = 0
        """Up to where `_untold` knows that list."""
        self._identifiers: dict[str, tuple[bytes, dict[bytes, None]]] = {}
        self._received: dict[Subject, ReceivedRow] = {}
        self._durable_received: dict[Subject, ReceivedRow | None] = {}
        self._copies: dict[Subject, dict[str, CopyRow]] = {}
        self._durable_copies: dict[Subject, dict[str, CopyRow]] = {}
        self._writers: dict[Origin, LedgerWriter] = {}
        self._current_writers: dict[tuple[str | None, str], LedgerWriter] = {}
        """By recipient and lane; a ledger that ends takes its writer with it."""
        self._circumstances: Circumstances | None = None
        self.recording = None if recovery is None else Recording(recovery)
        self._fresh_epochs = False
        self._next_ledger = heads.next_id()
        self._next_feed = store.last_feed() + 1
        self._next_report = store.last_report() + 1

    @property
    def rulebook(self) -> Rulebook:
        """The policy in force for the steps that follow."""
        return self._rulebook

    def govern(self, rulebook: Rulebook) -> None:
        """Puts another policy in force, from the next step on."""
        if rulebook.suspended != self._rulebook.suspended:
            # A suspended partner is given hashes, of the openings of epochs as well: what is sealed to him later must
            # not need one of those. Home ledgers go on: in the witness ledger an opening would show to every partner.
            self._fresh_epochs = True
            for origin, writer in self._writers.items():
                if origin.recipient is not None:
                    writer.head = replace(writer.head, epoch=None)
        self._rulebook = rulebook
        self._circumstances = None

    def circumstances(self, accepted_ns: int) -> Circumstances:
        """What a decision of this plan depends on beside the report, which was accepted then, and the policy."""
        known = self._circumstances
        if known is None:
            now = time_of(self.now_ns)
            known = self._rulebook.circumstances(now, now, clock_trusted=self.clock_trusted)
            self._circumstances = known
        return known if accepted_ns == self.now_ns else replace(known, accepted=time_of(accepted_ns))

    def use(self, signatory: Signatory) -> None:
        """Signs this commit with other keys of this node (`gateway.release.key_switch`)."""
        self.signatory = signatory

    def admit(self, partner: str) -> None:
        """A partner with keys can be told something from here on: its ledgers are set back in this plan."""
        self.recipients |= {partner}

    # --- own ledgers

    def writer(self, recipient: str, lane: str) -> LedgerWriter:
        """The writer of this node's current ledger for a recipient and lane."""
        return self._current_writer(recipient, lane)

    def decisions(self) -> LedgerWriter:
        """The writer of this node's decisions ledger."""
        return self._current_writer(None, DECISIONS)

    def witness(self) -> LedgerWriter:
        """The writer of this node's witness ledger."""
        return self._current_writer(None, WITNESS)

    def _current_writer(self, recipient: str | None, lane: str) -> LedgerWriter:
        found = self._current_writers.get((recipient, lane))
        if found is None:
            found = self._current_writers[(recipient, lane)] = self.writer_of(self._current(recipient, lane))
        return found

    def writer_of(self, origin: Origin) -> LedgerWriter:
        """The writer of one own ledger, which must not have ended."""
        found = self._writers.get(origin)
        if found is None:
            head = self.heads.get(origin) or self._new_ledger(origin, replica=False)
            if self._fresh_epochs and origin.recipient is not None:
                head = replace(head, epoch=None)
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

    def has_ended(self, origin: Origin) -> bool:
        """Whether nothing more may be appended to that ledger."""
        current = self.heads.current(origin.owner, origin.recipient, origin.lane)
        return origin in self.ended or current.generation > origin.generation

    def entry(self, ledger: LedgerId, index: int) -> bytes | None:
        """One entry of a ledger, durable or in this plan; None when only its hash is kept."""
        for writer in self._writers.values():
            if writer.head.id == ledger and index >= writer.head.edge.size:
                return writer.entries[index - writer.head.edge.size]
        for append in (*self.commit.appends, *self.commit.returned):
            if append.ledger == ledger and append.first <= index < append.first + append.count:
                entries = bundle.decode(append.entries, append.count, allow_absent=True)
                return entries[index - append.first] or None
        return self.store.entry(ledger, index)

    def origin_of(self, ledger: LedgerId) -> Origin:
        """The origin of a replica, by its number."""
        heads: Iterator[Head] = itertools.chain(self.changed.values(), self.heads)
        return next(head.origin for head in heads if head.id == ledger)

    def inclusion(self, origin: Origin, index: int) -> tuple[tuple[bytes, ...], bytes] | None:
        """The inclusion path of an entry of a replica as this plan has it, and the signed checkpoint it leads to.

        That is under the newest key of the owner that is believed and has signed what covers the entry, since a third
        nation believes no other: the head's checkpoint, or an anchor. None where no such key has.
        """
        head = self.replica(origin)
        assert head is not None  # the entry is in it
        found = self._covering(head, index)
        if found is None:
            return None
        size, checkpoint = found
        return inclusion_proof(index, size, self.tree(head)), checkpoint

    def tree(self, head: Head) -> NodeReader:
        """Reads the tree of a replica as this plan has it."""
        appends = [append for append in self.commit.appends if append.ledger == head.id]
        written = {(tile.level, tile.index): tile.data for append in appends for tile in append.tiles}

        def read_tile(level: int, at: int) -> bytes:
            return written.get((level, at)) or self.store.tile(head.id, level, at) or b""

        return node_reader(head.edge.size, read_tile, head.edge)

    def _covering(self, head: Head, index: int) -> tuple[int, bytes] | None:
        """Size and note of what covers an entry of a replica, under a key of its owner that is believed."""
        owner = self.partners.get(head.origin.owner)
        if owner is None:
            return None
        appends = [append for append in self.commit.appends if append.ledger == head.id]
        checkpoint = appends[-1].checkpoint if appends else self.store.checkpoint(head.id, head.edge.size)
        assert checkpoint is not None  # every segment ends with one
        notes = [(head.edge.size, checkpoint)]
        anchor = self.store.cosignature(head.id, CosignatureKind.ANCHOR, head.origin.owner, index + 1)
        if anchor is not None:
            notes.append((anchor.size, anchor.note))
        for key in owner.log:
            verifier = key.verifier(head.origin)
            for size, raw in notes:
                if Note.parse(raw).bears(verifier):
                    return size, raw
        return None

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

    def end(self, origin: Origin, successor: Origin, agreed: int | None = None) -> None:
        """Ends a ledger: nothing more is appended to it. `agreed`, of an own one: how many entries were confirmed."""
        head = self.replica(origin) or self._new_ledger(origin, replica=origin.owner != self.signatory.node)
        self.commit.ended.append((head.id, successor))
        if agreed is not None:
            self.commit.agreed.append((head.id, agreed))
        self.ended[origin] = successor
        self._current_writers.clear()

    def follow_again(self, origin: Origin) -> None:
        """A replica that has ended goes on after all. There must be nothing of its successor."""
        head = self.replica(origin)
        assert head is not None  # it has ended here
        self.commit.ended.append((head.id, None))
        self.ended[origin.successor()] = origin
        self._current_writers.clear()

    def kept_back(self, ledger: LedgerId, first: int, end: int) -> Collection[int]:
        """The entries of an own ledger from `first` up to `end` that are kept back, durably or in this plan."""
        here = (row.index for row in self.commit.kept_back if row.ledger == ledger and first <= row.index < end)
        return {*here, *(row.index for row in self.store.kept_back(ledger, first, end))}

    def keep_back(self, row: KeptBackRow) -> None:
        """Puts on record that an entry goes as its hash alone."""
        self.commit.kept_back.append(row)

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

    def accept(self, report_id: bytes, accepted: Accepted) -> None:
        """Takes note of a report that is accepted in this plan."""
        self._accepted[report_id] = accepted

    def accepts(self, report_id: bytes) -> bool:
        """Whether an own report is accepted in this very plan: all of it is at hand."""
        return report_id in self._accepted

    def rebuild(self, row: ReportRow) -> None:
        """Makes an own report known again, without its content."""
        self.commit.reports.append(row)
        self._rebuilt[row.report_id] = row

    def rebuilt(self, report_id: bytes) -> bool:
        """Whether an own report was made known again in this very plan."""
        return report_id in self._rebuilt

    def rebuilds_event(self, event_id: str) -> bool:
        """Whether an own report about an event was made known again in this very plan."""
        return any(row.event_id == event_id for row in self._rebuilt.values())

    def refill(self, seq: int, payload: bytes) -> None:
        """Puts the content of an own report in its place again."""
        self.commit.refilled.append((seq, payload))

    def refilled(self, seq: int) -> bool:
        """Whether that was done in this very plan."""
        return any(number == seq for number, _ in self.commit.refilled)

    def expect(self, reports: Iterable[report_pb2.Report]) -> None:
        """Reads at once what is on record of reports that are to be taken, and of those that they refer to; each would
        be asked for alone.
        """
        own: dict[bytes, None] = {}
        named: dict[str, dict[bytes, None]] = {}
        for report in reports:
            own[in_bytes(report.report_id)] = None
            for originator, report_id in refers_to(report):
                if originator and report_id:
                    by = "" if originator == self.signatory.node else originator
                    named.setdefault(by, {})[in_bytes(report_id)] = None
        for report_ids in _runs(list(own)):
            self._durable_reports.update(dict.fromkeys(report_ids))
            self._durable_reports.update((row.report_id, row) for row in self.store.reports(report_ids))
        for originator, of_it in named.items():
            for report_ids in _runs(
                [each for each in of_it if Subject(originator, each) not in self._durable_releases]
            ):
                found: dict[bytes, list[ReleasedRow]] = {report_id: [] for report_id in report_ids}
                for release in self.store.released_of(report_ids, originator):
                    found[release.report_id].append(release)
                self._durable_releases.update((Subject(originator, each), rows) for each, rows in found.items())

    def row(self, report_id: bytes) -> ReportRow | None:
        """An own report as it is on record durably. It does not change under a plan."""
        if report_id in self._durable_reports:
            return self._durable_reports[report_id]
        return self.store.report(report_id)

    def known(self, report_id: bytes) -> tuple[bytes, int] | None:
        """(digest, time of acceptance) of an own report that was accepted, durable or in this plan."""
        if report_id in self._rebuilt:
            return self._rebuilt[report_id].digest, self._rebuilt[report_id].accepted_ns
        if report_id in self._accepted:
            return self._accepted[report_id].digest, self.now_ns
        row = self.row(report_id)
        return None if row is None else (row.digest, row.accepted_ns)

    def was_recalled(self, report_id: bytes) -> bool:
        """Whether an own report no longer stands, durably or in this plan."""
        rows = self.commit.recalled
        self._recalled.update(recalled for recalled, _ in rows[self._recalled_read :])
        self._recalled_read = len(rows)
        if report_id in self._recalled:
            return True
        row = self.row(report_id)
        return row is not None and row.withdrawn_ns is not None

    def own(self, report_id: bytes) -> Accepted:
        """An own report that is known, durable or in this plan. Raises SealError where its payload does not open."""
        if report_id in self._accepted:
            return self._accepted[report_id]
        row = self.row(report_id)
        assert row is not None  # known
        payload = self.signatory.storage.open(row.payload, report_id)
        return Accepted(report_pb2.Report.FromString(payload), row.digest, row.submitted_by, row.accepted_ns)

    def own_in_clear(self, report_id: bytes) -> Accepted:
        """The same of a durable report that does not open any more: of the report itself only what stands in clear."""
        row = self.row(report_id)
        assert row is not None  # known
        report = report_pb2.Report(
            report_id=str(uuid.UUID(bytes=report_id)), originator_node=self.signatory.node, event_id=row.event_id
        )
        return Accepted(report, row.digest, row.submitted_by, row.accepted_ns)

    def untold_to(self, subject: Subject) -> Collection[str]:
        """The partners who have still to be told that a report no longer stands."""
        durable = self._durable_untold.get(subject)
        if durable is None:
            durable = list(self.store.untold_of(subject.report_id, subject.originator))
        return {*durable, *self._untold_here(subject)}

    def _untold_here(self, subject: Subject) -> dict[str, set[int]]:
        """Those of this plan. One recall can have tens of thousands, so they are not searched for each."""
        rows = self.commit.untold
        for place in range(self._untold_read, len(rows)):
            self._places(rows[place]).add(place)
        self._untold_read = len(rows)
        return self._untold.get(subject, {})

    def _places(self, row: UntoldRow) -> set[int]:
        return self._untold.setdefault(Subject(row.originator, row.report_id), {}).setdefault(row.partner, set())

    def record_told(self, subject: Subject, partner: str) -> None:
        """Puts on record that a partner was told that a report no longer stands, and has not to be told any more."""
        self.commit.told.append(UntoldRow(subject.originator, subject.report_id, partner))
        rows = self.commit.untold
        # The last row takes the place of each that goes. From the last on: what takes a place never goes itself.
        for place in sorted(self._untold_here(subject).pop(partner, ()), reverse=True):
            last = rows.pop()
            if place < len(rows):
                rows[place] = last
                self._places(last).remove(len(rows))
                self._places(last).add(place)
        self._untold_read = len(rows)

    def foresee(self, event_id: str, subjects: Sequence[Subject]) -> None:
        """Reads at once what is on record of these reports about an event; each would be asked for alone."""
        found = self.store.of_event(event_id)
        releases: dict[bytes, list[ReleasedRow]] = {}
        holds: dict[bytes, list[HeldRow]] = {}
        untold: dict[bytes, list[str]] = {}
        for released in found.released:
            releases.setdefault(released.report_id, []).append(released)
        for held in found.held:
            holds.setdefault(held.report_id, []).append(held)
        for row in found.untold:
            untold.setdefault(row.report_id, []).append(row.partner)
        if self.was_set_back:
            # What came back of a report that is not known yet, or only in this plan, is found under no event.
            known = set(self.store.reports_of_event(event_id, _KINDS))
            subjects = [subject for subject in subjects if subject.report_id in known]
        for subject in subjects:
            self._durable_releases[subject] = releases.get(subject.report_id, ())
            self._durable_holds[subject] = holds.get(subject.report_id, [])
            self._durable_untold[subject] = untold.get(subject.report_id, [])

    def event_reports(self, event_id: str, kinds: Collection[int]) -> list[bytes]:
        """Identifiers of the accepted own reports of some kinds about an event, but for those that this very plan makes
        known again (`rebuilds_event`).
        """
        here = [
            report_id
            for report_id, accepted in self._accepted.items()
            if accepted.report.event_id == event_id and _kind(accepted.report) in kinds
        ]
        return [*self.store.reports_of_event(event_id, kinds), *here]

    def record_event(self, kind: str, detail: str, evidence: Sequence[bytes] = ()) -> int:
        """Records something that the node did or met, in its decisions ledger. Returns the index of the record."""
        event = ledger_pb2.NodeEvent(kind=kind, detail=detail, evidence=evidence)
        event.time.FromNanoseconds(self.now_ns)
        writer = self.decisions()
        index = writer.append(ledger_pb2.EntryContent(node_event=event).SerializeToString())
        self._indexing.event(DecisionPlace(self.now_ns, writer.head.id, index), kind)
        return index

    def index_decisions(
        self, index: int, record: ledger_pb2.DecisionRecord, decisions: Sequence[ledger_pb2.Decision], *, first: bool
    ) -> None:
        """Puts an entry of the decisions ledger in the index. `record` holds its subject; `first` says that
        `ReportRow.decision` names the entry.
        """
        head = self.decisions().head
        place = DecisionPlace(self.now_ns, head.id, index)
        self._indexing.decisions(self.signatory.node, head.origin, place, record, decisions, first=first)

    @property
    def given_verdicts(self) -> Mapping[Verdict, int]:
        """Numbers of the index of decisions that this plan gives out."""
        return self._indexing.given

    def released_to(self, subject: Subject) -> Mapping[str, ReleasedRow]:
        """The releases of a report that still stand, by partner."""
        rows = {row.partner: row for row in self._on_record(subject) if row.withdrawn_ns is None}
        rows.update(self._released.get(subject, {}))
        return {partner: row for partner, row in rows.items() if partner not in self._withdrawn.get(subject, ())}

    def was_released(self, subject: Subject, partner: str) -> bool:
        """Whether a partner was ever released a report, withdrawn since or not."""
        partners = self._released_ever.get(subject)
        if partners is None:
            partners = self._released_ever[subject] = {row.partner for row in self.releases(subject)}
        return partner in partners

    @property
    def was_set_back(self) -> bool:
        """Whether an own ledger has ever ended, so that something may have come back of it."""
        if self._set_back is None:
            self._set_back = any(not head.replica and head.origin.generation > 1 for head in self.heads)
        return self._set_back

    def release_to(self, subject: Subject, partner: str) -> ReleasedRow | None:
        """The release of a report to a partner, withdrawn since or not; None where it was never released to it."""
        here = self._released.get(subject, {}).get(partner)
        return here or next((row for row in self._on_record(subject) if row.partner == partner), None)

    def releases(self, subject: Subject) -> Sequence[ReleasedRow]:
        """Every release of a report, withdrawn since or not."""
        return [*self._on_record(subject), *self._released.get(subject, {}).values()]

    def withdrawn_since(self, subject: Subject) -> int | None:
        """Since when a report no longer stands, as the first who was told of it was told; None where nobody was."""
        return min((row.withdrawn_ns for row in self._on_record(subject) if row.withdrawn_ns is not None), default=None)

    def was_withdrawn(self, subject: Subject) -> bool:
        """Whether any partner was told that a report no longer stands, durably or in this plan."""
        return subject in self._withdrawn or any(row.withdrawn_ns is not None for row in self._on_record(subject))

    def _on_record(self, subject: Subject) -> Sequence[ReleasedRow]:
        """The durable releases of a report. They do not change under a plan, and each partner asks for them."""
        rows = self._durable_releases.get(subject)
        if rows is None:
            rows = self._durable_releases[subject] = self.store.released(subject.report_id, subject.originator)
        return rows

    def record_release(self, row: ReleasedRow) -> None:
        """Puts a release on record."""
        self.commit.released.append(row)
        subject = Subject(row.originator, row.report_id)
        self._released.setdefault(subject, {})[row.partner] = row
        if subject in self._released_ever:
            self._released_ever[subject].add(row.partner)

    def record_withdrawal(self, subject: Subject, partner: str, time_ns: int | None = None) -> None:
        """Puts on record that a release no longer stands, since `time_ns` or from this plan on."""
        since_ns = self.now_ns if time_ns is None else time_ns
        self.commit.withdrawn.append((subject.originator, subject.report_id, partner, since_ns))
        self._withdrawn.setdefault(subject, set()).add(partner)

    def record_not_told(self, subject: Subject, partner: str) -> None:
        """Puts on record that a durable withdrawal was kept back: the partner has still to be told."""
        self.commit.not_told.append((subject.originator, subject.report_id, partner))
        self.commit.untold.append(UntoldRow(subject.originator, subject.report_id, partner))

    def held_for(self, subject: Subject) -> Collection[str]:
        """The partners for whom a report is held."""
        durable = self._durable_holds.get(subject)
        if durable is None:
            durable = list(self.store.held(subject.report_id, subject.originator))
        held = {row.partner: row for row in durable}
        return {partner for partner, row in (held | self._held.get(subject, {})).items() if row is not None}

    def hold(self, subject: Subject, partner: str, due_ns: int) -> None:
        """Holds a report for a partner, until it is due to be decided again."""
        self.settle(subject, partner)
        row = HeldRow(subject.originator, subject.report_id, partner, due_ns)
        self._held.setdefault(subject, {})[partner] = row

    def settle(self, subject: Subject, partner: str) -> None:
        """A report is held no longer for a partner."""
        self.commit.decided.append((subject.originator, subject.report_id, partner))
        self._held.setdefault(subject, {})[partner] = None

    def expect_arrivals(self, subjects: Iterable[Subject]) -> None:
        """Reads at once what is on record of partners' reports that arrive or are withdrawn; each would be asked for
        alone.
        """
        asked: dict[str, dict[bytes, None]] = {}
        for subject in subjects:
            if subject not in self._durable_copies:
                asked.setdefault(subject.originator, {})[subject.report_id] = None
        for originator, of_it in asked.items():
            for report_ids in _runs(list(of_it)):
                for report_id in report_ids:
                    subject = Subject(originator, report_id)
                    self._durable_received[subject] = None
                    self._durable_copies[subject] = {}
                for known in self.store.received_of(originator, report_ids):
                    self._durable_received[Subject(originator, known.report_id)] = known
                for copy in self.store.copies_of(originator, report_ids):
                    self._durable_copies[Subject(originator, copy.report_id)][copy.via] = copy

    def received(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        """What is known of a partner's report, durable or in this plan."""
        subject = Subject(originator, report_id)
        if subject in self._received:
            return self._received[subject]
        if subject in self._durable_received:
            return self._durable_received[subject]
        return self.store.received(originator, report_id)

    def record_received(self, row: ReceivedRow) -> None:
        """Puts on record what is now known of a partner's report."""
        self._received[Subject(row.originator, row.report_id)] = row

    def copies(self, originator: str, report_id: bytes) -> Mapping[str, CopyRow]:
        """The ways by which a partner's report came or was withdrawn, durable or in this plan."""
        subject = Subject(originator, report_id)
        durable = self._durable_copies.get(subject)
        if durable is None:
            durable = {row.via: row for row in self.store.copies(originator, report_id)}
        return {**durable, **self._copies[subject]} if subject in self._copies else durable

    def record_copy(self, row: CopyRow) -> None:
        """Puts on record what came of a partner's report by one way."""
        self._copies.setdefault(Subject(row.originator, row.report_id), {})[row.via] = row

    def identifiers(self, key: str) -> dict[bytes, None]:
        """A set of identifiers, 16 bytes each, that is a value of the store's own, in the order in which they came.

        It is the caller's to change: it is read once a plan, and what has become of it is written in `finish`.
        """
        if key not in self._identifiers:
            raw = self.store.meta(key) or b""
            self._identifiers[key] = raw, dict.fromkeys(raw[at : at + 16] for at in range(0, len(raw), 16))
        return self._identifiers[key][1]

    # --- the end

    def finish(self) -> list[tuple[Origin, Note]]:
        """Grows and signs every ledger that was written to. Returns the new checkpoints.

        After this the plan's commit is complete.
        """
        signed: list[tuple[Origin, Note]] = []
        for origin, writer in self._writers.items():
            if not writer.entries:
                continue
            if self.recording is not None and origin.recipient is not None:
                writer.append_records(self.recording)
            edge = writer.head.edge
            most = HOME_SEGMENT_BYTES if origin.recipient is None else SEGMENT_BYTES
            for entries in _segments(writer.entries, most):
                first = edge.size
                edge, tiles = edge.grow([leaf_hash(entry) for entry in entries])
                root = edge.root()
                note = sign_checkpoint(Checkpoint(origin, edge.size, root), self.signatory.log)
                self.commit.appends.append(
                    Append(writer.head.id, first, len(entries), bundle.encode(entries), tiles, root, note.encode())
                )
                signed.append((origin, note))
            self.changed[origin] = replace(writer.head, edge=edge)
        if self.recording is not None:
            self.recording.settle()
        self.commit.held.extend(row for ways in self._held.values() for row in ways.values() if row is not None)
        self.commit.received.extend(self._received.values())
        self.commit.copies.extend(row for ways in self._copies.values() for row in ways.values())
        for key, (before, kept) in self._identifiers.items():
            raw = b"".join(kept)
            if raw != before:
                self.commit.meta[key] = raw
        return signed

    @property
    def empty(self) -> bool:
        """Whether there is nothing to make durable."""
        return self.commit == Commit()


def time_of(ns: int) -> datetime:
    """Nanoseconds since 1970 as a time, UTC, to the microsecond."""
    return datetime.fromtimestamp(ns // 1_000_000_000, UTC).replace(microsecond=ns // 1_000 % 1_000_000)


def _kind(report: report_pb2.Report) -> int:
    kind = kind_of(report)
    return 0 if kind is None else int(kind.report_kind)


def _runs(values: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """As many at a time as one query takes."""
    for start in range(0, len(values), ASKED_AT_ONCE):
        yield values[start : start + ASKED_AT_ONCE]


def _segments(entries: Sequence[bytes], most: int) -> Iterator[Sequence[bytes]]:
    """The entries in runs of at most so many bytes, in order."""
    start = size = 0
    for place, entry in enumerate(entries):
        if place > start and size + len(entry) > most:
            yield entries[start:place]
            start, size = place, 0
        size += len(entry)
    yield entries[start:]
