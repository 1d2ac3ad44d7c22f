"""What a partner gives back of this node's own ledgers, where the store was lost or set back.

A replica holds every entry that its owner sent, under the owner's own signatures. So the owner believes none of it but
what it signed itself. Rules, in order:

1. Only a ledger of this node that has ended takes anything back: what goes on has its own history.
2. Each batch continues what is here exactly, and its root is the one that a log key of this node signed. What only a
   key signed that is out of use counts as far as something behind it is signed by one in use
   (`gateway.release.belief`): so a run of batches is taken back whole, and the last of them is.
3. An entry that the partner has as its hash alone comes back so, with this node's signed statement that says so. What
   came in one batch stands in segments of RUN_ABSENT entries, each under a checkpoint: whatever is pruned of them, or
   kept back, they can be sent again.
4. The entries are opened with this node's own sealing keys. Each report in them was released: that is on record again,
   so that a withdrawal reaches everyone who had it. Each withdrawal in them was told. What no longer stands by what is
   known here, and was not told, waits to be told.
5. Recovery records are set aside until the nation's recovery key opens them (`gateway.release.recovery.rebuilding`).
6. What the partner has confirmed by its receipt is confirmed (`ConfirmBack`).
7. Where the two histories part, the entries cannot stand in the ledger. What the partner has beyond it stands again in
   the ledger that goes on (`SealAgain`): the partner delivers each report once.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint, sign_checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import (
    RUN_ABSENT,
    AbsentRow,
    Append,
    CosignatureKind,
    LedgerId,
    RecoveryRow,
    ReleasedRow,
    UntoldRow,
)
from gateway.ledger.tiles import Edge
from gateway.release import groups
from gateway.release.batch import MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, IncomingBatch
from gateway.release.keeping import RANGES, numbers_in, ranges
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.after_loss import WARNINGS, at_latest, ended_by, note_back
from gateway.release.recovery.told_before import keep_told, told_before
from gateway.release.replica import RootsDiffer
from gateway.release.sharing import can_be_told
from gateway.release.signatory import Partner
from gateway.release.steps import KeepCosignature
from gateway.release.subject import Subject
from gateway.reports.kinds import kind_of
from gateway.seal.errors import SealError

EVENT: Final = "given-back"
"""Kind of the event that says what came back."""

HASH_ALONE: Final = "its recipient gave it back as its hash alone"
"""The signed reason of an entry of which the partner kept the hash."""


@dataclass(frozen=True, slots=True)
class OwnLogKeys:
    """The log keys of this node: those under which its word is held against it, and those that are out of use."""

    current: Sequence[LogPublicKey]
    retired: Sequence[LogPublicKey]


@dataclass(frozen=True, slots=True)
class Verified:
    """One batch of an own ledger, verified: its entries from `first` on, empty where there is the hash alone."""

    first: int
    entries: Sequence[bytes]
    leaves: Sequence[bytes]
    edge: Edge
    note: Note
    in_use: bool
    """Whether a key in use has signed its checkpoint."""


def verify_back(batch: IncomingBatch, before: Edge, keys: OwnLogKeys) -> Verified:
    """Verifies a batch of an own ledger behind `before`, within the bounds of any batch; what overlaps is cut.

    Raises RootsDiffer where this node signed it over another history, and LedgerError.
    """
    if batch.count > MAX_BATCH_ENTRIES or len(batch.entries) > MAX_BATCH_BYTES:
        raise LedgerError(f"{batch.origin}: the batch at {batch.first} is larger than a batch may be")
    checkpoint, note = open_checkpoint(batch.checkpoint, [*keys.current, *keys.retired], batch.origin)
    entries = bundle.decode(batch.entries, batch.count, allow_absent=True)
    if not batch.first <= before.size < batch.first + batch.count == checkpoint.size:
        raise LedgerError(
            f"{batch.origin}: entries {batch.first} to {batch.first + batch.count - 1} under a checkpoint of size"
            f" {checkpoint.size} do not go on from {before.size}"
        )
    absent = {index: leaf for index, leaf, _ in batch.absent}
    missing = {batch.first + place for place, entry in enumerate(entries) if not entry}
    if missing != absent.keys() or len(absent) != len(batch.absent):
        raise LedgerError(f"{batch.origin}: the entries given as hashes are not those that the bundle leaves out")
    entries = entries[before.size - batch.first :]
    leaves = [leaf_hash(entry) if entry else absent[index] for index, entry in enumerate(entries, before.size)]
    edge, _ = before.grow(leaves)
    if edge.root() != checkpoint.root:
        raise RootsDiffer(f"{batch.origin}: what was given back up to {edge.size} parts from what is here")
    note = note.of_keys([key.verifier(batch.origin) for key in (*keys.current, *keys.retired)])
    return Verified(before.size, entries, leaves, edge, note, _is_in_use(note, batch.origin, keys))


def _is_in_use(note: Note, origin: Origin, keys: OwnLogKeys) -> bool:
    return any(note.bears(key.verifier(origin)) for key in keys.current)


@dataclass(frozen=True, slots=True)
class TakeBack:
    """Takes back a run of batches of an own ledger that has ended, the last of which a key in use has signed.

    `opener` is used by this step alone, in the sequencer's thread.
    """

    origin: Origin
    partner: str
    batches: Sequence[IncomingBatch]
    keys: OwnLogKeys
    opener: Opener
    rank: Rank = Rank.SPARE

    @property
    def weight(self) -> int:
        """Bytes of the batches."""
        return sum(len(batch.entries) for batch in self.batches)

    def apply(self, plan: Plan) -> int:
        """Verifies and takes back. Returns the size that the ledger has then. Raises LedgerError, and RootsDiffer."""
        head = plan.ledgers.head(self.origin)
        if head is None or head.replica or not plan.ledgers.has_ended(self.origin) or self.origin in plan.ledgers.ended:
            raise LedgerError(f"{self.origin} has not ended here, and takes nothing back")
        edge, verified = head.edge, []
        for batch in self.batches:
            verified.append(verify_back(batch, edge, self.keys))
            edge = verified[-1].edge
        if not verified or not verified[-1].in_use:
            raise LedgerError(f"{self.origin}: what {self.partner} gives back is signed with a key that is out of use")
        edge = head.edge
        for each in verified:
            for start in range(0, len(each.entries), RUN_ABSENT):
                entries, leaves = (part[start : start + RUN_ABSENT] for part in (each.entries, each.leaves))
                first = edge.size
                edge, tiles = edge.grow(leaves)
                note = each.note
                if edge.size < each.edge.size:
                    note = sign_checkpoint(Checkpoint(self.origin, edge.size, edge.root()), plan.signatory.log)
                absent = [
                    self._absent(plan, head.id, index, leaf)
                    for index, (entry, leaf) in enumerate(zip(entries, leaves, strict=True), first)
                    if not entry
                ]
                data = bundle.encode(entries, allow_absent=True)
                plan.commit.returned.append(
                    Append(head.id, first, len(entries), data, tiles, edge.root(), note.encode(), absent)
                )
        plan.ledgers.changed[self.origin] = replace(head, edge=edge)
        if self.origin.recipient is not None:
            self._take_note(plan, head.id, head.edge.size, [entry for each in verified for entry in each.entries])
        indices = range(head.edge.size, edge.size)
        plan.record_event(EVENT, in_words(self.origin, indices, self.partner))
        return edge.size

    def _absent(self, plan: Plan, ledger: LedgerId, index: int, leaf: bytes) -> AbsentRow:
        statement = EntryStatement(EntryStatementKind.ABSENT, plan.signatory.node, self.origin, index, leaf, HASH_ALONE)
        return AbsentRow(ledger, index, leaf, statement.sign(plan.signatory.gateway))

    def _take_note(self, plan: Plan, ledger: LedgerId, first: int, entries: Sequence[bytes]) -> None:
        """Puts on record again what the entries from `first` on say."""

        def fetch(index: int) -> bytes:
            return entries[index - first] if index >= first else plan.store.entry(ledger, index) or b""

        for index, entry in enumerate(entries, first):
            try:
                content = self.opener.content(self.origin, index, entry, fetch) if entry else None
            except SealError:
                # It stays as evidence; nothing of it can be known here.
                continue
            match None if content is None else content.WhichOneof("content"):
                case "report" | "onward_report":
                    assert content is not None  # it has a content
                    note_release(plan, self.partner, ledger, index, _report_in(content))
                case "withdrawal":
                    assert content is not None  # as above
                    _note_withdrawal(plan, self.partner, content.withdrawal)
                case "sealed_recovery":
                    assert content is not None  # as above
                    sealed = content.sealed_recovery
                    set_aside(plan, self.origin, index, sealed)
                    if sealed.key_index < first:
                        self._set_key_aside(plan, ledger, sealed.key_index)

    def _set_key_aside(self, plan: Plan, ledger: LedgerId, index: int) -> None:
        """The key of records stands in an entry that was never lost."""
        entry = plan.store.entry(ledger, index)
        try:
            content = (
                None
                if entry is None
                else self.opener.content(self.origin, index, entry, lambda at: plan.store.entry(ledger, at) or b"")
            )
        except SealError:
            return
        if content is not None and content.sealed_recovery.HasField("key"):
            # What it says itself was decided before anything was lost.
            plan.commit.recovery.append(_row(self.origin, index, content.sealed_recovery, rebuilt=True))


def _report_in(content: ledger_pb2.EntryContent) -> report_pb2.Report:
    return content.onward_report.report if content.HasField("onward_report") else content.report


def _subject(plan: Plan, originator: str, report_id: str) -> Subject:
    own = originator in ("", plan.signatory.node)
    return Subject("" if own else originator, uuid.UUID(report_id).bytes)


def note_release(plan: Plan, partner: str, ledger: LedgerId, index: int, report: report_pb2.Report) -> None:
    """Puts a release on record again, unless the report was released to that partner anew since."""
    subject = _subject(plan, report.originator_node, report.report_id)
    if plan.releases.ever_to(subject, partner):
        return
    plan.releases.record(
        ReleasedRow(
            subject.report_id, partner, ledger, index, report.traffic_class, report.precedence,
            originator=subject.originator,
        )
    )  # fmt: skip
    if not subject.originator and plan.own_reports.known(subject.report_id) is None:
        _note_unknown(plan, partner, report)
    told_ns = told_before(plan, subject).get(partner)
    if told_ns is not None:
        _note_told(plan, partner, subject, told_ns)
    elif no_longer_stands(plan, subject):
        plan.commit.untold.append(UntoldRow(subject.originator, subject.report_id, partner))


def _note_unknown(plan: Plan, partner: str, report: report_pb2.Report) -> None:
    """Of a warning that is not known again its event is kept in mind: an all-clear recalls it, also one before now."""
    kind = kind_of(report)
    if kind is None or int(kind.report_kind) not in WARNINGS:
        return
    subject = Subject("", uuid.UUID(report.report_id).bytes)
    if not ended_by(plan, at_latest(plan, report)):
        note_back(plan, report.event_id, subject.report_id)
        return
    # Copies that say less of its event or time may have come back before this one: by them it stood.
    owed = plan.releases.standing(subject).keys() - plan.untold.partners(subject) - {partner}
    plan.commit.untold.extend(UntoldRow("", subject.report_id, other) for other in sorted(owed))


def no_longer_stands(plan: Plan, subject: Subject) -> bool:
    """Whether a report was recalled, as far as this node knows: it was, where anybody was told so."""
    if plan.releases.was_withdrawn(subject) or told_before(plan, subject):
        return True
    if subject.originator:
        received = plan.arrivals.known(subject.originator, subject.report_id)
        return received is not None and received.withdrawn_ns is not None
    return plan.own_reports.was_recalled(subject.report_id)


def _note_withdrawal(plan: Plan, partner: str, withdrawal: ledger_pb2.Withdrawal) -> None:
    subject = _subject(plan, withdrawal.originator_node, withdrawal.report_id)
    _note_told(plan, partner, subject, withdrawal.time.ToNanoseconds())


def _note_told(plan: Plan, partner: str, subject: Subject, time_ns: int) -> None:
    """Puts on record that a partner was told then that a report no longer stands."""
    if partner in plan.releases.standing(subject):
        plan.releases.withdraw(subject, partner, time_ns)
        plan.untold.record_told(subject, partner)
    elif not plan.releases.ever_to(subject, partner):
        # The release may come back later: in a ledger of another lane, which stands for itself.
        keep_told(plan, subject, partner, time_ns)
    if not subject.originator:
        plan.commit.recalled.append((subject.report_id, time_ns))
    # Whoever else had it was told in the same commit, and may never have received that.
    for other in plan.releases.standing(subject):
        if other != partner and other not in plan.untold.partners(subject):
            plan.commit.untold.append(UntoldRow(subject.originator, subject.report_id, other))


def set_aside(plan: Plan, origin: Origin, index: int, sealed: ledger_pb2.SealedRecovery) -> None:
    """Keeps a recovery record until it is rebuilt from."""
    if sealed.key_index <= index and (sealed.key_index == index) == sealed.HasField("key"):
        plan.commit.recovery.append(_row(origin, index, sealed, rebuilt=False))


def _row(origin: Origin, index: int, sealed: ledger_pb2.SealedRecovery, *, rebuilt: bool) -> RecoveryRow:
    return RecoveryRow(origin, index, sealed.key_index, sealed.SerializeToString(), rebuilt)


@dataclass(frozen=True, slots=True)
class ConfirmBack:
    """Takes note that a partner has confirmed an own ledger that has ended, up to the size of its receipt.

    What stands up to there came back, or was never lost; only what is above it stands in the successor again.
    """

    origin: Origin
    receipt: bytes
    partner: Partner
    weight: int = 0
    rank: Rank = Rank.SPARE

    def apply(self, plan: Plan) -> int:
        """Verifies and keeps. Returns how many entries are confirmed. Raises SignatureError, and LedgerError."""
        row = plan.store.ledger(self.origin)
        if row is None or row.replica or row.successor is None:
            raise LedgerError(f"{self.origin} has not ended here")
        size = KeepCosignature(self.origin, CosignatureKind.RECEIPT, self.receipt, self.partner).apply(plan)
        if self.origin.recipient is not None and size > (row.agreed or 0):
            plan.commit.agreed.append((row.id, size))
            plan.record_event(EVENT, f"{self.origin}: {size} entries were confirmed by {self.partner.node}")
        return size


@dataclass(frozen=True, slots=True)
class SealAgain:
    """Seals into the ledger that goes on what a partner has of one that forked and this store has not, and sets the
    recovery records of it aside. `contents` are opened, each with its index in `origin`.
    """

    origin: Origin
    partner: str
    contents: Sequence[tuple[int, ledger_pb2.EntryContent]]
    rank: Rank = Rank.SPARE

    @property
    def weight(self) -> int:
        """Bytes of the contents."""
        return sum(content.ByteSize() for _, content in self.contents)

    def apply(self, plan: Plan) -> int:
        """Seals. Returns how many reports are on record again. Raises LedgerError where nothing can be sealed now."""
        if not can_be_told(plan, self.partner):
            raise LedgerError(f"{self.origin}: nothing can be sealed to {self.partner} now")
        assert self.origin.recipient is not None  # home ledgers are not opened
        lane = Lane(self.origin.lane)
        sealed: dict[str, list[int]] = {}
        found = 0
        for index, content in self.contents:
            match content.WhichOneof("content"):
                case "sealed_recovery":
                    set_aside(plan, self.origin, index, content.sealed_recovery)
                case "report" | "onward_report":
                    report = _report_in(content)
                    subject = _subject(plan, report.originator_node, report.report_id)
                    if plan.releases.ever_to(subject, self.partner):
                        continue
                    writer = plan.ledgers.writer(self.partner, lane)
                    at = groups.seal(writer, groups.as_sealed(content))
                    note_release(plan, self.partner, writer.head.id, at, report)
                    sealed.setdefault(str(writer.head.origin), []).append(at)
                    found += 1
                case "withdrawal":
                    told = content.withdrawal
                    subject = _subject(plan, told.originator_node, told.report_id)
                    if self.partner not in plan.releases.standing(subject):
                        continue
                    writer = plan.ledgers.writer(self.partner, lane)
                    sealed.setdefault(str(writer.head.origin), []).append(writer.append(content.SerializeToString()))
                    _note_withdrawal(plan, self.partner, told)
        for line, indices in sealed.items():
            plan.record_event(EVENT, in_words(Origin.parse(line), indices, self.partner, self.origin))
        return found


def in_words(ledger: Origin, indices: Iterable[int], partner: str, of: Origin | None = None) -> str:
    """What came back, in a sentence for the record. `of`: the ledger that forked, where they stand in its successor."""
    if of is None:
        return f"{ledger}: entries {ranges(indices)} came back from {partner}"
    return f"{ledger}: entries {ranges(indices)} stand there again, as {partner} has them in {of}"


_TOLD: Final = re.compile(
    rf"(?P<origin>\S+): (?:entries (?P<entries>{RANGES}) (?:came|stand)|(?P<size>\d+) entries were confirmed) "
)


def back_in(words: str) -> tuple[str, frozenset[int], int]:
    """The ledger of which `in_words` speaks, the entries that came back, and how many are confirmed (0: not said).

    Raises ValueError for anything else.
    """
    found = _TOLD.match(words)
    if found is None:
        raise ValueError(f"this does not say what came back: {words}")
    entries = numbers_in(found["entries"]) if found["entries"] else frozenset[int]()
    return found["origin"], entries, int(found["size"] or 0)


def head_in_use(raw: bytes, origin: Origin, keys: OwnLogKeys) -> Checkpoint | None:
    """What a partner shows as the head of an own ledger, where a key in use has signed it; None where none has."""
    try:
        return open_checkpoint(raw, keys.current, origin)[0]
    except LedgerError:
        return None
