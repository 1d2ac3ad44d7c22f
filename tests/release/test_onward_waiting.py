"""What becomes later of a report that went onward: holds, withdrawals, further copies, successors."""

from __future__ import annotations

from dataclasses import replace
from typing import Final, TypeAlias

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow
from gateway.release.passing import WITHDRAWN, WITHDRAWN_HELD
from gateway.release.pipeline import TellWithdrawals
from gateway.release.rulebook import Rulebook
from gateway.release.sharing import COVER_EVERY_NS, COVER_WITHIN_NS
from gateway.release.steps import FollowSuccessor
from gateway.release.subject import Subject
from gateway.release.succeeding import Succeed
from policy import compile_bundle
from tests.audit.nations import NEW_LOG, nation, rotated
from tests.release.onward import (
    PASS_ON,
    POLICY,
    TO_JPN,
    TO_KOR,
    USA_RULES,
    american,
    assert_sound,
    bring,
    decide_what_is_due,
    decided,
    derived,
    errors,
    feed,
    is_withdrawn,
    onward_in,
    passing,
    put,
    recall,
    told,
)
from tests.release.world import RELEASE_ALL, MakeSite, Site, identifier, partner_of, rules, signatory_of
from tests.reports.examples import (
    NOW,
    SECOND,
    launch_detection,
    track,
)


@pytest.fixture
def jpn(jpn: Site) -> Site:
    jpn.rulebook = passing()
    return jpn


# --- holds


EntryContent: TypeAlias = ledger_pb2.EntryContent
HOLD: Final = "    hold_s: 60\n"


def test_a_held_report_goes_onward_when_it_is_due_with_a_proof_of_the_ledger_as_it_then_is(
    usa: Site, jpn: Site, kor: Site
) -> None:
    report = american()
    usa.take(report, USA_RULES)
    jpn.rulebook = passing(HOLD)
    bring(usa, jpn)
    assert (decided(jpn), onward_in(jpn)) == ([("HELD", "everything")], [])
    usa.take(american(launch_detection, 2, marking__onward_release=[]))
    bring(usa, jpn)
    jpn.restart()
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert decided(jpn)[-1] == ("RELEASED", "everything")
    assert jpn.decisions()[-1].accepted_time.ToNanoseconds() == NOW
    assert bring(jpn, kor).unopenable == []
    assert told(kor) == [("report", identifier(report))]
    assert_sound(jpn, kor)


def test_a_held_report_is_decided_again_by_the_policy_then_in_force(usa: Site, jpn: Site) -> None:
    usa.take(american(), USA_RULES)
    jpn.rulebook = passing(HOLD)
    bring(usa, jpn)
    jpn.rulebook = passing(KOR="rules: []\n")
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert decided(jpn)[-1] == ("WITHHELD", "(no rule releases it)")
    assert jpn.store.held_until(jpn.now_ns, 9) == []
    assert_sound(jpn)


def test_a_held_report_that_does_not_open_any_more_is_withheld_and_held_no_longer(usa: Site, jpn: Site) -> None:
    usa.take(american(), USA_RULES)
    jpn.rulebook = passing(HOLD)
    bring(usa, jpn)
    jpn.signatory = replace(jpn.signatory, sealing=signatory_of("AUS").sealing)
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    plan = jpn.plan()
    assert not plan.holds.partners(Subject("USA", identifier(american())))


# --- an originator whose keys change


@pytest.fixture
def uncovered(usa: Site, jpn: Site) -> Site:
    """JPN holds a report of USA, which then retires its log key; what USA signed anew has not come yet."""
    usa.take(american(), USA_RULES)
    jpn.rulebook = passing(HOLD)
    bring(usa, jpn)
    jpn.partners = {**jpn.partners, "USA": nation("USA", **rotated("USA", jpn.now_ns // SECOND))}
    jpn.rulebook = passing()
    jpn.now_ns += 60 * SECOND
    return jpn


def test_a_report_that_nothing_covers_yet_goes_once_its_originators_anchor_has_come(uncovered: Site) -> None:
    jpn = uncovered
    decide_what_is_due(jpn)
    assert [outcome for outcome, _ in decided(jpn)] == ["HELD", "HELD"]
    decide_what_is_due(jpn)
    assert len(decided(jpn)) == 2, "a few seconds are waited"
    ledger = jpn.row(TO_JPN)
    note = sign_checkpoint(Checkpoint(TO_JPN, ledger.size, ledger.root), NEW_LOG).encode()
    plan = jpn.plan()
    plan.commit.cosignatures.append(
        CosignatureRow(ledger.id, CosignatureKind.ANCHOR, ledger.size, note, jpn.now_ns, "USA")
    )
    jpn.keep(plan)
    jpn.now_ns += COVER_EVERY_NS
    decide_what_is_due(jpn)
    assert [outcome for outcome, _ in decided(jpn)] == ["HELD", "HELD", "RELEASED"]
    assert_sound(jpn)


def test_a_report_that_nothing_ever_covers_is_withheld_after_half_a_minute(uncovered: Site) -> None:
    jpn = uncovered
    for _ in range(COVER_WITHIN_NS // COVER_EVERY_NS):
        decide_what_is_due(jpn)
        assert decided(jpn)[-1][0] == "HELD"
        jpn.now_ns += COVER_EVERY_NS
    decide_what_is_due(jpn)
    assert decided(jpn)[-1] == ("WITHHELD", "(policy error)")
    assert "a third nation believes no other" in errors(jpn)[-1]
    assert not jpn.plan().holds.partners(Subject("USA", identifier(american())))


# --- withdrawals


def test_a_withdrawal_by_the_originator_follows_its_report_in_the_same_commit(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, USA_RULES)
    bring(usa, jpn)
    bring(jpn, kor)
    jpn.rulebook = passing(KOR="rules: []\n")
    usa.take(recall(report))
    bring(usa, jpn)
    assert jpn.withdrawals("KOR") == [("flash", report.report_id)]
    assert ("WITHHELD", WITHDRAWN) in decided(jpn)
    received = bring(jpn, kor)
    assert (received.withdrawals, received.unopenable) == (1, [])
    assert told(kor) == [("report", identifier(report)), ("withdrawal", identifier(report))]
    assert is_withdrawn(kor, report)
    assert_sound(usa, jpn, kor)


def test_a_report_that_comes_withdrawn_is_not_passed_on(usa: Site, jpn: Site) -> None:
    report = american(track)
    usa.take(report, USA_RULES)
    usa.take(recall(report))
    bring(usa, jpn)
    bring(usa, jpn, "immediate")
    assert [each.report.report_id for each in onward_in(jpn, "immediate")] == []
    assert_sound(jpn)


def test_a_report_and_its_withdrawal_in_one_batch_both_go_onward(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, USA_RULES)
    usa.take(recall(report))
    bring(usa, jpn)
    bring(jpn, kor)
    assert is_withdrawn(kor, report)
    assert_sound(jpn, kor)


def test_a_withdrawal_ends_holds_and_tells_nobody(usa: Site, jpn: Site) -> None:
    report = american()
    usa.take(report, USA_RULES)
    jpn.rulebook = passing(HOLD)
    bring(usa, jpn)
    usa.take(recall(report))
    bring(usa, jpn)
    assert ("WITHHELD", WITHDRAWN_HELD) in decided(jpn)
    assert jpn.withdrawals("KOR") == []
    jpn.now_ns += 60 * SECOND
    decide_what_is_due(jpn)
    assert report.report_id not in [each.report.report_id for each in onward_in(jpn)]
    assert_sound(jpn)


def test_a_suspended_partner_is_told_of_it_once_it_is_suspended_no_longer(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, USA_RULES)
    bring(usa, jpn)
    bring(jpn, kor)
    jpn.rulebook = replace(jpn.rulebook, suspended=frozenset({"KOR"}))
    usa.take(recall(report))
    bring(usa, jpn)
    assert jpn.withdrawals("KOR") == []
    assert_sound(jpn)
    jpn.rulebook = passing()
    assert jpn.do(TellWithdrawals("KOR")) == 1
    bring(jpn, kor)
    assert is_withdrawn(kor, report)
    assert_sound(jpn, kor)


def notice(report: report_pb2.Report, originator: str = "USA", precedence: int | None = None) -> EntryContent:
    withdrawal = ledger_pb2.Withdrawal(
        report_id=report.report_id,
        traffic_class=report.traffic_class,
        precedence=report.precedence if precedence is None else precedence,  # type: ignore[arg-type]  # the number
        originator_node=originator,
    )
    withdrawal.time.FromNanoseconds(NOW)
    return EntryContent(withdrawal=withdrawal)


def copies(site: Site, report: report_pb2.Report) -> dict[str, tuple[bool, bool]]:
    """By which ways it came: whether it arrived, and whether it was withdrawn."""
    rows = site.store.copies(report.originator_node, identifier(report))
    return {row.via: (row.ledger is not None, row.withdrawn_ns is not None) for row in rows}


def test_who_passed_a_report_on_cannot_withdraw_what_its_originator_sent(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, rules("USA", JPN=RELEASE_ALL, KOR=RELEASE_ALL))
    bring(usa, kor)
    put(jpn, "KOR", notice(report, precedence=1))
    bring(jpn, kor)
    assert (told(kor), is_withdrawn(kor, report)) == ([("report", identifier(report))], False)
    assert copies(kor, report) == {"USA": (True, False), "JPN": (False, True)}
    assert_sound(kor)


def test_a_withdrawal_that_overtakes_what_was_passed_on_is_kept_for_that_way_alone(
    usa: Site, jpn: Site, kor: Site
) -> None:
    report = american(track)
    put(jpn, "KOR", notice(report))
    bring(jpn, kor)
    assert told(kor) == []
    usa.take(report, rules("USA", JPN=RELEASE_ALL, KOR=RELEASE_ALL))
    bring(usa, jpn, "immediate")
    bring(jpn, kor, "immediate")
    assert (told(kor), is_withdrawn(kor, report)) == ([("report", identifier(report))], True)
    assert_sound(kor)
    # From its originator it stands.
    bring(usa, kor, "immediate")
    assert (told(kor), is_withdrawn(kor, report)) == ([("report", identifier(report))] * 2, False)
    assert_sound(kor)


@pytest.mark.parametrize("originator", ["JPN", "KOR", "ABC", "usa"])
def test_a_withdrawal_of_an_originator_that_has_no_place_there_is_unusable(
    jpn: Site, kor: Site, originator: str
) -> None:
    put(jpn, "KOR", notice(american(), originator), notice(american()))
    (problem,) = bring(jpn, kor).problems
    assert "no place there" in problem


# --- by two ways


BOTH: Final = rules("USA", JPN=RELEASE_ALL, KOR=RELEASE_ALL)


@pytest.mark.parametrize("ways", [["USA", "JPN"], ["JPN", "USA"]], ids=" ".join)
def test_a_report_that_comes_by_two_ways_is_delivered_up_to_its_originators_own_copy(
    usa: Site, jpn: Site, kor: Site, ways: list[str]
) -> None:
    """Whoever passes a report on may make it coarser, or mark it higher: his copy does not hide the originator's."""
    report = american()
    usa.take(report, BOTH)
    bring(usa, jpn)
    for way in ways:
        assert bring({"USA": usa, "JPN": jpn}[way], kor).unopenable == []
        kor.restart()
    given = ways[: ways.index("USA") + 1]
    assert told(kor) == [("report", identifier(report))] * len(given)
    assert [row.ledger for row in feed(kor)] == [kor.row(Origin(way, "KOR", "flash", 1)).id for way in given]
    assert_sound(kor)
    # And withdrawn once, by whichever way that comes first.
    usa.take(recall(report))
    bring(usa, jpn)
    for sender in (jpn, usa):
        bring(sender, kor)
    assert [what for what, key in told(kor) if key == identifier(report)] == ["report"] * len(given) + ["withdrawal"]
    assert is_withdrawn(kor, report)
    assert_sound(usa, jpn, kor)


def test_a_report_stands_while_one_copy_of_it_does(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, BOTH)
    bring(usa, jpn)
    bring(jpn, kor)
    bring(usa, kor)
    put(jpn, "KOR", notice(report))
    bring(jpn, kor)
    assert (told(kor), is_withdrawn(kor, report)) == ([("report", identifier(report))] * 2, False)
    assert_sound(kor)
    usa.take(recall(report))
    bring(usa, kor)
    assert is_withdrawn(kor, report)
    assert_sound(kor)


def test_what_its_originator_withdrew_stands_by_no_way(usa: Site, jpn: Site, kor: Site) -> None:
    report = american(track)
    usa.take(report, BOTH)
    bring(usa, jpn, "immediate")
    usa.take(recall(report))
    bring(usa, kor)
    bring(jpn, kor, "immediate")
    assert ([item for item, _ in told(kor)][-1], is_withdrawn(kor, report)) == ("report", True)
    bring(usa, kor, "immediate")
    assert [item for item, report_id in told(kor) if report_id == identifier(report)] == ["withdrawal", "report"]
    assert_sound(kor)


def test_a_direct_copy_is_passed_on_also_where_another_way_was_faster(
    usa: Site, jpn: Site, kor: Site, make_site: MakeSite
) -> None:
    """KOR has it from JPN first, and passes it on to AUS once it has it from USA itself."""
    report = american(launch_detection, 1, marking__onward_release=["AUS", "KOR"])
    usa.take(report, BOTH)
    kor.partners["AUS"] = partner_of("AUS")
    files = {"policy.yaml": POLICY.replace("JPN", "KOR").encode()}
    files |= {"partners/AUS.yaml": f"partner: AUS\n{PASS_ON}".encode()}
    policy = compile_bundle(files)
    kor.rulebook = Rulebook(policy, ("AUS",), policy.posture)
    bring(usa, jpn)
    bring(jpn, kor)
    assert kor.decisions() == []
    bring(usa, kor)
    assert [each.decisions[0].outcome for each in kor.decisions()] == [ledger_pb2.OUTCOME_RELEASED]
    assert_sound(kor)


# --- when a ledger has a successor


def test_a_successor_holds_it_again_in_groups_and_with_its_proof(usa: Site, jpn: Site, kor: Site) -> None:
    report = american()
    usa.take(report, USA_RULES)
    jpn.do(FollowSuccessor(TO_JPN, usa.do(Succeed(TO_JPN, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, b""))))
    bring(usa, jpn, generation=2)
    assert [derived(each.report) for each in onward_in(jpn)] == [[]]
    kor.do(FollowSuccessor(TO_KOR, jpn.do(Succeed(TO_KOR, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, b""))))
    assert bring(jpn, kor, generation=2).unopenable == []
    assert told(kor) == [("report", identifier(report))]
    assert_sound(usa, jpn, kor)
