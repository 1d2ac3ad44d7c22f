"""Nodes that hold further keys, and what their bundles then say."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from gateway.identity.key_names import gateway_key_name
from gateway.identity.keyring import HeldKey, KeyKind, Keyring
from gateway.identity.rotation import new_key
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import (
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureVerifier,
    pq_name,
    receipt_name,
)
from gateway.ledger.note import Ed25519Verifier
from gateway.release.key_switch import SwitchKeys
from gateway.release.signatory import Partner, Retired, Signatory
from tests.release.world import Site

SIGNING = (KeyKind.LOG, KeyKind.RECEIPT, KeyKind.PQ)


def with_new_keys(signatory: Signatory, kinds: Collection[KeyKind]) -> tuple[Signatory, dict[KeyKind, HeldKey]]:
    """The same node with one further key of each of these kinds in its ring, none of them in use."""
    made = {kind: new_key(kind) for kind in kinds}
    held = [key for of_kind in signatory.ring.keys.values() for key in of_kind.values()]
    return signatory.using({}, Keyring.holding([*held, *made.values()], "a test")), made


def switch(site: Site, *kinds: KeyKind) -> Signatory:
    """Takes a new key of each kind into use; returns the node as it was before."""
    before = site.signatory
    site.signatory, made = with_new_keys(before, kinds)
    site.do(SwitchKeys({kind: key.key_id for kind, key in made.items()}, "a test"))
    return before


def without_old_keys(signatory: Signatory) -> Signatory:
    """The same node when the private halves that are out of use have been deleted."""
    held = [signatory.held(kind) for kind in KeyKind]
    return Signatory.from_ring(signatory.node, Keyring.holding(held, "a test"))


def believed(*generations: Signatory, until: int | None) -> Partner:
    """What a bundle says of a node that was these, the present one first: the former keys are retired at `until`, or
    where that is None still listed.
    """
    node = generations[0].node
    log = tuple(dict.fromkeys(each.log.public for each in generations))
    receipt = tuple(dict.fromkeys(each.receipt.verifier for each in generations))
    pq = tuple(dict.fromkeys(each.pq.verifier for each in generations))
    listed = len(log) if until is None else 1
    return Partner(
        node=node,
        log=log[:listed],
        gateway=tuple(Ed25519Verifier(gateway_key_name(node), key.public_key) for key in log[:listed]),
        receipt=receipt if until is None else receipt[:1],
        pq=pq if until is None else pq[:1],
        sealing=generations[0].sealing[0].public,
        retired_log=[Retired(LogPublicKey(key.public_key), until or 0) for key in log[listed:]],
        retired_receipt=[]
        if until is None
        else [Retired(Ed25519CosignatureVerifier(receipt_name(node), key.public_key), until) for key in receipt[1:]],
        retired_pq=[]
        if until is None
        else [Retired(MLDSA44CosignatureVerifier(pq_name(node), key.public_key), until) for key in pq[1:]],
    )


def only_log(partner: Partner, of: Partner) -> Partner:
    """The log keys of `of` with everything else of `partner`."""
    return replace(partner, log=of.log, gateway=of.gateway, retired_log=of.retired_log)
