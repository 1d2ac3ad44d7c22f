"""What is old goes; what somebody needs, what proves anything, and what others are owed stays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.exchange.keeping_back import without
from gateway.ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.tiles import node_reader
from gateway.release.errors import RefusedReport
from gateway.release.keeping import KeepBack
from gateway.release.pipeline import DecideHeld, TakeReport, TellWithdrawals
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.retention import OWN_REPORTS, PRUNED, PruneEntries, PruneReports, envelope, gone_in, in_words
from gateway.release.steps import KeepUnopenable, SignPostQuantum
from gateway.release.subject import Subject
from gateway.release.succeeding import Succeed
from tests.release.aging import YEAR_NS, confirm, lanes, prune, pruned_in, send
from tests.release.onward import USA_RULES, american, assert_sound, passing, recall
from tests.release.test_keeping import LOST, SUSPENDED, govern
from tests.release.test_pending import AT_ONCE, HOLD
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, Site, anything, as_sent, identifier, rules, signatory_of
from tests.reports.examples import SECOND, all_clear, launch_detection, track

TO_KOR = Origin("JPN", "KOR", "flash", 1)


@pytest.fixture
def sites(tmp_path: Path) -> Iterator[tuple[Site, Site]]:
    jpn, kor = Site("JPN", tmp_path / "jpn.db"), Site("KOR", tmp_path / "kor.db")
    jpn.rulebook = rules(KOR=RELEASE_ALL)
    yield jpn, kor
    assert_sound(jpn, kor)
    for site in (jpn, kor):
        site.close()


def test_what_is_old_and_confirmed_goes_on_both_sides_and_both_stores_stay_sound(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    for seed in range(3):
        jpn.take(launch_detection(seed))
    send(jpn, kor)
    before = {node: [(row.origin, row.size, row.root) for row in site.store.ledgers()] for node, site in
              (("JPN", jpn), ("KOR", kor))}  # fmt: skip
    checkpoints = jpn.store.checkpoints(jpn.row(TO_KOR).id)
    assert prune(jpn) == (3, 3)
    assert prune(kor) == (0, 3)
    assert pruned_in(jpn, TO_KOR) == pruned_in(kor, TO_KOR) == [1, 2, 3]
    for site in sites:
        rows = [(row.origin, row.size, row.root) for row in site.store.ledgers()]
        ours = [row for row in rows if row[0].recipient is not None]
        assert ours == [row for row in before[site.node] if row[0].recipient is not None]
    assert jpn.store.checkpoints(jpn.row(TO_KOR).id) == checkpoints


def test_nothing_goes_that_is_not_old_enough(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    jpn.now_ns += 100
    kor.now_ns += 100
    jpn.take(launch_detection(2))
    send(jpn, kor)
    assert prune(jpn, jpn.now_ns - 1) == (1, 1)
    assert prune(kor, kor.now_ns - 1) == (0, 1)
    assert pruned_in(jpn, TO_KOR) == pruned_in(kor, TO_KOR) == [1]


@pytest.mark.parametrize(("confirmed", "signed"), [(False, True), (True, False)])
def test_nothing_goes_that_its_recipient_has_not_confirmed_or_no_post_quantum_line_covers(
    sites: tuple[Site, Site], confirmed: bool, signed: bool
) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor, confirmed=confirmed, signed=signed)
    assert prune(jpn) == (0, 0)
    send(jpn, kor)
    assert prune(kor) == (0, 1)


def test_nothing_goes_while_the_clock_is_not_trusted(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    jpn.clock_trusted = False
    assert prune(jpn) == (0, 0)


def test_a_report_that_is_held_stays_until_it_is_decided(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), HOLD)
    assert prune(jpn) == (0, 0)
    jpn.now_ns += 60 * SECOND
    for row in jpn.store.held_until(jpn.now_ns, 9):
        jpn.do(DecideHeld(row))
    assert prune(jpn) == (0, 0), "its recipient has not confirmed it yet"
    send(jpn, kor)
    assert prune(jpn) == (1, 1)


def test_a_report_of_which_somebody_has_still_to_be_told_stays(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    report = launch_detection(1)
    jpn.take(report, AT_ONCE)
    send(jpn, kor)
    jpn.take(cancelling(report), replace(AT_ONCE, suspended=frozenset({"KOR"})))
    assert prune(jpn) == (1, 0), "the cancellation alone was released to nobody"
    jpn.rulebook = AT_ONCE
    jpn.do(TellWithdrawals("KOR"))
    send(jpn, kor)
    assert prune(jpn) == (1, 1)
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)], "withdrawals stay"


def test_what_was_let_go_has_this_nodes_signed_reason_and_the_event_says_what_it_was(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    report = launch_detection(1)
    jpn.take(report)
    send(jpn, kor)
    prune(jpn)
    prune(kor)
    for site in sites:
        row = site.row(TO_KOR)
        absent = site.store.absent(row.id, 1)
        assert absent is not None
        statement = EntryStatement.open(
            absent.note, [signatory_of(site.node).gateway.verifier], kind=EntryStatementKind.ABSENT, node=site.node,
            origin=TO_KOR,
        )  # fmt: skip
        assert (statement.index, statement.leaf_hash, statement.reason) == (1, absent.leaf_hash, PRUNED)
        event = next(each for each in site.events() if each.kind == "pruned" and str(TO_KOR) in each.detail)
        assert gone_in(event.detail) == (str(TO_KOR), frozenset({1}))
        assert report_pb2.Report.FromString(event.evidence[0]).report_id == report.report_id
    assert gone_in(next(each.detail for each in jpn.events() if OWN_REPORTS in each.detail)) == (
        OWN_REPORTS,
        frozenset({1}),
    )


def test_what_is_said_of_what_went_is_read_as_it_was_written() -> None:
    assert gone_in(in_words(str(TO_KOR), [9, 2, 3, 4], 0)) == (str(TO_KOR), frozenset({2, 3, 4, 9}))
    assert in_words(OWN_REPORTS, [7], 0) == "own reports: 7 is pruned (1 of before 1970-01-01T00:00:00Z)"
    with pytest.raises(ValueError, match="does not say what was pruned"):
        gone_in("something else: 1 is pruned")


def test_a_report_that_was_let_go_is_recalled_from_everyone_by_who_may(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    report = launch_detection(1)
    jpn.take(report)
    send(jpn, kor)
    prune(jpn)
    prune(kor)
    asked: list[report_pb2.Report] = []

    def may(earlier: report_pb2.Report) -> bool:
        asked.append(earlier)
        return earlier.originator_station == report.originator_station

    def may_not(earlier: report_pb2.Report) -> bool:
        return earlier.originator_station != report.originator_station

    for recalling in (cancelling(report), all_clear(8, event_id=report.event_id)):
        with pytest.raises(RefusedReport) as refused:
            jpn.take(recalling, may_push=may_not)
        assert refused.value.code == c2_pb2.REFUSAL_CODE_NOT_GRANTED
    jpn.take(cancelling(report), may_push=may)
    assert asked == [envelope(report)]
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]
    send(jpn, kor)
    known = kor.store.received("JPN", identifier(report))
    assert known is not None
    assert known.withdrawn_ns is not None


def test_a_report_of_another_traffic_class_does_not_recall_one_that_was_let_go(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    prune(jpn)
    jpn.take(all_clear(8, event_id=launch_detection(1).event_id, traffic_class=3))
    assert jpn.withdrawals("KOR") == []


def test_a_recall_that_was_let_go_itself_still_explains_what_it_recalled(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    jpn.take(cancelling(launch_detection(1)))
    jpn.take(launch_detection(2))
    jpn.take(all_clear(8, event_id=launch_detection(2).event_id))
    send(jpn, kor)
    assert prune(jpn)[0] == 4


def test_what_was_kept_back_keeps_the_reason_that_was_signed_then(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1), AT_ONCE)
    govern(jpn, SUSPENDED)
    run = jpn.run(TO_KOR)
    jpn.do(KeepBack(TO_KOR, run))
    row = jpn.row(TO_KOR)
    sent = without(run, jpn.store.kept_back(row.id, 0, 99))
    kor.do(kor.receive(as_sent(TO_KOR, sent)))
    confirm(jpn, kor, TO_KOR)
    jpn.do(SignPostQuantum(TO_KOR))
    assert prune(jpn) == (1, 1)
    again = without(jpn.run(TO_KOR), jpn.store.kept_back(row.id, 0, 99))
    assert list(again.absent) == list(sent.absent)
    assert again.entries == sent.entries


def test_a_partner_who_lost_its_tail_is_given_hashes_with_the_signed_reason(
    sites: tuple[Site, Site], tmp_path: Path
) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    prune(jpn)
    jpn.take(launch_detection(2))
    restored = Site("KOR", tmp_path / "restored.db")
    send(jpn, restored)
    assert pruned_in(restored, TO_KOR) == [1]
    assert restored.store.received("JPN", identifier(launch_detection(2))) is not None
    prune(restored)
    outcome = verify_store(restored.store, restored.signatory, restored.partners)
    assert outcome.findings == []
    check = next(check for check in outcome.ledgers if check.origin == TO_KOR)
    kept = set(check.absent), set(check.pruned)
    assert kept == ({1}, {2}), "what it pruned is told apart from what came as a hash"
    restored.close()


def test_what_a_ledger_that_ended_had_unconfirmed_goes_once_its_successor_is_confirmed(
    sites: tuple[Site, Site],
) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    jpn.take(launch_detection(2))
    jpn.do(Succeed(TO_KOR, LOST, b""))
    send(jpn, kor, confirmed=False)
    assert prune(jpn) == (1, 1)
    assert pruned_in(jpn, TO_KOR) == [1]
    confirm(jpn, kor, TO_KOR.successor())
    assert prune(jpn) == (1, 2)
    assert pruned_in(jpn, TO_KOR) == [1, 2]


def test_an_entry_about_which_somebody_signed_that_it_cannot_be_used_stays(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    entry = jpn.store.entry(jpn.row(TO_KOR).id, 1)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, 1, leaf_hash(entry), "a broken disk")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(signatory_of("KOR").gateway), jpn.partners["KOR"]))
    assert prune(jpn) == (1, 0)


def test_an_entry_that_does_not_open_and_what_is_no_report_stay(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    writer.append(b"\xff junk")
    writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
    jpn.keep(plan)
    send(jpn, kor)
    assert prune(kor) == (0, 0)
    # The junk is a finding in the store of who wrote it.
    jpn.store.close()
    jpn.path.unlink()
    jpn.restart()


def test_what_is_passed_on_stays_while_it_is_held_and_goes_afterwards(tmp_path: Path) -> None:
    usa, jpn, kor = (Site(node, tmp_path / f"{node}.db") for node in ("USA", "JPN", "KOR"))
    held = RELEASE_ALL.replace("    ceiling:", "    originators: [USA]\n    hold_s: 60\n    ceiling:")
    jpn.rulebook = passing(KOR=held)
    usa.take(american(), USA_RULES)
    send(usa, jpn)
    assert prune(jpn) == (0, 0)
    jpn.now_ns += 60 * SECOND
    for row in jpn.store.held_until(jpn.now_ns, 9):
        jpn.do(DecideHeld(row))
    send(jpn, kor)
    assert prune(jpn) == (0, 2)
    assert prune(kor) == (0, 1)
    usa.take(recall(american()))
    send(usa, jpn)
    send(jpn, kor)
    assert_sound(usa, jpn, kor)
    known = kor.store.received("USA", identifier(american()))
    assert known is not None
    assert known.withdrawn_ns is not None
    for site in (usa, jpn, kor):
        site.close()


def test_a_step_prunes_a_bounded_number_and_the_next_goes_on(
    sites: tuple[Site, Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.release.retention.PRUNED_A_COMMIT", 2)
    jpn, kor = sites
    jpn.do_all(*(TakeReport.of(launch_detection(seed), "c2", anything) for seed in range(5)))
    send(jpn, kor)
    looked = jpn.do(PruneEntries(TO_KOR, 0, 0, jpn.now_ns))
    assert (looked.pruned, looked.done) == (2, False)
    looked = jpn.do(PruneReports(1, jpn.now_ns))
    assert (looked.pruned, looked.done) == (2, False)
    assert prune(jpn) == (3, 3)
    assert prune(jpn) == (0, 0)


def test_a_node_that_pruned_opens_again_and_goes_on(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    for seed in range(3):
        jpn.take(launch_detection(seed))
    send(jpn, kor)
    prune(jpn)
    prune(kor)
    jpn.restart()
    kor.restart()
    jpn.take(launch_detection(7))
    send(jpn, kor)
    assert kor.store.received("JPN", identifier(launch_detection(7))) is not None


def test_two_steps_on_one_ledger_in_one_commit_do_not_disturb_each_other(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    both = jpn.do_all(*[PruneEntries(TO_KOR, 0, 0, jpn.now_ns)] * 2, *[PruneReports(1, jpn.now_ns)] * 2)
    assert [looked.pruned for looked in both] == [1, 0, 1, 0]


def test_what_goes_and_a_successor_in_one_commit_do_not_disturb_each_other(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)
    looked, _ = jpn.do_all(PruneEntries(TO_KOR, 0, 0, jpn.now_ns), Succeed(TO_KOR, LOST, b""))
    assert looked.pruned == 1


def proofs(site: Site, origin: Origin) -> list[tuple[int, bytes, tuple[bytes, ...]]]:
    """The inclusion proof of every entry of a ledger, at its size."""
    head = site.heads.get(origin)
    assert head is not None

    def tile(level: int, index: int) -> bytes:
        return site.store.tile(head.id, level, index) or b""

    size, read = head.edge.size, node_reader(head.edge.size, tile, head.edge)
    return [(index, _leaf(site, origin, index), inclusion_proof(index, size, read)) for index in range(size)]


def _leaf(site: Site, origin: Origin, index: int) -> bytes:
    entry = site.store.entry(site.row(origin).id, index)
    if entry is not None:
        return leaf_hash(entry)
    absent = site.store.absent(site.row(origin).id, index)
    assert absent is not None
    return absent.leaf_hash


@settings(max_examples=12)
@given(
    st.lists(
        st.sampled_from(["report", "track", "recall", "send", "wait", "prune jpn", "prune kor", "open"]),
        min_size=4,
        max_size=24,
    ),
    st.integers(0, 3),
)
def test_whenever_anything_goes_stores_stay_sound_and_every_old_proof_stays_valid(acts: list[str], age: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        jpn, kor = Site("JPN", Path(folder) / "jpn.db"), Site("KOR", Path(folder) / "kor.db")
        jpn.rulebook = rules(KOR=RELEASE_ALL)
        kept: list[tuple[Origin, int, bytes, int, bytes, tuple[bytes, ...]]] = []
        taken: list[report_pb2.Report] = []
        for seed, act in enumerate(acts):
            if act in ("report", "track"):
                taken.append((launch_detection if act == "report" else track)(seed))
                jpn.take(taken[-1])
            elif act == "recall" and taken:
                report = taken.pop()
                jpn.take(cancelling(report, seed=seed))
            elif act == "send":
                send(jpn, kor)
                for origin in lanes("JPN", "KOR"):
                    if (row := kor.store.ledger(origin)) is not None:
                        kept += [(origin, row.size, row.root, *each) for each in proofs(kor, origin)]
            elif act == "wait":
                jpn.now_ns += SECOND
                kor.now_ns += SECOND
            elif act == "prune jpn":
                prune(jpn, jpn.now_ns - age * SECOND)
            elif act == "prune kor":
                prune(kor, kor.now_ns - age * SECOND)
            else:
                jpn.restart()
                kor.restart()
        assert_sound(jpn, kor)
        for origin, size, root, index, leaf, path in kept:
            for site in (jpn, kor):
                assert _leaf(site, origin, index) == leaf
            verify_inclusion(leaf, index, size, path, root)
        for site in (jpn, kor):
            for origin in lanes("JPN", "KOR"):
                if site.heads.get(origin) is not None:
                    row = site.row(origin)
                    for index, leaf, path in proofs(site, origin):
                        verify_inclusion(leaf, index, row.size, path, row.root)
            site.close()


def test_nothing_of_what_was_let_go_is_left_in_the_files_of_the_store(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    for seed in range(4):
        jpn.take(launch_detection(seed))
    send(jpn, kor)
    row = jpn.row(TO_KOR)
    entries = [jpn.store.entry(row.id, index) for index in range(1, 5)]
    payloads = [report.payload for seq in range(1, 5) if (report := jpn.store.report_at(seq)) is not None]
    assert prune(jpn) == (4, 4)
    files = b"".join(path.read_bytes() for path in jpn.path.parent.glob(f"{jpn.path.name}*"))
    for secret in (*entries, *payloads):
        assert secret is not None
        for start in range(0, len(secret) - 64, 64):
            assert secret[start : start + 64] not in files


def test_a_subject_that_is_held_in_the_same_commit_is_needed(sites: tuple[Site, Site]) -> None:
    jpn, kor = sites
    jpn.take(launch_detection(1))
    send(jpn, kor)

    class Hold:
        weight = 0
        rank = Rank.SPARE

        def apply(self, plan: Plan) -> None:
            plan.holds.begin(Subject("", identifier(launch_detection(1))), "KOR", jpn.now_ns + YEAR_NS)

    plan = jpn.plan()
    Hold().apply(plan)
    assert PruneReports(1, jpn.now_ns).apply(plan).pruned == 0
