"""By several ways the same comes several times: the first copy that is durable wins.

Rules for a batch that begins below what the replica holds, in order:

1. Its checkpoint is signed by a log key of the ledger's owner, and of its size.
2. Where it ends within what is held, the replica's root at that size is the signed one, and all of it is passed over.
   Otherwise it would be a fork, and nothing of it is believed.
3. Where it goes beyond, what is held is cut off, and the rest is judged as a batch that begins there: the root over the
   replica with the rest added shows that what was cut off is what is held.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gateway.ledger import bundle
from gateway.ledger.checkpoint import LogPublicKey, open_checkpoint
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import NodeReader, consistency_proof, verify_consistency
from gateway.release.batch import IncomingBatch
from gateway.release.heads import Head


class OtherHistory(LedgerError):
    """A batch tells of another history than the replica holds."""


def is_held(batch: IncomingBatch, head: Head, keys: Sequence[LogPublicKey], node: NodeReader) -> bool:
    """Whether a batch that begins below the end of the replica ends within it. `node` reads the replica's tree.

    Raises NoteError for a checkpoint that the owner has not signed, LedgerError for one of another size, and
    OtherHistory.
    """
    checkpoint, _ = open_checkpoint(batch.checkpoint, keys, batch.origin)
    size = head.edge.size
    if batch.first < 0 or batch.count < 1 or checkpoint.size != batch.first + batch.count:
        raise LedgerError(
            f"its checkpoint is of size {checkpoint.size}, and {batch.count} entries from {batch.first} on were sent"
        )
    if checkpoint.size > size:
        return False
    try:
        if checkpoint.size == size:
            same = checkpoint.root == head.edge.root()
        else:
            proof = consistency_proof(checkpoint.size, size, node)
            verify_consistency(checkpoint.size, size, checkpoint.root, head.edge.root(), proof)
            same = True
    except LedgerError as error:
        raise OtherHistory(f"the replica has another root at size {checkpoint.size}: {error}") from error
    if not same:
        raise OtherHistory(f"the replica has another root at size {checkpoint.size}")
    return True


def beyond(batch: IncomingBatch, size: int) -> IncomingBatch:
    """What of a batch, which begins below `size` and ends above, stands from there on. Raises LedgerError."""
    entries = bundle.decode(batch.entries, batch.count, allow_absent=True)[size - batch.first :]
    return replace(
        batch,
        first=size,
        count=len(entries),
        entries=bundle.encode(entries, allow_absent=True),
        absent=[each for each in batch.absent if each[0] >= size],
    )
