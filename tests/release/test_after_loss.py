"""After a loss a recall reaches whoever has what it recalls, in whatever order things become known again."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.errors import StoreError
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.batch import IncomingBatch
from gateway.release.errors import RefusedReport
from gateway.release.pipeline import DecideHeld, MayPush, TakeReport, TellWithdrawals
from gateway.release.recovery.after_loss import NO_EVENT
from gateway.release.recovery.rebuilding import RebuildRecords
from gateway.release.recovery.records import Recovery
from gateway.release.recovery.restored import DeclareSetBack
from gateway.release.recovery.returned import OwnLogKeys, TakeBack
from gateway.release.recovery.wish import EndWish
from gateway.release.steps import RecordEvent
from gateway.reports.kinds import Kind, kind_of
from gateway.seal.keys import SealingPrivateKey
from gateway.seal.recovery import RecordKey, unwrap_record_key
from tests.faults.disk import Disk, Fault, What
from tests.faults.vfs import registered
from tests.release.aging import YEAR_NS, prune
from tests.release.aging import send as send_and_confirm
from tests.release.onward import PASS_ON, USA_RULES, american, bring, passing
from tests.release.world import (
    RELEASE_ALL,
    RELEASE_NOTHING,
    TREATY,
    MakeSite,
    Site,
    anything,
    as_sent,
    identifier,
    keys_of,
    rules,
    signatory_of,
)
from tests.reports.examples import NOW, all_clear, cancellation, launch_detection, track

SECOND: Final = 1_000_000_000
BOTH: Final = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
RESTORE: Final = ledger_pb2.SUCCESSION_REASON_RESTORE
KEYS: Final = OwnLogKeys([LogPublicKey(keys_of("JPN").public().log)], [])
RECOVERY_KEY: Final = SealingPrivateKey.generate()
RADAR: Final = "spiffe://jpn/c2/radar"


def nothing(report: report_pb2.Report) -> bool:
    """The grant of a client who may push, and so recall, nothing."""
    return False


def cancelling(*reports: report_pb2.Report, seed: int = 900) -> report_pb2.Report:
    return cancellation(seed, cancellation__report_ids=[report.report_id for report in reports])


def made(report: report_pb2.Report, seconds: float) -> report_pb2.Report:
    """The report as made so many seconds after the others."""
    report.report_time.FromNanoseconds(NOW + int(seconds * SECOND))
    return report


def send(jpn: Site, *partners: Site) -> None:
    """Partners receive all that JPN has for them."""
    for partner in partners:
        for lane in Lane:
            origin = Origin.release("JPN", partner.node, lane, 1)
            row, has = jpn.store.ledger(origin), partner.store.ledger(origin)
            first = 0 if has is None else has.size
            if row is not None and row.size > first:
                partner.do(partner.receive(jpn.incoming(origin, first)))


def lose(make_site: MakeSite, seconds: int = 100) -> Site:
    """JPN without its store, whose operator has said so, so many seconds later."""
    site = make_site("JPN", "lost")
    site.now_ns += seconds * SECOND
    site.rulebook = BOTH
    site.do(DeclareSetBack("a test", None, RESTORE))
    site.do(RecordEvent("started", "again"))
    return site


def give_back(partner: Site, lost: Site, *lanes: Lane, batch: IncomingBatch | None = None) -> None:
    """What a partner holds of some lanes comes back."""
    for lane in lanes:
        origin = Origin.release("JPN", partner.node, lane, 1)
        held = batch or as_sent(origin, partner.run(origin))
        lost.do(TakeBack(origin, partner.node, [held], KEYS, lost.opener))


def tell(lost: Site, *partners: str) -> None:
    for partner in partners:
        lost.do(TellWithdrawals(partner))


def standing(site: Site, report: report_pb2.Report) -> list[str]:
    """To whom a report is released and stands."""
    return [row.partner for row in site.store.released(identifier(report)) if row.withdrawn_ns is None]


def told(site: Site, partner: str) -> list[str]:
    """Of which reports a partner was told after the loss that they do not stand."""
    contents = site.contents(Origin.release("JPN", partner, Lane.FLASH, 2)).values()
    return [content.withdrawal.report_id for content in contents if content.HasField("withdrawal")]


def assert_sound(site: Site) -> None:
    assert [str(each) for each in verify_store(site.store, site.signatory, site.partners).findings] == []


def refusal(site: Site, report: report_pb2.Report, may_push: MayPush = anything) -> c2_pb2.RefusalCode.ValueType:
    with pytest.raises(RefusedReport) as refused:
        site.take(report, may_push=may_push)
    return refused.value.code


@pytest.mark.parametrize("lanes", [(Lane.FLASH, Lane.IMMEDIATE), (Lane.IMMEDIATE, Lane.FLASH)])
def test_a_withdrawal_counts_whether_it_or_its_report_comes_back_first(
    jpn: Site, kor: Site, usa: Site, make_site: MakeSite, lanes: Sequence[Lane]
) -> None:
    report = track(1)
    jpn.take(report, BOTH)
    send(jpn, kor, usa)
    jpn.now_ns += SECOND
    jpn.take(cancelling(report), BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(usa, lost, Lane.IMMEDIATE)
    give_back(kor, lost, *lanes)
    assert_sound(lost)
    tell(lost, "KOR", "USA")
    assert (told(lost, "KOR"), told(lost, "USA")) == ([], [report.report_id]), "USA was never told, KOR was"
    assert standing(lost, report) == []
    lost.take(report)
    lost.take(cancelling(report))
    tell(lost, "KOR", "USA")
    assert (told(lost, "KOR"), told(lost, "USA")) == ([], [report.report_id])
    assert_sound(lost)


def test_a_recall_told_again_before_it_came_back_that_it_was_told_leaves_the_store_sound(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = track(1)
    jpn.take(report, BOTH)
    jpn.now_ns += SECOND
    jpn.take(cancelling(report), BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.IMMEDIATE)
    lost.take(report)
    lost.now_ns += SECOND
    lost.take(cancelling(report))
    assert told(lost, "KOR") == [report.report_id]
    give_back(kor, lost, Lane.FLASH)
    assert standing(lost, report) == []
    assert_sound(lost)


def test_a_withdrawal_of_what_came_back_as_its_hash_alone_still_counts(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = track(1)
    jpn.take(report, BOTH)
    jpn.now_ns += SECOND
    jpn.take(cancelling(report), BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    origin = Origin.release("JPN", "KOR", Lane.IMMEDIATE, 1)
    run = kor.run(origin)
    entries = list(bundle.decode(run.entries, run.count, allow_absent=True))
    absent = []
    for index, entry in enumerate(entries[1:], 1):
        statement = EntryStatement(EntryStatementKind.ABSENT, "KOR", origin, index, leaf_hash(entry), "pruned")
        absent.append((index, leaf_hash(entry), statement.sign(signatory_of("KOR").gateway)))
        entries[index] = b""
    held = IncomingBatch(origin, 0, run.count, bundle.encode(entries, allow_absent=True), absent, run.checkpoint)
    give_back(kor, lost, Lane.IMMEDIATE, batch=held)
    assert lost.row(origin).root == kor.row(origin).root
    give_back(kor, lost, Lane.FLASH)
    assert_sound(lost)
    lost.take(report)
    assert standing(lost, report) == [], "it was recalled, and is not given to anybody anew"
    assert_sound(lost)


def test_an_all_clear_recalls_what_is_known_by_its_release_alone(jpn: Site, kor: Site, make_site: MakeSite) -> None:
    report = launch_detection(1)
    jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    lost.take(made(all_clear(5), 200))
    assert told(lost, "KOR") == [report.report_id]
    assert_sound(lost)
    lost.take(report)
    assert standing(lost, report) == [], "nor is it given to USA when it becomes known"
    assert_sound(lost)


def test_an_all_clear_recalls_several_of_which_some_are_known_by_their_release_alone(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    reports = [launch_detection(seed) for seed in range(1, 5)]
    for report in reports:
        jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    lost.take(reports[0])
    lost.do_all(*(TakeReport.of(report, RADAR, anything) for report in (reports[1], made(all_clear(5), 200))))
    assert sorted(told(lost, "KOR")) == sorted(report.report_id for report in reports)
    assert [standing(lost, report) for report in reports] == [[]] * 4
    assert_sound(lost)


def test_an_all_clear_recalls_what_comes_back_after_it(jpn: Site, kor: Site, make_site: MakeSite) -> None:
    report = launch_detection(1)
    jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    lost.take(made(all_clear(5), 200))
    give_back(kor, lost, Lane.FLASH)
    assert_sound(lost)
    tell(lost, "KOR")
    assert told(lost, "KOR") == [report.report_id]
    assert_sound(lost)
    lost.take(report)
    assert standing(lost, report) == []
    assert_sound(lost)


def test_an_all_clear_of_which_the_envelope_alone_is_kept_recalls_what_comes_back_after_it(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = launch_detection(1)
    jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    over = made(all_clear(5), 200)
    lost.take(over, rules(KOR=RELEASE_ALL, USA=RELEASE_NOTHING))
    send_and_confirm(lost, kor)
    lost.now_ns += YEAR_NS
    prune(lost)
    row = lost.store.report(identifier(over))
    assert row is not None
    assert row.pruned_ns is not None
    give_back(kor, lost, Lane.FLASH)
    tell(lost, "KOR")
    assert told(lost, "KOR") == [report.report_id]
    assert_sound(lost)


def test_an_all_clear_recalls_what_is_submitted_again_after_it_and_no_later_warning(
    jpn: Site, make_site: MakeSite
) -> None:
    before, after, fresh = launch_detection(1), made(launch_detection(2), 50), made(launch_detection(3), 150)
    clear = made(all_clear(5), 40)
    lost = lose(make_site)
    lost.take(after)
    lost.take(clear)
    assert standing(lost, after) == ["KOR", "USA"], "it is later than the all-clear that is submitted again"
    lost.take(before)
    lost.take(fresh)
    assert (standing(lost, before), standing(lost, fresh)) == ([], ["KOR", "USA"])
    assert_sound(lost)


@pytest.mark.parametrize("order", list(itertools.permutations(["back", "all-clear", "finished"])))
def test_what_is_recalled_by_time_hangs_neither_on_the_order_nor_on_whether_the_asking_goes_on(
    jpn: Site, kor: Site, make_site: MakeSite, order: Sequence[str]
) -> None:
    before, after = launch_detection(1), made(launch_detection(2), 50)
    for report in (before, after):
        jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    for what in order:
        match what:
            case "back":
                give_back(kor, lost, Lane.FLASH)
            case "all-clear":
                lost.take(made(all_clear(5), 40))
            case _:
                assert lost.do(EndWish(True))
    assert_sound(lost)
    tell(lost, "KOR")
    assert told(lost, "KOR") == [before.report_id]
    for report in (before, after):
        lost.take(report)
    assert (standing(lost, before), standing(lost, after)) == ([], ["KOR", "USA"])
    lost.take(made(all_clear(6), 200))
    assert standing(lost, after) == [], "that was made after the loss, and recalls all there is"
    assert_sound(lost)


COARSER: Final = RELEASE_ALL + "    coarsen: {time_s: 600}\n"
UNNAMED: Final = RELEASE_ALL.replace("[warning]", "[unnamed]")
WITH_UNNAMED: Final = TREATY + "  unnamed: [launch@1, recall@1]\n"


@pytest.mark.parametrize("order", list(itertools.permutations(["back", "all-clear", "finished"])))
def test_a_warning_whose_copy_tells_its_time_coarser_stands_until_it_is_known_when_it_was_made(
    jpn: Site, kor: Site, make_site: MakeSite, order: Sequence[str]
) -> None:
    policy = rules(KOR=COARSER, USA=COARSER)
    before, after = made(launch_detection(1), 30), made(launch_detection(2), 50)
    for report in (before, after):
        jpn.take(report, policy)
    send(jpn, kor)
    lost = lose(make_site)
    lost.rulebook = policy
    for what in order:
        match what:
            case "back":
                give_back(kor, lost, Lane.FLASH)
            case "all-clear":
                lost.take(made(all_clear(5), 40))
            case _:
                assert lost.do(EndWish(True))
    tell(lost, "KOR")
    assert told(lost, "KOR") == [], "the copies alone do not tell which of the two is later than the all-clear"
    for report in (before, after):
        lost.take(report)
    tell(lost, "KOR")
    assert told(lost, "KOR") == [before.report_id]
    assert (standing(lost, before), standing(lost, after)) == ([], ["KOR", "USA"])
    assert_sound(lost)


@pytest.mark.parametrize("back_first", [True, False])
def test_an_all_clear_from_after_the_loss_recalls_what_came_back_with_its_time_coarser(
    jpn: Site, kor: Site, make_site: MakeSite, back_first: bool
) -> None:
    report = made(launch_detection(1), 50)
    jpn.take(report, rules(KOR=COARSER))
    send(jpn, kor)
    lost = lose(make_site)
    if back_first:
        give_back(kor, lost, Lane.FLASH)
    lost.take(made(all_clear(5), 200))
    if not back_first:
        give_back(kor, lost, Lane.FLASH)
    tell(lost, "KOR")
    assert told(lost, "KOR") == [report.report_id]
    assert_sound(lost)


@pytest.mark.parametrize("order", list(itertools.permutations(["KOR", "USA", "all-clear"])))
def test_of_copies_that_tell_unlike_much_the_one_that_tells_time_and_event_counts_for_all(
    jpn: Site, kor: Site, usa: Site, make_site: MakeSite, order: Sequence[str]
) -> None:
    policies = {
        "coarser": rules(KOR=COARSER, USA=RELEASE_ALL),
        "unnamed": rules(_policy=WITH_UNNAMED, KOR=UNNAMED, USA=RELEASE_ALL),
    }
    before = {name: launch_detection(seed) for seed, name in enumerate(policies, 1)}
    after = {name: made(launch_detection(seed), 50) for seed, name in enumerate(policies, 11)}
    for name, policy in policies.items():
        jpn.take(before[name], policy)
        jpn.take(after[name], policy)
    send(jpn, kor, usa)
    lost = lose(make_site)
    for what in order:
        match what:
            case "all-clear":
                lost.take(made(all_clear(5), 40))
            case partner:
                give_back({"KOR": kor, "USA": usa}[partner], lost, Lane.FLASH)
    tell(lost, "KOR", "USA")
    for partner in ("KOR", "USA"):
        assert sorted(told(lost, partner)) == sorted(report.report_id for report in before.values())
    for report in after.values():
        assert standing(lost, report) == ["KOR", "USA"]
    assert_sound(lost)


def without_event(lost: Site) -> list[str]:
    """The reports of which officers are told that they came back without their event."""
    contents = lost.contents(Origin.decisions("JPN", 2)).values()
    return [each.node_event.detail.split(" ")[0] for each in contents if each.node_event.kind == NO_EVENT]


def test_a_warning_that_comes_back_without_its_event_is_named_to_officers_once_and_can_be_cancelled(
    jpn: Site, kor: Site, usa: Site, make_site: MakeSite
) -> None:
    report, over = launch_detection(1), launch_detection(2)
    for each in (over, cancelling(over), report):
        jpn.take(each, rules(_policy=WITH_UNNAMED, KOR=UNNAMED, USA=UNNAMED))
    send(jpn, kor, usa)
    lost = lose(make_site)
    for partner in (kor, usa):
        give_back(partner, lost, Lane.FLASH)
    assert without_event(lost) == [over.report_id, report.report_id]
    lost.take(made(all_clear(5), 200))
    lost.do(EndWish(True))
    assert standing(lost, report) == ["KOR", "USA"], "nothing says that it is of this event"
    lost.take(cancelling(report, seed=901))
    assert standing(lost, report) == []
    assert [told(lost, partner) for partner in ("KOR", "USA")] == [[report.report_id]] * 2
    assert_sound(lost)


def test_a_warning_without_its_event_that_was_recalled_before_it_comes_back_is_nothing_for_officers(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = track(1)
    unnamed = WITH_UNNAMED.replace("launch@1, recall@1]\n", "track@1, recall@1]\n")
    for each in (report, cancelling(report)):
        jpn.take(each, rules(_policy=unnamed, KOR=UNNAMED))
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH, Lane.IMMEDIATE)
    assert standing(lost, report) == []
    assert without_event(lost) == []
    assert_sound(lost)


def test_after_the_asking_has_ended_a_new_warning_stands_and_a_late_one_does_not(make_site: MakeSite) -> None:
    late, fresh = launch_detection(1), made(launch_detection(2), 150)
    lost = lose(make_site)
    lost.take(made(all_clear(5), 200))
    lost.do(EndWish(True))
    lost.take(late)
    lost.take(fresh)
    assert (standing(lost, late), standing(lost, fresh)) == ([], ["KOR", "USA"])
    assert_sound(lost)


def test_a_warning_that_came_back_is_kept_in_mind_until_it_is_known_and_a_refused_all_clear_changes_nothing_of_that(
    jpn: Site, kor: Site, usa: Site, make_site: MakeSite
) -> None:
    reports = [launch_detection(seed) for seed in range(1, 4)]
    one, two, three = map(identifier, reports)
    for report in reports:
        jpn.take(report, BOTH)
    send(jpn, kor, usa)
    lost = lose(make_site)
    clear = made(all_clear(5), 200)
    origin = Origin.release("JPN", "KOR", Lane.FLASH, 1)

    def kept() -> bytes | None:
        return lost.store.meta(f"back of {clear.event_id}")

    for _ in range(2):
        lost.heads.without_epochs()
        assert kept() is None, "the first plan is thrown away"
        plan = lost.plan()
        TakeBack(origin, "KOR", [as_sent(origin, kor.run(origin))], KEYS, lost.opener).apply(plan)
        with pytest.raises(RefusedReport):
            TakeReport.of(clear, RADAR, nothing).apply(plan)
    lost.keep(plan)
    assert kept() == one + two + three
    give_back(usa, lost, Lane.FLASH)
    assert kept() == one + two + three, "each once, whoever gives it back"
    lost.take(reports[1])
    plan = lost.plan()
    with pytest.raises(RefusedReport):
        TakeReport.of(clear, RADAR, nothing).apply(plan)
    lost.keep(plan)
    assert kept() == one + three, "what is known is found as any other warning"
    lost.restart()
    lost.take(clear)
    assert sorted(told(lost, "KOR")) == sorted(report.report_id for report in reports)
    assert sorted(told(lost, "USA")) == sorted(report.report_id for report in reports)
    assert_sound(lost)


def test_a_cancellation_recalls_what_is_known_by_its_release_alone_as_its_class_and_precedence_allow(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = launch_detection(1)
    jpn.take(report, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    assert refusal(lost, cancelling(report), nothing) == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    exercise = cancelling(report, seed=901)
    exercise.traffic_class = report_pb2.TRAFFIC_CLASS_EXERCISE
    assert refusal(lost, exercise) == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    lost.take(cancelling(report))
    assert told(lost, "KOR") == [report.report_id]
    lost.take(report)
    assert standing(lost, report) == []
    assert_sound(lost)


def test_a_recall_of_what_is_not_known_waits_while_lost_reports_are_asked_for_and_is_refused_after(
    make_site: MakeSite,
) -> None:
    lost = lose(make_site)
    recall = cancelling(launch_detection(1))
    assert refusal(lost, recall) == c2_pb2.REFUSAL_CODE_UNAVAILABLE
    lost.take(launch_detection(1))
    assert not lost.take(recall).duplicate
    lost.do(EndWish(True))
    assert refusal(lost, cancelling(launch_detection(2), seed=901)) == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
    assert_sound(lost)


HELD: Final = RELEASE_ALL.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 60")


def test_a_hold_whose_release_came_back_releases_nothing_a_second_time(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    report = launch_detection(1)
    jpn.take(report, rules(KOR=HELD))
    (held,) = jpn.store.held(identifier(report))
    jpn.now_ns = held.due_ns
    jpn.do(DecideHeld(held))
    send(jpn, kor)
    lost = lose(make_site, 1)
    lost.take(report, rules(KOR=HELD))
    give_back(kor, lost, Lane.FLASH)
    (held,) = lost.store.held(identifier(report))
    lost.now_ns = held.due_ns
    lost.do(DecideHeld(held))
    assert lost.reports("KOR") == [lost.contents(Origin.release("JPN", "KOR", Lane.FLASH, 1))[1].report]
    assert (
        not lost.contents(Origin.release("JPN", "KOR", Lane.FLASH, 2))
        .get(2, ledger_pb2.EntryContent())
        .HasField("report")
    )
    assert lost.store.held(identifier(report)) == []
    assert_sound(lost)


def rebuild(lost: Site) -> None:
    """What `signalfire ledger recover` puts on record again."""
    for step in rebuilding(lost):
        lost.do(step)


def rebuilding(lost: Site) -> Iterator[RebuildRecords]:
    """The steps of that."""
    keys: dict[int, RecordKey] = {}
    for row in lost.store.each_recovery():
        sealed = ledger_pb2.SealedRecovery.FromString(row.sealed)
        if sealed.HasField("key"):
            raw = unwrap_record_key(str(row.ledger), sealed, row.index, "JPN", RECOVERY_KEY)
            keys[row.index] = RecordKey.read_with(str(row.ledger), row.index, raw)
        record = keys[sealed.key_index].open(row.index, sealed.ciphertext)
        yield RebuildRecords(row.ledger, [(row, record)], lost.opener, lambda *_: True)


@pytest.fixture
def rebuilt(jpn: Site, kor: Site, make_site: MakeSite) -> Site:
    """JPN that knows again of a report that another C2 system submitted, and not what it says."""
    jpn.recovery = Recovery(RECOVERY_KEY.public)
    jpn.do(TakeReport.of(launch_detection(1), "spiffe://jpn/c2/another", anything))
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    rebuild(lost)
    row = lost.store.report(identifier(launch_detection(1)))
    assert row is not None
    assert (row.payload, row.submitted_by) == (b"", "spiffe://jpn/c2/another")
    return lost


@pytest.mark.parametrize("recall", [cancelling(launch_detection(1)), all_clear(5)])
def test_a_report_and_its_recall_may_be_submitted_again_in_one_commit(
    make_site: MakeSite, recall: report_pb2.Report
) -> None:
    lost = lose(make_site)
    steps = [TakeReport.of(report, RADAR, anything) for report in (launch_detection(1), recall)]
    assert not any(taken.duplicate for taken in lost.do_all(*steps))
    assert standing(lost, launch_detection(1)) == []
    assert told(lost, "KOR") == [launch_detection(1).report_id]
    assert_sound(lost)


def test_a_recall_in_the_commit_in_which_a_release_comes_back_judges_by_the_copy(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    jpn.take(launch_detection(1), BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    origin = Origin.release("JPN", "KOR", Lane.FLASH, 1)
    back = TakeBack(origin, "KOR", [as_sent(origin, kor.run(origin))], KEYS, lost.opener)
    seen: list[report_pb2.Report] = []

    def judge(report: report_pb2.Report) -> bool:
        seen.append(report)
        return True

    lost.do_all(back, TakeReport.of(cancelling(launch_detection(1)), RADAR, nothing, judge))
    assert [kind_of(each) for each in seen] == [Kind.LAUNCH_DETECTION]
    assert standing(lost, launch_detection(1)) == []
    assert_sound(lost)


def test_what_a_partner_originates_under_the_uuid_of_a_lost_report_says_nothing_of_that(
    usa: Site, jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    jpn.recovery = Recovery(RECOVERY_KEY.public)
    jpn.do(TakeReport.of(launch_detection(1), "spiffe://jpn/c2/another", anything))
    send(jpn, kor)
    lost = lose(make_site)
    lost.rulebook = passing()
    usa.take(american(traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE), USA_RULES)
    bring(usa, lost)
    assert lost.store.received("USA", identifier(launch_detection(1))) is not None
    give_back(kor, lost, Lane.FLASH)
    rebuild(lost)
    lost.do(TakeReport.of(cancelling(launch_detection(1)), RADAR, nothing, anything))
    assert standing(lost, launch_detection(1)) == []
    assert_sound(lost)


@pytest.mark.parametrize("recall", [cancelling(launch_detection(1)), made(all_clear(5), 200)])
def test_what_another_client_has_lost_is_recalled_by_what_stands_on_record_of_it(
    rebuilt: Site, recall: report_pb2.Report
) -> None:
    seen: list[report_pb2.Report] = []

    def judge(report: report_pb2.Report) -> bool:
        seen.append(report)
        return True

    rebuilt.do(TakeReport.of(recall, RADAR, nothing, judge))
    (known,) = seen
    assert kind_of(known) is Kind.LAUNCH_DETECTION
    assert (known.traffic_class, known.precedence) == (
        report_pb2.TRAFFIC_CLASS_LIVE, report_pb2.PRECEDENCE_FLASH,
    )  # fmt: skip
    assert told(rebuilt, "KOR") == [launch_detection(1).report_id]
    assert_sound(rebuilt)
    rebuilt.do(TakeReport.of(launch_detection(1), "spiffe://jpn/c2/another", anything))
    assert standing(rebuilt, launch_detection(1)) == []
    assert told(rebuilt, "KOR") == [launch_detection(1).report_id]
    assert_sound(rebuilt)


def test_what_another_client_has_lost_is_recalled_by_nobody_whose_grant_does_not_reach_it(rebuilt: Site) -> None:
    with pytest.raises(RefusedReport, match="no grant"):
        rebuilt.do(TakeReport.of(cancelling(launch_detection(1)), RADAR, anything, nothing))
    with pytest.raises(RefusedReport, match="no grant"):
        rebuilt.do(TakeReport.of(made(all_clear(5), 200), RADAR, anything, nothing))
    exercise = made(all_clear(5), 200)
    exercise.traffic_class = report_pb2.TRAFFIC_CLASS_EXERCISE
    rebuilt.do(TakeReport.of(exercise, "spiffe://jpn/c2/another", anything))
    assert standing(rebuilt, launch_detection(1)) == ["KOR"], "an exercise ends nothing that is real"
    assert_sound(rebuilt)


def test_an_all_clear_recalls_what_is_rebuilt_after_it(jpn: Site, kor: Site, make_site: MakeSite) -> None:
    withheld = rules(KOR=RELEASE_NOTHING, USA=RELEASE_NOTHING)
    jpn.recovery = Recovery(RECOVERY_KEY.public)
    jpn.take(launch_detection(1), withheld)
    other = launch_detection(2, event_id="JPN-2026-0043")
    jpn.take(other, BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    lost.take(made(all_clear(5), 200))
    give_back(kor, lost, Lane.FLASH)
    rebuild(lost)
    row = lost.store.report(identifier(launch_detection(1)))
    assert row is not None
    assert row.withdrawn_ns is not None
    assert_sound(lost)
    lost.take(launch_detection(1))
    assert (standing(lost, launch_detection(1)), standing(lost, other)) == ([], ["KOR"])
    assert_sound(lost)


def test_an_all_clear_in_the_commit_in_which_warnings_of_its_event_are_rebuilt_waits_for_that(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    reports, other = [launch_detection(1), launch_detection(2)], all_clear(6, event_id="JPN-2026-0043")
    jpn.recovery = Recovery(RECOVERY_KEY.public)
    jpn.take(reports[0], BOTH)
    jpn.take(reports[1], rules(KOR=RELEASE_NOTHING, USA=RELEASE_NOTHING))
    jpn.take(launch_detection(3, event_id="JPN-2026-0044"), BOTH)
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    clear = made(all_clear(5), 200)
    plan = lost.plan()
    for step in rebuilding(lost):
        step.apply(plan)
    with pytest.raises(RefusedReport) as refused:
        TakeReport.of(clear, RADAR, anything).apply(plan)
    assert refused.value.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
    TakeReport.of(other, RADAR, anything).apply(plan)
    lost.keep(plan)
    lost.take(clear)
    rows = [lost.store.report(identifier(report)) for report in reports]
    assert all(row is not None and row.withdrawn_ns is not None for row in rows)
    assert told(lost, "KOR") == [reports[0].report_id]
    assert_sound(lost)


def test_what_is_passed_on_is_not_passed_on_a_second_time_when_it_comes_again_or_its_hold_is_over(
    usa: Site, jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    held_60_s = passing(KOR=PASS_ON.replace("ceiling: SECRET", "ceiling: SECRET\n    hold_s: 60"))
    one, two = american(launch_detection, 1), american(launch_detection, 2)
    usa.take(one, USA_RULES)
    usa.take(two)
    jpn.rulebook = passing()
    bring(usa, jpn)
    send(jpn, kor)
    for site in (first := make_site("JPN", "first"), then := make_site("JPN", "then")):
        site.now_ns += 100 * SECOND
        site.rulebook = held_60_s
        site.do(DeclareSetBack("a test", None, RESTORE))
        site.do(RecordEvent("started", "again"))
    give_back(kor, first, Lane.FLASH)
    bring(usa, first)
    bring(usa, then)
    assert not first.store.held(identifier(one)), "what stands there is not held"
    give_back(kor, then, Lane.FLASH)
    for row in then.store.held_until(NOW + 1000 * SECOND, 10):
        then.now_ns = row.due_ns
        then.do(DecideHeld(row))
    for site in (first, then):
        rows = [*site.store.released(identifier(one), "USA"), *site.store.released(identifier(two), "USA")]
        origins = {ledger.id: ledger.origin for ledger in site.store.ledgers()}
        assert [str(origins[row.ledger]) for row in rows] == ["signalfire/v1/JPN/KOR/flash/1"] * 2
        assert not site.store.held_until(NOW + 1000 * SECOND, 10)
        assert_sound(site)


# --- crashes in the middle of taking back


def in_batches(kor: Site, origin: Origin) -> list[IncomingBatch]:
    """What a partner holds of a ledger, a segment at a time."""
    found: list[IncomingBatch] = []
    first = 0
    while first < kor.row(origin).size:
        found.append(as_sent(origin, kor.run(origin, first, 1)))
        first += found[-1].count
    return found


@pytest.fixture
def held(jpn: Site, kor: Site) -> list[IncomingBatch]:
    """What KOR holds of two reports and the recall of one, each in a batch of its own."""
    for report in (launch_detection(1), launch_detection(2), cancelling(launch_detection(1))):
        jpn.take(report, BOTH)
        send(jpn, kor)
        jpn.now_ns += SECOND
    return in_batches(kor, Origin.release("JPN", "KOR", Lane.FLASH, 1))


@pytest.mark.parametrize("nth", range(1, 12))
def test_a_loss_of_power_at_any_moment_of_taking_back_leaves_what_can_be_taken_back_again(
    held: list[IncomingBatch], kor: Site, tmp_path: Path, nth: int
) -> None:
    flash = Origin.release("JPN", "KOR", Lane.FLASH, 1)
    disk = Disk(nth)
    with registered(f"after-loss-{nth}", disk) as vfs:
        lost = Site("JPN", tmp_path / "lost.db", vfs=vfs)
        lost.now_ns += 100 * SECOND
        lost.rulebook = BOTH
        lost.do(DeclareSetBack("a test", None, RESTORE))
        lost.do(RecordEvent("started", "again"))
        disk.arm(Fault(What.POWER, nth))
        with contextlib.suppress(StoreError):
            for batch in held:
                lost.do(TakeBack(flash, "KOR", [batch], KEYS, lost.opener))
        assert disk.lost_power, "fewer operations than are tried: try fewer"
        lost.store.abandon()
        disk.power_on()
        lost.store = SqliteStore(lost.path, vfs=vfs)
        lost.restart()
        taken = lost.row(flash).size
        assert taken in [0, *(batch.first + batch.count for batch in held)], "whole batches, or nothing of one"
        assert_sound(lost)
        for batch in held:
            if batch.first + batch.count > taken:
                lost.do(TakeBack(flash, "KOR", [batch], KEYS, lost.opener))
        assert lost.row(flash).root == kor.row(flash).root
        lost.take(launch_detection(1))
        lost.take(launch_detection(2))
        assert [standing(lost, launch_detection(seed)) for seed in (1, 2)] == [[], ["KOR", "USA"]]
        assert told(lost, "KOR") == []
        assert_sound(lost)
        lost.close()


def test_a_plan_of_taking_back_that_is_thrown_away_leaves_nothing_and_seals_nothing_twice(
    held: list[IncomingBatch], make_site: MakeSite
) -> None:
    flash = Origin.release("JPN", "KOR", Lane.FLASH, 1)
    lost = lose(make_site)
    plan = lost.plan()
    for batch in held:
        TakeBack(flash, "KOR", [batch], KEYS, lost.opener).apply(plan)
    plan.finish()
    lost.heads.without_epochs()
    assert lost.row(flash).size == 0
    assert lost.store.released(identifier(launch_detection(2))) == []
    for batch in held:
        lost.do(TakeBack(flash, "KOR", [batch], KEYS, lost.opener))
    assert standing(lost, launch_detection(2)) == ["KOR"]
    assert_sound(lost)


def test_a_release_that_no_entry_here_holds_is_named_as_officers_name_reports_and_may_come_yet(
    jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    jpn.recovery = Recovery(RECOVERY_KEY.public)
    jpn.take(launch_detection(1), rules(KOR=RELEASE_ALL))
    send(jpn, kor)
    lost = lose(make_site)
    give_back(kor, lost, Lane.FLASH)
    (row,) = lost.store.each_recovery()
    sealed = ledger_pb2.SealedRecovery.FromString(row.sealed)
    raw = unwrap_record_key(str(row.ledger), sealed, row.index, "JPN", RECOVERY_KEY)
    record = RecordKey.read_with(str(row.ledger), row.index, raw).open(row.index, sealed.ciphertext)
    other = launch_detection(2)
    record.decided[0].report_id = identifier(other)
    done = lost.do(RebuildRecords(row.ledger, [(row, record)], lost.opener, lambda *_: True))
    assert done.missing == [f"the entry that released {other.report_id} to KOR, which has not given it back yet"]
