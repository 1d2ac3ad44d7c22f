"""Evidence of a contradiction convinces whoever has the node's keys, and nothing else does."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.cosignature import (
    Ed25519CosignatureSigner,
    MLDSA44CosignatureSigner,
    cosign,
    pq_name,
    receipt_name,
)
from gateway.ledger.errors import LedgerError
from gateway.ledger.evidence import MAX_EVIDENCE, Contradiction, EvidenceError, OwnerKeys, contradiction, decode
from gateway.ledger.note import Ed25519Signer, Note
from gateway.ledger.origin import Origin
from gateway.ledger.statement import Heartbeat

LOG = LogKey(b"\x01" * 32)
GATEWAY = Ed25519Signer("signalfire/v1/JPN/gateway", b"\x01" * 32)
PQ = MLDSA44CosignatureSigner(pq_name("JPN"), b"\x02" * 32)
RECEIPT = Ed25519CosignatureSigner(receipt_name("KOR"), b"\x03" * 32)
KEYS = OwnerKeys("JPN", (LOG.public,), (GATEWAY.verifier,), (PQ.verifier,))
STRANGER = LogKey(b"\x09" * 32)

FLASH = Origin.release("JPN", "KOR", "flash", 1)
ROUTINE = Origin.release("JPN", "KOR", "routine", 1)
A, B = b"\xaa" * 32, b"\xbb" * 32


def checkpoint(size: int = 5, root: bytes = A, origin: Origin = FLASH, key: LogKey = LOG) -> bytes:
    return sign_checkpoint(Checkpoint(origin, size, root), key).encode()


def in_pq(size: int = 5, root: bytes = A) -> bytes:
    text = Checkpoint(FLASH, size, root).text()
    return Note(text, (cosign(text, PQ, 1_700_000_000),)).encode()


def heartbeat(
    counter: int = 1, *heads: tuple[int, bytes], recipient: str = "KOR", signer: Ed25519Signer = GATEWAY
) -> bytes:
    origin = Origin.release("JPN", recipient, "flash", 1)
    return Heartbeat("JPN", recipient, 7, counter, tuple(Checkpoint(origin, *head) for head in heads)).sign(signer)


CONTRADICTING = {
    "two checkpoints": (checkpoint(), checkpoint(root=B)),
    "checkpoint and heartbeat": (checkpoint(), heartbeat(1, (5, B))),
    "two heartbeats": (heartbeat(1, (5, A)), heartbeat(2, (5, B))),
    "two heartbeats of one counter": (heartbeat(1, (5, A)), heartbeat(1, (5, B))),
    "checkpoint and post-quantum line": (checkpoint(), in_pq(root=B)),
    "two post-quantum lines": (in_pq(), in_pq(root=B)),
    "a ledger that shrinks between two heartbeats": (heartbeat(1, (9, A)), heartbeat(2, (5, B))),
}


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("pair", [pytest.param(pair, id=name) for name, pair in CONTRADICTING.items()])
def test_two_statements_that_cannot_both_be_true_are_evidence(pair: tuple[bytes, bytes], swap: bool) -> None:
    one, other = reversed(pair) if swap else pair
    found = contradiction(one, other, KEYS)
    assert found.origin == FLASH
    assert contradiction(*decode(found.encode()), KEYS) == found


HARMLESS = {
    "the same checkpoint twice": (checkpoint(), checkpoint()),
    "checkpoints of two sizes": (checkpoint(5, A), checkpoint(6, B)),
    "checkpoints of two ledgers": (checkpoint(), checkpoint(root=B, origin=ROUTINE)),
    "of two generations": (checkpoint(), checkpoint(root=B, origin=FLASH.successor())),
    "a ledger that grows": (heartbeat(1, (5, A)), heartbeat(2, (9, B))),
    "a smaller checkpoint and a heartbeat": (checkpoint(9, A), heartbeat(1, (5, B))),
    "two sizes under one counter": (heartbeat(1, (5, A)), heartbeat(1, (9, B))),
    "heartbeats for two recipients": (heartbeat(1, (9, A)), heartbeat(2, (5, B), recipient="USA")),
    "a heartbeat without heads": (checkpoint(), heartbeat(1)),
    "a stranger's checkpoint": (checkpoint(), checkpoint(root=B, key=STRANGER)),
    "a stranger's heartbeat": (
        checkpoint(),
        heartbeat(1, (5, B), signer=Ed25519Signer("signalfire/v1/JPN/gateway", b"\x09" * 32)),
    ),
    "another node's ledger": (checkpoint(), checkpoint(root=B, origin=Origin.release("KOR", "JPN", "flash", 1))),
    "a receipt": (
        checkpoint(),
        Note(
            Checkpoint(FLASH, 5, B).text(), (cosign(Checkpoint(FLASH, 5, B).text(), RECEIPT, 1_700_000_000),)
        ).encode(),
    ),
    "no note": (checkpoint(), b"junk"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("pair", [pytest.param(pair, id=name) for name, pair in HARMLESS.items()])
def test_what_can_both_be_true_or_is_not_the_nodes_proves_nothing(pair: tuple[bytes, bytes]) -> None:
    for one, other in (pair, reversed(pair)):
        with pytest.raises(EvidenceError):
            contradiction(one, other, KEYS)


def test_a_signature_of_the_node_that_does_not_hold_beside_one_that_does_condemns_the_note() -> None:
    good = Note.parse(checkpoint(root=B))
    pair = good.with_signatures(Note.parse(heartbeat(1)).signatures[0])
    assert contradiction(checkpoint(), pair.encode(), KEYS).statements[1] == good.encode(), "others are let go"
    forged = bytearray(checkpoint(root=B))
    forged[-10] ^= 1
    with pytest.raises(EvidenceError):
        contradiction(checkpoint(), bytes(forged), KEYS)


FILES: dict[str, Callable[[Contradiction], bytes]] = {
    "empty": lambda _: b"",
    "not UTF-8": lambda _: b"\xff",
    "not an object": lambda _: b"[]",
    "another format": lambda c: c.encode().replace(b"v1/fork", b"v2/fork"),
    "a member more": lambda c: json.dumps({**json.loads(c.encode()), "more": 1}).encode(),
    "a member less": lambda _: b'{"format": "signalfire/v1/fork-evidence"}',
    "a member twice": lambda c: c.encode().replace(b'"format"', b'"format": "x", "format"', 1),
    "one statement": lambda c: json.dumps({"format": "signalfire/v1/fork-evidence", "statements": ["x"]}).encode(),
    "three statements": lambda c: json.dumps(
        {"format": "signalfire/v1/fork-evidence", "statements": ["x", "y", "z"]}
    ).encode(),
    "numbers": lambda c: json.dumps({"format": "signalfire/v1/fork-evidence", "statements": [1, 2]}).encode(),
    "no number": lambda c: b'{"format": NaN, "statements": []}',
    "too deep": lambda c: b"[" * 100_000,
    "too long": lambda c: c.encode() + b" " * MAX_EVIDENCE,
}


@pytest.mark.parametrize("spoil", [pytest.param(spoil, id=name) for name, spoil in FILES.items()])
def test_a_file_that_is_not_evidence_is_refused(spoil: Callable[[Contradiction], bytes]) -> None:
    found = contradiction(checkpoint(), checkpoint(root=B), KEYS)
    with pytest.raises(EvidenceError):
        decode(spoil(found))


def test_a_lone_surrogate_in_a_file_is_refused_where_it_is_read() -> None:
    raw = json.dumps({"format": "signalfire/v1/fork-evidence", "statements": ["\ud800", "x"]}).encode()
    with pytest.raises(EvidenceError):
        contradiction(*decode(raw), KEYS)


@settings(max_examples=200, deadline=None)
@given(raw=st.binary(max_size=400), other=st.sampled_from([checkpoint(), heartbeat(1, (5, A))]))
def test_no_bytes_break_the_reader(raw: bytes, other: bytes) -> None:
    with pytest.raises(LedgerError):
        contradiction(raw, other, KEYS)
    with pytest.raises(EvidenceError):
        decode(raw)
