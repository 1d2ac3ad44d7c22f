"""A report of USA goes onward from JPN to KOR with USA's proof, and KOR believes nothing that the two do not show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.origin import Lane, Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow
from gateway.release.groups import IDENTITY, ONWARD, PATHS, WHOLE, cut, same
from gateway.release.pipeline import DecideHeld, TellWithdrawals
from gateway.release.rulebook import Rulebook
from gateway.release.steps import Succeed
from gateway.seal.commitment import disclose_parts
from policy import compile_bundle
from tests.release.world import RELEASE_ALL, MakeSite, Site, identifier, partner_of, rules
from tests.reports.examples import NODE, NOW, SECOND, cancellation, change, launch_detection, report_id, track

ALL: Final = FeedFilter(frozenset({1, 2, 3}))
TO_JPN, TO_KOR = Origin("USA", "JPN", "flash", 1), Origin("JPN", "KOR", "flash", 1)
POLICY: Final = """\
node: JPN
posture: ROUTINE
field_sets:
  warning: [envelope@1, threat@1, references@1, launch@1, track@1, impact@1, recall@1]
equivalences:
  USA: {SECRET: SECRET, CONFIDENTIAL: CONFIDENTIAL, RESTRICTED: RESTRICTED, UNCLASSIFIED: UNCLASSIFIED}
"""
PASS_ON: Final = RELEASE_ALL.replace("    ceiling:", "    originators: [USA]\n    ceiling:")
USA_RULES = rules("USA", JPN=RELEASE_ALL.replace("[warning]", "[warning, source@1, references@1]"))


def passing(extra: str = "", fields: str = "warning", **partners: str) -> Rulebook:
    """JPN's policy: what USA lets go onward goes to KOR."""
    text = PASS_ON.replace("[warning]", f"[{fields}]") + extra
    files = {"policy.yaml": POLICY.encode()}
    for node, rule in ({"KOR": text, "USA": "rules: []\n"} | partners).items():
        files[f"partners/{node}.yaml"] = f"partner: {node}\n{rule}".encode()
    policy = compile_bundle(files)
    return Rulebook(policy, ("KOR", "USA", *(set(partners) - {"KOR", "USA"})), policy.posture)


@pytest.fixture
def usa(make_site: MakeSite) -> Site:
    return make_site("USA")


@pytest.fixture
def jpn(make_site: MakeSite) -> Site:
    site = make_site("JPN")
    site.rulebook = passing()
    return site


@pytest.fixture
def kor(make_site: MakeSite) -> Site:
    return make_site("KOR")


def american(
    make: Callable[..., report_pb2.Report] = launch_detection, seed: int = 1, /, **to: object
) -> report_pb2.Report:
    """A report of USA, releasable to JPN and KOR, which lets it go onward to KOR."""
    report = make(seed, originator_node="USA", marking__policy="USA", marking__releasable_to=["JPN", "KOR"])
    return change(report, **{"marking__onward_release": ["KOR"], **to})


def bring(sender: Site, recipient: Site, lane: str = "flash", generation: int = 1) -> Received:
    """Everything new in a lane of one ledger goes to its recipient."""
    origin = Origin(sender.node, recipient.node, lane, generation)
    row = recipient.store.ledger(origin)
    return recipient.do(recipient.receive(sender.incoming(origin, 0 if row is None else row.size)))


def onward_in(jpn: Site, lane: str = "flash") -> list[ledger_pb2.OnwardReport]:
    contents = jpn.contents(Origin("JPN", "KOR", lane, 1)).values()
    return [content.onward_report for content in contents if content.HasField("onward_report")]


def feed(site: Site) -> list[FeedRow]:
    return list(site.store.feed(0, 1000, ALL)[0])


def told(site: Site) -> list[tuple[str, bytes]]:
    """What subscribers are given: report or withdrawal, and of which report."""
    return [(row.item.name.lower(), row.report_id) for row in feed(site)]


def is_withdrawn(site: Site, report: report_pb2.Report) -> bool:
    row = site.store.received(report.originator_node, identifier(report))
    assert row is not None
    return row.withdrawn_ns is not None


def shown(proof: ledger_pb2.OriginProof) -> set[int]:
    return {part.group for part in proof.disclosed.parts if not part.leaf_hash}


def derived(report: report_pb2.Report) -> list[tuple[str, set[str]]]:
    return [(each.node, set(each.fields)) for each in report.derivations]


def decided(jpn: Site) -> list[tuple[str, str]]:
    """Outcome and rule of every decision for KOR."""
    decisions = (decision for record in jpn.decisions() for decision in record.decisions if decision.partner == "KOR")
    return [(ledger_pb2.Outcome.Name(each.outcome).removeprefix("OUTCOME_"), each.rule) for each in decisions]


def assert_sound(*sites: Site) -> None:
    for site in sites:
        assert [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings] == []


def recall(report: report_pb2.Report, seed: int = 900) -> report_pb2.Report:
    return american(cancellation, seed, cancellation__report_ids=[report.report_id])


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
    assert len(onward_in(jpn)) == 1
    assert_sound(jpn)


def test_the_proof_leads_through_full_tiles_of_this_commit_and_of_earlier_ones(
    usa: Site, jpn: Site, kor: Site
) -> None:
    usa.do_all(*(TakeReport.of(american(launch_detection, n), "c2", anything) for n in range(300)), rulebook=USA_RULES)
    bring(usa, jpn)
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


def test_a_report_too_large_with_its_proof_is_withheld_and_says_so(usa: Site, jpn: Site) -> None:
    corners = [report_pb2.Position(latitude_deg=n / 10, longitude_deg=n / 7) for n in range(1500)]
    large = american()
    large.references.extend(
        report_pb2.Reference(originator_node="USA", report_id=report_id(n), relation=1) for n in range(600)
    )
    del corners
    put(usa, "JPN", ledger_pb2.EntryContent(report=large), in_groups=True)
    bring(usa, jpn)


def test_a_report_that_was_sealed_whole_goes_only_as_a_whole(usa: Site, jpn: Site, kor: Site) -> None:
    put(usa, "JPN", ledger_pb2.EntryContent(report=american()), ledger_pb2.EntryContent(report=american(track, 2)))
    everything = "warning, source@1, marking.releasable_to"
    jpn.rulebook = passing(KOR=PASS_ON.replace("[LaunchDetection, ", "[").replace("[warning]", f"[{everything}]"))
    bring(usa, jpn)
    assert_sound(jpn)
