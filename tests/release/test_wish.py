"""From when on C2 systems are asked to submit again, and who may end that."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from signalfire.v1 import ledger_pb2

from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.recovery.records import Recovery
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.recovery.wish import ASKED_NS, EndWish, StillAsked, lost_until_ns, standing, wish_for
from gateway.release.steps import KeepCosignature
from gateway.release.succeeding import Succeed
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.recovery import RecordKey, unwrap_record_key
from tests.release.world import RELEASE_ALL, MakeSite, Site, partner_of, rules
from tests.reports.examples import launch_detection, track

FLASH = Origin.release("JPN", "KOR", Lane.FLASH, 1)
RULES = rules(KOR=RELEASE_ALL)
RESTORE = ledger_pb2.SUCCESSION_REASON_RESTORE
LOST = ledger_pb2.SUCCESSION_REASON_LOST_TAIL
HOUR = 3_600_000_000_000


def carry(jpn: Site, kor: Site, origin: Origin) -> None:
    """KOR takes what JPN has of a ledger, and JPN its receipt."""
    row = kor.store.ledger(origin)
    kor.do(kor.receive(jpn.incoming(origin, 0 if row is None else row.size)))
    receipt = kor.store.cosignature(kor.row(origin).id, CosignatureKind.RECEIPT, "KOR")
    assert receipt is not None
    jpn.do(KeepCosignature(origin, CosignatureKind.RECEIPT, receipt.note, partner_of("KOR")))


def test_what_a_partner_confirmed_since_of_another_ledger_says_nothing_of_when_the_copy_was_made(
    jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path
) -> None:
    began = jpn.now_ns
    jpn.take(launch_detection(1), RULES)
    carry(jpn, kor, FLASH)
    jpn.take(track(2), RULES)
    lane = next(lane for lane in Lane if jpn.store.ledger(Origin.release("JPN", "KOR", lane, 1)) and lane != Lane.FLASH)
    slow = Origin.release("JPN", "KOR", lane, 1)
    carry(jpn, kor, slow)
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    jpn.now_ns = kor.now_ns = began + HOUR
    jpn.take(launch_detection(3), RULES)
    carry(jpn, kor, FLASH)
    copy = make_site("JPN", "copy")
    copy.now_ns = kor.now_ns = began + 2 * HOUR
    copy.take(track(4), RULES)
    carry(copy, kor, slow)
    copy.do(Succeed(FLASH, LOST, kor.run(FLASH).checkpoint, shown_by="KOR"))
    wish = standing(copy.store)
    assert wish is not None
    assert 0 < wish.since.ToNanoseconds() <= began + HOUR, "what was lost was accepted an hour after the copy"


def test_without_a_recovery_key_the_asking_ends_a_day_later_at_the_soonest(make_site: MakeSite) -> None:
    site = make_site("JPN", "lost")
    site.do(DeclareSetBack("a test", None, RESTORE))
    with pytest.raises(LedgerError, match="nobody has shown the nation's recovery key"):
        site.do(EndWish(proved=False))
    assert standing(site.store) is not None
    site.now_ns += ASKED_NS
    assert site.do(EndWish(proved=False))
    assert not site.do(EndWish(proved=False)), "there is nothing to end"


def test_up_to_when_reports_may_have_been_lost_is_known_when_nothing_is_asked_for_any_more(make_site: MakeSite) -> None:
    site = make_site("JPN", "lost")
    assert lost_until_ns(site.store) == 0, "nothing was ever lost"
    for _ in range(2):
        site.now_ns += HOUR
        lost_ns = site.now_ns
        site.do(DeclareSetBack("a test", None, RESTORE))
        assert lost_until_ns(site.store) == lost_ns
        site.now_ns += HOUR
        site.do(EndWish(proved=True))
        site.restart()
        assert lost_until_ns(site.store) == lost_ns


@pytest.mark.parametrize("asked_before", [True, False])
def test_what_is_found_lost_in_the_commit_in_which_the_asking_is_to_end_is_asked_for(
    make_site: MakeSite, asked_before: bool
) -> None:
    site = make_site("JPN", "lost")
    if asked_before:
        site.do(DeclareSetBack("a test", None, RESTORE))
    site.now_ns += HOUR
    plan = site.plan()
    wish_for(plan, 1, "a partner holds more")
    with pytest.raises(StillAsked, match="more is lost"):
        EndWish(proved=True).apply(plan)
    site.keep(plan)
    wish = standing(site.store)
    assert wish is not None
    assert wish.until.ToNanoseconds() == lost_until_ns(site.store) == site.now_ns
    assert "a partner holds more" in wish.reason
    assert site.do(EndWish(proved=True)), "who asks again knows of it"


def test_what_is_found_lost_behind_the_end_of_the_asking_in_the_same_commit_is_asked_for(make_site: MakeSite) -> None:
    site = make_site("JPN", "lost")
    site.do(DeclareSetBack("a test", None, RESTORE))
    first_ns = site.now_ns
    site.now_ns -= HOUR
    plan = site.plan()
    assert EndWish(proved=True).apply(plan)
    assert not EndWish(proved=True).apply(plan)
    wish_for(plan, 1, "a partner holds more")
    site.keep(plan)
    wish = standing(site.store)
    assert wish is not None
    assert (wish.reason, wish.until.ToNanoseconds()) == ("a partner holds more", first_ns)


@pytest.mark.parametrize("ended", [True, False])
def test_up_to_when_reports_may_have_been_lost_does_not_go_back_with_the_clock(
    make_site: MakeSite, ended: bool
) -> None:
    site = make_site("JPN", "lost")
    site.do(DeclareSetBack("a test", None, RESTORE))
    first_ns = site.now_ns
    if ended:
        assert site.do(EndWish(proved=True))
    site.now_ns -= HOUR
    site.do(DeclareSetBack("again", None, RESTORE))
    assert lost_until_ns(site.store) == first_ns
    assert site.do(EndWish(proved=True))
    assert lost_until_ns(site.store) == first_ns


def test_with_the_wish_stands_a_record_that_the_recovery_key_alone_opens(make_site: MakeSite) -> None:
    site, key = make_site("JPN", "lost"), SealingPrivateKey.generate()
    site.recovery = Recovery(key.public)
    site.do(DeclareSetBack("a test", None, RESTORE))
    site.do(DeclareSetBack("again", None, RESTORE))
    (row,) = site.store.each_recovery()
    assert row.rebuilt, "nothing is rebuilt from it"
    sealed = ledger_pb2.SealedRecovery.FromString(row.sealed)
    raw = unwrap_record_key(str(row.ledger), sealed, row.index, "JPN", key)
    opened = RecordKey.read_with(str(row.ledger), row.index, raw).open(row.index, sealed.ciphertext)
    assert opened == ledger_pb2.RecoveryRecord()
    assert site.do(EndWish(proved=True))
