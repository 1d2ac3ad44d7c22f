"""Who a gateway is: its certificate and its keys, loaded before anything is made of them."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509

from gateway.config import Config
from gateway.identity.keyring import Keyring
from gateway.identity.locked import KeyLock
from gateway.identity.node_keys import GATEWAY_CERTIFICATE, NodeKeys
from gateway.identity.recovery_key import load_recovery_public
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.node.errors import StartError
from gateway.release.signatory import Signatory


@dataclass(frozen=True, slots=True)
class Identity:
    """What the keys directory holds of one gateway."""

    own: SpiffeId
    """As its certificate names it."""
    lock: KeyLock
    signatory: Signatory
    recovery: bytes | None
    """The public half of the nation's recovery key; None where it is not there."""
    pair: KeyPairFiles
    """Its TLS key and certificate, which are read at each connection."""


def load_identity(config: Config) -> Identity:
    """Loads it. Raises IdentityError for a file that is not what it should be, StartError for another's certificate."""
    lock = config.key_lock()
    keys = NodeKeys.load(config.keys, lock)
    own = SpiffeId.from_certificate(x509.load_pem_x509_certificate(keys.gateway_certificate_pem))
    if own.node != config.node or own.role is not Role.GATEWAY:
        raise StartError(
            f"{config.keys / GATEWAY_CERTIFICATE}: is the certificate of {own}, and the configuration is that"
            f" of {config.node}. Issue one with `signalfire pki gateway`, or correct `node`."
        )
    return Identity(
        own=own,
        lock=lock,
        signatory=Signatory.from_ring(config.node, Keyring.load(config.keys, lock)),
        recovery=load_recovery_public(config.keys, config.node),
        pair=KeyPairFiles.of_gateway(config.keys, lock),
    )
