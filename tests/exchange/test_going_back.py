"""A generation that its owner does not know any more: the one before is followed again."""

from __future__ import annotations

from pathlib import Path

import grpc
from signalfire.v1 import exchange_pb2, ledger_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Lane, Origin
from gateway.release.steps import FollowSuccessor, GoBack
from gateway.release.succeeding import Succeed
from tests.exchange.dialler import signatory
from tests.exchange.origin import Follower, Forge, HostileOrigin
from tests.node.nations import report, running, settle
from tests.node.waiting import until
from tests.release.world import RELEASE_ALL, Site, rules
from tests.reports.examples import launch_detection

ORIGIN = Origin.release("JPN", "KOR", Lane.FLASH, 1)
RULES = rules(KOR=RELEASE_ALL)


def _with_one_report(tmp_path: Path) -> tuple[Site, Site]:
    jpn, kor = (Site(node, tmp_path / f"{node}.db", ("JPN", "KOR")) for node in ("JPN", "KOR"))
    jpn.take(launch_detection(1), RULES)
    kor.do(kor.receive(jpn.incoming(ORIGIN)))
    return jpn, kor


def test_a_replica_goes_on_where_nothing_of_its_successor_ever_came(tmp_path: Path) -> None:
    jpn, kor = _with_one_report(tmp_path)
    size = kor.row(ORIGIN).size
    kor.do(FollowSuccessor(ORIGIN, ORIGIN.successor()))
    assert kor.do(GoBack(ORIGIN.successor())) == ORIGIN
    kor.restart()
    assert kor.heads.current("JPN", "KOR", "flash") == ORIGIN
    assert kor.row(ORIGIN).successor is None
    jpn.take(launch_detection(2), RULES)
    kor.do(kor.receive(jpn.incoming(ORIGIN, size)))
    assert kor.store.counts().feed == 2
    assert verify_store(kor.store, kor.signatory, kor.partners).findings == []
    jpn.close()
    kor.close()


def test_there_is_no_way_back_from_the_first_generation_or_from_one_of_which_something_came(tmp_path: Path) -> None:
    jpn, kor = _with_one_report(tmp_path)
    assert kor.do(GoBack(ORIGIN)) is None
    successor = jpn.do(Succeed(ORIGIN, ledger_pb2.SUCCESSION_REASON_LOST_TAIL, b""))
    kor.do(FollowSuccessor(ORIGIN, successor))
    kor.do(kor.receive(jpn.incoming(successor)))
    assert kor.do(GoBack(successor)) is None
    assert kor.do(GoBack(ORIGIN)) is None
    assert kor.heads.current("JPN", "KOR", "flash") == successor
    jpn.close()
    kor.close()


async def test_a_gateway_whose_partner_was_restored_twice_is_not_left_waiting(tmp_path: Path) -> None:
    places = settle(tmp_path, "JPN", "KOR")
    hostile = HostileOrigin(places["JPN"], "KOR")
    forge = Forge(signatory(places["JPN"]), signatory(places["KOR"]))
    first, second = report(), report()
    batch = forge.reports(first)
    asked: list[str] = []

    async def restored_twice(follower: Follower) -> None:
        asked.append(follower.open.origin)
        if follower.open.origin == str(ORIGIN.successor()):
            await follower.context.abort(grpc.StatusCode.FAILED_PRECONDITION, f"{ORIGIN.successor()} is not open")
        await follower.opened()
        if asked.count(str(ORIGIN)) == 1:
            await follower.send(batch=batch)
            await follower.read()
            await follower.send(ended=exchange_pb2.Ended(successor=str(ORIGIN.successor())))
        elif follower.open.size == batch.count:
            await follower.send(batch=forge.reports(second))
        await follower.rest()

    hostile.lanes["flash"] = restored_twice
    async with hostile.serving(), running(places, "KOR", linked=False) as world:
        await world.inboxes["KOR"].report(first.report_id)
        await world.inboxes["KOR"].report(second.report_id)
        await until(lambda: asked[:3] == [str(ORIGIN), str(ORIGIN.successor()), str(ORIGIN)], f"it goes back: {asked}")
