"""One history of two nations, Japan and Korea, and a third beside them, with everything that a store can hold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.audit.verify import verify_store
from gateway.exchange.keeping_back import without
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.origin import Origin
from gateway.ledger.statement import EntryStatement, EntryStatementKind
from gateway.release.keeping import KeepBack
from gateway.release.orders import PinRoster
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import (
    FollowSuccessor,
    KeepCosignature,
    KeepUnopenable,
    RecordEvent,
    SignPostQuantum,
)
from gateway.release.succeeding import Succeed
from gateway.release.witness import Beat
from policy import digest_of
from policy.approve import Activate, Resume, State, Suspend
from tests.officer.test_orders import put
from tests.policy.officers import files, roster
from tests.release.aging import PQ, confirm, prune, send
from tests.release.key_rings import SIGNING, believed, switch
from tests.release.onward import USA_RULES, american, passing, recall
from tests.release.test_keeping import govern
from tests.release.test_pending import HELD
from tests.release.test_pipeline import cancelling
from tests.release.world import RELEASE_ALL, RELEASE_NOTHING, Site, as_sent, partner_of, rules, signatory_of
from tests.reports.examples import all_clear, cancellation, launch_detection, track

TO_KOR: Final = Origin("JPN", "KOR", "flash", 1)
TO_JPN: Final = Origin("KOR", "JPN", "flash", 1)
ALL: Final = rules(KOR=RELEASE_ALL, USA=RELEASE_ALL)
KOREAN: Final = rules("KOR", JPN=RELEASE_ALL)
COVERS: Final = 260
"""Entries without content: enough for a full tile, and the one above it."""


@dataclass(frozen=True, slots=True)
class History:
    """Where the stores of the two nations lie."""

    stores: dict[str, Path]
    signatories: dict[str, Signatory]
    partners: dict[str, dict[str, Partner]]
    """What each of them believes of the others."""


def korean(seed: int, **changes: object):  # type: ignore[no-untyped-def]  # a report of the examples
    """A launch detection of Korea."""
    return launch_detection(
        seed, originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"], **changes
    )


def build(folder: Path) -> History:
    """Makes the history. Both stores are sound."""
    usa, jpn, kor = (Site(node, folder / f"{node}.sqlite") for node in ("USA", "JPN", "KOR"))
    _begin(jpn, kor)
    _share(jpn, kor)
    _pass_on(usa, jpn, kor)
    for site in (jpn, kor):
        site.now_ns += 1_000_000_000
    prune(jpn, jpn.now_ns - 1)
    prune(kor, kor.now_ns - 1)
    _answer(jpn, kor)
    _suspend(jpn, kor)
    _end(jpn, kor)
    _switch(jpn, kor)
    for site in (jpn, kor):
        for row in site.store.ledgers():
            if not row.replica and row.size:
                site.do(SignPostQuantum(row.origin))
        found = [str(finding) for finding in verify_store(site.store, site.signatory, site.partners).findings]
        assert found == [], found
    for site in (usa, jpn, kor):
        site.close()
    return History(
        {site.node: site.path for site in (jpn, kor)},
        {site.node: site.signatory for site in (jpn, kor)},
        {site.node: site.partners for site in (jpn, kor)},
    )


def _begin(jpn: Site, kor: Site) -> None:
    """Starts, a roster, orders; beats of the witness ledger."""
    for site in (jpn, kor):
        site.do(RecordEvent("started", "a test", meta=(("heartbeat", (7).to_bytes(8)), ("runs", b"\1" * 16))))
    bundle = files()
    jpn.do(PinRoster(roster()))
    state = put(jpn, State.genesis(roster()), Activate(digest_of(bundle)), "alice", "bob", bundle=bundle)
    state = put(jpn, state, Suspend("KOR", "Leak"), "carol")
    put(jpn, state, Resume("KOR"), "alice", "bob")
    for site in (jpn, kor):
        site.do(Beat(frozenset(site.partners)))


def _share(jpn: Site, kor: Site) -> None:
    """Reports that are released, withheld and withdrawn, both ways, and confirmed."""
    jpn.take(launch_detection(1), ALL)
    jpn.take(launch_detection(2))
    jpn.take(track(3))
    jpn.take(launch_detection(4), rules(KOR=RELEASE_ALL, USA=RELEASE_NOTHING))
    jpn.take(cancelling(launch_detection(1)))
    kor.take(korean(11), KOREAN)
    kor.take(korean(12))
    plan = jpn.plan()
    writer = plan.ledgers.writer("KOR", "routine")
    for _ in range(COVERS):
        writer.append(ledger_pb2.EntryContent(cover=ledger_pb2.Cover()).SerializeToString())
    jpn.keep(plan)
    send(jpn, kor)
    send(kor, jpn)


def _pass_on(usa: Site, jpn: Site, kor: Site) -> None:
    """Reports of a third nation that went onward, one of them withdrawn."""
    jpn.rulebook = passing()
    usa.take(american(), USA_RULES)
    usa.take(american(launch_detection, 2))
    send(usa, jpn)
    send(jpn, kor)
    usa.take(recall(american()))
    send(usa, jpn)
    send(jpn, kor)


def _answer(jpn: Site, kor: Site) -> None:
    """After what is old is gone: more reports, and entries that a recipient says he cannot use."""
    for seed in (5, 6):
        jpn.take(launch_detection(seed, event_id="over"), ALL)
    jpn.take(all_clear(7, event_id="over"))
    send(jpn, kor)
    entry = jpn.store.entry(jpn.row(TO_KOR).id, 0)
    assert entry is not None
    statement = EntryStatement(EntryStatementKind.UNOPENABLE, "KOR", TO_KOR, 0, leaf_hash(entry), "a broken disk")
    jpn.do(KeepUnopenable(TO_KOR, statement.sign(signatory_of("KOR").gateway), partner_of("KOR")))
    # Korea seals to a key that Japan does not have.
    known = kor.partners["JPN"]
    kor.partners["JPN"] = replace(known, sealing=partner_of("USA").sealing)
    kor.take(korean(13))
    kor.partners["JPN"] = known
    kor.take(korean(14))
    kor.take(
        cancellation(
            15, originator_node="KOR", marking__policy="KOR", marking__releasable_to=["JPN"],
            cancellation__report_ids=[korean(11).report_id],
        )
    )  # fmt: skip
    send(kor, jpn)
    for note in jpn.store.unopenable(jpn.row(TO_JPN).id):
        kor.do(KeepUnopenable(TO_JPN, note.note, partner_of("JPN")))


def _suspend(jpn: Site, kor: Site) -> None:
    """What was kept back, what is held, and what somebody has still to be told."""
    jpn.take(launch_detection(21), ALL)
    jpn.take(launch_detection(22))
    govern(jpn, replace(ALL, suspended=frozenset({"KOR"})))
    before = kor.row(TO_KOR).size
    run = jpn.run(TO_KOR, before)
    jpn.do(KeepBack(TO_KOR, run))
    sent = without(run, jpn.store.kept_back(jpn.row(TO_KOR).id, before, jpn.row(TO_KOR).size))
    kor.do(kor.receive(as_sent(TO_KOR, sent)))
    confirm(jpn, kor, TO_KOR)
    jpn.take(cancelling(launch_detection(22), seed=901))
    jpn.take(launch_detection(23, event_id="held"), rules(KOR=RELEASE_NOTHING, USA=HELD))


def _end(jpn: Site, kor: Site) -> None:
    """Ledgers that ended and go on in another generation."""
    jpn.take(track(31), ALL)
    lane = next(
        row.origin
        for row in jpn.store.ledgers()
        if row.origin.recipient == "KOR" and row.origin.lane not in ("flash", "routine") and row.size
    )
    jpn.do(Succeed(lane, ledger_pb2.SUCCESSION_REASON_RESTORE, b"evidence"))
    kor.do(FollowSuccessor(lane, lane.successor()))
    send(jpn, kor)


def _switch(jpn: Site, kor: Site) -> None:
    """Japan's witness ledger at Korea and the reverse, before and after Japan signs with other keys."""
    _show_witness(jpn, kor)
    _show_witness(kor, jpn)
    before = switch(jpn, *SIGNING)
    kor.partners["JPN"] = believed(jpn.signatory, before, until=None)
    jpn.take(launch_detection(41), ALL)
    send(jpn, kor)
    jpn.do(Beat(frozenset(jpn.partners)))
    _show_witness(jpn, kor)


def _show_witness(owner: Site, partner: Site) -> None:
    """What is new in a witness ledger goes to a partner, whose receipt comes back."""
    origin = Origin.witness(owner.node, 1)
    have = partner.store.ledger(origin)
    partner.do(partner.receive(owner.incoming(origin, 0 if have is None else have.size)))
    confirm(owner, partner, origin)
    owner.do(SignPostQuantum(origin))
    line = owner.store.cosignature(owner.row(origin).id, PQ, owner.node)
    assert line is not None
    partner.do(KeepCosignature(origin, PQ, line.note, partner.partners[owner.node]))
