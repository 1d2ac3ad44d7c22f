"""Following one ledger that a partner keeps for this node, by one way: what comes is verified, made durable, and then
receipted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any, Final

import grpc
from signalfire.v1 import exchange_pb2

from gateway.cancellation import first_of
from gateway.exchange import handshake
from gateway.exchange.dialling import LinkError, OneAtATime, read, write
from gateway.exchange.ending import shown
from gateway.exchange.limits import BELIEF_S
from gateway.exchange.owed import Watchdog
from gateway.exchange.partners import DIRECT
from gateway.exchange.signed_anew import signed_by
from gateway.exchange.way import Way
from gateway.ledger.errors import LedgerError, StoreError
from gateway.ledger.note import Note
from gateway.ledger.origin import WITNESS, Lane, Origin
from gateway.ledger.stores import CosignatureKind
from gateway.release.batch import IncomingBatch, statements_weight
from gateway.release.claims import claim_of
from gateway.release.errors import Exhausted, StepBroken, Unavailable
from gateway.release.replica import RootsDiffer
from gateway.release.steps import FollowSuccessor, GoBack, KeepCosignature, ReceiveBatch

log = logging.getLogger(__name__)

ANSWERS_AGAIN: Final = 256
"""Statements that are given again when a stream opens: those that were lost are the last ones."""

DOUBT_S: Final = 0.2
"""Seconds after which a stream that is in doubt is looked at again."""


class FollowedLane:
    """One lane of a partner, or its witness ledger, by one way."""

    def __init__(self, way: Way, lane: str) -> None:
        self._way = way
        self._means = way.means
        self._lane = lane
        self._key = way.key(lane)
        self._watchdog = Watchdog(way.means.limits.silence_s)
        self._waiting_since: float | None = None
        telemetry = way.means.telemetry
        self._entries_received = telemetry.entries_received.labels(partner=way.node, lane=lane)
        self._reports_received = telemetry.reports_received.labels(partner=way.node)
        self._withdrawals_received = telemetry.withdrawals_received.labels(partner=way.node)

    async def follow(self) -> None:
        """Follows the lane until its stream ends. Raises what ended it."""
        way, lane = self._way, self._lane
        # Before it is dialled: what was refused stands as the lane's problem until it can be looked at again.
        await self._in_turn()
        async with way.dial(self._key) as stub:
            # Only what is believed and held once the connection stands counts: that may have taken long.
            partner, authorities = way.partner(), way.authorities()
            origin = self._means.sequencer.current(
                self._way.node, None if lane == WITNESS else self._means.signatory.node, lane
            )
            stream = stub.Follow()
            call = OneAtATime(stream)
            proven = await way.in_time(way.prove(call, exchange_pb2.FollowRequest, handshake.FOLLOW, partner))
            await way.alerts_first(lane)
            claim = claim_of(self._means.reader(), origin)
            opening = exchange_pb2.Open(
                origin=str(origin), size=claim.size, root=claim.root, checkpoint=claim.checkpoint
            )
            await write(call, exchange_pb2.FollowRequest(open=opening))

            def still_believed() -> None:
                way.still_believed(proven, authorities)

            async def watch() -> None:
                signer, seen = self._means.signatory.receipt, way.silence.rings
                while True:
                    seen = await way.silence.wait(seen, BELIEF_S if self._doubts() == (None, None) else DOUBT_S)
                    still_believed()
                    self._not_dead()
                    if signer is not self._means.signatory.receipt and self._key in way.link.following:
                        # Another key gives the receipts from now on: the last one is given again under it.
                        signer = self._means.signatory.receipt
                        await self._give_receipt(call, origin)

            # What forked goes on in its next generation, which the partner opens once it is shown what we hold.
            try:
                await first_of(self._take(call, origin, still_believed), watch(), way.forks.of(lane).wait())
            except (LinkError, grpc.aio.AioRpcError):
                if claim.empty and stream.done() and await stream.code() is grpc.StatusCode.FAILED_PRECONDITION:
                    await self._go_back(origin)
                raise

    def _doubts(self) -> tuple[float | None, float | None]:
        """Since when entries are owed, and since when heartbeats lapsed that this stream has not shown to outlive."""
        lapse = self._way.heard.lapse
        outlived = lapse is None or self._waiting_since is None or self._waiting_since > lapse[1]
        owed_since = self._way.link.owed.since(self._lane, direct=self._way.name == DIRECT)
        return owed_since, None if lapse is None or outlived else lapse[0]

    def _not_dead(self) -> None:
        """Raises LinkError where the stream is in doubt and brings nothing (`gateway.exchange.owed`)."""
        owed_since, unheard_since = self._doubts()
        now = self._means.monotonic()
        silent_s = self._watchdog.silent_s(owed_since, unheard_since, self._waiting_since, now)
        if silent_s is not None:
            why = "heartbeats lapsed" if owed_since is None else "heartbeats show entries that did not come"
            raise LinkError(f"nothing came for {silent_s:.1f} s, and {why}: the stream is opened anew")

    async def _go_back(self, origin: Origin) -> None:
        """The partner does not know a generation of which there is nothing here: the one before is followed again."""
        before = await self._means.sequencer.do(GoBack(origin))
        if before is not None:
            log.error("%s has not opened %s; %s is followed again", self._way.node, origin, before)

    async def _take(self, call: Any, origin: Origin, still_believed: Callable[[], None]) -> None:
        alerts_due = 0
        while True:
            self._waiting_since = self._means.monotonic()
            message = await read(call)
            self._waiting_since = None
            still_believed()
            match message.WhichOneof("message"):
                case "opened" if self._key not in self._way.link.following:
                    self._way.link.following.add(self._key)
                    self._way.link.problems.pop(self._key, None)
                    row = self._means.reader().ledger(origin)
                    alerts_due = message.opened.size
                    self._alerts_are_here(0 if row is None else row.size, alerts_due)
                    await self._answer_again(call, origin)
                case "batch":
                    self._watchdog.brought()
                    if self._way.name == DIRECT:
                        self._way.link.owed.brought(self._lane, self._means.monotonic())
                    await self._in_turn()
                    await self._receive(call, origin, message.batch)
                    self._alerts_are_here(message.batch.first + message.batch.count, alerts_due)
                case "cosignature":
                    note = message.cosignature.note
                    await self._way.heed(KeepCosignature(origin, _kind_of(note, origin), note, self._way.partner()))
                    if (wait_s := self._way.allowance.line_wait_s(self._lane)) > 0:
                        await asyncio.sleep(wait_s)
                case "ended":
                    successor = Origin.parse(message.ended.successor)
                    await self._means.sequencer.do(FollowSuccessor(origin, successor))
                    self._way.link.differs.pop(self._lane, None)
                    log.error("%s has ended %s; %s goes on", self._way.node, origin, successor)
                    return
                case other:
                    raise LinkError(f"{other or 'an empty message'} came where it has no place")

    def _alerts_are_here(self, size: int, due: int) -> None:
        """Lets the other lanes begin, once all the alerts are on record that there were when theirs was opened."""
        if self._lane == Lane.FLASH and size >= due:
            self._way.alerts_open.set()

    async def _answer_again(self, call: Any, origin: Origin) -> None:
        """The last answers may have been lost with the stream that bore them: they are given again, once a stream.

        Under today's keys: those that signed them may have been replaced since, and the partner knows today's alone.
        """
        row = self._means.reader().ledger(origin)
        if row is None:
            return
        await self._give_receipt(call, origin)
        for statement in self._means.reader().last_unopenable(row.id, ANSWERS_AGAIN):
            note = signed_by(statement.note, self._means.signatory.gateway)
            await write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))

    async def _give_receipt(self, call: Any, origin: Origin) -> None:
        """Gives this node's last receipt for a replica, where there is one."""
        row = self._means.reader().ledger(origin)
        receipt = (
            None
            if row is None
            else self._means.reader().cosignature(row.id, CosignatureKind.RECEIPT, self._means.signatory.node)
        )
        if receipt is not None:
            note = signed_by(receipt.note, self._means.signatory.receipt.at(self._means.now_ns() // 1_000_000_000))
            await write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=note)))

    async def _receive(self, call: Any, origin: Origin, batch: exchange_pb2.Batch) -> None:
        incoming = IncomingBatch.of(origin, batch)
        step = ReceiveBatch(incoming, self._way.partner(), self._means.opener, self._means.report_limits)
        # Now, for whatever becomes of it: the stream may be gone by then, and it is looked at all the same.
        self._way.allowance.charge(self._lane, incoming.weight)
        try:
            received = await self._way.heed(step)
        except (Exhausted, Unavailable, StoreError) as error:
            # No room, or a store that fails, is not the partner's doing. What breaks a step may be.
            if not isinstance(error, StepBroken):
                self._way.allowance.give_back(self._lane, incoming.weight)
            raise
        except LedgerError as error:
            self._way.allowance.refused(self._lane, incoming.weight)
            if isinstance(error, RootsDiffer):
                self._way.link.differs[self._lane] = str(error)
            raise
        self._way.link.differs.pop(self._lane, None)
        if received.held:
            # It came by another way before. Whoever sent it is told, by whichever way, that it is here.
            self._means.telemetry.passed_over.labels(partner=self._way.node).inc()
            await self._give_receipt(call, origin)
            return
        # The batch is durable here: only now may its receipt go.
        await write(call, exchange_pb2.FollowRequest(receipt=exchange_pb2.Receipt(note=received.receipt)))
        if received.unopenable:
            count = len(received.unopenable)
            self._way.allowance.charge(self._lane, statements_weight(count))
            self._means.telemetry.unopenable.labels(partner=self._way.node, direction="received").inc(count)
            # One line a batch: all of them are on record, each with a signed statement.
            log.error("%s: %d entries cannot be used; the first: %s", origin, count, shown(received.problems[0]))
        for note in received.unopenable:
            await write(call, exchange_pb2.FollowRequest(unopenable=exchange_pb2.Unopenable(note=note)))
        if received.clock_warnings:
            # One line a batch. They were delivered: it is not known here whose clock is wrong.
            log.warning(
                "%s: %d reports lie ahead of this gateway's clock, which may be slow itself; the first: %s",
                origin, len(received.clock_warnings), received.clock_warnings[0],
            )  # fmt: skip
        for decided in received.decisions:
            self._means.telemetry.decided(*decided)
        self._entries_received.inc(batch.count)
        self._reports_received.inc(received.reports)
        self._withdrawals_received.inc(received.withdrawals)

    async def _in_turn(self) -> None:
        """Waits, where the partner has sent more than it may on this stream or another, or what was refused."""
        if (wait_s := self._way.allowance.due_s(self._lane)) > 0:
            await asyncio.sleep(wait_s)


def _kind_of(raw: bytes, origin: Origin) -> CosignatureKind:
    """Which further signature of a ledger's owner this is: by the name of its key."""
    with contextlib.suppress(LedgerError):
        if any(line.name == str(origin) for line in Note.parse(raw).signatures):
            return CosignatureKind.ANCHOR
    # What is no note is refused where it is verified.
    return CosignatureKind.PQ
