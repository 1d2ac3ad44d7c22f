"""What waits: reports that are held, and withdrawals that a partner cannot be told of yet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import apsw
import pytest
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.release.errors import RefusedReport
from gateway.release.pipeline import DecideHeld, TakeReport, TellWithdrawals
from gateway.release.sharing import NOTICES_A_COMMIT, Decided
from tests.release.test_pipeline import C2, cancelling
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, Site, anything, identifier, rules
from tests.reports.examples import NOW, all_clear, launch_detection, track

SECOND: Final = 1_000_000_000
HELD: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 60")
HOLD: Final = rules(KOR=HELD)
AT_ONCE: Final = rules(KOR=RELEASE_ALL)


@pytest.fixture
def jpn(tmp_path: Path) -> Iterator[Site]:
    site = Site("JPN", tmp_path / "jpn.db")
    yield site
    site.close()


def decide_what_is_due(site: Site) -> list[object]:
    return [site.do(DecideHeld(row)) for row in site.store.held_until(site.now_ns, 100)]


def outcomes(site: Site) -> list[str]:
    return [f"{d.outcome}:{d.rule}" for record in site.decisions() for d in record.decisions]


def test_a_held_report_goes_when_it_is_due_and_not_before(jpn: Site) -> None:
    report = launch_detection()
    jpn.take(report, HOLD)
    assert jpn.reports("KOR") == []
    jpn.now_ns += 60 * SECOND - 1
    assert decide_what_is_due(jpn) == []
    jpn.now_ns += 1
    jpn.restart()
    decide_what_is_due(jpn)
    assert [each.report_id for each in jpn.reports("KOR")] == [report.report_id]
    first, second = jpn.decisions()
    assert first.decisions[0].outcome == ledger_pb2.OUTCOME_HELD
    assert first.decisions[0].hold_until.ToNanoseconds() == NOW + 60 * SECOND
    assert second.decisions[0].outcome == ledger_pb2.OUTCOME_RELEASED
    assert second.accepted_time.ToNanoseconds() == NOW
    assert jpn.store.held(identifier(report)) == []


def test_a_held_report_is_decided_again_under_the_policy_then_in_force(jpn: Site) -> None:
    jpn.take(launch_detection(), HOLD)
    jpn.rulebook = rules(KOR=RELEASE_NOTHING)
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert jpn.reports("KOR") == []
    assert jpn.decisions()[-1].decisions[0].rule == "(no rule releases it)"
    assert jpn.store.held_until(jpn.now_ns, 10) == []


def test_a_hold_is_never_over_while_the_clock_is_not_trusted(jpn: Site) -> None:
    jpn.take(launch_detection(), HOLD)
    jpn.now_ns += 120 * SECOND
    jpn.clock_trusted = False
    decide_what_is_due(jpn)
    assert jpn.reports("KOR") == []
    jpn.clock_trusted = True
    decide_what_is_due(jpn)
    assert len(jpn.reports("KOR")) == 1


def test_while_the_clock_is_not_trusted_a_held_report_is_left_as_it_is(jpn: Site) -> None:
    jpn.take(launch_detection(), HOLD)
    before = len(jpn.decisions())
    jpn.now_ns += 120 * SECOND
    jpn.clock_trusted = False
    assert decide_what_is_due(jpn) == [None]
    assert len(jpn.decisions()) == before
    assert len(jpn.store.held_until(jpn.now_ns, 10)) == 1


def test_a_held_report_that_does_not_open_any_more_is_withheld_once_and_said_so(jpn: Site) -> None:
    report = launch_detection()
    jpn.take(report, HOLD)
    jpn.store.close()
    with contextlib.closing(apsw.Connection(str(jpn.path))) as db:
        db.execute("UPDATE report SET payload = zeroblob(length(payload))")
    jpn.restart()
    jpn.now_ns += 60 * SECOND
    (decided,) = decide_what_is_due(jpn)
    assert isinstance(decided, Decided)
    assert decided.failed
    assert jpn.decisions()[-1].decisions[0].error.startswith("the report does not open any more")
    assert jpn.store.held_until(jpn.now_ns, 10) == []


def test_a_report_that_does_not_open_any_more_is_recalled_by_who_submitted_it_alone(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, AT_ONCE)
    jpn.store.close()
    with contextlib.closing(apsw.Connection(str(jpn.path))) as db:
        db.execute("UPDATE report SET payload = zeroblob(length(payload))")
    jpn.restart()
    with pytest.raises(RefusedReport):
        jpn.do(TakeReport.of(cancelling(report), "spiffe://jpn/c2/another", anything))
    jpn.take(cancelling(report))
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]


def test_a_second_recall_of_what_waits_to_be_told_adds_nothing(jpn: Site) -> None:
    report = track(1)
    suspended = replace(AT_ONCE, suspended=frozenset({"KOR"}))
    jpn.take(report, AT_ONCE)
    jpn.take(cancelling(report), suspended)
    jpn.take(all_clear(9), suspended)
    assert jpn.store.untold_counts() == {"KOR": 1}
    assert [record.decisions[0].withdrawals for record in jpn.decisions()] == [0, 1, 0]


def test_a_recall_ends_pending_holds_in_its_own_commit(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, HOLD)
    jpn.take(cancelling(report), HOLD)
    assert jpn.store.held(identifier(report)) == []
    assert "(recalled while it was held)" in " ".join(outcomes(jpn))
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert report.report_id not in [each.report_id for each in jpn.reports("KOR")]
    assert jpn.withdrawals("KOR") == []


def test_a_report_held_and_recalled_within_one_commit_never_goes(jpn: Site) -> None:
    report = track(1)
    steps = (TakeReport.of(each, C2, anything) for each in (report, cancelling(report)))
    jpn.do_all(*steps, rulebook=HOLD)
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert report.report_id not in [each.report_id for each in jpn.reports("KOR")]


def test_a_suspended_partner_is_told_of_a_withdrawal_only_once_it_is_suspended_no_longer(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, AT_ONCE)
    jpn.take(cancelling(report), replace(AT_ONCE, suspended=frozenset({"KOR"})))
    assert jpn.withdrawals("KOR") == []
    assert [event.kind for event in jpn.events()] == ["withdrawals-kept-back"]
    assert jpn.do(TellWithdrawals("KOR")) == 0
    jpn.rulebook = AT_ONCE
    assert jpn.do(TellWithdrawals("KOR")) == 1
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]
    assert jpn.store.untold_counts() == {}


def test_nothing_new_is_released_to_a_suspended_partner(jpn: Site) -> None:
    jpn.take(launch_detection(), replace(AT_ONCE, suspended=frozenset({"KOR"})))
    assert jpn.reports("KOR") == []
    assert outcomes(jpn) == [f"{ledger_pb2.OUTCOME_WITHHELD}:(partner suspended)"]


def test_a_partner_without_a_trust_bundle_is_told_of_withdrawals_once_it_has_one(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, AT_ONCE)
    kept = jpn.partners.pop("KOR")
    jpn.take(cancelling(report))
    assert jpn.store.untold_counts() == {"KOR": 1}
    jpn.partners["KOR"] = kept
    assert jpn.do(TellWithdrawals("KOR")) == 1
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]


def test_a_recall_of_very_many_reports_is_told_over_several_commits_each_once(jpn: Site) -> None:
    warnings = [track(seed) for seed in range(NOTICES_A_COMMIT + 10)]
    jpn.do_all(*(TakeReport.of(each, C2, anything) for each in warnings), rulebook=AT_ONCE)
    jpn.take(all_clear(9999))
    assert len(jpn.withdrawals("KOR")) == NOTICES_A_COMMIT
    assert jpn.store.untold_counts() == {"KOR": 10}
    assert jpn.decisions()[-1].decisions[0].withdrawals == NOTICES_A_COMMIT + 10
    assert jpn.do(TellWithdrawals("KOR")) == 10
    assert jpn.do(TellWithdrawals("KOR")) == 0
    told = [report_id for _, report_id in jpn.withdrawals("KOR")]
    assert sorted(told) == sorted(each.report_id for each in warnings)


def test_an_all_clear_recalls_only_reports_of_its_own_traffic_class(jpn: Site) -> None:
    jpn.take(track(1), AT_ONCE)
    jpn.take(all_clear(2, traffic_class=report_pb2.TRAFFIC_CLASS_TEST))
    assert jpn.withdrawals("KOR") == []


def test_a_cancellation_of_another_traffic_class_is_refused(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, AT_ONCE)
    with pytest.raises(RefusedReport) as caught:
        jpn.take(cancelling(report, traffic_class=report_pb2.TRAFFIC_CLASS_TEST))
    assert caught.value.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    assert caught.value.violations[0].field == "cancellation.report_ids[0]"


@pytest.mark.parametrize("recall", [all_clear(7), cancelling(track(1))])
def test_a_client_recalls_nothing_that_it_could_not_have_pushed(jpn: Site, recall: report_pb2.Report) -> None:
    jpn.take(track(1), AT_ONCE)
    with pytest.raises(RefusedReport) as caught:
        jpn.take(recall, may_push=lambda earlier: earlier.originator_station == "TESTBENCH")
    assert caught.value.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    assert jpn.withdrawals("KOR") == []
