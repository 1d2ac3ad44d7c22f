"""A partner whose batches hold what is laborious, misleading or telling costs this node no more than they are worth."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note, SignatureLine
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import Commit, FeedFilter, FeedItem, Store
from gateway.ledger.tiles import Edge
from gateway.release import opening
from gateway.release.batch import MAX_BATCH_BYTES, MAX_UNUSABLE, IncomingBatch
from gateway.release.opening import Opener
from gateway.release.replica import MAX_EPOCHS_SOUGHT, ReplicaError
from gateway.seal.epoch import Epoch
from tests.release.world import Site, identifier, partner_of, signatory_of
from tests.reports.examples import NOW, launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
COVER = ledger_pb2.EntryContent(cover=ledger_pb2.Cover())
LIVE, TEST = report_pb2.TRAFFIC_CLASS_LIVE, report_pb2.TRAFFIC_CLASS_TEST


class Forged:
    """JPN's ledger for KOR as JPN itself could make it, with any entries."""

    def __init__(self) -> None:
        self.edge = Edge.empty()

    def opened(self, ahead: int = 0) -> tuple[Epoch, bytes]:
        """A new epoch for KOR to read, and the entry that opens it, so many places after the next one."""
        readers = (("KOR", partner_of("KOR").sealing), ("JPN", partner_of("JPN").sealing))
        return Epoch.open_new(str(ORIGIN), self.edge.size + ahead, readers)

    def batch(self, entries: Sequence[bytes]) -> IncomingBatch:
        """These entries, with their true checkpoint."""
        first = self.edge.size
        self.edge, _ = self.edge.grow([leaf_hash(entry) for entry in entries])
        note = sign_checkpoint(Checkpoint(ORIGIN, self.edge.size, self.edge.root()), signatory_of("JPN").log)
        return IncomingBatch(ORIGIN, first, len(entries), bundle.encode(entries), [], note.encode())

    def sealed(self, *contents: ledger_pb2.EntryContent) -> IncomingBatch:
        """An epoch and these contents in it."""
        epoch, entry = self.opened()
        first = self.edge.size + 1
        return self.batch([entry, *(epoch.seal(at, c.SerializeToString()) for at, c in enumerate(contents, first))])


@pytest.fixture
def jpn_forged() -> Forged:
    return Forged()


def reasons(received_unopenable: Sequence[bytes]) -> list[str]:
    return [
        EntryStatement.open(
            raw, partner_of("KOR").gateway, kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=ORIGIN
        ).reason
        for raw in received_unopenable
    ]


def withdrawing(report: report_pb2.Report, **changes: int) -> ledger_pb2.EntryContent:
    notice = ledger_pb2.Withdrawal(
        report_id=report.report_id, traffic_class=report.traffic_class, precedence=report.precedence
    )
    notice.time.FromNanoseconds(NOW)
    for name, value in changes.items():
        setattr(notice, name, value)
    return ledger_pb2.EntryContent(withdrawal=notice)


def holding(report: report_pb2.Report) -> ledger_pb2.EntryContent:
    return ledger_pb2.EntryContent(report=report)


class CountingStore:
    """The store of a site, which counts the entries that are looked up one by one."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.looked_up = 0

    def __getattr__(self, name: str) -> object:
        self.looked_up += name == "entry"
        return getattr(self.store, name)


# --- epochs


def test_a_batch_that_names_many_old_epochs_has_a_few_of_them_looked_up(kor: Site, jpn_forged: Forged) -> None:
    epochs, entries = zip(*(jpn_forged.opened(at) for at in range(100)), strict=True)
    kor.do(kor.receive(jpn_forged.batch(entries)))
    named = [epoch.seal(at, COVER.SerializeToString()) for at, epoch in enumerate(epochs, 100)]
    kor.store = counting = CountingStore(kor.store)  # type: ignore[assignment]  # forwards everything
    plan = kor.plan()
    received = kor.receive(jpn_forged.batch(named), Opener("KOR", kor.signatory.sealing)).apply(plan)
    kor.keep(plan)
    assert counting.looked_up == 1
    assert len(received.unopenable) == 99
    assert "the newest one before it is 0" in reasons(received.unopenable)[0]
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []


def test_epochs_that_cannot_be_had_are_looked_up_once_and_a_few_at_most(kor: Site, jpn_forged: Forged) -> None:
    epoch, entry = jpn_forged.opened()
    kor.do(kor.receive(jpn_forged.batch([entry, *(epoch.seal(at, COVER.SerializeToString()) for at in range(1, 50))])))
    # None of these entries opens an epoch.
    strays = [Epoch(str(ORIGIN), at, b"k" * 32, seals=True) for at in range(1, 21)]

    def naming(*epochs: Epoch) -> IncomingBatch:
        first = jpn_forged.edge.size
        return jpn_forged.batch([each.seal(at, COVER.SerializeToString()) for at, each in enumerate(epochs, first)])

    for batch, looked_up, usable in (
        # A few that are named in vain leave the true one to be found.
        (naming(strays[0], strays[1], strays[0], epoch, *strays), 2, 1),
        (naming(*strays, *strays, epoch), MAX_EPOCHS_SOUGHT, 0),
    ):
        kor.store = counting = CountingStore(kor.store)  # type: ignore[assignment]  # forwards everything
        plan = kor.plan()
        received = kor.receive(batch).apply(plan)
        kor.keep(plan)
        assert counting.looked_up == looked_up
        assert len(received.unopenable) == batch.count - usable


def test_content_in_an_epoch_older_than_the_newest_cannot_be_used(kor: Site, jpn_forged: Forged) -> None:
    old, first = jpn_forged.opened()
    new, second = jpn_forged.opened(1)
    one, two = launch_detection(1), launch_detection(2)
    entries = [
        first,
        second,
        new.seal(2, holding(one).SerializeToString()),
        old.seal(3, holding(two).SerializeToString()),
    ]
    received = kor.do(kor.receive(jpn_forged.batch(entries)))
    assert received.reports == 1
    assert reasons(received.unopenable) == ["it is sealed in epoch 0, and the newest one before it is 1"]


def test_a_ledger_with_many_epochs_puts_out_its_own_from_memory_alone(kor: Site, jpn_forged: Forged) -> None:
    quiet = Origin("USA", "KOR", "flash", 1)
    readers = (("KOR", partner_of("KOR").sealing),)
    epoch, entry = Epoch.open_new(str(quiet), 0, readers)
    opener = kor.opener
    opener.learn(quiet, 0, entry, lambda at: b"")
    entries = [jpn_forged.opened(at)[1] for at in range(opening.KEPT_LEDGERS + 10)]
    kor.do(kor.receive(jpn_forged.batch(entries)))
    sealed = epoch.seal(1, COVER.SerializeToString())
    # The opening need not be fetched: it would not be had.
    assert opener.content(quiet, 1, sealed, lambda at: b"") == COVER


# --- bounds


def test_a_batch_of_too_many_bytes_is_refused(kor: Site, jpn_forged: Forged) -> None:
    entries = [b"x" * 65_000] * (MAX_BATCH_BYTES // 65_000 + 1)
    with pytest.raises(ReplicaError, match="and those of a batch"):
        kor.receive(jpn_forged.batch(entries)).apply(kor.plan())


def test_a_batch_most_of_which_cannot_be_used_is_refused_whole(kor: Site, jpn_forged: Forged) -> None:
    plan = kor.plan()
    with pytest.raises(ReplicaError, match=f"{MAX_UNUSABLE + 1} of its entries cannot be used"):
        kor.receive(jpn_forged.batch([b"x" * 45] * (MAX_UNUSABLE + 1))).apply(plan)
    assert plan.commit == Commit()
    assert plan.ledgers.changed == {}


def test_a_batch_some_of_which_cannot_be_used_is_taken_and_answered(kor: Site, jpn_forged: Forged) -> None:
    junk = [b"x" * 45] * MAX_UNUSABLE
    received = kor.do(kor.receive(jpn_forged.batch(junk)))
    assert len(received.unopenable) == MAX_UNUSABLE
    epoch, entry = jpn_forged.opened()
    at = jpn_forged.edge.size + 1
    usable = [entry, *(epoch.seal(at + place, COVER.SerializeToString()) for place in range(MAX_UNUSABLE + 1))]
    received = kor.do(kor.receive(jpn_forged.batch([*usable, *junk, b"y" * 45])))
    assert len(received.unopenable) == MAX_UNUSABLE + 1


# --- withdrawals


@pytest.mark.parametrize("changes", [{"traffic_class": 3}, {"precedence": 1}])
def test_a_withdrawal_of_another_class_or_precedence_than_its_report_recalls_nothing(
    kor: Site, jpn_forged: Forged, changes: dict[str, int]
) -> None:
    report = launch_detection(1)
    assert report.traffic_class == LIVE
    received = kor.do(kor.receive(jpn_forged.sealed(holding(report), withdrawing(report, **changes))))
    assert (received.reports, received.withdrawals) == (1, 0)
    assert "different traffic classes or precedences" in reasons(received.unopenable)[0]
    # The true one is heeded afterwards, by those who were given the report.
    received = kor.do(kor.receive(jpn_forged.sealed(withdrawing(report))))
    assert received.withdrawals == 1
    rows, _ = kor.store.feed(0, 10, FeedFilter(frozenset({LIVE})))
    assert [row.item for row in rows] == [FeedItem.REPORT, FeedItem.WITHDRAWAL]
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []


def test_a_report_of_another_class_than_the_withdrawal_that_overtook_it_cannot_be_used(
    kor: Site, jpn_forged: Forged
) -> None:
    report = launch_detection(1)
    kor.do(kor.receive(jpn_forged.sealed(withdrawing(report, traffic_class=TEST))))
    kor.restart()
    received = kor.do(kor.receive(jpn_forged.sealed(holding(report))))
    assert received.reports == 0
    assert "different traffic classes or precedences" in reasons(received.unopenable)[0]
    found = kor.store.received("JPN", identifier(report))
    assert found is not None
    assert (found.feed, found.traffic_class) == (None, TEST)
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []


# --- what is kept, and what is told


def test_of_a_batchs_notes_the_owners_lines_alone_are_kept(kor: Site, jpn_forged: Forged) -> None:
    epoch, entry = jpn_forged.opened()
    gone = epoch.seal(1, COVER.SerializeToString())
    leaf = leaf_hash(gone)
    true = jpn_forged.batch([entry, gone])
    reason = EntryStatement(EntryStatementKind.ABSENT, "JPN", ORIGIN, 1, leaf, "it was pruned").sign(
        signatory_of("JPN").gateway
    )
    lines = tuple(SignatureLine(f"nobody/{place}", place, b"j" * 2000) for place in range(15))

    def padded(raw: bytes) -> bytes:
        return Note.parse(raw).with_signatures(*lines).encode()

    entries = bundle.encode([entry, b""], allow_absent=True)
    kor.do(kor.receive(IncomingBatch(ORIGIN, 0, 2, entries, [(1, leaf, padded(reason))], padded(true.checkpoint))))
    run = kor.run(ORIGIN)
    assert run.checkpoint == true.checkpoint
    assert [row.note for row in run.absent] == [reason]


def test_a_statement_names_the_field_and_the_rule_and_the_value_stays_in_the_log(kor: Site, jpn_forged: Forged) -> None:
    report = launch_detection(1, launch_detection__launch_point__latitude_deg=91.25, event_id="SECRET PLACE")
    received = kor.do(kor.receive(jpn_forged.sealed(holding(report))))
    (reason,) = reasons(received.unopenable)
    assert "launch_detection.launch_point.latitude_deg: " in reason
    assert "91.25" not in reason
    assert "SECRET" not in reason
    (problem,) = received.problems
    assert problem.startswith("entry 1: ")
    assert "91.25" in problem
    assert "SECRET PLACE" in problem
