"""Rebuilding records from what partners gave back, for `OfficerService.Recover`.

The keys of the recovery records come with the call, unwrapped where the nation's recovery key is: neither that key nor
anything that it opens besides is ever here. One call at a time; what was rebuilt once is not rebuilt again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import RecoveryRow, StoreReader
from gateway.release.keeping import ranges
from gateway.release.opening import Opener
from gateway.release.recovery.lost import witnessed_sizes
from gateway.release.recovery.rebuilding import RebuildRecords, Rebuilt
from gateway.release.recovery.wish import EndWish
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError
from gateway.seal.recovery import RecordKey

RECORDS_A_STEP: Final = 16
"""Recovery records that one commit rebuilds from: some hundreds of decisions at the most."""

ROWS_AT_ONCE: Final = 64
"""Recovery records that are read at once: each has some kilobytes."""

SOURCE: Final = "recovery"
"""Whose turn it is, and who is refused where the disk has no room for it."""

NAMED: Final = 20
"""Missing things of one ledger that are named one by one."""


class RecoverError(LedgerError):
    """What was brought does not serve to rebuild anything."""


@dataclass(slots=True)
class _Found:
    """What is learned of all records before anything is rebuilt."""

    seen: dict[str, set[int]] = field(default_factory=dict)
    """Of each generation of the decisions ledger the entries that some record tells of."""
    last: dict[tuple[str, str, bytes], tuple[str, int]] = field(default_factory=dict)
    """Of each report that was held for a partner, the last decision that a record tells of."""
    rows: int = 0
    """How many records there are."""
    opened: bool = False
    """Whether the keys open any record: whoever brings them has the recovery key."""


class Recovering:
    """Rebuilds for one gateway. Belongs to the event loop's thread, as its `reader` does."""

    def __init__(self, signatory: Signatory, sequencer: Sequencer, reader: Callable[[], StoreReader]) -> None:
        self._signatory = signatory
        self._sequencer = sequencer
        self._reader = reader
        self._opener = Opener(signatory.node, signatory.sealing)
        self._busy = asyncio.Lock()

    async def recover(self, request: officer_pb2.RecoverRequest) -> AsyncGenerator[officer_pb2.RecoverResponse, None]:
        """What was rebuilt from each ledger; at the end what no record tells of. Raises LedgerError, ReleaseError."""
        if self._busy.locked():
            raise RecoverError("records are being rebuilt by another call; wait for it")
        async with self._busy:
            keys = _keys_of(request.keys)
            found = await self._look(keys)
            if request.finished and found.rows and not found.opened:
                raise RecoverError(
                    "C2 systems are asked on: none of the keys opens a recovery record, and an officer's certificate"
                    " alone does not end that. Bring the nation's recovery key."
                )
            for line in await self._ledgers():
                yield await self._rebuild(line, keys, found)
            missing = self._missing(found)
            if missing:
                yield officer_pb2.RecoverResponse(missing=missing)
            if request.finished:
                await self._sequencer.do(EndWish(found.opened))

    async def _rows(self) -> AsyncGenerator[RecoveryRow, None]:
        """Every record that came back, a page at a time; between two pages others have their turn."""
        place = ("", -1)
        while page := self._reader().recovery(place, ROWS_AT_ONCE):
            for row in page:
                yield row
            place = (str(page[-1].ledger), page[-1].index)
            await asyncio.sleep(0)

    async def _ledgers(self) -> list[Origin]:
        # What stands beside the wish itself (`gateway.release.recovery.wish`) is of no release ledger.
        found = {row.ledger async for row in self._rows() if row.ledger.recipient is not None}
        return sorted(found, key=lambda each: (each.generation, str(each)))

    async def _look(self, keys: Mapping[tuple[str, int], RecordKey]) -> _Found:
        """Reads every record that the keys open: first what was held, then what was decided after that."""
        found = _Found()
        async for _ in self._rows():
            found.rows += 1
        async for row, record in self._opened(keys):
            found.opened = True
            for decided in record.decided:
                found.seen.setdefault(record.decisions, set()).add(decided.decision_index)
                if decided.outcome == ledger_pb2.OUTCOME_HELD:
                    found.last[_subject(row, decided)] = (record.decisions, decided.decision_index)
        if found.last:
            async for row, record in self._opened(keys):
                for decided in record.decided:
                    subject = _subject(row, decided)
                    if subject in found.last:
                        place = (record.decisions, decided.decision_index)
                        found.last[subject] = max(found.last[subject], place, key=_in_order)
        return found

    async def _opened(
        self, keys: Mapping[tuple[str, int], RecordKey]
    ) -> AsyncGenerator[tuple[RecoveryRow, ledger_pb2.RecoveryRecord], None]:
        """The records that the keys open."""
        async for row in self._rows():
            with contextlib.suppress(SealError):
                yield row, _opened(row, keys)

    async def _rebuild(
        self, line: Origin, keys: Mapping[tuple[str, int], RecordKey], found: _Found
    ) -> officer_pb2.RecoverResponse:
        done = Rebuilt()
        closed = 0
        batch: list[tuple[RecoveryRow, ledger_pb2.RecoveryRecord]] = []
        async for row in self._rows():
            if row.rebuilt or row.ledger != line:
                continue
            try:
                batch.append((row, _opened(row, keys)))
            except SealError:
                closed += 1
                continue
            if len(batch) >= RECORDS_A_STEP:
                done.add(await self._do(line, batch, found))
                batch = []
        if batch:
            done.add(await self._do(line, batch, found))
        missing = done.missing[:NAMED]
        if len(done.missing) > NAMED:
            missing.append(f"{len(done.missing) - NAMED} more decisions")
        if closed:
            missing.append(f"{closed} recovery records do not open: no key was brought that opens them")
        if done.left_out:
            missing.append(f"{done.left_out} decisions for {line.recipient}, for which the records had no room")
        return officer_pb2.RecoverResponse(
            ledger=str(line), records=done.records, reports=done.reports, releases=done.releases, held=done.held,
            missing=missing,
        )  # fmt: skip

    async def _do(
        self, line: Origin, batch: list[tuple[RecoveryRow, ledger_pb2.RecoveryRecord]], found: _Found
    ) -> Rebuilt:
        def stands(partner: str, decided: ledger_pb2.RecoveredDecision) -> bool:
            last = found.last.get((partner, decided.originator_node, decided.report_id))
            return last is None or last[1] == decided.decision_index

        return await self._sequencer.do(RebuildRecords(line, tuple(batch), self._opener, stands), source=SOURCE)

    def _missing(self, found: _Found) -> list[str]:
        """The decisions of which the witness ledger tells that they were made, and no record tells anything."""
        words = []
        for origin, told in witnessed_sizes(self._reader()).items():
            seen = found.seen.get(str(origin), set())
            lost = [index for index in range(told.here, told.size) if index not in seen]
            if lost:
                named = ranges(lost).split(", ")
                more = f" and {len(named) - NAMED} more runs" if len(named) > NAMED else ""
                words.append(
                    f"{len(lost)} of the {told.size} entries of {origin}, of which no record tells (events of the node"
                    f" are among them, and openings of epochs): {', '.join(named[:NAMED])}{more}"
                )
        return words


def _subject(row: RecoveryRow, decided: ledger_pb2.RecoveredDecision) -> tuple[str, str, bytes]:
    return row.ledger.recipient or "", decided.originator_node, decided.report_id


def _in_order(place: tuple[str, int]) -> tuple[int, int]:
    return Origin.parse(place[0]).generation, place[1]


def _keys_of(keys: Iterable[officer_pb2.RecoveryKey]) -> dict[tuple[str, int], RecordKey]:
    found = {}
    for key in keys:
        try:
            found[key.ledger, key.key_index] = RecordKey.read_with(key.ledger, key.key_index, key.content_key)
        except SealError as error:
            raise RecoverError(f"the key of {key.ledger} entry {key.key_index}: {error}") from error
    return found


def _opened(row: RecoveryRow, keys: Mapping[tuple[str, int], RecordKey]) -> ledger_pb2.RecoveryRecord:
    """The record of a row. Raises OpenError."""
    key = keys.get((str(row.ledger), row.key_index))
    sealed = ledger_pb2.SealedRecovery.FromString(row.sealed)
    if key is None:
        raise SealError(f"{row.ledger}: no key for entry {row.index}")
    return key.open(row.index, sealed.ciphertext)
