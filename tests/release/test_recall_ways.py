"""Recalls that are large, late or meet a node that has lost something: each reaches everyone who had the report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import pytest
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Origin
from gateway.ledger.stores import ReleasedRow
from gateway.release.errors import LookFirst, RefusedReport
from gateway.release.pipeline import HOLDS_A_COMMIT, LOOKED_AT_A_STEP, DecideHeld, TakeReport, TellWithdrawals
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.sharing import LANES, NOTICES_A_COMMIT
from tests.release.onward import USA_RULES, american, bring, passing, recall
from tests.release.world import RELEASE_ALL, MakeSite, Site, anything, identifier, rules
from tests.reports.examples import SECOND, all_clear, launch_detection, track

C2: Final = "spiffe://jpn/c2/radar"
HELD: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 60")
BOTH: Final = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
MANY: Final = 2 * LOOKED_AT_A_STEP + 100
EVENT: Final = "launch-1"


@pytest.fixture
def jpn(tmp_path: Path) -> Iterator[Site]:
    site = Site("JPN", tmp_path / "jpn.db")
    yield site
    site.close()


def warn(site: Site, count: int, first: int = 1) -> list[report_pb2.Report]:
    """So many warnings about one event, taken in commits of 500."""
    made = [track(seed, event_id=EVENT) for seed in range(first, first + count)]
    for start in range(0, count, 500):
        site.do_all(*(TakeReport.of(each, C2, anything) for each in made[start : start + 500]))
    return made


def sound(site: Site) -> None:
    assert [str(each) for each in verify_store(site.store, site.signatory, site.partners).findings] == []


def test_an_all_clear_of_very_many_warnings_is_looked_at_before_and_told_after_its_commit(jpn: Site) -> None:
    jpn.rulebook = BOTH
    made = warn(jpn, MANY)
    with pytest.raises(LookFirst):
        jpn.do(TakeReport.of(all_clear(9999, event_id=EVENT), C2, anything))
    jpn.take(all_clear(9999, event_id=EVENT))
    # From its commit on all are recalled, whatever crashes; what is sent with it is bounded.
    jpn.restart()
    assert all(row.withdrawn_ns is not None for each in made if (row := jpn.store.report(identifier(each))))
    assert len(jpn.withdrawals("KOR")) + len(jpn.withdrawals("USA")) == NOTICES_A_COMMIT
    while jpn.store.untold_counts():
        for partner in ("KOR", "USA"):
            assert jpn.do(TellWithdrawals(partner)) <= NOTICES_A_COMMIT
    for partner in ("KOR", "USA"):
        assert sorted(each for _, each in jpn.withdrawals(partner)) == sorted(each.report_id for each in made)
    sound(jpn)


def test_a_client_who_may_not_recall_one_of_very_many_is_refused_and_nothing_is_recalled(jpn: Site) -> None:
    jpn.rulebook = BOTH
    made = warn(jpn, LOOKED_AT_A_STEP + 1)
    before = jpn.store.counts()
    with pytest.raises(RefusedReport) as refused:
        jpn.take(all_clear(9999, event_id=EVENT), may_push=lambda report: report.report_id != made[7].report_id)
    assert refused.value.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    assert jpn.store.counts() == before
    assert jpn.withdrawals("KOR") == []


def test_a_warning_that_comes_while_an_all_clear_is_looked_at_is_recalled_and_judged_too(jpn: Site) -> None:
    jpn.rulebook = BOTH
    warn(jpn, 3)
    step = TakeReport.of(all_clear(9999, event_id=EVENT), C2, anything)
    plan = jpn.plan()
    looked_at = step.look(plan, plan.own_reports.of_event(EVENT, {2}))
    (late,) = warn(jpn, 1, first=50)
    jpn.do(replace(step, looked_at=looked_at))
    assert ("flash", late.report_id) in jpn.withdrawals("KOR")
    (later,) = warn(jpn, 1, first=60)
    with pytest.raises(RefusedReport):
        jpn.do(TakeReport.of(all_clear(9998, event_id=EVENT), C2, lambda each: each.report_id != later.report_id))


def test_of_very_many_holds_those_that_do_not_end_with_the_recall_never_go_either(jpn: Site) -> None:
    jpn.rulebook = rules(KOR=HELD)
    warn(jpn, HOLDS_A_COMMIT + 3)
    jpn.take(all_clear(9999, event_id=EVENT))
    jpn.now_ns += 61 * SECOND
    left = [row for row in jpn.store.held_until(jpn.now_ns, 9999) if row.report_id != identifier(all_clear(9999))]
    assert len(left) == 3
    sound(jpn)
    for row in left:
        jpn.do(DecideHeld(row))
    assert jpn.reports("KOR") == []
    recalled = [d for record in jpn.decisions() for d in record.decisions if d.rule == "(recalled while it was held)"]
    assert len(recalled) == HOLDS_A_COMMIT + 3
    assert jpn.store.held_until(jpn.now_ns, 9999) == [
        row for row in jpn.store.held_until(jpn.now_ns, 9999) if row.report_id == identifier(all_clear(9999))
    ]
    sound(jpn)


def test_a_second_all_clear_of_very_many_tells_nobody_again(jpn: Site) -> None:
    jpn.rulebook = rules(KOR=RELEASE_ALL)
    made = warn(jpn, NOTICES_A_COMMIT + 20)
    jpn.take(all_clear(9999, event_id=EVENT))
    jpn.take(all_clear(9998, event_id=EVENT))
    while jpn.store.untold_counts():
        jpn.do(TellWithdrawals("KOR"))
    assert sorted(each for _, each in jpn.withdrawals("KOR")) == sorted(each.report_id for each in made)
    sound(jpn)


# --- onward


def test_a_partner_who_was_passed_a_report_and_is_suspended_is_told_of_its_withdrawal_once_it_is_resumed(
    make_site: MakeSite,
) -> None:
    usa, jpn, kor = make_site("USA"), make_site("JPN"), make_site("KOR")
    jpn.rulebook = passing()
    report = american()
    usa.take(report, USA_RULES)
    bring(usa, jpn)
    bring(jpn, kor)
    jpn.rulebook = replace(jpn.rulebook, suspended=frozenset({"KOR"}))
    usa.take(recall(report))
    bring(usa, jpn)
    assert jpn.withdrawals("KOR") == []
    assert jpn.do(TellWithdrawals("KOR")) == 0
    jpn.rulebook = replace(jpn.rulebook, suspended=frozenset())
    assert jpn.do(TellWithdrawals("KOR")) == 1
    bring(jpn, kor)
    known = kor.store.received("USA", identifier(report))
    assert known is not None
    assert known.withdrawn_ns is not None


class Returned:
    """What a node that has lost its store knows again from its own ledger: that it passed a report on."""

    weight = 0
    rank = Rank.OWN

    def __init__(self, report: report_pb2.Report) -> None:
        self.report = report

    def apply(self, plan: Plan) -> None:
        writer = plan.ledgers.writer("KOR", "flash")
        index = writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
        plan.releases.record(
            ReleasedRow(
                identifier(self.report), "KOR", writer.head.id, index, self.report.traffic_class,
                self.report.precedence, originator="USA",
            )
        )  # fmt: skip


def test_a_node_that_lost_what_it_passed_on_still_tells_of_the_withdrawal(make_site: MakeSite) -> None:
    usa, jpn = make_site("USA"), make_site("JPN")
    report = american(track, 1)
    usa.take(report, USA_RULES)
    usa.take(recall(report))
    jpn.rulebook = passing()
    jpn.do(Returned(report))
    # The withdrawal comes on the fastest lane, and the report again later, or never.
    assert bring(usa, jpn).withdrawals == 1
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]
    (record,) = (each for each in jpn.decisions() if each.report_id == report.report_id)
    assert record.submitted_by.startswith("signalfire/v1/USA/JPN/flash/1 ")
    bring(usa, jpn, lane=LANES[report.precedence].value)
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]


def test_a_report_withdrawn_by_its_originator_before_a_hold_is_over_never_goes_onward(make_site: MakeSite) -> None:
    usa, jpn = make_site("USA"), make_site("JPN")
    jpn.rulebook = passing("    hold_s: 60\n")
    report = american()
    usa.take(report, USA_RULES)
    bring(usa, jpn)
    (held,) = jpn.store.held_until(jpn.now_ns + 60 * SECOND, 9)
    usa.take(recall(report))
    bring(usa, jpn)
    jpn.now_ns += 61 * SECOND
    assert jpn.do(DecideHeld(held)) is None
    assert jpn.reports("KOR") == []
    assert jpn.withdrawals("KOR") == []


def test_a_report_of_an_origin_that_sends_it_twice_is_withdrawn_once_and_stays_so(make_site: MakeSite) -> None:
    jpn, kor = make_site("JPN"), make_site("KOR")
    report = launch_detection(1)
    jpn.take(report, rules(KOR=RELEASE_ALL))
    jpn.take(all_clear(5, event_id=report.event_id))
    batch = jpn.incoming(Origin("JPN", "KOR", "flash", 1))
    kor.do(kor.receive(batch))
    # The same content in the next generation, as after a succession.
    plan = jpn.plan()
    plan.ledgers.end(Origin("JPN", "KOR", "flash", 1), Origin("JPN", "KOR", "flash", 2), 0)
    writer = plan.ledgers.writer("KOR", "flash")
    for content in jpn.contents(Origin("JPN", "KOR", "flash", 1)).values():
        if content.WhichOneof("content") in ("report", "withdrawal"):
            writer.append(content.SerializeToString())
    jpn.keep(plan)
    again = kor.do(kor.receive(jpn.incoming(Origin("JPN", "KOR", "flash", 2))))
    assert (again.reports, again.withdrawals) == (0, 0)
    known = kor.store.received("JPN", identifier(report))
    assert known is not None
    assert known.withdrawn_ns is not None
