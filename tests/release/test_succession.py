"""Nothing that was accepted is lost when a ledger ends: what has no receipt goes on in its successor."""

from __future__ import annotations

import shutil
from pathlib import Path

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.cosignature import cosign
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, ReleasedRow
from gateway.release.steps import FollowSuccessor, KeepCosignature
from gateway.release.succeeding import Succeed
from tests.release.world import RELEASE_ALL, MakeSite, Site, identifier, partner_of, rules, signatory_of
from tests.reports.examples import NOW, SECOND, cancellation, launch_detection

ORIGIN = Origin("JPN", "KOR", "flash", 1)
RULES = rules(KOR=RELEASE_ALL)
LOST = ledger_pb2.SUCCESSION_REASON_LOST_TAIL


def held(site: Site, origin: Origin) -> list[str]:
    """What a ledger holds: `+` and `-` and the identifier of each report and withdrawal."""
    return [
        f"+{content.report.report_id}" if content.HasField("report") else f"-{content.withdrawal.report_id}"
        for content in site.contents(origin).values()
        if content.WhichOneof("content") in ("report", "withdrawal")
    ]


def acknowledge(site: Site, size: int) -> None:
    """KOR gives its receipt for a size."""
    raw = site.store.checkpoint(site.row(ORIGIN).id, size)
    assert raw is not None
    text = Note.parse(raw).text
    note = Note(text, (cosign(text, signatory_of("KOR").receipt, NOW // SECOND),)).encode()
    site.do(KeepCosignature(ORIGIN, CosignatureKind.RECEIPT, note, partner_of("KOR")))


def assert_sound(site: Site) -> None:
    assert verify_store(site.store, site.signatory, site.partners).findings == []


def test_a_report_accepted_between_a_restore_and_the_partners_call_is_delivered(
    jpn: Site, kor: Site, make_site: MakeSite, tmp_path: Path
) -> None:
    jpn.take(launch_detection(1), RULES)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    jpn.store.close()
    shutil.copy(jpn.path, tmp_path / "copy.sqlite")
    jpn.restart()
    jpn.take(launch_detection(2), RULES)
    kor.do(kor.receive(jpn.incoming(ORIGIN, 2)))

    restored = make_site("JPN", "copy")
    restored.take(launch_detection(3), RULES)
    successor = restored.do(Succeed(ORIGIN, ledger_pb2.SUCCESSION_REASON_FORK, b"evidence"))
    kor.do(FollowSuccessor(ORIGIN, successor))
    kor.do(kor.receive(restored.incoming(successor)))
    for seed in (1, 2, 3):
        found = kor.store.received("JPN", identifier(launch_detection(seed)))
        assert found is not None, seed
        assert found.feed is not None
    assert kor.store.counts().feed == 3, "what KOR had before is delivered once"
    assert_sound(restored)
    assert_sound(kor)


def test_reports_and_withdrawals_above_the_last_receipt_go_on_in_their_order(jpn: Site) -> None:
    one, two = launch_detection(1), launch_detection(2)
    jpn.take(one, RULES)
    acknowledge(jpn, 2)
    jpn.take(two, RULES)
    recall = cancellation(9, cancellation__report_ids=[one.report_id])
    recall.precedence = report_pb2.PRECEDENCE_FLASH
    jpn.take(recall, RULES)
    old = held(jpn, ORIGIN)
    assert old[0] == f"+{one.report_id}"
    successor = jpn.do(Succeed(ORIGIN, LOST, b""))
    assert held(jpn, successor) == old[1:]
    (row,) = jpn.store.released(identifier(two))
    assert row.ledger == jpn.row(successor).id
    content = jpn.contents(successor)[row.index]
    assert content.report.report_id == two.report_id
    assert_sound(jpn)


def test_what_stands_in_the_same_commit_before_the_succession_goes_on_too(jpn: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    acknowledge(jpn, 2)
    report = launch_detection(2)
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "flash")
    index = writer.append(ledger_pb2.EntryContent(report=report).SerializeToString())
    plan.releases.record(ReleasedRow(identifier(report), "KOR", writer.head.id, index, 1, 4))
    successor = Succeed(ORIGIN, LOST, b"").apply(plan)
    jpn.keep(plan)
    assert held(jpn, successor) == [f"+{report.report_id}"]
    (row,) = jpn.store.released(identifier(report))
    assert row.ledger == jpn.row(successor).id


def test_what_a_store_from_before_a_succession_accepted_goes_on_after_the_generation_that_it_did_not_know(
    jpn: Site,
) -> None:
    jpn.take(launch_detection(1), RULES)
    successor = jpn.do(Succeed(ORIGIN.successor(), LOST, b""))
    assert successor.generation == 3
    assert held(jpn, successor) == [f"+{launch_detection(1).report_id}"]
    assert_sound(jpn)


def test_a_ledger_of_which_all_is_confirmed_hands_nothing_on_and_one_may_be_succeeded_twice(jpn: Site) -> None:
    jpn.take(launch_detection(1), RULES)
    acknowledge(jpn, 2)
    second = jpn.do(Succeed(ORIGIN, LOST, b""))
    assert held(jpn, second) == []
    jpn.take(launch_detection(2), RULES)
    third = jpn.do(Succeed(second, LOST, b""))
    fourth = jpn.do(Succeed(third, LOST, b""))
    assert held(jpn, third) == held(jpn, fourth) == [f"+{launch_detection(2).report_id}"]
    assert_sound(jpn)
