"""Checks the signed statements about the entries of a ledger.

1. An entry that is kept as its hash has its owner's signed reason; one that this node pruned has this node's.
2. An entry of an own ledger that is kept back from its recipient has this node's signed reason, which is the one on
   record.
3. That an entry cannot be used is said by this node of a replica, and of an own ledger by its recipient. It is about
   the very entry that is there.
4. No statement is about an entry that is not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from gateway.audit.key_history import CURRENT, KnownKeys
from gateway.audit.ledger_check import Examined
from gateway.identity.key_names import gateway_key_name
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import Ed25519Verifier, Note
from gateway.ledger.statement import EntryStatement, EntryStatementKind, speaks_for
from gateway.ledger.stores import AbsentRow, KeptBackRow


@dataclass(slots=True)
class StatementCheck:
    """The statements about entries of one ledger, which `owner` keeps."""

    ledger: Examined
    owner: KnownKeys
    unopenable: dict[int, bytes] = field(default_factory=dict)
    """Leaf hashes of the entries about which a statement was read last, by index."""

    def note_absent(self, item: AbsentRow) -> None:
        """Verifies the reason why an entry is kept as its hash, and takes note of it. Raises LedgerError."""
        ledger, row = self.ledger, self.ledger.row
        own = not row.replica or speaks_for(item.note, ledger.node)
        speaker = ledger.keys[ledger.node] if own else self.owner
        statement = self._open(item.note, EntryStatementKind.ABSENT, speaker)
        if (statement.index, statement.leaf_hash) != (item.index, item.leaf_hash):
            raise LedgerError(f"the reason why entry {item.index} is absent speaks of another")
        self._note(item.index, item.note, speaker)
        back = own and not row.replica and ledger.records.was_given_back(row, item.index)
        (ledger.check.pruned if own and not back else ledger.check.absent).add(item.index)
        if back and row.origin.recipient is not None:
            ledger.records.hashes_back.add(row.origin.recipient)

    def read(self, first: int, end: int) -> Iterator[str]:
        """Reads the statements that an entry from `first` up to, not including, `end` cannot be used, and says what is
        wrong with them: this node's about a replica, the recipient's about an own ledger.
        """
        ledger = self.ledger
        speaker = ledger.node if ledger.row.replica else ledger.origin.recipient
        known = ledger.keys.get(speaker or "")
        self.unopenable = {}
        for item in ledger.store.unopenable_between(ledger.row.id, first, end):
            try:
                if known is None:
                    raise NoteError(f"the keys of {speaker} are not known")
                statement = self._open(item.note, EntryStatementKind.UNOPENABLE, known)
                if statement.index != item.index:
                    raise NoteError(f"it is about entry {statement.index}")
            except LedgerError as error:
                yield f"the statement about entry {item.index} does not hold: {error}"
            else:
                self._note(item.index, item.note, known)
                self.unopenable[item.index] = statement.leaf_hash

    def compare(self, first: int, leaves: Sequence[bytes]) -> Iterator[str]:
        """Everything in which the statements that were read, and what is kept back, differ from the entries from
        `first` on, whose hashes are `leaves`.
        """
        for item in self.ledger.store.kept_back(self.ledger.row.id, first, first + len(leaves)):
            # What of an own ledger is kept back from its recipient.
            self.ledger.records.note_kept_back(self.ledger.row, item.index)
            yield from self._verify_reason(item, leaves[item.index - first])
        for index, leaf in self.unopenable.items():
            if leaf != leaves[index - first]:
                yield f"the statement about entry {index} is about another entry than the one that is there"

    def about_nothing(self, first: int, end: int) -> Iterator[str]:
        """Every statement about an index from `first` up to, not including, `end`, where no entry is."""
        yield from self.read(first, end)
        for index in self.unopenable:
            yield f"there is a statement about entry {index}, which is not there"
        for kept_back in self.ledger.store.kept_back(self.ledger.row.id, first, end):
            self.ledger.records.note_kept_back(self.ledger.row, kept_back.index)
            yield f"entry {kept_back.index} is on record as kept back, and is not there"

    def _verify_reason(self, item: KeptBackRow, leaf: bytes) -> Iterator[str]:
        speaker = self.ledger.keys[self.ledger.node]
        try:
            statement = self._open(item.note, EntryStatementKind.ABSENT, speaker)
            if (statement.index, statement.leaf_hash, statement.reason) != (item.index, leaf, item.reason):
                raise NoteError("it is about another entry, or gives another reason")
            self._note(item.index, item.note, speaker)
        except LedgerError as error:
            yield f"the reason why entry {item.index} is kept back does not hold: {error}"

    def _open(self, raw: bytes, kind: EntryStatementKind, speaker: KnownKeys) -> EntryStatement:
        return EntryStatement.open(raw, speaker.gateway, kind=kind, node=speaker.node, origin=self.ledger.origin)

    def _note(self, index: int, raw: bytes, speaker: KnownKeys) -> None:
        """Takes note of a statement that has been verified, where no current key signed it."""
        name = gateway_key_name(speaker.node)
        keys = {Ed25519Verifier(name, key).key_id: until for key, until in speaker.of_log.items()}
        untils = [keys[line.key_id] for line in Note.parse(raw).signatures if line.name == name and line.key_id in keys]
        if CURRENT not in untils:
            until = max((until for until in untils if until is not None), default=0)
            self.ledger.records.rows.add("doubtful", None, self.ledger.row.id, index, until)
