"""The dialer's side of the challenge, on a call of gRPC whatever its messages."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from signalfire.v1 import exchange_pb2

from gateway.exchange import handshake
from gateway.exchange.dialling import LinkError, read, write
from gateway.exchange.in_band import InBand
from gateway.identity.spiffe import SpiffeId
from gateway.release.signatory import Partner, Signatory


async def prove(
    call: Any,
    request: Any,
    purpose: str,
    partner: Partner,
    *,
    own: SpiffeId,
    signatory: Signatory,
    in_band: InBand,
    now_ns: Callable[[], int],
) -> handshake.Proven:
    """The challenge of one stream to `partner`; `request` is the type of its messages. Raises ChallengeError,
    TrustBundleError or LinkError.
    """

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
        own=own,
        signer=signatory.gateway,
        partner=partner,
        in_band=in_band,
        now=lambda: datetime.fromtimestamp(now_ns() / 1e9, UTC),
    )
