"""A partner's batch becomes part of the replica whole, or nothing of it does; what it holds is delivered once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import verify_cosignature
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import Commit, CosignatureKind, FeedFilter, FeedItem, FeedRow, ReceivedRow
from gateway.ledger.tiles import Edge
from gateway.release.batch import MAX_BATCH_ENTRIES, IncomingBatch
from gateway.release.pipeline import TakeReport
from gateway.release.planned.ledger_writer import LedgerWriter
from gateway.release.replica import ReplicaError
from gateway.release.steps import FollowSuccessor
from gateway.release.succeeding import Succeed
from gateway.seal.entry import HEADER_SIZE
from tests.release.world import (
    RELEASE_ALL,
    MakeSite,
    Site,
    anything,
    as_sent,
    identifier,
    partner_of,
    rules,
    signatory_of,
)
from tests.reports.examples import NOW, SECOND, cancellation, launch_detection
from tests.seal.parties import flipped

ORIGIN = Origin("JPN", "KOR", "flash", 1)
RULES = rules(KOR=RELEASE_ALL)
ALL = FeedFilter(frozenset({1, 2, 3}))


def feed(site: Site) -> Sequence[FeedRow]:
    """Everything that subscribers are given of partners."""
    return site.store.feed(0, 1000, ALL)[0]


def given_to(site: Site) -> list[bytes]:
    """Identifiers of the reports among it."""
    return [row.report_id for row in feed(site) if row.item is FeedItem.REPORT]


def send(jpn: Site, *seeds: int) -> None:
    """JPN releases reports to KOR, one commit each."""
    for seed in seeds:
        jpn.take(launch_detection(seed), RULES)


def put(jpn: Site, *contents: ledger_pb2.EntryContent | bytes) -> None:
    """JPN's gateway, gone wrong, seals these contents for KOR as they are."""
    plan = jpn.plan()
    for content in contents:
        raw = content if isinstance(content, bytes) else content.SerializeToString()
        plan.ledgers.writer("KOR", "flash").append(raw)
    jpn.keep(plan)


def put_raw(jpn: Site, change: Callable[[list[bytes]], list[bytes]], *contents: ledger_pb2.EntryContent) -> None:
    """As `put`, with the sealed entries changed before they are appended and signed."""
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    for content in contents:
        writer.append(content.SerializeToString())
    writer.entries[:] = change(writer.entries)
    jpn.keep(plan)


def holding(report: report_pb2.Report) -> ledger_pb2.EntryContent:
    return ledger_pb2.EntryContent(report=report)


def withdrawing(report: report_pb2.Report) -> ledger_pb2.EntryContent:
    notice = ledger_pb2.Withdrawal(
        report_id=report.report_id, traffic_class=report.traffic_class, precedence=report.precedence
    )
    notice.time.FromNanoseconds(NOW)
    return ledger_pb2.EntryContent(withdrawal=notice)


def assert_equal_roots(jpn: Site, kor: Site) -> None:
    there, here = jpn.row(ORIGIN), kor.row(ORIGIN)
    assert (here.size, here.root, here.replica) == (there.size, there.root, True)
    head = kor.heads.get(ORIGIN)
    assert head is not None
    assert (head.edge.size, head.edge.root()) == (there.size, there.root)


# --- what is right


def test_a_receiver_whose_clock_is_slow_delivers_what_lies_ahead_of_it_and_flags_it(jpn: Site, kor: Site) -> None:
    send(jpn, 1, 2)
    kor.now_ns = NOW - 3_600 * SECOND
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert received.unopenable == []
    assert given_to(kor) == [identifier(launch_detection(1)), identifier(launch_detection(2))]
    assert [warning.split(" is ")[0] for warning in received.clock_warnings] == [
        f"report_time of {launch_detection(seed).report_id} from JPN" for seed in (1, 2)
    ]


def test_a_batch_gives_an_equal_replica_and_a_receipt_that_its_owner_can_check(jpn: Site, kor: Site) -> None:
    send(jpn, 1, 2, 3)
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert_equal_roots(jpn, kor)
    assert (received.reports, received.withdrawals, received.unopenable, received.size) == (3, 0, [], 4)
    note = Note.parse(received.receipt)
    checkpoint = jpn.store.checkpoint(jpn.row(ORIGIN).id, 4)
    assert checkpoint is not None
    assert note.text == Note.parse(checkpoint).text
    (line,) = note.signatures
    assert verify_cosignature(note.text, line, partner_of("KOR").receipt[0]) == NOW // SECOND
    kept = kor.store.cosignature(kor.row(ORIGIN).id, CosignatureKind.RECEIPT, "KOR")
    assert kept is not None
    assert kept.note == received.receipt


def test_every_report_is_delivered_once_in_order(jpn: Site, kor: Site) -> None:
    send(jpn, 3, 1, 2)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert given_to(kor) == [identifier(launch_detection(seed)) for seed in (3, 1, 2)]
    row = feed(kor)[0]
    assert (row.originator, row.ledger, row.index, row.received_ns) == ("JPN", kor.row(ORIGIN).id, 1, NOW)


def test_the_replica_serves_the_same_bytes_as_the_ledger(jpn: Site, kor: Site) -> None:
    send(jpn, 1, 2)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert as_sent(ORIGIN, kor.run(ORIGIN)) == jpn.incoming(ORIGIN)


SPLITS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4000), st.sampled_from(["keep", "lose", "restart"])),
                  min_size=1, max_size=6)  # fmt: skip


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(SPLITS, st.booleans())
def test_however_the_transfer_is_split_and_interrupted_the_replica_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, transfers: list[tuple[int, int, str]], two_at_once: bool
) -> None:
    where = tmp_path_factory.mktemp("transfer")
    jpn, kor = Site("JPN", where / "jpn"), Site("KOR", where / "kor")
    seed = 0
    for count, max_bytes, fate in [*transfers, (1, 1 << 20, "keep")]:
        jpn.do_all(*(TakeReport.of(launch_detection(seed + n), "c2", anything) for n in range(count)), rulebook=RULES)
        seed += count
        drain(jpn, kor, max_bytes, fate, two_at_once)
    drain(jpn, kor, 1 << 20, "keep", two_at_once)
    assert_equal_roots(jpn, kor)
    assert given_to(kor) == [identifier(launch_detection(n)) for n in range(seed)]
    whole = jpn.store.run(jpn.row(ORIGIN).id, 0, 1 << 30)
    assert kor.store.run(kor.row(ORIGIN).id, 0, 1 << 30) == whole
    assert kor.store.unopenable(kor.row(ORIGIN).id) == []
    jpn.close()
    kor.close()


def drain(jpn: Site, kor: Site, max_bytes: int, fate: str, two_at_once: bool) -> None:
    """Sends what KOR lacks; `fate` befalls the first commit. With `two_at_once` a commit takes two batches."""
    while True:
        head = kor.heads.get(ORIGIN)
        position = 0 if head is None else head.edge.size
        plan = kor.plan()
        for _ in range(2 if two_at_once else 1):
            run = jpn.store.run(jpn.row(ORIGIN).id, position, max_bytes)
            if run is not None:
                kor.receive(as_sent(ORIGIN, run)).apply(plan)
                position = run.first + run.count
        if plan.empty:
            return
        if fate == "lose":
            # The connection, or the process, went away before the commit.
            fate = "keep"
            continue
        kor.keep(plan)
        if fate == "restart":
            kor.restart()
            fate = "keep"


# --- what is refused


def assert_refused(site: Site, batch: IncomingBatch, match: str = ".") -> None:
    """The batch is refused, and nothing of it is kept."""
    plan = site.plan()
    with pytest.raises(ReplicaError, match=match):
        site.receive(batch).apply(plan)
    assert plan.finish() == []
    assert plan.commit == Commit()
    assert plan.ledgers.changed == {}


@pytest.fixture
def batch(jpn: Site) -> IncomingBatch:
    """Three reports in two segments, sent as one batch."""
    send(jpn, 1)
    jpn.do_all(*(TakeReport.of(launch_detection(seed), "c2", anything) for seed in (2, 3)), rulebook=RULES)
    return jpn.incoming(ORIGIN)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True))
def test_a_flipped_bit_anywhere_in_the_entries_is_refused(batch: IncomingBatch, kor: Site, place: float) -> None:
    assert_refused(kor, replace(batch, entries=flipped(batch.entries, int(place * 8 * len(batch.entries)))))


def test_a_flipped_bit_anywhere_in_the_checkpoint_is_refused(batch: IncomingBatch, kor: Site) -> None:
    for bit in range(8 * len(batch.checkpoint)):
        assert_refused(kor, replace(batch, checkpoint=flipped(batch.checkpoint, bit)))
    kor.do(kor.receive(batch))


def entries_of(batch: IncomingBatch) -> list[bytes]:
    return bundle.decode(batch.entries, batch.count, allow_absent=True)


def with_entries(batch: IncomingBatch, entries: Sequence[bytes]) -> IncomingBatch:
    return replace(batch, count=len(entries), entries=bundle.encode(entries, allow_absent=True))


def test_reordered_truncated_or_lengthened_batches_are_refused(batch: IncomingBatch, kor: Site) -> None:
    opening, one, two, three = entries_of(batch)
    assert_refused(kor, with_entries(batch, [opening, two, one, three]), "do not give the root")
    assert_refused(kor, with_entries(batch, [opening, one, two]), "checkpoint is of size 4")
    assert_refused(kor, with_entries(batch, [opening, one, two, three, three]), "checkpoint is of size 4")
    assert_refused(kor, with_entries(batch, [opening, one, one, three]), "do not give the root")
    assert_refused(kor, replace(batch, entries=batch.entries[:-1]), "inside entry")
    assert_refused(kor, replace(batch, entries=batch.entries + b"\x00"), "after its 4 entries")
    assert_refused(kor, replace(batch, count=3), "checkpoint is of size 4")
    assert_refused(kor, replace(batch, count=0), "checkpoint is of size 4")
    assert_refused(kor, replace(batch, count=-1), "checkpoint is of size 4")


def test_a_batch_that_leaves_a_gap_is_refused_and_one_that_is_held_is_passed_over(jpn: Site, kor: Site) -> None:
    send(jpn, 1, 2)
    first = jpn.incoming(ORIGIN, 0, 1)
    second = jpn.incoming(ORIGIN, 2, 1)
    assert_refused(kor, second, "replica holds 0 entries")
    assert_refused(kor, replace(second, first=0), "checkpoint is of size 3")
    kor.do(kor.receive(first))
    assert kor.do(kor.receive(first)).held
    assert_refused(kor, replace(second, first=-1), "1 entries from -1 on were sent")
    assert_refused(kor, replace(second, first=3), "replica holds 2 entries")
    # All of the ledger in one: what is held is cut off.
    assert kor.do(kor.receive(jpn.incoming(ORIGIN))).size == 3
    assert kor.do(kor.receive(second)).held
    assert_equal_roots(jpn, kor)


def test_a_batch_of_another_ledger_is_refused(jpn: Site, kor: Site, batch: IncomingBatch) -> None:
    jpn.take(launch_detection(9, precedence=report_pb2.PRECEDENCE_ROUTINE), RULES)
    other = jpn.incoming(Origin("JPN", "KOR", "routine", 1))
    assert_refused(kor, replace(other, origin=ORIGIN), "signed by no known key")
    assert_refused(kor, replace(batch, origin=ORIGIN.successor()), "signed by no known key")


def test_a_batch_signed_by_another_key_is_refused(batch: IncomingBatch, kor: Site) -> None:
    checkpoint = Checkpoint.parse(Note.parse(batch.checkpoint).text)
    for key in (signatory_of("USA").log, LogKey(b"x" * 32)):
        forged = sign_checkpoint(checkpoint, key).encode()
        assert_refused(kor, replace(batch, checkpoint=forged), "signed by no known key")


def test_a_signed_root_that_the_entries_do_not_give_is_refused(batch: IncomingBatch, kor: Site) -> None:
    lie = sign_checkpoint(Checkpoint(ORIGIN, 4, b"r" * 32), signatory_of("JPN").log).encode()
    assert_refused(kor, replace(batch, checkpoint=lie), "do not give the root")


def test_a_history_that_forks_from_the_replica_is_refused(jpn: Site, kor: Site, make_site: MakeSite) -> None:
    send(jpn, 1)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    other = make_site("JPN", "other")
    send(other, 5, 6)
    assert_refused(kor, other.incoming(ORIGIN, 2), "do not give the root")


def test_a_batch_of_too_many_entries_is_refused_before_any_work_is_done(kor: Site) -> None:
    count = MAX_BATCH_ENTRIES + 1
    entries = [b"x"] * count
    edge, _ = Edge.empty().grow([leaf_hash(b"x")] * count)
    note = sign_checkpoint(Checkpoint(ORIGIN, count, edge.root()), signatory_of("JPN").log).encode()
    assert_refused(kor, IncomingBatch(ORIGIN, 0, count, bundle.encode(entries), (), note), "may have 8192")


def test_a_batch_for_a_ledger_that_has_ended_is_refused(jpn: Site, kor: Site) -> None:
    send(jpn, 1, 2)
    kor.do(kor.receive(jpn.incoming(ORIGIN, 0, 1)))
    rest = jpn.incoming(ORIGIN, 2)
    plan = kor.plan()
    FollowSuccessor(ORIGIN, ORIGIN.successor()).apply(plan)
    with pytest.raises(ReplicaError, match="has ended"):
        kor.receive(rest).apply(plan)
    kor.keep(plan)
    assert_refused(kor, rest, "has ended")
    kor.restart()
    assert_refused(kor, rest, "has ended")


# --- what cannot be used


def assert_unusable(kor: Site, batch: IncomingBatch, index: int, reason: str = "") -> None:
    """The batch is kept; its entry at `index` is answered with a signed statement and is not delivered."""
    before = len(feed(kor))
    received = kor.do(kor.receive(batch))
    (raw,) = received.unopenable
    statement = EntryStatement.open(
        raw, partner_of("KOR").gateway, kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=ORIGIN
    )
    entry = kor.store.entry(kor.row(ORIGIN).id, index)
    assert entry is not None
    assert (statement.index, statement.leaf_hash) == (index, leaf_hash(entry))
    assert reason in statement.reason
    assert [row.note for row in kor.store.unopenable(kor.row(ORIGIN).id)] == [raw]
    assert len(feed(kor)) == before + received.reports + received.withdrawals
    assert kor.row(ORIGIN).size == received.size


def break_last(entries: list[bytes]) -> list[bytes]:
    return [*entries[:-1], flipped(entries[-1], 8 * HEADER_SIZE)]


def test_an_entry_that_does_not_open_is_kept_and_answered(jpn: Site, kor: Site) -> None:
    put_raw(jpn, break_last, holding(launch_detection(1)), holding(launch_detection(2)))
    assert_unusable(kor, jpn.incoming(ORIGIN), 2, "does not open")
    assert given_to(kor) == [identifier(launch_detection(1))]


def test_what_is_no_entry_at_all_is_kept_and_answered(jpn: Site, kor: Site) -> None:
    put_raw(jpn, lambda entries: [*entries, b"\x00"], holding(launch_detection(1)))
    assert_unusable(kor, jpn.incoming(ORIGIN), 2, "an entry has 1 bytes")
    assert given_to(kor) == [identifier(launch_detection(1))]


def test_an_epoch_that_is_not_wrapped_for_this_node_cannot_be_used_nor_can_what_it_seals(jpn: Site, kor: Site) -> None:
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    stranger = LedgerWriter(writer.head, jpn.signatory, [("KOR", partner_of("USA").sealing)])
    stranger.append(holding(launch_detection(1)).SerializeToString())
    writer.entries.extend(stranger.entries)
    jpn.keep(plan)
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert len(received.unopenable) == 2
    assert feed(kor) == []


def test_an_opening_and_its_entries_may_come_in_different_batches_of_one_commit(jpn: Site, kor: Site) -> None:
    # The first batch holds an opening that this node cannot unwrap, so nothing is remembered of it.
    put_raw(jpn, lambda entries: [flipped(entries[0], 8 * 200), *entries[1:]], holding(launch_detection(1)))
    put(jpn, holding(launch_detection(2)))
    plan = kor.plan()
    first = kor.receive(jpn.incoming(ORIGIN, 0, 1)).apply(plan)
    second = kor.receive(jpn.incoming(ORIGIN, 2, 1)).apply(plan)
    kor.keep(plan)
    assert (len(first.unopenable), len(second.unopenable)) == (2, 1)
    assert_equal_roots(jpn, kor)


def odd_withdrawal(**changed: object) -> ledger_pb2.EntryContent:
    content = withdrawing(launch_detection(1))
    for name, value in changed.items():
        setattr(content.withdrawal, name, value)
    return content


def late_withdrawal(seconds: int, nanos: int = 0) -> ledger_pb2.EntryContent:
    content = withdrawing(launch_detection(1))
    content.withdrawal.time.seconds, content.withdrawal.time.nanos = seconds, nanos
    return content


def untimed_withdrawal() -> ledger_pb2.EntryContent:
    content = withdrawing(launch_detection(1))
    content.withdrawal.ClearField("time")
    return content


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (holding(launch_detection(1, originator_node="USA")), "originator_node"),
        (holding(launch_detection(1, report_id="not-a-uuid")), "report_id"),
        (holding(launch_detection(1, launch_detection__launch_point__latitude_deg=91.0)), "latitude_deg"),
        (holding(launch_detection(1, launch_detection__confidence=float("nan"))), "confidence"),
        (holding(report_pb2.Report()), "report_id"),
        (ledger_pb2.EntryContent(decision_record=ledger_pb2.DecisionRecord(report_id="x")), "decision_record"),
        (ledger_pb2.EntryContent(node_event=ledger_pb2.NodeEvent(kind="x")), "node_event"),
        (ledger_pb2.EntryContent(), "nothing"),
        (b"\xff\xff\xff", "not an EntryContent"),
        (odd_withdrawal(report_id="junk"), "not a UUID"),
        (odd_withdrawal(report_id=launch_detection(1).report_id.upper()), "lower-case"),
        (odd_withdrawal(report_id="{" + launch_detection(1).report_id + "}"), "lower-case"),
        (odd_withdrawal(traffic_class=0), "traffic class"),
        (odd_withdrawal(traffic_class=17), "traffic class"),
        (odd_withdrawal(precedence=-1), "precedence"),
        (untimed_withdrawal(), "without saying when"),
        (late_withdrawal(-1), "1970 to 2200"),
        (late_withdrawal(2**62), "1970 to 2200"),
        (late_withdrawal(5, -1), "1970 to 2200"),
        (late_withdrawal(5, 1_000_000_000), "1970 to 2200"),
    ],
)
def test_content_that_may_not_be_there_is_kept_answered_and_not_delivered(
    jpn: Site, kor: Site, content: ledger_pb2.EntryContent | bytes, reason: str
) -> None:
    put(jpn, holding(launch_detection(7)), content, holding(launch_detection(8)))
    assert_unusable(kor, jpn.incoming(ORIGIN), 2, reason)
    assert given_to(kor) == [identifier(launch_detection(7)), identifier(launch_detection(8))]
    assert_equal_roots(jpn, kor)


@pytest.mark.parametrize(
    "content",
    [ledger_pb2.EntryContent(cover=ledger_pb2.Cover()), ledger_pb2.EntryContent(succession={})],  # type: ignore[arg-type]  # empty
)
def test_cover_and_succession_are_taken_and_not_delivered(
    jpn: Site, kor: Site, content: ledger_pb2.EntryContent
) -> None:
    put(jpn, content)
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert (received.reports, received.withdrawals, received.unopenable) == (0, 0, [])
    assert feed(kor) == []


def test_the_reason_of_a_statement_is_one_line_whatever_the_report_says(jpn: Site, kor: Site) -> None:
    put(jpn, holding(launch_detection(1, event_id="line\nline\u2028\x00" * 300)))
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert len(received.unopenable) == 1


# --- once, and withdrawn


def test_a_report_twice_in_the_ledger_is_delivered_once(jpn: Site, kor: Site) -> None:
    put(jpn, holding(launch_detection(1)), holding(launch_detection(1)))
    put(jpn, holding(launch_detection(1)))
    kor.do(kor.receive(jpn.incoming(ORIGIN, 0, 1)))
    kor.restart()
    kor.do(kor.receive(jpn.incoming(ORIGIN, 3)))
    assert given_to(kor) == [identifier(launch_detection(1))]
    assert kor.row(ORIGIN).size == 4


def test_what_is_known_of_the_reports_of_a_batch_is_read_once(
    jpn: Site, kor: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    reports = [launch_detection(seed) for seed in range(16)]
    put(jpn, *map(holding, reports))
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    put(jpn, *map(withdrawing, reports), *map(holding, reports))
    asked: list[str] = []

    def counted(name: str) -> None:
        read = getattr(kor.store, name)

        def count(*of: object) -> object:
            asked.append(name)
            return read(*of)

        monkeypatch.setattr(kor.store, name, count)

    for name in ("received", "received_of", "copies", "copies_of"):
        counted(name)
    received = kor.do(kor.receive(jpn.incoming(ORIGIN, len(reports) + 1)))
    assert (received.reports, received.withdrawals) == (0, len(reports))
    assert sorted(asked) == ["copies_of", "received_of"]


def test_a_withdrawal_marks_the_report_that_was_delivered_and_comes_once(jpn: Site, kor: Site) -> None:
    report = launch_detection(1)
    put(jpn, holding(report), withdrawing(report), withdrawing(report))
    received = kor.do(kor.receive(jpn.incoming(ORIGIN)))
    assert (received.reports, received.withdrawals) == (1, 1)
    assert [row.item for row in feed(kor)] == [FeedItem.REPORT, FeedItem.WITHDRAWAL]
    assert kor.store.received("JPN", identifier(report)) == ReceivedRow("JPN", identifier(report), 1, NOW, 1, 4)


@pytest.mark.parametrize("together", [False, True])
def test_a_report_that_its_withdrawal_overtook_arrives_withdrawn(jpn: Site, kor: Site, together: bool) -> None:
    # The report is in a slower lane, as it would be.
    report = launch_detection(1, precedence=report_pb2.PRECEDENCE_ROUTINE)
    jpn.take(report, RULES)
    jpn.take(cancellation(9, cancellation__report_ids=[report.report_id]), RULES)
    late = jpn.incoming(Origin("JPN", "KOR", "routine", 1))
    plan = kor.plan()
    assert kor.receive(jpn.incoming(ORIGIN)).apply(plan).withdrawals == 1
    if not together:
        kor.keep(plan)
        tombstone = ReceivedRow("JPN", identifier(report), None, NOW, 1, 1)
        assert kor.store.received("JPN", identifier(report)) == tombstone
        kor.restart()
        plan = kor.plan()
    assert kor.receive(late).apply(plan).reports == 1
    assert [(entry.withdrawn, entry.row.item) for entry in plan.feed][-1] == (True, FeedItem.REPORT)
    kor.keep(plan)
    found = kor.store.received("JPN", identifier(report))
    assert found is not None
    assert (found.feed, found.withdrawn_ns) == (feed(kor)[-1].seq, NOW)


def test_a_partner_cannot_withdraw_what_another_originated(jpn: Site, kor: Site, make_site: MakeSite) -> None:
    report = launch_detection(1)
    send(jpn, 1)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    usa = make_site("USA")
    plan = usa.plan()
    plan.ledgers.writer("KOR", "flash").append(withdrawing(report).SerializeToString())
    usa.keep(plan)
    kor.do(kor.receive(usa.incoming(Origin("USA", "KOR", "flash", 1))))
    found = kor.store.received("JPN", identifier(report))
    assert found is not None
    assert found.withdrawn_ns is None


# --- entries that are served as their hash


def made_absent(batch: IncomingBatch, *indexes: int) -> IncomingBatch:
    """The batch with some entries as hashes, each with JPN's signed reason."""
    entries = entries_of(batch)
    rows = [(index, leaf_hash(entries[index]), absence(index, leaf_hash(entries[index]))) for index in indexes]
    kept = [b"" if index in indexes else entry for index, entry in enumerate(entries)]
    return replace(with_entries(batch, kept), absent=rows)


def absence(index: int, leaf: bytes, node: str = "JPN", kind: EntryStatementKind = EntryStatementKind.ABSENT) -> bytes:
    statement = EntryStatement(kind, node, ORIGIN, index, leaf, "its payload was pruned")
    return statement.sign(signatory_of(node).gateway)


def test_an_absent_entry_with_its_signed_reason_is_accepted_and_not_delivered(
    batch: IncomingBatch, jpn: Site, kor: Site
) -> None:
    sent = made_absent(batch, 2)
    received = kor.do(kor.receive(sent))
    assert (received.reports, received.unopenable) == (2, [])
    assert_equal_roots(jpn, kor)
    assert as_sent(ORIGIN, kor.run(ORIGIN)) == sent
    kor.restart()
    assert_equal_roots(jpn, kor)


def test_content_whose_epoch_opening_is_absent_cannot_be_used(batch: IncomingBatch, kor: Site) -> None:
    received = kor.do(kor.receive(made_absent(batch, 0)))
    assert (received.reports, len(received.unopenable)) == (0, 3)


def test_an_absent_entry_without_its_owners_reason_is_refused(batch: IncomingBatch, kor: Site) -> None:
    sent = made_absent(batch, 2)
    ((index, leaf, note),) = sent.absent
    assert_refused(kor, replace(sent, absent=[]), "not those that the bundle leaves out")
    assert_refused(kor, replace(sent, absent=[(index, leaf, note)] * 2), "not those that the bundle leaves out")
    assert_refused(kor, replace(sent, absent=[(1, leaf, note)]), "not those that the bundle leaves out")
    assert_refused(kor, replace(batch, absent=sent.absent), "not those that the bundle leaves out")
    assert_refused(kor, replace(sent, absent=[(index, leaf, b"junk")]))
    assert_refused(kor, replace(sent, absent=[(index, leaf, absence(1, leaf))]), "speaks of another entry")
    assert_refused(kor, replace(sent, absent=[(index, b"l" * 32, note)]), "do not give the root")
    assert_refused(kor, replace(sent, absent=[(index, b"l" * 31, note)]), "batch at 0")
    assert_refused(kor, replace(sent, absent=[(index, b"l" * 32, absence(index, b"l" * 32))]), "do not give the root")
    other_kind = absence(index, leaf, kind=EntryStatementKind.UNOPENABLE)
    assert_refused(kor, replace(sent, absent=[(index, leaf, other_kind)]), "not one of")
    assert_refused(kor, replace(sent, absent=[(index, leaf, absence(index, leaf, "USA"))]), "no known key")


# --- the next generation


def test_the_recipient_follows_the_successor_of_a_ledger_that_ended(jpn: Site, kor: Site) -> None:
    send(jpn, 1)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    successor = jpn.do(Succeed(ORIGIN, ledger_pb2.SUCCESSION_REASON_FORK, b"evidence"))
    kor.do(FollowSuccessor(ORIGIN, successor))
    send(jpn, 2)
    kor.do(kor.receive(jpn.incoming(successor)))
    assert given_to(kor) == [identifier(launch_detection(seed)) for seed in (1, 2)]
    assert kor.heads.current("JPN", "KOR", "flash") == successor
