"""Carry: tunnels that partners open, to this node or through it.

Rules, in order, for a stream of `Carry`, after the challenge:

1. `Tunnel` names two nodes, neither of them twice, and comes in time. A stream that itself came through a tunnel opens
   none.
2. **To this node.** The caller is not the node that opens the tunnel, and the officers' order names it among the
   carriers of that node (`Rulebook.routes`). The key is unwrapped. Nothing is believed for that: what comes through the
   tunnel goes to this node's own listener of partners, and proves itself there as anybody does
   (`gateway.exchange.server` takes a stream through it from the node that opened it, and from no other).
3. **Through this node.** The caller is the node that opens it, the other end is a partner, and the officers' order says
   that this node carries between the two (`Rulebook.carries`). The same `Tunnel` is opened to the other end, and what
   it answers goes back. From then on cells go both ways as they are: of one size, of which this node can read nothing.
4. Tunnels are bounded in number, between two partners and from one partner by one carrier, and in bytes a second. This
   node opens onward what one end asks for as often as OPENINGS_S and AT_ONCE say; what comes faster waits, and takes a
   place meanwhile. So nobody spends at the other end what this node itself may open there.
5. What a tunnel ends for is held against whoever dialled this node only where that is his own doing: a carrier answers
   neither for what is in a tunnel, nor for its key, nor for the other end's orders.
6. Every second it is asked whether the order still stands and both ends are still believed. A tunnel on which no cell
   comes for `silence_s` ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from typing import Any, Final, Protocol, TypeAlias

import grpc
from signalfire.v1 import exchange_pb2

from gateway.cancellation import first_of
from gateway.exchange import handshake, proving
from gateway.exchange.attempts import Backoff, Pace
from gateway.exchange.dialling import Dialler, LinkError, read, write
from gateway.exchange.ending import StreamEnded
from gateway.exchange.in_band import InBand
from gateway.exchange.openings import Openings
from gateway.exchange.partners import Partners
from gateway.exchange.tunnels.cells import CELL
from gateway.exchange.tunnels.pacing import Bucket, CarryLimits
from gateway.exchange.tunnels.sockets import Sockets
from gateway.exchange.tunnels.tunnel import Tunnel, TunnelEnded
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import TrustBundle
from gateway.release.rulebook import Rulebook
from gateway.release.signatory import Partner, Signatory
from gateway.seal.errors import SealError
from gateway.seal.tunnel import NONCE_SIZE, Ends, cell_keys, unwrap_secret
from gateway.telemetry import Telemetry
from policy.countries import NODE_CODES

log = logging.getLogger(__name__)

ASKED_S: Final = 1.0
"""Seconds after which it is asked again whether a tunnel may go on."""

OPENINGS_S: Final = 1.0
"""Tunnels a second that are opened onward for one end, to one other, in the long run: an end that is refused dials
again about as often."""

AT_ONCE: Final = 4
"""As many are opened after a while without."""

Requests: TypeAlias = AsyncIterator[exchange_pb2.CarryRequest]
Send: TypeAlias = Callable[[exchange_pb2.CarryResponse], Awaitable[None]]


class Times(Protocol):
    """What tunnels keep to of the exchange's limits; seconds."""

    @property
    def silence_s(self) -> float: ...
    @property
    def handshake_s(self) -> float: ...
    @property
    def stagger_s(self) -> float: ...
    @property
    def dials(self) -> int: ...
    @property
    def dial_s(self) -> float: ...
    @property
    def backoff_min_s(self) -> float: ...
    @property
    def backoff_max_s(self) -> float: ...


class Carrying:
    """The tunnels that partners open. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        signatory: Signatory,
        partners: Partners,
        rulebook: Callable[[], Rulebook],
        key_pair: KeyPairFiles,
        in_band: InBand,
        sockets: Sockets,
        telemetry: Telemetry,
        limits: CarryLimits,
        exchange: Times,
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._own = own
        self._signatory = signatory
        self._partners = partners
        self._rulebook = rulebook
        self._key_pair = key_pair
        self._in_band = in_band
        self._sockets = sockets
        self._telemetry = telemetry
        self._limits = limits
        self._times = exchange
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._places: Counter[tuple[str, str]] = Counter()
        self._carried: Counter[tuple[str, str]] = Counter()
        self._taken: Counter[tuple[str, str]] = Counter()
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._openings: dict[tuple[str, str], Openings] = {}

    @property
    def carried(self) -> Mapping[tuple[str, str], int]:
        """How many tunnels this node carries now, by the two ends in alphabetical order."""
        return {pair: count for pair, count in self._carried.items() if count}

    async def serve(
        self, requests: Requests, send: Send, caller: handshake.Proven, believed: Callable[[], None]
    ) -> None:
        """Serves one stream whose caller has proven itself; `believed` raises where it is believed no more.

        Raises StreamEnded.
        """
        try:
            async with asyncio.timeout(self._times.handshake_s):
                message = await anext(requests)
        except (StopAsyncIteration, TimeoutError):
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, "Tunnel was due and did not come") from None
        if message.WhichOneof("message") != "tunnel":
            raise StreamEnded(
                grpc.StatusCode.INVALID_ARGUMENT, f"Tunnel was due, and {message.WhichOneof('message')} came"
            )
        tunnel = message.tunnel
        opener, to = getattr(tunnel, "from"), tunnel.to
        if opener == to or not {opener, to} <= NODE_CODES:
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, "Tunnel does not name two nodes")
        try:
            if to == self._signatory.node:
                await self._take(tunnel, Ends(opener, to, caller.node), requests, send, believed)
            else:
                await self._carry(tunnel, Ends(opener, to, self._signatory.node), caller, requests, send, believed)
        except grpc.aio.AioRpcError as error:
            lasting = error.code() is grpc.StatusCode.PERMISSION_DENIED
            raise _not_his_doing(grpc.StatusCode.UNAVAILABLE, f"{to}: {error.details()}", lasting=lasting) from error
        except (TunnelEnded, LinkError) as error:
            raise _not_his_doing(grpc.StatusCode.UNAVAILABLE, str(error)) from error

    # --- to this node

    async def _take(
        self, tunnel: exchange_pb2.Tunnel, ends: Ends, requests: Requests, send: Send, believed: Callable[[], None]
    ) -> None:
        def ask() -> None:
            believed()
            if ends.opener == ends.carrier:
                raise _not_his_doing(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"no order lets {ends.carrier} carry between {ends.opener} and {ends.to}",
                )
            if ends.carrier not in self._rulebook().routes.get(ends.opener, ()):
                raise _not_his_doing(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"no order lets {ends.carrier} carry between {ends.opener} and {ends.to}: {ends.to}'s officers have"
                    f" to order it (policy sign --route {ends.opener} --through {ends.carrier})",
                    lasting=True,
                )
            if self._partners.get(ends.opener) is None:
                raise _not_his_doing(
                    grpc.StatusCode.PERMISSION_DENIED, f"{ends.to} has no trust bundle of {ends.opener} in force"
                )

        ask()
        way = (ends.opener, ends.carrier)
        if self._taken[way] >= self._limits.tunnels:
            raise _not_his_doing(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._limits.tunnels} tunnels from {ends.opener} via {ends.carrier} are open, the most that may be",
            )
        try:
            secret = unwrap_secret(ends, tunnel.key, self._signatory.sealing)
        except SealError as error:
            raise _not_his_doing(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        nonce = self._signatory.random(NONCE_SIZE)
        end = Tunnel(
            ends,
            cell_keys(ends, secret, nonce),
            opened_here=False,
            send=lambda cell: send(exchange_pb2.CarryResponse(cell=cell)),
            receive=lambda: _next_cell(requests),
            sockets=self._sockets,
            limits=self._limits,
            silence_s=self._times.silence_s,
            monotonic=self._monotonic,
        )
        self._taken[way] += 1
        log.info("a tunnel from %s is open", ends)
        try:
            await send(exchange_pb2.CarryResponse(carried=exchange_pb2.Carried(nonce=nonce)))
            await first_of(end.run(), _each_second(ask))
        finally:
            self._taken[way] -= 1
            log.info("a tunnel from %s has ended", ends)

    # --- through this node

    async def _carry(
        self,
        tunnel: exchange_pb2.Tunnel,
        ends: Ends,
        caller: handshake.Proven,
        requests: Requests,
        send: Send,
        believed: Callable[[], None],
    ) -> None:
        one, other = sorted((ends.opener, ends.to))
        pair = (one, other)

        def ask() -> Partner:
            believed()
            if ends.opener != caller.node:
                raise StreamEnded(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"no order lets {ends.carrier} carry for {caller.node} from {ends.opener} to {ends.to}",
                )
            if pair not in self._rulebook().carries:
                # Orders of three nations come one after another: an end whose order is there tries until ours is.
                raise _not_his_doing(
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"no order lets {ends.carrier} carry for {caller.node} from {ends.opener} to {ends.to}:"
                    f" {ends.carrier}'s officers have to order it (policy sign --carry-for {one} {other})",
                    lasting=True,
                )
            partner = self._partners.get(ends.to)
            if partner is None:
                raise _not_his_doing(
                    grpc.StatusCode.UNAVAILABLE, f"{ends.carrier} has no trust bundle of {ends.to} in force"
                )
            return partner

        ask()
        if self._places[pair] >= self._limits.tunnels:
            raise _not_his_doing(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{self._limits.tunnels} tunnels between {one} and {other} are open, the most that may be",
            )
        self._places[pair] += 1
        try:
            await self._in_turn(ends)
            partner = ask()
            async with self._onward(tunnel, ends, partner) as (call, proven):

                def ask_again() -> None:
                    if not proven.believed_by(ask()):
                        raise LinkError(f"{ends.to} is believed no more under the key that it has proven itself with")

                carried = await self._in_time(read(call))
                if carried.WhichOneof("message") != "carried":
                    raise LinkError(f"{carried.WhichOneof('message')} came from {ends.to} where Carried was due")
                await send(exchange_pb2.CarryResponse(carried=carried.carried))
                cells = self._telemetry.carried_cells.labels(one=one, other=other)

                async def out() -> bytes:
                    return await _next_cell(requests)

                async def back() -> bytes:
                    return cell_of(await read(call))

                async def move(
                    receive: Callable[[], Awaitable[bytes]], send: Callable[[bytes], Awaitable[None]]
                ) -> None:
                    while True:
                        await send(await self._in_time(receive()))
                        cells.inc()
                        if (pause := self._bucket(pair).wait_s(CELL, self._monotonic())) > 0:
                            await asyncio.sleep(pause)

                with self._counted(ends, pair):
                    await first_of(
                        move(out, lambda cell: write(call, exchange_pb2.CarryRequest(cell=cell))),
                        move(back, lambda cell: send(exchange_pb2.CarryResponse(cell=cell))),
                        _each_second(ask_again),
                    )
        finally:
            self._places[pair] -= 1

    @contextlib.contextmanager
    def _counted(self, ends: Ends, pair: tuple[str, str]) -> Iterator[None]:
        """While a tunnel is open."""
        gauge = self._telemetry.tunnels.labels(one=pair[0], other=pair[1])
        self._carried[pair] += 1
        gauge.set(self._carried[pair])
        log.info("a tunnel from %s is open here", ends)
        try:
            yield
        finally:
            self._carried[pair] -= 1
            gauge.set(self._carried[pair])
            log.info("a tunnel from %s has ended here", ends)

    def _bucket(self, pair: tuple[str, str]) -> Bucket:
        return self._buckets.setdefault(pair, Bucket(self._limits.bytes_s, self._monotonic()))

    async def _in_turn(self, ends: Ends) -> None:
        """Waits until a further tunnel of that end may be opened onward."""
        openings = self._openings.setdefault((ends.opener, ends.to), Openings(OPENINGS_S, AT_ONCE))
        while (wait_s := openings.wait_s(self._monotonic())) > 0:  # noqa: ASYNC110  no event ends it
            await asyncio.sleep(wait_s)

    @contextlib.asynccontextmanager
    async def _onward(
        self, tunnel: exchange_pb2.Tunnel, ends: Ends, partner: Partner
    ) -> AsyncIterator[tuple[Any, handshake.Proven]]:
        """The same tunnel, opened to the other end. Raises LinkError."""
        times = self._times

        def bundle() -> TrustBundle:
            found = self._partners.bundle(ends.to)
            if found is None:
                raise LinkError(f"there is no trust bundle of {ends.to} that can be believed")
            return found

        dialler = Dialler(
            bundle,
            self._key_pair,
            pace=Pace(times.stagger_s, times.dials, times.dial_s),
            backoff=lambda: Backoff(times.backoff_min_s, times.backoff_max_s),
            bell=self._partners.links[ends.to].bell,
            monotonic=self._monotonic,
        )
        async with contextlib.AsyncExitStack() as stack:
            try:
                stub = await self._in_time(stack.enter_async_context(dialler.dial(lambda _: None)))
                call = stub.Carry()
                proven = await self._in_time(
                    proving.prove(
                        call,
                        exchange_pb2.CarryRequest,
                        handshake.CARRY,
                        partner,
                        own=self._own,
                        signatory=self._signatory,
                        in_band=self._in_band,
                        now_ns=self._now_ns,
                    )
                )
                await write(call, exchange_pb2.CarryRequest(tunnel=tunnel))
            except (IdentityError, OSError, grpc.aio.AioRpcError) as error:
                log.warning("a tunnel from %s cannot be opened onward: %s", ends, error)
                raise LinkError(f"{ends.carrier} does not reach {ends.to}") from error
            yield call, proven

    async def _in_time(self, work: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(self._times.silence_s):
                return await work
        except TimeoutError:
            raise LinkError(f"nothing came for {self._times.silence_s:g} s") from None


def _not_his_doing(code: grpc.StatusCode, why: str, *, lasting: bool = False) -> StreamEnded:
    """What ends a tunnel, and is nothing that whoever dialled this node has done."""
    return StreamEnded(code, why, callers_doing=False, lasting=lasting)


def cell_of(message: Any) -> bytes:
    """The cell in a message. Raises LinkError for anything else."""
    if message.WhichOneof("message") != "cell" or len(message.cell) != CELL:
        raise LinkError(f"a cell of {CELL} bytes was due, and something else came")
    cell: bytes = message.cell
    return cell


async def _next_cell(requests: Requests) -> bytes:
    try:
        return cell_of(await anext(requests))
    except StopAsyncIteration:
        raise LinkError("the tunnel was closed") from None


async def _each_second(ask: Callable[[], object]) -> None:
    while True:
        await asyncio.sleep(ASKED_S)
        ask()
