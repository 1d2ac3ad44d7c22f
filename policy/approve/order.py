"""Orders: what officers decide, as one signed statement each, in its place in the node's one sequence. No I/O.

The bytes of a serialised ``Order`` are what is signed and what is digested; they are never written anew, so it does
not matter that protobuf has more than one spelling. Rules for reading them, in order:

1. At most ``MAX_ORDER_BYTES`` bytes, one well-formed message, and nothing in it that this software does not know: an
   officer who signs with a newer one may mean more than is read here.
2. Every required field is set; digests have 32 bytes; times are in the years 1 to 9999; exactly one action.
3. It expires after it was issued.

Signatures are Ed25519 (RFC 8032) over ``signalfire/officer-order/v1``, one zero byte, and those bytes: no signature
made for anything else is one on an order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Final, TypeAlias

from google.protobuf.message import DecodeError, Message
from google.protobuf.timestamp_pb2 import Timestamp
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey
from signalfire.v1 import officer_pb2

from policy.approve.refusals import OrderRefused, Reason, Refusal
from policy.approve.roster import MAX_OFFICERS, Officer, Roster
from policy.vocabulary import Posture

SIGNED_CONTEXT: Final = b"signalfire/officer-order/v1\0"
"""What stands before the order in what is signed."""

DIGEST_SIZE: Final = 32
"""Bytes of SHA-256."""

MAX_ORDER_BYTES: Final = 16 * 1024
"""Bytes of a serialised order: a roster of 64 officers has some 7,000."""

MAX_REASON: Final = 500
"""Characters of the reason for a suspension: what stands on one screen."""

MAX_CARRIERS: Final = 16
"""Carriers of one route: each that is used learns when this node talks with that partner."""

_SIGNATURE_SIZE: Final = 64
_CODE = re.compile(r"[A-Z]{3}")
_WRITE_ANEW: Final = "Write the order anew with `signalfire policy sign`."


@dataclass(frozen=True, slots=True)
class Activate:
    """Puts the bundle with this digest in force."""

    bundle: bytes


@dataclass(frozen=True, slots=True)
class Suspend:
    """Nothing is released to a partner any more."""

    partner: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resume:
    """Ends a suspension."""

    partner: str


@dataclass(frozen=True, slots=True)
class DeclarePosture:
    """Declares a posture. From ``until`` on, where it is given, the bundle's own holds again."""

    posture: Posture
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class ReplaceRoster:
    """Replaces the roster."""

    roster: Roster


@dataclass(frozen=True, slots=True)
class Route:
    """By which partners the ledgers between this node and ``partner`` are carried as well as sent directly: by each of
    them, whatever their order; by none where ``carriers`` is empty. It replaces what held before."""

    partner: str
    carriers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CarryFor:
    """This node carries between two of its partners, or (``ended``) does so no more. ``one`` stands before ``other`` in
    the alphabet: so each pair has one name."""

    one: str
    other: str
    ended: bool = False

    @property
    def pair(self) -> tuple[str, str]:
        """The two ends."""
        return self.one, self.other


Action: TypeAlias = Activate | Suspend | Resume | DeclarePosture | ReplaceRoster | Route | CarryFor


@dataclass(frozen=True, slots=True)
class Order:
    """One order. Times carry their time zone; ``previous`` is 32 bytes."""

    node: str
    sequence: int
    previous: bytes
    issued: datetime
    expires: datetime
    action: Action


@dataclass(frozen=True, slots=True)
class Signature:
    """One officer's signature on an order."""

    officer: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """A serialised order, and what was signed under it; not judged yet."""

    order: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def digest(self) -> bytes:
        """SHA-256 of the order, 32 bytes; whoever signed it."""
        return sha256(self.order).digest()

    def message(self) -> officer_pb2.SignedOrder:
        """The same as the contract has it."""
        return officer_pb2.SignedOrder(
            order=self.order,
            signatures=[
                officer_pb2.OrderSignature(officer=each.officer, key_id=each.key_id, signature=each.signature)
                for each in self.signatures
            ],
        )

    @classmethod
    def of(cls, message: officer_pb2.SignedOrder) -> SignedOrder:
        """The signed order in a message. Of more signatures than any roster has officers one more than that is read,
        which no roster takes."""
        read = message.signatures[: MAX_OFFICERS + 1]
        signatures = (Signature(each.officer, each.key_id, each.signature) for each in read)
        return cls(message.order, tuple(signatures))


def sign(signed: SignedOrder, name: str, node: str, seed: bytes) -> SignedOrder:
    """The order with one more signature: of the officer ``name``, whose Ed25519 seed (32 bytes) is given."""
    key = SigningKey(seed)
    officer = Officer(name, bytes(key.verify_key))
    made = Signature(name, officer.key_id(node), key.sign(SIGNED_CONTEXT + signed.order).signature)
    return SignedOrder(signed.order, (*signed.signatures, made))


def holds(signature: Signature, officer: Officer, order: bytes) -> bool:
    """Whether ``signature`` is 64 bytes that the officer's key made over ``order``."""
    if len(signature.signature) != _SIGNATURE_SIZE:
        return False
    try:
        VerifyKey(officer.key).verify(SIGNED_CONTEXT + order, signature.signature)
    except BadSignatureError:
        return False
    return True


def encode(order: Order) -> bytes:
    """The order, serialised."""
    message = officer_pb2.Order(node=order.node, sequence=order.sequence, previous=order.previous)
    message.issued.FromDatetime(order.issued.astimezone(UTC))
    message.expires.FromDatetime(order.expires.astimezone(UTC))
    match order.action:
        case Activate(bundle):
            message.activate.bundle_digest = bundle
        case Suspend(partner, reason):
            message.suspend.partner, message.suspend.reason = partner, reason
        case Resume(partner):
            message.resume.partner = partner
        case DeclarePosture(posture, until):
            message.declare_posture.posture = posture
            if until is not None:
                message.declare_posture.until.FromDatetime(until.astimezone(UTC))
        case ReplaceRoster(roster):
            message.roster.CopyFrom(roster.message())
        case Route(partner, carriers):
            message.route.partner = partner
            message.route.carriers.extend(carriers)
        case CarryFor(one, other, ended):
            message.carry_for.one, message.carry_for.other, message.carry_for.ended = one, other, ended
    return message.SerializeToString(deterministic=True)


def decode(raw: bytes) -> Order:
    """The order in its serialised form (rules 1 to 3). Raises OrderRefused."""
    if len(raw) > MAX_ORDER_BYTES:
        raise _malformed([f"The order has {len(raw)} bytes; the limit is {MAX_ORDER_BYTES}."])
    try:
        message = officer_pb2.Order.FromString(raw)
    except DecodeError as error:
        raise _malformed([f"The order's {len(raw)} bytes are no order."]) from error
    message.DiscardUnknownFields()
    if message.ByteSize() != len(raw):
        raise OrderRefused(
            [
                Refusal(
                    Reason.MALFORMED,
                    "The order says something that this software does not know.",
                    "Use the version that it was written with, or write it anew with this one.",
                )
            ]
        )
    return _read(message)


def _read(message: officer_pb2.Order) -> Order:
    faults: list[str] = []
    if _CODE.fullmatch(message.node) is None:
        faults.append("The order names no node.")
    if not message.sequence:
        faults.append("The order has no sequence.")
    if len(message.previous) != DIGEST_SIZE:
        faults.append(f"The order's previous has {len(message.previous)} bytes; a digest has {DIGEST_SIZE}.")
    issued = _time(message, "issued", faults)
    expires = _time(message, "expires", faults)
    action = _action(message, faults)
    if issued is not None and expires is not None and expires <= issued:
        faults.append("The order expires before it was issued.")
    if faults or issued is None or expires is None or action is None:
        raise _malformed(faults)
    return Order(message.node, message.sequence, message.previous, issued, expires, action)


def _action(message: officer_pb2.Order, faults: list[str]) -> Action | None:
    match message.WhichOneof("action"):
        case "activate":
            digest = message.activate.bundle_digest
            if len(digest) != DIGEST_SIZE:
                faults.append(f"The digest of the bundle has {len(digest)} bytes, not {DIGEST_SIZE}.")
            return Activate(digest)
        case "suspend":
            _partner(message.suspend.partner, faults)
            reason = message.suspend.reason
            if not reason.strip() or len(reason) > MAX_REASON or not reason.isprintable():
                faults.append(f"A suspension says why, in 1 to {MAX_REASON} characters on one line.")
            return Suspend(message.suspend.partner, reason)
        case "resume":
            _partner(message.resume.partner, faults)
            return Resume(message.resume.partner)
        case "declare_posture":
            until = _time(message.declare_posture, "until", faults, required=False)
            try:
                return DeclarePosture(Posture(message.declare_posture.posture), until)
            except ValueError:
                faults.append(f'"{message.declare_posture.posture[:32]}" is none of {", ".join(Posture)}.')
                return None
        case "roster":
            return ReplaceRoster(Roster.of(message.node, message.roster))
        case "route":
            return _route(message.node, message.route, faults)
        case "carry_for":
            return _carry_for(message.node, message.carry_for, faults)
        case _:
            faults.append("The order does nothing.")
            return None


def _route(node: str, route: officer_pb2.Route, faults: list[str]) -> Route:
    carriers = tuple(route.carriers[: MAX_CARRIERS + 1])
    for code in (route.partner, *carriers):
        _partner(code, faults)
    if len(carriers) > MAX_CARRIERS:
        faults.append(f"A route has at most {MAX_CARRIERS} carriers.")
    if len({route.partner, node, *carriers}) != len(carriers) + 2:
        faults.append("A route is between two nodes, and each of its carriers is a third one, named once.")
    return Route(route.partner, carriers)


def _carry_for(node: str, carry: officer_pb2.CarryFor, faults: list[str]) -> CarryFor:
    for code in (carry.one, carry.other):
        _partner(code, faults)
    if not carry.one < carry.other or node in (carry.one, carry.other):
        faults.append("A node carries between two others, and names first the one that is first in the alphabet.")
    return CarryFor(carry.one, carry.other, carry.ended)


def _partner(code: str, faults: list[str]) -> None:
    if _CODE.fullmatch(code) is None:
        faults.append(f'"{code[:16]}" is no partner: use an alpha-3 code, such as KOR.')


def _time(message: Message, name: str, faults: list[str], *, required: bool = True) -> datetime | None:
    if not message.HasField(name):
        if required:
            faults.append(f"The order has no time {name}.")
        return None
    stamp = getattr(message, name)
    assert isinstance(stamp, Timestamp)
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        faults.append(f"The order's time {name} is no time.")
        return None


def _malformed(faults: Iterable[str]) -> OrderRefused:
    return OrderRefused(Refusal(Reason.MALFORMED, fault, _WRITE_ANEW) for fault in faults)
