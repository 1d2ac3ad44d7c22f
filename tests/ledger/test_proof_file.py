"""Proof files: one spelling, bounded before they are decoded, and worth nothing for any other leaf."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.ledger.checkpoint import Checkpoint, LogKey, sign_checkpoint
from gateway.ledger.errors import LedgerError, NoteError, ProofError
from gateway.ledger.merkle import inclusion_proof, leaf_hash
from gateway.ledger.note import encode_base64
from gateway.ledger.origin import Origin
from gateway.ledger.proof_file import FIRST_LINE, MAX_EXTRA, MAX_PROOF_FILE, ProofFile
from gateway.ledger.tiles import Edge, node_reader

ORIGIN = Origin("JPN", "KOR", "flash", 1)
KEY = LogKey(bytes(32))
OTHER_KEY = LogKey(bytes([1]) * 32)


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(f"entry {index}".encode()) for index in range(size)]


def proof_of(index: int, size: int, extra: bytes = b"", origin: Origin = ORIGIN) -> ProofFile:
    edge, writes = Edge.empty().grow(leaves_of(size))
    tiles = {(tile.level, tile.index): tile.data for tile in writes}
    path = inclusion_proof(index, size, node_reader(size, lambda level, at: tiles[(level, at)], edge))
    return ProofFile(index, path, sign_checkpoint(Checkpoint(origin, size, edge.root()), KEY), extra)


@given(size=st.integers(1, 600), seed=st.integers(0, 10**6), extra=st.binary(max_size=200))
def test_what_is_written_is_read_back_and_proves_its_leaf(size: int, seed: int, extra: bytes) -> None:
    index = seed % size
    proof = proof_of(index, size, extra)
    raw = proof.encode()
    read = ProofFile.parse(raw)
    assert read == proof
    assert read.encode() == raw
    assert read.prove(leaves_of(size)[index], [KEY.public], ORIGIN).size == size


@given(raw=st.binary(max_size=400))
def test_arbitrary_bytes_are_refused_or_are_in_their_one_spelling(raw: bytes) -> None:
    try:
        proof = ProofFile.parse(raw)
    except LedgerError:
        return
    assert proof.encode() == raw


@given(at=st.integers(0, 10**6), flip=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_changes_nothing_that_is_proved(at: int, flip: int) -> None:
    raw = bytearray(proof_of(5, 11, b"extra").encode())
    raw[at % len(raw)] ^= flip
    try:
        proof = ProofFile.parse(bytes(raw))
        proof.prove(leaves_of(11)[5], [KEY.public], ORIGIN)
    except LedgerError:
        return
    # What is not proved by the path is the application's: the extra data.
    assert (proof.index, proof.path, proof.checkpoint.text) == (
        5,
        proof_of(5, 11).path,
        proof_of(5, 11).checkpoint.text,
    )


def test_a_proof_for_another_leaf_index_ledger_or_key_is_refused() -> None:
    proof = ProofFile.parse(proof_of(5, 11).encode())
    leaves = leaves_of(11)
    with pytest.raises(ProofError, match="does not lead to the root"):
        proof.prove(leaves[4], [KEY.public], ORIGIN)
    moved = ProofFile(4, proof.path, proof.checkpoint)
    with pytest.raises(ProofError, match="does not lead to the root"):
        moved.prove(leaves[5], [KEY.public], ORIGIN)
    with pytest.raises(ProofError, match="has 3 hashes, not 4"):
        ProofFile(5, proof.path[:-1], proof.checkpoint).prove(leaves[5], [KEY.public], ORIGIN)
    with pytest.raises(NoteError, match="signed by no known key"):
        proof.prove(leaves[5], [KEY.public], ORIGIN.successor())
    with pytest.raises(NoteError, match="signed by no known key"):
        proof.prove(leaves[5], [OTHER_KEY.public], ORIGIN)


def test_the_proof_of_the_only_entry_has_no_path() -> None:
    raw = proof_of(0, 1).encode()
    assert raw.startswith(f"{FIRST_LINE}\nindex 0\n\nsignalfire/v1/JPN/KOR/flash/1\n1\n".encode())
    ProofFile.parse(raw).prove(leaves_of(1)[0], [KEY.public], ORIGIN)


HASH = encode_base64(bytes(32))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("c2sp.org/tlog-proof@v1\n", "c2sp.org/tlog-proof@v2\n", "the first line is"),
        ("c2sp.org/tlog-proof@v1\n", "", "the first line is"),
        ("index 5\n", "index +5\n", "plain decimal number"),
        ("index 5\n", "index 05\n", "plain decimal number"),
        ("index 5\n", "index 1_0\n", "plain decimal number"),
        ("index 5\n", "index 5 \n", "plain decimal number"),
        ("index 5\n", "index \u0665\n", "not ASCII"),
        ("index 5\n", "Index 5\n", "plain decimal number"),
        ("index 5\n", "", "plain decimal number"),
        ("index 5\n", "index 11\n", "has no entry 11"),
        ("index 5\n", "index 99999999999999999999\n", "plain decimal number"),
        ("index 5\n", "extra \nindex 5\n", "holds nothing"),
        ("index 5\n", "extra AA\nindex 5\n", "not standard base64"),
        ("index 5\n", "extra AB==\nindex 5\n", "one canonical spelling"),
        ("index 5\n", "extra AA==\nextra AA==\nindex 5\n", "plain decimal number"),
        ("index 5\n", f"index 5\n{HASH[:-2]}B=\n", "one canonical spelling"),
        ("index 5\n", f"index 5\n{HASH}=\n", "has 45 characters"),
        ("index 5\n", "index 5\nAA==\n", "has 4 characters"),
        ("index 5\n", "index 5\n" + f"{HASH}\n" * 64, "no tree needs more than 63"),
        ("\n\nsignalfire", "\nsignalfire", "characters, not 44"),
        ("\n\nsignalfire", "\n\n\nsignalfire", "not a checkpoint"),
        ("\n11\n", "\n+11\n", "not a checkpoint"),
        ("\n11\n", "\n011\n", "not a checkpoint"),
        ("\n11\n", "\n1_1\n", "not a checkpoint"),
        ("\n— signalfire", "\nsignalfire", "not a signed note"),
        ("\nindex", "\r\nindex", "the first line is"),
    ],
)
def test_every_other_spelling_is_refused_by_name(old: str, new: str, says: str) -> None:
    text = proof_of(5, 11).encode().decode()
    assert old in text
    with pytest.raises(ProofError, match=says):
        ProofFile.parse(text.replace(old, new, 1).encode())


def test_seventeen_signature_lines_are_refused() -> None:
    raw = proof_of(5, 11).encode()
    line = raw.rsplit(b"\n", 2)[1] + b"\n"
    with pytest.raises(ProofError, match="17 signature lines"):
        ProofFile.parse(raw + 16 * line)


def test_sizes_are_looked_at_before_anything_is_decoded() -> None:
    with pytest.raises(ProofError, match="at most"):
        ProofFile.parse(b"c" * (MAX_PROOF_FILE + 1))
    head, rest = proof_of(5, 11).encode().split(b"index 5", 1)
    with pytest.raises(ProofError, match=f"more than {MAX_EXTRA} bytes"):
        ProofFile.parse(head + b"extra " + b"!" * (4 * MAX_EXTRA // 3 + 8) + b"\nindex 5" + rest)
    with pytest.raises(ProofError, match="at most"):
        ProofFile(5, proof_of(5, 11).path, proof_of(5, 11).checkpoint, bytes(MAX_EXTRA + 1))
    with pytest.raises(ProofError, match="is 31 bytes, not 32"):
        ProofFile(5, (bytes(31),), proof_of(5, 11).checkpoint)


def test_the_largest_release_fits() -> None:
    proof = proof_of(5, 11, bytes(MAX_EXTRA))
    raw = proof.encode()
    assert len(raw) <= MAX_PROOF_FILE
    assert ProofFile.parse(raw) == proof


def test_a_checkpoint_that_names_no_ledger_is_refused() -> None:
    text = proof_of(5, 11).encode().decode().replace("signalfire/v1/JPN/KOR/flash/1\n11", "example.com/log\n11")
    with pytest.raises(ProofError, match="names no ledger"):
        ProofFile.parse(text.encode())
