"""Ending an own ledger that cannot go on, and opening its next generation.

Rules, in order:

1. The next generation begins with a `Succession`: why, and the last checkpoint of the one that ends for which there is
   a receipt.
2. The recipient follows the successor alone. What the ledger that ends holds above its last receipt, the commit in
   preparation included, is therefore sealed into the successor again, in its order; a recipient that has it delivers it
   once. What was kept back of it stays so (`gateway.release.keeping`).
3. With the witness ledger the decisions ledger ends too, and the reverse (`gateway.release.recovery.setback`).
4. C2 systems are asked to submit again what was accepted since a partner last confirmed anything
   (`gateway.release.recovery.wish`): what was lost is what nobody but they may have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.release.moving import (
    MOVED_A_COMMIT,
    Handed,
    Remaining,
    hand_on,
    note_remaining,
    read,
    remaining_in,
)
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.recovery.setback import end_decisions, final_state, keep_own_contradiction, last_receipt
from gateway.release.recovery.wish import confirmed_until, wish_for
from gateway.release.successions import charge_retired


@dataclass(frozen=True, slots=True)
class Succeed:
    """Ends an own ledger that cannot go on, as a partner has shown, and opens its next generation.

    Where a retired key alone says that it ends, that is once in a while (`gateway.release.successions`). `shown_by` is
    the partner.
    """

    origin: Origin
    reason: ledger_pb2.SuccessionReason.ValueType
    evidence: bytes
    by_retired: bool = False
    shown_by: str = ""
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> Origin:
        """Ends and opens. Returns the successor, which may have been opened before. Raises LedgerError where a retired
        key said so a short while ago, and where nothing can be sealed to the recipient yet.
        """
        if self.origin in plan.ledgers.ended:
            return plan.ledgers.ended[self.origin]
        current = plan.heads.current(self.origin.owner, self.origin.recipient, self.origin.lane)
        if current.generation > self.origin.generation:
            return self.origin.successor()
        if self.origin.recipient is not None and self.origin.recipient not in plan.recipients:
            raise LedgerError(f"{self.origin} ends once the keys of {self.origin.recipient} are in force; try again")
        if self.by_retired:
            charge_retired(plan, self.origin)
        since_ns = confirmed_until(plan, self.origin, self.shown_by)
        succeeded = next_generation(plan, self.origin, self.reason)
        if self.origin.recipient is None:
            before = plan.ledgers.decisions().head.origin
            stood = final_state(plan, before)
            decisions = end_decisions(plan, self.origin, self.reason)
            plan.record_event(
                "decisions-set-back",
                f"{before} ended at {stood}; {decisions} goes on: {self.origin} stood where this store never was, as"
                " its signed checkpoint shows",
                [self.evidence],
            )
        plan.record_event("ledger-succeeded", succeeded.words, [self.evidence])
        keep_own_contradiction(plan, self.origin, self.evidence)
        wish_for(plan, since_ns, f"{self.shown_by or 'a partner'} holds more of {self.origin} than this store")
        return succeeded.successor


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The generation that goes on, and what is put on record of it."""

    successor: Origin
    words: str


def next_generation(plan: Plan, origin: Origin, reason: ledger_pb2.SuccessionReason.ValueType) -> Succeeded:
    """Ends an own release or witness ledger at generation `origin`, which must not have ended, and opens the next.

    Of the witness ledger the caller ends the decisions ledger too.
    """
    current = current_of(plan, origin)
    agreed = ledger_pb2.Succession(reason=reason)
    receipt = last_receipt(plan, origin)
    if receipt is not None:
        checkpoint = Checkpoint.parse(Note.parse(receipt.note).text)
        agreed.agreed_size, agreed.agreed_root = checkpoint.size, checkpoint.root
    final = final_state(plan, current)
    confirmed = confirmed_size(plan, current)
    home = origin.recipient is None
    rest = None if home else _unconfirmed(plan, current, confirmed)
    handed = Handed((), 0, 0) if rest is None else read(plan, rest, MOVED_A_COMMIT)
    # A store from before a succession may not know the generation that its partner holds: all up to it have ended.
    ending = current
    while ending.generation < origin.generation:
        plan.ledgers.end(ending, ending.successor(), confirmed)
        ending, confirmed = ending.successor(), 0
    successor = origin.successor()
    plan.ledgers.end(origin, successor, confirmed)
    writer = plan.ledgers.writer_of(successor)
    writer.append(ledger_pb2.EntryContent(succession=agreed).SerializeToString())
    hand_on(plan, writer, handed)
    later = ""
    if rest is not None and handed.next < rest.end:
        note_remaining(plan, [*remaining_in(plan), replace(rest, next=handed.next)])
        later = f", and what its {rest.end - handed.next} entries after those hold after that"
    return Succeeded(
        successor,
        f"{origin} ended ({ledger_pb2.SuccessionReason.Name(reason)}) at {final}; {successor} goes on,"
        f" with {len(handed.contents)} reports and withdrawals again that have no receipt{later};"
        f" {handed.lost} more do not open",
    )


def _unconfirmed(plan: Plan, origin: Origin, confirmed: int) -> Remaining | None:
    """What of a ledger has no receipt, durable or in this plan; None where there is no such ledger."""
    if plan.ledgers.head(origin) is None:
        return None
    return Remaining(origin, confirmed, plan.ledgers.writer_of(origin).next_index)


def current_of(plan: Plan, origin: Origin) -> Origin:
    """The generation of the line of `origin` that has not ended, this very plan included."""
    current = plan.heads.current(origin.owner, origin.recipient, origin.lane)
    while current in plan.ledgers.ended:
        current = plan.ledgers.ended[current]
    return current


def confirmed_size(plan: Plan, origin: Origin) -> int:
    """The size of an own ledger's last receipt."""
    receipt = last_receipt(plan, origin)
    return 0 if receipt is None else receipt.size
