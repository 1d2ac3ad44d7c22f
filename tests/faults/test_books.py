"""The books find each thing that can be wrong with what arrived: a check that never fails shows nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from signalfire.v1 import report_pb2

from gateway.client import Received, Result, Withdrawn
from gateway.reports.kinds import Kind as ReportKind
from tests.faults.books import Books, Struck
from tests.faults.invented import CODES, NOT_FOR
from tests.faults.schedule import Fault, Kind
from tests.faults.traffic import ALL
from tests.node.nations import report

NODES = CODES[:3]
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def copy_of(made: report_pb2.Report) -> report_pb2.Report:
    """The report as a partner has it: without who saw it."""
    copied = report_pb2.Report()
    copied.CopyFrom(made)
    copied.ClearField("originator_station")
    return copied


def received(made: report_pb2.Report) -> Received:
    return Received("cursor", made, made.originator_node, "ledger", 0, NOW, False, False)


def withdrawn(made: report_pb2.Report) -> Withdrawn:
    traffic, precedence = made.traffic_class, made.precedence
    return Withdrawn("cursor", made.report_id, made.originator_node, NOW, traffic, precedence, NOW)


def accepted(books: Books, made: report_pb2.Report) -> report_pb2.Report:
    """A report that was pushed and accepted."""
    books.push(made.originator_node, made, 0.0)
    books.answered(made.originator_node, Result(made.report_id, True, accepted_time=NOW), 0.0)
    return made


@pytest.fixture
def books() -> Books:
    """One report of JPN's that both others have, and its recall, of which both were told."""
    made = Books(NODES)
    one = accepted(made, report(originator_station=f"{ALL}/radar"))
    recall = accepted(made, report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id]))
    for node in ("KOR", "USA"):
        for each in (one, recall):
            made.deliver(node, 0, received(copy_of(each)), 1.0)
        made.recall(node, 0, withdrawn(one))
    return made


def test_what_is_as_it_must_be_has_no_fault(books: Books) -> None:
    assert books.faults() == []


def test_an_accepted_report_that_nobody_received_is_lost(books: Books) -> None:
    lost = accepted(books, report())
    assert [what.startswith("lost") and lost.report_id in what for what in books.faults()] == [True, True]


def test_an_accepted_recall_of_which_nobody_was_told_is_lost(books: Books) -> None:
    one = accepted(books, report())
    recall = accepted(books, report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id]))
    for node in ("KOR", "USA"):
        for each in (one, recall):
            books.deliver(node, 0, received(copy_of(each)), 1.0)
    assert len(books.lost) == 2
    assert all("was not told" in what for what in books.lost)


def test_a_report_without_an_answer_is_lost(books: Books) -> None:
    books.push("JPN", report(), 0.0)
    assert len(books.lost) == 1


def test_what_comes_twice_is_doubled_but_not_after_a_new_beginning(books: Books) -> None:
    one = accepted(books, report())
    books.deliver("KOR", 0, received(copy_of(one)), 1.0)
    books.deliver("USA", 0, received(copy_of(one)), 1.0)
    books.deliver("KOR", 1, received(copy_of(one)), 2.0)
    assert books.faults() == []
    books.deliver("KOR", 1, received(copy_of(one)), 3.0)
    assert len(books.doubled) == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"traffic_class": report_pb2.TRAFFIC_CLASS_TEST},
        {"threat__launch_country": "IRN"},
        {"threat__launch_area": f"{NOT_FOR}KOR"},
    ],
)
def test_what_must_stay_at_home_and_came_is_leaked(books: Books, changes: dict[str, Any]) -> None:
    secret = accepted(books, report(**changes))
    if secret.threat.launch_area:
        books.deliver("USA", 0, received(copy_of(secret)), 1.0)
    books.deliver("KOR", 0, received(copy_of(secret)), 1.0)
    leaked = [what for what in books.leaked if secret.report_id in what]
    assert leaked
    assert books.leaked == [what for what in books.faults() if what.startswith("leaked")]


def test_who_saw_it_is_leaked_where_it_came_along(books: Books) -> None:
    one = accepted(books, report(originator_station=f"{ALL}/radar"))
    books.deliver("USA", 0, received(copy_of(one)), 1.0)
    books.deliver("KOR", 0, received(one), 1.0)
    assert len(books.leaked) == 1


def test_what_came_changed_is_told_and_what_nobody_pushed(books: Books) -> None:
    one = accepted(books, report())
    books.deliver("USA", 0, received(copy_of(one)), 1.0)
    changed = copy_of(one)
    changed.launch_detection.launch_point.latitude_deg += 1
    books.deliver("KOR", 0, received(changed), 1.0)
    books.deliver("KOR", 0, received(copy_of(report())), 1.0)
    assert [what.split(":")[0] for what in books.faults()] == ["altered", "invented"]


def test_recovery_is_the_time_from_the_end_of_a_fault_to_the_next_arrival_on_each_pair_that_it_touched() -> None:
    books = Books(NODES)
    cut = Struck(Fault(1, 2, Kind.CUT, "JPN", "KOR"), 1.0, 3.0)
    books.struck.append(cut)
    books.arrivals["JPN", "KOR"] = [0.5, 3.25, 4.0]
    books.arrivals["KOR", "JPN"] = [0.5]
    assert books.recoveries(cut) == {("JPN", "KOR"): 0.25, ("KOR", "JPN"): None}
    assert not books.all_recovered
    assert books.undisturbed() == [("JPN", "USA"), ("KOR", "USA"), ("USA", "JPN"), ("USA", "KOR")]


def test_a_pair_that_something_else_disturbed_meanwhile_is_not_measured() -> None:
    books = Books(NODES)
    cut = Struck(Fault(1, 2, Kind.CUT, "JPN", "KOR"), 1.0, 3.0)
    books.arrivals["JPN", "KOR"] = books.arrivals["KOR", "JPN"] = [0.5, 4.0]
    for other in (
        Struck(Fault(2, 3, Kind.KILL, "KOR"), 2.0, 5.0),
        Struck(Fault(3.5, 1, Kind.PUSHER_CRASH, "JPN"), 3.5, 3.6),
        Struck(Fault(2, 0.5, Kind.KILL, "KOR"), 2.0, 2.5),
    ):
        books.struck = [cut, other]
        assert ("JPN", "KOR") not in books.recoveries(cut)
    # What ended before and was recovered from is no matter.
    books.arrivals["JPN", "KOR"] = [0.5, 2.7, 4.0]
    assert books.recoveries(cut)["JPN", "KOR"] == 1.0


def test_what_was_decided_by_a_wrong_clock_may_be_withheld_and_what_was_recalled_by_it_may_not() -> None:
    books = Books(NODES)
    one = accepted(books, report())
    for node in ("KOR", "USA"):
        books.deliver(node, 0, received(copy_of(one)), 0.5)
    books.struck.append(Struck(Fault(1, 2, Kind.CLOCK_JUMP, "JPN"), 1.0, 3.0))
    for made in (report(), report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id])):
        books.push("JPN", made, 2.0)
        books.answered("JPN", Result(made.report_id, True, accepted_time=NOW), 2.1)
    assert len(books.lost) == 2
    assert all("was not told" in what for what in books.lost)
    other = report(node="KOR")
    books.push("KOR", other, 2.0)
    books.answered("KOR", Result(other.report_id, True, accepted_time=NOW), 2.1)
    assert sum("has not received" in what for what in books.lost) == 2
