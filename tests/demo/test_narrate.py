"""What is told of a replay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.demo.drill import STATION
from gateway.demo.narrate import Narrator
from gateway.release.orders import EVENTS
from policy import Posture
from policy.approve import Activate, DeclarePosture, Order, SignedOrder, Suspend, encode, sign
from policy.approve.order import Action

RELEASED, WITHHELD = ledger_pb2.OUTCOME_RELEASED, ledger_pb2.OUTCOME_WITHHELD
FIRST = report_pb2.Report(
    report_id="r1",
    event_id="KR.1",
    precedence=report_pb2.PRECEDENCE_FLASH,
    threat=report_pb2.Threat(launch_country="PRK"),
    launch_detection=report_pb2.LaunchDetection(certainty=report_pb2.CERTAINTY_PROBABLE),
)
RECALL = report_pb2.Report(report_id="r2", correction=report_pb2.Correction(explanation="It was wrong."))
ACCEPTED = datetime(2017, 9, 14, 22, 0, tzinfo=UTC)
REASONS = {("KOR", "JPN", "kor-usa-only"): "No third party"}


def narrator() -> Narrator:
    return Narrator({("KOR", "r1"): FIRST, ("KOR", "r2"): RECALL}, REASONS)


def record(kind: str, report_id: str, *decisions: ledger_pb2.Decision, flash: bool = True) -> ledger_pb2.DecisionRecord:
    precedence = report_pb2.PRECEDENCE_FLASH if flash else report_pb2.PRECEDENCE_IMMEDIATE
    record = ledger_pb2.DecisionRecord(
        kind=kind, report_id=report_id, event_id="KR.1", precedence=precedence, decisions=decisions
    )
    record.accepted_time.FromDatetime(ACCEPTED)
    return record


def after(milliseconds: int) -> datetime:
    return ACCEPTED + timedelta(milliseconds=milliseconds)


def decision(
    partner: str, outcome: ledger_pb2.Outcome.ValueType = RELEASED, rule: str = "a-rule", withdrawals: int = 0
) -> ledger_pb2.Decision:
    return ledger_pb2.Decision(partner=partner, outcome=outcome, rule=rule, withdrawals=withdrawals)


def test_a_warning_is_told_when_the_last_partner_has_it() -> None:
    told = narrator()
    assert list(told.decided("KOR", record("LaunchDetection", "r1", decision("JPN"), decision("USA")))) == []
    assert list(told.delivered("USA", "KOR", FIRST, after(1500))) == []
    assert list(told.delivered("JPN", "KOR", FIRST, after(12))) == [
        "KOR warns of a launch from PRK, probable (KR.1): JPN has it after 12 ms, USA has it after 1,500 ms"
    ]
    assert list(told.delivered("JPN", "KOR", FIRST, after(9000))) == []


def test_a_warning_that_arrives_before_its_decision_is_seen_is_told_all_the_same() -> None:
    told = narrator()
    assert list(told.delivered("JPN", "KOR", FIRST, after(12))) == []
    assert list(told.decided("KOR", record("LaunchDetection", "r1", decision("JPN")))) == [
        "KOR warns of a launch from PRK, probable (KR.1): JPN has it after 12 ms"
    ]


def test_a_warning_says_from_whom_it_was_withheld_and_by_which_rule() -> None:
    told = narrator()
    lines = list(
        told.decided(
            "KOR",
            record(
                "LaunchDetection", "r1", decision("JPN", WITHHELD, "kor-usa-only"), decision("USA", WITHHELD, "(none)")
            ),
        )
    )
    assert lines == [
        "KOR withholds a launch detection from JPN by rule kor-usa-only: No third party",
        "KOR withholds a launch detection from USA (none)",
        "KOR warns of a launch from PRK, probable (KR.1): withheld from JPN by rule kor-usa-only,"
        " withheld from USA (none)",
    ]


def test_a_rule_that_withholds_is_told_once() -> None:
    told = narrator()
    withheld = record("Track", "r3", decision("JPN", WITHHELD, "kor-usa-only"), flash=False)
    assert len(list(told.decided("KOR", withheld))) == 1
    assert list(told.decided("KOR", withheld)) == []


def test_a_recall_says_why_and_how_many_reports_each_partner_is_told_of() -> None:
    told = narrator()
    recall = record("Correction", "r2", decision("JPN", withdrawals=2), decision("USA", withdrawals=3))
    assert list(told.decided("KOR", recall)) == [
        "KOR withdraws 3 reports (correction: It was wrong); JPN is told of 2, USA is told of 3"
    ]
    nothing = record("AllClear", "r9", decision("JPN"))
    assert list(told.decided("KOR", nothing)) == [
        "KOR declares KR.1 over, and with it 0 reports (all clear: ); no partner had been given any"
    ]


def test_other_reports_are_not_worth_a_line() -> None:
    told = narrator()
    assert list(told.decided("KOR", record("Track", "r5", decision("JPN"), flash=False))) == []
    assert list(told.decided("KOR", record("LaunchDetection", "r6", decision("JPN"), flash=False))) == []
    assert list(told.delivered("JPN", "KOR", report_pb2.Report(track=report_pb2.Track()), after(100))) == []


def order(action: Action, *names: str) -> ledger_pb2.NodeEvent:
    now = datetime(2026, 5, 1, tzinfo=UTC)
    signed = SignedOrder(encode(Order("KOR", 2, bytes(32), now, now + timedelta(hours=1), action)))
    for name in names:
        signed = sign(signed, name, "KOR", bytes(32))
    return ledger_pb2.NodeEvent(
        kind=EVENTS[type(action)], detail="long", evidence=[signed.message().SerializeToString()]
    )


def test_an_order_is_told_with_who_signed_it() -> None:
    assert list(narrator().event("KOR", order(DeclarePosture(Posture.IMMINENT), "alice", "bob"))) == [
        "KOR: order 2, signed by alice and bob, declares the posture IMMINENT until another is declared"
    ]
    assert list(narrator().event("KOR", order(Activate(bytes(32)), "alice", "bob"))) == [
        "KOR: order 2, signed by alice and bob, puts a policy in force"
    ]
    assert list(narrator().event("KOR", order(Suspend("JPN", "A leak"), "alice"))) == [
        "KOR: order 2, signed by alice, suspends JPN: nothing is released to it any more (A leak)"
    ]


def test_of_other_events_those_are_told_that_not_every_start_brings() -> None:
    def told(kind: str, detail: str) -> list[str]:
        return list(narrator().event("KOR", ledger_pb2.NodeEvent(kind=kind, detail=detail)))

    assert told("started", "x") == told("bundle-taken-up", "x") == told("roster-pinned", "x") == []
    assert told("order-refused", "00ff, brought by spiffe://kor/officer/a: too_few_signatures: 1 of 2.") == [
        "KOR: an order is refused: 1 of 2."
    ]
    assert told("withdrawals-kept-back", "JPN is suspended") == ["KOR tells its officers: JPN is suspended"]
    assert told("ledger-succeeded", "a fork") == ["KOR: ledger-succeeded: a fork"]


def test_a_suspended_partner_is_said_not_to_be_told_of_a_withdrawal_yet() -> None:
    suspended = decision("JPN", WITHHELD, "(partner suspended)", withdrawals=2)
    lines = list(narrator().decided("KOR", record("Correction", "r2", suspended, decision("USA", withdrawals=2))))
    assert lines[-1] == (
        "KOR withdraws 2 reports (correction: It was wrong); JPN, suspended, is not told of 2 yet, USA is told of 2"
    )


def test_of_a_drill_nothing_is_told() -> None:
    drill = report_pb2.Report(originator_station=STATION)
    drill.MergeFrom(FIRST)
    told = Narrator({("KOR", "r1"): drill}, REASONS)
    assert list(told.decided("KOR", record("LaunchDetection", "r1", decision("JPN", WITHHELD)))) == []
    assert list(told.delivered("JPN", "KOR", FIRST, after(1000))) == []
