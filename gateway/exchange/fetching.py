"""Asking a partner for what it holds of this node's own ledgers: the other end of `giving_back`.

What comes is believed by nobody here: whoever takes it verifies it against this node's own keys.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import grpc
from signalfire.v1 import exchange_pb2

from gateway.exchange import handshake
from gateway.exchange.dialling import LinkError, dial, read, write
from gateway.exchange.in_band import InBand
from gateway.exchange.reconciling import in_time
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.ledger.note import Ed25519Signer
from gateway.ledger.origin import Origin
from gateway.release.batch import IncomingBatch
from gateway.release.signatory import Partner


async def fetched(
    bundle: TrustBundle,
    endpoint: Endpoint,
    partner: Partner,
    origin: Origin,
    size: int,
    *,
    own: SpiffeId,
    key_pair: KeyPairFiles,
    signer: Ed25519Signer,
    patience_s: float,
    in_band: InBand | None = None,
) -> AsyncGenerator[IncomingBatch | bytes, None]:
    """What a partner holds of an own ledger from the segment with entry `size` on: batches, then signed notes.

    Raises LinkError, IdentityError and grpc.aio.AioRpcError; with `in_band` also StoreError and Unavailable.
    """
    async with dial(bundle, endpoint, key_pair) as stub:
        call: Any = stub.Follow()
        try:
            await in_time(_prove(call, own, signer, partner, in_band), patience_s)
            asked = exchange_pb2.Open(origin=str(origin), size=size)
            await in_time(write(call, exchange_pb2.FollowRequest(open=asked)), patience_s)
            opened = await in_time(read(call), patience_s)
            if opened.WhichOneof("message") != "opened":
                raise LinkError(f"{opened.WhichOneof('message')} came where Opened was due")
            while True:
                message = await in_time(_next(call), patience_s)
                if message is None:
                    return
                match message.WhichOneof("message"):
                    case "batch":
                        yield IncomingBatch.of(origin, message.batch)
                    case "cosignature":
                        yield bytes(message.cosignature.note)
                    case "ended":
                        continue
                    case other:
                        raise LinkError(f"{other or 'an empty message'} came where it has no place")
        finally:
            call.cancel()


async def _next(call: Any) -> Any:
    """The next message; None at the end. Raises LinkError where the end says that something was wrong."""
    message = await call.read()
    if message is grpc.aio.EOF:
        if await call.code() is not grpc.StatusCode.OK:
            raise LinkError(f"the partner ended the stream: {await call.details()}")
        return None
    if message is None:
        raise LinkError("the partner sent a message that is not of the contract")
    return message


async def _prove(call: Any, own: SpiffeId, signer: Ed25519Signer, partner: Partner, in_band: InBand | None) -> None:
    async def read_challenge() -> exchange_pb2.Challenge:
        message = await read(call)
        if message.WhichOneof("message") != "challenge":
            raise LinkError(f"{message.WhichOneof('message')} came where the challenge was due")
        challenge: exchange_pb2.Challenge = message.challenge
        return challenge

    await handshake.prove_to_server(
        lambda hello: write(call, exchange_pb2.FollowRequest(hello=hello)),
        read_challenge,
        lambda proof: write(call, exchange_pb2.FollowRequest(proof=proof)),
        purpose=handshake.FOLLOW,
        own=own,
        signer=signer,
        partner=partner,
        in_band=in_band,
    )
