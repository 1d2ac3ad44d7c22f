"""What a subscriber receives: everything after his cursor from the store, then live from memory, with nothing between.

A cursor names a place in the feed, and the run of the gateway that gave it. It is opaque to clients:
``<tag of the run>:<number>``. Rules, in order, for one that comes back:

1. The store remembers that run. A store restored from an old copy does not remember those after the copy was made, and
   may number other items as they did.
2. Its number is below the first that the next run gave: what lies beyond was lost with the rest of that run.
3. Its number is not above the last item.
4. Nothing after it was let go because of its age (`gateway.release.retention`).

A subscription without a cursor is given all that is kept: it begins after what was let go of partners' reports, and is
not given own reports of which the content was. Those are let go by a setting of their own, and may be younger than
partners' reports that are kept: they never keep anything else from anybody.

What does not open, though the store can be read, is passed over, logged once and told (`gateway.attention`): one rotten
entry must keep nothing else from anybody. A withdrawal that does not open is given by what its row says. But where
LACKING items name keys that are not held here, it is the keys that are missing, and no item is rotten: then nothing is
passed over, and subscriptions end at the first such item until the keys are there.
"""

from __future__ import annotations

import asyncio
import logging
import re
import struct
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.attention import Attention
from gateway.c2.grants import ReadGrant
from gateway.ledger import bundle
from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, FeedFilter, FeedItem, FeedRow, LedgerId, ReportRow, StoreReader
from gateway.release.errors import KeyNotHeld
from gateway.release.opening import Opener
from gateway.release.plan import FeedEntry
from gateway.release.retention import OWN_FLOOR, PARTNERS_FLOOR, floor
from gateway.release.subject import Subject
from gateway.release.watch import Watch
from gateway.seal.errors import SealError, SealingKeyMissing, StorageKeyMissing
from gateway.seal.storage import StorageKeys

log = logging.getLogger(__name__)

READ_ROWS = 256
"""Rows of the feed read at once while a subscriber catches up."""

ITEMS_AT_ONCE: Final = 128
"""Items that are looked at at once, and that go in one message, at most."""

MESSAGE_BYTES: Final = 2 << 20
"""Bytes of contents with which a message is full: half of the 4 MiB that a client need not take more of. A content has
at most 64 KiB.
"""

OWN_AT_ONCE: Final = 8
"""Own reports that are read at once."""

TURN_S: Final = 0.002
"""Seconds for which items are looked at for one subscriber before others have their turn; the one at hand is finished.
Those who catch up are one another's others: of them all one has a turn before everyone else has one.
"""

LACKING: Final = 3
"""Items whose key is not held before keys are taken to be missing: a byte that rots may name another key as well."""

_EVERYTHING: Final = FeedFilter(frozenset(report_pb2.TrafficClass.values()), include_own=True)

_CURSOR = re.compile(r"([0-9a-f]{16}):(0|[1-9][0-9]{0,18})")


KEPT_RUNS = 4096
"""Runs whose cursors are known: a gateway started every hour for months. 64 KiB."""

_RUN = struct.Struct(">8sQ")


class CursorError(Exception):
    """A cursor that is none of this gateway's; the text says what to do."""


class PrunedError(Exception):
    """A cursor after which contents were let go because of their age; the text says which is the oldest that holds."""


class _ContentGone(Exception):
    """The content of an item was let go because of its age."""


@dataclass(frozen=True, slots=True)
class Runs:
    """The runs of a gateway on one store, the last one running: the tag of each, and the first number that was free
    when it began.
    """

    begun: tuple[tuple[str, int], ...]

    @classmethod
    def continued(cls, record: bytes, tag: bytes, last_feed: int) -> Runs:
        """Those on record (`encode`), and the one that begins now under a random `tag` of 8 bytes."""
        begun = [(each.hex(), first) for each, first in _RUN.iter_unpack(record)]
        return cls((*begun, (tag.hex(), last_feed + 1))[-KEPT_RUNS:])

    def encode(self) -> bytes:
        """The record, which is to be durable before the first cursor is given."""
        return b"".join(_RUN.pack(bytes.fromhex(tag), first) for tag, first in self.begun)

    @property
    def tag(self) -> str:
        """The tag of this run."""
        return self.begun[-1][0]

    def position(self, tag: str, number: int) -> int:
        """`number`, if it was given by the run of that tag and still means the same. Raises CursorError."""
        for (known, _), following in zip(self.begun, (*self.begun[1:], None), strict=True):
            if known != tag:
                continue
            if following is not None and number >= following[1]:
                raise CursorError(
                    "the cursor is of what this gateway's store has lost; send an older one, or none to begin anew"
                )
            return number
        raise CursorError("the cursor is of no run that this gateway's store remembers; send none to begin anew")


class _Source(NamedTuple):
    """A ledger that brings items, and up to which size its owner's post-quantum signature has come."""

    origin: Origin
    line: str
    pq_size: int


class _Turn:
    """What the items of one turn take from the store, each thing once."""

    def __init__(self, reader: StoreReader, rows: Sequence[FeedRow], ended: Collection[Subject] | None) -> None:
        self.reader = reader
        self._own_ids = [row.report_id for row in rows if row.ledger is None]
        self._own: dict[bytes, ReportRow] = {}
        self.sources: dict[LedgerId, _Source] = {}
        self.ended = _ended(reader, rows) if ended is None else ended
        self._segments: dict[LedgerId, tuple[int, Sequence[bytes]]] = {}

    def own(self, report_id: bytes) -> ReportRow | None:
        """The own report of one of the rows. Read with a few that follow it, and not with all: they may be large, and
        the turn may end before their time comes.
        """
        if report_id not in self._own:
            at = self._own_ids.index(report_id)
            self._own = {row.report_id: row for row in self.reader.reports(self._own_ids[at : at + OWN_AT_ONCE])}
        return self._own.get(report_id)

    def entry(self, ledger: LedgerId, index: int) -> bytes:
        """An entry; empty where only its hash is kept."""
        first, entries = self._segments.get(ledger, (0, ()))
        if not first <= index < first + len(entries):
            (segment,) = self.reader.segments(ledger, self.reader.segment_of(ledger, index), 1)
            first, entries = segment.first, bundle.decode(segment.entries, segment.count, allow_absent=True)
            self._segments[ledger] = first, entries
        return entries[index - first]


def _ended(reader: StoreReader, rows: Iterable[FeedRow]) -> Collection[Subject]:
    """Those of partners' reports that no longer stand."""
    asked: dict[str, list[bytes]] = {}
    for row in rows:
        if row.ledger is not None:
            asked.setdefault(row.originator, []).append(row.report_id)
    return {
        Subject(originator, known.report_id)
        for originator, report_ids in asked.items()
        for known in reader.received_of(originator, report_ids)
        if known.withdrawn_ns is not None
    }


class _Endings:
    """Which of the reports that are given from memory no longer stand: by what the feed says of them later."""

    def __init__(self, watch: Watch, recent: Sequence[FeedEntry], position: int) -> None:
        self._watch = watch
        self._ended: set[Subject] = set()
        self._read_to = position
        self._read(recent)

    def now(self) -> Collection[Subject] | None:
        """As it is known now; None where memory does not reach so far any more."""
        recent = self._watch.recent_after(self._read_to)
        if recent is None:
            return None
        self._read(recent)
        return self._ended

    def _read(self, recent: Sequence[FeedEntry]) -> None:
        for row, _, withdrawn in recent:
            if withdrawn or row.item is FeedItem.WITHDRAWAL:
                self._ended.add(Subject(row.originator, row.report_id))
            elif self._ended:
                self._ended.discard(Subject(row.originator, row.report_id))
        if recent:
            self._read_to = recent[-1].row.seq


@dataclass(frozen=True, slots=True)
class Feed:
    """Reads the feed for subscribers, in the event loop's thread."""

    node: str
    runs: Runs
    reader: Callable[[], StoreReader]
    watch: Watch
    opener: Opener
    storage: StorageKeys
    monotonic: Callable[[], float] = time.monotonic
    attention: Attention = field(default_factory=Attention)
    _origins: dict[LedgerId, Origin] = field(default_factory=dict)
    _catching_up: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the one whose turn it is."""
    _lacking: set[int] = field(default_factory=set)
    """Numbers of items whose key is not held: LACKING of them at the most."""

    def position(self, cursor: str, *, include_own: bool = True) -> int:
        """The number that a cursor names; for an empty one the first after which there is something to give. Raises
        CursorError or PrunedError.
        """
        partners = floor(self.reader(), PARTNERS_FLOOR)
        own = floor(self.reader(), OWN_FLOOR) if include_own else 0
        if not cursor:
            return partners
        match = _CURSOR.fullmatch(cursor)
        if match is None:
            raise CursorError(f"cursor {cursor[:40]!r} is none; send one as it was received, or none to begin anew")
        position = self.runs.position(match[1], int(match[2]))
        if position > self.reader().last_feed():
            raise CursorError("the cursor is ahead of this gateway's store; send none to begin anew")
        if position < max(partners, own):
            raise self._pruned(max(partners, own))
        return position

    def _pruned(self, oldest: int) -> PrunedError:
        return PrunedError(
            "some of what came after the cursor was pruned, since it is older than this gateway keeps it; the oldest"
            f" cursor after which nothing was is {self._cursor(oldest)}. Send none to be given everything that is kept,"
            " of which some may have been given before; or send that cursor to go on after it, and without what is"
            " kept from before it"
        )

    async def follow(
        self, position: int, wanted: FeedFilter, grant: ReadGrant, *, anew: bool = False
    ) -> AsyncGenerator[c2_pb2.SubscribeResponse, None]:
        """Everything wanted and granted after `position`, without end; what is there together, together.

        Of what was there at the call, one who begins `anew` (without a cursor) is given what is kept. For everyone else
        raises PrunedError where something wanted is not there any more.

        What is passed over gives nothing to wait for: after TURN_S or ITEMS_AT_ONCE of such, and after each read,
        others have their turn.
        """
        caught_up_at = self.reader().last_feed()
        announced = False
        while True:
            seen = self.watch.feed_bell.rings
            recent = self.watch.recent_after(position)
            found: Sequence[FeedRow | FeedEntry]
            endings = None
            if recent is None:
                async with self._catching_up:
                    rows, searched = self.reader().feed(position, READ_ROWS, wanted)
                    await asyncio.sleep(0)
                found, last = rows, rows[-1].seq if rows else position
                more = searched > last or len(rows) == READ_ROWS
                last = max(last, searched)
            else:
                found, last = [entry for entry in recent if wanted.wants(entry.row)], position
                more = False
                if recent:
                    last = recent[-1].row.seq
                    endings = _Endings(self.watch, recent, position)
            done = 0
            may_lack = caught_up_at if anew else -1
            while done < len(found):
                some = found[done : done + ITEMS_AT_ONCE]
                if endings is None:
                    async with self._catching_up:
                        response, looked_at, end = self._response(some, grant, None, may_lack)
                        await asyncio.sleep(0)
                else:
                    response, looked_at, end = self._response(some, grant, endings.now(), may_lack)
                    if not response.items:
                        await asyncio.sleep(0)
                done += looked_at
                if response.items:
                    yield response
                if end is not None:
                    raise end
            position = last
            if not announced and position >= caught_up_at:
                announced = True
                caught_up = c2_pb2.Item(cursor=self._cursor(position), caught_up=c2_pb2.CaughtUp())
                yield c2_pb2.SubscribeResponse(items=[caught_up])
            if not more:
                await self.watch.feed_bell.wait(seen)

    def _response(
        self,
        found: Sequence[FeedRow | FeedEntry],
        grant: ReadGrant,
        ended: Collection[Subject] | None,
        may_lack: int,
    ) -> tuple[c2_pb2.SubscribeResponse, int, Exception | None]:
        """What the grant covers of as many as a turn has time for and a message room, how many these are, and the error
        with which it ends, if it does: what comes before that is given. What was let go is passed over up to the number
        `may_lack`. Which partners' reports have `ended` is asked of the store where it is None.
        """
        response = c2_pb2.SubscribeResponse()
        looked_at, room, turn_ends = 0, MESSAGE_BYTES, self.monotonic() + TURN_S
        rows = [each if isinstance(each, FeedRow) else each.row for each in found]
        asked = {row.seq for row in rows}
        turn = _Turn(self.reader(), rows, ended)
        for looked_at, (each, row) in enumerate(zip(found, rows, strict=True), 1):
            try:
                entry = each if isinstance(each, FeedEntry) else self._opened(row, turn)
                if entry is not None:
                    room -= self._give(response, entry, grant, turn)
            except _ContentGone:
                if row.seq > may_lack:
                    return response, looked_at, self._pruned(row.seq)
            except KeyNotHeld as error:
                # Nor is anything given behind the first of them: whoever comes again goes on behind what he was given.
                first = min((each.seq for each in rows[:looked_at] if each.seq in self._lacking), default=row.seq)
                while response.items and self._number(response.items[-1]) >= first:
                    response.items.pop()
                return response, looked_at, error
            except StoreError as error:
                return response, looked_at, error
            # While it is not known yet whether keys are missing, the turn goes on.
            if room <= 0 or (self.monotonic() >= turn_ends and self._lacking.isdisjoint(asked)):
                break
        return response, looked_at, None

    def _cursor(self, position: int) -> str:
        return f"{self.runs.tag}:{position}"

    def _number(self, item: c2_pb2.Item) -> int:
        return int(item.cursor.removeprefix(f"{self.runs.tag}:"))

    def _opened(self, row: FeedRow, turn: _Turn) -> FeedEntry | None:
        """The content of a row; None where it does not open. Of a withdrawal then what the row says, for it must be
        heeded. Raises StoreError, and KeyNotHeld where keys are missing.
        """
        try:
            entry = self._load(row, turn)
            self._lacking.discard(row.seq)
            return entry
        except StoreError:
            raise
        except (LedgerError, SealError) as error:
            if isinstance(error, (SealingKeyMissing, StorageKeyMissing)) and self._lacks(row.seq):
                raise KeyNotHeld(
                    f"keys are missing, nothing is passed over: item {row.seq} of the feed: {error}"
                ) from error
            named = f"{row.item.name.lower()} {uuid.UUID(bytes=row.report_id)} of {row.originator}"
            where = "" if row.ledger is None else f", {self._origin(row.ledger)} entry {row.index}"
            if self.attention.did_not_open(row.seq, f"{named}{where}"):
                log.critical("item %d of the feed, %s%s, does not open: %s", row.seq, named, where, error)
        if row.item is not FeedItem.WITHDRAWAL:
            return None
        withdrawal = ledger_pb2.Withdrawal(
            traffic_class=report_pb2.TrafficClass.ValueType(row.traffic_class),
            precedence=report_pb2.Precedence.ValueType(row.precedence),
        )
        withdrawal.time.FromNanoseconds(row.received_ns)
        return FeedEntry(row, withdrawal)

    def _lacks(self, item: int) -> bool:
        """Takes note that the key of an item is not held. Returns whether keys are missing."""
        if len(self._lacking) < LACKING:
            self._lacking.add(item)
        return len(self._lacking) == LACKING

    def _load(self, row: FeedRow, turn: _Turn) -> FeedEntry:
        """The content of a row, opened from the ledger that holds it."""
        if row.ledger is None:
            report = turn.own(row.report_id)
            assert report is not None, "the feed refers to accepted reports only"
            if report.pruned_ns is not None:
                raise _ContentGone
            plaintext = self.storage.open(report.payload, report.report_id)
            return FeedEntry(row, report_pb2.Report.FromString(plaintext))
        ledger = row.ledger
        origin = self._origin(ledger)

        def fetch(index: int) -> bytes:
            return turn.reader.entry(ledger, index) or b""

        entry = turn.entry(ledger, row.index)
        if not entry:
            raise _ContentGone
        content = self.opener.content(origin, row.index, entry, fetch)
        assert content is not None, "the feed refers to entries with content only"
        if row.item is FeedItem.WITHDRAWAL:
            return FeedEntry(row, content.withdrawal)
        passed_on = content.HasField("onward_report")
        return FeedEntry(row, content.onward_report.report if passed_on else content.report)

    def _may_know(self, row: FeedRow, grant: ReadGrant, turn: _Turn) -> bool:
        """Whether a withdrawal is of a report that the grant covers. A report that is not here yet may be one, and so
        may one whose content was let go, or does not open.
        """
        if row.traffic_class not in grant.traffic_classes:
            return False
        known = turn.reader.received(row.originator, row.report_id)
        if known is None or known.feed is None:
            return True
        (withdrawn, *_), _ = turn.reader.feed(known.feed - 1, 1, _EVERYTHING)
        try:
            entry = self._opened(withdrawn, turn)
        except _ContentGone:
            return True
        return entry is None or (isinstance(entry.content, report_pb2.Report) and grant.allows(entry.content))

    def _origin(self, ledger: LedgerId) -> Origin:
        """The origin of a ledger. Its number never comes to mean another, so it is looked up once."""
        if ledger not in self._origins:
            self._origins.update((row.id, row.origin) for row in self.reader().ledgers())
        return self._origins[ledger]

    def _source(self, ledger: LedgerId, turn: _Turn) -> _Source:
        source = turn.sources.get(ledger)
        if source is None:
            origin = self._origin(ledger)
            pq = turn.reader.cosignature(ledger, CosignatureKind.PQ, origin.owner)
            source = turn.sources[ledger] = _Source(origin, str(origin), 0 if pq is None else pq.size)
        return source

    def _give(self, response: c2_pb2.SubscribeResponse, entry: FeedEntry, grant: ReadGrant, turn: _Turn) -> int:
        """Adds one item where the grant covers it. Returns the bytes of its content, 0 where nothing was added."""
        row, content, withdrawn = entry
        if isinstance(content, ledger_pb2.Withdrawal):
            if not self._may_know(row, grant, turn):
                return 0
            notice = response.items.add(cursor=self._cursor(row.seq)).withdrawal
            notice.report_id = str(uuid.UUID(bytes=row.report_id))
            notice.originator_node = row.originator
            notice.time.CopyFrom(content.time)
            notice.traffic_class = content.traffic_class
            notice.precedence = content.precedence
            notice.received_time.FromNanoseconds(row.received_ns)
            return content.ByteSize()
        if not grant.allows(content):
            return 0
        if row.ledger is None:
            source, own = None, turn.own(row.report_id)
            withdrawn = own is not None and own.withdrawn_ns is not None
        else:
            source = self._source(row.ledger, turn)
            withdrawn = withdrawn or Subject(row.originator, row.report_id) in turn.ended
        delivery = response.items.add(cursor=self._cursor(row.seq)).delivery
        delivery.report.CopyFrom(content)
        delivery.received_time.FromNanoseconds(row.received_ns)
        delivery.withdrawn = withdrawn
        if source is None:
            delivery.received_from = self.node
        else:
            delivery.received_from = source.origin.owner
            delivery.ledger = source.line
            delivery.index = row.index
            delivery.pq_pending = source.pq_size <= row.index
        return content.ByteSize()
