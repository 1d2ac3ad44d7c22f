"""The heartbeats of a partner, heard by one way: each is held against the record, answered, and taken note of."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from typing import Final

from signalfire.v1 import exchange_pb2

from gateway.exchange import handshake
from gateway.exchange.dialling import LinkError, read, write
from gateway.exchange.heartbeat import check_heartbeat
from gateway.exchange.inspecting import Pace
from gateway.exchange.partners import DIRECT
from gateway.exchange.way import Way
from gateway.ledger.evidence import Contradiction, EvidenceError, contradictions
from gateway.ledger.statement import Heartbeat, Takes
from gateway.release.evidence import Contradicted, all_against_record, owner_keys
from gateway.release.signatory import Partner

log = logging.getLogger(__name__)

HEARTBEAT_LANE: Final = "heartbeat"

USUAL_S: Final = 1.0
"""Seconds between heartbeats where nothing else is set. A partner's interval may be shorter than this node's, and the
partner waits for the echo: so where this node's is longer, others are heard as often as if it was this one."""

SOONEST: Final = 4
"""Heartbeats that are heard in the time of one."""


class Listener:
    """Listens to one partner by one way."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._means = way.means
        usual_s = min(self._means.limits.heartbeat_s, USUAL_S)
        self._pace = Pace(SOONEST / usual_s, self._means.monotonic)

    async def listen(self) -> None:
        """Listens until the stream ends. Raises what ended it."""
        way = self._way
        try:
            async with way.dial(way.key(HEARTBEAT_LANE)) as stub:
                # Only what is believed once the connection stands counts: that may have taken long.
                partner, authorities = way.partner(), way.authorities()
                call = stub.Heartbeat()
                proven = await way.in_time(way.prove(call, exchange_pb2.HeartbeatRequest, handshake.HEARTBEAT, partner))
                offers = self._means.in_band.offers()
                while True:
                    message = await way.in_time(read(call))
                    # It is verified, and may have to go on record: what comes too soon waits.
                    await asyncio.sleep(self._pace.wait_s(way.node))
                    if message.WhichOneof("message") != "pulse":
                        raise LinkError(f"{message.WhichOneof('message')} came where a heartbeat was due")
                    # First, for it may announce the key that has signed the heartbeat.
                    await self._means.in_band.take(self._way.node, message.pulse.bundle)
                    way.still_believed(proven, authorities)
                    await self._hold_against_record(message.pulse.note)
                    counter = self._hear(message.pulse)
                    # Where the partner cannot dial this node, this is how it gets to know its bundle.
                    known = message.pulse.bundle_sequence
                    if known:
                        self._means.in_band.knows(proven.gateway, known)
                    echo = exchange_pb2.Echo(
                        counter=counter,
                        time_ns=self._means.now_ns(),
                        bundle_sequence=self._means.in_band.believed(self._way.node),
                        bundle=offers.due(known) if known else b"",
                    )
                    await write(call, exchange_pb2.HeartbeatRequest(echo=echo))
        finally:
            last, now = way.heard.at, self._means.monotonic()
            way.link.ended(way.name)
            if last is not None and now - last >= self._means.limits.silence_s:
                # What this stream did not survive the others may not have either.
                way.heard.lapse = (last, now)
                way.silence.ring()

    async def _hold_against_record(self, raw: bytes) -> None:
        """Raises Contradicted for a heartbeat that gives a ledger another root than the partner signed before. One that
        shows a ledger shrunk is put on record alike, and heard: the next generation of that ledger is due.
        """
        partner, own = self._way.partner(), self._means.signatory.node
        stated = Heartbeat.open(raw, partner.gateway, node=partner.node, recipient=own).heads
        against = list(all_against_record(self._means.reader(), stated, raw, partner))
        if found := [*against, *self._against_the_last(raw, partner)]:
            await self._way.keep_evidence(*found)
        if against:
            raise Contradicted(against[0])

    def _against_the_last(self, raw: bytes, partner: Partner) -> Sequence[Contradiction]:
        """What a heartbeat says of each ledger that the one before it, by this way, contradicts."""
        if self._way.heard.note:
            # One that is no statement any more, for its key was retired since, proves nothing.
            with contextlib.suppress(EvidenceError):
                return contradictions(self._way.heard.note, raw, owner_keys(partner))
        return ()

    def _hear(self, pulse: exchange_pb2.Pulse) -> int:
        link, heard = self._way.link, self._way.heard
        replicas = {str(head.origin): head for head in self._means.sequencer.heads() if head.replica}
        found = check_heartbeat(pulse.note, self._way.partner(), self._means.signatory.node, heard.counter, replicas)
        now_ns = self._means.now_ns()
        first = heard.at is None
        heard.counter = found.heartbeat.counter
        heard.note = pulse.note
        link.heartbeat_ns = now_ns
        heard.at = link.heartbeat_at = link.heard_at = self._means.monotonic()
        if first:
            heard.offsets.began()
        offset = heard.offsets.heard(found.heartbeat.time_ns, now_ns, pulse.round_trip_ns)
        if offset is not None and (self._way.name == DIRECT or DIRECT not in link.heard_by):
            # The carried way is slower, and less evenly so: what it measures counts for want of better.
            link.clock_offset_s, link.clock_error_s = offset.ns / 1e9, offset.error_ns / 1e9
            self._means.telemetry.clock_offset.labels(partner=self._way.node).set(offset.ns / 1e9)
        self._means.telemetry.heartbeat_time.labels(partner=self._way.node).set(now_ns / 1e9)
        self._means.telemetry.behind.labels(partner=self._way.node).set(found.behind)
        link.takes = found.heartbeat.takes
        self._means.telemetry.partner_takes.labels(partner=self._way.node).set(list(Takes).index(link.takes))
        link.owed.shown(found.heartbeat.heads, {line: head.edge.size for line, head in replicas.items()}, link.heard_at)
        if first:
            link.problems.pop(self._way.key(HEARTBEAT_LANE), None)
            log.info("heartbeats of %s are coming (%s)", self._way.node, self._way.name)
            link.bell.ring()
        return found.heartbeat.counter
