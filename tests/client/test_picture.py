"""What stands, as a C2 system knows it: whatever comes first, what was withdrawn is shown withdrawn."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import report_pb2

from gateway.client import CaughtUp, Picture, Received, Withdrawn
from gateway.client.receiving import Item
from tests.reports.examples import all_clear, cancellation, correction, launch_detection, track

LEDGER = "signalfire/v1/JPN/KOR/flash/1"
THEN = datetime(2026, 5, 1, tzinfo=UTC)


def received(report: report_pb2.Report, *, own: bool = False, withdrawn: bool = False, at: datetime = THEN) -> Received:
    ledger = "" if own else LEDGER
    return Received("c", report, report.originator_node, ledger, 1, at, pq_pending=False, withdrawn=withdrawn)


def withdrawal(report: report_pb2.Report, at: datetime = THEN) -> Withdrawn:
    return Withdrawn(
        "c", report.report_id, report.originator_node, at, report.traffic_class, report.precedence, received_time=at
    )


def picture(*items: Item) -> Picture:
    made = Picture()
    for item in items:
        made.take(item)
    return made


def standing(shown: Picture) -> list[str]:
    return sorted(each.report_id for each in shown if not each.withdrawn)


def withdrawn(shown: Picture, report: report_pb2.Report) -> bool:
    found = shown.get(report.originator_node, report.report_id)
    assert found is not None
    return found.withdrawn


def test_a_report_stands_until_its_withdrawal_comes() -> None:
    report, shown = launch_detection(), Picture()
    (new,) = shown.take(received(report))
    assert (new.report, new.withdrawn) == (report, False)
    (gone,) = shown.take(withdrawal(report))
    assert (gone.report, gone.withdrawn) == (report, True)
    assert shown.take(withdrawal(report)) == []
    assert shown.take(CaughtUp("c")) == []
    assert standing(shown) == []


def test_a_report_that_its_withdrawal_overtook_arrives_withdrawn() -> None:
    report, shown = launch_detection(), Picture()
    (early,) = shown.take(withdrawal(report))
    assert (early.report, early.withdrawn) == (None, True)
    shown.take(received(report))
    assert withdrawn(shown, report)


def test_a_further_copy_that_stands_again_is_shown_standing() -> None:
    report = launch_detection()
    shown = picture(received(report), withdrawal(report), received(report))
    assert standing(shown) == [report.report_id]


def test_a_withdrawal_is_of_one_originators_report_alone() -> None:
    report = launch_detection()
    same = launch_detection(originator_node="KOR")
    assert same.report_id == report.report_id
    shown = picture(received(report), received(same), withdrawal(same))
    assert not withdrawn(shown, report)
    assert withdrawn(shown, same)


@pytest.mark.parametrize(
    "recall",
    [
        cancellation(9, cancellation__report_ids=[launch_detection(1).report_id]),
        correction(9, correction__report_ids=[launch_detection(1).report_id]),
        all_clear(9, event_id=launch_detection(1).event_id),
    ],
    ids=["cancellation", "correction", "all-clear"],
)
def test_a_recall_of_the_own_nation_withdraws_what_it_recalls(recall: report_pb2.Report) -> None:
    report, other = launch_detection(1), track(2, event_id="another")
    shown = picture(received(report, own=True), received(other, own=True))
    changed = shown.take(received(recall, own=True))
    assert [each.report_id for each in changed if each.withdrawn] == [report.report_id]
    assert standing(shown) == sorted([other.report_id, recall.report_id])


def test_what_a_partners_recall_says_withdraws_nothing_by_itself() -> None:
    # The gateway tells of every report that a partner recalled, and knows what was released.
    report = launch_detection(1)
    shown = picture(received(report), received(cancellation(9, cancellation__report_ids=[report.report_id])))
    assert not withdrawn(shown, report)


def test_an_all_clear_of_another_class_or_event_withdraws_nothing() -> None:
    report = launch_detection(1)
    shown = picture(
        received(report, own=True),
        received(all_clear(8, event_id="another"), own=True),
        received(all_clear(9, event_id=report.event_id, traffic_class=report_pb2.TRAFFIC_CLASS_TEST), own=True),
    )
    assert not withdrawn(shown, report)


def test_what_is_old_can_be_forgotten() -> None:
    old, young = launch_detection(1), launch_detection(2)
    shown = picture(received(old), received(young, at=THEN + timedelta(hours=1)))
    shown.forget(THEN + timedelta(minutes=1))
    assert standing(shown) == [young.report_id]
    assert len(shown) == 1


@given(st.data())
def test_in_whichever_order_it_comes_what_was_withdrawn_is_shown_so(data: st.DataObject) -> None:
    reports: Sequence[report_pb2.Report] = [launch_detection(seed) for seed in range(4)]
    recalled = data.draw(st.sets(st.sampled_from(range(4))))
    items: list[Item] = [received(each) for each in reports]
    items += [withdrawal(reports[place]) for place in recalled for _ in range(2)]
    shown = picture(*data.draw(st.permutations(items)))
    # A delivery says what stood when it was made: the gateway marks one that comes after its withdrawal.
    for place, report in enumerate(reports):
        shown.take(received(report, withdrawn=place in recalled))
        assert withdrawn(shown, report) is (place in recalled)
