"""What a nation's people do to change keys: at the gateway, and where the nation's offline root lies."""

from __future__ import annotations

import shutil
from datetime import datetime

from gateway.demo.deployment import Deployed
from gateway.identity import admission, nation, next_bundle
from gateway.identity.installing import install
from gateway.identity.locked import KeyLock
from gateway.identity.rotation import KINDS, make_request
from gateway.identity.trust_bundle import TrustBundle


def announce_new_keys(place: Deployed, now: datetime) -> TrustBundle:
    """New keys of every kind for the nation's gateway, which makes them; its root signs the bundle that names them.

    Raises IdentityError or OSError.
    """
    keys, pki = place.directory / "keys", place.directory / "pki"
    request, _ = make_request(keys, KeyLock(keys), place.node, KINDS, now=now)
    assert request is not None  # there are kinds that partners have to know
    admitted = admission.admit(pki, request, now=now)
    assert admitted.certificate is not None  # that of the gateway is among them
    out = place.directory / "outgoing"
    admission.write_certificate(out, admitted.certificate)
    return _announce(place, now)


def retire_former_keys(place: Deployed, now: datetime) -> TrustBundle:
    """Takes out of use what the newest keys have replaced. Raises IdentityError or OSError."""
    admission.retire(place.directory / "pki", now=now)
    return _announce(place, now)


def _announce(place: Deployed, now: datetime) -> TrustBundle:
    keys, pki, out = place.directory / "keys", place.directory / "pki", place.directory / "outgoing"
    bundle = next_bundle.write_bundle(pki, now=now)
    admission.write_outgoing(pki, out)
    install(
        out, keys, KeyLock(keys), place.node, now=now, root=nation.read_root_vkey(pki), bundle=place.bundle
    )  # fmt: skip
    shutil.rmtree(out)
    return bundle
