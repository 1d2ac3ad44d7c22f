"""Of a report that was passed on a node believes nothing that its originator and its carrier do not both show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.cosignature import cosign
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.ledger.tiles import Edge
from gateway.release.groups import IDENTITY, ONWARD, cut
from gateway.release.onward import NotBelieved, passed_on, verify
from gateway.release.signatory import Partner
from gateway.seal.commitment import disclose_parts
from gateway.seal.epoch import Epoch
from policy.obligations import Obligations, Rounding, apply
from tests.audit.nations import rotated
from tests.release.onward import (
    PARTNERS,
    TO_JPN,
    TO_KOR,
    USA_RULES,
    OnwardReport,
    american,
    assert_sound,
    bring,
    disclosing,
    feed,
    onward_in,
    passage_of,
    passing,
    put,
    told,
)
from tests.release.world import MakeSite, Site, identifier, partner_of, signatory_of
from tests.reports.examples import (
    NOW,
    SECOND,
    change,
    launch_detection,
    report_id,
    track,
)
from tests.seal.parties import flipped

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


def bent_at(bit: int) -> Callable[[OnwardReport], None]:
    def bend(onward: OnwardReport) -> None:
        onward.proof.entry = flipped(onward.proof.entry, bit)

    return bend


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
    ("another index", lambda o: setattr(o.proof, "index", 0), "proof does not hold"),
    ("an index beyond all", lambda o: setattr(o.proof, "index", 2**64 - 1), "proof does not hold"),
    ("a path cut short", lambda o: o.proof.path.pop(), "proof does not hold"),
    ("a path of junk", lambda o: o.proof.path.append(b"x"), "proof does not hold"),
    ("an entry bent", bent_at(8 * 100), "proof does not hold"),
    ("an entry's commitment bent", bent_at(8 * 12), "proof does not hold"),
    ("an opening of an epoch", opening_of_an_epoch, "holds no content"),
    ("no checkpoint", lambda o: o.proof.ClearField("checkpoint"), "proof does not hold"),
    ("a checkpoint that JPN signed", signed_by_jpn, "proof does not hold"),
    ("a ledger for another recipient", of_another_ledger, "another ledger"),
    ("JPN's own ledger", lambda o: setattr(o.proof, "origin", str(TO_KOR)), "another ledger"),
    ("a ledger that is none", lambda o: setattr(o.proof, "origin", "x"), "proof does not hold"),
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


# --- keys that are out of use


@pytest.mark.parametrize("until", [NOW // SECOND - 86_400, NOW // SECOND, NOW // SECOND + 400 * 86_400])
def test_the_carrier_is_not_believed_with_a_retired_key_of_the_originator(make_site: MakeSite, until: int) -> None:
    # JPN has USA's retired log key, writes a ledger of USA with it, and dates its own receipt as it likes.
    usa, jpn, kor = make_site("USA"), make_site("JPN"), make_site("KOR")
    jpn.rulebook = passing()
    usa.take(american(), USA_RULES)
    bring(usa, jpn)
    (onward,) = onward_in(jpn)
    note = Note.parse(onward.proof.checkpoint)
    line = cosign(note.text, signatory_of("JPN").receipt, until - 5)
    onward.proof.checkpoint = note.with_signatures(line).encode()
    believed(onward)
    kor.partners = {**kor.partners, "USA": replace(partner_of("USA"), **rotated("USA", until))}
    with pytest.raises(NotBelieved, match="its proof does not hold") as raised:
        believed(onward, USA=kor.partners["USA"], JPN=partner_of("JPN"))
    assert "signed by no known key" in raised.value.detail
    put(jpn, "KOR", ledger_pb2.EntryContent(onward_report=onward))
    assert len(bring(jpn, kor).unopenable) == 2
    assert feed(kor) == []
