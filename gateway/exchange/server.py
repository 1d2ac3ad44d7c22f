"""What partners who dial are served: the ledgers that this node keeps for them, and its heartbeats.

Rules, in order, for every stream:

1. TLS 1.3, and a certificate that the caller's own gateway authority issued for its own trust domain.
2. The challenge: both sides sign (`gateway.exchange.handshake`).
3. A node is served the ledgers of which it is the recipient, and this node's witness ledger; and of its own ledgers
   what this node holds of them (`gateway.exchange.giving_back`). No other.
4. Only what the store returns is sent: nothing leaves that is not on record. Each batch carries the signed
   checkpoint of its end. What may not go any more goes as hashes alone (`gateway.release.keeping`); that is asked
   as the last thing before a batch is sent. In doubt the lane pauses.
5. What the follower claims to have must be a prefix of the ledger. An unsigned claim that is not ends the stream and no
   more. A checkpoint signed by this node that its ledger contradicts is proof that the ledger's tail was lost: the
   ledger ends, and its next generation opens at once; with the witness ledger the decisions ledger does too. One that
   a retired key of this node signed proves nothing, for a thief may have; but a machine that was lost leaves just that
   behind. So the ledger ends too, once a day (`gateway.release.successions`): that is all that a thief gains.
6. A stream ends when the partner's trust bundle expires, when the key under which it was proven is believed no more, or
   was not at that time, or when the certificate that it was opened with is not: that is asked before each batch and
   each answer, and every BELIEF_S while nothing happens. A key that was retired after the stream was proven ends none.
7. An answer that repeats what was said before the stream was opened costs nothing, and where it cannot be verified any
   more it does not end the stream: the keys that signed it may have changed since.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.exchange import handshake
from gateway.exchange.admission import Admission, Way
from gateway.exchange.beating import Beats
from gateway.exchange.conduct import Conduct
from gateway.exchange.ending import Repetitions, StreamEnded, shown
from gateway.exchange.heartbeat import Counter as HeartbeatCounter
from gateway.exchange.in_band import InBand
from gateway.exchange.inspecting import InspectionEnded, Pace, answer_questions
from gateway.exchange.limits import BELIEF_S, ExchangeLimits
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners
from gateway.exchange.serving import Caller, Serving
from gateway.exchange.tunnels.carrying import Carrying
from gateway.exchange.tunnels.pacing import CarryLimits
from gateway.exchange.tunnels.sockets import Sockets
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import peer_from_context
from gateway.ledger.errors import LedgerError
from gateway.ledger.stores import StoreReader
from gateway.release.errors import Unavailable
from gateway.release.holdings import Holdings
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner, Signatory
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

_CARRY: Final = CarryLimits()

_NOBODYS_FAULT: Final = (
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNAVAILABLE,
)
"""How streams end whose partner's bundle has changed, which ask for what a store that was set back does not know, or
bring what another did wrong; and where a link is down."""


class ExchangeServicer(exchange_pb2_grpc.ExchangeServiceServicer):
    """Serves partners. Belongs to the event loop's thread, as its `reader` does."""

    def __init__(
        self,
        *,
        own: SpiffeId,
        signatory: Signatory,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        watch: Watch,
        telemetry: Telemetry,
        in_band: InBand,
        own_bundle: OwnBundle,
        limits: ExchangeLimits,
        counter: HeartbeatCounter,
        now: Callable[[], datetime],
        now_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        clock_trusted: Callable[[], bool] = lambda: True,
        carrying: Carrying | None = None,
        sockets: Sockets | None = None,
        hedge_s: float = _CARRY.hedge_s,
    ) -> None:
        """Without `carrying` and `sockets` no tunnel is taken or carried."""
        self._carrying = carrying
        self._sockets = sockets
        self._own = own
        self._signatory = signatory
        self._partners = partners
        self._in_band = in_band
        self._sequencer = sequencer
        self._reader = reader
        self._telemetry = telemetry
        self._limits = limits
        self._beats = Beats(
            signatory=signatory,
            links=partners.links,
            sequencer=sequencer,
            in_band=in_band,
            telemetry=telemetry,
            counter=counter,
            heartbeat_s=limits.heartbeat_s,
            silence_s=limits.silence_s,
            now_ns=now_ns,
            monotonic_ns=monotonic_ns,
        )
        self._now = now
        self._monotonic_ns = monotonic_ns
        self._serving = Serving(
            signatory=signatory,
            partners=partners,
            sequencer=sequencer,
            reader=reader,
            watch=watch,
            telemetry=telemetry,
            own_bundle=own_bundle,
            limits=limits,
            now=now,
            now_ns=now_ns,
            monotonic_ns=monotonic_ns,
            clock_trusted=clock_trusted,
            hedge_s=hedge_s,
            still_believed=self._still_believed,
        )
        self._admission = Admission(limits, lambda: monotonic_ns() / 1e9)
        self._pace = Pace(limits.questions_s, lambda: monotonic_ns() / 1e9)
        self._repetitions = Repetitions()

    async def Follow(  # type: ignore[override]  # noqa: N802  gRPC's name; a coroutine that writes to its context
        self,
        request_iterator: AsyncIterator[exchange_pb2.FollowRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
    ) -> None:
        """See exchange.proto."""

        async def send_challenge(challenge: exchange_pb2.Challenge) -> None:
            await context.write(exchange_pb2.FollowResponse(challenge=challenge))

        async def serve() -> None:
            async with self._proven(context, request_iterator, send_challenge, handshake.FOLLOW) as partner:
                await self._serving.follow(request_iterator, context, partner)

        await self._guarded(context, serve())

    async def Heartbeat(  # type: ignore[override]  # noqa: N802  as above
        self,
        request_iterator: AsyncIterator[exchange_pb2.HeartbeatRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.HeartbeatRequest, exchange_pb2.HeartbeatResponse],
    ) -> None:
        """See exchange.proto."""

        async def send_challenge(challenge: exchange_pb2.Challenge) -> None:
            await context.write(exchange_pb2.HeartbeatResponse(challenge=challenge))

        async def serve() -> None:
            async with self._proven(context, request_iterator, send_challenge, handshake.HEARTBEAT) as partner:
                await self._beats.serve(
                    request_iterator,
                    context.write,
                    partner.proven,
                    lambda: self._judge(partner),
                    direct=not partner.carrier,
                )

        await self._guarded(context, serve())

    async def Inspect(  # type: ignore[override]  # noqa: N802  as above
        self,
        request_iterator: AsyncIterator[exchange_pb2.InspectRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.InspectRequest, exchange_pb2.InspectResponse],
    ) -> None:
        """See exchange.proto."""

        async def send_challenge(challenge: exchange_pb2.Challenge) -> None:
            await context.write(exchange_pb2.InspectResponse(challenge=challenge))

        async def serve() -> None:
            async with self._proven(context, request_iterator, send_challenge, handshake.INSPECT) as partner:
                if partner.carrier:
                    raise StreamEnded(grpc.StatusCode.PERMISSION_DENIED, "ledgers are not compared through a tunnel")
                await self._inspect(request_iterator, context, partner)

        await self._guarded(context, serve())

    async def Carry(  # type: ignore[override]  # noqa: N802  as above
        self,
        request_iterator: AsyncIterator[exchange_pb2.CarryRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.CarryRequest, exchange_pb2.CarryResponse],
    ) -> None:
        """See exchange.proto."""

        async def send_challenge(challenge: exchange_pb2.Challenge) -> None:
            await context.write(exchange_pb2.CarryResponse(challenge=challenge))

        async def serve() -> None:
            async with self._proven(context, request_iterator, send_challenge, handshake.CARRY) as partner:
                if self._carrying is None or partner.carrier:
                    raise StreamEnded(grpc.StatusCode.PERMISSION_DENIED, "no tunnel is opened here")
                await self._carrying.serve(
                    request_iterator, context.write, partner.proven, lambda: self._judge(partner)
                )

        await self._guarded(context, serve())

    # --- the opening of every stream

    async def _guarded(self, context: grpc.aio.ServicerContext[Any, Any], serving: Coroutine[Any, Any, None]) -> None:
        """Turns what ends a stream into a status that tells the partner why."""
        peer, is_told = context.peer(), True
        try:
            await serving
            return
        except IdentityError as refused:
            code, reason, detail = grpc.StatusCode.UNAUTHENTICATED, refused.code.value, str(refused)
        except StreamEnded as ended:
            code, reason, detail = ended.code, ended.code.name.lower(), ended.detail
            if ended.lasting:
                # An order that is missing is told once: whoever waits for it dials again and again.
                now, address = self._monotonic_ns() / 1e9, peer.rpartition(":")[0]
                is_told = self._repetitions.is_new(address, detail, now)
        except DecodeError:
            code, reason, detail = (
                grpc.StatusCode.INVALID_ARGUMENT, "malformed_message", "a message is not of the contract"
            )  # fmt: skip
        except (Unavailable, LedgerError) as failed:
            log.error("exchange: %s: %s", peer, shown(str(failed)))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the ledger cannot be served now; try again")
        self._telemetry.refused_streams.labels(reason=reason).inc()
        if is_told:
            log.warning("exchange: %s: %s", peer, shown(detail))
        await context.abort(code, shown(detail))

    @contextlib.asynccontextmanager
    async def _proven(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        requests: AsyncIterator[handshake.Request],
        send: Callable[[exchange_pb2.Challenge], Awaitable[None]],
        purpose: str,
    ) -> AsyncIterator[Caller]:
        """The partner that opened this stream, once it is proven and has a place (`gateway.exchange.admission`)."""
        auth_context, peer = context.auth_context(), context.peer()
        tls_peer = peer_from_context(
            auth_context, self._partners.authorities(), allowed_roles=(Role.GATEWAY,), now=self._now()
        )
        carrier = self._carrier(peer, tls_peer.node)
        link = self._partners.links[tls_peer.node]
        way = Way.of(tls_peer.node, carrier, purpose)
        with self._judged(link.conduct):
            async with self._admission.unproven(way, peer, _certificate(auth_context), self._limits.handshake_s):
                proven = await handshake.prove_to_client(
                    requests,
                    send,
                    purpose=purpose,
                    tls_peer=tls_peer,
                    server=self._own,
                    signer=self._signatory.gateway,
                    in_band=self._in_band,
                    now=self._now,
                )
            with self._admission.proven(way):
                # Who can dial this node can as a rule be dialled: streams that wait to dial it try at once.
                link.bell.ring()
                yield Caller(proven, auth_context, carrier=carrier)

    @contextlib.contextmanager
    def _judged(self, conduct: Conduct) -> Iterator[None]:
        """Takes note of what a partner's stream is ended for."""
        try:
            yield
        except (IdentityError, StreamEnded) as error:
            if not isinstance(error, StreamEnded) or (error.callers_doing and error.code not in _NOBODYS_FAULT):
                conduct.ended(shown(str(error)), self._monotonic_ns() / 1e9)
            raise
        except DecodeError:
            conduct.ended("a message is not of the contract", self._monotonic_ns() / 1e9)
            raise

    def _carrier(self, peer: str, node: str) -> str:
        """Who carries a stream of `node` from this peer; empty: nobody. Through a tunnel comes its opener alone."""
        if not Sockets.is_local(peer):
            return ""
        ends = None if self._sockets is None else self._sockets.arrived(peer)
        if ends is None or ends.opener != node:
            raise StreamEnded(grpc.StatusCode.PERMISSION_DENIED, f"{node} came through a tunnel that it has not opened")
        return ends.carrier

    def _still_believed(self, caller: Caller) -> Partner:
        """The keys of the partner as they are believed now.

        Ends a stream that was opened under a key which is believed no more, or with such a certificate.
        """
        partner = self._partners.get(caller.node)
        if partner is None or not caller.proven.believed_by(partner):
            raise StreamEnded(
                grpc.StatusCode.UNAUTHENTICATED,
                f"the trust bundle of {caller.node} has changed or expired since this stream was opened; dial again",
            )
        if self._monotonic_ns() >= caller.judge_again_ns:
            peer_from_context(
                caller.auth_context, self._partners.authorities(), allowed_roles=(Role.GATEWAY,), now=self._now()
            )
            caller.judge_again_ns = self._monotonic_ns() + int(BELIEF_S * 1e9)
        return partner

    def _judge(self, caller: Caller) -> None:
        self._still_believed(caller)

    # --- Inspect

    async def _inspect(
        self,
        requests: AsyncIterator[exchange_pb2.InspectRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.InspectRequest, exchange_pb2.InspectResponse],
        partner: Caller,
    ) -> None:
        log.info("%s compares ledgers", partner.node)
        sequencer = self._sequencer
        holdings = Holdings(self._signatory.node, partner.node, self._reader, sequencer.heads, sequencer.head)
        try:
            await answer_questions(
                requests,
                context.write,
                holdings,
                turn=lambda questions: self._pace.wait_s(partner.node, questions),
                most=self._limits.questions,
                idle_s=self._limits.handshake_s,
                still_believed=lambda: self._judge(partner),
            )
        except InspectionEnded as ended:
            raise StreamEnded(ended.code, ended.detail) from ended


def _certificate(auth_context: Mapping[str, Iterable[bytes]]) -> bytes:
    """The certificate that a caller has shown."""
    return b"".join(auth_context.get("x509_pem_cert", ()))
