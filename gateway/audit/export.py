"""Writes ledgers as other people's tools read them: the static layout of C2SP tlog-tiles, a directory a ledger.

The directory of a ledger is its origin line below the directory of the export, as the URL prefix of a log would be::

    manifest                        the ledgers and their sizes, signed (`gateway.audit.manifest`)
    signalfire/v1/JPN/KOR/flash/1/
        checkpoint                  the last signed checkpoint, with every further signature on record for its size
        tile/<L>/<N>[.p/<W>]        C2SP tiles
        tile/entries/<N>[.p/<W>]    C2SP entry bundles; length 0 stands for an entry that is given as its hash alone
        signatures.jsonl            every signed note on record, by size: {"size", "kind", "note"}, kind `checkpoint`,
                                    `anchor`, `pq` or `receipt`
        absent/<N>                  the signed reason why entry N is given as its hash alone
        unopenable/<N>              the recipient's signed statement that it could not use entry N

`<N>` is spelled as in tlog-tiles, for entries as for tiles: 1234067 is `x001/x234/067`.

Rules, in order:

1. An export is for showing. What of an own ledger is kept back from its recipient goes as its hash alone, with the
   signed reason. Of an own release ledger only what the recipient's receipts cover goes, unless the caller says that
   the rest may go too: what has not been sent yet may still have to be kept back. Entries stay sealed.
2. Where an export is for one partner, only the ledgers between the two nodes are written, and of the signatures on them
   those of the two.
3. Every hash is computed from the entries while they are written. Where that does not give the signed root, nothing is
   left: the store is not sound.
4. A directory comes to be whole or not at all: it is written beside its place, synced, and then renamed. A directory
   that holds anything is refused.
5. Memory is bounded by one segment of the store and one bundle, whatever the size of the ledger; entries are read in
   short turns, so that a running gateway is not held up.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from gateway.audit.manifest import MANIFEST, Manifest
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.holding import is_between
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import MAX_SIGNATURES, Note, Signer
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerRow, StoreReader
from gateway.ledger.tiles import TILE_BYTES, TILE_WIDTH, Edge, TileAddress, partial_widths

CHECKPOINT: Final = "checkpoint"
SIGNATURES: Final = "signatures.jsonl"
ABSENT: Final = "absent"
UNOPENABLE: Final = "unopenable"

_PAGE: Final = 256
"""Cosignatures that are read at once."""


class ExportError(Exception):
    """Nothing was exported; the text says why, and how to mend it."""


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported. No `ledgers`: all; `partner`: those between the two nodes alone."""

    ledgers: frozenset[Origin] = frozenset()
    partner: str | None = None
    unconfirmed: bool = False
    """Also what the recipients of own ledgers have not confirmed."""


@dataclass(frozen=True, slots=True)
class ExportedCounts:
    """What was written of one ledger, and of what nothing was: then `why` says the reason."""

    origin: Origin
    size: int = 0
    absent: int = 0
    signatures: int = 0
    why: str = ""


def export(
    reader: StoreReader,
    node: str,
    directory: Path,
    request: ExportRequest,
    progress: Callable[[str], None] = lambda _: None,
    *,
    signer: Signer | None = None,
) -> Sequence[ExportedCounts]:
    """Writes the ledgers that `request` names into the new directory `directory`. Raises ExportError and StoreError.

    `signer` is the node's gateway key, which signs the manifest; without one there is none.
    """
    rows = _chosen(reader, node, request)
    aside = _aside(directory)
    try:
        written = []
        for row in rows:
            progress(f"{row.origin}: {row.size} entries")
            size, why = _showable(reader, row, node, request)
            if why:
                written.append(ExportedCounts(row.origin, why=why))
            else:
                signers = None if request.partner is None else frozenset((node, request.partner))
                written.append(_Ledger(reader, row, aside / str(row.origin), size, signers).write())
        if signer is not None:
            manifest = Manifest(node, {each.origin: each.size for each in written})
            (aside / MANIFEST).write_bytes(manifest.sign(signer))
        _sync_tree(aside)
        _put_in_place(aside, directory)
    except OSError as error:
        raise ExportError(f"{directory} cannot be written: {error}; make room or name another directory") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return written


def _chosen(reader: StoreReader, node: str, request: ExportRequest) -> Sequence[LedgerRow]:
    rows = reader.ledgers()
    if unknown := request.ledgers - {row.origin for row in rows}:
        names = ", ".join(sorted(map(str, unknown)))
        raise ExportError(f"the store holds no ledger {names}; `signalfire status` lists those that there are")
    if request.ledgers:
        rows = [row for row in rows if row.origin in request.ledgers]
    if request.partner is not None:
        rows = [row for row in rows if is_between(row.origin, node, request.partner)]
    if not rows:
        whom = f" between {node} and {request.partner}" if request.partner else ""
        raise ExportError(f"there is no ledger{whom} to export; `signalfire status` lists those that there are")
    return sorted(rows, key=lambda row: str(row.origin))


def _showable(reader: StoreReader, row: LedgerRow, node: str, request: ExportRequest) -> tuple[int, str]:
    """Up to which size a ledger may be shown, or why nothing of it."""
    if row.size == 0:
        return 0, "it is empty"
    if row.replica or row.origin.recipient is None or request.unconfirmed:
        return row.size, ""
    receipt = reader.cosignature(row.id, CosignatureKind.RECEIPT, row.origin.recipient)
    if receipt is None:
        return 0, f"{row.origin.recipient} has confirmed none of it yet"
    return receipt.size, ""


def _aside(directory: Path) -> Path:
    """An empty directory beside `directory`, which does not exist or is empty. Raises ExportError."""
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ExportError(f"{directory} is there already and not an empty directory; name a new one")
        aside = directory.resolve().parent / f".{directory.name}.{os.getpid()}.part"
        aside.mkdir(mode=0o700)
    except OSError as error:
        raise ExportError(
            f"{directory} cannot be made: {error}; name a directory in one that can be written"
        ) from error
    return aside


def _put_in_place(aside: Path, directory: Path) -> None:
    place = directory.resolve()
    if place.exists():
        place.rmdir()
    aside.rename(place)
    _sync(place.parent)


def _sync_tree(top: Path) -> None:
    # At the end, as most of it has reached the disk by then.
    for path, _, names in os.walk(top):
        for name in names:
            _sync(Path(path, name))
        _sync(Path(path))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_of(index: int) -> str:
    """The path of a file about one entry, as tlog-tiles spells an index."""
    return TileAddress(0, index).path().removeprefix("tile/0/")


@dataclass(slots=True)
class _Ledger:
    """One ledger while it is written."""

    reader: StoreReader
    row: LedgerRow
    directory: Path
    size: int
    signers: frozenset[str] | None
    """Whose cosignatures go; None: everybody's."""
    edge: Edge = field(default_factory=Edge.empty)
    entries: list[bytes] = field(default_factory=list)
    """The entries of the bundle that is not full yet."""
    leaves: list[bytes] = field(default_factory=list)
    """Leaf hashes that the edge has not taken up yet."""
    absent: int = 0
    signatures: int = 0

    def write(self) -> ExportedCounts:
        """Writes everything, and holds it against the signed root."""
        self.directory.mkdir(parents=True)
        streams = [_Stream(self.reader, self.row, kind, signer) for kind, signer in self._cosigners()]
        with (self.directory / SIGNATURES).open("x", encoding="utf-8", newline="\n") as file:
            first = 0
            while first < self.size:
                first, checkpoint = self._segment(first)
                self._write_signatures(file, first, checkpoint, streams)
        self._grow()
        self._partial_tiles()
        self._write_checkpoint()
        for item in self.reader.unopenable(self.row.id):
            if item.index < self.size:
                self._put(f"{UNOPENABLE}/{place_of(item.index)}", item.note)
        return ExportedCounts(self.row.origin, self.size, self.absent, self.signatures)

    def _segment(self, first: int) -> tuple[int, bytes]:
        """Takes up the segment that begins at `first`; returns where it ends, and the checkpoint of that size."""
        with self.reader.snapshot():
            run = self.reader.run(self.row.id, first, 1)
            if run is None or run.first + run.count > self.size:
                raise self._unsound(f"no segment ends at {self.size}")
            # What comes from a partner is given as it came; what is our own is given as its recipient was given it.
            kept_back = {item.index: item for item in self.reader.kept_back(self.row.id, first, first + run.count)}
        absent = {item.index: item for item in run.absent}
        for index, entry in enumerate(bundle.decode(run.entries, run.count, allow_absent=True), first):
            back, item = kept_back.get(index), absent.get(index)
            if back is not None:
                self._leave_out(index, back.note, leaf_hash(entry) if entry else item.leaf_hash if item else b"")
            elif entry:
                self._take(entry, leaf_hash(entry))
            elif item is not None:
                self._leave_out(index, item.note, item.leaf_hash)
            else:
                raise self._unsound(f"entry {index} has neither bytes nor a hash")
        return first + run.count, run.checkpoint

    def _leave_out(self, index: int, note: bytes, leaf: bytes) -> None:
        self._put(f"{ABSENT}/{place_of(index)}", note)
        self.absent += 1
        self._take(b"", leaf)

    def _take(self, entry: bytes, leaf: bytes) -> None:
        self.entries.append(entry)
        self.leaves.append(leaf)
        if len(self.entries) == TILE_WIDTH:
            self._write_bundle((self.edge.size + len(self.leaves) - 1) // TILE_WIDTH)
            self._grow()

    def _write_bundle(self, index: int) -> None:
        path = TileAddress(None, index, len(self.entries)).path()
        self._put(path, bundle.encode(self.entries, allow_absent=True))
        self.entries.clear()

    def _grow(self) -> None:
        """Takes the waiting leaves up into the tree, and writes every tile that is full with them."""
        try:
            self.edge, writes = self.edge.grow(self.leaves)
        except LedgerError as error:
            raise self._unsound(str(error)) from error
        self.leaves.clear()
        for tile in writes:
            if len(tile.data) == TILE_BYTES:
                self._put(TileAddress(tile.level, tile.index).path(), tile.data)

    def _partial_tiles(self) -> None:
        if self.entries:
            self._write_bundle(self.size // TILE_WIDTH)
        for level, width in enumerate(partial_widths(self.size)):
            if width:
                address = TileAddress(level, self.size >> 8 * (level + 1), width)
                self._put(address.path(), b"".join(self.edge.partial[level]))

    def _write_checkpoint(self) -> None:
        raw = self.reader.checkpoint(self.row.id, self.size)
        if raw is None:
            raise self._unsound(f"there is no checkpoint of size {self.size}")
        try:
            note = Note.parse(raw)
            said = Checkpoint.parse(note.text)
            if (said.size, said.root) != (self.size, self.edge.root()):
                raise self._unsound(f"the signed checkpoint of size {self.size} is not what the entries give")
            for kind, signer in self._cosigners():
                for row in self.reader.cosignatures_from(self.row.id, kind, signer, self.size, 1):
                    more = Note.parse(row.note)
                    known = {(line.name, line.key_id) for line in note.signatures}
                    lines = [line for line in more.signatures if (line.name, line.key_id) not in known]
                    # Where a note has no room for more, they still stand in the other file.
                    if more.text == note.text and len(note.signatures) + len(lines) <= MAX_SIGNATURES:
                        note = note.with_signatures(*lines)
            self._put(CHECKPOINT, note.encode())
        except LedgerError as error:
            raise self._unsound(str(error)) from error

    # --- signed notes

    def _cosigners(self) -> Sequence[tuple[CosignatureKind, str]]:
        """Kinds and signers of the cosignatures that are shown, in the order in which those of one size are written."""
        return [
            (kind, signer)
            for kind in (CosignatureKind.ANCHOR, CosignatureKind.PQ, CosignatureKind.RECEIPT)
            for signer in self.reader.cosigners(self.row.id, kind)
            if self.signers is None or signer in self.signers
        ]

    def _write_signatures(self, file: IO[str], size: int, checkpoint: bytes, streams: Sequence[_Stream]) -> None:
        notes = [(CHECKPOINT, checkpoint)]
        notes += [(stream.kind.value, note) for stream in streams if (note := stream.take(size)) is not None]
        for kind, note in notes:
            file.write(
                json.dumps({"size": size, "kind": kind, "note": note.decode("utf-8")}, ensure_ascii=False) + "\n"
            )
        self.signatures += len(notes)

    # --- files

    def _put(self, name: str, data: bytes) -> None:
        path = self.directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            file.write(data)

    def _unsound(self, what: str) -> ExportError:
        return ExportError(f"{self.row.origin}: {what}; run `signalfire ledger verify`, which names what is wrong")


class _Stream:
    """The cosignatures of one kind and signer, by size, some at a time."""

    def __init__(self, reader: StoreReader, row: LedgerRow, kind: CosignatureKind, signer: str) -> None:
        self.kind = kind
        self._rows = _pages(reader, row, kind, signer)
        self._next = next(self._rows, None)

    def take(self, size: int) -> bytes | None:
        """The one of that size, if there is one. To be asked for sizes that rise."""
        while self._next is not None and self._next.size < size:
            self._next = next(self._rows, None)
        return self._next.note if self._next is not None and self._next.size == size else None


def _pages(reader: StoreReader, row: LedgerRow, kind: CosignatureKind, signer: str) -> Iterator[CosignatureRow]:
    size = 0
    while page := reader.cosignatures_from(row.id, kind, signer, size, _PAGE):
        yield from page
        size = page[-1].size + 1
