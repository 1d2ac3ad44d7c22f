"""Checks a store from scratch: believes nothing but entries and keys, rebuilds the rest and compares.

For every ledger, own or replica:

1. Segments follow one another without a gap, and their leaf hashes give the root of every signed checkpoint.
2. Every checkpoint is signed by the ledger's owner, and there is none beside those of the segments' ends.
3. Tiles, size and root on record are those that the entries give.
4. Every receipt is the recipient's, every post-quantum line the owner's, over a checkpoint that is on record.
5. Every entry opens, or is on record as one that does not; an entry kept as its hash has its owner's signed reason.

Across ledgers:

6. Every release that a decision names is an entry of that ledger that holds a copy of that report, and every report
   in an
   own ledger has a decision that released it.
7. Every accepted report is kept with the content whose digest its decision names.
8. What subscribers are given is in the ledgers.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey, open_checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Verifier, Note
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, FeedFilter, LedgerRow, Run, StoreReader
from gateway.ledger.tiles import Edge
from gateway.release.opening import Opener
from gateway.release.signatory import Partner, Signatory
from gateway.seal.errors import SealError

READ_BYTES = 4 << 20
"""Bytes of entries read at once."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: in which ledger (or part of the store), and what."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class LedgerCheck:
    """What was found in one ledger."""

    origin: Origin
    replica: bool
    size: int = 0
    checkpoints: int = 0
    receipt_size: int = 0
    pq_size: int = 0
    reports: int = 0
    withdrawals: int = 0


@dataclass(slots=True)
class Verification:
    """The outcome: sound if there are no findings."""

    ledgers: list[LedgerCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    reports: int = 0
    released: int = 0
    withheld: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


@dataclass(frozen=True, slots=True)
class _Keys:
    log: Sequence[LogPublicKey]
    gateway: Sequence[Ed25519Verifier]
    receipt: Sequence[CosignatureVerifier]
    pq: Sequence[CosignatureVerifier]


@dataclass(slots=True)
class _Cross:
    """What decisions say, and what ledgers hold: to be compared at the end."""

    decided: dict[tuple[str, int], str] = field(default_factory=dict)
    released: dict[tuple[str, int], str] = field(default_factory=dict)
    digests: dict[str, bytes] = field(default_factory=dict)
    received: set[tuple[str, int]] = field(default_factory=set)


def verify_store(
    store: StoreReader,
    signatory: Signatory,
    partners: Mapping[str, Partner],
    progress: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Checks everything that `store` holds. `partners` are the partners whose keys are known."""
    outcome = Verification()
    keys = {node: _Keys(p.log, p.gateway, p.receipt, p.pq) for node, p in partners.items()}
    keys[signatory.node] = _Keys(
        (signatory.log.public,), (signatory.gateway.verifier,), (signatory.receipt.verifier,), (signatory.pq.verifier,)
    )
    cross = _Cross()
    opener = Opener(signatory.node, signatory.sealing)
    for row in store.ledgers():
        progress(f"{row.origin}: {row.size} entries")
        check = LedgerCheck(row.origin, row.replica)
        outcome.ledgers.append(check)
        for what in _verify_ledger(store, row, keys, opener, check, cross, outcome):
            outcome.findings.append(Finding(str(row.origin), what))
    progress("decisions, releases and reports")
    outcome.findings.extend(_compare(store, signatory, cross, outcome))
    return outcome


def _verify_ledger(
    store: StoreReader,
    row: LedgerRow,
    keys: Mapping[str, _Keys],
    opener: Opener,
    check: LedgerCheck,
    cross: _Cross,
    outcome: Verification,
) -> Iterator[str]:
    owner = keys.get(row.origin.owner)
    if owner is None:
        yield f"the keys of {row.origin.owner} are not known; pin its trust bundle in the configuration"
        return
    edge, tiles = Edge.empty(), dict[tuple[int, int], bytes]()
    texts: dict[int, str] = {}
    unopenable = {statement.index for statement in store.unopenable(row.id)}
    while True:
        try:
            # One segment at a time, so that every checkpoint on record is checked.
            run = store.run(row.id, edge.size, 1)
            if run is None:
                break
            edge, writes = edge.grow(list(_leaves(store, row, run, owner)))
            checkpoint, note = open_checkpoint(run.checkpoint, owner.log, row.origin)
        except LedgerError as error:
            yield f"at entry {edge.size}: {error}"
            return
        tiles.update(((write.level, write.index), write.data) for write in writes)
        if (checkpoint.size, checkpoint.root) != (edge.size, edge.root()):
            yield f"the signed checkpoint of size {checkpoint.size} is not what the entries up to {edge.size} give"
            return
        texts[edge.size] = note.text
        yield from _verify_entries(store, row, run, opener, unopenable, check, cross, outcome)
    check.size, check.checkpoints = edge.size, len(texts)
    if (row.size, row.root) != (edge.size, edge.root()):
        yield f"its size or root on record ({row.size}) is not what the entries give ({edge.size})"
    if {size for size, _ in store.checkpoints(row.id)} != texts.keys():
        yield "there are checkpoints on record that belong to no segment"
    if {(level, index): data for level, index, data in store.tiles(row.id)} != tiles:
        yield "its tiles are not what the entries give"
    yield from _verify_cosignatures(store, row, keys, texts, check)


def _leaves(store: StoreReader, row: LedgerRow, run: Run, owner: _Keys) -> Iterator[bytes]:
    absent = {item.index: item for item in run.absent}
    for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
        if entry:
            yield leaf_hash(entry)
            continue
        if index not in absent:
            raise LedgerError(f"entry {index} has neither bytes nor a hash")
        item = absent[index]
        statement = EntryStatement.open(
            item.note, owner.gateway, kind=EntryStatementKind.ABSENT, node=row.origin.owner, origin=row.origin
        )
        if (statement.index, statement.leaf_hash) != (index, item.leaf_hash):
            raise LedgerError(f"the reason why entry {index} is absent speaks of another")
        yield item.leaf_hash


def _verify_entries(
    store: StoreReader,
    row: LedgerRow,
    run: Run,
    opener: Opener,
    unopenable: set[int],
    check: LedgerCheck,
    cross: _Cross,
    outcome: Verification,
) -> Iterator[str]:
    for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), run.first):
        if not entry:
            continue
        try:
            content = opener.content(row.origin, index, entry, lambda at: store.entry(row.id, at) or b"")
        except SealError as error:
            if index not in unopenable:
                yield f"entry {index} does not open, and no statement says so: {error}"
            continue
        if content is None:
            continue
        place = (str(row.origin), index)
        match content.WhichOneof("content"):
            case "report":
                check.reports += 1
                if not row.replica:
                    cross.released[place] = content.report.report_id
                elif index not in unopenable:
                    cross.received.add(place)
            case "withdrawal":
                check.withdrawals += 1
                if row.replica:
                    cross.received.add(place)
            case "decision_record":
                _note_decisions(content.decision_record, cross, outcome)


def _note_decisions(record: ledger_pb2.DecisionRecord, cross: _Cross, outcome: Verification) -> None:
    if record.report_id not in cross.digests:
        outcome.reports += 1
    cross.digests[record.report_id] = record.report_digest
    for decision in record.decisions:
        if decision.outcome == ledger_pb2.OUTCOME_RELEASED:
            outcome.released += 1
            cross.decided[(decision.ledger, decision.index)] = record.report_id
        else:
            outcome.withheld += 1


def _verify_cosignatures(
    store: StoreReader, row: LedgerRow, keys: Mapping[str, _Keys], texts: Mapping[int, str], check: LedgerCheck
) -> Iterator[str]:
    for item in store.cosignatures(row.id):
        receipt = item.kind is CosignatureKind.RECEIPT
        signer = row.origin.recipient if receipt else row.origin.owner
        known = keys.get(signer or "")
        if known is None:
            yield f"a {item.kind} of size {item.size}: the keys of {signer} are not known"
            continue
        try:
            note = Note.parse(item.note)
            if note.text != texts.get(item.size):
                raise NoteError("it is not over the checkpoint on record")
            verifiers = {(v.name, v.key_id): v for v in (known.receipt if receipt else known.pq)}
            lines = [line for line in note.signatures if (line.name, line.key_id) in verifiers]
            if not lines:
                raise NoteError(f"no key of {signer} signed it")
            for line in lines:
                verify_cosignature(note.text, line, verifiers[(line.name, line.key_id)])
        except LedgerError as error:
            yield f"the {item.kind} of size {item.size} does not hold: {error}"
            continue
        if receipt:
            check.receipt_size = max(check.receipt_size, item.size)
        else:
            check.pq_size = max(check.pq_size, item.size)


def _compare(store: StoreReader, signatory: Signatory, cross: _Cross, outcome: Verification) -> Iterator[Finding]:
    for (ledger, index), report_id in cross.decided.items():
        if cross.released.get((ledger, index)) != report_id:
            yield Finding(ledger, f"a decision released {report_id} as entry {index}, and that entry does not hold it")
    for (ledger, index), report_id in cross.released.items():
        if (ledger, index) not in cross.decided:
            yield Finding(ledger, f"entry {index} holds report {report_id}, and no decision released it")
    for report_id, digest in cross.digests.items():
        row = store.report(uuid.UUID(report_id).bytes)
        try:
            payload = None if row is None else signatory.storage.open(row.payload, row.report_id)
        except SealError as error:
            yield Finding("reports", f"{report_id}: its payload does not open: {error}")
            continue
        if payload is None or hashlib.sha256(payload).digest() != digest:
            yield Finding("reports", f"{report_id}: its decision names another content than is kept")
    if store.last_report() != len(cross.digests):
        yield Finding(
            "reports", f"{store.last_report()} reports are kept, and {DECISIONS} holds records of {len(cross.digests)}"
        )
    yield from _compare_feed(store, cross)


def _compare_feed(store: StoreReader, cross: _Cross) -> Iterator[Finding]:
    origins = {row.id: str(row.origin) for row in store.ledgers()}
    everything = FeedFilter(frozenset({1, 2, 3}), include_own=True)
    position, own, last = 0, 0, store.last_feed()
    while position < last:
        rows, searched = store.feed(position, 4096, everything)
        for item in rows:
            if item.ledger is None:
                own += 1
            elif (origins.get(item.ledger, ""), item.index) not in cross.received:
                yield Finding("feed", f"item {item.seq} refers to an entry that holds nothing to be delivered")
        position = searched
    if own != store.last_report():
        yield Finding("feed", f"it holds {own} own reports of {store.last_report()}")
