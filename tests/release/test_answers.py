"""A recipient's answers are kept once, whatever keys sign their repetition, and nothing is kept of what stands beside
the lines of its keys.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.ledger.cosignature import Ed25519CosignatureSigner, cosign, receipt_name
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Signer, Note, SignatureLine
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import CosignatureKind
from gateway.release.ranks import Rank
from gateway.release.steps import KeepCosignature, KeepUnopenable, SignatureError, SignPostQuantum, UnverifiedAnswer
from tests.release.world import RELEASE_ALL, Site, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
RECEIPT, PQ = CosignatureKind.RECEIPT, CosignatureKind.PQ
JUNK = tuple(SignatureLine(f"nobody/{place}", place, b"j" * 2000) for place in range(15))
FORMER_RECEIPT_KEY = Ed25519CosignatureSigner(receipt_name("KOR"), b"f" * 32)
FORMER_LOG_KEY = Ed25519Signer("signalfire/v1/KOR/gateway", b"f" * 32)


@pytest.fixture
def sent(jpn: Site) -> Site:
    """JPN with one report for KOR in a ledger of size 2."""
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    return jpn


def padded(raw: bytes) -> bytes:
    """The note with lines of keys that nobody knows, as long as a note may be."""
    return Note.parse(raw).with_signatures(*JUNK).encode()


def receipt(site: Site, signer: Ed25519CosignatureSigner | None = None) -> KeepCosignature:
    raw = site.store.checkpoint(site.row(ORIGIN).id, 2)
    assert raw is not None
    text = Note.parse(raw).text
    note = Note(text, (cosign(text, signer or signatory_of("KOR").receipt, NOW // SECOND),)).encode()
    return KeepCosignature(ORIGIN, RECEIPT, note, partner_of("KOR"))


def statement(site: Site, signer: Ed25519Signer | None = None) -> KeepUnopenable:
    leaf = leaf_hash(site.store.entry(site.row(ORIGIN).id, 1) or b"")
    made = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", ORIGIN, 1, leaf, "it does not open")
    return KeepUnopenable(ORIGIN, made.sign(signer or signatory_of("KOR").gateway), partner_of("KOR"))


def assert_no_commit(site: Site, step: KeepCosignature | KeepUnopenable) -> None:
    plan = site.plan()
    step.apply(plan)
    plan.finish()
    assert plan.empty


def test_answers_about_alerts_end_no_commit_of_tracks_and_keep_their_order(sent: Site) -> None:
    # Of one rank and one source: none overtakes another, and none is taken for an alert.
    assert receipt(sent).rank is statement(sent).rank is Rank.IMMEDIATE


def test_a_statement_that_is_on_record_costs_no_commit(sent: Site) -> None:
    assert sent.do(statement(sent)) is not None
    assert_no_commit(sent, statement(sent))
    assert sent.do(statement(sent)) is None


def test_what_was_said_under_a_key_that_is_believed_no_more_may_be_repeated(sent: Site) -> None:
    sent.do(receipt(sent))
    sent.do(statement(sent))
    assert_no_commit(sent, receipt(sent, FORMER_RECEIPT_KEY))
    assert_no_commit(sent, statement(sent, FORMER_LOG_KEY))


def test_answers_that_share_a_commit_are_kept_as_if_each_had_its_own(sent: Site) -> None:
    newest, former = signatory_of("KOR").receipt, FORMER_RECEIPT_KEY
    kor = replace(partner_of("KOR"), receipt=(newest.verifier, former.verifier))
    old, new = (KeepCosignature(ORIGIN, RECEIPT, receipt(sent, key).note, kor) for key in (former, newest))
    said, again = sent.do_all(old, new, old, statement(sent), statement(sent))[-2:]
    assert said is not None
    assert again is None
    (kept,) = sent.store.cosignatures(sent.row(ORIGIN).id)
    assert [line.key_id for line in Note.parse(kept.note).signatures] == [former.key_id, newest.key_id]


def test_an_answer_that_says_what_is_so_under_an_unknown_key_is_told_apart_and_not_kept(sent: Site) -> None:
    for step in (receipt(sent, FORMER_RECEIPT_KEY), statement(sent, FORMER_LOG_KEY)):
        plan = sent.plan()
        with pytest.raises(UnverifiedAnswer) as refused:
            step.apply(plan)
        assert refused.value.covered == 2
        assert plan.empty
    assert issubclass(UnverifiedAnswer, SignatureError)


def test_of_an_answer_the_partners_own_line_alone_is_kept(sent: Site, kor: Site) -> None:
    plain, spoken = receipt(sent), statement(sent)
    sent.do(KeepCosignature(ORIGIN, RECEIPT, padded(plain.note), partner_of("KOR")))
    sent.do(KeepUnopenable(ORIGIN, padded(spoken.note), partner_of("KOR")))
    ledger = sent.row(ORIGIN).id
    assert [row.note for row in sent.store.cosignatures(ledger)] == [plain.note]
    assert [row.note for row in sent.store.unopenable(ledger)] == [spoken.note]

    sent.do(SignPostQuantum(ORIGIN))
    line = sent.store.cosignature(ledger, PQ, "JPN")
    assert line is not None
    kor.do(kor.receive(sent.incoming(ORIGIN)))
    kor.do(KeepCosignature(ORIGIN, PQ, padded(line.note), partner_of("JPN")))
    kept = kor.store.cosignature(kor.row(ORIGIN).id, PQ, "JPN")
    assert kept is not None
    assert kept.note == line.note


def test_the_last_statements_are_found_without_reading_the_others(kor: Site, jpn: Site) -> None:
    plan = jpn.plan()
    for _ in range(5):
        plan.ledgers.writer("KOR", "flash").append(b"\xff")
    jpn.keep(plan)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    ledger = kor.row(ORIGIN).id
    every = kor.store.unopenable(ledger)
    assert [row.index for row in every] == [1, 2, 3, 4, 5]
    assert kor.store.last_unopenable(ledger, 2) == every[-2:]
    assert kor.store.statement(ledger, 3) == every[2]
    assert kor.store.statement(ledger, 0) is None
