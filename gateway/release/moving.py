"""What a ledger that ended hands on to its successor: the reports and withdrawals for which there is no receipt.

Rules, in order:

1. They are sealed into the successor again in their order. What was kept back before the ledger ended stays so; what
   does not open is counted, and keeps nothing from going on.
2. The first MOVED_A_COMMIT of them go with the commit in which the ledger ends. A partner that was away may have a
   million: the rest follows in steps of its own (`MoveOn`), so that the next alert waits for none of it, and what is
   new goes before it. How far that is stands on record in the same commits.
3. It goes into whichever generation is open by then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger import bundle
from gateway.ledger.origin import Origin
from gateway.ledger.stores import KeptBackRow, LedgerId
from gateway.release import groups
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.planned.ledger_writer import LedgerWriter
from gateway.release.ranks import Rank, rank_of_lane
from gateway.seal.errors import SealError

MOVED_A_COMMIT: Final = 512
"""Reports and withdrawals of one ledger that are sealed again in one commit: some 50 ms."""

MOVING: Final = "moving"
"""Key of the store's own value that says what of ledgers that ended has still to be handed on: one line each."""

GOES_ON: Final = "it goes on in "
"""Begins the reason why an entry of a ledger that ended is kept back (`gateway.release.keeping`): that is no reason to
keep it back in the successor."""


@dataclass(frozen=True, slots=True)
class Remaining:
    """Entries of a ledger that ended, from `next` up to, not including, `end`."""

    source: Origin
    next: int
    end: int

    @property
    def line(self) -> str:
        """As it stands on record."""
        return f"{self.source} {self.next} {self.end}"


@dataclass(frozen=True, slots=True)
class Handed:
    """A part of what has to be handed on: each with its ledger and index; the index after the last that was looked at,
    and how many of those do not open.
    """

    contents: Sequence[tuple[LedgerId, int, ledger_pb2.EntryContent]]
    next: int
    lost: int


def remaining(raw: bytes | None) -> list[Remaining]:
    """What has still to be handed on, as it stands on record."""
    lines = (line.split(" ") for line in (raw or b"").decode("ascii").splitlines())
    return [Remaining(Origin.parse(source), int(at), int(end)) for source, at, end in lines]


def note_remaining(plan: Plan, rest: Iterable[Remaining]) -> None:
    """Puts on record what has still to be handed on."""
    plan.commit.meta[MOVING] = "\n".join(each.line for each in rest if each.next < each.end).encode("ascii")


def remaining_in(plan: Plan) -> list[Remaining]:
    """What has still to be handed on, durably or by this plan."""
    return remaining(plan.commit.meta[MOVING] if MOVING in plan.commit.meta else plan.store.meta(MOVING))


def read(plan: Plan, rest: Remaining, limit: int) -> Handed:
    """The next of what has to be handed on, at most `limit`; durable, or in the plan that ends the ledger."""
    head = plan.ledgers.head(rest.source)
    assert head is not None  # it has ended here
    ledger, size = head.id, head.edge.size
    writer = plan.ledgers.writer_of(rest.source) if rest.end > size else None
    kept_back = _kept_back(plan, ledger, rest)
    opener = Opener(plan.signatory.node, plan.signatory.sealing)

    def fetch(index: int) -> bytes:
        if writer is not None and index >= size:
            return writer.entries[index - size]
        return plan.store.entry(ledger, index) or b""

    found: list[tuple[LedgerId, int, ledger_pb2.EntryContent]] = []
    position, lost = rest.next, 0
    while position < rest.end and len(found) < limit:
        first, entries = _some(plan, ledger, size, writer, position)
        for index, entry in enumerate(entries, first):
            if index < position or index >= rest.end:
                continue
            if len(found) == limit:
                break
            position = index + 1
            if index in kept_back or not entry:
                continue
            try:
                content = opener.content(rest.source, index, entry, fetch)
            except SealError:
                lost += 1
                continue
            if content is not None and content.WhichOneof("content") in ("report", "onward_report", "withdrawal"):
                found.append((ledger, index, content))
    return Handed(found, position, lost)


def _some(
    plan: Plan, ledger: LedgerId, size: int, writer: LedgerWriter | None, position: int
) -> tuple[int, Sequence[bytes]]:
    """Entries from at most `position` on, and the index of the first: a whole segment, or those in the plan."""
    if position < size:
        first = plan.store.segment_of(ledger, position)
        run = plan.store.run(ledger, first, 1)
        assert run is not None, "the ledger goes on"
        return first, bundle.decode(run.entries, run.count, allow_absent=True)
    assert writer is not None  # nothing but the plan holds more
    return size, writer.entries


def _kept_back(plan: Plan, ledger: LedgerId, rest: Remaining) -> Collection[int]:
    def before_it_ended(rows: Iterable[KeptBackRow]) -> set[int]:
        return {row.index for row in rows if row.ledger == ledger and not row.reason.startswith(GOES_ON)}

    return before_it_ended(plan.store.kept_back(ledger, rest.next, rest.end)) | before_it_ended(plan.commit.kept_back)


def hand_on(plan: Plan, writer: LedgerWriter, handed: Handed) -> None:
    """Seals it into the successor."""
    for ledger, index, content in handed.contents:
        moved = groups.seal(writer, groups.as_sealed(content))
        if not content.HasField("withdrawal"):
            plan.commit.moved.append((ledger, index, writer.head.id, moved))


@dataclass(frozen=True, slots=True)
class MoveOn:
    """Hands on the next of what has still to be handed on of one ledger."""

    source: Origin
    weight: int = 0

    @property
    def rank(self) -> Rank:
        """That of its lane."""
        return rank_of_lane(self.source)

    def apply(self, plan: Plan) -> int:
        """Seals some of it again. Returns how many entries it has dealt with; 0 also while the recipient's keys are not
        known.
        """
        rest = remaining_in(plan)
        place = next((at for at, each in enumerate(rest) if each.source == self.source), None)
        recipient = self.source.recipient
        assert recipient is not None  # a home ledger hands nothing on
        if place is None or recipient not in plan.recipients:
            return 0
        mine = rest[place]
        handed = read(plan, mine, MOVED_A_COMMIT)
        hand_on(plan, plan.ledgers.writer(recipient, self.source.lane), handed)
        rest[place] = replace(mine, next=handed.next)
        note_remaining(plan, rest)
        return handed.next - mine.next
