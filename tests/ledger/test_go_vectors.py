"""The Merkle tree, its tiles and its notes agree with Go's sumdb (tests/vectors/rfc6962.md)."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

from gateway.ledger.checkpoint import Checkpoint
from gateway.ledger.merkle import (
    NodeReader,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    verify_consistency,
    verify_inclusion,
)
from gateway.ledger.note import Ed25519Signer, Ed25519Verifier, Note, sign_note, verify_note
from gateway.ledger.origin import Origin
from gateway.ledger.tiles import Edge, node_reader

VECTORS: dict[str, Any] = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text())
ROOTS = {int(size): b64decode(root) for size, root in VECTORS["roots"].items()}
NOTES: list[dict[str, Any]] = VECTORS["notes"]["notes"]
KEYS: list[dict[str, str]] = VECTORS["notes"]["keys"]
VERIFIERS = [Ed25519Verifier.from_vkey(key["public"]) for key in KEYS]


@pytest.fixture(scope="module")
def tree() -> dict[int, NodeReader]:
    """The tree of 70,000 leaves, grown through all the sizes of the vectors, as a node reader for each size."""
    hashes = [leaf_hash(b"entry %d" % index) for index in range(max(ROOTS))]
    tiles: dict[tuple[int, int], bytes] = {}
    edge = Edge.empty()
    for size, root in sorted(ROOTS.items()):
        edge, writes = edge.grow(hashes[edge.size : size])
        tiles.update({(write.level, write.index): write.data for write in writes})
        assert (edge.size, edge.root()) == (size, root)
    return {size: node_reader(size, lambda level, index: tiles[level, index], edge) for size in ROOTS}


def test_every_inclusion_proof_is_made_and_verified_as_by_go(tree: dict[int, NodeReader]) -> None:
    assert len(VECTORS["inclusion"]) == 112
    for vector in VECTORS["inclusion"]:
        size, index = vector["size"], vector["index"]
        proof = tuple(b64decode(step) for step in vector["proof"])
        assert inclusion_proof(index, size, tree[size]) == proof
        assert leaf_hash(b"entry %d" % index) == b64decode(vector["leaf_hash"])
        verify_inclusion(b64decode(vector["leaf_hash"]), index, size, proof, ROOTS[size])


def test_every_consistency_proof_is_made_and_verified_as_by_go(tree: dict[int, NodeReader]) -> None:
    assert len(VECTORS["consistency"]) == 190
    for vector in VECTORS["consistency"]:
        old, new = vector["old"], vector["size"]
        proof = tuple(b64decode(step) for step in vector["proof"])
        assert consistency_proof(old, new, tree[new]) == proof
        verify_consistency(old, new, ROOTS[old], ROOTS[new], proof)


def test_notes_signed_by_go_verify_and_keep_their_bytes() -> None:
    for vector in NOTES:
        for raw, signers in ((vector["signed"], VERIFIERS[:1]), (vector["signed_by_both"], VERIFIERS)):
            note = Note.parse(raw)
            assert verify_note(note, VERIFIERS) == signers
            assert note.text == vector["text"]
            assert note.encode() == raw.encode()


def test_notes_signed_here_are_the_bytes_that_go_signed() -> None:
    signers = []
    for key in KEYS:
        name, seed = key["private"].split("+", 4)[2], b64decode(key["private"].split("+", 4)[4])[1:]
        signers.append(Ed25519Signer(name, seed))
    for vector in NOTES:
        assert sign_note(vector["text"], signers[0]).encode().decode() == vector["signed"]
        assert sign_note(vector["text"], *signers).encode().decode() == vector["signed_by_both"]


def test_the_text_of_gos_notes_is_the_checkpoint_of_each_root() -> None:
    for vector in NOTES:
        expected = Checkpoint(Origin.release("JPN", "KOR", "flash", 1), vector["size"], ROOTS[vector["size"]])
        assert Checkpoint.parse(vector["text"]) == expected
        assert expected.text() == vector["text"]


def test_verifier_keys_are_spelled_as_by_go() -> None:
    assert [verifier.vkey for verifier in VERIFIERS] == [key["public"] for key in KEYS]
