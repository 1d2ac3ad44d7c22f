"""What is believed of what a key signed that is out of use: enough that history stays verifiable, and no more.

A thief of such a key can sign anything, with any date, and he may be the other party to what he signed. So what it
signed is believed only where something that he cannot sign stands over it. Rules, in order, for one ledger:

1. Outside one's own store a statement is believed under the keys that a bundle in force names as current, and under no
   others. What an older key signed is believed as far as something of the same ledger by a current key covers it.
2. In one's own store a checkpoint by a retired log key is believed as far as a checkpoint of the same size or a larger
   one, or an anchor, by a current log key covers it.
3. A replica's is believed as well as far as this node itself gave its receipt for that size or a larger one, while the
   key was in use: at a time up to its `until`. Neither the owner nor its thief has this node's receipt key.
4. A statement by a retired log key about an entry is believed where such a checkpoint or receipt covers the entry.
5. A receipt, or a post-quantum line, by a retired key is believed as far as one by a current key covers it.
6. A checkpoint that came with a report which was passed on stands alone: when it comes rule 1 holds for it. In a store
   one by a retired key is believed where this node's own receipt covers the entry that brought it, from while that key
   was in use. What the node that passed it on signed says nothing: it may be the thief.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.errors import NoteError
from gateway.ledger.origin import Origin
from gateway.release.signatory import Partner

FOREVER = 2**63 - 1
"""The `until` of a key that is out of use and was never declared retired, POSIX seconds."""


def open_on_record(raw: bytes, origin: Origin, owner: Partner) -> tuple[Checkpoint, int | None]:
    """A checkpoint that stands alone and was believed when it came (rule 6): where none but retired keys of the
    `owner` signed it, with the latest time until which one of them was in use. Raises NoteError.
    """
    try:
        return open_checkpoint(raw, owner.log, origin)[0], None
    except NoteError:
        signed = []
        for old in owner.retired_log:
            try:
                signed.append((open_checkpoint(raw, [old.key], origin)[0], old.until))
            except NoteError:
                # Another key's.
                continue
        if not signed:
            raise
        return max(signed, key=lambda each: each[1])


@dataclass(slots=True)
class History:
    """The signatures on one ledger by keys of one kind, as they are found, and what follows from them."""

    current_to: int = 0
    """The largest size that a current key signed."""
    _retired: dict[int, array[int]] = field(default_factory=dict)
    """Sizes that retired keys alone signed, by the `until` of the key."""
    _times: array[int] = field(default_factory=lambda: array("q"))
    """When this node gave its receipts (POSIX seconds), in order, and up to which size it then had."""
    _sizes: array[int] = field(default_factory=lambda: array("q"))

    def current(self, size: int) -> None:
        """Takes note of a signature by a current key."""
        self.current_to = max(self.current_to, size)

    def by_retired(self, size: int, until: int) -> None:
        """Takes note of a signature by a retired key."""
        self._retired.setdefault(until, array("q")).append(size)

    def received(self, size: int, at: int) -> None:
        """Takes note of this node's own receipt for a size, of a time. They come by size."""
        while self._times and self._times[-1] >= at:
            # A receipt that is older and covers more says more.
            self._times.pop()
            self._sizes.pop()
        self._times.append(at)
        self._sizes.append(size)

    def covered_to(self, until: int) -> int:
        """The size up to which what a key signed that was retired at `until` is believed."""
        return max(self.current_to, self._received_to(until))

    def received_by(self, index: int, until: int) -> bool:
        """Whether a receipt of this node's, of a time up to `until`, covers the entry `index` of the replica."""
        return self._received_to(until) > index

    def _received_to(self, until: int) -> int:
        place = bisect_right(self._times, until)
        return self._sizes[place - 1] if place else 0

    def uncovered(self) -> Sequence[int]:
        """The sizes that retired keys alone signed, and that are not believed."""
        found = array("q")
        for until, sizes in self._retired.items():
            covered = self.covered_to(until)
            found.extend(size for size in sizes if size > covered)
        return sorted(found)
