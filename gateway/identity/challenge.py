"""The signed challenge that opens every exchange between two gateways. Pure: values in, values or a refusal out.

Why TLS is not enough: a gRPC client in Python cannot see whose certificate it reached, and any authority that a
listener believes vouches for any name. So both sides sign, with the log key that the partner has pinned, who they are,
whom they mean, for which purpose, and a fresh number from each::

    client → server   Hello      client's SPIFFE ID, client's nonce      (the purpose is the call itself)
    server → client   Challenge  server's SPIFFE ID, server's nonce, note of the server's key
    client → server   Proof      note of the client's key

The text of both notes, with the word `server` or `client` in the third line for the side that signs::

    signalfire/v1/challenge
    <purpose>
    server
    <client's SPIFFE ID>
    <server's SPIFFE ID>
    <client's nonce, base64>
    <server's nonce, base64>

Rules, in order:

1. The server answers only a Hello that bears the SPIFFE ID which TLS proved (`tls.peer_from_context`), of a gateway
   of another nation. So a third nation in the middle cannot have its victim's Hello answered.
2. The client believes only a Challenge of a gateway of the node that it meant to reach, over its own Hello, signed by a
   log key of that node. Only then does it sign.
3. The server believes only a Proof over the Hello and the Challenge of this very connection, in the client's words,
   signed by a log key of the node that TLS proved.
4. Nonces are 32 bytes from the operating system's generator, used once. Both enter both notes, so a note of another
   connection is worthless; the third line keeps one side's note from being sent back as the other's; the purpose keeps
   a note of one call from serving in another.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from gateway.identity.errors import ChallengeError, Refusal
from gateway.identity.key_names import gateway_key_name
from gateway.identity.spiffe import Role, SpiffeId
from gateway.ledger.errors import NoteError
from gateway.ledger.note import Ed25519Signer, Ed25519Verifier, Note, sign_note, verify_note

NONCE_SIZE: Final = 32
"""Bytes of a nonce: enough that none occurs twice."""

MAX_NOTE_SIZE: Final = 4096
"""Bytes of a challenge note that are looked at: the text and one signature take under 600."""

_HEADER: Final = "signalfire/v1/challenge"
_PURPOSE: Final = re.compile(r"[a-z][a-z0-9-]{0,31}")
_Side: TypeAlias = Literal["server", "client"]


@dataclass(frozen=True, slots=True)
class Hello:
    """The client's opening. `purpose` (`follow`, `heartbeat`) is what the call is for, in lower case."""

    spiffe_id: SpiffeId
    nonce: bytes
    purpose: str

    def __post_init__(self) -> None:
        _check_nonce(self.nonce, "Hello")
        if not _PURPOSE.fullmatch(self.purpose):
            raise ChallengeError(
                Refusal.MALFORMED_CHALLENGE,
                f"{self.purpose!r} is not a purpose",
                where="Hello",
                mend="Name the call with up to 32 of a-z, 0-9 and -, such as follow.",
            )


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server's answer to a Hello."""

    spiffe_id: SpiffeId
    nonce: bytes
    note: bytes

    def __post_init__(self) -> None:
        _check_nonce(self.nonce, "Challenge")


@dataclass(frozen=True, slots=True)
class ProvenServer:
    """What `check_server` found out: the server is who the client meant. Only with this can a client sign."""

    hello: Hello
    challenge: Challenge


def server_answer(
    hello: Hello, *, tls_peer: SpiffeId, server: SpiffeId, nonce: bytes, signer: Ed25519Signer
) -> Challenge:
    """The Challenge to `hello` on a connection whose client TLS proved to be `tls_peer` (rule 1).

    `signer` is the server's log key. Raises `ChallengeError`.
    """
    if hello.spiffe_id != tls_peer:
        raise ChallengeError(
            Refusal.WRONG_NODE,
            f"the client calls itself {hello.spiffe_id}, but its certificate is that of {tls_peer}",
            where="Hello",
            mend="Send the SPIFFE ID of the certificate that the connection uses.",
        )
    _check_sides(client=hello.spiffe_id, server=server, where="Hello")
    _check_fresh(hello.nonce, nonce)
    text = _text("server", hello, server, nonce)
    return Challenge(server, nonce, sign_note(text, signer).encode())


def check_server(hello: Hello, challenge: Challenge, *, expected_node: str, log_keys: Sequence[bytes]) -> ProvenServer:
    """Believes `challenge` only if a gateway of `expected_node` signed it for `hello` (rule 2).

    `log_keys` are the raw Ed25519 log keys of that node, from its pinned bundle. Raises `ChallengeError`.
    """
    if challenge.spiffe_id.node != expected_node:
        raise ChallengeError(
            Refusal.WRONG_NODE,
            f"this is {challenge.spiffe_id}, where a gateway of {expected_node} was meant to answer",
            where="Challenge",
            mend=f"Check the endpoints in the trust bundle of {expected_node}.",
        )
    _check_sides(client=hello.spiffe_id, server=challenge.spiffe_id, where="Challenge")
    _check_fresh(hello.nonce, challenge.nonce)
    text = _text("server", hello, challenge.spiffe_id, challenge.nonce)
    _check_note(challenge.note, text, expected_node, log_keys, "Challenge")
    return ProvenServer(hello, challenge)


def client_proof(proven: ProvenServer, *, signer: Ed25519Signer) -> bytes:
    """The Proof: the client's note. `signer` is the client's log key."""
    hello, challenge = proven.hello, proven.challenge
    return sign_note(_text("client", hello, challenge.spiffe_id, challenge.nonce), signer).encode()


def check_client(
    hello: Hello, challenge: Challenge, proof: bytes, *, tls_peer: SpiffeId, log_keys: Sequence[bytes]
) -> SpiffeId:
    """The client's identity, once `proof` shows it (rule 3).

    `hello` and `challenge` are those of this connection; `log_keys` are the raw Ed25519 log keys of `tls_peer.node`.
    Raises `ChallengeError`.
    """
    if hello.spiffe_id != tls_peer:
        raise ChallengeError(
            Refusal.WRONG_NODE,
            f"the Hello was from {hello.spiffe_id}, but the certificate is that of {tls_peer}",
            where="Proof",
            mend="Keep the Hello and the Challenge with the connection that they came on.",
        )
    _check_sides(client=hello.spiffe_id, server=challenge.spiffe_id, where="Proof")
    text = _text("client", hello, challenge.spiffe_id, challenge.nonce)
    _check_note(proof, text, tls_peer.node, log_keys, "Proof")
    return tls_peer


def _text(side: _Side, hello: Hello, server: SpiffeId, server_nonce: bytes) -> str:
    lines = (
        _HEADER,
        hello.purpose,
        side,
        str(hello.spiffe_id),
        str(server),
        base64.b64encode(hello.nonce).decode("ascii"),
        base64.b64encode(server_nonce).decode("ascii"),
    )
    return "".join(f"{line}\n" for line in lines)


def _check_sides(*, client: SpiffeId, server: SpiffeId, where: str) -> None:
    for side in (client, server):
        if side.role is not Role.GATEWAY:
            raise ChallengeError(
                Refusal.WRONG_ROLE,
                f"{side} is not a gateway",
                where=where,
                mend="Only gateways exchange reports; C2 systems and officers use the national listener.",
            )
    if client.node == server.node:
        raise ChallengeError(
            Refusal.REFLECTED,
            f"both sides are gateways of {client.node}",
            where=where,
            mend="A gateway exchanges with partners only; check that its own address is not among their endpoints.",
        )


def _check_nonce(nonce: bytes, where: str) -> None:
    if len(nonce) != NONCE_SIZE:
        raise ChallengeError(
            Refusal.MALFORMED_CHALLENGE,
            f"the nonce is {len(nonce)} bytes long",
            where=where,
            mend=f"Send {NONCE_SIZE} fresh random bytes.",
        )


def _check_fresh(client_nonce: bytes, server_nonce: bytes) -> None:
    if client_nonce == server_nonce:
        raise ChallengeError(
            Refusal.REFLECTED,
            "both nonces are the same",
            where="Challenge",
            mend="Draw a fresh nonce for each Challenge.",
        )


def _check_note(note: bytes, text: str, node: str, log_keys: Sequence[bytes], where: str) -> None:
    if len(note) > MAX_NOTE_SIZE:
        raise ChallengeError(
            Refusal.MALFORMED_CHALLENGE,
            f"the note is {len(note)} bytes long",
            where=where,
            mend=f"A note of a challenge has at most {MAX_NOTE_SIZE} bytes.",
        )
    name = gateway_key_name(node)
    try:
        signed = Note.parse(note)
        verify_note(signed, [Ed25519Verifier(name, key) for key in log_keys])
    except NoteError as refused:
        raise ChallengeError(
            Refusal.BAD_SIGNATURE,
            f"no pinned log key of {node} signed this note: {refused}",
            where=where,
            mend=f"If {node} has rotated its log key, pin its newest trust bundle.",
        ) from refused
    if signed.text != text:
        raise ChallengeError(
            Refusal.REFLECTED,
            "the note is signed, but over other words than this connection's",
            where=where,
            mend="Sign the text in docs/protocol.md with both IDs and both nonces of this connection; if the other "
            "side did, somebody is replaying notes.",
        )
