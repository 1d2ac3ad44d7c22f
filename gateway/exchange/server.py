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

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.exchange import handshake
from gateway.exchange.beating import Beats
from gateway.exchange.carrying import Carrying
from gateway.exchange.conduct import Conduct
from gateway.exchange.ending import StreamEnded
from gateway.exchange.giving_back import NotHeld, give_back, is_held_for
from gateway.exchange.heartbeat import Counter as HeartbeatCounter
from gateway.exchange.hedging import Hedge, Standing
from gateway.exchange.in_band import InBand
from gateway.exchange.inspecting import InspectionEnded, Pace, answer_questions
from gateway.exchange.keeping_back import without
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.own_log_keys import own_log_keys
from gateway.exchange.pacing import CarryLimits
from gateway.exchange.partners import Partners
from gateway.exchange.signed_anew import presented, signed_by
from gateway.exchange.sockets import Sockets
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import peer_from_context
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError, OriginError
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerRow, Run, StoreReader
from gateway.release.claims import Agreement, Claim, judge_claim
from gateway.release.errors import Unavailable
from gateway.release.holdings import Holdings
from gateway.release.keeping import KeepBack, judge
from gateway.release.sequencer import Sequencer, Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import KeepCosignature, KeepUnopenable, UnverifiedAnswer
from gateway.release.succeeding import Succeed
from gateway.release.successions import MOST_LOST_GENERATIONS
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

_CARRY: Final = CarryLimits()


MAX_SHOWN: Final = 512
"""Characters of a reason that are logged or sent: gRPC carries it in a header, of which it takes a few kilobytes."""


_NOBODYS_FAULT: Final = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.FAILED_PRECONDITION)
"""How streams end whose partner's bundle has changed, or which ask for what a store that was set back does not know."""


BELIEF_S: Final = 1.0
"""Seconds after which an idle stream asks again whether its partner's keys are believed: as often as files are looked
at.
"""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Bounds of the exchange between gateways."""

    batch_bytes: int = 1 << 20
    """Bytes of entries in one Batch: far below gRPC's 4 MiB message, and a fraction of a second on a slow link."""
    bulk_bytes: int = 1 << 16
    """The same in every lane but FLASH: a batch is put on record at once, and an alert may wait behind one."""
    partner_bytes_s: float = float(1 << 20)
    """Bytes of one lane of a partner that are taken in the long run, a second: some 90 GB a day."""
    partner_burst_bytes: float = float(4 << 30)
    """Bytes of one that are taken in at full speed: what a partner of which nothing was heard for days has to say."""
    answers_s: float = 500.0
    """Receipts and statements a second that are taken of one partner for one lane; each is verified and committed."""
    connections: int = 512
    """Connections of all partners together. Each is a file to the process, and the store needs some as well."""
    heartbeat_s: float = 1.0
    """Seconds between heartbeats: with three missed in a row a dead link is noticed in 3 s."""
    silence_s: float = 3.0
    """Seconds without a heartbeat after which a connection is given up."""
    handshake_s: float = 10.0
    """Seconds that a dialer has to prove itself."""
    backoff_min_s: float = 0.1
    """First pause before dialling again."""
    backoff_max_s: float = 1.0
    """Longest pause before dialling again where dialling is refused: a link that returns is in use within two seconds.
    """
    stagger_s: float = 0.5
    """Seconds after which a further attempt to connect begins while those before have no answer."""
    dials: int = 4
    """Attempts of one stream that are under way at once."""
    dial_s: float = 3.0
    """Seconds after which an attempt is given up: a connection takes three round trips."""
    openings_s: float = 20.0
    """Streams a second that a partner may open in the long run: seven that are dialled anew each half second and more.
    Each costs a signature and a verification before anything is known of what it wants."""
    openings: int = 200
    """Streams that it may open at once after a while without: several gateways that all come back."""
    streams: int = 32
    """Streams a partner may have open at once: four lanes and the heartbeat of two gateways, and as many being
    replaced.
    """
    questions_s: float = 200.0
    """Questions a second that are answered to one partner which compares ledgers: each reads a tile or two, so that
    this costs a few hundredths of one processor.
    """
    questions: int = 100_000
    """Questions that one stream may ask: enough to compare every ledger to its last differing entry."""


@dataclass(slots=True)
class _Caller:
    """A partner's gateway on one stream: how it has proven itself, and its certificate."""

    proven: handshake.Proven
    auth_context: Mapping[str, Iterable[bytes]]
    judge_again_ns: int = 0
    """When its certificate is judged again, by the monotonic clock."""
    carrier: str = ""
    """Who carries the stream; empty: nobody."""

    @property
    def node(self) -> str:
        """Its node."""
        return self.proven.node


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
        self._hedge_s = hedge_s
        self._own = own
        self._clock_trusted = clock_trusted
        self._signatory = signatory
        self._partners = partners
        self._in_band = in_band
        self._own_bundle = own_bundle
        self._sequencer = sequencer
        self._reader = reader
        self._watch = watch
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
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._streams: Counter[str] = Counter()
        self._pace = Pace(limits.questions_s, lambda: monotonic_ns() / 1e9)
        self._answer_pace = Pace(limits.answers_s, lambda: monotonic_ns() / 1e9)

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
                await self._follow(request_iterator, context, partner)

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
        peer = context.peer()
        try:
            await serving
            return
        except IdentityError as refused:
            code, reason, detail = grpc.StatusCode.UNAUTHENTICATED, refused.code.value, str(refused)
        except StreamEnded as ended:
            code, reason, detail = ended.code, ended.code.name.lower(), ended.detail
        except DecodeError:
            code, reason, detail = (
                grpc.StatusCode.INVALID_ARGUMENT, "malformed_message", "a message is not of the contract"
            )  # fmt: skip
        except (Unavailable, LedgerError) as failed:
            log.error("exchange: %s: %s", peer, shown(str(failed)))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the ledger cannot be served now; try again")
        self._telemetry.refused_streams.labels(reason=reason).inc()
        log.warning("exchange: %s: %s", peer, shown(detail))
        await context.abort(code, shown(detail))

    @contextlib.asynccontextmanager
    async def _proven(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        requests: AsyncIterator[handshake.Request],
        send: Callable[[exchange_pb2.Challenge], Awaitable[None]],
        purpose: str,
    ) -> AsyncIterator[_Caller]:
        """The partner that opened this stream, once it has proven itself.

        The stream counts from the certificate on, so that those which never prove themselves are bounded as well.
        """
        tls_peer = peer_from_context(
            context.auth_context(), self._partners.authorities(), allowed_roles=(Role.GATEWAY,), now=self._now()
        )
        node = tls_peer.node
        carrier = self._carrier(context.peer(), node)
        conduct = self._partners.links[node].conduct
        with self._judged(conduct):
            now = self._monotonic_ns() / 1e9
            if not conduct.may_open(now, self._limits.openings_s, self._limits.openings):
                raise StreamEnded(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{node} opens more than {self._limits.openings_s:g} streams a second",
                )
            if self._streams[node] >= self._limits.streams:
                raise StreamEnded(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{node} has {self._limits.streams} streams open, the most that a partner may",
                )
        self._streams[node] += 1
        try:
            with self._judged(conduct):
                yield await self._prove(context, requests, send, purpose, tls_peer, carrier)
        finally:
            self._streams[node] -= 1

    async def _prove(
        self,
        context: grpc.aio.ServicerContext[Any, Any],
        requests: AsyncIterator[handshake.Request],
        send: Callable[[exchange_pb2.Challenge], Awaitable[None]],
        purpose: str,
        tls_peer: SpiffeId,
        carrier: str,
    ) -> _Caller:
        """Challenges whoever opened a stream. Returns once it has proven itself."""
        try:
            async with asyncio.timeout(self._limits.handshake_s):
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
        except TimeoutError:
            raise StreamEnded(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no proof within {self._limits.handshake_s:g} s of the call"
            ) from None
        # Who can dial this node can as a rule be dialled: streams that wait to dial it try at once.
        self._partners.links[tls_peer.node].bell.ring()
        return _Caller(proven, context.auth_context(), carrier=carrier)

    @contextlib.contextmanager
    def _judged(self, conduct: Conduct) -> Iterator[None]:
        """Takes note of what a partner's stream is ended for."""
        try:
            yield
        except (IdentityError, StreamEnded) as error:
            if not isinstance(error, StreamEnded) or error.code not in _NOBODYS_FAULT:
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

    def _still_believed(self, caller: _Caller) -> Partner:
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

    def _judge(self, caller: _Caller) -> None:
        self._still_believed(caller)

    # --- Follow

    async def _follow(
        self,
        requests: AsyncIterator[exchange_pb2.FollowRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        partner: _Caller,
    ) -> None:
        try:
            message = await asyncio.wait_for(anext(requests), self._limits.handshake_s)
        except (StopAsyncIteration, TimeoutError):
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, "Open was due and did not come") from None
        if message.WhichOneof("message") != "open":
            raise StreamEnded(
                grpc.StatusCode.INVALID_ARGUMENT, f"Open was due, and {message.WhichOneof('message')} came"
            )
        origin = self._allowed(message.open, partner)
        if origin.owner == partner.node:
            await self._give_back(context, origin, message.open.size, partner)
            return
        successor = await self._agree(origin, message.open, partner)
        self._partners.links[partner.node].differs.pop(f"to {partner.node}, {origin.lane}", None)
        row = self._row(origin)
        log.info("%s follows %s from %d", partner.node, origin, message.open.size)
        await context.write(
            exchange_pb2.FollowResponse(opened=exchange_pb2.Opened(size=0 if row is None else row.size))
        )
        if successor is not None:
            await context.write(exchange_pb2.FollowResponse(ended=exchange_pb2.Ended(successor=str(successor))))
            return
        link = self._partners.links[partner.node]
        direct = not partner.carrier
        streams, key = (
            (link.followed, origin.lane) if direct else (link.carried, f"{origin.lane} via {partner.carrier}")
        )
        streams[key] = streams.get(key, 0) + 1
        standing = link.standings.setdefault(str(origin), Standing())
        standing.opened(message.open.size, self._monotonic_ns() / 1e9, direct=direct)
        incoming = asyncio.create_task(self._take_answers(requests, origin, message.open.size, partner))
        outgoing = asyncio.create_task(self._send_ledger(context, origin, message.open.size, partner))
        try:
            done, _ = await asyncio.wait((incoming, outgoing), return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            incoming.cancel()
            outgoing.cancel()
            await asyncio.gather(incoming, outgoing, return_exceptions=True)
            standing.closed(direct=direct)
            streams[key] -= 1
            link.paused.pop(origin.lane, None)

    def _allowed(self, wanted: exchange_pb2.Open, partner: _Caller) -> Origin:
        try:
            origin = Origin.parse(wanted.origin)
        except OriginError as error:
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        if is_held_for(origin, partner.node, self._signatory.node):
            return origin
        if origin.owner != self._signatory.node:
            raise StreamEnded(
                grpc.StatusCode.NOT_FOUND, f"{self._signatory.node} does not carry ledgers of {origin.owner}"
            )
        if origin.recipient != partner.node and origin.lane != WITNESS:
            raise StreamEnded(grpc.StatusCode.PERMISSION_DENIED, f"{origin} is not a ledger for {partner.node}")
        return origin

    async def _give_back(
        self,
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        origin: Origin,
        size: int,
        partner: _Caller,
    ) -> None:
        try:
            count = await give_back(
                origin,
                size,
                reader=self._reader,
                signatory=self._signatory,
                now_ns=self._now_ns,
                max_bytes=self._limits.batch_bytes,
                message=batch_message,
                send=context.write,
                still_believed=lambda: self._judge(partner),
            )
        except NotHeld as error:
            raise StreamEnded(grpc.StatusCode.NOT_FOUND, str(error)) from error
        log.warning("%s was given back %d entries of %s, from %d on", partner.node, count, origin, size)

    def _row(self, origin: Origin) -> LedgerRow | None:
        return self._reader().ledger(origin)

    async def _agree(self, origin: Origin, claim: exchange_pb2.Open, partner: _Caller) -> Origin | None:
        """None if what the follower has is a prefix of the ledger; otherwise the ledger's successor (rule 5)."""
        current = self._sequencer.current(origin.owner, origin.recipient, origin.lane)
        keys = own_log_keys(self._signatory, self._own_bundle)
        found = judge_claim(
            self._reader(),
            origin,
            Claim(claim.size, claim.root, claim.checkpoint),
            current=current,
            keys=keys.current,
            retired=keys.retired,
        )
        match found:
            case Agreement.PREFIX:
                return None
            case Agreement.NOT_OPEN:
                raise StreamEnded(grpc.StatusCode.FAILED_PRECONDITION, f"{origin} is not open; {current} is")
            case Agreement.UNSIGNED:
                self._partners.links[partner.node].differs[f"to {partner.node}, {origin.lane}"] = (
                    f"what it has of {origin} at size {claim.size} is not what is here, and no signature says so"
                )
                raise StreamEnded(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"{origin}: what you have at size {claim.size} is not a prefix of it, and no signature of mine"
                    " says so",
                )
        if found.by_retired:
            self._bound_retired(origin, partner)
        log.critical(
            "%s: %s holds a checkpoint of size %d that this node signed%s and does not have; the next generation opens",
            origin, partner.node, claim.size, ", with a key that is out of use," if found.by_retired else "",
        )  # fmt: skip
        step = Succeed(origin, found.reason, found.evidence, by_retired=found.by_retired, shown_by=partner.node)
        if not found.by_retired:
            return await self._sequencer.do(step)
        try:
            return await self._sequencer.do(step)
        except LedgerError as error:
            raise self._not_for_retired(origin, partner, str(error)) from error

    def _bound_retired(self, origin: Origin, partner: _Caller) -> None:
        """Ends the stream where the word of a retired key goes too far."""
        current = self._sequencer.current(origin.owner, origin.recipient, origin.lane)
        ahead = origin.generation - current.generation
        if ahead > MOST_LOST_GENERATIONS:
            raise self._not_for_retired(origin, partner, f"what such a key signed is {ahead} generations ahead")

    def _not_for_retired(self, origin: Origin, partner: _Caller, why: str) -> StreamEnded:
        told = f"a key that is out of use signed what {partner.node} has of {origin}, and {why}"
        self._partners.links[partner.node].differs[f"to {partner.node}, {origin.lane}"] = told
        log.critical("%s: no further generation opens; look for the thief of a retired log key", told)
        return StreamEnded(grpc.StatusCode.FAILED_PRECONDITION, told)

    async def _send_ledger(
        self,
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        origin: Origin,
        position: int,
        partner: _Caller,
    ) -> None:
        bell = self._watch.ledger_bell(origin)
        standing = self._partners.links[partner.node].standings[str(origin)]
        hedge = Hedge(self._hedge_s, origin.lane) if partner.carrier else None
        # Sizes of which the follower has a checkpoint: a further signature means something to it only at one of these.
        ends = {position}
        further: dict[CosignatureKind, CosignatureRow] = {}
        while True:
            seen = bell.rings
            self._still_believed(partner)
            row = self._row(origin)
            wait_s = BELIEF_S
            if row is not None:
                while True:
                    if standing.held > position:
                        # It came by another way.
                        position = standing.held
                        ends.add(position)
                    if hedge is not None and (hedged_s := self._hedged_s(hedge, standing, origin)) > 0:
                        wait_s = min(wait_s, hedged_s)
                        break
                    run = await self._next_run(origin, position)
                    if run is None:
                        break
                    # Nothing between here and the write gives way to anything else.
                    self._still_believed(partner)
                    run = presented(run, origin, self._signatory)
                    await context.write(exchange_pb2.FollowResponse(batch=batch_message(run)))
                    position = run.first + run.count
                    ends.add(position)
                    self._telemetry.entries_sent.labels(partner=partner.node, lane=origin.lane).inc(run.count)
                for kind in (CosignatureKind.ANCHOR, CosignatureKind.PQ):
                    sent = further.get(kind)
                    line = self._reader().cosignature(row.id, kind, origin.owner, 1 if sent is None else sent.size)
                    # One of a size that went before goes again where another key has signed it since.
                    if line is not None and line.size in ends and (sent is None or sent.note != line.note):
                        note = exchange_pb2.Cosignature(note=self._in_use(kind, origin, line.note))
                        await context.write(exchange_pb2.FollowResponse(cosignature=note))
                        further[kind] = line
                if (pq := further.get(CosignatureKind.PQ)) is not None:
                    ends = {end for end in ends if end >= pq.size}
                if row.successor is not None and position >= row.size:
                    await context.write(
                        exchange_pb2.FollowResponse(ended=exchange_pb2.Ended(successor=str(row.successor)))
                    )
                    return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await bell.wait(seen)

    def _hedged_s(self, hedge: Hedge, standing: Standing, origin: Origin) -> float:
        """Seconds before what stands in a ledger goes by a carried way."""
        row = self._row(origin)
        return hedge.wait_s(standing, 0 if row is None else row.size, self._monotonic_ns() / 1e9)

    def _in_use(self, kind: CosignatureKind, origin: Origin, note: bytes) -> bytes:
        """A further signature as it goes: an anchor under the log key in use."""
        if kind is CosignatureKind.ANCHOR:
            return signed_by(note, self._signatory.log.signer(origin))
        return note

    async def _next_run(self, origin: Origin, position: int) -> Run | None:
        """What goes next, with what is kept back given as hashes. None: nothing does, at the end or in doubt.

        What has to be kept back is put on record and all is asked anew, until nothing is new: what is returned may go
        at the moment of the return.
        """
        if origin.recipient is None:
            # The witness ledger: whoever follows it can open none of it, and nothing of it is ever kept back.
            row = self._row(origin)
            return None if row is None else self._reader().run(row.id, position, self._limits.batch_bytes)
        paused = self._partners.links[origin.recipient].paused
        max_bytes = self._limits.batch_bytes if origin.lane == Lane.FLASH else self._limits.bulk_bytes
        while (row := self._row(origin)) is not None:
            run = self._reader().run(row.id, position, max_bytes)
            if run is None:
                break
            verdict = judge(
                self._reader(), row, run, self._sequencer.rulebook, self._now(), clock_trusted=self._clock_trusted()
            )
            if verdict.new:
                kept = await self._sequencer.do(KeepBack(origin, run), source=origin.recipient)
                self._telemetry.kept_back.labels(partner=origin.recipient).inc(kept)
            elif verdict.doubt and max_bytes > 1:
                # The doubt may be about a later segment: try the first alone.
                max_bytes = 1
            elif verdict.doubt:
                if paused.get(origin.lane) != verdict.doubt:
                    log.error("%s: nothing is sent from entry %d on: %s", origin, position, verdict.doubt)
                paused[origin.lane] = verdict.doubt
                return None
            else:
                paused.pop(origin.lane, None)
                return without(run, verdict.on_record)
        paused.pop(origin.lane, None)
        return None

    async def _take_answers(
        self, requests: AsyncIterator[exchange_pb2.FollowRequest], origin: Origin, opened_at: int, partner: _Caller
    ) -> None:
        """Keeps what the follower says. It may repeat what it said of the first `opened_at` entries."""
        async for message in requests:
            # Whoever answers without end is read more slowly.
            if (wait_s := self._answer_pace.wait_s(f"{partner.node} {origin.lane}")) > 0:
                await asyncio.sleep(wait_s)
            # What it signs now is verified by the bundle that is believed now.
            keys = self._still_believed(partner)
            match message.WhichOneof("message"):
                case "receipt":
                    receipt = KeepCosignature(origin, CosignatureKind.RECEIPT, message.receipt.note, keys)
                    if await self._answer(receipt, partner, opened_at) is not None:
                        self._receipted(origin, message.receipt.note, partner)
                        self._telemetry.receipts.labels(partner=partner.node, lane=origin.lane).inc()
                case "unopenable":
                    step = KeepUnopenable(origin, message.unopenable.note, keys)
                    statement = await self._answer(step, partner, opened_at)
                    if statement is None:
                        continue
                    self._telemetry.unopenable.labels(partner=partner.node, direction="sent").inc()
                    log.error("%s cannot use %s entry %d: %s", partner.node, origin, statement.index, statement.reason)
                case other:
                    raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, f"{other} has no place here")

    def _receipted(self, origin: Origin, note: bytes, partner: _Caller) -> None:
        """Takes note of a receipt that was verified: of what it says itself, for one of more may be on record."""
        size = Checkpoint.parse(Note.parse(note).text).size
        standing = self._partners.links[partner.node].standings[str(origin)]
        standing.receipted(size, self._monotonic_ns() / 1e9, direct=not partner.carrier)

    async def _answer(self, step: Step[T], partner: _Caller, opened_at: int) -> T | None:
        """What the step gave; None for an answer that is repeated and cannot be verified."""
        try:
            return await self._sequencer.do(step, source=partner.node)
        except UnverifiedAnswer as error:
            if error.covered > opened_at:
                raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
            log.warning("an answer is repeated under keys that are not believed, and is not kept: %s", error)
            return None
        except LedgerError as error:
            # Evidence, where it is signed: it is in the log with the partner's name; the link is closed and no more.
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error

    # --- Inspect

    async def _inspect(
        self,
        requests: AsyncIterator[exchange_pb2.InspectRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.InspectRequest, exchange_pb2.InspectResponse],
        partner: _Caller,
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


def shown(text: str) -> str:
    """Text that may quote what a partner sent, as a log or a status may hold it: short, in one line, and printable."""
    printable = "".join(character if character.isprintable() else " " for character in text[:MAX_SHOWN])
    return printable if len(text) <= MAX_SHOWN else f"{printable}..."


def batch_message(run: Run) -> exchange_pb2.Batch:
    """A run of stored segments as it travels."""
    return exchange_pb2.Batch(
        first=run.first,
        count=run.count,
        entries=run.entries,
        absent=[
            exchange_pb2.AbsentEntry(index=row.index, leaf_hash=row.leaf_hash, note=row.note) for row in run.absent
        ],
        checkpoint=run.checkpoint,
    )
