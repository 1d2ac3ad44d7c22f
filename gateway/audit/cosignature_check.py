"""Checks what is signed of a ledger beside its checkpoints: receipts, post-quantum lines and anchors.

1. Every receipt is the recipient's, every post-quantum line and anchor the owner's, and each is over a checkpoint that
   is on record. Every partner cosigns a witness ledger.
2. One that this node made is of the time that is on record.
3. One by a key that is out of use is believed where one by a current key covers it, or where the ledger has ended with
   that many entries confirmed.
4. A replica has this node's receipt for every checkpoint.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.audit.key_history import CURRENT, KnownKeys
from gateway.audit.ledger_check import Examined
from gateway.audit.log_key_check import LogKeyCheck
from gateway.ledger.cosignature import verify_cosignature
from gateway.ledger.errors import LedgerError, NoteError
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS
from gateway.ledger.stores import CosignatureKind, CosignatureRow
from gateway.release.belief import History

_SECOND_NS: Final = 1_000_000_000


@dataclass(slots=True)
class CosignatureCheck:
    """The further signatures on one ledger. What bears on its log keys is noted in `log_keys`."""

    ledger: Examined
    log_keys: LogKeyCheck
    confirmed: bool = False
    """Whether a recipient has confirmed what the ledger ended with."""
    _receipts: int = 0
    _histories: dict[tuple[CosignatureKind, str], History] = field(default_factory=dict)

    def note_checkpoint(self, size: int, note: Note) -> None:
        """Takes note of a checkpoint on record, over which there may be further signatures."""
        self.ledger.records.rows.add("checkpoint", self.ledger.row.id, size, _digest(note))

    def findings(self) -> Iterator[str]:
        """Everything that is wrong with them, once all checkpoints have been noted."""
        for item in self.ledger.store.each_cosignature(self.ledger.row.id):
            yield from self._verify(item)
        yield from self._not_covered()
        if self.ledger.row.replica and self._receipts != self.ledger.check.checkpoints:
            missing = self.ledger.records.rows.rows(
                "SELECT size FROM checkpoint WHERE ledger = ?1"
                " EXCEPT SELECT size FROM stored WHERE ledger = ?1 LIMIT 8",
                self.ledger.row.id,
            )
            sizes = ", ".join(str(size) for (size,) in missing)
            yield f"this node's own receipts are missing for sizes {sizes}"

    def _verify(self, item: CosignatureRow) -> Iterator[str]:
        origin, node, signer = self.ledger.origin, self.ledger.node, item.signer
        receipt = item.kind is CosignatureKind.RECEIPT
        # Every partner cosigns a witness ledger; any other has one recipient.
        holder = node if self.ledger.row.replica else origin.recipient or signer
        if signer != (holder if receipt else origin.owner) or (receipt and signer == origin.owner):
            yield f"a {item.kind} of size {item.size} is on record as signed by {signer}"
            return
        known = self.ledger.keys.get(signer)
        if known is None:
            yield f"a {item.kind} of size {item.size}: the keys of {signer} are not known"
            return
        try:
            note = Note.parse(item.note)
            if (_digest(note),) != self.ledger.records.rows.row(
                "SELECT digest FROM checkpoint WHERE ledger = ? AND size = ?", self.ledger.row.id, item.size
            ):
                raise NoteError("it is not over the checkpoint on record")
            if item.kind is CosignatureKind.ANCHOR:
                self.log_keys.note_anchor(item.size, note)
                return
            found = _lines_that_hold(note, known, receipt=receipt)
        except LedgerError as error:
            yield f"the {item.kind} of size {item.size} does not hold: {error}"
            return
        if signer == node and item.time_ns // _SECOND_NS not in {at for _, at in found}:
            yield f"the {item.kind} of size {item.size} was made at another time than is on record"
        history = self._histories.setdefault((item.kind, signer), History())
        if any(until is CURRENT for until, _ in found):
            history.current(item.size)
        else:
            history.by_retired(item.size, 0)
        if receipt:
            self._note_receipt(item, found)
        else:
            self.ledger.check.pq_size = max(self.ledger.check.pq_size, item.size)

    def _note_receipt(self, item: CosignatureRow, found: Sequence[tuple[int | None, int]]) -> None:
        """Takes note of a receipt; `found` is as `_lines_that_hold` gives it."""
        ledger, check = self.ledger, self.ledger.check
        self._receipts += 1
        check.receipt_size = max(check.receipt_size, item.size)
        self.confirmed = self.confirmed or item.size == ledger.row.agreed
        if ledger.row.replica:
            ledger.records.rows.add("stored", ledger.row.id, item.size, item.time_ns)
            # When this node stored it, by the receipt that says so.
            for until, at in found:
                if until is CURRENT or at <= until:
                    self.log_keys.history.received(item.size, at)
            return
        time_s = max(at for _, at in found)
        ledger.witness.note_receipt(ledger.origin, item.signer, time_s)
        if ledger.origin.lane == WITNESS:
            check.cosigned[item.signer] = max(check.cosigned.get(item.signer, (0, 0)), (item.size, time_s))

    def _not_covered(self) -> Iterator[str]:
        row = self.ledger.row
        # A ledger that has ended gets no further receipts: what it says was confirmed stands under the node's own key.
        agreed = (row.agreed or 0) if not row.replica and row.successor is not None else 0
        for (kind, signer), history in self._histories.items():
            doubtful = [size for size in history.uncovered() if kind is not CosignatureKind.RECEIPT or size > agreed]
            if doubtful:
                yield (
                    f"the {kind} of size {doubtful[-1]} is signed by a key of {signer} that is out of use, and none by"
                    " a current one covers it"
                )


def _digest(note: Note) -> bytes:
    return hashlib.sha256(note.text.encode()).digest()


def _lines_that_hold(note: Note, known: KnownKeys, *, receipt: bool) -> Sequence[tuple[int | None, int]]:
    """For each line of a known key until when that was in use, and when it signed. Raises NoteError."""
    untils = known.of_receipt if receipt else known.of_pq
    verifiers = {
        (verifier.name, verifier.key_id): (verifier, until)
        for verifier, until in zip(known.receipt if receipt else known.pq, untils.values(), strict=True)
    }
    found = []
    for line in note.signatures:
        if (line.name, line.key_id) in verifiers:
            verifier, until = verifiers[(line.name, line.key_id)]
            found.append((until, verify_cosignature(note.text, line, verifier)))
    if not found:
        raise NoteError(f"no key of {known.node} signed it")
    return found
