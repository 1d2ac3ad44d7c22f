"""The challenge that opens every stream between gateways, carried over gRPC.

TLS proves the caller's certificate to the listener; what it cannot do is tell a dialer whom it reached, or keep one
partner's authority from vouching for another's name. So both sides sign, with their log keys, a text that names the
purpose of the call, both SPIFFE IDs and both nonces (`gateway.identity.challenge`).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

from signalfire.v1 import exchange_pb2

from gateway.exchange.in_band import InBand
from gateway.identity import challenge
from gateway.identity.errors import ChallengeError, Refusal
from gateway.identity.spiffe import SpiffeId
from gateway.ledger.note import Ed25519Signer, Note, verify_note
from gateway.release.signatory import Partner

FOLLOW = "follow"
HEARTBEAT = "heartbeat"
INSPECT = "inspect"
CARRY = "carry"

Request = TypeVar(
    "Request",
    exchange_pb2.FollowRequest,
    exchange_pb2.HeartbeatRequest,
    exchange_pb2.InspectRequest,
    exchange_pb2.CarryRequest,
)


@dataclass(frozen=True, slots=True)
class Proven:
    """A partner's gateway that has proven itself: under which of its node's log keys, and when (POSIX seconds)."""

    gateway: SpiffeId
    log_key: bytes
    at: int

    @property
    def node(self) -> str:
        """Its node."""
        return self.gateway.node

    def believed_by(self, partner: Partner | None) -> bool:
        """Whether a stream that was proven so may go on while the partner's keys are `partner`."""
        return partner is not None and partner.believes_stream(self.log_key, self.at)


async def prove_to_client(
    requests: AsyncIterator[Request],
    send: Callable[[exchange_pb2.Challenge], Awaitable[None]],
    *,
    purpose: str,
    tls_peer: SpiffeId,
    server: SpiffeId,
    signer: Ed25519Signer,
    in_band: InBand,
    now: Callable[[], datetime],
) -> Proven:
    """The listener's side: reads Hello, answers, reads Proof. Returns who was proven.

    Raises ChallengeError, SpiffeIdError for an identity that is none, or TrustBundleError for a bundle that is none.
    """
    hello_message = await _next(requests, "hello")
    hello = challenge.Hello(SpiffeId.parse(hello_message.hello.spiffe_id), hello_message.hello.nonce, purpose)
    answer = challenge.server_answer(
        hello, tls_peer=tls_peer, server=server, nonce=secrets.token_bytes(32), signer=signer
    )
    known = hello_message.hello.bundle_sequence
    await send(
        exchange_pb2.Challenge(
            spiffe_id=str(answer.spiffe_id),
            nonce=answer.nonce,
            note=answer.note,
            bundle_sequence=in_band.believed(tls_peer.node),
            bundle=in_band.due(known),
        )
    )
    proof = await _next(requests, "proof")
    await in_band.take(tls_peer.node, proof.proof.bundle)
    partner = in_band.partner(tls_peer.node)
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
    in_band.knows(tls_peer, known)
    return Proven(tls_peer, _signer_of(proof.proof.note, partner), int(now().timestamp()))


async def prove_to_server(
    write_hello: Callable[[exchange_pb2.Hello], Awaitable[None]],
    read_challenge: Callable[[], Awaitable[exchange_pb2.Challenge]],
    write_proof: Callable[[exchange_pb2.Proof], Awaitable[None]],
    *,
    purpose: str,
    own: SpiffeId,
    signer: Ed25519Signer,
    partner: Partner,
    in_band: InBand | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Proven:
    """The dialer's side. On return the server is a gateway of `partner`, or of its node by the bundle that it sent.

    Raises ChallengeError, or TrustBundleError for a bundle that is none.
    """
    hello = challenge.Hello(own, secrets.token_bytes(32), purpose)
    believed = 0 if in_band is None else in_band.believed(partner.node)
    await write_hello(exchange_pb2.Hello(spiffe_id=str(own), nonce=hello.nonce, bundle_sequence=believed))
    answer = await read_challenge()
    bundle = b""
    if in_band is not None:
        await in_band.take(partner.node, answer.bundle)
        partner = in_band.partner(partner.node) or partner
        bundle = in_band.due(answer.bundle_sequence)
    server = SpiffeId.parse(answer.spiffe_id)
    proven = challenge.check_server(
        hello,
        challenge.Challenge(server, answer.nonce, answer.note),
        expected_node=partner.node,
        log_keys=[key.public_key for key in partner.log],
    )
    if in_band is not None:
        in_band.knows(server, answer.bundle_sequence)
    await write_proof(exchange_pb2.Proof(note=challenge.client_proof(proven, signer=signer), bundle=bundle))
    return Proven(server, _signer_of(answer.note, partner), int(now().timestamp()))


def _signer_of(note: bytes, partner: Partner) -> bytes:
    """The log key that signed a challenge's note, which has been verified."""
    return verify_note(Note.parse(note), partner.gateway)[0].public_key


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
