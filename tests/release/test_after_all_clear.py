"""A warning that was made before the all-clear of its event and is accepted after it stands, and that is on record."""

from __future__ import annotations

import pytest
from signalfire.v1 import report_pb2

from gateway.attention import Late
from gateway.release.after_all_clear import EVENT
from gateway.release.pipeline import TakeReport
from tests.release.world import RELEASE_ALL, Site, anything, identifier, rules
from tests.reports.examples import NOW, SECOND, all_clear, cancellation, change, launch_detection, track

ALL = rules(KOR=RELEASE_ALL)


def made(report: report_pb2.Report, seconds: float) -> report_pb2.Report:
    """The report as made so many seconds after NOW."""
    report.report_time.FromNanoseconds(NOW + int(seconds * SECOND))
    return report


def taking(report: report_pb2.Report) -> TakeReport:
    """The step that takes it."""
    return TakeReport.of(report, "spiffe://jpn/c2/radar", anything)


def noted(site: Site) -> list[str]:
    """What is on record of such warnings."""
    return [event.detail for event in site.events() if event.kind == EVENT]


def test_a_warning_that_comes_after_the_all_clear_goes_stands_and_is_on_record(jpn: Site) -> None:
    over, late = all_clear(1), made(launch_detection(12), -50)
    jpn.take(launch_detection(11), ALL)
    jpn.take(over)
    jpn.restart()
    taken = jpn.take(late)
    assert taken.late == Late(late.event_id, identifier(late))
    assert late.report_id in [report.report_id for report in jpn.reports("KOR")]
    assert [row.withdrawn_ns for row in jpn.store.released(identifier(late))] == [None]
    assert noted(jpn) == [
        f"{late.report_id} was made before the all-clear of {late.event_id}, {over.report_id}, was accepted after it,"
        " and stands"
    ]


def test_so_it_is_in_one_commit_with_the_all_clear(jpn: Site) -> None:
    jpn.rulebook = ALL
    late = made(launch_detection(12), -50)
    taken = jpn.do_all(*map(taking, (all_clear(1), late, made(track(13), -20))))
    assert [each.late is not None for each in taken] == [False, True, True]
    assert len(noted(jpn)) == 2


@pytest.mark.parametrize(
    "other",
    [
        made(launch_detection(12), 1),
        change(made(launch_detection(12), -50), event_id="another"),
        change(made(launch_detection(12), -50), traffic_class=report_pb2.TRAFFIC_CLASS_TEST),
        all_clear(2),
    ],
    ids=["made after it", "of another event", "of another traffic class", "another all-clear"],
)
def test_of_nothing_else_it_is_told(jpn: Site, other: report_pb2.Report) -> None:
    jpn.take(all_clear(1), ALL)
    assert jpn.take(other).late is None
    assert noted(jpn) == []


def test_of_what_comes_before_the_all_clear_or_is_sent_again_nothing_is_told(jpn: Site) -> None:
    warning = made(launch_detection(12), -50)
    assert jpn.take(warning, ALL).late is None
    jpn.take(all_clear(1))
    assert jpn.take(warning).late is None
    assert jpn.take(cancellation(5, cancellation__report_ids=[warning.report_id])).late is None
    assert noted(jpn) == []


def test_the_last_all_clear_counts(jpn: Site) -> None:
    jpn.take(made(all_clear(1), 0), ALL)
    jpn.take(made(all_clear(2), 60))
    assert jpn.take(made(launch_detection(12), 30)).late is not None
