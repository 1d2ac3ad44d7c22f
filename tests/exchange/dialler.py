"""The dialling side of the exchange by hand: real certificates and keys of a nation, and any message at all."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

import grpc
from signalfire.v1 import exchange_pb2

from gateway.demo.deployment import Deployed
from gateway.exchange import handshake
from gateway.identity import challenge
from gateway.identity.node_keys import NodeKeys
from gateway.identity.spiffe import Role, SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.ledger.merkle import EMPTY_ROOT
from gateway.ledger.note import Ed25519Signer, Note
from gateway.release.signatory import Signatory
from tests.node.connecting import channel, gateway_authority, server_name
from tests.patience import PATIENCE_S

PATIENT: Final[dict[str, object]] = {"handshake_s": 60.0, "silence_s": 60.0}
"""Limits of the exchange with which a gateway waits for what is said to it by hand for as long as a test does."""

FOLLOW, HEARTBEAT, INSPECT = handshake.FOLLOW, handshake.HEARTBEAT, handshake.INSPECT
CARRY = handshake.CARRY

_METHODS: Final[dict[str, tuple[str, Any, Any]]] = {
    FOLLOW: ("Follow", exchange_pb2.FollowRequest, exchange_pb2.FollowResponse),
    HEARTBEAT: ("Heartbeat", exchange_pb2.HeartbeatRequest, exchange_pb2.HeartbeatResponse),
    INSPECT: ("Inspect", exchange_pb2.InspectRequest, exchange_pb2.InspectResponse),
    CARRY: ("Carry", exchange_pb2.CarryRequest, exchange_pb2.CarryResponse),
}


def signatory(place: Deployed) -> Signatory:
    """The private keys of a nation."""
    return Signatory.from_keys(place.node, NodeKeys.load(place.directory / "keys"))


@dataclass(slots=True)
class Stream:
    """One open call. Bytes in both directions; what was received is kept as it came."""

    call: Any
    purpose: str
    place: Deployed
    raw: list[bytes]

    async def send_bytes(self, data: bytes) -> None:
        """Sends bytes as a message, whatever they are. The server may have ended the call already."""
        with contextlib.suppress(asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await self.call.write(data)

    async def send(self, **message: Any) -> None:
        """Sends one message: its arm of the oneof and its value."""
        await self.send_bytes(_METHODS[self.purpose][1](**message).SerializeToString())

    async def read(self) -> Any:
        """The next message. Raises `Ended` when there is none."""
        async with asyncio.timeout(PATIENCE_S):
            try:
                data = await self.call.read()
            except grpc.aio.AioRpcError:
                data = grpc.aio.EOF
            if data is grpc.aio.EOF:
                raise Ended(await self.call.code(), await self.call.details() or "")
        self.raw.append(data)
        return _METHODS[self.purpose][2].FromString(data)

    async def ended(self) -> Ended:
        """How the server ends the call; what it still sends is passed over."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    await self.read()
                except Ended as end:
                    return end

    async def echo(self, bundle_sequence: int = 0) -> exchange_pb2.Pulse:
        """Reads a heartbeat and answers it."""
        pulse: exchange_pb2.Pulse = (await self.read()).pulse
        counter = int(Note.parse(pulse.note).text.split("\n")[3])
        await self.send(echo=exchange_pb2.Echo(counter=counter, time_ns=1, bundle_sequence=bundle_sequence))
        return pulse

    async def echo_on(self) -> NoReturn:
        """Answers heartbeats until the server ends the call. Raises `Ended`."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                await self.echo()

    # --- the opening

    async def hello(
        self, spiffe_id: str | None = None, nonce: bytes | None = None, bundle_sequence: int = 0
    ) -> challenge.Hello:
        """Sends a Hello, of this nation's gateway unless told otherwise."""
        own = SpiffeId.of(self.place.node, Role.GATEWAY, "a")
        hello = challenge.Hello(own, nonce or secrets.token_bytes(32), self.purpose)
        await self.send(
            hello=exchange_pb2.Hello(
                spiffe_id=spiffe_id or str(own), nonce=hello.nonce, bundle_sequence=bundle_sequence
            )
        )
        return hello

    async def challenged(self) -> challenge.Challenge:
        """Reads the Challenge."""
        answer = (await self.read()).challenge
        return challenge.Challenge(SpiffeId.parse(answer.spiffe_id), answer.nonce, answer.note)

    async def prove(self, signer: Ed25519Signer | None = None, bundle: bytes = b"", bundle_sequence: int = 0) -> bytes:
        """Opens the stream as a partner does; returns the proof that was sent."""
        hello = await self.hello(bundle_sequence=bundle_sequence)
        proven = challenge.ProvenServer(hello, await self.challenged())
        note = challenge.client_proof(proven, signer=signer or signatory(self.place).gateway)
        await self.send(proof=exchange_pb2.Proof(note=note, bundle=bundle))
        return note

    async def open(self, origin: object, size: int = 0, root: bytes = EMPTY_ROOT, checkpoint: bytes = b"") -> Any:
        """Proves itself, names a ledger and what it has of it, and reads the answer."""
        await self.prove()
        await self.send(open=exchange_pb2.Open(origin=str(origin), size=size, root=root, checkpoint=checkpoint))
        return await self.read()


class Ended(Exception):
    """The server ended the call."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code
        self.details = details


@contextlib.asynccontextmanager
async def dialled(
    place: Deployed, to: Deployed, purpose: str = FOLLOW, pair: KeyPairFiles | None = None
) -> AsyncIterator[Stream]:
    """A call of `place`'s gateway to the partners' listener of `to`, with its own certificate unless told otherwise."""
    pair = pair or KeyPairFiles.of_gateway(place.directory / "keys")
    async with channel(to.exchange, pair, gateway_authority(to), server_name(to)) as opened:
        method: grpc.aio.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
            f"/signalfire.v1.ExchangeService/{_METHODS[purpose][0]}",
            request_serializer=None,
            response_deserializer=None,
        )
        call = method()
        try:
            yield Stream(call, purpose, place, [])
        finally:
            call.cancel()
