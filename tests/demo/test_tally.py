"""The books of a replay: each claim holds for a sound course, and each way of breaking it is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.audit.ledger_check import LedgerCheck
from gateway.audit.records import Finding
from gateway.audit.verify import Verification
from gateway.cli.demo import verdict
from gateway.client import Received, Result, Withdrawn
from gateway.demo.tally import Tally, leaf_paths
from gateway.exchange.keeping_back import in_words
from gateway.ledger.origin import DECISIONS, Lane, Origin

NOW = datetime(2026, 5, 1, tzinfo=UTC)
FIELDS = ("report_id", "event_id", "track.quality")


def copy(report_id: str = "r1", **more: Any) -> report_pb2.Report:
    return report_pb2.Report(report_id=report_id, event_id="e1", track=report_pb2.Track(quality=3), **more)


def received(report: report_pb2.Report) -> Received:
    return Received("c", report, "JPN", "line", 0, NOW, False, False)


def withdrawn(report_id: str) -> Withdrawn:
    return Withdrawn("c", report_id, "JPN", NOW, report_pb2.TRAFFIC_CLASS_EXERCISE, report_pb2.PRECEDENCE_FLASH, NOW)


def decided(
    report_id: str,
    *,
    usa: ledger_pb2.Outcome.ValueType = ledger_pb2.OUTCOME_RELEASED,
    withdrawals: int = 0,
) -> ledger_pb2.DecisionRecord:
    """Japan released everything to Korea; and to the United States as is said."""
    return ledger_pb2.DecisionRecord(
        report_id=report_id,
        decisions=[
            ledger_pb2.Decision(partner=partner, outcome=outcome, rule="a-rule", fields=FIELDS, withdrawals=withdrawals)
            for partner, outcome in (("KOR", ledger_pb2.OUTCOME_RELEASED), ("USA", usa))
        ],
    )


def sound() -> Tally:
    """Two reports of Japan: one for both, then a cancellation of it that is withheld from nobody."""
    tally = Tally()
    for report_id, withdrawals in (("r1", 0), ("r2", 1)):
        tally.pushed["JPN"] += 1
        tally.answered("JPN", Result(report_id, True, accepted_time=NOW))
        tally.decided("JPN", decided(report_id, withdrawals=withdrawals))
        for node in ("KOR", "USA"):
            tally.delivered(node, received(copy(report_id)), NOW + timedelta(milliseconds=20))
    for node in ("KOR", "USA"):
        tally.recalled(node, withdrawn("r1"))
    return tally


def test_a_sound_course_has_no_faults() -> None:
    tally = sound()
    assert tally.faults() == []
    assert list(tally.outstanding()) == []
    assert tally.released == 4


def refused(tally: Tally) -> None:
    tally.pushed["JPN"] += 1
    violation = c2_pb2.Violation(field="event_id", problem="is too long")
    tally.answered("JPN", Result("r3", False, code=c2_pb2.REFUSAL_CODE_INVALID, violations=(violation,)))


def unanswered(tally: Tally) -> None:
    tally.pushed["JPN"] += 1


def undecided(tally: Tally) -> None:
    tally.pushed["JPN"] += 1
    tally.answered("JPN", Result("r3", True, accepted_time=NOW))


def lost_copy(tally: Tally) -> None:
    undecided(tally)
    tally.decided("JPN", decided("r3"))
    tally.delivered("KOR", received(copy("r3")), NOW)


def lost_withdrawal(tally: Tally) -> None:
    undecided(tally)
    tally.decided("JPN", decided("r3", usa=ledger_pb2.OUTCOME_WITHHELD, withdrawals=1))
    tally.delivered("KOR", received(copy("r3")), NOW)
    tally.recalled("KOR", withdrawn("r2"))


def doubled_copy(tally: Tally) -> None:
    tally.delivered("USA", received(copy("r1")), NOW)


def doubled_withdrawal(tally: Tally) -> None:
    tally.recalled("USA", withdrawn("r1"))


def leaked_field(tally: Tally) -> None:
    undecided(tally)
    tally.decided("JPN", decided("r3"))
    tally.delivered("KOR", received(copy("r3")), NOW)
    tally.delivered("USA", received(copy("r3", originator_station="radar-1")), NOW)


def leaked_report(tally: Tally) -> None:
    undecided(tally)
    tally.decided("JPN", decided("r3", usa=ledger_pb2.OUTCOME_WITHHELD))
    tally.delivered("KOR", received(copy("r3")), NOW)
    tally.delivered("USA", received(copy("r3")), NOW)


def made_up_report(tally: Tally) -> None:
    tally.delivered("USA", received(copy("r4")), NOW)


def leaked_withdrawal(tally: Tally) -> None:
    undecided(tally)
    tally.decided("JPN", decided("r3", usa=ledger_pb2.OUTCOME_WITHHELD))
    tally.delivered("KOR", received(copy("r3")), NOW)
    tally.recalled("USA", withdrawn("r3"))


@pytest.mark.parametrize(
    ("happens", "faults"),
    [
        (refused, ["refused: JPN refused report r3: event_id: is too long"]),
        (unanswered, ["lost: JPN has answered 2 of 3 reports"]),
        (undecided, ["lost: JPN has accepted report r3 and not decided it"]),
        (lost_copy, ["lost: USA has not received report r3 of JPN"]),
        (lost_withdrawal, ["lost: USA has received 1 of 2 withdrawals by JPN"]),
        (doubled_copy, ["doubled: USA received r1 of JPN 2 times"]),
        (doubled_withdrawal, ["doubled: USA received r1 of JPN 2 times"]),
        (leaked_field, ["leaked: USA received originator_station of report r3 of JPN"]),
        (leaked_report, ["leaked: USA received r3 of JPN, which was not released to it"]),
        (made_up_report, ["leaked: USA received r4 of JPN, which was not released to it"]),
        (leaked_withdrawal, ["leaked: USA was told that r3 of JPN no longer stands, and never had it"]),
    ],
)
def test_what_breaks_a_claim_is_found_and_named(happens: Callable[[Tally], None], faults: list[str]) -> None:
    tally = sound()
    happens(tally)
    assert tally.faults() == faults


def test_a_field_that_leaks_in_one_of_two_copies_is_found() -> None:
    tally = sound()
    tally.delivered("USA", received(copy("r1", originator_station="radar-1")), NOW)
    tally.delivered("USA", received(copy("r1")), NOW)
    assert "leaked: USA received originator_station of report r1 of JPN" in tally.faults()


def test_latency_is_measured_also_where_the_acceptance_is_heard_of_after_the_delivery() -> None:
    tally = Tally()
    tally.delivered("KOR", received(copy("r1")), NOW + timedelta(milliseconds=30))
    tally.answered("JPN", Result("r1", True, accepted_time=NOW))
    tally.delivered("KOR", received(copy("r1")), NOW + timedelta(milliseconds=50))
    assert tally.latency_ms("JPN", "KOR") == pytest.approx((50, 50))
    assert tally.latency_ms("KOR", "JPN") is None


def test_leaf_paths_go_down_to_scalars_and_times() -> None:
    report = copy(originator_node="JPN")
    report.report_time.FromDatetime(NOW)
    report.references.add(report_id="r0")
    assert set(leaf_paths(report)) == {
        "report_id", "event_id", "originator_node", "report_time", "references.report_id", "track.quality",
    }  # fmt: skip


FLASH = Origin("JPN", "KOR", Lane.FLASH, 1)
HOME = Origin("JPN", None, DECISIONS, 1)


def outcomes(*, replica: int = 5, receipt: int = 5, pq: int = 5, finding: bool = False) -> dict[str, Verification]:
    own = LedgerCheck(FLASH, replica=False, size=5, receipt_size=receipt, pq_size=pq)
    home = LedgerCheck(HOME, replica=False, size=2, receipt_size=0, pq_size=2)
    there = LedgerCheck(FLASH, replica=True, size=replica, receipt_size=replica, pq_size=replica)
    findings = [Finding("feed", "is not right")] if finding else []
    return {"JPN": Verification([own, home], findings), "KOR": Verification([there] if replica else [])}


def test_stores_that_agree_are_sound() -> None:
    assert verdict(outcomes()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"replica": 4}, "5 entries, 4 in the replica"),
        ({"replica": 0}, "5 entries, 0 in the replica"),
        ({"receipt": 4}, "5 entries, and a receipt for 4"),
        ({"pq": 4}, "5 entries, and a post-quantum line over 4"),
        ({"finding": True}, "JPN: feed: is not right"),
    ],
)
def test_stores_that_do_not_agree_are_a_fault(changes: dict[str, int], words: str) -> None:
    (fault,) = verdict(outcomes(**changes))  # type: ignore[arg-type]  # each value is of its own option's type
    assert words in fault


LINE = str(FLASH)


def kept_back() -> Tally:
    """A report that was released as entry 7 and then kept back, on record, and given as a hash."""
    tally = Tally()
    tally.pushed["JPN"] += 1
    tally.answered("JPN", Result("r1", True, accepted_time=NOW))
    decision = ledger_pb2.Decision(partner="KOR", outcome=ledger_pb2.OUTCOME_RELEASED, ledger=LINE, index=7)
    tally.decided("JPN", ledger_pb2.DecisionRecord(report_id="r1", decisions=[decision]))
    tally.noted("JPN", ledger_pb2.NodeEvent(kind="entries-kept-back", detail=in_words({7: "so"}, FLASH)))
    return tally


def test_what_was_kept_back_on_record_and_given_as_a_hash_is_not_lost() -> None:
    tally = kept_back()
    assert list(tally.outstanding()) == []
    assert tally.faults() == []
    assert tally.kept_back_faults({LINE: {7}}) == []
    assert list(tally.not_received()) == [("JPN", "r1", "KOR")]
    assert tally.events["JPN"] == {"entries-kept-back": 1}


@pytest.mark.parametrize(
    ("hashes", "faults"),
    [
        ({}, ["lost: KOR has neither report r1 of JPN nor a reason why not"]),
        ({LINE: {7, 8}}, [f"unrecorded: entry 8 of {LINE} was given as a hash, and its origin has no record of it"]),
    ],
)
def test_a_hash_too_few_or_too_many_is_a_fault(hashes: dict[str, set[int]], faults: list[str]) -> None:
    assert kept_back().kept_back_faults(hashes) == faults


def test_what_was_received_though_it_was_given_as_a_hash_leaked() -> None:
    tally = kept_back()
    tally.delivered("KOR", received(report_pb2.Report(report_id="r1")), NOW)
    assert tally.kept_back_faults({LINE: {7}}) == ["leaked: KOR received r1 of JPN, which was given as a hash"]


def test_what_was_kept_back_and_went_all_the_same_is_received_and_no_fault() -> None:
    tally = kept_back()
    tally.delivered("KOR", received(report_pb2.Report(report_id="r1")), NOW)
    assert tally.kept_back_faults({}) == []


def test_a_released_report_that_is_not_on_record_as_kept_back_is_outstanding() -> None:
    tally = kept_back()
    tally.kept_back.clear()
    assert tally.faults() == ["lost: KOR has not received report r1 of JPN"]


@pytest.mark.parametrize(
    ("marked", "faults"),
    [(True, []), (False, ["unmarked: KOR was told that r3 of JPN no longer stands, and had it as new"])],
)
def test_a_report_whose_withdrawal_came_first_must_arrive_marked(marked: bool, faults: list[str]) -> None:
    tally = sound()
    undecided(tally)
    tally.decided("JPN", decided("r3"))
    tally.delivered("USA", received(copy("r3")), NOW)
    tally.recalled("KOR", withdrawn("r3"))
    tally.delivered("KOR", replace(received(copy("r3")), withdrawn=marked), NOW)
    assert tally.faults() == faults
    assert tally.overtaken == {("KOR", "JPN", "r3"): marked}
