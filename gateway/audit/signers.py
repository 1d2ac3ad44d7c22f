"""The keys by which a node's statements are believed by others: those in use, and no others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import LogKey, LogPublicKey
from gateway.ledger.cosignature import (
    Ed25519CosignatureSigner,
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureVerifier,
    receipt_name,
)
from gateway.release.signatory import Partner, Signatory


@dataclass(frozen=True, slots=True)
class Signers:
    """One node's signing keys. What a retired one signed blames nobody: it is named, to say just that."""

    node: str
    log: Sequence[LogPublicKey]
    receipt: Sequence[Ed25519CosignatureVerifier]
    pq: Sequence[MLDSA44CosignatureVerifier] = ()
    retired_log: Sequence[LogPublicKey] = ()
    retired_receipt: Sequence[Ed25519CosignatureVerifier] = ()

    @classmethod
    def of(cls, partner: Partner) -> Signers:
        """Those of a trust bundle."""
        return cls(
            partner.node,
            tuple(partner.log),
            tuple(partner.receipt),
            tuple(partner.pq),
            tuple(old.key for old in partner.retired_log),
            tuple(old.key for old in partner.retired_receipt),
        )

    @classmethod
    def of_own(cls, signatory: Signatory) -> Signers:
        """Those of this node: in use are the ones that it signs with."""
        ring, name = signatory.ring.keys, receipt_name(signatory.node)
        log, receipt = signatory.held(KeyKind.LOG), signatory.held(KeyKind.RECEIPT)
        return cls(
            signatory.node,
            (signatory.log.public,),
            (signatory.receipt.verifier,),
            (signatory.pq.verifier,),
            tuple(LogKey(key.secret).public for key in ring[KeyKind.LOG].values() if key != log),
            tuple(
                Ed25519CosignatureSigner(name, key.secret).verifier
                for key in ring[KeyKind.RECEIPT].values()
                if key != receipt
            ),
        )
