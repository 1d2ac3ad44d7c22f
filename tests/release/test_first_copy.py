"""The same batches by two ways, in any order and cut anywhere: the replica is as if they had come once."""

from __future__ import annotations

import uuid
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.tiles import Edge
from gateway.release.batch import IncomingBatch
from gateway.release.evidence import Contradicted
from gateway.release.replica import ReplicaError
from gateway.release.steps import KeepCosignature, SignatureError
from tests.release.test_hostile_batches import ORIGIN, Forged, holding
from tests.release.world import MakeSite, Site, signatory_of
from tests.reports.examples import launch_detection

ENTRIES = 9


class Told:
    """One ledger of JPN for KOR, of which any part can be sent as a batch."""

    def __init__(self) -> None:
        forged = Forged()
        epoch, opening = forged.opened()
        reports = [launch_detection(report_id=f"00000000-0000-4000-8000-{n:012}") for n in range(ENTRIES - 1)]
        self.entries = [
            opening, *(epoch.seal(at, holding(each).SerializeToString()) for at, each in enumerate(reports, 1))
        ]  # fmt: skip

    def batch(self, first: int, end: int) -> IncomingBatch:
        edge, _ = Edge.empty().grow([leaf_hash(entry) for entry in self.entries[:end]])
        note = sign_checkpoint(Checkpoint(ORIGIN, end, edge.root()), signatory_of("JPN").log)
        return IncomingBatch(ORIGIN, first, end - first, bundle.encode(self.entries[first:end]), [], note.encode())


@pytest.fixture(scope="module")
def told() -> Told:
    return Told()


def size(site: Site) -> int:
    row = site.store.ledger(ORIGIN)
    return 0 if row is None else row.size


def delivered(site: Site) -> int:
    return site.store.last_feed()


def test_a_batch_that_is_held_is_passed_over_and_changes_nothing(kor: Site, told: Told) -> None:
    kor.do(kor.receive(told.batch(0, 4)))
    kor.do(kor.receive(told.batch(4, 8)))
    before = delivered(kor)
    for first, end in ((0, 4), (4, 8), (0, 8), (1, 3), (7, 8)):
        plan = kor.plan()
        assert kor.receive(told.batch(first, end)).apply(plan).held
        assert plan.empty, "nothing is to be committed"
    assert (size(kor), delivered(kor)) == (8, before)


def test_of_a_batch_that_overlaps_only_what_is_not_held_is_taken(kor: Site, told: Told) -> None:
    kor.do(kor.receive(told.batch(0, 5)))
    before = delivered(kor)
    received = kor.do(kor.receive(told.batch(2, 9)))
    assert (received.held, received.size, received.reports) == (False, 9, 4)
    assert delivered(kor) - before == 4


def test_what_lies_beyond_the_end_of_the_replica_is_refused_as_ever(kor: Site, told: Told) -> None:
    kor.do(kor.receive(told.batch(0, 3)))
    with pytest.raises(ReplicaError, match="begins at 5, and the replica holds 3"):
        kor.do(kor.receive(told.batch(5, 7)))


def test_in_one_commit_the_first_copy_wins_as_well(kor: Site, told: Told) -> None:
    plan = kor.plan()
    assert not kor.receive(told.batch(0, 5)).apply(plan).held
    assert kor.receive(told.batch(0, 3)).apply(plan).held
    assert kor.receive(told.batch(1, 7)).apply(plan).size == 7
    kor.keep(plan)
    assert (size(kor), delivered(kor)) == (7, 6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_two_ways_of_one_ledger_give_what_one_way_gives(data: st.DataObject, told: Told, make_site: MakeSite) -> None:
    kor = make_site("KOR", uuid.uuid4().hex)
    ways = [0, 0]
    while min(ways) < ENTRIES:
        way = data.draw(st.sampled_from([each for each in (0, 1) if ways[each] < ENTRIES]))
        end = data.draw(st.integers(ways[way] + 1, ENTRIES))
        kor.do(kor.receive(told.batch(ways[way], end)))
        ways[way] = end
    assert (size(kor), delivered(kor)) == (ENTRIES, ENTRIES - 1)


def test_a_held_batch_under_another_history_is_evidence_or_refused(kor: Site, told: Told) -> None:
    kor.do(kor.receive(told.batch(0, 4)))
    kor.do(kor.receive(told.batch(4, 8)))
    other = Told()
    with pytest.raises(Contradicted):
        kor.do(kor.receive(other.batch(0, 4)))
    # No batch of ours ended at 6, so that nothing on record contradicts it by itself: the tree does.
    with pytest.raises(ReplicaError, match="another root at size 6"):
        kor.do(kor.receive(other.batch(2, 6)))
    # One that begins in what is held and goes on otherwise.
    with pytest.raises(ReplicaError, match="do not give the root"):
        kor.do(kor.receive(other.batch(2, 9)))


def test_a_held_batch_that_nobody_signed_is_refused(kor: Site, told: Told) -> None:
    kor.do(kor.receive(told.batch(0, 4)))
    batch = told.batch(0, 2)
    unsigned = batch.checkpoint.split(b"\n\n")[0] + b"\n\n"
    with pytest.raises(ReplicaError):
        kor.do(kor.receive(replace(batch, checkpoint=unsigned)))
    with pytest.raises(ReplicaError, match="3 entries from 0 on were sent"):
        kor.do(kor.receive(replace(batch, count=3)))


def test_what_was_never_delivered_for_want_of_sense_stays_so(kor: Site) -> None:
    forged = Forged()
    batch = forged.sealed(ledger_pb2.EntryContent())
    assert len(kor.do(kor.receive(batch)).unopenable) == 1
    plan = kor.plan()
    held = kor.receive(batch).apply(plan)
    assert (held.held, list(held.unopenable)) == (True, [])


@pytest.mark.parametrize("kind", [CosignatureKind.PQ, CosignatureKind.ANCHOR])
def test_a_further_signature_on_the_end_of_a_batch_that_was_passed_over_is_passed_over_too(
    kor: Site, told: Told, kind: CosignatureKind
) -> None:
    """The carried way has brought two batches in one; then the direct one brings the first of them, and its line."""
    kor.do(kor.receive(told.batch(0, 2)))
    kor.do(kor.receive(told.batch(2, 8)))
    late = told.batch(2, 5)
    assert kor.do(kor.receive(late)).held
    text, keys = Note.parse(late.checkpoint).text, signatory_of("JPN")
    pq = Note(text, (cosign(text, keys.pq, 1_800_000_000),)).encode()
    owner = kor.receive(late).owner
    plan = kor.plan()
    assert KeepCosignature(ORIGIN, kind, pq if kind is CosignatureKind.PQ else late.checkpoint, owner).apply(plan) == 0
    assert plan.empty
    beyond = Checkpoint(ORIGIN, 9, b"\1" * 32).text()
    with pytest.raises(SignatureError, match="size 9, which is not here"):
        KeepCosignature(ORIGIN, kind, Note(beyond, (cosign(beyond, keys.pq, 1),)).encode(), owner).apply(plan)
