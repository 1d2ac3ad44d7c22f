"""Which reports of other nodes have still to be passed on (`gateway.release.put_off` has the rules)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

from signalfire.v1 import report_pb2

from gateway.ledger.errors import OriginError, StoreDamaged
from gateway.ledger.origin import Origin
from gateway.ledger.stores import Commit, StoreReader

PUT_OFF: Final = "put off"
"""Key of the store's own value that says which reports have still to be passed on: one range of entries a line."""

_NUMBER: Final = "(0|[1-9][0-9]{0,18})"
_LINE: Final = re.compile(rf"([!-~]+) ([1-9][0-9]{{0,8}}) {_NUMBER} {_NUMBER}")
_MEND: Final = (
    "Restore the store from a backup, or begin anew and recover it, as docs/operations.md says; start with --restored"
)


class Queue(NamedTuple):
    """What goes in its order: the reports of one originator in one lane and one traffic class, over generations."""

    owner: str
    lane: str
    traffic_class: int

    @classmethod
    def of(cls, origin: Origin, traffic_class: int) -> Queue:
        """That of what comes in a ledger in a traffic class."""
        return cls(origin.owner, origin.lane, traffic_class)

    @property
    def words(self) -> str:
        """The traffic class, as people write it."""
        name = report_pb2.TrafficClass.Name(report_pb2.TrafficClass.ValueType(self.traffic_class))
        return name.removeprefix("TRAFFIC_CLASS_")


@dataclass(frozen=True, slots=True)
class Range:
    """Entries of a replica, from `next` up to, not including, `end`: the reports of that traffic class in them have
    still to be passed on. What is of another class there has gone, or stands in a range of its own.
    """

    origin: Origin
    traffic_class: int
    next: int
    end: int

    @property
    def line(self) -> str:
        """As it stands on record."""
        return f"{self.origin} {self.traffic_class} {self.next} {self.end}"

    @property
    def queue(self) -> Queue:
        """What has to wait for it."""
        return Queue.of(self.origin, self.traffic_class)


def ranges(raw: bytes | None) -> list[Range]:
    """What is put off, as it stands on record, oldest first. Raises StoreDamaged where this gateway cannot have written
    it.
    """
    lines = (raw or b"").decode("ascii", "backslashreplace").split("\n") if raw else []
    found = [_range(number, line) for number, line in enumerate(lines, 1)]
    twice = [key for key, count in Counter((each.origin, each.traffic_class) for each in found).items() if count > 1]
    if twice:
        raise _damaged(f"{twice[0][0]} stands there twice for one traffic class")
    return found


def _range(number: int, line: str) -> Range:
    match = _LINE.fullmatch(line)
    if match is None:
        raise _damaged(f"line {number} is {line!r}, and not an origin, a traffic class and two numbers of entries")
    try:
        origin = Origin.parse(match[1])
    except OriginError as error:
        raise _damaged(f"line {number}: {error}") from error
    some = Range(origin, *map(int, match.groups()[1:]))
    if origin.recipient is None or some.traffic_class not in report_pb2.TrafficClass.values():
        raise _damaged(f"line {number} is {line!r}: no reports of partners stand there")
    if some.next >= some.end:
        raise _damaged(f"line {number} is {line!r}: the range holds nothing")
    return some


def _damaged(why: str) -> StoreDamaged:
    return StoreDamaged(f"the store's own value {PUT_OFF!r} cannot be what this gateway wrote: {why}. {_MEND}")


def require_ranges(raw: bytes | None, sizes: Mapping[Origin, int]) -> None:
    """Holds what is put off against the replicas, each with the number of its entries. Raises StoreDamaged."""
    for each in ranges(raw):
        if each.origin not in sizes:
            raise _damaged(f"it names {each.origin}, and there is no such replica")
        if each.end > sizes[each.origin]:
            raise _damaged(f"it names entry {each.end - 1} of {each.origin}, which has {sizes[each.origin]} entries")


def next_of(put_off: Sequence[Range], lane: str) -> list[Range]:
    """Of what is put off the first of each queue in a lane; the real world before exercises."""
    found = {each.queue: each for each in reversed(put_off) if each.origin.lane == lane}
    return sorted(found.values(), key=lambda each: each.traffic_class)


def entries_by_owner(put_off: Sequence[Range], lane: str) -> Mapping[str, int]:
    """How many entries of a lane have still to be looked at, by originator."""
    found: Counter[str] = Counter()
    for each in put_off:
        if each.origin.lane == lane:
            found[each.origin.owner] += each.end - each.next
    return found


class PutOff:
    """What is put off, durably or by one plan."""

    def __init__(self, store: StoreReader, commit: Commit) -> None:
        self._store = store
        self._commit = commit
        self._read: dict[tuple[Origin, int], Range] | None = None
        """Oldest first; read when it is first asked for."""
        self._changed = False

    def first(self, queue: Queue) -> Range | None:
        """The first for which what comes in that queue has to wait; None: it can go at once. Raises StoreError."""
        return next((each for each in self._ranges.values() if each.queue == queue), None)

    def add(self, origin: Origin, traffic_class: int, index: int) -> None:
        """Puts off the report at `index`, behind those that are."""
        key = origin, traffic_class
        known = self._ranges.get(key)
        self._ranges[key] = Range(*key, index if known is None else known.next, index + 1)
        self._changed = True

    def advance(self, first: Range, position: int) -> None:
        """What stands before `position` is dealt with."""
        key = first.origin, first.traffic_class
        if position < first.end:
            self._ranges[key] = replace(first, next=position)
        else:
            del self._ranges[key]
        self._changed = True

    def finish(self) -> None:
        """Puts on record what has become of it."""
        if self._changed:
            lines = (each.line for each in self._ranges.values())
            self._commit.meta[PUT_OFF] = "\n".join(lines).encode("ascii")

    @property
    def _ranges(self) -> dict[tuple[Origin, int], Range]:
        if self._read is None:
            found = ranges(self._store.meta(PUT_OFF))
            self._read = {(each.origin, each.traffic_class): each for each in found}
        return self._read
