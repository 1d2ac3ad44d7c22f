"""What a partner gives back is verified as it comes, and takes no more memory and time than a batch may."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from gateway import taking_back
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, sign_checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.holding import HeldLedger
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.ledger.tiles import Edge
from gateway.release.batch import MAX_BATCH_BYTES, MAX_BATCH_ENTRIES, IncomingBatch
from gateway.release.errors import Exhausted
from gateway.release.recovery.returned import OwnLogKeys, Verified, verify_back
from gateway.release.replica import RootsDiffer
from gateway.release.room import Room, StoreLimits
from gateway.release.sequencer import Sequencer, SequencerLimits
from gateway.taking_back import TakingBack, weight_of
from tests.release.test_returned import held, take
from tests.release.test_returned import lost as lost  # a fixture
from tests.release.world import Site, keys_of, signatory_of

FLASH = Origin.release("JPN", "KOR", Lane.FLASH, 1)
RETIRED = OwnLogKeys([LogPublicKey(keys_of("USA").public().log)], [LogPublicKey(keys_of("JPN").public().log)])
IN_USE = OwnLogKeys([LogPublicKey(keys_of("JPN").public().log)], [])


def signed(size: int, root: bytes) -> bytes:
    return sign_checkpoint(Checkpoint(FLASH, size, root), signatory_of("JPN").log).encode()


def batches(count: int, each: int, *, hashes: bool = False, size: int = 600) -> list[IncomingBatch]:
    """So many batches with so many entries, signed by JPN."""
    edge, made = Edge.empty(), []
    for number in range(count):
        entries = [bytes([number % 251]) * size for _ in range(each)]
        leaves = [leaf_hash(entry) for entry in entries]
        first = edge.size
        edge, _ = edge.grow(leaves)
        absent = [(first + at, leaf, b"r" * 100) for at, leaf in enumerate(leaves)] if hashes else []
        data = bundle.encode([b""] * each if hashes else entries, allow_absent=True)
        made.append(IncomingBatch(FLASH, first, each, data, absent, signed(edge.size, edge.root())))
    return made


class Given(TakingBack):
    """What would be fetched is given."""

    def __init__(self, given: Sequence[IncomingBatch]) -> None:
        self.given = given
        self.taken = 0

    async def _came(self) -> AsyncGenerator[IncomingBatch | bytes, None]:
        for batch in self.given:
            self.taken += 1
            yield batch

    def _fetched(self, *_: Any) -> AsyncGenerator[IncomingBatch | bytes, None]:
        return self._came()


def runs(given: Given, keys: OwnLogKeys) -> list[list[Verified]]:
    end = given.given[-1].first + given.given[-1].count
    about = HeldLedger(FLASH, end + 1, bytes(32), b"", b"", None)

    async def all_of_it() -> list[list[Verified]]:
        nobody = cast(taking_back._Asked, types.SimpleNamespace())
        return [[each for _, each in run] async for run in given._runs(nobody, about, Edge.empty(), keys)]

    return asyncio.run(all_of_it())


def test_each_batch_under_a_key_in_use_is_a_run_of_its_own() -> None:
    assert [len(run) for run in runs(Given(batches(3, 2)), IN_USE)] == [1, 1, 1]


def test_what_does_not_verify_is_refused_as_it_comes() -> None:
    good = batches(4, 2)
    given = Given([good[0], replace(good[1], first=90), good[2]])
    with pytest.raises(LedgerError):
        runs(given, RETIRED)
    assert given.taken == 2
    with pytest.raises(RootsDiffer):
        runs(Given([replace(good[0], entries=batches(2, 2)[1].entries)]), RETIRED)


def test_what_only_a_retired_key_signed_is_kept_up_to_a_bound_with_its_hashes_and_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(taking_back, "UNSIGNED_BYTES", 4000)
    for hashes in (False, True):
        given = Given(batches(40, 4, hashes=hashes))
        with pytest.raises(LedgerError, match="out of use"):
            runs(given, RETIRED)
        assert given.taken < 10, "what has no entries has weight too"
    assert weight_of(batches(1, 4, hashes=True)[0]) > 4 * 100


def test_a_run_has_no_more_hashes_than_one_step_may_sign_reasons_for() -> None:
    given = Given(batches(4, MAX_BATCH_ENTRIES // 2, hashes=True, size=1))
    with pytest.raises(LedgerError, match="hashes alone"):
        runs(given, RETIRED)
    assert given.taken == 3


def test_a_batch_is_no_larger_than_any_other_may_be() -> None:
    for one in (batches(1, MAX_BATCH_ENTRIES + 1, hashes=True, size=1), batches(1, 40, size=60_000)):
        assert one[0].count > MAX_BATCH_ENTRIES or len(one[0].entries) > MAX_BATCH_BYTES
        with pytest.raises(LedgerError, match="larger than a batch may be"):
            verify_back(one[0], Edge.empty(), IN_USE)


async def test_nothing_is_taken_back_where_the_disk_has_no_room_for_it(lost: Site, kor: Site) -> None:
    free = 1 << 20
    room = Room(lambda: free, StoreLimits())
    room.look()
    lost.store.close()
    sequencer = Sequencer(
        lambda: SqliteStore(lost.path), lost.signatory, lambda: lost.partners, now_ns=lambda: lost.now_ns,
        limits=SequencerLimits(), listener=lambda _: None, monotonic=lambda: 0.0, rulebook=lambda _: lost.rulebook,
        room=room,
    )  # fmt: skip
    await sequencer.open()
    running = asyncio.create_task(sequencer.run())
    try:
        with pytest.raises(Exhausted, match="nearly full"):
            await sequencer.do(take(held(kor), lost), source="KOR")
        free = 1 << 40
        room.look()
        assert await sequencer.do(take(held(kor), lost), source="KOR") == kor.row(FLASH).size
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sequencer.close()
