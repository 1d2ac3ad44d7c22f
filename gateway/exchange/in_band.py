"""Trust bundles in band: partners' gateways bring theirs, and are given this node's, on the streams between them.

Rules, in order:

1. Whoever opens a stream says which bundle of the other it believes. The other sends its own where that is a newer one:
   the server with its Challenge, the client with its Proof, the origin with a heartbeat and the follower with its echo.
   One that has expired is not sent.
2. What comes is taken up before anything that it came with is judged, so that a message under a key which the bundle
   announces is believed. It is put on record first (`gateway.exchange.partners`).
3. What a partner says that it believes counts once it has proven itself.
4. Of one partner MOST at once are taken up, and PER_HOUR more an hour: each is a commit. What is beyond is passed over,
   and comes again with a later heartbeat. A file is not bounded so.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable
from typing import Final

from gateway.exchange.bundle_record import TakeUp
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners
from gateway.identity.spiffe import SpiffeId
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)


MOST: Final = 32
PER_HOUR: Final = 4
"""Bundles of one partner that are taken up in band: a change of all keys, and of an authority, takes five."""


OFFER_AGAIN_S: Final = 30.0
"""Seconds before a bundle is sent again on a heartbeat stream to a partner that did not take it up."""


class InBand:
    """What this node and its partners tell each other about their bundles. Belongs to the event loop's thread."""

    def __init__(
        self,
        partners: Partners,
        sequencer: Sequencer,
        own: OwnBundle,
        *,
        telemetry: Telemetry,
        monotonic: Callable[[], float],
    ) -> None:
        self._partners = partners
        self._sequencer = sequencer
        self._own = own
        self._telemetry = telemetry
        self._monotonic = monotonic
        self._one_at_a_time: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._allowance: dict[str, tuple[float, float]] = {}
        """By node: how many more may come, and as of when (monotonic seconds)."""

    def believed(self, node: str) -> int:
        """The sequence of a partner's bundle that this node believes; 0 where it has none."""
        return self._partners.sequence(node)

    def due(self, known: int) -> bytes:
        """This node's bundle for a partner that believes the one with the sequence `known`; empty where that is it."""
        return self._own.note if self._own.sequence > known and self._own.in_force else b""

    def offers(self) -> Offers:
        """For one heartbeat stream."""
        return Offers(self, self._own, self._monotonic)

    def partner(self, node: str) -> Partner | None:
        """The keys of a partner as they are believed now."""
        return self._partners.get(node)

    async def take(self, node: str, raw: bytes) -> None:
        """Takes up a bundle that a partner's gateway sent, where it is a newer one; empty bytes are none.

        Raises TrustBundleError for what the partner's root has not signed; StoreError or Unavailable.
        """
        if not raw or self._partners.offered(node, raw) is None:
            return
        # Every stream that opens may bring it, and it goes on record once.
        async with self._one_at_a_time[node]:
            bundle = self._partners.offered(node, raw)
            if bundle is None or not self._may_come(node):
                return
            await self._sequencer.do(TakeUp(bundle, raw, self._partners.root(node), "in band"))
            if self._partners.take(node, raw, bundle):
                self._telemetry.bundle_sequence.labels(node=node).set(bundle.sequence)

    def _may_come(self, node: str) -> bool:
        now = self._monotonic()
        left, at = self._allowance.get(node, (float(MOST), now))
        left = min(float(MOST), left + (now - at) * PER_HOUR / 3600)
        if left < 1:
            log.warning("%s sends trust bundles faster than they are taken up: %d an hour", node, PER_HOUR)
            return False
        self._allowance[node] = (left - 1, now)
        return True

    def knows(self, gateway: SpiffeId, sequence: int) -> None:
        """Takes note of which bundle of this node a partner's gateway believes, that has proven itself."""
        link = self._partners.links[gateway.node]
        link.knows(str(gateway), sequence, self._monotonic())
        self._telemetry.bundle_known.labels(partner=gateway.node).set(sequence)


class Offers:
    """This node's bundle as it is sent on one heartbeat stream: one that is not taken up does not go each time."""

    def __init__(self, in_band: InBand, own: OwnBundle, monotonic: Callable[[], float]) -> None:
        self._in_band = in_band
        self._own = own
        self._monotonic = monotonic
        self._offered = 0
        self._at = 0.0

    def due(self, known: int) -> bytes:
        """What goes now to a partner that believes the bundle with the sequence `known`; empty where nothing does."""
        note = self._in_band.due(known)
        now, sequence = self._monotonic(), self._own.sequence
        if not note or (self._offered == sequence and now - self._at < OFFER_AGAIN_S):
            return b""
        self._offered, self._at = sequence, now
        return note
