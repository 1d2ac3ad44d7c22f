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
"""

from __future__ import annotations

import asyncio
import re
import struct
import time
import uuid
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from signalfire.v1 import c2_pb2, ledger_pb2, report_pb2

from gateway.c2.grants import ReadGrant
from gateway.ledger.errors import LedgerError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, FeedFilter, FeedItem, FeedRow, LedgerId, StoreReader
from gateway.release.opening import Opener
from gateway.release.plan import FeedEntry
from gateway.release.retention import OWN_FLOOR, PARTNERS_FLOOR, floor
from gateway.release.watch import Watch
from gateway.seal.errors import SealError
from gateway.seal.storage import StorageKeys

READ_ROWS = 256
"""Rows of the feed read at once while a subscriber catches up."""

ITEMS_AT_ONCE: Final = 32
"""Items that are looked at at once, and that go in one message: half of the 4 MiB that a client need not take more of.
"""

TURN_S: Final = 0.002
"""Seconds for which items are looked at for one subscriber before others have their turn; the one at hand is finished.
"""

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
    _origins: dict[LedgerId, Origin] = field(default_factory=dict)

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
            if recent is None:
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
            done = 0
            while done < len(found):
                some = found[done : done + ITEMS_AT_ONCE]
                items, looked_at, end = self._items(some, grant, may_lack=caught_up_at if anew else -1)
                done += looked_at
                if items:
                    yield c2_pb2.SubscribeResponse(items=items)
                else:
                    await asyncio.sleep(0)
                if end is not None:
                    raise end
            position = last
            if not announced and position >= caught_up_at:
                announced = True
                caught_up = c2_pb2.Item(cursor=self._cursor(position), caught_up=c2_pb2.CaughtUp())
                yield c2_pb2.SubscribeResponse(items=[caught_up])
            if not more:
                await self.watch.feed_bell.wait(seen)

    def _items(
        self, found: Sequence[FeedRow | FeedEntry], grant: ReadGrant, *, may_lack: int
    ) -> tuple[Sequence[c2_pb2.Item], int, Exception | None]:
        """What the grant covers of as many as a turn has time for, how many these are, and the error with which it
        ends, if it does: what comes before that is given. What was let go is passed over up to the number `may_lack`.
        """
        items: list[c2_pb2.Item] = []
        looked_at, turn_ends = 0, self.monotonic() + TURN_S
        for looked_at, each in enumerate(found, 1):
            row = each if isinstance(each, FeedRow) else each.row
            try:
                item = self._item(self._load(each) if isinstance(each, FeedRow) else each, grant)
            except _ContentGone:
                if row.seq > may_lack:
                    return items, looked_at, self._pruned(row.seq)
            except (LedgerError, SealError) as error:
                return items, looked_at, error
            else:
                if item is not None:
                    items.append(item)
            if self.monotonic() >= turn_ends:
                break
        return items, looked_at, None

    def _cursor(self, position: int) -> str:
        return f"{self.runs.tag}:{position}"

    def _load(self, row: FeedRow) -> FeedEntry:
        """The content of a row, opened from the ledger that holds it."""
        if row.ledger is None:
            report = self.reader().report_at(row.index)
            assert report is not None, "the feed refers to accepted reports only"
            if report.pruned_ns is not None:
                raise _ContentGone
            plaintext = self.storage.open(report.payload, report.report_id)
            return FeedEntry(row, report_pb2.Report.FromString(plaintext))
        ledger = row.ledger
        origin = self._origin(ledger)

        def fetch(index: int) -> bytes:
            return self.reader().entry(ledger, index) or b""

        entry = fetch(row.index)
        if not entry:
            raise _ContentGone
        content = self.opener.content(origin, row.index, entry, fetch)
        assert content is not None, "the feed refers to entries with content only"
        if row.item is FeedItem.WITHDRAWAL:
            return FeedEntry(row, content.withdrawal)
        passed_on = content.HasField("onward_report")
        return FeedEntry(row, content.onward_report.report if passed_on else content.report)

    def _may_know(self, row: FeedRow, grant: ReadGrant) -> bool:
        """Whether a withdrawal is of a report that the grant covers. A report that is not here yet may be one, and so
        may one whose content was let go.
        """
        if row.traffic_class not in grant.traffic_classes:
            return False
        known = self.reader().received(row.originator, row.report_id)
        if known is None or known.feed is None:
            return True
        (withdrawn, *_), _ = self.reader().feed(known.feed - 1, 1, _EVERYTHING)
        try:
            content = self._load(withdrawn).content
        except _ContentGone:
            return True
        return isinstance(content, report_pb2.Report) and grant.allows(content)

    def _origin(self, ledger: LedgerId) -> Origin:
        """The origin of a ledger. Its number never comes to mean another, so it is looked up once."""
        if ledger not in self._origins:
            self._origins.update((row.id, row.origin) for row in self.reader().ledgers())
        return self._origins[ledger]

    def _item(self, entry: FeedEntry, grant: ReadGrant) -> c2_pb2.Item | None:
        """One item as it is given; None when the grant does not cover it."""
        row, content = entry.row, entry.content
        item = c2_pb2.Item(cursor=self._cursor(row.seq))
        if isinstance(content, ledger_pb2.Withdrawal):
            if not self._may_know(row, grant):
                return None
            notice = item.withdrawal
            notice.report_id = str(uuid.UUID(bytes=row.report_id))
            notice.originator_node = row.originator
            notice.time.CopyFrom(content.time)
            notice.traffic_class = content.traffic_class
            notice.precedence = content.precedence
            notice.received_time.FromNanoseconds(row.received_ns)
            return item
        if not grant.allows(content):
            return None
        delivery = item.delivery
        delivery.report.CopyFrom(content)
        delivery.received_time.FromNanoseconds(row.received_ns)
        if row.ledger is None:
            delivery.received_from = self.node
            own = self.reader().report(row.report_id)
            delivery.withdrawn = own is not None and own.withdrawn_ns is not None
            return item
        origin = self._origin(row.ledger)
        delivery.received_from = origin.owner
        delivery.ledger = str(origin)
        delivery.index = row.index
        pq = self.reader().cosignature(row.ledger, CosignatureKind.PQ, origin.owner)
        delivery.pq_pending = pq is None or pq.size <= row.index
        known = self.reader().received(row.originator, row.report_id)
        delivery.withdrawn = entry.withdrawn or (known is not None and known.withdrawn_ns is not None)
        return item
