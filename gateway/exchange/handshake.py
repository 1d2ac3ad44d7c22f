"""The challenge that opens every stream between gateways, carried over gRPC.

TLS proves the caller's certificate to the listener; what it cannot do is tell a dialer whom it reached, or keep one
partner's authority from vouching for another's name. So both sides sign, with their log keys, a text that names the
purpose of the call, both SPIFFE IDs and both nonces (`gateway.identity.challenge`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from signalfire.v1 import exchange_pb2

from gateway.exchange.partners import Partners
from gateway.identity import challenge
from gateway.identity.errors import ChallengeError, Refusal
from gateway.identity.spiffe import SpiffeId
from gateway.ledger.note import Ed25519Signer
from gateway.release.signatory import Partner

FOLLOW = "follow"
HEARTBEAT = "heartbeat"

Request = TypeVar("Request", exchange_pb2.FollowRequest, exchange_pb2.HeartbeatRequest)


async def prove_to_client(
    requests: AsyncIterator[Request],
    send: Callable[[exchange_pb2.Challenge], Awaitable[None]],
    *,
    purpose: str,
    tls_peer: SpiffeId,
    server: SpiffeId,
    signer: Ed25519Signer,
    partners: Partners,
) -> Partner:
    """The listener's side: reads Hello, answers, reads Proof. Returns the partner that was proven.

    Raises ChallengeError, or SpiffeIdError for an identity that is none.
    """
    hello_message = await _next(requests, "hello")
    hello = challenge.Hello(SpiffeId.parse(hello_message.hello.spiffe_id), hello_message.hello.nonce, purpose)
    answer = challenge.server_answer(
        hello, tls_peer=tls_peer, server=server, nonce=secrets.token_bytes(32), signer=signer
    )
    await send(exchange_pb2.Challenge(spiffe_id=str(answer.spiffe_id), nonce=answer.nonce, note=answer.note))
    proof = await _next(requests, "proof")
    partner = partners.get(tls_peer.node)
    if partner is None:
        raise ChallengeError(
            Refusal.WRONG_NODE,
            f"{tls_peer.node} is not a partner of this node, or its trust bundle has expired",
            where="Hello",
            mend="Exchange trust bundles first.",
        )
    challenge.check_client(
        hello, answer, proof.proof.note, tls_peer=tls_peer, log_keys=[key.public_key for key in partner.log]
    )
    return partner


async def prove_to_server(
    write_hello: Callable[[exchange_pb2.Hello], Awaitable[None]],
    read_challenge: Callable[[], Awaitable[exchange_pb2.Challenge]],
    write_proof: Callable[[exchange_pb2.Proof], Awaitable[None]],
    *,
    purpose: str,
    own: SpiffeId,
    signer: Ed25519Signer,
    partner: Partner,
) -> None:
    """The dialer's side. On return the server is a gateway of `partner`. Raises ChallengeError."""
    hello = challenge.Hello(own, secrets.token_bytes(32), purpose)
    await write_hello(exchange_pb2.Hello(spiffe_id=str(own), nonce=hello.nonce))
    answer = await read_challenge()
    proven = challenge.check_server(
        hello,
        challenge.Challenge(SpiffeId.parse(answer.spiffe_id), answer.nonce, answer.note),
        expected_node=partner.node,
        log_keys=[key.public_key for key in partner.log],
    )
    await write_proof(exchange_pb2.Proof(note=challenge.client_proof(proven, signer=signer)))


async def _next(requests: AsyncIterator[Request], expected: str) -> Request:
    try:
        message = await anext(requests)
    except StopAsyncIteration:
        raise _out_of_turn(expected, "the end of the stream") from None
    if message.WhichOneof("message") != expected:
        raise _out_of_turn(expected, str(message.WhichOneof("message")))
    return message


def _out_of_turn(expected: str, found: str) -> ChallengeError:
    return ChallengeError(
        Refusal.MALFORMED_CHALLENGE,
        f"{expected} was due, and {found} came",
        where="opening of the stream",
        mend="Send Hello, then Proof, as docs/protocol.md says.",
    )
