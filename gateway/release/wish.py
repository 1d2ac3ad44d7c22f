"""What C2 systems are asked to submit again, where the store was lost or set back.

The wish stands in the store until an officer ends it (`signalfire ledger recover --finished`): no gateway can know
whether all that was lost has come back. It has a time from which on reports may be lost, a time up to which, and a
reason; later losses widen it.

What a partner has confirmed is not lost by being older: the time from which on is that of the newest receipt by whoever
shows that something was lost. Others may have confirmed since what the node wrote on the older copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import c2_pb2

from gateway.ledger.errors import StoreError
from gateway.ledger.origin import WITNESS, Origin
from gateway.ledger.stores import CosignatureKind, StoreReader
from gateway.release.plan import Plan
from gateway.release.ranks import Rank

META: Final = "resubmit"
"""Key of the store's own value that holds the wish: a serialised `Resubmit` without identifiers. Empty: there is none.
"""

MAX_REASON: Final = 512
"""Characters of the reason: of many losses the first are named."""

MARGIN_NS: Final = 2_000_000_000
"""Nanoseconds by which a time on record may lag behind the commits that are durable."""


def standing(store: StoreReader) -> c2_pb2.Resubmit | None:
    """The wish that stands; None where there is none. Raises StoreError."""
    return _read(store.meta(META))


def wish_for(plan: Plan, since_ns: int, reason: str) -> None:
    """Asks for everything that was accepted from `since_ns` (0: ever) until now, besides what is asked for already."""
    raw = plan.commit.meta.get(META)
    before = _read(plan.store.meta(META) if raw is None else raw)
    wish = c2_pb2.Resubmit(reason=reason[:MAX_REASON])
    if before is not None:
        since_ns = min(since_ns, before.since.ToNanoseconds())
        if reason not in before.reason:
            wish.reason = f"{before.reason}; {reason}"[:MAX_REASON]
        else:
            wish.reason = before.reason
    if since_ns > 0:
        wish.since.FromNanoseconds(since_ns)
    wish.until.FromNanoseconds(plan.now_ns)
    plan.commit.meta[META] = wish.SerializeToString()


@dataclass(frozen=True, slots=True)
class EndWish:
    """C2 systems are asked for nothing any more."""

    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> bool:
        """Ends the wish. Returns whether there was one."""
        if standing(plan.store) is None:
            return False
        plan.commit.meta[META] = b""
        plan.record_event("resubmission-finished", "C2 systems are asked for nothing that was lost any more")
        return True


def confirmed_until(plan: Plan, origin: Origin, partner: str) -> int:
    """When `partner` last confirmed anything of this node's, nanoseconds since 1970; 0 where it never did.

    Without a partner: whoever confirmed `origin` the longest ago.
    """
    if not partner:
        return min((_last(plan, origin, signer) for signer in _signers(plan, origin)), default=0)
    return max(
        (
            _last(plan, head.origin, partner)
            for head in plan.heads
            if not head.replica and (head.origin.recipient == partner or head.origin.lane == WITNESS)
        ),
        default=0,
    )


def _signers(plan: Plan, origin: Origin) -> tuple[str, ...]:
    head = plan.heads.get(origin)
    if head is None:
        return ()
    return tuple(plan.store.cosigners(head.id, CosignatureKind.RECEIPT))


def _last(plan: Plan, origin: Origin, signer: str) -> int:
    head = plan.heads.get(origin)
    receipt = None if head is None else plan.store.cosignature(head.id, CosignatureKind.RECEIPT, signer)
    return 0 if receipt is None else receipt.time_ns


def _read(raw: bytes | None) -> c2_pb2.Resubmit | None:
    if not raw:
        return None
    try:
        return c2_pb2.Resubmit.FromString(raw)
    except DecodeError as error:
        raise StoreError("what C2 systems are asked to submit again does not read; run `ledger verify`") from error
