"""A node whose store was set back is shown so by a partner, and goes on in the next generations."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.steps import FollowSuccessor, KeepCosignature, RecordEvent
from gateway.release.succeeding import Succeed
from gateway.release.witness import Beat, read
from tests.release.test_witness import beats
from tests.release.world import RELEASE_ALL, MakeSite, Site, partner_of, rules
from tests.reports.examples import launch_detection

WITNESS = Origin.witness("JPN", 1)
DECISIONS = Origin.decisions("JPN", 1)
BEAT = Beat(frozenset({"KOR", "USA"}))
LOST, FORK = ledger_pb2.SUCCESSION_REASON_LOST_TAIL, ledger_pb2.SUCCESSION_REASON_FORK


def follow(kor: Site, jpn: Site, origin: Origin = WITNESS) -> None:
    """KOR takes what JPN has, and JPN its receipt."""
    row = kor.store.ledger(origin)
    first = 0 if row is None else row.size
    if first < jpn.row(origin).size:
        receipt = kor.do(kor.receive(jpn.incoming(origin, first))).receipt
        jpn.do(KeepCosignature(origin, CosignatureKind.RECEIPT, receipt, partner_of("KOR")))


def checkpoint_of(site: Site, origin: Origin = WITNESS) -> bytes:
    row = site.row(origin)
    raw = site.store.checkpoint(row.id, row.size)
    assert raw is not None
    return raw


@pytest.fixture
def restored(jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path) -> Site:
    """JPN on an older copy of its store; KOR holds what it had since."""
    jpn.do(RecordEvent("started", "the first time"))
    jpn.do(BEAT)
    follow(kor, jpn)
    jpn.do(BEAT)
    follow(kor, jpn)
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    jpn.do(BEAT)
    follow(kor, jpn)
    copy = make_site("JPN", "copy")
    copy.do(RecordEvent("started", "again"))
    return copy


def events(site: Site, origin: Origin) -> dict[str, ledger_pb2.NodeEvent]:
    contents = site.contents(origin).values()
    return {content.node_event.kind: content.node_event for content in contents if content.HasField("node_event")}


def test_the_witness_ledger_and_the_decisions_go_on_in_their_next_generations(restored: Site, kor: Site) -> None:
    evidence = checkpoint_of(kor)
    successor = restored.do(Succeed(WITNESS, LOST, evidence))
    assert successor == WITNESS.successor()
    told = events(restored, DECISIONS.successor())
    assert told.keys() == {"decisions-set-back", "ledger-succeeded"}
    for event in told.values():
        assert list(event.evidence) == [evidence]
    assert f"root {restored.row(DECISIONS).root.hex()}" in told["decisions-set-back"].detail
    assert f"root {restored.row(WITNESS).root.hex()}" in told["ledger-succeeded"].detail
    restored.do(BEAT)
    (last,) = beats_after_succession(restored).values()
    assert [head.origin for head in last] == [DECISIONS.successor()]
    assert verify_store(restored.store, restored.signatory, restored.partners).findings == []


def beats_after_succession(site: Site) -> dict[int, list[Checkpoint]]:
    """The beats of the second generation: its entries 0 and 1 open the epoch and name what went before."""
    origin = WITNESS.successor()
    found: dict[int, list[Checkpoint]] = {}
    for index in range(2, site.row(origin).size):
        entry = site.store.entry(site.row(origin).id, index)
        assert entry is not None
        payload = site.opener.payload(origin, index, entry, lambda at: site.store.entry(site.row(origin).id, at) or b"")
        if payload is not None:
            found[index] = list(read(site.node, payload).heads)
    return found


def test_the_decisions_agree_up_to_what_a_partner_has_confirmed(restored: Site, kor: Site) -> None:
    confirmed = list(beats(restored).values())[-1].heads
    restored.do(Succeed(WITNESS, LOST, checkpoint_of(kor)))
    content = restored.contents(DECISIONS.successor())[1]
    assert content.succession.reason == LOST
    agreed = Checkpoint(DECISIONS, content.succession.agreed_size, content.succession.agreed_root)
    assert agreed in confirmed


def test_the_partner_follows_both_histories_to_their_end(restored: Site, kor: Site) -> None:
    successor = restored.do(Succeed(WITNESS, LOST, checkpoint_of(kor)))
    kor.do(FollowSuccessor(WITNESS, successor))
    restored.do(BEAT)
    follow(kor, restored, successor)
    assert kor.row(successor).root == restored.row(successor).root
    assert kor.row(WITNESS).size > restored.row(WITNESS).size, "the old history stays as evidence"
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []


def test_two_checkpoints_of_one_size_are_kept_as_a_fork(restored: Site, kor: Site) -> None:
    restored.do(BEAT)
    claimed = checkpoint_of(kor)
    held = checkpoint_of(restored)
    assert Checkpoint.parse(Note.parse(claimed).text).size == Checkpoint.parse(Note.parse(held).text).size
    restored.do(Succeed(WITNESS, FORK, claimed))
    event = events(restored, DECISIONS.successor())["fork-evidence"]
    assert list(event.evidence) == [claimed, held]
    assert verify_store(restored.store, restored.signatory, restored.partners).findings == []


def test_a_copy_from_before_a_set_back_goes_on_above_every_generation(restored: Site, kor: Site) -> None:
    claimed = WITNESS.successor().successor()
    successor = restored.do(Succeed(claimed, LOST, b"a checkpoint of the third generation"))
    assert successor.generation == 4
    assert restored.heads.current("JPN", None, "decisions").generation == 4
    assert restored.do(Succeed(WITNESS, LOST, checkpoint_of(kor))) == WITNESS.successor()
    assert verify_store(restored.store, restored.signatory, restored.partners).findings == []


def test_what_was_decided_in_the_commit_that_ends_the_decisions_stands_in_them(restored: Site, kor: Site) -> None:
    restored.do_all(RecordEvent("before", ""), Succeed(WITNESS, LOST, checkpoint_of(kor)), RecordEvent("after", ""))
    assert "before" in events(restored, DECISIONS)
    assert "after" in events(restored, DECISIONS.successor())
    restored.take(launch_detection(7), rules(KOR=RELEASE_ALL))
    restored.do(BEAT)
    assert verify_store(restored.store, restored.signatory, restored.partners).findings == []
