"""The books find each thing that can be wrong with what arrived: a check that never fails shows nothing."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from signalfire.v1 import report_pb2

from gateway.client import Received, Result, Withdrawn
from gateway.ledger.origin import Origin
from gateway.release.sharing import LANES
from gateway.reports.kinds import Kind as ReportKind
from tests.faults.books import Books
from tests.faults.invented import CODES, NOT_FOR
from tests.faults.recovery import Struck
from tests.faults.schedule import Fault, Kind
from tests.faults.traffic import ALL
from tests.node.nations import report
from tests.reports import examples

NODES = CODES[:3]
NOW = datetime(2026, 5, 1, tzinfo=UTC)


def copy_of(made: report_pb2.Report) -> report_pb2.Report:
    """The report as a partner has it: without who saw it, and who else may have it."""
    copied = report_pb2.Report()
    copied.CopyFrom(made)
    for field in ("originator_station", "source_sequence", "references"):
        copied.ClearField(field)
    copied.marking.ClearField("releasable_to")
    return copied


_INDICES = itertools.count(1)


def received(
    made: report_pb2.Report, at: str = "KOR", *, index: int | None = None, withdrawn: bool = False
) -> Received:
    """It comes to the node `at` in its lane, after everything else, or at this index."""
    origin = Origin(made.originator_node, at, LANES[made.precedence], 1)
    place = next(_INDICES) if index is None else index
    return Received("cursor", made, made.originator_node, str(origin), place, NOW, False, withdrawn)


def own(made: report_pb2.Report, *, withdrawn: bool = False) -> Received:
    """It is given to its own nation."""
    return Received("cursor", made, made.originator_node, "", 0, NOW, False, withdrawn)


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
            made.deliver(node, 0, received(copy_of(each), node), 1.0)
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
            books.deliver(node, 0, received(copy_of(each), node), 1.0)
    assert len(books.lost) == 2
    assert all("was not told" in what for what in books.lost)


def test_a_report_without_an_answer_is_lost(books: Books) -> None:
    books.push("JPN", report(), 0.0)
    assert len(books.lost) == 1


def test_what_comes_twice_is_doubled(books: Books) -> None:
    one = accepted(books, report())
    books.deliver("KOR", 0, received(copy_of(one), "KOR"), 1.0)
    books.deliver("USA", 0, received(copy_of(one), "USA"), 1.0)
    assert books.faults() == []
    books.deliver("KOR", 0, received(copy_of(one), "KOR"), 3.0)
    assert len(books.doubled) == 1


def test_who_lost_its_store_is_given_everything_again_once_and_must_be(books: Books) -> None:
    books.struck.append(Struck(Fault(1, 1, Kind.LOST_STORE, "KOR"), 1.0, 2.0))
    books.begin("KOR", 1)
    assert [each.split(":")[0] for each in books.faults()] == ["lost"] * 3
    one, recall = (made for _, made in books.pushed.items())
    books.deliver("KOR", 1, received(copy_of(one), "KOR", withdrawn=True), 3.0)
    books.deliver("KOR", 1, received(copy_of(recall), "KOR"), 3.0)
    books.recall("KOR", 1, withdrawn(one))
    assert books.faults() == []
    books.deliver("KOR", 1, received(copy_of(one), "KOR", withdrawn=True), 3.0)
    assert len(books.doubled) == 1


def test_whose_cursor_is_refused_without_a_loss_is_told(books: Books) -> None:
    one, recall = (made for _, made in books.pushed.items())
    books.begin("KOR", 1)
    books.deliver("KOR", 1, received(copy_of(one), "KOR", withdrawn=True), 3.0)
    books.deliver("KOR", 1, received(copy_of(recall), "KOR"), 3.0)
    books.recall("KOR", 1, withdrawn(one))
    assert [each.split(":")[0] for each in books.faults()] == ["refused"]


def test_a_lane_that_comes_in_another_order_is_told_by_its_indices(books: Books) -> None:
    made = [accepted(books, report()) for _ in range(3)]
    for node in ("KOR", "USA"):
        for index in (1003, 1002, 1001) if node == "USA" else (1001, 1002, 1003):
            books.deliver(node, 0, received(copy_of(made[index - 1001]), node, index=index), 1.0)
    assert [each.split(":")[0] for each in books.faults()] == ["order", "order"]


def test_what_came_in_another_lane_than_its_own_is_told(books: Books) -> None:
    one = accepted(books, report())
    books.deliver("USA", 0, received(copy_of(one), "USA"), 1.0)
    given = received(copy_of(one), "KOR")
    books.deliver("KOR", 0, replace(given, ledger=given.ledger.replace("flash", "routine")), 1.0)
    assert [each.split(":")[0] for each in books.faults()] == ["order"]


def test_what_is_delivered_as_standing_after_its_withdrawal_is_told_and_as_withdrawn_it_is_not(books: Books) -> None:
    one = accepted(books, report())
    recall = accepted(books, report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id]))
    for node in ("KOR", "USA"):
        books.recall(node, 0, withdrawn(one))
        books.deliver(node, 0, received(copy_of(one), node, withdrawn=node == "USA"), 1.0)
        books.deliver(node, 0, received(copy_of(recall), node), 1.0)
    assert [each.split(":")[0] for each in books.faults()] == ["order"]
    books.deliver("KOR", 0, received(copy_of(one), "KOR"), 2.0)
    assert [each.split(":")[0] for each in books.faults()] == ["doubled", "order", "order", "stands"]
    assert all("KOR" in each for each in books.faults())


def test_a_withdrawal_of_what_nobody_recalled_is_invented(books: Books) -> None:
    one, other = accepted(books, report()), accepted(books, report())
    for node in ("KOR", "USA"):
        books.deliver(node, 0, received(copy_of(one), node), 1.0)
        books.deliver(node, 0, received(copy_of(other), node, withdrawn=node == "USA"), 1.0)
    books.recall("KOR", 0, withdrawn(one))
    assert [each.split(":")[0] for each in books.faults()] == ["invented", "invented"]


def test_a_withdrawal_with_another_class_is_altered(books: Books) -> None:
    one = accepted(books, report())
    recall = accepted(books, report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id]))
    for node in ("KOR", "USA"):
        books.deliver(node, 0, received(copy_of(one), node), 1.0)
        books.deliver(node, 0, received(copy_of(recall), node), 1.0)
        told = withdrawn(one)
        books.recall(node, 0, told if node == "USA" else replace(told, precedence=report_pb2.PRECEDENCE_ROUTINE))
    assert [each.split(":")[0] for each in books.faults()] == ["altered"]


@pytest.mark.parametrize(
    "change",
    [
        {"precedence": report_pb2.PRECEDENCE_ROUTINE},
        {"traffic_class": report_pb2.TRAFFIC_CLASS_EXERCISE},
        {"event_id": "changed"},
        {"report_time__seconds": 1},
        {"marking__classification": report_pb2.CLASSIFICATION_RESTRICTED},
        {"marking__releasable_to": ["KOR"]},
        {"source_sequence": 3},
        {"threat": None},
        {"launch_detection": None},
        {"launch_detection__object_count": None},
    ],
)
def test_a_copy_in_which_any_field_is_another_or_missing_is_altered(books: Books, change: dict[str, Any]) -> None:
    one = accepted(books, report())
    books.deliver("USA", 0, received(copy_of(one), "USA"), 1.0)
    books.deliver("KOR", 0, received(examples.change(copy_of(one), **change), "KOR"), 1.0)
    assert [each.split(":")[0] for each in books.faults()] == ["altered"]
    assert next(iter(change)).split("__")[0] in books.faults()[0]


def test_a_recall_names_to_a_partner_what_it_had_and_nothing_else(books: Books) -> None:
    one, other = accepted(books, report()), accepted(books, report(threat__launch_area=f"{NOT_FOR}KOR"))
    named = [one.report_id, other.report_id]
    recall = report(
        ReportKind.CORRECTION, correction__report_ids=named, correction__replacement_report_id=other.report_id
    )
    books.push("JPN", recall, 1.0)
    books.answered("JPN", Result(recall.report_id, True, accepted_time=NOW), 1.0)
    shortened = copy_of(recall)
    shortened.correction.report_ids[:] = [one.report_id]
    shortened.correction.ClearField("replacement_report_id")
    for node, copy in (("USA", copy_of(recall)), ("KOR", shortened)):
        for each in (one, other) if node == "USA" else (one,):
            books.deliver(node, 0, received(copy_of(each), node), 1.0)
            books.recall(node, 0, withdrawn(each))
        books.deliver(node, 0, received(copy, node), 1.0)
    assert books.faults() == []
    books.deliver("KOR", 1, received(copy_of(recall), "KOR"), 1.0)
    books.deliver("USA", 1, received(shortened, "USA"), 1.0)
    assert sum(each.startswith("altered") for each in books.faults()) == 2


def test_an_all_clear_recalls_the_warnings_of_its_event_and_class_that_came_before() -> None:
    books = Books(NODES)
    event: dict[str, Any] = {"event_id": "JPN-7"}
    exercise: dict[str, Any] = {"traffic_class": report_pb2.TRAFFIC_CLASS_EXERCISE}
    over = [accepted(books, report(**event)), accepted(books, report(ReportKind.TRACK, **event))]
    others = [accepted(books, report(**event, **exercise)), accepted(books, report(event_id="JPN-8"))]
    clear = accepted(books, report(ReportKind.ALL_CLEAR, **event))
    others.append(accepted(books, report(**event)))
    for node in ("KOR", "USA"):
        for each in (*over, *others, clear):
            books.deliver(node, 0, received(copy_of(each), node), 1.0)
        for each in over:
            books.recall(node, 0, withdrawn(each))
    assert books.faults() == []
    books.recall("KOR", 0, withdrawn(others[0]))
    assert [each.split(":")[0] for each in books.faults()] == ["invented"]
    del books.streams["USA", 0].items[-1]
    assert [each for each in books.lost if over[1].report_id in each and "USA was not told" in each]


def read_again(books: Books) -> dict[str, list[Received | Withdrawn]]:
    """What must be given to who begins without a cursor in the end."""
    one, recall = (made for _, made in books.pushed.items())
    given: dict[str, list[Received | Withdrawn]] = {"JPN": [own(one, withdrawn=True), own(recall)]}
    for node in ("KOR", "USA"):
        told = [received(copy_of(one), node, withdrawn=True), received(copy_of(recall), node)]
        given[node] = [*told, withdrawn(one)]
    return given


def test_who_reads_everything_again_is_given_all_of_it_once_and_marked_as_withdrawn(books: Books) -> None:
    for node, items in read_again(books).items():
        books.read_again(node, items)
    assert books.faults() == []


@pytest.mark.parametrize("node", ["JPN", "KOR"])
def test_what_is_wrong_with_what_is_read_again_is_told(books: Books, node: str) -> None:
    one, recall, *notices = read_again(books)[node]
    assert isinstance(one, Received)
    assert isinstance(recall, Received)
    for items, kind in (
        ([one, *notices], "lost"),
        ([recall, *notices], "lost"),
        ([one, recall, replace(one, index=next(_INDICES)), *notices], "doubled"),
        ([replace(one, withdrawn=False), recall, *notices], "stands"),
        ([one, replace(recall, withdrawn=True), *notices], "stands"),
        ([one, replace(recall, report=examples.change(copy_of(recall.report), event_id="x")), *notices], "altered"),
    ):
        books.read_again(node, items)
        assert kind in {each.split(":")[0] for each in books.reread}


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
        books.deliver("USA", 0, received(copy_of(secret), "USA"), 1.0)
    books.deliver("KOR", 0, received(copy_of(secret), "KOR"), 1.0)
    leaked = [what for what in books.leaked if secret.report_id in what]
    assert leaked
    assert books.leaked == [what for what in books.faults() if what.startswith("leaked")]


def test_who_saw_it_is_leaked_where_it_came_along(books: Books) -> None:
    one = accepted(books, report(originator_station=f"{ALL}/radar"))
    books.deliver("USA", 0, received(copy_of(one), "USA"), 1.0)
    books.deliver("KOR", 0, received(one, "KOR"), 1.0)
    assert len(books.leaked) == 1


def test_what_came_changed_is_told_and_what_nobody_pushed(books: Books) -> None:
    one = accepted(books, report())
    books.deliver("USA", 0, received(copy_of(one), "USA"), 1.0)
    changed = copy_of(one)
    changed.launch_detection.launch_point.latitude_deg += 1
    books.deliver("KOR", 0, received(changed, "KOR"), 1.0)
    books.deliver("KOR", 0, received(copy_of(report()), "KOR"), 1.0)
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
        books.deliver(node, 0, received(copy_of(one), node), 0.5)
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


def test_a_recall_may_be_withheld_where_a_wrong_clock_withheld_all_that_the_partner_should_have_of_it() -> None:
    books = Books(NODES)
    books.struck.append(Struck(Fault(1, 2, Kind.CLOCK_JUMP, "JPN"), 1.0, 3.0))
    one, other = report(), report(threat__launch_area="NOT-FOR-KOR")
    for made, at in ((one, 2.0), (other, 60.0)):
        books.push("JPN", made, at)
        books.answered("JPN", Result(made.report_id, True, accepted_time=NOW), at)
    books.deliver("USA", 0, received(copy_of(other), "USA"), 60.1)
    assert books.lost == []
    recall = report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id, other.report_id])
    books.push("JPN", recall, 61.0)
    books.answered("JPN", Result(recall.report_id, True, accepted_time=NOW), 61.0)
    assert [what.split()[1] for what in books.lost] == ["USA", "USA"], "the recall, and its notice"


def test_what_only_a_gateway_knew_that_was_set_back_and_not_told_is_excused_and_nothing_else() -> None:
    books = Books(NODES)
    books.struck.append(Struck(Fault(1, 2, Kind.OLD_BACKUP, "JPN", chance=1), 1.0, 3.0))
    for at in (0.5, 2.0, 3.5):
        made = report()
        books.push("JPN", made, at)
        books.answered("JPN", Result(made.report_id, True, accepted_time=NOW), at)
    assert len(books.lost) == 4
    # Somebody holds something of that time: the gateway notices.
    _, lost, _ = (made for _, made in books.pushed.items())
    books.deliver("KOR", 0, received(copy_of(lost), "KOR"), 2.5)
    assert len(books.lost) == 5
    books.received.clear()
    assert len(books.lost) == 4
    books.asked.add("JPN")
    assert len(books.lost) == 5
    books.asked.clear()
    books.struck = [Struck(Fault(1, 2, Kind.OLD_BACKUP, "JPN", chance=2), 1.0, 3.0)]
    assert len(books.lost) == 5


def test_what_was_recalled_before_a_lost_store_was_given_it_again_may_be_lacking_and_nothing_else() -> None:
    books = Books(NODES)
    one = accepted(books, report())
    accepted(books, report(ReportKind.CANCELLATION, cancellation__report_ids=[one.report_id]))
    assert len(books.lost) == 6
    books.struck.append(Struck(Fault(1.0, 2.0, Kind.LOST_STORE, "JPN"), 1.0, 3.0))
    assert books.lost == []
    # Who has the report must be told.
    books.deliver("KOR", 0, received(copy_of(one), "KOR"), 1.0)
    assert [f"report {one.report_id} of JPN stands no more" in what for what in books.lost] == [True]
    books.recall("KOR", 0, withdrawn(one))
    # What stands is submitted again as well, and what was seen long after the loss is recalled in its order.
    standing, later = accepted(books, report()), report()
    again = report(ReportKind.CANCELLATION, cancellation__report_ids=[later.report_id])
    for each in (later, again):
        books.push("JPN", each, 100.0)
        books.answered("JPN", Result(each.report_id, True, accepted_time=NOW), 100.0)
    for each in (standing, later, again):
        assert len([what for what in books.lost if f"received report {each.report_id}" in what]) == 2
