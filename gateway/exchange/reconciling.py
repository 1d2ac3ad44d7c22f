"""Asking a partner what it holds: the other end of `inspecting`.

What the partner answers is read strictly and believed by nobody here: whoever compares verifies each hash against the
root above it, and each note against the keys of whom it is by.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Coroutine, Sequence
from typing import Any, TypeVar

from signalfire.v1 import exchange_pb2

from gateway.exchange import handshake
from gateway.exchange.dialling import LinkError, dial, read, write
from gateway.exchange.in_band import InBand
from gateway.identity.spiffe import SpiffeId
from gateway.identity.tls import KeyPairFiles
from gateway.identity.trust_bundle import Endpoint, TrustBundle
from gateway.ledger.errors import OriginError
from gateway.ledger.holding import HeldLedger, HeldSignatures, is_between, is_third_witness
from gateway.ledger.note import Ed25519Signer
from gateway.ledger.origin import Origin
from gateway.release.signatory import Partner

T = TypeVar("T")


class PartnerHoldings:
    """What a partner says that it holds, asked over one open stream. Every method raises LinkError, and
    grpc.aio.AioRpcError.
    """

    def __init__(self, call: Any, own: str, partner: str, thirds: Collection[str], patience_s: float) -> None:
        self._call = call
        self._own = own
        self._partner = partner
        self._thirds = thirds
        self._patience_s = patience_s

    async def heads(self) -> Sequence[HeldLedger]:
        """The ledgers between the two nodes, and the witness ledgers of third nodes that the partner holds too."""
        answer = await self._ask("heads", list_heads=exchange_pb2.ListHeads(witnesses=sorted(self._thirds)))
        held = [self._held(ledger) for ledger in answer.ledgers]
        if len({ledger.origin for ledger in held}) != len(held):
            raise LinkError(f"{self._partner} lists a ledger twice")
        return held

    def _held(self, told: exchange_pb2.HeldLedger) -> HeldLedger:
        try:
            held = HeldLedger(
                Origin.parse(told.origin),
                told.size,
                told.root,
                told.checkpoint,
                told.receipt,
                Origin.parse(told.successor) if told.successor else None,
            )
        except OriginError as error:
            raise LinkError(f"{self._partner} lists what is no ledger: {error}") from error
        third = is_third_witness(held.origin, self._own, self._partner) and held.origin.owner in self._thirds
        if not (third or is_between(held.origin, self._own, self._partner)):
            raise LinkError(f"{self._partner} lists {held.origin}, which is not between it and {self._own}")
        return held

    async def hashes(self, origin: Origin, level: int, first: int, count: int) -> bytes:
        """Roots of perfect subtrees, 32 bytes each, joined; as the partner gives them."""
        asked = exchange_pb2.ReadHashes(origin=str(origin), level=level, first=first, count=count)
        answer = await self._ask("hashes", read_hashes=asked)
        return bytes(answer.hashes)

    async def signatures(self, origin: Origin, size: int) -> HeldSignatures:
        """The notes that the partner holds about one size of a ledger."""
        asked = exchange_pb2.ReadCheckpoint(origin=str(origin), size=size)
        answer = await self._ask("held_checkpoint", read_checkpoint=asked)
        return HeldSignatures(answer.checkpoint, answer.receipt)

    async def _ask(self, expected: str, **question: Any) -> Any:
        await in_time(write(self._call, exchange_pb2.InspectRequest(**question)), self._patience_s)
        message = await in_time(read(self._call), self._patience_s)
        if message.WhichOneof("message") != expected:
            raise LinkError(f"{message.WhichOneof('message')} came where {expected} was due")
        return getattr(message, expected)


@contextlib.asynccontextmanager
async def inspecting(
    bundle: TrustBundle,
    endpoint: Endpoint,
    partner: Partner,
    *,
    own: SpiffeId,
    key_pair: KeyPairFiles,
    signer: Ed25519Signer,
    patience_s: float,
    thirds: Collection[str] = (),
    in_band: InBand | None = None,
) -> AsyncIterator[PartnerHoldings]:
    """Dials one endpoint of a partner, proves both sides, and asks it.

    `signer` is this node's log key under its gateway name; `patience_s` how long each answer may take; `thirds` the
    third nodes whose witness ledgers are compared too; `in_band` how bundles are given and taken, where a gateway runs.
    Raises LinkError, IdentityError and grpc.aio.AioRpcError; with `in_band` also StoreError and Unavailable.
    """
    async with dial(bundle, endpoint, key_pair) as stub:
        call: Any = stub.Inspect()
        try:
            await in_time(_prove(call, own, signer, partner, in_band), patience_s)
            yield PartnerHoldings(call, own.node, partner.node, thirds, patience_s)
            await call.done_writing()
        finally:
            call.cancel()


async def _prove(call: Any, own: SpiffeId, signer: Ed25519Signer, partner: Partner, in_band: InBand | None) -> None:
    async def read_challenge() -> exchange_pb2.Challenge:
        message = await read(call)
        if message.WhichOneof("message") != "challenge":
            raise LinkError(f"{message.WhichOneof('message')} came where the challenge was due")
        challenge: exchange_pb2.Challenge = message.challenge
        return challenge

    await handshake.prove_to_server(
        lambda hello: write(call, exchange_pb2.InspectRequest(hello=hello)),
        read_challenge,
        lambda proof: write(call, exchange_pb2.InspectRequest(proof=proof)),
        purpose=handshake.INSPECT,
        own=own,
        signer=signer,
        partner=partner,
        in_band=in_band,
    )


async def in_time(work: Coroutine[Any, Any, T], patience_s: float) -> T:
    """What must come within `patience_s` seconds. Raises LinkError when it does not."""
    try:
        async with asyncio.timeout(patience_s):
            return await work
    except TimeoutError:
        raise LinkError(f"nothing came for {patience_s:g} s") from None
