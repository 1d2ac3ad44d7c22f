"""The keys of a node over time, as whoever verifies a store knows them: which are current, which are out of use.

Of a partner its trust bundle says so. Of this node, in order:

1. Current is the key that the store names as in use, and what the node's own bundle lists as current.
2. What the own bundle names as retired is not current, whatever the store says.
3. Out of use are the other keys of the keyring, and what the decisions ledger's events `keys-switched` name: so history
   is verified when a private key has been deleted long ago. None of them is believed for itself
   (`gateway.release.belief`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gateway.identity.key_names import gateway_key_name
from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import (
    CosignatureVerifier,
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureVerifier,
    pq_name,
    receipt_name,
)
from gateway.ledger.note import Ed25519Verifier
from gateway.release.belief import FOREVER
from gateway.release.key_switch import Switched
from gateway.release.signatory import Partner, Signatory

CURRENT = None
"""In place of the time until which a key was in use."""

_SIGNING = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ)


@dataclass(slots=True)
class KnownKeys:
    """The signing keys of one node: raw public half, and until when it was in use (POSIX seconds), or CURRENT."""

    node: str
    of_log: dict[bytes, int | None] = field(default_factory=dict)
    of_receipt: dict[bytes, int | None] = field(default_factory=dict)
    of_pq: dict[bytes, int | None] = field(default_factory=dict)

    @classmethod
    def of_partner(cls, partner: Partner) -> KnownKeys:
        """What a bundle says."""
        known = cls(partner.node)
        known.of_log.update({old.key.public_key: old.until for old in partner.retired_log})
        known.of_log.update(dict.fromkeys((key.public_key for key in partner.log), CURRENT))
        known.of_receipt.update({old.key.public_key: old.until for old in partner.retired_receipt})
        known.of_receipt.update(dict.fromkeys((key.public_key for key in partner.receipt), CURRENT))
        known.of_pq.update({old.key.public_key: old.until for old in partner.retired_pq})
        known.of_pq.update(dict.fromkeys((key.public_key for key in partner.pq), CURRENT))
        return known

    @classmethod
    def of_own(cls, signatory: Signatory, bundle: Partner | None) -> KnownKeys:
        """Those of this node; `bundle` are the keys of its own bundle, where it has one."""
        known = cls(signatory.node)
        for kind in _SIGNING:
            of_kind = known._of(kind)
            of_kind.update({key.public: FOREVER for key in signatory.ring.keys[kind].values()})
            of_kind[signatory.held(kind).public] = CURRENT
        if bundle is not None:
            declared = cls.of_partner(bundle)
            for kind in _SIGNING:
                known._of(kind).update(declared._of(kind))
        return known

    def learn(self, switches: Iterable[Switched], at: int) -> None:
        """Takes note of keys that an event names; `at` is its time, POSIX seconds."""
        for switch in switches:
            of_kind = self._of(switch.kind)
            of_kind.setdefault(switch.before, at)
            of_kind.setdefault(switch.after, FOREVER)

    def _of(self, kind: KeyKind) -> dict[bytes, int | None]:
        match kind:
            case KeyKind.LOG:
                return self.of_log
            case KeyKind.RECEIPT:
                return self.of_receipt
            case _:
                return self.of_pq

    @property
    def log(self) -> Sequence[LogPublicKey]:
        """All log keys."""
        return [LogPublicKey(key) for key in self.of_log]

    @property
    def gateway(self) -> Sequence[Ed25519Verifier]:
        """The same under the name `signalfire/v1/<NODE>/gateway`."""
        return [Ed25519Verifier(gateway_key_name(self.node), key) for key in self.of_log]

    @property
    def receipt(self) -> Sequence[CosignatureVerifier]:
        """All receipt keys."""
        return [Ed25519CosignatureVerifier(receipt_name(self.node), key) for key in self.of_receipt]

    @property
    def pq(self) -> Sequence[CosignatureVerifier]:
        """All post-quantum keys."""
        return [MLDSA44CosignatureVerifier(pq_name(self.node), key) for key in self.of_pq]
