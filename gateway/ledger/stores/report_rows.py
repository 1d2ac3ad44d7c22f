"""What a store holds of reports: own ones and whom they were released to, partners' ones, and what subscribers read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from gateway.ledger.stores.ledger_rows import LedgerId


class ReportRow(NamedTuple):
    """An accepted report. `payload` is sealed under the node's storage key."""

    seq: int
    report_id: bytes
    digest: bytes
    event_id: str
    kind: int
    submitted_by: str
    accepted_ns: int
    decision: int
    payload: bytes
    withdrawn_ns: int | None = None
    pruned_ns: int | None = None
    """Since when `payload` holds what is kept of a pruned report alone; None: it is whole."""


@dataclass(frozen=True, slots=True)
class PrunedReport:
    """An own report of which the content is let go: what is kept of it, sealed, and since when."""

    seq: int
    payload: bytes
    time_ns: int


class ReleasedRow(NamedTuple):
    """A partner was released a report: the ledger and index of the release, and the agreement that it rests on.

    `originator` is empty for this node's own reports, and `agreement` where none was cited.
    """

    report_id: bytes
    partner: str
    ledger: LedgerId
    index: int  # type: ignore[assignment]  # in place of tuple's own method
    traffic_class: int
    precedence: int
    withdrawn_ns: int | None = None
    originator: str = ""
    agreement: str = ""


class HeldRow(NamedTuple):
    """A report that is decided again for one partner when it is due. `originator` is empty for an own report."""

    originator: str
    report_id: bytes
    partner: str
    due_ns: int


class UntoldRow(NamedTuple):
    """A withdrawal that a partner has still to be told. `originator` is empty for an own report."""

    originator: str
    report_id: bytes
    partner: str


@dataclass(frozen=True, slots=True)
class OfEvent:
    """What is on record of all own reports about one event: to whom they were released, for whom they are held, and who
    has still to be told that they no longer stand."""

    released: Sequence[ReleasedRow]
    held: Sequence[HeldRow]
    untold: Sequence[UntoldRow]


class FeedItem(IntEnum):
    """What a row of the feed stands for."""

    REPORT = 1
    WITHDRAWAL = 2


class FeedRow(NamedTuple):
    """One thing for subscribers. `ledger` None: an own report, and `index` is its `ReportRow.seq`."""

    seq: int
    item: FeedItem
    ledger: LedgerId | None
    index: int  # type: ignore[assignment]  # in place of tuple's own method
    originator: str
    report_id: bytes
    kind: int
    traffic_class: int
    precedence: int
    received_ns: int


@dataclass(frozen=True, slots=True)
class FeedFilter:
    """Which rows of the feed are wanted. Empty `kinds` or `originators`: all of them.

    Of a partner's report that no longer stands the feed holds a withdrawal, which has the precedence of the report. Of
    an own one it holds what recalls it alone: own reports of the kinds `recalls` are wanted whatever `kinds` and
    `minimum_precedence` say.
    """

    traffic_classes: frozenset[int]
    kinds: frozenset[int] = frozenset()
    originators: frozenset[str] = frozenset()
    minimum_precedence: int = 0
    include_own: bool = False
    recalls: frozenset[int] = frozenset()

    def wants(self, row: FeedRow) -> bool:
        """Whether `row` is wanted. A withdrawal is wanted whatever the kind of its report."""
        if row.traffic_class not in self.traffic_classes or (
            self.originators and row.originator not in self.originators
        ):
            return False
        if row.ledger is None:
            if not self.include_own:
                return False
            if row.kind in self.recalls:
                return True
        of_kind = not self.kinds or row.kind in self.kinds or row.item is FeedItem.WITHDRAWAL
        return of_kind and row.precedence >= self.minimum_precedence


class CopyRow(NamedTuple):
    """What came of another node's report by one way: `via` is the owner of the ledger, the originator or a node that
    passed it on.

    `ledger`, `index` and `received_ns` say where the copy stands and when it arrived; None: a withdrawal overtook it.
    """

    originator: str
    report_id: bytes
    via: str
    ledger: LedgerId | None
    index: int | None  # type: ignore[assignment]  # in place of tuple's own method
    received_ns: int | None
    withdrawn_ns: int | None
    traffic_class: int
    precedence: int


class ReceivedRow(NamedTuple):
    """A partner's report that subscribers were given (`feed` is its last place) or told the end of (`withdrawn_ns`), or
    both, whichever way it came.

    Traffic class and precedence are those that the first of the two came with; the other has the same.
    """

    originator: str
    report_id: bytes
    feed: int | None
    withdrawn_ns: int | None
    traffic_class: int
    precedence: int


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of rows on record."""

    reports: int
    released: int
    feed: int
    received: int
    copies: int
