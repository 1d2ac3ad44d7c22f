"""What a partner was sealed is held against the decision that let it go, and against the report that was accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Origin
from gateway.release import groups, moving, sharing
from gateway.release.letting_go import DAY_NS
from gateway.release.pipeline import TakeReport
from gateway.release.retention import PruneReports, reports_position
from gateway.release.succeeding import Succeed
from gateway.seal.entry import parse_header
from tests.release.aging import send
from tests.release.onward import USA_RULES, american, bring, passing
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, Site, anything, rules
from tests.reports.examples import correction, launch_detection, track

TO_KOR: Final = Origin.release("JPN", "KOR", "flash", 1)
ONLY_KOR: Final = rules(KOR=RELEASE_ALL, USA=RELEASE_NOTHING)
COARSE: Final = rules(
    KOR=RELEASE_ALL
    + "    coarsen: {position: {round_m: 5000}}\n    remark: {classification: SECRET, add_caveats: [REL-KOR]}\n",
    USA=RELEASE_NOTHING,
)
Change = Callable[[report_pb2.Report], object]


def findings(site: Site) -> list[str]:
    return [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]


def sealing(monkeypatch: pytest.MonkeyPatch, change: Change) -> None:
    """From here on the node seals something else than it decided."""

    class Dishonest:
        seal = staticmethod(groups.seal)

        @staticmethod
        def as_sealed(content: ledger_pb2.EntryContent) -> bytes | list[ledger_pb2.Part]:
            if content.HasField("report"):
                change(content.report)
            if content.HasField("onward_report"):
                change(content.onward_report.report)
            return groups.as_sealed(content)

    monkeypatch.setattr(sharing, "groups", Dishonest)
    monkeypatch.setattr(moving, "groups", Dishonest)


def other_values(report: report_pb2.Report) -> None:
    other = launch_detection(99)
    report.launch_detection.CopyFrom(other.launch_detection)
    report.launch_detection.launch_point.latitude_deg += 1


def more_fields(report: report_pb2.Report) -> None:
    report.originator_station = "KAMO-KURA/FPS-5.2"


def further_caveat(report: report_pb2.Report) -> None:
    report.marking.caveats.append("NOFORN")


def foreign_reference(report: report_pb2.Report) -> None:
    report.references.add(originator_node="JPN", report_id=launch_detection(50).report_id)


def other_kind(report: report_pb2.Report) -> None:
    report.track.CopyFrom(track(1).track)


def a_derivation(report: report_pb2.Report) -> None:
    report.derivations.add(node="JPN", fields=["event_id"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (other_values, "its launch_detection.launch_point.latitude_deg are not those of the report that was accepted"),
        (more_fields, "it holds originator_station, which the decision does not name"),
        (further_caveat, "its marking.caveats are not those"),
        (foreign_reference, "it holds references.originator_node, references.report_id, which the decision"),
        (other_kind, "it is no LaunchDetection"),
        (a_derivation, "its derivations do not name what the decision says was changed"),
    ],
    ids=lambda each: each.__name__ if callable(each) else "",
)
def test_a_copy_that_is_not_what_its_decision_let_go_is_named(
    jpn: Site, monkeypatch: pytest.MonkeyPatch, change: Change, what: str
) -> None:
    jpn.take(launch_detection(1), ONLY_KOR)
    sealing(monkeypatch, change)
    jpn.take(launch_detection(2))
    (found,) = findings(jpn)
    assert "entry 2 holds" in found
    assert what in found


def drop_derivation(report: report_pb2.Report) -> None:
    del report.derivations[:]


def restore_height(report: report_pb2.Report) -> None:
    report.CopyFrom(launch_detection(2))


@pytest.mark.parametrize("change", [drop_derivation, restore_height])
def test_a_copy_without_what_obligations_did_is_named(
    jpn: Site, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    jpn.take(launch_detection(1), COARSE)
    assert findings(jpn) == []
    sealing(monkeypatch, change)
    jpn.take(launch_detection(2))
    assert any("otherwise than its decision says" in found for found in findings(jpn))


def test_a_recall_that_names_what_the_report_does_not_is_named(jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    jpn.take(launch_detection(1), ONLY_KOR)
    jpn.take(launch_detection(2))
    sealing(monkeypatch, lambda report: report.cancellation.report_ids.append(launch_detection(2).report_id))
    jpn.take(cancelling(launch_detection(1)))
    assert any("its cancellation.report_ids are not those" in found for found in findings(jpn))


def test_recalls_that_were_narrowed_are_sound(jpn: Site) -> None:
    jpn.take(launch_detection(1), rules(KOR=RELEASE_NOTHING, USA=RELEASE_ALL))
    jpn.take(launch_detection(2), ONLY_KOR)
    both = correction(3)
    both.correction.report_ids[:] = [launch_detection(1).report_id, launch_detection(2).report_id]
    jpn.take(both)
    (sent,) = [report for report in jpn.reports("KOR") if report.HasField("correction")]
    assert list(sent.correction.report_ids) == [launch_detection(2).report_id]
    assert findings(jpn) == []


def test_the_commitment_of_the_entry_stands_in_the_decision(jpn: Site) -> None:
    jpn.take(launch_detection(1), ONLY_KOR)
    (record,) = jpn.decisions()
    kor, usa = record.decisions
    entry = jpn.store.entry(jpn.row(TO_KOR).id, kor.index)
    assert entry is not None
    assert kor.entry_commitment == parse_header(entry).commitment
    assert usa.entry_commitment == b""


def record_otherwise(monkeypatch: pytest.MonkeyPatch, commitment: bytes) -> None:
    """From here on decisions name that commitment."""
    real = sharing.record_decisions

    def record(plan, shared, submitted_by, digest, decisions, *, accepting=False):  # type: ignore[no-untyped-def]
        for decision in decisions:
            if decision.outcome == ledger_pb2.OUTCOME_RELEASED:
                decision.entry_commitment = commitment
        return real(plan, shared, submitted_by, digest, decisions, accepting=accepting)

    monkeypatch.setattr("gateway.release.pipeline.record_decisions", record)


def test_an_entry_of_another_commitment_than_its_decision_names_is_named(
    jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_otherwise(monkeypatch, b"\1" * 32)
    jpn.take(launch_detection(1), ONLY_KOR)
    (found,) = findings(jpn)
    assert "entry 1 is not the entry that the decision on" in found


def test_a_decision_of_before_commitments_were_kept_is_accepted(jpn: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    record_otherwise(monkeypatch, b"")
    jpn.take(launch_detection(1), ONLY_KOR)
    assert findings(jpn) == []


def test_a_decision_without_commitment_is_named_once_one_before_it_has_one(
    jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpn.take(launch_detection(1), ONLY_KOR)
    record_otherwise(monkeypatch, b"")
    jpn.take(launch_detection(2), ONLY_KOR)
    (found,) = findings(jpn)
    assert f"the decision on {launch_detection(2).report_id} does not name its commitment" in found


def test_a_copy_that_was_sealed_again_is_held_against_the_same_decision(
    jpn: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    jpn.do_all(*(TakeReport.of(launch_detection(seed), "c2", anything) for seed in (1, 2)), rulebook=COARSE)
    jpn.do(Succeed(TO_KOR, ledger_pb2.SUCCESSION_REASON_RESTORE, b""))
    jpn.do(Succeed(TO_KOR.successor(), ledger_pb2.SUCCESSION_REASON_RESTORE, b""))
    assert findings(jpn) == []
    sealing(monkeypatch, more_fields)
    third = TO_KOR.successor().successor()
    jpn.do(Succeed(third, ledger_pb2.SUCCESSION_REASON_RESTORE, b""))
    found = findings(jpn)
    assert len(found) == 2
    assert all(str(third.successor()) in each and "it holds originator_station" in each for each in found)


def test_of_a_report_that_was_pruned_the_fields_of_the_copy_are_still_checked(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    jpn, kor = make_site("JPN"), make_site("KOR")
    jpn.take(launch_detection(1), COARSE)
    sealing(monkeypatch, more_fields)
    jpn.take(launch_detection(2))
    send(jpn, kor)
    # The reports go, and the entries stay.
    jpn.do(PruneReports(reports_position(jpn.store), jpn.now_ns + DAY_NS))
    assert [row.pruned_ns is not None for row in jpn.store.each_report()] == [True, True]
    (found,) = findings(jpn)
    assert "it holds originator_station" in found


def test_a_report_that_was_passed_on_otherwise_than_decided_is_named(
    make_site: Callable[..., Site], monkeypatch: pytest.MonkeyPatch
) -> None:
    usa, jpn = make_site("USA"), make_site("JPN")
    jpn.rulebook = passing("    coarsen: {time_s: 10}\n")
    usa.take(american(), USA_RULES)
    bring(usa, jpn)
    assert findings(jpn) == []
    usa.take(american(launch_detection, 2))
    sealing(monkeypatch, lambda report: report.ClearField("event_id"))
    send(usa, jpn)
    found = findings(jpn)
    assert any("its event_id are not those" in each for each in found), found
