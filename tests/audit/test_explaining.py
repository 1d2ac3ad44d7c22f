"""What is on record about one report, gathered from a store: also of another node's report that was passed on."""

from __future__ import annotations

import uuid
from pathlib import Path

from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.audit.desk import Desk
from gateway.audit.explaining import Question, explain
from gateway.audit.search import DecisionSearch
from gateway.cli.audit_prose import explanation
from tests.release.onward import USA_RULES, american, bring, passing, recall
from tests.release.world import Site


def asked(site: Site, report_id: str, originator: str, partner: str = "") -> officer_pb2.ExplainDecisionResponse | None:
    desk = Desk(site.store, site.opener, site.signatory, DecisionSearch(site.store, site.opener, site.signatory))
    return explain(desk, Question(uuid.UUID(report_id), originator, partner))


async def test_a_report_that_was_passed_on_is_explained_with_what_was_changed_and_when_it_ended(tmp_path: Path) -> None:
    usa, jpn, kor = sites = [Site(node, tmp_path / f"{node}.sqlite") for node in ("USA", "JPN", "KOR")]
    jpn.rulebook = passing("    coarsen: {position: {grid_m: 10000}}\n")
    report = american()
    usa.take(report, USA_RULES)
    bring(usa, jpn)
    told = asked(jpn, report.report_id, "USA", "KOR")
    assert told is not None
    assert told.report.originator_node == "USA"
    (view,) = told.partners
    assert (view.partner, view.ledger) == ("KOR", "signalfire/v1/JPN/KOR/flash/1")
    assert view.copy.report_id == report.report_id
    point = told.report.launch_detection.launch_point
    assert view.copy.launch_detection.launch_point.latitude_deg != point.latitude_deg
    assert not view.HasField("receipt_time")
    said = list(explanation(told))
    assert said[0] == f"LaunchDetection {report.report_id} of USA"
    assert "KOR: released; no receipt of it has come yet" in said
    (changed,) = [line for line in said if "changed: launch_detection.launch_point.latitude_deg" in line]
    assert f"{point.latitude_deg} went as " in changed
    # It is Japan's decision: the United States have none about it for Korea of that kind.
    own = asked(usa, report.report_id, "", "JPN")
    assert own is not None
    assert [each.partner for each in own.records[0].decision_record.decisions] == ["JPN"]
    usa.take(recall(report))
    bring(usa, jpn)
    bring(jpn, kor)
    ended = asked(jpn, report.report_id, "USA")
    assert ended is not None
    assert ended.HasField("withdrawn_time")
    (view,) = [each for each in ended.partners if each.partner == "KOR"]
    assert view.HasField("withdrawn_time")
    outcomes = [each.outcome for entry in ended.records for each in entry.decision_record.decisions]
    assert ledger_pb2.OUTCOME_RELEASED in outcomes
    for site in sites:
        site.close()


async def test_what_is_not_on_record_is_not_explained(tmp_path: Path) -> None:
    usa = Site("USA", tmp_path / "USA.sqlite")
    report = american()
    usa.take(report, USA_RULES)
    assert asked(usa, report.report_id, "JPN") is None
    assert asked(usa, str(uuid.uuid4()), "") is None
    usa.close()
