"""A report of USA goes onward from JPN to KOR as far as policy and USA allow, with the proof that it is from USA."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.release.groups import IDENTITY, ONWARD, PATHS, WHOLE, leaf_paths, merged, parts_of, pieces_shown
from gateway.release.onward import CannotBeProved, passed_on, verify
from gateway.release.pipeline import TakeReport
from gateway.release.rulebook import Rulebook
from policy.fields import ALWAYS_RELEASED, LEAVES
from policy.transform import keep_only
from tests.release.onward import (
    PARTNERS,
    PASS_ON,
    TO_JPN,
    TO_KOR,
    USA_RULES,
    american,
    assert_sound,
    bring,
    decided,
    derived,
    errors,
    feed,
    onward_in,
    pass_on_the_rest,
    passage_of,
    passing,
    put,
    put_parts,
    shown,
    told,
)
from tests.release.world import RELEASE_ALL, MakeSite, Site, anything, identifier, partner_of, rules
from tests.reports.examples import (
    cancellation,
    change,
    impact_prediction,
    launch_detection,
    report_id,
    track,
)


@pytest.fixture
def jpn(jpn: Site) -> Site:
    jpn.rulebook = passing()
    return jpn


# --- the way of such a report


def test_a_report_goes_onward_with_the_proof_of_its_originator_and_is_delivered(
    usa: Site, jpn: Site, kor: Site
) -> None:
    report = american()
    usa.take(report, USA_RULES)
    received = bring(usa, jpn)
    assert [(each.partner, each.outcome.value) for each in received.decisions] == [("KOR", "released")]
    (onward,) = onward_in(jpn)
    (came,) = usa.reports("JPN")
    assert onward.proof.origin == str(TO_JPN)
    assert onward.proof.entry == usa.store.entry(usa.row(TO_JPN).id, onward.proof.index)
    assert bring(jpn, kor).unopenable == []
    assert told(kor) == [("report", identifier(report))]
    (row,) = feed(kor)
    assert (row.originator, row.ledger) == ("USA", kor.row(TO_KOR).id)
    came.ClearField("originator_station")
    came.ClearField("source_sequence")
    assert onward.report == came
    assert derived(onward.report) == []
    assert ledger_pb2.PART_GROUP_SOURCE not in shown(onward.proof)
    (record,) = jpn.decisions()
    assert record.submitted_by == f"{TO_JPN} 1"
    assert (record.originator_node, record.decisions[0].ledger) == ("USA", str(TO_KOR))
    assert_sound(usa, jpn, kor)


def test_every_group_that_goes_as_it_came_is_shown_and_no_other(usa: Site, jpn: Site) -> None:
    usa.take(american(track), USA_RULES)
    jpn.rulebook = passing(fields="threat@1, track.track_id, track.position.latitude_deg")
    bring(usa, jpn, "immediate")
    (onward,) = onward_in(jpn, "immediate")
    assert shown(onward.proof) == {IDENTITY, ONWARD, ledger_pb2.PART_GROUP_MARKING, ledger_pb2.PART_GROUP_THREAT}
    # Parts of a group that goes in part are not proved, and said to be so.
    (mark,) = derived(onward.report)
    assert mark == ("JPN", {"report_time", "track.track_id", "track.position.latitude_deg"})


COARSEN: Final = {
    "position: {grid_m: 10000}": (ledger_pb2.PART_GROUP_KINEMATICS, "launch_detection.launch_point.latitude_deg"),
    "time_s: 60": (ledger_pb2.PART_GROUP_TIMES, "report_time"),
}


@pytest.mark.parametrize("what", COARSEN)
def test_what_is_coarsened_is_derived_and_its_finer_value_is_nowhere(
    usa: Site, jpn: Site, kor: Site, what: str
) -> None:
    report = american()
    usa.take(report, USA_RULES)
    jpn.rulebook = passing(f"    coarsen: {{{what}}}\n")
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    group, path = COARSEN[what]
    assert group not in shown(onward.proof)
    ((node, paths),) = derived(onward.report)
    assert (node, path in paths) == ("JPN", True)
    assert paths <= set(PATHS[group])
    (decision,) = jpn.decisions()[0].decisions
    assert set(decision.changed) == paths
    visible = b"".join(part.content for part in onward.proof.disclosed.parts) + onward.report.SerializeToString()
    fine = struct.pack("<d", report.launch_detection.launch_point.latitude_deg)
    stamp = report.report_time.SerializeToString()
    assert (fine in visible, stamp in visible) == (group != ledger_pb2.PART_GROUP_KINEMATICS, group != 11)
    assert bring(jpn, kor).unopenable == []
    assert_sound(jpn, kor)


def test_a_marking_made_anew_is_derived_and_only_the_partners_own_permission_is_shown(
    usa: Site, jpn: Site, kor: Site
) -> None:
    usa.take(american(marking__onward_release=["AUS", "KOR", "CAN"]), USA_RULES)
    jpn.rulebook = passing("    remark: {classification: SECRET, add_caveats: [JPN KOR ONLY], onward_release: []}\n")
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert onward.report.marking.policy == "JPN"
    assert ledger_pb2.PART_GROUP_MARKING not in shown(onward.proof)
    visible = b"".join(part.content for part in onward.proof.disclosed.parts)
    assert (b"KOR" in visible, b"AUS" in visible, b"CAN" in visible) == (True, False, False)
    assert bring(jpn, kor).unopenable == []


def test_a_value_that_obligations_happened_to_leave_as_it_was_is_not_shown_to_be_exact(usa: Site, jpn: Site) -> None:
    usa.take(american(marking__caveats=["EYES-ONLY"]), USA_RULES)
    jpn.rulebook = passing("    remark: {add_caveats: [EYES-ONLY]}\n")
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert list(onward.report.marking.caveats) == ["EYES-ONLY"]
    assert ledger_pb2.PART_GROUP_MARKING not in shown(onward.proof)
    assert derived(onward.report) == [("JPN", {"marking.policy", "marking.classification", "marking.caveats"})]


def test_all_permissions_are_shown_where_the_copy_holds_them(usa: Site, jpn: Site, kor: Site) -> None:
    usa.take(american(marking__onward_release=["AUS", "KOR"]), USA_RULES)
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert list(onward.report.marking.onward_release) == ["AUS", "KOR"]
    assert derived(onward.report) == []
    assert bring(jpn, kor).unopenable == []


def test_what_its_originator_changed_stays_the_originators_word(usa: Site, jpn: Site, kor: Site) -> None:
    usa.take(american(), rules("USA", JPN=RELEASE_ALL + "    coarsen: {position: {round_m: 5000}}\n"))
    jpn.rulebook = passing("    coarsen: {time_s: 10}\n")
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert [node for node, _ in derived(onward.report)] == ["USA", "JPN"]
    assert ledger_pb2.PART_GROUP_KINEMATICS in shown(onward.proof)
    assert bring(jpn, kor).unopenable == []


def test_a_report_that_names_none_of_our_partners_is_not_decided_at_all(usa: Site, jpn: Site) -> None:
    usa.take(american(marking__onward_release=["AUS"]), USA_RULES)
    usa.take(american(launch_detection, 2, marking__onward_release=[]), USA_RULES)
    bring(usa, jpn)
    assert (jpn.decisions(), onward_in(jpn)) == ([], [])


def test_every_partner_but_the_originator_gets_a_decision(usa: Site, jpn: Site, make_site: MakeSite) -> None:
    usa.take(american(), USA_RULES)
    jpn.partners["AUS"] = partner_of("AUS")
    jpn.rulebook = passing(AUS=PASS_ON)
    bring(usa, jpn)
    (record,) = jpn.decisions()
    assert [(each.partner, each.rule) for each in record.decisions] == [
        ("AUS", "(onward release not allowed by its originator)"),
        ("KOR", "everything"),
    ]


@pytest.mark.parametrize(
    ("rulebook", "rule"),
    [
        (passing(KOR=RELEASE_ALL), "(no rule releases it)"),
        (passing(KOR="rules: []\n"), "(no rule releases it)"),
        (replace(passing(), suspended=frozenset({"KOR"})), "(partner suspended)"),
        (Rulebook.none(["KOR", "USA"]), "(no policy in force)"),
    ],
)
def test_nothing_goes_onward_that_our_own_policy_does_not_release(
    usa: Site, jpn: Site, rulebook: Rulebook, rule: str
) -> None:
    usa.take(american(), USA_RULES)
    jpn.rulebook = rulebook
    bring(usa, jpn)
    assert decided(jpn) == [("WITHHELD", rule)]
    assert onward_in(jpn) == []
    assert_sound(jpn)


def test_a_repeated_report_is_passed_on_once(usa: Site, jpn: Site) -> None:
    usa.take(american(), USA_RULES)
    bring(usa, jpn)
    put(usa, "JPN", ledger_pb2.EntryContent(report=usa.reports("JPN")[0]))
    bring(usa, jpn)
    assert (len(onward_in(jpn)), len(jpn.decisions())) == (1, 1)
    assert_sound(jpn)


def test_the_proof_leads_through_full_tiles_of_this_commit_and_of_earlier_ones(usa: Site, jpn: Site, kor: Site) -> None:
    usa.do_all(*(TakeReport.of(american(launch_detection, n), "c2", anything) for n in range(300)), rulebook=USA_RULES)
    bring(usa, jpn)
    pass_on_the_rest(jpn)
    usa.do_all(*(TakeReport.of(american(launch_detection, n), "c2", anything) for n in range(300, 330)))
    bring(usa, jpn)
    received = bring(jpn, kor)
    assert (received.reports, received.unopenable) == (330, [])
    assert {len(onward.proof.path) for onward in onward_in(jpn)} >= {9}


def test_references_to_what_the_partner_was_passed_are_kept(usa: Site, jpn: Site, kor: Site) -> None:
    first, second = american(), american(launch_detection, 2)
    for report, other in ((first, second), (second, first)):
        report.references.add(originator_node="USA", report_id=other.report_id, relation=2)
    usa.take(first, rules("USA", JPN=RELEASE_ALL.replace("[warning]", "[warning, references@1]")))
    usa.take(second)
    bring(usa, jpn)
    one, two = onward_in(jpn)
    assert list(one.report.references) == []
    assert [each.report_id for each in two.report.references] == [first.report_id]
    assert bring(jpn, kor).unopenable == []


def test_a_reference_that_came_without_its_identifier_does_not_go(usa: Site, jpn: Site) -> None:
    report = american()
    report.references.add(originator_node="USA", report_id=report_id(9), relation=2)
    put_parts(usa, "JPN", parts_of(change(report, references__0__report_id=None)))
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert list(onward.report.references) == []


def test_a_correction_goes_onward_about_what_the_partner_was_passed(usa: Site, jpn: Site, kor: Site) -> None:
    passed, kept = american(), american(launch_detection, 2, marking__onward_release=[])
    usa.take(passed, USA_RULES)
    usa.take(kept)
    usa.take(american(cancellation, 3, cancellation__report_ids=[passed.report_id, kept.report_id]))
    bring(usa, jpn)
    *_, notice = onward_in(jpn)
    assert list(notice.report.cancellation.report_ids) == [passed.report_id]
    assert ("JPN", {"cancellation.report_ids"}) in derived(notice.report)
    assert bring(jpn, kor).unopenable == []


# --- what cannot be proved is not passed on


def test_a_report_that_was_sealed_whole_goes_whole_or_not_at_all(usa: Site, jpn: Site, kor: Site) -> None:
    put(usa, "JPN", *(ledger_pb2.EntryContent(report=american(launch_detection, seed)) for seed in (1, 2)))
    bring(usa, jpn)
    assert decided(jpn) == [("WITHHELD", "(policy error)")] * 2
    assert all("USA sealed it as a whole" in error for error in errors(jpn))
    put(usa, "JPN", ledger_pb2.EntryContent(report=american(launch_detection, 3)))
    jpn.rulebook = passing(fields="warning, source@1, marking.releasable_to")
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    assert shown(onward.proof) == {WHOLE}
    assert bring(jpn, kor).reports == 1
    assert_sound(jpn, kor)


@pytest.mark.parametrize("damage", ["wrong group", "unknown group", "no identity", "split in a field", "no report"])
def test_parts_that_are_not_the_groups_of_the_contract_are_not_passed_on(usa: Site, jpn: Site, damage: str) -> None:
    parts = parts_of(american())
    match damage:
        case "wrong group":
            parts[0].group, parts[-1].group = parts[-1].group, parts[0].group
        case "unknown group":
            parts[-1].group = 99  # type: ignore[assignment]  # what the contract does not define
        case "no identity":
            parts[0].group = ledger_pb2.PART_GROUP_SUBJECT
        case "split in a field":
            parts[0].content, parts[1].content = parts[0].content[:-3], parts[0].content[-3:] + parts[1].content
        case "no report":
            parts.append(ledger_pb2.Part(group=ledger_pb2.PART_GROUP_THREAT, content=b""))
    put_parts(usa, "JPN", parts)
    assert bring(usa, jpn).reports == 1
    assert onward_in(jpn) == []
    assert decided(jpn) == [("WITHHELD", "(policy error)")]
    assert "did not seal it in groups of fields" in errors(jpn)[0]
    assert_sound(jpn)


def test_what_does_not_fit_an_entry_with_its_proof_is_not_passed_on() -> None:
    report = american(cancellation, 1, cancellation__report_ids=[report_id(n) for n in range(700)])
    passage, inclusion = passage_of(report)
    with pytest.raises(CannotBeProved, match=r"with its proof it has \d+ bytes, .* release fewer fields"):
        passed_on(passage, inclusion, report, report, node="JPN", partner="KOR")


def test_a_report_that_too_many_nodes_have_changed_is_not_passed_on_in_part() -> None:
    report = american()
    report.derivations.extend([report_pb2.Derivation(node="USA", fields=["event_id"])] * 8)
    copy = change(american(), event_id=None, launch_detection__confidence=None)
    copy.derivations.extend(report.derivations)
    with pytest.raises(CannotBeProved, match="8 nodes have changed it"):
        passed_on(*passage_of(report), report, copy, node="JPN", partner="KOR")


LEAF: Final = [path for path in LEAVES if path not in ALWAYS_RELEASED]


@given(st.sampled_from([launch_detection, track, impact_prediction, cancellation]), st.sets(st.sampled_from(LEAF)))
def test_whatever_policy_lets_go_is_believed_and_nothing_else_is_visible(
    make: Callable[..., report_pb2.Report], fields: set[str]
) -> None:
    report = american(make)
    copy = report_pb2.Report()
    copy.CopyFrom(report)
    keep_only(copy, tuple(sorted(fields | set(ALWAYS_RELEASED))))
    onward = passed_on(*passage_of(report), report, copy, node="JPN", partner="KOR").onward_report
    verify(onward, carrier="JPN", node="KOR", partners=PARTNERS)
    seen = merged(pieces_shown(onward.proof.disclosed))
    assert leaf_paths(seen) <= leaf_paths(copy)
    own = onward.report.derivations[0].fields if onward.report.derivations else []
    assert leaf_paths(copy) == leaf_paths(seen) | set(own)
    assert leaf_paths(seen).isdisjoint(own)
