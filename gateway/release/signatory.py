"""What this node signs, opens and stores with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from gateway.identity.key_names import gateway_key_name
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
from gateway.seal.keys import SealingPrivateKey, SealingPublicKey
from gateway.seal.storage import StorageKey


@dataclass(frozen=True, slots=True, repr=False)
class Signatory:
    """This node's private keys, ready for use. One object a process; it is never serialised or printed.

    `sealing` holds the current key first; older ones still open what was sealed to them.
    """

    node: str
    log: LogKey
    gateway: Ed25519Signer
    """The log key under the name `signalfire/v1/<NODE>/gateway`: signs challenges, heartbeats and statements."""
    receipt: Ed25519CosignatureSigner
    pq: MLDSA44CosignatureSigner
    sealing: Sequence[SealingPrivateKey]
    storage: StorageKey
    random: Callable[[int], bytes] = field(default=os.urandom)

    @classmethod
    def from_keys(cls, node: str, keys: NodeKeys) -> Signatory:
        """The same keys, ready for use."""
        return cls(
            node=node,
            log=LogKey(keys.log_seed),
            gateway=Ed25519Signer(gateway_key_name(node), keys.log_seed),
            receipt=Ed25519CosignatureSigner(receipt_name(node), keys.receipt_seed),
            pq=MLDSA44CosignatureSigner(pq_name(node), keys.pq_seed),
            sealing=(SealingPrivateKey(keys.sealing_mlkem768_seed, keys.sealing_x25519_private),),
            storage=StorageKey(keys.storage_key),
        )


@dataclass(frozen=True, slots=True)
class Partner:
    """A partner's public keys; of each kind the newest first, all of them believed."""

    node: str
    log: Sequence[LogPublicKey]
    gateway: Sequence[Ed25519Verifier]
    """The log keys under the name `signalfire/v1/<NODE>/gateway`: verify heartbeats and statements."""
    receipt: Sequence[Ed25519CosignatureVerifier]
    pq: Sequence[MLDSA44CosignatureVerifier]
    sealing: SealingPublicKey
