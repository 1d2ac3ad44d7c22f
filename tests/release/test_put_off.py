"""What could be passed on and is more than one step's work, or than one originator's share of the FLASH lane."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Final

import apsw
import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.errors import StoreDamaged
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores.sqlite import SqliteReader, SqliteStore
from gateway.release.groups import parts_of
from gateway.release.passing import ENTRIES_A_STEP, PassedOn, PassOn
from gateway.release.pending import pass_on_in_turn
from gateway.release.pipeline import TakeReport
from gateway.release.planned.put_off import PUT_OFF, Queue, Range, next_of, ranges
from gateway.release.put_off import COPIES_A_STEP
from gateway.release.room import Room, StoreLimits
from gateway.release.sequencer import Durable, Sequencer, SequencerLimits
from gateway.release.sharing import Decided
from gateway.release.steps import FollowSuccessor, RecordEvent
from gateway.release.succeeding import Succeed
from gateway.reports.errors import LimitError
from gateway.reports.limits import ReportLimits
from tests.patience import PATIENCE_S
from tests.release.onward import (
    LIVE,
    PASS_ON,
    TO_JPN,
    TO_KOR,
    USA_RULES,
    american,
    assert_sound,
    bring,
    decided,
    onward_in,
    pass_on_the_rest,
    passing,
    put_parts,
    recall,
    told,
)
from tests.release.world import LIMITS, Site, anything, identifier, partner_of, signatory_of
from tests.reports.examples import SECOND, launch_detection, track

MORE: Final = COPIES_A_STEP + 12


@pytest.fixture
def jpn(jpn: Site) -> Site:
    jpn.rulebook = passing()
    return jpn


def take_many(usa: Site, count: int, first: int = 1) -> list[report_pb2.Report]:
    """So many warnings of USA, in one commit."""
    reports = [american(launch_detection, first + n) for n in range(count)]
    usa.do_all(*(TakeReport.of(report, "c2", anything) for report in reports), rulebook=USA_RULES)
    return reports


def passed(jpn: Site, lane: str = "flash") -> list[str]:
    """What KOR is passed, in its order."""
    return [each.report.report_id for each in onward_in(jpn, lane)]


def named(reports: Sequence[report_pb2.Report]) -> list[str]:
    return [report.report_id for report in reports]


def put_off(jpn: Site) -> list[Range]:
    return ranges(jpn.store.meta(PUT_OFF))


def events(jpn: Site, kind: str) -> list[str]:
    return [event.detail for event in jpn.events() if event.kind == kind]


# --- one step's work


def test_what_is_more_than_one_steps_work_follows_in_steps_and_in_its_order(usa: Site, jpn: Site, kor: Site) -> None:
    reports = take_many(usa, MORE)
    received = bring(usa, jpn)
    assert (received.reports, len(received.decisions)) == (MORE, COPIES_A_STEP)
    assert passed(jpn) == named(reports[:COPIES_A_STEP])
    assert put_off(jpn) == [Range(TO_JPN, LIVE, COPIES_A_STEP + 1, MORE + 1)]
    (detail,) = events(jpn, "passing-on-put-off")
    assert f"{TO_JPN} brings more" in detail
    assert f"from entry {COPIES_A_STEP + 1} on" in detail
    arrived = jpn.now_ns
    jpn.now_ns += SECOND
    done = jpn.do(PassOn(TO_JPN, LIVE, LIMITS))
    assert (done.entries, len(done.decisions)) == (12, 12)
    assert passed(jpn) == named(reports)
    assert jpn.decisions()[-1].accepted_time.ToNanoseconds() == arrived
    assert put_off(jpn) == []
    assert bring(jpn, kor).unopenable == []
    assert [each for _, each in told(kor)] == [identifier(report) for report in reports]
    assert_sound(usa, jpn, kor)


def test_one_step_is_bounded_by_reports_times_partners(usa: Site, jpn: Site) -> None:
    others = ["AUS", "CAN", "GBR"]
    jpn.partners |= {node: partner_of(node) for node in others}
    jpn.rulebook = passing(**dict.fromkeys(others, PASS_ON))
    reports = take_many(usa, 2 * COPIES_A_STEP)
    assert len(bring(usa, jpn).decisions) == COPIES_A_STEP
    assert [len(jpn.do(PassOn(TO_JPN, LIVE, LIMITS)).decisions) for _ in range(8)] == [*[COPIES_A_STEP] * 7, 0]
    assert passed(jpn) == named(reports)


def test_a_step_that_is_smaller_than_one_reports_partners_passes_one_on(
    usa: Site, jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.release.put_off.COPIES_A_STEP", 1)
    jpn.partners["AUS"] = partner_of("AUS")
    jpn.rulebook = passing(AUS=PASS_ON)
    take_many(usa, 3)
    assert len(bring(usa, jpn).decisions) == 2
    assert pass_on_the_rest(jpn) == 2


def test_what_goes_no_further_is_never_put_off(usa: Site, jpn: Site) -> None:
    reports = [american(launch_detection, n, marking__onward_release=[]) for n in range(MORE)]
    usa.do_all(*(TakeReport.of(report, "c2", anything) for report in reports), rulebook=USA_RULES)
    bring(usa, jpn)
    assert (put_off(jpn), jpn.decisions(), jpn.events()) == ([], [], [])


def test_what_comes_behind_something_that_is_put_off_waits_for_it_over_generations(usa: Site, jpn: Site) -> None:
    reports = take_many(usa, MORE)
    bring(usa, jpn)
    behind = take_many(usa, 2, first=500)
    assert bring(usa, jpn).decisions == []
    assert put_off(jpn) == [Range(TO_JPN, LIVE, COPIES_A_STEP + 1, MORE + 3)]
    successor = usa.do(Succeed(TO_JPN, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, b""))
    jpn.do(FollowSuccessor(TO_JPN, successor))
    last = take_many(usa, 2, first=600)
    assert bring(usa, jpn, generation=2).decisions == []
    assert [each.origin for each in put_off(jpn)] == [TO_JPN, successor]
    assert [each.origin for each in next_of(put_off(jpn), "flash")] == [TO_JPN]
    pass_on_the_rest(jpn, successor)
    assert [each for each in passed(jpn) if each in named([*reports, *behind, *last])] == named(
        [*reports, *behind, *last]
    )
    assert len(events(jpn, "passing-on-put-off")) == 1, "once for all that waits"


def test_another_lane_does_not_wait_for_it(usa: Site, jpn: Site) -> None:
    take_many(usa, MORE)
    bring(usa, jpn)
    usa.take(american(track, 700))
    (decision,) = bring(usa, jpn, "immediate").decisions
    assert decision.outcome.value == "released"
    assert next_of(put_off(jpn), "immediate") == []


# --- one traffic class waits for no other


EXERCISE: Final = report_pb2.TRAFFIC_CLASS_EXERCISE


def exercises(count: int, first: int = 3000) -> list[report_pb2.Report]:
    return [american(launch_detection, first + n, traffic_class=EXERCISE) for n in range(count)]


def test_an_alert_waits_for_no_exercise_of_the_same_partner_nor_for_its_share(usa: Site, jpn: Site) -> None:
    put_parts(usa, "JPN", *map(parts_of, exercises(20)))
    bring_with(usa, jpn, FEW)
    assert put_off(jpn) == [Range(TO_JPN, EXERCISE, 6, 21)]
    (live,) = take_many(usa, 1, first=5000)
    bring_with(usa, jpn, FEW)
    assert passed(jpn)[-1] == live.report_id
    assert put_off(jpn) == [Range(TO_JPN, EXERCISE, 6, 21)], "and the exercise waits on"


def test_nothing_is_doubled_or_lost_where_two_classes_are_put_off_among_one_another(usa: Site, jpn: Site) -> None:
    drill, real = exercises(20), [american(launch_detection, 5000 + n) for n in range(20)]
    mixed = [report for pair in zip(drill, real, strict=True) for report in pair]
    put_parts(usa, "JPN", *map(parts_of, mixed[:30]))
    bring_with(usa, jpn, FEW)
    assert put_off(jpn) == [Range(TO_JPN, EXERCISE, 11, 30), Range(TO_JPN, LIVE, 12, 31)]
    assert [each.traffic_class for each in next_of(put_off(jpn), "flash")] == [LIVE, EXERCISE]
    put_parts(usa, "JPN", *map(parts_of, mixed[30:]))
    bring_with(usa, jpn, FEW)
    while put_off(jpn):
        jpn.now_ns += 4 * SECOND
        jpn.do_all(*(PassOn(TO_JPN, traffic_class, FEW) for traffic_class in (LIVE, EXERCISE)))
        jpn.restart()
    gone = passed(jpn)
    assert [each for each in gone if each in named(drill)] == named(drill)
    assert [each for each in gone if each in named(real)] == named(real)
    assert len(gone) == 40
    assert len(events(jpn, "passing-on-put-off")) == 2
    assert_sound(jpn)


# --- what becomes of it meanwhile


def test_what_its_originator_withdraws_meanwhile_is_not_passed_on(usa: Site, jpn: Site, kor: Site) -> None:
    reports = take_many(usa, MORE)
    bring(usa, jpn)
    usa.take(recall(reports[-1]))
    bring(usa, jpn)
    pass_on_the_rest(jpn)
    assert reports[-1].report_id not in passed(jpn)
    assert passed(jpn)[: MORE - 1] == named(reports[:-1])
    assert jpn.withdrawals("KOR") == []
    assert "(refers to nothing the partner has)" in {rule for _, rule in decided(jpn)}
    bring(jpn, kor)
    assert_sound(usa, jpn, kor)


def test_it_is_decided_by_the_policy_then_in_force(usa: Site, jpn: Site) -> None:
    take_many(usa, MORE)
    bring(usa, jpn)
    jpn.rulebook = replace(jpn.rulebook, suspended=frozenset({"KOR"}))
    pass_on_the_rest(jpn)
    assert [rule for _, rule in decided(jpn)] == ["everything"] * COPIES_A_STEP + ["(partner suspended)"] * 12


def test_a_restart_loses_nothing_and_doubles_nothing(usa: Site, jpn: Site, kor: Site) -> None:
    reports = take_many(usa, 3 * COPIES_A_STEP)
    bring(usa, jpn)
    for _ in range(3):
        # What is not durable was never done.
        PassOn(TO_JPN, LIVE, LIMITS).apply(jpn.plan())
        jpn.restart()
        jpn.do(PassOn(TO_JPN, LIVE, LIMITS))
        jpn.restart()
    assert passed(jpn) == named(reports)
    assert jpn.do(PassOn(TO_JPN, LIVE, LIMITS)) == PassedOn(0, ())
    assert bring(jpn, kor).unopenable == []
    assert_sound(usa, jpn, kor)


def test_two_steps_in_one_commit_pass_nothing_on_twice(usa: Site, jpn: Site) -> None:
    first = take_many(usa, 1, first=500)
    bring(usa, jpn)
    reports = first + take_many(usa, 3 * COPIES_A_STEP)
    # What this very commit brings is not durable.
    jpn.do_all(jpn.receive(usa.incoming(TO_JPN, 2)), PassOn(TO_JPN, LIVE, LIMITS))
    assert passed(jpn) == named(reports[: COPIES_A_STEP + 1])
    jpn.do_all(PassOn(TO_JPN, LIVE, LIMITS), PassOn(TO_JPN, LIVE, LIMITS), PassOn(TO_JPN, LIVE, LIMITS))
    assert passed(jpn) == named(reports)


def test_only_what_arrived_as_that_very_entry_and_may_be_used_is_passed_on(usa: Site, jpn: Site) -> None:
    reports = [american(launch_detection, n) for n in range(MORE)]
    broken = american(launch_detection, 900, traffic_class=0)
    nothing = [ledger_pb2.Part(content=b"\xff")]
    put_parts(usa, "JPN", *(parts_of(each) for each in (*reports, reports[0], broken, reports[-1])), nothing)
    received = bring(usa, jpn)
    assert (received.reports, len(received.unopenable)) == (MORE, 2)
    # Another report behind those has them looked at as well.
    last = american(launch_detection, 901)
    put_parts(usa, "JPN", parts_of(last))
    bring(usa, jpn)
    pass_on_the_rest(jpn)
    assert passed(jpn) == named([*reports, last])
    assert events(jpn, "passing-on-failed") == []


def test_what_does_not_open_any_more_is_told_and_keeps_nothing_back(usa: Site, jpn: Site) -> None:
    take_many(usa, MORE)
    bring(usa, jpn)
    mine, others = jpn.signatory.sealing, signatory_of("AUS").sealing
    jpn.signatory = replace(jpn.signatory, sealing=others)
    assert jpn.do(PassOn(TO_JPN, LIVE, LIMITS)) == PassedOn(12, [])
    jpn.signatory = replace(jpn.signatory, sealing=[*others, *mine])
    assert put_off(jpn) == []
    (detail,) = events(jpn, "passing-on-failed")
    assert f"12 of the entries {COPIES_A_STEP + 1} to {MORE} of {TO_JPN}" in detail


def test_a_segment_that_rotted_is_told_and_keeps_nothing_back_for_ever(usa: Site, jpn: Site) -> None:
    take_many(usa, MORE)
    bring(usa, jpn)
    take_many(usa, 1, first=500)
    bring(usa, jpn)
    jpn.store.close()
    with closing(apsw.Connection(str(jpn.path))) as db:
        ((ledger,),) = db.execute("SELECT id FROM ledger WHERE origin = ?", (str(TO_JPN),)).fetchall()
        shorter = "UPDATE segment SET entries = substr(entries, 1, length(entries) - 7) WHERE ledger = ? AND first = 0"
        db.execute(shorter, (ledger,))
        assert db.changes() == 1
    jpn.store = SqliteStore(jpn.path)
    assert jpn.do(PassOn(TO_JPN, LIVE, LIMITS)).entries == 13
    assert put_off(jpn) == []
    (detail,) = events(jpn, "passing-on-failed")
    assert f"of the entries {COPIES_A_STEP + 1} to {MORE + 1} of {TO_JPN}" in detail
    (live,) = take_many(usa, 1, first=900)
    bring(usa, jpn)
    assert passed(jpn)[-1] == live.report_id


NOT_OURS: Final = [
    b"x",
    b"\xff\xfe",
    b"\n",
    b"nonsense 1 2 3",
    f"{TO_JPN} 1 3".encode(),
    f"{TO_JPN} 1 0 x".encode(),
    f"{TO_JPN} 1 -5 3".encode(),
    f"{TO_JPN} 1 00 3".encode(),
    f"{TO_JPN} 1 3 3".encode(),
    f"{TO_JPN} 1 4 3".encode(),
    f"{TO_JPN} 0 1 3".encode(),
    f"{TO_JPN} 9 1 3".encode(),
    f"{TO_JPN} 1 1 3\n".encode(),
    f"{TO_JPN} 1 1 3\n{TO_JPN} 1 4 5".encode(),
    b"signalfire/v1/USA/decisions/1 1 0 1",
]


@pytest.mark.parametrize("value", NOT_OURS)
def test_what_cannot_be_on_record_is_met_by_one_error_with_the_way_to_mend_it(value: bytes) -> None:
    with pytest.raises(StoreDamaged, match=r"'put off' cannot be .*: .*Restore the store from a backup"):
        ranges(value)


NOT_THERE: Final = ["signalfire/v1/USA/JPN/flash/7 1 0 3", f"{TO_JPN} 1 2 90", f"{TO_JPN} 1 90 99"]


def alter(jpn: Site, value: str) -> None:
    plan = jpn.plan()
    plan.commit.meta[PUT_OFF] = value.encode()
    jpn.keep(plan)


@pytest.mark.parametrize("value", ["x", *NOT_THERE])
async def test_a_store_that_says_so_is_not_taken_up(usa: Site, jpn: Site, value: str) -> None:
    take_many(usa, 3)
    bring(usa, jpn)
    alter(jpn, value)
    jpn.close()
    with pytest.raises(StoreDamaged, match="'put off' cannot be what this gateway wrote"):
        await Running(jpn).__aenter__()


@pytest.mark.parametrize("value", NOT_THERE)
def test_what_is_altered_while_it_runs_is_dropped_loudly_and_keeps_nothing_back(
    usa: Site, jpn: Site, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    take_many(usa, 3)
    bring(usa, jpn)
    alter(jpn, value)
    jpn.do(PassOn(TO_JPN, LIVE, LIMITS))
    assert put_off(jpn) == []
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]
    (detail,) = events(jpn, "passing-on-failed")
    assert "are not there: the store was altered" in detail
    (live,) = take_many(usa, 1, first=900)
    bring(usa, jpn)
    assert passed(jpn)[-1] == live.report_id


def test_putting_many_off_encodes_them_once(usa: Site, jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[Range] = []
    line: property = Range.__dict__["line"]

    def noted(some: Range) -> str:
        encoded.append(some)
        return str(line.__get__(some))

    monkeypatch.setattr(Range, "line", property(noted))
    take_many(usa, MORE)
    bring(usa, jpn)
    assert encoded == put_off(jpn) == [Range(TO_JPN, LIVE, COPIES_A_STEP + 1, MORE + 1)]
    assert jpn.plan().put_off.first(Queue("USA", "flash", LIVE)) == encoded[0]


def test_one_step_looks_at_so_many_entries_at_most(usa: Site, jpn: Site) -> None:
    onward = [american(launch_detection, n) for n in range(MORE)]
    kept = [american(launch_detection, 1000 + n, marking__onward_release=[]) for n in range(ENTRIES_A_STEP)]
    last = american(launch_detection, 2000)
    put_parts(usa, "JPN", *map(parts_of, (*onward, *kept, last)))
    bring(usa, jpn)
    assert jpn.do(PassOn(TO_JPN, LIVE, LIMITS)).entries == ENTRIES_A_STEP
    assert jpn.do(PassOn(TO_JPN, LIVE, LIMITS)).entries == 13
    assert passed(jpn) == named([*onward, last])


# --- one originator's share of the FLASH lane


FEW: Final = ReportLimits(onward_alerts_s=2, onward_alerts_burst=5)


TO_AUS: Final = {"marking__releasable_to": ["JPN", "AUS"], "marking__onward_release": ["AUS"]}


def bring_with(usa: Site, jpn: Site, limits: ReportLimits) -> None:
    row = jpn.store.ledger(TO_JPN)
    jpn.do(replace(jpn.receive(usa.incoming(TO_JPN, 0 if row is None else row.size)), limits=limits))


def test_an_own_warning_waits_behind_no_more_than_a_burst_of_anothers(usa: Site, jpn: Site) -> None:
    text = PASS_ON.replace("originators: [USA]", "originators: [USA, JPN]")
    jpn.rulebook = passing(KOR=text)
    theirs = take_many(usa, 20)
    bring_with(usa, jpn, FEW)
    mine = launch_detection(8, marking__releasable_to=["KOR"])
    jpn.take(mine)
    contents = jpn.contents(TO_KOR).values()
    assert [each.onward_report.report.report_id or each.report.report_id for each in contents] == [
        *named(theirs[:5]),
        mine.report_id,
    ]


def test_the_others_follow_at_so_many_a_second(usa: Site, jpn: Site) -> None:
    theirs = take_many(usa, 20)
    bring_with(usa, jpn, FEW)
    assert jpn.do(PassOn(TO_JPN, LIVE, FEW)) == PassedOn(0, [], waits=True)
    gone = []
    for _ in range(4):
        jpn.now_ns += SECOND
        jpn.restart()
        jpn.do(PassOn(TO_JPN, LIVE, FEW))
        gone.append(len(passed(jpn)))
    assert gone == [7, 9, 11, 13]
    jpn.now_ns += 60 * SECOND
    jpn.do(PassOn(TO_JPN, LIVE, FEW))
    assert passed(jpn) == named(theirs[:18]), "no more than a burst, however long nothing came"


def test_where_there_is_nothing_left_a_step_changes_nothing(usa: Site, jpn: Site) -> None:
    take_many(usa, 20)
    bring_with(usa, jpn, FEW)
    plan = jpn.plan()
    PassOn(TO_JPN, LIVE, FEW).apply(plan)
    assert plan.empty


def test_what_is_not_a_flash_report_does_not_count(usa: Site, jpn: Site) -> None:
    tracks = [american(track, n) for n in range(20)]
    usa.do_all(*(TakeReport.of(report, "c2", anything) for report in tracks), rulebook=USA_RULES)
    origin = Origin("USA", "JPN", "immediate", 1)
    jpn.do(replace(jpn.receive(usa.incoming(origin)), limits=FEW))
    assert passed(jpn, "immediate") == named(tracks)


def test_what_comes_on_the_flash_lane_counts_whatever_its_precedence(usa: Site, jpn: Site) -> None:
    reports = [american(launch_detection, n, precedence=report_pb2.PRECEDENCE_IMMEDIATE) for n in range(20)]
    put_parts(usa, "JPN", *map(parts_of, reports))
    bring_with(usa, jpn, FEW)
    assert passed(jpn, "immediate") == named(reports[:5])
    assert put_off(jpn) == [Range(TO_JPN, LIVE, 6, 21)]


def test_each_originator_has_a_share_of_its_own(usa: Site, jpn: Site, kor: Site) -> None:
    jpn.partners["AUS"] = partner_of("AUS")
    both = PASS_ON.replace("originators: [USA]", "originators: [USA, KOR]")
    jpn.rulebook = passing(AUS=both, KOR="rules: []\n")
    put_parts(usa, "JPN", *(parts_of(american(launch_detection, n, **TO_AUS)) for n in range(20)))
    bring_with(usa, jpn, FEW)
    assert len(jpn.decisions()) == 5
    put_parts(kor, "JPN", parts_of(american(launch_detection, 300, originator_node="KOR", **TO_AUS)))
    jpn.do(replace(jpn.receive(kor.incoming(Origin("KOR", "JPN", "flash", 1))), limits=FEW))
    assert len(jpn.decisions()) == 6


def test_a_clock_that_is_set_back_gives_one_and_then_so_many_a_second(usa: Site, jpn: Site) -> None:
    take_many(usa, 20)
    bring_with(usa, jpn, FEW)
    jpn.now_ns -= 3600 * SECOND
    gone = []
    for _ in range(4):
        jpn.do(PassOn(TO_JPN, LIVE, FEW))
        gone.append(len(passed(jpn)))
        jpn.now_ns += SECOND
    assert gone == [6, 8, 10, 12]


@pytest.mark.parametrize(
    ("setting", "value"),
    [("onward_alerts_s", 0), ("onward_alerts_s", float("nan")), ("onward_alerts_burst", 0)],
)
def test_a_share_that_no_gateway_can_run_with_is_refused_by_name(setting: str, value: float) -> None:
    with pytest.raises(LimitError, match=setting):
        ReportLimits(**{setting: value})  # type: ignore[arg-type]


# --- what runs by itself


class Running:
    """JPN's sequencer, and the runner of one lane beside it."""

    def __init__(
        self, jpn: Site, lane: Lane = Lane.FLASH, free_bytes: int = 1 << 40, limits: ReportLimits = LIMITS
    ) -> None:
        self.lane = lane
        self.limits = limits
        self.tick_ns = 0
        self.waiting: dict[str, int] = {}
        self.room = Room(lambda: free_bytes)
        self.room.look()
        self.path, self.partners, self.rulebook = jpn.path, jpn.partners, jpn.rulebook
        self.now_ns = jpn.now_ns
        self.durable: list[Durable] = []
        self.decided: asyncio.Queue[Decided] = asyncio.Queue()

    async def __aenter__(self) -> Sequencer:
        self.sequencer = Sequencer(
            lambda: SqliteStore(self.path),
            signatory_of("JPN"),
            lambda: self.partners,
            now_ns=self._now_ns,
            limits=SequencerLimits(),
            listener=self.durable.append,
            monotonic=lambda: 0.0,
            room=self.room,
            rulebook=lambda store: self.rulebook,
        )
        await self.sequencer.open()
        self.reader = SqliteReader(self.path)
        self.tasks = [asyncio.create_task(self.sequencer.run()), asyncio.create_task(self._pass_on())]
        return self.sequencer

    async def _pass_on(self) -> None:
        await pass_on_in_turn(
            self.sequencer, lambda: self.reader, self.lane, self.limits, self.decided.put_nowait, self._wait
        )

    def _wait(self, counts: Mapping[str, int]) -> None:
        self.waiting = dict(counts)

    def _now_ns(self) -> int:
        self.now_ns += self.tick_ns
        return self.now_ns

    async def __aexit__(self, *_: object) -> None:
        for task in reversed(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.reader.close()
        await self.sequencer.close()


async def test_the_runner_passes_on_all_that_is_put_off_step_by_step(
    usa: Site, jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Between two steps it does not wait.
    monkeypatch.setattr("gateway.release.pending.LOOK_S", 1e6)
    reports = take_many(usa, 3 * COPIES_A_STEP)
    bring(usa, jpn)
    jpn.close()
    running = Running(jpn)
    async with running:
        for _ in range(2 * COPIES_A_STEP):
            each = await asyncio.wait_for(running.decided.get(), PATIENCE_S)
            assert (each.partner, each.outcome.value) == ("KOR", "released")
    assert [durable.steps for durable in running.durable] == [1, 1]
    jpn.restart()
    assert passed(jpn) == named(reports)
    assert put_off(jpn) == []


async def test_where_a_share_is_spent_the_runner_waits_before_it_asks_again(
    usa: Site, jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.release.pending.LOOK_S", 1e6)
    take_many(usa, 20)
    bring_with(usa, jpn, FEW)
    jpn.close()
    running = Running(jpn, limits=FEW)
    # With every commit one more could go.
    running.tick_ns = SECOND // 2
    async with running as sequencer:
        await asyncio.wait_for(running.decided.get(), PATIENCE_S)
        for _ in range(5):
            await sequencer.do(RecordEvent("started", "a test"))
        assert running.waiting == {"USA": 15}
    jpn.restart()
    (left,) = put_off(jpn)
    assert left.next - 6 == running.decided.qsize() + 1 < 5


@pytest.mark.parametrize(("lane", "goes"), [(Lane.FLASH, True), (Lane.IMMEDIATE, False)])
async def test_while_there_is_room_for_alerts_alone_nothing_else_is_passed_on(
    usa: Site, jpn: Site, lane: Lane, goes: bool
) -> None:
    make = launch_detection if lane is Lane.FLASH else track
    reports = [american(make, n) for n in range(MORE)]
    usa.do_all(*(TakeReport.of(report, "c2", anything) for report in reports), rulebook=USA_RULES)
    bring(usa, jpn, lane)
    jpn.close()
    running = Running(jpn, lane, StoreLimits().reserve_bytes - 1)
    async with running as sequencer:
        # What the runner asked for when it first looked is durable by then.
        for _ in range(2):
            await sequencer.do(RecordEvent("started", "a test"))
        for _ in range(12 if goes else 0):
            await asyncio.wait_for(running.decided.get(), PATIENCE_S)
    assert running.decided.empty()
    jpn.restart()
    assert (put_off(jpn) == []) is goes
