"""A report goes to those to whom policy releases it, with the fields that it names, once, and that is on record."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from google.protobuf.message import Message
from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.ledger import bundle
from gateway.ledger.errors import StoreError
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import FeedFilter, LedgerId, Run
from gateway.release import sharing
from gateway.release.errors import RefusedReport
from gateway.release.failing import Seldom
from gateway.release.opening import Opener
from gateway.release.pipeline import AcceptedReport, TakeReport
from gateway.release.plan import Plan
from gateway.release.planned.ledger_writer import SEGMENT_BYTES
from gateway.release.rulebook import NO_BUNDLE, Asking, Rulebook
from gateway.release.sharing import DECISIONS_AN_ENTRY
from gateway.seal.entry import EntryKind, parse_header
from gateway.seal.errors import SealError
from gateway.seal.keys import SealingPrivateKey
from policy.decision import BuiltIn, Decision
from tests.release.world import (
    RELEASE_ALL,
    RELEASE_NOTHING,
    Site,
    anything,
    identifier,
    rulebook_of,
    rules,
    signatory_of,
)
from tests.reports.examples import NOW, SECOND, all_clear, cancellation, change, correction, launch_detection, track

TO_KOR = Origin("JPN", "KOR", "flash", 1)
TO_USA = Origin("JPN", "USA", "flash", 1)
DECISIONS = Origin("JPN", None, "decisions", 1)
C2 = "spiffe://jpn/c2/radar"
EVERYONE = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)


def entry_at(site: Site, origin: Origin, index: int) -> bytes:
    """An entry that must be there."""
    entry = site.store.entry(site.row(origin).id, index)
    assert entry is not None
    return entry


def openings(site: Site, origin: Origin) -> list[int]:
    """Indexes at which epochs of a ledger were opened."""
    run = site.run(origin)
    entries = bundle.decode(run.entries, run.count)
    return [index for index, entry in enumerate(entries) if parse_header(entry).kind is EntryKind.EPOCH_OPENING]


# --- released and withheld


@pytest.fixture
def kor_only() -> report_pb2.Report:
    return launch_detection(marking__releasable_to=["KOR"])


def test_a_released_report_opens_for_its_recipient_and_its_origin_alone(jpn: Site, kor_only: report_pb2.Report) -> None:
    jpn.take(kor_only)
    for reader in ("KOR", "JPN"):
        opener = Opener(reader, signatory_of(reader).sealing)
        (content,) = jpn.contents(TO_KOR, opener).values()
        assert content.report.report_id == kor_only.report_id
    # USA's key, under its own name or under the recipient's.
    for node in ("USA", "KOR"):
        with pytest.raises(SealError):
            jpn.contents(TO_KOR, Opener(node, signatory_of("USA").sealing))


def test_the_copy_holds_the_named_fields_and_no_other(jpn: Site, kor_only: report_pb2.Report) -> None:
    jpn.take(kor_only)
    (content,) = jpn.contents(TO_KOR).values()
    named = set(jpn.decisions()[0].decisions[0].fields)
    assert leaves(content.report) == leaves(kor_only) & named
    assert leaves(kor_only) - named == {"originator_station", "source_sequence", "marking.releasable_to"}
    assert content.report.launch_detection == kor_only.launch_detection


def leaves(message: Message, prefix: str = "") -> set[str]:
    """Paths of the fields that are set, as policy names them."""
    found: set[str] = set()
    for field, value in message.ListFields():
        path = prefix + field.name
        if field.message_type is None or field.message_type.full_name.startswith("google.protobuf."):
            found.add(path)
            continue
        for item in value if field.is_repeated else (value,):
            found |= leaves(item, f"{path}.")
    return found


def test_the_record_names_rule_agreement_ledger_and_index_of_a_release(jpn: Site, kor_only: report_pb2.Report) -> None:
    rulebook = rulebook_of()
    jpn.take(kor_only, rulebook)
    (record,) = jpn.decisions()
    assert (record.report_id, record.event_id, record.kind) == (
        kor_only.report_id,
        kor_only.event_id,
        "LaunchDetection",
    )
    assert (record.submitted_by, record.policy_digest, record.posture) == (C2, rulebook.digest, "ROUTINE")
    assert record.report_digest == TakeReport.of(kor_only, C2, anything).digest
    kor, usa = record.decisions
    assert (kor.partner, kor.outcome, kor.rule) == ("KOR", ledger_pb2.OUTCOME_RELEASED, "prk-launch-warning")
    assert (kor.agreement, kor.ledger) == ("trilateral-2023", str(TO_KOR))
    assert jpn.contents(TO_KOR)[kor.index].report.report_id == kor_only.report_id
    assert (usa.partner, usa.outcome) == ("USA", ledger_pb2.OUTCOME_WITHHELD)
    assert usa.rule == "(not releasable by its marking)"
    assert not usa.ledger
    assert not usa.HasField("index")


def test_a_withheld_report_is_in_no_ledger_of_that_partner(jpn: Site, kor_only: report_pb2.Report) -> None:
    jpn.take(kor_only)
    assert [row.origin for row in jpn.store.ledgers() if row.origin.recipient == "USA"] == []
    assert [row.partner for row in jpn.store.released(identifier(kor_only))] == ["KOR"]


def test_an_entry_shows_nothing_of_its_report(jpn: Site, kor_only: report_pb2.Report) -> None:
    jpn.take(kor_only)
    for row in jpn.store.ledgers():
        entries = jpn.run(row.origin).entries
        for text in (kor_only.report_id, kor_only.event_id, kor_only.originator_station, "Sunan"):
            assert text.encode() not in entries


def test_what_is_kept_at_rest_shows_nothing_and_opens_with_the_storage_key(
    jpn: Site, kor_only: report_pb2.Report
) -> None:
    jpn.take(kor_only)
    row = jpn.store.report(identifier(kor_only))
    assert row is not None
    assert kor_only.event_id.encode() not in row.payload
    plain = signatory_of("JPN").storage.open(row.payload, row.report_id)
    assert report_pb2.Report.FromString(plain) == kor_only
    with pytest.raises(SealError):
        signatory_of("JPN").storage.open(row.payload, b"other" * 3 + b"!")


def test_a_partner_without_a_valid_trust_bundle_is_withheld_from_and_that_is_recorded(jpn: Site) -> None:
    del jpn.partners["USA"]
    jpn.take(launch_detection())
    kor, usa = jpn.decisions()[0].decisions
    assert kor.outcome == ledger_pb2.OUTCOME_RELEASED
    assert (usa.outcome, usa.rule) == (ledger_pb2.OUTCOME_WITHHELD, NO_BUNDLE)


def test_a_partner_without_a_file_in_the_policy_is_withheld_from_and_that_is_recorded(jpn: Site) -> None:
    known = rules(KOR=RELEASE_ALL)
    jpn.take(launch_detection(), Rulebook(known.policy, ("KOR", "USA"), known.posture))
    kor, usa = jpn.decisions()[0].decisions
    assert (kor.outcome, usa.outcome) == (ledger_pb2.OUTCOME_RELEASED, ledger_pb2.OUTCOME_WITHHELD)
    assert usa.rule == "(partner has no policy)"


@pytest.mark.parametrize("lane", Lane)
def test_a_report_goes_into_the_lane_of_its_precedence(jpn: Site, lane: Lane) -> None:
    precedence = report_pb2.Precedence.Value(f"PRECEDENCE_{lane.name}")
    jpn.take(launch_detection(precedence=precedence))
    assert {row.origin.lane for row in jpn.store.ledgers() if row.origin.recipient == "KOR"} == {lane.value}


def test_decisions_for_many_partners_stand_in_several_entries_and_the_report_names_the_first(jpn: Site) -> None:
    base = rules(KOR=RELEASE_ALL)
    names = tuple(f"A{a}{b}" for a in "ABCDEFGH" for b in "ABCDEFGHIJ")
    jpn.take(launch_detection(), Rulebook(base.policy, ("KOR", *names), base.posture))
    records = jpn.decisions()
    assert [len(record.decisions) for record in records] == [DECISIONS_AN_ENTRY, 81 - DECISIONS_AN_ENTRY]
    assert {record.report_id for record in records} == {launch_detection().report_id}
    row = jpn.store.report_at(1)
    assert row is not None
    assert jpn.contents(DECISIONS)[row.decision].decision_record == records[0]


def test_own_subscribers_find_the_report_in_the_feed(jpn: Site) -> None:
    jpn.take(launch_detection())
    (row,), _ = jpn.store.feed(0, 10, FeedFilter(frozenset({1}), include_own=True))
    assert (row.ledger, row.index, row.report_id) == (None, 1, identifier(launch_detection()))


# --- once


def test_a_report_sent_again_is_acknowledged_and_not_repeated(jpn: Site) -> None:
    first = jpn.take(launch_detection())
    sizes = {row.origin: row.size for row in jpn.store.ledgers()}
    jpn.now_ns += SECOND
    again = jpn.take(launch_detection())
    assert (first.accepted_ns, first.duplicate) == (NOW, False)
    assert again == AcceptedReport(NOW, duplicate=True)
    assert {row.origin: row.size for row in jpn.store.ledgers()} == sizes
    assert jpn.store.last_report() == jpn.store.last_feed() == 1


def test_a_report_sent_twice_within_one_commit_is_taken_once(jpn: Site) -> None:
    step = TakeReport.of(launch_detection(), C2, anything)
    first, again = jpn.do_all(step, step)
    assert (first.duplicate, again.duplicate) == (False, True)
    assert len(jpn.decisions()) == 1
    assert len(jpn.contents(TO_KOR)) == 1


@pytest.mark.parametrize("together", [False, True])
def test_the_same_identifier_with_other_content_is_refused(jpn: Site, together: bool) -> None:
    other = TakeReport.of(launch_detection(launch_detection__confidence=0.1), C2, anything)
    plan = jpn.plan()
    TakeReport.of(launch_detection(), C2, anything).apply(plan)
    if not together:
        jpn.keep(plan)
        plan = jpn.plan()
    with pytest.raises(RefusedReport) as caught:
        other.apply(plan)
    assert caught.value.code == c2_pb2.REFUSAL_CODE_CONFLICT
    jpn.keep(plan)
    assert jpn.store.last_report() == 1
    assert len(jpn.decisions()) == 1


# --- withdrawal


def cancelling(*reports: report_pb2.Report, seed: int = 900, **changes: object) -> report_pb2.Report:
    return cancellation(seed, cancellation__report_ids=[report.report_id for report in reports], **changes)


def test_recalling_a_report_that_this_node_does_not_have_is_refused_and_adds_nothing(jpn: Site) -> None:
    known, unknown = launch_detection(1), launch_detection(2)
    jpn.take(known)
    plan = jpn.plan()
    for recall in (cancelling(known, unknown), correction(3, correction__report_ids=[unknown.report_id])):
        with pytest.raises(RefusedReport) as caught:
            TakeReport.of(recall, C2, anything).apply(plan)
        assert caught.value.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR
    assert [violation.field for violation in caught.value.violations] == ["correction.report_ids[0]"]
    assert plan.finish() == []
    assert plan.empty


def test_a_report_that_is_not_known_may_be_lost_until_partners_have_shown_what_they_hold(jpn: Site) -> None:
    known, unknown = launch_detection(1), launch_detection(2)
    jpn.take(known)
    jpn.partners_shown = False
    for recall in (cancelling(known, unknown), correction(3, correction__report_ids=[unknown.report_id])):
        with pytest.raises(RefusedReport) as caught:
            jpn.take(recall)
        assert caught.value.code == c2_pb2.REFUSAL_CODE_UNAVAILABLE
        (violation,) = caught.value.violations
        assert violation.problem.endswith("not every partner has shown yet that it has lost none")
    assert not jpn.take(cancelling(known, seed=901)).duplicate
    jpn.partners_shown = True
    with pytest.raises(RefusedReport) as caught:
        jpn.take(cancelling(unknown, seed=902))
    assert caught.value.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR


def test_a_report_of_a_partner_cannot_be_recalled_here(jpn: Site, kor: Site) -> None:
    report = launch_detection(originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"])
    kor.take(report, rules("KOR", JPN=RELEASE_ALL))
    jpn.do(jpn.receive(kor.incoming(Origin("KOR", "JPN", "flash", 1))))
    assert jpn.store.received("KOR", identifier(report)) is not None
    with pytest.raises(RefusedReport) as caught:
        jpn.take(cancelling(report))
    assert caught.value.code == c2_pb2.REFUSAL_CODE_NOT_ORIGINATOR


def test_withdrawals_go_to_all_who_had_the_report_and_to_nobody_else(jpn: Site) -> None:
    both, only_kor = track(1), track(2, marking__releasable_to=["KOR"])
    jpn.take(both)
    jpn.take(only_kor)
    jpn.take(cancelling(both, only_kor))
    assert sorted(jpn.withdrawals("KOR")) == sorted([("flash", both.report_id), ("flash", only_kor.report_id)])
    assert jpn.withdrawals("USA") == [("flash", both.report_id)]
    assert [decision.withdrawals for decision in jpn.decisions()[-1].decisions] == [2, 1]


def test_a_withdrawal_says_which_report_and_when_and_nothing_of_its_content(jpn: Site) -> None:
    report = track(1, traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE)
    jpn.take(report)
    jpn.now_ns += SECOND
    jpn.take(cancelling(report, traffic_class=report_pb2.TRAFFIC_CLASS_EXERCISE))
    notice = next(c.withdrawal for c in jpn.contents(TO_KOR).values() if c.HasField("withdrawal"))
    expected = ledger_pb2.Withdrawal(
        report_id=report.report_id, traffic_class=report.traffic_class, precedence=report.precedence
    )
    expected.time.FromNanoseconds(NOW + SECOND)
    assert notice == expected


def test_a_withdrawal_is_sent_once(jpn: Site) -> None:
    report = track(1)
    jpn.take(report)
    jpn.take(cancelling(report))
    jpn.take(cancelling(report, seed=901))
    jpn.take(all_clear(902))
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]


def test_a_report_taken_and_recalled_within_one_commit_is_withdrawn_once(jpn: Site) -> None:
    report = track(1)
    steps = [report, cancelling(report), cancelling(report, seed=901)]
    jpn.do_all(*(TakeReport.of(step, C2, anything) for step in steps), rulebook=EVERYONE)
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]
    assert jpn.withdrawals("USA") == [("flash", report.report_id)]
    assert {row.withdrawn_ns for row in jpn.store.released(identifier(report))} == {NOW}


def test_withdrawals_follow_their_report_although_policy_has_tightened_since(jpn: Site) -> None:
    report = track(1)
    jpn.take(report, EVERYONE)
    nothing = rules(KOR=RELEASE_NOTHING, USA=RELEASE_NOTHING)
    jpn.take(cancelling(report), nothing)
    assert {decision.outcome for decision in jpn.decisions()[-1].decisions} == {ledger_pb2.OUTCOME_WITHHELD}
    assert jpn.withdrawals("KOR") == jpn.withdrawals("USA") == [("flash", report.report_id)]


def test_an_all_clear_recalls_the_warnings_of_its_event_and_no_others(jpn: Site) -> None:
    here = [launch_detection(1), track(2)]
    elsewhere = track(3, event_id="JPN-2026-0043")
    dismissed = track(4)
    for report in (*here, elsewhere, dismissed, cancelling(dismissed)):
        jpn.take(report, EVERYONE)
    jpn.take(all_clear(5), EVERYONE)
    assert jpn.withdrawals("KOR") == [
        ("flash", report_id) for report_id in (dismissed.report_id, *(report.report_id for report in here))
    ]


def test_an_all_clear_recalls_warnings_of_its_own_commit_too(jpn: Site) -> None:
    report = track(2)
    jpn.do_all(*(TakeReport.of(step, C2, anything) for step in (report, all_clear(5))), rulebook=EVERYONE)
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]


def test_a_corrected_report_is_withdrawn_and_its_replacement_needs_a_release_of_its_own(jpn: Site) -> None:
    wrong = track(1)
    right = track(2, marking__releasable_to=["USA"])
    fix = correction(3, correction__report_ids=[wrong.report_id], correction__replacement_report_id=right.report_id)
    for report in (wrong, right, fix):
        jpn.take(report, EVERYONE)
    assert jpn.withdrawals("KOR") == [("flash", wrong.report_id)]
    assert right.report_id not in {
        content.report.report_id
        for row in jpn.store.ledgers()
        if row.origin.recipient == "KOR"
        for content in jpn.contents(row.origin).values()
    }
    # The correction that KOR is given does not name a report that KOR was never released.
    (copy,) = (c.report for c in jpn.contents(TO_KOR).values() if c.report.HasField("correction"))
    assert copy.correction.report_ids == [wrong.report_id]
    assert not copy.correction.replacement_report_id


# --- commits, epochs and signatures


def test_each_ledger_is_signed_once_a_commit_however_many_reports_it_holds(jpn: Site) -> None:
    jpn.do_all(*(TakeReport.of(launch_detection(seed), C2, anything) for seed in range(5)), rulebook=EVERYONE)
    assert sorted(str(origin) for origin, _ in jpn.signed) == sorted(map(str, (TO_KOR, TO_USA, DECISIONS)))
    for origin, note in jpn.signed:
        row = jpn.row(origin)
        assert jpn.store.checkpoints(row.id) == [(row.size, note.encode())]
        assert row.size == 6


def test_a_segment_is_bounded_so_that_a_narrow_link_brings_one_a_second(jpn: Site) -> None:
    warnings = [launch_detection(seed) for seed in range(60)]
    only_kor = rules(KOR=RELEASE_ALL)
    jpn.do_all(*(TakeReport.of(step, C2, anything) for step in warnings), rulebook=only_kor)
    position, segments = 0, 0
    while (run := jpn.store.run(jpn.row(TO_KOR).id, position, 1)) is not None:
        assert len(bytes_of(run)) <= SEGMENT_BYTES
        position, segments = position + run.count, segments + 1
    assert segments >= len(warnings) * 1024 // SEGMENT_BYTES > 1
    assert position == jpn.row(TO_KOR).size
    before = {head.origin: head.edge for head in jpn.heads}
    jpn.restart()
    assert {head.origin: head.edge for head in jpn.heads} == before


def bytes_of(run: Run) -> bytes:
    """The entries of a run without their lengths."""
    return b"".join(bundle.decode(run.entries, run.count))


def test_the_first_entry_after_a_start_opens_an_epoch_and_the_next_ones_use_it(jpn: Site) -> None:
    jpn.take(launch_detection(1))
    jpn.take(launch_detection(2))
    jpn.restart()
    jpn.take(launch_detection(3))
    jpn.take(launch_detection(4))
    for origin in (TO_KOR, DECISIONS):
        assert openings(jpn, origin) == [0, 3]
        epochs = [parse_header(entry_at(jpn, origin, index)).epoch for index in range(6)]
        assert epochs == [0, 0, 0, 3, 3, 3]


def test_a_partner_whose_sealing_key_changes_is_sealed_to_anew_at_once(jpn: Site) -> None:
    jpn.take(launch_detection(1))
    fresh = SealingPrivateKey.generate()
    jpn.partners["KOR"] = replace(jpn.partners["KOR"], sealing=fresh.public)
    jpn.take(launch_detection(2))
    assert openings(jpn, TO_KOR) == [0, 2]
    assert openings(jpn, TO_USA) == [0]
    opener = Opener("KOR", (fresh,))
    content = opener.content(TO_KOR, 3, entry_at(jpn, TO_KOR, 3), lambda at: entry_at(jpn, TO_KOR, at))
    assert content is not None
    assert content.report.report_id == launch_detection(2).report_id


def test_a_plan_that_is_thrown_away_leaves_no_trace_but_the_keys_that_it_used(jpn: Site) -> None:
    jpn.take(launch_detection(1))
    sealed = sealings(jpn, lambda plan: TakeReport.of(launch_detection(2), C2, anything).apply(plan))
    # The commit of that plan failed: its entries may be anywhere, so nothing is sealed with their keys again.
    jpn.heads.without_epochs()
    sealed += sealings(jpn, lambda plan: TakeReport.of(launch_detection(3), C2, anything).apply(plan))
    assert jpn.row(TO_KOR).size == 2
    assert len(sealed) == len(set(sealed))
    assert {ledger for ledger, _, _ in sealed} == {str(TO_KOR), str(TO_USA), str(DECISIONS)}


def test_a_key_that_was_used_by_a_lost_commit_refuses_its_nonce_a_second_time(jpn: Site) -> None:
    jpn.take(launch_detection(1))
    for number in (2, 3):
        plan = jpn.plan()
        step = TakeReport.of(launch_detection(number), C2, anything)
        if number == 2:
            step.apply(plan)
            plan.finish()
            continue
        with pytest.raises(SealError, match="open a new epoch"):
            step.apply(plan)


def sealings(site: Site, fill: object) -> list[tuple[str, int, bytes]]:
    """(ledger, index, key) of every sealed entry of a plan that is then thrown away.

    A key is told by the bytes of the opening that wrapped it.
    """
    plan = site.plan()
    assert callable(fill)
    fill(plan)
    plan.finish()
    return [triple for append in plan.commit.appends for triple in _sealed(site, plan, append.ledger)]


def _sealed(site: Site, plan: Plan, ledger: LedgerId) -> list[tuple[str, int, bytes]]:
    (append,) = (a for a in plan.commit.appends if a.ledger == ledger)
    origin = next(o for o, head in plan.ledgers.changed.items() if head.id == ledger)
    entries = dict(enumerate(bundle.decode(append.entries, append.count), append.first))
    found = []
    for index, entry in entries.items():
        header = parse_header(entry)
        if header.kind is EntryKind.SEALED_CONTENT:
            opening = entries.get(header.epoch) or entry_at(site, origin, header.epoch)
            found.append((str(origin), index, opening))
    return found


def test_the_identifier_on_record_is_the_reports_own(jpn: Site) -> None:
    report = change(launch_detection(5))
    jpn.take(report)
    row = jpn.store.report_at(1)
    assert row is not None
    assert str(UUID(bytes=row.report_id)) == report.report_id


# --- what fails for one partner


@pytest.mark.parametrize("fails", ["decide", "copy"])
def test_what_fails_for_one_partner_is_withheld_from_that_one_alone(
    jpn: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fails: str
) -> None:
    """A fault of this software, of whatever kind, met for KOR costs USA no warning."""
    decide, copy = Asking.decide, Rulebook.copy

    def deciding(asking: Asking, partner: str, **options: Any) -> Decision:
        if partner == "KOR" and fails == "decide":
            raise ZeroDivisionError("a fault")
        return decide(asking, partner, **options)

    def copying(policies: Rulebook, report: report_pb2.Report, decision: Decision, *rest: Any) -> Any:
        if decision.partner == "KOR" and fails == "copy":
            raise ZeroDivisionError("a fault")
        return copy(policies, report, decision, *rest)

    monkeypatch.setattr(sharing, "_TOLD", Seldom(60.0))
    monkeypatch.setattr(Asking, "decide", deciding)
    monkeypatch.setattr(Rulebook, "copy", copying)
    warning = launch_detection()
    jpn.take(warning, EVERYONE)
    assert [report.report_id for report in jpn.reports("USA")] == [warning.report_id]
    assert jpn.reports("KOR") == []
    (record,) = jpn.decisions()
    by_partner = {decision.partner: decision for decision in record.decisions}
    assert by_partner["USA"].outcome == ledger_pb2.OUTCOME_RELEASED
    assert (by_partner["KOR"].outcome, by_partner["KOR"].rule) == (
        ledger_pb2.OUTCOME_WITHHELD,
        BuiltIn.POLICY_ERROR,
    )
    assert "ZeroDivisionError: a fault" in by_partner["KOR"].error
    assert "a decision for KOR failed" in caplog.text


def test_a_store_that_fails_while_a_copy_is_made_fails_the_step(jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def copying(*_: Any) -> Any:
        raise StoreError("the disk")

    monkeypatch.setattr(Rulebook, "copy", copying)
    with pytest.raises(StoreError):
        jpn.take(launch_detection(), EVERYONE)
    assert jpn.decisions() == []
