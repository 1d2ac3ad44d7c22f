"""Signatures are kept only over what this node holds itself; a ledger that ends has one successor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.cosignature import CosignatureSigner, Ed25519CosignatureSigner, cosign, receipt_name
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind
from gateway.release.steps import (
    FollowSuccessor,
    KeepCosignature,
    KeepUnopenable,
    RecordEvent,
    SignatureError,
    SignPostQuantum,
)
from gateway.release.succeeding import Succeed
from gateway.seal.entry import EntryKind, parse_header
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
RULES = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
RECEIPT, PQ = CosignatureKind.RECEIPT, CosignatureKind.PQ
REASON = ledger_pb2.SUCCESSION_REASON_LOST_TAIL


@pytest.fixture
def sent(jpn: Site) -> Site:
    """JPN with a ledger that has checkpoints of sizes 2 and 3."""
    for seed in (1, 2):
        jpn.take(launch_detection(seed), RULES)
    return jpn


def checkpoint_text(site: Site, size: int, origin: Origin = ORIGIN) -> str:
    raw = site.store.checkpoint(site.row(origin).id, size)
    assert raw is not None
    return Note.parse(raw).text


def by_kor(text: str, signer: CosignatureSigner | None = None) -> bytes:
    """A receipt by KOR, or by another signer."""
    return Note(text, (cosign(text, signer or signatory_of("KOR").receipt, NOW // SECOND),)).encode()


def keeping(note: bytes, origin: Origin = ORIGIN, kind: CosignatureKind = RECEIPT) -> KeepCosignature:
    return KeepCosignature(origin, kind, note, partner_of("KOR" if kind is RECEIPT else "JPN"))


def assert_refused(site: Site, step: KeepCosignature | KeepUnopenable, match: str) -> None:
    plan = site.plan()
    with pytest.raises(LedgerError, match=match):
        step.apply(plan)
    assert plan.finish() == []
    assert plan.empty


# --- receipts


@pytest.mark.parametrize("size", [2, 3])
def test_a_receipt_for_a_checkpoint_on_record_is_kept(sent: Site, size: int) -> None:
    note = by_kor(checkpoint_text(sent, size))
    assert sent.do(keeping(note)) == size
    kept = sent.store.cosignature(sent.row(ORIGIN).id, RECEIPT, "KOR")
    assert kept is not None
    assert (kept.size, kept.note) == (size, note)


def test_a_receipt_for_another_ledger_is_refused(sent: Site) -> None:
    to_usa = Origin("JPN", "USA", "flash", 1)
    assert_refused(sent, keeping(by_kor(checkpoint_text(sent, 3, to_usa))), "which is not here")
    assert_refused(sent, keeping(by_kor(checkpoint_text(sent, 3)), origin=to_usa), "which is not here")
    missing = Origin("JPN", "KOR", "routine", 1)
    text = Checkpoint(missing, 3, b"r" * 32).text()
    assert_refused(sent, keeping(by_kor(text), origin=missing), "which is not here")


@pytest.mark.parametrize("size", [1, 4, 2**63 - 1])
def test_a_receipt_for_a_size_without_a_checkpoint_is_refused(sent: Site, size: int) -> None:
    text = Checkpoint(ORIGIN, size, sent.row(ORIGIN).root).text()
    assert_refused(sent, keeping(by_kor(text)), "which is not here")


def test_a_valid_signature_over_another_root_is_refused(sent: Site) -> None:
    text = Checkpoint(ORIGIN, 3, b"r" * 32).text()
    assert_refused(sent, keeping(by_kor(text)), "on another checkpoint of size 3")


def test_a_receipt_by_another_key_is_refused(sent: Site) -> None:
    text = checkpoint_text(sent, 3)
    stranger = Ed25519CosignatureSigner(receipt_name("KOR"), b"s" * 32)
    for signer in (stranger, signatory_of("USA").receipt, signatory_of("JPN").receipt, signatory_of("KOR").pq):
        assert_refused(sent, keeping(by_kor(text, signer)), "no signature by a key")


def test_a_forged_receipt_under_the_right_name_is_refused(sent: Site) -> None:
    note = Note.parse(by_kor(checkpoint_text(sent, 3)))
    (line,) = note.signatures
    broken = replace(line, signature=line.signature[:-1] + bytes([line.signature[-1] ^ 1]))
    assert_refused(sent, keeping(replace(note, signatures=(broken,)).encode()), "does not hold")
    older = Note.parse(by_kor(checkpoint_text(sent, 2))).signatures
    assert_refused(sent, keeping(replace(note, signatures=older).encode()), "does not hold")


@pytest.mark.parametrize("raw", [b"", b"junk", b"\n\n", b"\xff\xfe", b"a\n\n\xe2\x80\x94 b c\n"])
def test_junk_is_no_receipt(sent: Site, raw: bytes) -> None:
    assert_refused(sent, keeping(raw), ".")


# --- the post-quantum line


def test_a_post_quantum_line_covers_the_newest_checkpoint_and_its_recipient_keeps_it(sent: Site, kor: Site) -> None:
    assert sent.do(SignPostQuantum(ORIGIN)) == 3
    row = sent.store.cosignature(sent.row(ORIGIN).id, PQ, "JPN")
    assert row is not None
    kor.do(kor.receive(sent.incoming(ORIGIN)))
    assert kor.do(keeping(row.note, kind=PQ)) == 3
    assert [(kept.kind, kept.size) for kept in kor.store.cosignatures(kor.row(ORIGIN).id)] == [(PQ, 3), (RECEIPT, 3)]


def test_a_line_by_an_ed25519_key_is_no_post_quantum_line(sent: Site, kor: Site) -> None:
    kor.do(kor.receive(sent.incoming(ORIGIN)))
    text = checkpoint_text(kor, 3)
    for signer in (signatory_of("JPN").receipt, signatory_of("KOR").pq):
        assert_refused(kor, keeping(by_kor(text, signer), kind=PQ), "no signature by a key")


def test_a_ledger_that_holds_nothing_needs_no_post_quantum_line(jpn: Site) -> None:
    plan = jpn.plan()
    assert SignPostQuantum(ORIGIN).apply(plan) == 0
    assert plan.empty


# --- statements


def statement(
    site: Site, index: int = 1, *, signer: str = "KOR", origin: Origin = ORIGIN, leaf: bytes | None = None,
    kind: EntryStatementKind = EntryStatementKind.UNOPENABLE,
) -> bytes:  # fmt: skip
    if leaf is None:
        leaf = leaf_hash(site.store.entry(site.row(ORIGIN).id, min(index, 2)) or b"")
    made = EntryStatement(kind, "KOR", origin, index, leaf, "it does not open")
    return made.sign(signatory_of(signer).gateway)


def test_a_partners_statement_about_an_entry_is_kept(sent: Site) -> None:
    note = statement(sent)
    kept = sent.do(KeepUnopenable(ORIGIN, note, partner_of("KOR")))
    assert kept is not None
    assert (kept.index, kept.reason) == (1, "it does not open")
    assert [(row.index, row.note) for row in sent.store.unopenable(sent.row(ORIGIN).id)] == [(1, note)]


def test_a_statement_about_anything_else_is_refused(sent: Site) -> None:
    def keeping_note(note: bytes, origin: Origin = ORIGIN) -> KeepUnopenable:
        return KeepUnopenable(origin, note, partner_of("KOR"))

    assert_refused(sent, keeping_note(statement(sent, 3)), "which is not there")
    assert_refused(sent, keeping_note(statement(sent, 2**63 - 1)), "which is not there")
    assert_refused(sent, keeping_note(statement(sent, leaf=b"l" * 32)), "about another entry")
    assert_refused(sent, keeping_note(statement(sent, signer="USA")), "no known key")
    assert_refused(sent, keeping_note(statement(sent, kind=EntryStatementKind.ABSENT)), "not one of KOR")
    assert_refused(sent, keeping_note(statement(sent, origin=Origin("JPN", "USA", "flash", 1))), "not one of KOR")
    assert_refused(sent, keeping_note(b"junk"), ".")
    none = Origin("JPN", "KOR", "routine", 1)
    assert_refused(sent, keeping_note(statement(sent, origin=none), none), "which is not there")


# --- succession


def contents(site: Site, origin: Origin) -> Sequence[ledger_pb2.EntryContent]:
    return list(site.contents(origin).values())


def test_the_successor_opens_with_what_both_ends_agree_on(sent: Site) -> None:
    sent.do(keeping(by_kor(checkpoint_text(sent, 2))))
    agreed = Checkpoint.parse(checkpoint_text(sent, 2))
    successor = sent.do(Succeed(ORIGIN, REASON, b"their checkpoint"))
    assert successor == Origin("JPN", "KOR", "flash", 2)
    assert contents(sent, successor)[0] == ledger_pb2.EntryContent(
        succession=ledger_pb2.Succession(reason=REASON, agreed_size=2, agreed_root=agreed.root)
    )
    opening = sent.store.entry(sent.row(successor).id, 0)
    assert opening is not None
    assert parse_header(opening).kind is EntryKind.EPOCH_OPENING
    (event,) = [c.node_event for c in contents(sent, Origin.decisions("JPN", 1)) if c.HasField("node_event")]
    assert event.kind == "ledger-succeeded"
    assert list(event.evidence) == [b"their checkpoint"]


def test_where_nothing_was_ever_agreed_the_successor_says_so(jpn: Site) -> None:
    successor = jpn.do(Succeed(ORIGIN, REASON, b""))
    assert contents(jpn, successor) == [ledger_pb2.EntryContent(succession=ledger_pb2.Succession(reason=REASON))]
    assert jpn.row(ORIGIN).successor == successor


def test_a_ledger_has_one_successor_however_often_it_is_ended(sent: Site) -> None:
    step = Succeed(ORIGIN, REASON, b"")
    successor = ORIGIN.successor()
    assert sent.do_all(step, step) == [successor, successor]
    size = sent.row(successor).size
    assert sent.do(step) == successor
    sent.restart()
    assert sent.do(step) == successor
    assert sent.row(successor).size == size
    assert sent.heads.current("JPN", "KOR", "flash") == successor


def test_reports_go_into_the_successor_and_the_old_ledger_stays_as_it_was(sent: Site) -> None:
    old = sent.row(ORIGIN)
    successor = sent.do(Succeed(ORIGIN, REASON, b""))
    sent.take(launch_detection(3), RULES)
    sent.restart()
    sent.take(launch_detection(4), RULES)
    assert sent.row(ORIGIN) == replace(old, successor=successor, agreed=0)
    assert [c.report.report_id for c in contents(sent, successor) if c.HasField("report")] == [
        launch_detection(seed).report_id for seed in (1, 2, 3, 4)
    ]


def test_a_successor_can_be_succeeded(sent: Site) -> None:
    second = sent.do(Succeed(ORIGIN, REASON, b""))
    third = sent.do(Succeed(second, REASON, b""))
    assert third.generation == 3
    assert sent.heads.current("JPN", "KOR", "flash") == third


def test_a_store_from_before_a_succession_goes_on_after_the_generation_that_its_partner_holds(sent: Site) -> None:
    unknown = ORIGIN.successor().successor()
    successor = sent.do(Succeed(unknown, REASON, b""))
    assert successor.generation == 4
    sent.restart()
    assert sent.heads.current("JPN", "KOR", "flash") == successor
    assert [sent.row(ORIGIN).successor, sent.row(unknown).successor] == [ORIGIN.successor(), successor]


def test_a_replica_follows_its_owner_to_the_next_generation_alone(sent: Site, kor: Site) -> None:
    kor.do(kor.receive(sent.incoming(ORIGIN)))
    plan = kor.plan()
    for wrong in (ORIGIN, Origin("JPN", "KOR", "flash", 3), Origin("JPN", "KOR", "routine", 2)):
        with pytest.raises(LedgerError, match="not its next generation"):
            FollowSuccessor(ORIGIN, wrong).apply(plan)
    assert plan.empty
    step = FollowSuccessor(ORIGIN, ORIGIN.successor())
    kor.do_all(step, step)
    kor.do(step)
    assert kor.heads.current("JPN", "KOR", "flash") == ORIGIN.successor()
    kor.restart()
    assert kor.heads.current("JPN", "KOR", "flash") == ORIGIN.successor()


def test_a_ledger_of_which_nothing_ever_came_can_end_too(kor: Site) -> None:
    kor.do(FollowSuccessor(ORIGIN, ORIGIN.successor()))
    kor.restart()
    assert kor.heads.current("JPN", "KOR", "flash") == ORIGIN.successor()


# --- events


def test_an_event_is_on_record_with_its_evidence_and_its_marks(jpn: Site) -> None:
    jpn.do(RecordEvent("started", "a test", (b"evidence",), (("boot", b"\x01"),)))
    (content,) = contents(jpn, Origin.decisions("JPN", 1))
    event = content.node_event
    assert (event.kind, event.detail) == ("started", "a test")
    assert list(event.evidence) == [b"evidence"]
    assert event.time.ToNanoseconds() == NOW
    assert jpn.store.meta("boot") == b"\x01"


def test_a_refusal_is_of_the_family_that_refuses_one_step() -> None:
    assert issubclass(SignatureError, LedgerError)
