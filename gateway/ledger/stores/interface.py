"""What every store of a node answers and does, whichever database is beneath.

`StoreReader` answers what the ledgers, the feed and the records hold. `Store.commit` writes a `Commit` whole or not at
all. Reads outside a commit see only what is durable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from gateway.ledger.origin import Origin
from gateway.ledger.stores.commit import Commit
from gateway.ledger.stores.decision_rows import (
    DecisionPlace,
    DecisionRange,
    DecisionRow,
    DecisionSubjectRow,
    OrderRow,
    RecoveryRow,
    VerdictRow,
)
from gateway.ledger.stores.ledger_rows import (
    AbsentRow,
    CosignatureKind,
    CosignatureRow,
    KeptBackRow,
    LedgerId,
    LedgerRow,
    Run,
    Segment,
    UnopenableRow,
)
from gateway.ledger.stores.report_rows import (
    CopyRow,
    Counts,
    FeedFilter,
    FeedRow,
    HeldRow,
    OfEvent,
    ReceivedRow,
    ReleasedRow,
    ReportRow,
    UntoldRow,
)


class StoreReader(Protocol):
    """Answers from what is durable. Every method raises StoreError when the store cannot be read."""

    def ledgers(self) -> Sequence[LedgerRow]:
        """All ledgers, by id."""

    def ledger(self, origin: Origin) -> LedgerRow | None:
        """One ledger by its origin line."""

    def run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        """Whole segments from `first` on, as many as fit `max_bytes`, `RUN_ENTRIES` and `RUN_ABSENT` but at least one;
        None at the end of the ledger.

        Raises StoreError when `first` is neither where a segment begins nor the end.
        """

    def entry(self, ledger: LedgerId, index: int) -> bytes | None:
        """One entry; None when only its hash is kept. Raises StoreError beyond the end."""

    def leaves(self, ledger: LedgerId, first: int, end: int) -> Sequence[bytes]:
        """Leaf hashes of the entries from `first` up to, not including, `end`. Reads each segment once.

        Raises StoreError where one has neither bytes nor a hash.
        """

    def segments(self, ledger: LedgerId, first: int, max_bytes: int) -> Sequence[Segment]:
        """The segments from the one that begins at `first` on, as many as fit `max_bytes` and `RUN_ENTRIES` but at
        least one; none at the end of the ledger.
        """

    def segment_of(self, ledger: LedgerId, index: int) -> int:
        """Where the segment begins that holds entry `index`. Raises StoreError beyond the end."""

    def absent(self, ledger: LedgerId, index: int) -> AbsentRow | None:
        """The record of an entry of which only the hash is kept."""

    def kept_back(self, ledger: LedgerId, first: int, end: int) -> Sequence[KeptBackRow]:
        """The entries of an own ledger from `first` up to, not including, `end` that are kept back, by index."""

    def keeps_back(self, ledger: LedgerId) -> bool:
        """Whether any entry of an own ledger is kept back."""

    def tile(self, ledger: LedgerId, level: int, index: int) -> bytes | None:
        """A stored tile."""

    def tiles(self, ledger: LedgerId) -> Sequence[tuple[int, int, bytes]]:
        """All stored tiles as (level, index, hashes), in order."""

    def checkpoint(self, ledger: LedgerId, size: int) -> bytes | None:
        """The signed checkpoint of exactly that size."""

    def checkpoints(self, ledger: LedgerId) -> Sequence[tuple[int, bytes]]:
        """All signed checkpoints as (size, note), by size."""

    def cosignature(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, at_least: int = 0
    ) -> CosignatureRow | None:
        """A node's cosignature of the largest size, if that is at least `at_least`. Costs one look, however many there
        are: there is no asking for anybody's, which would read them all.
        """

    def covering(self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int) -> CosignatureRow | None:
        """The cosignature of the smallest size that is at least `size`."""

    def cosignatures(self, ledger: LedgerId) -> Sequence[CosignatureRow]:
        """All cosignatures of a ledger, by kind, signer and size."""

    def cosigners(self, ledger: LedgerId, kind: CosignatureKind) -> Sequence[str]:
        """The nodes of which a ledger has cosignatures of that kind, by name."""

    def cosignatures_from(
        self, ledger: LedgerId, kind: CosignatureKind, signer: str, size: int, limit: int
    ) -> Sequence[CosignatureRow]:
        """Up to `limit` cosignatures of that kind and signer of size `size` and above, by size."""

    def unopenable(self, ledger: LedgerId) -> Sequence[UnopenableRow]:
        """All statements about entries that could not be used."""

    def last_unopenable(self, ledger: LedgerId, limit: int) -> Sequence[UnopenableRow]:
        """The statements about the last entries that could not be used, at most `limit`, by index."""

    def statement(self, ledger: LedgerId, index: int) -> UnopenableRow | None:
        """The statement about one entry, if it could not be used."""

    def report(self, report_id: bytes) -> ReportRow | None:
        """An accepted report by its identifier."""

    def reports(self, report_ids: Sequence[bytes]) -> Sequence[ReportRow]:
        """Those of some accepted reports that there are, in no order."""

    def report_at(self, seq: int) -> ReportRow | None:
        """An accepted report by its number."""

    def without_content(self, submitted_by: str, limit: int) -> Sequence[str]:
        """Up to `limit` accepted reports of one submitter whose content is lost: UUIDs."""

    def reports_of_event(self, event_id: str, kinds: Collection[int]) -> Sequence[bytes]:
        """Identifiers of the accepted reports of some kinds about an event, in the order of acceptance."""

    def released(self, report_id: bytes, originator: str = "") -> Sequence[ReleasedRow]:
        """To whom a report was released."""

    def released_of(self, report_ids: Sequence[bytes], originator: str = "") -> Sequence[ReleasedRow]:
        """The same of several reports of one originator; of each in the order of partners."""

    def cited_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[tuple[int, str]]:
        """The releases that stand in a ledger from entry `first` up to, not including, `end`, and rest on an agreement:
        the index of each, and the agreement.
        """

    def held(self, report_id: bytes, originator: str = "") -> Sequence[HeldRow]:
        """For whom a report is held."""

    def held_until(self, now_ns: int, limit: int) -> Sequence[HeldRow]:
        """Up to `limit` held reports that are due at `now_ns`, the earliest first."""

    def untold(self, partner: str, limit: int) -> Sequence[UntoldRow]:
        """Up to `limit` withdrawals that a partner has still to be told, in the order in which they came."""

    def untold_of(self, report_id: bytes, originator: str = "") -> Sequence[str]:
        """The partners who have still to be told that a report no longer stands."""

    def of_event(self, event_id: str) -> OfEvent:
        """What is on record of all own reports about an event, asked for at once."""

    def untold_counts(self) -> Mapping[str, int]:
        """How many withdrawals each partner has still to be told."""

    def received(self, originator: str, report_id: bytes) -> ReceivedRow | None:
        """What is known of a partner's report."""

    def received_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[ReceivedRow]:
        """The same of several reports of one originator; of those of which nothing is known there is none."""

    def copies(self, originator: str, report_id: bytes) -> Sequence[CopyRow]:
        """The ways by which a partner's report came, or was withdrawn."""

    def copies_of(self, originator: str, report_ids: Sequence[bytes]) -> Sequence[CopyRow]:
        """The same of several reports of one originator; of each in the order of `via`."""

    def orders(self, after: int = 0) -> Sequence[OrderRow]:
        """The orders that were put in force after number `after`, in their sequence."""

    def feed(self, after: int, limit: int, wanted: FeedFilter) -> tuple[Sequence[FeedRow], int]:
        """Up to `limit` wanted rows after number `after`, and the number up to which the feed was searched."""

    def last_feed(self) -> int:
        """Number of the last row of the feed; 0 when there is none."""

    def last_report(self) -> int:
        """Number of the last accepted report; 0 when there is none."""

    def counts(self) -> Counts:
        """How many reports, releases, items of the feed, received reports and copies of them are on record."""

    def verdicts(self, after: int = 0) -> Sequence[VerdictRow]:
        """What decisions have in common, by number, from number `after` + 1 on."""

    def decision_bounds(
        self, verdicts: Sequence[int], within: DecisionRange, *, oldest_first: bool
    ) -> Sequence[tuple[int, int]]:
        """(verdict, time) of the first decision of each verdict in a range; a verdict without one is left out."""

    def decisions(
        self, verdict: int, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        """Up to `limit` decisions of a verdict in a range, in order."""

    def decisions_of_report(
        self, report_id: bytes, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        """Up to `limit` records about a report in a range, whoever originated it, in order."""

    def decisions_of_event(
        self, event_id: str, within: DecisionRange, limit: int, *, oldest_first: bool
    ) -> Sequence[DecisionPlace]:
        """Up to `limit` records about the reports of an event in a range, in order."""

    def recovery(self, after: tuple[str, int], limit: int) -> Sequence[RecoveryRow]:
        """Up to `limit` recovery records that came back, after a place (origin line, index), by ledger and index."""

    def each_recovery(self) -> Iterator[RecoveryRow]:
        """Every recovery record that came back, by ledger and index."""

    def indexed_decisions(self) -> Iterator[DecisionRow]:
        """Every row of the index of decisions, by verdict and place. The whole of it: for a check."""

    def indexed_subjects(self) -> Iterator[DecisionSubjectRow]:
        """Every row of the index by subject, by report and place. The whole of it: for a check."""

    # The whole of it, row by row and in order, however large it is: for a check.

    def each_cosignature(self, ledger: LedgerId) -> Iterator[CosignatureRow]:
        """Every cosignature of a ledger, by kind, signer and size."""

    def each_report(self) -> Iterator[ReportRow]:
        """Every accepted report, by number."""

    def each_recalled(self) -> Iterator[tuple[bytes, int]]:
        """(report id, time) of every accepted report that no longer stands."""

    def each_released(self) -> Iterator[ReleasedRow]:
        """Every release, by originator, report and partner."""

    def each_held(self) -> Iterator[HeldRow]:
        """Every report that is held."""

    def each_untold(self) -> Iterator[UntoldRow]:
        """Every withdrawal that a partner has still to be told."""

    def each_ended(self) -> Iterator[tuple[str, bytes, int]]:
        """(originator, report id, time) of every partner's report that no longer stands."""

    def unopenable_between(self, ledger: LedgerId, first: int, end: int) -> Sequence[UnopenableRow]:
        """The statements about the entries from `first` up to, not including, `end`, by index."""

    def count_tiles(self, ledger: LedgerId) -> int:
        """How many tiles are stored."""

    def count_checkpoints(self, ledger: LedgerId) -> int:
        """How many signed checkpoints are on record."""

    def meta(self, key: str) -> bytes | None:
        """A value of the store's own."""

    def metas(self, keys: Sequence[str]) -> Mapping[str, bytes]:
        """Those of these values of the store's own that there are, by their keys."""

    def damage(self) -> Sequence[str]:
        """What is wrong with the file itself: damaged pages, rows out of their order, values that the schema does not
        allow, and rows of a ledger that is not there. Reads all of it.
        """

    def snapshot(self) -> AbstractContextManager[None]:
        """Within it every read sees the store as it was at one moment, whatever is committed meanwhile."""

    def interrupt(self) -> None:
        """Ends what another thread reads just now: it gets a StoreError. May be called from any thread."""

    def close(self) -> None:
        """Lets go of the store."""


class Store(StoreReader, Protocol):
    """The one writer."""

    def commit(self, commit: Commit) -> None:
        """Makes everything in `commit` durable, or nothing.

        On return it has reached stable storage. After StoreError it is not known whether it has: the caller must
        `abandon` the store, open it again and go by what it then holds.
        """

    @property
    def log_is_long(self) -> bool:
        """Whether it is time to `fold`."""

    def fold(self) -> None:
        """Has what commits have written put where it stays. Everything is durable before as after. Raises StoreError,
        and then the store is to be abandoned as after a commit.
        """

    def probe(self, size: int) -> None:
        """Makes `size` bytes durable and lets go of them again, as a trial. Raises StoreError as `commit` does."""

    def abandon(self) -> None:
        """Lets go of the store after a failure: nothing is written or synced any more. Never fails."""

    def reader(self) -> StoreReader:
        """A reader of its own, for use in another thread."""
