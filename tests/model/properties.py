"""What is true of an exchange at every moment, and what is true once all of it is still."""

from __future__ import annotations

from collections import Counter

from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, FeedItem
from tests.model.exchange import LANES, ORIGIN, RECIPIENT, Exchange
from tests.release.world import Site, identifier


def safe(exchange: Exchange) -> None:
    """Raises AssertionError where something was lost, doubled, forked or put in another order."""
    nothing_lost(exchange)
    nothing_twice(exchange)
    no_fork(exchange)
    in_order(exchange)
    receipts_hold(exchange)


def nothing_lost(exchange: Exchange) -> None:
    """What was acknowledged is in the origin's store, and has an entry in a ledger."""
    for name in exchange.acknowledged - exchange.lost:
        report = exchange.handed[name]
        assert exchange.jpn.store.report(identifier(report)) is not None, f"{name} was acknowledged and is gone"
        assert exchange.jpn.store.released(identifier(report)), f"{name} is not released"


def nothing_twice(exchange: Exchange) -> None:
    """Subscribers are given each report once, and are told once of each that no longer stands."""
    for item in (FeedItem.REPORT, FeedItem.WITHDRAWAL):
        doubled = [each.hex() for each, count in Counter(exchange.delivered(item)).items() if count > 1]
        assert not doubled, f"{item.name} more than once: {doubled}"
    known = {identifier(report) for report in exchange.handed.values()}
    assert known.issuperset(exchange.delivered()), "something that nobody ever submitted"


def no_fork(exchange: Exchange) -> None:
    """The origin never signed two histories, but of a ledger whose store was set back; and no replica follows both."""
    for origin, sizes in exchange.seen.items():
        for size, roots in sizes.items():
            assert len(roots) == 1 or origin in exchange.set_back, f"{origin} has two roots at size {size}"
    for head in exchange.kor.heads:
        if head.replica and head.edge.size and head.origin in exchange.seen:
            assert head.edge.root() in exchange.seen[head.origin][head.edge.size], f"{head.origin}: nobody signed that"


def in_order(exchange: Exchange) -> None:
    """Of each lane subscribers have what was accepted, from the first on and in its order."""
    if exchange.restored or exchange.recipient_set_back:
        return
    delivered = exchange.delivered()
    for lane in LANES:
        accepted = [identifier(exchange.handed[name]) for name in exchange.accepted[lane]]
        here = [each for each in delivered if each in set(accepted)]
        assert here == accepted[: len(here)], f"{lane}: another order, or a gap"


def receipts_hold(exchange: Exchange) -> None:
    """A receipt that the origin holds is for what the recipient's store has."""
    if exchange.recipient_set_back:
        return
    for head in exchange.jpn.heads:
        if head.origin.recipient != RECIPIENT:
            continue
        receipt = exchange.jpn.store.cosignature(head.id, CosignatureKind.RECEIPT, RECIPIENT)
        if receipt is None:
            continue
        row = exchange.kor.store.ledger(head.origin)
        assert row is not None, f"{head.origin}: a receipt for a ledger that is not there"
        held = exchange.kor.store.checkpoint(row.id, receipt.size)
        assert held is not None, f"{head.origin}: a receipt for what is not there"
        assert Note.parse(held).text == Note.parse(receipt.note).text, f"{head.origin}: a receipt for something else"


def arrived(exchange: Exchange) -> None:
    """All is still: every report is at every subscriber, as it stands, and both ends hold the same."""
    delivered = set(exchange.delivered())
    for name, report in exchange.handed.items():
        assert identifier(report) in delivered, f"{name} never arrived"
        row = exchange.kor.store.received(ORIGIN, identifier(report))
        assert row is not None, name
        assert (row.withdrawn_ns is not None) == (name in exchange.cancelled), f"{name}: withdrawn or not?"
    for lane in LANES:
        current = exchange.jpn.heads.current(ORIGIN, RECIPIENT, lane.value)
        assert _state(exchange.jpn, current) == _state(exchange.kor, current), f"{current}: the ends differ"


def _state(site: Site, origin: Origin) -> tuple[int, bytes] | None:
    head = site.heads.get(origin)
    return None if head is None else (head.edge.size, head.edge.root())
