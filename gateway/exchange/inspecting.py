"""Answering a partner that compares ledgers: what this node holds of those between the two, and nothing else.

Rules, in order, after the opening that every stream has (`gateway.exchange.server`, rules 1 and 2):

1. A question is one of three: which ledgers there are, hashes of one tree, the notes about one size of a ledger.
2. It is answered about ledgers between the two nodes, and about those witness ledgers of third nodes that this node
   holds (`gateway.release.holdings`): any other is refused.
3. No entry travels: hashes, sizes and signed notes only, which the partner was sent, or sent, before.
4. Of all streams of one partner so many questions a second are answered, and later ones wait; of one stream so many in
   all. Each ledger that is listed counts as a question. A stream on which none comes is ended.
5. A stream ends when its partner is believed no longer: that is asked before each answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import grpc
from signalfire.v1 import exchange_pb2

from gateway.ledger.errors import LedgerError, OriginError, ProofError
from gateway.ledger.holding import HeldLedger
from gateway.ledger.origin import Origin
from gateway.release.holdings import Holdings


class InspectionEnded(Exception):
    """The stream is ended with a gRPC status and a sentence that says why."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class Pace:
    """When each partner's next question is answered: `per_s` a second, however many streams it opens."""

    per_s: float
    monotonic: Callable[[], float]
    _due: dict[str, float] = field(default_factory=dict)

    def wait_s(self, node: str, questions: int = 1) -> float:
        """Seconds that what came just now waits for its turn; it costs as much as so many questions."""
        now = self.monotonic()
        turn = max(now, self._due.get(node, now))
        self._due[node] = turn + questions / self.per_s
        return turn - now


async def answer_questions(
    requests: AsyncIterator[exchange_pb2.InspectRequest],
    write: Callable[[exchange_pb2.InspectResponse], Awaitable[object]],
    holdings: Holdings,
    *,
    turn: Callable[[int], float],
    most: int,
    idle_s: float,
    still_believed: Callable[[], None],
) -> None:
    """Answers until the partner ends the stream.

    `turn` charges for so many questions, and gives the seconds until the answer is due; `most` is how many questions
    are answered in all, `idle_s` how long a question may be in coming. Raises InspectionEnded, and what
    `still_believed` raises.
    """
    for _ in range(most):
        try:
            async with asyncio.timeout(idle_s):
                request = await anext(requests)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise InspectionEnded(grpc.StatusCode.DEADLINE_EXCEEDED, f"no question within {idle_s:g} s") from None
        if (wait_s := turn(1)) > 0:
            await asyncio.sleep(wait_s)
        still_believed()
        try:
            response = await _answer(request, holdings)
        except (OriginError, ProofError) as error:
            raise InspectionEnded(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        except LedgerError as error:
            raise InspectionEnded(
                grpc.StatusCode.UNAVAILABLE, f"this node's own ledgers cannot be read now: {type(error).__name__}"
            ) from error
        turn(len(response.heads.ledgers))
        await write(response)
    raise InspectionEnded(
        grpc.StatusCode.RESOURCE_EXHAUSTED, f"{most} questions were answered on this stream; dial again for more"
    )


async def _answer(request: exchange_pb2.InspectRequest, holdings: Holdings) -> exchange_pb2.InspectResponse:
    match request.WhichOneof("message"):
        case "list_heads":
            heads = exchange_pb2.Heads(ledgers=map(_told, await holdings.heads(request.list_heads.witnesses)))
            return exchange_pb2.InspectResponse(heads=heads)
        case "read_hashes":
            asked = request.read_hashes
            found = await holdings.hashes(Origin.parse(asked.origin), asked.level, asked.first, asked.count)
            return exchange_pb2.InspectResponse(hashes=exchange_pb2.Hashes(hashes=found))
        case "read_checkpoint":
            notes = await holdings.signatures(
                Origin.parse(request.read_checkpoint.origin), request.read_checkpoint.size
            )
            held = exchange_pb2.HeldCheckpoint(checkpoint=notes.checkpoint, receipt=notes.receipt)
            return exchange_pb2.InspectResponse(held_checkpoint=held)
        case other:
            raise InspectionEnded(grpc.StatusCode.INVALID_ARGUMENT, f"{other or 'an empty message'} has no place here")


def _told(held: HeldLedger) -> exchange_pb2.HeldLedger:
    return exchange_pb2.HeldLedger(
        origin=str(held.origin),
        size=held.size,
        root=held.root,
        checkpoint=held.checkpoint,
        receipt=held.receipt,
        successor="" if held.successor is None else str(held.successor),
    )
