"""Dialling partners and following the ledgers that they keep for this node.

One `PartnerFollower` a partner, with one stream a lane and one for heartbeats, each over a connection of its own: what
stops one lane, a refused batch or a full pipe, does not touch the others, and a backlog of tracks never stands before a
FLASH in the same socket. A lane that fails is dialled again after a pause that doubles up to a cap, with jitter; a
heartbeat that arrives shows that the link works and takes the pause away. A connection that is open and dead is noticed
by its heartbeats, or by HTTP/2 pings.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, Final, TypeVar

import grpc
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.cancellation import being_cancelled
from gateway.exchange import handshake
from gateway.exchange.heartbeat import check_heartbeat
from gateway.exchange.partners import Link, Partners
from gateway.exchange.server import ExchangeLimits, shown
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles, channel_credentials, channel_options
from gateway.ledger.errors import LedgerError
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Note, Signer, sign_note
from gateway.ledger.origin import Lane, Origin
from gateway.ledger.stores import CosignatureKind, StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.opening import Opener
from gateway.release.replica import IncomingBatch
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import FollowSuccessor, KeepCosignature, ReceiveBatch
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_LANE: Final = "heartbeat"

_CHANNEL_OPTIONS: Final = [
    ("grpc.max_receive_message_length", 8 << 20),
    # An open connection whose other end is gone is noticed within three seconds.
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.keepalive_timeout_ms", 2000),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.enable_retries", 0),
    # Compression would let a few bytes become many before anything is checked.
    ("grpc.compression_enabled_algorithms_bitset", 1),
    # Every channel has a connection of its own.
    ("grpc.use_local_subchannel_pool", 1),
]


ANSWERS_AGAIN: Final = 256
"""Statements that are given again when a stream opens: those that were lost are the last ones."""


class LinkError(Exception):
    """A stream to a partner ended; the text says why."""


_FORESEEN: Final = (grpc.aio.AioRpcError, IdentityError, LedgerError, LinkError, ReleaseError, OSError)
"""What ends a stream in words that need no stack trace."""


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
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
    ) -> None:
        self._node = node
        self._own = own
        self._key_pair = key_pair
        self._signatory = signatory
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._opener = opener
        self._report_limits = report_limits
        self._limits = limits
        self._telemetry = telemetry
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._dialled = 0
        self._awake = asyncio.Event()

    @property
    def _link(self) -> Link:
        return self._partners.links[self._node]

    async def run(self) -> None:
        """Follows every lane, and listens to heartbeats."""
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._keep(lane.value, functools.partial(self._follow, lane)))
            group.create_task(self._keep(HEARTBEAT_LANE, self._listen))

    def wake(self) -> None:
        """The partner has been heard of: lanes that pause before dialling try at once."""
        self._awake.set()
        self._awake = asyncio.Event()

    async def _keep(self, lane: str, serve: Callable[[], Awaitable[None]]) -> None:
        """Runs one stream again and again."""
        pause = self._limits.backoff_min_s
        while True:
            began = self._monotonic()
            try:
                await serve()
                # It ended as it should, with a successor; even so it pauses, or a partner could keep it dialling.
            except asyncio.CancelledError:
                if being_cancelled():
                    raise
                # gRPC ended the call, not anybody this task: dial again.
            except Exception as error:  # whatever a partner's bundle or messages set off is its lane's problem alone
                problem = _words(error)
                if problem != self._link.problems.get(lane):
                    log.warning("%s %s: %s", self._node, lane, problem, exc_info=not isinstance(error, _FORESEEN))
                self._link.problems[lane] = problem
                self._telemetry.link_failures.labels(partner=self._node, lane=lane).inc()
            finally:
                self._link.following.discard(lane)
            if self._monotonic() - began > self._limits.silence_s:
                pause = self._limits.backoff_min_s
            with contextlib.suppress(TimeoutError):
                # Half of the pause is jitter, so that nodes that lost each other together do not dial together.
                async with asyncio.timeout(pause * random.uniform(0.5, 1.0)):
                    await self._awake.wait()
            pause = min(2 * pause, self._limits.backoff_max_s)

    # --- the channel

    @contextlib.asynccontextmanager
    async def _dial(self) -> AsyncIterator[exchange_pb2_grpc.ExchangeServiceAsyncStub]:
        """A fresh connection. Files are read at each dial, so a renewed certificate needs no restart."""
        bundle = self._partners.bundle(self._node)
        if bundle is None or not bundle.endpoints:
            raise LinkError(f"there is no trust bundle of {self._node} that names an endpoint")
        endpoint = bundle.endpoints[self._dialled % len(bundle.endpoints)]
        self._dialled += 1
        roots = "".join(bundle.gateway_ca).encode("ascii")
        credentials = channel_credentials(self._key_pair, lambda: roots)
        options = [*channel_options(endpoint.server_name), *_CHANNEL_OPTIONS]
        channel = grpc.aio.secure_channel(endpoint.address, credentials, options)
        try:
            yield exchange_pb2_grpc.ExchangeServiceStub(channel)
        finally:
            await channel.close()

    def _partner(self) -> Partner:
        partner = self._partners.get(self._node)
        if partner is None:
            raise LinkError(f"there is no valid trust bundle of {self._node}")
        return partner

    # --- a lane

    async def _follow(self, lane: Lane) -> None:
        partner = self._partner()
        origin = self._sequencer.current(self._node, self._signatory.node, lane.value)
        async with self._dial() as stub:
            call = stub.Follow()
            await self._in_time(self._prove(call, exchange_pb2.FollowRequest, handshake.FOLLOW, partner))
            await _write(call, exchange_pb2.FollowRequest(open=self._claim(origin)))
            await self._take(call, origin, partner, lane)

    def _claim(self, origin: Origin) -> exchange_pb2.Open:
        row = self._reader().ledger(origin)
        if row is None or row.size == 0:
            return exchange_pb2.Open(origin=str(origin), size=0, root=EMPTY_ROOT)
        return exchange_pb2.Open(
            origin=str(origin),
            size=row.size,
            root=row.root,
            checkpoint=self._reader().checkpoint(row.id, row.size) or b"",
        )

    async def _take(self, call: Any, origin: Origin, partner: Partner, lane: Lane) -> None:
        while True:
            message = await _read(call)
            match message.WhichOneof("message"):
                case "opened" if lane.value not in self._link.following:
                    self._link.following.add(lane.value)
                    self._link.problems.pop(lane.value, None)
                    await self._answer_again(call, origin)
                case "batch":
                    await self._receive(call, origin, message.batch, lane)
                case "cosignature":
                    note = message.cosignature.note
                    await self._sequencer.do(KeepCosignature(origin, CosignatureKind.PQ, note, self._partner()))
                case "ended":
                    successor = Origin.parse(message.ended.successor)
                    await self._sequencer.do(FollowSuccessor(origin, successor))
                    log.error("%s has ended %s; %s goes on", self._node, origin, successor)
                    return
                case other:
                    raise LinkError(f"{other or 'an empty message'} came where it has no place")

    async def _answer_again(self, call: Any, origin: Origin) -> None:
        """The last answers may have been lost with the stream that bore them: they are given again, once a stream.

        Under today's keys: those that signed them may have been replaced since, and the partner knows today's alone.
        """
        row = self._reader().ledger(origin)
        if row is None:
            return
        receipt = self._reader().cosignature(row.id, CosignatureKind.RECEIPT)
        if receipt is not None:
            signer = self._signatory.receipt.at(self._now_ns() // 1_000_000_000)
            note = _under(receipt.note, signer)
            await _write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=note)))
        for statement in self._reader().last_unopenable(row.id, ANSWERS_AGAIN):
            note = _under(statement.note, self._signatory.gateway)
            await _write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))

    async def _receive(self, call: Any, origin: Origin, batch: exchange_pb2.Batch, lane: Lane) -> None:
        incoming = IncomingBatch(
            origin,
            batch.first,
            batch.count,
            batch.entries,
            [(entry.index, entry.leaf_hash, entry.note) for entry in batch.absent],
            batch.checkpoint,
        )
        received = await self._sequencer.do(ReceiveBatch(incoming, self._partner(), self._opener, self._report_limits))
        # The batch is durable here: only now may its receipt go.
        await _write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=received.receipt)))
        for note, problem in zip(received.unopenable, received.problems, strict=True):
            self._telemetry.unopenable.labels(partner=self._node, direction="received").inc()
            log.error("%s cannot be used: %s", origin, shown(problem))
            await _write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))
        if received.clock_warnings:
            # One line a batch. They were delivered: it is not known here whose clock is wrong.
            log.warning(
                "%s: %d reports lie ahead of this gateway's clock, which may be slow itself; the first: %s",
                origin, len(received.clock_warnings), received.clock_warnings[0],
            )  # fmt: skip
        for decided in received.decisions:
            self._telemetry.decided(decided.partner, decided.outcome, decided.failed)
        self._telemetry.entries_received.labels(partner=self._node, lane=lane.value).inc(batch.count)
        self._telemetry.reports_received.labels(partner=self._node).inc(received.reports)
        self._telemetry.withdrawals_received.labels(partner=self._node).inc(received.withdrawals)

    # --- heartbeats

    async def _listen(self) -> None:
        partner = self._partner()
        try:
            async with self._dial() as stub:
                call = stub.Heartbeat()
                await self._in_time(self._prove(call, exchange_pb2.HeartbeatRequest, handshake.HEARTBEAT, partner))
                while True:
                    message = await self._in_time(_read(call))
                    if message.WhichOneof("message") != "pulse":
                        raise LinkError(f"{message.WhichOneof('message')} came where a heartbeat was due")
                    counter = self._hear(message.pulse)
                    echo = exchange_pb2.Echo(counter=counter, time_ns=self._now_ns())
                    await _write(call, exchange_pb2.HeartbeatRequest(echo=echo))
        finally:
            self._link.heartbeat_at = None

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What must come within the time after which a partner is held to be silent."""
        try:
            async with asyncio.timeout(self._limits.silence_s):
                return await work
        except TimeoutError:
            raise LinkError(f"nothing came for {self._limits.silence_s:g} s") from None

    def _hear(self, pulse: exchange_pb2.Pulse) -> int:
        link = self._link
        replicas = {str(head.origin): head for head in self._sequencer.heads() if head.replica}
        heard = check_heartbeat(pulse.note, self._partner(), self._signatory.node, link.heartbeat_counter, replicas)
        now_ns = self._now_ns()
        first = link.heartbeat_at is None
        link.heartbeat_counter = heard.heartbeat.counter
        link.heartbeat_ns = now_ns
        link.heartbeat_at = self._monotonic()
        if pulse.round_trip_ns:
            offset_ns = heard.heartbeat.time_ns + pulse.round_trip_ns // 2 - now_ns
            link.clock_offset_s = offset_ns / 1e9
            self._telemetry.clock_offset.labels(partner=self._node).set(offset_ns / 1e9)
        self._telemetry.heartbeat_time.labels(partner=self._node).set(now_ns / 1e9)
        self._telemetry.behind.labels(partner=self._node).set(heard.behind)
        if first:
            link.problems.pop(HEARTBEAT_LANE, None)
            log.info("heartbeats of %s are coming", self._node)
            self.wake()
        return heard.heartbeat.counter

    # --- the opening of every stream

    async def _prove(self, call: Any, request: Any, purpose: str, partner: Partner) -> None:
        async def read_challenge() -> exchange_pb2.Challenge:
            message = await _read(call)
            if message.WhichOneof("message") != "challenge":
                raise LinkError(f"{message.WhichOneof('message')} came where the challenge was due")
            challenge: exchange_pb2.Challenge = message.challenge
            return challenge

        await handshake.prove_to_server(
            lambda hello: _write(call, request(hello=hello)),
            read_challenge,
            lambda proof: _write(call, request(proof=proof)),
            purpose=purpose,
            own=self._own,
            signer=self._signatory.gateway,
            partner=partner,
        )


def _under(raw: bytes, signer: Signer) -> bytes:
    """An own note as it is where `signer` has signed it, and otherwise its text, signed by `signer`."""
    note = Note.parse(raw)
    if any((line.name, line.key_id) == (signer.name, signer.key_id) for line in note.signatures):
        return raw
    return sign_note(note.text, signer).encode()


async def _read(call: Any) -> Any:
    message = await call.read()
    if message is grpc.aio.EOF:
        # The status says why, where there is one to say it.
        raise LinkError(f"the partner ended the stream: {await call.details() or (await call.code()).name}")
    if message is None:
        # What gRPC gives for bytes that its deserializer refused.
        raise LinkError("the partner sent a message that is not of the contract")
    return message


async def _write(call: Any, message: Any) -> None:
    try:
        await call.write(message)
    except asyncio.InvalidStateError:
        # The partner ended the stream between its last message and this one.
        raise LinkError(f"the partner ended the stream: {await call.details() or (await call.code()).name}") from None


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return shown(f"{error.code().name}: {error.details()}")
    return shown(str(error)) or type(error).__name__
