"""What is on record about one report, gathered from a store: also of another node's report that was passed on."""

from __future__ import annotations

import uuid
from pathlib import Path

from signalfire.v1 import ledger_pb2, officer_pb2

from gateway.audit.desk import Desk
from gateway.audit.explaining import Question, explain
from gateway.audit.search import DecisionSearch
from gateway.cli.audit_prose import _verdict, explanation
from gateway.ledger.origin import Origin
from gateway.ledger.stores.sqlite import SqliteStore
from gateway.release.orders import PinRoster
from gateway.release.retention import PRUNED
from gateway.release.rulebook import Rulebook
from gateway.release.succeeding import Succeed
from policy import digest_of
from policy.approve import Activate, State
from tests.officer.test_orders import CONTENT, put
from tests.policy.officers import roster
from tests.release.aging import prune, send
from tests.release.onward import USA_RULES, american, bring, passing, recall
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import SECOND, launch_detection


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


async def test_of_what_was_passed_on_and_withdrawn_it_is_said_that_it_went_and_was_called_back(tmp_path: Path) -> None:
    usa, jpn, kor = sites = [Site(node, tmp_path / f"{node}.sqlite") for node in ("USA", "JPN", "KOR")]
    jpn.rulebook = passing("    coarsen: {position: {grid_m: 10000}}\n")
    report = american()
    usa.take(report, USA_RULES)
    send(usa, jpn)
    send(jpn, kor)
    usa.take(recall(report))
    send(usa, jpn)
    send(jpn, kor)
    told = asked(jpn, report.report_id, "USA", "KOR")
    assert told is not None
    said = "\n".join(explanation(told))
    assert said.startswith("LaunchDetection ")
    assert "KOR: given, and told at " in said
    assert "that it no longer stands: its originator withdrew it" in said
    assert "withheld" not in said
    assert "before it could go" not in said
    fields = [path for entry in told.records for each in entry.decision_record.decisions for path in each.fields]
    assert fields
    assert prune(jpn) != (0, 0)
    gone = asked(jpn, report.report_id, "USA", "KOR")
    assert gone is not None
    assert not gone.HasField("report")
    assert gone.report_missing == gone.partners[0].copy_missing == PRUNED
    after = "\n".join(explanation(gone))
    assert f"the copy is not there: {PRUNED}" in after
    assert "went: nothing" not in after
    assert fields[0] in after
    for site in sites:
        site.close()


def test_who_could_not_use_an_entry_was_sent_it_and_not_given_it() -> None:
    view = officer_pb2.PartnerView(partner="KOR", ledger="signalfire/v1/JPN/KOR/flash/1", unopenable="no key for it")
    view.receipt_time.FromSeconds(1_800_000_000)
    last = ledger_pb2.Decision(partner="KOR", outcome=ledger_pb2.OUTCOME_RELEASED, rule="all")
    assert _verdict(view, last) == "sent, and it could not use it"


def test_an_own_report_that_does_not_open_is_explained_without_it(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "JPN.sqlite")
    report = launch_detection(1)
    site.take(report, rules(KOR=RELEASE_ALL))
    assert isinstance(site.store, SqliteStore)
    site.store._db.execute("UPDATE report SET payload = zeroblob(100)")
    told = asked(site, report.report_id, "")
    assert told is not None
    assert told.report_missing.startswith("it does not open: ")
    assert told.partners[0].HasField("copy")
    site.close()


def test_an_order_counts_from_its_place_in_the_record_whatever_the_clock_said(tmp_path: Path) -> None:
    site = Site("JPN", tmp_path / "JPN.sqlite")
    site.rulebook = Rulebook.none(("KOR", "USA"))
    site.do(PinRoster(roster()))
    first = report_of(site, 1)
    # The order is put in force while the clock is an hour ahead; then that is put right.
    site.now_ns += 3600 * SECOND
    put(site, State.genesis(roster()), Activate(digest_of(CONTENT)), "alice", "bob", bundle=CONTENT)
    site.now_ns -= 3600 * SECOND
    second = report_of(site, 2)
    told = asked(site, second, "")
    assert told is not None
    assert [policy.order_sequence for policy in told.policies] == [1]
    before = asked(site, first, "")
    assert before is not None
    assert [policy.order_sequence for policy in before.policies] == [0]
    # An entry of a later generation comes after it too, whatever its index.
    site.do(Succeed(Origin.decisions("JPN", 1), ledger_pb2.SUCCESSION_REASON_RESTORE, b"evidence"))
    later = asked(site, report_of(site, 3), "")
    assert later is not None
    assert [policy.order_sequence for policy in later.policies] == [1]
    site.close()


def report_of(site: Site, seed: int) -> str:
    """A report that the site takes now, by the rules in force. Its identifier."""
    report = launch_detection(seed)
    site.take(report)
    return report.report_id


async def test_what_is_not_on_record_is_not_explained(tmp_path: Path) -> None:
    usa = Site("USA", tmp_path / "USA.sqlite")
    report = american()
    usa.take(report, USA_RULES)
    assert asked(usa, report.report_id, "JPN") is None
    assert asked(usa, str(uuid.uuid4()), "") is None
    usa.close()
