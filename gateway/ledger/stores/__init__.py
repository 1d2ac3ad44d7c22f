"""What a node keeps on disk, behind one interface.

`Commit` is everything that one step of a node makes durable at once; `Store.commit` writes it whole or not at all.
`StoreReader` answers what the ledgers, the feed and the records hold. The embedded store is
`gateway.ledger.stores.sqlite`;
a site's database server implements the same two protocols.

The layout is a contract:

- A ledger's entries stand in *segments*: what one commit appended, with the signed checkpoint of its end. A batch on
  the wire is a run of whole segments, so no entry is ever sent without the signature that covers it.
- An entry may be kept as its leaf hash alone (`AbsentRow`); its place in the segment then has length 0. It came so, or
  it was pruned (`PrunedSegment`), which is the only way in which a segment ever changes.
- Tiles are C2SP tlog-tiles, kept by the rule of `gateway.ledger.tiles`.
- Reads outside a commit see only what is durable.

Rows that reports bring by the thousand are tuples, with their fields in the order of the columns.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final, NamedTuple, NewType, Protocol

from gateway.ledger.origin import Origin
from gateway.ledger.tiles import TileWrite

LedgerId = NewType("LedgerId", int)
"""Number of a ledger within one store."""


RUN_ENTRIES: Final = 4096
"""Entries of a run, unless its first segment alone has more. The bytes of a run do not count the signed reasons of
absent entries, some 300 each; this bounds them."""


class CosignatureKind(StrEnum):
    """Signatures that a checkpoint gains after its own."""

    RECEIPT = "receipt"
    PQ = "pq"
    ANCHOR = "anchor"
    """The owner's own signature again, by the log key that took over, on the last checkpoint under the key before."""


class FeedItem(IntEnum):
    """What a row of the feed stands for."""

    REPORT = 1
    WITHDRAWAL = 2


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One ledger as it stands: `size` entries, RFC 6962 `root` (32 bytes), and its successor's line once it has
    ended. Of an own ledger that has, `agreed` entries were confirmed; its successor goes on with those above.
    """

    id: LedgerId
    origin: Origin
    replica: bool
    size: int
    root: bytes
    successor: Origin | None = None
    agreed: int | None = None


@dataclass(frozen=True, slots=True)
class AbsentRow:
    """An entry of which only the hash is kept, with the owner's signed note that says why."""

    ledger: LedgerId
    index: int
    leaf_hash: bytes
    note: bytes


@dataclass(frozen=True, slots=True)
class KeptBackRow:
    """An entry of an own ledger that its recipient is given as its hash alone, and the signed note that says why."""

    ledger: LedgerId
    index: int
    reason: str
    note: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """What a commit adds to one ledger: `count` entries from `first` on, and what follows from them."""

    ledger: LedgerId
    first: int
    count: int
    entries: bytes
    tiles: Sequence[TileWrite]
    root: bytes
    checkpoint: bytes
    absent: Sequence[AbsentRow] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """What one commit appended to one ledger: `count` entries from `first` on, as an entry bundle."""

    first: int
    count: int
    entries: bytes


@dataclass(frozen=True, slots=True)
class PrunedSegment:
    """A segment of which further entries are kept as hashes: its `entries` from this commit on, and those hashes."""

    ledger: LedgerId
    first: int
    count: int
    entries: bytes
    absent: Sequence[AbsentRow]


@dataclass(frozen=True, slots=True)
class PrunedReport:
    """An own report of which the content is let go: what is kept of it, sealed, and since when."""

    seq: int
    payload: bytes
    time_ns: int


class CosignatureRow(NamedTuple):
    """A signed note with the checkpoint's text and the further signature alone, by node `signer`."""

    ledger: LedgerId
    kind: CosignatureKind
    size: int
    note: bytes
    time_ns: int
    signer: str


@dataclass(frozen=True, slots=True)
class UnopenableRow:
    """A signed statement that one entry cannot be used."""

    ledger: LedgerId
    index: int
    note: bytes
    time_ns: int


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
class OrderRow:
    """An order of the officers that was put in force. `payload` is sealed under the node's storage key; `event` is the
    index of its record in the decisions ledger.
    """

    sequence: int
    digest: bytes
    enacted_ns: int
    event: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """What decisions have in common. `name` holds rule and agreement, sealed under the node's storage key.

    An event of the node has neither partner nor outcome; its kind stands as the rule. `originator` is empty for an own
    report.
    """

    id: int
    partner: str
    originator: str
    outcome: int
    kind: str
    traffic_class: int
    precedence: int
    name: bytes


class DecisionPlace(NamedTuple):
    """When a record was made, and as which entry of which decisions ledger. Places compare in the order of time."""

    time_ns: int
    ledger: LedgerId
    entry: int


@dataclass(frozen=True, slots=True)
class DecisionRange:
    """Places from `first` to `last`, both included."""

    first: DecisionPlace
    last: DecisionPlace


class DecisionRow(NamedTuple):
    """One decision, or one event of the node."""

    verdict: int
    place: DecisionPlace


class DecisionSubjectRow(NamedTuple):
    """A record of decisions by what it is about. An own report's first one in the first generation of the decisions
    ledger has none: `ReportRow.decision` names it.
    """

    report_id: bytes
    event_id: str
    place: DecisionPlace


@dataclass(frozen=True, slots=True)
class RecoveryRow:
    """A recovery record that a partner gave back: where it was sealed, where its key stands (`key_index`), and the
    serialised `SealedRecovery`. `rebuilt`: what it says is on record again.
    """

    ledger: Origin
    index: int
    key_index: int
    sealed: bytes
    rebuilt: bool = False


@dataclass(slots=True)
class Commit:
    """Everything that one step makes durable at once."""

    ledgers: list[LedgerRow] = field(default_factory=list)
    appends: list[Append] = field(default_factory=list)
    ended: list[tuple[LedgerId, Origin | None]] = field(default_factory=list)
    """(ledger, successor) of those that end. None: of a replica that goes on, as its owner never opened the successor.
    """
    agreed: list[tuple[LedgerId, int]] = field(default_factory=list)
    """(ledger, size): how many entries of an own ledger that ends were confirmed."""
    kept_back: list[KeptBackRow] = field(default_factory=list)
    cosignatures: list[CosignatureRow] = field(default_factory=list)
    unopenable: list[UnopenableRow] = field(default_factory=list)
    reports: list[ReportRow] = field(default_factory=list)
    released: list[ReleasedRow] = field(default_factory=list)
    recalled: list[tuple[bytes, int]] = field(default_factory=list)
    """(report id, time): own reports that no longer stand."""
    withdrawn: list[tuple[str, bytes, str, int]] = field(default_factory=list)
    """(originator, report id, partner, time): releases that no longer stand."""
    not_told: list[tuple[str, bytes, str]] = field(default_factory=list)
    """(originator, report id, partner): withdrawals that were sealed, and were kept back."""
    moved: list[tuple[LedgerId, int, LedgerId, int]] = field(default_factory=list)
    """(ledger, index, ledger, index): where releases stood that were sealed again, and where they stand now."""
    held: list[HeldRow] = field(default_factory=list)
    decided: list[tuple[str, bytes, str]] = field(default_factory=list)
    """(originator, report id, partner): reports that are held no longer."""
    untold: list[UntoldRow] = field(default_factory=list)
    told: list[UntoldRow] = field(default_factory=list)
    feed: list[FeedRow] = field(default_factory=list)
    received: list[ReceivedRow] = field(default_factory=list)
    copies: list[CopyRow] = field(default_factory=list)
    orders: list[OrderRow] = field(default_factory=list)
    verdicts: list[VerdictRow] = field(default_factory=list)
    decisions: list[DecisionRow] = field(default_factory=list)
    decision_subjects: list[DecisionSubjectRow] = field(default_factory=list)
    pruned: list[PrunedSegment] = field(default_factory=list)
    pruned_reports: list[PrunedReport] = field(default_factory=list)
    returned: list[Append] = field(default_factory=list)
    """What comes back of own ledgers that have ended: nothing else is appended to these."""
    cited: list[tuple[str, bytes, str, str]] = field(default_factory=list)
    """(originator, report id, partner, agreement): on what releases rest that came back without saying so."""
    refilled: list[tuple[int, bytes]] = field(default_factory=list)
    """(number, payload): own reports whose content is there again."""
    recovery: list[RecoveryRow] = field(default_factory=list)
    meta: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Run:
    """A run of whole segments: `count` entries from `first` on, the checkpoint of its end, and its absent entries."""

    first: int
    count: int
    entries: bytes
    checkpoint: bytes
    absent: Sequence[AbsentRow]


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of rows on record."""

    reports: int
    released: int
    feed: int
    received: int
    copies: int


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


@dataclass(frozen=True, slots=True)
class OfEvent:
    """What is on record of all own reports about one event: to whom they were released, for whom they are held, and who
    has still to be told that they no longer stand."""

    released: Sequence[ReleasedRow]
    held: Sequence[HeldRow]
    untold: Sequence[UntoldRow]


class StoreReader(Protocol):
    """Answers from what is durable. Every method raises StoreError when the store cannot be read."""

    def ledgers(self) -> Sequence[LedgerRow]:
        """All ledgers, by id."""

    def ledger(self, origin: Origin) -> LedgerRow | None:
        """One ledger by its origin line."""

    def run(self, ledger: LedgerId, first: int, max_bytes: int) -> Run | None:
        """Whole segments from `first` on, as many as fit `max_bytes` and `RUN_ENTRIES` but at least one; None at the
        end of the ledger.

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
