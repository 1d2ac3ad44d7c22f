"""When what a gateway depends on expires: its certificate, its authorities, bundles, agreements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from prometheus_client import Gauge

from gateway.identity.errors import IdentityError
from gateway.identity.national import national_authorities
from gateway.identity.node_keys import GATEWAY_CERTIFICATE
from gateway.identity.private_files import read_private
from gateway.identity.trust_bundle import TrustBundle
from policy.bundle import Bundle
from policy.vocabulary import Effect, TrafficClass

WEEKS_AHEAD: Final = timedelta(days=28)
"""How long before something expires it is told: bundles are exchanged between people, who need weeks."""

_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    "certificate": ("the certificate of this gateway", "no partner and no client believes this gateway"),
    "authority": ("the {name} authority of this nation", "no certificate that it issued is believed here"),
    "bundle": ("the trust bundle of {name}", "nothing goes to {name} but what waits, and nothing of it is believed"),
    "own-bundle": ("the trust bundle of this node", "no partner gives this node anything, or believes it"),
    "agreement": ("the agreement {name}", "what rests on it is withheld, and not made up for later"),
}
"""By `Expiry.what`: what it is, and what follows once it has expired."""


@dataclass(frozen=True, slots=True)
class Expiry:
    """`what`: certificate, authority, bundle, own-bundle or agreement; `name`: which one of them."""

    what: str
    name: str
    at: datetime
    live: bool = True
    """Whether reports of the real world rest on it. What serves exercises and tests alone ends as somebody meant it to.
    """

    def words(self, now: datetime) -> str | None:
        """That it has expired, and what follows, or that it expires within WEEKS_AHEAD; None where nobody need hear of
        it.
        """
        if not self.live or self.at - now >= WEEKS_AHEAD:
            return None
        which, follows = (each.format(name=self.name) for each in _WORDS[self.what])
        at = f"{self.at:%Y-%m-%dT%H:%M:%SZ}"
        if now >= self.at:
            return f"{which} expired at {at}: {follows}"
        return f"{which} expires at {at}, in {(self.at - now).days} days"


class ExpiryTold:
    """Keeps a gauge with the labels `what` and `name` true: what is no more is taken out of it."""

    def __init__(self, gauge: Gauge) -> None:
        self._gauge = gauge
        self._told: set[tuple[str, str]] = set()
        self.found: Sequence[Expiry] = ()
        """What was told last."""

    def tell(self, found: Sequence[Expiry]) -> None:
        """Sets each to its time, seconds since 1970."""
        for expiry in found:
            self._gauge.labels(what=expiry.what, name=expiry.name).set(expiry.at.timestamp())
        named = {(expiry.what, expiry.name) for expiry in found}
        for gone in self._told - named:
            self._gauge.remove(*gone)
        self._told = named
        self.found = found


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
        live = _cited_for_live(policy)
        found += [Expiry("agreement", name, until, name in live) for name, until in agreements_of(policy)]
    return found


def agreements_of(policy: Bundle) -> Sequence[tuple[str, datetime]]:
    """The agreements of a policy, and the end of each."""
    return [(name, agreement.until) for name, agreement in sorted(policy.agreements.items())]


def _cited_for_live(policy: Bundle) -> set[str]:
    """The agreements that a rule cites which releases LIVE reports."""
    return {
        rule.term.name
        for partner in policy.partners.values()
        for rule in partner.rules
        if rule.term is not None and rule.effect is Effect.RELEASE and TrafficClass.LIVE in rule.traffic_classes
    }


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
