"""Searching the decisions of this node, a page at a time, in the order of time.

The index (`gateway.release.verdicts`) says where to look; what is shown is read from the decisions ledger, opened, and
held against the filter once more, so that an index that was altered can hide a decision and never invent one. `ledger
verify` tells of both.

Rules:

1. A page costs no more for a large record than for a small one. Of every verdict that the filter wants the first place
   is looked up, and those are merged by time: a place is read only when its turn comes. A search by report or event
   opens at most EXAMINED records a page (or as many as were asked for); such a page may be short, or empty, and still
   have a next one.
2. Pages neither overlap nor leave anything out, whatever is recorded meanwhile: a token names the last place that was
   looked at, and the next page begins beyond it.
3. A token belongs to one filter and one order, and is refused for any other. It is made by the gateway that runs, which
   knows its own by a code under a key that it drew at its start.
4. What does not open keeps nothing else from being found: its place is told in the page's remarks, and the search goes
   on. A damaged index is told there too, since what it hides cannot be known.
"""

from __future__ import annotations

import hashlib
import heapq
import hmac
import itertools
import os
import struct
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from operator import attrgetter
from typing import Final

from signalfire.v1 import officer_pb2

from gateway.audit.decision_filter import DecisionFilter, FilterError
from gateway.ledger.errors import BundleError, StoreError
from gateway.ledger.origin import DECISIONS, Origin
from gateway.ledger.stores import DecisionPlace, DecisionRange, LedgerId, StoreReader
from gateway.release.opening import Opener
from gateway.release.signatory import Signatory
from gateway.release.verdicts import TO_INDEX, Verdicts
from gateway.seal.errors import SealError

__all__ = ["DecisionFilter", "DecisionSearch", "FilterError", "Page"]

MAX_LIMIT: Final = 1000
"""Most entries of a page."""

EXAMINED: Final = 400
"""Records that a page by report or event opens at most, some tenths of a millisecond each."""

PAGE_BYTES: Final = 1 << 20
"""Bytes of records after which a page ends: gRPC takes messages of some MiB."""

_FIRST_BATCH: Final = 4
_LAST_BATCH: Final = 256
"""Places of one verdict that are read at once: few at first, since where many verdicts take turns few are needed."""

_NO_PLACE: Final = 1 << 63
_EVERYTHING: Final = DecisionRange(
    DecisionPlace(-_NO_PLACE, LedgerId(0), 0), DecisionPlace(_NO_PLACE - 1, LedgerId(_NO_PLACE - 1), _NO_PLACE - 1)
)
REPORTED: Final = 256
"""Records about one report that are read at each end of them: as a rule it has one for each partner and change."""

MAX_REMARKS: Final = 16
"""Entries that do not open which a page names; of more, how many."""

_TOKEN: Final = struct.Struct(">qQQ16s")
_TOKEN_KEY: Final = os.urandom(32)
_TOKEN_DOMAIN: Final = b"signalfire/decision-page/v1\0"


@dataclass(frozen=True, slots=True)
class Page:
    """What was found, and the token for the next page; empty where this was the last."""

    entries: Sequence[officer_pb2.RecordedEntry]
    next_token: bytes
    remarks: Sequence[str] = ()
    """What could not be read, in words; empty: nothing is missing."""


@dataclass(slots=True)
class _Remarks:
    """What could not be read, each thing once."""

    _found: dict[str, None] = field(default_factory=dict)
    _more: int = 0

    def add(self, text: str) -> None:
        if len(self._found) < MAX_REMARKS or text in self._found:
            self._found[text] = None
        else:
            self._more += 1

    def told(self) -> Sequence[str]:
        more = [f"{self._more} more entries do not open; `signalfire ledger verify` names them"] if self._more else []
        return [*self._found, *more]


class DecisionSearch:
    """Searches one store. For use in one thread, that of its reader and opener."""

    def __init__(self, reader: StoreReader, opener: Opener, signatory: Signatory) -> None:
        self._reader = reader
        self._opener = opener
        self._node = signatory.node
        self._verdicts = Verdicts(signatory.storage)
        self._origins: dict[LedgerId, Origin] = {}

    def sizes(self) -> Mapping[LedgerId, int]:
        """How many entries each generation of the decisions ledger has now. Raises StoreError."""
        rows = self._reader.ledgers()
        return {row.id: row.size for row in rows if row.origin.lane == DECISIONS and not row.replica}

    def page(
        self,
        wanted: DecisionFilter,
        *,
        limit: int,
        token: bytes,
        oldest_first: bool,
        within_sizes: Mapping[LedgerId, int] | None = None,
    ) -> Page:
        """Up to `limit` entries, 1 to MAX_LIMIT, after the page that gave `token` (empty: the first); with
        `within_sizes` those alone that the ledgers held when they had these sizes, whatever the clock said since.

        Raises FilterError for a token of another filter or order, and StoreError.
        """
        if not 1 <= limit <= MAX_LIMIT:
            raise FilterError(f"{limit} entries", "page_size", f"ask for 1 to {MAX_LIMIT}")
        most = max(limit, EXAMINED)
        within = _times(wanted)
        if token:
            within = _beyond(within, _read_token(token, wanted, oldest_first=oldest_first), oldest_first=oldest_first)
        found: list[officer_pb2.RecordedEntry] = []
        examined = size = 0
        last: DecisionPlace | None = None
        remarks = _Remarks()
        with self._reader.snapshot():
            for place in self._places(wanted, within, oldest_first=oldest_first):
                if place == last:
                    continue  # several decisions of one record are wanted
                if last is not None and (len(found) == limit or examined == most or size >= PAGE_BYTES):
                    self._remark_on_index(remarks)
                    return Page(found, _token(last, wanted, oldest_first=oldest_first), remarks.told())
                last = place
                examined += 1
                if within_sizes is not None and place.entry >= within_sizes.get(place.ledger, 0):
                    continue
                entry = self._read(place, remarks)
                if entry is not None and (entry := wanted.narrowed(entry)) is not None:
                    found.append(entry)
                    size += entry.ByteSize()
            self._remark_on_index(remarks)
        return Page(found, b"", remarks.told())

    def records_of(self, report_id: str, originator: str) -> tuple[Sequence[officer_pb2.RecordedEntry], Sequence[str]]:
        """The records about one report of an originator (a node's code), the earliest first, and what could not be
        read. Of very many the first and the last REPORTED are given, and it is said that there are more.

        Raises StoreError.
        """
        wanted = DecisionFilter(report_id=report_id, originator_node=originator)
        remarks = _Remarks()
        with self._reader.snapshot():
            first, last = (
                list(itertools.islice(self._places(wanted, _EVERYTHING, oldest_first=oldest_first), REPORTED))
                for oldest_first in (True, False)
            )
            places = sorted({*first, *last})
            if first and last and first[-1] < last[-1]:
                remarks.add(
                    f"there are more records about it than the first {len(first)} and the last {len(last)}, which are"
                    f" given; a search for the report {report_id} gives all of them"
                )
            entries = [self._read(place, remarks) for place in places]
        found = [
            entry
            for entry in entries
            if entry is not None
            and (entry.decision_record.report_id, entry.decision_record.originator_node) == (report_id, originator)
        ]
        return found, remarks.told()

    @staticmethod
    def wants(wanted: DecisionFilter, entry: officer_pb2.RecordedEntry) -> officer_pb2.RecordedEntry | None:
        """What is wanted of an entry: the record with the decisions alone that are. None: nothing."""
        return wanted.narrowed(entry)

    # --- where to look

    def _places(self, wanted: DecisionFilter, within: DecisionRange, *, oldest_first: bool) -> Iterator[DecisionPlace]:
        """The places that may hold what is wanted, in order; one may come several times in succession."""
        reader = self._reader
        if wanted.events or (wanted.report_id is None and wanted.event_id is None):
            yield from self._merged(wanted, within, oldest_first=oldest_first)
        elif wanted.report_id is not None:
            report_id = uuid.UUID(wanted.report_id).bytes
            yield from _stream(
                lambda rest, limit: reader.decisions_of_report(report_id, rest, limit, oldest_first=oldest_first),
                within,
                oldest_first=oldest_first,
            )
        else:
            event_id = wanted.event_id or ""
            yield from _stream(
                lambda rest, limit: reader.decisions_of_event(event_id, rest, limit, oldest_first=oldest_first),
                within,
                oldest_first=oldest_first,
            )

    def _merged(self, wanted: DecisionFilter, within: DecisionRange, *, oldest_first: bool) -> Iterator[DecisionPlace]:
        """The places of every verdict that is wanted, merged."""
        reader, sign = self._reader, 1 if oldest_first else -1
        self._verdicts.catch_up(reader)
        numbers = _wanted_numbers(wanted, self._verdicts, self._node)
        # A verdict begins with the time of its first place alone; where exactly that is, is asked when its turn comes.
        heap: list[tuple[tuple[int, int, int], int]] = [
            ((sign * time_ns, -_NO_PLACE, -_NO_PLACE), number)
            for number, time_ns in reader.decision_bounds(numbers, within, oldest_first=oldest_first)
        ]
        heapq.heapify(heap)
        streams: dict[int, Iterator[DecisionPlace]] = {}
        while heap:
            (time_ns, ledger, entry), number = heap[0]
            stream = streams.get(number)
            if stream is None:
                stream = streams[number] = _stream(
                    lambda rest, limit, of=number: reader.decisions(of, rest, limit, oldest_first=oldest_first),  # type: ignore[misc]
                    within,
                    oldest_first=oldest_first,
                )
            else:
                yield DecisionPlace(sign * time_ns, LedgerId(sign * ledger), sign * entry)
            following = next(stream, None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, ((sign * following[0], sign * following[1], sign * following[2]), number))

    # --- what stands there

    def _remark_on_index(self, remarks: _Remarks) -> None:
        unreadable = self._verdicts.unreadable
        if unreadable:
            remarks.add(
                f"the index of decisions is damaged: {unreadable} of its verdicts do not open, and what was decided by"
                " them is found by its report or event alone; run `signalfire ledger verify`"
            )
        if self._reader.meta(TO_INDEX):
            remarks.add("the index of decisions is being made, and is not whole yet")

    def _read(self, place: DecisionPlace, remarks: _Remarks) -> officer_pb2.RecordedEntry | None:
        """The record at a place; None where there is another, which the index does not know of, or it does not open."""
        origin, ledger = self._origin(place.ledger), place.ledger

        def fetch(index: int) -> bytes:
            return self._reader.entry(ledger, index) or b""

        try:
            content = self._opener.content(origin, place.entry, fetch(place.entry), fetch)
        except (SealError, BundleError) as error:
            remarks.add(f"entry {place.entry} of {origin} does not open: {error}")
            return None
        if content is None:
            return None
        record = content.node_event if content.HasField("node_event") else content.decision_record
        if record.time.ToNanoseconds() != place.time_ns:
            return None
        if content.HasField("node_event"):
            return officer_pb2.RecordedEntry(ledger=str(origin), index=place.entry, node_event=content.node_event)
        return officer_pb2.RecordedEntry(ledger=str(origin), index=place.entry, decision_record=content.decision_record)

    def _origin(self, ledger: LedgerId) -> Origin:
        if ledger not in self._origins:
            self._origins = {row.id: row.origin for row in self._reader.ledgers() if row.origin.recipient is None}
        if ledger not in self._origins:
            raise StoreError(f"the index of decisions names ledger {ledger}, which is not there; run `ledger verify`")
        return self._origins[ledger]


def _wanted_numbers(wanted: DecisionFilter, verdicts: Verdicts, node: str) -> list[int]:
    """The numbers of the verdicts that a filter wants."""
    if wanted.events:
        narrow: dict[str, frozenset[str] | frozenset[int] | None] = {"rule": wanted.event_kinds}
    else:
        narrow = {
            "partner": wanted.partners,
            "outcome": wanted.outcomes,
            "rule": wanted.rules,
            "kind": wanted.kinds,
            "traffic_class": wanted.traffic_classes,
            "precedence": wanted.precedences,
            "agreement": wanted.agreements,
        }
        if wanted.originator_node is not None:
            narrow["originator"] = frozenset({"" if wanted.originator_node == node else wanted.originator_node})
    # There may be ten thousands: what does not narrow is not asked of each.
    asked = [(attrgetter(name), values) for name, values in narrow.items() if values is not None]
    return [
        number
        for number, verdict in verdicts
        if verdict.event == wanted.events and all(value(verdict) in values for value, values in asked)
    ]


def _stream(
    read: Callable[[DecisionRange, int], Sequence[DecisionPlace]], within: DecisionRange, *, oldest_first: bool
) -> Iterator[DecisionPlace]:
    """Places read in batches, each of which begins beyond the last."""
    batch = _FIRST_BATCH
    while True:
        places = read(within, batch)
        yield from places
        if len(places) < batch:
            return
        within = _beyond(within, places[-1], oldest_first=oldest_first)
        batch = min(2 * batch, _LAST_BATCH)


def _times(wanted: DecisionFilter) -> DecisionRange:
    first, last = _EVERYTHING.first, _EVERYTHING.last
    if wanted.since_ns is not None:
        first = first._replace(time_ns=wanted.since_ns)
    if wanted.until_ns is not None:
        last = last._replace(time_ns=wanted.until_ns - 1)
    return DecisionRange(first, last)


def _beyond(within: DecisionRange, place: DecisionPlace, *, oldest_first: bool) -> DecisionRange:
    """What of a range comes after a place."""
    if oldest_first:
        return replace(within, first=place._replace(entry=place.entry + 1))
    return replace(within, last=place._replace(entry=place.entry - 1))


# --- tokens


def _digest(place: DecisionPlace, wanted: DecisionFilter, *, oldest_first: bool) -> bytes:
    filter_of_it = [sorted(value) if isinstance(value, frozenset) else value for value in astuple(wanted)]
    told = _TOKEN_DOMAIN + repr((filter_of_it, oldest_first, tuple(place))).encode()
    return hmac.digest(_TOKEN_KEY, told, hashlib.sha256)[:16]


def _token(place: DecisionPlace, wanted: DecisionFilter, *, oldest_first: bool) -> bytes:
    return _TOKEN.pack(*place, _digest(place, wanted, oldest_first=oldest_first))


def _read_token(token: bytes, wanted: DecisionFilter, *, oldest_first: bool) -> DecisionPlace:
    if len(token) == _TOKEN.size:
        time_ns, ledger, entry, digest = _TOKEN.unpack(token)
        place = DecisionPlace(time_ns, LedgerId(ledger), entry)
        in_bounds = ledger < _NO_PLACE and entry < _NO_PLACE - 1
        if in_bounds and hmac.compare_digest(digest, _digest(place, wanted, oldest_first=oldest_first)):
            return place
    raise FilterError(
        "it belongs to another filter or another order, or to a gateway that has been started again since",
        "page_token",
        "begin again without one",
    )
