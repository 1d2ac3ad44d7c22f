"""This node's heartbeats on one stream that a partner has opened: sent, and answered in time.

1. A heartbeat goes `heartbeat_s` after the answer to the one before. It is signed anew each time, over what is in force
   at that moment.
2. An answer that does not come within `silence_s` less `heartbeat_s` ends the stream: so a partner that is gone is
   noticed within `silence_s` of the last that was heard of it, also where its machine still answers pings.
3. From its first answer until the stream ends the partner counts as one that hears this node.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import grpc
from signalfire.v1 import exchange_pb2

from gateway.exchange import handshake
from gateway.exchange.ending import StreamEnded
from gateway.exchange.heartbeat import Counter, sign_heartbeat
from gateway.exchange.in_band import InBand
from gateway.exchange.partners import Link
from gateway.release.sequencer import Sequencer
from gateway.release.signatory import Signatory
from gateway.telemetry import Telemetry


class Beats:
    """Sends heartbeats to partners, each on its stream. Belongs to the event loop's thread."""

    def __init__(
        self,
        *,
        signatory: Signatory,
        links: Mapping[str, Link],
        sequencer: Sequencer,
        in_band: InBand,
        telemetry: Telemetry,
        counter: Counter,
        heartbeat_s: float,
        silence_s: float,
        now_ns: Callable[[], int],
        monotonic_ns: Callable[[], int],
    ) -> None:
        self._signatory = signatory
        self._links = links
        self._sequencer = sequencer
        self._in_band = in_band
        self._telemetry = telemetry
        self._counter = counter
        self._heartbeat_s = heartbeat_s
        self._answer_s = max(heartbeat_s, silence_s - heartbeat_s)
        self._now_ns = now_ns
        self._monotonic_ns = monotonic_ns

    async def serve(
        self,
        requests: AsyncIterator[exchange_pb2.HeartbeatRequest],
        write: Callable[[exchange_pb2.HeartbeatResponse], Awaitable[None]],
        proven: handshake.Proven,
        still_believed: Callable[[], None],
        *,
        direct: bool = True,
    ) -> None:
        """Until the partner ends the stream. Raises StreamEnded, or what `still_believed` raises."""
        link = self._links[proven.node]
        answered = False
        try:
            round_trip_ns, offers = 0, self._in_band.offers()
            while True:
                still_believed()
                known = link.known.get(str(proven.gateway))
                bundle = offers.due(0 if known is None else known.sequence)
                counter = self._counter.next()
                note = sign_heartbeat(
                    self._signatory,
                    proven.node,
                    self._now_ns(),
                    counter,
                    self._sequencer.takes,
                    self._sequencer.heads(),
                )
                sent = self._monotonic_ns()
                believed = self._in_band.believed(proven.node)
                pulse = exchange_pb2.Pulse(
                    note=note, round_trip_ns=round_trip_ns, bundle=bundle, bundle_sequence=believed
                )
                await write(exchange_pb2.HeartbeatResponse(pulse=pulse))
                echo = await self._answer(requests, counter)
                if echo is None:
                    return
                if not answered:
                    answered = True
                    link.answering += 1
                link.answered_ns, link.answered_at = self._now_ns(), self._monotonic_ns() / 1e9
                await self._in_band.take(proven.node, echo.bundle)
                self._in_band.knows(proven.gateway, echo.bundle_sequence)
                round_trip_ns = self._monotonic_ns() - sent
                if direct:
                    self._telemetry.round_trip.labels(partner=proven.node).set(round_trip_ns / 1e9)
                await asyncio.sleep(self._heartbeat_s)
        finally:
            link.answering -= answered

    async def _answer(
        self, requests: AsyncIterator[exchange_pb2.HeartbeatRequest], counter: int
    ) -> exchange_pb2.Echo | None:
        """The answer to a heartbeat; None where the partner has ended the stream."""
        try:
            async with asyncio.timeout(self._answer_s):
                answer = await anext(requests)
        except StopAsyncIteration:
            return None
        except TimeoutError:
            raise StreamEnded(grpc.StatusCode.DEADLINE_EXCEEDED, f"no echo within {self._answer_s:g} s") from None
        if answer.WhichOneof("message") != "echo" or answer.echo.counter != counter:
            raise StreamEnded(grpc.StatusCode.INVALID_ARGUMENT, f"the echo of heartbeat {counter} was due")
        return answer.echo
