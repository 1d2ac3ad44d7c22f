"""A report of USA goes onward from JPN to KOR with USA's proof, and KOR believes nothing that the two do not show."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.stores import FeedFilter, FeedRow
from gateway.ledger.tiles import Edge
from gateway.officer.verify import verify_store
from gateway.release.groups import IDENTITY, ONWARD, PATHS, WHOLE, cut, leaf_paths, merged, parts_of, pieces_shown
from gateway.release.onward import CannotBeProved, Inclusion, NotBelieved, Passage, passed_on, verify
from gateway.release.passing import WITHDRAWN
from gateway.release.pipeline import DecideHeld, TakeReport, TellWithdrawals
from gateway.release.plan import Subject
from gateway.release.replica import Received
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner
from gateway.release.steps import FollowSuccessor, Succeed
from gateway.seal.commitment import disclose_parts
from gateway.seal.epoch import Epoch
from policy import compile_bundle
from policy.fields import ALWAYS_RELEASED, LEAVES
from policy.obligations import Obligations, Rounding, apply
from policy.transform import keep_only
from tests.release.world import RELEASE_ALL, MakeSite, Site, anything, identifier, partner_of, rules, signatory_of
from tests.reports.examples import (
    NOW,
    SECOND,
    cancellation,
    change,
    impact_prediction,
    launch_detection,
    report_id,
    track,
)
from tests.seal.parties import flipped

OnwardReport: TypeAlias = ledger_pb2.OnwardReport
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
    return Rulebook(policy, tuple(sorted({"KOR", "USA", *partners})), policy.posture)


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


def test_the_proof_leads_through_full_tiles_of_this_commit_and_of_earlier_ones(usa: Site, jpn: Site, kor: Site) -> None:
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


def put(site: Site, recipient: str, *contents: ledger_pb2.EntryContent) -> None:
    """A gateway seals these contents, each whole, whatever they are."""
    put_parts(site, recipient, *([ledger_pb2.Part(content=content.SerializeToString())] for content in contents))


def put_parts(site: Site, recipient: str, *payloads: Sequence[ledger_pb2.Part]) -> None:
    plan = site.plan()
    for parts in payloads:
        plan.writer(recipient, "flash").append_parts(parts)
    site.keep(plan)


def errors(jpn: Site) -> list[str]:
    return [decision.error for record in jpn.decisions() for decision in record.decisions]


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


def passage_of(report: report_pb2.Report) -> tuple[Passage, Inclusion]:
    """A report as USA seals it to JPN in a ledger of its own."""
    epoch, opening = Epoch.open_new(str(TO_JPN), 0, [("JPN", partner_of("JPN").sealing)])
    parts = parts_of(report)
    entry = epoch.seal_parts(1, parts)
    payload = epoch.open(1, entry)
    leaves = [leaf_hash(opening), leaf_hash(entry)]
    edge, _ = Edge.empty().grow(leaves)
    checkpoint = sign_checkpoint(Checkpoint(TO_JPN, 2, edge.root()), signatory_of("USA").log)
    return Passage(TO_JPN, 1, entry, payload), Inclusion([leaves[0]], checkpoint.encode())


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


PARTNERS: Final = {node: partner_of(node) for node in ("USA", "JPN")}
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


# --- a hostile node in the middle


@pytest.fixture(scope="module")
def sent() -> ledger_pb2.OnwardReport:
    """What an honest JPN sends of a track, with the position coarsened and without the station."""
    report = american(track)
    copy = change(american(track), originator_station=None, source_sequence=None, marking__releasable_to=None)
    apply(copy, Obligations(position=Rounding(20_000)), "JPN")
    return passed_on(*passage_of(report), report, copy, node="JPN", partner="KOR").onward_report


def believed(onward: ledger_pb2.OnwardReport, node: str = "KOR", carrier: str = "JPN", **partners: Partner) -> None:
    verify(onward, carrier=carrier, node=node, partners=partners or PARTNERS)


def test_what_an_honest_node_sends_is_believed(sent: ledger_pb2.OnwardReport) -> None:
    believed(sent)


def disclosing(report: report_pb2.Report, *hidden: int, copy: report_pb2.Report | None = None) -> OnwardReport:
    """What JPN could make of a report of USA: everything shown but these groups."""
    passage, inclusion = passage_of(report)
    parts = passage.payload.parts
    return ledger_pb2.OnwardReport(
        report=copy or report,
        proof=ledger_pb2.OriginProof(
            origin=str(TO_JPN), index=1, entry=passage.entry, path=inclusion.path, checkpoint=inclusion.checkpoint,
            disclosed=disclose_parts(passage.payload, [n for n, part in enumerate(parts) if part.group not in hidden]),
        ),
    )  # fmt: skip


def proof_of(report: report_pb2.Report) -> ledger_pb2.OriginProof:
    return disclosing(report).proof


def forged_part(onward: OnwardReport) -> None:
    """A shown group says what the altered copy says."""
    onward.report.threat.launch_area = "Tonghae"
    for part in onward.proof.disclosed.parts:
        if part.group == ledger_pb2.PART_GROUP_THREAT:
            piece = ledger_pb2.EntryContent(report=cut(onward.report, part.group))
            part.content = piece.SerializeToString(deterministic=True)


def signed_by_jpn(onward: OnwardReport) -> None:
    """JPN forges USA's ledger: another entry, and a checkpoint by JPN's own key under its name."""
    forged = disclosing(american(track, 1, threat__launch_area="Tonghae"))
    root = Edge.empty().grow([leaf_hash(b"x"), leaf_hash(forged.proof.entry)])[0].root()
    onward.CopyFrom(forged)
    onward.proof.checkpoint = sign_checkpoint(Checkpoint(TO_JPN, 2, root), signatory_of("JPN").log).encode()
    onward.proof.path[:] = [leaf_hash(b"x")]


def hidden_identity(onward: OnwardReport) -> None:
    parts = onward.proof.disclosed.parts
    keep = [n for n, part in enumerate(parts) if not part.leaf_hash and part.group != IDENTITY]
    onward.proof.disclosed.CopyFrom(disclose_parts(onward.proof.disclosed, keep))


def stripped_of_usas_derivation(onward: OnwardReport) -> None:
    report = american(track, 1)
    report.derivations.add(node="USA", fields=["track.position.height_m"])
    onward.CopyFrom(disclosing(report))
    del onward.report.derivations[:]


def opening_of_an_epoch(onward: OnwardReport) -> None:
    _, opening = Epoch.open_new(str(TO_JPN), 0, [("JPN", partner_of("JPN").sealing)])
    root = Edge.empty().grow([leaf_hash(opening)])[0].root()
    note = sign_checkpoint(Checkpoint(TO_JPN, 1, root), signatory_of("USA").log)
    onward.proof.entry, onward.proof.index, onward.proof.checkpoint = opening, 0, note.encode()
    del onward.proof.path[:]


def bent_by_a_bit(onward: OnwardReport) -> None:
    """Zero becomes minus zero, which is equal to it."""
    report, copy = (
        american(launch_detection, 1, launch_detection__launch_point__height_m=zero) for zero in (0.0, -0.0)
    )
    onward.CopyFrom(disclosing(report, copy=copy))


def of_another_ledger(onward: OnwardReport) -> None:
    onward.proof.origin = "signalfire/v1/USA/KOR/immediate/1"


HOSTILE: Final[list[tuple[str, Callable[[OnwardReport], object], str]]] = [
    ("a value altered", lambda o: change(o.report, threat__launch_area="Tonghae"), "shows otherwise"),
    ("a value cleared", lambda o: change(o.report, threat__launch_area=None), "shows otherwise"),
    ("a value bent by a bit", bent_by_a_bit, "shows otherwise"),
    ("a hidden value given", lambda o: change(o.report, originator_station="TPY-2"), "not named as derived"),
    ("a time altered", lambda o: change(o.report, valid_time__nanos=7), "shows otherwise"),
    ("another precedence", lambda o: change(o.report, precedence=1), "shows otherwise"),
    ("another traffic class", lambda o: change(o.report, traffic_class=2), "shows otherwise"),
    ("a marking altered", lambda o: change(o.report, marking__classification=1), "shows otherwise"),
    ("another identifier", lambda o: change(o.report, report_id=report_id(77)), "shows otherwise"),
    ("another kind", lambda o: o.report.launch_detection.CopyFrom(report_pb2.LaunchDetection()), "another kind"),
    ("its derivation gone", lambda o: o.report.ClearField("derivations"), "not named as derived"),
    ("its derivation in part", lambda o: o.report.derivations[0].fields.pop(), "not named as derived"),
    ("derived by USA", lambda o: change(o.report, derivations__0__node="USA"), "changes by others"),
    ("derived twice", lambda o: o.report.derivations.add(node="JPN", fields=["event_id"]), "changes by others"),
    ("USA's derivation gone", stripped_of_usas_derivation, "shows otherwise"),
    ("more permissions", lambda o: o.report.marking.onward_release.append("AUS"), "not named as derived"),
    ("a part forged", forged_part, "proof does not hold"),
    ("a salt forged", lambda o: setattr(o.proof.disclosed.parts[0], "salt", bytes(32)), "proof does not hold"),
    ("a part left out", lambda o: o.proof.disclosed.parts.pop(), "proof does not hold"),
    ("parts exchanged", lambda o: o.proof.disclosed.parts.reverse(), "proof does not hold"),
    ("no parts", lambda o: o.proof.ClearField("disclosed"), "proof does not hold"),
    ("identity hidden", hidden_identity, "whose report it is"),
    ("no proof", lambda o: o.ClearField("proof"), "proof does not hold"),
    ("the proof of another report", lambda o: o.proof.CopyFrom(proof_of(american(track, 2))), "shows otherwise"),
    ("the proof of another kind", lambda o: o.proof.CopyFrom(proof_of(american(launch_detection))), "another kind"),
    ("another index", lambda o: change(o.proof, index=0), "proof does not hold"),
    ("an index beyond all", lambda o: change(o.proof, index=2**64 - 1), "proof does not hold"),
    ("a path cut short", lambda o: o.proof.path.pop(), "proof does not hold"),
    ("a path of junk", lambda o: o.proof.path.append(b"x"), "proof does not hold"),
    ("an entry bent", lambda o: setattr(o.proof, "entry", flipped(o.proof.entry, 90)), "proof does not hold"),
    ("an entry's commitment bent", lambda o: setattr(o.proof, "entry", flipped(o.proof.entry, 20)), "proof does not hold"),
    ("an opening of an epoch", opening_of_an_epoch, "holds no content"),
    ("no checkpoint", lambda o: o.proof.ClearField("checkpoint"), "proof does not hold"),
    ("a checkpoint that JPN signed", signed_by_jpn, "proof does not hold"),
    ("a ledger for another recipient", of_another_ledger, "another ledger"),
    ("JPN's own ledger", lambda o: change(o.proof, origin=str(TO_KOR)), "another ledger"),
    ("a ledger that is none", lambda o: change(o.proof, origin="x"), "proof does not hold"),
    ("of JPN itself", lambda o: change(o.report, originator_node="JPN"), "no report is passed on"),
    ("of KOR itself", lambda o: change(o.report, originator_node="KOR"), "no report is passed on"),
    ("of a stranger", lambda o: change(o.report, originator_node="CAN"), "originator is not known"),
]  # fmt: skip


@pytest.mark.parametrize(("tampering", "reason"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_a_hostile_node_makes_of_it_is_not_believed(
    sent: OnwardReport, tampering: Callable[[OnwardReport], object], reason: str
) -> None:
    onward = OnwardReport()
    onward.CopyFrom(sent)
    tampering(onward)
    with pytest.raises(NotBelieved, match=reason):
        believed(onward)


@pytest.mark.parametrize("named", [[], ["AUS"]])
def test_a_report_that_its_originator_did_not_allow_to_this_node_is_not_believed(named: list[str]) -> None:
    onward = disclosing(american(track, 1, marking__onward_release=named))
    with pytest.raises(NotBelieved, match="allowed it onward to this node"):
        believed(onward)


def test_a_permission_that_is_not_shown_is_none() -> None:
    report = american(track)
    copy = american(track)
    copy.derivations.add(node="JPN", fields=["marking.onward_release"])
    with pytest.raises(NotBelieved, match="allowed it onward to this node"):
        believed(disclosing(report, ONWARD, copy=copy))


def test_a_proof_for_one_carrier_does_not_serve_another(sent: OnwardReport) -> None:
    with pytest.raises(NotBelieved, match="another ledger"):
        believed(sent, carrier="AUS")


def test_a_changed_value_that_its_carrier_owns_to_is_the_carriers_word(sent: OnwardReport) -> None:
    onward = OnwardReport()
    onward.CopyFrom(sent)
    onward.report.track.position.latitude_deg = 12.5
    believed(onward)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda o: ledger_pb2.EntryContent(report=o.report), "originator_node"),
        (lambda o: ledger_pb2.EntryContent(onward_report=OnwardReport(report=o.report)), "proof does not hold"),
        (lambda o: ledger_pb2.EntryContent(onward_report=OnwardReport()), "originator_node"),
    ],
)
def test_what_is_not_believed_is_kept_answered_and_not_delivered(
    jpn: Site, kor: Site, sent: OnwardReport, content: Callable[[OnwardReport], ledger_pb2.EntryContent], reason: str
) -> None:
    put(jpn, "KOR", ledger_pb2.EntryContent(onward_report=sent), content(sent))
    received = bring(jpn, kor)
    (note,) = received.unopenable
    statement = EntryStatement.open(
        note, partner_of("KOR").gateway, kind=EntryStatementKind.UNOPENABLE, node="KOR", origin=TO_KOR
    )
    assert (statement.index, reason in statement.reason) == (2, True)
    assert told(kor) == [("report", identifier(sent.report))]
    assert_sound(kor)


def test_a_report_of_an_originator_whose_bundle_is_not_pinned_is_not_delivered(
    jpn: Site, kor: Site, sent: OnwardReport
) -> None:
    del kor.partners["USA"]
    put(jpn, "KOR", ledger_pb2.EntryContent(onward_report=sent))
    (problem,) = bring(jpn, kor).problems
    assert "no trust bundle of USA" in problem
    assert told(kor) == []


# --- holds


HOLD: Final = "    hold_s: 60\n"


def decide_what_is_due(site: Site) -> None:
    for row in site.store.held_until(site.now_ns, 100):
        site.do(DecideHeld(row))


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
    assert not plan.held_for(Subject("USA", identifier(american())))


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
    assert ("WITHHELD", WITHDRAWN) in decided(jpn)
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


def notice(report: report_pb2.Report, originator: str = "USA", **to: object) -> ledger_pb2.EntryContent:
    withdrawal = ledger_pb2.Withdrawal(
        report_id=report.report_id, traffic_class=report.traffic_class, precedence=report.precedence,
        originator_node=originator,
    )  # fmt: skip
    withdrawal.time.FromNanoseconds(NOW)
    return ledger_pb2.EntryContent(withdrawal=change(withdrawal, **to))


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


@pytest.mark.parametrize("first", ["USA", "JPN"])
def test_a_report_that_comes_by_two_ways_is_delivered_once(usa: Site, jpn: Site, kor: Site, first: str) -> None:
    report = american()
    usa.take(report, BOTH)
    bring(usa, jpn)
    for sender in sorted((usa, jpn), key=lambda site: site.node != first):
        assert bring(sender, kor).unopenable == []
        kor.restart()
    assert told(kor) == [("report", identifier(report))]
    (row,) = feed(kor)
    assert row.ledger == kor.row(Origin(first, "KOR", "flash", 1)).id
    assert_sound(kor)
    # And withdrawn once, by whichever way that comes first.
    usa.take(recall(report))
    bring(usa, jpn)
    for sender in (jpn, usa):
        bring(sender, kor)
    assert [each for each in told(kor) if each[1] == identifier(report)] == [
        ("report", identifier(report)), ("withdrawal", identifier(report)),
    ]  # fmt: skip
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
    assert (told(kor), is_withdrawn(kor, report)) == ([("report", identifier(report))], False)
    assert_sound(kor)
    usa.take(recall(report))
    bring(usa, kor)
    assert is_withdrawn(kor, report)
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
