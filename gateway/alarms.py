"""Alarms: what an operator must hear of, from the moment at which it is so until it is so no longer.

Seventeen kinds, each with a gauge of its own:

1. **Receipt overdue**: the oldest entry of a lane for a partner that has no receipt yet is older than is allowed. An
   entry's age counts from when it was first seen without one, so after a start from then on. A lane in which this node
   itself holds back what waits (no policy, no clock) is not overdue.
2. **Roots differ**: a partner has contradicted itself about a ledger that has not ended since, or the two ends of a
   ledger do not have the same, or comparing third nodes' witness ledgers has found something against it.
3. **Partner silent**: no verified heartbeat, by any way, for longer than is allowed; counted from the start at first.
4. **Uncovered**: a partner has retired a log key, and nothing by a key that it uses covers what this node holds of a
   ledger of it that goes on: neither a later checkpoint nor an anchor. Nobody can prove that any more.

5. **Clock off**: what is known of the offset to a partner's clock is more than is allowed, whatever the way of the
   heartbeat may have added to it. One of the two clocks is wrong.
6. **Partner unheard**: the partner has answered no heartbeat of this node for longer than is allowed: it does not hear
   us, though we may hear it.
7. **Partner refuses**: the partner's heartbeats say that its gateway does not take every report of its C2 systems. Its
   silence is then no calm.
8. **Own clock**: this node does not trust its clock, or its kernel says that it may be off by much.
9. **Carried**: a partner is heard, but not directly: only by what others carry. What is said then comes late by
   fractions of a second, and one thing that fails more is the end of it.
10. **Turned away**: several streams of a partner's gateway were ended of late for what it did, or did not do
    (`gateway.exchange.conduct`). Nothing but those streams is touched by it.
11. **No policy**: no policy of the officers is in force, so nothing is released to anybody.
12. **Owed**: a partner is heard, its heartbeats show entries of a lane that are not here, and for longer than is
    allowed nothing of that lane has come. A backlog that comes is progress, however long it takes.
13. **Expires**: something that this node's LIVE reports depend on expires within WEEKS_AHEAD, or has
    (`gateway.expiry`).
14. **Withheld**: something failed, and a FLASH report was withheld from a partner for it (`gateway.attention`).
15. **After the all-clear**: a warning that was made before the all-clear of its event was accepted after it, and stands
    (`gateway.attention`).
16. **Unopened**: something in the feed does not open, and subscribers are not given it (`gateway.attention`).
17. **Put off**: LIVE reports of a partner's FLASH lane wait to be passed on to others for longer than PUT_OFF_S, or
    what waits cannot be read.

What becomes critical rises anew. `look` compares and does nothing else; whoever calls it logs what rose and what fell.
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from signalfire.v1 import report_pb2

from gateway.attention import Late
from gateway.exchange.partners import DIRECT, Link
from gateway.expiry import Expiry
from gateway.ledger.errors import NoteError, StoreDamaged
from gateway.ledger.note import Note, Verifier
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores import CosignatureKind, StoreReader
from gateway.release.evidence import META
from gateway.release.heads import Head
from gateway.release.planned.put_off import PUT_OFF, ranges
from gateway.release.signatory import Partner
from gateway.telemetry import Telemetry

LIVE: Final = "LIVE"
"""The traffic class of the real world."""

KEPT_SIZES: Final = 64
"""Sizes of one ledger of which it is remembered when they were seen. What stands between two of them is taken for as
old as the oldest of them: an age is never understated, and overstated by what lies between two."""


PUT_OFF_S: Final = 10.0
"""Seconds for which what came on the FLASH lane may wait to be passed on: five hundred more than the burst, as much as
is allowed by default."""


@dataclass(frozen=True, slots=True)
class AlarmLimits:
    """When something becomes an alarm."""

    receipt_overdue_s: float = 10.0
    """Seconds that an entry may be without its receipt: a FLASH that nobody confirms is worth a telephone call."""
    partner_silent_s: float = 5.0
    """Seconds without a heartbeat: five of them, and two more than after which the connection is given up."""
    clock_offset_s: float = 0.5
    """Seconds that a partner's clock may be off from ours: clocks that are synchronised agree to some milliseconds, and
    reports flag times that are off by a second."""
    entries_owed_s: float = 30.0
    """Seconds for which nothing may come of a lane of which a partner shows entries: by then its stream was opened anew
    three times (`gateway.exchange.owed`), and the largest batch has come over some 35 kB/s."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One thing that is wrong now. `key` stays the same while it lasts; `text` says it in words."""

    key: tuple[str, ...]
    text: str
    critical: bool = False


@dataclass(frozen=True, slots=True)
class ClockState:
    """Why this node does not trust its clock, and what has to be looked at though it does; empty where all is well."""

    problem: str = ""
    remark: str = ""


@dataclass(slots=True)
class Unreceipted:
    """When the entries of one ledger that have no receipt of one partner, or wait to be passed on, were first seen."""

    _seen: deque[tuple[int, float]] = field(default_factory=deque)
    """(size, time), both growing."""

    def age_s(self, size: int, receipt: int, now: float) -> float:
        """The age of the oldest entry without receipt, seconds; 0 where there is none."""
        if size > max(receipt, self._seen[-1][0] if self._seen else 0):
            self._seen.append((size, now))
        while self._seen and self._seen[0][0] <= receipt:
            self._seen.popleft()
        if len(self._seen) > KEPT_SIZES:
            self._let_go()
        return now - self._seen[0][1] if self._seen else 0.0

    def _let_go(self) -> None:
        """Joins the two that lie closest together, but for the oldest and the newest: the larger size gets the time of
        the smaller one, or what stands between them would be taken for younger than it is.
        """
        seen = list(self._seen)
        at = min(range(1, len(seen) - 2), key=lambda each: seen[each + 1][1] - seen[each][1])
        seen[at : at + 2] = [(seen[at + 1][0], seen[at][1])]
        self._seen = deque(seen)


@dataclass(slots=True)
class Standstill:
    """Since when nothing has come of one lane, though something is owed."""

    _size: int = 0
    _since: float | None = None

    def age_s(self, owed: bool, size: int, now: float) -> float:
        """For how long that is so, seconds; 0 where nothing is owed. `size`: entries of the lane that are here."""
        if not owed:
            self._since = None
        elif self._since is None or size != self._size:
            self._since = now
        self._size = size
        return 0.0 if self._since is None else now - self._since


class Alarms:
    """Looks at the links and the ledgers, and says what is wrong."""

    def __init__(
        self,
        node: str,
        limits: AlarmLimits,
        links: Mapping[str, Link],
        heads: Callable[[], Iterable[Head]],
        current: Callable[[str, str | None, str], Origin],
        reader: Callable[[], StoreReader],
        telemetry: Telemetry,
        monotonic: Callable[[], float],
        keys: Callable[[], Mapping[str, Partner]] = dict,
        clock: Callable[[], ClockState] = ClockState,
        policy: Callable[[], bytes] = lambda: b"in force",
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        expiring: Callable[[], Sequence[Expiry]] = tuple,
    ) -> None:
        """`policy` gives the digest of the one in force; empty where none is."""
        self._node = node
        self._limits = limits
        self._links = links
        self._heads = heads
        self._current = current
        self._reader = reader
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._keys = keys
        self._clock = clock
        self._policy = policy
        self._now = now
        self._expiring = expiring
        self._began = monotonic()
        self._unreceipted: dict[tuple[Origin, str], Unreceipted] = {}
        self._standstills: dict[tuple[str, str], Standstill] = {}
        self._put_off: dict[Origin, Unreceipted] = {}
        self._standing: dict[tuple[str, ...], Alarm] = {}
        self._since: dict[tuple[str, ...], datetime] = {}

    @property
    def standing(self) -> list[str]:
        """What was wrong at the last look, in words, and since when it was an alarm, UTC."""
        return [
            f"{alarm.text} (alarm since {self._since[key]:%Y-%m-%dT%H:%M:%SZ})"
            for key, alarm in sorted(self._standing.items())
        ]

    def look(self) -> tuple[list[Alarm], list[Alarm]]:
        """Looks anew, and sets the gauges. Returns what has risen, or become critical, and what has fallen since the
        last look.

        Raises StoreError.
        """
        heads = list(self._heads())
        own = (
            self._own_clock(),
            self._no_policy(),
            self._expires(),
            self._after_all_clear(),
            self._unopened(),
            self._waits(),
        )
        found: dict[tuple[str, ...], Alarm] = {alarm.key: alarm for kind in own for alarm in kind}
        for partner, link in self._links.items():
            alarms = (
                self._silent(partner, link),
                self._unheard(partner, link),
                self._carried(partner, link),
                self._refuses(partner, link),
                self._turned_away(partner, link),
                self._overdue(partner, link, heads),
                self._owed(partner, link, heads),
                self._differ(partner, link, heads),
                self._uncovered(partner, heads),
                self._clock_off(partner, link),
            )
            found.update({alarm.key: alarm for kind in alarms for alarm in kind})
        # Last, for it takes note of what it tells, and what is above may fail to read.
        found.update({alarm.key: alarm for alarm in self._withheld()})
        before = self._standing
        risen = [
            alarm
            for key, alarm in sorted(found.items())
            if key not in before or (alarm.critical and not before[key].critical)
        ]
        fallen = [alarm for key, alarm in sorted(self._standing.items()) if key not in found]
        self._standing, now = found, self._now()
        self._since = {key: self._since.get(key, now) for key in found}
        return risen, fallen

    def _silent(self, partner: str, link: Link) -> Iterator[Alarm]:
        silent_s = self._monotonic() - (self._began if link.heard_at is None else link.heard_at)
        self._telemetry.partner_silent.labels(partner=partner).set(silent_s)
        if silent_s > self._limits.partner_silent_s:
            since = "since the start" if link.heard_at is None else f"for {silent_s:.0f} s"
            yield Alarm(("silent", partner), f"{partner} is silent: no heartbeat {since}")

    def _unheard(self, partner: str, link: Link) -> Iterator[Alarm]:
        unheard_s = self._monotonic() - (self._began if link.answered_at is None else link.answered_at)
        self._telemetry.partner_unheard.labels(partner=partner).set(unheard_s)
        if unheard_s > self._limits.partner_silent_s:
            since = "since the start" if link.answered_at is None else f"for {unheard_s:.0f} s"
            yield Alarm(("unheard", partner), f"{partner} does not hear us: it has answered no heartbeat {since}")

    def _carried(self, partner: str, link: Link) -> Iterator[Alarm]:
        """While the partner is heard by no direct way, though by others."""
        ways = link.heard_by
        for way in sorted({*ways, *link.ways}):
            self._telemetry.heard_by.labels(partner=partner, way=way).set(way in ways)
        if ways and DIRECT not in ways:
            yield Alarm(("carried", partner), f"{partner} is not heard directly, only {' and '.join(ways)}")

    def _refuses(self, partner: str, link: Link) -> Iterator[Alarm]:
        if link.not_accepting:
            yield Alarm(("refuses", partner), f"{partner} {link.not_accepting}, so its silence is no calm")

    def _turned_away(self, partner: str, link: Link) -> Iterator[Alarm]:
        told = link.conduct.told(self._monotonic())
        self._telemetry.turned_away.labels(partner=partner).set(bool(told))
        if told:
            yield Alarm(("turned away", partner), f"{partner}: {told}")

    def _clock_off(self, partner: str, link: Link) -> Iterator[Alarm]:
        """While the partner is heard: what was measured before says nothing of now."""
        if link.clock_offset_s is None or link.heartbeat_at is None:
            return
        if abs(link.clock_offset_s) - link.clock_error_s > self._limits.clock_offset_s:
            which = "ahead of" if link.clock_offset_s > 0 else "behind"
            text = f"{partner}'s clock is {abs(link.clock_offset_s):.1f} s {which} ours: one of the two is wrong"
            yield Alarm(("clock", partner), text)

    def _own_clock(self) -> Iterator[Alarm]:
        state = self._clock()
        if state.problem:
            text = f"{state.problem}: the clock is not trusted, and agreements count as lapsed"
            yield Alarm(("clock",), text, critical=True)
        elif state.remark:
            yield Alarm(("clock",), state.remark)

    def _no_policy(self) -> Iterator[Alarm]:
        has_policy = bool(self._policy())
        self._telemetry.policy_in_force.set(has_policy)
        if not has_policy:
            text = (
                "no policy is in force: every report is withheld from every partner, until officers sign an order"
                " (`signalfire policy sign`) and it is activated"
            )
            yield Alarm(("policy",), text, critical=True)

    def _expires(self) -> Iterator[Alarm]:
        now = self._now()
        for expiry in self._expiring():
            if (words := expiry.words(now)) is not None:
                yield Alarm(("expires", expiry.what, expiry.name), words, critical=expiry.at <= now)

    def _withheld(self) -> Iterator[Alarm]:
        counts = dict.fromkeys(self._links, 0)
        for partner, traffic_class, failure, count, since in self._telemetry.attention.withheld(
            self._policy(), self._now()
        ):
            counts[partner] = counts.get(partner, 0) + count
            text = (
                f"FLASH withheld from {partner}: {failure} ({count} {traffic_class} since {since:%Y-%m-%dT%H:%M:%SZ})"
            )
            yield Alarm(("withheld", partner, traffic_class, failure), text, critical=traffic_class == LIVE)
        for partner, count in counts.items():
            self._telemetry.alerts_withheld.labels(partner=partner).set(count)

    def _after_all_clear(self) -> Iterator[Alarm]:
        attention, standing = self._telemetry.attention, set[bytes]()
        if report_ids := attention.late_ids:
            rows = self._reader().reports(report_ids)
            standing = {row.report_id for row in rows if row.withdrawn_ns is None}
        by_event = attention.late(standing, self._monotonic())
        self._telemetry.after_all_clear.set(sum(map(len, by_event.values())))
        for event_id, late in by_event.items():
            named = f"a warning was accepted after the all-clear of its event, and stands: {_named(late[0])}"
            more = f", and {len(late) - 1} more of that event" if len(late) > 1 else ""
            yield Alarm(("after all-clear", event_id), named + more)

    def _unopened(self) -> Iterator[Alarm]:
        unopened = self._telemetry.attention.unopened
        self._telemetry.unopened_items.set(len(unopened))
        if unopened:
            words = unopened[max(unopened)]
            more = f", and {len(unopened) - 1} more" if len(unopened) > 1 else ""
            text = f"the store holds what does not open, and subscribers are not given it: {words}{more}"
            yield Alarm(("unopened",), text, critical=True)

    def _waits(self) -> Iterator[Alarm]:
        raw, now, ages = self._reader().meta(PUT_OFF), self._monotonic(), dict[str, float]()
        try:
            put_off = ranges(raw)
        except StoreDamaged as error:
            yield Alarm(("put off",), f"what is to be passed on cannot be read: {error}", critical=True)
            return
        alerts = [each for each in put_off if each.queue[1:] == (Lane.FLASH, report_pb2.TRAFFIC_CLASS_LIVE)]
        self._put_off = {each.origin: self._put_off.get(each.origin, Unreceipted()) for each in alerts}
        for each in alerts:
            age_s = self._put_off[each.origin].age_s(each.end, each.next, now)
            ages[each.origin.owner] = max(age_s, ages.get(each.origin.owner, 0.0))
        for partner, age_s in sorted(ages.items()):
            if age_s > PUT_OFF_S:
                text = f"alerts of {partner} wait to be passed on to others, the oldest for {age_s:.0f} s"
                yield Alarm(("put off", partner), text)

    def _overdue(self, partner: str, link: Link, heads: Iterable[Head]) -> Iterator[Alarm]:
        now, ages = self._monotonic(), dict[str, float]()
        for head in heads:
            origin = head.origin
            mine = not head.replica and origin.owner == self._node
            if not mine or not (origin.recipient == partner or origin.lane == WITNESS):
                continue
            if self._current(origin.owner, origin.recipient, origin.lane) != origin:
                # What of an ended ledger has no receipt stands in its successor again.
                self._unreceipted.pop((origin, partner), None)
                continue
            receipt = self._reader().cosignature(head.id, CosignatureKind.RECEIPT, partner)
            seen = self._unreceipted.setdefault((origin, partner), Unreceipted())
            if link.is_paused(origin.lane):
                seen = self._unreceipted[(origin, partner)] = Unreceipted()
            ages[origin.lane] = seen.age_s(head.edge.size, 0 if receipt is None else receipt.size, now)
        for lane, age_s in sorted(ages.items()):
            self._telemetry.receipt_overdue.labels(partner=partner, lane=lane).set(age_s)
            if age_s > self._limits.receipt_overdue_s:
                text = f"{partner} has given no receipt in lane {lane} for an entry that is {age_s:.0f} s old"
                yield Alarm(("overdue", partner, lane), text)

    def _owed(self, partner: str, link: Link, heads: Iterable[Head]) -> Iterator[Alarm]:
        """While the partner is heard: that it is silent is told by itself, and whoever returns begins anew."""
        now = self._monotonic()
        heard = link.heard_at is not None and now - link.heard_at <= self._limits.partner_silent_s
        here = dict[str, int]()
        for head in heads:
            if head.replica and head.origin.owner == partner:
                here[head.origin.lane] = here.get(head.origin.lane, 0) + head.edge.size
        for lane in (*Lane, WITNESS):
            standstill = self._standstills.setdefault((partner, lane), Standstill())
            owed = heard and link.owed.since(lane) is not None
            age_s = standstill.age_s(owed, here.get(lane, 0), now)
            self._telemetry.owed.labels(partner=partner, lane=lane).set(age_s)
            if age_s > self._limits.entries_owed_s:
                why = f": {link.problems[lane]}" if lane in link.problems else ""
                text = f"{partner} shows entries in lane {lane} that do not come: nothing for {age_s:.0f} s"
                yield Alarm(("owed", partner, lane), text + why)

    def _differ(self, partner: str, link: Link, heads: Iterable[Head]) -> Iterator[Alarm]:
        found = dict(link.differs)
        for head in heads:
            origin = head.origin
            if (origin.owner, origin.recipient) not in ((partner, self._node), (partner, None)):
                continue
            if self._current(origin.owner, origin.recipient, origin.lane) != origin:
                continue
            evidence = self._reader().meta(f"{META}{origin}")
            if evidence is not None:
                found[origin.lane] = f"{partner} has contradicted itself: {evidence.decode()}"
        self._telemetry.roots_differ.labels(partner=partner).set(bool(found))
        for lane, text in sorted(found.items()):
            yield Alarm(("differ", partner, lane), f"{partner}, lane {lane}: {text}", critical=True)

    def _uncovered(self, partner: str, heads: Iterable[Head]) -> Iterator[Alarm]:
        owner, lanes = self._keys().get(partner), list[str]()
        for head in heads:
            origin = head.origin
            if owner is None or not owner.retired_log or origin.owner != partner or not head.edge.size:
                continue
            if self._current(origin.owner, origin.recipient, origin.lane) != origin:
                continue
            notes = [self._reader().checkpoint(head.id, head.edge.size)]
            anchor = self._reader().cosignature(head.id, CosignatureKind.ANCHOR, partner)
            if anchor is not None and anchor.size == head.edge.size:
                notes.append(anchor.note)
            verifiers = [key.verifier(origin) for key in owner.log]
            if not any(_bears(raw, verifier) for raw in notes for verifier in verifiers):
                lanes.append(origin.lane)
        self._telemetry.uncovered.labels(partner=partner).set(len(lanes))
        for lane in sorted(lanes):
            text = (
                f"{partner} has retired a log key, and nothing by a key that it uses covers its ledger in lane {lane}:"
                " nobody can prove any more what it sent"
            )
            yield Alarm(("uncovered", partner, lane), text)


def _named(late: Late) -> str:
    return str(uuid.UUID(bytes=late.report_id))


def _bears(raw: bytes | None, verifier: Verifier) -> bool:
    """Whether a note on record is signed under that key; what cannot be read covers nothing."""
    try:
        return raw is not None and Note.parse(raw).bears(verifier)
    except NoteError:
        return False
