"""What a node tells a partner that it holds is bounded, whatever the partner made of its ledgers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.errors import ProofError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.holdings import LISTED_GENERATIONS, MAX_THIRDS, WITNESS_GENERATIONS, Holdings
from gateway.release.signatory import Retired
from gateway.release.steps import FollowSuccessor, KeepCosignature, RecordEvent
from gateway.release.successions import AT_ONCE
from gateway.release.witness import Beat
from tests.release.world import MakeSite, Site, partner_of

LINE = Origin.release("KOR", "JPN", "flash", 1)
KOR_WITNESS = Origin.witness("KOR", 1)
BEAT = Beat(frozenset({"JPN", "USA"}))


def holdings(site: Site, partner: str, *thirds: str) -> Holdings:
    return Holdings(
        site.node, partner, lambda: site.store, lambda: list(site.heads), lambda origin: site.heads.get(origin), thirds
    )


def ended(jpn: Site, times: int, origin: Origin = LINE) -> None:
    for _ in range(times):
        jpn.do(FollowSuccessor(origin, origin.successor()))
        origin = origin.successor()


async def test_of_a_ledger_that_ended_many_times_the_last_generations_are_listed(make_site: MakeSite) -> None:
    jpn = make_site("JPN")
    ended(jpn, 30)
    told = await holdings(jpn, "KOR").heads()
    assert sorted(each.origin.generation for each in told) == list(range(31 - LISTED_GENERATIONS, 31))


async def test_no_generation_of_a_third_witness_ledger_ends_unseen_between_two_comparisons(make_site: MakeSite) -> None:
    jpn = make_site("JPN")
    ended(jpn, AT_ONCE, KOR_WITNESS)
    told = await holdings(jpn, "USA").heads(["KOR"])
    assert sorted(each.origin.generation for each in told) == list(range(1, AT_ONCE + 1))
    # At most a day lies between two comparisons: all at once, and one more each hour.
    assert WITNESS_GENERATIONS == AT_ONCE + 24 + 1


async def test_others_run_between_one_ledger_and_the_next(make_site: MakeSite) -> None:
    jpn = make_site("JPN")
    ended(jpn, LISTED_GENERATIONS)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(other())
    await holdings(jpn, "KOR").heads()
    task.cancel()
    assert turns >= LISTED_GENERATIONS


async def test_a_third_witness_ledger_is_told_where_it_is_held_and_asked_for(make_site: MakeSite) -> None:
    jpn, kor = make_site("JPN"), make_site("KOR")
    kor.do(RecordEvent("started", ""))
    for _ in range(3):
        kor.do(BEAT)
        row = jpn.store.ledger(KOR_WITNESS)
        jpn.do(jpn.receive(kor.incoming(KOR_WITNESS, 0 if row is None else row.size)))
    theirs = holdings(jpn, "USA")
    assert await theirs.heads() == []
    (told,) = await theirs.heads(["KOR", "AUS"])
    assert (told.origin, told.size, told.receipt) == (KOR_WITNESS, jpn.row(KOR_WITNESS).size, b"")
    assert (await theirs.signatures(KOR_WITNESS, told.size)).receipt == b""
    assert len(await theirs.hashes(KOR_WITNESS, 0, 0, 256)) == 32 * told.size
    assert list(await theirs.signed_sizes(KOR_WITNESS, 3, 9)) == [4, 3]
    assert list(await theirs.signed_sizes(KOR_WITNESS, 1, 3)) == [3, 2]
    with pytest.raises(ProofError):
        await theirs.hashes(Origin.witness("AUS", 1), 0, 0, 1)
    with pytest.raises(ProofError, match=f"{MAX_THIRDS} may be"):
        await theirs.heads([f"N{number}" for number in range(MAX_THIRDS + 1)])


async def test_a_third_witness_ledger_is_shown_with_the_line_of_the_key_that_took_over(make_site: MakeSite) -> None:
    jpn, kor = make_site("JPN"), make_site("KOR")
    kor.do(BEAT)
    jpn.do(jpn.receive(kor.incoming(KOR_WITNESS)))
    row, newer = jpn.row(KOR_WITNESS), LogKey(b"9" * 32)
    keys = partner_of("KOR")
    keys = replace(keys, log=[newer.public], retired_log=[Retired(key, 2_000_000_000) for key in keys.log])
    anchor = sign_checkpoint(Checkpoint(KOR_WITNESS, row.size, row.root), newer).encode()
    jpn.do(KeepCosignature(KOR_WITNESS, CosignatureKind.ANCHOR, anchor, keys))
    (told,) = await holdings(jpn, "USA").heads(["KOR"])
    assert len(Note.parse(told.checkpoint).signatures) == 2
    assert (await holdings(jpn, "USA").signatures(KOR_WITNESS, row.size)).checkpoint == told.checkpoint
