"""The log keys of this node, as its own word is judged when it comes back from a partner."""

from __future__ import annotations

from gateway.exchange.own_bundle import OwnBundle
from gateway.identity.keyring import KeyKind
from gateway.ledger.checkpoint import LogPublicKey
from gateway.release.recovery.returned import OwnLogKeys
from gateway.release.signatory import Signatory


def own_log_keys(signatory: Signatory, own: OwnBundle) -> OwnLogKeys:
    """Under which this node's word is held against it: the key in use and those that are announced, for a thief of a
    retired one could have claimed anything. Retired are those that its bundle names so, and all others that it holds.
    """
    announced = () if own.keys is None else own.keys.log
    current = list(dict.fromkeys([signatory.log.public, *announced]))
    named = () if own.keys is None else [old.key for old in own.keys.retired_log]
    held = [LogPublicKey(key.public) for key in signatory.ring.keys[KeyKind.LOG].values()]
    return OwnLogKeys(current, [key for key in dict.fromkeys([*named, *held]) if key not in current])
