"""What a declared loss opens is above every generation that is known from anywhere."""

from __future__ import annotations

import pytest
from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import DECISIONS, WITNESS, Lane, Origin
from gateway.release.recovery.restored import DeclareSetBack, SetBackWaiting
from gateway.release.recovery.waiting_lines import waiting_for
from gateway.release.steps import RecordEvent
from gateway.release.succeeding import Succeed
from tests.release.world import RELEASE_ALL, MakeSite, Site, rules
from tests.reports.examples import launch_detection

FLASH = Origin.release("JPN", "KOR", Lane.FLASH, 1)
RULES = rules(KOR=RELEASE_ALL)
RESTORE = ledger_pb2.SUCCESSION_REASON_RESTORE
LOST = ledger_pb2.SUCCESSION_REASON_LOST_TAIL


@pytest.fixture
def lost(make_site: MakeSite) -> Site:
    """JPN without its store."""
    site = make_site("JPN", "lost")
    site.rulebook = RULES
    return site


def current(site: Site, origin: Origin) -> int:
    return site.heads.current("JPN", origin.recipient, origin.lane).generation


def assert_sound(site: Site) -> None:
    assert verify_store(site.store, site.signatory, site.partners).findings == []


def test_a_generation_that_the_store_does_not_know_is_not_opened_again(lost: Site) -> None:
    known = (Origin.release("JPN", "KOR", Lane.FLASH, 4), Origin.witness("JPN", 2), Origin.decisions("JPN", 3))
    lost.do(DeclareSetBack("a test", None, RESTORE, known=known))
    assert current(lost, FLASH) == 5
    assert current(lost, Origin.release("JPN", "KOR", Lane.ROUTINE, 1)) == 2
    assert (current(lost, Origin.witness("JPN", 1)), current(lost, Origin.decisions("JPN", 1))) == (4, 4)
    lost.take(launch_detection(1), RULES)
    assert [origin.generation for origin in _with_reports(lost)] == [5]
    lost.do(RecordEvent("started", "again"))
    assert_sound(lost)


def test_what_is_known_of_another_node_or_is_older_changes_nothing(lost: Site) -> None:
    lost.do(DeclareSetBack("a test", None, RESTORE))
    known = (FLASH, Origin.release("KOR", "JPN", Lane.FLASH, 9), Origin.witness("KOR", 9))
    lost.do(DeclareSetBack("a test", None, RESTORE, known=known))
    assert (current(lost, FLASH), current(lost, Origin.witness("JPN", 1))) == (3, 3)
    assert lost.heads.current("KOR", "JPN", "flash").generation == 1
    assert_sound(lost)


def test_a_named_ledger_that_the_store_opened_again_lacks_ends_at_the_generation_that_is_named(jpn: Site) -> None:
    jpn.do(RecordEvent("started", "the first time"))
    jpn.take(launch_detection(1), RULES)
    jpn.do(DeclareSetBack("a test", (FLASH.successor(), Origin.decisions("JPN", 2)), LOST))
    assert current(jpn, FLASH) == 3
    assert (current(jpn, Origin.witness("JPN", 1)), current(jpn, Origin.decisions("JPN", 1))) == (3, 3)
    assert_sound(jpn)


def test_a_partner_whose_ledgers_wait_is_told_nothing_before_they_are_set_back(lost: Site) -> None:
    kor = lost.partners.pop("KOR")
    known = (Origin.release("JPN", "KOR", Lane.FLASH, 2),)
    lost.do(DeclareSetBack("a test", None, RESTORE, known=known))
    assert waiting_for(lost.store) == {"KOR"}
    lost.partners["KOR"] = kor
    lost.take(launch_detection(1), RULES)
    assert lost.store.ledger(FLASH) is None, "nothing was begun under a generation that KOR may hold"
    with pytest.raises(LedgerError, match="keys of KOR"):
        lost.do(Succeed(FLASH, LOST, b"", shown_by="KOR"))
    lost.do_all(SetBackWaiting("KOR"), RecordEvent("started", "again"))
    assert not waiting_for(lost.store)
    assert current(lost, FLASH) == 3
    lost.take(launch_detection(2), RULES)
    assert [origin.generation for origin in _with_reports(lost)] == [3]
    assert_sound(lost)


def test_what_is_taken_in_the_commit_that_sets_a_partner_back_is_told_to_it(lost: Site) -> None:
    kor = lost.partners.pop("KOR")
    lost.do(DeclareSetBack("a test", None, RESTORE))
    lost.partners["KOR"] = kor
    plan = lost.plan()
    SetBackWaiting("KOR").apply(plan)
    assert plan.recipients == {"KOR", "USA"}
    lost.keep(plan)
    assert (current(lost, FLASH), lost.heads.current("JPN", None, DECISIONS).generation) == (2, 2)
    assert lost.heads.current("JPN", None, WITNESS).generation == 2


def _with_reports(site: Site) -> list[Origin]:
    flash = [FLASH]
    while site.store.ledger(flash[-1].successor()) is not None:
        flash.append(flash[-1].successor())
    return [origin for origin in flash if any(content.HasField("report") for content in site.contents(origin).values())]
