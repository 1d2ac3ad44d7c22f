"""What the ledgers hold, as the embedded store reads it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gateway.ledger import bundle
from gateway.ledger.errors import OriginError, StoreError
from gateway.ledger.merkle import MAX_SIZE, leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.stores import (
    RUN_ABSENT,
    RUN_ENTRIES,
    AbsentRow,
    CosignatureKind,
    CosignatureRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    Run,
    Segment,
    UnopenableRow,
)
from gateway.ledger.stores.sqlite.columns import COSIGNATURE
from gateway.ledger.stores.sqlite.reading import Reading, Row, known

_LEDGER = "id, origin, replica, size, root, successor, agreed"


class LedgerReading(Reading):
    """Ledgers, their entries, and what is signed over these."""

    def ledgers(self) -> Sequence[LedgerRow]:
        rows = self._rows(f"SELECT {_LEDGER} FROM ledger ORDER BY id")
        return [_ledger_row(row) for row in rows]

    def ledger(self, origin: Origin) -> LedgerRow | None:
        row = self._row(f"SELECT {_LEDGER} FROM ledger WHERE origin = ?", str(origin))
        return None if row is None else _ledger_row(row, origin)

    def run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        # One snapshot: between two reads a segment may be pruned.
        return self._at_one_moment(self._run, ledger, first, max_bytes)

    def _run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        with self._failing("reading a segment"):
            chunks: list[bytes] = []
            total = 0
            end = first
            hashes_to: int | None = None
            for seg_first, count, entries in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ? AND first >= ? ORDER BY first",
                (ledger, first),
            ):
                if seg_first != end:
                    if not chunks:
                        raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins at {first}")
                    raise StoreError(f"store {self._path}: ledger {ledger} has a gap between {end} and {seg_first}")
                if chunks and (total + len(entries) > max_bytes or end + count - first > RUN_ENTRIES):
                    break
                if chunks and end + count - first > RUN_ABSENT:
                    if hashes_to is None:
                        hashes_to = self._hashes_to(ledger, first)
                    if end + count > hashes_to:
                        break
                chunks.append(entries)
                total += len(entries)
                end += count
        if not chunks:
            self._require_boundary(ledger, first)
            return None
        checkpoint = self.checkpoint(ledger, end)
        if checkpoint is None:
            raise StoreError(f"store {self._path}: ledger {ledger} has no checkpoint of size {end}")
        absent = self._rows(
            "SELECT ledger, idx, leaf_hash, note FROM absent WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        entries = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        return Run(first, end - first, entries, checkpoint, [AbsentRow(*row) for row in absent])

    def _hashes_to(self, ledger: LedgerId, first: int) -> int:
        """Up to which entry, not included, at most RUN_ABSENT from `first` on go as their hashes."""
        row = self._row(
            "SELECT idx FROM absent WHERE ledger = ?1 AND idx >= ?2"
            " UNION SELECT idx FROM kept_back WHERE ledger = ?1 AND idx >= ?2 ORDER BY idx LIMIT 1 OFFSET ?3",
            ledger, first, RUN_ABSENT,
        )  # fmt: skip
        return MAX_SIZE if row is None else row[0]

    def segments(self, ledger: LedgerId, first: int, max_bytes: int) -> Sequence[Segment]:
        found: list[Segment] = []
        total, end = 0, first
        with self._failing("reading segments"):
            for segment in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ? AND first >= ? ORDER BY first",
                (ledger, first),
            ):
                at, count, entries = segment
                if at != end:
                    raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins at {end}")
                if found and (total + len(entries) > max_bytes or end + count - first > RUN_ENTRIES):
                    break
                found.append(Segment(*segment))
                total += len(entries)
                end += count
        if not found:
            self._require_boundary(ledger, first)
        return found

    def _require_boundary(self, ledger: LedgerId, end: int) -> None:
        """Raises StoreError unless the segments before `end` reach up to it exactly."""
        rows = self._rows(
            "SELECT first + count FROM segment WHERE ledger = ? AND first < ? ORDER BY first DESC LIMIT 1", ledger, end
        )
        if end != (rows[0][0] if rows else 0):
            raise StoreError(f"store {self._path}: ledger {ledger} has no segment that begins or ends at {end}")

    def entry(self, ledger: LedgerId, index: int) -> bytes | None:
        row = self._row(
            "SELECT first, count, entries FROM segment WHERE ledger = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            ledger, index,
        )  # fmt: skip
        if row is None or index >= row[0] + row[1]:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {index}")
        return bundle.element(row[2], row[1], index - row[0]) or None

    def leaves(self, ledger: LedgerId, first: int, end: int) -> Sequence[bytes]:
        if first >= end:
            return []
        return self._at_one_moment(self._leaves, ledger, first, end)

    def _leaves(self, ledger: LedgerId, first: int, end: int) -> Sequence[bytes]:
        absent: dict[int, bytes] = dict(
            self._rows(
                "SELECT idx, leaf_hash FROM absent WHERE ledger = ? AND idx >= ? AND idx < ?", ledger, first, end
            )
        )
        found: list[bytes] = []
        nothing = f"store {self._path}: ledger {ledger} entry %d has neither bytes nor a hash"
        with self._failing("reading a segment"):
            for start, count, entries in self._db.execute(
                "SELECT first, count, entries FROM segment WHERE ledger = ?1 AND first < ?3 AND first >="
                " (SELECT max(first) FROM segment WHERE ledger = ?1 AND first <= ?2) ORDER BY first",
                (ledger, first, end),
            ):
                for index, entry in enumerate(bundle.decode(entries, count, allow_absent=True), start):
                    if not first <= index < end:
                        continue
                    leaf = leaf_hash(entry) if entry else absent.get(index)
                    if leaf is None:
                        raise StoreError(nothing % index)
                    found.append(leaf)
        if len(found) != end - first:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {first + len(found)}")
        return found

    def segment_of(self, ledger: LedgerId, index: int) -> int:
        row = self._row(
            "SELECT first, count FROM segment WHERE ledger = ? AND first <= ? ORDER BY first DESC LIMIT 1",
            ledger, index,
        )  # fmt: skip
        if row is None or index >= row[0] + row[1]:
            raise StoreError(f"store {self._path}: ledger {ledger} has no entry {index}")
        return int(row[0])

    def absent(self, ledger: LedgerId, index: int) -> AbsentRow | None:
        row = self._row("SELECT ledger, idx, leaf_hash, note FROM absent WHERE ledger = ? AND idx = ?", ledger, index)
        return None if row is None else AbsentRow(*row)

    def kept_back(self, ledger: LedgerId, first: int, end: int) -> Sequence[KeptBackRow]:
        rows = self._rows(
            "SELECT ledger, idx, reason, note FROM kept_back WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        return [KeptBackRow(*row) for row in rows]

    def keeps_back(self, ledger: LedgerId) -> bool:
        return self._row("SELECT 1 FROM kept_back WHERE ledger = ? LIMIT 1", ledger) is not None

    def tile(self, ledger: LedgerId, level: int, index: int) -> bytes | None:
        row = self._row("SELECT hashes FROM tile WHERE ledger = ? AND level = ? AND idx = ?", ledger, level, index)
        return None if row is None else row[0]

    def tiles(self, ledger: LedgerId) -> Sequence[tuple[int, int, bytes]]:
        return self._rows("SELECT level, idx, hashes FROM tile WHERE ledger = ? ORDER BY level, idx", ledger)

    def count_tiles(self, ledger: LedgerId) -> int:
        count: int = self._rows("SELECT count(*) FROM tile WHERE ledger = ?", ledger)[0][0]
        return count

    def checkpoint(self, ledger: LedgerId, size: int) -> bytes | None:
        row = self._row("SELECT note FROM checkpoint WHERE ledger = ? AND size = ?", ledger, size)
        return None if row is None else row[0]

    def checkpoints(self, ledger: LedgerId) -> Sequence[tuple[int, bytes]]:
        return self._rows("SELECT size, note FROM checkpoint WHERE ledger = ? ORDER BY size", ledger)

    def count_checkpoints(self, ledger: LedgerId) -> int:
        count: int = self._rows("SELECT count(*) FROM checkpoint WHERE ledger = ?", ledger)[0][0]
        return count

    def cosignature(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, at_least: int = 0
    ) -> CosignatureRow | None:
        row = self._row(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size DESC LIMIT 1",
            ledger, kind.value, signer, at_least,
        )  # fmt: skip
        return None if row is None else CosignatureRow(ledger, kind, *row[2:])

    def covering(self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int) -> CosignatureRow | None:
        row = self._row(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size LIMIT 1",
            ledger, kind.value, signer, size,
        )  # fmt: skip
        return None if row is None else CosignatureRow(ledger, kind, *row[2:])

    def cosignatures(self, ledger: LedgerId) -> Sequence[CosignatureRow]:
        rows = self._rows(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? ORDER BY kind, signer, size",
            ledger,
        )
        return [_cosignature_row(row) for row in rows]

    def each_cosignature(self, ledger: LedgerId) -> Iterator[CosignatureRow]:
        rows = self._each(f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? ORDER BY kind, signer, size", ledger)
        return map(_cosignature_row, rows)

    def cosigners(self, ledger: LedgerId, kind: CosignatureKind) -> Sequence[str]:
        found: list[str] = []
        # One look into the primary key for each signer, however many rows each of them has.
        while (signer := self._rows(
            "SELECT min(signer) FROM cosignature WHERE ledger = ? AND kind = ? AND signer > ?",
            ledger, kind.value, found[-1] if found else "",
        )[0][0]) is not None:  # fmt: skip
            found.append(signer)
        return found

    def cosignatures_from(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int, limit: int
    ) -> Sequence[CosignatureRow]:
        rows = self._rows(
            f"SELECT {COSIGNATURE} FROM cosignature WHERE ledger = ? AND kind = ? AND signer = ? AND size >= ?"
            " ORDER BY size LIMIT ?",
            ledger, kind.value, signer, size, limit,
        )  # fmt: skip
        return [_cosignature_row(row) for row in rows]

    def unopenable(self, ledger: LedgerId) -> Sequence[UnopenableRow]:
        rows = self._rows("SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? ORDER BY idx", ledger)
        return [UnopenableRow(*row) for row in rows]

    def last_unopenable(self, ledger: LedgerId, limit: int) -> Sequence[UnopenableRow]:
        rows = self._rows(
            "SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? ORDER BY idx DESC LIMIT ?",
            ledger, limit,
        )  # fmt: skip
        return [UnopenableRow(*row) for row in reversed(rows)]

    def unopenable_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[UnopenableRow]:
        rows = self._rows(
            "SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? AND idx >= ? AND idx < ? ORDER BY idx",
            ledger, first, end,
        )  # fmt: skip
        return [UnopenableRow(*row) for row in rows]

    def statement(self, ledger: LedgerId, index: int) -> UnopenableRow | None:
        row = self._row("SELECT ledger, idx, note, time_ns FROM unopenable WHERE ledger = ? AND idx = ?", ledger, index)
        return None if row is None else UnopenableRow(*row)


def _ledger_row(row: Row, found_by: Origin | None = None) -> LedgerRow:
    id_, origin, replica, size, root, successor, agreed = row
    try:
        parsed = found_by or Origin.parse(origin)
        following = None if successor is None else Origin.parse(successor)
    except OriginError as error:
        raise StoreError(f"a row of ledger is not what it can be: {error}") from error
    return LedgerRow(LedgerId(id_), parsed, bool(replica), size, root, following, agreed)


def _cosignature_row(row: Row) -> CosignatureRow:
    ledger, kind, size, note, time_ns, signer = row
    return CosignatureRow(ledger, known(CosignatureKind, kind, "cosignature"), size, note, time_ns, signer)
