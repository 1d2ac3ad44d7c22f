"""Which streams of partners are let in. Rules, in order:

1. Of one connection so many streams may be opened at once, and so many a second: further ones are refused before they
   cost a signature.
2. What proven streams have used up is refused before it costs a signature as well.
3. A stream whose caller has shown a certificate and has not proven itself takes a place among WAITING of its node, and
   none that a proven one needs: a TLS key that was stolen opens streams, and only the log key proves them. Where all
   are taken, one gives way to the newcomer: the one that waits longest of whoever has most, by certificate and network.
   Those that have no more than SHARE count alike.
4. A proven stream counts. Its node has places, and openings a second, for each of its ways: directly, through each
   carrier, and for the tunnels that it opens (`Carry`). None of these takes from another.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import unquote

import grpc

from gateway.exchange.ending import StreamEnded
from gateway.exchange.handshake import CARRY
from gateway.exchange.openings import Openings

WAITING: Final = 64
"""Streams of one node that wait to prove themselves at once. A proof takes a round trip: whoever opens a hundred a
second from where the node itself is leaves it 0.6 s."""

SHARE: Final = 8
"""As many as a gateway opens at once, and two more."""

_CONNECTIONS: Final = 1024
"""Connections of which it is kept how many streams they have opened."""


class Bounds(Protocol):
    """What is kept to of the exchange's limits."""

    @property
    def streams(self) -> int: ...
    @property
    def openings(self) -> int: ...
    @property
    def openings_s(self) -> float: ...


@dataclass(slots=True, eq=False)
class _Place:
    """Of one stream that has not proven itself."""

    whose: tuple[bytes, str]
    limit: asyncio.Timeout | None = None
    gave_way: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """By which of its ways a node opens a stream."""

    node: str
    name: str = ""
    """Empty: directly."""

    @classmethod
    def of(cls, node: str, carrier: str, purpose: str) -> Way:
        """That of a stream for `purpose` (`gateway.exchange.handshake`) which `carrier` carries; empty: nobody does."""
        return cls(node, f"via {carrier}" if carrier else "for tunnels" if purpose == CARRY else "")


class Admission:
    """Counts the streams of partners. Belongs to the event loop's thread. `monotonic` gives seconds."""

    def __init__(self, bounds: Bounds, monotonic: Callable[[], float]) -> None:
        self._bounds = bounds
        self._monotonic = monotonic
        self._connections: OrderedDict[str, Openings] = OrderedDict()
        self._openings: dict[Way, Openings] = {}
        self._streams: Counter[Way] = Counter()
        self._waiting: dict[str, list[_Place]] = {}

    @contextlib.asynccontextmanager
    async def unproven(self, way: Way, peer: str, certificate: bytes, within_s: float) -> AsyncIterator[None]:
        """A place for a stream whose caller has still to prove itself, for at most `within_s`. `peer` is gRPC's name of
        its connection. Raises StreamEnded.
        """
        if not self._of_connection(peer).take(self._monotonic()):
            raise self._too_often(f"a connection of {way.node}")
        self._has_room(way)
        waiting = self._waiting.setdefault(way.node, [])
        if len(waiting) >= WAITING:
            self._give_way(waiting)
        place = _Place((certificate, f"{network_of(peer)} {way.name}"))
        waiting.append(place)
        try:
            async with asyncio.timeout(within_s) as place.limit:
                yield
        except TimeoutError:
            if place.gave_way:
                raise StreamEnded(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    f"{WAITING} streams opened with certificates of {way.node} wait to prove themselves; no proof came"
                    " before this one had to give way to another",
                ) from None
            raise StreamEnded(
                grpc.StatusCode.DEADLINE_EXCEEDED, f"no proof within {within_s:g} s of the call"
            ) from None
        finally:
            if not place.gave_way:
                waiting.remove(place)

    @contextlib.contextmanager
    def proven(self, way: Way) -> Iterator[None]:
        """A place for a stream that was proven. Raises StreamEnded."""
        self._has_room(way)
        self._openings_of(way).take(self._monotonic())
        self._streams[way] += 1
        try:
            yield
        finally:
            self._streams[way] -= 1

    def _has_room(self, way: Way) -> None:
        if not self._openings_of(way).left(self._monotonic()):
            raise self._too_often(way.node)
        if self._streams[way] >= self._bounds.streams:
            raise StreamEnded(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                f"{way.node} has {self._bounds.streams} streams open{way.name and f' {way.name}'}, the most that a"
                " partner may",
            )

    def _too_often(self, who: str) -> StreamEnded:
        return StreamEnded(
            grpc.StatusCode.RESOURCE_EXHAUSTED, f"{who} opens more than {self._bounds.openings_s:g} streams a second"
        )

    def _openings_of(self, way: Way) -> Openings:
        if way not in self._openings:
            self._openings[way] = Openings(self._bounds.openings_s, self._bounds.openings)
        return self._openings[way]

    def _of_connection(self, peer: str) -> Openings:
        found = self._connections.pop(peer, None) or Openings(self._bounds.openings_s, self._bounds.openings)
        self._connections[peer] = found
        if len(self._connections) > _CONNECTIONS:
            self._connections.popitem(last=False)
        return found

    @staticmethod
    def _give_way(waiting: list[_Place]) -> None:
        having = Counter(place.whose for place in waiting)
        # The first of those that are equal waits longest.
        place = max(waiting, key=lambda each: max(SHARE, having[each.whose]))
        waiting.remove(place)
        place.gave_way = True
        if place.limit is not None and not place.limit.expired():
            place.limit.reschedule(asyncio.get_running_loop().time())


def network_of(peer: str) -> str:
    """From where a connection comes: an IPv4 address, the 64 bits of an IPv6 address that name its network, or what
    gRPC says of any other.
    """
    scheme, _, address = peer.partition(":")
    host = unquote(address).rpartition(":")[0].strip("[]").partition("%")[0]
    if scheme not in ("ipv4", "ipv6"):
        return scheme
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return peer
    return str(found) if found.version == 4 else str(ipaddress.ip_network((int(found) >> 64 << 64, 64)))
