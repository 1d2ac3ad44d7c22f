"""What the tests of retention share: ledgers that were sent and confirmed, and nodes that let go of what is old."""

from __future__ import annotations

from typing import Final

from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.letting_go import DAY_NS
from gateway.release.retention import Looked, PruneEntries, PruneReports, position, reports_position
from gateway.release.steps import FollowSuccessor, KeepCosignature, SignPostQuantum
from tests.release.world import Site

RECEIPT, PQ = CosignatureKind.RECEIPT, CosignatureKind.PQ
YEAR_NS: Final = 365 * DAY_NS


def send(sender: Site, recipient: Site, *, confirmed: bool = True, signed: bool = True) -> None:
    """Everything new in every lane goes to its recipient, generation by generation, and its receipt comes back."""
    for row in list(sender.store.ledgers()):
        if row.origin.owner != sender.node or row.origin.recipient != recipient.node:
            continue
        have = recipient.store.ledger(row.origin)
        at = 0 if have is None else have.size
        receipt = None
        if at < row.size and not recipient.plan().ledgers.has_ended(row.origin):
            receipt = recipient.do(recipient.receive(sender.incoming(row.origin, at))).receipt
        if receipt is not None and confirmed:
            sender.do(KeepCosignature(row.origin, RECEIPT, receipt, sender.partners[recipient.node]))
        if signed:
            sender.do(SignPostQuantum(row.origin))
            pq = sender.store.cosignature(row.id, PQ, sender.node)
            have = recipient.store.ledger(row.origin)
            if pq is not None and have is not None and pq.size == have.size:
                recipient.do(KeepCosignature(row.origin, PQ, pq.note, recipient.partners[sender.node]))
        if row.successor is not None:
            recipient.do(FollowSuccessor(row.origin, row.successor))


def prune(site: Site, before_ns: int | None = None) -> tuple[int, int]:
    """Everything of a node that is old enough (accepted, or confirmed, before that; by default everything that may go)
    goes. Returns how many reports and entries did.
    """
    before_ns = site.now_ns + YEAR_NS if before_ns is None else before_ns
    reports = entries = 0
    looked = Looked(reports_position(site.store), 0, 0, done=False)
    while not looked.done:
        looked = site.do(PruneReports(looked.segment, before_ns))
        reports += looked.pruned
    for row in site.store.ledgers():
        at = position(site.store, row)
        looked = Looked(at, at, 0, done=False)
        while not looked.done:
            looked = site.do(PruneEntries(row.origin, looked.segment, looked.index, before_ns))
            entries += looked.pruned
    return reports, entries


def confirm(sender: Site, recipient: Site, origin: Origin) -> None:
    """The recipient's last receipt comes back."""
    receipt = recipient.store.cosignature(recipient.row(origin).id, RECEIPT, recipient.node)
    assert receipt is not None
    sender.do(KeepCosignature(origin, RECEIPT, receipt.note, sender.partners[recipient.node]))


def lanes(owner: str, recipient: str) -> list[Origin]:
    """The ledgers of the first generation."""
    return [Origin(owner, recipient, lane.value, 1) for lane in Lane]


def pruned_in(site: Site, origin: Origin) -> list[int]:
    """The entries of a ledger that are kept as hashes alone."""
    row = site.row(origin)
    return [index for index in range(row.size) if site.store.entry(row.id, index) is None]
