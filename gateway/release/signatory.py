"""What this node signs, opens and stores with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.identity.key_names import gateway_key_name
from gateway.identity.keyring import FILE_DIGITS, HeldKey, KeyKind, Keyring
from gateway.identity.node_keys import NodeKeys
from gateway.ledger.checkpoint import LogKey, LogPublicKey
from gateway.ledger.cosignature import (
    Ed25519CosignatureSigner,
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureSigner,
    MLDSA44CosignatureVerifier,
    pq_name,
    receipt_name,
)
from gateway.ledger.note import Ed25519Signer, Ed25519Verifier
from gateway.release.errors import KeyNotHeld
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.storage import StorageKey, StorageKeys

K = TypeVar("K")


@dataclass(slots=True, repr=False, eq=False)
class Signatory:
    """This node's private keys, ready for use. One object a process; it is never serialised or printed.

    Which key of each kind is in use changes while a gateway runs: `using` gives the same node with other keys in use,
    and `adopt` puts those in place everywhere, once that is durable. Both belong to the sequencer; whoever else holds
    this object asks it anew for each signature.
    """

    node: str
    log: LogKey
    gateway: Ed25519Signer
    """The log key under the name `signalfire/v1/<NODE>/gateway`: signs challenges, heartbeats and statements."""
    receipt: Ed25519CosignatureSigner
    pq: MLDSA44CosignatureSigner
    sealing: list[SealingPrivateKey]
    """The key for which own epochs are wrapped first; all others still open what was sealed to them."""
    storage: StorageKeys
    ring: Keyring
    in_use: Mapping[KeyKind, str]
    """Ids of the keys in use."""
    random: Callable[[int], bytes] = field(default=os.urandom)

    @classmethod
    def from_keys(cls, node: str, keys: NodeKeys) -> Signatory:
        """The same keys, ready for use."""
        return cls.from_ring(node, Keyring.of_node_keys(keys))

    @classmethod
    def from_ring(cls, node: str, ring: Keyring, in_use: Mapping[KeyKind, str] | None = None) -> Signatory:
        """A keyring ready for use: of each kind the key with the id in `in_use`, otherwise the default one.

        Raises KeyNotHeld for an id that the keyring does not hold.
        """
        chosen = {kind: _chosen(ring, kind, (in_use or {}).get(kind)) for kind in KeyKind}
        seed = chosen[KeyKind.LOG].secret
        return cls(
            node=node,
            log=LogKey(seed),
            gateway=Ed25519Signer(gateway_key_name(node), seed),
            receipt=Ed25519CosignatureSigner(receipt_name(node), chosen[KeyKind.RECEIPT].secret),
            pq=MLDSA44CosignatureSigner(pq_name(node), chosen[KeyKind.PQ].secret),
            sealing=[
                SealingPrivateKey(key.parts["mlkem768_seed"], key.parts["x25519_private"])
                for key in _first(chosen[KeyKind.SEALING], ring)
            ],
            storage=StorageKeys([StorageKey(key.secret) for key in _first(chosen[KeyKind.STORAGE], ring)]),
            ring=ring,
            in_use={kind: key.key_id for kind, key in chosen.items()},
        )

    def using(self, changes: Mapping[KeyKind, str], ring: Keyring | None = None) -> Signatory:
        """The same node with other keys in use, or with another keyring. Raises KeyNotHeld."""
        made = Signatory.from_ring(self.node, ring or self.ring, {**self.in_use, **changes})
        made.random = self.random
        return made

    def adopt(self, other: Signatory) -> None:
        """Puts the keys of `other` in place of these, also for those who hold `sealing` or `storage` alone."""
        self.log, self.gateway, self.receipt, self.pq = other.log, other.gateway, other.receipt, other.pq
        self.sealing[:] = other.sealing
        self.storage.replace(other.storage)
        self.ring, self.in_use = other.ring, other.in_use

    def held(self, kind: KeyKind) -> HeldKey:
        """The key in use of one kind."""
        return self.ring.keys[kind][self.in_use[kind]]


def _chosen(ring: Keyring, kind: KeyKind, key_id: str | None) -> HeldKey:
    if key_id is None:
        return ring.default(kind)
    found = ring.get(kind, key_id)
    if found is None:
        raise KeyNotHeld(
            f"the {kind} key {key_id} is in use, and the keys directory does not hold it: restore"
            f" {kind}.{key_id[:FILE_DIGITS]}.key, or {kind.default_file}, from its backup"
        )
    return found


def _first(chosen: HeldKey, ring: Keyring) -> Sequence[HeldKey]:
    return [chosen, *(key for key in ring.keys[chosen.kind].values() if key.key_id != chosen.key_id)]


@dataclass(frozen=True, slots=True)
class Retired(Generic[K]):
    """A key that signs no more, and until when it did: POSIX seconds."""

    key: K
    until: int


@dataclass(frozen=True, slots=True)
class Partner:
    """A node's public keys; of each kind the newest first, all of them believed.

    Live traffic is believed under these alone. The retired ones count for what is on record, and there only as far as
    `gateway.release.belief` says.
    """

    node: str
    log: Sequence[LogPublicKey]
    gateway: Sequence[Ed25519Verifier]
    """The log keys under the name `signalfire/v1/<NODE>/gateway`: verify heartbeats and statements."""
    receipt: Sequence[Ed25519CosignatureVerifier]
    pq: Sequence[MLDSA44CosignatureVerifier]
    sealing: SealingPublicKey
    retired_log: Sequence[Retired[LogPublicKey]] = ()
    retired_receipt: Sequence[Retired[Ed25519CosignatureVerifier]] = ()
    retired_pq: Sequence[Retired[MLDSA44CosignatureVerifier]] = ()

    @property
    def retired_gateway(self) -> Sequence[Ed25519Verifier]:
        """The retired log keys under the name of `gateway`."""
        return [Ed25519Verifier(gateway_key_name(self.node), old.key.public_key) for old in self.retired_log]

    def believes_stream(self, log_key: bytes, proven_at: int) -> bool:
        """Whether a stream that was proven with `log_key` at `proven_at` (POSIX seconds) may go on: under a key that is
        believed, or was until then.
        """
        return any(key.public_key == log_key for key in self.log) or any(
            old.key.public_key == log_key and proven_at <= old.until for old in self.retired_log
        )
