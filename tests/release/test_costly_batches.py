"""What a partner sends is bounded in the work that it makes, and nobody closes another's ledger by what he writes."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import RUN_ABSENT, Commit
from gateway.ledger.tiles import Edge
from gateway.release.batch import (
    ENTRY_BYTES,
    FURTHER_STATEMENT_BYTES,
    MAX_BATCH_ABSENT,
    MAX_UNUSABLE,
    STATEMENT_BYTES,
    IncomingBatch,
    statements_weight,
)
from gateway.release.replica import ReplicaError, RootsDiffer
from tests.release.onward import TO_KOR, american, put
from tests.release.test_keeping import SUSPENDED, govern, send
from tests.release.test_returned import FLASH, KEYS, held, take
from tests.release.test_returned import lost as lost  # a fixture
from tests.release.world import MakeSite, Site, as_sent, identifier, signatory_of
from tests.reports.examples import launch_detection

# --- what was passed on and is not believed


def not_known_here(place: int) -> report_pb2.Report:
    """A report of USA, of which KOR is not told which keys it has."""
    return american(launch_detection, place, report_id=str(uuid.UUID(int=place + 1)))


def broken(place: int) -> report_pb2.Report:
    """One that breaks a rule, by the limits of whoever gets it."""
    report = not_known_here(place)
    report.launch_detection.launch_point.latitude_deg = 91.0
    return report


@pytest.mark.parametrize("make", [not_known_here, broken])
def test_what_others_let_go_onward_never_closes_the_ledger_of_whoever_passes_it_on(
    jpn: Site, kor: Site, make: Callable[[int], report_pb2.Report]
) -> None:
    del kor.partners["USA"]
    passed_on = [
        ledger_pb2.EntryContent(onward_report=ledger_pb2.OnwardReport(report=make(place)))
        for place in range(MAX_UNUSABLE + 1)
    ]
    own = launch_detection(1, marking__releasable_to=["KOR"])
    put(jpn, "KOR", *passed_on, ledger_pb2.EntryContent(report=own))
    received = kor.do(kor.receive(jpn.incoming(TO_KOR)))
    assert received.reports == 1
    assert kor.store.received("JPN", identifier(own)) is not None
    assert len(received.unopenable) == len(passed_on)
    assert kor.store.received("USA", identifier(passed_on[0].onward_report.report)) is None
    assert kor.row(TO_KOR).root == jpn.row(TO_KOR).root
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []


def test_beside_what_was_passed_on_the_owners_own_junk_counts_as_before(jpn: Site, kor: Site) -> None:
    del kor.partners["USA"]
    junk = [ledger_pb2.EntryContent()] * (MAX_UNUSABLE + 1)
    passed_on = [
        ledger_pb2.EntryContent(onward_report=ledger_pb2.OnwardReport(report=not_known_here(place)))
        for place in range(MAX_UNUSABLE)
    ]
    put(jpn, "KOR", *junk, *passed_on[: MAX_UNUSABLE - 1])
    plan = kor.plan()
    with pytest.raises(ReplicaError, match=f"{MAX_UNUSABLE + 1} of its entries cannot be used"):
        kor.receive(jpn.incoming(TO_KOR)).apply(plan)
    assert plan.commit == Commit()
    # The opening of the epoch, and these: no more than half of them are junk.
    put(jpn, "KOR", passed_on[-1])
    assert len(kor.do(kor.receive(jpn.incoming(TO_KOR))).unopenable) == 2 * MAX_UNUSABLE + 1


# --- entries that are given as their hashes


def hashes(count: int, *, root: bytes | None = None, reason: bytes | None = None) -> IncomingBatch:
    """JPN's first entries, all given as hashes."""
    leaves = [leaf_hash(b"entry %d" % index) for index in range(count)]
    edge, _ = Edge.empty().grow(leaves)
    jpn = signatory_of("JPN")
    kind = EntryStatementKind.ABSENT
    absent = [
        (index, leaf, reason or EntryStatement(kind, "JPN", FLASH, index, leaf, "x").sign(jpn.gateway))
        for index, leaf in enumerate(leaves)
    ]
    note = sign_checkpoint(Checkpoint(FLASH, count, root or edge.root()), jpn.log)
    return IncomingBatch(FLASH, 0, count, bundle.encode([b""] * count, allow_absent=True), absent, note.encode())


def test_a_batch_gives_so_many_entries_as_hashes_and_no_more(kor: Site) -> None:
    with pytest.raises(ReplicaError, match=f"{MAX_BATCH_ABSENT + 1} entries as hashes"):
        kor.receive(hashes(MAX_BATCH_ABSENT + 1)).apply(kor.plan())
    kor.do(kor.receive(hashes(MAX_BATCH_ABSENT)))
    assert kor.row(FLASH).size == MAX_BATCH_ABSENT
    # Nor does one that goes on from what is held.
    with pytest.raises(ReplicaError, match="larger than a batch may be"):
        kor.receive(hashes(2 * MAX_BATCH_ABSENT)).apply(kor.plan())


def test_under_a_false_root_no_reason_is_looked_at(kor: Site) -> None:
    with pytest.raises(RootsDiffer):
        kor.receive(hashes(3, root=bytes(32), reason=b"no note at all")).apply(kor.plan())
    with pytest.raises(ReplicaError, match="batch at 0: note"):
        kor.receive(hashes(3, reason=b"no note at all")).apply(kor.plan())


def test_under_no_signature_of_its_owner_no_root_is_computed(kor: Site) -> None:
    by_usa = sign_checkpoint(Checkpoint(FLASH, 3, bytes(32)), signatory_of("USA").log).encode()
    with pytest.raises(ReplicaError, match="no known key"):
        kor.receive(replace(hashes(3), checkpoint=by_usa)).apply(kor.plan())


def test_whatever_was_kept_back_of_a_ledger_its_recipient_takes_it_in_batch_by_batch(jpn: Site, kor: Site) -> None:
    assert RUN_ABSENT <= MAX_BATCH_ABSENT
    count = 3 * MAX_BATCH_ABSENT
    for seed in range(4):
        put(jpn, "KOR", *([ledger_pb2.EntryContent(cover=ledger_pb2.Cover())] * (count // 4)))
        if seed == 1:
            send(jpn, kor)
    before = kor.row(TO_KOR).size
    govern(jpn, SUSPENDED)
    sent: list[int] = []
    while kor.row(TO_KOR).size < jpn.row(TO_KOR).size:
        sent.append(len(send(jpn, kor)))
    assert sum(sent) == jpn.row(TO_KOR).size - before > MAX_BATCH_ABSENT
    assert max(sent) <= MAX_BATCH_ABSENT
    assert len(sent) <= 3, "and in no more batches than that takes"
    # Also where the recipient begins afresh, and where what was sent is not kept back.
    batches = runs(jpn, TO_KOR)
    assert batches[0].count > before // 2
    assert max(len(batch.absent) for batch in batches) <= MAX_BATCH_ABSENT


def runs(site: Site, origin: Origin) -> Sequence[IncomingBatch]:
    """What is read of a ledger, run by run."""
    found: list[IncomingBatch] = []
    while (position := sum(batch.count for batch in found)) < site.row(origin).size:
        found.append(as_sent(origin, site.run(origin, position)))
    return found


def test_what_came_back_in_one_batch_can_be_sent_again_whatever_becomes_of_it(
    lost: Site, jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    put(jpn, "KOR", *([ledger_pb2.EntryContent(cover=ledger_pb2.Cover())] * (3 * RUN_ABSENT)))
    kor.do(kor.receive(jpn.incoming(FLASH, kor.row(FLASH).size)))
    assert lost.do(take(held(kor), lost, KEYS)) == kor.row(FLASH).size
    segments = lost.store.segments(lost.row(FLASH).id, 0, 1 << 30)
    assert max(segment.count for segment in segments) <= RUN_ABSENT
    assert lost.row(FLASH).root == kor.row(FLASH).root
    assert verify_store(lost.store, lost.signatory, lost.partners).findings == []
    # KOR has lost it all, and begins afresh: what was never confirmed goes on elsewhere, so all of it goes as hashes.
    again = make_site("KOR", "again")
    sent: list[int] = []
    while not sent or again.row(FLASH).size < lost.row(FLASH).size:
        sent.append(len(send(lost, again, FLASH)))
    assert sum(sent) == kor.row(FLASH).size
    assert again.row(FLASH).root == kor.row(FLASH).root


# --- what they count for


def test_a_batch_counts_for_all_that_came_and_for_what_its_statements_and_entries_cost(jpn: Site) -> None:
    put(jpn, "KOR", ledger_pb2.EntryContent(report=launch_detection(1)))
    honest = jpn.incoming(TO_KOR)
    assert honest.weight == len(honest.entries) + len(honest.checkpoint)
    assert jpn.receive(replace(honest, origin=Origin("KOR", "JPN", "flash", 1))).weight == honest.weight
    bare = replace(honest, checkpoint=b"")
    noted = replace(bare, absent=[(0, bytes(32), b"n" * 5000), (1, bytes(32), b"n")])
    assert noted.weight - bare.weight == 5032 + STATEMENT_BYTES
    junk = replace(bare, count=100, entries=bundle.encode([b"x"] * 100))
    assert junk.weight == 100 * ENTRY_BYTES
    # What it says of itself need not be true.
    assert replace(junk, count=1 << 60).weight == len(junk.entries) // 2 * ENTRY_BYTES
    assert replace(junk, count=0).weight == len(junk.entries)


def test_statements_that_make_a_long_step_count_for_far_more_than_those_of_a_short_one() -> None:
    assert statements_weight(MAX_UNUSABLE) == MAX_UNUSABLE * STATEMENT_BYTES
    most = statements_weight(3653)
    assert most == MAX_UNUSABLE * STATEMENT_BYTES + (3653 - MAX_UNUSABLE) * FURTHER_STATEMENT_BYTES
    # Of a lane of which 1 MiB a second is taken in there is no more than one such batch in half a minute.
    assert most > 30 << 20


def test_no_sealed_entry_has_so_few_bytes_that_it_counts_for_more(jpn: Site) -> None:
    put(jpn, "KOR", ledger_pb2.EntryContent(cover=ledger_pb2.Cover()))
    run = jpn.run(TO_KOR)
    assert min(map(len, bundle.decode(run.entries, run.count))) > ENTRY_BYTES
