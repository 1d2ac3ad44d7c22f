"""What came of other nodes' reports, by whichever way, and what subscribers are told of them.

A report comes from its originator, or is passed on by another node, or both. Each way (`via`, the owner of the ledger)
has a record of its own: where its copy stands, and whether it was withdrawn. Rules, in order:

1. By each way a report arrives once and is withdrawn once, however often that is repeated. A withdrawal that overtook
   its report is kept. Both are of one traffic class and precedence; of two that differ the later is not usable.
2. Who passed a report on withdraws his own copy alone. The originator withdraws every copy.
3. A report *stands* while one copy of it has arrived that is not withdrawn.
4. Subscribers are given the first copy that arrives, withdrawn if it does not stand. A further copy is given only where
   the report stands by it, and either had ceased to stand or is the originator's own: whoever passes a report on may
   coarsen it, or mark it so that few may read it, and a copy of his that is faster must not hide what the originator
   says.
5. Subscribers are told of a withdrawal where the report stood and now does not; and of every originator's withdrawal
   that they had not been told of before, for the report may be on its way to them by another path.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from signalfire.v1 import ledger_pb2, report_pb2

from gateway.ledger.stores import CopyRow, FeedItem, FeedRow, LedgerId, ReceivedRow
from gateway.release.plan import FeedEntry, Plan
from gateway.release.subject import Subject
from gateway.reports.kinds import kind_of


class Contradiction(Exception):
    """A report and its withdrawal, or two copies of it, are of different traffic classes or precedences."""


class Way(NamedTuple):
    """Where something about a report stands: in the ledger of `via`, at `index`."""

    via: str
    ledger: LedgerId
    index: int  # type: ignore[assignment]  # in place of tuple's own method


class Arrived(NamedTuple):
    """What came of something by one way: whether it was the first of its kind, whether subscribers were given it, and
    whether the report now stands."""

    first: bool
    given: bool
    stands: bool


NOTHING: Final = Arrived(first=False, given=False, stands=False)
"""Of what came before by the same way, and of what is no report and no withdrawal."""


def stands(originator: str, copies: Mapping[str, CopyRow]) -> bool:
    """Rules 2 and 3, over the copies of a report by their way."""
    own = copies.get(originator)
    if own is not None and own.withdrawn_ns is not None:
        return False
    return any(copy.ledger is not None and copy.withdrawn_ns is None for copy in copies.values())


def take_report(plan: Plan, way: Way, subject: Subject, report: report_pb2.Report) -> Arrived:
    """Takes note of a copy and gives it to subscribers where rule 4 says so. Raises Contradiction."""
    originator, report_id = subject.originator, subject.report_id
    traffic_class, precedence = report.traffic_class, report.precedence
    copies = plan.arrivals.copies(originator, report_id)
    mine, known = copies.get(way.via), plan.arrivals.known(originator, report_id)
    if mine is not None and mine.ledger is not None:
        return NOTHING
    _require_same(mine or known, traffic_class, precedence)
    stood = stands(originator, copies)
    mine = CopyRow(
        originator, report_id, way.via, way.ledger, way.index, plan.now_ns,
        None if mine is None else mine.withdrawn_ns, traffic_class, precedence,
    )  # fmt: skip
    plan.arrivals.record_copy(mine)
    copies = {**copies, way.via: mine}
    standing = stands(originator, copies)
    given = known is not None and known.feed is not None
    if given and not (standing and (not stood or way.via == originator)):
        return Arrived(first=True, given=False, stands=standing)
    kind = kind_of(report)
    row = FeedRow(
        plan.next_feed(), FeedItem.REPORT, way.ledger, way.index, originator, report_id,
        0 if kind is None else int(kind.report_kind), traffic_class, precedence, plan.now_ns,
    )  # fmt: skip
    withdrawn_ns = None if standing else next(c.withdrawn_ns for c in copies.values() if c.withdrawn_ns is not None)
    plan.arrivals.record(ReceivedRow(originator, report_id, row.seq, withdrawn_ns, traffic_class, precedence))
    plan.publish(FeedEntry(row, report, not standing))
    return Arrived(first=True, given=True, stands=standing)


def take_withdrawal(plan: Plan, way: Way, subject: Subject, withdrawal: ledger_pb2.Withdrawal) -> Arrived:
    """Takes note that a copy, or of its originator the report, no longer stands. Raises Contradiction."""
    originator, report_id = subject.originator, subject.report_id
    traffic_class, precedence = withdrawal.traffic_class, withdrawal.precedence
    copies = plan.arrivals.copies(originator, report_id)
    mine, known = copies.get(way.via), plan.arrivals.known(originator, report_id)
    if mine is not None and mine.withdrawn_ns is not None:
        return Arrived(first=False, given=False, stands=stands(originator, copies))
    by_originator = way.via == originator
    _require_same(mine or (known if by_originator else None), traffic_class, precedence)
    stood = stands(originator, copies)
    ledger, index, received_ns = (None, None, None) if mine is None else (mine.ledger, mine.index, mine.received_ns)
    mine = CopyRow(
        originator, report_id, way.via, ledger, index, received_ns, plan.now_ns, traffic_class, precedence
    )  # fmt: skip
    plan.arrivals.record_copy(mine)
    standing = stands(originator, {**copies, way.via: mine})
    told = known is not None and known.withdrawn_ns is not None
    if told or not (by_originator or (stood and not standing)):
        return Arrived(first=True, given=False, stands=standing)
    given = None if known is None else known.feed
    plan.arrivals.record(ReceivedRow(originator, report_id, given, plan.now_ns, traffic_class, precedence))
    row = FeedRow(
        plan.next_feed(), FeedItem.WITHDRAWAL, way.ledger, way.index, originator, report_id,
        0, traffic_class, precedence, plan.now_ns,
    )  # fmt: skip
    plan.publish(FeedEntry(row, withdrawal))
    return Arrived(first=True, given=True, stands=False)


def _require_same(known: CopyRow | ReceivedRow | None, traffic_class: int, precedence: int) -> None:
    """Subscribers are given a report and its withdrawal by these two."""
    if known is not None and (known.traffic_class, known.precedence) != (traffic_class, precedence):
        raise Contradiction("the report and its withdrawal are of different traffic classes or precedences")
