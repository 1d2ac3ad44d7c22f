"""Dialling partners and following the ledgers that they keep for this node.

One `PartnerFollower` a partner, with one stream a lane, one for its witness ledger and one for heartbeats, each over a
connection of its own: what stops one lane, a refused batch or a full pipe, does not touch the others, and a backlog of
tracks never stands before a FLASH in the same socket. A lane that fails is dialled again after a pause that doubles up
to a cap, with jitter; a heartbeat that arrives shows that the link works and takes the pause away. A connection that is
open and dead is noticed by its heartbeats, or by HTTP/2 pings.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import grpc
from signalfire.v1 import exchange_pb2, exchange_pb2_grpc

from gateway.cancellation import being_cancelled
from gateway.exchange import handshake
from gateway.exchange.allowance import Allowance
from gateway.exchange.dialling import LinkError, OneAtATime, dial, read, write
from gateway.exchange.heartbeat import check_heartbeat
from gateway.exchange.in_band import InBand
from gateway.exchange.partners import Link, Partners
from gateway.exchange.server import BELIEF_S, ExchangeLimits, shown
from gateway.exchange.signed_anew import signed_by
from gateway.identity.errors import IdentityError
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import Contradiction, EvidenceError, contradiction
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.statement import Heartbeat
from gateway.ledger.stores import CosignatureKind, LedgerRow, StoreReader
from gateway.release.errors import ReleaseError
from gateway.release.evidence import Contradicted, KeepEvidence, against_record, owner_keys
from gateway.release.opening import Opener
from gateway.release.replica import IncomingBatch, RootsDiffer
from gateway.release.sequencer import Sequencer, Step
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import FollowSuccessor, KeepCosignature, ReceiveBatch
from gateway.release.witness import WitnessLimits
from gateway.reports.limits import ReportLimits
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

T = TypeVar("T")

HEARTBEAT_LANE: Final = "heartbeat"
_WITNESS: Final = WitnessLimits()

ANSWERS_AGAIN: Final = 256
"""Statements that are given again when a stream opens: those that were lost are the last ones."""


LOST_REASON: Final = "Internal error from Core"
"""What gRPC says of a call whose reason it lost."""

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
        in_band: InBand,
        now_ns: Callable[[], int],
        monotonic: Callable[[], float],
        allowance: Allowance | None = None,
    ) -> None:
        self._allowance = allowance or Allowance(_WITNESS.bytes_per_s, _WITNESS.burst_bytes, monotonic)
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
        self._in_band = in_band
        self._now_ns = now_ns
        self._monotonic = monotonic
        self._dialled = 0
        self._awake = asyncio.Event()
        self._forked: dict[str, asyncio.Event] = {}
        """Set when a fork of the lane's ledger was put on record: its stream is opened anew."""

    @property
    def _link(self) -> Link:
        return self._partners.links[self._node]

    async def run(self) -> None:
        """Follows every lane, and listens to heartbeats."""
        async with asyncio.TaskGroup() as group:
            for lane in Lane:
                group.create_task(self._keep(lane.value, functools.partial(self._follow, lane.value)))
            group.create_task(self._keep(WITNESS, functools.partial(self._follow, WITNESS)))
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
                if _says_nothing(error) and lane in self._link.problems:
                    # The library's own word for a connection that ended: the reason that was told before stands.
                    problem = self._link.problems[lane]
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
        async with dial(bundle, endpoint, self._key_pair) as stub:
            yield stub

    def _partner(self) -> Partner:
        partner = self._partners.get(self._node)
        if partner is None:
            raise LinkError(f"there is no valid trust bundle of {self._node}")
        return partner

    # --- a lane

    async def _follow(self, lane: str) -> None:
        partner = self._partner()
        origin = self._sequencer.current(self._node, None if lane == WITNESS else self._signatory.node, lane)
        async with self._dial() as stub:
            call = OneAtATime(stub.Follow())
            authorities = self._authorities()
            proven = await self._in_time(self._prove(call, exchange_pb2.FollowRequest, handshake.FOLLOW, partner))
            await write(call, exchange_pb2.FollowRequest(open=self._claim(origin)))

            def still_believed() -> None:
                self._still_believed(proven, authorities)

            async def watch() -> None:
                signer = self._signatory.receipt
                while True:
                    await asyncio.sleep(BELIEF_S)
                    still_believed()
                    if signer is not self._signatory.receipt and lane in self._link.following:
                        # Another key gives the receipts from now on: the last one is given again under it.
                        signer = self._signatory.receipt
                        await self._give_receipt(call, origin)

            # What forked goes on in its next generation, which the partner opens once it is shown what we hold.
            forked = self._forked.setdefault(lane, asyncio.Event())
            forked.clear()
            await _first_of(self._take(call, origin, lane, still_believed), watch(), forked.wait())

    def _authorities(self) -> frozenset[str]:
        bundle = self._partners.bundle(self._node)
        return frozenset(() if bundle is None else bundle.gateway_ca)

    def _still_believed(self, proven: handshake.Proven, authorities: frozenset[str]) -> None:
        """Ends a stream whose server has proven itself under a key that is believed no more, or which was dialled when
        authorities were believed that are not any more. (A certificate that is revoked serves nobody here: whoever has
        it without the log key cannot prove himself.) Raises LinkError.
        """
        if not proven.believed_by(self._partner()) or not authorities <= self._authorities():
            raise LinkError(f"the trust bundle of {self._node} believes no more what this stream was opened under")

    def _claim(self, origin: Origin) -> exchange_pb2.Open:
        row = self._reader().ledger(origin)
        if row is None or row.size == 0:
            return exchange_pb2.Open(origin=str(origin), size=0, root=EMPTY_ROOT)
        return exchange_pb2.Open(
            origin=str(origin),
            size=row.size,
            root=row.root,
            checkpoint=self._signed_checkpoint(row),
        )

    def _signed_checkpoint(self, row: LedgerRow) -> bytes:
        """The owner's checkpoint of what there is of a replica; under the key that took over, where it has signed."""
        anchor = self._reader().cosignature(row.id, CosignatureKind.ANCHOR, row.origin.owner, row.size)
        if anchor is not None and anchor.size == row.size:
            return anchor.note
        return self._reader().checkpoint(row.id, row.size) or b""

    async def _take(self, call: Any, origin: Origin, lane: str, still_believed: Callable[[], None]) -> None:
        while True:
            message = await read(call)
            still_believed()
            match message.WhichOneof("message"):
                case "opened" if lane not in self._link.following:
                    self._link.following.add(lane)
                    self._link.problems.pop(lane, None)
                    await self._answer_again(call, origin)
                case "batch":
                    await self._receive(call, origin, message.batch, lane)
                case "cosignature":
                    note = message.cosignature.note
                    await self._heed(KeepCosignature(origin, _kind_of(note, origin), note, self._partner()))
                case "ended":
                    successor = Origin.parse(message.ended.successor)
                    await self._sequencer.do(FollowSuccessor(origin, successor))
                    self._link.differs.pop(lane, None)
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
        await self._give_receipt(call, origin)
        for statement in self._reader().last_unopenable(row.id, ANSWERS_AGAIN):
            note = signed_by(statement.note, self._signatory.gateway)
            await write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))

    async def _give_receipt(self, call: Any, origin: Origin) -> None:
        """Gives this node's last receipt for a replica, where there is one."""
        row = self._reader().ledger(origin)
        receipt = (
            None if row is None else self._reader().cosignature(row.id, CosignatureKind.RECEIPT, self._signatory.node)
        )
        if receipt is not None:
            note = signed_by(receipt.note, self._signatory.receipt.at(self._now_ns() // 1_000_000_000))
            await write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=note)))

    async def _receive(self, call: Any, origin: Origin, batch: exchange_pb2.Batch, lane: str) -> None:
        incoming = IncomingBatch(
            origin,
            batch.first,
            batch.count,
            batch.entries,
            [(entry.index, entry.leaf_hash, entry.note) for entry in batch.absent],
            batch.checkpoint,
        )
        step = ReceiveBatch(incoming, self._partner(), self._opener, self._report_limits)
        try:
            received = await self._heed(step)
        except RootsDiffer as error:
            self._link.differs[lane] = str(error)
            raise
        self._link.differs.pop(lane, None)
        # The batch is durable here: only now may its receipt go.
        await write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=received.receipt)))
        for note, problem in zip(received.unopenable, received.problems, strict=True):
            self._telemetry.unopenable.labels(partner=self._node, direction="received").inc()
            log.error("%s cannot be used: %s", origin, shown(problem))
            await write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))
        if received.clock_warnings:
            # One line a batch. They were delivered: it is not known here whose clock is wrong.
            log.warning(
                "%s: %d reports lie ahead of this gateway's clock, which may be slow itself; the first: %s",
                origin, len(received.clock_warnings), received.clock_warnings[0],
            )  # fmt: skip
        for decided in received.decisions:
            self._telemetry.decided(decided.partner, decided.outcome, decided.failed)
        self._telemetry.entries_received.labels(partner=self._node, lane=lane).inc(batch.count)
        self._telemetry.reports_received.labels(partner=self._node).inc(received.reports)
        self._telemetry.withdrawals_received.labels(partner=self._node).inc(received.withdrawals)
        if origin.recipient is None:
            await asyncio.sleep(self._allowance.wait_s(len(batch.entries)))

    async def _heed(self, step: Step[T]) -> T:
        """Makes a step durable that holds what the partner signed. What contradicts itself goes on record first."""
        try:
            return await self._sequencer.do(step)
        except Contradicted as error:
            await self._keep_evidence(error.found)
            raise

    async def _keep_evidence(self, found: Contradiction) -> None:
        partner = self._partners.get(self._node)
        if await self._sequencer.do(KeepEvidence(found, None if partner is None else owner_keys(partner))):
            # Once for each ledger: a partner that contradicts itself again and again is not dialled each time.
            if (forked := self._forked.get(found.origin.lane)) is not None:
                forked.set()
            log.critical("%s has contradicted itself: %s; both statements are on record", self._node, found)

    # --- heartbeats

    async def _listen(self) -> None:
        partner = self._partner()
        try:
            async with self._dial() as stub:
                call = stub.Heartbeat()
                authorities = self._authorities()
                proven = await self._in_time(
                    self._prove(call, exchange_pb2.HeartbeatRequest, handshake.HEARTBEAT, partner)
                )
                offers = self._in_band.offers()
                while True:
                    message = await self._in_time(read(call))
                    if message.WhichOneof("message") != "pulse":
                        raise LinkError(f"{message.WhichOneof('message')} came where a heartbeat was due")
                    # First, for it may announce the key that has signed the heartbeat.
                    await self._in_band.take(self._node, message.pulse.bundle)
                    self._still_believed(proven, authorities)
                    await self._hold_against_record(message.pulse.note)
                    counter = self._hear(message.pulse)
                    # Where the partner cannot dial this node, this is how it gets to know its bundle.
                    known = message.pulse.bundle_sequence
                    if known:
                        self._in_band.knows(proven.gateway, known)
                    echo = exchange_pb2.Echo(
                        counter=counter,
                        time_ns=self._now_ns(),
                        bundle_sequence=self._in_band.believed(self._node),
                        bundle=offers.due(known) if known else b"",
                    )
                    await write(call, exchange_pb2.HeartbeatRequest(echo=echo))
        finally:
            self._link.heartbeat_at = None

    async def _in_time(self, work: Coroutine[Any, Any, T]) -> T:
        """What must come within the time after which a partner is held to be silent."""
        try:
            async with asyncio.timeout(self._limits.silence_s):
                return await work
        except TimeoutError:
            raise LinkError(f"nothing came for {self._limits.silence_s:g} s") from None

    async def _hold_against_record(self, raw: bytes) -> None:
        """Raises Contradicted for a heartbeat that gives a ledger another root than the partner signed before. One that
        shows a ledger shrunk is put on record alike, and heard: the next generation of that ledger is due.
        """
        partner, own = self._partner(), self._signatory.node
        stated = Heartbeat.open(raw, partner.gateway, node=partner.node, recipient=own).heads
        found = against_record(self._reader(), stated, raw, partner)
        if found is not None:
            await self._keep_evidence(found)
            raise Contradicted(found)
        if self._link.heartbeat_note:
            with contextlib.suppress(EvidenceError):
                await self._keep_evidence(contradiction(self._link.heartbeat_note, raw, owner_keys(partner)))

    def _hear(self, pulse: exchange_pb2.Pulse) -> int:
        link = self._link
        replicas = {str(head.origin): head for head in self._sequencer.heads() if head.replica}
        heard = check_heartbeat(pulse.note, self._partner(), self._signatory.node, link.heartbeat_counter, replicas)
        now_ns = self._now_ns()
        first = link.heartbeat_at is None
        link.heartbeat_counter = heard.heartbeat.counter
        link.heartbeat_note = pulse.note
        link.heartbeat_ns = now_ns
        link.heartbeat_at = link.heard_at = self._monotonic()
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

    async def _prove(self, call: Any, request: Any, purpose: str, partner: Partner) -> handshake.Proven:
        async def read_challenge() -> exchange_pb2.Challenge:
            message = await read(call)
            if message.WhichOneof("message") != "challenge":
                raise LinkError(f"{message.WhichOneof('message')} came where the challenge was due")
            challenge: exchange_pb2.Challenge = message.challenge
            return challenge

        return await handshake.prove_to_server(
            lambda hello: write(call, request(hello=hello)),
            read_challenge,
            lambda proof: write(call, request(proof=proof)),
            purpose=purpose,
            own=self._own,
            signer=self._signatory.gateway,
            partner=partner,
            in_band=self._in_band,
            now=lambda: datetime.fromtimestamp(self._now_ns() / 1e9, UTC),
        )


def _kind_of(raw: bytes, origin: Origin) -> CosignatureKind:
    """Which further signature of a ledger's owner this is: by the name of its key."""
    with contextlib.suppress(LedgerError):
        if any(line.name == str(origin) for line in Note.parse(raw).signatures):
            return CosignatureKind.ANCHOR
    # What is no note is refused where it is verified.
    return CosignatureKind.PQ


async def _first_of(*work: Coroutine[Any, Any, object]) -> None:
    """Does all of it until the first ends, and ends the others; raises what that one raised."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        next(task for task in tasks if task.done()).result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _says_nothing(error: Exception) -> bool:
    """Whether it is what gRPC says where it lost the reason: neither side's word."""
    return (
        isinstance(error, grpc.aio.AioRpcError)
        and error.code() is grpc.StatusCode.INTERNAL
        and error.details() == LOST_REASON
    )


def _words(error: Exception) -> str:
    if isinstance(error, grpc.aio.AioRpcError):
        return shown(f"{error.code().name}: {error.details()}")
    return shown(str(error)) or type(error).__name__
