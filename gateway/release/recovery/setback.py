"""What follows when a partner shows that this node's own ledgers were set back: by an older copy, or worse.

A partner's replica of the witness ledger ends in a checkpoint that this node signed. Where the store does not hold it,
the store is not the one from which it was signed, and what the decisions ledger says since then is a second history.
Rules, in order:

1. With the witness ledger the decisions ledger ends too, and its next generation opens in the same commit, with the
   same number. Where one of the two is ahead in the store, all generations up to that number have ended.
2. The next generation of the decisions ledger begins with a `Succession`: the last size and root to which a witness
   entry that a partner has confirmed commits, so what both histories have in common at least.
3. The event that says so stands in that next generation, with the partner's signed checkpoint as evidence. Where this
   node holds a checkpoint of that size with another root, both are kept as evidence of a fork.
"""

from __future__ import annotations

from typing import Final

from signalfire.v1 import ledger_pb2

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import CheckpointError, NoteError
from gateway.ledger.evidence import EvidenceError, OwnerKeys, contradiction
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Note
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow
from gateway.release.evidence import KeepEvidence
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.witness import WitnessError, read
from gateway.seal.errors import SealError

WITNESSES_SOUGHT: Final = 64
"""Entries of the witness ledger that are opened to find the last one which names the decisions ledger: of a few that
stand together one does."""


def end_decisions(plan: Plan, witness: Origin, reason: ledger_pb2.SuccessionReason.ValueType) -> Origin:
    """Ends the decisions ledger, as the witness ledger `witness` of this node has ended. Returns the one that goes on.

    Its number is that of the witness ledger's successor or, where that has been opened before, the next one.
    """
    ending = plan.ledgers.decisions().head.origin
    agreed = _witnessed(plan, witness, ending)
    number = max(witness.generation, ending.generation) + 1
    while ending.generation < number:
        plan.ledgers.end(ending, ending.successor(), 0)
        ending = ending.successor()
    succession = ledger_pb2.Succession(reason=reason)
    if agreed is not None:
        succession.agreed_size, succession.agreed_root = agreed.size, agreed.root
    plan.ledgers.decisions().append(ledger_pb2.EntryContent(succession=succession).SerializeToString())
    return ending


def last_receipt(plan: Plan, origin: Origin) -> CosignatureRow | None:
    """The receipt of the largest size for a ledger, whoever of its recipients gave it."""
    head = plan.heads.get(origin)
    if head is None:
        return None
    signers = plan.store.cosigners(head.id, CosignatureKind.RECEIPT)
    receipts = (plan.store.cosignature(head.id, CosignatureKind.RECEIPT, signer) for signer in signers)
    return max((receipt for receipt in receipts if receipt is not None), key=lambda row: row.size, default=None)


def _witnessed(plan: Plan, witness: Origin, decisions: Origin) -> Checkpoint | None:
    """The last head of the decisions ledger that a confirmed witness entry commits to; None where none does."""
    head, receipt = plan.heads.get(witness), last_receipt(plan, witness)
    if head is None or receipt is None:
        return None
    ledger = head.id
    opener = Opener(plan.signatory.node, plan.signatory.sealing)
    last = min(receipt.size, head.edge.size) - 1
    for index in range(last, max(-1, last - WITNESSES_SOUGHT), -1):
        entry = plan.store.entry(ledger, index)
        if entry is None:
            continue
        try:
            payload = opener.payload(witness, index, entry, lambda at: plan.store.entry(ledger, at) or b"")
            found = () if payload is None else read(plan.signatory.node, payload).heads
        except (SealError, WitnessError):
            continue
        for each in found:
            if each.origin == decisions:
                return each
    return None


def keep_own_contradiction(plan: Plan, origin: Origin, claimed: bytes) -> None:
    """Keeps both checkpoints where this node signed `claimed`, and holds another of that size itself."""
    head = plan.heads.get(origin)
    try:
        size = Checkpoint.parse(Note.parse(claimed).text).size
        held = None if head is None else plan.store.checkpoint(head.id, size)
        if held is not None:
            own = plan.signatory
            keys = OwnerKeys(own.node, (own.log.public,), (own.gateway.verifier,), (own.pq.verifier,))
            KeepEvidence(contradiction(claimed, held, keys)).apply(plan)
    except (NoteError, CheckpointError, EvidenceError):
        # What is no statement of this node's present keys says nothing against it; the ledger ends all the same.
        return


def final_state(plan: Plan, origin: Origin) -> str:
    """How an own ledger stands that is about to end, this very plan included, in words."""
    if plan.ledgers.head(origin) is None:
        return "0 entries"
    writer = plan.ledgers.writer_of(origin)
    edge, _ = writer.head.edge.grow([leaf_hash(entry) for entry in writer.entries])
    return f"{edge.size} entries, root {edge.root().hex()}"
