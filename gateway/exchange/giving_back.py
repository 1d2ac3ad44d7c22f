"""Giving a partner back what this node holds of the partner's own ledgers: its store may have been lost.

Rules:

1. Only what is held as a replica is given, to its owner and to nobody else: whole segments, each with the owner's
   signed checkpoint, and this node's receipt at the end. Nothing is taken on such a stream.
2. The owner names a size that it has. It is given the segment that holds the entry of that index, and all after it; it
   believes nothing but its own signatures, so what it says that it has is not compared.
3. The stream ends when all was given. It goes at the pace at which the owner is given ledgers by all its streams
   together (`gateway.exchange.serving`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from signalfire.v1 import exchange_pb2

from gateway.exchange.signed_anew import signed_by
from gateway.ledger.origin import WITNESS, Origin
from gateway.ledger.stores import CosignatureKind, Run, StoreReader
from gateway.release.evidence import recorded_checkpoint
from gateway.release.signatory import Signatory


class NotHeld(Exception):
    """There is nothing to give back; the text says why."""


def is_held_for(origin: Origin, owner: str, holder: str) -> bool:
    """Whether it is a ledger of `owner` that `holder` keeps as a replica: one for it, or the witness ledger."""
    return origin.owner == owner and (origin.recipient == holder or origin.lane == WITNESS)


async def give_back(
    origin: Origin,
    size: int,
    *,
    reader: Callable[[], StoreReader],
    signatory: Signatory,
    now_ns: Callable[[], int],
    max_bytes: int,
    message: Callable[[Run], exchange_pb2.Batch],
    send: Callable[[exchange_pb2.FollowResponse], Awaitable[None]],
    turn: Callable[[int], float],
    still_believed: Callable[[], object],
) -> int:
    """Gives a ledger back to its owner, from the segment that holds entry `size` on. Returns how many entries went.

    `turn` charges for so many bytes, and gives the seconds until more may go. `still_believed` is asked before each
    batch, and raises. Raises NotHeld, and StoreError.
    """
    row = reader().ledger(origin)
    if row is None or not row.replica or row.size == 0:
        raise NotHeld(f"{signatory.node} holds nothing of {origin}")
    if size > row.size:
        raise NotHeld(f"{signatory.node} holds {row.size} entries of {origin}")
    await send(exchange_pb2.FollowResponse(opened=exchange_pb2.Opened(size=row.size)))
    position = row.size if size == row.size else reader().segment_of(row.id, size)
    first = position
    await asyncio.sleep(turn(0))
    while position < row.size and (run := reader().run(row.id, position, max_bytes)) is not None:
        still_believed()
        position = run.first + run.count
        signed = recorded_checkpoint(reader(), row, position) or run.checkpoint
        batch = message(replace(run, checkpoint=signed))
        await send(exchange_pb2.FollowResponse(batch=batch))
        await asyncio.sleep(turn(batch.ByteSize()))
    receipt = reader().cosignature(row.id, CosignatureKind.RECEIPT, signatory.node)
    if receipt is not None:
        note = signed_by(receipt.note, signatory.receipt.at(now_ns() // 1_000_000_000))
        await send(exchange_pb2.FollowResponse(cosignature=exchange_pb2.Cosignature(note=note)))
    if row.successor is not None:
        await send(exchange_pb2.FollowResponse(ended=exchange_pb2.Ended(successor=str(row.successor))))
    return position - first
