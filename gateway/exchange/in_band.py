"""Trust bundles in band: partners' gateways bring theirs, and are given this node's, on the streams between them.

Rules, in order:

1. Whoever opens a stream says which bundle of the other it believes. The other sends its own where that is a newer one:
   the server with its Challenge, the client with its Proof, the origin with a heartbeat.
2. What comes is taken up before anything that it came with is judged, so that a message under a key which the bundle
   announces is believed. It is put on record first (`gateway.exchange.partners`).
3. What a partner says that it believes counts once it has proven itself.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners
from gateway.identity.spiffe import SpiffeId
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner
from gateway.release.steps import RecordEvent
from gateway.telemetry import Telemetry


def sequence_record(node: str) -> str:
    """Key of the store's own value that holds the sequence of a node's newest bundle, 8 bytes."""
    return f"bundle {node}"


def note_record(node: str) -> str:
    """Key of the store's own value that holds that bundle: its signed note."""
    return f"bundle-note {node}"


def taken_up(bundle: TrustBundle, note: bytes, how: str) -> RecordEvent:
    """The step that puts a bundle on record."""
    return RecordEvent(
        "bundle-taken-up",
        f"trust bundle of {bundle.node}, sequence {bundle.sequence}, expires {bundle.expires.isoformat()}, {how}",
        meta=((sequence_record(bundle.node), bundle.sequence.to_bytes(8)), (note_record(bundle.node), note)),
    )


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

    def believed(self, node: str) -> int:
        """The sequence of a partner's bundle that this node believes; 0 where it has none."""
        return self._partners.sequence(node)

    def due(self, known: int) -> bytes:
        """This node's bundle for a partner that believes the one with the sequence `known`; empty where that is it."""
        return self._own.note if self._own.sequence > known else b""

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
            if bundle is None:
                return
            await self._sequencer.do(taken_up(bundle, raw, "in band"))
            if self._partners.take(node, raw, bundle):
                self._telemetry.bundle_sequence.labels(node=node).set(bundle.sequence)

    def knows(self, gateway: SpiffeId, sequence: int) -> None:
        """Takes note of which bundle of this node a partner's gateway believes, that has proven itself."""
        link = self._partners.links[gateway.node]
        link.knows(str(gateway), sequence, self._monotonic())
        self._telemetry.bundle_known.labels(partner=gateway.node).set(sequence)
