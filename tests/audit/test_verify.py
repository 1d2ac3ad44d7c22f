"""A sound store is found sound, and whatever is changed in one is found and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import apsw
import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import Verification, verify_store
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind
from gateway.ledger.stores.sqlite import SqliteReader
from gateway.release.pipeline import TakeReport
from gateway.release.steps import (
    FollowSuccessor,
    KeepCosignature,
    KeepUnopenable,
    RecordEvent,
    SignPostQuantum,
)
from gateway.release.succeeding import Succeed
from tests.release.world import RELEASE_ALL, MakeSite, Site, anything, identifier, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, cancellation, launch_detection, track

TO_KOR = Origin("JPN", "KOR", "flash", 1)
TO_USA = Origin("JPN", "USA", "flash", 1)
FROM_KOR = Origin("KOR", "JPN", "flash", 1)
DECISIONS = Origin("JPN", None, "decisions", 1)
RECEIPT, PQ = CosignatureKind.RECEIPT, CosignatureKind.PQ
RULES = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
KOR_RULES = rules("KOR", JPN=RELEASE_ALL)
PARTNERS = {node: partner_of(node) for node in ("KOR", "USA")}
WITHDRAWN = track(1)
"""Released to KOR and USA, then cancelled."""
STANDING = launch_detection(2)
OVERTAKEN = launch_detection(3, originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"])
"""A report of KOR that was withdrawn after it arrived."""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPN's store with something of every kind in it."""
    where = tmp_path_factory.mktemp("sound")
    jpn, kor = Site("JPN", where / "jpn.sqlite"), Site("KOR", where / "kor.sqlite")
    jpn.do(RecordEvent("started", "a test"))
    # Enough for full tiles.
    for start in (100, 230):
        jpn.do_all(*(TakeReport.of(launch_detection(start + n), "c2", anything) for n in range(130)), rulebook=RULES)
    for report in (WITHDRAWN, STANDING, cancellation(9, cancellation__report_ids=[WITHDRAWN.report_id])):
        jpn.take(report, RULES)
    receipt = kor.do(kor.receive(jpn.incoming(TO_KOR))).receipt
    jpn.do(KeepCosignature(TO_KOR, RECEIPT, receipt, PARTNERS["KOR"]))
    for origin in (TO_KOR, TO_USA, DECISIONS):
        jpn.do(SignPostQuantum(origin))
    entry = jpn.store.entry(jpn.row(TO_KOR).id, 5)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, 5, leaf_hash(entry), "a broken disk")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(signatory_of("KOR").gateway), PARTNERS["KOR"]))
    jpn.do(Succeed(Origin("JPN", "USA", "routine", 1), ledger_pb2.SUCCESSION_REASON_RESTORE, b""))
    receive_from_kor(jpn, kor)
    jpn.do(FollowSuccessor(Origin("KOR", "JPN", "routine", 1), Origin("KOR", "JPN", "routine", 2)))
    jpn.close()
    kor.close()
    return where / "jpn.sqlite"


def receive_from_kor(jpn: Site, kor: Site) -> None:
    """A replica with reports, a withdrawal, an entry that does not open, one that is absent, and a report twice."""
    pruned = launch_detection(4, originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"])
    for report in (OVERTAKEN, pruned):
        kor.take(report, KOR_RULES)
    recall = cancellation(
        5,
        originator_node="KOR",
        marking__policy="KOR",
        marking__releasable_to=["JPN"],
        cancellation__report_ids=[OVERTAKEN.report_id],
    )
    kor.take(recall, KOR_RULES)
    plan = kor.plan()
    writer = plan.ledgers.writer("JPN", "flash")
    writer.append(b"\xff junk")
    writer.append(ledger_pb2.EntryContent(report=OVERTAKEN).SerializeToString())
    kor.keep(plan)
    kor.do(SignPostQuantum(FROM_KOR))
    batch = kor.incoming(FROM_KOR)
    entries = bundle.decode(batch.entries, batch.count)
    reason = EntryStatement(EntryStatementKind.ABSENT, "KOR", FROM_KOR, 2, leaf_hash(entries[2]), "it was pruned")
    row = (2, leaf_hash(entries[2]), reason.sign(signatory_of("KOR").gateway))
    sent = bundle.encode([*entries[:2], b"", *entries[3:]], allow_absent=True)
    received = jpn.do(jpn.receive(replace(batch, entries=sent, absent=[row])))
    # Withdrawal, cancellation and the report; the report again is not delivered again.
    assert (received.reports, received.withdrawals, len(received.unopenable)) == (2, 1, 1)
    pq = kor.store.cosignature(kor.row(FROM_KOR).id, PQ, "KOR")
    assert pq is not None
    jpn.do(KeepCosignature(FROM_KOR, PQ, pq.note, PARTNERS["KOR"]))


def verify(path: Path) -> Verification:
    reader = SqliteReader(path)
    try:
        with reader.snapshot():
            return verify_store(reader, signatory_of("JPN"), PARTNERS)
    finally:
        reader.close()


@pytest.fixture
def copy(sound: Path, tmp_path: Path) -> Path:
    """The store, to be tampered with."""
    return Path(shutil.copy(sound, tmp_path / "jpn.sqlite"))


@pytest.fixture
def db(copy: Path) -> Iterator[apsw.Connection]:
    """The store's file, for one who has the disk but no key."""
    connection = apsw.Connection(str(copy))
    yield connection
    connection.close()


def test_a_sound_store_is_found_sound_and_counted(sound: Path, db: apsw.Connection) -> None:
    outcome = verify(sound)
    assert outcome.findings == []
    assert outcome.sound
    assert (outcome.reports, outcome.released, outcome.withheld) == (263, 2 * 263, 0)
    checks = {str(check.origin): check for check in outcome.ledgers}
    kor = checks[str(TO_KOR)]
    # A track goes by the slower lane; its withdrawal by the fastest.
    ((segments,),) = db.execute(f"SELECT count(*) FROM segment WHERE {KOR_LEDGER}")
    assert (kor.reports, kor.withdrawals, kor.checkpoints) == (262, 1, segments)
    assert kor.size == kor.receipt_size == kor.pq_size == 264
    replica = checks[str(FROM_KOR)]
    assert (replica.replica, replica.reports, replica.withdrawals) == (True, 3, 1)
    assert replica.size == replica.receipt_size == replica.pq_size == 7


EMPTY = {"meta", "officer_order", "held", "untold", "copy", "kept_back", "decision_subject", "recovery"}


def test_every_table_of_the_sound_store_holds_something(sound: Path) -> None:
    # Otherwise a tampering below would change nothing, and its test could not fail.
    db = apsw.Connection(str(sound))
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    assert {name for name in tables if not list(db.execute(f"SELECT 1 FROM {name} LIMIT 1"))} <= EMPTY
    db.close()


def flip(column: str, byte: int = 1) -> str:
    """SQL: the column's bytes with one of them turned over (`byte` from 1; below 0 from the end)."""
    place = str(byte) if byte > 0 else f"(length({column}) + {byte} + 1)"
    turned = f"unhex(printf('%02x', 255 - instr(x'{bytes(range(256)).hex()}', substr({column}, {place}, 1)) + 1))"
    return f"CAST(substr({column}, 1, {place} - 1) || {turned} || substr({column}, {place} + 1) AS BLOB)"


THIS = "ledger = (SELECT id FROM ledger WHERE origin = '{}')"
KOR_LEDGER, USA_LEDGER, REPLICA, HOME = (THIS.format(origin) for origin in (TO_KOR, TO_USA, FROM_KOR, DECISIONS))
STANDING_ID = f"report_id = x'{identifier(STANDING).hex()}'"
WITHDRAWN_ID = f"report_id = x'{identifier(WITHDRAWN).hex()}'"
OVERTAKEN_ID = f"report_id = x'{identifier(OVERTAKEN).hex()}'"
STRANGER = "x'" + "ab" * 16 + "'"
SECOND_SEGMENT = f"(SELECT min(first) FROM segment WHERE {KOR_LEDGER} AND first > 0)"

TAMPERINGS: Sequence[tuple[str, str, str]] = [
    # (what is done, where it is found, in which words)
    (f"UPDATE segment SET entries = {flip('entries', 700)} WHERE {KOR_LEDGER} AND first = 0", str(TO_KOR), "not what"),
    (f"UPDATE segment SET entries = {flip('entries', -1)} WHERE {REPLICA}", str(FROM_KOR), "not what the entries"),
    (f"UPDATE segment SET entries = {flip('entries', 1)} WHERE {HOME} AND first = 0", str(DECISIONS), "bundle"),
    (f"DELETE FROM segment WHERE {KOR_LEDGER} AND first = 0", str(TO_KOR), "no segment that begins at 0"),
    (f"DELETE FROM segment WHERE {KOR_LEDGER} AND first = {SECOND_SEGMENT}", str(TO_KOR), "a gap between"),
    (f"DELETE FROM segment WHERE {KOR_LEDGER} AND first = 262", str(TO_KOR), "size or root on record (264)"),
    (f"UPDATE segment SET count = count + 1 WHERE {KOR_LEDGER} AND first = 0", str(TO_KOR), "at entry 0"),
    (f"UPDATE tile SET hashes = {flip('hashes', 40)} WHERE {KOR_LEDGER} AND level = 0", str(TO_KOR), "its tiles"),
    (f"UPDATE tile SET hashes = {flip('hashes', 4)} WHERE {KOR_LEDGER} AND level = 1", str(TO_KOR), "its tiles"),
    (f"DELETE FROM tile WHERE {HOME} AND level = 0", str(DECISIONS), "its tiles"),
    (f"INSERT INTO tile SELECT ledger, 0, 1, hashes FROM tile WHERE {HOME} AND level = 0", str(DECISIONS), "tiles"),
    (f"UPDATE checkpoint SET note = {flip('note', -4)} WHERE {KOR_LEDGER} AND size = 131", str(TO_KOR), "at entry"),
    (f"DELETE FROM checkpoint WHERE {KOR_LEDGER} AND size = 131", str(TO_KOR), "no checkpoint of size 131"),
    (f"INSERT INTO checkpoint SELECT ledger, 5, note FROM checkpoint WHERE {KOR_LEDGER} AND size = 131", str(TO_KOR),
     "belong to no segment"),
    (f"UPDATE ledger SET size = size - 1 WHERE origin = '{TO_KOR}'", str(TO_KOR), "size or root on record"),
    (f"UPDATE ledger SET root = zeroblob(32) WHERE origin = '{TO_USA}'", str(TO_USA), "size or root on record"),
    (f"UPDATE ledger SET replica = 1 WHERE origin = '{TO_USA}'", str(TO_USA), "replica"),
    (f"UPDATE ledger SET replica = 0 WHERE origin = '{FROM_KOR}'", str(FROM_KOR), "replica"),
    (f"UPDATE ledger SET successor = '{TO_KOR.successor()}' WHERE origin = '{TO_KOR}'", str(TO_KOR), "successor"),
    ("UPDATE ledger SET successor = NULL WHERE origin = 'signalfire/v1/JPN/USA/routine/1'",
     "signalfire/v1/JPN/USA/routine/1", "successor"),
    ("UPDATE ledger SET successor = 'signalfire/v1/JPN/USA/routine/3' WHERE origin LIKE '%USA/routine/1'",
     "signalfire/v1/JPN/USA/routine/1", "successor"),
    ("DELETE FROM ledger WHERE origin = 'signalfire/v1/JPN/USA/routine/1'", "signalfire/v1/JPN/USA/routine/2", "1 are"),
    (f"UPDATE cosignature SET note = {flip('note', -9)} WHERE {KOR_LEDGER} AND kind = 'receipt'", str(TO_KOR),
     "receipt of size 264 does not hold"),
    (f"UPDATE cosignature SET size = 131 WHERE {KOR_LEDGER} AND kind = 'receipt'", str(TO_KOR), "receipt of size 131"),
    (f"UPDATE cosignature SET note = {flip('note', -9)} WHERE {KOR_LEDGER} AND kind = 'pq'", str(TO_KOR),
     "pq of size 264 does not hold"),
    (f"UPDATE cosignature SET note = {flip('note', -9)} WHERE {REPLICA} AND kind = 'pq'", str(FROM_KOR), "pq of size"),
    (f"DELETE FROM cosignature WHERE {REPLICA} AND kind = 'pq';"
     f"UPDATE cosignature SET kind = 'pq', signer = 'KOR' WHERE {REPLICA} AND kind = 'receipt'", str(FROM_KOR),
     "no key of KOR signed"),
    (f"UPDATE cosignature SET signer = 'USA' WHERE {REPLICA} AND kind = 'pq'", str(FROM_KOR), "as signed by USA"),
    (f"UPDATE cosignature SET signer = 'USA' WHERE {KOR_LEDGER} AND kind = 'receipt'", str(TO_KOR),
     "as signed by USA"),
    (f"DELETE FROM cosignature WHERE {REPLICA} AND kind = 'receipt'", str(FROM_KOR), "own receipts are missing"),
    (f"DELETE FROM unopenable WHERE {REPLICA}", str(FROM_KOR), "does not open, and no statement says so"),
    (f"UPDATE unopenable SET note = {flip('note', -9)} WHERE {REPLICA}", str(FROM_KOR), "does not hold"),
    (f"UPDATE unopenable SET idx = 1 WHERE {REPLICA}", str(FROM_KOR), "it is about entry 5"),
    (f"UPDATE unopenable SET note = {flip('note', -9)} WHERE {KOR_LEDGER}", str(TO_KOR), "does not hold"),
    (f"DELETE FROM absent WHERE {REPLICA}", str(FROM_KOR), "neither bytes nor a hash"),
    (f"UPDATE absent SET leaf_hash = zeroblob(32) WHERE {REPLICA}", str(FROM_KOR), "speaks of another"),
    (f"UPDATE absent SET note = {flip('note', -9)} WHERE {REPLICA}", str(FROM_KOR), "at entry 0"),
    (f"INSERT INTO absent SELECT ledger, 1, leaf_hash, note FROM absent WHERE {REPLICA}", str(FROM_KOR),
     "there, and on record as absent"),
    # The records beside the ledgers.
    (f"UPDATE report SET payload = {flip('payload', -1)} WHERE {STANDING_ID}", "reports", "does not open"),
    (f"UPDATE report SET payload = (SELECT payload FROM report WHERE {WITHDRAWN_ID}) WHERE {STANDING_ID}", "reports",
     "does not open"),
    (f"UPDATE report SET digest = zeroblob(32) WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET event_id = 'another' WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET kind = kind + 1 WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET submitted_by = 'nobody' WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET accepted_ns = 1 WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET decision = 0 WHERE {STANDING_ID}", "reports", "otherwise than its decision"),
    (f"UPDATE report SET report_id = {STRANGER} WHERE {STANDING_ID}", "reports", "no record of it"),
    (f"UPDATE report SET withdrawn_ns = 1 WHERE {STANDING_ID}", "reports", "whether it was recalled"),
    (f"UPDATE report SET withdrawn_ns = NULL WHERE {WITHDRAWN_ID}", "reports", "whether it was recalled"),
    (f"DELETE FROM report WHERE {STANDING_ID}", "reports", "was decided, and is not kept"),
    (f"INSERT INTO report SELECT 999, {STRANGER}, digest, event_id, kind, submitted_by, accepted_ns, decision, payload,"
     f" NULL, NULL FROM report WHERE {STANDING_ID}", "reports", "no record of it"),
    (f"INSERT INTO report SELECT -1, {STRANGER}, digest, event_id, kind, submitted_by, accepted_ns, decision, payload,"
     f" NULL, NULL FROM report WHERE {STANDING_ID}", "reports", "264 are kept"),
    (f"DELETE FROM released WHERE {STANDING_ID} AND partner = 'KOR'", "releases", "that is not on record"),
    (f"UPDATE released SET partner = 'AUS' WHERE {STANDING_ID} AND partner = 'KOR'", "releases", "not on record"),
    (f"UPDATE released SET idx = idx - 1 WHERE {STANDING_ID} AND partner = 'KOR'", "releases", "otherwise than"),
    (f"UPDATE released SET {KOR_LEDGER} WHERE {STANDING_ID} AND partner = 'USA'", "releases", "otherwise than"),
    (f"UPDATE released SET traffic_class = 3 WHERE {STANDING_ID}", "releases", "otherwise than"),
    (f"UPDATE released SET precedence = 1 WHERE {STANDING_ID}", "releases", "otherwise than"),
    (f"UPDATE released SET withdrawn_ns = 1 WHERE {STANDING_ID}", "releases", "whether it was withdrawn"),
    (f"UPDATE released SET withdrawn_ns = NULL WHERE {WITHDRAWN_ID}", "releases", "whether it was withdrawn"),
    (f"INSERT INTO released SELECT '', {STRANGER}, partner, ledger, idx, traffic_class, precedence, '', NULL"
     f" FROM released WHERE {STANDING_ID} AND partner = 'KOR'", "releases", "527 are on record"),
    (f"UPDATE feed SET idx = 999 WHERE {OVERTAKEN_ID} AND item = 1", "feed", "does not hold what it says"),
    (f"UPDATE feed SET ledger = 77 WHERE {OVERTAKEN_ID} AND item = 1", "feed", "does not hold what it says"),
    (f"UPDATE feed SET originator = 'USA' WHERE {OVERTAKEN_ID} AND item = 1", "feed", "does not hold what it says"),
    (f"UPDATE feed SET kind = 3 WHERE {OVERTAKEN_ID} AND item = 1", "feed", "does not hold what it says"),
    (f"UPDATE feed SET traffic_class = 3 WHERE {OVERTAKEN_ID}", "feed", "does not hold what it says"),
    (f"UPDATE feed SET traffic_class = 9 WHERE {OVERTAKEN_ID}", "feed", "is missing, or of no traffic class"),
    (f"UPDATE feed SET precedence = 1 WHERE {OVERTAKEN_ID}", "feed", "does not hold what it says"),
    (f"UPDATE feed SET report_id = {STRANGER} WHERE {OVERTAKEN_ID} AND item = 1", "feed", "does not hold what it says"),
    (f"DELETE FROM feed WHERE {OVERTAKEN_ID} AND item = 1", "feed", "the report of"),
    (f"DELETE FROM feed WHERE {OVERTAKEN_ID} AND item = 2", "feed", "the withdrawal of"),
    ("DELETE FROM feed WHERE seq = (SELECT max(seq) FROM feed)", "feed", "is not in it"),
    ("INSERT INTO feed SELECT seq + 100, item, ledger, idx, originator, report_id, kind, traffic_class, precedence,"
     f" received_ns FROM feed WHERE {OVERTAKEN_ID} AND item = 1", "feed", "gives again what item"),
    (f"UPDATE feed SET idx = 1 WHERE {STANDING_ID}", "feed", "an own report that is not kept"),
    (f"UPDATE feed SET kind = 6 WHERE {STANDING_ID}", "feed", "otherwise than its decision"),
    (f"UPDATE feed SET originator = 'KOR' WHERE {STANDING_ID}", "feed", "otherwise than its decision"),
    (f"UPDATE feed SET item = 2 WHERE {STANDING_ID}", "feed", "otherwise than its decision"),
    (f"DELETE FROM feed WHERE {STANDING_ID}", "feed", "is in it 0 times"),
    (f"UPDATE received SET feed = feed + 1 WHERE {OVERTAKEN_ID}", "received", "is not what it sent"),
    (f"UPDATE received SET withdrawn_ns = NULL WHERE {OVERTAKEN_ID}", "received", "is not what it sent"),
    (f"DELETE FROM received WHERE {OVERTAKEN_ID}", "received", "is not what it sent"),
    (f"INSERT INTO received VALUES ('KOR', {STRANGER}, NULL, 1, 1, 4)", "received", "3 reports are on record"),
]  # fmt: skip


@pytest.mark.parametrize(("tampering", "where", "what"), TAMPERINGS)
def test_what_was_changed_without_a_key_is_found_and_named(
    copy: Path, db: apsw.Connection, tampering: str, where: str, what: str
) -> None:
    db.execute(tampering)
    assert db.changes() > 0
    findings = verify(copy).findings
    assert [str(finding) for finding in findings if finding.where == where and what in finding.what], [
        str(finding) for finding in findings
    ]


def test_a_flipped_bit_is_found_wherever_in_an_entry_it_is(copy: Path, db: apsw.Connection) -> None:
    ((id_, entries),) = db.execute(f"SELECT id, entries FROM segment WHERE {KOR_LEDGER} AND first = 262")
    for place in range(0, len(entries), 37):
        changed = bytearray(entries)
        changed[place] ^= 1
        db.execute("UPDATE segment SET entries = ? WHERE id = ?", (bytes(changed), id_))
        assert not verify(copy).sound, place
    db.execute("UPDATE segment SET entries = ? WHERE id = ?", (entries, id_))
    assert verify(copy).sound


# --- what one who holds the node's own keys may have done


def resigned(site: Site, change: Callable[[Site], None]) -> list[str]:
    """Findings in a store that its own gateway wrote wrongly, with every signature right."""
    change(site)
    return [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]


def released_without_a_decision(site: Site) -> None:
    plan = site.plan()
    plan.ledgers.writer("KOR", "flash").append(ledger_pb2.EntryContent(report=STANDING).SerializeToString())
    site.keep(plan)


def decided_without_a_release(site: Site) -> None:
    site.take(STANDING, RULES)
    plan = site.plan()
    record = ledger_pb2.DecisionRecord(report_id=STANDING.report_id)
    record.decisions.add(partner="KOR", outcome=ledger_pb2.OUTCOME_RELEASED, ledger=str(TO_KOR), index=7)
    plan.ledgers.decisions().append(ledger_pb2.EntryContent(decision_record=record).SerializeToString())
    site.keep(plan)


def withdrawn_without_a_release(site: Site) -> None:
    plan = site.plan()
    notice = ledger_pb2.Withdrawal(report_id=STANDING.report_id)
    plan.ledgers.writer("KOR", "flash").append(ledger_pb2.EntryContent(withdrawal=notice).SerializeToString())
    site.keep(plan)


def a_decision_record_for_a_partner(site: Site) -> None:
    plan = site.plan()
    record = ledger_pb2.DecisionRecord(report_id=STANDING.report_id)
    plan.ledgers.writer("KOR", "flash").append(ledger_pb2.EntryContent(decision_record=record).SerializeToString())
    site.keep(plan)


def an_entry_that_nobody_can_open(site: Site) -> None:
    plan = site.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
    writer.entries.append(b"junk")
    site.keep(plan)


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (released_without_a_decision, "no decision released it"),
        (decided_without_a_release, "that entry does not hold it"),
        (withdrawn_without_a_release, "which was never released it"),
        (a_decision_record_for_a_partner, "has no place in this ledger"),
        (an_entry_that_nobody_can_open, "does not open"),
    ],
)
def test_what_decisions_and_ledgers_say_of_each_other_must_agree(
    jpn: Site, change: Callable[[Site], None], finding: str
) -> None:
    assert any(finding in found for found in resigned(jpn, change))


def test_what_a_partner_cannot_use_must_still_open_at_home(jpn: Site) -> None:
    an_entry_that_nobody_can_open(jpn)
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, 2, leaf_hash(b"junk"), "it is junk")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(signatory_of("KOR").gateway), PARTNERS["KOR"]))
    assert any(
        "entry 2 does not open" in str(found) for found in verify_store(jpn.store, jpn.signatory, PARTNERS).findings
    )


def test_a_ledger_signed_by_a_key_that_is_not_believed_is_found(jpn: Site, kor: Site) -> None:
    kor.take(OVERTAKEN, KOR_RULES)
    jpn.do(jpn.receive(kor.incoming(FROM_KOR)))
    outcome = verify_store(jpn.store, jpn.signatory, {"KOR": replace(PARTNERS["KOR"], log=PARTNERS["USA"].log)})
    assert outcome.findings[0].where == str(FROM_KOR)
    unknown = verify_store(jpn.store, jpn.signatory, {})
    assert "the keys of KOR are not known" in str(unknown.findings[0])


def test_a_receipt_over_another_history_is_found(copy: Path, db: apsw.Connection) -> None:
    text = Checkpoint(TO_KOR, 264, b"r" * 32).text()
    note = Note(text, (cosign(text, signatory_of("KOR").receipt, NOW // SECOND),)).encode()
    db.execute(f"UPDATE cosignature SET note = ? WHERE {KOR_LEDGER} AND kind = 'receipt'", (note,))
    assert any("not over the checkpoint on record" in str(finding) for finding in verify(copy).findings)


def test_a_checkpoint_that_its_owner_signed_over_another_root_is_found(copy: Path, db: apsw.Connection) -> None:
    note = sign_checkpoint(Checkpoint(TO_KOR, 131, b"r" * 32), signatory_of("JPN").log).encode()
    db.execute(f"UPDATE checkpoint SET note = ? WHERE {KOR_LEDGER} AND size = 131", (note,))
    assert any("not what the entries up to 131 give" in str(finding) for finding in verify(copy).findings)


def test_an_empty_store_is_sound(make_site: MakeSite) -> None:
    site = make_site("JPN")
    assert verify_store(site.store, site.signatory, site.partners) == Verification()


def test_progress_names_every_ledger(sound: Path) -> None:
    told: list[str] = []
    reader = SqliteReader(sound)
    verify_store(reader, signatory_of("JPN"), PARTNERS, told.append)
    assert len(told) == len(reader.ledgers()) + 2, "the file before them, the records after"
    reader.close()
