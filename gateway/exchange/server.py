"""What partners who dial are served: the ledgers that this node keeps for them, and its heartbeats.

Rules, in order, for every stream:

1. TLS 1.3, and a certificate that the caller's own gateway authority issued for its own trust domain.
2. The challenge: both sides sign (`gateway.exchange.handshake`).
3. A node is served the ledgers of which it is the recipient, and this node's witness ledger, and no other.
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
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeVar

import grpc
from google.protobuf.message import DecodeError
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc, ledger_pb2

from gateway.exchange import handshake
from gateway.exchange.heartbeat import Counter as HeartbeatCounter
from gateway.exchange.heartbeat import sign_heartbeat
from gateway.exchange.in_band import InBand
from gateway.exchange.inspecting import InspectionEnded, Pace, answer_questions
from gateway.exchange.keeping_back import without
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.partners import Partners
from gateway.exchange.signed_anew import presented, signed_by
from gateway.identity.errors import IdentityError
from gateway.identity.keyring import KeyKind
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import peer_from_context
from gateway.ledger.checkpoint import Checkpoint, LogPublicKey, open_checkpoint
from gateway.ledger.errors import LedgerError, OriginError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Origin
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerRow, Run, StoreReader
from gateway.release.errors import Unavailable
from gateway.release.holdings import Holdings
from gateway.release.keeping import KeepBack, judge
from gateway.release.sequencer import Sequencer, Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import KeepCosignature, KeepUnopenable, Succeed, UnverifiedAnswer
from gateway.release.successions import MOST_LOST_GENERATIONS
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")


MAX_SHOWN: Final = 512
"""Characters of a reason that are logged or sent: gRPC carries it in a header, of which it takes a few kilobytes."""


BELIEF_S: Final = 1.0
"""Seconds after which an idle stream asks again whether its partner's keys are believed: as often as files are looked
at.
"""


@dataclass(frozen=True, slots=True)
class ExchangeLimits:
    """Bounds of the exchange between gateways."""

    batch_bytes: int = 1 << 20
    """Bytes of entries in one Batch: far below gRPC's 4 MiB message, and a fraction of a second on a slow link."""
    heartbeat_s: float = 1.0
    """Seconds between heartbeats: with three missed in a row a dead link is noticed in 3 s."""
    silence_s: float = 3.0
    """Seconds without a heartbeat after which a connection is given up."""
    handshake_s: float = 10.0
    """Seconds that a dialer has to prove itself."""
    backoff_min_s: float = 0.1
    """First pause before dialling again."""
    backoff_max_s: float = 2.0
    """Longest pause before dialling again: a link that returns is in use within two seconds."""
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


class StreamEnded(Exception):
    """A stream is ended with a gRPC status and a sentence that says why."""

    def __init__(self, code: grpc.StatusCode, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(slots=True)
class _Caller:
    """A partner's gateway on one stream: how it has proven itself, and its certificate."""

    proven: handshake.Proven
    auth_context: Mapping[str, Iterable[bytes]]
    judge_again_ns: int = 0
    """When its certificate is judged again, by the monotonic clock."""

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
    ) -> None:
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
        self._counter = counter
        self._now = now
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._streams: Counter[str] = Counter()
        self._pace = Pace(limits.questions_s, lambda: monotonic_ns() / 1e9)

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
                await self._beat(request_iterator, context, partner)

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
        if self._streams[node] >= self._limits.streams:
            raise StreamEnded(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{node} has {self._limits.streams} streams open, the most that a partner may",
            )
        self._streams[node] += 1
        try:
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
            yield _Caller(proven, context.auth_context())
        finally:
            self._streams[node] -= 1

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

    def _own_keys(self) -> Sequence[LogPublicKey]:
        """The log keys under which this node's word is held against it: that in use, and those that are announced. A
        thief of a retired one could have claimed anything.
        """
        announced = () if self._own_bundle.keys is None else self._own_bundle.keys.log
        return list(dict.fromkeys([self._signatory.log.public, *announced]))

    def _own_retired_keys(self) -> Sequence[LogPublicKey]:
        """The log keys that were this node's: those of its bundle that are retired, and those that it still holds."""
        bundle = self._own_bundle.keys
        named = () if bundle is None else [old.key for old in bundle.retired_log]
        held = [LogPublicKey(key.public) for key in self._signatory.ring.keys[KeyKind.LOG].values()]
        current = self._own_keys()
        return [key for key in dict.fromkeys([*named, *held]) if key not in current]

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
        link.followed[origin.lane] = link.followed.get(origin.lane, 0) + 1
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
            link.followed[origin.lane] -= 1
            link.paused.pop(origin.lane, None)

    def _allowed(self, wanted: exchange_pb2.Open, partner: _Caller) -> Origin:
        try:
            origin = Origin.parse(wanted.origin)
        except OriginError as error:
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, str(error)) from error
        if origin.owner != self._signatory.node:
            raise StreamEnded(
                grpc.StatusCode.NOT_FOUND, f"{self._signatory.node} does not carry ledgers of {origin.owner}"
            )
        if origin.recipient != partner.node and origin.lane != WITNESS:
            raise StreamEnded(grpc.StatusCode.PERMISSION_DENIED, f"{origin} is not a ledger for {partner.node}")
        return origin

    def _row(self, origin: Origin) -> LedgerRow | None:
        return self._reader().ledger(origin)

    async def _agree(self, origin: Origin, claim: exchange_pb2.Open, partner: _Caller) -> Origin | None:
        """None if what the follower has is a prefix of the ledger; otherwise the ledger's successor (rule 5)."""
        row = self._row(origin)
        if claim.size == 0 and claim.root == EMPTY_ROOT:
            current = self._sequencer.current(origin.owner, origin.recipient, origin.lane)
            if origin.generation > current.generation:
                raise StreamEnded(grpc.StatusCode.FAILED_PRECONDITION, f"{origin} is not open; {current} is")
            return None
        stored = None if row is None or claim.size > row.size else self._reader().checkpoint(row.id, claim.size)
        if stored is not None and Checkpoint.parse(Note.parse(stored).text).root == claim.root:
            return None
        current_keys, retired_keys = self._own_keys(), self._own_retired_keys()
        signed = _signed_by(claim, current_keys, origin)
        by_retired = signed is None
        if signed is None:
            signed = _signed_by(claim, retired_keys, origin)
        if signed is None:
            self._partners.links[partner.node].differs[f"to {partner.node}, {origin.lane}"] = (
                f"what it has of {origin} at size {claim.size} is not what is here, and no signature says so"
            )
            raise StreamEnded(
                grpc.StatusCode.FAILED_PRECONDITION,
                f"{origin}: what you have at size {claim.size} is not a prefix of it, and no signature of mine says so",
            )
        if by_retired:
            self._bound_retired(origin, partner)
        lost = row is None or claim.size > row.size or by_retired
        reason = ledger_pb2.SUCCESSION_REASON_LOST_TAIL if lost else ledger_pb2.SUCCESSION_REASON_FORK
        log.critical(
            "%s: %s holds a checkpoint of size %d that this node signed%s and does not have; the next generation opens",
            origin, partner.node, claim.size, ", with a key that is out of use," if by_retired else "",
        )  # fmt: skip
        # The partner chose how many lines of unknown keys stand beside ours: they are no evidence.
        evidence = signed.of_keys([key.verifier(origin) for key in (*current_keys, *retired_keys)]).encode()
        if not by_retired:
            return await self._sequencer.do(Succeed(origin, reason, evidence))
        try:
            return await self._sequencer.do(Succeed(origin, reason, evidence, by_retired=True))
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
        # Sizes of which the follower has a checkpoint: a further signature means something to it only at one of these.
        ends = {position}
        further: dict[CosignatureKind, CosignatureRow] = {}
        while True:
            seen = bell.rings
            self._still_believed(partner)
            row = self._row(origin)
            if row is not None:
                while (run := await self._next_run(origin, position)) is not None:
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
                async with asyncio.timeout(BELIEF_S):
                    await bell.wait(seen)

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
        max_bytes = self._limits.batch_bytes
        while (row := self._row(origin)) is not None:
            run = self._reader().run(row.id, position, max_bytes)
            if run is None:
                break
            verdict = judge(
                self._reader(), row, run, self._sequencer.rulebook, self._now(), clock_trusted=self._clock_trusted()
            )
            if verdict.new:
                kept = await self._sequencer.do(KeepBack(origin, run))
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
            # What it signs now is verified by the bundle that is believed now.
            keys = self._still_believed(partner)
            match message.WhichOneof("message"):
                case "receipt":
                    receipt = KeepCosignature(origin, CosignatureKind.RECEIPT, message.receipt.note, keys)
                    if await self._answer(receipt, opened_at) is not None:
                        self._telemetry.receipts.labels(partner=partner.node, lane=origin.lane).inc()
                case "unopenable":
                    statement = await self._answer(KeepUnopenable(origin, message.unopenable.note, keys), opened_at)
                    if statement is None:
                        continue
                    self._telemetry.unopenable.labels(partner=partner.node, direction="sent").inc()
                    log.error("%s cannot use %s entry %d: %s", partner.node, origin, statement.index, statement.reason)
                case other:
                    raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, f"{other} has no place here")

    async def _answer(self, step: Step[T], opened_at: int) -> T | None:
        """What the step gave; None for an answer that is repeated and cannot be verified."""
        try:
            return await self._sequencer.do(step)
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

    # --- Heartbeat

    async def _beat(
        self,
        requests: AsyncIterator[exchange_pb2.HeartbeatRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.HeartbeatRequest, exchange_pb2.HeartbeatResponse],
        partner: _Caller,
    ) -> None:
        round_trip_ns = 0
        link, gateway = self._partners.links[partner.node], partner.proven.gateway
        offers = self._in_band.offers()
        while True:
            self._still_believed(partner)
            known = link.known.get(str(gateway))
            bundle = offers.due(0 if known is None else known.sequence)
            counter = self._counter.next()
            note = sign_heartbeat(self._signatory, partner.node, self._now_ns(), counter, self._sequencer.heads())
            sent = self._monotonic_ns()
            believed = self._in_band.believed(partner.node)
            pulse = exchange_pb2.Pulse(note=note, round_trip_ns=round_trip_ns, bundle=bundle, bundle_sequence=believed)
            await context.write(exchange_pb2.HeartbeatResponse(pulse=pulse))
            try:
                async with asyncio.timeout(self._limits.silence_s):
                    answer = await anext(requests)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise StreamEnded(
                    grpc.StatusCode.DEADLINE_EXCEEDED, f"no echo within {self._limits.silence_s:g} s"
                ) from None
            if answer.WhichOneof("message") != "echo" or answer.echo.counter != counter:
                raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, f"the echo of heartbeat {counter} was due")
            await self._in_band.take(partner.node, answer.echo.bundle)
            self._in_band.knows(gateway, answer.echo.bundle_sequence)
            round_trip_ns = self._monotonic_ns() - sent
            self._telemetry.round_trip.labels(partner=partner.node).set(round_trip_ns / 1e9)
            await asyncio.sleep(self._limits.heartbeat_s)


def _signed_by(claim: exchange_pb2.Open, keys: Sequence[LogPublicKey], origin: Origin) -> Note | None:
    """The checkpoint of a claim, where one of these keys signed it and it says what the claim says."""
    with contextlib.suppress(LedgerError):
        checkpoint, note = open_checkpoint(claim.checkpoint, keys, origin)
        if (checkpoint.size, checkpoint.root) == (claim.size, claim.root):
            return note
    return None


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
