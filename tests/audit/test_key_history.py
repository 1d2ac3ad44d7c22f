"""History is verified with the key of its day, and a thief of a retired key can add nothing to it."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import apsw
import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.identity.keyring import KeyKind
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind, CosignatureRow
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.heads import Heads
from gateway.release.plan import Plan
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import KeepCosignature, KeepUnopenable, RecordEvent, SignPostQuantum
from tests.release.key_rings import SIGNING, believed, switch, without_old_keys
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import NOW, SECOND, launch_detection

TO_KOR = Origin.release("JPN", "KOR", "flash", 1)
RULES = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
ANCHOR, PQ, RECEIPT = CosignatureKind.ANCHOR, CosignatureKind.PQ, CosignatureKind.RECEIPT
LATER = 3600 * SECOND


@dataclass
class Pair:
    """JPN and KOR, who have exchanged reports, and each changed its signing keys since."""

    jpn: Site
    kor: Site
    old_jpn: Signatory
    old_kor: Signatory

    def bundle_of(self, node: str, until: int | None) -> Partner:
        """What the bundle of one of them says, its old keys retired at `until`."""
        now, then = (self.jpn.signatory, self.old_jpn) if node == "JPN" else (self.kor.signatory, self.old_kor)
        return believed(now, then, until=until)


def exchange(jpn: Site, kor: Site, number: int) -> None:
    """JPN releases a report; KOR receives it and gives its receipt; the post-quantum line follows."""
    jpn.take(launch_detection(number), RULES)
    row = kor.store.ledger(TO_KOR)
    received = kor.do(kor.receive(jpn.incoming(TO_KOR, 0 if row is None else row.size)))
    jpn.do(KeepCosignature(TO_KOR, RECEIPT, received.receipt, jpn.partners["KOR"]))
    jpn.do(SignPostQuantum(TO_KOR))
    pass_on_signatures(jpn, kor)


def pass_on_signatures(jpn: Site, kor: Site) -> None:
    """What JPN's Follow stream would bring beside entries."""
    for kind in (ANCHOR, PQ):
        line = jpn.store.cosignature(jpn.row(TO_KOR).id, kind, "JPN")
        if line is not None and kor.store.checkpoint(kor.row(TO_KOR).id, line.size) is not None:
            kor.do(KeepCosignature(TO_KOR, kind, line.note, kor.partners["JPN"]))


def give_receipt(jpn: Site, kor: Site) -> None:
    """KOR gives its last receipt again."""
    line = kor.store.cosignature(kor.row(TO_KOR).id, RECEIPT, "KOR")
    assert line is not None
    jpn.do(KeepCosignature(TO_KOR, RECEIPT, line.note, jpn.partners["KOR"]))


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    jpn, kor = Site("JPN", tmp_path / "jpn.sqlite"), Site("KOR", tmp_path / "kor.sqlite")
    jpn.do(RecordEvent("started", "a test"))
    for number in (1, 2):
        exchange(jpn, kor, number)
    entry = jpn.store.entry(jpn.row(TO_KOR).id, 1)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, 1, leaf_hash(entry), "a broken disk")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(kor.signatory.gateway), jpn.partners["KOR"]))
    for site in (jpn, kor):
        site.now_ns = NOW + LATER
    old_jpn = switch(jpn, *SIGNING)
    kor.partners["JPN"] = believed(jpn.signatory, old_jpn, until=None)
    pass_on_signatures(jpn, kor)
    old_kor = switch(kor, *SIGNING)
    jpn.partners["KOR"] = believed(kor.signatory, old_kor, until=None)
    give_receipt(jpn, kor)
    return Pair(jpn, kor, old_jpn, old_kor)


def findings(site: Site, partner: Partner, own: Partner | None = None, path: Path | None = None) -> list[str]:
    """What is found in a store by somebody who has only the keys in use, and the newest bundle of the partner."""
    reader = SqliteReader(path or site.path)
    try:
        with reader.snapshot():
            outcome = verify_store(reader, without_old_keys(site.signatory), {partner.node: partner}, own=own)
    finally:
        reader.close()
    return [str(finding) for finding in outcome.findings]


RETIRED = (NOW + 2 * LATER) // SECOND
"""After the switch, POSIX seconds."""
STOLEN = (NOW - LATER) // SECOND
"""Before anything was signed."""


@pytest.mark.parametrize("until", [None, RETIRED])
def test_both_stores_are_sound_when_the_old_private_keys_are_gone(pair: Pair, until: int | None) -> None:
    exchange(pair.jpn, pair.kor, 3)
    assert not findings(pair.jpn, pair.bundle_of("KOR", until), pair.bundle_of("JPN", until))
    assert not findings(pair.kor, pair.bundle_of("JPN", until), pair.bundle_of("KOR", until))


def test_they_are_sound_when_nothing_was_sent_since_the_switch(pair: Pair) -> None:
    assert not findings(pair.jpn, pair.bundle_of("KOR", RETIRED), pair.bundle_of("JPN", RETIRED))
    assert not findings(pair.kor, pair.bundle_of("JPN", RETIRED), pair.bundle_of("KOR", RETIRED))


def test_they_are_sound_where_the_key_was_stolen_before_and_an_anchor_covers_what_it_signed(pair: Pair) -> None:
    assert not findings(pair.jpn, pair.bundle_of("KOR", STOLEN), pair.bundle_of("JPN", STOLEN))
    assert not findings(pair.kor, pair.bundle_of("JPN", STOLEN), pair.bundle_of("KOR", STOLEN))


def test_they_are_sound_after_a_second_switch(pair: Pair) -> None:
    older_jpn, older_kor = pair.old_jpn, pair.old_kor
    old_jpn, old_kor = switch(pair.jpn, *SIGNING), switch(pair.kor, *SIGNING)
    kor_says = believed(pair.kor.signatory, old_kor, older_kor, until=RETIRED)
    jpn_says = believed(pair.jpn.signatory, old_jpn, older_jpn, until=RETIRED)
    pair.kor.partners["JPN"], pair.jpn.partners["KOR"] = jpn_says, kor_says
    pass_on_signatures(pair.jpn, pair.kor)
    give_receipt(pair.jpn, pair.kor)
    assert not findings(pair.jpn, kor_says, jpn_says)
    assert not findings(pair.kor, jpn_says, kor_says)


def thief(site: Site, signatory: Signatory, path: Path) -> tuple[SqliteStore, Plan]:
    """A copy of a store in the hands of somebody who has these keys, and a plan on it."""
    shutil.copy(site.path, path)
    store = SqliteStore(path)
    plan = Plan(
        Heads.restore(store), store, signatory, site.partners, lambda: NOW, site.rulebook, verdicts=site.verdicts
    )
    return store, plan


def test_a_thief_appends_nothing_to_a_copied_store(pair: Pair, tmp_path: Path) -> None:
    pair.jpn.close()
    store, plan = thief(pair.jpn, pair.old_jpn, tmp_path / "copy.sqlite")
    plan.record_event("started", "what never was")
    plan.finish()
    store.commit(plan.commit)
    store.close()
    found = findings(pair.jpn, pair.bundle_of("KOR", RETIRED), path=tmp_path / "copy.sqlite")
    assert any("decisions/1" in each and "out of use, and nothing that is believed covers" in each for each in found)


def test_a_thief_who_says_in_the_store_that_his_key_is_in_use_is_not_believed(pair: Pair, tmp_path: Path) -> None:
    pair.jpn.close()
    store, plan = thief(pair.jpn, pair.old_jpn, tmp_path / "copy.sqlite")
    plan.record_event("started", "what never was")
    plan.commit.meta["key log"] = pair.old_jpn.in_use[KeyKind.LOG].encode()
    plan.finish()
    store.commit(plan.commit)
    store.close()
    reader = SqliteReader(tmp_path / "copy.sqlite")
    own = pair.bundle_of("JPN", RETIRED)
    outcome = verify_store(reader, pair.jpn.signatory, {"KOR": pair.bundle_of("KOR", RETIRED)}, own=own)
    reader.close()
    assert any("out of use, and nothing that is believed covers" in str(each) for each in outcome.findings)


def a_longer_tail(plan: Plan, stolen: Signatory) -> None:
    """JPN's thief gives KOR's replica entries that JPN never sent."""
    head = plan.ledgers.head(TO_KOR)
    assert head is not None
    entry = b"\x01\x02" + bytes(43)
    edge, tiles = head.edge.grow([leaf_hash(entry)])
    note = sign_checkpoint(Checkpoint(TO_KOR, edge.size, edge.root()), stolen.log)
    plan.ledgers.extend_replica(TO_KOR, edge, tiles, bundle.encode([entry]), note.encode(), [])


def a_receipt_of_its_own(plan: Plan, stolen: Signatory) -> None:
    """The same, and a receipt under KOR's stolen key of old beside it, with a date of old."""
    a_longer_tail(plan, stolen)
    append = plan.commit.appends[-1]
    text = Note.parse(append.checkpoint).text
    line = cosign(text, plan.signatory.receipt, NOW // SECOND)
    plan.commit.cosignatures.append(
        CosignatureRow(append.ledger, RECEIPT, append.first + append.count, Note(text, (line,)).encode(), NOW, "KOR")
    )


@pytest.mark.parametrize("forge", [a_longer_tail, a_receipt_of_its_own])
def test_a_forged_tail_of_a_replica_is_found(
    pair: Pair, tmp_path: Path, forge: Callable[[Plan, Signatory], None]
) -> None:
    pair.kor.close()
    store, plan = thief(pair.kor, pair.old_kor, tmp_path / "copy.sqlite")
    forge(plan, pair.old_jpn)
    plan.finish()
    store.commit(plan.commit)
    store.close()
    found = findings(
        pair.kor, pair.bundle_of("JPN", STOLEN), pair.bundle_of("KOR", STOLEN), path=tmp_path / "copy.sqlite"
    )
    assert any("a log key of JPN that is out of use, and nothing" in each for each in found), found


def test_a_replica_without_an_anchor_is_believed_as_far_as_own_receipts_are_older_than_the_retirement(
    pair: Pair, tmp_path: Path
) -> None:
    def forgotten(until: int) -> list[str]:
        shutil.copy(pair.kor.path, tmp_path / "copy.sqlite")
        db = apsw.Connection(str(tmp_path / "copy.sqlite"))
        db.execute("DELETE FROM cosignature WHERE kind = 'anchor'")
        db.close()
        own = pair.bundle_of("KOR", RETIRED)
        return findings(pair.kor, pair.bundle_of("JPN", until), own, path=tmp_path / "copy.sqlite")

    pair.kor.close()
    assert not [each for each in forgotten(RETIRED) if "log key" in each]
    assert any("out of use, and nothing that is believed covers" in each for each in forgotten(STOLEN))


def test_a_receipt_under_a_retired_key_that_none_covers_is_found(pair: Pair) -> None:
    # A thief of KOR's old receipt key, at JPN: it says that KOR has stored what came since.
    pair.jpn.take(launch_detection(5), RULES)
    row = pair.jpn.row(TO_KOR)
    text = Checkpoint(TO_KOR, row.size, row.root).text()
    line = cosign(text, pair.old_kor.receipt, NOW // SECOND)
    pair.jpn.do(KeepCosignature(TO_KOR, RECEIPT, Note(text, (line,)).encode(), pair.bundle_of("KOR", None)))
    found = findings(pair.jpn, pair.bundle_of("KOR", RETIRED), pair.bundle_of("JPN", RETIRED))
    assert [each for each in found if f"the receipt of size {row.size}" in each and "out of use" in each]


def test_a_statement_under_a_retired_key_is_believed_about_an_entry_that_is_covered(pair: Pair) -> None:
    kor = pair.bundle_of("KOR", None)
    pair.jpn.take(launch_detection(5), RULES)
    at = pair.jpn.row(TO_KOR).size - 1
    entry = pair.jpn.store.entry(pair.jpn.row(TO_KOR).id, at)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, at, leaf_hash(entry), "it is broken")
    pair.jpn.do(KeepUnopenable(TO_KOR, statement.sign(pair.old_kor.gateway), kor))
    # The entry stands under JPN's own key in use, so that it is there is certain; KOR's word about it is KOR's.
    assert not findings(pair.jpn, pair.bundle_of("KOR", RETIRED), pair.bundle_of("JPN", RETIRED))


def test_events_that_name_no_keys_are_found(pair: Pair) -> None:
    pair.jpn.do(RecordEvent("keys-switched", "log a to b", (b"nothing of the kind",)))
    found = findings(pair.jpn, pair.bundle_of("KOR", RETIRED))
    assert any("does not say which keys" in each for each in found)


def test_the_event_names_the_whole_keys_and_every_head(pair: Pair) -> None:
    (event,) = [each for each in pair.jpn.events() if each.kind == "keys-switched"]
    assert isinstance(event, ledger_pb2.NodeEvent)
    said = event.evidence[0].decode()
    assert f"{TO_KOR} " in said
    for signatory in (pair.old_jpn, pair.jpn.signatory):
        for kind in SIGNING:
            assert base64.b64encode(signatory.held(kind).public).decode() in said
