"""A hostile origin: it listens where a nation's gateway would, with its real keys, and does as its script says."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import grpc
from signalfire.v1 import exchange_pb2, ledger_pb2, report_pb2

from gateway.demo.deployment import Deployed
from gateway.identity import challenge
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles, server_credentials
from gateway.ledger import bundle
from gateway.ledger.checkpoint import Checkpoint, sign_checkpoint
from gateway.ledger.merkle import leaf_hash
from gateway.ledger.note import Ed25519Signer
from gateway.ledger.origin import Origin
from gateway.ledger.statement import Heartbeat
from gateway.ledger.tiles import Edge
from gateway.release.signatory import Signatory
from gateway.seal.epoch import Epoch
from tests.exchange.dialler import FOLLOW, HEARTBEAT, INSPECT, signatory

_RESPONSES: Final[dict[str, Any]] = {
    FOLLOW: exchange_pb2.FollowResponse,
    HEARTBEAT: exchange_pb2.HeartbeatResponse,
    INSPECT: exchange_pb2.InspectResponse,
}
_REQUESTS: Final[dict[str, Any]] = {
    FOLLOW: exchange_pb2.FollowRequest,
    HEARTBEAT: exchange_pb2.HeartbeatRequest,
    INSPECT: exchange_pb2.InspectRequest,
}


_OPTIONS: Final = [
    ("grpc.so_reuseport", 0),
    ("grpc.max_send_message_length", -1),
    # Gateways ping every second, and a server that does not allow it cuts them off.
    ("grpc.http2.min_ping_interval_without_data_ms", 500),
    ("grpc.http2.max_ping_strikes", 0),
]


# --- ledgers made by hand


class Forge:
    """The entries and checkpoints of one ledger, as its owner can make them: true ones, or any others."""

    def __init__(self, owner: Signatory, reader: Signatory, lane: str = "flash", generation: int = 1) -> None:
        self.origin = Origin.release(owner.node, reader.node, lane, generation)
        self.owner = owner
        self.edge = Edge.empty()
        readers = ((reader.node, reader.sealing[0].public), (owner.node, owner.sealing[0].public))
        self.epoch, self._opening = Epoch.open_new(str(self.origin), 0, readers)

    def entries(self, *contents: ledger_pb2.EntryContent) -> list[bytes]:
        """The next entries, sealed; the first call's begin with the opening of the epoch."""
        made = [self._opening] if self.edge.size == 0 else []
        for content in contents:
            made.append(self.epoch.seal(self.edge.size + len(made), content.SerializeToString()))
        return made

    def batch(self, *entries: bytes, **changes: Any) -> exchange_pb2.Batch:
        """The true batch of these entries; `changes` are fields set otherwise. The ledger then holds the entries."""
        first = self.edge.size
        self.edge, _ = self.edge.grow([leaf_hash(entry) for entry in entries])
        made = exchange_pb2.Batch(
            first=first,
            count=len(entries),
            entries=bundle.encode(entries),
            checkpoint=self.checkpoint(self.edge.size, self.edge.root()),
        )
        for name, value in changes.items():
            setattr(made, name, value)
        return made

    def reports(self, *reports: report_pb2.Report) -> exchange_pb2.Batch:
        """The true batch that holds these reports."""
        return self.batch(*self.entries(*(ledger_pb2.EntryContent(report=report) for report in reports)))

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """A checkpoint of this ledger signed by its owner, true or not."""
        return sign_checkpoint(Checkpoint(self.origin, size, root), self.owner.log).encode()


# --- streams of a follower, as the origin sees them


@dataclass(slots=True)
class Follower:
    """One stream of a follower that has been let in."""

    context: grpc.aio.ServicerContext[bytes, bytes]
    purpose: str
    requests: AsyncIterator[bytes]
    open: exchange_pb2.Open = field(default_factory=exchange_pb2.Open)

    async def send_bytes(self, data: bytes) -> None:
        await self.context.write(data)

    async def send(self, **message: Any) -> None:
        await self.send_bytes(_RESPONSES[self.purpose](**message).SerializeToString())

    async def opened(self) -> None:
        await self.send(opened=exchange_pb2.Opened(size=self.open.size))

    async def read(self) -> Any:
        """The next message; ends with the stream."""
        data = await anext(self.requests)
        return _REQUESTS[self.purpose].FromString(data)

    async def rest(self) -> list[Any]:
        """Everything that still comes, until the follower ends the stream."""
        messages = []
        with contextlib.suppress(StopAsyncIteration):
            while True:
                messages.append(await self.read())
        return messages


Script: TypeAlias = Callable[[Follower], Awaitable[None]]


async def quiet(follower: Follower) -> None:
    """A ledger in which nothing happens."""
    await follower.opened()
    await follower.rest()


@dataclass(slots=True)
class HostileOrigin:
    """Scripts by lane, and for heartbeats. What is not named behaves as it should."""

    place: Deployed
    follower: str
    lanes: dict[str, Script] = field(default_factory=dict)
    heartbeat: Script | None = None
    inspect: Script | None = None
    """How it answers who compares ledgers; None: it ends the stream."""
    signs_with: bytes | None = None
    """Seed of the key that it signs challenges with; None: the true one."""
    requests: list[tuple[str, Any]] = field(default_factory=list)
    """Every message that followers sent, by purpose."""
    heard: Callable[[str], None] = lambda _: None
    """Told the kind of every message as it comes."""
    open_streams: dict[str, list[asyncio.Task[Any]]] = field(default_factory=dict)
    """The tasks that serve now, by lane; of heartbeats under that name."""
    keys: Signatory = field(init=False)

    def __post_init__(self) -> None:
        self.keys = signatory(self.place)

    # --- the services

    async def _recorded(self, purpose: str, requests: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for data in requests:
            message = _REQUESTS[purpose].FromString(data)
            self.requests.append((purpose, message))
            self.heard(str(message.WhichOneof("message")))
            yield data

    async def _follow(self, requests: AsyncIterator[bytes], context: Any) -> None:
        follower = Follower(context, FOLLOW, self._recorded(FOLLOW, requests))
        await self._challenge(follower)
        follower.open = (await follower.read()).open
        lane = Origin.parse(follower.open.origin).lane
        await self._play(lane, self.lanes.get(lane, quiet), follower)

    async def _beat(self, requests: AsyncIterator[bytes], context: Any) -> None:
        follower = Follower(context, HEARTBEAT, self._recorded(HEARTBEAT, requests))
        await self._challenge(follower)
        await self._play(HEARTBEAT, self.heartbeat or self.honest_heartbeats, follower)

    async def _inspected(self, requests: AsyncIterator[bytes], context: Any) -> None:
        follower = Follower(context, INSPECT, self._recorded(INSPECT, requests))
        await self._challenge(follower)
        if self.inspect is not None:
            await self._play(INSPECT, self.inspect, follower)

    async def _play(self, lane: str, script: Script, follower: Follower) -> None:
        """Follows the script; whoever ends the task in `open_streams` ends the stream."""
        playing = asyncio.ensure_future(script(follower))
        self.open_streams.setdefault(lane, []).append(playing)
        try:
            await asyncio.wait([playing])
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)

    async def _challenge(self, follower: Follower) -> None:
        message = (await follower.read()).hello
        hello = challenge.Hello(SpiffeId.parse(message.spiffe_id), message.nonce, follower.purpose)
        own = SpiffeId.of(self.place.node, Role.GATEWAY, "a")
        seed = self.signs_with
        signer = self.keys.gateway if seed is None else Ed25519Signer(self.keys.gateway.name, seed)
        answer = challenge.server_answer(
            hello, tls_peer=hello.spiffe_id, server=own, nonce=secrets.token_bytes(32), signer=signer
        )
        await follower.send(challenge=exchange_pb2.Challenge(spiffe_id=str(own), nonce=answer.nonce, note=answer.note))
        await follower.read()  # the proof; whether it is one does not matter here

    # --- heartbeats

    def pulse(self, counter: int, *heads: Checkpoint, **changes: Any) -> exchange_pb2.Pulse:
        """A signed heartbeat; `changes` set fields of it otherwise, or `signer`."""
        signer = changes.pop("signer", self.keys.gateway)
        fields = {
            "node": self.place.node,
            "recipient": self.follower,
            "time_ns": time.time_ns(),
            "counter": counter,
            "heads": tuple(heads),
            **changes,
        }
        return exchange_pb2.Pulse(note=Heartbeat(**fields).sign(signer))

    async def honest_heartbeats(self, follower: Follower) -> None:
        """One heartbeat for each echo."""
        with contextlib.suppress(StopAsyncIteration):
            while True:
                await follower.send(pulse=self.pulse(time.time_ns()))
                await follower.read()

    def sent(self, purpose: str, arm: str) -> list[Any]:
        """The messages of one kind that followers sent."""
        return [
            getattr(message, arm)
            for each, message in self.requests
            if each == purpose and message.WhichOneof("message") == arm
        ]

    @contextlib.asynccontextmanager
    async def serving(self, pair: KeyPairFiles | None = None) -> AsyncIterator[None]:
        """Listens at the nation's address. Every client of the partners' own authorities is let in by TLS."""
        own_directory = self.place.directory
        pem = b"".join(
            (path / "pki" / "ca" / "gateway.crt.pem").read_bytes()
            for path in own_directory.parent.iterdir()
            if (path / "pki").is_dir()
        )
        pair = pair or KeyPairFiles.of_gateway(own_directory / "keys")
        server = grpc.aio.server(options=_OPTIONS)
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Follow": grpc.stream_stream_rpc_method_handler(self._follow, None, None),
            "Heartbeat": grpc.stream_stream_rpc_method_handler(self._beat, None, None),
            "Inspect": grpc.stream_stream_rpc_method_handler(self._inspected, None, None),
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("signalfire.v1.ExchangeService", handlers),)
        )
        server.add_secure_port(self.place.exchange, server_credentials(pair, lambda: pem))
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)


@contextlib.asynccontextmanager
async def impostor(place: Deployed, pair: KeyPairFiles, signs_with: bytes | None = None) -> AsyncIterator[list[str]]:
    """Somebody who listens at a nation's address with another certificate or key.

    Yields what kinds of message were said to him.
    """
    seen: list[str] = []
    origin = HostileOrigin(place, "KOR", signs_with=signs_with, heard=seen.append)
    async with origin.serving(pair):
        yield seen
