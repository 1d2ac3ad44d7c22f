"""The way in: what a partner's gateway sends becomes part of a replica, or nothing at all.

Rules, in order:

1. The checkpoint is signed by a log key of the ledger's owner and speaks of this very ledger.
2. The replica has not ended. What the replica holds already is passed over (`gateway.release.first_copy`). The rest
   continues it exactly, holds as many entries as the checkpoint says, and at most MAX_BATCH_ENTRIES in MAX_BATCH_BYTES,
   of which it gives at most MAX_BATCH_ABSENT as their hashes.
3. The root computed over the replica with the batch added equals the signed one. Then the batch is whole, in order,
   unaltered and from the owner; no proof needs to travel.
4. An entry given as its hash alone comes with the owner's signed reason. These are verified last: until then nothing
   was done that a batch under a false root could make laborious. Of every signed note the lines of the owner's keys are
   kept, and no others.
5. Content is sealed in the newest epoch before it. A batch of which more than MAX_UNUSABLE entries, and more than half,
   do not open or are not what may be there is refused whole. Reports that were passed on do not count among them: what
   is wrong with one may be its originator's doing, who must not be able to close another's ledger. Many of them make a
   long step, and are paid for (`gateway.release.batch`).
6. The batch, the receipt and what subscribers will read become durable together; only then is the receipt sent.
7. An entry that will not open, or whose content may not be there, does not break the chain: it is kept, answered with a
   signed statement, and never delivered. The statement names fields and rules; values stay in this node's log.
8. A report is delivered once, however often and by whichever way it comes; one that its withdrawal overtook arrives
   withdrawn (`gateway.release.arriving`). A report and its withdrawal are of one traffic class and precedence; of two
   that differ the later is not usable.
9. A checkpoint that contradicts one on record is evidence against its owner (`gateway.release.evidence`), whatever else
   is wrong with the batch.
10. Of a home ledger, which is the owner's witness ledger, nothing is opened, and no entry may be given as its hash.
11. A report in a ledger is its owner's, or is passed on with its originator's proof (`gateway.release.onward`). What
   its owner lets go onward is passed on in the same commit, as far as that is one step's work, and so is its withdrawal
   (`gateway.release.passing`).
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NamedTuple

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import (
    CosignatureKind,
    CosignatureRow,
    UnopenableRow,
)
from gateway.ledger.tiles import Edge
from gateway.release.arriving import Arrived, Contradiction, Way, take_report, take_withdrawal
from gateway.release.batch import MAX_BATCH_ABSENT, MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, MAX_UNUSABLE, IncomingBatch
from gateway.release.evidence import require_no_contradiction
from gateway.release.first_copy import OtherHistory, beyond, is_held
from gateway.release.heads import Head
from gateway.release.onward import NotBelieved, verify
from gateway.release.opening import Opener
from gateway.release.passing import Passing, follow_withdrawals
from gateway.release.plan import Plan
from gateway.release.sharing import Decided
from gateway.release.signatory import Partner
from gateway.release.subject import Subject
from gateway.reports.identifiers import in_bytes
from gateway.reports.limits import ReportLimits
from gateway.reports.validate import clock_warning, validate_released
from gateway.seal.entry import EntryKind, parse_header, require_place
from gateway.seal.errors import SealError
from policy.countries import NODE_CODES

MAX_EPOCHS_SOUGHT: Final = 4
"""Epochs that a batch may name in vain before one that can be had: each costs reading a segment and an unwrapping."""

_END_OF_TIME_S: Final = int(datetime(2201, 1, 1, tzinfo=UTC).timestamp())


class ReplicaError(LedgerError):
    """A batch that does not verify. Nothing of it was kept."""


class RootsDiffer(ReplicaError):
    """The entries of a batch, after those that the replica has, do not give the root that its owner signed."""


@dataclass(frozen=True, slots=True)
class Received:
    """What the sender is told once the batch is durable."""

    receipt: bytes
    unopenable: Sequence[bytes]
    problems: Sequence[str]
    """What is wrong with each of those entries, with the values that are refused: for nobody but this node."""
    size: int
    reports: int
    withdrawals: int
    clock_warnings: Sequence[str]
    """What to flag about reports that were delivered though their time lies ahead of this gateway's clock."""
    decisions: Sequence[Decided] = ()
    """What was decided on passing reports on, for the metrics."""
    held: bool = False
    """Whether all of it was there before: then nothing else of this is set, and the receipt is given again."""


_HELD: Final = Received(b"", (), (), 0, 0, 0, (), held=True)


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
    """Verifies `batch` and adds it to `plan`. `owner` keeps the ledger. Raises ReplicaError, and Contradicted."""
    try:
        return _receive(plan, batch, owner, opener, limits)
    except LedgerError:
        # What verifies goes on from what is on record, or is that: it contradicts nothing.
        require_no_contradiction(plan.store, batch.origin, batch.checkpoint, owner)
        raise


def _receive(plan: Plan, batch: IncomingBatch, owner: Partner, opener: Opener, limits: ReportLimits) -> Received:
    if plan.ledgers.has_ended(batch.origin):
        raise ReplicaError(f"{batch.origin}: batch at {batch.first}: the ledger has ended")
    head = plan.ledgers.head(batch.origin)
    before = Edge.empty() if head is None else head.edge
    if head is not None and batch.first < before.size:
        rest = _not_held(plan, batch, head, owner)
        if rest is None:
            return _HELD
        batch = rest
    try:
        verified = _verify(batch, before.size, owner)
        edge, tiles = before.grow(verified.leaves)
        if edge.root() != verified.checkpoint.root:
            raise RootsDiffer(
                f"{batch.origin}: entries {batch.first} to {edge.size - 1} do not give the"
                f" root that {batch.origin.owner} signed"
            )
        absent = _reasons(batch, owner)
    except RootsDiffer:
        raise
    except LedgerError as error:
        raise ReplicaError(f"{batch.origin}: batch at {batch.first}: {error}") from error
    # A home ledger is sealed to its owner alone.
    home = batch.origin.recipient is None
    found = {} if home else _open(plan, batch, verified, opener, limits)
    # From here on the batch is part of the plan, and nothing below may refuse it.
    note = verified.note.encode()
    ledger = plan.ledgers.extend_replica(batch.origin, edge, tiles, batch.entries, note, absent)
    text = verified.note.text
    line = cosign(text, plan.signatory.receipt, plan.now_ns // 1_000_000_000)
    receipt = Note(text, (line,)).encode()
    plan.commit.cosignatures.append(
        CosignatureRow(ledger, CosignatureKind.RECEIPT, edge.size, receipt, plan.now_ns, plan.signatory.node)
    )

    unopenable: list[bytes] = []
    problems: list[str] = []
    clock_warnings: list[str] = []
    reports = withdrawals = 0
    decisions: list[Decided] = []
    passing = Passing(plan, opener, batch.origin, limits)
    withdrawn: dict[Subject, str] = {}
    plan.arrivals.expect(said.subject for said in found.values() if not isinstance(said, _Unusable))
    for index, said in found.items():
        try:
            if isinstance(said, _Unusable):
                raise said
            arrived = _deliver(plan, Way(batch.origin.owner, ledger, index), said)
        except _Unusable as error:
            leaf = verified.leaves[index - batch.first]
            statement = EntryStatement(
                EntryStatementKind.UNOPENABLE, plan.signatory.node, batch.origin, index, leaf, _reason(error)
            ).sign(plan.signatory.gateway)
            plan.commit.unopenable.append(UnopenableRow(ledger, index, statement, plan.now_ns))
            unopenable.append(statement)
            problems.append(f"entry {index}: {error.problem}")
            continue
        if isinstance(said, _Withdrawal):
            withdrawals += arrived.given
            if arrived.first and said.subject.originator == batch.origin.owner:
                withdrawn[said.subject] = f"{batch.origin} {index}"
            continue
        if arrived.given:
            reports += 1
            if warning := clock_warning(said.report, plan.now_ns, limits):
                clock_warnings.append(warning)
        if arrived.first and arrived.stands and said.subject.originator == batch.origin.owner:
            entry = verified.entries[index - batch.first]
            decisions += passing.take(index, entry, said.report)
    follow_withdrawals(plan, withdrawn)
    return Received(receipt, unopenable, problems, edge.size, reports, withdrawals, clock_warnings, decisions)


def _not_held(plan: Plan, batch: IncomingBatch, head: Head, owner: Partner) -> IncomingBatch | None:
    """What of a batch is not in the replica yet. Raises ReplicaError."""
    if batch.count > MAX_BATCH_ENTRIES or len(batch.entries) > MAX_BATCH_BYTES or len(batch.absent) > MAX_BATCH_ABSENT:
        raise ReplicaError(f"{batch.origin}: batch at {batch.first} is larger than a batch may be")
    try:
        return None if is_held(batch, head, owner.log, plan.ledgers.tree(head)) else beyond(batch, head.edge.size)
    except OtherHistory as error:
        raise RootsDiffer(f"{batch.origin}: batch at {batch.first}: {error}") from error
    except LedgerError as error:
        raise ReplicaError(f"{batch.origin}: batch at {batch.first}: {error}") from error


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
    if len(batch.entries) > MAX_BATCH_BYTES:
        raise ReplicaError(f"its entries have {len(batch.entries)} bytes, and those of a batch {MAX_BATCH_BYTES}")
    if len(batch.absent) > MAX_BATCH_ABSENT:
        raise ReplicaError(f"it gives {len(batch.absent)} entries as hashes, and a batch may {MAX_BATCH_ABSENT}")
    if batch.count < 1 or checkpoint.size != size + batch.count:
        raise ReplicaError(f"its checkpoint is of size {checkpoint.size}, and {batch.count} entries were sent")
    entries = bundle.decode(batch.entries, batch.count, allow_absent=True)
    absent = {index: leaf for index, leaf, _ in batch.absent}
    places = {batch.first + place for place, entry in enumerate(entries) if not entry}
    if batch.origin.recipient is None and absent:
        raise ReplicaError("it gives entries of a home ledger as hashes, of which nothing is ever kept back")
    if places != absent.keys() or len(absent) != len(batch.absent):
        raise ReplicaError("the entries given as hashes are not those that the bundle leaves out")
    leaves = [leaf_hash(entry) if entry else absent[index] for index, entry in enumerate(entries, batch.first)]
    return _Verified(checkpoint, note.of_keys([key.verifier(batch.origin) for key in owner.log]), entries, leaves)


def _reasons(batch: IncomingBatch, owner: Partner) -> Sequence[tuple[int, bytes, bytes]]:
    """Of each entry that is given as its hash: index, leaf hash, and the owner's signed reason as it is kept.

    Raises LedgerError.
    """
    kept: list[tuple[int, bytes, bytes]] = []
    for index, leaf, raw in batch.absent:
        statement = EntryStatement.open(
            raw, owner.gateway, kind=EntryStatementKind.ABSENT, node=batch.origin.owner, origin=batch.origin
        )
        if (statement.index, statement.leaf_hash) != (index, leaf):
            raise ReplicaError(f"the reason given for entry {index} speaks of another entry")
        kept.append((index, leaf, Note.parse(raw).of_keys(owner.gateway).encode()))
    return kept


class _Unusable(Exception):
    """An entry that does not open, or whose content may not be there.

    Its text is what the statement says, and holds nothing of the content; `problem` may quote values.
    """

    def __init__(self, reason: str, problem: str = "") -> None:
        super().__init__(reason)
        self.problem = problem or reason


class _PassedOnInVain(_Unusable):
    """One of another node's reports that its owner passed on: whatever is wrong with it, the entry opened, so that the
    ledger and its keys are sound.
    """


def _reason(error: _Unusable) -> str:
    text = " ".join(str(error).split())
    return "".join(c for c in text if c.isprintable())[:256] or "it cannot be used"


class _Report(NamedTuple):
    """A report that may stand where it does: its owner's, or passed on and believed."""

    subject: Subject
    report: report_pb2.Report


class _Withdrawal(NamedTuple):
    """A withdrawal that may stand where it does, and the report that it is of."""

    subject: Subject
    withdrawal: ledger_pb2.Withdrawal


def _open(
    plan: Plan, batch: IncomingBatch, verified: _Verified, opener: Opener, limits: ReportLimits
) -> Mapping[int, _Report | _Withdrawal | _Unusable]:
    """The reports and withdrawals in a verified batch, by index, and what cannot be used. Adds nothing to `plan`.

    Raises ReplicaError for a batch of which MAX_UNUSABLE entries and most cannot be used, beside what was passed on.
    """
    head = plan.ledgers.head(batch.origin)

    def fetch(index: int) -> bytes:
        if index >= batch.first:
            return verified.entries[index - batch.first]
        return b"" if head is None else plan.ledgers.entry(head.id, index) or b""

    owner = batch.origin.owner
    found: dict[int, _Report | _Withdrawal | _Unusable] = {}
    sound = 0
    newest: int | None = None
    learned: int | None = None
    # Epochs that cannot be had, and why: each entry that names one would have it read and unwrapped again.
    lost: dict[int, str] = {}
    for index, entry in enumerate(verified.entries, batch.first):
        if not entry:
            continue
        try:
            header = parse_header(entry)
            require_place(header, index)
            if header.kind is EntryKind.EPOCH_OPENING:
                newest = index
            elif newest is not None and header.epoch != newest:
                raise _Unusable(f"it is sealed in epoch {header.epoch}, and the newest one before it is {newest}")
            elif header.epoch in lost or (newest is None and len(lost) == MAX_EPOCHS_SOUGHT):
                raise _Unusable(lost.get(header.epoch, f"its epoch {header.epoch} is one of too many"))
            if header.epoch != learned:
                try:
                    opener.learn(batch.origin, index, entry, fetch)
                except SealError as error:
                    lost[header.epoch] = str(error)
                    raise
                newest = learned = header.epoch
            if header.kind is EntryKind.SEALED_CONTENT:
                content = opener.content(batch.origin, index, entry, fetch)
                assert content is not None  # it opens no epoch
                said = _judge(plan, content, owner, limits)
                if said is not None:
                    found[index] = said
            sound += 1
        except SealError as error:
            found[index] = _Unusable(str(error))
        except _PassedOnInVain as error:
            found[index] = error
            sound += 1
        except _Unusable as error:
            found[index] = error
    unusable = [
        said for said in found.values() if isinstance(said, _Unusable) and not isinstance(said, _PassedOnInVain)
    ]
    if len(unusable) > max(MAX_UNUSABLE, sound):
        raise ReplicaError(
            f"{batch.origin}: batch at {batch.first}: {len(unusable)} of its entries cannot be used, the first because"
            f" {_reason(unusable[0])}; compare keys and versions with {batch.origin.owner}"
        )
    return found


def _judge(
    plan: Plan, content: ledger_pb2.EntryContent, owner: str, limits: ReportLimits
) -> _Report | _Withdrawal | None:
    """What `content` says of a report; None where it says something else. Raises _Unusable unless it is something that
    may stand in a ledger between nodes.
    """
    match content.WhichOneof("content"):
        case "report":
            return _judge_report(content.report, owner, limits)
        case "onward_report":
            onward = content.onward_report
            try:
                judged = _judge_report(onward.report, onward.report.originator_node, limits)
                verify(onward, carrier=owner, node=plan.signatory.node, partners=plan.partners)
            except NotBelieved as error:
                raise _PassedOnInVain(f"passed on, and not believed: {error}", f"{error} ({error.detail})") from error
            except _Unusable as error:
                raise _PassedOnInVain(str(error), error.problem) from error
            return judged
        case "withdrawal":
            withdrawal = content.withdrawal
            report_id = _withdrawn_id(withdrawal)
            _judge_originator(withdrawal.originator_node, owner, plan.signatory.node)
            return _Withdrawal(Subject(withdrawal.originator_node or owner, report_id), withdrawal)
        case "succession" | "cover" | "sealed_recovery":
            # The last is the owner's, for itself.
            return None
        case other:
            raise _Unusable(f"holds {other or 'nothing'}, which has no place in a ledger between nodes")


def _judge_report(report: report_pb2.Report, originator: str, limits: ReportLimits) -> _Report:
    violations = validate_released(report, origin=originator, limits=limits)
    if violations:
        raise _Unusable(
            "; ".join(f"{v.field or 'the report'}: {v.remedy}" for v in violations),
            "; ".join(f"{v.field or 'the report'} {v.problem}" for v in violations),
        )
    return _Report(Subject(originator, in_bytes(report.report_id)), report)


def _judge_originator(named: str, owner: str, node: str) -> None:
    """Of whose report a withdrawal is. One spelling: the owner's own are named by nothing; this node's are never it."""
    if named and (named in (owner, node) or named not in NODE_CODES):
        raise _Unusable("withdraws a report of an originator that has no place there")


def _deliver(plan: Plan, way: Way, said: _Report | _Withdrawal) -> Arrived:
    """Takes note of what one entry says, and gives it to subscribers where it is news. Raises _Unusable."""
    try:
        if isinstance(said, _Report):
            return take_report(plan, way, said.subject, said.report)
        return take_withdrawal(plan, way, said.subject, said.withdrawal)
    except Contradiction as error:
        raise _Unusable(str(error)) from error


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
