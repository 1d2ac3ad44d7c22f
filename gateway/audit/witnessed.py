"""Holds the witness ledger of a node against the ledgers that it commits to.

Rules, in order, for each entry:

1. It holds what an entry of a witness ledger may hold (`gateway.release.witness`). The first sealed entry of a
   generation after the first is a `Succession`, and no other is.
2. Each head is a checkpoint on record: of that ledger, size and root. (That each checkpoint on record is what the
   ledger's entries give is found where that ledger is checked.) So a history that was written anew is named by every
   beat since the first entry that is another.
3. Every beat names the decisions ledger: a node records its start before it beats. What names another time than the
   beat before it is a beat of its own.
4. Every beat names each ledger of which the decisions that it commits to name an entry, with that entry or by a later
   generation. The ledgers of a recipient, once named, are named in every beat that follows, and none shrinks.
5. The time does not lie before the newest one by more than a trusted clock can, unless the clock was declared right in
   between.

And over all of them:

6. Between two beats, and after the last one, the decisions ledger does not show that the node ran on for more than
   UNWITNESSED_NS (`gateway.audit.timeline`): twice the largest interval that beats may have. Nor does it show more than
   RUNS_UNWITNESSED runs in which something was decided: a node beats at once when it has started, and may crash before.
   Before the first beat that holds for the run alone in which it was made: what ran before may have known no witness
   ledger. Where there is no beat at all it holds for everything, with ALONE_NS.
7. A partner that still gave receipts for reports ALONE_NS after the first beat, or UNWITNESSED_NS after anybody last
   cosigned the witness ledger, would have cosigned it as well. Where such a partner is, it was shown to nobody since.
   What a receipt says of its time counts up to the newest decision: a partner's clock may be ahead.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.audit.timeline import Line, Timeline
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import NoteError, OriginError
from gateway.ledger.note import Note
from gateway.ledger.origin import DECISIONS, WITNESS, Origin
from gateway.ledger.stores import StoreReader
from gateway.release.witness import MAX_INTERVAL_S, Witnessed

CLOCK_SLACK_NS: Final = 5_000_000_000
"""How far a trusted clock can go back: 2 s against its own start either way, and 1 s by which the newest time on record
may lag behind."""

UNWITNESSED_NS: Final = 2 * MAX_INTERVAL_S * 1_000_000_000
"""For how long a node may run on between two beats."""

ALONE_NS: Final = 3_600_000_000_000
"""For how long a node may run on without any beat, and partners give receipts without any for the witness ledger."""

RUNS_UNWITNESSED: Final = 8
"""How often a node may start between two beats, and decide something."""

_OWN: Final = (None, DECISIONS)


@dataclass(slots=True)
class WitnessCheck:
    """One generation after another of this node's witness ledger, once the decisions ledger has been noted.
    `clock_declared` gives the times, nanoseconds since 1970, at which the clock was declared right.
    """

    store: StoreReader
    clock_declared: Callable[[], Collection[int]]
    timeline: Timeline = field(default_factory=Timeline)
    _last: dict[Line, Checkpoint] = field(default_factory=dict)
    _newest_ns: int = 0
    _first_ns: int | None = None
    """The time of the first beat that has one."""
    _beats: int = 0
    _began: int = 0
    """Index of the first entry of the beat that is being read."""
    _time_ns: int | None = None
    """The time of that beat."""
    _due: set[Line] = field(default_factory=set)
    """What that beat has to name: everything that was named before."""
    _named: dict[Line, Checkpoint] = field(default_factory=dict)
    _covered: int = 0
    """Entries of the decisions ledger to which beats have committed."""
    _receipts: dict[str, int] = field(default_factory=dict)
    """When each partner last gave a receipt for a ledger with reports, seconds since 1970."""
    _cosigned_s: int = 0
    """When anybody last cosigned the witness ledger, seconds since 1970."""

    # --- the decisions ledger

    def note_decisions(self, origin: Origin, index: int, record: ledger_pb2.DecisionRecord) -> None:
        """Takes note of an entry of the decisions ledger, and of what it names."""
        self.timeline.note(origin, index, record.time.ToNanoseconds(), decided=True)
        for decision in record.decisions:
            if decision.outcome != ledger_pb2.OUTCOME_RELEASED:
                continue
            try:
                ledger = Origin.parse(decision.ledger)
            except OriginError:
                # What names no ledger is found where decisions and releases are compared.
                continue
            self.timeline.note_release(ledger, decision.index)

    def note_event(self, origin: Origin, index: int, event: ledger_pb2.NodeEvent) -> None:
        """Takes note of an event of the decisions ledger."""
        self.timeline.note(origin, index, event.time.ToNanoseconds(), started=event.kind == "started")

    def note_receipt(self, origin: Origin, signer: str, time_s: int) -> None:
        """Takes note of a partner's receipt for an own ledger, given at `time_s`, which has been verified."""
        if origin.lane == WITNESS:
            self._cosigned_s = max(self._cosigned_s, time_s)
        else:
            self._receipts[signer] = max(self._receipts.get(signer, 0), time_s)

    # --- beats

    def note(self, index: int, witnessed: Witnessed) -> Iterator[str]:
        """Everything that is wrong with the entry at `index`."""
        yield from self._time(index, witnessed.time_ns)
        heads = {(head.origin.recipient, head.origin.lane): head for head in witnessed.heads}
        if _OWN in heads:
            # The node's own ledgers stand in the first entry of a beat.
            yield from self.finish()
            self._began, self._due, self._named = index, set(self._last), {}
            self._time_ns = witnessed.time_ns
            yield from self._runs_on(index, heads[_OWN])
            self._beats += 1
        elif len(self.timeline) and (not self._beats or witnessed.time_ns != self._time_ns):
            yield f"entry {index} begins a beat, and does not commit to the decisions ledger"
        self._named |= heads
        for line, head in heads.items():
            before = self._last.get(line)
            if before == head:
                continue
            self._last[line] = head
            if before is not None and _shrinks(before, head):
                yield (
                    f"entry {index} commits to {head.origin} with {head.size} entries, and one before it to"
                    f" {before.origin} with {before.size}"
                )
            yield from self._against_record(index, head)

    def _runs_on(self, index: int, decisions: Checkpoint) -> Iterator[str]:
        covered = self.timeline.entries(decisions.origin, decisions.size)
        if covered <= self._covered:
            return
        since = self._covered if self._beats else max(self._covered, self.timeline.run_of(covered - 1))
        ran_ns = self.timeline.ran_ns(since, covered)
        if ran_ns > UNWITNESSED_NS:
            yield (
                f"the gateway ran on for {ran_ns / 1e9:.0f} s before the beat of entry {index}, by its decisions, and"
                " none before that commits to them"
            )
        if self._beats:
            yield from self._runs(since, covered, f"before the beat of entry {index}")
        self._covered = covered

    def _runs(self, first: int, end: int, when: str) -> Iterator[str]:
        runs = self.timeline.busy_runs(first, end)
        if runs > RUNS_UNWITNESSED:
            yield f"the gateway was started {runs} times {when} and decided something, and no beat is between"

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
        if not self._named:
            return
        beat = f"the beat that begins with entry {self._began}"
        decisions = self._named.get(_OWN)
        named = {} if decisions is None else self.timeline.named(self._covered)
        for line in sorted((self._due | named.keys()) - self._named.keys(), key=repr):
            known = self._last.get(line)
            yield f"{beat} leaves out {f'the ledger for {line[0]}, {line[1]}' if known is None else known.origin}"
        for line, (generation, index) in sorted(named.items(), key=repr):
            head = self._named.get(line)
            if head is not None and (head.origin.generation, head.size) <= (generation, index):
                yield (
                    f"{beat} commits to {head.origin} with {head.size} entries, and its decisions name entry {index} of"
                    f" generation {generation}"
                )
        self._due, self._named = set(), {}

    def whole(self) -> Iterator[str]:
        """What is wrong with all of it, once every ledger has been read."""
        entries = len(self.timeline)
        yield from self._runs(self._covered, entries, "after the last beat" if self._beats else "without any beat")
        if not self._beats:
            if self.timeline.ran_ns(0, entries) > ALONE_NS:
                yield (
                    f"the gateway ran on for {self.timeline.ran_ns(0, entries) / 1e9:.0f} s by its decisions, and no"
                    " beat commits to any of them"
                )
            return
        ran_ns = self.timeline.ran_ns(self._covered, entries)
        if ran_ns > UNWITNESSED_NS:
            yield (f"the gateway ran on for {ran_ns / 1e9:.0f} s by its decisions, and no beat commits to those")
        if self._first_ns is None:
            return
        after, since_ns, nobody = "the first beat", self._first_ns + ALONE_NS, "nobody has cosigned it"
        if self._cosigned_s:
            since_ns = max(since_ns, self._cosigned_s * 1_000_000_000 + UNWITNESSED_NS)
            after, nobody = "that", f"nobody has cosigned it since {_when(self._cosigned_s)}"
        hours = (UNWITNESSED_NS if self._cosigned_s else ALONE_NS) / 3.6e12
        newest_s = self.timeline.newest_ns // 1_000_000_000
        late = sorted(
            signer for signer, at_s in self._receipts.items() if min(at_s, newest_s) > since_ns // 1_000_000_000
        )
        if late:
            yield (
                f"{nobody}, and {', '.join(late)} gave receipts for reports more than {hours:.0f} h after {after}: it"
                " was shown to nobody"
            )

    def _time(self, index: int, time_ns: int | None) -> Iterator[str]:
        if time_ns is None:
            return
        if self._first_ns is None:
            self._first_ns = time_ns
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


def _when(time_s: int) -> str:
    """POSIX seconds as a time; such as are no time of ours as they are."""
    try:
        return datetime.fromtimestamp(time_s, UTC).isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{time_s} s after 1970"


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
