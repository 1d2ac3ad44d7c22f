"""Holds the witness ledger of a node against the ledgers that it commits to.

Rules, in order, for each entry:

1. It holds what an entry of a witness ledger may hold (`gateway.release.witness`). The first sealed entry of a
   generation after the first is a `Succession`, and no other is.
2. Each head is a checkpoint on record: of that ledger, size and root. (That each checkpoint on record is what the
   ledger's entries give is found where that ledger is checked.) So a history that was written anew is named by every
   beat since the first entry that is another.
3. The ledgers of a recipient, once named, are named in every beat that follows, by the same or a later generation, and
   none shrinks.
4. The time does not lie before the newest one by more than a trusted clock can, unless the clock was declared right in
   between.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Note
from gateway.ledger.stores import StoreReader
from gateway.release.witness import Witnessed

CLOCK_SLACK_NS: Final = 5_000_000_000
"""How far a trusted clock can go back: 2 s against its own start either way, and 1 s by which the newest time on record
may lag behind."""


@dataclass(slots=True)
class WitnessCheck:
    """One generation after another of this node's witness ledger. `clock_declared` gives the times, nanoseconds since
    1970, at which the clock was declared right.
    """

    store: StoreReader
    clock_declared: Callable[[], Collection[int]]
    _last: dict[tuple[str | None, str], Checkpoint] = field(default_factory=dict)
    _newest_ns: int = 0
    _began: int = 0
    """Index of the first entry of the beat that is being read."""
    _due: set[tuple[str | None, str]] = field(default_factory=set)
    """What that beat has to name: everything that was named before."""
    _named: set[tuple[str | None, str]] = field(default_factory=set)

    def note(self, index: int, witnessed: Witnessed) -> Iterator[str]:
        """Everything that is wrong with the entry at `index`."""
        yield from self._time(index, witnessed.time_ns)
        lines = {(head.origin.recipient, head.origin.lane) for head in witnessed.heads}
        if any(recipient is None for recipient, _ in lines):
            # The node's own ledgers stand in the first entry of a beat.
            yield from self.finish()
            self._began, self._due, self._named = index, set(self._last), set()
        self._named |= lines
        for head in witnessed.heads:
            origin = head.origin
            line = origin.recipient, origin.lane
            before = self._last.get(line)
            if before == head:
                continue
            self._last[line] = head
            if before is not None and _shrinks(before, head):
                yield (
                    f"entry {index} commits to {origin} with {head.size} entries, and one before it to"
                    f" {before.origin} with {before.size}"
                )
            yield from self._against_record(index, head)

    def _against_record(self, index: int, head: Checkpoint) -> Iterator[str]:
        row = self.store.ledger(head.origin)
        raw = None if row is None else self.store.checkpoint(row.id, head.size)
        if raw is None:
            yield (
                f"entry {index} commits to {head.origin} with {head.size} entries, root {head.root.hex()}, and no"
                " checkpoint of that size is on record: its history is another"
            )
        elif _text(raw) != head.text():
            yield (
                f"entry {index} commits to {head.origin} with {head.size} entries, root {head.root.hex()}, and the"
                " checkpoint of that size has another root: its history is another"
            )

    def finish(self) -> Iterator[str]:
        """What is wrong with the last beat."""
        for line in sorted(self._due - self._named, key=repr):
            yield f"the beat that begins with entry {self._began} leaves out {self._last[line].origin}"
        self._due = set()

    def _time(self, index: int, time_ns: int | None) -> Iterator[str]:
        if time_ns is None:
            return
        newest_ns = self._newest_ns
        if time_ns >= newest_ns - CLOCK_SLACK_NS:
            self._newest_ns = max(newest_ns, time_ns)
            return
        self._newest_ns = time_ns
        if not any(at <= time_ns + CLOCK_SLACK_NS and at < newest_ns for at in self.clock_declared()):
            yield (
                f"entry {index} is {(newest_ns - time_ns) / 1e9:.0f} s older than one before it, and nobody declared"
                " the clock right"
            )


def _shrinks(before: Checkpoint, head: Checkpoint) -> bool:
    if before.origin == head.origin:
        return head.size < before.size
    return head.origin.generation < before.origin.generation


def _text(raw: bytes) -> str:
    """The text of a note on record; nothing where it is none, which is a finding of its own ledger."""
    try:
        return Note.parse(raw).text
    except NoteError:
        return ""
