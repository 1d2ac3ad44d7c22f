"""Checks what log keys signed of a ledger: its checkpoints and anchors, and what stands or falls with them.

1. Every checkpoint is signed by the ledger's owner. One of the decisions ledger may be by a key that the ledger names
   only further on: it is verified when all of that has been read.
2. What a key signed that is out of use is believed as far as `gateway.release.belief` says, and no further:
   checkpoints, statements about entries, and the proof of a report that was passed on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.audit.key_history import CURRENT, KnownKeys
from gateway.audit.ledger_check import Examined
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import Ed25519Verifier, Note, verify_note
from gateway.ledger.origin import DECISIONS
from gateway.release.belief import History


@dataclass(slots=True)
class LogKeyCheck:
    """The signatures of the log keys of a ledger's `owner` on its checkpoints, as they are found."""

    ledger: Examined
    owner: KnownKeys
    history: History = field(default_factory=History)

    def open(self, raw: bytes) -> tuple[Checkpoint, Note]:
        """A signed checkpoint as it stands on record. Raises LedgerError where it does not hold."""
        note = Note.parse(raw)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != self.ledger.origin:
            raise LedgerError(f"the checkpoint is of {checkpoint.origin}")
        named = {verifier.key_id for verifier in self._verifiers()}
        if self.ledger.origin.lane == DECISIONS and not any(line.key_id in named for line in note.signatures):
            # By a key that is not known yet: the ledger may name it further on.
            self.ledger.records.rows.add("unnamed", self.ledger.row.id, checkpoint.size, raw)
        else:
            self._note_signature(checkpoint.size, note)
        return checkpoint, note

    def note_anchor(self, size: int, note: Note) -> None:
        """Takes note of an anchor, which counts under a current key alone. Raises NoteError."""
        signed = verify_note(note, self._verifiers())
        if any(self.owner.of_log[verifier.public_key] is CURRENT for verifier in signed):
            self.history.current(size)

    def named_later(self) -> Iterator[str]:
        """Everything that is wrong with the checkpoints by keys that were not known when they were read."""
        rows = self.ledger.records.rows
        for size, raw in rows.rows("SELECT size, note FROM unnamed WHERE ledger = ? ORDER BY size", self.ledger.row.id):
            try:
                self._note_signature(size, Note.parse(raw))
            except NoteError as error:
                yield f"the checkpoint of size {size}: {error}"
                return

    def not_believed(self) -> Iterator[str]:
        """What was signed by keys out of use, and is not believed; all that may cover it has been noted."""
        sizes = self.history.uncovered()
        if sizes:
            yield (
                f"{len(sizes)} checkpoints, the first of size {sizes[0]}, are signed by a log key of"
                f" {self.ledger.origin.owner} that is out of use, and nothing that is believed covers them"
            )
        rows, ledger = self.ledger.records.rows, self.ledger.row.id
        for index, until in rows.rows("SELECT idx, until FROM doubtful WHERE ledger = ? ORDER BY n", ledger):
            if index >= self.history.covered_to(until):
                yield (
                    f"the statement about entry {index} is signed by a log key that is out of use, and nothing that is"
                    " believed covers the entry"
                )
        for index, originator, until in rows.rows(
            "SELECT idx, originator, until FROM proven WHERE ledger = ? ORDER BY n", ledger
        ):
            if not self.history.received_by(index, until):
                yield (
                    f"entry {index} was passed on, and is not believed: its proof is under a log key that"
                    f" {originator} has retired, and no receipt of this node shows that it came before that"
                )

    def _verifiers(self) -> Sequence[Ed25519Verifier]:
        return [key.verifier(self.ledger.origin) for key in self.owner.log]

    def _note_signature(self, size: int, note: Note) -> None:
        """Verifies the owner's signatures on a checkpoint, and takes note of them. Raises NoteError."""
        untils = [self.owner.of_log[signed.public_key] for signed in verify_note(note, self._verifiers())]
        if CURRENT in untils:
            self.history.current(size)
        else:
            self.history.by_retired(size, max(until for until in untils if until is not None))
