"""What C2 systems are asked to submit again, where the store was lost or set back.

The wish stands in the store until an officer ends it (`signalfire ledger recover --finished`): no gateway can know
whether all that was lost has come back. A stolen certificate must not end it. So an empty recovery record is set aside
with it, which no ledger holds: whoever brings a key that opens that one, or one that came back, has the recovery
key of the nation. A node without one asks for a day at the least.

It has a time from which on reports may be lost, a time up to which, and a reason; later losses widen it. The time up to
which outlasts the wish (`lost_until_ns`): what partners hold of that time comes back whenever they are heard. It never
goes back, though the clock may.

What a partner has confirmed is not lost by being older: the time from which on is that of its newest receipt for the
ledger that it shows to be short here. For other ledgers there may be receipts since, for what the node wrote on the
older copy, of that partner too: they say nothing of when the copy was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import c2_pb2, ledger_pb2

from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.origin import Origin
from gateway.ledger.stores import CosignatureKind, RecoveryRow, StoreReader
from gateway.release.heads import Head
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.seal.recovery import CAPACITIES, RecordKey

META: Final = "resubmit"
"""Key of the store's own value that holds the wish: a serialised `Resubmit` without identifiers. Empty: there is none.
"""

ENDED: Final = "resubmit ended"
"""Key of the store's own value that holds up to when reports may have been lost, as the last wish that ended said:
nanoseconds since 1970, 8 bytes."""

MAX_REASON: Final = 512
"""Characters of the reason: of many losses the first are named."""

ASKED_NS: Final = 86_400_000_000_000
"""Nanoseconds for which C2 systems are asked at the least, unless the recovery key is shown."""

MARGIN_NS: Final = 2_000_000_000
"""Nanoseconds by which a time on record may lag behind the commits that are durable."""


class StillAsked(LedgerError):
    """C2 systems are asked on: nobody has shown that it may end."""


def standing(store: StoreReader) -> c2_pb2.Resubmit | None:
    """The wish that stands; None where there is none. Raises StoreError."""
    return _read(store.meta(META))


def lost_until_ns(store: StoreReader) -> int:
    """Up to when reports may have been lost, nanoseconds since 1970: as the wish says that stands or, where none does,
    as the last one said that ended. 0: there was none. Raises StoreError.
    """
    wish = standing(store)
    return int.from_bytes(store.meta(ENDED) or b"") if wish is None else wish.until.ToNanoseconds()


def wish_for(plan: Plan, since_ns: int, reason: str) -> None:
    """Asks for everything that was accepted from `since_ns` (0: ever) until now, besides what is asked for already."""
    before = _read(_kept(plan, META))
    wish = c2_pb2.Resubmit(reason=reason[:MAX_REASON])
    until_ns = max(plan.now_ns, _ended_ns(plan))
    if before is not None:
        until_ns = max(until_ns, before.until.ToNanoseconds())
        since_ns = min(since_ns, before.since.ToNanoseconds())
        if reason not in before.reason:
            wish.reason = f"{before.reason}; {reason}"[:MAX_REASON]
        else:
            wish.reason = before.reason
    if before is None:
        _set_proof_aside(plan)
    if since_ns > 0:
        wish.since.FromNanoseconds(since_ns)
    wish.until.FromNanoseconds(until_ns)
    plan.commit.meta[META] = wish.SerializeToString()


def _set_proof_aside(plan: Plan) -> None:
    """Keeps a record that the nation's recovery key alone opens, where there is one."""
    if plan.recording is None:
        return
    decisions, own = plan.ledgers.decisions(), plan.signatory
    origin, index = decisions.head.origin, decisions.next_index
    key, wrap = RecordKey.draw_new(str(origin), index, index, own.node, plan.recording.key, own.random)
    ciphertext = key.seal(index, ledger_pb2.RecoveryRecord(), CAPACITIES[0])
    sealed = ledger_pb2.SealedRecovery(key=wrap, key_index=index, ciphertext=ciphertext)
    plan.commit.recovery.append(RecoveryRow(origin, index, index, sealed.SerializeToString(), rebuilt=True))


@dataclass(frozen=True, slots=True)
class EndWish:
    """C2 systems are asked for nothing any more. `proved`: whoever wants that has shown a key that opens a record."""

    proved: bool
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> bool:
        """Ends the wish. Returns whether there was one. Raises StillAsked where it may not end yet."""
        wish = _read(_kept(plan, META))
        if wish is None:
            return False
        if plan.commit.meta.get(META):
            # Of that loss nobody has been asked for anything yet, and whoever wants the end does not know of it.
            raise StillAsked("C2 systems are asked on: it was found just now that more is lost; see what they send")
        if not self.proved and plan.now_ns < wish.until.ToNanoseconds() + ASKED_NS:
            raise StillAsked(
                "C2 systems are asked on: nobody has shown the nation's recovery key, and they were asked for less than"
                f" {ASKED_NS // 3_600_000_000_000} hours"
            )
        plan.commit.meta[META] = b""
        plan.commit.meta[ENDED] = max(wish.until.ToNanoseconds(), _ended_ns(plan)).to_bytes(8)
        plan.record_event("resubmission-finished", "C2 systems are asked for nothing that was lost any more")
        return True


def _kept(plan: Plan, key: str) -> bytes | None:
    """A value of the store's own, durable or in this plan."""
    raw = plan.commit.meta.get(key)
    return plan.store.meta(key) if raw is None else raw


def _ended_ns(plan: Plan) -> int:
    return int.from_bytes(_kept(plan, ENDED) or b"")


def confirmed_until(plan: Plan, origin: Origin, partner: str) -> int:
    """When `partner` last confirmed anything of `origin`, nanoseconds since 1970; 0 where it never did.

    Without a partner: whoever confirmed it the longest ago.
    """
    if not partner:
        return min((_last(plan, origin, signer) for signer in _signers(plan, origin)), default=0)
    return _last(plan, origin, partner)


def _signers(plan: Plan, origin: Origin) -> tuple[str, ...]:
    head = _known(plan, origin)
    return () if head is None else tuple(plan.store.cosigners(head.id, CosignatureKind.RECEIPT))


def _last(plan: Plan, origin: Origin, signer: str) -> int:
    head = _known(plan, origin)
    receipt = None if head is None else plan.store.cosignature(head.id, CosignatureKind.RECEIPT, signer)
    return 0 if receipt is None else receipt.time_ns


def _known(plan: Plan, origin: Origin) -> Head | None:
    """The ledger; where the store is older than that generation, the one of its line that it knows."""
    return plan.heads.get(origin) or plan.heads.get(plan.heads.current(origin.owner, origin.recipient, origin.lane))


def _read(raw: bytes | None) -> c2_pb2.Resubmit | None:
    if not raw:
        return None
    try:
        return c2_pb2.Resubmit.FromString(raw)
    except DecodeError as error:
        raise StoreError("what C2 systems are asked to submit again does not read; run `ledger verify`") from error
