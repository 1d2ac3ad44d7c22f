"""What a partner gives back of an own ledger is believed as far as this node signed it, and no further."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS, WITNESS, Lane, Origin
from gateway.ledger.stores import CosignatureKind, UntoldRow
from gateway.release.batch import IncomingBatch
from gateway.release.recovery.restored import DeclareSetBack, SetBackWaiting
from gateway.release.recovery.returned import ConfirmBack, OwnLogKeys, TakeBack, back_in, in_words
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.release.recovery.wish import EndWish, standing
from gateway.release.replica import RootsDiffer
from gateway.release.steps import RecordEvent
from gateway.release.subject import Subject
from tests.release.world import RELEASE_ALL, MakeSite, Site, as_sent, identifier, keys_of, partner_of, rules
from tests.reports.examples import cancellation, launch_detection, track

FLASH = Origin.release("JPN", "KOR", Lane.FLASH, 1)
RULES = rules(KOR=RELEASE_ALL)
RESTORE = ledger_pb2.SUCCESSION_REASON_RESTORE
KEYS = OwnLogKeys([LogPublicKey(keys_of("JPN").public().log)], [])


@pytest.fixture
def lost(jpn: Site, kor: Site, make_site: MakeSite) -> Site:
    """JPN without its store, which released two reports to KOR, and whose operator has said so."""
    for seed in (1, 2):
        jpn.take(launch_detection(seed), RULES)
        first = 0 if seed == 1 else kor.row(FLASH).size
        kor.do(kor.receive(jpn.incoming(FLASH, first)))
    site = make_site("JPN", "lost")
    site.rulebook = RULES
    site.do(DeclareSetBack("a test", None, RESTORE))
    site.do(RecordEvent("started", "again"))
    return site


def held(kor: Site, origin: Origin = FLASH) -> IncomingBatch:
    """What KOR holds of a ledger of JPN, in one batch as it gives it back."""
    return as_sent(origin, kor.run(origin))


def take(batch: IncomingBatch, site: Site, keys: OwnLogKeys = KEYS) -> TakeBack:
    return TakeBack(batch.origin, "KOR", [batch], keys, site.opener)


def receipt(kor: Site, origin: Origin = FLASH) -> bytes:
    row = kor.store.cosignature(kor.row(origin).id, CosignatureKind.RECEIPT, "KOR")
    assert row is not None
    return row.note


def assert_sound(site: Site) -> None:
    assert verify_store(site.store, site.signatory, site.partners).findings == []


def test_every_ledger_ends_also_those_that_the_store_does_not_know(lost: Site) -> None:
    for origin in (FLASH, Origin.witness("JPN", 1), Origin.decisions("JPN", 1)):
        assert lost.heads.current("JPN", origin.recipient, origin.lane).generation == 2
    assert {head.origin.recipient for head in lost.heads if not head.replica} == {None, "KOR", "USA"}
    wish = standing(lost.store)
    assert wish is not None
    assert not wish.HasField("since"), "nothing is known of how far back"
    assert lost.do(EndWish(True))
    assert standing(lost.store) is None
    assert_sound(lost)


def test_a_ledger_of_a_partner_without_keys_is_set_back_when_they_are_there(make_site: MakeSite) -> None:
    site = make_site("JPN", "lost")
    site.rulebook = RULES
    kor = site.partners.pop("KOR")
    site.do(DeclareSetBack("a test", None, RESTORE))
    assert waiting_for(site.store) == {"KOR"}
    assert site.heads.current("JPN", "KOR", "flash") == FLASH
    assert site.do(SetBackWaiting("KOR")) == ()
    site.partners["KOR"] = kor
    assert FLASH.successor() in site.do(SetBackWaiting("KOR"))
    assert not waiting_for(site.store)
    assert site.do(SetBackWaiting("KOR")) == ()
    assert_sound(site)


def test_a_named_ledger_alone_ends_and_with_the_witness_ledger_the_decisions(jpn: Site) -> None:
    jpn.do(RecordEvent("started", "the first time"))
    jpn.take(launch_detection(1), RULES)
    assert jpn.do(DeclareSetBack("a test", (FLASH,), RESTORE)) == (FLASH.successor(),)
    assert jpn.heads.current("JPN", None, DECISIONS).generation == 1
    jpn.do(DeclareSetBack("a test", (Origin.decisions("JPN", 1),), RESTORE))
    assert jpn.heads.current("JPN", None, DECISIONS).generation == 2
    assert jpn.heads.current("JPN", None, WITNESS).generation == 2
    assert_sound(jpn)


def test_what_comes_back_is_on_record_and_a_recall_reaches_who_had_it(lost: Site, kor: Site) -> None:
    assert lost.do(take(held(kor), lost)) == kor.row(FLASH).size
    lost.do(ConfirmBack(FLASH, receipt(kor), partner_of("KOR")))
    assert lost.row(FLASH).root == kor.row(FLASH).root
    assert lost.row(FLASH).agreed == lost.row(FLASH).size
    one = launch_detection(1)
    assert [row.partner for row in lost.store.released(identifier(one))] == ["KOR"]
    assert lost.take(one, RULES).duplicate is False
    assert lost.reports("KOR") == [] or len(lost.reports("KOR")) == 2, "in the first generation, as before"
    assert not lost.contents(FLASH.successor()) or all(
        not content.HasField("report") for content in lost.contents(FLASH.successor()).values()
    )
    lost.take(cancellation(9, cancellation__report_ids=[one.report_id]), RULES)
    told = [
        content.withdrawal.report_id
        for content in lost.contents(FLASH.successor()).values()
        if content.HasField("withdrawal")
    ]
    assert told == [one.report_id]
    assert_sound(lost)


def test_what_was_altered_shortened_or_is_of_another_is_refused_and_nothing_of_it_is_kept(
    lost: Site, kor: Site, jpn: Site, make_site: MakeSite
) -> None:
    batch = held(kor)
    entries = list(bundle.decode(batch.entries, batch.count, allow_absent=True))
    entries[1] = entries[1][:-1] + bytes([entries[1][-1] ^ 1])
    altered = replace(batch, entries=bundle.encode(entries))
    shorter = replace(batch, entries=bundle.encode(entries[:1]), count=1)
    stranger = make_site("USA")
    stranger.take(_as("USA", 1), rules("USA", KOR=RELEASE_ALL))
    other = Origin.release("JPN", "USA", Lane.FLASH, 1)
    for wrong in (altered, shorter, replace(batch, origin=other), replace(batch, first=1, count=batch.count)):
        with pytest.raises(LedgerError):
            lost.do(take(wrong, lost))
    with pytest.raises(LedgerError):
        lost.do(take(held(kor), lost, OwnLogKeys([LogPublicKey(keys_of("USA").public().log)], [])))
    assert lost.row(FLASH).size == 0


def _as(node: str, seed: int):  # type: ignore[no-untyped-def]
    report = launch_detection(seed)
    report.originator_node = node
    report.marking.policy = node
    return report


def test_what_only_a_retired_key_signed_is_not_believed_unless_one_in_use_covers_it(lost: Site, kor: Site) -> None:
    retired = OwnLogKeys([LogPublicKey(keys_of("USA").public().log)], KEYS.current)
    with pytest.raises(LedgerError, match="out of use"):
        lost.do(take(held(kor), lost, retired))


def test_nothing_comes_back_into_a_ledger_that_goes_on(lost: Site, kor: Site, jpn: Site) -> None:
    with pytest.raises(LedgerError, match="has not ended"):
        jpn.do(take(held(kor), jpn))


def test_what_parts_from_the_history_here_is_told_apart(
    jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path
) -> None:
    jpn.take(launch_detection(1), RULES)
    kor.do(kor.receive(jpn.incoming(FLASH)))
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    jpn.take(launch_detection(2), RULES)
    kor.do(kor.receive(jpn.incoming(FLASH, kor.row(FLASH).size)))
    copy = make_site("JPN", "copy")
    copy.take(launch_detection(3), RULES)
    copy.do(DeclareSetBack("a test", None, RESTORE))
    size = copy.row(FLASH).size
    tail = as_sent(FLASH, kor.run(FLASH, kor.store.segment_of(kor.row(FLASH).id, size - 1)))
    with pytest.raises(LedgerError):
        copy.do(take(tail, copy))
    whole = held(kor)
    assert whole.first == 0
    with pytest.raises((RootsDiffer, LedgerError)):
        copy.do(take(whole, copy))


def test_an_older_copy_takes_back_the_tail_alone(jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path) -> None:
    jpn.take(launch_detection(1), RULES)
    kor.do(kor.receive(jpn.incoming(FLASH)))
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    jpn.take(launch_detection(2), RULES)
    kor.do(kor.receive(jpn.incoming(FLASH, kor.row(FLASH).size)))
    copy = make_site("JPN", "copy")
    before = copy.row(FLASH).size
    copy.do(DeclareSetBack("a test", None, RESTORE))
    assert copy.do(take(held(kor), copy)) == kor.row(FLASH).size, "what overlaps is cut"
    copy.do(ConfirmBack(FLASH, receipt(kor), partner_of("KOR")))
    assert [row.index >= before for row in copy.store.released(identifier(launch_detection(2)))] == [True]
    copy.take(launch_detection(2), RULES)
    assert sum(content.HasField("report") for content in copy.contents(FLASH.successor()).values()) == 1, (
        "what had no receipt goes on in the successor, and what came back is not sealed again"
    )
    assert_sound(copy)


def test_who_was_told_of_a_recall_by_what_comes_back_in_the_same_commit_is_told_nothing(
    jpn: Site, kor: Site, usa: Site, make_site: MakeSite
) -> None:
    both = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
    reports = [track(seed) for seed in range(1, 6)]
    for report in reports:
        jpn.take(report, both)
    for number, report in enumerate(reports, 901):
        jpn.take(cancellation(number, cancellation__report_ids=[report.report_id]), both)
    site = make_site("JPN", "lost")
    site.rulebook = both
    site.do(DeclareSetBack("a test", None, RESTORE))
    steps = {}
    for partner in (kor, usa):
        for lane in (Lane.IMMEDIATE, Lane.FLASH):
            origin = Origin.release("JPN", partner.node, lane, 1)
            partner.do(partner.receive(jpn.incoming(origin)))
            batch = as_sent(origin, partner.run(origin))
            steps[partner.node, lane] = TakeBack(origin, partner.node, [batch], KEYS, site.opener)
    site.do_all(*(steps[each] for each in sorted(steps, key=lambda each: each[1] is Lane.FLASH)))
    assert site.store.untold_counts() == {}, "USA was to be told by what KOR gave back, until it gave back its own"
    assert_sound(site)


@pytest.mark.parametrize("seed", range(8))
def test_whoever_was_told_has_not_to_be_told_any_more_however_often_that_stood_there(jpn: Site, seed: int) -> None:
    chance, plan = random.Random(seed), jpn.plan()
    subjects = [Subject(originator, bytes([number]) * 16) for originator in ("", "KOR") for number in range(4)]
    owed: set[tuple[Subject, str]] = set()
    for _ in range(400):
        subject, partner = chance.choice(subjects), chance.choice(["KOR", "USA"])
        if chance.random() < 0.7:
            plan.commit.untold.append(UntoldRow(subject.originator, subject.report_id, partner))
            owed.add((subject, partner))
        else:
            plan.untold.record_told(subject, partner)
            owed.discard((subject, partner))
            assert plan.commit.told[-1] == UntoldRow(subject.originator, subject.report_id, partner)
        asked = chance.choice(subjects)
        assert set(plan.untold.partners(asked)) == {partner for subject, partner in owed if subject == asked}
    rows = {(Subject(row.originator, row.report_id), row.partner) for row in plan.commit.untold}
    assert rows == owed


def test_the_words_of_what_came_back_are_read_back() -> None:
    assert back_in(in_words(FLASH, [1, 2, 5], "KOR")) == (str(FLASH), frozenset({1, 2, 5}), 0)
    assert back_in(in_words(FLASH.successor(), [3], "KOR", FLASH)) == (str(FLASH.successor()), frozenset({3}), 0)
    assert back_in(f"{FLASH}: 7 entries were confirmed by KOR") == (str(FLASH), frozenset(), 7)
    with pytest.raises(ValueError, match="does not say"):
        back_in("anything else")
