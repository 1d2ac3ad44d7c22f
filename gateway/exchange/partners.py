"""The partners of this node: whose trust bundles are pinned, and what is known of the links with them.

A bundle comes in a file that people put there, or in band, from the partner's own gateway. Rules, in order:

1. It has at most MAX_NOTE bytes; nothing of a larger one is looked at.
2. It is signed by the pinned root of that partner, and by nothing else: the gateway that brings it vouches for nothing.
3. In band its sequence is larger than any that is on record or in use, and it has not expired; otherwise it is passed
   over, whatever it says. A file may also hold again the one that is on record.
4. It is on record, sequence and text, before it is believed in band; a gateway that starts believes the newest of file
   and record. A bundle that comes in a file is believed at once, and put on record as the next thing. What is on record
   counts for the root that is pinned now, and for no other (`gateway.exchange.bundle_record`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from gateway.exchange.conduct import Conduct
from gateway.exchange.offset import Offsets
from gateway.exchange.owed import Owed
from gateway.exchange.tunnels.hedging import Standing
from gateway.identity.errors import IdentityError, Refusal, TrustBundleError
from gateway.identity.peer import Authorities
from gateway.identity.revocation import Issuers
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
from gateway.ledger.note import MAX_NOTE
from gateway.ledger.statement import Takes
from gateway.release.signatory import Partner, Retired
from gateway.release.watch import Bell
from gateway.seal.errors import SealError
from gateway.seal.keys import SealingPublicKey

log = logging.getLogger(__name__)

MAX_GATEWAYS: Final = 16
"""Gateways of one partner of which it is kept what they know of this node's bundle: a site has a few, and its authority
could name any number."""


SLOWEST: Final = 1000
"""Bytes a second of the narrowest link that counts as one: an answer waits behind what fills it."""


@dataclass(frozen=True, slots=True)
class Known:
    """Which bundle of this node one gateway of a partner believes, as it said, and when (monotonic seconds)."""

    sequence: int
    at: float


DIRECT: Final = "direct"
"""The name of the way to a partner that nobody carries."""


@dataclass(slots=True)
class Heard:
    """What is heard of a partner by one way."""

    at: float | None = None
    """When the last verified heartbeat came, monotonic seconds; None once the stream that brought it has ended."""
    lapse: tuple[float, float] | None = None
    """The last time that none came in time, though none was told that its stream had ended: from when on nothing came,
    and when that was noticed."""
    counter: int = -1
    """Its counter."""
    note: bytes = b""
    """The last verified heartbeat."""
    offsets: Offsets = field(default_factory=Offsets)
    """What its heartbeats tell of the partner's clock."""


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
    """When it came; None once the stream that brought it has ended."""
    heard_at: float | None = None
    """When the last one came, whatever became of its stream."""
    takes: Takes | None = None
    """What the partner takes from its C2 systems, as its last heartbeat says; None where none comes."""
    answering: int = 0
    """Streams of heartbeats of this node that the partner answers now."""
    answered_ns: int | None = None
    """Time of the last answer to one, nanoseconds since 1970 by our clock."""
    answered_at: float | None = None
    """When it came."""
    spoke_at: float | None = None
    """When it last opened a stream of a lane, or answered on one."""
    owed: Owed = field(default_factory=Owed)
    """What its heartbeats show and has not come."""
    bell: Bell = field(default_factory=Bell)
    """Rings when the partner is heard of: by a heartbeat where none came, or as it proves itself on a stream."""
    standings: dict[str, Standing] = field(default_factory=dict)
    """How ledgers that this node keeps for the partner stand with it, by origin line."""
    carried: dict[str, int] = field(default_factory=dict)
    """Streams of each lane that the partner follows through a tunnel, by who carries it and the lane."""
    ways: dict[str, Heard] = field(default_factory=dict)
    """What is heard by each way: DIRECT, or "via USA"."""
    clock_offset_s: float | None = None
    """The partner's clock less ours."""
    clock_error_s: float = 0.0
    """How far off that may be: half the time that the heartbeat and its echo took (`gateway.exchange.offset`)."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why a lane is down, by lane."""
    paused: dict[str, str] = field(default_factory=dict)
    """Why what stands in a lane for the partner is not sent now, by lane, or by lane and who carries the stream."""
    differs: dict[str, str] = field(default_factory=dict)
    """Ledgers of which the two ends do not have the same, without a signature that proves it, and what comparing third
    nodes' witness ledgers has found against this partner: by lane, in words."""
    known: dict[str, Known] = field(default_factory=dict)
    """Which bundle of this node each of the partner's gateways believes, by SPIFFE ID."""

    conduct: Conduct = field(default_factory=Conduct)
    """What the partner's streams were ended for."""

    def knows(self, gateway: str, sequence: int, at: float) -> None:
        """Takes note of what a gateway of the partner, which has proven itself, says that it believes."""
        self.known.pop(gateway, None)
        self.known[gateway] = Known(sequence, at)
        if len(self.known) > MAX_GATEWAYS:
            del self.known[next(iter(self.known))]

    def known_since(self, at: float) -> int | None:
        """The oldest bundle that a gateway heard of since `at` believes; None where none was heard of."""
        return min((known.sequence for known in self.known.values() if known.at >= at), default=None)

    def ended(self, way: str) -> None:
        """The stream that brought the heartbeats of a way has ended."""
        if (heard := self.ways.get(way)) is not None:
            heard.at = None
        self.heartbeat_at = max((each.at for each in self.ways.values() if each.at is not None), default=None)
        if self.heartbeat_at is None:
            self.takes = None

    @property
    def heard_by(self) -> list[str]:
        """The ways by which heartbeats come now, the direct one first."""
        return sorted(
            (way for way, each in self.ways.items() if each.at is not None), key=lambda way: (way != DIRECT, way)
        )

    def is_paused(self, lane: str) -> bool:
        """Whether what stands in a lane is not sent now, by some stream."""
        return any(stream.partition(" ")[0] == lane for stream in self.paused)

    def lapsed_s(self, now: float) -> float:
        """Seconds for which nothing came of a partner that has answered heartbeats; what is on its way to it is allowed
        the time that it takes at SLOWEST. Negative: no time has passed beyond that.
        """
        if self.answered_at is None:
            return 0.0
        under_way = sum(standing.under_way for standing in self.standings.values())
        return now - max(self.answered_at, self.spoke_at or self.answered_at) - under_way / SLOWEST

    @property
    def not_accepting(self) -> str:
        """What the partner says of itself where it does not take every report of its C2 systems; otherwise empty."""
        match self.takes:
            case None | Takes.ROUTINE:
                return ""
            case Takes.NOTHING:
                return "takes no reports from its C2 systems"
            case Takes.FLASH:
                return "takes FLASH reports alone from its C2 systems"
            case above:
                return f"takes reports of {above.value} and above alone from its C2 systems"

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
        self,
        pinned: Sequence[Pinned],
        now: Callable[[], datetime],
        last_sequence: Callable[[str], int],
        recorded: Callable[[str], bytes | None] = lambda _: None,
    ) -> None:
        """`last_sequence` gives the sequence of a node's bundle that is on record, 0 where none is: an older one is
        refused, also by a gateway that has just started. `recorded` gives that bundle itself.
        """
        self._last_sequence = last_sequence
        self._recorded = recorded
        self._pinned = {pin.node: pin for pin in pinned}
        self._now = now
        self._raw: dict[str, bytes] = {}
        self._failed: dict[str, str] = {}
        self._bundles: dict[str, TrustBundle] = {}
        self._notes: dict[str, bytes] = {}
        self._partners: dict[str, Partner] = {}
        self._issuers: dict[str, Issuers] = {}
        self.links = {pin.node: Link() for pin in pinned}

    @classmethod
    def load(
        cls,
        pinned: Sequence[Pinned],
        now: Callable[[], datetime],
        last_sequence: Callable[[str], int] = lambda _: 0,
        recorded: Callable[[str], bytes | None] = lambda _: None,
    ) -> Partners:
        """Reads every bundle. A partner whose bundle cannot be believed is left out, loudly, until it can."""
        partners = cls(pinned, now, last_sequence, recorded)
        partners.restore()
        partners.refresh()
        return partners

    def restore(self) -> None:
        """Believes again what is on record. Raises StoreError."""
        for pin in self._pinned.values():
            raw = self._recorded(pin.node)
            if raw is None:
                continue
            try:
                self._adopt(pin, raw, self._read(pin, raw, self._last_sequence(pin.node)))
            except IdentityError as refused:
                log.error("bundle of %s on record: %s", pin.node, refused)

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
                taken = self._take_file(pin, raw)
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
            self._raw[pin.node] = raw
            if taken:
                log.info("bundle of %s: sequence %d is in use", pin.node, self._bundles[pin.node].sequence)
                changed.append(pin.node)
        return changed

    def _take_file(self, pin: Pinned, raw: bytes) -> bool:
        """Whether the bundle in a file was taken up: it is another than the one in use."""
        held = self._bundles.get(pin.node)
        bundle = self._read(pin, raw, self._last_sequence(pin.node) if held is None else 0)
        if held is not None and bundle.sequence < held.sequence:
            # As it is wherever a newer one has come in band.
            log.info(
                "bundle of %s: %s holds an older one, sequence %d; sequence %d stays in use",
                pin.node, pin.bundle, bundle.sequence, held.sequence,
            )  # fmt: skip
            return False
        if held is not None and bundle.sequence == held.sequence:
            if bundle == held:
                return False
            raise TrustBundleError(
                Refusal.STALE_SEQUENCE,
                f"the bundle has the sequence {bundle.sequence}, and says something else than the one in use has said",
                where="line 2",
                mend=f"Ask {pin.node} for one with a sequence of its own.",
            )
        self._adopt(pin, raw, bundle)
        return True

    def offered(self, node: str, raw: bytes) -> TrustBundle | None:
        """The bundle that a partner's gateway sent, where it is one to be taken up; None where it is no newer one.

        Raises TrustBundleError for what the partner's root has not signed, or cannot be read, and StoreError.
        """
        pin = self._pinned.get(node)
        if pin is None:
            raise TrustBundleError(
                Refusal.WRONG_NODE, f"{node} is not a partner", where="bundle in band", mend="Pin its root first."
            )
        if raw == self._notes.get(node):
            return None
        if len(raw) > MAX_NOTE:
            raise TrustBundleError(
                Refusal.MALFORMED_BUNDLE,
                f"a bundle of {len(raw)} bytes came from {node}, and it has at most {MAX_NOTE}",
                where="bundle in band",
                mend="Nothing of it was read; ask that nation what its gateway sends.",
            )
        try:
            bundle = self._read(pin, raw, 0)
        except TrustBundleError as refused:
            if refused.code is Refusal.EXPIRED:
                # Its root has signed it. What is held stays as it is: that may be in force.
                return None
            raise
        return bundle if bundle.sequence > self._newest(node) else None

    def take(self, node: str, raw: bytes, bundle: TrustBundle) -> bool:
        """Believes a bundle that was offered, now that it is on record, unless a newer one has come meanwhile."""
        held = self._bundles.get(node)
        if held is not None and held.sequence >= bundle.sequence:
            return False
        self._adopt(self._pinned[node], raw, bundle)
        log.info("bundle of %s: sequence %d came in band and is in use", node, bundle.sequence)
        return True

    def _newest(self, node: str) -> int:
        held = self._bundles.get(node)
        return max(self._last_sequence(node), 0 if held is None else held.sequence)

    def _read(self, pin: Pinned, raw: bytes, at_least: int) -> TrustBundle:
        bundle = TrustBundle.open(raw, pin.root, now=self._now(), at_least_sequence=at_least)
        if bundle.node != pin.node:
            # Otherwise what is meant for one partner would be sealed to another.
            raise TrustBundleError(
                Refusal.WRONG_NODE,
                f"the pinned root and bundle are those of {bundle.node}",
                where=f"partner {pin.node}",
                mend=f"Pin the root and bundle of {pin.node}.",
            )
        return bundle

    def _adopt(self, pin: Pinned, raw: bytes, bundle: TrustBundle) -> None:
        partner, issuers = public_keys(bundle), bundle.issuers()
        self._partners[pin.node] = partner
        self._issuers[pin.node] = issuers
        self._bundles[pin.node] = bundle
        self._notes[pin.node] = raw

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

    def root(self, node: str) -> str:
        """The verifier key that is pinned for a partner."""
        return self._pinned[node].root

    def note(self, node: str) -> bytes | None:
        """The signed note of that bundle, as it came."""
        return self._notes.get(node)

    def sequence(self, node: str) -> int:
        """The sequence of a partner's bundle that is believed; 0 where there is none."""
        bundle = self._bundles.get(node)
        return 0 if bundle is None else bundle.sequence

    def keys(self) -> Mapping[str, Partner]:
        """The keys of all partners whose bundles have not expired."""
        now, bundles = self._now(), self._bundles
        return {node: self._partners[node] for node in self if node in bundles and now < bundles[node].expires}

    def authorities(self) -> Authorities:
        """The authorities that may vouch for partners' gateways, by trust domain."""
        return {(trust_domain_of(node), Role.GATEWAY): self._issuers[node] for node in self.keys()}

    def roots(self) -> bytes:
        """The same authorities, PEM one after another, for the listener."""
        return b"".join(
            pem.encode("ascii").rstrip() + b"\n" for node in self.keys() for pem in self._bundles[node].gateway_ca
        )


def public_keys(bundle: TrustBundle) -> Partner:
    """The public keys of a bundle in the forms that ledgers and seals use. Raises TrustBundleError."""
    try:
        newest = bundle.sealing_keys[0]
        receipts, pqs = receipt_name(bundle.node), pq_name(bundle.node)
        retired = [(old.kind, old.key, int(old.until.astimezone(UTC).timestamp())) for old in bundle.retired]
        return Partner(
            node=bundle.node,
            log=tuple(LogPublicKey(key) for key in bundle.log_keys),
            gateway=tuple(bundle.log_verifiers()),
            receipt=tuple(Ed25519CosignatureVerifier(receipts, key) for key in bundle.receipt_keys),
            pq=tuple(MLDSA44CosignatureVerifier(pqs, key) for key in bundle.pq_keys),
            sealing=SealingPublicKey(newest.mlkem768, newest.x25519),
            retired_log=tuple(Retired(LogPublicKey(key), until) for kind, key, until in retired if kind == "log"),
            retired_receipt=tuple(
                Retired(Ed25519CosignatureVerifier(receipts, key), until)
                for kind, key, until in retired
                if kind == "receipt"
            ),
            retired_pq=tuple(
                Retired(MLDSA44CosignatureVerifier(pqs, key), until) for kind, key, until in retired if kind == "pq"
            ),
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
