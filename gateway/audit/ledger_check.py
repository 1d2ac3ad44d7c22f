"""One ledger as it is checked: what it is held against, and what was found in it. The parts of the check share this."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.audit.indices import Indices
from gateway.audit.key_history import KnownKeys
from gateway.audit.records import Records
from gateway.audit.witnessed import WitnessCheck
from gateway.ledger.origin import Origin
from gateway.ledger.stores import LedgerRow, StoreReader
from gateway.release.signatory import Partner


@dataclass(slots=True)
class LedgerCheck:
    """What was found in one ledger."""

    origin: Origin
    replica: bool
    size: int = 0
    checkpoints: int = 0
    receipt_size: int = 0
    pq_size: int = 0
    reports: int = 0
    withdrawals: int = 0
    absent: Indices = field(default_factory=Indices)
    """Indices of the entries that came as hashes alone, each with its owner's signed reason."""
    pruned: Indices = field(default_factory=Indices)
    """Indices of the entries that this node let go of, each with its own signed reason."""
    cosigned: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of the own witness ledger: up to which size each partner has cosigned it, and when by its clock, seconds since
    1970; both 0 where it has not."""


@dataclass(frozen=True, slots=True)
class Examined:
    """A ledger under examination, with what is known of the keys of this node and its `partners`."""

    row: LedgerRow
    check: LedgerCheck
    records: Records
    witness: WitnessCheck
    keys: Mapping[str, KnownKeys]
    """By node; those of this node are among them."""
    partners: Mapping[str, Partner]

    @property
    def origin(self) -> Origin:
        """Which ledger it is."""
        return self.row.origin

    @property
    def node(self) -> str:
        """This node."""
        return self.records.node

    @property
    def store(self) -> StoreReader:
        """Where it stands."""
        return self.records.store
