"""One ledger, served to the partner that follows it. The rules stand in `gateway.exchange.server`: 3 to 7."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

import grpc
from signalfire.v1 import exchange_pb2
from signalfire.v1.ledger_pb2 import SUCCESSION_REASON_LOST_TAIL

from gateway.cancellation import first_of
from gateway.exchange import handshake
from gateway.exchange.ending import StreamEnded
from gateway.exchange.giving_back import NotHeld, give_back, is_held_for
from gateway.exchange.inspecting import Pace
from gateway.exchange.keeping_back import without
from gateway.exchange.limits import BELIEF_S, ExchangeLimits
from gateway.exchange.own_bundle import OwnBundle
from gateway.exchange.own_log_keys import own_log_keys
from gateway.exchange.partners import Link, Partners
from gateway.exchange.signed_anew import presented, signed_by
from gateway.exchange.tunnels.hedging import Hedge, Standing
from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.errors import LedgerError, OriginError
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.statement import EntryStatement
from gateway.ledger.stores import CosignatureKind, CosignatureRow, LedgerRow, Run, StoreReader
from gateway.release.claims import Agreement, Claim, judge_claim
from gateway.release.keeping import KeepBack, judge
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Partner, Signatory
from gateway.release.steps import KeepCosignature, KeepUnopenable, UnverifiedAnswer
from gateway.release.succeeding import Succeed
from gateway.release.successions import MOST_LOST_GENERATIONS
from gateway.release.watch import Watch
from gateway.telemetry import Telemetry

log = logging.getLogger(__name__)

ANSWERS_AT_ONCE: Final = 4
"""Answers of one stream that wait for their commit at once."""

READ_BYTES_S: Final = float(16 << 20)
"""Bytes of ledgers a second that one partner is given, by all its streams together: more than a gateway puts on record,
and a fraction of what would keep this one from others. Who reads the same again and again does so at this pace. FLASH
counts as well and waits for nothing but FLASH, of which as much again may go: no alert stands behind what was sent of
other lanes."""


@dataclass(slots=True)
class Caller:
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


class Serving:
    """Serves ledgers to partners, each on its stream. Belongs to the event loop's thread, as its `reader` does.

    `still_believed` gives the keys of whoever opened a stream as they are believed now, or ends it.
    """

    def __init__(
        self,
        *,
        signatory: Signatory,
        partners: Partners,
        sequencer: Sequencer,
        reader: Callable[[], StoreReader],
        watch: Watch,
        telemetry: Telemetry,
        own_bundle: OwnBundle,
        limits: ExchangeLimits,
        now: Callable[[], datetime],
        now_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
        clock_trusted: Callable[[], bool],
        hedge_s: float,
        still_believed: Callable[[Caller], Partner],
    ) -> None:
        self._signatory = signatory
        self._partners = partners
        self._sequencer = sequencer
        self._reader = reader
        self._watch = watch
        self._telemetry = telemetry
        self._own_bundle = own_bundle
        self._limits = limits
        self._now = now
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns
        self._clock_trusted = clock_trusted
        self._hedge_s = hedge_s
        self._still_believed = still_believed
        self._answer_pace = Pace(limits.answers_s, lambda: monotonic_ns() / 1e9)
        self._read_pace = Pace(READ_BYTES_S, lambda: monotonic_ns() / 1e9)
        self._flash_pace = Pace(READ_BYTES_S, lambda: monotonic_ns() / 1e9)

    async def follow(
        self,
        requests: AsyncIterator[exchange_pb2.FollowRequest],
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        partner: Caller,
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
            if partner.carrier:
                raise StreamEnded(
                    grpc.StatusCode.PERMISSION_DENIED, f"{origin} is not given back through a tunnel: dial directly"
                )
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
        streams, key = link.followed if direct else link.carried, _stream_of(origin, partner)
        streams[key] = streams.get(key, 0) + 1
        standing = link.standings.setdefault(str(origin), Standing())
        standing.opened(message.open.size, self._monotonic_ns() / 1e9, direct=direct)
        link.spoke_at = self._monotonic_ns() / 1e9
        incoming = asyncio.create_task(self._take_answers(requests, origin, message.open.size, partner))
        outgoing = asyncio.create_task(self._send_ledger(context, origin, message.open.size, partner))
        heard = asyncio.create_task(self._while_heard(link, partner))
        tasks = (incoming, outgoing, heard)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            standing.closed(direct=direct)
            streams[key] -= 1
            if not streams[key]:
                link.paused.pop(key, None)

    async def _while_heard(self, link: Link, partner: Caller) -> NoReturn:
        """Ends the stream once nothing comes of the partner, by any stream and any way.

        Between may stand a machine that ends TCP itself, and takes for a while what nobody will get.
        """
        while True:
            await asyncio.sleep(BELIEF_S)
            if link.lapsed_s(self._monotonic_ns() / 1e9) > self._limits.silence_s:
                raise StreamEnded(
                    grpc.StatusCode.UNAVAILABLE, f"nothing comes of {partner.node}, no echo of a heartbeat either"
                )

    def _allowed(self, wanted: exchange_pb2.Open, partner: Caller) -> Origin:
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
        partner: Caller,
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
                turn=lambda size: self._read_pace.wait_s(partner.node, size),
                still_believed=lambda: self._judge(partner),
            )
        except NotHeld as error:
            raise StreamEnded(grpc.StatusCode.NOT_FOUND, str(error)) from error
        log.warning("%s was given back %d entries of %s, from %d on", partner.node, count, origin, size)

    def _judge(self, partner: Caller) -> None:
        self._still_believed(partner)

    def _row(self, origin: Origin) -> LedgerRow | None:
        return self._reader().ledger(origin)

    async def _agree(self, origin: Origin, claim: exchange_pb2.Open, partner: Caller) -> Origin | None:
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
        if (
            current.generation > origin.generation
            and not found.by_retired
            and found.reason == SUCCESSION_REASON_LOST_TAIL
        ):
            # After a declared loss each partner shows it of each ledger, which has ended for that already.
            log.info(
                "%s: %s holds %d entries of it; here it has ended, and %s goes on",
                origin, partner.node, claim.size, current,
            )  # fmt: skip
        else:
            log.critical(
                "%s: %s holds a checkpoint of size %d that this node signed%s and does not have; the next generation"
                " opens",
                origin, partner.node, claim.size, ", with a key that is out of use," if found.by_retired else "",
            )  # fmt: skip
        step = Succeed(origin, found.reason, found.evidence, by_retired=found.by_retired, shown_by=partner.node)
        if not found.by_retired:
            return await self._sequencer.do(step)
        try:
            return await self._sequencer.do(step)
        except LedgerError as error:
            raise self._not_for_retired(origin, partner, str(error)) from error

    def _bound_retired(self, origin: Origin, partner: Caller) -> None:
        """Ends the stream where the word of a retired key goes too far."""
        current = self._sequencer.current(origin.owner, origin.recipient, origin.lane)
        ahead = origin.generation - current.generation
        if ahead > MOST_LOST_GENERATIONS:
            raise self._not_for_retired(origin, partner, f"what such a key signed is {ahead} generations ahead")

    def _not_for_retired(self, origin: Origin, partner: Caller, why: str) -> StreamEnded:
        told = f"a key that is out of use signed what {partner.node} has of {origin}, and {why}"
        self._partners.links[partner.node].differs[f"to {partner.node}, {origin.lane}"] = told
        log.critical("%s: no further generation opens; look for the thief of a retired log key", told)
        return StreamEnded(grpc.StatusCode.FAILED_PRECONDITION, told)

    async def _send_ledger(
        self,
        context: grpc.aio.ServicerContext[exchange_pb2.FollowRequest, exchange_pb2.FollowResponse],
        origin: Origin,
        position: int,
        partner: Caller,
    ) -> None:
        bell = self._watch.ledger_bell(origin)
        standing = self._partners.links[partner.node].standings[str(origin)]
        hedge = Hedge(self._hedge_s, origin.lane) if partner.carrier else None
        entries_sent = self._telemetry.entries_sent.labels(partner=partner.node, lane=origin.lane)
        stream = _stream_of(origin, partner)
        # Sizes of which the follower has a checkpoint: a further signature means something to it only at one of these.
        ends = {position}
        further: dict[CosignatureKind, CosignatureRow] = {}
        # Who opens streams again and again waits as long as one that goes on.
        await asyncio.sleep(self._turn_s(origin, partner, 0))
        while True:
            seen = bell.rings
            self._still_believed(partner)
            row = self._row(origin)
            wait_s = BELIEF_S
            if row is not None:
                if standing.held > position:
                    # It came by another way.
                    position = standing.held
                    ends.add(position)
                hedged_s = 0.0 if hedge is None else hedge.wait_s(standing, row.size, self._monotonic_ns() / 1e9)
                if hedged_s > 0:
                    wait_s = min(wait_s, hedged_s)
                else:
                    run = self._next_run(row, position, stream)
                    if isinstance(run, KeepBack):
                        # It is put on record, and then all is asked anew, until nothing is new.
                        kept = await self._sequencer.do(run, source=partner.node)
                        self._telemetry.kept_back.labels(partner=partner.node).inc(kept)
                        continue
                    if run is not None:
                        # From where the partner was last asked for until the write nothing gives way to anything else.
                        run = presented(run, origin, self._signatory)
                        batch = batch_message(run)
                        await context.write(exchange_pb2.FollowResponse(batch=batch))
                        position = run.first + run.count
                        ends.add(position)
                        standing.went(position, len(run.entries) + len(run.checkpoint))
                        entries_sent.inc(run.count)
                        # As the last thing: what comes next is asked for anew.
                        await asyncio.sleep(self._turn_s(origin, partner, batch.ByteSize()))
                        continue
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
            await bell.wait(seen, wait_s)

    def _turn_s(self, origin: Origin, partner: Caller, size: int) -> float:
        """Charges for `size` bytes of a ledger. Returns the seconds until more of it may go."""
        shared_s = self._read_pace.wait_s(partner.node, size)
        return self._flash_pace.wait_s(partner.node, size) if origin.lane == Lane.FLASH else shared_s

    def _in_use(self, kind: CosignatureKind, origin: Origin, note: bytes) -> bytes:
        """A further signature as it goes: an anchor under the log key in use."""
        if kind is CosignatureKind.ANCHOR:
            return signed_by(note, self._signatory.log.signer(origin))
        return note

    def _next_run(self, row: LedgerRow, position: int, stream: str) -> Run | KeepBack | None:
        """What goes next, with what is kept back given as hashes: it may go at the moment of the return. Or what has to
        be put on record first. None: nothing goes, at the end or in doubt.
        """
        origin = row.origin
        if origin.recipient is None:
            # The witness ledger: whoever follows it can open none of it, and nothing of it is ever kept back.
            return self._reader().run(row.id, position, self._limits.batch_bytes)
        paused, doubt = self._partners.links[origin.recipient].paused, ""
        most = self._limits.batch_bytes if origin.lane == Lane.FLASH else self._limits.bulk_bytes
        # A doubt may be about a later segment: the first is tried alone then.
        for max_bytes in (most, 1):
            reader = self._reader()
            # At one moment: a run is as long as what is kept back of it allows.
            with reader.snapshot():
                run = None if position == row.size else reader.run(row.id, position, max_bytes)
                if run is None:
                    paused.pop(stream, None)
                    return None
                verdict = judge(
                    reader, row, run, self._sequencer.rulebook, self._now(), clock_trusted=self._clock_trusted()
                )
            if verdict.new:
                return KeepBack(origin, run)
            doubt = verdict.doubt
            if not doubt:
                paused.pop(stream, None)
                return without(run, verdict.on_record)
        if paused.get(stream) != doubt:
            log.error("%s: nothing is sent from entry %d on: %s", origin, position, doubt)
        paused[stream] = doubt
        return None

    async def _take_answers(
        self, requests: AsyncIterator[exchange_pb2.FollowRequest], origin: Origin, opened_at: int, partner: Caller
    ) -> None:
        """Keeps what the follower says. It may repeat what it said of the first `opened_at` entries.

        What comes while an answer before it becomes durable waits for the next commit with it, so that answers keep
        pace with commits: up to ANSWERS_AT_ONCE.
        """
        room = asyncio.Semaphore(ANSWERS_AT_ONCE)
        ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def read() -> None:
            async for message in requests:
                # Whoever answers without end is read more slowly.
                if (wait_s := self._answer_pace.wait_s(f"{partner.node} {origin.lane}")) > 0:
                    await asyncio.sleep(wait_s)
                await room.acquire()
                # What it signs now is verified by the bundle that is believed now.
                keys = self._still_believed(partner)
                self._partners.links[partner.node].spoke_at = self._monotonic_ns() / 1e9
                step = _answer_in(message, origin, keys)
                self._sequencer.put(step, functools.partial(answered, step), source=partner.node)
            for _ in range(ANSWERS_AT_ONCE):
                await room.acquire()

        def answered(step: KeepCosignature | KeepUnopenable, outcome: object) -> None:
            room.release()
            if ended.done():
                return
            try:
                self._answered(step, outcome, opened_at, partner)
            except Exception as error:  # whatever it is, it ends the stream
                ended.set_exception(error)

        # First of the two: where the follower has ended its side meanwhile, it still hears why.
        await first_of(ended, read())

    def _answered(
        self, step: KeepCosignature | KeepUnopenable, outcome: object, opened_at: int, partner: Caller
    ) -> None:
        """What came of an answer. Raises what the stream ends with; none is for an answer that is repeated and cannot
        be verified.
        """
        match outcome:
            case UnverifiedAnswer() if outcome.covered <= opened_at:
                log.warning("an answer is repeated under keys that are not believed, and is not kept: %s", outcome)
            case LedgerError():
                # Evidence, where it is signed: it is in the log with the partner's name. The link is closed, no more.
                raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, str(outcome)) from outcome
            case Exception():
                raise outcome
            case EntryStatement():
                self._telemetry.unopenable.labels(partner=partner.node, direction="sent").inc()
                told = f"{step.origin} entry {outcome.index}: {outcome.reason}"
                log.error("%s cannot use %s", partner.node, told)
            case _ if isinstance(step, KeepCosignature):
                self._receipted(step, partner)

    def _receipted(self, receipt: KeepCosignature, partner: Caller) -> None:
        """Takes note of a receipt that was verified: of what it says itself, for one of more may be on record."""
        size = Checkpoint.parse(Note.parse(receipt.note).text).size
        standing = self._partners.links[partner.node].standings[str(receipt.origin)]
        standing.receipted(size, self._monotonic_ns() / 1e9, direct=not partner.carrier)
        self._telemetry.receipts.labels(partner=partner.node, lane=receipt.origin.lane).inc()


def _answer_in(message: exchange_pb2.FollowRequest, origin: Origin, keys: Partner) -> KeepCosignature | KeepUnopenable:
    """The step that keeps what a follower says. Raises StreamEnded for what is no answer."""
    match message.WhichOneof("message"):
        case "receipt":
            return KeepCosignature(origin, CosignatureKind.RECEIPT, message.receipt.note, keys)
        case "unopenable":
            return KeepUnopenable(origin, message.unopenable.note, keys)
        case other:
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, f"{other} has no place here")


def _stream_of(origin: Origin, partner: Caller) -> str:
    """How a stream is named in what is known of a link: by its lane, and who carries it."""
    return f"{origin.lane} via {partner.carrier}" if partner.carrier else origin.lane


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
