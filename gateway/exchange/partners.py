"""The partners of this node: whose trust bundles are pinned, and what is known of the links with them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from gateway.identity.errors import IdentityError, Refusal, TrustBundleError
from gateway.identity.peer import Authorities
from gateway.identity.spiffe import Role, trust_domain_of
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.checkpoint import LogPublicKey
from gateway.ledger.cosignature import (
    Ed25519CosignatureVerifier,
    MLDSA44CosignatureVerifier,
    pq_name,
    receipt_name,
)
from gateway.ledger.errors import LedgerError, StoreError
from gateway.release.signatory import Partner
from gateway.seal.errors import SealError
from gateway.seal.keys import SealingPublicKey

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Link:
    """What is known of the links with one partner. Times are of the monotonic clock unless they say otherwise."""

    following: set[str] = field(default_factory=set)
    """Lanes of the partner's ledgers that this node follows now."""
    followed: dict[str, int] = field(default_factory=dict)
    """Lanes that the partner follows now, with the number of its streams."""
    heartbeat_ns: int | None = None
    """Time of the last verified heartbeat, nanoseconds since 1970 by our clock."""
    heartbeat_at: float | None = None
    heartbeat_counter: int = -1
    clock_offset_s: float | None = None
    """The partner's clock less ours."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why a lane is down, by lane."""
    paused: dict[str, str] = field(default_factory=dict)
    """Why what stands in a lane for the partner is not sent now, by lane."""

    @property
    def problem(self) -> str:
        """Why lanes are down, or nothing is sent in them, in words; empty when all is well."""
        lanes: dict[str, list[str]] = {}
        paused = ((lane, f"nothing is sent: {why}") for lane, why in sorted(self.paused.items()))
        for lane, problem in (*sorted(self.problems.items()), *paused):
            lanes.setdefault(problem, []).append(lane)
        return "; ".join(f"{', '.join(names)}: {problem}" for problem, names in lanes.items())


@dataclass(frozen=True, slots=True)
class Pinned:
    """One partner as the configuration pins it."""

    node: str
    root: str
    """Verifier key of the partner's offline root, as confirmed in person."""
    bundle: Path


class Partners:
    """The partners' bundles, read again whenever their files change, and the state of the links."""

    def __init__(
        self, pinned: Sequence[Pinned], now: Callable[[], datetime], last_sequence: Callable[[str], int]
    ) -> None:
        """`last_sequence` gives the sequence of a node's bundle that is on record, 0 where none is: an older one is
        refused, also by a gateway that has just started.
        """
        self._last_sequence = last_sequence
        self._pinned = {pin.node: pin for pin in pinned}
        self._now = now
        self._raw: dict[str, bytes] = {}
        self._failed: dict[str, str] = {}
        self._bundles: dict[str, TrustBundle] = {}
        self._partners: dict[str, Partner] = {}
        self.links = {pin.node: Link() for pin in pinned}

    @classmethod
    def load(
        cls,
        pinned: Sequence[Pinned],
        now: Callable[[], datetime],
        last_sequence: Callable[[str], int] = lambda _: 0,
    ) -> Partners:
        """Reads every bundle. A partner whose bundle cannot be believed is left out, loudly, until it can."""
        partners = cls(pinned, now, last_sequence)
        partners.refresh()
        return partners

    def refresh(self) -> list[str]:
        """Takes up bundles whose files have changed; returns their nodes. One that cannot be believed changes
        nothing. Raises StoreError.
        """
        changed = []
        for pin in self._pinned.values():
            try:
                raw = pin.bundle.read_bytes()
                if raw == self._raw.get(pin.node):
                    continue
                self._take(pin, raw)
            except StoreError:
                # The record of sequences cannot be read: no fault of any bundle.
                raise
            except Exception as refused:  # one partner's file must not take the others down with it
                expected = isinstance(refused, IdentityError | OSError)
                problem = str(refused) if expected else f"{type(refused).__name__}: {refused}"
                if problem != self._failed.get(pin.node):
                    self._failed[pin.node] = problem
                    kept = "the previous one stays in use" if pin.node in self._bundles else "nothing goes to it"
                    log.error("bundle of %s: %s; %s", pin.node, problem, kept, exc_info=not expected)
                continue
            self._failed.pop(pin.node, None)
            log.info("bundle of %s: sequence %d is in use", pin.node, self._bundles[pin.node].sequence)
            changed.append(pin.node)
        return changed

    def _take(self, pin: Pinned, raw: bytes) -> None:
        seen = self._bundles.get(pin.node)
        at_least = max(self._last_sequence(pin.node), 0 if seen is None else seen.sequence)
        bundle = TrustBundle.open(raw, pin.root, now=self._now(), at_least_sequence=at_least)
        if bundle.node != pin.node:
            # Otherwise what is meant for one partner would be sealed to another.
            raise TrustBundleError(
                Refusal.WRONG_NODE,
                f"the pinned root and bundle are those of {bundle.node}",
                where=f"partner {pin.node}",
                mend=f"Pin the root and bundle of {pin.node}.",
            )
        self._partners[pin.node] = _keys(bundle)
        self._bundles[pin.node] = bundle
        self._raw[pin.node] = raw

    @property
    def refused(self) -> dict[str, str]:
        """Why a partner's bundle file, as it is now, is not believed, by node."""
        return dict(self._failed)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pinned)

    def get(self, node: str) -> Partner | None:
        """The keys of a partner; None for a node that is none, or whose bundle has expired."""
        bundle = self._bundles.get(node)
        if bundle is None or self._now() >= bundle.expires:
            return None
        return self._partners[node]

    def bundle(self, node: str) -> TrustBundle | None:
        """The trust bundle of a partner, if there is one that can be believed."""
        return self._bundles.get(node)

    def keys(self) -> Mapping[str, Partner]:
        """The keys of all partners whose bundles have not expired."""
        return {node: partner for node in self if (partner := self.get(node)) is not None}

    def authorities(self) -> Authorities:
        """The authorities that may vouch for partners' gateways, by trust domain."""
        return {
            (trust_domain_of(node), Role.GATEWAY): self._bundles[node].authorities()[
                (trust_domain_of(node), Role.GATEWAY)
            ]
            for node in self.keys()
        }

    def roots(self) -> bytes:
        """The same authorities, PEM one after another, for the listener."""
        return b"".join(
            pem.encode("ascii").rstrip() + b"\n" for node in self.keys() for pem in self._bundles[node].gateway_ca
        )


def _keys(bundle: TrustBundle) -> Partner:
    """The public keys of a bundle in the forms that ledgers and seals use."""
    try:
        newest = bundle.sealing_keys[0]
        return Partner(
            node=bundle.node,
            log=tuple(LogPublicKey(key) for key in bundle.log_keys),
            gateway=tuple(bundle.log_verifiers()),
            receipt=tuple(Ed25519CosignatureVerifier(receipt_name(bundle.node), key) for key in bundle.receipt_keys),
            pq=tuple(MLDSA44CosignatureVerifier(pq_name(bundle.node), key) for key in bundle.pq_keys),
            sealing=SealingPublicKey(newest.mlkem768, newest.x25519),
        )
    except (LedgerError, SealError) as error:
        raise _unusable(bundle.node, error) from error


def _unusable(node: str, error: Exception) -> IdentityError:
    return TrustBundleError(
        Refusal.MALFORMED_BUNDLE,
        f"a key cannot be used: {error}",
        where=f"bundle of {node}",
        mend=f"Get a bundle with sound keys from {node}.",
    )
