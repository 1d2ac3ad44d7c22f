"""The way in: what a partner's gateway sends becomes part of a replica, or nothing at all.

Rules, in order:

1. The checkpoint is signed by a log key of the ledger's owner and speaks of this very ledger.
2. The replica has not ended. The batch continues it exactly, holds as many entries as the checkpoint says, and at
   most MAX_BATCH_ENTRIES.
3. The root computed over the replica with the batch added equals the signed one. Then the batch is whole, in order,
   unaltered and from the owner; no proof needs to travel.
4. An entry given as its hash alone comes with the owner's signed reason.
5. The batch, the receipt and what subscribers will read become durable together; only then is the receipt sent.
6. An entry that will not open, or whose content may not be there, does not break the chain: it is kept, answered with a
   signed statement, and never delivered.
7. A report is delivered once, however often its owner repeats it; one that its withdrawal overtook arrives withdrawn.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import (
    CosignatureKind,
    CosignatureRow,
    FeedItem,
    FeedRow,
    LedgerId,
    ReceivedRow,
    UnopenableRow,
)
from gateway.ledger.tiles import Edge
from gateway.release.opening import Opener
from gateway.release.plan import FeedEntry, Plan
from gateway.release.signatory import Partner
from gateway.reports.kinds import kind_of
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import validate_released
from gateway.seal.errors import SealError

MAX_BATCH_ENTRIES: Final = 8192
"""Entries of one batch. An honest one of 1 MiB holds at most 1,826 sealed entries, or 4,096 absent ones; each that
cannot be used costs a signature, and while they are made nothing else is committed."""

_END_OF_TIME_S: Final = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp())


class ReplicaError(LedgerError):
    """A batch that does not verify. Nothing of it was kept."""


@dataclass(frozen=True, slots=True)
class IncomingBatch:
    """One batch as it came from the wire, nothing of it checked yet."""

    origin: Origin
    first: int
    count: int
    entries: bytes
    absent: Sequence[tuple[int, bytes, bytes]]
    """(index, leaf hash, signed reason)"""
    checkpoint: bytes


@dataclass(frozen=True, slots=True)
class Received:
    """What the sender is told once the batch is durable."""

    receipt: bytes
    unopenable: Sequence[bytes]
    size: int
    reports: int
    withdrawals: int


@dataclass(frozen=True, slots=True)
class _Verified:
    checkpoint: Checkpoint
    note: Note
    entries: Sequence[bytes]
    leaves: Sequence[bytes]


def receive(
    plan: Plan,
    batch: IncomingBatch,
    *,
    owner: Partner,
    opener: Opener,
    limits: ReportLimits,
) -> Received:
    """Verifies `batch` and adds it to `plan`. `owner` keeps the ledger. Raises ReplicaError."""
    if plan.has_ended(batch.origin):
        raise ReplicaError(f"{batch.origin}: batch at {batch.first}: the ledger has ended")
    head = plan.replica(batch.origin)
    before = Edge.empty() if head is None else head.edge
    try:
        verified = _verify(batch, before.size, owner)
    except LedgerError as error:
        raise ReplicaError(f"{batch.origin}: batch at {batch.first}: {error}") from error
    edge, tiles = before.grow(verified.leaves)
    if edge.root() != verified.checkpoint.root:
        raise ReplicaError(
            f"{batch.origin}: entries {batch.first} to {edge.size - 1} do not give the"
            f" root that {batch.origin.owner} signed"
        )
    # From here on the batch is part of the plan, and nothing below may refuse it.
    ledger = plan.extend_replica(batch.origin, edge, tiles, batch.entries, batch.checkpoint, batch.absent)
    text = verified.note.text
    line = cosign(text, plan.signatory.receipt, plan.now_ns // 1_000_000_000)
    receipt = Note(text, (line,)).encode()
    plan.commit.cosignatures.append(CosignatureRow(ledger, CosignatureKind.RECEIPT, edge.size, receipt, plan.now_ns))

    unopenable: list[bytes] = []
    reports = withdrawals = 0

    def fetch(index: int) -> bytes:
        if index >= batch.first:
            return verified.entries[index - batch.first]
        return plan.entry(ledger, index) or b""

    for index, (entry, leaf) in enumerate(zip(verified.entries, verified.leaves, strict=True), batch.first):
        if not entry:
            continue
        try:
            content = opener.content(batch.origin, index, entry, fetch)
            item = None if content is None else _deliver(plan, batch.origin, ledger, index, content, limits)
        except (SealError, _Unusable) as error:
            statement = EntryStatement(
                EntryStatementKind.UNOPENABLE, plan.signatory.node, batch.origin, index, leaf, _reason(error)
            ).sign(plan.signatory.gateway)
            plan.commit.unopenable.append(UnopenableRow(ledger, index, statement, plan.now_ns))
            unopenable.append(statement)
            continue
        reports += item is FeedItem.REPORT
        withdrawals += item is FeedItem.WITHDRAWAL
    return Received(receipt, unopenable, edge.size, reports, withdrawals)


def _verify(
    batch: IncomingBatch,
    size: int,
    owner: Partner,
) -> _Verified:
    checkpoint, note = open_checkpoint(batch.checkpoint, owner.log, batch.origin)
    if batch.first != size:
        raise ReplicaError(f"it begins at {batch.first}, and the replica holds {size} entries")
    if batch.count > MAX_BATCH_ENTRIES:
        raise ReplicaError(f"it holds {batch.count} entries, and a batch may have {MAX_BATCH_ENTRIES}")
    if batch.count < 1 or checkpoint.size != size + batch.count:
        raise ReplicaError(f"its checkpoint is of size {checkpoint.size}, and {batch.count} entries were sent")
    entries = bundle.decode(batch.entries, batch.count, allow_absent=True)
    absent = {index: (leaf, note_) for index, leaf, note_ in batch.absent}
    places = {batch.first + place for place, entry in enumerate(entries) if not entry}
    if places != absent.keys() or len(absent) != len(batch.absent):
        raise ReplicaError("the entries given as hashes are not those that the bundle leaves out")
    for index, (leaf, raw) in absent.items():
        statement = EntryStatement.open(
            raw, owner.gateway, kind=EntryStatementKind.ABSENT, node=batch.origin.owner, origin=batch.origin
        )
        if (statement.index, statement.leaf_hash) != (index, leaf):
            raise ReplicaError(f"the reason given for entry {index} speaks of another entry")
    leaves = [leaf_hash(entry) if entry else absent[index][0] for index, entry in enumerate(entries, batch.first)]
    return _Verified(checkpoint, note, entries, leaves)


class _Unusable(Exception):
    """The content of an entry may not be there."""


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split())
    return "".join(c for c in text if c.isprintable())[:256] or type(error).__name__


def _deliver(
    plan: Plan, origin: Origin, ledger: LedgerId, index: int, content: ledger_pb2.EntryContent, limits: ReportLimits
) -> FeedItem | None:
    """Adds one entry's content to the feed. Returns what was added, if anything."""
    match content.WhichOneof("content"):
        case "report":
            report = content.report
            violations = validate_released(report, origin=origin.owner, now=plan.now_ns, limits=limits)
            if violations:
                raise _Unusable("; ".join(f"{v.field} {v.problem}" for v in violations))
            report_id = uuid.UUID(report.report_id).bytes
            known = plan.received(origin.owner, report_id)
            if known is not None and known.feed is not None:
                return None
            withdrawn_ns = None if known is None else known.withdrawn_ns
            row = FeedRow(
                plan.next_feed(), FeedItem.REPORT, ledger, index, origin.owner, report_id,
                _kind(report), report.traffic_class, report.precedence, plan.now_ns,
            )  # fmt: skip
            plan.record_received(ReceivedRow(origin.owner, report_id, row.seq, withdrawn_ns))
            plan.publish(FeedEntry(row, report, withdrawn_ns is not None))
            return FeedItem.REPORT
        case "withdrawal":
            withdrawal = content.withdrawal
            report_id = _withdrawn_id(withdrawal)
            known = plan.received(origin.owner, report_id)
            if known is not None and known.withdrawn_ns is not None:
                return None
            plan.record_received(
                ReceivedRow(origin.owner, report_id, None if known is None else known.feed, plan.now_ns)
            )
            row = FeedRow(
                plan.next_feed(), FeedItem.WITHDRAWAL, ledger, index, origin.owner, report_id,
                0, withdrawal.traffic_class, withdrawal.precedence, plan.now_ns,
            )  # fmt: skip
            plan.publish(FeedEntry(row, withdrawal))
            return FeedItem.WITHDRAWAL
        case "succession" | "cover":
            return None
        case other:
            raise _Unusable(f"holds {other or 'nothing'}, which has no place in a ledger between nodes")


def _withdrawn_id(withdrawal: ledger_pb2.Withdrawal) -> bytes:
    try:
        report_id = uuid.UUID(withdrawal.report_id)
    except ValueError:
        raise _Unusable("withdraws a report whose identifier is not a UUID") from None
    if str(report_id) != withdrawal.report_id:
        raise _Unusable("withdraws a report whose identifier is not a UUID in its lower-case form")
    if withdrawal.traffic_class not in (1, 2, 3) or withdrawal.precedence not in (1, 2, 3, 4):
        raise _Unusable("withdraws a report without saying its traffic class and precedence")
    if not withdrawal.HasField("time"):
        raise _Unusable("withdraws a report without saying when")
    if not (0 <= withdrawal.time.seconds < _END_OF_TIME_S and 0 <= withdrawal.time.nanos < 1_000_000_000):
        raise _Unusable("withdraws a report at a time that is not in the years 1970 to 2200")
    return report_id.bytes


def _kind(report: report_pb2.Report) -> int:
    kind = kind_of(report)
    return 0 if kind is None else int(kind.report_kind)
