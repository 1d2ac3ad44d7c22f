"""When what a gateway depends on expires: its certificate, its authorities, bundles, agreements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography import x509
from prometheus_client import Gauge

from gateway.identity.errors import IdentityError
from gateway.identity.nation import national_authorities
from gateway.identity.node_keys import GATEWAY_CERTIFICATE
from gateway.identity.private_files import read_private
from gateway.identity.trust_bundle import TrustBundle
from policy.bundle import Bundle


@dataclass(frozen=True, slots=True)
class Expiry:
    """`what`: certificate, authority, bundle, own-bundle or agreement; `name`: which one of them."""

    what: str
    name: str
    at: datetime


class ExpiryTold:
    """Keeps a gauge with the labels `what` and `name` true: what is no more is taken out of it."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._told: set[tuple[str, str]] = set()

    def tell(self, found: Sequence[Expiry]) -> None:
        """Sets each to its time, seconds since 1970."""
        for expiry in found:
            self._gauge.labels(what=expiry.what, name=expiry.name).set(expiry.at.timestamp())
        named = {(expiry.what, expiry.name) for expiry in found}
        for gone in self._told - named:
            self._gauge.remove(*gone)
        self._told = named


def expiries(
    keys: Path,
    node: str,
    own: TrustBundle | None,
    partners: Mapping[str, TrustBundle | None],
    policy: Bundle | None,
) -> Sequence[Expiry]:
    """Everything that expires. What cannot be read is left out: that it cannot is told elsewhere, and loudly."""
    found = [
        *_certificate(keys),
        *_authorities(keys, node),
        *(Expiry("bundle", partner, bundle.expires) for partner, bundle in partners.items() if bundle is not None),
    ]
    if own is not None:
        found.append(Expiry("own-bundle", node, own.expires))
    if policy is not None:
        found += [Expiry("agreement", name, until) for name, until in agreements_of(policy)]
    return found


def agreements_of(policy: Bundle) -> Sequence[tuple[str, datetime]]:
    """The agreements of a policy, and the end of each."""
    return [(name, agreement.until) for name, agreement in sorted(policy.agreements.items())]


def _certificate(keys: Path) -> Iterable[Expiry]:
    try:
        leaf = x509.load_pem_x509_certificate(read_private(keys / GATEWAY_CERTIFICATE))
    except (IdentityError, ValueError):
        return ()
    return (Expiry("certificate", "gateway", leaf.not_valid_after_utc),)


def _authorities(keys: Path, node: str) -> Iterable[Expiry]:
    try:
        held = national_authorities(keys, node)
    except IdentityError:
        return ()
    return [
        Expiry("authority", role.value, max(each.not_valid_after_utc for each in certificates))
        for (_, role), certificates in held.items()
    ]
