"""What a partner states against what it signed before, and the record of it.

Everything that a partner signs about a ledger is held against the checkpoint of that size which is on record here. Two
statements that cannot both be true are evidence (`gateway.ledger.evidence`): they are kept, both, in the decisions
ledger, once for each ledger, whatever else comes of the message that brought the second one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import Contradiction, EvidenceError, OwnerKeys, contradiction
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import StoreReader
from gateway.release.plan import Plan
from gateway.release.signatory import Partner

META: Final = "fork-evidence "
"""Begins the key of the store's own value that says that there is evidence about a ledger; its origin line follows."""

KIND: Final = "fork-evidence"
"""The kind of the event that holds it."""


class Contradicted(LedgerError):
    """A partner has signed what contradicts another statement of its own. `found` is the evidence."""

    def __init__(self, found: Contradiction) -> None:
        super().__init__(f"{found}; both signed by {found.origin.owner}")
        self.found = found


def owner_keys(partner: Partner) -> OwnerKeys:
    """The keys by which a partner's statements are held against each other: also those that it has retired."""
    return OwnerKeys(
        partner.node,
        (*partner.log, *(old.key for old in partner.retired_log)),
        (*partner.gateway, *partner.retired_gateway),
        (*partner.pq, *(old.key for old in partner.retired_pq)),
    )


def against_record(
    reader: StoreReader, stated: Iterable[Checkpoint], raw: bytes, owner: Partner
) -> Contradiction | None:
    """The first of the heads that the note `raw` states which contradicts a checkpoint of `owner` on record.

    None where there is none, or where what contradicts is not signed by `owner`.
    """
    for head in stated:
        row = reader.ledger(head.origin)
        held = None if row is None or not 0 < head.size <= row.size else reader.checkpoint(row.id, head.size)
        if held is None or Note.parse(held).text == head.text():
            continue
        try:
            return contradiction(held, raw, owner_keys(owner))
        except EvidenceError:
            continue
    return None


def require_no_contradiction(reader: StoreReader, origin: Origin, raw: bytes, owner: Partner) -> None:
    """Raises Contradicted where the note `raw` is a checkpoint of `origin`, signed by its owner, and contradicts one
    that is on record. Whatever else is wrong with it is not looked at here.
    """
    try:
        stated = Checkpoint.parse(Note.parse(raw).text)
    except LedgerError:
        return
    if stated.origin == origin and (found := against_record(reader, [stated], raw, owner)) is not None:
        raise Contradicted(found)


@dataclass(frozen=True, slots=True)
class KeepEvidence:
    """Puts a contradiction on record, once for each ledger: whoever contradicts himself can do so without end."""

    found: Contradiction
    weight: int = 0

    def apply(self, plan: Plan) -> bool:
        """Records it. Returns whether it is the first about that ledger."""
        key = f"{META}{self.found.origin}"
        if key in plan.commit.meta or plan.store.meta(key) is not None:
            return False
        plan.record_event("fork-evidence", str(self.found), self.found.statements)
        plan.commit.meta[key] = str(self.found).encode()
        return True
