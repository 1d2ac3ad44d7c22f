"""Keys are switched by one commit, wholly or not at all, and everything that was signed stays covered."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from pathlib import Path

import pytest

from gateway.audit.verify import verify_store
from gateway.exchange.signed_anew import presented
from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import open_checkpoint
from gateway.ledger.errors import NoteError
from gateway.ledger.merkle import leaf_hash, verify_inclusion
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.errors import StepRefused, Unavailable
from gateway.release.key_switch import SwitchKeys, keys_on_record
from gateway.release.pipeline import TakeReport
from gateway.release.sequencer import Sequencer, SequencerLimits
from gateway.release.signatory import Signatory
from gateway.release.steps import KeepCosignature, RecordEvent
from gateway.seal.errors import KeyMaterialError, OpenError
from gateway.seal.storage import StorageKey, StorageKeys
from tests.patience import PATIENCE_S
from tests.release.key_rings import SIGNING, believed, switch, with_new_keys
from tests.release.test_sequencer import PARTNERS, RULES, Faults, FaultyStore
from tests.release.world import MakeSite, Site, anything, keys_of, rulebook_of
from tests.reports.examples import NOW, SECOND, launch_detection

TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
ANCHOR, RECEIPT = CosignatureKind.ANCHOR, CosignatureKind.RECEIPT


@pytest.mark.parametrize("fault", [None, "before", "after"])
async def test_a_commit_that_switches_keys_counts_wholly_or_not_at_all(tmp_path: Path, fault: str | None) -> None:
    path, ticks = tmp_path / "jpn.sqlite", itertools.count()
    signatory, made = with_new_keys(Signatory.from_keys("JPN", keys_of("JPN")), SIGNING)
    old = dict(signatory.in_use)
    wanted = {kind: key.key_id for kind, key in made.items()}
    faults = Faults({} if fault is None else {2: fault})
    reopened = asyncio.Event()
    sequencer = Sequencer(
        lambda: FaultyStore(path, faults),
        signatory,
        lambda: PARTNERS,
        now_ns=lambda: NOW + next(ticks),
        limits=SequencerLimits(reopen_s=0.001),
        listener=lambda what: reopened.set() if what.reopened else None,
        monotonic=lambda: 0.0,
        rulebook=lambda store: RULES,
    )
    await sequencer.open()
    running = asyncio.create_task(sequencer.run())
    try:
        async with asyncio.timeout(PATIENCE_S):
            await sequencer.do(RecordEvent("started", "a test"))
            # What shares the commit is signed with the new keys, or is not there.
            report = TakeReport.of(launch_detection(1), "spiffe://jpn/c2/radar", anything)
            switching = asyncio.create_task(sequencer.do(SwitchKeys(wanted, "a test")))
            taking = asyncio.create_task(sequencer.do(report))
            ends = await asyncio.gather(switching, taking, return_exceptions=True)
            if fault is None:
                assert ends[0] == wanted
            else:
                assert all(isinstance(end, Unavailable) for end in ends)
                await reopened.wait()
            expected = old if fault == "before" else {**old, **wanted}
            assert dict(signatory.in_use) == expected
            assert signatory.log.public.public_key == signatory.held(KeyKind.LOG).public
            await sequencer.do(RecordEvent("afterwards", "a test"))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sequencer.close()
    reader = SqliteReader(path)
    assert keys_on_record(reader) == ({} if fault == "before" else wanted)
    assert verify_store(reader, signatory, PARTNERS).findings == []
    reader.close()


def test_a_key_that_is_not_held_is_refused_and_nothing_changes(make_site: MakeSite) -> None:
    jpn: Site = make_site("JPN")
    before = dict(jpn.signatory.in_use)
    with pytest.raises(StepRefused, match="does not hold it"):
        jpn.do(SwitchKeys({KeyKind.LOG: "00000000"}, "a test"))
    assert jpn.signatory.in_use == before
    assert not keys_on_record(jpn.store)


def test_the_last_checkpoint_of_every_own_ledger_is_signed_by_the_key_that_takes_over(make_site: MakeSite) -> None:
    jpn: Site = make_site("JPN")
    jpn.take(launch_detection(1), rulebook_of())
    sizes = {head.origin: head.edge.size for head in jpn.heads}
    switch(jpn, KeyKind.LOG)
    for origin, size in sizes.items():
        anchor = jpn.store.cosignature(jpn.row(origin).id, ANCHOR, "JPN")
        assert anchor is not None
        checkpoint, note = open_checkpoint(anchor.note, [jpn.signatory.log.public], origin)
        assert checkpoint.size == size
        stored = jpn.store.checkpoint(jpn.row(origin).id, size)
        assert stored is not None
        assert note.text == Note.parse(stored).text


def exchanged(make_site: MakeSite) -> tuple[Site, Site]:
    """JPN and KOR with one report between them, and KOR's receipt at JPN."""
    jpn, kor = make_site("JPN"), make_site("KOR")
    jpn.take(launch_detection(1), rulebook_of())
    received = kor.do(kor.receive(jpn.incoming(TO_KOR)))
    jpn.do(KeepCosignature(TO_KOR, RECEIPT, received.receipt, jpn.partners["KOR"]))
    return jpn, kor


def test_a_receipt_is_given_again_under_the_newer_key_and_both_lines_are_kept(make_site: MakeSite) -> None:
    jpn, kor = exchanged(make_site)
    before = switch(kor, KeyKind.RECEIPT)
    again = kor.store.cosignature(kor.row(TO_KOR).id, RECEIPT, "KOR")
    assert again is not None
    assert len(Note.parse(again.note).signatures) == 2
    # While both keys are listed the newer one counts; and one that is older does not push it out again.
    partner = believed(kor.signatory, before, until=None)
    jpn.do(KeepCosignature(TO_KOR, RECEIPT, again.note, partner))
    held = jpn.store.cosignature(jpn.row(TO_KOR).id, RECEIPT, "KOR")
    assert held is not None
    ids = {line.key_id for line in Note.parse(held.note).signatures}
    assert ids == {before.receipt.verifier.key_id, kor.signatory.receipt.verifier.key_id}
    jpn.do(
        KeepCosignature(TO_KOR, RECEIPT, Note.parse(again.note).of_keys([before.receipt.verifier]).encode(), partner)
    )
    assert jpn.store.cosignature(jpn.row(TO_KOR).id, RECEIPT, "KOR") == held


def test_what_was_signed_under_a_key_out_of_use_goes_under_the_one_in_use(make_site: MakeSite) -> None:
    jpn, _ = exchanged(make_site)
    switch(jpn, KeyKind.LOG)
    run = jpn.run(TO_KOR)
    with pytest.raises(NoteError):
        open_checkpoint(run.checkpoint, [jpn.signatory.log.public], TO_KOR)
    sent = presented(run, TO_KOR, jpn.signatory)
    checkpoint, _ = open_checkpoint(sent.checkpoint, [jpn.signatory.log.public], TO_KOR)
    assert checkpoint.size == run.first + run.count
    assert presented(sent, TO_KOR, jpn.signatory) == sent


def test_what_a_plan_shows_of_a_replica_is_under_the_newest_key_that_is_believed(make_site: MakeSite) -> None:
    jpn, kor = exchanged(make_site)
    kor.partners = dict(kor.partners)
    size = kor.row(TO_KOR).size

    def shown() -> int:
        found = kor.plan().ledgers.inclusion(TO_KOR, 1)
        assert found is not None
        return Note.parse(found[1]).signatures[0].key_id

    old = switch(jpn, KeyKind.LOG)
    before, after = (each.log.public.verifier(TO_KOR).key_id for each in (old, jpn.signatory))
    kor.partners["JPN"] = believed(jpn.signatory, old, until=None)
    assert shown() == before, "nothing is signed with the new one yet"
    kor.partners["JPN"] = believed(jpn.signatory, old, until=NOW // SECOND)
    found = kor.plan().ledgers.inclusion(TO_KOR, 1)
    assert found is None, "a third nation would not believe it, whatever receipt it bears"
    anchor = jpn.store.cosignature(jpn.row(TO_KOR).id, ANCHOR, "JPN")
    assert anchor is not None
    kor.do(KeepCosignature(TO_KOR, ANCHOR, anchor.note, kor.partners["JPN"]))
    kor.partners["JPN"] = believed(jpn.signatory, old, until=None)
    assert shown() == after
    kor.partners["JPN"] = believed(jpn.signatory, old, until=NOW // SECOND)
    assert shown() == after
    found = kor.plan().ledgers.inclusion(TO_KOR, 1)
    assert found is not None
    checkpoint, _ = open_checkpoint(found[1], kor.partners["JPN"].log, TO_KOR)
    entry = kor.store.entry(kor.row(TO_KOR).id, 1)
    assert entry is not None
    verify_inclusion(leaf_hash(entry), 1, size, found[0], checkpoint.root)


def test_the_newest_storage_key_seals_and_all_of_them_open() -> None:
    first, second = StorageKey(secrets.token_bytes(32)), StorageKey(secrets.token_bytes(32))
    keys = StorageKeys([first])
    old = keys.seal(b"old", b"here")
    keys.replace(StorageKeys([second, first]))
    new = keys.seal(b"new", b"here")
    assert keys.open(old, b"here") == b"old"
    assert second.open(new, b"here") == keys.open(new, b"here") == b"new"
    with pytest.raises(OpenError):
        StorageKeys([first]).open(new, b"here")
    with pytest.raises(KeyMaterialError):
        StorageKeys([first, first])
