"""What one node says that it holds of a ledger: the values by which two nodes compare what each of them has."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.ledger.errors import OriginError
from gateway.ledger.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from gateway.ledger.origin import WITNESS, Origin


@dataclass(frozen=True, slots=True)
class HeldLedger:
    """One ledger as somebody holds it. Raises OriginError for what no ledger can be.

    `checkpoint` is the owner's signed note of that size, empty for size 0; `receipt` the other side's cosignature of
    the largest size, empty where there is none. Neither is verified here.
    """

    origin: Origin
    size: int
    root: bytes
    checkpoint: bytes = b""
    receipt: bytes = b""
    successor: Origin | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise OriginError(f"{self.origin}: size {self.size} is not between 0 and 2**63 - 1")
        if len(self.root) != HASH_SIZE:
            raise OriginError(f"{self.origin}: the root is {len(self.root)} bytes, not {HASH_SIZE}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise OriginError(f"{self.origin}: size is 0, and the root is not the empty tree's")

    @classmethod
    def none(cls, origin: Origin) -> HeldLedger:
        """Nothing is held of that ledger."""
        return cls(origin, 0, EMPTY_ROOT)


@dataclass(frozen=True, slots=True)
class HeldSignatures:
    """The signed notes that are held about one size of a ledger; empty where there is none."""

    checkpoint: bytes = b""
    receipt: bytes = b""


def is_between(origin: Origin, one: str, other: str) -> bool:
    """Whether both of two nodes hold that ledger: one keeps it for the other, or it is the witness ledger of either."""
    if origin.recipient is None:
        return origin.lane == WITNESS and origin.owner in (one, other)
    return {origin.owner, origin.recipient} == {one, other}


def is_third_witness(origin: Origin, one: str, other: str) -> bool:
    """Whether it is the witness ledger of neither of two nodes: both may hold it, as partners of its owner."""
    return origin.lane == WITNESS and origin.owner not in (one, other)


def holder(origin: Origin, one: str, other: str) -> str:
    """Of two nodes between whom a ledger is: the one that holds it and does not own it. It gives the receipts."""
    return other if origin.owner == one else one
