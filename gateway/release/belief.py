"""What is believed of what a key signed that is out of use: enough that history stays verifiable, and no more.

A thief of such a key can sign anything, with any date. So what it signed is believed only where something that he
cannot sign stands over it. Rules, in order, for one ledger:

1. Live traffic is believed under the keys that a bundle names as current, and no others.
2. A checkpoint on record by a retired log key is believed as far as a checkpoint of the same ledger, of the same size
   or a larger one, or an anchor, by a current log key covers it.
3. A replica's is believed as well as far as this node itself gave its receipt for that size or a larger one, while the
   key was in use: at a time up to its `until`. The owner's thief does not have this node's receipt key.
4. A statement by a retired log key about an entry is believed where such a checkpoint or receipt covers the entry.
5. A receipt, or a post-quantum line, by a retired key is believed as far as one by a current key covers it.
6. A checkpoint that came with a report which was passed on stands alone. By a retired key it is believed where its note
   bears the receipt of the ledger's recipient over it, at a time up to `until`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.ledger.checkpoint import Checkpoint, open_checkpoint
from gateway.ledger.cosignature import Ed25519CosignatureVerifier, verify_cosignature
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.release.signatory import Partner

FOREVER = 2**63 - 1
"""The `until` of a key that is out of use and was never declared retired, POSIX seconds."""


def open_alone(raw: bytes, origin: Origin, owner: Partner, recipient: Partner | None) -> Checkpoint:
    """A checkpoint that stands alone (rule 6), of the ledger that `owner` keeps for `recipient`. Raises NoteError."""
    try:
        return open_checkpoint(raw, owner.log, origin)[0]
    except NoteError:
        for old in owner.retired_log:
            try:
                checkpoint, note = open_checkpoint(raw, [old.key], origin)
            except NoteError:
                continue
            if recipient is not None and any(at <= old.until for at in receipt_times(note, recipient)):
                return checkpoint
            raise NoteError(
                f"it is signed by a log key that {owner.node} has retired, and bears no receipt from before that"
            ) from None
        raise


def receipt_times(note: Note, signer: Partner) -> Iterator[int]:
    """When `signer` cosigned the checkpoint, POSIX seconds, for each of its keys that did: a retired one's time counts
    up to its own `until`. Raises NoteError for a line of a known key that does not hold.
    """
    known: list[tuple[Ed25519CosignatureVerifier, int]] = [(verifier, FOREVER) for verifier in signer.receipt]
    known += [(old.key, old.until) for old in signer.retired_receipt]
    for line in note.signatures:
        for verifier, until in known:
            if (line.name, line.key_id) == (verifier.name, verifier.key_id):
                at = verify_cosignature(note.text, line, verifier)
                if at <= until:
                    yield at


@dataclass(slots=True)
class History:
    """The signatures on one ledger by keys of one kind, as they are found, and what follows from them."""

    current_to: int = 0
    """The largest size that a current key signed."""
    retired: dict[int, int] = field(default_factory=dict)
    """Sizes that retired keys alone signed, and the `until` of the key."""
    receipts: list[tuple[int, int]] = field(default_factory=list)
    """Sizes of this node's own receipts, with their times (POSIX seconds)."""

    def current(self, size: int) -> None:
        """Takes note of a signature by a current key."""
        self.current_to = max(self.current_to, size)

    def by_retired(self, size: int, until: int) -> None:
        """Takes note of a signature by a retired key."""
        self.retired[size] = max(until, self.retired.get(size, 0))

    def covered_to(self, until: int) -> int:
        """The size up to which what a key signed that was retired at `until` is believed."""
        return max(self.current_to, max((size for size, at in self.receipts if at <= until), default=0))

    def uncovered(self) -> Sequence[int]:
        """The sizes that retired keys alone signed, and that are not believed."""
        return sorted(size for size, until in self.retired.items() if size > self.covered_to(until))
