"""Verifies an exported folder by trust bundles alone: every hash from the entries, every signature by pinned keys.

Rules, in order, for each ledger:

1. The folder's place, the checkpoint and the trust bundle speak of the same ledger and owner. The checkpoint is signed
   by a log key of the owner, current or retired.
2. Every entry bundle that the size requires is there, and holds exactly its entries. An entry that is given as its hash
   has a signed reason, by the owner or of a replica by the recipient, about that index. What is sealed content has a
   header that can stand there.
3. The leaf hashes give the root of the checkpoint, and every tile that the size requires is the one that they give.
4. Every signed note in `signatures.jsonl` is over the root that the entries give at its size, in order of size, and is
   signed: `checkpoint` and `anchor` by a log key of the owner, `pq` by its post-quantum key, `receipt` by the recipient
   (of a witness ledger: by any nation) whose bundle was given. Others are counted as not checked.
5. A statement that an entry is unopenable is the recipient's, about the entry that is there.
6. A signature by a retired log key is believed up to the largest size that a current log key signed, or that a receipt
   covers which was given while that key was in use; one by a retired receipt or post-quantum key, if its own time
   is within the use of that key.
7. There is no file besides.

It proves that the owner signed these trees, that the entries are theirs, and what the recipient confirmed. What the
entries say stays sealed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from gateway.audit.export import ABSENT, CHECKPOINT, SIGNATURES, UNOPENABLE, place_of
from gateway.audit.exported import ExportedLedger, FolderError, SignedNote, origins_in
from gateway.audit.proof_check import Nation
from gateway.audit.records import Finding
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import MAX_NOTE, Note, verify_note
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.tiles import TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Edge, TileWrite, partial_widths
from gateway.release.signatory import Retired
from gateway.seal.entry import parse_header, require_place
from gateway.seal.errors import SealError

V = TypeVar("V", bound=CosignatureVerifier)


@dataclass(slots=True)
class ExportedCheck:
    """What was found in one ledger of a folder."""

    origin: str
    size: int
    absent: int = 0
    checkpoints: int = 0
    receipts: int = 0
    receipt_size: int = 0
    receipt_seconds: int = 0
    """When the receipt of the largest size was given: POSIX seconds."""
    pq_size: int = 0
    unchecked: int = 0
    """Signed notes of nations whose bundles were not given."""


@dataclass(slots=True)
class ExportVerification:
    """The outcome: sound if there are no findings."""

    ledgers: list[ExportedCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify_export(
    top: Path, nations: Mapping[str, Nation], progress: Callable[[str], None] = lambda _: None
) -> ExportVerification:
    """Checks every ledger of a folder by the bundles of `nations`. Raises FolderError where there is none."""
    outcome = ExportVerification()
    for origin in origins_in(top):
        try:
            ledger = ExportedLedger(top, origin)
        except FolderError as error:
            outcome.findings.append(Finding(str(origin), str(error)))
            continue
        progress(f"{origin}: {ledger.size} entries")
        check = ExportedCheck(str(origin), ledger.size)
        outcome.ledgers.append(check)
        outcome.findings.extend(Finding(check.origin, what) for what in _Check(ledger, nations, check).findings())
    return outcome


@dataclass(slots=True)
class _Check:
    ledger: ExportedLedger
    nations: Mapping[str, Nation]
    check: ExportedCheck
    edge: Edge = field(default_factory=Edge.empty)
    files: int = 2
    """Files that were read: the checkpoint, and the signed notes."""
    covered: int = 0
    """Largest size that a current log key signed, or that a receipt covers from when a retired one was in use."""
    by_retired: list[tuple[int, int]] = field(default_factory=list)
    """(size, until) of checkpoints that only a retired log key signed: the largest of each key."""

    def findings(self) -> Iterator[str]:
        """Everything that is wrong; what a damaged file makes unreadable ends the examination."""
        origin = self.ledger.origin
        owner = self.nations.get(origin.owner)
        if owner is None:
            yield f"it was not checked: no trust bundle of {origin.owner} was given"
            return
        try:
            keys = [*owner.keys.log, *(old.key for old in owner.keys.retired_log)]
            _, head = open_checkpoint(self.ledger.checkpoint, keys, origin)
            for nation in self.nations.values():
                _cosigned(head, nation.keys.receipt, nation.keys.retired_receipt)
                _cosigned(head, nation.keys.pq, nation.keys.retired_pq)
            notes = self.ledger.signatures()
            waiting = next(notes, None)
            for index in range(-(-self.ledger.size // TILE_WIDTH)):
                leaves = list(self._leaves(index, owner))
                while leaves:
                    # A bundle is taken up in one go but for the sizes that somebody signed.
                    count = len(leaves) if waiting is None else min(max(waiting.size - self.edge.size, 1), len(leaves))
                    self._grow(leaves[:count])
                    del leaves[:count]
                    while waiting is not None and waiting.size == self.edge.size:
                        yield from self._note(waiting, owner)
                        waiting = next(notes, None)
            if waiting is not None:
                yield f"{SIGNATURES}: a note of size {waiting.size} is out of order, or beyond the end"
            if self.edge.root() != self.ledger.said.root:
                yield "the entries do not give the root that is signed"
                return
            self._tiles_at_the_edge()
            yield from self._unopenable(owner)
            yield from self._retired()
            yield from self._spare_files()
        except (LedgerError, SealError, FolderError) as error:
            yield f"at entry {self.edge.size}: {error}"

    def _leaves(self, index: int, owner: Nation) -> Iterator[bytes]:
        """The leaf hashes of one bundle. Raises what is wrong."""
        self.files += 1
        for place, entry in enumerate(self.ledger.bundle(index), index * TILE_WIDTH):
            if entry:
                require_place(parse_header(entry), place)
                yield leaf_hash(entry)
            else:
                self.files += 1
                self.check.absent += 1
                yield self._absent(place, owner)

    def _absent(self, index: int, owner: Nation) -> bytes:
        origin = self.ledger.origin
        note = Note.parse(self.ledger.absent(index))
        speaker = owner
        if origin.recipient is not None and note.text.startswith(f"signalfire/v1/{origin.recipient}/"):
            found = self.nations.get(origin.recipient)
            if found is None:
                raise NoteError(
                    f"{ABSENT}/{place_of(index)} is a statement of {origin.recipient}, whose bundle was not given"
                )
            speaker = found
        verify_note(note, [*speaker.keys.gateway, *speaker.keys.retired_gateway])
        statement = EntryStatement.read(note.text, kind=EntryStatementKind.ABSENT, node=speaker.node, origin=origin)
        if statement.index != index:
            raise NoteError(f"{ABSENT}/{place_of(index)} is about entry {statement.index}")
        return statement.leaf_hash

    # --- tiles

    def _grow(self, leaves: Sequence[bytes]) -> None:
        self.edge, writes = self.edge.grow(leaves)
        for write in writes:
            if len(write.data) == TILE_BYTES:
                self._tile(write)

    def _tiles_at_the_edge(self) -> None:
        for level, width in enumerate(partial_widths(self.edge.size)):
            if width:
                index = self.edge.size >> TILE_HEIGHT * (level + 1)
                self._tile(TileWrite(level, index, b"".join(self.edge.partial[level])))

    def _tile(self, tile: TileWrite) -> None:
        self.files += 1
        if self.ledger.tile(tile.level, tile.index) != tile.data:
            raise FolderError(f"tile {tile.level}/{tile.index} is not what the entries give")

    # --- signed notes

    def _note(self, signed: SignedNote, owner: Nation) -> Iterator[str]:
        try:
            self._signed(signed, owner)
        except LedgerError as error:
            yield f"the {signed.kind} of size {signed.size} does not hold: {error}"

    def _signed(self, signed: SignedNote, owner: Nation) -> None:
        note = Note.parse(signed.note)
        if note.text != Checkpoint(self.ledger.origin, self.edge.size, self.edge.root()).text():
            raise NoteError("it is not over what the entries give")
        match signed.kind:
            case "checkpoint" | "anchor":
                self._by_log_key(note, signed.size, owner)
                self.check.checkpoints += signed.kind == CHECKPOINT
            case "pq":
                if _cosigned(note, owner.keys.pq, owner.keys.retired_pq) is None:
                    raise NoteError(f"no post-quantum key of {owner.node} signed it in its time")
                self.check.pq_size = max(self.check.pq_size, signed.size)
            case _:
                self._receipt(note, signed.size, owner)

    def _by_log_key(self, note: Note, size: int, owner: Nation) -> None:
        origin = self.ledger.origin
        retired = {old.key.verifier(origin): old for old in owner.keys.retired_log}
        current = [key.verifier(origin) for key in owner.keys.log]
        signers = verify_note(note, [*current, *retired])
        if any(signer in current for signer in signers):
            self.covered = max(self.covered, size)
            return
        until = max(retired[signer].until for signer in signers)
        self.by_retired = [(other, end) for other, end in self.by_retired if end != until]
        self.by_retired.append((size, until))

    def _receipt(self, note: Note, size: int, owner: Nation) -> None:
        recipient = self.ledger.origin.recipient
        nations = [nation for node, nation in self.nations.items() if recipient in (None, node) and nation is not owner]
        found = [
            cosigned
            for nation in nations
            if (cosigned := _cosigned(note, nation.keys.receipt, nation.keys.retired_receipt)) is not None
        ]
        if not found:
            if recipient is None or recipient not in self.nations:
                self.check.unchecked += 1
                return
            raise NoteError(f"no receipt key of {recipient} signed it in its time")
        self.check.receipts += 1
        if size >= self.check.receipt_size:
            self.check.receipt_size, self.check.receipt_seconds = size, min(found)
        if recipient is not None and any(at == size and min(found) <= until for at, until in self.by_retired):
            self.covered = max(self.covered, size)

    def _retired(self) -> Iterator[str]:
        for size, _ in self.by_retired:
            if size > self.covered:
                yield (
                    f"the checkpoint of size {size} is signed by a retired log key alone, and nothing that is believed"
                    " covers it: neither a current key nor a receipt from when that key was in use"
                )

    # --- what else is there

    def _unopenable(self, owner: Nation) -> Iterator[str]:
        origin = self.ledger.origin
        for path in sorted((self.ledger.directory / UNOPENABLE).rglob("*")):
            if path.is_dir():
                continue
            self.files += 1
            name = path.relative_to(self.ledger.directory).as_posix()
            nation = self.nations.get(origin.recipient or "")
            if nation is None:
                self.check.unchecked += 1
                continue
            try:
                statement = EntryStatement.open(
                    self.ledger.read(name, MAX_NOTE),
                    [*nation.keys.gateway, *nation.keys.retired_gateway],
                    kind=EntryStatementKind.UNOPENABLE,
                    node=nation.node,
                    origin=origin,
                )
                if name != f"{UNOPENABLE}/{place_of(statement.index)}" or statement.index >= self.edge.size:
                    raise NoteError(f"it is about entry {statement.index}")
                if self.ledger.node(0, statement.index) != statement.leaf_hash:
                    raise NoteError("it is about another entry than the one that is there")
            except LedgerError as error:
                yield f"{name} does not hold: {error}"

    def _spare_files(self) -> Iterator[str]:
        there = sum(len(names) for _, _, names in os.walk(self.ledger.directory))
        if there != self.files:
            yield f"there are {there} files, and an export of this size has {self.files}"


def _cosigned(note: Note, current: Iterable[V], retired: Iterable[Retired[V]]) -> int | None:
    """The first time at which a known key cosigned; of the retired ones within their time. Raises NoteError."""
    keys: list[tuple[V, int | None]] = [(key, None) for key in current]
    keys += [(old.key, old.until) for old in retired]
    lines = {(line.name, line.key_id): line for line in note.signatures}
    times = []
    for key, until in keys:
        line = lines.get((key.name, key.key_id))
        if line is not None:
            seconds = verify_cosignature(note.text, line, key)
            if until is None or seconds <= until:
                times.append(seconds)
    return min(times, default=None)
