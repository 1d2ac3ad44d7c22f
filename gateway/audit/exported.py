"""Reads ledgers from a folder that was exported (`gateway.audit.export`), by this node or by another.

A folder may come from anywhere: sizes are looked at before anything is read, only regular files are read, and every
name follows from the origin line and the size in the checkpoint. Nothing is believed by being read:
`gateway.audit.export_check` verifies a folder.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from gateway.audit.export import ABSENT, CHECKPOINT, SIGNATURES, UNOPENABLE, place_of
from gateway.audit.manifest import MANIFEST, MAX_MANIFEST, Manifest
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError, OriginError, TileError
from gateway.ledger.holding import HeldLedger, HeldSignatures, is_between, is_third_witness
from gateway.ledger.merkle import HASH_SIZE, NodeReader
from gateway.ledger.note import MAX_NOTE, Note
from gateway.ledger.origin import PREFIX, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.tiles import (
    TILE_BYTES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Edge,
    TileAddress,
    node_reader,
    partial_widths,
    split_tile,
)

MAX_BUNDLE: Final = TILE_WIDTH * (bundle.MAX_ENTRY + 2)
"""Largest entry bundle, bytes."""

MAX_LINE: Final = 2 * MAX_NOTE
"""Longest line of signed notes, bytes: a note, of which newlines take two characters, and two short members."""

_PARTS: Final = (CHECKPOINT, SIGNATURES, "tile", ABSENT, UNOPENABLE)
"""Any of these in a directory shows that it is, or was, that of a ledger."""

_DEPTHS: Final = ("*/*/*", "*/*/*/*")
"""How deep the directory of a ledger lies below that of the prefix."""

KINDS: Final = frozenset({CHECKPOINT, *(kind.value for kind in CosignatureKind)})


class FolderError(Exception):
    """A folder that is no export, or a file in it that cannot be read as what it is there for."""


@dataclass(frozen=True, slots=True)
class SignedNote:
    """One line of `signatures.jsonl`: a signed note about a size, nothing of it verified."""

    size: int
    kind: str
    note: bytes


class ExportedLedger:
    """One ledger of a folder. Raises FolderError where it has no checkpoint that names it."""

    def __init__(self, top: Path, origin: Origin) -> None:
        self.origin = origin
        self.directory = top / str(origin)
        self._tile: tuple[int, bytes] | None = None
        self.checkpoint = self.read(CHECKPOINT, MAX_NOTE)
        try:
            self.said = Checkpoint.parse(Note.parse(self.checkpoint).text)
        except LedgerError as error:
            raise FolderError(f"{self.directory / CHECKPOINT}: {error}") from error
        if self.said.origin != origin:
            raise FolderError(
                f"{self.directory / CHECKPOINT} is of {self.said.origin}, and stands where {origin} should"
            )

    @property
    def size(self) -> int:
        """Entries, as the checkpoint says."""
        return self.said.size

    def read(self, name: str, most: int) -> bytes:
        """A file of at most so many bytes. Raises FolderError."""
        return _read(self.directory / name, most)

    def bundle(self, index: int) -> Sequence[bytes]:
        """The entries of one bundle; an absent one is ``b""``. Raises FolderError."""
        width = min(TILE_WIDTH, self.size - index * TILE_WIDTH)
        name = self.bundle_name(index)
        try:
            return bundle.decode(self.read(name, MAX_BUNDLE), width, allow_absent=True)
        except LedgerError as error:
            raise FolderError(f"{self.directory / name}: {error}") from error

    def bundle_name(self, index: int) -> str:
        """The file of one bundle."""
        return TileAddress(None, index, min(TILE_WIDTH, self.size - index * TILE_WIDTH)).path()

    def leaf(self, index: int) -> bytes:
        """The hash that tile 0 has of an entry. Raises FolderError."""
        tile, place = divmod(index, TILE_WIDTH)
        if self._tile is None or self._tile[0] != tile:
            self._tile = tile, self.tile(0, tile)
        return self._tile[1][place * HASH_SIZE : (place + 1) * HASH_SIZE]

    def root_by_leaves(self) -> bytes:
        """The root that the hashes in the tiles of level 0 give. Raises FolderError, LedgerError."""
        edge = Edge.empty()
        for index in range(-(-self.size // TILE_WIDTH)):
            edge, _ = edge.grow(split_tile(self.tile(0, index)))
        return edge.root()

    def absent(self, index: int) -> bytes:
        """The signed reason why an entry is given as its hash. Raises FolderError."""
        return self.read(f"{ABSENT}/{place_of(index)}", MAX_NOTE)

    def tile(self, level: int, index: int) -> bytes:
        """A tile, of the width that the size requires. Raises FolderError."""
        width = min(TILE_WIDTH, (self.size >> TILE_HEIGHT * level) - index * TILE_WIDTH)
        name = TileAddress(level, index, width).path()
        data = self.read(name, TILE_BYTES)
        if len(data) != width * HASH_SIZE:
            raise FolderError(f"{self.directory / name} has {len(data)} bytes, not {width * HASH_SIZE}")
        return data

    @cached_property
    def node(self) -> NodeReader:
        """The tree as its tiles have it, for `merkle`. Raises FolderError, also when it is asked."""
        partial = [
            split_tile(self.tile(level, self.size >> TILE_HEIGHT * (level + 1))) if width else ()
            for level, width in enumerate(partial_widths(self.size))
        ]
        return node_reader(self.size, self.tile, Edge.restore(self.size, partial))

    def signatures(self) -> Iterator[SignedNote]:
        """Every signed note, in the order of the file. Raises FolderError."""
        path = self.directory / SIGNATURES
        try:
            with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
                number = 0
                while line := file.readline(MAX_LINE + 1):
                    number += 1
                    yield _signed_note(line, f"{path} line {number}")
        except OSError as error:
            raise FolderError(f"{path} cannot be read: {error.strerror}") from error

    def held(self, signer: str) -> HeldLedger:
        """What the folder says that is held, with the receipt of `signer`. Raises FolderError."""
        receipt = b""
        for note in self.signatures():
            if note.kind == CosignatureKind.RECEIPT and _is_by(note.note, signer):
                receipt = note.note
        return HeldLedger(self.origin, self.size, self.said.root, self.checkpoint, receipt)


def _read(path: Path, most: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise FolderError(f"{path} is not a regular file")
            data = file.read(most + 1)
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) > most:
        raise FolderError(f"{path} has more than {most} bytes, which no such file has")
    return data


def manifest_in(top: Path) -> tuple[Manifest, Note] | None:
    """The manifest of a folder, not verified; None where there is none. Raises FolderError."""
    path = top / MANIFEST
    if not os.path.lexists(path):
        return None
    try:
        return Manifest.parse(_read(path, MAX_MANIFEST))
    except LedgerError as error:
        raise FolderError(f"{path}: {error}") from error


def _signed_note(line: bytes, where: str) -> SignedNote:
    if len(line) > MAX_LINE:
        raise FolderError(f"{where} is longer than {MAX_LINE} bytes")
    try:
        found = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise FolderError(f"{where} is not JSON: {error}") from error
    match found:
        case {"size": int(size), "kind": str(kind), "note": str(note)} if len(found) == 3 and kind in KINDS:
            if not isinstance(size, bool) and size > 0:
                return SignedNote(size, kind, note.encode("utf-8", "replace"))
    raise FolderError(f"{where} is not an object of size, kind and note")


def _is_by(note: bytes, node: str) -> bool:
    """Whether a receipt is of that node, by the name of the key: to be believed only once it was verified."""
    return f"\n\N{EM DASH} {PREFIX}/{node}/receipt ".encode() in note


def origins_in(top: Path) -> Sequence[Origin]:
    """The ledgers of a folder by their places, sorted by origin line: also those of which but a part is left. Where
    there is none, a manifest has to say what there was. Raises FolderError.
    """
    found = set()
    for path in (path for part in _PARTS for depth in _DEPTHS for path in (top / PREFIX).glob(f"{depth}/{part}")):
        try:
            found.add(Origin.parse(path.parent.relative_to(top).as_posix()))
        except OriginError as error:
            raise FolderError(f"{path.parent} is not the place of a ledger: {error}") from error
    if not found and not (top / MANIFEST).exists():
        raise FolderError(f"{top} holds no exported ledger: name the directory that `signalfire ledger export` wrote")
    return sorted(found, key=str)


def ledgers_in(top: Path) -> Sequence[ExportedLedger]:
    """The ledgers of a folder, by origin line. Raises FolderError."""
    return [ExportedLedger(top, origin) for origin in origins_in(top)]


class ExportedFolder:
    """What one side of two nodes exported, as what is compared (`gateway.audit.reconcile`)."""

    def __init__(self, top: Path, one: str, other: str) -> None:
        """Raises FolderError."""
        self._nodes = one, other
        self._ledgers: dict[Origin, ExportedLedger] = {}
        self.broken: dict[Origin, str] = {}
        """Ledgers of which but a part is there, and what is wrong with them."""
        manifest = manifest_in(top)
        self.unwritten = frozenset(o for o, size in (manifest[0].sizes.items() if manifest else ()) if size == 0)
        """Ledgers of which nothing was written, as the manifest says."""
        for origin in origins_in(top):
            if is_between(origin, one, other) or is_third_witness(origin, one, other):
                try:
                    self._ledgers[origin] = ExportedLedger(top, origin)
                except FolderError as error:
                    self.broken[origin] = str(error)

    def lacks(self, origin: Origin) -> bool:
        """Whether a ledger between the two nodes is not there, though it should be."""
        return (
            is_between(origin, *self._nodes)
            and origin not in self._ledgers
            and origin not in self.broken
            and origin not in self.unwritten
        )

    async def heads(self) -> Sequence[HeldLedger]:
        """Every ledger between the two nodes, and the witness ledgers of third ones. Raises FolderError."""
        return [ledger.held(self._signer(ledger.origin)) for ledger in self._ledgers.values()]

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        """Roots of perfect subtrees, joined: as many of the `count` as there are. Raises FolderError, TileError."""
        ledger = self._ledgers.get(origin)
        if ledger is None:
            return b""
        there = max(0, min(count, (ledger.size >> level) - first))
        try:
            return b"".join(ledger.node(level, index) for index in range(first, first + there))
        except TileError as error:
            raise FolderError(f"{ledger.directory}: {error}") from error

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        """The notes about exactly that size. Raises FolderError."""
        ledger = self._ledgers.get(origin)
        if ledger is None:
            return HeldSignatures()
        notes = [note for note in ledger.signatures() if note.size == size]
        signer = self._signer(origin)
        return HeldSignatures(
            next((note.note for note in notes if note.kind == CHECKPOINT), b""),
            next((note.note for note in notes if note.kind == "receipt" and _is_by(note.note, signer)), b""),
        )

    async def signed_sizes(self, origin: Origin, least: int, last: int) -> Sequence[int]:
        """Sizes from `least` to `last` of which there is a checkpoint, largest first. Raises FolderError."""
        ledger = self._ledgers.get(origin)
        notes = () if ledger is None else ledger.signatures()
        sizes = {note.size for note in notes if note.kind == CHECKPOINT and least <= note.size <= last}
        return sorted(sizes, reverse=True)

    def _signer(self, origin: Origin) -> str:
        one, other = self._nodes
        return other if origin.owner == one else one
