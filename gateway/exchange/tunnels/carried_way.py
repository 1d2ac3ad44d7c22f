"""The way to a partner by a tunnel that another partner carries: kept open while the officers' order names it.

It is open whether the direct way works or not: so there is nothing to detect, and nothing to set up, when that fails.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Final

import grpc
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.cancellation import first_of
from gateway.exchange import handshake, proving, streams
from gateway.exchange.allowance import Intake
from gateway.exchange.dialling import CHANNEL_OPTIONS, Dialler, LinkError, read, write
from gateway.exchange.limits import BELIEF_S
from gateway.exchange.tunnels.carrying import cell_of
from gateway.exchange.tunnels.pacing import CarryLimits
from gateway.exchange.tunnels.sockets import Sockets
from gateway.exchange.tunnels.tunnel import Tunnel, TunnelEnded
from gateway.exchange.way import Forks, Means, Way
from gateway.identity.tls import channel_credentials, channel_options
from gateway.release.signatory import Partner
from gateway.seal.tunnel import Ends, cell_keys, wrap_secret

TUNNEL: Final = "tunnel"
"""Under which name the tunnel itself stands among the lanes of its way."""

_OPTIONS: Final = [
    # Cells that stop coming show that a tunnel is dead; pings would wait behind what a slow pace keeps back.
    *((name, value) for name, value in CHANNEL_OPTIONS if "keepalive" not in name),
    # So that no more of one lane is on its way than goes in a second at the lowest pace.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", 1 << 16),
]


class CarriedWay:
    """Follows one partner by one carrier until cancelled."""

    def __init__(
        self,
        node: str,
        carrier: str,
        means: Means,
        *,
        sockets: Sockets,
        limits: CarryLimits,
        dialler: Dialler,
        allowance: Intake,
        forks: Forks,
    ) -> None:
        """`dialler` is that of the carrier."""
        self._node = node
        self._carrier = carrier
        self._means = means
        self._sockets = sockets
        self._limits = limits
        self._dialler = dialler
        self._way = Way(node, means, self._dial, name=f"via {carrier}", allowance=allowance, forks=forks)
        self._tunnel: Tunnel | None = None
        self._dialled = 0

    async def run(self) -> None:
        """Keeps the tunnel open, and follows the partner through it."""
        try:
            await streams.keep(self._way, TUNNEL, self._open)
        finally:
            self._way.link.problems.pop(self._way.key(TUNNEL), None)

    async def _open(self) -> None:
        way, means, key = self._way, self._means, self._way.key(TUNNEL)
        ends = Ends(means.signatory.node, self._node, self._carrier)
        async with self._dialler.dial(lambda why: way.trouble(key, why)) as stub:
            call = stub.Carry()
            proven = await way.in_time(
                proving.prove(
                    call,
                    exchange_pb2.CarryRequest,
                    handshake.CARRY,
                    self._believed(),
                    own=means.own,
                    signatory=means.signatory,
                    in_band=means.in_band,
                    now_ns=means.now_ns,
                )
            )
            secret, wrap = wrap_secret(ends, way.partner().sealing, means.signatory.random)
            opening = exchange_pb2.Tunnel(to=ends.to, key=wrap)
            setattr(opening, "from", ends.opener)
            await write(call, exchange_pb2.CarryRequest(tunnel=opening))
            # The carrier dials the other end meanwhile.
            async with asyncio.timeout(means.limits.handshake_s):
                answer = await read(call)
            if answer.WhichOneof("message") != "carried":
                raise LinkError(f"{answer.WhichOneof('message')} came from {self._carrier} where Carried was due")

            async def receive() -> bytes:
                return cell_of(await read(call))

            self._tunnel = Tunnel(
                ends,
                cell_keys(ends, secret, answer.carried.nonce),
                opened_here=True,
                send=lambda cell: write(call, exchange_pb2.CarryRequest(cell=cell)),
                receive=receive,
                sockets=self._sockets,
                limits=self._limits,
                silence_s=means.limits.silence_s,
                monotonic=means.monotonic,
            )
            way.link.problems.pop(key, None)

            async def watch() -> None:
                while True:
                    await asyncio.sleep(BELIEF_S)
                    if not proven.believed_by(self._believed()):
                        raise LinkError(f"{self._carrier} is believed no more under the key that it has proven")

            try:
                await first_of(self._tunnel.run(), streams.follow(way), watch())
            except TunnelEnded as error:
                raise LinkError(str(error)) from error
            finally:
                self._tunnel = None

    def _believed(self) -> Partner:
        partner = self._means.partners.get(self._carrier)
        if partner is None:
            raise LinkError(f"there is no valid trust bundle of {self._carrier}, which carries")
        return partner

    @contextlib.asynccontextmanager
    async def _dial(self, key: str) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
        """A fresh connection through the tunnel, in the channel of a lane."""
        bundle = self._means.partners.bundle(self._node)
        if self._tunnel is None or bundle is None or not bundle.endpoints:
            raise LinkError(f"no tunnel {self._way.name} is open, or no bundle names a gateway of {self._node}")
        roots = "".join(bundle.gateway_ca).encode("ascii")
        credentials = await asyncio.to_thread(channel_credentials, self._means.key_pair, lambda: roots)
        # Which of the partner's gateways the carrier has reached is not known here.
        name = bundle.endpoints[self._dialled % len(bundle.endpoints)].server_name
        self._dialled += 1
        channel = key.removesuffix(f" {self._way.name}")
        async with self._tunnel.dialled(channel) as address:
            options = [*channel_options(name), *_OPTIONS]
            connection = grpc.aio.secure_channel(address, credentials, options)
            try:
                yield exchange_pb2_grpc.ExchangeServiceStub(connection)
            finally:
                await connection.close()
