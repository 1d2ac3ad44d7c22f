"""The officers' orders as a node keeps them: how they are made durable, and how the state in force is read from them.

What is on disk counts for no more than what the officers signed. At every start, in order:

1. The first roster is the one that was pinned at the first start. It is kept sealed under the node's storage key, and
   so is every order: whoever reaches the store's file alone can write neither.
2. The orders are put in force again one after another (`policy.approve.replay`): each is the next, names the one
   before it, and is signed by as many officers of the roster then in force as it took.
3. The last of them is the one that a sealed record names: none can be taken off the end.
4. The bundle in force is compiled from the files that are kept with its order.

Where any of this fails, nothing is believed: everything is withheld, and every partner counts as suspended, as nobody
knows who was. An older copy of the whole store is believed:
see `signalfire ledger verify`, which holds the orders against the decisions ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

from google.protobuf.message import DecodeError
from signalfire.v1 import officer_pb2

from gateway.ledger.errors import BundleError, LedgerError
from gateway.ledger.origin import DECISIONS
from gateway.ledger.stores import LedgerId, OrderRow, StoreReader
from gateway.release.errors import ReleaseError, StepRefused
from gateway.release.opening import Opener
from gateway.release.plan import Plan
from gateway.release.ranks import Rank
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Signatory
from gateway.seal.errors import SealError
from policy.approve import (
    Activate,
    CarryFor,
    DeclarePosture,
    Judgement,
    OrderRefused,
    ReplaceRoster,
    Resume,
    Roster,
    Route,
    SignedOrder,
    State,
    Suspend,
    decode,
    effect,
    replay,
)
from policy.bundle import Bundle, compile_bundle
from policy.errors import PolicyError
from policy.vocabulary import Posture

ROSTER_META: Final = "roster"
_LAST_META: Final = "last order"
_OVER_META: Final = "posture over"
_ROSTER_CONTEXT: Final = b"signalfire/v1/roster"
_LAST_CONTEXT: Final = b"signalfire/v1/last-order"
_OVER_CONTEXT: Final = b"signalfire/v1/posture-over"

EVENTS: Final = {
    Activate: "policy-activated",
    Suspend: "partner-suspended",
    Resume: "partner-resumed",
    DeclarePosture: "posture-declared",
    ReplaceRoster: "roster-replaced",
    Route: "route-changed",
    CarryFor: "carrying-changed",
}
"""Kind of the event in the decisions ledger, by what an order does. Its evidence is the `SignedOrder`."""


_GOVERNED: Final = frozenset({"roster-pinned", *EVENTS.values()})


class OrdersError(ReleaseError):
    """The orders on record cannot be believed; the text says why and how to mend it."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An order on record, opened."""

    row: OrderRow
    signed: SignedOrder
    files: dict[str, bytes]
    needed: int


@dataclass(frozen=True, slots=True)
class InForce:
    """What is on record: the first roster, and the state after the last order. `unreadable` says why the bundle in
    force cannot be used by this software; empty where it can.
    """

    first: Roster
    state: State
    unreadable: str = ""


def read_in_force(store: StoreReader, signatory: Signatory, known: Bundle | None = None) -> InForce | None:
    """The officers' state as the store has it; None where no roster was ever pinned. `known` saves compiling anew.

    Raises OrdersError where it cannot be believed, and StoreError.
    """
    first = pinned_roster(store, signatory)
    orders = list(kept_orders(store, signatory))
    if first is None:
        # Without this, whoever takes away every order would have the gateway begin anew with its first one.
        if orders or any(kind in _GOVERNED for kind in _recorded_events(store, signatory)):
            raise OrdersError(
                "A roster was pinned, and is not on record: the store was altered. Restore it from a copy."
            )
        return None
    last_activation = max((place for place, kept in enumerate(orders) if kept.files), default=-1)
    state, unreadable = State.genesis(first), ""
    for place, kept in enumerate(orders):
        bundle = None
        if place == last_activation:
            bundle, unreadable = _compiled(kept, known)
        try:
            time = datetime.fromtimestamp(kept.row.enacted_ns / 1e9, UTC)
            state = replay(state, kept.signed, bundle, enacted=time, needed=kept.needed)
        except OrderRefused as error:
            raise OrdersError(f"Order {kept.row.sequence} on record does not hold: {error}") from error
    _require_last(store, signatory, state)
    over = _sealed_meta(store, signatory, _OVER_META, _OVER_CONTEXT)
    if state.declared is not None and over == state.declared.sequence.to_bytes(8):
        state = replace(state, declared=None)
    return InForce(first, state, unreadable)


def kept_orders(store: StoreReader, signatory: Signatory) -> Iterator[Kept]:
    """The orders on record, opened, in their sequence. Raises OrdersError and StoreError."""
    return (_open(row, signatory) for row in store.orders())


def pinned_roster(store: StoreReader, signatory: Signatory) -> Roster | None:
    """The roster that was pinned at the first start. Raises OrdersError."""
    raw = _sealed_meta(store, signatory, ROSTER_META, _ROSTER_CONTEXT)
    return None if raw is None else Roster.of(signatory.node, officer_pb2.Roster.FromString(raw))


def _recorded_events(store: StoreReader, signatory: Signatory) -> Iterator[str]:
    """Kinds of the events in the decisions ledger: read as a whole, and only where no roster is pinned."""
    opener = Opener(signatory.node, signatory.sealing)
    for row in store.ledgers():
        if row.replica or row.origin.lane != DECISIONS:
            continue

        def fetch(at: int, ledger: LedgerId = row.id) -> bytes:
            return store.entry(ledger, at) or b""

        for index in range(row.size):
            try:
                content = opener.content(row.origin, index, fetch(index), fetch)
            except (SealError, BundleError) as error:
                raise OrdersError(f"{row.origin} entry {index} does not open: {error}") from error
            if content is not None and content.HasField("node_event"):
                yield content.node_event.kind


def rulebook_of(state: State | None, partners: Iterable[str]) -> Rulebook:
    """What decisions are made by in that state."""
    if state is None:
        return Rulebook.none(partners)
    if state.bundle is None:
        return Rulebook.none(partners, state.suspended).routed(state.routes, state.carries)
    # A declared posture holds until its end is on record (`EndPosture`), not until a clock says so.
    posture = state.bundle.posture if state.declared is None else state.declared.posture
    book = Rulebook(state.bundle, tuple(sorted(partners)), posture, state.suspended)
    return book.routed(state.routes, state.carries)


def _require_last(store: StoreReader, signatory: Signatory, state: State) -> None:
    last = _sealed_meta(store, signatory, _LAST_META, _LAST_CONTEXT)
    if last != _last(state):
        raise OrdersError(
            f"The orders on record end with number {state.sequence}, and that is not the last that was put in force:"
            " the store was altered. Restore it from a copy."
        )


def _last(state: State) -> bytes:
    return state.sequence.to_bytes(8) + state.last


def _sealed_meta(store: StoreReader, signatory: Signatory, key: str, context: bytes) -> bytes | None:
    sealed = store.meta(key)
    if sealed is None:
        return None
    try:
        return signatory.storage.open(sealed, context)
    except SealError as error:
        raise OrdersError(f'The store\'s record "{key}" does not open: {error}') from error


def _order_context(sequence: int) -> bytes:
    return f"signalfire/v1/order/{sequence}".encode()


def _open(row: OrderRow, signatory: Signatory) -> Kept:
    try:
        raw = signatory.storage.open(row.payload, _order_context(row.sequence))
        kept = officer_pb2.EnactedOrder.FromString(raw)
    except (SealError, DecodeError) as error:
        raise OrdersError(f"Order {row.sequence} on record does not open: {error}") from error
    signed = SignedOrder.of(kept.order)
    if signed.digest != row.digest or kept.time.ToNanoseconds() != row.enacted_ns:
        raise OrdersError(f"Order {row.sequence} on record was altered. Restore the store from a copy.")
    return Kept(row, signed, {file.path: file.content for file in kept.files}, kept.signatures_needed)


def _compiled(kept: Kept, known: Bundle | None) -> tuple[Bundle | None, str]:
    action = decode(kept.signed.order).action
    if known is not None and isinstance(action, Activate) and known.digest == action.bundle:
        return known, ""
    try:
        return compile_bundle(kept.files), ""
    except PolicyError as error:
        return None, f"This software refuses the policy in force; activate one that it accepts. {error}"


# --- steps


@dataclass(frozen=True, slots=True)
class PinRoster:
    """Pins the first roster, at a node's first start."""

    roster: Roster
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> None:
        """Records it. Raises StepRefused where one is pinned already."""
        if plan.store.meta(ROSTER_META) is not None:
            raise StepRefused("a roster is pinned already")
        names = ", ".join(officer.name for officer in self.roster.officers)
        plan.record_event("roster-pinned", f"roster {self.roster.digest.hex()}: {names}")
        plan.commit.meta[ROSTER_META] = plan.signatory.storage.seal(
            self.roster.message().SerializeToString(deterministic=True), _ROSTER_CONTEXT, plan.signatory.random
        )
        plan.commit.meta[_LAST_META] = plan.signatory.storage.seal(
            _last(State.genesis(self.roster)), _LAST_CONTEXT, plan.signatory.random
        )


@dataclass(frozen=True, slots=True)
class EnactOrder:
    """Puts an order in force that was judged so: on record, and for the next decision, in one commit."""

    judgement: Judgement
    signed: SignedOrder
    files: dict[str, bytes]
    brought_by: str
    rank: Rank = Rank.OWN

    @property
    def weight(self) -> int:
        """Bytes of the order and its bundle."""
        return len(self.signed.order) + sum(map(len, self.files.values()))

    def apply(self, plan: Plan) -> None:
        """Records it. Raises StepRefused where another order came in between."""
        order, state = self.judgement.order, self.judgement.state
        if plan.commit.orders or any(row.sequence >= order.sequence for row in plan.store.orders(order.sequence - 1)):
            raise StepRefused(f"order {order.sequence} is on record already")
        message = self.signed.message()
        signers = ", ".join(signature.officer for signature in self.signed.signatures)
        event = plan.record_event(
            EVENTS[type(order.action)],
            f"order {order.sequence} ({state.last.hex()}) {effect(order)}; signed by {signers}; it took"
            f" {self.judgement.needed}, as {self.judgement.finding}; brought by {self.brought_by}",
            [message.SerializeToString(deterministic=True)],
        )
        kept = officer_pb2.EnactedOrder(
            order=message,
            files=[officer_pb2.BundleFile(path=path, content=self.files[path]) for path in sorted(self.files)],
            signatures_needed=self.judgement.needed,
            brought_by=self.brought_by,
        )
        kept.time.FromNanoseconds(plan.now_ns)
        seal, random = plan.signatory.storage.seal, plan.signatory.random
        payload = seal(kept.SerializeToString(deterministic=True), _order_context(order.sequence), random)
        plan.commit.orders.append(OrderRow(order.sequence, state.last, plan.now_ns, event, payload))
        plan.commit.meta[_LAST_META] = seal(_last(state), _LAST_CONTEXT, random)
        plan.govern(rulebook_of(state, plan.rulebook.partners))


@dataclass(frozen=True, slots=True)
class EndPosture:
    """A declared posture is over: from here on the bundle's own holds. On record, so that no clock brings it back."""

    state: State
    weight: int = 0
    rank: Rank = Rank.OWN

    def apply(self, plan: Plan) -> State:
        """Records it. Returns the state without the declaration."""
        declared = self.state.declared
        if declared is None:
            raise LedgerError("no posture is declared that could end")
        after = replace(self.state, declared=None)
        own = Posture.ROUTINE if after.bundle is None else after.bundle.posture
        plan.record_event("posture-over", f"{declared.posture} of order {declared.sequence} is over; {own} holds")
        plan.commit.meta[_OVER_META] = plan.signatory.storage.seal(
            declared.sequence.to_bytes(8), _OVER_CONTEXT, plan.signatory.random
        )
        plan.govern(rulebook_of(after, plan.rulebook.partners))
        return after
