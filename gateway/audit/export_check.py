"""Verifies an exported folder by trust bundles alone: every hash from the entries, every signature by pinned keys.

Rules, in order, for each ledger:

1. The folder's place, the checkpoint and the trust bundle speak of the same ledger and owner. The checkpoint is signed
   by a log key of the owner that its bundle names as current, be it in an anchor: whatever else the folder holds.
2. Every entry bundle that the size requires is there, and holds exactly its entries. An entry that is given as its hash
   has a signed reason, by the owner or of a replica by the recipient, about that index. What is sealed content has a
   header that can stand there.
3. The leaf hashes give the root of the checkpoint, and every tile that the size requires is the one that they give.
4. Every signed note in `signatures.jsonl` is over the root that the entries give at its size, in order of size, and is
   signed: `checkpoint` and `anchor` by a log key of the owner, `pq` by its post-quantum key, `receipt` by the recipient
   (of a witness ledger: by any nation) whose bundle was given. Others are counted as not checked. There is a
   `checkpoint` of the size of the ledger.
5. A statement that an entry is unopenable is the recipient's, about the entry that is there. By a retired key it counts
   for nothing, and is counted as not checked.
6. What a retired log key signed is believed, as the checkpoint covers it, which a current one signed. What a retired
   receipt or post-quantum key signed is believed as far as a note of the same size or a larger one by a current key of
   that nation covers it. No time in a note says anything: whoever has a retired key writes what he likes.
7. There is no file besides.

Of the folder: a ledger of which but a part is there is a finding, and the manifest has to fit (`manifest_check`).

An entry is held against tile 0 where the tiles give the signed root: so the very entry that is not the signed one is
named, and what else there is can still be checked. What would follow from one fault is told once a ledger.

It proves that the owner signed these trees, that the entries are theirs, and what the recipient confirmed. What the
entries say stays sealed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from gateway.audit.export import ABSENT, CHECKPOINT, SIGNATURES, UNOPENABLE, place_of
from gateway.audit.exported import ExportedLedger, FolderError, SignedNote, origins_in
from gateway.audit.manifest_check import compare_with_manifest
from gateway.audit.proof_check import at
from gateway.audit.records import Finding
from gateway.identity.keyring import public_key_id
from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.cosignature import CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import MAX_NOTE, Note, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.tiles import TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Edge, TileWrite, partial_widths
from gateway.release.belief import History
from gateway.release.signatory import Partner, Retired
from gateway.seal.entry import parse_header, require_place
from gateway.seal.errors import SealError

V = TypeVar("V", bound=CosignatureVerifier)

MAX_NAMED: Final = 20
"""Entries of one ledger that are named as not the signed ones."""


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
    """Signed notes of nations whose bundles were not given, and statements of the recipient by a key it has retired."""


@dataclass(slots=True)
class ExportVerification:
    """The outcome: sound if there are no findings."""

    ledgers: list[ExportedCheck] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """What nobody is to blame for and has to be known: that there is no manifest, or that it counts for nothing."""

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings


def verify_export(
    top: Path, nations: Mapping[str, Partner], progress: Callable[[str], None] = lambda _: None
) -> ExportVerification:
    """Checks every ledger of a folder by the bundles of `nations`, all in force.

    Raises FolderError where there is no ledger.
    """
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
    whole = {check.origin: check.size for check in outcome.ledgers}
    broken = {finding.where for finding in outcome.findings}.difference(whole)
    findings, remarks = compare_with_manifest(top, nations, whole, broken)
    outcome.findings += findings
    outcome.remarks += remarks
    return outcome


@dataclass(slots=True)
class _Check:
    ledger: ExportedLedger
    nations: Mapping[str, Partner]
    check: ExportedCheck
    edge: Edge = field(default_factory=Edge.empty)
    files: int = 2
    """Files that were read: the checkpoint, and the signed notes."""
    whole: bool = False
    """A checkpoint of the size of the ledger stands among the signed notes."""
    by_tiles: bool | None = None
    """Whether the tiles alone give the signed root; None: it was not asked yet."""
    unlike: list[int] = field(default_factory=list)
    """Entries that are not the signed ones."""
    unheld: list[str] = field(default_factory=list)
    """What is wrong with signed notes."""
    histories: dict[tuple[str, str], History] = field(default_factory=dict)
    """Receipts and post-quantum lines, by kind and node."""

    def findings(self) -> Iterator[str]:
        """Everything that is wrong; what a damaged file makes unreadable ends the examination."""
        origin = self.ledger.origin
        owner = self.nations.get(origin.owner)
        if owner is None:
            yield f"it was not checked: no trust bundle of {origin.owner} was given"
            return
        try:
            head = Note.parse(self.ledger.checkpoint)
            if (old := _only_retired(head, owner, origin)) is not None:
                yield old
                return
            open_checkpoint(self.ledger.checkpoint, owner.log, origin)
            for nation in self.nations.values():
                _cosigned(head, nation.receipt, nation.retired_receipt)
                _cosigned(head, nation.pq, nation.retired_pq)
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
                        self.unheld.extend(self._note(waiting, owner))
                        waiting = next(notes, None)
            yield from self._folded()
            if waiting is not None:
                yield f"{SIGNATURES}: a note of size {waiting.size} is out of order, or beyond the end"
            if self.edge.root() != self.ledger.said.root:
                yield "the entries do not give the root that is signed"
                return
            self._tiles_at_the_edge()
            yield from self._unopenable(owner)
            if not self.whole:
                yield f"{SIGNATURES}: there is no checkpoint of size {self.ledger.size}, which is that of the ledger"
            yield from self._uncovered()
            yield from self._spare_files()
        except (LedgerError, SealError, FolderError) as error:
            yield from self._folded()
            yield f"at entry {self.edge.size}: {error}"

    def _leaves(self, index: int, owner: Partner) -> Iterator[bytes]:
        """The leaf hashes of one bundle. Raises what is wrong."""
        self.files += 1
        for place, entry in enumerate(self.ledger.bundle(index), index * TILE_WIDTH):
            if entry:
                leaf = leaf_hash(entry)
                signed = self._signed_leaf(place, leaf)
                if signed == leaf:
                    require_place(parse_header(entry), place)
                else:
                    self.unlike.append(place)
                yield signed
            else:
                self.files += 1
                self.check.absent += 1
                yield self._absent(place, owner)

    def _signed_leaf(self, index: int, leaf: bytes) -> bytes:
        """The hash that tile 0 has of an entry, where that differs and the tiles give the signed root; else `leaf`."""
        if self.by_tiles is False:
            return leaf
        try:
            told = self.ledger.leaf(index)
            if told != leaf and self.by_tiles is None:
                self.by_tiles = self.ledger.root_by_leaves() == self.ledger.said.root
        except (FolderError, LedgerError):
            # What is wrong with a tile is named where the tiles are compared.
            self.by_tiles = False
        return told if self.by_tiles else leaf

    def _folded(self) -> Iterator[str]:
        """Entries that are not the signed ones, and of the notes that do not hold the first; each is told once."""
        for index in self.unlike[:MAX_NAMED]:
            yield f"entry {index} in {self.ledger.bundle_name(index // TILE_WIDTH)} is not the one signed"
        if len(self.unlike) > MAX_NAMED:
            yield f"{len(self.unlike) - MAX_NAMED} further entries are not the ones signed"
        if self.unheld:
            more = f"; {len(self.unheld) - 1} further signed notes do not hold" if len(self.unheld) > 1 else ""
            yield self.unheld[0] + more
        self.unlike.clear()
        self.unheld.clear()

    def _absent(self, index: int, owner: Partner) -> bytes:
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
        verify_note(note, [*speaker.gateway, *speaker.retired_gateway])
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

    def _note(self, signed: SignedNote, owner: Partner) -> Iterator[str]:
        try:
            self._signed(signed, owner)
        except LedgerError as error:
            yield f"the {signed.kind} of size {signed.size} does not hold: {error}"

    def _signed(self, signed: SignedNote, owner: Partner) -> None:
        note = Note.parse(signed.note)
        if note.text != Checkpoint(self.ledger.origin, self.edge.size, self.edge.root()).text():
            raise NoteError("it is not over what the entries give")
        match signed.kind:
            case "checkpoint" | "anchor":
                self._by_log_key(note, owner)
                if signed.kind == CHECKPOINT:
                    self.check.checkpoints += 1
                    self.whole |= signed.size == self.ledger.size
            case "pq":
                if self._by_cosigner(note, signed, owner, owner.pq, owner.retired_pq) is None:
                    raise NoteError(f"no post-quantum key of {owner.node} signed it")
                self.check.pq_size = max(self.check.pq_size, signed.size)
            case _:
                self._receipt(note, signed, owner)

    def _by_log_key(self, note: Note, owner: Partner) -> None:
        origin = self.ledger.origin
        verify_note(note, [key.verifier(origin) for key in (*owner.log, *(old.key for old in owner.retired_log))])

    def _receipt(self, note: Note, signed: SignedNote, owner: Partner) -> None:
        recipient = self.ledger.origin.recipient
        nations = [nation for node, nation in self.nations.items() if recipient in (None, node) and nation is not owner]
        found = [
            seconds
            for nation in nations
            if (seconds := self._by_cosigner(note, signed, nation, nation.receipt, nation.retired_receipt)) is not None
        ]
        if not found:
            if recipient is None or recipient not in self.nations:
                self.check.unchecked += 1
                return
            raise NoteError(f"no receipt key of {recipient} signed it")
        self.check.receipts += 1
        if signed.size >= self.check.receipt_size:
            self.check.receipt_size, self.check.receipt_seconds = signed.size, min(found)

    def _by_cosigner(
        self, note: Note, signed: SignedNote, nation: Partner, current: Iterable[V], retired: Iterable[Retired[V]]
    ) -> int | None:
        """When a nation's key cosigned; takes note of whether that is a current one. Raises NoteError."""
        found = _cosigned(note, current, retired)
        if found is None:
            return None
        seconds, by_current = found
        history = self.histories.setdefault((signed.kind, nation.node), History())
        if by_current:
            history.current(signed.size)
        else:
            history.by_retired(signed.size, 0)
        return seconds

    def _uncovered(self) -> Iterator[str]:
        told = []
        for (kind, node), history in self.histories.items():
            if sizes := list(history.uncovered()):
                more = f" (and {len(sizes) - 1} more)" if len(sizes) > 1 else ""
                told.append(
                    f"the {kind} of size {max(sizes)}{more} is signed by a key that {node} has retired, and none by a"
                    " current one covers it"
                )
        if told:
            yield "; ".join(told) + ": have it exported anew, by either side"

    # --- what else is there

    def _unopenable(self, owner: Partner) -> Iterator[str]:
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
                raw = self.ledger.read(name, MAX_NOTE)
                statement = EntryStatement.open(
                    raw,
                    [*nation.gateway, *nation.retired_gateway],
                    kind=EntryStatementKind.UNOPENABLE,
                    node=nation.node,
                    origin=origin,
                )
                if name != f"{UNOPENABLE}/{place_of(statement.index)}" or statement.index >= self.edge.size:
                    raise NoteError(f"it is about entry {statement.index}")
                if self.ledger.node(0, statement.index) != statement.leaf_hash:
                    raise NoteError("it is about another entry than the one that is there")
                self.check.unchecked += not any(map(Note.parse(raw).bears, nation.gateway))
            except LedgerError as error:
                yield f"{name} does not hold: {error}"

    def _spare_files(self) -> Iterator[str]:
        there = sum(len(names) for _, _, names in os.walk(self.ledger.directory))
        if there != self.files:
            yield f"there are {there} files, and an export of this size has {self.files}"


def _only_retired(head: Note, owner: Partner, origin: Origin) -> str | None:
    """What to say of a checkpoint on which no current log key of the owner stands, but a retired one."""
    if any(head.bears(key.verifier(origin)) for key in owner.log):
        return None
    for old in owner.retired_log:
        if head.bears(old.key.verifier(origin)):
            return (
                f"its checkpoint is signed by the log key {public_key_id(old.key.public_key)} alone, which"
                f" {owner.node} retired at {at(old.until)}: have it exported anew, by either side"
            )
    return None


def _cosigned(note: Note, current: Iterable[V], retired: Iterable[Retired[V]]) -> tuple[int, bool] | None:
    """When a known key cosigned, and whether a current one did; of several the first time. Raises NoteError."""
    lines = {(line.name, line.key_id): line for line in note.signatures}

    def times(keys: Iterable[V]) -> list[int]:
        return [
            verify_cosignature(note.text, lines[key.name, key.key_id], key)
            for key in keys
            if (key.name, key.key_id) in lines
        ]

    for seconds, by_current in ((times(current), True), (times(old.key for old in retired), False)):
        if seconds:
            return min(seconds), by_current
    return None
