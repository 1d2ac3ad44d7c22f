"""Following one partner: by the direct way, and by every tunnel that is open to it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable

from signalfire.v1 import exchange_pb2_grpc

from gateway.exchange import streams
from gateway.exchange.allowance import Allowance, Intake
from gateway.exchange.attempts import Backoff, Pace
from gateway.exchange.dialling import Dialler, LinkError
from gateway.exchange.in_band import InBand
from gateway.exchange.limits import BELIEF_S, ExchangeLimits
from gateway.exchange.partners import Partners
from gateway.exchange.tunnels.carried_way import CarriedWay
from gateway.exchange.tunnels.pacing import CarryLimits
from gateway.exchange.tunnels.sockets import Sockets
from gateway.exchange.way import Forks, Means, Way
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import TrustBundle
from gateway.ledger.stores import StoreReader
from gateway.release.opening import Opener
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Signatory
from gateway.release.witness import WitnessLimits
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

_WITNESS = WitnessLimits()


class PartnerFollower:
    """Follows one partner until cancelled."""

    def __init__(
        self,
        node: str,
        *,
        own: SpiffeId,
        key_pair: KeyPairFiles,
        signatory: Signatory,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        opener: Opener,
        report_limits: ReportLimits,
        limits: ExchangeLimits,
        telemetry: Telemetry,
        in_band: InBand,
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
        allowance: Allowance | None = None,
        sockets: Sockets | None = None,
        carry: CarryLimits | None = None,
    ) -> None:
        """Without `sockets` the direct way is the only one."""
        self._sockets = sockets
        self._carry = carry or CarryLimits()
        self._node = node
        self._means = Means(
            own=own,
            key_pair=key_pair,
            signatory=signatory,
            partners=partners,
            sequencer=sequencer,
            reader=reader,
            opener=opener,
            report_limits=report_limits,
            limits=limits,
            telemetry=telemetry,
            in_band=in_band,
            now_ns=now_ns,
            monotonic=monotonic,
        )
        witness = allowance or Allowance(_WITNESS.bytes_per_s, _WITNESS.burst_bytes, monotonic)
        self._intake = Intake(witness, limits.partner_bytes_s, limits.partner_burst_bytes, monotonic)
        self._forks = Forks()
        self.direct = Way(node, self._means, self._dial, allowance=self._intake, forks=self._forks)
        self._dialler = self._dialler_of(node)

    def _dialler_of(self, node: str) -> Dialler:
        limits, partners = self._means.limits, self._means.partners

        def bundle() -> TrustBundle:
            found = partners.bundle(node)
            if found is None:
                raise LinkError(f"there is no trust bundle of {node} that can be believed")
            return found

        return Dialler(
            bundle,
            self._means.key_pair,
            pace=Pace(limits.stagger_s, limits.dials, limits.dial_s),
            backoff=lambda: Backoff(limits.backoff_min_s, limits.backoff_max_s),
            bell=partners.links[node].bell,
            monotonic=self._means.monotonic,
        )

    async def run(self) -> None:
        """Follows every lane, and listens to heartbeats, by every way."""
        async with asyncio.TaskGroup() as group:
            group.create_task(streams.follow(self.direct))
            if self._sockets is not None:
                group.create_task(self._keep_ways(self._sockets))

    async def _keep_ways(self, sockets: Sockets) -> None:
        """Keeps a way open by every carrier whom the officers' order names, and by no other."""
        ways: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                carriers = self._means.sequencer.rulebook.routes.get(self._node, ())
                for carrier in [carrier for carrier in ways if carrier not in carriers]:
                    log.info("%s is followed via %s no more", self._node, carrier)
                    await _end(ways.pop(carrier))
                for carrier in carriers:
                    if carrier not in ways:
                        log.info("%s is followed via %s as well", self._node, carrier)
                        ways[carrier] = asyncio.create_task(self._way_by(carrier, sockets).run())
                for way in ways.values():
                    if way.done():
                        # It never ends by itself: what ended it is nobody's here.
                        way.result()
                await asyncio.sleep(BELIEF_S)
        finally:
            for way in ways.values():
                await _end(way)

    def _way_by(self, carrier: str, sockets: Sockets) -> CarriedWay:
        return CarriedWay(
            self._node,
            carrier,
            self._means,
            sockets=sockets,
            limits=self._carry,
            dialler=self._dialler_of(carrier),
            allowance=self._intake,
            forks=self._forks,
        )

    @contextlib.asynccontextmanager
    async def _dial(self, lane: str) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
        """A fresh connection for a lane. Files are read at each dial, so a renewed certificate needs no restart."""
        async with self._dialler.dial(lambda why: self.direct.trouble(lane, why)) as stub:
            yield stub


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
