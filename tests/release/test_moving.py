"""A ledger that ends with a long backlog hands it on in bounded commits, and nothing of it is lost or doubled."""

from __future__ import annotations

from typing import Final

import pytest
from signalfire.v1 import ledger_pb2, report_pb2

from gateway.audit.verify import verify_store
from gateway.ledger.origin import Origin
from gateway.ledger.stores import FeedFilter, FeedItem, FeedRow
from gateway.release.keeping import KeepBack
from gateway.release.moving import MOVED_A_COMMIT, MOVING, MoveOn, remaining
from gateway.release.pipeline import TakeReport
from gateway.release.sharing import LANES
from gateway.release.steps import FollowSuccessor
from gateway.release.succeeding import Succeed
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, Site, anything, identifier, rules
from tests.reports.examples import track

C2: Final = "spiffe://jpn/c2/radar"
LANE: Final = LANES[track(1).precedence].value
FIRST, SECOND, THIRD = (Origin("JPN", "KOR", LANE, generation) for generation in (1, 2, 3))
RULES: Final = rules(KOR=RELEASE_ALL)
MANY: Final = 2 * MOVED_A_COMMIT + 70
FORK: Final = ledger_pb2.SUCCESSION_REASON_FORK


@pytest.fixture
def backlog(jpn: Site) -> list[report_pb2.Report]:
    """Tracks for KOR, of which none has a receipt."""
    jpn.rulebook = RULES
    made = [track(seed) for seed in range(1, MANY + 1)]
    for start in range(0, MANY, 300):
        jpn.do_all(*(TakeReport.of(each, C2, anything) for each in made[start : start + 300]))
    return made


def held(site: Site, origin: Origin) -> list[str]:
    contents = site.contents(origin).values()
    return [content.report.report_id for content in contents if content.HasField("report")]


def given(site: Site) -> list[FeedRow]:
    """What its subscribers are given."""
    found: list[FeedRow] = []
    searched = 0
    while searched < site.store.last_feed():
        rows, searched = site.store.feed(searched, 9_999, FeedFilter(frozenset({1, 2, 3})))
        found += rows
    return found


def sound(site: Site) -> None:
    assert [str(each) for each in verify_store(site.store, site.signatory, site.partners).findings] == []


def finish(site: Site) -> int:
    """Hands on all that remains; in how many commits."""
    commits = 0
    while rest := remaining(site.store.meta(MOVING)):
        assert sum(site.do(MoveOn(source)) for source in dict.fromkeys(each.source for each in rest)) > 0
        commits += 1
    return commits


def test_what_is_new_goes_before_the_rest_of_a_long_backlog_which_follows_in_its_order(
    jpn: Site, kor: Site, backlog: list[report_pb2.Report]
) -> None:
    jpn.do(Succeed(FIRST, FORK, b"evidence"))
    assert held(jpn, SECOND) == [each.report_id for each in backlog[:MOVED_A_COMMIT]]
    sound(jpn)
    new = track(99_999)
    jpn.take(new)
    jpn.restart()
    assert finish(jpn) == 2
    in_order = [each.report_id for each in backlog]
    assert held(jpn, SECOND) == [*in_order[:MOVED_A_COMMIT], new.report_id, *in_order[MOVED_A_COMMIT:]]
    (release,) = jpn.store.released(identifier(backlog[-1]))
    assert release.ledger == jpn.row(SECOND).id
    assert jpn.do(MoveOn(FIRST)) == 0
    sound(jpn)
    kor.do(FollowSuccessor(FIRST, SECOND))
    while (at := 0 if (row := kor.store.ledger(SECOND)) is None else row.size) < jpn.row(SECOND).size:
        kor.do(kor.receive(jpn.incoming(SECOND, at, 1 << 20)))
    assert sorted(row.report_id for row in given(kor)) == sorted(map(identifier, [*backlog, new]))


def test_a_report_that_is_recalled_before_it_is_handed_on_arrives_withdrawn(
    jpn: Site, kor: Site, backlog: list[report_pb2.Report]
) -> None:
    jpn.do(Succeed(FIRST, FORK, b"evidence"))
    jpn.take(cancelling(backlog[-1], seed=70_000))
    kor.do(kor.receive(jpn.incoming(Origin("JPN", "KOR", "flash", 1))))
    finish(jpn)
    kor.do(FollowSuccessor(FIRST, SECOND))
    kor.do(kor.receive(jpn.incoming(SECOND)))
    known = kor.store.received("JPN", identifier(backlog[-1]))
    assert known is not None
    assert known.withdrawn_ns is not None
    assert len([row for row in given(kor) if row.item is FeedItem.WITHDRAWAL]) == 1
    sound(jpn)


def test_a_successor_that_ends_before_all_was_handed_on_hands_on_both(
    jpn: Site, backlog: list[report_pb2.Report]
) -> None:
    jpn.do(Succeed(FIRST, FORK, b"evidence"))
    jpn.do(MoveOn(FIRST))
    jpn.do(Succeed(SECOND, FORK, b"evidence"))
    finish(jpn)
    assert sorted(held(jpn, THIRD)) == sorted(each.report_id for each in backlog)
    sound(jpn)


def test_what_is_kept_back_because_the_ledger_has_ended_is_handed_on_all_the_same(
    jpn: Site, backlog: list[report_pb2.Report]
) -> None:
    jpn.do(Succeed(FIRST, FORK, b"evidence"))
    # A partner that still asks for the ledger that ended is given hashes from here on.
    position = 0
    while position < jpn.row(FIRST).size:
        run = jpn.run(FIRST, position, 1 << 20)
        while jpn.do(KeepBack(FIRST, run)):
            pass
        position += run.count
    finish(jpn)
    assert held(jpn, SECOND) == [each.report_id for each in backlog]
    sound(jpn)


def test_while_the_keys_of_the_partner_are_not_known_it_waits(jpn: Site, backlog: list[report_pb2.Report]) -> None:
    jpn.do(Succeed(FIRST, FORK, b"evidence"))
    keys = jpn.partners.pop("KOR")
    assert jpn.do(MoveOn(FIRST)) == 0
    jpn.partners["KOR"] = keys
    finish(jpn)
    assert held(jpn, SECOND) == [each.report_id for each in backlog]
